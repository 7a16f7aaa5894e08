"""Tables in Parquet, read by pyarrow (the extra ``parquet``)."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.dataset import Dataset
from triptych.errors import DataError, FileError, MissingDependencyError
from triptych.files.table import Table, assemble_table


def read_parquet(
    path: str | Path,
    modalities: Mapping[str, str] | None = None,
    *,
    labels: Sequence[str] | None = None,
) -> Dataset:
    """Paired data from a Parquet file; only the columns that are asked for are read.

    As :func:`triptych.files.read_csv`, with null for an empty cell; rows are counted from 0. A
    column of lists of numbers, all of one length, is a vector by itself.

    Args:
        path: The file.
        modalities: Columns and kind by modality.
        labels: Columns that hold labels; all of ``label:<name>`` when left out.

    Raises:
        MissingDependencyError: pyarrow is not installed.
        FileError: The file cannot be read, or a path in it is no file.
        DataError: A cell is not what its column should hold; names row and column.
        ParameterError: A column that is not there; lists those that are.
    """
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingDependencyError(
            f"{path}: Parquet needs pyarrow, which is not installed: pip install "
            "'triptych[parquet]'."
        ) from error
    path = Path(path)
    try:
        file = parquet.ParquetFile(path)
    except Exception as error:  # Arrow's errors have many names
        raise FileError(
            f"{path}: cannot be read as Parquet; {error}".rstrip(". ") + "."
        ) from error
    names = list(file.schema_arrow.names)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise FileError(f"{path}: expected different names of columns, got {twice} twice.")
    if file.metadata.num_rows == 0:
        raise FileError(f"{path}: expected rows, got none.")
    columns = _Columns(path, file)
    return assemble_table(ParquetTable(path, columns, columns.rows, "row"), modalities, labels)


class _Columns(Mapping[str, list[str]]):
    """Cells as text, of one column when it is asked for."""

    def __init__(self, path: Path, file: Any) -> None:
        self.path, self.file = path, file
        self.rows = range(file.metadata.num_rows)
        self.types = {field.name: field.type for field in file.schema_arrow}
        self._known: dict[str, list[str]] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self.types)

    def __len__(self) -> int:
        return len(self.types)

    def __contains__(self, name: object) -> bool:
        return name in self.types

    def column(self, name: str) -> Any:
        """Arrow's own column."""
        try:
            return self.file.read(columns=[name]).column(name)
        except Exception as error:
            raise FileError(f"{self.path}, column {name!r}: cannot be read; {error}.") from error

    def __getitem__(self, name: str) -> list[str]:
        if name not in self.types:
            raise KeyError(name)
        if name not in self._known:
            types = importlib.import_module("pyarrow").types
            kind = self.types[name]
            if types.is_nested(kind) or types.is_binary(kind) or types.is_large_binary(kind):
                raise DataError(
                    f"{self.path}, column {name!r}: expected text or numbers, got {kind}."
                )
            cells = self.column(name).to_pylist()
            self._known[name] = ["" if cell is None else str(cell).strip() for cell in cells]
        return self._known[name]


class ParquetTable(Table):
    """A table whose numbers need not be read from words."""

    columns: _Columns

    def numeric(self, column: str) -> bool:
        """Whether the column's type is of numbers, or of lists of them."""
        types = importlib.import_module("pyarrow").types
        kind = self.columns.types[column]
        if _is_list(kind):
            kind = kind.value_type
        return any(ask(kind) for ask in (types.is_integer, types.is_floating, types.is_decimal))

    def numbers(self, column: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Values (n, k), k > 1 where a cell is a list, and which cells are filled (n,)."""
        if not self.numeric(column):
            return super().numbers(column)
        found = self.columns.column(column)
        filled = found.is_valid().to_numpy()
        if _is_list(self.columns.types[column]):
            values = self._stacked(column, found.to_pylist())
        else:
            values = np.zeros((len(filled), 1))
            values[filled, 0] = np.asarray(found.drop_null().to_pylist(), dtype=np.float64)
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise DataError(
                f"{self.at(row, column)}: expected finite numbers, got "
                f"{values[row][~np.isfinite(values[row])][0]}."
            )
        return values, filled

    def _stacked(self, column: str, cells: list[Any]) -> NDArray[np.float64]:
        width = len(next((cell for cell in cells if cell is not None), ()))
        values = np.zeros((len(cells), width))
        for row, cell in enumerate(cells):
            if cell is None:
                continue
            if len(cell) != width or None in cell:
                raise DataError(
                    f"{self.at(row, column)}: expected {width} numbers as in the first row, got "
                    f"{len(cell)}{' with null among them' if None in cell else ''}."
                )
            values[row] = cell
        return values


def _is_list(kind: Any) -> bool:
    types = importlib.import_module("pyarrow").types
    return any(ask(kind) for ask in (types.is_list, types.is_large_list, types.is_fixed_size_list))
