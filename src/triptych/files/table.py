"""Tables: CSV in UTF-8, with columns of numbers and text."""

from __future__ import annotations

import csv
import fnmatch
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.dataset import Dataset
from triptych.errors import DataError, FileError, ParameterError
from triptych.files.named import naming, role
from triptych.modalities import FORMS, Modalities

KINDS = ("vector", "waveform", "text")


@dataclass(frozen=True)
class Table:
    """Cells as text, by column.

    Args:
        path: The file, for errors.
        columns: Cells by the column's name, all of the same length n, without space around them.
        lines: Line of the file on which each row starts (n,).
    """

    path: Path
    columns: Mapping[str, list[str]]
    lines: list[int]

    def at(self, row: int, column: str) -> str:
        """Where a cell stands, for errors."""
        return f"{self.path}, line {self.lines[row]}, column {column!r}"


def read_csv(
    path: str | Path,
    modalities: Mapping[str, str] | None = None,
    *,
    labels: Sequence[str] | None = None,
) -> Dataset:
    """Paired data from a CSV file in UTF-8 whose first line names the columns.

    An empty cell of text, or a row with all cells of a vector empty, is a row without that
    modality. Columns ``id``, ``group``, ``split``, ``split:<name>`` and ``label:<name>`` are read
    as their names say.

    Args:
        path: The file; ``.tsv`` is separated by tabs.
        modalities: Columns and kind by modality: ``{"size": "width,height:vector", "words":
            "caption:text"}``. ``*`` stands for any characters (``"gene_*:vector"``), in the order
            of the file. The kind may be left out: numbers are a vector, anything else is text.
        labels: Columns that hold labels, the one to look at first; all of ``label:<name>`` when
            left out. Whole numbers, numbers and words are told apart.

    Raises:
        FileError: The file cannot be read, is not UTF-8, or has ragged rows; names the line.
        DataError: A cell is not what its column should hold; names line and column.
        ParameterError: A column that is not there; lists those that are.
    """
    table = _read_table(Path(path))
    if not modalities:
        raise ParameterError(
            f"{path}: say which columns make which modality, for instance modalities={{'size': "
            f"'width,height:vector', 'words': 'caption:text'}}; columns: {_listed(table)}."
        )
    data: dict[str, Any] = {}
    present: dict[str, NDArray[np.bool_]] = {}
    kinds: dict[str, str] = {}
    for name, spec in modalities.items():
        columns, kind = _parse(name, spec, table)
        if kind == "text":
            data[name] = [cell or None for cell in table.columns[columns[0]]]
            kinds[name] = "text"
        else:
            data[name], present[name] = _numbers(table, columns)
            kinds[name] = kind
    found: dict[str, dict[str, str]] = {}  # what it is -> its name -> the column
    for column in table.columns:
        what, name = role(column)
        if what in ("id", "group", "split", "label"):
            found.setdefault(what, {})[name] = column
    with naming(Path(path)):
        return Dataset(
            Modalities(data, present=present, kinds=kinds),
            labels={
                name: _typed(table, column)
                for name, column in _labels(table, labels, found.get("label", {})).items()
            },
            ids=_words(table, found.get("id")),
            groups=_words(table, found.get("group")),
            splits={n: np.array(table.columns[c]) for n, c in found.get("split", {}).items()},
            name=Path(path).stem,
        )


def _read_table(path: Path) -> Table:
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


def _listed(table: Table) -> str:
    names = [name + (" (numbers)" if _numeric(table, name) else "") for name in table.columns]
    hint = ""
    if len(names) == 1 and ";" in names[0]:
        hint = " (cells must be separated by commas, not semicolons)"
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "") + hint


def _numeric(table: Table, column: str) -> bool:
    cells = [cell for cell in table.columns[column] if cell]
    return bool(cells) and all(_float(cell) is not None for cell in cells)


def _float(cell: str) -> float | None:
    try:
        # Python reads 1_000 as a number; a table hardly means that.
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _parse(name: str, spec: Any, table: Table) -> tuple[list[str], str]:
    """Columns and kind that ``"width,height:vector"`` asks for."""
    if not isinstance(spec, str):
        raise ParameterError(
            f"modality {name!r}: expected 'column,column:kind', got {type(spec).__name__}."
        )
    body, colon, kind = spec.rpartition(":")
    # A column's own name may hold a colon: "a,label:kind".
    if not colon or (kind not in FORMS and spec.rpartition(",")[2].strip() in table.columns):
        body, kind = spec, ""
    if kind and kind not in KINDS:
        raise ParameterError(
            f"modality {name!r}: a table's columns are one of {KINDS}, got {kind!r} in {spec!r}."
        )
    columns: list[str] = []
    for wanted in [body] if body in table.columns else [c.strip() for c in body.split(",")]:
        if wanted in table.columns:
            matches = [wanted]
        else:
            pattern = wanted if "*" in wanted else ""
            matches = (
                [c for c in table.columns if fnmatch.fnmatchcase(c, pattern)] if pattern else []
            )
        if not matches:
            raise ParameterError(
                f"modality {name!r}: {table.path} has no column {wanted!r}; columns: "
                f"{_listed(table)}."
            )
        columns += [c for c in matches if c not in columns]
    if not kind:
        kind = "vector" if all(_numeric(table, c) for c in columns) else "text"
    if kind == "text" and len(columns) > 1:
        raise ParameterError(f"modality {name!r}: text is one column, got {columns}.")
    return columns, kind


def _numbers(table: Table, columns: list[str]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Values (n, p), and which rows have them (n,)."""
    filled = np.array([[cell != "" for cell in table.columns[c]] for c in columns]).T  # (n, p)
    present = np.asarray(filled.any(axis=1))
    partly = present & ~filled.all(axis=1)
    if partly.any():
        row = int(np.flatnonzero(partly)[0])
        column = columns[int(np.flatnonzero(~filled[row])[0])]
        raise DataError(
            f"{table.at(row, column)}: expected a number, got an empty cell while other cells of "
            "the vector are filled. A row without the modality has all of them empty."
        )
    values = np.zeros((len(table.lines), len(columns)))
    for j, column in enumerate(columns):
        for row, cell in enumerate(table.columns[column]):
            if not cell:
                continue
            number = _float(cell)
            if number is None or not math.isfinite(number):
                raise DataError(
                    f"{table.at(row, column)}: expected a finite number, got {cell[:40]!r}."
                )
            values[row, j] = number
    return values, present


def _labels(
    table: Table, wanted: Sequence[str] | None, marked: Mapping[str, str]
) -> Mapping[str, str]:
    """Column by label."""
    if wanted is None:
        return marked
    columns = {}
    for name in [wanted] if isinstance(wanted, str) else wanted:
        if name not in table.columns and name not in marked:
            raise ParameterError(
                f"labels: {table.path} has no column {name!r}; columns: {_listed(table)}."
            )
        columns[role(name)[1]] = name if name in table.columns else marked[name]
    return columns


def _typed(table: Table, column: str) -> NDArray[Any]:
    """Labels as whole numbers, numbers or words, whichever fits all."""
    cells = table.columns[column]
    if "" in cells:
        raise DataError(
            f"line {table.lines[cells.index('')]}, column {column!r}: expected a label, got an "
            "empty cell."
        )
    # 007 and 7 may be different codes, so leading zeros make words.
    if all(re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", cell) for cell in cells):
        return np.array([int(cell) for cell in cells])
    numbers = [_float(cell) for cell in cells]
    coded = any(re.fullmatch(r"[+-]?0[0-9]+", cell) for cell in cells)
    if not coded and all(v is not None and math.isfinite(v) for v in numbers):
        return np.array(numbers, dtype=np.float64)
    return np.array(cells)


def _words(table: Table, columns: Mapping[str, str] | None) -> NDArray[np.str_] | None:
    if not columns:
        return None
    (column,) = columns.values()
    cells = table.columns[column]
    if "" in cells:
        raise DataError(
            f"line {table.lines[cells.index('')]}, column {column!r}: expected a name, got an "
            "empty cell."
        )
    return np.array(cells)
