"""What readers and loaders return: modalities with labels, ids, groups and splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import as_labels
from triptych.errors import DataError, ParameterError, ShapeError
from triptych.modalities import Modalities

PARTS = ("train", "valid", "test", "")


@dataclass(frozen=True)
class Dataset:
    """Modalities and what is known about their rows.

    Args:
        X: The modalities, n rows.
        labels: Named arrays (n,): classes or numbers.
        ids: Names of the rows (n,), unique, or ``None``.
        groups: Rows of one group (n,) belong together (pictures of one character), or ``None``.
        splits: By name of the split, an array (n,) of ``"train"``, ``"valid"``, ``"test"`` or
            ``""`` (in none).
        name: What to call the data in tables.
    """

    X: Modalities
    labels: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    ids: NDArray[Any] | None = None
    groups: NDArray[Any] | None = None
    splits: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    name: str = "data"

    def __post_init__(self) -> None:
        n = len(self.X)
        labels = {name: as_labels(v, n, f"label {name!r}") for name, v in self.labels.items()}
        object.__setattr__(self, "labels", labels)  # frozen; a column (n, 1) is now flat
        splits = {name: as_labels(v, n, f"split {name!r}") for name, v in self.splits.items()}
        object.__setattr__(self, "splits", splits)
        for name, parts in self.splits.items():
            unknown = sorted(set(np.unique(parts).tolist()) - set(PARTS))
            if unknown:
                raise DataError(
                    f"split {name!r}: rows are 'train', 'valid', 'test' or ''; got {unknown[:3]}."
                )
        for word, entries in (("ids", self.ids), ("groups", self.groups)):
            if entries is not None and len(entries) != n:
                raise ShapeError(f"{word}: expected {n} entries, got {len(entries)}.")
        if self.ids is not None:
            as_labels(self.ids, n, "ids")
        if self.ids is not None and len(np.unique(self.ids)) != n:
            ids, counts = np.unique(self.ids, return_counts=True)
            raise DataError(f"ids: expected unique ids, got {ids[counts > 1][0].item()!r} twice.")

    def __len__(self) -> int:
        return len(self.X)

    def __repr__(self) -> str:
        known = {"labels": list(self.labels), "splits": list(self.splits)}
        more = "".join(f", {word} {names}" for word, names in known.items() if names)
        return f"Dataset({self.name!r}, {self.X!r}{more})"

    def __getitem__(self, rows: Any) -> Dataset:
        """The data set of some rows (slice, indices or mask)."""

        def take(values: NDArray[Any] | None) -> Any:
            return None if values is None else np.asarray(values)[rows]

        return Dataset(
            X=self.X[rows],
            labels={name: take(v) for name, v in self.labels.items()},
            ids=take(self.ids),
            groups=take(self.groups),
            splits={name: take(v) for name, v in self.splits.items()},
            name=self.name,
        )

    def part(self, part: str, split: str | None = None) -> Dataset:
        """Rows of one part of a split.

        Args:
            part: ``"train"``, ``"valid"`` or ``"test"``.
            split: Name of the split; the first one when left out.
        """
        if not self.splits:
            raise ParameterError(f"data set {self.name!r} has no split.")
        chosen = next(iter(self.splits)) if split is None else split
        if chosen not in self.splits:
            raise ParameterError(f"split: expected one of {list(self.splits)}, got {split!r}.")
        if part not in PARTS[:3]:
            raise ParameterError(f"part: expected one of {PARTS[:3]}, got {part!r}.")
        return self[np.asarray(self.splits[chosen]) == part]
