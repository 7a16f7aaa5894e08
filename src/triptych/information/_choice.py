"""Which estimator for which pair of variables, and why.

What decides is seen in the data: their dimensions, ties, whether the distances and mixed moments
of their ranks are those of a copula, and whether an estimate from neighbours still changes with
the number of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.contracts.estimate import Estimate
from triptych.errors import DataError
from triptych.information import _copula, _gaussian, _knn
from triptych.information._growth import DOUBT
from triptych.information._samples import as_sample, check_paired, share_of_ties

Floats = NDArray[np.float64]

ROWS = 10_000  # on which the choice is made
TIES = 0.05  # share of tied values in a column from which on it is not continuous
MOST = 20  # dimensions together in which neighbours are worth asking


class Choice(NamedTuple):
    """An estimator's name, a key of :data:`PAIRS`, and why it was chosen."""

    estimator: str
    reason: str


def _ranked(x: ArrayLike, y: ArrayLike, *, k: int = 3, random_state: int | None = 0) -> Estimate:
    return _knn.ksg(x, y, k=k, margins="normal", random_state=random_state)


PAIRS: Mapping[str, Callable[..., Estimate]] = {
    "ksg": lambda x, y, k=3, random_state=0: _knn.ksg(x, y, k=k, random_state=random_state),
    "ksg-2": lambda x, y, k=3, random_state=0: _knn.ksg(
        x, y, k=k, version=2, random_state=random_state
    ),
    "ksg-ranks": lambda x, y, k=3, random_state=0: _ranked(x, y, k=k, random_state=random_state),
    "mixed": lambda x, y, k=5, random_state=0: _knn.mixed(x, y, k=k),
    "gaussian": lambda x, y, k=3, random_state=0: _gaussian.mutual_information(x, y),
    "copula": lambda x, y, k=3, random_state=0: _copula.gaussian(x, y),
    "student-copula": lambda x, y, k=3, random_state=0: _copula.student(x, y),
}
"""Estimators for two continuous variables, by name: f(x, y, k=, random_state=)."""


def choose(
    x: ArrayLike, y: ArrayLike, x_discrete: bool = False, y_discrete: bool = False
) -> Choice:
    """The estimator of I(x; y) for these data.

    - A category and numbers: Ross's.
    - Numbers with ties: the mixed one.
    - One column against one: KSG on ranks, which two dimensions are easy for.
    - More: the normal copula, else Student's, where the data do not contradict it; else KSG on
      ranks where its estimate no longer rises with the rows. If neither holds, the larger of both,
      since both fall short then; the estimate itself carries the warning.

    Args:
        x: Sample (n,) or (n, p).
        y: Sample (n,) or (n, q).
        x_discrete: Whether x holds categories.
        y_discrete: Whether y does.

    Returns:
        Name and reason.
    """
    X, Y = as_sample(x, "x"), as_sample(y, "y")
    check_paired({"x": X, "y": Y})
    if x_discrete and y_discrete:
        return Choice("grassberger", "both discrete, so from counts")
    if x_discrete or y_discrete:
        return Choice("ross", "a category beside numbers")
    ties = max(share_of_ties(X), share_of_ties(Y))
    if ties > TIES:
        return Choice(
            "mixed", f"up to {100 * ties:.0f} % of a column's values are repeated, so neither "
            "continuous nor discrete"
        )  # fmt: skip
    p, q = X.shape[1], Y.shape[1]
    if p + q == 2:
        return Choice("ksg-ranks", "two columns, so neighbours, which assume no shape")
    step = -(-len(X) // ROWS)
    return _of_many_columns(X[::step], Y[::step])


def _of_many_columns(X: Floats, Y: Floats) -> Choice:
    prepared = _copula.ranks(X, Y, ("x", "y"), "copula")
    if isinstance(prepared, Estimate):
        return Choice("ksg-ranks", "a constant, which tells nothing")
    u, p, _ = prepared
    dims = f"{p} + {u.shape[1] - p} dimensions"
    try:
        normal = _copula.gaussian(X, Y)
    except DataError:
        return Choice("ksg-ranks", "too few rows or dependent columns for a copula")
    if _copula.BENT not in normal.warnings:
        return Choice("copula", f"{dims}, and the normal copula describes the dependence")
    degrees = _copula.fit_degrees(u)
    if not _copula.misfit_of_some(u, p, degrees).found:
        return Choice(
            "student-copula",
            f"{dims}, and Student's copula ({degrees:.1f} degrees of freedom) describes the "
            "dependence",
        )
    if u.shape[1] > MOST:
        return Choice("copula", f"{dims}: too many for neighbours, though no copula fits")
    near = _ranked(X, Y)
    if not any(DOUBT in note for note in near.warnings):
        return Choice("ksg-ranks", f"no copula fits, and {dims} are not too many for neighbours")
    if near.value >= normal.value:
        return Choice("ksg-ranks", f"no copula fits, and neighbours find more in {dims}")
    return Choice("copula", f"no copula fits, and neighbours find even less in {dims}")
