"""Rows of one modality read block by block, wherever they lie, without a copy of the whole."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import is_sparse

# A block of 4096 rows keeps BLAS busy; wide rows come in blocks of about this many numbers.
BLOCK_ROWS, BLOCK_SIZE = 4096, 1 << 23
PILOT_ROWS, FAR_ROWS = 512, 32


class Reader(Protocol):
    """Turns stored rows into vectors, as :class:`triptych.features.Features` does."""

    def transform(self, data: Any) -> Any:
        """Vectors (k, p) of stored rows."""


class Rows:
    """The rows of one modality as a table (n, p), read in blocks.

    Args:
        name: Modality.
        data: Array, memory-mapped array, SciPy sparse matrix or list; the whole store.
        width: Columns p.
        rows: Which rows of the store, in order: a slice of step 1, indices, or ``None`` for all.
        reader: Turns stored rows into vectors; ``None`` where they are vectors already.
    """

    def __init__(
        self,
        name: str,
        data: Any,
        width: int,
        rows: NDArray[np.intp] | slice | None = None,
        reader: Reader | None = None,
    ) -> None:
        self.name, self.data, self.width, self.reader = name, data, width, reader
        stored = len(data) if isinstance(data, list) else int(data.shape[0])
        if rows is None or isinstance(rows, slice):
            start, stop, step = (slice(None) if rows is None else rows).indices(stored)
            self.index: NDArray[np.intp] | None = (
                None if step == 1 else np.arange(start, stop, step)
            )
            self.start, self.n = start, len(range(start, stop, step))
        else:
            self.index, self.start, self.n = rows, 0, len(rows)
        self._map = _mapped(data) if self.index is None and reader is None else None

    @property
    def sparse(self) -> bool:
        """Whether blocks may come as sparse matrices."""
        return is_sparse(self.data) if self.reader is None else is_sparse(self.block(0, 1))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the numbers in blocks."""
        found: np.dtype[Any] = (self.data if self.reader is None else self.block(0, 1)).dtype
        return found

    def block(self, low: int, high: int) -> Any:
        """Rows low <= i < high: array (k, p), a view where possible, or SciPy CSR matrix."""
        if self.index is None:
            part: Any = self.data[self.start + low : self.start + high]
        elif isinstance(self.data, list):
            part = [self.data[i] for i in self.index[low:high]]
        else:
            part = self.data[self.index[low:high]]
        return part if self.reader is None else self.reader.transform(part)

    def some(self, most: int = PILOT_ROWS) -> NDArray[Any]:
        """At most so many rows, evenly spaced, as a dense array."""
        count = min(self.n, most)
        at = np.unique(np.linspace(0, self.n - 1, count).astype(np.intp))
        if self._map is not None:
            # A row of a file may bring 2 MiB around it into memory, so a few are read at a time.
            parts = []
            for low in range(0, len(at), FAR_ROWS):
                parts.append(self.data[self.start + at[low : low + FAR_ROWS]])
                self.release(0, self.n)
            return np.concatenate(parts)
        picked = Rows(
            self.name,
            self.data,
            self.width,
            self.start + at if self.index is None else self.index[at],
            self.reader,
        )
        part = picked.block(0, len(at))
        return np.asarray(part.toarray() if is_sparse(part) else part)

    def release(self, low: int, high: int) -> None:
        """Give memory of a mapped file back once a block is read: what is clean can come again."""
        if self._map is None:
            return
        held, offset = self._map
        width = self.data.strides[0]
        first = -(-(offset + (self.start + low) * width) // mmap.PAGESIZE) * mmap.PAGESIZE
        last = (offset + (self.start + high) * width) // mmap.PAGESIZE * mmap.PAGESIZE
        if last > first:
            held.madvise(mmap.MADV_DONTNEED, first, last - first)

    def ahead(self, low: int, high: int) -> None:
        """Ask the system to read a block of a mapped file while another is worked on."""
        if self._map is None or low >= self.n:
            return
        held, offset = self._map
        width = self.data.strides[0]
        first = (offset + (self.start + low) * width) // mmap.PAGESIZE * mmap.PAGESIZE
        last = min(offset + (self.start + min(high, self.n)) * width, len(held))
        held.madvise(mmap.MADV_WILLNEED, first, last - first)


def spans(sources: list[Rows], columns: int) -> Iterator[tuple[int, int]]:
    """Ends of the blocks in which sources of equal length are read together."""
    step = max(min(BLOCK_ROWS, BLOCK_SIZE // max(columns, 1)), 256)
    for low in range(0, sources[0].n, step):
        yield low, min(low + step, sources[0].n)


def _mapped(data: Any) -> tuple[mmap.mmap, int] | None:
    """The map behind an array read from a file, and where in it the array begins."""
    if not isinstance(data, np.memmap) or not hasattr(mmap.mmap, "madvise"):
        return None
    held = getattr(data, "_mmap", None)
    # Pages of a private map (mode "c") may hold changes that exist nowhere else.
    if not isinstance(held, mmap.mmap) or data.mode == "c" or not data.flags.c_contiguous:
        return None
    whole = np.frombuffer(held, dtype=np.uint8)
    offset = data.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    return held, int(offset)
