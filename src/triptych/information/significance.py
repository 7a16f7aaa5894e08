"""Is there anything at all? Estimates beside those of shuffled rows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import check_choice, check_number
from triptych.contracts.estimate import UNITS, Estimate
from triptych.errors import DataError, ParameterError
from triptych.information._continuous import MUTUAL, NEURAL
from triptych.information._counting import Tally, tally
from triptych.information._discrete import entropy_of
from triptych.information._variables import Forced, Variable, as_variables
from triptych.information.quantities import conditional_information, information
from triptych.seeding import check_random_state, generator

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Permutations:
    """An estimate and what the same estimator says of shuffled rows.

    Args:
        estimate: Of the rows as they are.
        p_value: Share of shuffles, the rows as they are counted among them, whose estimate is at
            least as large: small where there is information. Never below 1 / (shuffles + 1).
        bias: Mean over shuffles: what the estimator says where there is nothing.
        corrected: ``estimate`` less ``bias``, with the standard errors of both. It is right where
            information is small; where it is large the bias is another one.
        shuffled: The estimates of shuffled rows, (n_shuffles,).
    """

    estimate: Estimate
    p_value: float
    bias: float
    corrected: Estimate
    shuffled: Array = field(repr=False)

    def to(self, unit: str) -> Permutations:
        """The same in another unit."""
        factor = UNITS[unit] / UNITS[self.estimate.unit]
        return replace(
            self,
            estimate=self.estimate.to(unit),
            bias=self.bias * factor,
            corrected=self.corrected.to(unit),
            shuffled=self.shuffled * factor,
        )


def permutation_test(
    x: Any,
    y: Any,
    given: Any = None,
    *,
    n_shuffles: int = 200,
    estimator: str = "auto",
    unit: str = "nats",
    discrete: Forced = None,
    k: int | None = None,
    random_state: int | None = 0,
) -> Permutations:
    """Test I(X; Y) = 0, or I(X; Y | Z) = 0, by shuffling the rows of Y.

    Where Z is given, rows are shuffled within its categories, so Z must be discrete: rows with
    different Z may not be exchanged. The test holds for any estimator; tables of two discrete
    variables are drawn whole with their margins, which is the same and costs no pass over rows.

    Args:
        x: Samples of X.
        y: Samples of Y.
        given: Samples of a discrete Z, or ``None``.
        n_shuffles: Shuffles, >= 1; the smallest p-value that can come out is 1 / (n_shuffles + 1).
        estimator: As for :func:`~triptych.information.mutual_information`; neural ones are not
            trained again for every shuffle, so they are refused.
        unit: ``"nats"`` or ``"bits"``.
        discrete: As for :func:`~triptych.information.entropy`, or one entry for each variable.
        k: Neighbours.
        random_state: Seed of the shuffles.

    Example:
        >>> x = [0, 1] * 50
        >>> permutation_test(x, x).p_value < 0.01
        True
    """
    check_choice("unit", unit, tuple(UNITS))
    check_number("n_shuffles", n_shuffles, low=1, integer=True)
    if estimator in NEURAL:
        raise ParameterError(f"estimator: {estimator!r} would be trained for every shuffle.")
    rng = generator(check_random_state(random_state), "shuffles")
    if given is None:
        v, w = as_variables([("x", x), ("y", y)], discrete)
        found = information(v, w, estimator, k=k)
        if v.codes is not None and w.codes is not None:
            counted = tally([v.codes, w.codes])
            return permutations_of(found, counted, n_shuffles, rng).to(unit)
        # The estimator that was chosen for the rows is not chosen anew for each shuffle.
        name = found.estimator if found.estimator in MUTUAL else estimator
        null = _rows(v, w, name, k, n_shuffles, rng)
    else:
        v, w, z = as_variables([("x", x), ("y", y), ("given", given)], discrete)
        if not z.discrete:
            raise DataError(
                "given: expected a discrete variable, for only rows with the same value may be "
                "exchanged; got floats. Cut it into bins, or say discrete=True."
            )
        found = conditional_information(v, w, z, estimator, k=k)
        null = np.array(
            [
                conditional_information(v, w[_within(z.labels(), rng)], z, estimator, k=k).value
                for _ in range(n_shuffles)
            ]
        )
    return _verdict(found, null).to(unit)


def permutations_of(
    found: Estimate, counted: Tally, n_shuffles: int, rng: np.random.Generator
) -> Permutations:
    """The test of a table of two discrete variables whose information was ``found``, in nats."""
    return _verdict(found, _tables(counted, found.estimator, n_shuffles, rng))


def _verdict(found: Estimate, null: Array) -> Permutations:
    # What only rounding tells apart counts as equal.
    equal = 1e-12 * (1 + abs(found.value))
    p_value = (1 + int((null >= found.value - equal).sum())) / (1 + len(null))
    bias = float(null.mean())
    spread = float(null.std(ddof=1)) / np.sqrt(len(null)) if len(null) > 1 else 0.0
    corrected = Estimate.normal(
        found.value - bias,
        float(np.hypot(found.standard_error, spread)),
        n_samples=found.n_samples,
        estimator=f"{found.estimator} less shuffled",
        warnings=found.warnings,
        reason=found.reason,
    )
    corrected = replace(corrected, interval_kind=found.interval_kind)
    return Permutations(found, p_value, bias, corrected, null)


def _tables(counted: Tally, estimator: str, how_often: int, rng: np.random.Generator) -> Array:
    """Estimates of tables drawn at random with the margins of ``counted``."""
    from scipy.stats import random_table

    a, _ = counted.onto((0,))
    b, _ = counted.onto((1,))
    fixed = entropy_of(a, estimator) + entropy_of(b, estimator)
    if min(len(a), len(b)) == 1:
        return np.full(how_often, fixed - entropy_of(counted.counts, estimator))
    known = len(a) * len(b)
    draw = random_table(a.astype(int), b.astype(int))
    out = np.empty(how_often)
    for i in range(how_often):
        table = np.asarray(draw.rvs(random_state=rng), dtype=np.float64).reshape(-1)
        out[i] = fixed - entropy_of(table[table > 0], estimator, known)
    return out


def _rows(
    v: Variable, w: Variable, estimator: str, k: int | None, how_often: int, rng: Any
) -> Array:
    n = len(v)
    draws = (w[rng.permutation(n)] for _ in range(how_often))
    return np.array([information(v, shuffled, estimator, k=k).value for shuffled in draws])


def _within(labels: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    """A permutation (n,) that exchanges only rows of the same label."""
    order = np.argsort(labels, kind="stable")
    drawn = np.lexsort((rng.random(len(labels)), labels))
    out = np.empty_like(order)
    out[order] = drawn
    return out
