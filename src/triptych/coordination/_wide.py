"""The road for more columns than rows: products of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from triptych.arrays import is_sparse
from triptych.bases import Basis, Penalty
from triptych.blocks import Rows
from triptych.coordination._reading import Reading, overflow
from triptych.coordination._solution import Penalties, Solution, vary
from triptych.linalg import CONSTANT, EPS, Array, shrinkage, standardise, thin_svd
from triptych.moments import Columns

# Columns that are standardised and multiplied at once: more cost memory, fewer adding up.
STRIP = 1024
# Means of so many spreads are taken off after products with few vectors, not before.
SMALL_MEAN = 10.0


def by_rows(reading: Reading, penalty: Penalties, confounds: str | None) -> Solution:
    """Products of rows, Z Z^T, in place of products of columns: exact where a penalty stands.

    Directions whose share of Z Z^T drowns in rounding are left out; under the penalty they count
    for as little as their size over it.
    """
    n = reading.n
    sources = {source.name: source for source in reading.sources}
    remove, confound_means = None, None
    if confounds is not None:
        remove, confound_means = orthonormal_confounds(sources.pop(confounds))
    columns, bases, penalties, U_of, slopes = {}, {}, {}, {}, {}
    for name, source in sources.items():
        strips = _Strips(source, remove)
        K = strips.products()
        if not np.isfinite(np.trace(K)):
            reading.refuse()
            raise overflow(reading.names)
        columns[name] = vary(name, strips.columns)
        if remove is not None:
            slopes[name] = remove[1] @ strips.parts
        values, U = np.linalg.eigh(K)
        values, U = values[::-1], U[:, ::-1]
        keep = values > 4 * n * EPS * values[0]
        s, U = np.sqrt(values[keep]), U[:, keep]

        def learnt(K: Array = K, strips: _Strips = strips) -> float:
            varying = int((~strips.constant).sum())
            return shrinkage(strips.squares(), float(np.sum(K * K)) - varying, n)

        penalties[name] = penalty(name, learnt)
        error = (
            4 * EPS * values[0] / (penalties[name].keep * values[keep][-1] + penalties[name].add)
        )
        bases[name] = _basis(strips, U, s, penalties[name], float(min(error, 1.0)))
        U_of[name] = U
        del K
    a, b = columns
    return Solution(
        (a, b),
        n,
        bases,
        U_of[a].T @ U_of[b],
        columns,
        penalties,
        "dual",
        max(basis.error for basis in bases.values()),
        slopes,
        confound_means,
    )


def _basis(strips: _Strips, U: Array, s: Array, penalty: Penalty, error: float) -> Basis:
    root = np.hypot(np.sqrt(penalty.keep) * s, np.sqrt(penalty.add))

    def expand(turn: Array, seen: Array) -> tuple[Array, Array]:
        d = turn.shape[1]
        both = strips.back(U @ np.hstack([turn / (s * root)[:, None], seen]))
        return both[:, :d], both[:, d:]

    return Basis(None, s / root, expand, len(s), error)


def orthonormal_confounds(source: Rows) -> tuple[tuple[Array, Array], Array]:
    """Orthonormal confounds U (n, r), their slopes per unit of U^T x (p_c, r), and their means."""
    block = source.block(0, source.n)
    scaled = standardise(np.asarray(block.toarray() if is_sparse(block) else block))
    U, s, Vt = thin_svd(scaled.values, scaled.noise)
    return (U, Vt.T / s / scaled.spreads[:, None]), scaled.means


class _Strips:
    """A wide modality, standardised strip by strip of columns.

    Args:
        source: Its rows.
        remove: Orthonormal confounds (n, r) to project out, and their slopes.
    """

    def __init__(self, source: Rows, remove: tuple[Array, Array] | None) -> None:
        self.name, self.n, self.width = source.name, source.n, source.width
        held: Any = source.block(0, source.n)
        self.held = held.tocsc() if is_sparse(held) else held
        self.U = None if remove is None else remove[0]
        self.means, self.spreads = np.zeros(self.width), np.ones(self.width)
        self.constant = np.zeros(self.width, dtype=bool)
        self.noise = np.zeros(self.width)
        self.parts = np.zeros((0 if self.U is None else self.U.shape[1], self.width))
        self.buffer = np.empty((self.n, min(STRIP, self.width)))

    @property
    def columns(self) -> Columns:
        """What was taken from the columns."""
        return Columns(self.means, self.spreads, self.constant, self.noise)

    def _strips(self) -> Iterator[tuple[slice, Array]]:
        for low in range(0, self.width, STRIP):
            at = slice(low, min(low + STRIP, self.width))
            part = self.held[:, at]
            yield at, np.asarray(part.toarray() if is_sparse(part) else part)

    def products(self) -> Array:
        """Z Z^T (n, n) with Z over the root of n - 1."""
        n = self.n
        K, scratch = np.zeros((n, n)), np.empty((n, n))
        kind = self.held.dtype
        eps = max(float(np.finfo(kind).eps), EPS) if kind.kind == "f" else EPS
        with np.errstate(over="ignore", invalid="ignore"):
            for at, part in self._strips():
                Z = self._standardised(at, part, eps)
                K += np.matmul(Z, Z.T, out=scratch)
        return K

    def _standardised(self, at: slice, part: Any, eps: float) -> Array:
        size: Any = 1.0
        mean = part.mean(axis=0, dtype=np.float64)
        Z: Array = self.buffer[:, : part.shape[1]]
        np.subtract(part, mean, out=Z)
        squares = np.einsum("np,np->p", Z, Z)
        if (
            not ((squares < 1e200) & ((squares > 1e-200) | (squares == 0))).all()
            or ((squares == 0) & (mean != 0)).any()
        ):
            # Squares leave the range of float64, so columns are brought near 1 first.
            size = np.maximum(part.max(axis=0), -part.min(axis=0)).astype(np.float64)
            size = np.where(size > 0, size, 1.0)
            np.divide(part, size, out=Z)
            mean = Z.mean(axis=0)
            Z -= mean
            squares = np.einsum("np,np->p", Z, Z)
        before = np.sqrt(squares / (self.n - 1))
        large = np.hypot(mean, before)
        if self.U is not None:
            moved = self.U.T @ Z
            self.parts[:, at] = moved * size
            Z -= self.U @ moved
            Z -= self.U @ (self.U.T @ Z)
            squares = np.einsum("np,np->p", Z, Z)
        spread = np.sqrt(squares / (self.n - 1))
        # What the confounds leave of a column must exceed what was rounded when they went.
        constant = spread <= np.where(
            self.U is None, CONSTANT * large, np.maximum(100 * CONSTANT * before, 8 * eps * large)
        )
        spread = np.where(constant, 1.0, spread)
        self.means[at], self.constant[at] = mean * size, constant
        self.spreads[at] = np.where(constant, 1.0, spread * size)
        self.noise[at] = np.where(constant, 0.0, eps * large / spread)
        Z /= spread * np.sqrt(self.n - 1)
        Z[:, constant] = 0.0
        return Z

    def squares(self) -> float:
        """What a shrinkage learns from rows."""
        rows, fourth = np.zeros(self.n), 0.0
        for at, part in self._strips():
            Z = part - self.means[at]
            if self.U is not None:
                Z -= self.U @ (self.U.T @ Z)
            Z /= self.spreads[at]
            Z[:, self.constant[at]] = 0.0
            each = Z * Z
            rows += each.sum(axis=1)
            fourth += float(np.einsum("np,np->", each, each))
        return float(np.sum(rows**2)) - fourth

    def back(self, V: Array) -> Array:
        """Z^T V, (p', e) of the columns that vary, for vectors V (n, e) over rows."""
        found = np.zeros((self.width, V.shape[1]))
        if self.U is not None:
            V = V - self.U @ (self.U.T @ V)
        sums, root = V.sum(axis=0), np.sqrt(self.n - 1)
        for at, part in self._strips():
            mean, spread = self.means[at], self.spreads[at]
            if part.dtype == np.float64 and (np.abs(mean) <= SMALL_MEAN * spread).all():
                # No large mean whose digits a product would lose.
                rows = part.T @ V
                rows -= np.multiply.outer(mean, sums)
            else:
                rows = np.subtract(part, mean, out=self.buffer[:, : part.shape[1]]).T @ V
            found[at] = rows / (spread[:, None] * root)
        return found[~self.constant]
