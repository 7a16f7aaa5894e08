"""From what a user gives to rows that are read in blocks, in memory or by Dask."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import check_finite, is_dask, is_lazy, is_sparse, refuse_not_finite
from triptych.blocks import Rows, spans
from triptych.errors import CapabilityError, DataError, ModalityError, ShapeError
from triptych.features import Features, fit_features
from triptych.modalities import Kind, Modalities, as_modalities
from triptych.moments import SINGLE_WORK, Moments, gather

Data = Mapping[str, Any] | Modalities


def gate(X: Data, confounds: str | None, check: Callable[[Modalities], Modalities]) -> Modalities:
    """Two modalities that pass ``check``, and the confounds beside them if there are any."""
    data = as_modalities(X, look=False)
    if confounds is None:
        return check(data)
    others = [name for name in data.names if name != confounds]
    if confounds not in data or not others:
        raise ModalityError(
            f"confounds: expected a modality {confounds!r} beside two others; got "
            f"{list(data.names)}."
        )
    check(data.select(*others))
    if not data.present[confounds].any():
        raise DataError(f"modality {confounds!r} is absent in all {len(data)} rows.")
    return data


def complete_rows(X: Modalities) -> NDArray[np.bool_]:
    """Rows that have every modality, (n,). Values that will not be read are looked at here."""
    both: NDArray[np.bool_] = np.all(np.stack(list(X.present.values())), axis=0)
    if not both.all():
        for name in X.names:
            held, rows = X.stored(name)
            if rows is None and not isinstance(held, list) and not is_dask(held):
                check_finite(held, name, X.present[name])
    return both


class Reading:
    """The complete rows of modalities, ready to be read in blocks as often as needed.

    Args:
        X: Two modalities, perhaps confounds; at least 2 complete rows.
    """

    def __init__(self, X: Modalities, *, least: int = 2) -> None:
        both = complete_rows(X)
        if both.sum() < least:
            raise DataError(f"CCA needs 2 rows with both modalities; got {int(both.sum())}.")
        self.X, self.n = X, int(both.sum())
        pairs = X if both.all() else X[both]
        self.features: dict[str, Features] = fit_features(pairs)
        self.names = tuple(sorted(X.names))
        self.lazy = any(is_dask(X.stored(name)[0]) for name in X.names)
        self.widths = {name: self.features[name].n_features for name in self.names}
        self._both = both
        self._sources: list[Rows] | None = None

    @property
    def sources(self) -> list[Rows]:
        """Rows of each modality in memory or in files; Dask arrays are computed."""
        if self._sources is None:
            self._sources = [self._rows(name) for name in self.names]
        return self._sources

    def looked_at(self) -> list[Rows]:
        """The sources, once no NaN or infinity is among their numbers."""
        self.refuse()
        return self.sources

    def _rows(self, name: str) -> Rows:
        held, rows = self.X.stored(name)
        if is_dask(held):
            declared = self.X[name]
            held, rows = _as_declared(np.asarray(declared), name, declared.shape), None
        if not self._both.all():
            stored = len(held) if isinstance(held, list) else held.shape[0]
            index = np.arange(stored) if rows is None else np.arange(stored)[rows]
            rows = index[self._both]
        vectors = self.X.kind(name).form == "vector" and not isinstance(held, list)
        return Rows(name, held, self.widths[name], rows, None if vectors else self.features[name])

    def gather(self, **how: Any) -> Moments:
        """Moments of all rows; ``how`` as in :func:`triptych.moments.gather`."""
        read = self._gather_lazily if self.lazy else self._gather
        found = read(**how)
        if not found.finite:
            self.refuse()
            found = read(**{**how, "single": False})  # a square overflowed float32
        if not found.finite:
            raise overflow(self.names)
        return found

    def _gather(self, **how: Any) -> Moments:
        return gather(self.sources, **how)

    def _gather_lazily(self, **how: Any) -> Moments:
        dask = importlib.import_module("dask")

        if how.get("single") is None and "mixed" not in how:
            kinds = [self.X.stored(name)[0].dtype for name in self.names]
            work = self.n * sum(self.widths.values()) ** 2
            how["single"] = all(k == np.float32 for k in kinds) and work >= SINGLE_WORK
        parts = [
            dask.delayed(_moments_of_block)(self.names, blocks, readers, keep, how)
            for blocks, readers, keep, _ in self._delayed_blocks()
        ]
        join = dask.delayed(_merge)
        while len(parts) > 1:  # a tree, so that no worker has to hold all
            parts = [join(parts[k : k + 4]) for k in range(0, len(parts), 4)]
        (found,) = dask.compute(parts[0])
        return found  # type: ignore[no-any-return]

    def _delayed_blocks(self) -> list[tuple[list[Any], list[Any], Any, int]]:
        dask = importlib.import_module("dask")

        data = {name: self.X[name] for name in self.names}
        first = next(values for values in data.values() if is_dask(values))
        chunks = first.chunks[0]
        starts = np.concatenate([[0], np.cumsum(chunks)])
        columns: dict[str, list[Any]] = {}
        readers = []
        for name in self.names:
            values = data[name]
            vectors = self.X.kind(name).form == "vector" and not isinstance(values, list)
            readers.append(None if vectors else self.features[name])
            if is_dask(values):
                whole = dict.fromkeys(range(1, values.ndim), -1)
                blocks = values.rechunk({0: chunks, **whole}).to_delayed().reshape(-1)
                check = dask.delayed(_as_declared)
                columns[name] = [
                    check(block, name, (rows, *values.shape[1:]))
                    for block, rows in zip(blocks, chunks, strict=True)
                ]
            else:
                columns[name] = [dask.delayed(values[low:high]) for low, high in pairwise(starts)]
        found = []
        for k, low in enumerate(starts[:-1]):
            keep = self._both[low : starts[k + 1]]
            if keep.any():
                blocks = [columns[name][k] for name in self.names]
                found.append((blocks, readers, None if keep.all() else keep, int(low)))
        return found

    def refuse(self) -> None:
        """Name the first NaN or infinity, if there is one."""
        if self.lazy:
            dask = importlib.import_module("dask")

            for blocks, readers, keep, low in self._delayed_blocks():
                for name, block, reader in zip(self.names, blocks, readers, strict=True):
                    (values,) = dask.compute(block)
                    if reader is None:
                        _refuse_block(name, values, keep, low)
            return
        for source in self.sources:
            for low, high in spans([source], source.width):
                block = source.block(low, high)
                index = (
                    np.arange(source.start + low, source.start + high)
                    if source.index is None
                    else source.index[low:high]
                )
                values = block.data if is_sparse(block) else np.asarray(block)
                if np.isfinite(values).all():
                    continue
                if source.reader is not None:
                    check_finite(source.data, source.name)
                dense = np.asarray(block.toarray() if is_sparse(block) else block)
                row, column = (int(i) for i in np.argwhere(~np.isfinite(dense))[0])
                refuse_not_finite(source.name, dense[row, column], int(index[row]), (column,))


def overflow(names: Sequence[str]) -> DataError:
    """All numbers are finite, and what follows from them is not."""
    return DataError(
        f"modalities {list(names)}: numbers so far apart in size that their squares overflow; "
        "rescale the columns or leave out what is too large."
    )


def batch_moments(
    X: Data, confounds: str | None, kinds: Mapping[str, Kind] | None, method: str
) -> tuple[Modalities, Moments]:
    """A batch, checked against what the batches before were, and its moments."""
    data = as_modalities(X)
    wanted = 2 if confounds is None else 3
    if len(data.names) != wanted or (confounds is not None and confounds not in data):
        beside = "" if confounds is None else f" and the confounds {confounds!r}"
        raise ModalityError(f"{method} takes two modalities{beside}; got {list(data.names)}.")
    check_batch(data, kinds, method)
    if not complete_rows(data).any():
        empty = [Rows(n, np.zeros((1, _width(data, n))), _width(data, n)) for n in sorted(data)]
        zero = gather(empty)
        return data, Moments(**{**vars(zero), "n": 0})
    return data, Reading(data, least=1).gather()


def check_batch(data: Modalities, kinds: Mapping[str, Kind] | None, method: str) -> None:
    """Refuse a batch that does not go on from those before, or cannot be learnt from alone."""
    if kinds is not None and set(kinds) != set(data.names):
        raise ModalityError(
            f"expected the modalities of the batches before, {list(kinds)}; got "
            f"{list(data.names)}."
        )
    for name in data.names:
        kind = data.kind(name)
        if kind.form == "text":
            raise CapabilityError(
                f"{method}: the words of modality {name!r} are learnt from all texts at once; "
                "turn texts into vectors before they come in batches."
            )
        if kinds is not None and not _same(kind, kinds[name]):
            raise ShapeError(
                f"modality {name!r}: the batches before were {kinds[name]}, this one is {kind}."
            )
    for name in data.names:
        held, _ = data.stored(name)
        if is_lazy(held) and not is_dask(held):
            check_finite(held, name, data.present[name])


def _same(kind: Kind, before: Kind) -> bool:
    """Whether one has as many columns as the other; time may differ."""
    timed = kind.form in ("sequence", "waveform")
    skip = 1 if timed else 0
    return kind.form == before.form and kind.shape[skip:] == before.shape[skip:]


def _width(data: Modalities, name: str) -> int:
    return fit_features(data.select(name))[name].n_features


def _moments_of_block(
    names: Sequence[str],
    blocks: Sequence[Any],
    readers: Sequence[Any],
    keep: NDArray[np.bool_] | None,
    how: Mapping[str, Any],
) -> Moments:
    rows = None if keep is None else np.flatnonzero(keep)
    sources = []
    for name, block, reader in zip(names, blocks, readers, strict=True):
        width = block.shape[1] if reader is None else reader.n_features
        sources.append(Rows(name, block, width, rows, reader))
    return gather(sources, **how)


def _as_declared(values: Any, name: str, shape: tuple[int, ...]) -> Any:
    """What Dask computed, if it has the shape that it was said to have."""
    if values.shape != shape:
        raise ShapeError(
            f"modality {name!r}: rows that a Dask array declares as {shape} turned out to be "
            f"{values.shape}; name the shape that its blocks have, as in "
            "map_blocks(..., chunks=...)."
        )
    return values


def _merge(parts: Sequence[Moments]) -> Moments:
    found = parts[0]
    for part in parts[1:]:
        found = found.merged(part)
    return found


def _refuse_block(name: str, values: Any, keep: NDArray[np.bool_] | None, low: int) -> None:
    dense = np.asarray(values.toarray() if is_sparse(values) else values)
    bad = ~np.isfinite(dense)
    if keep is not None:
        bad[~keep] = False
    if bad.any():
        row, *rest = (int(i) for i in np.argwhere(bad)[0])
        refuse_not_finite(name, dense[(row, *rest)], low + row, tuple(rest))
