"""Batches: rows of all modalities as tensors, taken from memory by whole-tensor indexing."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from triptych.arrays import is_dask, is_lazy
from triptych.errors import DataError
from triptych.media import FileRows, loaded
from triptych.modalities import Modalities
from triptych.seeding import derive
from triptych.training.settings import Training

# Largest standardised value: its fourth power is a finite float32 still.
FARTHEST = 1e9


class Reader(Protocol):
    """Turns a modality's data into tensors (see :mod:`triptych.nn.inputs`)."""

    def tensors(self, data: Any, present: NDArray[np.bool_]) -> tuple[Tensor, Tensor | None]:
        """Compact values (n, ...) and lengths (n,) or ``None``."""
        ...

    def ready(self, values: Tensor) -> Tensor:
        """Values as the encoder reads them."""
        ...


@dataclass
class Batch:
    """Rows as tensors.

    Args:
        values: By modality, (b, ...) as the encoders read them; zero where absent.
        lengths: True lengths (b,) of sequences and texts.
        present: Boolean (b,) by modality.
        rows: Where the rows stand in the training set, (b,); methods with a state per row use it.
        content: By modality, an id (b,) that is equal where the content is equal.
        y: Labels (b,) or ``None``.
        share: Share, in (0, 1], of all the rows that batches are taken from, that have every
            modality named; ``None`` where that is not known.
    """

    values: dict[str, Tensor]
    lengths: dict[str, Tensor]
    present: dict[str, Tensor]
    rows: Tensor
    content: dict[str, Tensor] = field(default_factory=dict)
    y: Tensor | None = None
    share: Callable[..., float] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def mean(self, each: Tensor, rows: Tensor, *names: str) -> Tensor:
        """Mean of ``each`` (k,) over those k of ``rows`` (b,) that have all of ``names``.

        Divided by as many as a batch of this size has in the mean, so that batches, by their
        size, add up to the mean over all rows, in whatever order they come.
        """
        if self.share is None:
            return each.sum() / rows.sum().clamp_min(1)
        return each.sum() / (len(self) * self.share(*names))

    @property
    def names(self) -> tuple[str, ...]:
        """Modalities of this batch."""
        return tuple(self.present)

    @property
    def complete(self) -> bool:
        """Whether every row has every modality."""
        return all(bool(mask.all()) for mask in self.present.values())

    def part(self, rows: slice | Tensor) -> Batch:
        """Some rows of the batch."""
        return Batch(
            {m: v[rows] for m, v in self.values.items()},
            {m: v[rows] for m, v in self.lengths.items()},
            {m: v[rows] for m, v in self.present.items()},
            self.rows[rows],
            {m: v[rows] for m, v in self.content.items()},
            None if self.y is None else self.y[rows],
        )


class Rows:
    """All rows of some modalities, from which batches are taken.

    Data in memory become tensors once; memory-mapped data and files are read batch by batch.

    Args:
        X: Modalities.
        readers: By modality.
        y: Labels as numbers (n,), or ``None``.
        content: Whether ids of equal content are needed.
        first: What the first row is called in errors.

    Raises:
        DataError: A value lies too far from the training data to compute with.
    """

    def __init__(
        self,
        X: Modalities,
        readers: Mapping[str, Reader],
        y: NDArray[Any] | None = None,
        *,
        content: bool = False,
        first: int = 0,
    ) -> None:
        self.first = first
        self.readers = {name: readers[name] for name in sorted(X.names)}
        self.n = len(X)
        present = X.present
        self.present = {m: torch.from_numpy(np.array(present[m])) for m in self.readers}
        self.always = {m: bool(present[m].all()) for m in self.readers}
        self.shares: dict[tuple[str, ...], float] = {}
        self.stored: dict[str, tuple[Tensor, Tensor | None]] = {}
        self.lazy: dict[str, Modalities] = {}
        for name in self.readers:
            base = X._data[name]
            if is_lazy(base) and not is_dask(base):
                self.lazy[name] = X.select(name)
            else:
                data = np.asarray(X[name]) if is_dask(base) else X[name]
                self.stored[name] = self._read(name, data, present[name], np.arange(self.n))
        self.y = None if y is None else torch.from_numpy(np.asarray(y))
        self.content = (
            {m: torch.from_numpy(content_ids(X[m], present[m])) for m in self.readers}
            if content
            else {}
        )

    def __len__(self) -> int:
        return self.n

    def share(self, *names: str) -> float:
        """Share of rows that have all these modalities; 1 where none has."""
        if all(self.always[m] for m in names):
            return 1.0
        if names not in self.shares:
            there = int(torch.stack([self.present[m] for m in names]).all(0).sum())
            self.shares[names] = there / self.n or 1.0
        return self.shares[names]

    def take(
        self, rows: NDArray[np.intp], device: torch.device | str = "cpu", *, values: bool = True
    ) -> Batch:
        """A batch of these rows on a device; without ``values`` what a loss of codes asks."""
        at = torch.from_numpy(np.ascontiguousarray(rows))
        read: dict[str, Tensor] = {}
        lengths, present = {}, {}
        for name, reader in self.readers.items():
            mask = self.present[name][at]
            present[name] = mask.to(device)
            if not values:
                continue
            if name in self.lazy:
                raw, length = self._read(name, self.lazy[name][rows][name], mask.numpy(), rows)
            else:
                stored, all_lengths = self.stored[name]
                # Whole rows are copied, where an index would be looked up entry by entry.
                raw = stored.index_select(0, at)
                length = None if all_lengths is None else all_lengths[at]
            if length is not None:
                raw = raw[:, : max(1, int(length.max()))]
                lengths[name] = length.to(device)
            ready = reader.ready(raw.to(device))
            if not self.always[name] and not bool(mask.all()):
                keep = mask.to(device).reshape(-1, *[1] * (ready.ndim - 1))
                ready = torch.where(keep, ready, torch.zeros_like(ready))
            read[name] = ready
        return Batch(
            read,
            lengths,
            present,
            at.to(device),
            {m: ids[at].to(device) for m, ids in self.content.items()},
            None if self.y is None else self.y[at].to(device),
            self.share,
        )

    def _read(
        self, name: str, data: Any, present: NDArray[np.bool_], rows: NDArray[np.intp]
    ) -> tuple[Tensor, Tensor | None]:
        reader = self.readers[name]
        # Files say more than their content, for instance at what rate a sound was taken.
        given = data if getattr(reader, "reads_files", False) else loaded(data)
        with np.errstate(over="ignore"):  # what becomes infinite here is refused below
            values, lengths = reader.tensors(given, present)
        self._check_range(name, values, rows)
        return values, lengths

    def _check_range(self, name: str, values: Tensor, rows: NDArray[np.intp]) -> None:
        """Refuse values (b, ...) of ``rows`` whose squares would overflow further on."""
        if not values.is_floating_point() or not values.numel():
            return
        least, most = torch.aminmax(values)
        if float(least) > -FARTHEST and float(most) < FARTHEST:
            return
        there = self.present[name][torch.from_numpy(np.ascontiguousarray(rows))]
        ready = self.readers[name].ready(values)
        far = ~(ready.abs() < FARTHEST).flatten(1) & there[:, None]
        if not bool(far.any()):
            return
        row, column = (int(v) for v in far.nonzero()[0])
        raise DataError(
            f"modality {name!r}, row {self.first + int(rows[row])}, value {column}: it lies more "
            f"than {FARTHEST:.0e} standard deviations from the mean of the training rows, too "
            "far to compute with."
        )


def content_ids(data: Any, present: NDArray[np.bool_]) -> NDArray[np.int64]:
    """An id (n,) per row, equal where the content is byte for byte equal; absent rows differ.

    Rows in files are compared by the bytes of their files, each of which is read once.
    """
    n = len(present)
    if isinstance(data, FileRows):
        keys: list[Any] = data.digests()
    elif isinstance(data, np.ndarray):
        flat = np.ascontiguousarray(data).reshape(n, -1)
        keys = flat.view([("", np.void, flat.shape[1] * flat.itemsize)])[:, 0].tolist()
    elif isinstance(data, list):
        keys = [v if isinstance(v, str) or v is None else v.tobytes() for v in data]
    else:
        csr = data.tocsr()
        keys = [(csr[i].indices.tobytes(), csr[i].data.tobytes()) for i in range(n)]
    seen: dict[Any, int] = {}
    ids = np.array([seen.setdefault(key, len(seen)) for key in keys], dtype=np.int64)
    absent = ~present
    ids[absent] = -1 - np.flatnonzero(absent)
    return ids


def order_of(seed: int, stream: str, epoch: int, n: int) -> NDArray[np.intp]:
    """The order of rows in one epoch; depends on nothing but its arguments."""
    return np.random.default_rng(derive(seed, "order", stream, epoch)).permutation(n)


def steps_per_epoch(n: int, batch_size: int, least: int = 2) -> int:
    """Batches in an epoch. A last batch of fewer than ``least`` rows is dropped.

    No loss across rows can use a batch of one row, and some need more rows than columns.
    """
    full, rest = divmod(n, batch_size)
    return max(1, full + (rest >= least))


def steps_in_training(n: int, settings: Training, least: int = 2) -> int:
    """Optimiser steps of a whole training on n rows, of which processes take equal shares."""
    shared = n - n % int(os.environ.get("WORLD_SIZE", "1"))
    size = settings.batch_size * settings.accumulate
    return steps_per_epoch(shared, size, least) * settings.epochs
