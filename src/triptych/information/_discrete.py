"""Entropy from counts, by six estimators, and sums of entropies with their standard error.

Every quantity of discrete variables is a sum of entropies, so one estimator serves them all:
I(X; Y) = H(X) + H(Y) - H(X, Y), each by the same formula.

* ``"plug-in"``: frequencies as if they were probabilities. Falls short by about (K - 1) / (2n);
  for tables with hundreds of rows in each cell, and where other works must be matched.
* ``"miller-madow"``: plug-in plus that first-order bias (Miller 1955). For tables that are well
  filled, and there the default; not where many categories are still unseen.
* ``"grassberger"`` (Grassberger 2003, arXiv:physics/0307138) and ``"grassberger-88"`` (Phys.
  Lett. A 128): n log n replaced by what is right on average for small counts. For tables whose
  cells hold a few rows each, less so where most hold one. In well-filled tables the newer one
  jumps between odd and even counts, by up to 1 / (2n) for each cell.
* ``"jackknife"``: n H - (n - 1) times the mean of H without one row (Zahl 1977). Like
  Miller–Madow, at times better, and noisier where counts are small.
* ``"shrinkage"``: frequencies drawn towards the uniform by James and Stein's weight (Hausser and
  Strimmer 2009, JMLR 10). For small n when the alphabet is known (``categories=``); it leans to
  high entropy, and is wrong where most categories never occur.
* ``"chao-shen"``: coverage-adjusted (Chao and Shen 2003, Environ. Ecol. Stat. 10). For many
  rare or unseen categories of unknown number; not for well-filled tables, where it only adds
  noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import log, prod

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import check_choice
from triptych.contracts.estimate import Estimate
from triptych.errors import ParameterError
from triptych.information._counting import Tally

Array = NDArray[np.float64]
Terms = Mapping[tuple[int, ...], float]
"""Weights of joint entropies, by which variables are in them."""
MUTUAL: Terms = {(0,): 1.0, (1,): 1.0, (0, 1): -1.0}
"""I(X; Y) of variables 0 and 1."""

_BLOCK = 1 << 22


def _xlogx(n: Array) -> Array:
    return np.asarray(n * np.log(np.maximum(n, 1.0)))


def _miller_madow(n: Array) -> Array:
    return _xlogx(n) - 0.5 * (n > 0)


def _grassberger_88(n: Array) -> Array:
    from scipy.special import psi

    m = np.maximum(n, 1.0)
    return np.asarray(n * (psi(m) + (1 - 2 * (m % 2)) / (m * (m + 1))))


def _grassberger(n: Array) -> Array:
    from scipy.special import psi

    m = np.maximum(n, 1.0)
    # psi((m + 1) / 2) - psi(m / 2) loses digits as 1 / m, and is below 1e-8 of psi(m) by then.
    change = 0.5 * (1 - 2 * (m % 2)) * (psi((m + 1) / 2) - psi(m / 2))
    return np.asarray(n * (psi(m) + change))


def _jackknife(n: Array) -> Array:
    return n * (_xlogx(n) - _xlogx(n - 1))


def _log_n(n: float) -> float:
    return log(n)


# H = offset(n) - sum of g(counts) / n: what each additive estimator puts for n log n.
_ADDITIVE: dict[str, tuple[Callable[[float], float], Callable[[Array], Array]]] = {
    "plug-in": (_log_n, _xlogx),
    "miller-madow": (lambda n: log(n) - 0.5 / n, _miller_madow),
    "grassberger": (_log_n, _grassberger),
    "grassberger-88": (_log_n, _grassberger_88),
    "jackknife": (lambda n: n * log(n) - (n - 1) * log(max(n - 1, 1)), _jackknife),
}


def _shrinkage(counts: Array, times: Array, n: Array, categories: int) -> Array:
    """Rows of counts (r, k), each value held by ``times`` (r, k) cells; entropies (r,)."""
    from scipy.special import xlogy

    p = counts / n[:, None]
    t = 1.0 / categories
    unseen = categories - (times * (counts > 0)).sum(axis=1)
    squares = (times * p**2).sum(axis=1)
    away = (times * (p - t) ** 2 * (counts > 0)).sum(axis=1) + unseen * t**2
    with np.errstate(divide="ignore", invalid="ignore"):
        weight = (1.0 - squares) / ((n - 1) * away)
    weight = np.where((n <= 1) | (away <= 0), 1.0, np.clip(weight, 0.0, 1.0))
    shrunk = weight[:, None] * t + (1 - weight)[:, None] * p
    own = (times * (counts > 0) * xlogy(shrunk, shrunk)).sum(axis=1)
    return np.asarray(-own - unseen * xlogy(weight * t, weight * t))


def _chao_shen(counts: Array, times: Array, n: Array, categories: int) -> Array:
    """The same by coverage; ``categories`` is not used, the unseen are guessed."""
    once = (times * (counts == 1)).sum(axis=1)
    once = np.where(once == n, n - 1, once)  # all unique: a coverage of 0 would say nothing
    p = np.where(counts > 0, (1 - once / n)[:, None] * counts / n[:, None], 0.0)
    held = p > 0
    safe = np.where(held, p, 0.5)
    with np.errstate(divide="ignore"):
        seen = -np.expm1(n[:, None] * np.log1p(-np.minimum(safe, 1.0)))
    return np.asarray((times * np.where(held, -safe * np.log(safe) / seen, 0.0)).sum(axis=1))


_WHOLE = {"shrinkage": _shrinkage, "chao-shen": _chao_shen}
DISCRETE = (*_ADDITIVE, *_WHOLE)


def entropy_of(counts: Array, estimator: str, categories: int | None = None) -> float:
    """Entropy in nats.

    Args:
        counts: Rows of each non-empty category, shape (k,).
        estimator: One of ``DISCRETE``.
        categories: Size of the alphabet, unseen ones included; of shrinkage only. ``None`` takes
            those seen.
    """
    check_choice("estimator", estimator, DISCRETE)
    n = float(counts.sum())
    if estimator in _ADDITIVE:
        offset, g = _ADDITIVE[estimator]
        return float(offset(n) - g(counts).sum() / n)
    values, times = np.unique(counts, return_counts=True)
    known = len(counts) if categories is None else categories
    rows = _WHOLE[estimator](values[None], times[None].astype(float), np.array([n]), known)
    return float(rows[0])


def influence(counts: Array, estimator: str, categories: int | None = None) -> Array:
    """What a row of each category adds to the entropy, shape (k,), in nats, up to a constant.

    This is the jackknife's pseudo-value, n H - (n - 1) H without that row. Grassberger's newer
    estimator takes those of his older one: its own jump between odd and even counts, whatever
    the count, and would tell of the jumps instead of the entropy. Where estimators do not add up
    over categories, those with equal counts give equal values, so there are at most sqrt(2 n) to
    compute.
    """
    n = float(counts.sum())
    if estimator in _ADDITIVE:
        smooth = "grassberger-88" if estimator == "grassberger" else estimator
        g = _ADDITIVE[smooth][1]
        return np.asarray(g(counts - 1) - g(counts))
    values, which, times = np.unique(counts, return_inverse=True, return_counts=True)
    known = len(counts) if categories is None else categories
    out = np.empty(len(values))
    step = max(1, _BLOCK // (len(values) + 1))
    for start in range(0, len(values), step):
        at = np.arange(start, min(start + step, len(values)))
        held = np.tile(np.append(times, 0).astype(float), (len(at), 1))
        rows = np.tile(np.append(values, 0), (len(at), 1))
        held[np.arange(len(at)), at] -= 1
        rows[:, -1], held[:, -1] = values[at] - 1, 1
        out[at] = _WHOLE[estimator](rows, held, np.full(len(at), n - 1), known)
    whole = entropy_of(counts, estimator, categories)
    return np.asarray((n * whole - (n - 1) * out)[which.reshape(-1)])


def sum_of_entropies(
    table: Tally,
    terms: Terms,
    estimator: str,
    *,
    categories: Sequence[int] | None = None,
    names: Sequence[str] = (),
) -> Estimate:
    r"""An estimate of :math:`\sum_S c_S H(X_S)`.

    The standard error is that of the mean over rows of what each row adds (:func:`influence`).
    Where this is the same for all rows (a uniform distribution, independence) a sample can make
    it nearly 0, so it is never taken below what the second derivative gives,
    :math:`\operatorname{tr} M^2 / (2 n^2)` with :math:`M = \sum_S c_S P_S`, where :math:`P_S`
    projects onto functions of :math:`X_S` of mean 0 (the variance of 2n I under independence,
    that of a chi-square, is the known case).

    Args:
        table: Counts, at least 2 rows.
        terms: Weights c_S by axes of the table.
        estimator: One of ``DISCRETE``, or ``"auto"``.
        categories: Sizes of the alphabets (m,), for shrinkage; joint ones are products.
        names: Of the variables, for warnings.
    """
    estimator, reason = _chosen(table, estimator)
    n = float(table.n)
    value, adds = 0.0, np.zeros(len(table.counts))
    shown: dict[tuple[int, ...], tuple[Array, NDArray[np.intp]]] = {}
    sizes = _alphabets(table, categories)
    for axes, weight in terms.items():
        counts, where = table.onto(axes)
        shown[axes] = counts, where
        known = prod(sizes[a] for a in axes)
        value += weight * entropy_of(counts, estimator, known)
        adds += weight * influence(counts, estimator, known)[where]
    share = table.counts / n
    variance = float(share @ (adds - share @ adds) ** 2) / (n - 1)
    variance = max(variance, _leftover(table, terms, shown))
    if estimator == "grassberger":  # its jumps of ±1/2 in n H for each category
        variance += sum(w**2 * len(shown[axes][0]) for axes, w in terms.items()) / (4 * n**2)
    error = np.sqrt(variance)
    found = Estimate.normal(value, error, n_samples=table.n, estimator=estimator, reason=reason)
    warnings = _warnings(table, terms, estimator, float(error), names)
    kind = "normal, 95 %, standard error by jackknife"
    return replace(found, interval_kind=kind, warnings=tuple(warnings))


def _chosen(table: Tally, estimator: str) -> tuple[str, str]:
    """The estimator, and why where it was left to us."""
    if estimator != "auto":
        check_choice("estimator", estimator, DISCRETE)
        return estimator, ""
    if _undersampled(table):
        return "grassberger", "discrete with few rows in a cell, where this is right on average"
    return "miller-madow", "discrete with many rows in a cell, so the first-order bias is enough"


def _undersampled(table: Tally) -> bool:
    cells, once = len(table.counts), int((table.counts == 1).sum())
    return cells > 1 and (table.n < 5 * cells or once > 0.1 * table.n)


def _alphabets(table: Tally, categories: Sequence[int] | None) -> list[int]:
    seen = [len(np.unique(table.cells[:, a])) for a in range(len(table.sizes))]
    if categories is None:
        return seen
    for a, (given, found) in enumerate(zip(categories, seen, strict=True)):
        if given < found:
            raise ParameterError(
                f"categories: expected at least the {found} that variable {a} shows, got {given}."
            )
    return list(categories)


def _leftover(
    table: Tally,
    terms: Terms,
    shown: Mapping[tuple[int, ...], tuple[Array, NDArray[np.intp]]],
) -> float:
    """Variance that is left where the first derivative is 0."""
    trace, n = 0.0, float(table.n)
    share = table.counts / n
    probability = {axes: counts[where] / n for axes, (counts, where) in shown.items()}
    for s, cs in terms.items():
        for t, ct in terms.items():
            if set(s) <= set(t) or set(t) <= set(s):
                trace += cs * ct * (len(shown[min(s, t, key=len)][0]) - 1)
                continue
            both = tuple(sorted({*s, *t}))
            if both not in probability:
                counts, where = table.onto(both)
                probability[both] = counts[where] / n
            overlap = probability[both] / (probability[s] * probability[t])
            trace += cs * ct * (float(share @ overlap) - 1.0)
    return max(trace, 0.0) / (2 * n**2)


def second_order(table: Tally, terms: Terms) -> float:
    """Variance of a sum of entropies that is left where its first derivative is 0, in nats²."""
    shown = {axes: table.onto(axes) for axes in terms}
    return _leftover(table, terms, shown)


def _warnings(
    table: Tally, terms: Terms, estimator: str, error: float, names: Sequence[str]
) -> list[str]:
    out = []
    n, cells = table.n, len(table.counts)
    for a, name in enumerate(names):
        if len(np.unique(table.cells[:, a])) == 1:
            out.append(f"{name} has one category in these rows, so nothing is known of others.")
    once = int((table.counts == 1).sum())
    if cells > 1 and once == n:
        out.append(
            f"every row is a category of its own: entropies cannot be told above about log n = "
            f"{log(n):.3g} nats, and what is shared cannot be told from chance."
        )
    elif _undersampled(table):
        out.append(
            f"undersampled table: {n} rows in {cells} non-empty cells, {once} of them with one "
            f"row. A bias may be left; {5 * cells} rows would be better. permutation_test says "
            "what shuffled rows give."
        )
    if estimator == "plug-in":
        bias = sum(w * (len(table.onto(axes)[0]) - 1) for axes, w in terms.items()) / (2 * n)
        if abs(bias) > error > 0:
            out.append(
                f"the plug-in's bias, about {-bias:+.2g} nats, is larger than the standard error."
            )
    return out
