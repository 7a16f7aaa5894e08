"""Comparisons over fake methods and CCA: what is recorded, kept, resumed and survived."""

import base64
import io
import json
import warnings
from dataclasses import dataclass, field

import numpy as np
import pytest
import sklearn.linear_model  # noqa: F401  its import draws from Python's global generator

from triptych.comparison import compare, divided
from triptych.comparison.decoded import STEPS
from triptych.comparison.extras import gather
from triptych.comparison.items import item
from triptych.contracts.method import Capabilities, Coordination, Fission, Fusion
from triptych.coordination import CCA, GCCA, MCCA, KernelCCA, ProbabilisticCCA
from triptych.dataset import Dataset
from triptych.errors import DataError, FileError, ParameterError, TrainingError
from triptych.fusion import IntactSpace
from triptych.modalities import Modalities, make_parts
from triptych.report import render, summarise, text_table
from triptych.training.settings import Training


def toy(n=160, seed=0, **more):
    """Pictures whose brightness pattern, and texts whose first word, tell the class."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    pattern = np.random.default_rng(9).random((3, 16)) * 150
    pictures = (pattern[y] + rng.random((n, 16)) * 60).astype(np.uint8).reshape(n, 1, 4, 4)
    colours, digits = ["red", "green", "blue"], ["zero", "one", "two", "three", "four", "five"]
    texts = [
        f"{colours[k]} {digits[i // 36]} times {digits[i // 6 % 6]}fold {digits[i % 6]}th"
        for i, k in enumerate(y)
    ]
    X = Modalities({"image": pictures, "text": texts})
    return Dataset(X, labels={"colour": np.array(["r", "g", "b"])[y]}, name="toy", **more)


@dataclass
class History:
    train: dict = field(default_factory=lambda: {"loss": [2.0, 1.0]})
    valid: dict = field(default_factory=lambda: {"loss": [2.5, 1.5]})
    best_epoch: int = 1

    def __getitem__(self, part):
        return getattr(self, part)


class Brightness(Fusion):
    """Mean brightness and text length, with decoders; counts its fits."""

    capabilities = Capabilities(
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
        reconstructs=True,
    )
    fits = 0
    seen = ()

    def __init__(self, n_components=2, *, training=Training(), random_state=None):
        self.n_components = n_components
        self.training = training
        self.random_state = random_state

    def _fit(self, X, y, validation):
        type(self).fits += 1
        type(self).seen = (*type(self).seen, (self.random_state, self.training.epochs, y))
        self.valid_rows_ = 0 if validation is None else len(validation[0])
        self.mean_ = X["image"].mean(axis=0)
        self.history_ = History()
        warnings.warn("a library says something", RuntimeWarning, stacklevel=1)

    def _transform(self, X):
        Z = np.zeros((len(X), 2))
        if "image" in X:
            Z[:, 0] = X["image"].reshape(len(X), -1).mean(axis=1)
        if "text" in X:
            Z[:, 1] = [0 if t is None else len(t) for t in X["text"]]
        return Z

    def _reconstruct(self, X):
        return Modalities(
            {
                "image": np.repeat(self.mean_[None], len(X), axis=0),
                "text": [f"row {i}" for i in range(len(X))],
            }
        )


class Breaks(Brightness):
    """Fails, for some seeds or all."""

    def __init__(self, bad=None, *, training=Training(), random_state=None):
        self.bad = bad
        self.training = training
        self.random_state = random_state

    def _fit(self, X, y, validation):
        if self.bad is None or self.random_state in self.bad:
            raise TrainingError("the loss is no longer finite.")
        super()._fit(X, y, validation)


class Stopped(Brightness):
    """The user presses Ctrl-C."""

    def _fit(self, X, y, validation):
        raise KeyboardInterrupt


class NeedsAll(Coordination):
    """Takes complete rows only, and labels."""

    capabilities = Capabilities(needs_labels=True)

    def _fit(self, X, y, validation):
        assert X.complete and len(y) == len(X)
        self.rows_ = len(X)

    def _transform(self, X):
        return make_parts({m: np.ones((len(X), 2)) for m in X.names}, X.present)


@pytest.fixture(autouse=True)
def _fresh_counts():
    Brightness.fits, Brightness.seen = 0, ()
    Breaks.fits, Breaks.seen = 0, ()


def row(record, name):
    (found,) = [r for r in record["rows"] if r["name"] == name]
    return found


def test_a_record_with_methods_baselines_and_all_that_there_is_to_show():
    record = compare(toy(), methods=["cca", Brightness])
    assert json.loads(json.dumps(record)) == record
    assert [r["name"] for r in record["rows"]] == [
        "CCA",
        "Brightness",
        "chance",
        "shuffled pairs (CCA)",
        "best single modality",
        "concatenation + PCA",
    ]
    assert {r["status"] for r in record["rows"]} == {"ok"}
    assert [r["panel"] for r in record["rows"]][:3] == ["coordination", "fusion", "baseline"]
    keys = {c["key"] for c in record["columns"]}
    assert all(set(r["values"]) == keys for r in record["rows"])
    cca, fused = row(record, "CCA"), row(record, "Brightness")
    assert cca["values"]["probe"]["mean"] > 0.9
    assert cca["values"]["resources:fit_s"]["n"] == 1
    assert "no decoders" in cca["values"]["reconstruction:image"]["why"]
    assert set(cca["extras"]) == {"correlations", "null", "retrieval", "map", "missing", "noisy"}
    assert fused["extras"]["history"]["valid"] == {"loss": [2.5, 1.5]}
    assert fused["warnings"] == ["RuntimeWarning: a library says something"]
    data = record["data"]
    assert (data["name"], data["rows"], data["label"]) == ("toy", 160, "colour")
    assert data["train"] + data["test"] + record["settings"]["validation rows"] == 160
    assert data["modalities"][0] == {
        "name": "image",
        "kind": "image",
        "shape": [1, 4, 4],
        "present": 1.0,
    }


def test_library_warnings_are_kept_and_not_shown(recwarn):
    record = compare(toy(), methods=[Brightness])
    assert row(record, "Brightness")["warnings"]
    assert not [w for w in recwarn if "a library says" in str(w.message)]


def test_what_is_shown_is_what_was_there():
    data = toy()
    record = compare(data, methods=["CCA", Brightness])
    forth, back = row(record, "CCA")["extras"]["retrieval"]
    assert (forth["query_modality"], back["query_modality"]) == ("image", "text")
    assert len(forth["examples"]) == 6
    texts = list(data.X["text"])
    for example in forth["examples"]:
        place = texts.index(example["truth"]["text"])
        assert example["query"] == item(data.X["image"][place], "image")
        assert len(example["found"]) == 5
        hit = [f["item"] == example["truth"] for f in example["found"]]
        assert hit == [f["correct"] for f in example["found"]]
        assert any(hit) == (example["rank"] <= 5)
        cosines = [f["similarity"] for f in example["found"]]
        assert cosines == sorted(cosines, reverse=True)
    # the same rows for every method
    other = row(record, "Brightness")["extras"]["retrieval"][0]
    assert [e["query"] for e in other["examples"]] == [e["query"] for e in forth["examples"]]
    picture, text = row(record, "Brightness")["extras"]["reconstructions"]
    assert (picture["absent"], picture["given"]) == ("image", ["text"])
    assert len(text["examples"]) == 6 and text["examples"][2]["rebuilt"]["text"] == "row 2"
    points = row(record, "CCA")["extras"]["map"]
    assert len(points["xy"]) == len(points["labels"]) == record["data"]["test"]


def test_items():
    from PIL import Image

    grey = np.array([[[0, 255], [128, 7]]], dtype=np.uint8)
    png = base64.b64decode(item(grey, "image")["png"])
    assert (np.asarray(Image.open(io.BytesIO(png))) == grey[0]).all()
    colour = np.zeros((3, 2, 4))
    colour[1] = 1.0
    png = base64.b64decode(item(colour, "image", (0.0, 1.0))["png"])
    assert np.asarray(Image.open(io.BytesIO(png)))[1, 3].tolist() == [0, 255, 0]
    assert item("words", "text") == {"kind": "text", "text": "words"}
    assert item(np.array([1.0, 2 / 3]), "vector") == {"kind": "vector", "values": [1.0, 0.6667]}
    assert len(item(np.zeros(5000), "waveform")["values"]) == 96
    assert item(np.array([[1.0, 2.0], [3.0, 4.0]]), "sequence")["values"] == [2.0, 3.0]


def test_the_report_reads_it(tmp_path):
    record = compare(toy(), methods=["CCA", Breaks], output=tmp_path)
    page = render(summarise(record), tmp_path / "index.html")
    assert "the loss is no longer finite" in page.read_text(encoding="utf-8")
    table = text_table(summarise(record))
    assert [cells[0] for cells in table.rows][:2] == ["CCA", "Breaks"]


def test_a_failure_is_a_row_that_says_why_and_others_go_on():
    steps = []
    record = compare(toy(), methods=[Breaks, "CCA"], progress=steps.append)
    assert row(record, "Breaks")["status"] == "failed"
    assert row(record, "Breaks")["why"] == "TrainingError: the loss is no longer finite."
    assert row(record, "Breaks")["values"] == {}
    assert row(record, "CCA")["status"] == "ok"
    assert [s.status for s in steps[:4]] == ["started", "failed", "started", "finished"]
    assert steps[-1].done == steps[-1].total == 6


def test_seeds_give_mean_and_spread_and_one_failed_seed_is_told():
    record = compare(toy(), methods=[Breaks(bad=(1,)), "CCA"], seeds=(0, 1, 2))
    some = row(record, "Breaks")
    assert some["status"] == "ok" and some["why"].startswith("seed 1: TrainingError")
    assert some["values"]["probe"]["n"] == 2
    assert [seed for seed, _, _ in Breaks.seen] == [0, 2]
    luck = row(record, "chance")["values"]["probe"]
    assert luck["n"] == 3 and luck["std"] > 0
    assert row(record, "CCA")["values"]["probe"]["std"] == 0  # it has no chance in it


def test_parameters_reach_the_methods_they_are_for():
    methods = {"short": Brightness, "long": Brightness(training=Training(epochs=7)), "CCA": CCA}
    record = compare(
        toy(),
        methods=methods,
        training={"epochs": 5},
        params={"long": {"training__epochs": 9}, "CCA": {"n_components": 2}},
    )
    assert [epochs for _, epochs, _ in Brightness.seen] == [5, 9]
    params = row(record, "CCA")["params"]
    assert (params["n_components"], params["ridge"]) == (2, 1.0)
    assert row(record, "long")["params"]["training"]["epochs"] == 9
    # a method that the user made keeps what the user chose
    kept = compare(toy(), methods=[CCA(n_components=2, ridge=0.5)])
    assert kept["rows"][0]["params"]["ridge"] == 0.5


def test_labels_only_for_those_who_need_them_and_complete_rows():
    data = toy()
    present = np.ones(len(data), dtype=bool)
    present[::5] = False
    some = Dataset(data.X.with_present({"text": present}), labels=data.labels)
    record = compare(some, methods=[NeedsAll, Brightness])
    assert row(record, "NeedsAll")["status"] == "ok", row(record, "NeedsAll")["why"]
    assert Brightness.seen[0][2] is None
    assert record["data"]["modalities"][1]["present"] == pytest.approx(0.8)


def test_what_is_finished_is_not_run_again(tmp_path):
    first = compare(toy(), methods=[Brightness], output=tmp_path, seeds=(0, 1))
    steps = []
    again = compare(
        toy(), methods=[Brightness, "CCA"], output=tmp_path, seeds=(0, 1), progress=steps.append
    )
    assert Brightness.fits == 2
    assert row(again, "Brightness") == row(first, "Brightness")
    over = {(s.name, s.seed): s.status for s in steps if s.status != "started"}
    assert over["Brightness", 1] == over["chance", 0] == "kept" and over["CCA", 0] == "finished"
    compare(toy(), methods=[Brightness], output=tmp_path, seeds=(0, 1), resume=False)
    assert Brightness.fits == 4


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": toy(seed=1)},
        {"params": {"Brightness": {"n_components": 3}}},
        {"training": {"epochs": 2}},
        {"seeds": (5,)},
        {"label": "shade"},
    ],
)
def test_another_question_is_run_anew(tmp_path, change):
    data = toy()
    shade = data.X["image"].reshape(160, -1).mean(axis=1) > 100
    data = Dataset(data.X, labels={**data.labels, "shade": shade}, name="toy")
    asked = {"dataset": data, "methods": [Brightness], "output": tmp_path}
    compare(**asked)
    compare(**asked)
    assert Brightness.fits == 1
    compare(**(asked | change))
    assert Brightness.fits == 2


def test_an_interrupted_comparison_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        compare(toy(), methods=[Brightness, Stopped], output=tmp_path)
    record = compare(toy(), methods=[Brightness], output=tmp_path)
    assert Brightness.fits == 1 and row(record, "Brightness")["status"] == "ok"


def test_a_damaged_or_failed_run_is_run_again(tmp_path):
    compare(toy(), methods=[Brightness, Breaks], output=tmp_path)
    (kept,) = (tmp_path / "runs").glob("Brightness-*.json")
    assert not list((tmp_path / "runs").glob("Breaks-*.json"))
    kept.write_text(kept.read_text()[:100])
    compare(toy(), methods=[Brightness], output=tmp_path)
    assert Brightness.fits == 2


def test_an_unwritable_output_is_an_error_before_anything_is_run(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(FileError, match="cannot write"):
        compare(toy(), methods=[Brightness], output=tmp_path / "file")
    assert Brightness.fits == 0


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"methods": ["Nope"]}, "unknown method 'Nope'"),
        ({"methods": "CCA"}, r"write \['CCA'\]"),
        ({"params": {"DCCA": {}}}, "no method 'DCCA' is compared"),
        ({"params": {"CCA": {"ridgee": 1}}}, "CCA has no parameter 'ridgee'"),
        ({"training": {"epoch": 5}, "methods": [Brightness]}, "Training has no 'epoch'"),
        ({"label": "size"}, r"label: expected one of 'colour'; got 'size'"),
        ({"split": "faces"}, "'toy' has none; got 'faces'"),
        ({"seeds": ()}, "seeds"),
        ({"seeds": (1, 1)}, "different"),
        ({"seeds": 3}, r"write \[3\]"),
    ],
)
def test_wrong_arguments_are_refused_at_once(wrong, complaint):
    with pytest.raises(ParameterError, match=complaint):
        compare(toy(), **({"methods": ["CCA"]} | wrong))


def test_rows_are_divided_once_and_groups_stay_together():
    groups = np.arange(160) // 4
    parts, name = divided(toy(groups=groups))
    assert name == "by chance"
    rows = [set(p.groups.tolist()) for p in (parts.train, parts.valid, parts.test)]
    assert [len(r) for r in rows] == [28, 6, 6] and not rows[0] & rows[1] & rows[2]
    again, _ = divided(toy(groups=groups))
    assert again.checksum == parts.checksum
    assert list(again.test.X["text"]) == list(parts.test.X["text"])


def test_a_split_of_the_data_is_used_and_must_have_rows():
    split = np.array(["train"] * 100 + ["test"] * 60)
    parts, name = divided(toy(splits={"own": split}))
    assert (name, len(parts.train), parts.valid, len(parts.test)) == ("own", 100, None, 60)
    with pytest.raises(DataError, match="split 'own' of 'toy' has 0 test rows"):
        divided(toy(splits={"own": np.array(["train"] * 160)}))
    with pytest.raises(DataError, match="at least 4 rows to divide, got 3"):
        divided(toy(3))


def test_more_than_two_modalities_and_no_labels():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(80, 2))
    three = {m: z @ rng.normal(size=(2, 3)) + rng.normal(size=(80, 3)) / 9 for m in "abc"}
    record = compare(three, methods=["CCA"])
    assert "at most 2 modalities" in row(record, "CCA")["why"]
    assert row(record, "concatenation + PCA")["status"] == "ok"
    assert "no label" in row(record, "chance")["values"]["probe"]["why"]
    shuffled = row(record, "shuffled pairs (MCCA)")
    assert shuffled["values"]["retrieval:a>b:R@1"]["mean"] < 0.3
    # Nine columns in nine components: what a alone tells lies at right angles to what b tells.
    why = row(record, "concatenation + PCA")["values"]["retrieval:a>b:R@1"]["why"]
    assert "codes of 'a' alone and of 'b' alone are at right angles" in why
    luck = row(record, "chance")["values"]["retrieval:a>b:R@1"]["mean"]
    assert 0.5 / 12 < luck < 2 / 12  # one of 12 test rows, in the mean of many draws


def test_pairs_are_shuffled_for_the_class_and_not_for_the_name():
    rng = np.random.default_rng(0)
    two = {m: rng.normal(size=(60, 3)) for m in "ab"}
    named = {"MCCA": IntactSpace(2), "mine": CCA(ridge=7.0)}
    rows = compare(two, methods=named)["rows"]
    assert "shuffled pairs (CCA)" in [r["name"] for r in rows]
    params = row({"rows": rows}, "shuffled pairs (CCA)")["params"]
    assert "7.0" in json.dumps(params)


def numbers(n=120, p=4, **more):
    rng = np.random.default_rng(0)
    A, B = rng.normal(size=(n, p)), rng.normal(size=(n, p))
    B[:, 0] += 3 * A[:, 0]
    return Dataset(Modalities({"a": A, "b": B}), **more)


def test_correlations_come_with_their_null():
    data = numbers()
    record = json.loads(json.dumps(compare(data, methods=[CCA()])))
    extras = record["rows"][0]["extras"]
    parts, _ = divided(data)
    model = CCA().fit(parts.train.X)
    test = model.permutation_test(parts.train.X, 99, n_components=4)
    null = extras["null"]
    np.testing.assert_allclose(null["by_chance"], test.level(0.95))
    np.testing.assert_allclose(null["p_values"], test.p_values_fwe)
    np.testing.assert_allclose(null["correlations"], extras["correlations"])
    assert null["rows"] == len(parts.train)
    assert null["all_rows"]
    assert null["permutations"] == 99
    # One component is real.
    assert null["p_values"][0] == 0.01
    assert null["p_values"][1] > 0.05
    (row, *_) = summarise(record).rows
    assert row.exhibits.null.beyond() == 1
    assert row.exhibits.null.by_chance == tuple(null["by_chance"])


def test_the_null_of_groups_and_of_many_columns():
    groups = np.arange(400) // 2
    grouped = compare(numbers(400, groups=groups), methods=[CCA()])
    null = grouped["rows"][0]["extras"]["null"]
    assert not null["all_rows"]
    assert null["rows"] == grouped["data"]["train"] / 2  # one row of each group
    wide = numbers(450, p=160)
    some, troubles = gather(CCA(3, ridge=1.0).fit(wide.X), wide, {}, None, wide)
    assert troubles == []
    assert some["null"]["rows"] == 300
    assert len(some["null"]["by_chance"]) == 3
    three = numbers(200, p=2)
    three = Dataset(Modalities({**three.X, "c": three.X["a"] + three.X["b"]}))
    learnt = ProbabilisticCCA(1, ridge=0.1, max_iter=20)
    learnt.fit(three.X)
    by_em, _ = gather(learnt, three, {}, None, three)
    assert by_em["null"]["p_values"] == [0.01]
    learnt.rank_ = {"a": 100, "b": 100, "c": 2}  # EM for each permutation would take minutes
    assert "null" not in gather(learnt, three, {}, None, three)[0]


@pytest.mark.parametrize(
    "method",
    [MCCA(2), GCCA(2), ProbabilisticCCA(2), KernelCCA(2, kernel="linear", ridge=1e-3)],
)
def test_the_null_of_every_linear_method_reaches_the_page(method):
    record = json.loads(json.dumps(compare(numbers(80, p=3), methods=[method])))
    (row, *_) = summarise(record).rows
    assert row.exhibits.null.beyond() == 1
    assert row.exhibits.null.all_rows
    assert len(row.exhibits.null.by_chance) == 2


def test_a_null_that_fails_does_not_cost_the_run():
    class Broken(CCA):
        def permutation_test(self, X, n_permutations=999, random_state=0, groups=None):
            raise RuntimeError("no permutations today")

    record = compare(numbers(), methods=[Broken()])
    row = record["rows"][0]
    assert row["status"] == "ok"
    assert "null" not in row["extras"]
    assert any("no null to show: RuntimeError" in warning for warning in row["warnings"])


def test_a_traversal_moves_one_dimension_at_a_time():

    from triptych.fusion import IntactSpace

    rng = np.random.default_rng(0)
    latent = rng.normal(size=(60, 2)) * [3.0, 1.0]
    X = Modalities({m: latent @ rng.normal(size=(2, 5)) for m in ("a", "b")})
    model = IntactSpace(2).fit(X)
    shown = gather(model, Dataset(X), {}, None)[0]["traversals"]
    assert [one["modality"] for one in shown] == ["a", "b"]
    spread = model.transform(X).std(axis=0)
    for one in shown:
        assert [line["dimension"] for line in one["lines"]] == list(np.argsort(-spread))
        for line in one["lines"]:
            moved = np.array([i["values"] for i in line["items"]])
            # The map is linear, so equal steps of the code are equal steps of the modality.
            along = model.maps_[one["modality"]][:, line["dimension"]]
            along = along * spread[line["dimension"]] * model.spreads_[one["modality"]]
            np.testing.assert_allclose(
                moved - moved[2], np.outer(STEPS, along), atol=2e-3 * np.abs(moved).max()
            )  # items keep four digits


class Halves(Fission):
    """Shared is the first column, private the second."""

    capabilities = Capabilities(kinds=("vector",), reconstructs=True)
    parts_ = ("shared", "a", "b")

    def _fit(self, X, y, validation):
        pass

    def swap(self, X, donors):
        return Modalities({m: np.stack([X[m][:, 0], donors[m][:, 1]], axis=1) for m in X.names})


def test_swapped_parts_stand_in_a_grid():
    rng = np.random.default_rng(0)
    X = Modalities({m: rng.normal(size=(40, 2)).round(2) for m in ("a", "b")})
    shown = gather(Halves().fit(X), Dataset(X), {}, None)[0]["swaps"]
    assert [one["modality"] for one in shown] == ["a", "b"]
    for one in shown:
        for i, cells in enumerate(one["cells"]):
            for j, cell in enumerate(cells):
                own, donor = one["shared"][i]["values"], one["private"][j]["values"]
                assert cell["values"] == [own[0], donor[1]]


def test_several_labels_a_row_are_learnt_and_not_judged_by(tmp_path):
    rng = np.random.default_rng(0)
    X = Modalities({m: rng.normal(size=(60, 3)) for m in ("a", "b")})
    tags = (rng.random((60, 2)) < 0.5).astype(int)
    data = Dataset(X, labels={"tags": tags, "kind": np.arange(60) % 2})
    record = compare(data, methods=["CCA"], output=tmp_path)
    assert record["rows"][0]["status"] == "ok"
    assert json.loads((tmp_path / "comparison.json").read_text()) == record
    with pytest.raises(DataError, match="several labels a row"):
        compare(data, methods=["CCA"], label="tags")


@pytest.mark.parametrize(("better", "won"), [("higher", False), ("lower", True)])
def test_worse_than_the_mean_is_no_win(better, won):
    """Where less is better, as in leakage, it is one."""
    column = {
        "key": "r",
        "title": "r",
        "unit": "R²",
        "better": better,
        "group": "reconstruction",
    }
    row = {"panel": "fusion", "status": "ok", "params": {}, "extras": {}, "warnings": []}
    rows = [
        {**row, "name": name, "values": {"r": {"mean": mean, "std": 0.0, "n": 1}}}
        for name, mean in (("a", -0.1), ("b", -4.0))
    ]
    summary = summarise({"columns": [column], "rows": rows})
    assert any(cell.mark for r in summary.rows for cell in r.cells) == won


@pytest.mark.parametrize("what", ["training", "params"])
def test_what_is_no_mapping_is_refused_by_name(what):
    X = {"a": np.random.default_rng(0).normal(size=(40, 2)), "b": np.eye(40)}
    with pytest.raises(ParameterError, match=f"{what}: expected a mapping.*got Training"):
        compare(Dataset(Modalities(X)), methods=["CCA"], **{what: Training(epochs=1)})
