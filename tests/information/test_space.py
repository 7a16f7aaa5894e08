"""Distances and counts are exact: the same as a table of all differences, ties included."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.information import _space


def table(points, queries):
    return np.abs(queries[:, None] - points[None]).max(axis=2)


@pytest.fixture(params=["table", "tree"])
def way(request, monkeypatch):
    """Few rows are counted in a table and many by trees and ranks: both must be right."""
    if request.param == "tree":
        monkeypatch.setattr(_space, "SMALL", 0)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(6, 70),
    p=st.integers(1, 4),
    k=st.integers(1, 5),
    grid=st.sampled_from([None, 3, 7]),
    offset=st.sampled_from([0.0, 1e6]),
)
def test_equals_the_table_of_differences(seed, n, p, k, grid, offset):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, p)) + offset
    if grid is not None:
        x = np.round(x * grid) / grid  # ties, in thirds and sevenths that float64 rounds
    all_pairs = table(x, x)
    expected = np.sort(all_pairs, axis=1)[:, k]  # the first is the row itself
    small, _space.SMALL = _space.SMALL, 0
    try:
        np.testing.assert_array_equal(_space.kth_distances(x, k), expected)
        distances, popularity = _space.kth_distances_and_popularity(x, k)
        np.testing.assert_array_equal(distances, expected)
        assert popularity.sum() == n * k
        for limit in (0, _space.TABLE * n):
            _space.SMALL = limit
            for closed in (False, True):
                near = all_pairs <= expected[:, None] if closed else all_pairs < expected[:, None]
                found = _space.counts(x, expected, closed=closed)
                np.testing.assert_array_equal(found, near.sum(axis=1))
    finally:
        _space.SMALL = small


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("closed", [False, True])
def test_queries_of_their_own(way, p, closed):
    rng = np.random.default_rng(0)
    x, q = rng.integers(0, 9, size=(200, p)) / 7, rng.integers(-2, 11, size=(31, p)) / 7
    pairs = table(x, q)
    np.testing.assert_array_equal(_space.kth_distances(x, 4, q), np.sort(pairs, axis=1)[:, 3])
    radii = rng.integers(0, 5, size=31) / 7
    near = pairs <= radii[:, None] if closed else pairs < radii[:, None]
    found = _space.counts(x, radii, closed=closed, queries=q)
    np.testing.assert_array_equal(found, near.sum(axis=1))


@pytest.mark.parametrize("p", [1, 2, 3])
def test_a_radius_of_zero_counts_equal_rows_or_none(way, p):
    x = np.repeat(np.arange(6.0), 5)[:, None] * np.ones(p)
    zero = np.zeros(30)
    np.testing.assert_array_equal(_space.counts(x, zero), 0)
    np.testing.assert_array_equal(_space.counts(x, zero, closed=True), 5)


def test_threads_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6000, 2))
    radii = rng.uniform(0, 0.3, 6000)
    monkeypatch.setattr(_space, "n_threads", lambda: 1)
    alone = _space.counts(x, radii)
    monkeypatch.setattr(_space, "n_threads", lambda: 2)
    np.testing.assert_array_equal(_space.counts(x, radii), alone)


@pytest.mark.parametrize("p", [1, 2])
def test_popularity_counts_those_that_have_a_row_as_neighbour(p):
    x = np.random.default_rng(0).normal(size=(80, p))
    nearest = np.argsort(table(x, x), axis=1)[:, 1:4]
    expected = np.bincount(nearest.ravel(), minlength=80)
    np.testing.assert_array_equal(_space.kth_distances_and_popularity(x, 3)[1], expected)


def test_neighbours_leave_out_the_row_itself_even_among_duplicates():
    x = np.zeros((9, 2))
    rows = _space.neighbours(x, 3)
    assert rows.shape == (9, 3)
    assert all(len(set(r)) == 3 for r in rows)
    y = np.random.default_rng(0).normal(size=(50, 2))
    expected = np.sort(np.argsort(table(y, y), axis=1)[:, 1:4], axis=1)
    np.testing.assert_array_equal(np.sort(_space.neighbours(y, 3), axis=1), expected)
