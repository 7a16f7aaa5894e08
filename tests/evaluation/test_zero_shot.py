"""Classes named by words: the definition written out, templates, ties, and what is refused."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from triptych import Dataset, Modalities
from triptych.cli import app
from triptych.coordination import CCA
from triptych.errors import (
    CapabilityError,
    DataError,
    ModalityError,
    NotFittedError,
    ParameterError,
    ShapeError,
)
from triptych.evaluation import Chance, columns, evaluate, zero_shot
from triptych.evaluation.zero_shot import class_codes
from triptych.files import write_npz
from triptych.modalities import make_parts
from triptych.testing.examples import example

COLOURS = ("red", "green", "blue", "grey")


WORDS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "dark": (1, 1, 0)}


class Known:
    """Codes that are known: a text's is the mean of its words', a row of x is itself."""

    capabilities = Chance.capabilities
    panel = "coordination"

    def __init__(self, **kinds):
        self.names_in_ = tuple(kinds)
        self.kinds_ = {name: Modalities({name: value}).kind(name) for name, value in kinds.items()}

    def transform(self, X):
        out = {}
        for name in X.names:
            if self.kinds_[name].form == "text":
                said = [[WORDS.get(w, (0, 0, 0)) for w in t.split()] for t in X[name]]
                out[name] = np.array([np.sum(words, axis=0) for words in said], dtype=float)
            else:
                out[name] = np.asarray(X[name], dtype=float)
        return make_parts(out, {m: X.present[m] for m in X.names})


KNOWN = Known(x=np.eye(3), t=["red"] * 3)
X = {"x": np.array([[2.0, 0, 0], [0, 3, 1], [0, 0, 1], [1, 0.5, 0], [0, 1, 1]])}
Y = ["red", "green", "blue", "green", "blue"]


def test_the_nearest_class_and_the_confusion():
    found = zero_shot(KNOWN, X, Y, depths=(1, 2))
    assert found.classes == ("blue", "green", "red")
    assert (found.modality, found.text) == ("x", "t")
    # The fourth is nearer to red; the fifth lies between green and blue, and a tie is no answer.
    assert found.predicted.tolist() == [2, 1, 0, 2, 1]
    assert found.confusion.tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert found.accuracy == pytest.approx(3 / 5)
    assert found.balanced == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert found.top_k == {1: pytest.approx(0.6), 2: pytest.approx(1.0)}
    assert found.recall() == {"blue": 0.5, "green": 0.5, "red": 1.0}


def test_templates_are_averaged_at_unit_length():
    templates = ["a {}", "dark dark {}"]
    codes = class_codes(KNOWN, ["red", "blue"], templates, "t")
    for code, word in zip(codes, ("red", "blue"), strict=True):
        texts = [
            np.array(WORDS[word]),
            np.array(WORDS[word]) + 2 * np.array((1, 1, 0)),
        ]
        mean = sum(t / np.linalg.norm(t) for t in texts) / 2
        np.testing.assert_allclose(code, mean / np.linalg.norm(mean), atol=1e-12)
    dark = {"x": np.array([[1.0, 1, 0], [0, 0, 1]])}
    assert zero_shot(KNOWN, dark, ["red", "blue"], templates=templates).accuracy == 1


def test_words_of_classes_may_be_given_and_need_no_rows():
    words = {0: "red", 1: "green", 2: "blue"}
    found = zero_shot(KNOWN, {"x": X["x"][:2]}, [0, 1], classes=words)
    assert found.accuracy == 1 and found.classes == ("0", "1", "2")
    assert "2" not in found.recall()
    assert found.confusion.shape == (3, 3)


def test_codes_that_are_all_alike_name_nothing():
    same = {"x": np.ones((4, 3))}
    found = zero_shot(KNOWN, same, ["red", "green", "blue", "red"])
    assert found.accuracy == 0 and found.confusion.trace() == 0


def test_absent_rows_are_left_out():
    holed = Modalities(X, present={"x": np.array([1, 1, 0, 1, 0], dtype=bool)})
    found = zero_shot(KNOWN, holed, Y, classes=["red", "green", "blue"])
    assert found.rows.tolist() == [0, 1, 3] and found.accuracy == pytest.approx(2 / 3)


def test_what_is_refused():
    for more, kind, message in (
        ({"templates": "a letter"}, ParameterError, r"'a letter' has no place .* \{\}"),
        ({"templates": []}, ParameterError, "templates: expected at least one"),
        ({"classes": ["red", "green"]}, DataError, r"row 2: class 'blue' is not among \['red'"),
        ({"classes": ["red"]}, DataError, r"at least 2 classes .* only \['red'\]"),
        ({"classes": ["red", "blue", "red"]}, ParameterError, "'red' is there more than once"),
        ({"classes": "red"}, ParameterError, "classes: expected a list"),
        ({"modality": "z"}, ModalityError, r"modality: expected one of \['x'\], got 'z'"),
        ({"text": "x"}, ModalityError, r"text: expected one of \['t'\], got 'x'"),
        ({"depths": (0,)}, ParameterError, "depths"),
    ):
        with pytest.raises(kind, match=message):
            zero_shot(KNOWN, X, Y, **more)
    with pytest.raises(DataError, match="y holds numbers"):
        zero_shot(KNOWN, X, np.linspace(0, 1, 5))
    with pytest.raises(CapabilityError, match=r"fitted on \['x', 'w'\], none of which is text"):
        zero_shot(Known(x=np.eye(3), w=np.eye(3)), X, Y)
    two = Known(x=np.eye(3), w=np.eye(3), t=["red"] * 3)
    with pytest.raises(ModalityError, match=r"modality: expected one of \['x', 'w'\]"):
        zero_shot(two, {**X, "w": X["x"]}, Y)
    assert zero_shot(two, {**X, "w": X["x"]}, Y, modality="w").modality == "w"
    texts = Known(x=np.eye(3), t=["red"] * 3, u=["red"] * 3)
    with pytest.raises(ModalityError, match=r"text: there is more than one, \['t', 'u'\]"):
        zero_shot(texts, X, Y)
    with pytest.raises(ShapeError, match="different widths, 2 and 3"):
        zero_shot(KNOWN, {"x": np.eye(3)[:, :2]}, Y[:3])
    gone = Modalities(X, present={"x": np.zeros(5, dtype=bool)})
    with pytest.raises(DataError, match="'x' is absent in all 5 rows"):
        zero_shot(KNOWN, gone, Y)


def colours(n=240, seed=0):
    draw = np.random.default_rng(seed)
    which = draw.integers(len(COLOURS), size=n)
    x = np.eye(len(COLOURS))[which] * 3 + 0.3 * draw.normal(size=(n, len(COLOURS)))
    places = ("box", "car", "hat")
    text = [f"{COLOURS[c]} {places[draw.integers(3)]}" for c in which]
    labels = {"colour": np.array(COLOURS)[which], "code": np.array(list("QRST"))[which]}
    part = np.where(np.arange(n) < n // 2, "train", "test")
    return Dataset(Modalities({"x": x, "t": text}), labels, splits={"half": part}, name="colours")


def test_a_fitted_method_names_colours_and_evaluate_says_where_it_does_not_apply():
    data = colours()
    train, test = data.part("train"), data.part("test")
    model = CCA(3, ridge=0.1).fit(train.X)
    found = zero_shot(model, test.X, test.labels["colour"], templates=["{} box", "a {} hat"])
    assert found.accuracy > 0.95
    keys = [column["key"] for column in columns(train, "colour")]
    values = evaluate(model, train, test, label="colour")
    assert list(values) == keys and values["zero_shot:x"]["value"] > 0.95
    unread = evaluate(model, train, test, label="code")["zero_shot:x"]
    assert "of 4 classes of 'code' only 0 have a word" in unread["why"]
    chance = evaluate(Chance().fit(train.X), train, test, label="colour")
    assert chance["zero_shot:x"]["value"] < 0.5
    one = evaluate(Chance().fit(train.X.select("x")), train, test, label="colour")
    assert "none of which is text" in one["zero_shot:x"]["why"]
    numbered = Dataset(train.X, {"n": np.arange(120) % 3})
    assert "zero_shot:x" not in [column["key"] for column in columns(numbered)]
    vectors = Dataset(example(("vector", "vector"), 20), {"c": np.array(["up", "down"] * 10)})
    assert not [c for c in columns(vectors) if c["key"].startswith("zero_shot")]


def test_the_command_names_classes_and_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = colours()
    write_npz(data, tmp_path / "colours.npz")
    CCA(3, ridge=0.1).fit(data.part("train").X).save("model")
    base = ["evaluate", "model", "colours.npz", "--zero-shot", "colour", "--template", "{} box"]
    shown = CliRunner().invoke(app, base)
    assert shown.exit_code == 0, shown.output
    assert "colour of 120 rows from x, named by t" in shown.output
    assert all(name in shown.output for name in COLOURS)
    found = json.loads(CliRunner().invoke(app, [*base, "--json", "--given", "x"]).output)
    assert found["accuracy"] > 0.8 and found["templates"] == ["{} box"]
    assert np.sum(found["confusion"]) == found["rows"] == 120
    for more, message in (
        (["--zero-shot", "size"], "--zero-shot: expected one of ['colour', 'code'], got 'size'"),
        (["--zero-shot", "colour", "--template", "box"], "'box' has no place"),
        (["--template", "{} box"], "say nothing without --zero-shot"),
    ):
        refused = CliRunner().invoke(app, ["evaluate", "model", "colours.npz", *more])
        assert refused.exit_code == 1 and message in refused.output


def test_wrong_types_and_a_method_before_fit_are_named():
    with pytest.raises(NotFittedError, match="CCA is not fitted"):
        zero_shot(CCA(2), {"text": ["a"]}, ["a"])
    data = colours(30)
    fitted = CCA(2).fit(data.X)
    for wrong, words in (({"depths": 2}, "depths: expected"), ({"templates": None}, "templates")):
        with pytest.raises(ParameterError, match=words):
            zero_shot(fitted, data.X, next(iter(data.labels.values())), **wrong)
