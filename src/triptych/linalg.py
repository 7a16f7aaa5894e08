"""Linear algebra in float64 that survives dependent columns and extreme scales."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def standardise(X: NDArray[np.floating]) -> tuple[Array, Array, Array]:
    """Centred columns of unit spread; a constant column becomes zero.

    Args:
        X: Shape (n, p), n >= 2.

    Returns:
        Standardised (n, p), means (p,) and spreads (p,), 1 where a column is constant.
    """
    X = np.asarray(X, dtype=np.float64)
    # Squares of 1e±150 leave the range of float64, so columns are brought near 1 first.
    size = np.abs(X).max(axis=0)
    size = np.where(size > 0, size, 1.0)
    Y = X / size
    mean = Y.mean(axis=0)
    Y = Y - mean
    Y -= Y.mean(axis=0)  # what rounding of a large mean left behind
    spread = np.sqrt((Y**2).sum(axis=0) / (len(X) - 1))
    constant = spread <= 1e-14
    spread = np.where(constant, 1.0, spread)
    Y = np.where(constant, 0.0, Y / spread)
    return Y, mean * size, np.where(constant, 1.0, spread * size)


def thin_svd(X: Array) -> tuple[Array, Array, Array]:
    """Singular vectors and values of the numerical rank r: (n, r), (r,), (r, p)."""
    if X.shape[0] > X.shape[1]:
        Q, R = np.linalg.qr(X)
        U, s, Vt = np.linalg.svd(R, full_matrices=False)
        U = Q @ U
    else:
        U, s, Vt = np.linalg.svd(X, full_matrices=False)
    top = s[0] if len(s) else 0.0
    rank = int((s > max(X.shape) * np.finfo(np.float64).eps * top).sum())
    return U[:, :rank], s[:rank], Vt[:rank]
