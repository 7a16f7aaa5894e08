"""How columns relate to canonical variates: loadings, variance extracted, redundancy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.errors import DataError, ShapeError
from triptych.linalg import standardise, thin_svd
from triptych.values import register

Array = NDArray[np.float64]


@register
@dataclass(frozen=True)
class Structure:
    """What the variates of two modalities say of their columns; every dict is by modality.

    Args:
        correlations: Of the two variates of each component, shape (d,), in [-1, 1].
        loadings: Correlation of each column with its own modality's variates, (p, d).
        cross_loadings: Correlation of each column with the other modality's variates, (p, d).
        variance_extracted: Mean squared loading over columns that vary, (d,), in [0, 1].
        redundancy: Mean squared cross-loading, (d,), in [0, 1]: the share of the modality's
            variance that the other's variate predicts. For canonical variates it is correlation²
            times the variance extracted.
        total_redundancy: Mean R² of regressing each standardised column on all columns of the
            other modality; the sum of ``redundancy`` over all components of a CCA without ridge.
    """

    correlations: Array
    loadings: Mapping[str, Array]
    cross_loadings: Mapping[str, Array]
    variance_extracted: Mapping[str, Array]
    redundancy: Mapping[str, Array]
    total_redundancy: Mapping[str, float]


def loadings(columns: ArrayLike, variates: ArrayLike) -> Array:
    """Correlations of columns with variates; with the other modality's variates, cross-loadings.

    Args:
        columns: Shape (n, p), n >= 2.
        variates: Shape (n, d), the same rows.

    Returns:
        Shape (p, d), in [-1, 1]; 0 where a column or variate is constant.
    """
    X, Z = _pair(columns, variates)
    A, B = standardise(X).values, standardise(Z).values
    return np.clip(A.T @ B / (len(A) - 1), -1.0, 1.0)


def variance_extracted(loadings: ArrayLike, varies: ArrayLike | None = None) -> Array:
    """Share of a modality's standardised variance that each of its variates holds.

    Args:
        loadings: Shape (p, d).
        varies: Boolean (p,), columns that are not constant; all when left out. Constant columns
            have no variance to be extracted and do not count.

    Returns:
        Mean squared loading, shape (d,), in [0, 1].
    """
    found = np.asarray(loadings, dtype=np.float64)
    if found.ndim != 2:
        raise ShapeError(f"loadings: expected shape (p, d), got {found.shape}.")
    if varies is not None:
        found = found[np.asarray(varies, dtype=bool)]
    return np.mean(found**2, axis=0) if len(found) else np.zeros(found.shape[1])


def redundancy(cross_loadings: ArrayLike, varies: ArrayLike | None = None) -> Array:
    """Share of a modality's standardised variance that each variate of the other predicts.

    Args:
        cross_loadings: Shape (p, d).
        varies: As in :func:`variance_extracted`.

    Returns:
        Mean squared cross-loading, shape (d,), in [0, 1].

    References:
        Stewart and Love 1968, Psychological Bulletin 70.
    """
    return variance_extracted(cross_loadings, varies)


def total_redundancy(target: ArrayLike, source: ArrayLike) -> float:
    """Mean R² of regressing each standardised column of ``target`` on ``source``, in [0, 1].

    Args:
        target: Shape (n, p), n >= 2; constant columns do not count.
        source: Shape (n, q), the same rows.
    """
    Y, X = (standardise(values) for values in _pair(target, source))
    U, _, _ = thin_svd(X.values, X.noise)
    explained = np.sum((U.T @ Y.values) ** 2, axis=0) / (len(Y.values) - 1)  # (p,)
    varies = ~Y.constant
    return float(np.clip(explained[varies].mean(), 0.0, 1.0)) if varies.any() else 0.0


def structure(columns: Mapping[str, ArrayLike], variates: Mapping[str, ArrayLike]) -> Structure:
    """Everything above for two modalities and their variates.

    Args:
        columns: By modality, (n, p); complete rows.
        variates: By the same names, (n, d).
    """
    if len(columns) != 2 or set(columns) != set(variates):
        raise ShapeError(
            f"structure: expected columns and variates of the same two modalities, got "
            f"{list(columns)} and {list(variates)}."
        )
    X = {name: np.asarray(values) for name, values in columns.items()}
    Z = {name: np.asarray(variates[name]) for name in X}
    widths = {name: z.shape[1:] for name, z in Z.items()}
    if len(set(widths.values())) > 1:
        raise ShapeError(f"structure: variates of different widths, {widths}.")
    a, b = X
    own = {m: loadings(X[m], Z[m]) for m in X}
    cross = {m: loadings(X[m], Z[o]) for m, o in ((a, b), (b, a))}
    varies = {m: ~standardise(X[m]).constant for m in X}
    pairs = standardise(Z[a]).values * standardise(Z[b]).values
    return Structure(
        correlations=np.clip(pairs.sum(axis=0) / (len(pairs) - 1), -1.0, 1.0),
        loadings=own,
        cross_loadings=cross,
        variance_extracted={m: variance_extracted(own[m], varies[m]) for m in X},
        redundancy={m: redundancy(cross[m], varies[m]) for m in X},
        total_redundancy={a: total_redundancy(X[a], X[b]), b: total_redundancy(X[b], X[a])},
    )


def _pair(left: ArrayLike, right: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    A, B = np.asarray(left), np.asarray(right)
    if A.ndim != 2 or B.ndim != 2 or len(A) != len(B):
        raise ShapeError(f"expected (n, p) and (n, d), the same rows; got {A.shape}, {B.shape}.")
    if len(A) < 2:
        raise DataError(f"correlations need 2 rows; got {len(A)}.")
    return A, B
