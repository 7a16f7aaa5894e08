"""What predictions are worth: figures by hand, curves, and columns of a comparison."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from triptych import Training
from triptych.comparison import compare
from triptych.contracts.method import Capabilities
from triptych.dataset import Dataset
from triptych.errors import CapabilityError, DataError, ParameterError, ShapeError
from triptych.evaluation import (
    calibration,
    columns,
    evaluate,
    prediction_by_absence,
    prediction_by_noise,
    prediction_score,
)
from triptych.evaluation.prediction import PredictionCurve
from triptych.fusion import ConcatFusion, LateFusion
from triptych.modalities import Modalities
from triptych.nn.recipes import MLP

# -- calibration ---------------------------------------------------------------------------


def test_calibration_is_its_definition():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 1, 1], size=200)
    classes = np.array(["x", "y", "z"])
    y = classes[rng.integers(0, 3, size=200)]
    found = calibration(p, y, classes, bins=10)
    bins = [[] for _ in range(10)]
    for row, label in zip(p, y, strict=True):
        bins[min(int(row.max() * 10), 9)].append((row.max(), classes[row.argmax()] == label))
    ece = sum(
        len(b) / 200 * abs(np.mean([s for s, _ in b]) - np.mean([r for _, r in b]))
        for b in bins
        if b
    )
    assert found.ece == pytest.approx(ece)
    brier = np.mean(
        [((row - (classes == label)) ** 2).sum() for row, label in zip(p, y, strict=True)]
    )
    assert found.brier == pytest.approx(brier)
    assert found.rows == 200


def test_two_classes_are_twice_what_scikit_learn_says():
    rng = np.random.default_rng(0)
    p, y = rng.random(100), rng.integers(0, 2, size=100)
    found = calibration(np.c_[1 - p, p], y, [0, 1])
    assert found.brier == pytest.approx(2 * brier_score_loss(y, p))


def test_surely_right_surely_wrong_and_too_sure():
    y = np.array([0, 1, 0, 1, 1])
    sure = np.eye(2)[y]
    assert calibration(sure, y, [0, 1]) == calibration(sure, y, [0, 1], bins=1)
    assert (calibration(sure, y, [0, 1]).ece, calibration(sure, y, [0, 1]).brier) == (0, 0)
    wrong = calibration(1 - sure, y, [0, 1])
    assert (wrong.ece, wrong.brier) == (1, 2)
    # Right in 3 of 5 rows, and 0.8 sure in each.
    assert calibration(np.tile([0.2, 0.8], (5, 1)), y, [0, 1]).ece == pytest.approx(0.2)


def test_a_class_without_a_column_counts_against():
    found = calibration([[0.5, 0.5]], ["new"], ["a", "b"])
    assert found.brier == pytest.approx(0.5**2 + 0.5**2 + 1) and found.ece == 0.5


def test_several_labels_are_judged_one_by_one():
    p, y = np.array([[0.9, 0.2], [0.9, 0.2]]), np.array([[1, 0], [1, 1]])
    found = calibration(p, y, bins=10)
    assert found.brier == pytest.approx((0.01 + 0.04 + 0.01 + 0.64) / 4)
    # Half of the entries say 0.9 and are 1; half say 0.2 and are 1 in half.
    assert found.ece == pytest.approx((0.1 + 0.3) / 2)


@pytest.mark.parametrize(
    ("p", "y", "classes", "error", "said"),
    [
        ([0.5, 0.5], [0, 1], [0, 1], ShapeError, r"\(n, k\)"),
        ([[0.5, 1.5]], [0], [0, 1], DataError, r"row 0 has \[0.5, 1.5\]"),
        ([[np.nan, 0.5]], [0], [0, 1], DataError, "row 0"),
        ([[0.5, 0.5]], [0], [0, 1, 2], ShapeError, "do not fit"),
        ([[0.5, 0.5]], [0], None, ShapeError, "zeros and ones"),
        ([[0.5, 0.5]], [[2, 0]], None, DataError, r"zeros and ones, got \[2, 0\] at row 0"),
        ([[0.5, 0.5]], ["a"], [0, 1], DataError, "classes are int64 and labels <U1"),
        ([[0.5, 0.5]], [0, 1], [0, 1], ShapeError, "1 rows"),
    ],
)
def test_probabilities_that_cannot_be_are_refused(p, y, classes, error, said):
    with pytest.raises(error, match=said):
        calibration(p, y, classes)


# -- noise and curves ----------------------------------------------------------------------


def test_the_area_is_the_mean_height():
    assert PredictionCurve((0.0, 1.0), (1.0, 0.5)).area == pytest.approx(0.75)
    assert PredictionCurve((0.0, 0.5, 2.0), (1.0, 0.0, 0.0)).area == pytest.approx(0.125)


@pytest.mark.parametrize("at", [(), (0.5,), (0.5, 0.2), (0.2, 0.2)])
def test_what_makes_no_curve_is_refused(at):
    X, y = signs(20)
    with pytest.raises(ParameterError, match="shares: expected at least two, each above"):
        prediction_by_absence(Sign(), X, y, shares=at)
    with pytest.raises(ParameterError, match="levels: expected at least two, each above"):
        prediction_by_noise(Sign(), X, y, levels=at)
    with pytest.raises(ParameterError, match=r"levels: expected a number >= 0 and <= 1e\+06"):
        prediction_by_noise(Sign(), X, y, levels=(0, np.inf))


class Sign:
    """Says whether the mean of what is present is positive."""

    capabilities = Capabilities(missing_at_transform=True, predicts=True)
    classes_ = np.array([0, 1])

    def predict(self, X):
        masks = np.stack([X.present[m] for m in X.names])
        values = np.stack([np.asarray(X[m])[:, 0] for m in X.names])
        return ((values * masks).sum(0) > 0).astype(int)


def signs(n=400):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, size=n)
    told = np.where(y, 1.0, -1.0)[:, None]
    return Modalities({m: told + rng.normal(size=(n, 1)) for m in "ab"}), y


def test_curves_fall_as_rows_get_worse():
    X, y = signs()
    absence, noise = (f(Sign(), X, y) for f in (prediction_by_absence, prediction_by_noise))
    assert absence.at == (0.0, 0.3, 0.6, 0.9) and noise.at == (0.0, 0.5, 1.0, 2.0)
    for curve in (absence, noise):
        assert curve.value[0] == prediction_score(Sign().predict(X), y)
        assert curve.value[0] > curve.area > curve.value[-1] > 0.5
    rigid = Sign()
    rigid.capabilities = Capabilities(predicts=True)
    with pytest.raises(CapabilityError, match="Sign needs every modality"):
        prediction_by_absence(rigid, X, y)
    words = Modalities({m: ["a"] * 3 for m in "ab"})
    with pytest.raises(DataError, match="all modalities are texts"):
        prediction_by_noise(Sign(), words, y[:3])


def test_scores_of_predictions():
    assert prediction_score(["a", "b"], ["a", "c"]) == 0.5
    assert prediction_score([[0, 1], [1, 1]], [[0, 1], [0, 1]]) == 0.5
    assert prediction_score([1.0, 2.0], [1.0, 3.0], 2.0) == 0.5
    # Of several numbers a row: each against its own mean, and units do not matter.
    truth, found = np.array([[1.0, 1e4], [3.0, 3e4]]), np.array([[1.0, 2e4], [3.0, 2e4]])
    assert prediction_score(found, truth, truth.mean(axis=0)) == 0.5
    with pytest.raises(DataError, match="predictions are int64 and labels <U1"):
        prediction_score([0, 1], ["a", "b"])
    with pytest.raises(ShapeError, match=r"\(2,\), labels \(3,\)"):
        prediction_score([1, 2], [1, 2, 3])


# -- in a comparison -----------------------------------------------------------------------


def dataset(n=160, seed=0):
    rng = np.random.default_rng(seed)
    s = rng.choice([-1.0, 1.0], size=(n, 2))
    X = {m: s[:, [i]] + 0.3 * rng.normal(size=(n, 3)) for i, m in enumerate("ab")}
    labels = {
        "same": np.where(s.prod(1) > 0, "yes", "no"),
        "sum": s.sum(1),
        "other": np.array(["p", "q"])[(s[:, 0] > 0).astype(int)],
    }
    return Dataset(Modalities(X), labels=labels)


TRAIN, TEST = dataset(), dataset(100, seed=1)


def fitted(label, make=ConcatFusion):
    model = make(
        encoders={m: MLP(width=16, depth=1) for m in "ab"},
        training=Training(epochs=15, batch_size=40, learning_rate=2e-2, device="cpu"),
        random_state=0,
    )
    return model.fit(TRAIN.X, TRAIN.labels[label])


def test_a_method_that_predicts_is_judged_by_its_predictions():
    model = fitted("same")
    values = evaluate(model, TRAIN, TEST, label="same")
    assert values["predict"]["value"] == model.score(TEST.X, TEST.labels["same"]) > 0.9
    # No modality alone says anything about the product of two signs.
    assert values["predict_gain"]["value"] > 0.25
    assert abs(values["predict:a"]["value"] - 0.5) < 0.2
    told = calibration(model.predict_proba(TEST.X), TEST.labels["same"], model.classes_)
    assert values["predict_ece"]["value"] == told.ece
    assert values["predict_brier"]["value"] == told.brier
    curve = prediction_by_absence(model, TEST.X, TEST.labels["same"])
    assert values["predict_missing"]["value"] == curve.area < values["predict"]["value"]
    assert values["predict_noise"]["value"] < values["predict"]["value"]


def test_numbers_have_r2_and_no_probabilities():
    values = evaluate(fitted("sum", LateFusion), TRAIN, TEST, label="sum")
    assert 0.5 < values["predict"]["value"] < 1
    assert "numbers have no probabilities" in values["predict_ece"]["why"]
    units = {c["key"]: c["unit"] for c in columns(TRAIN, "sum")}
    assert units["predict"] == units["predict_noise"] == "R²"
    assert {c["key"]: c["unit"] for c in columns(TRAIN, "same")}["predict"] == "accuracy"


def test_what_does_not_apply_says_why():
    model = fitted("same")
    other = evaluate(model, TRAIN, TEST, label="other")
    assert "the method learnt other classes" in other["predict"]["why"]
    assert other["predict_gain"]["why"] == other["predict"]["why"]
    numbers = evaluate(model, TRAIN, TEST, label="sum")
    assert "learnt classes, and these labels are numbers" in numbers["predict"]["why"]


def test_a_comparison_shows_predictions_where_a_method_predicts():
    training = {"epochs": 2, "batch_size": 40, "device": "cpu"}
    record = compare(TRAIN, methods=["ConcatFusion", "CCA"], label="other", training=training)
    keys = [c["key"] for c in record["columns"]]
    assert {"predict", "predict_gain", "predict:a", "predict_brier"} <= set(keys)
    by_name = {row["name"]: row["values"] for row in record["rows"]}
    assert by_name["ConcatFusion"]["predict"]["mean"] > 0.5
    without = compare(TRAIN, methods=["CCA"], label="other", training=training)
    assert not [c for c in without["columns"] if c["group"] == "Prediction"]


def test_classes_that_only_validation_rows_have_do_not_stop_a_comparison():
    y = TRAIN.labels["other"].copy()
    part = np.array(["train"] * 100 + ["valid"] * 30 + ["test"] * 30)
    y[110] = "r"
    data = Dataset(TRAIN.X, labels={"other": y}, splits={"s": part})
    training = {"epochs": 2, "batch_size": 40, "device": "cpu"}
    record = compare(data, methods=["LateFusion"], label="other", training=training)
    (row,) = [row for row in record["rows"] if row["name"] == "LateFusion"]
    assert row["status"] == "ok" and row["values"]["predict"]["mean"] > 0.5
