from types import SimpleNamespace

import numpy as np
import pytest

from triptych.contracts.method import Capabilities
from triptych.errors import CapabilityError, DataError, ShapeError
from triptych.evaluation.reconstruction import (
    reconstruct_absent,
    reconstruction_r2,
    training_mean,
)
from triptych.modalities import Modalities


def model(rebuild=None, reconstructs=True, missing=True, **more):
    able = Capabilities(reconstructs=reconstructs, missing_at_transform=missing)
    return SimpleNamespace(capabilities=able, reconstruct=rebuild, **more)


def test_r2_equals_a_loop_over_all_entries():
    rng = np.random.default_rng(0)
    truth, made, mean = rng.random((5, 2, 3)), rng.random((5, 2, 3)), rng.random((2, 3))
    error = spread = 0.0
    for i in range(5):
        for j in range(2):
            for k in range(3):
                error += (truth[i, j, k] - made[i, j, k]) ** 2
                spread += (truth[i, j, k] - mean[j, k]) ** 2
    found = reconstruction_r2(truth, made, mean)
    assert found.value == pytest.approx(1 - error / spread)
    assert found.loss == pytest.approx(error / 30)
    assert found.baseline == pytest.approx(spread / 30)


def test_the_truth_scores_one_and_the_mean_zero():
    rng = np.random.default_rng(0)
    train = Modalities({"x": rng.random((50, 3)), "y": rng.random((50, 1, 4, 4))})
    test = train[:20]
    perfect = model(lambda X: test)
    assert reconstruct_absent(perfect, train, test, "y").value == 1
    mean = training_mean(train, "y")
    lazy = model(lambda X: Modalities({"y": np.tile(mean, (len(X), 1, 1, 1))}))
    assert reconstruct_absent(lazy, train, test, "y").value == pytest.approx(0, abs=1e-12)


def test_only_rows_with_truth_and_something_given_are_used():
    seen = {}
    data = {"x": np.arange(4.0)[:, None], "y": np.arange(4.0)[:, None]}
    test = Modalities(data, present={"x": [1, 1, 0, 1], "y": [1, 1, 1, 0]})

    def rebuild(X):
        seen.update(names=X.names, rows=len(X))
        return Modalities({"x": X["x"], "y": X["x"]})

    found = reconstruct_absent(model(rebuild), Modalities(data), test, "y")
    assert seen == {"names": ("x",), "rows": 2}
    assert found.n == 2 and found.value == 1


def test_the_mean_of_training_rows_skips_absent_ones():
    X = Modalities({"x": np.array([[1.0], [9.0], [3.0]])}, present={"x": [1, 0, 1]})
    assert training_mean(X, "x").tolist() == [2.0]
    images = Modalities({"i": np.full((2, 1, 2, 2), 200, dtype=np.uint8)})
    assert training_mean(images, "i").max() == 200


def test_text_is_measured_by_the_model_against_its_unigram():
    X = Modalities({"x": np.eye(3), "t": ["a", "b", "c"]})
    able = model(
        reconstruction_loss=lambda given, truth: {"t": 1.5},
        reconstruction_baseline=lambda truth: {"t": 2.0},
    )
    found = reconstruct_absent(able, X, X, "t")
    assert (found.value, found.loss, found.baseline, found.n) == (0.25, 1.5, 2.0, 3)
    with pytest.raises(CapabilityError, match="no reconstruction_loss"):
        reconstruct_absent(model(), X, X, "t")
    other = model(
        reconstruction_loss=lambda given, truth: {}, reconstruction_baseline=lambda truth: {}
    )
    with pytest.raises(CapabilityError, match="no cross-entropy for 't'"):
        reconstruct_absent(other, X, X, "t")
    broken = model(
        reconstruction_loss=lambda given, truth: {"t": float("nan")},
        reconstruction_baseline=lambda truth: {"t": 2.0},
    )
    with pytest.raises(DataError, match="not finite"):
        reconstruct_absent(broken, X, X, "t")


def test_what_cannot_be_asked_says_why():
    X = Modalities({"x": np.eye(3), "y": np.eye(3)})
    with pytest.raises(CapabilityError, match="no decoders"):
        reconstruct_absent(model(reconstructs=False), X, X, "y")
    with pytest.raises(CapabilityError, match="needs every modality"):
        reconstruct_absent(model(missing=False), X, X, "y")
    with pytest.raises(DataError, match="no other modality"):
        reconstruct_absent(model(), X.select("y"), X.select("y"), "y")
    none = X.with_present({"x": np.zeros(3, bool)})
    with pytest.raises(DataError, match="no test row has 'y'"):
        reconstruct_absent(model(), X, none, "y")
    bad = np.eye(3)
    bad[2, 2] = np.nan
    with pytest.raises(DataError, match="not finite at row 2"):
        reconstruction_r2(np.eye(3), bad, np.zeros(3))
    with pytest.raises(ShapeError, match="one shape"):
        reconstruction_r2(np.eye(3), np.eye(3)[:2], np.zeros(3))
    with pytest.raises(DataError, match="constant"):
        reconstruction_r2(np.ones((3, 2)), np.ones((3, 2)), np.ones(2))
