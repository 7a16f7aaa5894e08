"""Grids of noise ask every cell the same rows, and count what is right."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from triptych.contracts.method import Capabilities
from triptych.errors import CapabilityError, DataError, ParameterError
from triptych.evaluation import NoiseGrid, noise_grid
from triptych.modalities import Modalities, as_modalities
from triptych.noise import add_noise

LEVELS = {"a": (math.inf, 0.0), "b": (math.inf, 10.0, -20.0)}


class Sign:
    """Predicts the sign of the sum of the first columns."""

    panel = "fusion"
    names_in_ = ("a", "b")

    def __init__(self, predicts=True, task="classification"):
        self.capabilities = Capabilities(predicts=predicts, needs_labels=predicts)
        self.target_ = SimpleNamespace(task=task)

    def transform(self, X):
        X = as_modalities(X)
        return np.stack([X["a"][:, 0], X["b"][:, 0]], axis=1)

    def predict(self, X):
        total = self.transform(X).sum(axis=1)
        return total if self.target_.task == "regression" else total > 0


def data(n=200, seed=0):
    rng = np.random.default_rng(seed)
    X = {"a": rng.normal(size=(n, 2)), "b": 3 * rng.normal(size=(n, 2))}
    return X, X["a"][:, 0] + X["b"][:, 0] > 0


def test_every_cell_is_the_accuracy_on_the_same_noisy_rows():
    X, y = data()
    grid = noise_grid(Sign(), X, y, LEVELS, random_state=4)
    assert grid.value.shape == (2, 3) and grid.value[0, 0] == 1 and grid.rows == 200
    for i, a in enumerate(LEVELS["a"]):
        for j, b in enumerate(LEVELS["b"]):
            noisy = add_noise(X, {"a": a, "b": b}, random_state=4)
            wanted = np.mean(Sign().predict(noisy) == y)
            assert grid.value[i, j] == wanted == grid.at(a=a, b=b)
    assert grid.at(a=0, b=-20) < 0.75
    assert grid.mean == grid.value.mean()
    p = grid.value[1, 2]
    assert grid.standard_error[1, 2] == pytest.approx(math.sqrt(p * (1 - p) / 200))


def test_a_probe_answers_for_methods_without_labels():
    X, y = data()
    T, y_new = data(seed=1)
    model = Sign(predicts=False)
    grid = noise_grid(model, T, y_new, {"b": (math.inf, -20)}, train=X, y_train=y)
    assert grid.value.shape == (2,) and grid.value[0] > 0.95 and grid.value[1] < 0.75
    with pytest.raises(CapabilityError, match="give train and y_train"):
        noise_grid(model, T, y_new, LEVELS)
    with pytest.raises(DataError, match="y_train"):
        noise_grid(model, T, y_new, LEVELS, train=X)


@pytest.mark.parametrize("predicts", [True, False])
def test_rows_that_the_method_cannot_take_are_left_out(predicts):
    X, y = data()
    T, asked = data(n=100, seed=1)
    few = {"a": np.arange(100) % 4 > 0}
    gaps = Modalities(T, present=few)
    kept = {name: v[few["a"]] for name, v in T.items()}
    probe = {} if predicts else {"train": Modalities(X), "y_train": y}
    told = noise_grid(Sign(predicts), gaps, asked, LEVELS, **probe)
    wanted = noise_grid(Sign(predicts), kept, asked[few["a"]], LEVELS, **probe)
    assert told.rows == 75 and np.array_equal(told.value, wanted.value)
    if not predicts:
        holes = Modalities(X, present={"a": np.arange(200) % 4 > 0})
        holed = noise_grid(Sign(False), T, asked, LEVELS, train=holes, y_train=y)
        assert holed.rows == 100 and holed.value[0, 0] > 0.9
    nothing = Modalities(T, present={"a": np.zeros(100, bool)})
    with pytest.raises(DataError, match="no row has the modalities that Sign needs"):
        noise_grid(Sign(predicts), nothing, asked, LEVELS, **probe)


def test_numbers_have_r2_and_no_standard_error():
    X, _ = data()
    total = X["a"][:, 0] + X["b"][:, 0]
    grid = noise_grid(Sign(task="regression"), X, total, {"a": (math.inf, 0)})
    assert grid.measure == "R2" and grid.value[0] == 1
    # Of variance 1 + 9, noise of variance 1; 200 rows know each variance to 10 %.
    assert grid.value[1] == pytest.approx(0.9, abs=0.03)
    assert np.isnan(grid.standard_error).all()


def test_several_numbers_a_row_have_the_mean_of_their_r2():
    X, _ = data()
    model = Sign(task="regression")
    model.predict = lambda X: as_modalities(X)["a"] * [1, 0] + [0, 100]
    y = X["a"] * [1, 1e-3] + [0, 100]  # the second is guessed by its mean, and tiny
    grid = noise_grid(model, X, y, {"a": (math.inf,)})
    # Its own mean differs from 100 by chance alone.
    assert grid.value[0] == pytest.approx(0.5, abs=0.03)


def test_refuses_labels_of_another_type():
    X, y = data()
    with pytest.raises(DataError, match="y: predictions are bool and labels <U3"):
        noise_grid(Sign(), X, np.where(y, "yes", "no"), LEVELS)


@pytest.mark.parametrize("levels", [{}, {"a": ()}])
def test_refuses_no_levels(levels):
    with pytest.raises(ParameterError, match="levels: expected some for each modality"):
        noise_grid(Sign(), *data(), levels)


def test_refuses_a_level_that_was_not_asked():
    grid = NoiseGrid({"a": (math.inf, 0.0)}, np.ones(2), "accuracy", 3)
    with pytest.raises(ParameterError, match="'a' has the levels"):
        grid.at(a=5)
    with pytest.raises(ParameterError, match="expected a level of"):
        grid.at(b=5)


@pytest.mark.parametrize("levels", [{"a": 10}, [10, 0], {}, {"a": ()}, {"a": "10"}])
def test_levels_are_lists_by_modality(levels):
    X = {"a": np.zeros((2, 1))}
    with pytest.raises(ParameterError, match="levels: expected some for each modality"):
        noise_grid(Sign(), X, [0, 1], levels)
