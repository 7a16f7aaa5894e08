"""Bases of a modality's standardised columns, by four roads, and the pairs between two of them.

Z stands for the standardised columns over the root of n - 1, so Z^T Z = C is their correlation
matrix. A basis is a set of columns Q = Z W with known products; nothing here has n rows, but for
the bases made of singular vectors. What each road costs in digits: Cholesky of C the square of
the condition of Z, the rest only the condition itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from triptych.linalg import EPS, Array

Expand = Callable[[Array, Array], tuple[Array, Array]]


@dataclass(frozen=True)
class Penalty:
    """What regularises one modality: C becomes keep C + add I.

    Args:
        keep: In [0, 1]; 1 minus the shrinkage.
        add: >= 0; shrinkage plus ridge.
    """

    keep: float = 1.0
    add: float = 0.0

    @property
    def none(self) -> bool:
        """Whether C stays as it is."""
        return self.add == 0


@dataclass(frozen=True)
class Basis:
    """Directions of one modality in coordinates of Q.

    Args:
        gram: Q^T Q, (k, k); ``None`` for the identity.
        inner: Coordinates (k, r) of directions that are orthonormal under the penalty; a vector
            (k,) stands for a diagonal.
        expand: From ``turn`` (r, d) and ``seen`` (k, e), which is Q^T of e vectors over rows: the
            weights (p, d) of the directions ``inner @ turn`` for standardised columns, and the
            products (p, e) of the columns with those vectors.
        rank: Numerical rank of the columns.
        error: Bound on what this basis costs the correlations.
    """

    gram: Array | None
    inner: Array
    expand: Expand
    rank: int
    error: float

    def place(self, turn: Array) -> Array:
        """Coordinates (k, d) of the directions ``turn`` (r, d)."""
        return self.inner[:, None] * turn if self.inner.ndim == 1 else self.inner @ turn

    def own(self, at: Array) -> Array:
        """Q^T of the vectors whose coordinates are ``at`` (k, d)."""
        return at if self.gram is None else self.gram @ at


def by_cholesky(C: Array, penalty: Penalty, noise: float) -> Basis | None:
    """Q = Z and a Cholesky factor; ``None`` where the columns depend on one another.

    Args:
        C: Correlation matrix (p, p).
        penalty: What is added. It gives a factor to dependent columns too, but not the
            directions that they lack, so C itself must have one.
        noise: Error of its entries. The error of the correlations is this times the norm of the
            inverse, which is estimated from the factor by power steps.
    """
    if not penalty.none:
        plain = by_cholesky(C, Penalty(), noise)
        # Errors of entries that are independent have this norm, which lifts eigenvalues from 0.
        if plain is None or not plain.error * 2 * np.sqrt(len(C)) < 1:
            return None
    A = penalty.keep * C
    A[np.diag_indices_from(A)] += penalty.add
    try:
        # NumPy's LAPACK throughout: threads of SciPy's own would wait, spinning, in its way.
        T = np.triu(np.linalg.inv(np.linalg.cholesky(A)).T)  # A = R^T R, T = R^-1
    except np.linalg.LinAlgError:
        return None
    inverse = _largest(T)
    if not inverse * len(C) * EPS < 1:
        return None
    return Basis(C, T, lambda turn, seen: (T @ turn, seen), len(C), noise * penalty.keep * inverse)


def _largest(T: Array, steps: int = 12) -> float:
    """The largest eigenvalue of T T^T, by power steps from its longest row; 1.5 for the start."""
    v = T[np.argmax(np.einsum("ij,ij->i", T, T))]
    size = 0.0
    for _ in range(steps):
        v = v / np.linalg.norm(v)
        v = T.T @ (T @ v)
        size = float(np.linalg.norm(v))
    return 1.5 * size


def by_singular_values(s: Array, Vt: Array, penalty: Penalty, error: float) -> Basis:
    """Q = U of Z = U diag(s) V^T, orthonormal.

    Args:
        s: Singular values (r,), > 0.
        Vt: Shape (r, p).
        penalty: What is added to s².
        error: Bound on what the basis costs the correlations.
    """
    root = np.hypot(np.sqrt(penalty.keep) * s, np.sqrt(penalty.add))
    return Basis(
        None,
        s / root,
        lambda turn, seen: (Vt.T @ (turn / root[:, None]), Vt.T @ (s[:, None] * seen)),
        len(s),
        error,
    )


def by_eigenvalues(C: Array, noise: float, own: Array) -> tuple[Array, Array, float]:
    """Singular values s (r,) and V^T (r, p) of Z from one look at C, and the error of it.

    Directions whose s² is below the error of C, or s below the columns' own rounding, are left
    out: they may be there, but one pass in float64 cannot tell.
    """
    values, V = np.linalg.eigh(C)
    values, V = values[::-1], V[:, ::-1]
    floor = 2 * len(C) * noise * values[0]
    keep = (values > floor) & (np.sqrt(np.maximum(values, 0)) > np.linalg.norm(V.T * own, axis=1))
    if not keep.any():
        return np.zeros(0), V.T[:0], 1.0
    return np.sqrt(values[keep]), V.T[keep], float(min(noise / values[keep].min(), 1.0))


def whitener(C: Array, noise: float) -> tuple[Array, Array]:
    """W (p, p) that makes Z W nearly orthonormal, and W^-1.

    Directions that drown in the error of C are stretched only as far as that error is known.
    """
    values, V = np.linalg.eigh(C)
    root = np.sqrt(np.maximum(values, 4 * len(C) * noise * values[-1]))
    return V / root, root[:, None] * V.T


def refined(gram: Array, back: Array, own: Array, n: int) -> tuple[Array, Array, Array, float]:
    """Singular values and vectors of Z = Q back from the products of Q = Z W in a second pass.

    This is Cholesky-QR done twice (Yamamoto et al. 2015) with symmetric factors: what the first
    pass blurred, the second sees at its own size.

    Args:
        gram: Q^T Q, (k, k), with Q near orthonormal but for directions that the first pass could
            not see.
        back: Shape (k, p).
        own: Rounding of the standardised columns, (p,).
        n: Rows.

    Returns:
        s (r,), V^T (r, p), the coordinates (k, r) of U in Q, and a bound on the error.
    """
    size = np.sqrt(np.maximum(np.diag(gram), 0))
    there = size > 0
    scale = 1 / size[there]
    G = gram[np.ix_(there, there)] * scale[:, None] * scale
    values, V = np.linalg.eigh(G)
    good = values > len(values) * 4 * EPS * values.max(initial=0)
    root, V = np.sqrt(values[good]), V[:, good]
    R = (root[:, None] * V.T) @ (back[there] / scale[:, None])  # (g, p)
    turn, s, Vt = np.linalg.svd(R, full_matrices=False)
    keep, error = numerical_rank(s, Vt, own, n)
    inner = np.zeros((len(gram), int(keep.sum())))
    inner[there] = scale[:, None] * (V / root) @ turn[:, keep]
    blurred = 4 * EPS / float(values[good].min(initial=1.0))
    return s[keep], Vt[keep], inner, min(max(error, blurred), 1.0)


def numerical_rank(s: Array, Vt: Array, own: Array, n: int) -> tuple[Array, float]:
    """Which directions exceed rounding, boolean (r,), and how near the smallest comes to it.

    The rule is that of :func:`triptych.linalg.thin_svd`, for singular values of the standardised
    columns over the root of n - 1.
    """
    rounding = np.linalg.norm(Vt * own, axis=1) * np.sqrt(n / max(n - 1, 1))
    floor = max(n, Vt.shape[1]) * EPS * s.max(initial=0.0)
    keep = (s > floor) & (s > rounding)
    # A rounding error turns a direction by its share, and a cosine by the square of the turn,
    # beside what n independent errors happen to correlate.
    share = np.maximum(rounding, EPS * s.max(initial=0.0))[keep] / s[keep]
    worst = float(share.max(initial=0.0))
    return keep, min(worst**2 + worst / np.sqrt(n) + 4 * EPS, 1.0)
