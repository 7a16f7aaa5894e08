"""Partial information decomposition: what two inputs tell about a target, and who tells it.

I(X1, X2; Y) is divided into what either input tells alone (redundancy), what only the one or the
other tells (unique), and what only both together tell (synergy).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import check_choice, check_number
from triptych.contracts.estimate import UNITS, Estimate
from triptych.errors import ParameterError
from triptych.information._broja import TOLERANCE, least_information
from triptych.information._compact import compact
from triptych.information._continuous import added
from triptych.information._counting import Tally, tally
from triptych.information._discrete import entropy_of, second_order
from triptych.information._exact import check_probabilities, only_probabilities
from triptych.information._variables import Forced, as_variables, need_rows
from triptych.seeding import check_random_state, generator
from triptych.values import register

Array = NDArray[np.float64]

PARTS = ("redundancy", "unique_1", "unique_2", "synergy")
METHODS = ("broja", "mmi", "batch")
INTERVAL = "normal, 95 %, standard error by the delta method"
MOST_UNKNOWNS = 8000
_BOTH = {(0, 1): 1.0, (2,): 1.0, (0, 1, 2): -1.0}


@register
@dataclass(frozen=True)
class Decomposition:
    """Four parts of I(X1, X2; Y), which sum to it.

    Args:
        redundancy: What either input tells.
        unique_1: What only the first tells; with ``redundancy`` it is I(X1; Y).
        unique_2: What only the second tells; with ``redundancy`` it is I(X2; Y).
        synergy: What only both together tell.
        total: I(X1, X2; Y).
        shuffled: Means of the four parts and of the total over shuffles of y, by name, in the
            same unit: what the estimate says where there is nothing to tell. Empty for exact
            results.
        categories: How each variable became categories, by name.
    """

    redundancy: Estimate
    unique_1: Estimate
    unique_2: Estimate
    synergy: Estimate
    total: Estimate
    shuffled: Mapping[str, float]
    categories: Mapping[str, str]

    @property
    def parts(self) -> dict[str, Estimate]:
        """The four parts by name, in this order."""
        return {name: getattr(self, name) for name in PARTS}

    def to(self, unit: str) -> Decomposition:
        """The same in another unit."""
        check_choice("unit", unit, tuple(UNITS))
        factor = UNITS[unit] / UNITS[self.total.unit]
        return replace(
            self,
            redundancy=self.redundancy.to(unit),
            unique_1=self.unique_1.to(unit),
            unique_2=self.unique_2.to(unit),
            synergy=self.synergy.to(unit),
            total=self.total.to(unit),
            shuffled={name: value * factor for name, value in self.shuffled.items()},
        )

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {part.value:.3f}" for name, part in self.parts.items())
        return f"Decomposition({parts} {self.total.unit}, {self.total.estimator})"


def decomposition(
    x1: Any = None,
    x2: Any = None,
    y: Any = None,
    *,
    probabilities: Any = None,
    estimator: str = "broja",
    unit: str = "nats",
    discrete: Forced = None,
    categories: int = 20,
    n_shuffles: int = 10,
    random_state: int | None = 0,
    settings: Mapping[str, Any] | None = None,
) -> Decomposition:
    r"""Redundancy, unique parts and synergy of two inputs about a target.

    With Δ the tables that have the pairwise margins (x1, y) and (x2, y) of the data, and q the one
    in Δ with the least I(X1, X2; Y): redundancy is I_q(X1; Y) + I_q(X2; Y) - I_q(X1, X2; Y),
    unique_i = I(X_i; Y) - redundancy, and synergy is what q lacks, I(X1, X2; Y) - I_q(X1, X2; Y).
    For a table this is exact: the minimum is found to 1e-9 nats, with a bound that says so.

    Of samples the frequencies are taken as probabilities. That makes what is shared look larger,
    synergy most of all, by about (cells - rows - columns) / (2n) nats; ``shuffled`` shows by how
    much. Standard errors are by the delta method (the multipliers of the minimum are its
    derivative), never below the second-order term of I(X1, X2; Y); where a part is 0 the true
    distribution is one-sided and the interval only a guide.

    Continuous variables become categories first: one column by bins of equal frequency, several
    by k-means. **When not**: many dimensions that matter, or few rows; a coarse code loses
    information, and the parts are those of the code. There ``"batch"`` learns instead.

    Args:
        x1: Samples of the first input, (n,) or (n, p).
        x2: Samples of the second; rows in the same order.
        y: Samples of the target.
        probabilities: Instead of samples: a table p(x1, x2, y).
        estimator: ``"broja"``, as above; ``"mmi"``, where redundancy is the smaller of I(X1; Y)
            and I(X2; Y), which says how much and not whether it is the same: for contrast, and
            exact for one-dimensional Gaussians; ``"batch"``, learnt by networks (loads torch).
        unit: ``"nats"`` or ``"bits"``.
        discrete: As for :func:`~triptych.information.entropy`, or one entry for each variable.
        categories: Bins or clusters of each continuous variable, >= 2.
        n_shuffles: Shuffles of y for the baseline; 0 for none.
        random_state: Seed of clusters and shuffles.
        settings: Further parameters of ``"batch"``, by name.

    Raises:
        DataError: NaN, too few rows, or probabilities that are none.
        ParameterError: A table too large to solve, an unknown estimator or unit.

    References:
        Bertschinger et al. 2014, arXiv:1311.2852. Liang et al. 2023, arXiv:2302.12247 (clusters;
        batch). Barrett 2015, arXiv:1411.2832 (minimum mutual information).

    Example:
        >>> table = np.zeros((2, 2, 2))
        >>> for a, b in np.ndindex(2, 2):
        ...     table[a, b, a & b] = 0.25
        >>> decomposition(probabilities=table, unit="bits")
        Decomposition(redundancy 0.311, unique_1 0.000, unique_2 0.000, synergy 0.500 bits, broja)
    """
    check_choice("unit", unit, tuple(UNITS))
    check_choice("estimator", estimator, METHODS)
    if settings and estimator != "batch":
        raise ParameterError(f"settings: expected none for {estimator!r}; they are for 'batch'.")
    if probabilities is not None:
        only_probabilities({"x1": x1, "x2": x2, "y": y})
        if estimator == "batch":
            raise ParameterError("estimator: 'batch' learns from samples, got probabilities.")
        p = check_probabilities(probabilities, "probabilities", 3)
        found = {name: Estimate.exact(v) for name, v in _values(p, estimator)[0].items()}
        named = {name: replace(e, estimator=estimator) for name, e in found.items()}
        return Decomposition(**named, shuffled={}, categories={}).to(unit)
    check_number("categories", categories, low=2, integer=True)
    check_number("n_shuffles", n_shuffles, low=0, integer=True)
    seed = check_random_state(random_state)
    variables = as_variables([("x1", x1), ("x2", x2), ("y", y)], discrete)
    need_rows(len(variables[0]), 4, "decomposition")
    if estimator == "batch":
        from triptych.information import _batch

        a, b, c = variables
        labels = c.labels() if c.discrete else compact(c, categories, seed)[0].indices()
        learnt = _batch.decomposition(
            a.embedded(), b.embedded(), labels, random_state=seed, **(settings or {})
        )
        parts: dict[str, Estimate] = {name: getattr(learnt, name) for name in PARTS}
        total = added([(1.0, part) for part in parts.values()], estimator="batch")
        words = {"y": "its own categories" if c.discrete else f"{categories} categories"}
        return Decomposition(**parts, total=total, shuffled={}, categories=words).to(unit)
    made = {v.name: compact(v, categories, seed) for v in variables}
    counted = tally([codes for codes, _ in made.values()])
    words = {name: told for name, (_, told) in made.items()}
    return of_tally(counted, estimator, n_shuffles, seed, words).to(unit)


def of_tally(
    counted: Tally, estimator: str, n_shuffles: int, seed: int, words: Mapping[str, str]
) -> Decomposition:
    """The decomposition of counts of (x1, x2, y), in nats."""
    table, cells = _dense(counted)
    n = counted.n
    values, locals_ = _values(table / n, estimator)
    share = counted.counts / n
    floor = second_order(counted, _BOTH)
    shuffled = _shuffled(counted, estimator, n_shuffles, generator(seed, "shuffles"))
    notes = _notes(counted, values, shuffled)
    found = {}
    for name, value in values.items():
        local = locals_[name][tuple(cells.T)]
        variance = float(share @ (local - share @ local) ** 2) / n
        error = float(np.sqrt(max(variance, floor)))
        estimate = Estimate.normal(value, error, n_samples=n, estimator=estimator, warnings=notes)
        found[name] = replace(estimate, interval_kind=INTERVAL)
    return Decomposition(**found, shuffled=shuffled, categories=dict(words))


def _dense(counted: Tally) -> tuple[Array, NDArray[np.int64]]:
    """Counts (k1, k2, ky) of the categories that occur, and where in it each cell lies (u, 3)."""
    columns = []
    sizes = []
    for a in range(3):
        seen, where = np.unique(counted.cells[:, a], return_inverse=True)
        columns.append(where.reshape(-1))
        sizes.append(len(seen))
    _check_size(tuple(sizes))
    table = np.zeros(sizes)
    table[tuple(columns)] = counted.counts
    return table, np.stack(columns, axis=1)


def _check_size(sizes: tuple[int, ...]) -> None:
    k1, k2, ky = sizes
    if (k1 + k2) * ky > MOST_UNKNOWNS or k1 * k2 * ky > 100 * MOST_UNKNOWNS:
        raise ParameterError(
            f"decomposition: expected at most {MOST_UNKNOWNS} margins (k1 + k2) ky, got tables "
            f"of {k1} × {k2} × {ky} categories. Merge categories, or say discrete=False with "
            "fewer categories= for whole numbers that are measurements."
        )


def _values(p: Array, estimator: str) -> tuple[dict[str, float], dict[str, Array]]:
    """The parts in nats, and by each cell what a row there adds to them (0 where p is 0)."""
    i1 = _local(p.sum(axis=1))[:, None]  # (k1, 1, ky)
    i2 = _local(p.sum(axis=0))[None]  # (1, k2, ky)
    k1, k2, ky = p.shape
    i12 = _local(p.reshape(k1 * k2, ky)).reshape(p.shape)
    shape = np.zeros_like(p)
    first, second, both = ((p * (shape + local)).sum() for local in (i1, i2, i12))
    if estimator == "mmi":
        least, local = (first, i1) if first <= second else (second, i2)
        redundancy, r = least, shape + local
    else:
        _check_size(p.shape)
        minimum = least_information(p)
        if minimum.gap > 100 * TOLERANCE:
            raise ParameterError(
                f"decomposition: the minimum was found only to {minimum.gap:.2g} nats; merge "
                "categories that hardly occur."
            )
        margin = p.sum(axis=(0, 1))
        of_y = -np.log(np.where(margin > 0, margin, 1.0))
        v = minimum.first[:, None] + minimum.second[None] + of_y
        redundancy, r = first + second - minimum.value, i1 + i2 - v
    values = {
        "redundancy": redundancy,
        "unique_1": first - redundancy,
        "unique_2": second - redundancy,
        "synergy": both - first - second + redundancy,
        "total": both,
    }
    parts = {
        "redundancy": r,
        "unique_1": i1 - r,
        "unique_2": i2 - r,
        "synergy": i12 - i1 - i2 + r,
        "total": i12,
    }
    # Each is at least 0; what the minimum's tolerance put below is no statistical negative.
    kept = {name: max(float(v), 0.0) if v > -1e-8 else float(v) for name, v in values.items()}
    return kept, {name: shape + part for name, part in parts.items()}


def _local(p: Array) -> Array:
    """Logs of p(a, b) / (p(a) p(b)) of a table (ka, kb); 0 where p is 0."""
    product = p.sum(axis=1, keepdims=True) * p.sum(axis=0)
    return np.asarray(np.log(np.where(p > 0, p, 1.0) / np.where(p > 0, product, 1.0)))


def _shuffled(
    counted: Tally, estimator: str, how_often: int, rng: np.random.Generator
) -> dict[str, float]:
    """Means of the parts over tables with the same inputs and the same targets, paired anew."""
    if how_often == 0:
        return {}
    from scipy.stats import random_table

    inputs, _ = counted.onto((0, 1))
    pairs = counted.grouped([(0,), (1,)])
    targets, _ = counted.onto((2,))
    if len(inputs) == 1 or len(targets) == 1:
        return dict.fromkeys((*PARTS, "total"), 0.0)
    tables = random_table(inputs.astype(int), targets.astype(int)).rvs(
        size=how_often, random_state=rng
    )
    k1, k2 = (int(pairs.cells[:, a].max()) + 1 for a in range(2))
    sums = dict.fromkeys((*PARTS, "total"), 0.0)
    for drawn in tables:
        table = np.zeros((k1, k2, len(targets)))
        table[pairs.cells[:, 0], pairs.cells[:, 1]] = drawn
        for name, value in _values(table / counted.n, estimator)[0].items():
            sums[name] += value / how_often
    return sums


def _notes(
    counted: Tally, values: Mapping[str, float], shuffled: Mapping[str, float]
) -> tuple[str, ...]:
    notes = []
    if len(counted.onto((2,))[0]) == 1:
        notes.append("y has one category in these rows, so there is nothing to tell about it.")
    of_y = entropy_of(counted.onto((2,))[0], "plug-in")
    if shuffled and shuffled["total"] > max(0.2 * values["total"], 0.05 * of_y, 1e-12):
        # In shares, which are the same in every unit.
        nothing = values["total"] < 1e-6
        chance = "many times" if nothing else f"{shuffled['total'] / values['total']:.0%} of"
        notes.append(
            f"undersampled table: with y shuffled the total is still {chance} that here, and "
            f"{shuffled['synergy'] / shuffled['total']:.0%} of it synergy. More rows or fewer "
            "categories are needed."
        )
    return tuple(notes)
