"""Readers and writers: npz archives, folders of npy files, and tables in CSV."""

from __future__ import annotations

import csv
import os
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.dataset import Dataset
from triptych.errors import DataError, FileError, ParameterError, TriptychError
from triptych.modalities import Modalities

PRESENT = "__present"


def read(
    path: str | Path,
    modalities: Mapping[str, str] | None = None,
    labels: Sequence[str] | None = None,
    ids: str | None = None,
) -> Dataset:
    """What a file or folder holds, by its form.

    Args:
        path: ``.npz`` archive, folder of ``.npy`` files, or ``.csv`` table.
        modalities: For CSV: ``{"words": "caption:text", "size": "width,height:vector"}``.
        labels: For CSV: columns that are labels.
        ids: For CSV: column that names the rows.

    Raises:
        FileError: No such file, or one that cannot be read; names line or key.
        DataError: Its contents cannot be used.
    """
    path = Path(path)
    if not path.exists():
        raise FileError(f"{path}: no such file or folder.")
    if path.suffix.lower() == ".csv":
        if not modalities:
            raise ParameterError(
                f"{path}: a table needs its modalities named, for instance "
                "words=caption:text or size=width,height:vector."
            )
        return read_csv(path, modalities, labels=labels or (), ids=ids)
    if modalities:
        raise ParameterError(f"{path}: modalities are named by the file; naming is for CSV.")
    if path.is_dir():
        return read_npy_folder(path)
    if path.suffix.lower() == ".npz":
        return read_npz(path)
    raise FileError(f"{path}: expected .npz, .csv or a folder of .npy files.")


def read_npz(path: str | Path) -> Dataset:
    """An archive of arrays; no pickle is ever loaded.

    Keys: ``label:<name>``, ``id``, ``group``, ``split`` or ``split:<name>``, ``<name>__present``;
    everything else is a modality.
    """
    path = Path(path)
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for key in archive.files:
                try:
                    arrays[key] = archive[key]
                except ValueError as error:
                    raise FileError(f"{path}: key {key!r} cannot be read: {error}.") from error
    except FileError:
        raise
    except (OSError, ValueError, zipfile.BadZipFile, EOFError, TypeError) as error:
        raise FileError(f"{path} is not an npz archive that can be read: {error}.") from error
    return _assemble(arrays, path)


def read_npy_folder(path: str | Path) -> Dataset:
    """A folder of ``.npy`` files, one per key as in :func:`read_npz`; numbers are memory-mapped."""
    path = Path(path)
    arrays: dict[str, NDArray[Any]] = {}
    for file in sorted(path.glob("*.npy")):
        try:
            arrays[file.stem] = np.load(file, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise FileError(f"{file} cannot be read: {error}.") from error
        if arrays[file.stem].dtype.kind not in "biuf":
            arrays[file.stem] = np.asarray(arrays[file.stem])
    if not arrays:
        raise FileError(f"{path}: no .npy files in this folder.")
    return _assemble(arrays, path)


def _assemble(arrays: Mapping[str, NDArray[Any]], path: Path) -> Dataset:
    data: dict[str, Any] = {}
    present: dict[str, Any] = {}
    labels: dict[str, Any] = {}
    splits: dict[str, Any] = {}
    ids = groups = None
    for key, values in arrays.items():
        if key.startswith("label:"):
            labels[key.removeprefix("label:")] = np.asarray(values)
        elif key == "split" or key.startswith("split:"):
            splits[key.removeprefix("split:")] = np.asarray(values)
        elif key == "id":
            ids = np.asarray(values)
        elif key == "group":
            groups = np.asarray(values)
        elif key.endswith(PRESENT):
            present[key.removesuffix(PRESENT)] = np.asarray(values)
        else:
            data[key] = values
    if not data:
        raise FileError(f"{path}: no modality among its keys {list(arrays)}.")
    try:
        X = Modalities(data, present=present)
        return Dataset(X, labels, ids, groups, splits, name=path.stem)
    except DataError as error:
        raise type(error)(f"{path}: {error}") from error


def read_csv(
    path: str | Path,
    modalities: Mapping[str, str],
    *,
    labels: Sequence[str] = (),
    ids: str | None = None,
) -> Dataset:
    """A table in UTF-8 with a header line.

    Args:
        path: The file.
        modalities: By name, columns and kind: ``"caption:text"`` or ``"width,height:vector"``.
            An empty cell marks the modality absent in that row; a vector with only some cells
            empty is an error.
        labels: Columns that are labels: whole numbers, numbers, or words.
        ids: Column that names the rows.

    Raises:
        FileError: Wrong encoding or a ragged row; names the line.
        DataError: A cell that is not a number; names line and column.
    """
    path = Path(path)
    header, rows, lines = _table(path)
    columns = {name: [row[at] for row in rows] for at, name in enumerate(header)}

    def column(name: str, whose: str) -> list[str]:
        if name not in columns:
            raise ParameterError(f"{path}: {whose} names column {name!r}; there are {header}.")
        return columns[name]

    data: dict[str, Any] = {}
    present: dict[str, Any] = {}
    for modality, spec in modalities.items():
        listed, _, kind = spec.partition(":")
        names = [c.strip() for c in listed.split(",")]
        cells = [column(c, f"modality {modality!r}") for c in names]
        if kind == "text":
            if len(names) > 1:
                raise ParameterError(f"modality {modality!r}: text is one column, got {names}.")
            data[modality] = [cell if cell.strip() else None for cell in cells[0]]
        elif kind in ("vector", ""):
            data[modality], present[modality] = _numbers(path, modality, names, cells, lines)
        else:
            raise ParameterError(
                f"modality {modality!r}: kind must be 'vector' or 'text', got {kind!r}."
            )
    if not rows:
        raise DataError(f"{path}: no rows below the header.")
    named = {name: _label(path, name, column(name, "label"), lines) for name in labels}
    row_ids = None if ids is None else np.array(column(ids, "ids"))
    return Dataset(Modalities(data, present=present), named, ids=row_ids, name=path.stem)


def _table(path: Path) -> tuple[list[str], list[list[str]], list[int]]:
    """Header, rows, and the line of the file at which each row ends."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise FileError(
            f"{path}, line {line}: expected UTF-8, got byte 0x{raw[error.start]:02x}. Save the "
            "table as UTF-8."
        ) from error
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    rows, lines = [], []
    try:
        header = next(reader, None)
        if not header:
            raise FileError(f"{path}: no header line.")
        header = [name.strip() for name in header]
        if len(set(header)) != len(header):
            twice = next(name for name in header if header.count(name) > 1)
            raise FileError(f"{path}, line 1: column {twice!r} stands twice.")
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise FileError(
                    f"{path}, line {reader.line_num}: expected {len(header)} cells, as in the "
                    f"header, got {len(row)}."
                )
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise FileError(f"{path}, line {reader.line_num}: {error}.") from error
    return header, rows, lines


def _numbers(
    path: Path, modality: str, names: list[str], cells: list[list[str]], lines: list[int]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values = np.zeros((len(lines), len(names)))
    present = np.ones(len(lines), dtype=bool)
    for row, line in enumerate(lines):
        found = [column[row].strip() for column in cells]
        if not any(found):
            present[row] = False
            continue
        for at, cell in enumerate(found):
            try:
                values[row, at] = float(cell)
            except ValueError:
                what = "an empty cell" if not cell else repr(cell)
                raise DataError(
                    f"{path}, line {line}, column {names[at]!r} (modality {modality!r}): "
                    f"expected a number, got {what}."
                ) from None
    return values, present


def _label(path: Path, name: str, cells: list[str], lines: list[int]) -> NDArray[Any]:
    for cell, line in zip(cells, lines, strict=True):
        if not cell.strip():
            raise DataError(f"{path}, line {line}: label {name!r} is empty.")
    for kind in (int, float):
        try:
            return np.array([kind(cell) for cell in cells])
        except (ValueError, OverflowError):
            continue
    return np.array([cell.strip() for cell in cells])


def write_npz(dataset: Dataset, path: str | Path) -> None:
    """Write a data set as an archive that :func:`read_npz` reads, whole or not at all.

    Args:
        dataset: Vectors, sequences of one length, images and texts.
        path: The file; an older one is replaced.
    """
    path = Path(path)
    arrays: dict[str, NDArray[Any]] = {}
    for name, values in dataset.X.items():
        present = dataset.X.present[name]
        if dataset.X.kind(name).form == "text":
            values = np.array(["" if v is None else v for v in values], dtype=np.str_)
        elif isinstance(values, list):
            raise DataError(f"modality {name!r}: samples of different lengths do not fit an npz.")
        elif hasattr(values, "toarray"):
            values = values.toarray()
        arrays[name] = np.asarray(values)
        if not present.all():
            arrays[f"{name}{PRESENT}"] = present
    arrays.update({f"label:{name}": _plain(v) for name, v in dataset.labels.items()})
    arrays.update({f"split:{name}": _plain(v) for name, v in dataset.splits.items()})
    for key, extra in (("id", dataset.ids), ("group", dataset.groups)):
        if extra is not None:
            arrays[key] = _plain(extra)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(draft, "wb") as f:
            np.savez_compressed(f, **arrays)  # type: ignore[arg-type]
            f.flush()
            os.fsync(f.fileno())
        os.replace(draft, path)
    except OSError as error:
        if isinstance(error, TriptychError):
            raise
        raise FileError(f"cannot write {path}: {error.strerror or error}.") from error
    finally:
        draft.unlink(missing_ok=True)


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    values = np.asarray(values)
    return values.astype(np.str_) if values.dtype.kind == "O" else values
