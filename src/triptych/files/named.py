"""From arrays under names to a data set: the one rule that all readers share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.dataset import Dataset
from triptych.errors import DataError, ModalityError, ParameterError, ShapeError
from triptych.modalities import FORMS, Modalities

ENDINGS = ("present", "lengths", "kind")
SPECIAL = ("id", "group", "split")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file's name before what is wrong with its data."""
    try:
        yield
    except DataError as error:
        raise type(error)(f"{path}: {error}") from error


def role(key: str) -> tuple[str, str]:
    """What an entry is, and its name without the sign for that.

    Example:
        >>> [role(k) for k in ("image", "image__present", "label:kind", "split", "id")]
        [('modality', 'image'), ('present', 'image'), ('label', 'kind'), ('split', 'split'),
         ('id', 'id')]
    """
    if key in SPECIAL:
        return key, key
    for word in ("label", "split"):
        if key.startswith(f"{word}:"):
            return word, key[len(word) + 1 :]
    name, mark, ending = key.rpartition("__")
    if mark and name and ending in ENDINGS:
        return ending, name
    for word in ("label", "split"):
        if key.startswith(f"{word}__"):
            return word, key[len(word) + 2 :]
    return "modality", key


def assemble(
    entries: Mapping[str, NDArray[Any]],
    path: Path,
    modalities: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
) -> Dataset:
    """The data set that named arrays make.

    Args:
        entries: Arrays by key, in the order of the modalities; memory-mapped ones stay so.
        path: Where they come from, for errors and the data set's name.
        modalities: Names to keep; all when left out.
        labels: Names to keep; all when left out.
    """
    with naming(path):
        found: dict[str, dict[str, Any]] = {}
        for key, values in entries.items():
            what, name = role(key)
            if not name:
                raise DataError(f"key {key!r}: a name must follow.")
            if name in found.setdefault(what, {}):
                raise DataError(f"key {key!r}: {what} {name!r} is there twice.")
            if values.ndim == 0 and what != "kind":
                raise ShapeError(f"key {key!r}: expected an entry for each row, got one value.")
            found[what][name] = values if what == "modality" else _plain(key, values)
        data = found.get("modality", {})
        if not data:
            raise ModalityError(f"no modality among the keys {list(entries)}.")
        for ending in ENDINGS:
            for name in found.get(ending, {}):
                if name not in data:
                    raise ModalityError(
                        f"key '{name}__{ending}': {name!r} is not a modality; there are "
                        f"{list(data)}."
                    )
        kept = _keep("modalities", data, modalities)
        present = {n: m for n, m in found.get("present", {}).items() if n in kept}
        lengths = found.get("lengths", {})
        kinds = {name: _kind(name, v) for name, v in found.get("kind", {}).items() if name in kept}
        X = Modalities(
            {
                name: _values(name, values, lengths.get(name), present.get(name))
                for name, values in kept.items()
            },
            present=present,
            kinds=kinds,
        )
        if len(X) == 0:
            raise DataError("expected rows, got none.")
        ids, groups = found.get("id", {}).get("id"), found.get("group", {}).get("group")
        for word, entry in (("id", ids), ("group", groups)):
            if entry is not None and entry.ndim != 1:
                raise ShapeError(f"key {word!r}: expected shape ({len(X)},), got {entry.shape}.")
        return Dataset(
            X,
            labels=_keep("labels", found.get("label", {}), labels),
            ids=ids,
            groups=groups,
            splits=found.get("split", {}),
            name=path.stem or path.resolve().name,
        )


def _keep(word: str, there: Mapping[str, Any], wanted: Sequence[str] | None) -> dict[str, Any]:
    if wanted is None:
        return dict(there)
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in names:
        if name not in there:
            raise ParameterError(f"{word}: expected some of {list(there)}, got {name!r}.")
    return {name: there[name] for name in names}


def _kind(name: str, values: NDArray[Any]) -> str:
    form = str(values) if values.ndim == 0 else ""
    if form not in FORMS:
        raise DataError(f"key '{name}__kind': expected one of {FORMS}, got {values.tolist()!r}.")
    return form


def _plain(key: str, values: NDArray[Any]) -> NDArray[Any]:
    """In memory, and bytes as text."""
    if values.dtype.kind == "S":
        flat = [_decode(key, row, v) for row, v in enumerate(values.ravel().tolist())]
        return np.array(flat, dtype=np.str_).reshape(values.shape)
    return np.array(values)


def _decode(key: str, row: int, value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"key {key!r}, row {row}: expected text in UTF-8; {error}.") from error


def _values(
    name: str,
    values: NDArray[Any],
    lengths: NDArray[Any] | None,
    present: NDArray[Any] | None,
) -> Any:
    if values.dtype.kind in "US":
        if values.ndim != 1:
            raise ShapeError(
                f"modality {name!r}: expected one text per row (n,), got shape {values.shape}."
            )
        return _plain(name, values).tolist()
    if lengths is None:
        return values
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 0).any():
        raise DataError(f"key '{name}__lengths': expected whole numbers >= 0, one per row.")
    if int(lengths.sum()) != len(values) or values.ndim > 2:
        raise ShapeError(
            f"modality {name!r}: its lengths add up to {int(lengths.sum())}, "
            f"but the array has shape {values.shape}."
        )
    if present is not None and present.shape != lengths.shape:
        raise ShapeError(
            f"key '{name}__present': expected {len(lengths)} rows, got shape {present.shape}."
        )
    pieces: list[Any] = np.split(np.asarray(values), np.cumsum(lengths)[:-1])
    if present is None:
        return pieces
    return [piece if here else None for piece, here in zip(pieces, present, strict=True)]
