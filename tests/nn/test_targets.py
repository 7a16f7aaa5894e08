"""Labels to numbers and back."""

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, r2_score

from triptych.errors import DataError, ParameterError, ShapeError
from triptych.nn.targets import learn_target


def test_classes_keep_their_own_names():
    y = np.array(["b", "a", "c", "a"])
    target = learn_target(y)
    assert target.task == "classification" and target.width == 3
    assert target.numbers(y).tolist() == [1, 0, 2, 0]
    outputs = np.log([[0.2, 0.7, 0.1], [0.1, 0.1, 0.8]])
    assert target.labels(outputs).tolist() == ["b", "c"]
    np.testing.assert_allclose(target.probabilities(outputs)[0], [0.2, 0.7, 0.1])


def test_numbers_come_back_in_their_units():
    y = np.array([1.0, 3.0, 5.0])
    target = learn_target(y)
    scaled = target.numbers(y)
    assert scaled.shape == (3, 1) and abs(scaled.mean()) < 1e-7
    np.testing.assert_allclose(target.labels(scaled), y, rtol=1e-6)  # float32 in between
    wide = learn_target(np.arange(6.0).reshape(3, 2))
    assert wide.labels(np.zeros((4, 2))).shape == (4, 2)


def test_losses_are_the_textbook_ones():
    outputs, y = torch.tensor([[1.0, -1.0], [0.5, 2.0]]), torch.tensor([0, 1])
    classes = learn_target(np.array([0, 1]))
    by_hand = -torch.log_softmax(outputs, dim=1)[[0, 1], [0, 1]].mean()
    assert torch.allclose(classes.loss(outputs, y), by_hand)
    several = learn_target(np.array([[0, 1], [1, 0]]))
    truth = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    p = torch.sigmoid(outputs)
    by_hand = -(truth * p.log() + (1 - truth) * (1 - p).log()).mean()
    assert torch.allclose(several.loss(outputs, truth), by_hand)
    assert several.labels(outputs.numpy()).tolist() == [[1, 0], [1, 1]]


@pytest.mark.parametrize(
    ("y", "task", "error", "said"),
    [
        (np.zeros(3, int), "auto", DataError, "at least 2 classes"),
        (np.ones(3), "auto", DataError, "same value"),
        (np.array([0.5, 1.0]), "classification", DataError, "0.5 at row 0"),
        (np.array([[0, 2], [1, 0]]), "auto", DataError, "row 0, column 1"),
        (np.array(["a", "b"]), "regression", DataError, "numbers"),
        (np.arange(3), "ranking", ParameterError, "ranking"),
        (np.arange(3), "multilabel", ShapeError, "zeros and ones"),
    ],
)
def test_labels_that_do_not_fit_are_refused(y, task, error, said):
    with pytest.raises(error, match=said):
        learn_target(y, task)


def test_a_class_that_was_never_seen_is_named():
    with pytest.raises(DataError, match="row 1 has the class 7"):
        learn_target(np.array([0, 1])).numbers(np.array([0, 7]), "validation y")


def test_numbers_have_no_probabilities():
    with pytest.raises(ParameterError, match="predict_proba"):
        learn_target(np.array([0.0, 1.0])).probabilities(np.zeros((1, 1)))


def test_sizes_whose_squares_leave_the_range():
    y = np.array([1.0, 3.0, 5.0])
    for size in (1e200, 1e-170):
        target = learn_target(y * size)
        np.testing.assert_allclose(target.numbers(y * size), learn_target(y).numbers(y), atol=1e-6)


def test_numbers_too_far_to_compute_with_are_named():
    target = learn_target(np.array([1.0, 3.0, 5.0]))
    for far in (1e200, 1e17):  # neither of whose squares is a float32
        with pytest.raises(DataError, match=r"validation y: row 1 has 1e\+\d+ in column 0"):
            target.numbers(np.array([2.0, far]), "validation y")
    # The square of this one is no float32 either, and in a score need not be one.
    assert np.isfinite(target.score(np.array([0.0, 1e15]), np.array([0.0, 0.0])))


def test_equal_labels_that_rounding_parts_have_no_score():
    y = np.array([0.1, 0.7, 0.3])
    same = np.full(10, 0.9)
    scaled = (same - y.mean()) / y.std()
    assert scaled.mean() != scaled[0]  # the mean of equal numbers is another
    with pytest.raises(DataError, match="at least 2 rows whose labels differ"):
        learn_target(y).score(same, y)


def test_scores_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    y, found = rng.normal(size=(2, 50, 2)) * [1, 100]
    # numbers() gives float32
    assert learn_target(y).score(y, found) == pytest.approx(r2_score(y, found), rel=1e-5)
    y, found = rng.integers(0, 3, size=(2, 50))
    assert learn_target(y).score(y, found) == accuracy_score(y, found)
    y, found = rng.integers(0, 2, size=(2, 50, 3))
    assert learn_target(y).score(y, found) == accuracy_score(y, found)


@pytest.mark.parametrize(
    ("learnt", "y", "error", "said"),
    [
        (np.arange(3), np.array(["a", "b"]), DataError, "classes learnt are int64"),
        (np.arange(3), np.zeros((2, 2), int), ShapeError, "one class per row"),
        (np.arange(3.0), np.array(["a", "b"]), DataError, "numbers for regression"),
        (np.arange(3.0), np.zeros((2, 2)), ShapeError, r"\(n,\)"),
        (np.arange(3.0), np.array([2.0]), DataError, "at least 2 rows whose labels differ"),
        (np.eye(3, dtype=int), np.array([[1, 2, 0]]), DataError, "zeros and ones"),
        (np.eye(3, dtype=int), np.eye(2, dtype=int), ShapeError, r"\(n, 3\)"),
    ],
)
def test_scores_refuse_labels_of_another_form(learnt, y, error, said):
    with pytest.raises(error, match=said):
        learn_target(learnt).score(y, y)
