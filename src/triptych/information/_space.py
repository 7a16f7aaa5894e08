"""Distances and counts in the max-norm, exact to the last digit, ties included.

A row counts as nearer than r where the computed difference is: every function here decides by
the same rounded subtraction, so that the k-th neighbour itself never slips in or out.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import row_chunks

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SMALL = 100_000  # pairs of rows up to which counting in a table of distances beats a tree
TABLE = 16_384  # distances of it held at once
SERIAL = 20_000  # numbers below which threads cost more than they give
FEW = 4  # columns up to which SciPy's tree finds neighbours faster


def n_threads() -> int:
    """Cores that this process may use; at most ``OMP_NUM_THREADS`` where that is set."""
    free = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(free or 1, int(asked) if asked.isdigit() and asked != "0" else 2**10))


def both(*calls: Callable[[], Any], n: int) -> list[Any]:
    """Results of the calls, made side by side where n numbers and the cores are worth it."""
    if n < SERIAL or n_threads() == 1:
        return [call() for call in calls]
    with ThreadPoolExecutor(min(n_threads(), len(calls))) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def kth_distances(points: Floats, k: int, queries: Floats | None = None) -> Floats:
    """Distance to the k-th nearest row of ``points``.

    Args:
        points: Shape (n, p).
        k: From 1 to n - 1, or to n with ``queries``.
        queries: Shape (m, p); without, the points themselves, each leaving out itself.

    Returns:
        Shape (m,), or (n,).
    """
    if queries is None and points.shape[1] == 1:
        return _kth_on_a_line(points[:, 0], k)[0]
    return _query(points, [k + 1] if queries is None else [k], queries)[0][:, 0]


def kth_distances_and_popularity(points: Floats, k: int) -> tuple[Floats, Ints]:
    """Distance to the k-th nearest other row, and how many rows have a row among their k nearest.

    Args:
        points: Shape (n, p).
        k: From 1 to n - 1.

    Returns:
        Distances (n,) and in-degrees (n,) of the graph of neighbours, whose mean is k.
    """
    if points.shape[1] == 1:
        return _kth_on_a_line(points[:, 0], k)
    near, rows = _query(points, list(range(1, k + 2)), None)
    # Every row finds itself once; among duplicates another one may stand for it.
    return near[:, -1], np.bincount(rows.ravel(), minlength=len(rows)) - 1


def _tables(points: Floats, queries: Floats) -> Iterator[tuple[slice, Floats]]:
    """Distances of some queries to all points, (rows, n), in parts that stay in the cache."""
    for part in row_chunks(len(queries), max(1, TABLE // len(points))):
        table = np.abs(queries[part, :1] - points[:, 0])
        for j in range(1, points.shape[1]):
            np.maximum(table, np.abs(queries[part, j : j + 1] - points[:, j]), out=table)
        yield part, table


def neighbours(points: Floats, k: int) -> Ints:
    """Row numbers (n, k) of the k nearest other rows, in no particular order."""
    rows = _query(points, list(range(1, k + 2)), None)[1]  # (n, k + 1)
    own = rows == np.arange(len(rows))[:, None]
    # Among more than k duplicates a row may miss itself; any one of them stands for it then.
    own[~own.any(axis=1), -1] = True
    others: Ints = rows[~own].reshape(len(rows), k)
    return others


def _query(points: Floats, wanted: list[int], queries: Floats | None) -> tuple[Floats, Ints]:
    """Distances and row numbers of the wanted neighbours (1 is the nearest), (m, wanted).

    SciPy's tree is the faster one in few dimensions, scikit-learn's in many. Either way,
    neighbouring queries walk the same branches, which then lie in the cache.
    """
    if points.shape[1] > FEW:
        return _query_of_many_columns(points, wanted, queries)
    from scipy.spatial import cKDTree

    tree = cKDTree(points, leafsize=16, balanced_tree=False, compact_nodes=False)
    workers = 1 if len(points) < SERIAL // points.shape[1] else n_threads()
    if queries is not None:
        near, rows = tree.query(queries, k=wanted, p=np.inf, workers=workers)
        return near, rows
    near, rows = tree.query(points[tree.indices], k=wanted, p=np.inf, workers=workers)
    return _put_back(near, tree.indices), _put_back(rows, tree.indices)


def _query_of_many_columns(
    points: Floats, wanted: list[int], queries: Floats | None
) -> tuple[Floats, Ints]:
    tree = _tree_of_many_columns()(points, metric="chebyshev", leaf_size=10)
    order = _leaves(tree)
    asked = points[order] if queries is None else queries

    def some(part: slice) -> tuple[Floats, Ints]:
        near, rows = tree.query(asked[part], k=wanted[-1], sort_results=len(wanted) > 1)
        if len(wanted) == 1:
            last = near.argmax(axis=1)[:, None]
            return np.take_along_axis(near, last, 1), np.take_along_axis(rows, last, 1)
        at = np.array(wanted) - 1
        return near[:, at], rows[:, at]

    work = len(asked) * points.shape[1] ** 2 // 8
    share = -(-len(asked) // (n_threads() if work >= SERIAL else 1))
    calls = [lambda part=part: some(part) for part in row_chunks(len(asked), share)]
    found = both(*calls, n=work)
    near = np.concatenate([part[0] for part in found])
    rows = np.concatenate([part[1] for part in found])
    if queries is not None:
        return near, rows
    return _put_back(near, order), _put_back(rows, order)


def _put_back(values: NDArray[Any], order: Ints) -> NDArray[Any]:
    """Rows that were taken in an order, where they came from."""
    found = np.empty_like(values)
    found[order] = values
    return found


def _kth_on_a_line(values: Floats, k: int) -> tuple[Floats, Ints]:
    """Distance to the k-th nearest other number (the narrowest of k + 1 windows); in-degrees."""
    n = len(values)
    order = np.argsort(values, kind="stable")
    s = np.concatenate([np.full(k, -np.inf), values[order], np.full(k, np.inf)])
    own = s[k : k + n]
    best = np.full(n, np.inf)
    start = np.zeros(n, dtype=np.int64)  # of the window
    for left in range(k + 1):  # so many of the neighbours lie to the left
        below = own - s[k - left : k - left + n]
        above = s[2 * k - left : 2 * k - left + n] - own
        reach = np.maximum(below, above)
        closer = reach < best
        best[closer] = reach[closer]
        start[closer] = np.flatnonzero(closer) - left
    steps = np.bincount(start, minlength=n + 1)[: n + 1]
    steps -= np.bincount(start + k + 1, minlength=n + 1)[: n + 1]
    distances, popularity = np.empty(n), np.empty(n, dtype=np.int64)
    distances[order], popularity[order] = best, np.cumsum(steps)[:n] - 1
    return distances, popularity


def counts(
    points: Floats, radii: Floats, *, closed: bool = False, queries: Floats | None = None
) -> Ints:
    """How many rows of ``points`` lie nearer than a radius, the query itself included.

    Args:
        points: Shape (n, p).
        radii: One for each query, shape (m,), >= 0.
        closed: Whether a row at exactly the radius counts too. Without, a radius of 0 counts
            nothing.
        queries: Shape (m, p); without, the points themselves.

    Returns:
        Shape (m,).
    """
    asked = points if queries is None else queries
    if points.shape[1] == 1:
        low, high = _ranges(points[:, 0], asked[:, 0], radii, closed)[:2]
        return high - low
    if len(points) * len(asked) <= SMALL:
        number = np.empty(len(asked), dtype=np.int64)
        for part, table in _tables(points, asked):
            limit = radii[part, None]
            number[part] = (table <= limit if closed else table < limit).sum(axis=1)
        return number
    if points.shape[1] == 2:
        return _counts_in_a_plane(points, asked, radii, closed)
    # The tree compares with <=; a negative radius counts nothing.
    reach = radii if closed else np.where(radii > 0, np.nextafter(radii, 0.0), -1.0)
    tree = _tree_of_many_columns()(
        points, metric="chebyshev", leaf_size=40 if len(points) < 5_000 else 20
    )
    order = np.argsort(asked[:, 0], kind="stable") if queries is not None else _leaves(tree)
    found = np.empty(len(asked), dtype=np.int64)
    found[order] = tree.query_radius(asked[order], reach[order], count_only=True)
    return found


def counts_within_neighbours(x: Floats, y: Floats, k: int) -> tuple[Floats, Ints, Ints, Ints]:
    """What KSG asks for: each row's k-th neighbour in the joint space, and who is nearer in each.

    Args:
        x: Shape (n, p).
        y: Shape (n, q).
        k: From 1 to n - 1.

    Returns:
        Distances, in-degrees (as :func:`kth_distances_and_popularity`) and the counts in x and in
        y (as :func:`counts`), all (n,).
    """
    n = len(x)
    if n * n > SMALL or x.shape[1] + y.shape[1] == 2:
        distances, popularity = kth_distances_and_popularity(np.hstack([x, y]), k)
        # A row's part of a tree grows with the columns too.
        work = n * x.shape[1] * y.shape[1] // 2
        nx, ny = both(lambda: counts(x, distances), lambda: counts(y, distances), n=work)
        return distances, popularity, nx, ny
    distances, popularity = np.empty(n), np.full(n, -1)
    nx, ny = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    for (part, in_x), (_, in_y) in zip(_tables(x, x), _tables(y, y), strict=True):
        joint = np.maximum(in_x, in_y)
        near = np.partition(joint, k, axis=1)[:, k]
        limit = near[:, None]
        popularity += (joint <= limit).sum(axis=0)
        distances[part] = near
        nx[part], ny[part] = (in_x < limit).sum(axis=1), (in_y < limit).sum(axis=1)
    return distances, popularity, nx, ny


@cache
def _tree_of_many_columns() -> Any:
    """scikit-learn's tree, whose import draws from Python's global generator: put back."""
    state = random.getstate()
    from sklearn.neighbors import KDTree

    random.setstate(state)
    return KDTree


def _leaves(tree: Any) -> Ints:
    """Row numbers in the order of a scikit-learn tree's leaves."""
    return np.asarray(tree.get_arrays()[1], dtype=np.int64)


def _ranges(
    values: Floats, asked: Floats, radii: Floats, closed: bool
) -> tuple[Ints, Ints, NDArray[np.intp]]:
    """Places [low, high) in the sorted values that lie within a radius, and the sorting order."""
    order = np.argsort(values)
    s = values[order]
    new = np.empty(len(s), dtype=bool)
    new[0] = True
    np.not_equal(s[1:], s[:-1], out=new[1:])
    starts = np.flatnonzero(new)
    u = s[starts]  # distinct values, rising
    at = np.append(starts, len(s))
    # Sorted queries find their place in the cache.
    turn = order if asked is values else np.argsort(asked)
    q, r = asked[turn], radii[turn]
    low = np.searchsorted(u, q - r)
    high = np.searchsorted(u, q + r, side="right")
    inside = np.less_equal if closed else np.less

    # q - r is rounded, so the ends may be off by a value or so: the difference decides.
    def settle(place: NDArray[np.intp], step: int, wrong: Callable[[Any], Any]) -> None:
        pending = np.arange(len(place))
        while len(pending):
            pending = pending[wrong(pending)]
            place[pending] += step

    last = len(u) - 1

    def low_excess(i: Any) -> Any:
        j = low[i]
        return (
            (j <= last)
            & (u[np.minimum(j, last)] < q[i])
            & ~inside(q[i] - u[np.minimum(j, last)], r[i])
        )

    def low_missing(i: Any) -> Any:
        j = low[i] - 1
        return (j >= 0) & inside(q[i] - u[np.maximum(j, 0)], r[i])

    def high_excess(i: Any) -> Any:
        j = high[i] - 1
        return (j >= 0) & (u[np.maximum(j, 0)] > q[i]) & ~inside(u[np.maximum(j, 0)] - q[i], r[i])

    def high_missing(i: Any) -> Any:
        j = high[i]
        return (j <= last) & inside(u[np.minimum(j, last)] - q[i], r[i])

    settle(low, 1, low_excess)
    settle(low, -1, low_missing)
    settle(high, -1, high_excess)
    settle(high, 1, high_missing)
    if not closed:  # an open ball of radius 0 is empty, not the query's own value
        high[r <= 0] = low[r <= 0]
    left, right = np.empty(len(q), dtype=np.int64), np.empty(len(q), dtype=np.int64)
    left[turn], right[turn] = at[low], at[high]
    return left, right, order


def _counts_in_a_plane(points: Floats, asked: Floats, radii: Floats, closed: bool) -> Ints:
    """Rows in squares: both coordinates' ranges of ranks, then counts by the bits of the ranks.

    The ranks of the second coordinate, written in the order of the first, are split bit by bit,
    highest first (a wavelet matrix, of which only one level is held at a time). Each query keeps
    its range of places through the splits and collects those whose rank is below its bound:
    O((n + m) log n) whatever the radii, O(n + m) memory.

    References:
        Claude, Navarro and Ordóñez 2015, Information Systems 47 (the wavelet matrix).
    """
    same = asked is points
    first, second = points[:, 0].copy(), points[:, 1].copy()
    at, above = (first, second) if same else (asked[:, 0].copy(), asked[:, 1].copy())
    (left, right, order), (bottom, top, other) = both(
        lambda: _ranges(first, at, radii, closed),
        lambda: _ranges(second, above, radii, closed),
        n=2 * len(points),
    )
    n = len(points)
    rank = np.empty(n, dtype=np.int32)
    rank[other] = np.arange(n, dtype=np.int32)
    sequence = rank[order]
    walk = order if same else np.argsort(at, kind="stable")

    bounds = np.concatenate([top[walk], bottom[walk]])
    places = np.concatenate([left[walk], right[walk]])
    if 2 * n < SERIAL or n_threads() == 1:
        high, low = _below(sequence, places, bounds).reshape(2, -1)
    else:
        high, low = both(
            lambda: _below(sequence, places, bounds[: len(asked)]),
            lambda: _below(sequence, places, bounds[len(asked) :]),
            n=2 * n,
        )
    found = np.empty(len(asked), dtype=np.int64)
    found[walk] = high - low
    return found


def _below(sequence: NDArray[np.int32], places: Ints, bounds: Ints) -> Ints:
    """How many of sequence[left:right] are below a bound.

    Args:
        sequence: A permutation of range(n).
        places: All left ends, then all right ends, (2 m,).
        bounds: Of each range, (m,), or several bounds for all of them, one after another.

    Returns:
        As many as bounds.
    """
    n, times = len(sequence), 2 * len(bounds) // len(places)
    left, right = places.reshape(2, -1)
    ends = np.concatenate([np.tile(left, times), np.tile(right, times)])
    bounds = bounds.astype(np.int32)
    m = len(bounds)
    found = np.zeros(m, dtype=np.int64)
    zeros = np.zeros(n + 1, dtype=np.int64)
    up = np.empty(2 * m, dtype=bool)
    for bit in range(int(n).bit_length() - 1, -1, -1):
        one = (sequence & (1 << bit)) != 0
        zero = ~one
        np.cumsum(zero, out=zeros[1:])
        at = zeros.take(ends)
        np.not_equal(bounds & (1 << bit), 0, out=up[:m])
        up[m:] = up[:m]
        found += np.where(up[:m], at[m:] - at[:m], 0)
        np.subtract(ends, at, out=ends)
        ends += zeros[n]
        np.copyto(ends, at, where=~up)
        sequence = np.concatenate([sequence[zero], sequence[one]])
    return found
