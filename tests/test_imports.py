"""`import triptych` and the help are for people who only look; they load nothing heavy."""

import ast
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import triptych

SOURCE = Path(triptych.__file__).parent
HEAVY = {"torch", "sklearn", "scipy", "matplotlib"}
PANELS = ("fusion", "coordination", "fission", "information")


def loaded_by(code: str) -> set[str]:
    """Top-level modules in a fresh interpreter after ``code``; what the code prints is dropped."""
    report = "import json, sys; print('\\n' + json.dumps([m.split('.')[0] for m in sys.modules]))"
    script = f"try:\n    {code}\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
    run = subprocess.run(
        [sys.executable, "-c", script + report],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE.parent)},
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import triptych",
        "import triptych; triptych.Modalities, triptych.Dataset, triptych.errors, dir(triptych)",
        "import triptych.catalog",
        "import triptych.files, triptych.datasets",
        "import sys; from triptych.cli import main; sys.argv = ['triptych', '--help']; main()",
        "import sys; from triptych.cli import main; sys.argv = ['triptych', 'compare', '--help']; "
        "main()",
        "import triptych.fusion, triptych.coordination, triptych.fission, triptych.information",
    ],
)
def test_loads_nothing_heavy(code: str) -> None:
    loaded = loaded_by(code)
    assert "triptych" in loaded
    assert not loaded & HEAVY


def test_linear_methods_and_information_do_not_load_torch() -> None:
    linear = "from triptych.coordination import CCA, GCCA, MCCA, ProbabilisticCCA"
    fused = "from triptych.fusion import IntactSpace"
    loaded = loaded_by(f"{linear}; {fused}; import triptych.canonical, triptych.information")
    assert "sklearn" in loaded, "CCA is an estimator, so this run did not import it"
    assert "torch" not in loaded


def test_these_tests_see_what_is_loaded() -> None:
    assert "matplotlib" in loaded_by("import matplotlib")


@pytest.mark.parametrize("package", ["triptych", *(f"triptych.{p}" for p in PANELS)])
def test_every_exported_name_is_there(package: str) -> None:
    module = importlib.import_module(package)
    names = [name for name in module.__all__ if name != "__version__"]
    assert names or package == "triptych.information"
    for name in names:
        value = getattr(module, name)
        assert getattr(value, "__name__", "").rpartition(".")[2] == name
        assert name in dir(module)


@pytest.mark.parametrize("panel", PANELS)
def test_every_file_of_a_panel_is_exported(panel: str) -> None:
    files = {path.stem for path in (SOURCE / panel).glob("*.py") if path.stem[0] != "_"}
    assert files == set(importlib.import_module(f"triptych.{panel}")._EXPORTS.values())


def test_an_unknown_name_is_an_attribute_error_that_says_whose() -> None:
    with pytest.raises(AttributeError, match=r"module 'triptych\.fusion' has no attribute 'Nope'"):
        triptych.fusion.Nope  # noqa: B018


def test_type_checkers_see_the_public_face_that_users_get() -> None:
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: (line.module or "").removeprefix("triptych").lstrip(".") or alias.name
        for line in guarded.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }
    assert seen == triptych._EXPORTS
