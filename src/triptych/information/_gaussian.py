"""Entropy, information and divergence of normal samples: log-determinants and a closed-form bias.

When to use them: samples that are close to normal, in any number of dimensions well below n.
When not: anything else, where they see correlation and nothing beside it. The copulas in
``_copula.py`` ask less of the margins.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_triangular

from triptych.contracts.estimate import Estimate
from triptych.errors import DataError, ShapeError
from triptych.information._copula import gaussian as copula
from triptych.information._normal import fit, of_normal_pair, with_error
from triptych.information._samples import (
    as_sample,
    check_paired,
    from_error,
    nothing_to_tell,
    on_one_scale,
)

Floats = NDArray[np.float64]

__all__ = [
    "conditional_mutual_information",
    "copula",
    "divergence",
    "entropy",
    "mutual_information",
]


def entropy(x: ArrayLike, *, name: str = "x") -> Estimate:
    r"""Differential entropy of a normal sample, :math:`\tfrac12 \log (2 \pi e)^p |\Sigma|`.

    Args:
        x: Sample (n,) or (n, p), n > p + 1.
        name: For messages.

    Returns:
        In nats, without bias for normal samples; its error from the rows' influence, which holds
        for other samples too (as the error of their normal approximation).

    Raises:
        DataError: If rows are too few or columns dependent.
    """
    X = as_sample(x, name)
    n, p = X.shape
    if n <= p + 1:
        raise DataError(
            f"{name}: a normal entropy of {p} columns needs at least {p + 2} rows, got {n}."
        )
    sample = on_one_scale(X, name)
    if sample.values.shape[1] < p:
        raise DataError(
            f"{name}: a constant column has no density (its differential entropy is minus "
            f"infinity). {sample.warnings[0]}"
        )
    found = fit(sample.values, name)
    value = 0.5 * (p * np.log(2 * np.pi * np.e) + found.log_determinant)
    value += float(np.log(sample.spreads).sum())
    influence = 0.5 * (found.distances - p)
    return with_error(value, influence, 0.0, "gaussian", sample.warnings)


def mutual_information(
    x: ArrayLike, y: ArrayLike, *, names: tuple[str, str] = ("x", "y")
) -> Estimate:
    r"""Mutual information of jointly normal samples, :math:`\tfrac12 \log |A| |B| / |\Sigma|`.

    Args:
        x: Sample (n,) or (n, p).
        y: Sample (n,) or (n, q), n > p + q + 1.
        names: For messages.

    Returns:
        In nats, without bias for normal samples and not clipped at 0.

    Raises:
        DataError: If rows are too few or columns dependent.
    """
    X, Y = as_sample(x, names[0]), as_sample(y, names[1])
    n = check_paired({names[0]: X, names[1]: Y})
    if n < 4:
        raise DataError(f"{' and '.join(names)}: expected at least 4 rows, got {n}.")
    a, b = on_one_scale(X, names[0]), on_one_scale(Y, names[1])
    notes = (*a.warnings, *b.warnings)
    for sample, word in ((a, names[0]), (b, names[1])):
        if sample.values.shape[1] == 0:
            return nothing_to_tell(word, n, "gaussian", notes)
    return of_normal_pair(a.values, b.values, names, "gaussian", notes)


def conditional_mutual_information(
    x: ArrayLike, y: ArrayLike, z: ArrayLike, *, names: tuple[str, str, str] = ("x", "y", "z")
) -> Estimate:
    """Conditional mutual information I(x; y | z) of jointly normal samples.

    Args:
        x: Sample (n,) or (n, p).
        y: Sample (n,) or (n, q).
        z: Sample (n,) or (n, r) of the condition; constant, it conditions on nothing.
        names: For messages.

    Returns:
        In nats, without bias for normal samples and not clipped at 0.

    Raises:
        DataError: If rows are too few or columns dependent.
    """
    arrays = [as_sample(v, name) for v, name in zip((x, y, z), names, strict=True)]
    n = check_paired(dict(zip(names, arrays, strict=True)))
    if n < 5:
        raise DataError(f"{', '.join(names)}: expected at least 5 rows, got {n}.")
    samples = [on_one_scale(v, name) for v, name in zip(arrays, names, strict=True)]
    notes = tuple(note for sample in samples for note in sample.warnings)
    for sample, word in zip(samples[:2], names[:2], strict=True):
        if sample.values.shape[1] == 0:
            return nothing_to_tell(word, n, "gaussian", notes)
    zx, zy, zz = (sample.values for sample in samples)
    if zz.shape[1] == 0:
        return of_normal_pair(zx, zy, names[:2], "gaussian", notes)
    all_three = fit(np.hstack([zx, zy, zz]), ", ".join(names))
    xz = fit(np.hstack([zx, zz]), f"{names[0]} and {names[2]}")
    yz = fit(np.hstack([zy, zz]), f"{names[1]} and {names[2]}")
    zs = fit(zz, names[2])
    value = 0.5 * (
        xz.log_determinant + yz.log_determinant - zs.log_determinant - all_three.log_determinant
    )
    influence = 0.5 * (xz.distances + yz.distances - zs.distances - all_three.distances)
    second = zx.shape[1] * zy.shape[1] / (2 * n**2)
    return with_error(value, influence, second, "gaussian", notes)


def divergence(x: ArrayLike, y: ArrayLike, *, names: tuple[str, str] = ("x", "y")) -> Estimate:
    r"""Kullback-Leibler divergence of one normal sample from another.

    .. math::

        \tfrac12 [\mathrm{tr}(\Sigma_y^{-1} (\Sigma_x + \delta \delta^T)) - p
        + \log |\Sigma_y| - \log |\Sigma_x|]

    Its bias is taken off: of the log-determinants, of the inverse of a sample covariance
    (a factor (m - p - 2) / (m - 1)), and of the squared distance between sample means.

    Args:
        x: Sample (n,) or (n, p), n > p + 1.
        y: Sample (m,) or (m, p), m > p + 2.
        names: For messages.

    Returns:
        In nats, without bias for normal samples and not clipped at 0.

    Raises:
        DataError: If rows are too few or columns dependent.
    """
    X, Y = as_sample(x, names[0]), as_sample(y, names[1])
    if X.shape[1] != Y.shape[1]:
        raise ShapeError(
            f"Expected the same columns on both sides, got {names[0]} with {X.shape[1]} and "
            f"{names[1]} with {Y.shape[1]}."
        )
    (n, p), m = X.shape, len(Y)
    for values, name, least in ((X, names[0], p + 2), (Y, names[1], p + 3)):
        if len(values) < least:
            raise DataError(
                f"{name}: a normal divergence of {p} columns needs at least {least} rows, "
                f"got {len(values)}."
            )
    pooled = on_one_scale(np.vstack([X, Y]), " and ".join(names))
    notes = pooled.warnings
    if pooled.values.shape[1] == 0:
        return nothing_to_tell(" and ".join(names), n, "gaussian", notes)
    zx, zy = pooled.values[:n], pooled.values[n:]
    p = zx.shape[1]
    mean_x, mean_y = zx.mean(axis=0), zy.mean(axis=0)
    fx, fy = fit(zx - mean_x, names[0]), fit(zy - mean_y, names[1])
    L = np.linalg.cholesky((zy - mean_y).T @ (zy - mean_y) / (m - 1))
    shrink = (m - p - 2) / (m - 1)
    A = solve_triangular(L, (zx - mean_x).T, lower=True)  # (p, n)
    delta = solve_triangular(L, mean_x - mean_y, lower=True)
    trace = shrink * float((A**2).sum()) / (n - 1)
    # E |mean_x - mean_y|^2 in the metric of y holds tr(Sy^-1 Sx) / n + p / m beside the truth.
    gap = shrink * float(delta @ delta) - trace / n - p / m
    value = 0.5 * (trace + gap - p + fy.log_determinant - fx.log_determinant)
    # What moving a row of either side does to the plug-in value.
    of_x = 0.5 * ((A + delta[:, None]) ** 2).sum(axis=0) - 0.5 * fx.distances
    B = solve_triangular(L, (zy - mean_y).T, lower=True)  # (p, m)
    inner = A @ A.T / (n - 1) + np.outer(delta, delta)
    of_y = 0.5 * fy.distances - delta @ B - 0.5 * np.einsum("pm,pq,qm->m", B, inner, B)
    variance = of_x.var(ddof=1) / n + of_y.var(ddof=1) / m + p * (1 / n + 1 / m) ** 2 / 2
    return from_error(
        float(value), float(np.sqrt(variance)), min(n, m), "influence of rows", "gaussian", notes,
        n_samples=n,
    )  # fmt: skip
