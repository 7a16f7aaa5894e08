"""Kernel CCA solved exactly, from two centred kernel matrices of the same rows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from triptych.linalg import EPS, canonical_pairs

Array = NDArray[np.float64]

# A subspace is worth its while where few components are asked of many rows.
FEW_ROWS = 400
BLOCKS = 24
CLOSE = 1e-9


class Dual(NamedTuple):
    """Directions in the span of the rows.

    Args:
        left: Coefficients (n, d): codes of the rows fitted are ``K @ left``.
        right: The same for the other modality.
        correlations: Shape (d,), falling.
    """

    left: Array
    right: Array
    correlations: Array


class Spectrum(NamedTuple):
    """Eigenvectors and eigenvalues of a kernel matrix, of its numerical rank r.

    Args:
        vectors: Shape (n, r).
        values: Shape (r,), positive.
        smallest: The smallest eigenvalue of all, which rounding may have made negative.
        largest: The largest.
    """

    vectors: Array
    values: Array
    smallest: float
    largest: float


def centre(K: Array) -> tuple[Array, Array]:
    """Centre a kernel matrix in its feature space, in place: HKH with H = I - 1/n.

    Args:
        K: Shape (n, n), symmetric; written into.

    Returns:
        The matrix, and the means (n,) that its columns had.
    """
    means: Array = K.mean(axis=0)
    K -= means
    K -= K.mean(axis=1, keepdims=True)
    return K, means


def spectrum(K: Array, eps: float = EPS) -> Spectrum:
    """Eigenvalues above ``n eps`` of the largest, and their vectors."""
    values, vectors = np.linalg.eigh(K)
    largest = float(max(values[-1], 0.0))
    keep = values > len(K) * eps * largest
    return Spectrum(vectors[:, keep], values[keep], float(values[0]), largest)


def shrunk(K: Array, c: float) -> Array:
    """Eigenvectors of a centred kernel matrix (n, r), each shrunk by its projection with ridge c.

    The singular values of the product of two of them are the canonical correlations.
    """
    found = spectrum(K)
    return found.vectors * np.sqrt(found.values / (found.values + c))


def solve_by_spectra(one: Spectrum, two: Spectrum, c1: float, c2: float, d: int) -> Dual:
    """All that there is, to full accuracy, from two eigendecompositions.

    In the eigenvectors U of a kernel, the projection with ridge K (K + c)^-1 is diagonal, so the
    problem is that of two bases shrunk by sqrt(value / (value + c)) (see
    :func:`triptych.linalg.canonical_pairs`).
    """
    roots = [np.sqrt(s.values + c) for s, c in ((one, c1), (two, c2))]
    shrink = [np.sqrt(s.values) / root for s, root in zip((one, two), roots, strict=True)]
    P, rho, Q = canonical_pairs(one.vectors, two.vectors, *shrink)
    scale = np.sqrt(len(one.vectors) - 1)
    found = [
        s.vectors @ (turn[:, :d] / (np.sqrt(s.values) * root)[:, None]) * scale
        for s, root, turn in zip((one, two), roots, (P, Q), strict=True)
    ]
    return Dual(found[0], found[1], rho[:d])


def solve_leading(
    K1: Array, K2: Array, c1: float, c2: float, d: int, draw: np.random.Generator
) -> Dual | None:
    r"""The leading components from three Cholesky factors and a block Krylov subspace.

    With M = K + c, codes f of the first modality satisfy

    .. math:: P_1 P_2 f = \rho^2 f, \qquad P = K M^{-1}, \qquad
        (I - P_1 P_2)^{-1} = M_2 (c_2 K_1 + c_1 K_2 + c_1 c_2 I)^{-1} M_1 .

    The inverse on the right has eigenvalues 1 / (1 - rho²): it draws apart what crowds below
    rho = 1, where kernels put most of it. It only generates the subspace; in it the symmetric
    pencil (P2 P1 P2, P2) is solved, whose residual is checked.

    Args:
        K1: Centred kernel matrix (n, n).
        K2: The other.
        c1: Ridge times (n - 1), > 0.
        c2: The same for the other.
        d: Components, few for n.
        draw: Generator of the first block.

    Returns:
        The components, or ``None`` where the factors or the subspace are not good enough.
    """
    from scipy.linalg import LinAlgError, cho_factor, cho_solve, eigh, qr

    n = len(K1)
    condition = max(1 + np.trace(K) / c for K, c in ((K1, c1), (K2, c2)))
    if condition > 1e10:
        return None
    tolerance = max(CLOSE, 10 * EPS * condition)

    def factor(K: Array, c: float) -> Any:
        K[np.diag_indices(n)] += c
        # A symmetric matrix is its own transpose, and LAPACK wants columns.
        return cho_factor(K.T, lower=True, overwrite_a=True, check_finite=False)

    def less(V: Array, c: float, factored: Any) -> Array:
        """P V = V - c M^-1 V."""
        return V - c * _solve(factored, V)

    def _solve(factored: Any, V: Array) -> Array:
        found: Array = cho_solve(factored, V, check_finite=False)
        return found

    try:
        N1, N2 = factor(K1.copy(), c1), factor(K2.copy(), c2)
        joint = c2 * K1
        joint += c1 * K2
        W = factor(joint, c1 * c2)
    except LinAlgError:
        return None

    width = d + max(d // 2, 10)
    Q, PQ, PPQ = (np.empty((n, BLOCKS * width), order="F") for _ in range(3))
    V = np.asfortranarray(draw.standard_normal((n, width)))
    for step in range(BLOCKS):
        had, have = step * width, (step + 1) * width
        if step:
            V = _solve(W, _times(K1, V) + c1 * V)
            V = _times(K2, V) + c2 * V
        else:
            V = less(less(V, c2, N2), c1, N1)
        for _ in range(2 if step else 0):  # once leaves the rounding of what was taken away
            V -= _times(Q[:, :had], _times(Q[:, :had].T, V))
        V = qr(V, mode="economic", overwrite_a=True, check_finite=False)[0]
        Q[:, had:have] = V
        PQ[:, had:have] = less(V, c2, N2)
        PPQ[:, had:have] = less(PQ[:, had:have], c1, N1)
        if step < 2 or (step % 2 and step + 1 < BLOCKS):
            continue
        gram = _times(Q[:, :have].T, PQ[:, :have])
        small = _times(PQ[:, :have].T, PPQ[:, :have])
        # Directions that P2 all but removes would turn rounding into components.
        size, turn = eigh((gram + gram.T) / 2)
        keep = size > 1e-10 * size[-1]
        turn = turn[:, keep] / np.sqrt(size[keep])
        squares, Y = eigh(_times(_times(turn.T, (small + small.T) / 2), turn))
        squares, Y = squares[::-1][:d], _times(turn, Y[:, ::-1][:, :d])
        F, PF, PPF = (_times(part[:, :have], Y) for part in (Q, PQ, PPQ))
        rest = np.linalg.norm(PPF - F * squares, axis=0) / np.linalg.norm(F, axis=0)
        if len(squares) == d and rest.max() <= tolerance:
            break
    else:
        return None
    if squares[-1] <= 1e-10:
        return None  # perhaps more components than there are: only the spectra tell
    found = []
    for K, c, A in ((K1, c1, _solve(N1, PF)), (K2, c2, _solve(N2, F))):
        KA = _times(K, A)
        power = np.einsum("nd,nd->d", KA, KA) + c * np.einsum("nd,nd->d", A, KA)
        found.append(A * np.sqrt((n - 1) / power))
    return Dual(found[0], found[1], np.sqrt(np.clip(squares, 0, 1)))


def _times(A: Array, B: Array) -> Array:
    """A @ B by SciPy's BLAS: NumPy brings another, and the two fight over the cores in a loop."""
    from scipy.linalg.blas import dgemm

    left, turned = (A.T, True) if A.flags.c_contiguous else (A, False)
    found: Array = dgemm(1.0, left, B, trans_a=turned)
    return found
