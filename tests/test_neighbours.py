"""Exact search in tiles beside the whole matrix of cosines in float64, sorted."""

import numpy as np
import pytest

import triptych.neighbours as neighbours
from triptych.neighbours import Searchable, nearest, unit_rows


def plainly(query, among, k):
    """Every cosine summed by itself in float64, so that equal rows have equal ones."""
    q, z = np.asarray(query, np.float64), np.asarray(among, np.float64)
    scores = np.zeros((len(q), len(z)))
    for i in range(len(q)):
        for j in range(len(z)):
            norms = np.linalg.norm(q[i]) * np.linalg.norm(z[j])
            scores[i, j] = 0.0 if norms == 0 else (q[i] * z[j]).sum() / norms
    order = np.lexsort((np.broadcast_to(np.arange(len(z)), scores.shape), -scores), axis=1)[:, :k]
    return order, np.take_along_axis(scores, order, axis=1)


@pytest.fixture
def small_tiles(monkeypatch):
    for name, size in {
        "QUERIES": 4,
        "PRODUCTS": 44,
        "FIRST": 7,
        "SPARE": 1,
        "PAIRS": 3,
    }.items():
        monkeypatch.setattr(neighbours, name, size)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("q", "n", "d", "k"), [(9, 50, 5, 3), (1, 1, 1, 1), (5, 20, 3, 20)])
def test_the_same_as_sorting_all_cosines(small_tiles, dtype, q, n, d, k):
    rng = np.random.default_rng(0)
    query, among = rng.normal(size=(q, d)).astype(dtype), rng.normal(size=(n, d)).astype(dtype)
    rows, cosines = nearest(query, among, k)
    expected, values = plainly(query, among, k)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(cosines, values, atol=4e-16 * d)  # rounding of d products


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_ties_go_to_the_earlier_row(small_tiles, scale):
    """Rows that stand several times, zero rows, a zero query, and codes that are all alike."""
    rng = np.random.default_rng(1)
    few = rng.normal(size=(4, 3)).astype(np.float32)
    among = (few[rng.integers(0, 4, 60)] * np.float32(scale)).astype(np.float32)
    among[[5, 40]] = 0
    query = np.vstack([few, np.zeros((1, 3), np.float32), rng.normal(size=(2, 3))])
    for k in (1, 7, 30, 60):
        rows, cosines = nearest(query, among, k)
        for i in range(len(query)):
            for a in range(k - 1):
                same = np.array_equal(among[rows[i, a]], among[rows[i, a + 1]])
                if same or cosines[i, a] == cosines[i, a + 1]:
                    assert rows[i, a] < rows[i, a + 1] and cosines[i, a] == cosines[i, a + 1]
        np.testing.assert_allclose(cosines, plainly(query, among, k)[1], atol=1e-7)
    assert nearest(query[4:5], among, 5)[0].tolist() == [[0, 1, 2, 3, 4]]
    alike = np.ones((100, 2), np.float32)
    assert nearest(alike[:3], alike, 4)[0].tolist() == [[0, 1, 2, 3]] * 3


def test_differences_that_float32_cannot_see_decide(small_tiles):
    """Neighbours closer than the error of a float32 product are told apart in float64."""
    rng = np.random.default_rng(2)
    d, n = 40, 300
    centre = rng.normal(size=d)
    among = centre + 1e-6 * rng.normal(size=(n, d))
    query = centre[None] + 1e-6 * rng.normal(size=(3, d))
    rows, cosines = nearest(query, among, 5)
    exact = unit_rows(query) @ unit_rows(among).T
    best = -np.sort(-exact, axis=1)[:, :5]
    np.testing.assert_allclose(cosines, best, rtol=0, atol=1e-15)  # rounding of float64 sums
    np.testing.assert_allclose(np.take_along_axis(exact, rows, 1), best, rtol=0, atol=1e-15)


def test_sorted_towards_the_query_is_the_worst_order(small_tiles):
    """Every next row is nearer than all before, so that each tile brings new candidates."""
    angle = np.linspace(np.pi, 0, 200)
    among = np.column_stack([np.cos(angle), np.sin(angle)])
    assert nearest(np.array([[1.0, 0.0]]), among, 6)[0].tolist() == [
        [199, 198, 197, 196, 195, 194]
    ]


def test_no_tile_grows_with_the_rows():
    import tracemalloc

    rng = np.random.default_rng(0)
    among = rng.normal(size=(60_000, 8)).astype(np.float32)
    ready = Searchable.of(among)
    assert ready.single is ready.codes
    tracemalloc.start()
    ready.nearest(among[:600], 10)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6  # 600 rows of all cosines would be 144 MB in float32


@pytest.mark.parametrize("size", [1e160, 1e-160, 1e-170, 1e300])
def test_lengths_beyond_the_range_of_squares(size):
    rng = np.random.default_rng(0)
    C, q = rng.normal(size=(30, 4)), rng.normal(size=(3, 4))
    rows, cosines = plainly(q, C, 3)
    mixed = C.copy()
    mixed[::2] *= size  # rows of ordinary size stand beside them
    for among, query in ((C * size, q), (mixed, q), (C, q * size)):
        found, told = nearest(query, among, 3)
        np.testing.assert_array_equal(found, rows)
        np.testing.assert_allclose(told, cosines, rtol=1e-12)  # rounding of float64


def test_one_query_is_answered_as_among_many():
    rng = np.random.default_rng(4)
    among = np.repeat(rng.normal(size=(60, 6)), 3, axis=0).astype(np.float32)  # ties
    queries = rng.normal(size=(7, 6))
    rows, cosines = nearest(queries, among, 8)
    for i, query in enumerate(queries):
        row, cosine = nearest(query[None], among, 8)
        assert row[0].tolist() == rows[i].tolist()
        assert cosine[0].tolist() == cosines[i].tolist()
