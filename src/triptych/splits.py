"""Rows to learn from, to watch and to judge by, drawn so that groups stay whole."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import check_choice, check_number
from triptych.dataset import Dataset
from triptych.errors import DataError, ParameterError
from triptych.seeding import check_random_state, derive


def split_dataset(
    dataset: Dataset,
    test: float = 0.2,
    valid: float = 0.1,
    random_state: int | None = 0,
    label: str | None = None,
    name: str = "random",
) -> Dataset:
    """The data set with one more split, which becomes the first.

    Rows of one group go to the same part, so shares are of groups, or of rows where there are no
    groups. With a label its classes have the same shares in all parts, as far as groups allow: a
    group counts as the class of most of its rows. Classes too rare to be in every part are drawn
    together.

    Args:
        dataset: The rows; they stay in their order.
        test: Share to judge by, > 0.
        valid: Share to watch, 0 for none.
        random_state: Seed of the draw.
        label: Label with classes to keep in proportion; none when left out.
        name: Of the split.

    Raises:
        DataError: Too few rows or groups to give every part one.
        ParameterError: Shares that leave nothing to learn from, or an unknown label.
    """
    from sklearn.model_selection import train_test_split

    check_number("test", test, low=0, high=1, open_low=True)
    check_number("valid", valid, low=0, high=1)
    if test + valid >= 1:
        raise ParameterError(f"test + valid: expected less than 1, got {test} + {valid}.")
    if label is not None:
        check_choice("label", label, tuple(dataset.labels))
    seed = check_random_state(random_state)
    rows = np.arange(len(dataset))
    groups = rows if dataset.groups is None else np.asarray(dataset.groups)
    unit = np.unique(groups, return_inverse=True)[1].reshape(-1)  # (n,)
    n = int(unit.max()) + 1 if len(unit) else 0
    counts = {"test": max(1, round(test * n)), "valid": max(1, round(valid * n)) if valid else 0}
    if n - sum(counts.values()) < 1:
        what = "rows" if dataset.groups is None else "groups"
        raise DataError(
            f"data set {dataset.name!r}: expected {what} for every part, got {n} in all."
        )
    strata = np.zeros(n, dtype=int)
    if label is not None:
        strata = _classes(unit, np.asarray(dataset.labels[label]))

    parts = np.full(n, "train")
    left = np.arange(n)
    for part, count in counts.items():
        if count:
            left, taken = train_test_split(
                left,
                test_size=count,
                random_state=derive(seed, "split", part),
                stratify=_drawable(strata[left], count),
            )
            parts[taken] = part
    others = {key: values for key, values in dataset.splits.items() if key != name}
    return dataclasses.replace(dataset, splits={name: parts[unit], **others})


def _classes(unit: NDArray[np.intp], labels: NDArray[Any]) -> NDArray[np.intp]:
    """Class of each unit (u,): that of most of its rows."""
    if labels.ndim != 1:
        raise ParameterError(f"label: expected one class per row, got shape {labels.shape}.")
    names, code = np.unique(labels, return_inverse=True)
    votes = np.zeros((int(unit.max()) + 1, len(names)), dtype=np.int64)
    np.add.at(votes, (unit, code), 1)
    majority: NDArray[np.intp] = votes.argmax(axis=1)
    return majority


def _drawable(strata: NDArray[np.intp], count: int) -> NDArray[np.intp] | None:
    """Strata that can be divided, the rare ones as one, or ``None`` if there are none.

    Drawing in proportion needs two of each class, and a place for each on both sides.
    """
    rare = np.bincount(strata)[strata] < max(2, len(strata) / min(count, len(strata) - count))
    joined = np.where(rare, -1, strata)
    if 0 < rare.sum() < 2:
        joined = np.where(rare, strata[~rare][0] if (~rare).any() else -1, strata)
    kinds = len(np.unique(joined))
    return joined if 1 < kinds <= min(count, len(strata) - count) else None
