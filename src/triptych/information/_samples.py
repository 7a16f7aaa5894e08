"""What the estimators for continuous samples ask of their input, and what they say about it."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri, stdtrit
from scipy.stats import rankdata

from triptych.arrays import check_number
from triptych.contracts.estimate import Estimate
from triptych.errors import DataError, ShapeError
from triptych.linalg import standardise
from triptych.seeding import check_random_state, generator

Floats = NDArray[np.float64]

JITTER = 1e-10  # in standard deviations: below any real difference, above the rounding of float64
REPEATED = 0.05  # share of repeated rows from which on a sample is no longer continuous


class Sample(NamedTuple):
    """A sample ready for distances.

    Args:
        values: Shape (n, p); columns of spread 1, or normal scores.
        spreads: What the columns were divided by, (p,).
        warnings: What should be said about it.
    """

    values: Floats
    spreads: Floats
    warnings: tuple[str, ...]


def as_sample(x: ArrayLike, name: str) -> Floats:
    """Finite float64 (n, p) from numbers (n,) or (n, p), n >= 1 and p >= 1."""
    values = np.asarray(x)
    if values.dtype.kind not in "biuf":
        raise DataError(f"{name}: expected real numbers, got {values.dtype}.")
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[0] == 0 or values.shape[1] == 0:
        raise ShapeError(
            f"{name}: expected numbers (n, p), a row for each sample, got shape {values.shape}."
        )
    values = np.ascontiguousarray(values, dtype=np.float64)
    if not np.isfinite(values).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise DataError(
            f"{name}: expected finite numbers, got {values[row, column]} at row {row}, "
            f"column {column}."
        )
    return values


def check_rows(n: int, k: int, names: str) -> list[str]:
    """Raise unless n rows allow a k-th nearest neighbour; a warning where they hardly do."""
    check_number("k", k, low=1, integer=True)
    if n <= k:
        raise DataError(
            f"{names}: the distance to neighbour {k} needs at least {k + 1} rows, got {n}. "
            "Give more rows or a smaller k."
        )
    least = 10 * (k + 1)
    if n >= least:
        return []
    return [
        f"{names}: fewer than {least} rows say little by neighbour {k}; the value may be further "
        "off than its error says."
    ]


def near_ceiling(value: float, ceiling: float, names: str) -> list[str]:
    """A warning where an estimate is near the most that neighbours among n rows can show."""
    if value <= max(ceiling - 1.0, 0.75 * ceiling):
        return []
    return [
        f"{names}: near {ceiling:.2f} nats, the most that neighbours among so many rows can show "
        "(about log n): the information may be far larger, and is infinite where one is a "
        "function of the other."
    ]


def check_paired(samples: dict[str, Floats]) -> int:
    """The number of rows, which all samples must share."""
    lengths = {name: len(values) for name, values in samples.items()}
    if len(set(lengths.values())) > 1:
        raise ShapeError(f"Expected one row of each for every sample, got {_words(lengths)} rows.")
    return next(iter(lengths.values()))


def _words(lengths: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in lengths.items())


def on_one_scale(x: Floats, name: str, margins: str = "standard") -> Sample:
    """Columns of spread 1, or their normal scores; constant columns are left out.

    Args:
        x: Finite, (n, p), n >= 2.
        name: For messages.
        margins: ``"standard"`` divides by the standard deviation; ``"exact"`` by the nearest
            power of two, so that equal differences of whole numbers stay equal; ``"normal"``
            replaces values by the normal quantiles of their ranks; ``"none"`` does nothing.

    Returns:
        The sample; its values may have no column left.
    """
    found = standardise(x)
    notes = []
    if found.constant.any():
        columns = ", ".join(str(j) for j in np.flatnonzero(found.constant)[:5])
        notes.append(f"{name}: constant columns tell nothing and were left out ({columns}).")
    keep = ~found.constant
    if margins == "none":
        return Sample(x[:, keep], np.ones(int(keep.sum())), tuple(notes))
    if margins == "exact":
        powers = np.exp2(np.round(np.log2(found.spreads[keep])))
        return Sample(x[:, keep] / powers, powers, tuple(notes))
    values = np.ascontiguousarray(found.values[:, keep])
    if margins == "normal":
        return Sample(normal_scores(values), np.ones(int(keep.sum())), tuple(notes))
    tails = heavy_tails(values)
    if tails:
        notes.append(
            f"{name}: heavy tails (column {tails[0]}): most rows lie in a small part of the range "
            "and distances say little about them; ranks or a transform such as asinh helps."
        )
    return Sample(values, found.spreads[keep], tuple(notes))


def heavy_tails(values: Floats) -> list[int]:
    """Columns (unit spread) whose middle half is far narrower than their standard deviation.

    A normal column has an interquartile range of 1.35 standard deviations, Student's t with two
    degrees of freedom about 0.4 at n = 10,000.
    """
    if len(values) < 20:
        return []
    at = len(values) // 4, 3 * len(values) // 4
    low, high = np.partition(values, at, axis=0)[list(at)]
    # A bare mass at one value also has a narrow middle half; that is a matter of ties.
    return [int(j) for j in np.flatnonzero((high - low < 0.5) & (high > low))]


def normal_scores(x: Floats) -> Floats:
    """Normal quantiles of rank / (n + 1), column by column; ties share their mean rank.

    Args:
        x: Shape (n, p).
    """
    return np.asarray(ndtri(rankdata(x, axis=0) / (len(x) + 1)), dtype=np.float64)


def share_of_ties(x: Floats) -> float:
    """Largest share, over columns, of rows whose value occurs in another row too."""
    s = np.sort(x, axis=0)
    same = s[1:] == s[:-1]
    tied = np.zeros(x.shape, dtype=bool)
    tied[1:] |= same
    tied[:-1] |= same
    return float(tied.mean(axis=0).max(initial=0.0))


def jittered(values: Floats, random_state: int | None, name: str) -> Floats:
    """The sample with seeded noise of 1e-10 standard deviations, the same for the same name."""
    rng = generator(check_random_state(random_state), "jitter", name)
    return values + JITTER * rng.standard_normal(values.shape)


def repeated_rows(distances: Floats, k: int, names: str) -> str:
    """The warning about rows at distance 0, or an error where there are too many.

    Args:
        distances: To the k-th neighbour, (n,).
        k: For the message.
        names: Whose rows.
    """
    share = float((distances == 0).mean())
    if share > REPEATED:
        raise DataError(
            f"{names}: expected continuous values, but {100 * share:.0f} % of the rows occur more "
            f"than {k} times. Use an estimator for discrete or mixed variables."
        )
    return (
        f"{names}: {100 * share:.2g} % of the rows occur more than {k} times; seeded noise of "
        f"{JITTER:g} standard deviations was added."
    )


def from_contributions(
    parts: Floats,
    popularity: Floats | None = None,
    *,
    estimator: str,
    warnings: tuple[str, ...] = (),
) -> Estimate:
    r"""Mean of per-row contributions, with its standard error.

    Contributions of rows that share neighbours go together, so the variance of their mean exceeds
    that of independent ones. A row moves the mean by its own contribution and by what it does to
    those that count it as a neighbour, which its in-degree tells. The variance of the sum of both
    (the infinitesimal jackknife) counts pairs twice; leaving out the variance of the in-degree,

    .. math:: n \, \mathrm{Var} = \mathrm{Var}(t) + 2 \, \mathrm{Cov}(t, d)

    is within a tenth of the spread over replicates for k = 3 (``benchmarks/truth/coverage.py``).

    Args:
        parts: Contribution t of each row, (n,), in nats.
        popularity: In-degree over k, d, of each row, (n,), with the sign of its effect; without,
            the rows count as independent.
        estimator: Name.
        warnings: Of the estimate.
    """
    n = len(parts)
    value = float(parts.mean())
    if n < 3:
        return unknown_error(value, n, estimator, warnings)
    variance, kind = float(parts.var(ddof=1)), "pointwise variance"
    if popularity is not None:
        shared = float(((parts - value) * (popularity - popularity.mean())).sum() / (n - 1))
        variance, kind = (
            variance + max(0.0, 2 * shared),
            "pointwise variance with shared neighbours",
        )
    return from_error(value, float(np.sqrt(variance / n)), n, kind, estimator, warnings)


def from_error(
    value: float,
    error: float,
    n: int,
    kind: str,
    estimator: str,
    warnings: tuple[str, ...] = (),
    *,
    n_samples: int | None = None,
) -> Estimate:
    """A value with a 95 % interval by Student's t of n - 1 degrees of freedom."""
    half = float(stdtrit(max(n - 1, 1), 0.975)) * error
    rows = n if n_samples is None else n_samples
    estimate = Estimate.normal(
        value, error, n_samples=rows, estimator=estimator, warnings=warnings
    )
    return replace(
        estimate,
        interval=(value - half, value + half),
        interval_kind=f"Student's t, 95 %, {kind}",
    )


def unknown_error(
    value: float, n: int, estimator: str, warnings: tuple[str, ...] = ()
) -> Estimate:
    """A value that so few rows can give no standard error to."""
    nan = float("nan")
    note = f"No standard error from {n} rows."
    return Estimate(value, nan, (nan, nan), "unknown", "nats", n, estimator, (*warnings, note))


def nothing_to_tell(names: str, n: int, estimator: str, warnings: tuple[str, ...]) -> Estimate:
    """The information of a constant: none."""
    return Estimate(
        0.0, 0.0, (0.0, 0.0), "exact: a constant tells nothing", "nats", n, estimator,
        (*warnings, f"{names}: constant, which tells nothing."),
    )  # fmt: skip
