"""Entropy and mutual information, conditional or not, of samples or of given probabilities.

**Which variables are discrete.** Whole numbers, booleans, strings and other objects are
categories; floats are continuous; a row of several columns is one value. ``discrete=`` forces it,
for all or for each: ``discrete=(True, None)``. Whole numbers that are measurements (ages, pixel
values) want ``discrete=False``; labels stored as floats want ``discrete=True``.

**Which estimator.** ``estimator="auto"`` chooses and says why in ``Estimate.reason``:

* all discrete: ``"miller-madow"`` where cells hold many rows and ``"grassberger"`` where few; also
  ``"plug-in"``, ``"grassberger-88"``, ``"jackknife"``, ``"shrinkage"``, ``"chao-shen"`` (when to
  use each: :mod:`triptych.information._discrete`);
* entropy of a continuous variable: ``"knn"`` (Kozachenko and Leonenko; low dimensions, no ties),
  or ``"gaussian"`` (any dimension well below n, only for data that are about normal);
* information with a continuous variable: ``"ksg"``, ``"ksg-2"``, ``"ksg-ranks"`` (few dimensions,
  no ties; on ranks where tails are heavy), ``"ross"`` (one side discrete), ``"mixed"`` (ties, or
  both kinds in one variable), ``"gaussian"`` (about normal), ``"copula"`` and ``"student-copula"``
  (about normal, or Student's, after ranks), or the neural ``"infonce"``, ``"dv"``, ``"mine"``,
  ``"nwj"``, ``"js"``, ``"smile"``, ``"club"``, ``"l1out"``, ``"doe"`` (many dimensions and rows;
  these load torch).

Nothing is clipped: where variables are independent, half of all estimates are negative.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from triptych.arrays import check_choice, check_number
from triptych.contracts.estimate import UNITS, Estimate
from triptych.errors import DataError, ParameterError
from triptych.information import _continuous
from triptych.information._counting import tally
from triptych.information._discrete import DISCRETE, MUTUAL, Terms, sum_of_entropies
from triptych.information._exact import check_probabilities, exact_sum, only_probabilities
from triptych.information._variables import (
    Forced,
    Variable,
    as_variables,
    need_rows,
)

Categories = int | Sequence[int] | None

CONDITIONAL: Terms = {(0, 2): 1.0, (1, 2): 1.0, (0, 1, 2): -1.0, (2,): -1.0}


def entropy(
    x: Any = None,
    *,
    probabilities: Any = None,
    estimator: str = "auto",
    unit: str = "nats",
    discrete: Forced = None,
    categories: int | None = None,
    k: int | None = None,
) -> Estimate:
    """Entropy H(X) of a discrete variable, differential entropy h(X) of a continuous one.

    H lies between 0 and the log of the number of categories; h has no bounds, and grows by
    log|a| when X is multiplied by a.

    Args:
        x: Samples, shape (n,) or (n, p): categories or numbers, see the head of this module.
        probabilities: Instead of samples: p of each category, any shape, summing to one.
        estimator: ``"auto"`` or a name, see the head of this module.
        unit: ``"nats"`` or ``"bits"``.
        discrete: Forces how ``x`` is read.
        categories: Size of the alphabet with unseen categories, for ``"shrinkage"``.
        k: Neighbours, for ``"knn"``; 3 when left out.

    Raises:
        DataError: NaN, infinity, too few rows, probabilities that are none.
        ParameterError: An unknown estimator or unit, or one for the other kind of variable.

    References:
        Shannon 1948. Estimators: see the head of this module.

    Example:
        >>> entropy(["a", "b"] * 50, unit="bits", estimator="plug-in")
        Estimate(1.000 ± 0.010 bits, plug-in, n = 100)
        >>> entropy(probabilities=[0.5, 0.25, 0.25], unit="bits")
        Estimate(1.500 ± 0.000 bits, exact)
    """
    check_choice("unit", unit, tuple(UNITS))
    if probabilities is not None:
        only_probabilities({"x": x})
        table = check_probabilities(probabilities, "probabilities").reshape(-1)
        return exact_sum(table, {(0,): 1.0}, 0.0).to(unit)
    (v,) = as_variables([("x", x)], discrete)
    if v.discrete:
        return by_counts([v], {(0,): 1.0}, estimator, categories).to(unit)
    return _continuous.entropy(v, estimator, k).to(unit)


def joint_entropy(
    *variables: Any,
    probabilities: Any = None,
    estimator: str = "auto",
    unit: str = "nats",
    discrete: Forced = None,
    categories: Categories = None,
    k: int | None = None,
) -> Estimate:
    """Entropy H(X, Y, ...) of several variables together.

    Where discrete and continuous variables meet it is H of the discrete ones plus the mean
    differential entropy of the others within their categories.

    Args:
        variables: Samples of each variable, rows in the same order.
        probabilities: Instead of samples: a table with one axis for each variable.
        estimator: As for :func:`entropy`.
        unit: ``"nats"`` or ``"bits"``.
        discrete: As for :func:`entropy`, or one entry for each variable.
        categories: Size of each alphabet, for ``"shrinkage"``.
        k: Neighbours, for ``"knn"``.
    """
    check_choice("unit", unit, tuple(UNITS))
    if probabilities is not None:
        only_probabilities({"variables": variables or None})
        table = check_probabilities(probabilities, "probabilities")
        return exact_sum(table, {tuple(range(table.ndim)): 1.0}, 0.0).to(unit)
    found = several(variables, 1, discrete)
    counted = [v for v in found if v.discrete]
    others = [v for v in found if not v.discrete]
    if not others:
        return by_counts(found, {tuple(range(len(found))): 1.0}, estimator, categories).to(unit)
    numbers = _continuous.beside(others, "the continuous variables")
    if not counted:
        return _continuous.entropy(numbers, estimator, k).to(unit)
    by = estimator if estimator in DISCRETE else "auto"
    heads = by_counts(counted, {tuple(range(len(counted))): 1.0}, by, None)
    given = _continuous.beside(counted, "the discrete variables")
    tails = _entropy_within(numbers, given, estimator, k)
    return _continuous.added([(1.0, heads), (1.0, tails)]).to(unit)


def conditional_entropy(
    x: Any = None,
    given: Any = None,
    *,
    probabilities: Any = None,
    estimator: str = "auto",
    unit: str = "nats",
    discrete: Forced = None,
    categories: Categories = None,
    k: int | None = None,
) -> Estimate:
    """Entropy H(X | Y) that is left of X when Y (``given``) is known.

    H(X, Y) - H(Y) of discrete variables; the mean within the categories of a discrete ``given``;
    H(X) - I(X; Y) of a continuous one, which may be negative for a continuous X.

    Args:
        x: Samples of X.
        given: Samples of Y, rows in the same order.
        probabilities: Instead of samples: a table p(x, y), axes in this order.
        estimator: As for :func:`entropy`.
        unit: ``"nats"`` or ``"bits"``.
        discrete: As for :func:`entropy`, or one entry for each of ``x`` and ``given``.
        categories: Sizes of both alphabets, for ``"shrinkage"``.
        k: Neighbours, for nearest-neighbour estimators.
    """
    check_choice("unit", unit, tuple(UNITS))
    terms: Terms = {(0, 1): 1.0, (1,): -1.0}
    if probabilities is not None:
        only_probabilities({"x": x, "given": given})
        return exact_sum(check_probabilities(probabilities, "probabilities", 2), terms, 0.0).to(
            unit
        )
    v, w = as_variables([("x", x), ("given", given)], discrete)
    if v.discrete and w.discrete:
        return by_counts([v, w], terms, estimator, categories).to(unit)
    if w.discrete:
        return _entropy_within(v, w, estimator, k).to(unit)
    if v.discrete:
        by = estimator if estimator in DISCRETE else "auto"
        whole = by_counts([v], {(0,): 1.0}, by, None)
    else:
        whole = _continuous.entropy(v, estimator if estimator == "gaussian" else "auto", k)
    inner = estimator if estimator == "gaussian" else "auto"
    shared = _continuous.mutual_information(v, w, inner, k=k)
    return _continuous.added([(1.0, whole), (-1.0, shared)]).to(unit)


def mutual_information(
    x: Any = None,
    y: Any = None,
    *,
    probabilities: Any = None,
    estimator: str = "auto",
    unit: str = "nats",
    discrete: Forced = None,
    categories: Categories = None,
    k: int | None = None,
    random_state: int | None = 0,
    settings: Mapping[str, Any] | None = None,
) -> Estimate:
    """Mutual information I(X; Y): how much knowing one tells about the other.

    At least 0, and unchanged by any one-to-one map of either variable; of two discrete variables
    at most the smaller entropy.

    Args:
        x: Samples of X, shape (n,) or (n, p).
        y: Samples of Y, rows in the same order.
        probabilities: Instead of samples: a table p(x, y).
        estimator: ``"auto"`` or a name, see the head of this module.
        unit: ``"nats"`` or ``"bits"``.
        discrete: As for :func:`entropy`, or one entry for each of ``x`` and ``y``.
        categories: Sizes of both alphabets, for ``"shrinkage"``.
        k: Neighbours, for nearest-neighbour estimators: 3, or 5 for ``"mixed"``, when left out.
        random_state: Seed of neural estimators.
        settings: Further parameters of neural estimators, by name.

    Raises:
        DataError: NaN, infinity, too few rows, probabilities that are none.
        ShapeError: Different numbers of rows.
        ParameterError: An unknown estimator, or one for the other kind of variable.

    Example:
        >>> x = [0, 0, 1, 1] * 25
        >>> y = [0, 1, 1, 1] * 25
        >>> mutual_information(x, y, unit="bits")
        Estimate(0.311 ± 0.058 bits, miller-madow, n = 100)
        >>> mutual_information(probabilities=[[0.5, 0], [0, 0.5]], unit="bits")
        Estimate(1.000 ± 0.000 bits, exact)
    """
    check_choice("unit", unit, tuple(UNITS))
    if probabilities is not None:
        only_probabilities({"x": x, "y": y})
        return exact_sum(check_probabilities(probabilities, "probabilities", 2), MUTUAL, 0.0).to(
            unit
        )
    v, w = as_variables([("x", x), ("y", y)], discrete)
    return information(v, w, estimator, categories, k, random_state, settings).to(unit)


def conditional_mutual_information(
    x: Any = None,
    y: Any = None,
    given: Any = None,
    *,
    probabilities: Any = None,
    estimator: str = "auto",
    unit: str = "nats",
    discrete: Forced = None,
    categories: Categories = None,
    k: int | None = None,
) -> Estimate:
    """Conditional mutual information I(X; Y | Z) with Z the samples of ``given``.

    Args:
        x: Samples of X.
        y: Samples of Y.
        given: Samples of Z; rows in the same order.
        probabilities: Instead of samples: a table p(x, y, z).
        estimator: A discrete estimator where all are discrete; else ``"frenzel-pompe"`` (all
            continuous, few dimensions), ``"gaussian"`` (about normal) or ``"chain"``,
            I(X; Y, Z) - I(X; Z), which takes any kinds and is noisier.
        unit: ``"nats"`` or ``"bits"``.
        discrete: As for :func:`entropy`, or one entry for each variable.
        categories: Sizes of the three alphabets, for ``"shrinkage"``.
        k: Neighbours.

    References:
        Frenzel and Pompe 2007, Phys. Rev. Lett. 99.
    """
    check_choice("unit", unit, tuple(UNITS))
    if probabilities is not None:
        only_probabilities({"x": x, "y": y, "given": given})
        table = check_probabilities(probabilities, "probabilities", 3)
        return exact_sum(table, CONDITIONAL, 0.0).to(unit)
    v, w, z = as_variables([("x", x), ("y", y), ("given", given)], discrete)
    return conditional_information(v, w, z, estimator, categories, k).to(unit)


def information(
    v: Variable,
    w: Variable,
    estimator: str = "auto",
    categories: Categories = None,
    k: int | None = None,
    random_state: int | None = 0,
    settings: Mapping[str, Any] | None = None,
) -> Estimate:
    """I(X; Y) of two variables, in nats."""
    if v.discrete and w.discrete and estimator not in _continuous.NEURAL:
        return by_counts([v, w], MUTUAL, estimator, categories)
    return _continuous.mutual_information(
        v, w, estimator, k=k, random_state=random_state, settings=settings
    )


def conditional_information(
    v: Variable,
    w: Variable,
    z: Variable,
    estimator: str = "auto",
    categories: Categories = None,
    k: int | None = None,
) -> Estimate:
    """I(X; Y | Z) of three variables, in nats."""
    if v.discrete and w.discrete and z.discrete:
        return by_counts([v, w, z], CONDITIONAL, estimator, categories)
    return _continuous.conditional(v, w, z, estimator, k=k)


def several(variables: Sequence[Any], least: int, discrete: Forced) -> list[Variable]:
    """Variables given one after another."""
    if len(variables) < least:
        raise DataError(f"expected at least {least} variables, got {len(variables)}.")
    named = [(f"variable {i}", v) for i, v in enumerate(variables)]
    return as_variables(named, discrete)


def by_counts(
    variables: Sequence[Variable], terms: Terms, estimator: str, categories: Categories
) -> Estimate:
    """A sum of entropies of discrete variables, in nats."""
    names = [v.name for v in variables]
    need_rows(len(variables[0]), 2, f"an estimate from {', '.join(names)}")
    what = "the information of discrete variables" if len(names) > 1 else "a discrete variable"
    name = _continuous.wanted(estimator, DISCRETE, "auto", what)
    if categories is not None and name != "shrinkage":
        raise ParameterError(f"categories: only 'shrinkage' knows what to do with it, not {name}.")
    sizes = _sizes(categories, len(variables))
    codes = [v.codes for v in variables if v.codes is not None]
    return sum_of_entropies(tally(codes), terms, name, categories=sizes, names=names)


def _sizes(categories: Categories, m: int) -> list[int] | None:
    if categories is None:
        return None
    sizes = [categories] if isinstance(categories, int) else list(categories)
    if len(sizes) != m:
        raise ParameterError(f"categories: expected {m} sizes, got {categories!r}.")
    for size in sizes:
        check_number("categories", size, low=1, integer=True)
    return sizes


def _entropy_within(v: Variable, z: Variable, estimator: str, k: int | None) -> Estimate:
    """h(X | Z) of a continuous X and a discrete Z."""
    reason = f"{z.name} is discrete, so the mean over its categories"
    by = estimator if estimator == "gaussian" else "auto"
    return _continuous.over_categories(
        z, lambda rows: _continuous.entropy(v[rows], by, k), (k or 3) + 1, reason
    )
