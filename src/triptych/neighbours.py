"""Nearest neighbours by cosine, exactly and in tiles: the matrix of similarities is never held."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triptych.errors import ParameterError

# Queries and products that are held at a time; the first rows only find a threshold.
QUERIES, PRODUCTS, FIRST = 256, 1 << 20, 1024
# Candidates by query beyond k that are worth sorting out.
SPARE = 64
# Numbers that are scaled at a time.
GATHERED = 1 << 20
# Pairs whose cosines are computed again at a time: their codes stay in the cache.
PAIRS = 256
UNIT = 2.0**-24  # rounding of float32


def unit_rows(Z: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows (n, d) scaled to length one; a zero row stays zero."""
    Z = _squarable(np.asarray(Z, dtype=np.float64))
    norms = np.linalg.norm(Z, axis=1, keepdims=True)
    return Z / np.where(norms > 0, norms, 1.0)


def _squarable(Z: NDArray[np.floating]) -> NDArray[np.floating]:
    """Rows in float64 whose squares leave its range, and only those, scaled; cosines stay."""
    if Z.dtype != np.float64 or not Z.size:
        return Z
    largest = np.maximum(Z.max(axis=1), -Z.min(axis=1))
    extreme = (largest > 1e150) | ((largest < 1e-150) & (largest > 0))
    if not extreme.any():
        return Z
    Z = Z.copy()
    Z[extreme] /= largest[extreme, None]
    return Z


def first_best(
    tiles: Iterable[NDArray[np.floating]], k: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Columns and values of the k largest in each row, best first; ties to the earlier.

    Args:
        tiles: Scores of some queries with all n candidates, (some of q, n), one after another.
        k: How many.

    Returns:
        Both (q, k).

    Raises:
        ParameterError: If k exceeds n.
    """
    found = []
    for scores in tiles:
        if k > scores.shape[1]:
            raise ParameterError(
                f"k: expected at most {scores.shape[1]}, the rows of among; got {k}."
            )
        best = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, :k]
        found.append((best, np.take_along_axis(scores, best, axis=1).astype(np.float64)))
    rows, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return rows, values


def nearest(
    query: NDArray[np.floating], among: NDArray[np.floating], k: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The k rows of ``among`` of largest cosine with each query; ties go to the earlier row.

    Args:
        query: Shape (q, d).
        among: Shape (n, d), n >= k.
        k: How many.

    Returns:
        Indices and cosines, each (q, k), best first.
    """
    return Searchable.of(among).nearest(query, k)


@dataclass(frozen=True)
class Searchable:
    """Codes (n, d) that are searched again and again.

    Products in float32 with a bound on their error choose the candidates; their cosines are
    computed again in float64. So the answer is that of float64, at the price of float32.

    Args:
        codes: As given, float32 or float64, shape (n, d); rows beyond 1e±150 scaled.
        scale: One over the length of each, shape (n,); 0 for a zero code.
        single: What is multiplied, float32 (n, d): the codes themselves, or scaled to length one.
        factor: What makes cosines of products with ``single``, float32 (n,).
    """

    codes: NDArray[np.floating]
    scale: NDArray[np.float64]
    single: NDArray[np.float32]
    factor: NDArray[np.float32]

    @classmethod
    def of(cls, codes: NDArray[np.floating]) -> Searchable:
        """Made ready for search; float32 codes of ordinary size are not copied."""
        kept = np.ascontiguousarray(codes)
        if kept.dtype not in (np.float32, np.float64):
            kept = kept.astype(np.float64)
        kept = _squarable(kept)
        norms = np.empty(len(kept))
        for part in _parts(len(kept), max(GATHERED // max(kept.shape[1], 1), 1)):
            norms[part] = np.linalg.norm(kept[part].astype(np.float64), axis=1)
        scale = np.divide(1.0, norms, out=np.zeros(len(kept)), where=norms > 0)
        usual = (norms == 0) | ((norms > 1e-10) & (norms < 1e10))
        if kept.dtype == np.float32 and usual.all():
            return cls(kept, scale, kept, scale.astype(np.float32))
        single = np.empty(kept.shape, dtype=np.float32)
        for part in _parts(len(kept), max(GATHERED // max(kept.shape[1], 1), 1)):
            single[part] = kept[part] * scale[part, None]
        return cls(kept, scale, single, np.ones(len(kept), dtype=np.float32))

    @property
    def unit(self) -> NDArray[np.float32]:
        """Codes at length one, in float32 (n, d)."""
        return np.ascontiguousarray(self.single * self.factor[:, None])

    def nearest(
        self, query: NDArray[np.floating], k: int
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """The k rows of largest cosine with each query (q, d); ties go to the earlier row.

        Returns:
            Indices and cosines, each (q, k), best first.
        """
        q = unit_rows(query)
        if len(q) == 1 and len(self.codes) <= PRODUCTS:
            return self._nearest_to_one(q, k)
        indices = np.empty((len(q), k), dtype=np.intp)
        cosines = np.empty((len(q), k))
        for part in _parts(len(q), QUERIES):
            indices[part], cosines[part] = self._nearest(q[part], k)
        return indices, cosines

    def _nearest(
        self, q: NDArray[np.float64], k: int
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        pool = _Pool(self, q, k)
        single = q.astype(np.float32)
        start, most = 0, max(PRODUCTS // len(q), 1)
        while start < len(self.codes):
            stop = min(start + (most if start else max(FIRST, k)), len(self.codes))
            scores = single @ self.single[start:stop].T  # (q, tile)
            scores *= self.factor[start:stop]
            pool.take(scores, start)
            start = stop
        return pool.best()

    def _nearest_to_one(
        self, q: NDArray[np.float64], k: int
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """The same for one query, whose products are few enough to be held."""
        scores = (q.astype(np.float32) @ self.single.T)[0]
        scores *= self.factor
        last = len(scores) - k
        kth = np.partition(scores, last)[last]
        near = np.flatnonzero(scores >= kth - 2 * _slack(q.shape[1]))
        exact = self.cosines(q, np.zeros(len(near), dtype=np.intp), near)
        order = np.argsort(-exact, kind="stable")[:k]
        return near[None, order], exact[None, order]

    def ranked(
        self, query: NDArray[np.floating], candidates: NDArray[np.intp], k: int
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """The k nearest of some rows for each query; ties go to the earlier row.

        Args:
            query: Shape (q, d).
            candidates: Rows (q, c), c >= k, each once; -1 for none.
            k: How many.

        Returns:
            Indices and cosines, each (q, k), best first; -1 where there were fewer.
        """
        i, place = np.nonzero(candidates >= 0)
        found = np.full(candidates.shape, -np.inf)
        found[i, place] = self.cosines(unit_rows(query), i, candidates[i, place])
        order = np.lexsort((candidates, -found), axis=1)[:, :k]
        rows: NDArray[np.intp] = np.take_along_axis(candidates, order, 1)
        cosines: NDArray[np.float64] = np.take_along_axis(found, order, 1)
        return rows, cosines

    def cosines(
        self, q: NDArray[np.float64], i: NDArray[np.intp], j: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """Cosines (c,) of pairs: unit query ``i`` with row ``j``. Equal rows give equal ones."""
        out = np.empty(len(i))
        for part in _parts(len(i), PAIRS):
            rows = self.codes[j[part]].astype(np.float64)
            out[part] = np.einsum("cd,cd->c", q[i[part]], rows) * self.scale[j[part]]
        return out


class _Pool:
    """Candidates of some queries while tiles of rows pass by.

    A float32 product differs from the cosine by ``slack`` at most. So a row whose product is
    below the k-th largest by more than twice that is none of the k nearest.
    """

    def __init__(self, rows: Searchable, q: NDArray[np.float64], k: int) -> None:
        self.rows, self.q, self.k = rows, q, k
        self.slack = _slack(q.shape[1])
        self.least = np.full(len(q), -np.inf, dtype=np.float32)
        self.i = np.empty(0, dtype=np.intp)  # query
        self.j = np.empty(0, dtype=np.intp)  # row
        self.s = np.empty(0, dtype=np.float32)  # product

    def take(self, scores: NDArray[np.float32], start: int) -> None:
        """Keep what a tile's products (q, tile) leave possible; it begins at row ``start``."""
        width = scores.shape[1]
        if start == 0:
            kth = np.partition(scores, width - self.k, axis=1)[:, width - self.k]
            self.least = kth - 2 * self.slack
        found = np.flatnonzero(scores >= self.least[:, None])
        self.i = np.concatenate([self.i, found // width])
        self.j = np.concatenate([self.j, found % width + start])
        self.s = np.concatenate([self.s, scores.ravel()[found]])
        room = len(self.q) * (self.k + SPARE)
        if len(self.i) > 2 * room:
            self._thin()
            if len(self.i) > room:  # many rows alike
                self._settle()

    def _thin(self) -> None:
        """Drop what is below the k-th largest product by now."""
        order = self._order(self.s)
        kth = self.s[order][self._starts(self.i[order]) + self.k - 1]
        self.least = np.maximum(self.least, kth - 2 * self.slack)
        self._keep(self.s >= self.least[self.i])

    def _settle(self) -> NDArray[np.float64]:
        """Keep the k nearest of each query, by cosine and then by row, in this order."""
        exact = self.rows.cosines(self.q, self.i, self.j)
        order = self._order(exact)
        best = (self._starts(self.i[order])[:, None] + np.arange(self.k)).ravel()
        chosen = order[best]
        self._keep(chosen)
        kth = exact[chosen].reshape(-1, self.k)[:, -1].astype(np.float32)
        # The bound of the product, and the rounding of the cosine to float32.
        self.least = np.maximum(self.least, kth - 2 * self.slack)
        cosines: NDArray[np.float64] = exact[chosen]
        return cosines

    def _order(self, value: NDArray[np.floating]) -> NDArray[np.intp]:
        """By query, then by falling value; rows of equal value stay in their order."""
        grouped = bool((self.i[1:] >= self.i[:-1]).all())
        group = np.arange(len(self.i)) if grouped else np.argsort(self.i, kind="stable")
        i, counts = self.i[group], np.bincount(self.i, minlength=len(self.q))
        width = int(counts.max())
        if width * len(counts) > 4 * len(i):  # a table would be mostly empty
            return group[np.lexsort((-value[group], i))]
        place = np.arange(len(i)) - (np.cumsum(counts) - counts)[i]
        table = np.full((len(counts), width), np.inf, dtype=value.dtype)
        table[i, place] = -value[group]
        position = np.zeros((len(counts), width), dtype=np.intp)
        position[i, place] = group
        sorted_ = np.argsort(table, axis=1, kind="stable")
        kept = np.arange(width) < counts[:, None]
        return np.take_along_axis(position, sorted_, axis=1)[kept]

    def _starts(self, i: NDArray[np.intp]) -> NDArray[np.intp]:
        starts: NDArray[np.intp] = np.searchsorted(i, np.arange(len(self.q)))
        return starts

    def _keep(self, some: NDArray[np.bool_] | NDArray[np.intp]) -> None:
        self.i, self.j, self.s = self.i[some], self.j[some], self.s[some]

    def best(self) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Rows and cosines, each (q, k)."""
        if len(self.i) > 2 * len(self.q) * self.k:
            self._thin()
        cosines = self._settle()
        return self.j.reshape(-1, self.k), cosines.reshape(-1, self.k)


def _slack(d: int) -> np.float32:
    """How far a product of d float32 numbers may be from the cosine."""
    # d products and sums, and four roundings of their factors (Higham 2002, section 3.1).
    return np.float32(1.01 * (d + 4) * UNIT)


def _parts(n: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, n, size)]
