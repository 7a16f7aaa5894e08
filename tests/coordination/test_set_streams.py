"""MCCA and GCCA from batches that are read once: what the whole gives."""

import numpy as np
import pytest

import triptych
from triptych import Modalities
from triptych.coordination import GCCA, MCCA
from triptych.errors import (
    CapabilityError,
    DataError,
    DegenerateDataWarning,
    ModalityError,
    NotFittedError,
    ParameterError,
    ShapeError,
)

from .sets_data import related

ATTRIBUTES = ("correlations_", "eigenvalues_", "weights_", "loadings_", "means_")


def batches(X, size):
    whole = Modalities(X) if isinstance(X, dict) else X
    return [whole[low : low + size] for low in range(0, len(whole), size)]


def with_gaps(X, seed=0):
    random = np.random.default_rng(seed)
    n = len(X["a"])
    return Modalities(X, present={m: random.random(n) < 0.7 for m in X})


def assert_same(one, two, tolerance=1e-9):
    assert one.n_samples_ == two.n_samples_ and one.rank_ == two.rank_
    for part in ATTRIBUTES:
        mine, other = getattr(one, part), getattr(two, part)
        for m in mine if isinstance(mine, dict) else [slice(None)]:
            size = np.abs(other[m]).max()
            np.testing.assert_allclose(mine[m], other[m], atol=tolerance * size, rtol=0)


@pytest.mark.parametrize("size", [1, 7, 64, 500])
@pytest.mark.parametrize(
    "method", [MCCA(2, ridge={"a": 0.3, "b": 0, "c": 0}), GCCA(shrinkage=0.1)]
)
def test_batches_of_any_size_are_the_whole(method, size):
    X = related()
    X["a"] = X["a"] * [1, 10, 1e3, 1e-3, 1] + [1e4, 0, 0, 0, -5]
    for data in (X, with_gaps(X)):
        whole = method.__class__(**method.get_params(deep=False)).fit(data)
        parts = method.__class__(**method.get_params(deep=False))
        for batch in batches(data, size):
            assert parts.partial_fit(batch) is parts
        assert_same(parts, whole)
        once = method.__class__(**method.get_params(deep=False)).fit(iter(batches(data, size)))
        assert_same(once, whole)
        np.testing.assert_allclose(
            parts.transform(data)["b"], whole.transform(data)["b"], atol=1e-8
        )


def test_sizes_far_from_one_and_pictures():
    X = related()
    X["b"] = X["b"] * 1e140
    assert_same(GCCA(2).fit(iter(batches(with_gaps(X), 40))), GCCA(2).fit(with_gaps(X)))
    rng = np.random.default_rng(0)
    images = {**related(90), "c": rng.integers(0, 255, (90, 1, 2, 2)).astype(np.uint8)}
    assert_same(MCCA(2).fit(iter(batches(images, 25))), MCCA(2).fit(images))


@pytest.mark.parametrize("cls", [MCCA, GCCA])
def test_a_saved_stream_goes_on(cls, tmp_path):
    X = with_gaps(related())
    cls(1).partial_fit(X[:70]).save(tmp_path / "m")
    again = triptych.load(tmp_path / "m").partial_fit(X[70:])
    assert_same(again, cls(1).fit(X))
    with pytest.raises(CapabilityError, match="keeps no moments"):
        cls().fit(X).partial_fit(X)
    assert_same(again.fit(X), cls(1).fit(X))


def test_what_does_not_fit_is_named():
    X = related()
    with pytest.raises(ParameterError, match=r"ridge: expected a number for each of"):
        MCCA(ridge={"a": 1.0}).partial_fit(X)
    with pytest.raises(ModalityError, match="MCCA takes two modalities or more; got"):
        MCCA().partial_fit({"a": X["a"]})
    with pytest.raises(ModalityError, match=r"batch 2: .*batches before, \['a', 'b', 'c'\]"):
        MCCA().fit(iter([X, {"a": X["a"], "b": X["b"]}]))
    with pytest.raises(ShapeError, match=r"batch 2: modality 'a'.*vector \(3\)"):
        GCCA().fit(iter([X, {**X, "a": X["a"][:, :3]}]))
    with pytest.raises(CapabilityError, match="words of modality 'b'"):
        GCCA().partial_fit({"a": X["a"][:2], "b": ["x", "y"]})
    model = GCCA(5).partial_fit(X)
    assert not hasattr(model, "weights_")
    with pytest.raises(ParameterError, match="at most 4, the second largest rank"):
        model.transform(X)
    few = MCCA()
    with pytest.raises(NotFittedError):
        few.transform(X)
    absent = Modalities(X, present={"a": np.arange(150) < 1})
    with pytest.raises(DataError, match="MCCA needs 2 rows with all of"):
        few.partial_fit(absent).transform(X)
    lonely = {"a": np.arange(150) < 75, "b": np.arange(150) >= 75}
    two = Modalities({m: X[m] for m in "ab"}, present=lonely)
    with pytest.raises(DataError, match="GCCA needs 2 rows that have two modalities or more; got"):
        _ = GCCA().partial_fit(two).weights_
    with pytest.raises(DataError, match="'a': every column is constant"):
        _ = GCCA().partial_fit({**X, "a": np.ones((150, 2))}).weights_


@pytest.mark.parametrize("cls", [MCCA, GCCA])
def test_one_pass_says_what_it_cannot_see(cls):
    X = related()
    copied = {**X, "a": np.column_stack([X["a"], X["a"][:, 0]])}
    with pytest.warns(DegenerateDataWarning, match="'a': one pass.*5 directions of 6"):
        model = cls(2).fit(iter(batches(copied, 50)))
    np.testing.assert_allclose(model.eigenvalues_, cls(2).fit(X).eigenvalues_, atol=1e-9)
    near = {**X, "a": np.column_stack([X["a"], X["a"][:, 0] * (1 + 1e-6 * X["b"][:, 0])])}
    with pytest.warns(DegenerateDataWarning, match="one pass over rows"):
        cls(2).fit(iter(batches(near, 50)))
