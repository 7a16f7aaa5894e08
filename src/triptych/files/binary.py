"""NumPy's own formats: ``.npz`` and folders of ``.npy``. Never pickle."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import as_labels, is_sparse
from triptych.dataset import Dataset
from triptych.errors import DataError, FileError, ModalityError, ParameterError
from triptych.files.named import assemble, role
from triptych.files.whole import write_whole
from triptych.media import loaded
from triptych.modalities import Modalities, as_modalities


def read_npz(
    path: str | Path,
    modalities: Sequence[str] | None = None,
    *,
    labels: Sequence[str] | None = None,
) -> Dataset:
    """Paired data from an ``.npz`` file, under the names that :mod:`triptych.files` lists.

    Args:
        path: The file. Texts are arrays of strings; Python objects are refused.
        modalities: Names of the modalities to keep; all when left out.
        labels: Names of the labels to keep; all when left out.

    Raises:
        FileError: The file is missing, damaged, or holds Python objects; names the key.
        DataError: What it holds does not fit together, or NaN; names file and key.
    """
    path = Path(path)
    _check_there(path)
    if not zipfile.is_zipfile(path):
        raise FileError(f"{path}: expected an .npz file; it is of another kind or was cut off.")
    entries: dict[str, NDArray[Any]] = {}
    key = ""
    # A file from outside can break the reader in more ways than its errors have names.
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            for key in file.files:
                values = file[key]
                if not isinstance(values, np.ndarray):
                    raise TypeError("it is no array")
                entries[key] = values
    except Exception as error:
        at = f", key {key!r}" if key else ""
        raise FileError(f"{path}{at}: {_why(error)}") from error
    return assemble(entries, path, modalities, labels)


def read_npy_folder(
    path: str | Path,
    modalities: Sequence[str] | None = None,
    *,
    labels: Sequence[str] | None = None,
) -> Dataset:
    """Paired data from a folder of ``.npy`` files, whose names :mod:`triptych.files` lists.

    Arrays of numbers are memory-mapped: rows are read when a method asks for them. Texts, labels
    and masks are read at once.

    Args:
        path: The folder; other files in it are passed over.
        modalities: Names of the modalities to keep; all when left out.
        labels: Names of the labels to keep; all when left out.

    Raises:
        FileError: There is no ``.npy`` file, or one is damaged or holds Python objects.
        DataError: What they hold does not fit together; names folder and file.
    """
    path = Path(path)
    if not path.is_dir():
        raise FileError(f"{path}: expected a folder of .npy files; there is no such folder.")
    files = sorted(p for p in path.glob("*.npy") if not p.name.startswith("."))
    if not files:
        raise FileError(f"{path}: expected .npy files in this folder, found none.")
    entries: dict[str, NDArray[Any]] = {}
    for file in files:
        try:
            values = np.load(file, mmap_mode="r", allow_pickle=False)
            if not isinstance(values, np.ndarray):
                raise TypeError("it is no array")
        except Exception as error:
            raise FileError(f"{file}: {_why(error)}") from error
        entries[file.stem] = values
    return assemble(entries, path, modalities, labels)


def write_npz(dataset: Dataset | Modalities | Mapping[str, Any], path: str | Path) -> None:
    """Write paired data so that :func:`read_npz` gives them back; the old file or the new one.

    Args:
        dataset: A data set, or modalities alone. Dask arrays are computed.
        path: The file, ending in ``.npz``.

    Raises:
        DataError: A name that could not be read back, a sparse matrix, labels of mixed types.
        FileError: The file cannot be written; what was there before is unchanged.
    """
    path = Path(path)
    if path.suffix.lower() != ".npz":
        raise ParameterError(f"path: expected a name that ends in .npz, got {str(path)!r}.")
    if not isinstance(dataset, Dataset):
        dataset = Dataset(as_modalities(dataset))
    entries = _entries(dataset)

    def write(file: IO[bytes]) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for key, values in entries.items():
                with archive.open(f"{key}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, values, allow_pickle=False)

    write_whole(path, write)


def _entries(dataset: Dataset) -> dict[str, NDArray[Any]]:
    X = dataset.X
    entries: dict[str, NDArray[Any]] = {}
    for name in X.names:
        if role(name) != ("modality", name):
            raise ModalityError(
                f"modality {name!r}: a file could not tell this name from {role(name)[0]}s; "
                "rename it."
            )
        values, present, form = loaded(X[name]), X.present[name], X.kind(name).form
        if is_sparse(values):
            raise DataError(
                f"modality {name!r}: sparse matrices cannot be written to .npz; give a dense "
                "array (.toarray())."
            )
        if form == "text":
            # Texts of absent rows may be None or anything.
            texts = [text if here else "" for text, here in zip(values, present, strict=True)]
            entries[name] = np.array(texts, dtype=np.str_)
        elif isinstance(values, list):
            pieces = [v for v, here in zip(values, present, strict=True) if here]
            if not pieces:
                raise DataError(f"modality {name!r}: no row is present, so nothing is to write.")
            lengths = np.zeros(len(values), dtype=np.int64)
            lengths[present] = [len(piece) for piece in pieces]
            entries[name] = np.concatenate(pieces)
            entries[f"{name}__lengths"] = lengths
        else:
            entries[name] = np.asarray(values)
        if form == "waveform":
            entries[f"{name}__kind"] = np.array(form)
        if not present.all():
            entries[f"{name}__present"] = present
    for label, values in dataset.labels.items():
        entries[f"label:{label}"] = _writable(f"label {label!r}", values)
    for word, column in (("id", dataset.ids), ("group", dataset.groups)):
        if column is not None:
            entries[word] = _writable(word, column)
    for split, parts in dataset.splits.items():
        key = "split" if split == "split" else f"split:{split}"
        entries[key] = _writable(f"split {split!r}", parts)
    return entries


def _writable(what: str, values: Any) -> NDArray[Any]:
    return as_labels(values, len(values), what)


def _check_there(path: Path) -> None:
    if not path.exists():
        raise FileError(f"{path}: no such file.")
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise FileError(f"{path}: cannot be read; {error.strerror or error}.") from error


def _why(error: Exception) -> str:
    words = str(error)
    if "Object arrays" in words or "Python objects" in words or "allow_pickle" in words:
        return (
            "it holds Python objects, which could run code when read. Save text as "
            "np.array(values, dtype=str) and numbers as a plain array."
        )
    return f"cannot be read; {type(error).__name__}: {words}".rstrip(". ") + "."
