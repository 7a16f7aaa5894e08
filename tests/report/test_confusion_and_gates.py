"""Zero-shot confusions and gates, from the record to the picture's words."""

import base64

import numpy as np
import sklearn.linear_model  # noqa: F401  its import draws from Python's global generator

from triptych import Dataset, Modalities, Training
from triptych.comparison.extras import gather
from triptych.coordination import GatedCoordination
from triptych.evaluation import evaluate
from triptych.fusion import AttentionFusion
from triptych.nn.recipes import MLP
from triptych.report.confusion import MOST_CLASSES, _gathered, confusion_map
from triptych.report.gates import gate_bars
from triptych.report.page import _section, html
from triptych.report.predictions import fading_curves
from triptych.report.reading_exhibits import read_exhibits
from triptych.report.summary import summarise
from triptych.report.table import Row


def naming(k=3, confusion=None, **more):
    counts = np.diag(np.arange(1, k + 1)) + (np.arange(k * k).reshape(k, k) % 4 == 1)
    record = {
        "label": "kind",
        "modality": "image",
        "text": "words",
        "templates": ["{}"],
        "classes": [f"class {i}" for i in range(k)],
        "confusion": counts.tolist() if confusion is None else confusion,
        "accuracy": 0.5,
        "top": {"1": 0.5, "5": 0.75},
        **more,
    }
    return read_exhibits({"zero_shot": [record]}).naming


def test_a_confusion_is_drawn_and_told():
    (read,) = naming(3, [[2, 1, 0], [0, 0, 0], [0, 0, 3]])
    picture = confusion_map(read, "CLIP")
    assert "kind of 6 rows from image, named by words: accuracy 0.500" in picture.alt
    assert "among the first 5 0.750" in picture.alt and "chance 0.333" in picture.alt
    assert "Best class 2 (1.000), worst class 0 (0.667)" in picture.alt
    names, counts, rest = _gathered(read)
    # The class without rows is given to nobody, so nothing is left to put together.
    assert names == ["class 0", "class 2"] and rest == 1
    assert counts.tolist() == [[2, 0, 1], [0, 3, 0], [0, 0, 0]]


def test_of_many_classes_the_frequent_ones_are_drawn_and_none_is_lost():
    (read,) = naming(40)
    names, counts, rest = _gathered(read)
    assert len(names) == MOST_CLASSES - 1 and rest == 40 - len(names)
    assert counts.sum() == read.rows
    svg = base64.b64decode(confusion_map(read, "CLIP").uri.split(",")[1]).decode()
    assert f"{rest} more" in svg


def test_records_that_cannot_be_read_are_left_out():
    for bad in (
        {"accuracy": float("nan")},
        {"classes": []},
        {"classes": ["one"]},
        {"confusion": [[1, 2]]},
        {"confusion": [[0] * 3] * 3},
    ):
        assert naming(**bad) == ()
    assert read_exhibits({"gates": {"a": {"mean": []}, "b": None}}).gates == ()
    assert gate_bars((), "x") is None


def test_gates_are_counted_or_drawn_one_by_one():
    mean = np.linspace(0.2, 0.9, 40).tolist()
    about = {
        "image": {"mean": mean, "spread": mean, "saturated": 0.25, "form": "elementwise"},
        "text": {"mean": [0.7, 0.3], "spread": [0.1, 0.1], "saturated": 0, "form": "attention"},
    }
    gates = read_exhibits({"gates": about}).gates
    picture = gate_bars(gates, "Gated")
    assert "image: 0.550 open on average, gates from 0.200 to 0.900, 25 %" in picture.alt
    assert "text: 0.700, 0.300 of the whole, most at 1" in picture.alt
    svg = base64.b64decode(picture.uri.split(",")[1]).decode()
    assert "image: 0.550 open" in svg and "text: share of each position" in svg


def test_shares_of_modalities_stand_side_by_side():
    about = {
        "image": {"mean": [0.75], "spread": [0.1], "saturated": 0.1},
        "text": {"mean": [0.25], "spread": [0.1], "saturated": 0.0},
    }
    picture = gate_bars(read_exhibits({"gates": about}).gates, "AttentionFusion")
    assert picture.title == "Which modality is heard"
    assert "image: 0.750, nearly nothing or all in 10 % of rows; text: 0.250" in picture.alt
    svg = base64.b64decode(picture.uri.split(",")[1]).decode()
    assert "image" in svg and "share" in svg


def test_predictions_fade_in_a_panel_for_each_cause():
    about = {
        "absence": {"measure": "accuracy", "at": [0, 0.9], "value": [0.9, 0.6], "area": 0.75},
        "noise": {"measure": "accuracy", "at": [0, 1, 2], "value": [0.9, 0.8, 0.5], "area": 0.75},
        "odd": {"measure": "accuracy", "at": [0, 1], "value": [0.9], "area": 0.75},
        "bad": None,
    }
    curves = read_exhibits({"predictions": about}).fading
    assert [c.cause for c in curves] == ["absence", "noise"]
    picture = fading_curves(curves, "GatedFusion")
    assert "modalities taken away: accuracy from 0.900 to 0.600, on average 0.750" in picture.alt
    assert "noise: accuracy from 0.900 to 0.500" in picture.alt
    assert fading_curves((), "x") is None


def test_a_method_that_learnt_the_label_shows_its_predictions():
    draw = np.random.default_rng(0)
    y = draw.integers(2, size=80)
    X = Modalities({m: y[:, None] + 0.5 * draw.normal(size=(80, 2)) for m in "ab"})
    data = Dataset(X, {"kind": np.array(["no", "yes"])[y]})
    training = Training(epochs=2, batch_size=40, device="cpu")
    model = AttentionFusion(4, training=training, random_state=0).fit(X, data.labels["kind"])
    values = evaluate(model, data, data, label="kind", random_state=0)
    extras, troubles = gather(model, data, values, "kind", data)
    assert extras["predictions"]["noise"]["area"] == values["predict_noise"]["value"]
    assert not troubles and set(extras["predictions"]) == {"absence", "noise"}
    row = Row("attention", "fusion", False, "", (), (), read_exhibits(extras), "row-0")
    titles = [picture.title for picture in _section(row, "accuracy").pictures]
    assert "Which modality is heard" in titles
    assert "What absence and noise cost the predictions" in titles
    other = Dataset(X, {"kind": np.array(["p", "q"])[y]})
    values = evaluate(model, other, other, label="kind", random_state=0)
    assert "predictions" not in gather(model, other, values, "kind", other)[0]


def test_a_fitted_method_shows_both():
    draw = np.random.default_rng(0)
    which = draw.integers(3, size=90)
    words = np.array(["red", "green", "blue"])[which]
    X = Modalities(
        {
            "x": np.eye(3)[which] * 3 + 0.3 * draw.normal(size=(90, 3)),
            "t": [
                f"{word} {thing}" for word, thing in zip(words, ["box", "hat"] * 45, strict=True)
            ],
        }
    )
    data = Dataset(X, {"colour": words}, splits={"s": np.array(["train", "test", "train"] * 30)})
    model = GatedCoordination(
        4,
        width=8,
        encoders={"x": MLP(width=8, depth=1)},
        training=Training(epochs=1, batch_size=30, device="cpu"),
    )
    train, test = data.part("train"), data.part("test")
    extras, troubles = gather(model.fit(train.X), test, {}, "colour", train)
    assert not troubles and set(extras["gates"]) == {"x", "t"}
    assert np.sum(extras["zero_shot"][0]["confusion"]) == 30
    row = Row("gated", "coordination", False, "", (), (), read_exhibits(extras), "row-0")
    titles = [picture.title for picture in _section(row, "accuracy").pictures]
    assert "How much the gates let pass" in titles
    assert any(title.startswith("colour from x, by words alone") for title in titles)


def test_what_a_method_warned_of_stands_beside_it(comparison):
    comparison["rows"][0]["warnings"] = ["DegenerateDataWarning: fitted without <them>"]
    summary = summarise(comparison)
    assert summary.rows[0].warnings == ("DegenerateDataWarning: fitted without <them>",)
    assert "<li>DegenerateDataWarning: fitted without &lt;them&gt;</li>" in html(summary)
