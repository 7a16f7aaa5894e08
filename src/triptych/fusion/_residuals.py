"""Iteratively reweighted residuals: codes and maps under the Cauchy loss, by batched solves.

For modality v and row i the residual is r = z_iv - W_v x_i - b_v, and

    J = 1/n sum_i [ 1/m_i sum_v log(1 + |r|²/c²) + C2 |x_i|² ] + C1/m sum_v |W_v|²

with m_i modalities present in row i. The logarithm is concave in |r|², so the quadratic with
weights q = 1 / (c² + |r|²) that touches it lies above it: a half step that minimises the quadratic
over all codes, or over all maps, can only lower J.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import row_chunks

Array = NDArray[np.float64]

# Numbers in a chunk's matrices (rows, d, d): they should stay in the cache between its steps.
CHUNK_NUMBERS = 2**19
# Below this share of |z|² the expanded |z - Wx|² has lost its digits and is summed directly.
CANCELLED = 1e-6
# Share of a system's mean diagonal that holds a step back where nothing else does.
HELD = 1e-13


@dataclass(frozen=True)
class Maps:
    """What is learnt of the modalities.

    Args:
        W: Maps from codes, shapes (p_v, d).
        b: Offsets, shapes (p_v,).
    """

    W: tuple[Array, ...]
    b: tuple[Array, ...]

    @property
    def grams(self) -> Array:
        """W_v^T W_v, shape (m, d, d)."""
        return np.stack([W.T @ W for W in self.W])


@dataclass(frozen=True)
class Loss:
    """Constants of J.

    Args:
        c: Size of a residual from which its influence falls, > 0.
        map_penalty: C1 > 0.
        code_penalty: C2 > 0.
    """

    c: float
    map_penalty: float
    code_penalty: float

    def of_rows(self, squares: Array, present: NDArray[np.bool_], x: Array) -> Array:
        """Each row's share of n J without the maps' penalty, shape (n,).

        Args:
            squares: |r|², shape (n, m).
            present: Shape (n, m).
            x: Codes (n, d).
        """
        logs = np.where(present, np.log1p(squares / self.c**2), 0.0).sum(1)
        penalty: Array = self.code_penalty * np.einsum("nd,nd->n", x, x)
        values: Array = logs / present.sum(1) + penalty
        return values

    def of_maps(self, maps: Maps) -> float:
        """The maps' penalty."""
        total = sum(float(np.vdot(W, W)) for W in maps.W)
        return self.map_penalty * total / len(maps.W)

    def weights(self, squares: Array, present: NDArray[np.bool_]) -> Array:
        """Of each residual, q = 1 / (c² + |r|²); zero where absent, shape (n, m)."""
        return np.where(present, 1 / (self.c**2 + squares), 0.0)


def chunks(n: int, d: int) -> list[slice]:
    """Slices of rows whose systems (rows, d, d) fit the cache together."""
    return list(row_chunks(n, max(32, min(4096, CHUNK_NUMBERS // d**2))))


class Seen:
    """What steps on some rows need of their data, for fixed maps.

    Args:
        Z: Data by modality, (rows, p_v).
        present: Boolean (rows, m).
        maps: W and b.
        grams: W_v^T W_v, (m, d, d), if known already.
    """

    def __init__(
        self,
        Z: Sequence[Array],
        present: NDArray[np.bool_],
        maps: Maps,
        grams: Array | None = None,
    ) -> None:
        self.Z, self.present, self.maps = Z, present, maps
        self.grams = maps.grams if grams is None else grams
        m, d = self.grams.shape[:2]
        self.projected = np.empty((len(present), m, d))  # W_v^T (z - b)
        self.sizes = np.empty((len(present), m))  # |z - b|²
        for v, (z, W, b) in enumerate(zip(Z, maps.W, maps.b, strict=True)):
            # One product with z, and no copy of it.
            both = z @ np.column_stack([W, b])
            self.projected[:, v] = both[:, :d] - b @ W
            own = np.einsum("np,np->n", z, z) + b @ b
            self.sizes[:, v] = own - 2 * both[:, d]
            lost = np.flatnonzero(present[:, v] & (self.sizes[:, v] < CANCELLED * own))
            if len(lost):
                self.sizes[lost, v] = np.square(z[lost] - b).sum(1)

    def squares(self, x: Array) -> Array:
        """|z - Wx - b|² by row and modality, shape (rows, m); 0 where absent."""
        found = self.sizes - 2 * np.matmul(self.projected, x[:, :, None])[:, :, 0]
        for v, G in enumerate(self.grams):
            found[:, v] += np.einsum("nd,nd->n", x @ G, x)
        for v, (z, W, b) in enumerate(zip(self.Z, self.maps.W, self.maps.b, strict=True)):
            lost = np.flatnonzero(
                self.present[:, v] & (found[:, v] < CANCELLED * self.sizes[:, v])
            )
            if len(lost):
                r = z[lost] - x[lost] @ W.T - b
                found[lost, v] = np.einsum("np,np->n", r, r)
        return np.where(self.present, np.maximum(found, 0.0), 0.0)

    def codes(self, q: Array, x: Array, code_penalty: float) -> Array:
        """The codes (rows, d) that minimise the quadratic of weights ``q`` (rows, m).

        x <- (sum_v q W^T W + m_i C2)^-1 sum_v q W^T (z - b), held at ``x`` by a trace of weight
        where the system is singular to rounding.
        """
        m, d = self.grams.shape[:2]
        A = (q @ self.grams.reshape(m, -1)).reshape(-1, d, d)
        diagonal = A.reshape(-1, d * d)[:, :: d + 1]
        hold = HELD * diagonal.mean(1)
        diagonal += (self.present.sum(1) * code_penalty + hold)[:, None]
        right = np.matmul(q[:, None], self.projected)[:, 0] + hold[:, None] * x
        found: Array = np.linalg.solve(A, right[..., None])[..., 0]
        return found

    def part(self, rows: NDArray[np.intp]) -> Seen:
        """The same for some of the rows."""
        new = object.__new__(Seen)
        new.Z, new.present = [z[rows] for z in self.Z], self.present[rows]
        new.maps, new.grams = self.maps, self.grams
        new.projected, new.sizes = self.projected[rows], self.sizes[rows]
        return new


# -- learning ----------------------------------------------------------------------------------


def step(
    Z: Sequence[Array], present: NDArray[np.bool_], x: Array, maps: Maps, loss: Loss, offset: bool
) -> tuple[Maps, float, float, Array]:
    """One pass over the rows: both half steps, codes (written into ``x``) and then maps.

    Args:
        Z: Data by modality, (n, p_v); what stands in absent rows is not used.
        present: Boolean (n, m).
        x: Codes (n, d); changed in place.
        maps: W and b.
        loss: Constants.
        offset: Whether b is learnt.

    Returns:
        The new maps, J before the pass, J after its codes, and |r|² (n, m) after its codes.
    """
    n, d = x.shape
    m, grams = len(Z), maps.grams
    wide = d + 1 if offset else d
    moments = np.zeros((m, wide, wide))
    products = [np.zeros((z.shape[1], wide)) for z in Z]
    squares = np.empty((n, m))
    before = after = 0.0
    for part in chunks(n, d):
        there = present[part]
        seen = Seen([z[part] for z in Z], there, maps, grams)
        r2 = seen.squares(x[part])
        before += float(loss.of_rows(r2, there, x[part]).sum())
        x[part] = seen.codes(loss.weights(r2, there), x[part], loss.code_penalty)
        r2 = squares[part] = seen.squares(x[part])
        after += float(loss.of_rows(r2, there, x[part]).sum())
        # Rows that lack a modality count like others: what is there weighs m / m_i.
        q = loss.weights(r2, there) * (m / there.sum(1))[:, None]
        code = np.column_stack([x[part], np.ones(len(there))]) if offset else x[part]
        for v, z in enumerate(seen.Z):
            weighted = code * q[:, v : v + 1]
            moments[v] += weighted.T @ code
            products[v] += z.T @ weighted
    fixed = loss.of_maps(maps)
    new = _mapped(moments, products, maps, n * loss.map_penalty, offset)
    return new, before / n + fixed, after / n + fixed, squares


def _mapped(
    moments: Array, products: Sequence[Array], old: Maps, penalty: float, offset: bool
) -> Maps:
    """W_v <- (sum q z x^T) (sum q x x^T + n C1)^-1, with b_v as the map of a constant 1."""
    W, b = [], []
    for v, N in enumerate(products):
        M = moments[v].copy()
        d = old.W[v].shape[1]
        hold = HELD * M.trace() / len(M)
        M[np.arange(len(M)), np.arange(len(M))] += hold
        M[np.arange(d), np.arange(d)] += penalty
        before = np.column_stack([old.W[v], old.b[v]]) if offset else old.W[v]
        found = np.linalg.solve(M, (N + hold * before).T).T  # (p, d) or (p, d + 1)
        W.append(np.ascontiguousarray(found[:, :d]))
        b.append(found[:, d].copy() if offset else old.b[v])
    return Maps(tuple(W), tuple(b))


def balanced(x: Array, maps: Maps, loss: Loss, offset: bool) -> tuple[Array, Maps]:
    """The same products W_v x_i + b_v from the codes and maps that cost least, axes in order.

    Codes are centred where offsets take their mean. Of all invertible T, x T and W T^-T with
    C1/m sum |W|² = C2/n |x|² in every axis cost least; axes are those of the singular vectors of
    all products, falling, so that the solution no longer depends on where it began.

    Returns:
        New codes and maps.
    """
    b = maps.b
    if offset:
        mean = x.mean(0)
        x = x - mean
        b = tuple(bv + W @ mean for bv, W in zip(b, maps.W, strict=True))
    tall = np.concatenate(maps.W)
    sx, Vx = _axes(x)
    sw, Vw = _axes(tall)
    P, D, Qt = np.linalg.svd(sx[:, None] * (Vx.T @ Vw) * sw)
    scale = (loss.map_penalty / len(maps.W) * len(x) / loss.code_penalty) ** 0.25
    inverse_x = np.divide(1.0, sx, out=np.zeros_like(sx), where=sx > 1e-12 * sx[0])
    inverse_w = np.divide(1.0, sw, out=np.zeros_like(sw), where=sw > 1e-12 * sw[0])
    root = np.sqrt(D)
    new_x = x @ (Vx @ (inverse_x[:, None] * P) * root * scale)
    new_tall = tall @ (Vw @ (inverse_w[:, None] * Qt.T) * root / scale)
    sizes = np.cumsum([len(W) for W in maps.W])[:-1]
    W = tuple(np.ascontiguousarray(part) for part in np.split(new_tall, sizes))
    return new_x, Maps(W, b)


def _axes(A: Array) -> tuple[Array, Array]:
    """Singular values, falling, and right singular vectors (d, d) of A (rows, d)."""
    _, s, Vt = np.linalg.svd(np.linalg.qr(A, mode="r"), full_matrices=True)
    return np.pad(s, (0, len(Vt) - len(s))), Vt.T


# -- codes of rows -----------------------------------------------------------------------------


def infer(
    Z: Sequence[Array],
    present: NDArray[np.bool_],
    maps: Maps,
    loss: Loss,
    *,
    start: Array | None = None,
    max_iter: int = 200,
    tol: float = 1e-8,
) -> Array:
    """Codes (n, d) of rows for fixed maps; no row depends on its neighbours.

    J of a row has several valleys where modalities contradict each other. It is asked first from
    the ridge solution of all its modalities. A row in which some residual is larger than c, where
    the loss bends downwards, or which costs as much by its code, is asked again from the ridge
    solutions of each modality alone and of all but one, and keeps the deepest valley. Codes that
    are given as ``start`` take the place of the first answer.
    """
    x = np.empty((len(present), maps.W[0].shape[1]))
    grams = maps.grams
    for part in chunks(*x.shape):
        seen = Seen([z[part] for z in Z], present[part], maps, grams)
        first = None if start is None else start[part]
        x[part] = _best_codes(seen, loss, first, max_iter, tol)
    return x


def _best_codes(seen: Seen, loss: Loss, first: Array | None, max_iter: int, tol: float) -> Array:
    if first is None:
        best = _settled(seen, _ridge(seen, seen.present, loss), loss, max_iter, tol)
    else:
        best = first.copy()
    squares = seen.squares(best)
    value = loss.of_rows(squares, seen.present, best)
    # A code as wide as all columns meets what is wrong by its size, and leaves no residual.
    odd = np.flatnonzero((squares > loss.c**2).any(1) | (value > math.log(2)))
    m = seen.present.shape[1]
    if not len(odd) or m == 1:
        return best
    few, value = seen.part(odd), value[odd]
    one = np.eye(m, dtype=bool)
    for used in [*one, *(~one if m > 2 else ())]:
        tried = _settled(few, _ridge(few, few.present & used, loss), loss, max_iter, tol)
        reached = loss.of_rows(few.squares(tried), few.present, tried)
        better = reached < value
        best[odd[better]], value = tried[better], np.minimum(value, reached)
    return best


def _ridge(seen: Seen, used: NDArray[np.bool_], loss: Loss) -> Array:
    """Least squares with the codes' penalty, from the modalities in ``used`` (rows, m)."""
    nothing = np.zeros((len(used), seen.grams.shape[1]))
    return seen.codes(used / loss.c**2, nothing, loss.code_penalty)


def _settled(seen: Seen, x: Array, loss: Loss, max_iter: int, tol: float) -> Array:
    """Half steps of the codes until each row's own change is below ``tol`` of its size."""
    x = x.copy()
    active, some = np.arange(len(x)), seen
    for _ in range(max_iter):
        old = x[active]
        q = loss.weights(some.squares(old), some.present)
        x[active] = new = some.codes(q, old, loss.code_penalty)
        moved = np.linalg.norm(new - old, axis=1) > tol * np.linalg.norm(new, axis=1)
        if not moved.any():
            break
        if not moved.all():
            active, some = active[moved], some.part(np.flatnonzero(moved))
    return x
