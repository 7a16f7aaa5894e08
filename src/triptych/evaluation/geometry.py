"""Where coordinated spaces lie: they are comparable, not identical, and this says how far apart.

All three look at directions only, as retrieval by cosine does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.errors import DataError, ShapeError
from triptych.evaluation.probes import as_codes
from triptych.neighbours import unit_rows

TILE = 512
SHARPNESS = 2.0


def modality_gap(za: ArrayLike, zb: ArrayLike) -> float:
    """Distance between the mean directions of two modalities.

    Args:
        za: Codes, shape (n, d).
        zb: Codes of the other modality, shape (m, d); rows need not belong together.

    Returns:
        In [0, 2]; 0 when both have one centre.

    Raises:
        ShapeError: If the widths differ.

    References:
        Liang et al. 2022, arXiv:2203.02053, sec. 2.
    """
    a, b = _directions(za, "za"), _directions(zb, "zb")
    if a.shape[1] != b.shape[1]:
        raise ShapeError(
            f"codes of different widths have no gap: za is {a.shape}, zb is {b.shape}."
        )
    return float(np.linalg.norm(a.mean(axis=0) - b.mean(axis=0)))


def alignment(za: ArrayLike, zb: ArrayLike) -> float:
    """Mean squared distance of partners on the unit sphere, 2 - 2 x mean cosine.

    Args:
        za: Codes, shape (n, d).
        zb: Partners' codes, the same shape.

    Returns:
        In [0, 4]; 0 when partners coincide.

    References:
        Wang and Isola 2020, arXiv:2005.10242, sec. 4.1, with exponent 2.
    """
    a, b = _directions(za, "za"), _directions(zb, "zb")
    if a.shape != b.shape:
        raise ShapeError(f"partners have codes of one shape: za is {a.shape}, zb is {b.shape}.")
    return float(((a - b) ** 2).sum(axis=1).mean())


def uniformity(z: ArrayLike) -> float:
    """Log of the mean of exp(-2 x squared distance) over pairs of different rows on the sphere.

    Args:
        z: Codes, shape (n, d) with n >= 2. Time grows with n squared, memory does not.

    Returns:
        In [-8, 0]; lower is more uniform, 0 when all rows point the same way.

    Raises:
        DataError: If there is one row only.

    References:
        Wang and Isola 2020, arXiv:2005.10242, sec. 4.1, with t = 2.
    """
    unit = _directions(z, "z")
    n = len(unit)
    if n < 2:
        raise DataError(f"uniformity compares rows with one another; got {n}.")
    total = 0.0
    for start in range(0, n, TILE):
        cosines = unit[start : start + TILE] @ unit.T
        potential = np.exp(-2 * SHARPNESS * (1 - np.minimum(cosines, 1)))
        # A row with itself is no pair, and its cosine is rounded.
        own = np.arange(len(potential))
        potential[own, start + own] = 0
        total += float(potential.sum())
    return float(np.log(total / (n * (n - 1))))


def _directions(z: ArrayLike, name: str) -> NDArray[np.float64]:
    directions: NDArray[np.float64] = unit_rows(as_codes(z, name))
    return directions
