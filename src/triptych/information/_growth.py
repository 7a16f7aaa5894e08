"""Does an estimate from nearest neighbours still change with the number of rows?

In many dimensions the k-th neighbour is far away, and information is underestimated by an amount
that falls slowly with n. The same rows judged among a quarter of the sample show how slowly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from triptych.information._space import counts, kth_distances

Floats = NDArray[np.float64]

ROWS = 2000  # asked among a quarter of the sample, about
LEAST = 100  # rows of a quarter that can show anything
GAIN = 0.03  # nats from a quarter of the rows to all that make an estimate doubtful
DOUBT = "dimensions are many for"  # in every warning of this module
HIGH = 4  # dimensions together that few rows may still settle


class Growth(NamedTuple):
    """What four times as many rows added to an estimate.

    Args:
        gain: Mean difference over the rows asked, in nats.
        error: Its standard error.
    """

    gain: float
    error: float


def growth(
    x: Floats, y: Floats, parts: Floats, k: int, *, thorough: bool = False
) -> Growth | None:
    """The gain of KSG 1 from a quarter of the rows to all, on the same rows.

    Some rows of one quarter are asked; if thorough, more, and in more than four dimensions rows
    of every quarter where the first leave a doubt.

    Args:
        x: Shape (n, p).
        y: Shape (n, q).
        parts: Contributions (n,) to the estimate from all rows.
        k: Neighbours.
        thorough: Whether a doubt is worth the time of the estimate itself.

    Returns:
        Nothing where a quarter of the rows is too few.
    """
    n = len(x)
    if n < 4 * max(LEAST, 10 * (k + 1)):
        return None
    m = -(-n // 4)
    step = max(2, 2 * m // ROWS)
    if not thorough:
        return _mean(_gains(x, y, parts, k, 0, step))
    step = -(-m // ROWS) if m > 2 * ROWS else 2 if m < ROWS else 1
    found = _mean(_gains(x, y, parts, k, 0, step))
    clear = found.gain > max(GAIN, 3 * found.error) or found.gain < GAIN / 2
    if clear or x.shape[1] + y.shape[1] <= 4:
        return found
    return _mean(np.concatenate([_gains(x, y, parts, k, first, step) for first in range(4)]))


def _gains(x: Floats, y: Floats, parts: Floats, k: int, first: int, step: int) -> Floats:
    """What all rows add to every step-th of every fourth row, beginning with the first given."""
    rows = np.arange(first, len(x), 4)
    joint, m = np.hstack([x[rows], y[rows]]), len(rows)
    some = slice(None, None, step)
    asked = rows[some]
    # Each row asked is one of the quarter, and its own first neighbour.
    distances = kth_distances(joint, k + 1, joint[some])
    nx = counts(x[rows], distances, queries=x[asked])
    ny = counts(y[rows], distances, queries=y[asked])
    few = digamma(k) + digamma(m) - digamma(np.maximum(nx, 1)) - digamma(np.maximum(ny, 1))
    return np.asarray(parts[asked] - few)


def _mean(gains: Floats) -> Growth:
    return Growth(float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(len(gains))))


def growth_of(
    parts: Floats, contributions: Callable[[NDArray[np.intp]], Floats | None], k: int
) -> Growth | None:
    """The gain of any estimate from a quarter of the rows to all, on the same rows.

    Args:
        parts: Contributions (n,) to the estimate from all rows.
        contributions: The same from some rows alone; nothing where they are too few.
        k: Neighbours.

    Returns:
        Nothing where a quarter of the rows is too few.
    """
    rows = _quarter(len(parts))
    few = contributions(rows) if len(rows) >= max(LEAST, 10 * (k + 1)) else None
    if few is None:
        return None
    gains = parts[rows] - few
    return _mean(gains)


def doubts(
    found: Growth | None, widths: Sequence[int], n: int, *, either: bool = False
) -> list[str]:
    """A warning where the estimate still rises with the number of rows, or falls if ``either``.

    Also where rows are too few to see it, and more than ``HIGH`` dimensions make it likely.
    """
    dimensions = " + ".join(map(str, widths))
    if found is None:
        if sum(widths) <= HIGH:
            return []
        return [
            f"{dimensions} {DOUBT} {n} rows, and those are too few to see whether the estimate "
            "still changes with their number."
        ]
    if found.gain <= 0 and not either:
        return []
    # Rows of the quarter share neighbours, so the error of their mean is larger than it looks.
    if abs(found.gain) < max(GAIN, (4 if either else 3) * found.error):
        return []
    word, end = ("less", "low") if found.gain > 0 else ("more", "high")
    return [
        f"{dimensions} {DOUBT} {n} rows: a quarter of them gives {abs(found.gain):.2f} nats "
        f"{word}, so the estimate is likely too {end}."
    ]


def _quarter(n: int) -> NDArray[np.intp]:
    """Every fourth row, so that rows in any order of time or size are represented."""
    return np.arange(0, n, 4)
