"""Tables: from columns of cells to modalities, labels, ids, groups and splits."""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.dataset import Dataset
from triptych.errors import DataError, ParameterError
from triptych.files.named import naming, role
from triptych.media import Origin, of_kind
from triptych.modalities import FORMS, Modalities

IN_FILES = ("picture", "sound")
KINDS = ("vector", "waveform", "text", *IN_FILES)


@dataclass(frozen=True)
class Table:
    """Cells as text, by column.

    Args:
        path: The file, for errors.
        columns: Cells by the column's name, all of the same length n, without space around them;
            an empty one is ``""``.
        places: Where each row stands in the file (n,), for errors.
        unit: What a place is called: ``"line"`` or ``"row"``.
    """

    path: Path
    columns: Mapping[str, list[str]]
    places: Sequence[int]
    unit: str = "line"

    def at(self, row: int, column: str) -> str:
        """Where a cell stands, for errors."""
        return f"{self.path}, {self.unit} {self.places[row]}, column {column!r}"

    def numeric(self, column: str) -> bool:
        """Whether all cells that are filled are numbers, and some are."""
        cells = [cell for cell in self.columns[column] if cell]
        return bool(cells) and all(number(cell) is not None for cell in cells)

    def numbers(self, column: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Values (n, k), k = 1 where a cell is one number, and which cells are filled (n,)."""
        cells = self.columns[column]
        values = np.zeros((len(cells), 1))
        for row, cell in enumerate(cells):
            if not cell:
                continue
            found = number(cell)
            if found is None or not math.isfinite(found):
                raise DataError(
                    f"{self.at(row, column)}: expected a finite number, got {cell[:40]!r}."
                )
            values[row, 0] = found
        return values, np.array([cell != "" for cell in cells])

    def listed(self) -> str:
        """Names of the columns, for errors."""
        names = [name + (" (numbers)" if self.numeric(name) else "") for name in self.columns]
        hint = ""
        if len(names) == 1 and ";" in names[0]:
            hint = " (cells must be separated by commas, not semicolons)"
        return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "") + hint


@dataclass(frozen=True)
class Wanted:
    """What one modality is made of.

    Args:
        columns: Names of columns.
        kind: One of ``KINDS``.
        options: Words after the kind: a picture's size, a sound's rate.
    """

    columns: list[str]
    kind: str
    options: list[str]


def number(cell: str) -> float | None:
    """The number that a cell holds, or ``None``."""
    try:
        # Python reads 1_000 as a number; a table hardly means that.
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def assemble_table(
    table: Table, modalities: Mapping[str, str] | None, labels: Sequence[str] | None
) -> Dataset:
    """The data set that a table's columns make.

    Args:
        table: The cells.
        modalities: Columns, kind and options by modality.
        labels: Columns that hold labels.
    """
    path = table.path
    if not modalities:
        raise ParameterError(
            f"{path}: say which columns make which modality, for instance --modality "
            "words=caption:text --modality image=path:picture on the command line, or "
            "modalities={'size': 'width,height:vector', 'words': 'caption:text'} in Python; "
            f"columns: {table.listed()}."
        )
    data: dict[str, Any] = {}
    present: dict[str, NDArray[np.bool_]] = {}
    kinds: dict[str, str] = {}
    for name, spec in modalities.items():
        wanted = _parse(name, spec, table)
        if wanted.kind in IN_FILES:
            data[name] = _in_files(name, wanted, table)
        elif wanted.kind == "text":
            data[name] = [cell or None for cell in table.columns[wanted.columns[0]]]
            kinds[name] = "text"
        else:
            data[name], present[name] = _numbers(table, wanted.columns)
            kinds[name] = wanted.kind
    found: dict[str, dict[str, str]] = {}  # what it is -> its name -> the column
    for column in table.columns:
        what, name = role(column)
        if what in ("id", "group", "split", "label"):
            found.setdefault(what, {})[name] = column
    with naming(path):
        return Dataset(
            Modalities(data, present=present, kinds=kinds),
            labels={
                name: _typed(table, column)
                for name, column in _labels(table, labels, found.get("label", {})).items()
            },
            ids=_words(table, found.get("id")),
            groups=_words(table, found.get("group")),
            splits={n: np.array(table.columns[c]) for n, c in found.get("split", {}).items()},
            name=path.stem,
        )


def _parse(name: str, spec: Any, table: Table) -> Wanted:
    """What ``"width,height:vector"`` or ``"path:picture:64x48:grey"`` asks for."""
    if not isinstance(spec, str):
        raise ParameterError(
            f"modality {name!r}: expected 'column,column:kind', got {type(spec).__name__}."
        )
    body, kind, options = _taken_apart(spec, table)
    if kind and kind not in KINDS:
        hint = " For picture files it is 'picture'." if kind == "image" else ""
        raise ParameterError(
            f"modality {name!r}: a table's columns are one of {KINDS}, got {kind!r} in {spec!r}."
            f"{hint}"
        )
    if options and kind not in IN_FILES:
        raise ParameterError(
            f"modality {name!r}: {kind} takes no options; got {options} in {spec!r}."
        )
    columns: list[str] = []
    for asked in [body] if body in table.columns else [c.strip() for c in body.split(",")]:
        if asked in table.columns:
            matches = [asked]
        else:
            pattern = asked if "*" in asked else ""
            matches = (
                [c for c in table.columns if fnmatch.fnmatchcase(c, pattern)] if pattern else []
            )
        if not matches:
            raise ParameterError(
                f"modality {name!r}: {table.path} has no column {asked!r}; columns: "
                f"{table.listed()}."
            )
        columns += [c for c in matches if c not in columns]
    if not kind:
        kind = "vector" if all(table.numeric(c) for c in columns) else "text"
    if kind in ("text", *IN_FILES) and len(columns) > 1:
        raise ParameterError(f"modality {name!r}: {kind} is one column, got {columns}.")
    return Wanted(columns, kind, options)


def _taken_apart(spec: str, table: Table) -> tuple[str, str, list[str]]:
    """Columns, kind (``""`` if none is given) and options."""
    parts = spec.split(":")
    # The last kind counts: a column's own name may hold a colon ("a,label:kind").
    for i in range(len(parts) - 1, 0, -1):
        if parts[i] in IN_FILES or (parts[i] in (*FORMS, *KINDS) and i == len(parts) - 1):
            return ":".join(parts[:i]), parts[i], parts[i + 1 :]
    if len(parts) == 1 or spec.rpartition(",")[2].strip() in table.columns:
        return spec, "", []
    for i in range(1, len(parts) - 1):  # a kind that takes no options, or a misspelt one with some
        if parts[i] in KINDS or ":".join(parts[:i]) in table.columns:
            return ":".join(parts[:i]), parts[i], parts[i + 1 :]
    return ":".join(parts[:-1]), parts[-1], []


def _in_files(name: str, wanted: Wanted, table: Table) -> Any:
    """Pictures or sounds whose paths stand in a column; relative ones start at the table."""
    (column,) = wanted.columns
    origin = Origin(str(table.path), column, table.unit, table.places)
    paths = [cell or None for cell in table.columns[column]]
    try:
        return of_kind(wanted.kind, wanted.options, paths, folder=table.path.parent, origin=origin)
    except ParameterError as error:
        raise ParameterError(f"modality {name!r}: {error}") from error


def _numbers(table: Table, columns: list[str]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Values (n, p), and which rows have them (n,)."""
    read = [table.numbers(column) for column in columns]
    filled = np.column_stack([there for _, there in read])  # (n, columns)
    present = np.asarray(filled.any(axis=1))
    partly = present & ~filled.all(axis=1)
    if partly.any():
        row = int(np.flatnonzero(partly)[0])
        column = columns[int(np.flatnonzero(~filled[row])[0])]
        raise DataError(
            f"{table.at(row, column)}: expected a number, got an empty cell while other cells of "
            "the vector are filled. A row without the modality has all of them empty."
        )
    return np.column_stack([values for values, _ in read]), present


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
                f"labels: {table.path} has no column {name!r}; columns: {table.listed()}."
            )
        columns[role(name)[1]] = name if name in table.columns else marked[name]
    return columns


def _filled(table: Table, column: str, what: str) -> list[str]:
    cells = table.columns[column]
    if "" in cells:
        place = table.places[cells.index("")]
        raise DataError(
            f"{table.unit} {place}, column {column!r}: expected {what}, got an empty cell."
        )
    return cells


def _typed(table: Table, column: str) -> NDArray[Any]:
    """Labels as whole numbers, numbers or words, whichever fits all."""
    cells = _filled(table, column, "a label")
    # 007 and 7 may be different codes, so leading zeros make words.
    if all(re.fullmatch(r"-?(0|[1-9][0-9]{0,17})", cell) for cell in cells):
        return np.array([int(cell) for cell in cells])
    numbers = [number(cell) for cell in cells]
    coded = any(re.fullmatch(r"[+-]?0[0-9]+", cell) for cell in cells)
    if not coded and all(v is not None and math.isfinite(v) for v in numbers):
        return np.array(numbers, dtype=np.float64)
    return np.array(cells)


def _words(table: Table, columns: Mapping[str, str] | None) -> NDArray[np.str_] | None:
    if not columns:
        return None
    (column,) = columns.values()
    return np.array(_filled(table, column, "a name"))
