"""The road for more rows and columns than any square matrix can hold: a few leading pairs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from triptych.arrays import is_sparse
from triptych.bases import Basis, Penalty
from triptych.blocks import Rows, spans
from triptych.coordination._reading import Reading
from triptych.coordination._solution import Penalties, Solution, vary
from triptych.coordination._wide import orthonormal_confounds
from triptych.errors import ParameterError
from triptych.linalg import CONSTANT, EPS, Array
from triptych.moments import Columns

EXTRA, PASSES, TOLERANCE = 10, 30, 1e-6
MOST_STEPS = 200  # of conjugate gradients


def by_subspace(
    reading: Reading,
    penalty: Penalties,
    confounds: str | None,
    n_components: int,
    random_state: int | None,
) -> Solution:
    """Subspace iteration on T = C_aa^(-1/2) C_ab C_bb^(-1/2), from random directions.

    Each power pass solves with the penalised C_aa and C_bb by conjugate gradients, which need
    only products of the rows with a few vectors; the subspace is so wide as to hold ten more
    directions than were asked for (Halko, Martinsson and Tropp 2011; Lu and Foster 2014). With
    v = T^T u / rho exact, |T v - rho u| / sqrt(2) bounds how far rho is from a singular value of
    T; what the unfinished solves add is bounded by their residual over the root of the penalty.
    """
    sources = {source.name: source for source in reading.looked_at()}
    removed, confound_means = None, None
    if confounds is not None:
        removed, confound_means = orthonormal_confounds(sources.pop(confounds))
    tables, penalties = {}, {}
    for name, source in sources.items():
        table = _Table.of(source, None if removed is None else removed[0])

        def unknown(name: str = name) -> float:
            raise ParameterError(
                f'shrinkage: "auto" sums over all pairs of columns, too many of {name!r} for '
                'solver="randomized"; give a number.'
            )

        vary(name, table.columns)
        tables[name], penalties[name] = table, penalty(name, unknown)
        if penalties[name].add <= 0:
            raise ParameterError(
                f'solver="randomized" solves with the penalty of each modality, and {name!r} has '
                "none: set ridge or shrinkage > 0."
            )
    a, b = tables
    most = min(reading.n - 1, *(t.width for t in tables.values()))
    if n_components > most:
        raise ParameterError(
            f"n_components: expected at most {most}, the smaller of rows - 1 and the columns "
            f"that vary; got {n_components}."
        )
    k = looked = min(n_components + EXTRA, most)
    A, B = (_Solver(tables[name], penalties[name]) for name in (a, b))
    rng = np.random.default_rng(random_state)
    Wa = rng.normal(size=(tables[a].width, k))
    Ya = tables[a].forward(Wa)
    rank = {
        a: _rank(tables[a], Ya),
        b: _rank(tables[b], tables[b].forward(rng.normal(size=(tables[b].width, k)))),
    }
    k = min(k, *rank.values())
    if n_components > k:
        raise ParameterError(
            f"n_components: expected at most {k}, the smaller rank of the modalities {rank} over "
            f"{reading.n} rows (ranks are looked for up to {looked}); got "
            f"{n_components}."
        )
    Va, Ya = A.orthonormal(Wa[:, :k], Ya[:, :k])
    rho, bound = np.zeros(k), np.inf
    Vb, Yb = np.zeros((tables[b].width, k)), np.zeros((reading.n, k))
    for _ in range(PASSES):
        Wb, rest_b = B.solve(tables[b].backward(Ya), Vb * rho)
        Xb = tables[b].forward(Wb)
        values, turn = np.linalg.eigh(B.gram(Wb, Xb))
        values, turn = np.maximum(values[::-1], EPS), turn[:, ::-1]
        rho = np.sqrt(values)
        Va, Ya = Va @ turn, Ya @ turn
        Vb, Yb = Wb @ turn / rho, Xb @ turn / rho
        Wa, rest_a = A.solve(tables[a].backward(Yb), Va * rho)
        Xa = tables[a].forward(Wa)
        apart, image = Wa - Va * rho, Xa - Ya * rho
        left = np.sqrt(np.maximum(np.diag(A.gram(apart, image)), 0))
        unfinished = rest_a + float(np.linalg.norm(rest_b)) * np.ones(k)
        bound = float(((left + unfinished) / np.sqrt(2))[:n_components].max())
        if bound <= TOLERANCE:
            break
        Va, Ya = A.orthonormal(Wa, Xa)
    d = n_components
    Va, Ya, Vb, Yb = Va[:, :d], Ya[:, :d], Vb[:, :d], Yb[:, :d]
    bases, lifts = {}, {}
    for name, V, Y, other in ((a, Va, Ya, Yb), (b, Vb, Yb, Ya)):
        table = tables[name]
        bases[name] = Basis(
            Y.T @ Y,
            np.ones(d),
            partial(_weights, V),
            rank[name] if rank[name] < looked else min(reading.n - 1, table.width),
            min(bound, 1.0),
        )
        lifts[name] = (table.backward(Y), table.backward(other))
    slopes = {} if removed is None else {m: removed[1] @ tables[m].parts for m in (a, b)}
    columns = {name: tables[name].columns for name in (a, b)}
    return Solution(
        (a, b),
        reading.n,
        bases,
        Ya.T @ Yb,
        columns,
        penalties,
        "randomized",
        min(bound, 1.0),
        slopes,
        confound_means,
        lifts,
    )


def _rank(table: _Table, Y: Array) -> int:
    """Numerical rank of Z from Y = Z G (n, k) with a normal G: the whole of it, if below k."""
    s = np.linalg.svd(np.linalg.qr(Y, mode="r"), compute_uv=False)
    n, p = table.source.n, table.width
    # The rounding of the numbers given, E, is a matrix of independent errors; so is E G.
    rounding = np.linalg.norm(table.columns.noise) * (1 + np.sqrt(Y.shape[1] / n))
    return int(np.sum(s > max(max(n, p) * EPS * s[0], rounding)))


def _weights(V: Array, turn: Array, seen: Array) -> tuple[Array, Array]:
    return V @ turn, seen


@dataclass(frozen=True)
class _Table:
    """Standardised columns Z over the root of n - 1, known by their products with vectors.

    Args:
        source: Rows.
        columns: What standardising takes off.
        removed: Orthonormal confounds (n, r), projected out.
        parts: removed^T x of the centred columns, (r, p).
    """

    source: Rows
    columns: Columns
    removed: Array | None
    parts: Array

    @property
    def width(self) -> int:
        """Columns that vary."""
        return int((~self.columns.constant).sum())

    @classmethod
    def of(cls, source: Rows, removed: Array | None) -> _Table:
        n, p = source.n, source.width
        some = source.some().astype(np.float64)
        shift = np.where((some == some[0]).all(axis=0), some[0], some.mean(axis=0))
        sums, squares = np.zeros(p), np.zeros(p)
        parts = np.zeros((0 if removed is None else removed.shape[1], p))
        for low, high in spans([source], p):
            block = _dense(source.block(low, high)) - shift
            sums += block.sum(axis=0)
            squares += np.einsum("np,np->p", block, block)
            if removed is not None:
                parts += removed[low:high].T @ block
        means = shift + sums / n
        variance = np.maximum(squares - sums**2 / n, 0)
        left = variance - np.einsum("rp,rp->p", parts, parts)
        spread = np.sqrt(np.maximum(left, 0) / (n - 1))
        kind = source.dtype
        eps = max(float(np.finfo(kind).eps), EPS) if kind.kind == "f" else EPS
        size = np.hypot(means, np.sqrt(variance / (n - 1)))
        constant = (spread <= CONSTANT * size) | (left <= 16 * EPS * squares)
        spread = np.where(constant, 1.0, spread)
        noise = np.where(constant, 0.0, eps * size / spread)
        return cls(source, Columns(means, spread, constant, noise), removed, parts)

    def forward(self, V: Array) -> Array:
        """Z V, (n, k)."""
        kept = ~self.columns.constant
        scaled = np.zeros((len(kept), V.shape[1]))
        scaled[kept] = V / (self.columns.spreads[kept] * np.sqrt(self.source.n - 1))[:, None]
        out = np.empty((self.source.n, V.shape[1]))
        for low, high in spans([self.source], self.source.width):
            block = self.source.block(low, high)
            if is_sparse(block):
                out[low:high] = block @ scaled - self.columns.means @ scaled
            else:
                out[low:high] = (block - self.columns.means) @ scaled
        if self.removed is not None:
            out -= self.removed @ (self.removed.T @ out)
        return out

    def backward(self, U: Array) -> Array:
        """Z^T U, (p', k)."""
        if self.removed is not None:
            U = U - self.removed @ (self.removed.T @ U)
        out = np.zeros((self.source.width, U.shape[1]))
        for low, high in spans([self.source], self.source.width):
            block = self.source.block(low, high)
            part = U[low:high]
            if is_sparse(block):
                out += block.T @ part - np.multiply.outer(self.columns.means, part.sum(axis=0))
            else:
                out += (block - self.columns.means).T @ part
        kept = ~self.columns.constant
        scale = self.columns.spreads[kept] * np.sqrt(self.source.n - 1)
        found: Array = out[kept] / scale[:, None]
        return found


@dataclass(frozen=True)
class _Solver:
    """C = keep Z^T Z + add I, never formed."""

    table: _Table
    penalty: Penalty

    def gram(self, V: Array, Y: Array) -> Array:
        """V^T C V, given Y = Z V."""
        found: Array = self.penalty.keep * (Y.T @ Y) + self.penalty.add * (V.T @ V)
        return found

    def orthonormal(self, V: Array, Y: Array) -> tuple[Array, Array]:
        """V with V^T C V = I, and Z V."""
        for _ in range(2):  # the second time mends what the condition of the first one cost
            size = np.sqrt(np.maximum(np.diag(self.gram(V, Y)), 1e-300))
            V, Y = V / size, Y / size
            values, turn = np.linalg.eigh(self.gram(V, Y))
            turn = turn / np.sqrt(np.maximum(values, len(values) * EPS))
            V, Y = V @ turn, Y @ turn
        return V, Y

    def solve(self, right: Array, start: Array) -> tuple[Array, Array]:
        """C^-1 right (p', k) by conjugate gradients, and a bound of each column's energy error."""
        W = start.copy()
        rest = right - self._times(W)
        goal = 0.1 * TOLERANCE * np.sqrt(self.penalty.add)
        step, power = rest.copy(), np.einsum("pk,pk->k", rest, rest)
        for _ in range(MOST_STEPS):
            open_ = np.sqrt(power) > goal
            if not open_.any():
                break
            image = self._times(step)
            along = np.einsum("pk,pk->k", step, image)
            size = np.where(open_ & (along > 0), power / np.where(along > 0, along, 1.0), 0.0)
            W += size * step
            rest -= size * image
            before, power = power, np.einsum("pk,pk->k", rest, rest)
            step = rest + np.where(before > 0, power / np.where(before > 0, before, 1.0), 0) * step
        return W, np.sqrt(power / self.penalty.add)

    def _times(self, V: Array) -> Array:
        found: Array = self.penalty.keep * self.table.backward(self.table.forward(V))
        found += self.penalty.add * V
        return found


def _dense(block: object) -> Array:
    return np.asarray(block.toarray() if is_sparse(block) else block, dtype=np.float64)  # type: ignore[attr-defined]
