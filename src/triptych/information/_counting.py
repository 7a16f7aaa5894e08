"""Counting rows into the cells of a table, by ``np.bincount`` wherever the table fits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from triptych.information._variables import Codes

# Rows whose codes and counts stay in the second-level cache while they are worked on.
CHUNK = 1 << 16
# Cells of a table that is counted whole, however few the rows.
DENSE = 1 << 20


@dataclass(frozen=True)
class Tally:
    """Non-empty cells of a table of m discrete variables.

    Args:
        cells: Category of each variable, shape (u, m).
        counts: Rows in each cell, shape (u,), float64 and whole.
        sizes: Categories of each variable (m,), empty ones counted too.
        n: Rows in all.
    """

    cells: NDArray[np.int64]
    counts: NDArray[np.float64]
    sizes: tuple[int, ...]
    n: int

    def onto(self, axes: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Counts (k,) of the non-empty cells of some variables, and which is each cell's (u,)."""
        if not axes:
            return np.array([float(self.n)]), np.zeros(len(self.counts), dtype=np.intp)
        if len(axes) == len(self.sizes):
            return self.counts, np.arange(len(self.counts))
        return self._merged(axes)

    def _merged(self, axes: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        sizes = [self.sizes[a] for a in axes]
        if prod(sizes) < 2**62:
            key = np.zeros(len(self.counts), dtype=np.int64)
            for a, size in zip(axes, sizes, strict=True):
                key = key * size + self.cells[:, a]
            _, where = np.unique(key, return_inverse=True)
        else:
            _, where = np.unique(self.cells[:, list(axes)], axis=0, return_inverse=True)
        where = where.reshape(-1)
        return np.bincount(where, weights=self.counts).astype(np.float64), where

    def grouped(self, parts: Sequence[tuple[int, ...]]) -> Tally:
        """The table of new variables, each made of some of the old ones side by side."""
        where = [self.onto(tuple(part)) for part in parts]
        columns = np.stack([w for _, w in where], axis=1).astype(np.int64)
        merged = Tally(columns, self.counts, tuple(len(c) for c, _ in where), self.n)
        counts, at = merged._merged(tuple(range(len(parts))))  # cells may come several times
        cells = np.zeros((len(counts), len(parts)), dtype=np.int64)
        cells[at] = columns
        return Tally(cells, counts, merged.sizes, self.n)


def tally(variables: Sequence[Codes]) -> Tally:
    """Count rows that agree in all variables.

    Args:
        variables: Codes of the same n rows, one or more.
    """
    n = len(variables[0])
    sizes = tuple(v.size for v in variables)
    if prod(sizes) <= max(DENSE, 2 * n):
        table = _bincount(variables, sizes)
        flat = np.flatnonzero(table)
        cells = np.stack(np.unravel_index(flat, sizes), axis=1).astype(np.int64)
        return Tally(cells, table[flat].astype(np.float64), sizes, n)
    key, width = variables[0].indices().astype(np.int64), sizes[0]
    for v in variables[1:]:
        if width * v.size >= 2**62:
            _, key = np.unique(key, return_inverse=True)
            key, width = key.astype(np.int64), int(key.max()) + 1
        key, width = key * v.size + v.indices(), width * v.size
    _, first, counts = np.unique(key, return_index=True, return_counts=True)
    cells = np.stack([v[first].indices() for v in variables], axis=1).astype(np.int64)
    return Tally(cells, counts.astype(np.float64), sizes, n)


def _bincount(variables: Sequence[Codes], sizes: tuple[int, ...]) -> NDArray[np.int64]:
    """Counts of all cells (product of sizes,), in passes over chunks that stay in cache."""
    n, total = len(variables[0]), prod(sizes)
    table = np.zeros(total, dtype=np.int64)
    shift = 0  # what the low ends of all variables add to every code
    for v in variables:
        shift = shift * v.size + v.low
    # Chunks of at least the table's own length, or adding up tables would cost more than counting.
    step = max(CHUNK, 2 * total)
    code = np.empty(min(step, n), dtype=np.intp)
    for start in range(0, n, step):
        part = slice(start, min(start + step, n))
        some = code[: part.stop - start]
        first = variables[0].values[part]
        if len(variables) == 1 and shift == 0:
            table += np.bincount(first, minlength=total)
            continue
        np.copyto(some, first, casting="unsafe")
        for v in variables[1:]:
            some *= v.size
            np.add(some, v.values[part], out=some, casting="unsafe")
        if shift:
            some -= shift
        table += np.bincount(some, minlength=total)
    return table
