"""How far one distribution is from another, and how surprising an outcome is.

Discrete samples: ``"plug-in"``; ``"miller-madow"``, which takes off the first-order bias (the
default); ``"dirichlet"``, half a row added to every category (Jeffreys' prior), which stays finite
where a category of the one never occurs in the other. Continuous samples: ``"knn"`` (few
dimensions, no ties) or ``"gaussian"`` (about normal, any dimension well below n).
"""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan, sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import check_choice, check_number
from triptych.contracts.estimate import UNITS, Estimate
from triptych.errors import DataError, ParameterError, ShapeError
from triptych.information import _continuous
from triptych.information._continuous import added, neighbours, wanted
from triptych.information._exact import check_probabilities, only_probabilities
from triptych.information._variables import Variable, as_variable, make_codes, need_rows
from triptych.seeding import check_random_state, generator

Array = NDArray[np.float64]

DISCRETE = ("plug-in", "miller-madow", "dirichlet")
CONTINUOUS = ("knn", "gaussian")
INTERVAL = "normal, 95 %, standard error by the delta method"


def kl_divergence(
    x: Any = None,
    y: Any = None,
    *,
    probabilities: Any = None,
    estimator: str = "auto",
    unit: str = "nats",
    discrete: bool | None = None,
    k: int | None = None,
) -> Estimate:
    r"""Kullback-Leibler divergence :math:`D(p \| q) = \sum p \log (p / q)`.

    At least 0, not symmetric, and infinite where p has mass and q has none.

    Args:
        x: Samples of p, (n,) or (n, features).
        y: Samples of q, of the same kind and width; not paired with ``x``.
        probabilities: Instead of samples: a pair ``(p, q)`` of tables of the same shape.
        estimator: See the head of this module. ``"auto"`` for discrete samples is
            ``"miller-madow"``, or ``"dirichlet"`` where a category of x is not in y.
        unit: ``"nats"`` or ``"bits"``.
        discrete: Forces how samples are read, as for :func:`~triptych.information.entropy`.
        k: Neighbours, for ``"knn"``.

    References:
        Wang, Kulkarni and Verdú 2009, IEEE Trans. Inf. Theory 55 (nearest neighbours).

    Example:
        >>> float(kl_divergence(probabilities=([0.5, 0.5], [0.25, 0.75]), unit="bits"))
        0.207...
        >>> float(kl_divergence(probabilities=([0.5, 0.5], [0.0, 1.0])))
        inf
    """
    check_choice("unit", unit, tuple(UNITS))
    if probabilities is not None:
        only_probabilities({"x": x, "y": y})
        p, q = _pair(probabilities)
        return Estimate.exact(max(_relative(p, q), 0.0)).to(unit)
    v, w = _two(x, y, discrete)
    if v.discrete:
        return _kl_of_counts(_counts(v, w), estimator).to(unit)
    name = wanted(estimator, CONTINUOUS, "knn", "the divergence of continuous samples")
    return _kl_of_numbers(v, w, name, k).to(unit)


def cross_entropy(
    x: Any = None,
    y: Any = None,
    *,
    probabilities: Any = None,
    estimator: str = "auto",
    unit: str = "nats",
    discrete: bool | None = None,
    k: int | None = None,
) -> Estimate:
    """Cross entropy H(p, q) = H(p) + D(p ‖ q): the cost of p in a code made for q.

    Args:
        x: Samples of p.
        y: Samples of q.
        probabilities: Instead of samples: a pair ``(p, q)``.
        estimator: As for :func:`kl_divergence`.
        unit: ``"nats"`` or ``"bits"``.
        discrete: As for :func:`kl_divergence`.
        k: Neighbours, for ``"knn"``.
    """
    check_choice("unit", unit, tuple(UNITS))
    if probabilities is not None:
        only_probabilities({"x": x, "y": y})
        p, q = _pair(probabilities)
        return Estimate.exact(_crossed(p, q)).to(unit)
    v, w = _two(x, y, discrete)
    if v.discrete:
        return _cross_of_counts(_counts(v, w), estimator).to(unit)
    name = wanted(estimator, CONTINUOUS, "knn", "the cross entropy of continuous samples")
    own = _continuous.entropy(v, name, k)
    return added([(1.0, own), (1.0, _kl_of_numbers(v, w, name, k))], estimator=name).to(unit)


def js_divergence(
    x: Any = None,
    y: Any = None,
    *,
    probabilities: Any = None,
    estimator: str = "auto",
    unit: str = "nats",
    discrete: bool | None = None,
    k: int | None = None,
    random_state: int | None = 0,
) -> Estimate:
    """Jensen-Shannon divergence: the mean divergence of p and q from their even mixture.

    Symmetric, between 0 and log 2. It is the information between a sample and which of the two it
    was drawn from, and of continuous samples it is estimated so, by ``"ross"`` or ``"mixed"``.

    Args:
        x: Samples of p.
        y: Samples of q.
        probabilities: Instead of samples: a pair ``(p, q)``.
        estimator: ``"plug-in"`` or ``"miller-madow"`` for discrete samples, ``"ross"`` or
            ``"mixed"`` for continuous ones.
        unit: ``"nats"`` or ``"bits"``.
        discrete: As for :func:`kl_divergence`.
        k: Neighbours.
        random_state: Seed by which the larger of two continuous samples is cut to the smaller.

    References:
        Lin 1991, IEEE Trans. Inf. Theory 37.
    """
    check_choice("unit", unit, tuple(UNITS))
    if probabilities is not None:
        only_probabilities({"x": x, "y": y})
        p, q = _pair(probabilities)
        m = (p + q) / 2
        return Estimate.exact(max((_relative(p, m) + _relative(q, m)) / 2, 0.0)).to(unit)
    v, w = _two(x, y, discrete)
    if v.discrete:
        return _js_of_counts(_counts(v, w), estimator).to(unit)
    name = wanted(estimator, ("ross", "mixed"), "ross", "the divergence of continuous samples")
    n = min(len(v), len(w))
    rng = generator(check_random_state(random_state), "even samples")
    parts = [u if len(u) == n else u[np.sort(rng.permutation(len(u))[:n])] for u in (v, w)]
    pooled = np.concatenate([u.embedded() for u in parts])
    which = as_variable(np.repeat([0, 1], n), "which sample")
    found = _continuous.mutual_information(as_variable(pooled, "x and y"), which, name, k=k)
    if len(v) != len(w):
        found = found.noting(f"the larger sample was cut to the {n} rows of the smaller.")
    return found.to(unit)


def information_content(
    outcome: Any = None,
    samples: Any = None,
    *,
    probability: float | None = None,
    unit: str = "nats",
    discrete: bool | None = None,
    k: int | None = None,
) -> Estimate:
    """Information content (surprise) -log p of an outcome.

    From samples: of a discrete outcome, -log of its frequency with Wilson's interval, infinite if
    it was never seen; of a continuous one, -log of the density by the k-th neighbour's distance
    (max-norm), whose standard error is that of the log of a gamma variable, sqrt(ψ'(k)).

    Args:
        outcome: A category, a number, or a vector (p,).
        samples: Rows like it, (n,) or (n, p).
        probability: Instead of both: p of the outcome, from 0 to 1.
        unit: ``"nats"`` or ``"bits"``.
        discrete: As for :func:`~triptych.information.entropy`.
        k: Neighbours; about sqrt(n) when left out.

    Example:
        >>> float(information_content(probability=0.25, unit="bits"))
        2.0
        >>> information_content("a", ["a", "b"] * 50, unit="bits")
        Estimate(1.000 ± 0.144 bits, plug-in, n = 100)
    """
    check_choice("unit", unit, tuple(UNITS))
    if probability is not None:
        only_probabilities({"outcome": outcome, "samples": samples})
        check_number("probability", probability, low=0.0, high=1.0)
        return Estimate.exact(-np.log(probability) + 0.0 if probability > 0 else inf).to(unit)
    if outcome is None:
        raise DataError("outcome: expected a value, got None.")
    v = as_variable(samples, "samples", discrete)
    if v.discrete:
        return _surprise(outcome, v).to(unit)
    return _log_density(outcome, v, k).to(unit)


def _surprise(outcome: Any, v: Variable) -> Estimate:
    n = len(v)
    same = v.raw == np.asarray(outcome)
    hits = int(np.atleast_1d(same if np.ndim(same) < 2 else same.all(axis=1)).sum())
    p = hits / n
    z = 1.959963984540054
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    low, high = max(middle - half, 0.0), min(middle + half, 1.0)
    # At the ends Wilson's bounds are exactly 0 and 1, but for rounding.
    low, high = (0.0, high) if hits == 0 else (low, 1.0 if hits == n else high)
    warnings = () if hits else (f"{outcome!r} was never seen: its standard error is not known.",)
    return Estimate(
        value=float(-np.log(p)) if hits else inf,
        standard_error=sqrt((1 - p) / (n * p)) if hits else nan,
        interval=(float(-np.log(high)) + 0.0, float(-np.log(low)) if low > 0 else inf),
        interval_kind="Wilson, 95 %",
        unit="nats",
        n_samples=n,
        estimator="plug-in",
        warnings=warnings,
    )


def _log_density(outcome: Any, v: Variable, k: int | None) -> Estimate:
    from scipy.special import polygamma, psi

    numbers = v.embedded()
    n, d = numbers.shape
    at = np.asarray(outcome, dtype=np.float64).reshape(-1)
    if at.shape != (d,) or not np.isfinite(at).all():
        raise ShapeError(
            f"outcome: expected {d} finite numbers, as samples have; got {outcome!r}."
        )
    k = max(1, round(sqrt(n))) if k is None else neighbours(k, "knn")
    need_rows(n, k, f"the density by {k} neighbours")
    distance = float(np.partition(np.abs(numbers - at).max(axis=1), k - 1)[k - 1])
    if distance == 0:
        raise DataError(
            f"samples: {k} or more rows are the outcome itself, so there is no density; say "
            "discrete=True, or take a larger k."
        )
    value = float(np.log(n) - psi(k) + d * np.log(2 * distance))
    return Estimate.normal(value, float(np.sqrt(polygamma(1, k))), n_samples=n, estimator="knn")


class _Counts(NamedTuple):
    """Rows of each category in two samples, (k,) each, of the categories that either has."""

    x: Array
    y: Array


def _counts(v: Variable, w: Variable) -> _Counts:
    if {v.raw.dtype.kind, w.raw.dtype.kind} & set("US") and v.raw.dtype.kind != w.raw.dtype.kind:
        raise DataError(
            f"x and y: expected the same kind of categories, got {v.raw.dtype} and {w.raw.dtype}."
        )
    codes = make_codes(np.concatenate([v.raw, w.raw]), "x and y").indices()
    size = int(codes.max()) + 1
    x, y = (np.bincount(c, minlength=size) for c in (codes[: len(v)], codes[len(v) :]))
    seen = (x + y) > 0
    return _Counts(x[seen].astype(float), y[seen].astype(float))


def _kl_of_counts(c: _Counts, estimator: str) -> Estimate:
    name, reason, notes = _choose(c, estimator)
    p, q, n, m = _frequencies(c, name)
    value = _relative(p, q)
    if not np.isfinite(value):
        return _infinite(name, c)
    ratio = np.where(p > 0, p / np.where(q > 0, q, 1.0), 0.0)
    if name == "miller-madow":
        held = q > 0
        bias_q = (p * (1 - q) / np.where(held, q, 1.0))[held].sum() / (2 * m)
        value -= ((p > 0).sum() - 1) / (2 * n) + bias_q
    log_ratio = np.log(np.where(ratio > 0, ratio, 1.0))
    variance = _variance(p, log_ratio) / n + _variance(q, ratio) / m
    floor = (len(p) - 1) / 2 * (1 / n + 1 / m) ** 2
    return _normal(value, max(variance, floor), c, name, reason, notes)


def _cross_of_counts(c: _Counts, estimator: str) -> Estimate:
    name, reason, notes = _choose(c, estimator)
    p, q, n, m = _frequencies(c, name)
    value = _crossed(p, q)
    if not np.isfinite(value):
        return _infinite(name, c)
    held = q > 0
    ratio = np.where(held, p / np.where(held, q, 1.0), 0.0)
    if name == "miller-madow":
        value -= (ratio * (1 - q))[held].sum() / (2 * m)
    log_q = np.log(np.where(held, q, 1.0))
    variance = _variance(p, log_q) / n + _variance(q, ratio) / m
    floor = (len(p) - 1) / (2 * m**2)
    return _normal(value, max(variance, floor), c, name, reason, notes)


def _js_of_counts(c: _Counts, estimator: str) -> Estimate:
    what = "the Jensen-Shannon divergence of discrete samples"
    name = wanted(estimator, DISCRETE[:2], "miller-madow", what)
    p, q, n, m = _frequencies(c, name)
    middle = (p + q) / 2
    value = (_relative(p, middle) + _relative(q, middle)) / 2
    if name == "miller-madow":
        mixture = ((p * (1 - p) / n + q * (1 - q) / m) / middle).sum() / 8
        value -= ((p > 0).sum() - 1) / (4 * n) + ((q > 0).sum() - 1) / (4 * m) - mixture
    logs = [np.log(np.where(a > 0, a / middle, 1.0)) for a in (p, q)]
    variance = (_variance(p, logs[0]) / n + _variance(q, logs[1]) / m) / 4
    floor = (len(p) - 1) / 32 * (1 / n + 1 / m) ** 2
    reason = "discrete, less the first-order bias" if estimator == "auto" else ""
    return _normal(value, max(variance, floor), c, name, reason, [])


def _choose(c: _Counts, estimator: str) -> tuple[str, str, list[str]]:
    lost = int(((c.x > 0) & (c.y == 0)).sum())
    notes = (
        [f"{lost} categories of x never occur in y: by frequencies alone this is infinite."]
        if lost
        else []
    )
    what = "the divergence of discrete samples"
    name = wanted(estimator, DISCRETE, "dirichlet" if lost else "miller-madow", what)
    if estimator != "auto":
        return name, "", notes
    if lost:
        return name, "discrete, and finite though a category of x is not in y", notes
    return name, "discrete, less the first-order bias", notes


def _frequencies(c: _Counts, name: str) -> tuple[Array, Array, float, float]:
    n, m = float(c.x.sum()), float(c.y.sum())
    add = 0.5 if name == "dirichlet" else 0.0
    size = len(c.x)
    return (c.x + add) / (n + add * size), (c.y + add) / (m + add * size), n, m


def _normal(
    value: float, variance: float, c: _Counts, name: str, reason: str, notes: list[str]
) -> Estimate:
    n = int(min(c.x.sum(), c.y.sum()))
    if len(c.x) > 1 and n < 5 * len(c.x):
        notes = [*notes, f"undersampled: {n} rows in the smaller sample, {len(c.x)} categories."]
    if len(c.x) == 1:
        notes = [*notes, "both samples have the same single category."]
    found = Estimate.normal(
        value, sqrt(variance), n_samples=n, estimator=name, warnings=tuple(notes), reason=reason
    )
    return replace(found, interval_kind=INTERVAL)


def _infinite(name: str, c: _Counts) -> Estimate:
    lost = int(((c.x > 0) & (c.y == 0)).sum())
    note = (
        f"infinite, for {lost} categories of x never occur in y, and so without a standard error; "
        "'dirichlet' gives a finite estimate."
    )
    n = int(min(c.x.sum(), c.y.sum()))
    return Estimate(inf, nan, (nan, nan), "none", "nats", n, name, (note,))


def _kl_of_numbers(v: Variable, w: Variable, name: str, k: int | None) -> Estimate:
    if name == "gaussian":
        from triptych.information import _gaussian

        shaped: Estimate = _gaussian.divergence(v.embedded(), w.embedded())
        return shaped
    from triptych.information import _densities

    near: Estimate = _densities.divergence(v.embedded(), w.embedded(), k=neighbours(k, name))
    return near


def _two(x: Any, y: Any, discrete: bool | None) -> tuple[Variable, Variable]:
    """Two samples, which need not have the same number of rows."""
    v, w = as_variable(x, "x", discrete), as_variable(y, "y", discrete)
    if v.discrete != w.discrete:
        raise ParameterError(
            f"x and y: expected two samples of one kind, got {v.raw.dtype} and {w.raw.dtype}; "
            "say discrete=True or discrete=False."
        )
    if v.raw.shape[1:] != w.raw.shape[1:]:
        raise ShapeError(
            f"x and y: expected rows of the same width, got {v.raw.shape} and {w.raw.shape}."
        )
    for u in (v, w):
        need_rows(len(u), 2, f"a divergence from {u.name}")
    return v, w


def _pair(probabilities: Any) -> tuple[Array, Array]:
    if not isinstance(probabilities, (tuple, list, np.ndarray)) or len(probabilities) != 2:
        raise DataError("probabilities: expected a pair (p, q) of tables of the same shape.")
    p, q = (check_probabilities(t, f"probabilities[{i}]") for i, t in enumerate(probabilities))
    if p.shape != q.shape:
        raise ShapeError(f"probabilities: expected one shape, got {p.shape} and {q.shape}.")
    return p, q


def _relative(p: Array, q: Array) -> float:
    from scipy.special import rel_entr

    return float(rel_entr(p, q).sum())


def _crossed(p: Array, q: Array) -> float:
    if ((p > 0) & (q == 0)).any():
        return inf
    return float(-(p * np.log(np.where(q > 0, q, 1.0))).sum()) + 0.0


def _variance(p: Array, values: Array) -> float:
    return float(p @ (values - p @ values) ** 2)
