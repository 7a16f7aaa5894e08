"""What fusions with labels refuse: labels of the wrong kind, classes never shown, parameters."""

import numpy as np
import pytest

from triptych import Modalities, Training
from triptych.errors import DataError, ParameterError, ShapeError
from triptych.fusion import (
    AttentionFusion,
    ConcatFusion,
    GatedFusion,
    LateFusion,
    LowRankFusion,
    MultiplicativeFusion,
    TensorFusion,
)
from triptych.nn.recipes import MLP

ONCE = Training(epochs=1, batch_size=16, device="cpu")
EVERY = {
    cls.__name__: cls
    for cls in (
        AttentionFusion,
        ConcatFusion,
        GatedFusion,
        LateFusion,
        LowRankFusion,
        MultiplicativeFusion,
        TensorFusion,
    )
}


def world(n):
    rng = np.random.default_rng(0)
    s = rng.choice([-1.0, 1.0], size=(n, 2))
    return {m: s[:, [i]] + 0.3 * rng.normal(size=(n, 2)) for i, m in enumerate("ab")}, s


def small(make, **more):
    encoders = {m: MLP(width=16, depth=1) for m in "ab"}
    return make(**{"encoders": encoders, "training": ONCE, "random_state": 0, **more})


@pytest.mark.parametrize("name", EVERY)
def test_a_class_absent_in_training_is_named(name):
    X, s = world(60)
    y = (s[:, 0] > 0).astype(int)
    model = small(EVERY[name])
    strange = np.where(np.arange(60) == 7, 5, y)
    holed = Modalities(X, present={"a": np.arange(60) > 4})
    with pytest.raises(DataError, match="validation y: row 7 has the class 5, which no training"):
        model.fit(X, y, validation=(holed, strange))
    model.fit(X, y)
    # In a score it is an answer that cannot be right.
    right = (model.predict(X) == strange).mean()
    assert model.score(X, strange) == pytest.approx(right) and right < 1


@pytest.mark.parametrize("name", EVERY)
def test_numbers_of_rows_with_nothing_teach_nothing(name):
    X, s = world(40)
    gone = np.arange(40) % 8 == 3
    holed = Modalities(X, present=dict.fromkeys("ab", ~gone))
    y = s.sum(1) + 0.1 * np.arange(40)
    wild = np.where(gone, 1e6, y)
    one, two = (small(EVERY[name]).fit(holed, labels).predict(X) for labels in (y, wild))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("make", [ConcatFusion, LateFusion])
def test_validation_rows_of_which_none_has_anything_are_refused(make):
    X, s = world(40)
    y = (s[:, 0] > 0).astype(int)
    empty = Modalities(X, present=dict.fromkeys("ab", np.zeros(40, bool)))
    with pytest.raises(DataError, match="validation: none of 40 rows has a modality present"):
        small(make).fit(X, y, validation=(empty, y))


def test_labels_of_rows_with_nothing_are_no_second_class():
    X, _ = world(40)
    gone = np.arange(40) == 7
    holed = Modalities(X, present=dict.fromkeys("ab", ~gone))
    with pytest.raises(DataError, match=r"only 0\. Rows that lack every modality do not count"):
        small(ConcatFusion).fit(holed, gone.astype(int))
    with pytest.raises(DataError, match=r"in all 39 rows\. Rows that lack every modality"):
        small(ConcatFusion).fit(holed, gone.astype(float))
    # A class that no other row has is one that is never the answer.
    third = np.where(gone, 2, np.arange(40) % 2)
    assert small(ConcatFusion).fit(holed, third).classes_.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("y", "task", "error", "said"),
    [
        (np.linspace(0, 1, 60), "classification", DataError, "expected classes, got the number"),
        (np.array(["x", "y"] * 30), "regression", DataError, "expected numbers for regression"),
        (np.arange(60) % 2, "multilabel", ShapeError, r"zeros and ones \(n, k\)"),
        (np.arange(120).reshape(60, 2) % 3, "multilabel", DataError, "expected zeros and ones"),
        (np.ones(60), "regression", DataError, "the same value in all 60 rows"),
        (np.arange(60) % 2, "ranking", ParameterError, "task: expected one of"),
        (np.arange(59) % 2, "auto", ShapeError, "60 rows"),
        (np.where(np.arange(60) == 4, np.nan, 1.0), "auto", DataError, "row 4"),
        (None, "auto", DataError, "learns from labels"),
    ],
)
@pytest.mark.parametrize("make", [ConcatFusion, LateFusion])
def test_labels_of_the_wrong_kind_are_refused(make, y, task, error, said):
    with pytest.raises(error, match=said):
        small(make, task=task).fit(world(60)[0], y)


@pytest.mark.parametrize(
    ("make", "given", "said"),
    [
        (ConcatFusion, {"width": {"a": 4}}, r"width: .*\['b'\] have none"),
        (ConcatFusion, {"width": {"a": 4, "b": 4, "c": 4}}, r"\['c'\] are no modalities"),
        (ConcatFusion, {"width": {"a": 4, "b": 0}}, "width__b: expected a whole number >= 1"),
        (ConcatFusion, {"width": 1.5}, "width: expected a whole number"),
        (ConcatFusion, {"head": 3}, r"head: expected MLP\(...\), got 3"),
        (ConcatFusion, {"dropout": 1.0}, "dropout: expected a number"),
        (ConcatFusion, {"modality_dropout": 1.5}, "modality_dropout: expected a number"),
        (AttentionFusion, {"attention": "loud"}, "attention: expected one of"),
        (GatedFusion, {"gate_input": "cooked"}, "gate_input: expected one of"),
        (GatedFusion, {"tied": "yes"}, "tied: expected True, False or None"),
        (TensorFusion, {"width": 500}, "501 \\* 501 = 251001, above limit = 200000"),
        (TensorFusion, {"limit": 0}, "limit: expected a whole number"),
        (TensorFusion, {"product_dropout": 1}, "product_dropout: expected a number"),
        (LowRankFusion, {"rank": 0}, "rank: expected a whole number"),
        (MultiplicativeFusion, {"form": "cubic"}, "form: expected one of"),
        (MultiplicativeFusion, {"main": "c"}, "main: 'c' is no modality"),
        (LateFusion, {"combination": "vote"}, "combination: expected one of"),
        (LateFusion, {"weights": {"a": 0, "b": 0.0}}, r"\['a', 'b'\] sum to zero"),
        (LateFusion, {"weights": {"a": -1}}, "weights__a: expected a number >= 0"),
        (LateFusion, {"weights": {"c": 1}}, r"weights: \['c'\] are no modalities"),
        (LateFusion, {"combination": "stacking", "weights": {"a": 1}}, "stacking learns its"),
        (LateFusion, {"folds": 1}, "folds: expected a whole number >= 2"),
    ],
)
def test_parameters_that_cannot_be_are_named(make, given, said):
    X, s = world(40)
    with pytest.raises(ParameterError, match=said):
        small(make, **given).fit(X, (s[:, 0] > 0).astype(int))


def test_tied_gates_are_for_two():
    X, s = world(40)
    X = {**X, "c": X["a"]}
    y = (s[:, 0] > 0).astype(int)
    with pytest.raises(ParameterError, match=r"there are 3: \['a', 'b', 'c'\]"):
        GatedFusion(tied=True).fit(X, y)
    assert not small(GatedFusion).fit(X, y).tied
