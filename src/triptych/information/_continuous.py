"""Which estimator for which variables where some are continuous, and sums of their estimates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import check_number
from triptych.contracts.estimate import Estimate
from triptych.errors import DataError, ParameterError
from triptych.information._counting import tally
from triptych.information._discrete import MUTUAL as MUTUAL_OF_COUNTS
from triptych.information._discrete import sum_of_entropies
from triptych.information._variables import Codes, Variable, make_codes, need_rows

Array = NDArray[np.float64]

ENTROPY = ("knn", "gaussian")
NEURAL = ("infonce", "dv", "mine", "nwj", "js", "smile", "club", "l1out", "doe")
PAIRS = ("ksg", "ksg-2", "ksg-ranks", "mixed", "gaussian", "copula", "student-copula")
MUTUAL = (*PAIRS, "ross", *NEURAL)
CONDITIONAL = ("frenzel-pompe", "gaussian", "chain")
SMALL = 0.05  # share of rows in categories without k others that "mixed" hardly feels
ADDED = "normal, 95 %, standard errors added, which is the most they can be together"


def neighbours(k: int | None, estimator: str) -> int:
    """Neighbours k: as asked, else 5 for mixed data and 3 for the rest."""
    if k is None:
        return 5 if estimator == "mixed" else 3
    check_number("k", k, low=1, integer=True)
    return int(k)


def wanted(estimator: str, known: Sequence[str], auto: str, what: str) -> str:
    """The estimator's name, or what stands for ``"auto"``."""
    if estimator == "auto":
        return auto
    if estimator not in known:
        listed = ", ".join(map(repr, ("auto", *known)))
        raise ParameterError(f"estimator: {what} takes one of {listed}; got {estimator!r}.")
    return estimator


def added(
    parts: Sequence[tuple[float, Estimate]], *, estimator: str | None = None, reason: str = ""
) -> Estimate:
    """A weighted sum of estimates in nats, with the largest standard error that it can have."""
    value = sum(w * e.value for w, e in parts)
    error = sum(abs(w) * e.standard_error for w, e in parts)
    names = dict.fromkeys(e.estimator for _, e in parts)
    found = Estimate.normal(
        value,
        error,
        n_samples=min(e.n_samples for _, e in parts),
        estimator=estimator or " + ".join(names),
        warnings=tuple(dict.fromkeys(w for _, e in parts for w in e.warnings)),
        reason=reason or "; ".join(dict.fromkeys(e.reason for _, e in parts if e.reason)),
    )
    return replace(found, interval_kind=ADDED) if len(parts) > 1 else found


def beside(variables: Sequence[Variable], name: str) -> Variable:
    """Several variables as one: categories joined, numbers side by side, or both as numbers.

    Where both kinds meet, numbers are brought to spread 1 and categories become indicators.
    """
    if len(variables) == 1:
        return variables[0]
    if all(v.discrete for v in variables):
        codes = joined([v.codes for v in variables if v.codes is not None])
        return Variable(name, codes.values, codes=codes)
    mixed = any(v.discrete for v in variables)
    blocks = []
    for v in variables:
        block = v.embedded()
        if mixed and not v.discrete:
            spread = block.std(axis=0)
            block = block / np.where(spread > 0, spread, 1.0)
        blocks.append(block)
    numbers = np.concatenate(blocks, axis=1)
    return Variable(name, numbers, numbers=numbers)


def joined(codes: Sequence[Codes]) -> Codes:
    """One category for each combination."""
    if len(codes) == 1:
        return codes[0]
    return make_codes(np.stack([c.indices() for c in codes], axis=1))


def entropy(v: Variable, estimator: str, k: int | None, random_state: int | None = 0) -> Estimate:
    """Differential entropy of a continuous variable."""
    name = wanted(estimator, ENTROPY, "knn", f"the entropy of {v.name}, which is continuous,")
    assert v.numbers is not None
    if name == "gaussian":
        from triptych.information import _gaussian

        by_shape: Estimate = _gaussian.entropy(v.numbers, name=v.name)
        return by_shape
    from triptych.information import _densities

    near: Estimate = _densities.entropy(
        v.numbers, k=neighbours(k, name), random_state=random_state, name=v.name
    )
    return _why(near, estimator, "continuous, so by nearest neighbours, which assume no shape")


def mutual_information(
    x: Variable,
    y: Variable,
    estimator: str = "auto",
    *,
    k: int | None = None,
    random_state: int | None = 0,
    settings: Mapping[str, Any] | None = None,
) -> Estimate:
    """I(X; Y) of which at least one is continuous."""
    what = f"mutual information of {x.name} ({_kind(x)}) and {y.name} ({_kind(y)})"
    need_rows(len(x), 4, what)
    name, reason = wanted(estimator, MUTUAL, "auto", what), ""
    if name == "auto":
        from triptych.information import _choice

        name, reason = _choice.choose(_plain(x), _plain(y), x.discrete, y.discrete)
    for v in (x, y):
        if name == "ross" and v.codes is not None and len(np.unique(v.labels())) == 1:
            from triptych.information._samples import nothing_to_tell

            return _why(nothing_to_tell(v.name, len(v), name, ()), "auto", reason)
    if settings and name not in NEURAL:
        raise ParameterError(f"settings: expected none for {name!r}; they are for {NEURAL}.")
    return _why(_mutual(x, y, name, k, random_state, settings or {}), "auto", reason)


def _mutual(
    x: Variable,
    y: Variable,
    name: str,
    k: int | None,
    random_state: int | None,
    settings: Mapping[str, Any],
) -> Estimate:
    if name in NEURAL:
        from triptych.information import _neural

        learnt: Estimate = _neural.estimate(
            x.embedded(), y.embedded(), bound=name, random_state=random_state, **settings
        )
        return learnt
    names = (x.name, y.name)
    if name == "ross":
        if x.discrete == y.discrete:
            raise ParameterError(
                f"estimator: 'ross' is for a discrete and a continuous variable; {x.name} is "
                f"{_kind(x)} and {y.name} is {_kind(y)}."
            )
        numbers, labels = (y, x) if x.discrete else (x, y)
        from triptych.information import _knn

        near: Estimate = _knn.ross(
            numbers.embedded(),
            labels.labels(),
            k=neighbours(k, name),
            random_state=random_state,
            names=(numbers.name, labels.name),
        )
        return near
    for v in (x, y):
        if v.discrete and name != "mixed":
            raise ParameterError(
                f"estimator: {name!r} is for continuous variables, and {v.name} is discrete. "
                "Take 'ross' or 'mixed', or say discrete=False if its numbers are measurements."
            )
    if name == "mixed":
        from triptych.information import _knn

        k = neighbours(k, name)
        tied: Estimate = _knn.mixed(x.embedded(), y.embedded(), k=k, names=names)
        return tied.noting(*(note for v in (x, y) if v.discrete for note in _small(v, k)))
    from triptych.information import _choice

    found: Estimate = _choice.PAIRS[name](
        x.embedded(), y.embedded(), k=neighbours(k, name), random_state=random_state
    )
    return found


def conditional(
    x: Variable, y: Variable, z: Variable, estimator: str = "auto", *, k: int | None = None
) -> Estimate:
    """I(X; Y | Z) of which at least one is continuous.

    A discrete Z: the mean over its categories. All continuous: Frenzel and Pompe's. Else by the
    chain rule, I(X; Y, Z) - I(X; Z).
    """
    what = f"conditional information of {x.name} ({_kind(x)}), {y.name} ({_kind(y)}), {z.name}"
    mixed = x.discrete or y.discrete or z.discrete
    name = wanted(estimator, CONDITIONAL, "chain" if mixed else "frenzel-pompe", what)
    if z.discrete and (estimator == "auto" or name != "chain"):
        return _over_categories(x, y, z, estimator, k)
    for v in (x, y):
        if v.discrete and name != "chain":
            raise ParameterError(
                f"estimator: {name!r} is for continuous variables, and {v.name} is discrete. "
                "Take 'chain', or say discrete=False if its numbers are measurements."
            )
    if name == "chain":
        whole = mutual_information(x, beside([y, z], f"({y.name}, {z.name})"), k=k)
        part = _of_counts(x, z) if x.discrete and z.discrete else mutual_information(x, z, k=k)
        reason = "discrete beside continuous, so I(X; Y, Z) - I(X; Z)"
        return added([(1.0, whole), (-1.0, part)], reason=reason)
    if name == "gaussian":
        from triptych.information import _gaussian

        by = _gaussian.conditional_mutual_information
        shaped: Estimate = by(
            x.embedded(), y.embedded(), z.embedded(), names=(x.name, y.name, z.name)
        )
        return shaped
    from triptych.information import _knn

    found: Estimate = _knn.conditional(
        x.embedded(),
        y.embedded(),
        z.embedded(),
        k=neighbours(k, name),
        names=(x.name, y.name, z.name),
    )
    return _why(found, estimator, "all continuous, so by nearest neighbours")


def _over_categories(
    x: Variable, y: Variable, z: Variable, estimator: str, k: int | None
) -> Estimate:
    """The mean of I(X; Y) within the categories of Z, weighted by their rows."""

    def within(rows: NDArray[np.intp]) -> Estimate:
        if x.discrete and y.discrete:
            return _of_counts(x[rows], y[rows])
        inner = "gaussian" if estimator == "gaussian" else "auto"
        return mutual_information(x[rows], y[rows], inner, k=k)

    reason = f"{z.name} is discrete, so the mean over its categories"
    return over_categories(z, within, (k or 3) + 2, reason)


def _of_counts(x: Variable, y: Variable) -> Estimate:
    """I(X; Y) of two discrete variables."""
    assert x.codes is not None and y.codes is not None
    return sum_of_entropies(tally([x.codes, y.codes]), MUTUAL_OF_COUNTS, "auto")


def over_categories(
    z: Variable, within: Callable[[NDArray[np.intp]], Estimate], least: int, reason: str
) -> Estimate:
    """The mean over categories of an estimate within each, weighted by rows.

    Its variance is that of the parts, and that of the weights between them.

    Args:
        z: Discrete variable.
        within: Estimate of some rows.
        least: Rows that a category must have to be used.
        reason: For the estimate.
    """
    labels = z.labels()
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    groups = np.split(order, starts[1:])
    used = [rows for rows in groups if len(rows) >= least]
    if not used:
        raise DataError(
            f"{z.name}: expected a category with at least {least} rows; the largest of "
            f"{len(groups)} has {max(map(len, groups))}."
        )
    parts = [within(rows) for rows in used]
    n = sum(map(len, used))
    share = np.array([len(rows) / n for rows in used])
    values = np.array([part.value for part in parts])
    errors = np.array([part.standard_error for part in parts])
    value = float(share @ values)
    spread = float(share @ (values - value) ** 2) / n
    notes = list(dict.fromkeys(w for part in parts for w in part.warnings))
    lost = len(labels) - n
    if lost:
        few = len(groups) - len(used)
        notes.append(f"{few} categories of {z.name} with {lost} rows were too small to use.")
    return Estimate.normal(
        value,
        float(np.sqrt(share**2 @ errors**2 + spread)),
        n_samples=n,
        estimator=parts[0].estimator,
        warnings=tuple(notes),
        reason=reason,
    )


def _plain(v: Variable) -> Array:
    """Numbers (n, p); categories as their number, one column."""
    if v.numbers is not None:
        return v.numbers
    return v.labels()[:, None].astype(np.float64)


def _small(v: Variable, k: int) -> list[str]:
    """A warning where many rows have no k others of their category."""
    sizes = np.bincount(np.unique(v.labels(), return_inverse=True)[1])
    share = float(sizes[sizes <= k].sum() / len(v))
    if share <= SMALL:
        return []
    return [
        f"{v.name}: {100 * share:.0f} % of the rows are of categories with at most {k} rows, "
        f"whose neighbour {k} lies in another category: the estimate is likely too high."
    ]


def _kind(v: Variable) -> str:
    return "discrete" if v.discrete else "continuous"


def _why(found: Estimate, estimator: str, reason: str) -> Estimate:
    return replace(found, reason=reason) if estimator == "auto" and reason else found
