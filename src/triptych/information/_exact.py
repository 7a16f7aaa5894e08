"""The same quantities of given probabilities: sums over a table, nothing estimated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.contracts.estimate import Estimate
from triptych.errors import DataError, ParameterError, ShapeError

Array = NDArray[np.float64]

# How far a sum of given probabilities may be from 1: decimal fractions typed in by hand are not.
SUM_TOLERANCE = 1e-8


def check_probabilities(probabilities: Any, name: str, axes: int | None = None) -> Array:
    """A table of probabilities as float64 that sums to one exactly.

    Args:
        probabilities: Non-negative numbers, one axis per variable.
        name: The parameter, for messages.
        axes: How many axes there must be; ``None`` for one or more.

    Raises:
        ShapeError: Another number of axes.
        DataError: Not numbers, not finite, negative, or not summing to one.
    """
    try:
        table = np.asarray(probabilities, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: expected a table of numbers: {error}.") from error
    if table.ndim != axes and (axes is not None or table.ndim == 0):
        wanted = "at least one axis" if axes is None else f"{axes} axes, one for each variable"
        raise ShapeError(f"{name}: expected {wanted}, got shape {table.shape}.")
    if not np.isfinite(table).all():
        raise DataError(f"{name}: expected finite probabilities, got NaN or infinity.")
    if (table < 0).any():
        at = tuple(int(i) for i in np.argwhere(table < 0)[0])
        where = at[0] if len(at) == 1 else at
        raise DataError(f"{name}: expected no negative entry, got {table[at]:g} at {where}.")
    total = float(table.sum())
    if abs(total - 1) > SUM_TOLERANCE:
        raise DataError(
            f"{name}: expected probabilities that sum to 1, got a sum of {total:.10g}. "
            "Divide counts by their sum first, or give the samples themselves."
        )
    return table / total


def entropy_over(table: Array, axes: tuple[int, ...]) -> float:
    """Entropy in nats of some variables of a table."""
    from scipy.special import entr

    others = tuple(a for a in range(table.ndim) if a not in axes)
    return float(entr(table.sum(axis=others)).sum())


def exact_sum(table: Array, terms: Mapping[tuple[int, ...], float], least: float) -> Estimate:
    """Sum of weighted entropies; what rounding put below the least possible value is put back.

    Args:
        table: Probabilities.
        terms: Weights by axes.
        least: Smallest value that the quantity can have, ``-inf`` where there is none.
    """
    value = sum(weight * entropy_over(table, axes) for axes, weight in terms.items())
    return Estimate.exact(max(value, least) if value > least - 1e-12 else value)


def only_probabilities(given: Mapping[str, Any]) -> None:
    """Refuse samples beside probabilities, by the parameters that were not None."""
    both = [name for name, value in given.items() if value is not None]
    if both:
        raise ParameterError(f"probabilities= stands for the samples; got {both} too.")
