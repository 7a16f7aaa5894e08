"""Moments gathered in blocks, merged, and cleared of another modality's effect."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.blocks import Rows
from triptych.linalg import shrinkage
from triptych.moments import gather, partial


def sources(*arrays):
    return [Rows("abc"[i], X, X.shape[1]) for i, X in enumerate(arrays)]


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@given(
    n=st.integers(2, 40),
    cut=st.integers(1, 39),
    mean=st.sampled_from([0.0, 3.0, -1e7]),
    scale=st.sampled_from([1.0, 1e150, 1e-150]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=40, deadline=None, derandomize=True, database=None)
def test_parts_merge_into_the_whole(n, cut, mean, scale, seed):
    X, Y = (draw(n, 3, seed=seed) + mean) * scale, draw(n, 2, seed=seed + 1)
    cut = min(cut, n - 1)
    one = gather(sources(X[:cut], Y[:cut])).merged(gather(sources(X[cut:], Y[cut:])))
    far = X / scale - mean
    assert one.n == n
    np.testing.assert_allclose(one.means[0] / scale, X.mean(axis=0) / scale, rtol=1e-13)
    joint = np.corrcoef(np.column_stack([far, Y]).T)
    # A mean of 1e7 leaves 9 digits of each number.
    tolerance = 1e-8 * np.sqrt(n) if abs(mean) > 10 else 1e-10
    if n > 3:
        np.testing.assert_allclose(one.correlation(0, 1), joint[:3, 3:], atol=tolerance)
        np.testing.assert_allclose(one.correlation(0, 0), joint[:3, :3], atol=tolerance)


def test_blocks_are_added_up_beyond_one():
    X, Y = draw(9000, 4).astype(np.float32), draw(9000, 3, seed=1).astype(np.float32)
    for single, tolerance in ((False, 1e-13), (True, 1e-8)):
        found = gather(sources(X, Y), single=single)
        joint = np.corrcoef(np.column_stack([X, Y]).astype(float).T)
        np.testing.assert_allclose(found.correlation(0, 1), joint[:4, 4:], atol=tolerance)
        np.testing.assert_allclose(found.correlation(1, 1), joint[4:, 4:], atol=tolerance)
        assert np.abs(found.correlation(0, 0) - joint[:4, :4]).max() <= found.noise


def test_constant_columns_are_seen():
    X = np.column_stack([draw(700), np.full(700, 0.1), np.zeros(700), np.full(700, 1e16)])
    columns = gather(sources(X)).columns(0)
    assert columns.constant.tolist() == [False, True, True, True]
    assert gather(sources(X[:, [0, 2]])).columns(0).constant.tolist() == [False, True]
    halves = [gather(sources(X[part])) for part in (slice(0, 333), slice(333, None))]
    assert halves[0].merged(halves[1]).columns(0).constant.tolist() == [False, True, True, True]


def test_what_the_pilot_missed_is_counted():
    X = np.concatenate([draw(100_000, 1), draw(100, 1) + 1e7])
    X = X[np.argsort(np.random.default_rng(0).random(len(X)))]
    found = gather(sources(X))
    exact = np.cov(X.T.astype(np.longdouble), ddof=1)
    assert float(found.columns(0).spreads[0] ** 2) == pytest.approx(float(exact), rel=1e-12)


def test_slices_and_indices_of_rows():
    X = draw(50, 3)
    for rows in (slice(5, 30), slice(1, 40, 3), np.array([3, 1, 44, 2])):
        source = Rows("a", X, 3, rows)
        np.testing.assert_array_equal(source.block(1, 3), X[rows][1:3])
        assert source.n == len(X[rows])
        np.testing.assert_allclose(gather([source]).means[0], X[rows].mean(axis=0), atol=1e-14)


def test_partial_moments_are_those_of_residuals():
    X, Y, C = draw(300, 3), draw(300, 2, seed=1), draw(300, 2, seed=2) * [1e-6, 1e4] + 5
    X, Y = X + 1e6 * C[:, :1], Y + C[:, 1:]
    found, slopes = partial(gather(sources(X, Y, C)), "c")
    D = np.column_stack([np.ones(300), C])
    left = [v - D @ np.linalg.lstsq(D, v, rcond=None)[0] for v in (X, Y)]
    joint = np.corrcoef(np.column_stack(left).T)
    # Y varies by 1e4 before and 1 after, so 8 of 16 digits of its variance go.
    np.testing.assert_allclose(found.correlation(0, 1), joint[:3, 3:], atol=1e-6)
    assert found.error(1) > 1e6 * found.noise
    slope = np.linalg.lstsq(D, Y, rcond=None)[0][1:]
    np.testing.assert_allclose(slopes["b"][1], slope[1], rtol=1e-10)


def test_shrinkage_of_unrelated_columns_is_nearly_all():
    assert shrinkage(0.0, 0.0, 10) == 1.0
    Z = draw(500, 20)
    Z = (Z - Z.mean(axis=0)) / Z.std(axis=0, ddof=1)
    each = Z**2
    squares = (each.sum(axis=1) ** 2).sum() - (each**2).sum()
    R = np.corrcoef(Z.T)
    assert shrinkage(squares, (R**2).sum() - 20, 500) > 0.8


@pytest.mark.parametrize("row", [0, 5_000, 19_999])
@pytest.mark.parametrize("size", [1, 30, 1e3, 1e6])
def test_products_of_float32_know_of_rows_that_dwarf_the_others(row, size):
    X = np.random.default_rng(0).normal(size=(20_000, 8))
    X[row] *= size
    X = X.astype(np.float32)
    fast = gather([Rows("a", X, 8)], single=True)
    exact = gather([Rows("a", X.astype(float), 8)])
    error = np.abs(fast.correlation(0, 0) - exact.correlation(0, 0)).max()
    assert error <= fast.error(0) <= (2e-8 if size == 1 else 5e-6)
