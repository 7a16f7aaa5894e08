"""Tables in text files: CSV and TSV in UTF-8."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from triptych.dataset import Dataset
from triptych.errors import FileError
from triptych.files.table import Table, assemble_table


def read_csv(
    path: str | Path,
    modalities: Mapping[str, str] | None = None,
    *,
    labels: Sequence[str] | None = None,
) -> Dataset:
    """Paired data from a CSV file in UTF-8 whose first line names the columns.

    An empty cell of text or of a path, or a row with all cells of a vector empty, is a row
    without that modality. Columns ``id``, ``group``, ``split``, ``split:<name>`` and
    ``label:<name>`` are read as their names say.

    Args:
        path: The file; ``.tsv`` is separated by tabs.
        modalities: Columns and kind by modality: ``{"size": "width,height:vector", "words":
            "caption:text", "image": "path:picture:64x48:grey", "sound": "take:sound:8000:2s"}``.
            ``*`` stands for any characters (``"gene_*:vector"``), in the order of the file. The
            kind may be left out: numbers are a vector, anything else is text. Paths are relative
            to the table's folder; the files are opened whenever rows are read, see
            :class:`triptych.media.Pictures` (default 64x64 in colour) and
            :class:`triptych.media.Sounds` (WAV, default the rate of the files, whole).
        labels: Columns that hold labels, the one to look at first; all of ``label:<name>`` when
            left out. Whole numbers, numbers and words are told apart.

    Raises:
        FileError: The file cannot be read, is not UTF-8, or has ragged rows; a path that is no
            file. Names the line.
        DataError: A cell is not what its column should hold; names line and column.
        ParameterError: A column that is not there; lists those that are.
    """
    return assemble_table(_read(Path(path)), modalities, labels)


def _read(path: Path) -> Table:
    try:
        body = path.read_bytes()
    except OSError as error:
        raise FileError(f"{path}: cannot be read; {error.strerror or error}.") from error
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise FileError(
            f"{path}, line {line}: expected UTF-8, got byte 0x{body[error.start]:02x}. Save the "
            "file as UTF-8."
        ) from error
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    header: list[str] | None = None
    cells: list[list[str]] = []
    lines: list[int] = []
    line = 1
    try:
        for row in rows:
            start, line = line, rows.line_num + 1
            if not row:
                continue
            if header is None:
                header = _header(path, row)
                cells = [[] for _ in header]
            elif len(row) != len(header):
                raise FileError(
                    f"{path}, line {start}: expected {len(header)} cells as in the first line, "
                    f"got {len(row)}."
                )
            else:
                lines.append(start)
                for column, cell in zip(cells, row, strict=True):
                    column.append(cell.strip())
    except csv.Error as error:
        raise FileError(f"{path}, line {max(line, rows.line_num)}: {error}.") from error
    if header is None:
        raise FileError(f"{path}: expected a first line with names of columns; it is empty.")
    if not lines:
        raise FileError(f"{path}: expected rows below the names of columns, got none.")
    return Table(path, dict(zip(header, cells, strict=True)), lines)


def _header(path: Path, row: list[str]) -> list[str]:
    names = [name.strip() for name in row]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FileError(f"{path}, line 1: expected different names of columns, got {twice} twice.")
    return names
