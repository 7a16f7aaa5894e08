"""Entropy and divergence of continuous samples from nearest-neighbour distances."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import digamma

from triptych.contracts.estimate import Estimate
from triptych.errors import DataError, ShapeError
from triptych.information._growth import DOUBT, HIGH, doubts, growth_of
from triptych.information._samples import (
    as_sample,
    check_rows,
    from_contributions,
    from_error,
    jittered,
    nothing_to_tell,
    on_one_scale,
    repeated_rows,
    unknown_error,
)
from triptych.information._space import kth_distances, kth_distances_and_popularity
from triptych.seeding import check_random_state, generator

Floats = NDArray[np.float64]

BLOCKS = 20  # of a divergence, whose error has no simple form


def entropy(
    x: ArrayLike, *, k: int = 3, random_state: int | None = 0, name: str = "x"
) -> Estimate:
    r"""Differential entropy by Kozachenko and Leonenko.

    .. math:: \hat h = \psi(n) - \psi(k) + p \log 2 + \tfrac{p}{n} \sum_i \log \varepsilon_i

    with :math:`\varepsilon_i` the distance to the k-th neighbour. Depends on the unit of x, and
    may be negative.

    Args:
        x: Sample (n,) or (n, p), n > k.
        k: Neighbours; more lowers the variance and raises the bias.
        random_state: Seed of the noise that repeated rows need (with a warning).
        name: For messages.

    Returns:
        In nats, with pointwise variance.

    Raises:
        DataError: If n <= k, a column is constant, or most rows are repeated.

    References:
        Kozachenko and Leonenko 1987; the form of Kraskov et al. 2004, eq. 20, with the max-norm.
    """
    X = as_sample(x, name)
    few = check_rows(len(X), k, name)
    sample = on_one_scale(X, name)
    if sample.values.shape[1] < X.shape[1]:
        raise DataError(
            f"{name}: a constant column has no density (its differential entropy is minus "
            f"infinity). {sample.warnings[0]}"
        )
    n, p = X.shape
    Z, notes = sample.values, [*few, *sample.warnings]
    distances, popularity = kth_distances_and_popularity(Z, k)
    if not distances.all():
        notes.append(
            repeated_rows(distances, k, name) + " Its size shows in the entropy, whose true "
            "value is minus infinity where values repeat."
        )
        Z = jittered(Z, random_state, "x")
        distances, popularity = kth_distances_and_popularity(Z, k)
    offset = float(np.log(sample.spreads).sum())
    parts = digamma(n) - digamma(k) + p * np.log(2 * distances) + offset

    def contributions(rows: NDArray[np.intp]) -> Floats:
        near = kth_distances(Z[rows], k)
        return np.asarray(digamma(len(rows)) - digamma(k) + p * np.log(2 * near) + offset)

    if p > 2:
        notes += doubts(growth_of(parts, contributions, k), (p,), n, either=True)
    return from_contributions(
        parts, -popularity / k, estimator="kozachenko-leonenko", warnings=tuple(notes)
    )


def divergence(
    x: ArrayLike,
    y: ArrayLike,
    *,
    k: int = 3,
    random_state: int | None = 0,
    names: tuple[str, str] = ("x", "y"),
) -> Estimate:
    r"""Kullback-Leibler divergence of the distribution of x from that of y, by Wang et al.

    .. math:: \hat D = \tfrac{p}{n} \sum_i \log \frac{\nu_k(i)}{\rho_k(i)} + \log \frac{m}{n - 1}

    with the k-th neighbour's distance among the other rows of x (rho) and among those of y (nu).
    Finite even where the truth is infinite, because y has no rows where x has some.

    Args:
        x: Sample (n,) or (n, p).
        y: Sample (m,) or (m, p) of the same columns; rows are not paired.
        k: Neighbours.
        random_state: Seed of the split into blocks, and of noise where rows are repeated.
        names: For messages.

    Returns:
        In nats, not clipped at 0; its error from estimates on disjoint blocks of rows.

    References:
        Wang, Kulkarni and Verdú 2009, IEEE Trans. Inf. Theory 55(5), eq. 14.
    """
    X, Y = as_sample(x, names[0]), as_sample(y, names[1])
    if X.shape[1] != Y.shape[1]:
        raise ShapeError(
            f"Expected the same columns on both sides, got {names[0]} with {X.shape[1]} and "
            f"{names[1]} with {Y.shape[1]}."
        )
    notes = [*check_rows(len(X), k, names[0]), *check_rows(len(Y), k, names[1])]
    pooled = on_one_scale(np.vstack([X, Y]), " and ".join(names))
    notes += pooled.warnings
    if pooled.values.shape[1] == 0:
        return nothing_to_tell(" and ".join(names), len(X), "wang-kulkarni-verdu", tuple(notes))
    zx, zy = pooled.values[: len(X)], pooled.values[len(X) :]
    parts = _log_ratios(zx, zy, k)
    if not np.isfinite(parts).all():
        notes.append(repeated_rows(np.where(np.isfinite(parts), 1.0, 0.0), k, " and ".join(names)))
        zx, zy = jittered(zx, random_state, "x"), jittered(zy, random_state, "y")
        parts = _log_ratios(zx, zy, k)
    value, n = float(parts.mean()), min(len(X), len(Y))
    if zx.shape[1] > 2:
        found = growth_of(parts, lambda rows: _log_ratios(zx[rows], zy[::4], k), k)
        seen = doubts(found, (zx.shape[1],), n, either=True)
        # Its bias falls so slowly with the rows that a quarter of them seldom shows it.
        notes += seen or _slow(zx.shape[1], n)
    blocks = min(BLOCKS, n // (5 * (k + 1)))
    if blocks < 4:
        return unknown_error(value, n, "wang-kulkarni-verdu", tuple(notes))
    seed = check_random_state(random_state)
    sides = [
        np.array_split(generator(seed, "blocks", w).permutation(len(z)), blocks)
        for w, z in (("x", zx), ("y", zy))
    ]
    estimates = [float(_log_ratios(zx[i], zy[j], k).mean()) for i, j in zip(*sides, strict=True)]
    error = float(np.std(estimates, ddof=1) / np.sqrt(blocks))
    return from_error(
        value, error, blocks, f"{blocks} disjoint blocks", "wang-kulkarni-verdu", tuple(notes),
        n_samples=len(X),
    )  # fmt: skip


def _slow(p: int, n: int) -> list[str]:
    if p <= HIGH:
        return []
    return [
        f"{p} {DOUBT} {n} rows: a divergence by neighbours is commonly off by more than its error "
        f"says in more than {HIGH}."
    ]


def _log_ratios(x: Floats, y: Floats, k: int) -> Floats:
    """Contributions (n,); infinite or NaN where rows are repeated."""
    n, p = x.shape
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(kth_distances(y, k, x)) - np.log(kth_distances(x, k))
    return np.asarray(p * logs + np.log(len(y) / (n - 1)))
