"""Which rows may change places under the hypothesis that modalities are unrelated."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.arrays import check_choice
from triptych.errors import ParameterError, ShapeError

Shuffle = Callable[[np.random.Generator], NDArray[np.intp]]


def check_groups(groups: ArrayLike | None, exchange: str, n: int) -> NDArray[np.intp] | None:
    """Labels (n,) of rows that belong together, numbered from 0; ``None`` for none."""
    check_choice("exchange", exchange, ("whole", "within"))
    if groups is None:
        return None
    labels = np.asarray(groups)
    if labels.shape != (n,):
        raise ShapeError(f"groups: expected one label for each of {n} rows, got {labels.shape}.")
    place: NDArray[np.intp] = np.unique(labels, return_inverse=True)[1]
    return place


def shuffle_of(n: int, groups: NDArray[np.intp] | None, exchange: str) -> Shuffle:
    """What draws an order of n rows.

    Args:
        n: Rows.
        groups: From :func:`check_groups`; rows are free without them.
        exchange: ``"whole"`` groups of the same size change places, rows in their order; or rows
            ``"within"`` each group.

    Raises:
        ParameterError: Groups that cannot change places.
    """
    if groups is None:
        return lambda random: random.permutation(n)
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    return _within(members) if exchange == "within" else _whole(members)


def _within(members: list[NDArray[np.intp]]) -> Shuffle:
    if all(len(rows) < 2 for rows in members):
        raise ParameterError("groups: every group has one row, so nothing changes places within.")

    def shuffle(random: np.random.Generator) -> NDArray[np.intp]:
        order = np.empty(sum(map(len, members)), dtype=np.intp)
        for rows in members:
            order[rows] = random.permutation(rows)
        return order

    return shuffle


def _whole(members: list[NDArray[np.intp]]) -> Shuffle:
    sizes = np.array([len(rows) for rows in members])
    alike = [np.flatnonzero(sizes == size) for size in np.unique(sizes)]
    if all(len(some) < 2 for some in alike):
        raise ParameterError(
            "groups: whole groups change places with groups of the same size, and no two have "
            "the same; exchange='within' permutes rows inside groups."
        )

    def shuffle(random: np.random.Generator) -> NDArray[np.intp]:
        order = np.empty(int(sizes.sum()), dtype=np.intp)
        for some in alike:
            for here, there in zip(some, random.permutation(some), strict=True):
                order[members[here]] = members[there]
        return order

    return shuffle
