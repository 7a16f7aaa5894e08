"""Methods found by name, and models read back without importing what a file names."""

import json
import subprocess
import sys

import numpy as np
import pytest

from triptych import catalog
from triptych.contracts import persistence
from triptych.contracts.method import Capabilities, Fusion, Method
from triptych.coordination import CCA
from triptych.errors import ParameterError, PersistenceError

RNG = np.random.default_rng(0)
X = {"a": RNG.normal(size=(30, 3)), "b": RNG.normal(size=(30, 2))}


class Total(Fusion):
    """A user's own method: the sum of all columns."""

    capabilities = Capabilities(kinds=("vector",))

    def __init__(self, scale=1.0):
        self.scale = scale

    def _fit(self, X, y, validation):
        self.n_ = len(X)

    def _transform(self, X):
        return self.scale * np.hstack([X[name] for name in X.names]).sum(axis=1, keepdims=True)


def test_methods_have_panel_and_name():
    found = catalog.methods()
    assert found["coordination.CCA"] is CCA
    assert tuple(found) == catalog.names()
    for name, cls in found.items():
        assert issubclass(cls, Method)
        assert name == f"{cls.panel}.{cls.__name__}"


@pytest.mark.parametrize("name", ["CCA", "cca", "coordination.CCA", "Coordination.cca"])
def test_a_method_is_found_by_any_of_its_names(name):
    assert catalog.find(name) is CCA


@pytest.mark.parametrize("name", ["PCA", "", "CC", "fusion.CCA", None, 3])
def test_an_unknown_method_is_told_what_there_is(name):
    with pytest.raises(ParameterError, match=r"unknown method .* There are \[.*'CCA'"):
        catalog.find(name)


@pytest.mark.parametrize("name", ["CC", "fusion.CCA", "ccca"])
def test_the_nearest_name_is_told(name):
    with pytest.raises(ParameterError, match=rf"unknown method '{name}'\. Did you mean 'G?CCA'\?"):
        catalog.find(name)


def test_a_name_in_two_panels_needs_the_panel(monkeypatch):
    monkeypatch.setattr(catalog, "names", lambda: ("fusion.Same", "fission.Same"))
    with pytest.raises(ParameterError, match=r"one of \['fission\.Same', 'fusion\.Same'\]"):
        catalog.find("same")


def test_the_table_is_plain_and_true():
    rows = {row["name"]: row for row in catalog.table()}
    assert json.loads(json.dumps(list(rows.values())))
    row = rows["coordination.CCA"]
    assert row["panel"] == "coordination" and row["max_modalities"] == 2
    assert row["summary"] == "Directions of two modalities whose projections correlate most."
    assert {k: row[k] for k in CCA.capabilities.as_dict()} == CCA.capabilities.as_dict()


def test_a_model_comes_back(tmp_path):
    model = CCA(2, ridge={"a": 0.1, "b": 0.2}).fit(X)
    model.save(tmp_path / "m")
    again = catalog.load(tmp_path / "m")
    assert type(again) is CCA and again.ridge == model.ridge
    assert again.transform(X)["b"].tobytes() == model.transform(X)["b"].tobytes()


def test_loading_one_method_imports_no_other(tmp_path):
    CCA().fit(X).save(tmp_path / "m")
    code = f"import sys, triptych; triptych.load({str(tmp_path / 'm')!r}); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "triptych.coordination.cca" in run.stdout.split()
    assert "torch" not in run.stdout.split()


def test_a_users_method_comes_back_only_when_given(tmp_path):
    Total(2.0).fit(X).save(tmp_path / "m")
    with pytest.raises(PersistenceError, match=r"Total, which is not known here.*classes="):
        catalog.load(tmp_path / "m")
    again = catalog.load(tmp_path / "m", classes=[Total])
    assert again.scale == 2.0 and again.n_ == 30


@pytest.mark.parametrize(
    "cls", ["os.system", "triptych.coordination.os", "triptych.Modalities", 3]
)
def test_a_class_named_by_the_file_is_not_imported(tmp_path, cls):
    persistence.write(tmp_path / "m", cls=cls, parameters={}, learnt={})
    with pytest.raises(PersistenceError, match="not known here"):
        catalog.load(tmp_path / "m")


def test_parameters_of_another_version_are_an_error_of_ours(tmp_path):
    persistence.write(
        tmp_path / "m", cls="triptych.coordination.CCA", parameters={"gone": 1}, learnt={}
    )
    with pytest.raises(PersistenceError, match=r"does not fit the triptych\.coordination\.CCA"):
        catalog.load(tmp_path / "m")


def test_no_folder_is_an_error_of_ours(tmp_path):
    with pytest.raises(PersistenceError, match="no such folder"):
        catalog.load(tmp_path / "nothing")
