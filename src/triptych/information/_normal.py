"""Normal distributions fitted to rows: log-determinants without bias, and their error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular
from scipy.special import digamma

from triptych.contracts.estimate import Estimate
from triptych.errors import DataError
from triptych.information._samples import from_error

Floats = NDArray[np.float64]

DEPENDENT = 1e-12  # share of a column's variance that no other column explains


class Normal(NamedTuple):
    """A normal distribution fitted to rows.

    Args:
        log_determinant: Of the covariance, without its bias, in nats.
        distances: Squared Mahalanobis distance of each row from the mean, (n,).
    """

    log_determinant: float
    distances: Floats


def fit(Z: Floats, name: str) -> Normal:
    """A normal distribution of centred columns near unit spread.

    The expected log-determinant of a sample covariance of n rows (divisor n - 1) exceeds the true
    one by ``sum_j digamma((n - j) / 2) + p log(2 / (n - 1))``, j = 1..p, which is taken off.

    Args:
        Z: Shape (n, p), columns of mean 0.
        name: For messages.

    Raises:
        DataError: If n <= p + 1, or a column is a linear function of the others.
    """
    n, p = Z.shape
    if n <= p + 1:
        raise DataError(
            f"{name}: a covariance of {p} columns needs at least {p + 2} rows, got {n}."
        )
    covariance = Z.T @ Z / (n - 1)
    try:
        L = np.linalg.cholesky(covariance)
        share = np.diag(L) ** 2 / np.diag(covariance)
    except np.linalg.LinAlgError:
        share = np.zeros(1)
    if share.min() < DEPENDENT:
        raise DataError(
            f"{name}: a column is a linear function of the others, so the normal density does "
            "not exist (information would be infinite). Leave such columns out."
        )
    whitened = solve_triangular(L, Z.T, lower=True, check_finite=False)  # (p, n)
    return Normal(
        2 * float(np.log(np.diag(L)).sum()) - log_bias(n, p),
        np.einsum("pn,pn->n", whitened, whitened),
    )


def log_bias(n: int, p: int) -> float:
    """Expected log-determinant of the covariance of n standard normal rows (n, p), in nats."""
    return float(digamma((n - np.arange(1, p + 1)) / 2).sum() + p * np.log(2 / (n - 1)))


def of_normal_pair(
    zx: Floats, zy: Floats, names: tuple[str, str], estimator: str, notes: tuple[str, ...]
) -> Estimate:
    """The estimate from centred columns near unit spread, (n, p) and (n, q)."""
    joint = fit(np.hstack([zx, zy]), " and ".join(names))
    fx, fy = fit(zx, names[0]), fit(zy, names[1])
    value = 0.5 * (fx.log_determinant + fy.log_determinant - joint.log_determinant)
    influence = 0.5 * (fx.distances + fy.distances - joint.distances)
    # Of p q independent squared correlations, each 1 / n in the mean.
    second = zx.shape[1] * zy.shape[1] / (2 * len(zx) ** 2)
    return with_error(value, influence, second, estimator, notes)


def with_error(
    value: float, influence: Floats, second: float, estimator: str, notes: tuple[str, ...]
) -> Estimate:
    """A value with the standard error of the mean influence of its rows, in nats.

    Args:
        value: In nats.
        influence: What each row does to the value, times n, (n,).
        second: Variance of second order, in nats squared: the variance of the influences holds
            it twice, and where the truth is 0 it is all there is.
        estimator: Name.
        notes: Warnings.
    """
    n = len(influence)
    variance = max(float(influence.var(ddof=1)) / n - second, second)
    return from_error(
        float(value), float(np.sqrt(variance)), n, "influence of rows", estimator, notes
    )
