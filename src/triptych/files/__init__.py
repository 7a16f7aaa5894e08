"""Readers and writers of paired data: ``.npz``, folders of ``.npy``, and tables.

In all of them a name (key, file name, column) says what an entry is:

============================  ==============================================================
``label:<name>``              labels, one per row
``id``                        names of the rows, unique
``group``                     rows with the same group belong together
``split``, ``split:<name>``   ``train``, ``valid``, ``test`` or nothing, by row
``<modality>__present``       0 or 1 by row: whether the row has the modality
``<modality>__lengths``       lengths of sequences or waveforms that lie end to end in
                              ``<modality>``; 0 where absent
``<modality>__kind``          ``waveform`` for an array (n, t) that would else be vectors
anything else                 a modality
============================  ==============================================================

``label__<name>`` and ``split__<name>`` mean the same, for systems whose file names take no colon.
In tables (CSV, TSV, Parquet) modalities are columns that the caller names, so the three endings
are not used there; a column may hold paths of pictures and sounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from triptych.dataset import Dataset
from triptych.errors import FileError, ParameterError
from triptych.files.binary import read_npy_folder, read_npz, write_npz
from triptych.files.delimited import read_csv
from triptych.files.parquet import read_parquet

__all__ = [
    "TABLES",
    "is_table",
    "read",
    "read_csv",
    "read_npy_folder",
    "read_npz",
    "read_parquet",
    "write_npz",
]

TABLES = (".csv", ".tsv", ".parquet")


def is_table(path: str | Path) -> bool:
    """Whether a path is that of a table, by its ending."""
    return Path(path).suffix.lower() in TABLES and not Path(path).is_dir()


def read(
    path: str | Path,
    modalities: Mapping[str, str] | Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
) -> Dataset:
    """Paired data from a file or folder, by the kind of file.

    Args:
        path: An ``.npz`` file, a folder of ``.npy`` files, or a table: ``.csv``, ``.tsv``,
            ``.parquet``.
        modalities: Of a table: columns and kind by modality, as for :func:`read_csv`. Of others:
            names of the modalities to keep; all when left out.
        labels: Of a table: columns that hold labels. Of others: names of labels to keep, in this
            order; all when left out.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if is_table(path):
        if modalities is not None and not isinstance(modalities, Mapping):
            raise ParameterError(
                "modalities: a table needs columns by modality, such as "
                f"{{'words': 'caption:text'}}; got {modalities!r}."
            )
        reader = read_parquet if suffix == ".parquet" else read_csv
        return reader(path, modalities, labels=labels)
    if isinstance(modalities, Mapping):
        raise ParameterError(
            f"modalities: columns by modality are for tables; {path} holds arrays under their "
            "names. Give the names to keep."
        )
    if path.is_dir():
        return read_npy_folder(path, modalities, labels=labels)
    if suffix == ".npz" or not path.exists():
        return read_npz(path, modalities, labels=labels)
    raise FileError(
        f"{path}: expected an .npz file, a folder of .npy files, or a table {TABLES}; "
        f"got {suffix or 'no ending'!r}."
    )
