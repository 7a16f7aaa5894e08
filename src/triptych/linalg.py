"""Linear algebra in float64 that survives dependent columns, large means and extreme scales."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)
# A column that varies by less than this share of its largest value is its own rounding.
CONSTANT = 1e-14


class Standardised(NamedTuple):
    """Columns brought to mean 0 and spread 1, and what was taken from them.

    Args:
        values: Shape (n, p); a constant column is zero.
        means: Shape (p,).
        spreads: Standard deviations (divisor n - 1), shape (p,); 1 where a column is constant.
        constant: Boolean (p,).
        noise: Rounding of the given numbers after standardising, shape (p,): machine epsilon of
            their type times largest value over spread; 0 where a column is constant.
    """

    values: Array
    means: Array
    spreads: Array
    constant: NDArray[np.bool_]
    noise: Array


def standardise(X: NDArray[Any]) -> Standardised:
    """Centred columns of unit spread.

    Args:
        X: Real numbers, finite, shape (n, p), n >= 2; not written into.
    """
    Y = np.array(X, dtype=np.float64)
    # Squares of 1e±150 leave the range of float64, so columns are brought near 1 first.
    size = np.maximum(Y.max(axis=0), -Y.min(axis=0))
    size = np.where(size > 0, size, 1.0)
    Y /= size
    mean = Y.mean(axis=0)
    Y -= mean
    rest = Y.mean(axis=0)  # what rounding of a large mean left behind
    Y -= rest
    spread = np.sqrt(np.einsum("np,np->p", Y, Y) / (len(Y) - 1))
    constant = spread <= CONSTANT
    spread = np.where(constant, 1.0, spread)
    Y /= spread
    Y[:, constant] = 0.0
    eps = float(np.finfo(X.dtype).eps) if X.dtype.kind == "f" else EPS
    return Standardised(
        values=Y,
        means=(mean + rest) * size,
        spreads=np.where(constant, 1.0, spread * size),
        constant=constant,
        noise=np.where(constant, 0.0, max(eps, EPS) / spread),
    )


def thin_svd(X: Array, noise: Array | None = None) -> tuple[Array, Array, Array]:
    """Singular vectors and values of the numerical rank r: U (n, r), s (r,), V^T (r, p).

    A direction v counts where its singular value exceeds both max(n, p) machine epsilons of the
    largest one and what rounding of the columns alone would give it, sqrt(n) |noise * v|.

    Args:
        X: Finite, shape (n, p).
        noise: Rounding error of one entry of each column, shape (p,), as in
            :class:`Standardised`; a column with a large mean has lost more digits than others.

    Returns:
        U and V with orthonormal columns, s falling and positive; r = 0 if X is zero.
    """
    n, p = X.shape
    if n > p:
        Q, R = np.linalg.qr(X)
        U, s, Vt = np.linalg.svd(R, full_matrices=False)
        U = Q @ U
    else:
        U, s, Vt = np.linalg.svd(X, full_matrices=False)
    keep = s > max(n, p) * EPS * s.max(initial=0.0)
    if noise is not None:
        keep &= s > np.sqrt(n) * np.linalg.norm(Vt * noise, axis=1)
    return U[:, keep], s[keep], Vt[keep]


def canonical_pairs(
    Ua: Array, Ub: Array, shrink_a: Array | None = None, shrink_b: Array | None = None
) -> tuple[Array, Array, Array]:
    """Principal angles between two column spaces, regularised when shrunk.

    Args:
        Ua: Orthonormal basis, shape (n, r).
        Ub: The other, shape (n, s).
        shrink_a: Factor in (0, 1] on each basis vector, shape (r,); ``None`` is 1.
        shrink_b: The same for the other, shape (s,).

    Returns:
        Rotations P (r, k) and Q (s, k) and the cosines (k,) between Ua P and Ub Q, falling, in
        [0, 1], k = min(r, s), as ``(P, cosines, Q)``.

    References:
        Björck and Golub 1973, Math. Comp. 27, algorithm 1.
    """
    left = Ua if shrink_a is None else Ua * shrink_a
    right = Ub if shrink_b is None else Ub * shrink_b
    P, cosines, Qt = np.linalg.svd(left.T @ right, full_matrices=False)
    return P, np.clip(cosines, 0.0, 1.0), Qt.T


def fixed_signs(*parts: Array, tie: float = 1e-8) -> Array:
    """Signs (d,) that make the entry of largest absolute value in each column positive.

    Args:
        parts: Shapes (p, d), (q, d), ...: read as if one stood below the other.
        tie: Entries within this share of the largest count as equal, and the first decides, so
            that rounding does not choose.
    """
    stacked = np.concatenate(parts)  # (p + q + ..., d)
    size = np.abs(stacked)
    first = (size >= (1 - tie) * size.max(axis=0)).argmax(axis=0)
    return np.where(np.take_along_axis(stacked, first[None], axis=0)[0] < 0, -1.0, 1.0)


def shrinkage(squares: float, products: float, n: int) -> float:
    r"""How far a correlation matrix is best shrunk towards the identity, in closed form.

    .. math:: c = \frac{\sum_{i \ne j} \widehat{Var}(r_{ij})}{\sum_{i \ne j} r_{ij}^2}

    Args:
        squares: Sum over rows and over i != j of (z_i z_j)², for standardised columns z.
        products: Sum over i != j of r_ij².
        n: Rows, >= 2.

    Returns:
        c in [0, 1], which minimises the expected squared error of (1 - c) R + c I.

    References:
        Ledoit and Wolf 2003, J. Empirical Finance 10; Schäfer and Strimmer 2005, Stat. Appl.
        Genet. Mol. Biol. 4, section 2.4 (target of unit variances and no correlation).
    """
    if products <= 0:
        return 1.0
    variance = n / (n - 1) ** 3 * (squares - (n - 1) ** 2 / n * products)
    return float(np.clip(variance / products, 0.0, 1.0))
