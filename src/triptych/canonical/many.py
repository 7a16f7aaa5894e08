"""Significance of correlations of any number of modalities, by permuting the rows of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.arrays import check_number
from triptych.canonical.permutation import PermutationTest
from triptych.canonical.shuffling import Shuffle, check_groups, shuffle_of
from triptych.errors import CapabilityError, DataError
from triptych.seeding import check_random_state, generator

Array = NDArray[np.float64]
Orders = Mapping[str, NDArray[np.intp]]


def permutation_of_many(
    correlations: Callable[[Orders], Array],
    present: Mapping[str, NDArray[np.bool_]],
    *,
    n_permutations: int = 999,
    groups: ArrayLike | None = None,
    exchange: str = "whole",
    random_state: int | None = 0,
) -> PermutationTest:
    """Ask how large correlations become by chance, for a method of two or more modalities.

    The rows of every modality but the first are permuted, each by itself, among the rows that
    have it. Every component is compared with the largest correlation of each permutation (the
    single-step maximum of Westfall and Young 1993): exact for the first component, and on the safe
    side for later ones, whose remainder has fewer directions.

    Args:
        correlations: From the order (n,) of each modality's rows to correlations (d,).
        present: By modality, which of the n rows have it.
        n_permutations: How many; the smallest p-value is 1 / (1 + n_permutations).
        groups: Labels (n,) of rows that belong together.
        exchange: ``"whole"`` groups of the same size change places, or rows ``"within"`` each.
        random_state: Seed of the permutations.

    Returns:
        A test with the statistic ``"largest"``; all columns of its ``null`` are equal.

    Raises:
        CapabilityError: Whole groups where rows lack modalities.
        DataError: Fewer than 2 rows.

    References:
        Westfall and Young 1993, Resampling-Based Multiple Testing, section 2.3.
    """
    check_number("n_permutations", n_permutations, low=1, integer=True)
    names = sorted(present)
    n = len(present[names[0]])
    if n < 2:
        raise DataError(f"permutation_test needs 2 rows; got {n}.")
    place = check_groups(groups, exchange, n)
    if place is not None and exchange == "whole" and not all(p.all() for p in present.values()):
        raise CapabilityError(
            "permutation_test: whole groups cannot change places where rows lack modalities. "
            "Take exchange='within', or no groups."
        )
    shuffles: dict[str, tuple[NDArray[np.intp], Shuffle]] = {}
    for name in names[1:]:
        rows = np.flatnonzero(present[name])
        own = None if place is None else place[rows]
        shuffles[name] = rows, shuffle_of(len(rows), own, exchange)
    same = {name: np.arange(n) for name in names}
    found = correlations(same)
    random = generator(check_random_state(random_state), "permutations")
    largest = np.empty(n_permutations)
    for i in range(n_permutations):
        orders = dict(same)
        for name, (rows, shuffle) in shuffles.items():
            orders[name] = same[name].copy()
            orders[name][rows] = rows[shuffle(random)]
        largest[i] = correlations(orders).max()
    # Ties count against us, and rounding must not break them.
    extreme = (largest[:, None] >= found - 1e-10).sum(axis=0)
    p = (1 + extreme) / (1 + n_permutations)
    return PermutationTest(
        statistic="largest",
        correlations=found,
        null=np.tile(largest[:, None], len(found)),
        p_values=p,
        p_values_fwe=np.maximum.accumulate(p),
        n_samples=n,
    )
