"""Significance of canonical correlations by theory: Wilks, Bartlett, Lawley and Rao.

For k = 0, 1, ... the hypothesis is that all correlations after the k-th are zero. The tests are
exact or nearly so for rows that are independent and normal in at least one modality.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.arrays import check_number
from triptych.errors import DataError, ParameterError, ShapeError
from triptych.values import register

Array = NDArray[np.float64]


@register
@dataclass(frozen=True)
class Significance:
    """Tests of the hypotheses "no correlation after the k-th", k = 0, ..., s - 1.

    Args:
        method: ``"rao"``, ``"bartlett"`` or ``"lawley"``.
        correlations: All s canonical correlations, falling, shape (s,).
        wilks: Product of 1 - correlation² after the k-th, shape (s,), in [0, 1].
        statistic: F for Rao, chi² for the others, shape (s,); infinite where a correlation is 1.
        df1: Degrees of freedom of the hypothesis, (p - k)(q - k), shape (s,).
        df2: Of the error, for F, shape (s,); infinite for chi².
        p_values: Shape (s,), in [0, 1].
        n_samples: Rows.
        ranks: Columns p and q that count.
    """

    method: str
    correlations: Array
    wilks: Array
    statistic: Array
    df1: Array
    df2: Array
    p_values: Array
    n_samples: int
    ranks: tuple[int, int]

    def n_significant(self, alpha: float = 0.05) -> int:
        """How many components come before the first whose p-value exceeds ``alpha``."""
        return leading(self.p_values, alpha)


def leading(p_values: Array, alpha: float) -> int:
    """Length of the run of p-values at most ``alpha`` with which ``p_values`` begins."""
    check_number("alpha", alpha, low=0, high=1)
    return int(np.argmin(np.append(p_values <= alpha, False)))


def wilks(correlations: ArrayLike) -> Array:
    r"""Wilks' lambda of what remains after the first k correlations.

    .. math:: \Lambda_k = \prod_{i > k} (1 - \rho_i^2)

    Args:
        correlations: Canonical correlations, falling, shape (s,), in [0, 1].

    Returns:
        Shape (s,): k = 0, ..., s - 1; 0 where a correlation is 1.

    References:
        Wilks 1935, Econometrica 3.
    """
    return np.exp(log_wilks(_check_correlations(correlations)))


def log_wilks(rho: Array) -> Array:
    """Logarithm of Wilks' lambda along the last axis; minus infinity where a correlation is 1."""
    with np.errstate(divide="ignore"):
        parts = np.log1p(-np.minimum(rho, 1.0)) + np.log1p(np.minimum(rho, 1.0))
    return np.cumsum(parts[..., ::-1], axis=-1)[..., ::-1]


def bartlett(
    correlations: ArrayLike, n: int, p: int, q: int, *, lawley: bool = False
) -> Significance:
    r"""Bartlett's chi² test of the correlations after the k-th.

    .. math:: \chi^2 = -\left(n - 1 - \tfrac{1}{2}(p + q + 1)\right) \log \Lambda_k

    with (p - k)(q - k) degrees of freedom. Lawley's factor,
    :math:`n - k - (p + q + 3)/2 + \sum_{i \le k} \rho_i^{-2}`, is nearer to chi² for k > 0.

    Args:
        correlations: All min(p, q) canonical correlations, falling, in [0, 1].
        n: Rows, less one for each confound removed.
        p: Rank of the first modality.
        q: Rank of the other.
        lawley: Whether Lawley's factor is used.

    Raises:
        ShapeError: Not all min(p, q) correlations.
        DataError: Too few rows for the test: n <= (p + q + 3) / 2.

    References:
        Bartlett 1941, Biometrika 32; Lawley 1959, Biometrika 46.
    """
    from scipy.special import chdtrc

    rho = _check(correlations, n, p, q)
    k = np.arange(len(rho))
    factor = np.full(len(rho), n - 1 - (p + q + 1) / 2)
    if factor[0] <= 0:
        raise DataError(
            f"Bartlett's test needs more than (p + q + 3) / 2 = {(p + q + 3) / 2:g} rows for "
            f"modalities of rank {p} and {q}; got {n}."
        )
    if lawley:
        with np.errstate(divide="ignore"):
            before = np.concatenate([[0.0], np.cumsum(rho[:-1] ** -2.0)])
        # A correlation of 0 ends the question: nothing remains, whatever the factor.
        factor = n - k - (p + q + 3) / 2 + np.where(np.isfinite(before), before, k)
    logs = log_wilks(rho)
    df = ((p - k) * (q - k)).astype(np.float64)
    statistic = -factor * logs + 0.0
    return Significance(
        method="lawley" if lawley else "bartlett",
        correlations=rho,
        wilks=np.exp(logs),
        statistic=statistic,
        df1=df,
        df2=np.full(len(rho), np.inf),
        p_values=np.where(np.isfinite(statistic), chdtrc(df, _finite(statistic)), 0.0),
        n_samples=n,
        ranks=(p, q),
    )


def rao_f(correlations: ArrayLike, n: int, p: int, q: int) -> Significance:
    r"""Rao's F test of the correlations after the k-th, exact for k = 0 and min(p, q) <= 2.

    With p' = p - k and q' = q - k,

    .. math:: F = \frac{1 - \Lambda_k^{1/t}}{\Lambda_k^{1/t}} \frac{df_2}{df_1}, \quad
              t = \sqrt{\frac{p'^2 q'^2 - 4}{p'^2 + q'^2 - 5}}, \quad df_1 = p' q', \quad
              df_2 = \left(n - \tfrac{p + q + 3}{2}\right) t - \tfrac{p' q'}{2} + 1

    and t = 1 where p' q' <= 2.

    Args:
        correlations: All min(p, q) canonical correlations, falling, in [0, 1].
        n: Rows, less one for each confound removed.
        p: Rank of the first modality.
        q: Rank of the other.

    Raises:
        ShapeError: Not all min(p, q) correlations.
        DataError: Too few rows for the test: no degree of freedom of the error is left.

    References:
        Rao 1951, Bull. Inst. Internat. Statist. 33.
    """
    from scipy.special import fdtrc

    rho = _check(correlations, n, p, q)
    k = np.arange(len(rho))
    pk, qk = (p - k).astype(np.float64), (q - k).astype(np.float64)
    one = pk * qk <= 2
    root = np.where(one, 1.0, (pk * qk) ** 2 - 4) / np.where(one, 1.0, pk**2 + qk**2 - 5)
    t = np.sqrt(root)
    df1 = pk * qk
    df2 = (n - (p + q + 3) / 2) * t - df1 / 2 + 1
    if (df2 <= 0).any():
        raise DataError(
            f"Rao's test of modalities of rank {p} and {q} needs more rows than {n}: no degree "
            "of freedom is left for the error. Ask permutation_test instead."
        )
    logs = log_wilks(rho)
    with np.errstate(over="ignore"):
        statistic = np.expm1(-logs / t) * df2 / df1
    return Significance(
        method="rao",
        correlations=rho,
        wilks=np.exp(logs),
        statistic=statistic,
        df1=df1,
        df2=df2,
        p_values=np.where(np.isfinite(statistic), fdtrc(df1, df2, _finite(statistic)), 0.0),
        n_samples=n,
        ranks=(p, q),
    )


def _finite(statistic: Array) -> Array:
    return np.where(np.isfinite(statistic), statistic, 0.0)


def _check(correlations: ArrayLike, n: int, p: int, q: int) -> Array:
    for name, value, low in (("n", n, 2), ("p", p, 1), ("q", q, 1)):
        check_number(name, value, low=low, integer=True)
    rho = _check_correlations(correlations)
    if len(rho) != min(p, q):
        raise ShapeError(
            f"correlations: a test needs all min(p, q) = {min(p, q)} of them, also those of "
            f"components that were not asked for; got {len(rho)}."
        )
    return rho


def _check_correlations(correlations: ArrayLike) -> Array:
    rho = np.asarray(correlations, dtype=np.float64)
    if rho.ndim != 1 or not len(rho):
        raise ShapeError(f"correlations: expected shape (s,), s >= 1, got {rho.shape}.")
    # Rounding may leave a trace beyond 1 or between equal ones.
    if not ((rho >= 0) & (rho <= 1 + 1e-9)).all() or (np.diff(rho) > 1e-9).any():
        raise ParameterError(f"correlations: expected falling numbers in [0, 1], got {rho}.")
    return np.minimum(rho, 1.0)
