"""What three or more variables share: total and dual total correlation, O-information, and more.

Sums of entropies where all variables are discrete. With a continuous one among them, sums of
mutual informations by the chain rule, whose standard errors are added.
"""

from __future__ import annotations

from itertools import combinations
from math import inf
from typing import Any

from triptych.arrays import check_choice
from triptych.contracts.estimate import UNITS, Estimate
from triptych.errors import DataError, ShapeError
from triptych.information._continuous import added, beside
from triptych.information._discrete import Terms
from triptych.information._exact import check_probabilities, exact_sum, only_probabilities
from triptych.information._variables import Forced, Variable
from triptych.information.quantities import (
    Categories,
    by_counts,
    conditional_information,
    information,
    several,
)

MOST = 8
"""Variables of an interaction information, which is a sum over all their subsets."""


def total_correlation(
    *variables: Any,
    probabilities: Any = None,
    estimator: str = "auto",
    unit: str = "nats",
    discrete: Forced = None,
    categories: Categories = None,
    k: int | None = None,
) -> Estimate:
    r"""Total correlation :math:`\sum_i H(X_i) - H(X_1, \ldots, X_m)`.

    At least 0, and 0 just where all are independent of one another; for two variables it is their
    mutual information.

    Args:
        variables: Samples of m >= 2 variables, rows in the same order.
        probabilities: Instead of samples: a table with one axis for each variable.
        estimator: As for :func:`~triptych.information.mutual_information`.
        unit: ``"nats"`` or ``"bits"``.
        discrete: As for :func:`~triptych.information.entropy`, or one entry for each variable.
        categories: Sizes of the alphabets, for ``"shrinkage"``.
        k: Neighbours.

    References:
        Watanabe 1960, IBM J. Res. Dev. 4.

    Example:
        >>> coin = [0, 1] * 50
        >>> total_correlation(coin, coin, coin, estimator="plug-in", unit="bits")
        Estimate(2.000 ± 0.020 bits, plug-in, n = 100)
    """
    options = (estimator, categories, k)
    return _of("total", variables, 2, probabilities, unit, discrete, 0.0, options)


def dual_total_correlation(
    *variables: Any,
    probabilities: Any = None,
    estimator: str = "auto",
    unit: str = "nats",
    discrete: Forced = None,
    categories: Categories = None,
    k: int | None = None,
) -> Estimate:
    r"""Dual total correlation :math:`H(X_1, \ldots, X_m) - \sum_i H(X_i \mid X_{-i})`.

    At least 0: the entropy that no variable has for itself alone.

    Args:
        variables: Samples of m >= 2 variables.
        probabilities: As for :func:`total_correlation`.
        estimator: As for :func:`total_correlation`.
        unit: ``"nats"`` or ``"bits"``.
        discrete: As for :func:`total_correlation`.
        categories: As for :func:`total_correlation`.
        k: Neighbours.

    References:
        Han 1978, Inf. Control 36.
    """
    options = (estimator, categories, k)
    return _of("dual", variables, 2, probabilities, unit, discrete, 0.0, options)


def o_information(
    *variables: Any,
    probabilities: Any = None,
    estimator: str = "auto",
    unit: str = "nats",
    discrete: Forced = None,
    categories: Categories = None,
    k: int | None = None,
) -> Estimate:
    """O-information: total minus dual total correlation.

    Positive where redundancy outweighs (one bit copied three times: +1 bit), negative where
    synergy does (XOR: -1 bit).

    Args:
        variables: Samples of m >= 3 variables.
        probabilities: As for :func:`total_correlation`.
        estimator: As for :func:`total_correlation`.
        unit: ``"nats"`` or ``"bits"``.
        discrete: As for :func:`total_correlation`.
        categories: As for :func:`total_correlation`.
        k: Neighbours.

    References:
        Rosas et al. 2019, Phys. Rev. E 100, arXiv:1902.11239.
    """
    options = (estimator, categories, k)
    return _of("o", variables, 3, probabilities, unit, discrete, -inf, options)


def interaction_information(
    *variables: Any,
    probabilities: Any = None,
    estimator: str = "auto",
    unit: str = "nats",
    discrete: Forced = None,
    categories: Categories = None,
    k: int | None = None,
) -> Estimate:
    r"""Interaction (co-) information I(X; Y; Z) = I(X; Y) - I(X; Y | Z).

    **Sign**: positive where variables are redundant (one bit copied three times: +1 bit),
    negative where they are synergetic (XOR: -1 bit). For m variables it is
    :math:`-\sum_{S \ne \emptyset} (-1)^{|S|} H(X_S)`. Others, McGill among them, define it with
    the opposite sign for odd m.

    Args:
        variables: Samples of 2 to 8 variables; of exactly 3 where one is continuous.
        probabilities: As for :func:`total_correlation`.
        estimator: As for :func:`total_correlation`.
        unit: ``"nats"`` or ``"bits"``.
        discrete: As for :func:`total_correlation`.
        categories: As for :func:`total_correlation`.
        k: Neighbours.

    References:
        McGill 1954, Psychometrika 19. Bell 2003, ICA 4 (co-information, the sign used here).

    Example:
        >>> xor = [[[0.25, 0], [0, 0.25]], [[0, 0.25], [0.25, 0]]]
        >>> interaction_information(probabilities=xor, unit="bits")
        Estimate(-1.000 ± 0.000 bits, exact)
    """
    options = (estimator, categories, k)
    return _of("interaction", variables, 2, probabilities, unit, discrete, -inf, options)


def _of(
    which: str,
    variables: tuple[Any, ...],
    least: int,
    probabilities: Any,
    unit: str,
    discrete: Forced,
    lowest: float,
    options: tuple[str, Categories, int | None],
) -> Estimate:
    check_choice("unit", unit, tuple(UNITS))
    if probabilities is not None:
        only_probabilities({"variables": variables or None})
        table = check_probabilities(probabilities, "probabilities")
        if table.ndim < least:
            raise ShapeError(
                f"probabilities: expected at least {least} axes, one for each variable, got "
                f"shape {table.shape}."
            )
        _few(which, table.ndim)
        if which == "interaction" and table.ndim == 2:
            lowest = 0.0
        return exact_sum(table, terms_of(which, table.ndim), lowest).to(unit)
    found = several(variables, least, discrete)
    _few(which, len(found))
    estimator, categories, k = options
    if all(v.discrete for v in found):
        terms = terms_of(which, len(found))
        return by_counts(found, terms, estimator, categories).to(unit)
    return added(_chain(which, found, estimator, k)).to(unit)


def _few(which: str, m: int) -> None:
    if which == "interaction" and m > MOST:
        raise DataError(f"interaction_information: expected at most {MOST} variables, got {m}.")


def terms_of(which: str, m: int) -> Terms:
    """Weights of joint entropies: ``"total"``, ``"dual"``, ``"o"`` or ``"interaction"``."""
    everything = tuple(range(m))
    rest = [tuple(j for j in everything if j != i) for i in everything]
    if which == "interaction":
        subsets = (s for size in range(1, m + 1) for s in combinations(everything, size))
        return {s: -((-1.0) ** len(s)) for s in subsets}
    total: dict[tuple[int, ...], float] = {(i,): 1.0 for i in everything}
    total[everything] = -1.0
    dual: dict[tuple[int, ...], float] = dict.fromkeys(rest, 1.0)
    dual[everything] = dual.get(everything, 0.0) + 1.0 - m
    if which == "total":
        return total
    if which == "dual":
        return dual
    both = {s: total.get(s, 0.0) - dual.get(s, 0.0) for s in {**total, **dual}}
    return {s: weight for s, weight in both.items() if weight}


def _chain(
    which: str, v: list[Variable], estimator: str, k: int | None
) -> list[tuple[float, Estimate]]:
    """The same as a sum of mutual informations, each of which some estimator knows."""
    m = len(v)
    within = estimator if estimator == "gaussian" else "auto"

    def between(i: int, others: range) -> Estimate:
        side = beside([v[j] for j in others], f"variables 0 to {len(others) - 1}")
        return information(v[i], side, estimator, k=k)

    if which == "interaction":
        if m == 2:
            return [(1.0, between(1, range(1)))]
        if m != 3:
            raise DataError(
                "interaction_information: expected 3 variables where one is continuous, got "
                f"{m}. Cut the continuous ones into bins for more."
            )
        pair = information(v[0], v[1], estimator, k=k)
        return [(1.0, pair), (-1.0, conditional_information(v[0], v[1], v[2], within, k=k))]
    total = [(1.0, between(i, range(i))) for i in range(1, m)]
    if which == "total":
        return total
    dual = [total[-1]]
    for i in range(1, m - 1):
        side = beside([v[j] for j in range(i)], f"variables 0 to {i - 1}")
        given = beside([v[j] for j in range(i + 1, m)], f"variables {i + 1} to {m - 1}")
        dual.append((1.0, conditional_information(v[i], side, given, within, k=k)))
    if which == "dual":
        return dual
    # The last term is in both sums, and is left out of the difference.
    return total[:-1] + [(-w, e) for w, e in dual[1:]]
