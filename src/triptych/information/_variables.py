"""What users give as a variable, read once: categories as small integers, numbers as float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import is_sparse
from triptych.errors import DataError, ParameterError, ShapeError

# Integers whose range is no wider than this, or than twice the rows, are counted in place.
SPAN = 1 << 16
# Integers beyond this are brought near 0 first: cells of a table are numbered by their products.
FAR = 1 << 31

Forced = bool | Sequence[bool | None] | None


@dataclass(frozen=True)
class Codes:
    """Categories as whole numbers: the category of row i is ``values[i] - low``.

    Args:
        values: Integers (n,) of any width, as given where that is cheap; not copied.
        low: The smallest.
        size: One more than the largest category; some of them may be empty.
    """

    values: NDArray[Any]
    low: int
    size: int

    def __len__(self) -> int:
        return len(self.values)

    def indices(self) -> NDArray[np.intp]:
        """Categories (n,) from 0 to size - 1."""
        return self.values.astype(np.intp) - self.low

    def __getitem__(self, rows: Any) -> Codes:
        return Codes(self.values[rows], self.low, self.size)


@dataclass(frozen=True)
class Variable:
    """One variable of an estimate.

    Args:
        name: For messages: the parameter it came by.
        raw: What was given, as an array (n,) or (n, p).
        codes: Categories, of discrete variables.
        numbers: float64 (n, p), of continuous variables.
    """

    name: str
    raw: NDArray[Any] = field(repr=False)
    codes: Codes | None = None
    numbers: NDArray[np.float64] | None = field(default=None, repr=False)

    @property
    def discrete(self) -> bool:
        """Whether rows are categories."""
        return self.codes is not None

    def __len__(self) -> int:
        return len(self.raw)

    def __getitem__(self, rows: Any) -> Variable:
        return Variable(
            self.name,
            self.raw[rows],
            None if self.codes is None else self.codes[rows],
            None if self.numbers is None else self.numbers[rows],
        )

    def labels(self) -> NDArray[np.intp]:
        """Categories (n,) of a discrete variable."""
        assert self.codes is not None
        return self.codes.indices()

    def embedded(self) -> NDArray[np.float64]:
        """Numbers (n, p): as they are; categories as indicator columns 0 and 1."""
        if self.numbers is not None:
            return self.numbers
        seen, labels = np.unique(self.labels(), return_inverse=True)
        if len(seen) > 1000:
            raise DataError(
                f"{self.name}: expected at most 1000 categories to set beside numbers, got "
                f"{len(seen)}. If these are numbers, say discrete=False."
            )
        return np.eye(len(seen))[labels]


def as_variable(data: Any, name: str, discrete: bool | None = None) -> Variable:
    """A checked variable.

    Whole numbers, booleans, strings and objects are categories (a row of several columns is one
    category); floats are continuous.

    Args:
        data: Shape (n,) or (n, p); a list, an array, or a column of ``Modalities``.
        name: The parameter, for messages.
        discrete: Forces the reading: ``True`` takes equal values as one category, ``False``
            takes whole numbers as numbers.

    Raises:
        DataError: Nothing, ``None``, NaN, infinity, or a type that is neither.
        ShapeError: More than two axes.
        ParameterError: ``discrete=False`` of words.
    """
    values = _as_array(data, name)
    if values.dtype.kind in "f":
        _check_finite(values, name)
    kind = values.dtype.kind
    if kind not in "biufUSO":
        raise DataError(
            f"{name}: expected whole numbers, floats, booleans or strings, got {values.dtype}."
        )
    if discrete is False and kind in "USO":
        raise ParameterError(f"{name}: discrete=False needs numbers, got {values.dtype}.")
    if discrete or (discrete is None and kind != "f"):
        return Variable(name, values, codes=make_codes(values, name))
    numbers = values.astype(np.float64, copy=False).reshape(len(values), -1)  # (n, p)
    return Variable(name, values, numbers=numbers)


def as_variables(named: Sequence[tuple[str, Any]], discrete: Forced = None) -> list[Variable]:
    """Variables of the same rows.

    Args:
        named: Pairs of parameter and data.
        discrete: For all of them, or one entry for each (``None`` leaves it to the type).
    """
    if isinstance(discrete, (bool, np.bool_)) or discrete is None:
        each: list[bool | None] = [None if discrete is None else bool(discrete)] * len(named)
    else:
        each = list(discrete)
        if len(each) != len(named) or not all(
            entry is None or isinstance(entry, (bool, np.bool_)) for entry in each
        ):
            raise ParameterError(
                f"discrete: expected True, False, None or one of them for each of "
                f"{[name for name, _ in named]}, got {discrete!r}."
            )
    out = [as_variable(data, name, d) for (name, data), d in zip(named, each, strict=True)]
    if len({len(v) for v in out}) > 1:
        listed = ", ".join(f"{v.name} {len(v)}" for v in out)
        raise ShapeError(f"row i of each variable is one sample; got rows: {listed}.")
    return out


def need_rows(n: int, least: int, what: str) -> None:
    """Raise :class:`DataError` where there are fewer rows than an estimate can rest on."""
    if n < least:
        raise DataError(f"{what}: expected at least {least} rows, got {n}.")


def make_codes(values: NDArray[Any], name: str = "x") -> Codes:
    """Equal rows as equal whole numbers; small integers are taken as they are, without sorting.

    Args:
        values: Shape (n,) or (n, p).
        name: For messages.
    """
    if values.ndim == 2:
        if values.shape[1] == 1:
            return make_codes(values[:, 0], name)
        if values.dtype.kind in "USO":
            columns = [make_codes(values[:, j], name) for j in range(values.shape[1])]
            return _rows_of(np.stack([c.indices() for c in columns], axis=1))
        return _rows_of(values)
    kind = values.dtype.kind
    if kind == "b":
        return Codes(values.view(np.uint8), 0, 2)
    if kind in "iu":
        low, high = int(values.min()), int(values.max())
        # A low number of its own bits is taken off later; 0 keeps counting free of that step.
        low = 0 if low >= 0 and high < max(SPAN, 2 * len(values)) else low
        if high - low < max(SPAN, 2 * len(values)):
            if max(-low, high) < FAR:
                return Codes(values, low, high - low + 1)
            near = (values - values.dtype.type(low)).astype(np.intp)
            return Codes(near, 0, high - low + 1)
    if kind == "O":
        return _hashed(values, name)
    if kind == "f":
        values = values + 0.0  # -0.0 and 0.0 are one category
    seen, labels = np.unique(values, return_inverse=True)
    return Codes(labels.reshape(-1), 0, len(seen))


def _rows_of(values: NDArray[Any]) -> Codes:
    """Rows (n, p) as categories, by their bytes."""
    if values.dtype.kind == "f":
        values = values + 0.0
    rows = np.ascontiguousarray(values)
    whole = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1])))[:, 0]
    seen, labels = np.unique(whole, return_inverse=True)
    return Codes(labels.reshape(-1), 0, len(seen))


def _hashed(values: NDArray[Any], name: str) -> Codes:
    known: dict[Any, int] = {}
    out = np.empty(len(values), dtype=np.intp)
    for row, value in enumerate(values.tolist()):
        if value is None or (isinstance(value, float) and value != value):
            raise DataError(
                f"{name}: expected a value, got {value} at row {row}. Take only rows that are "
                "present, for instance X[X.present[name]]."
            )
        try:
            out[row] = known.setdefault(value, len(known))
        except TypeError:
            raise DataError(
                f"{name}: expected values that can be told apart by hash, got "
                f"{type(value).__name__} at row {row}."
            ) from None
    return Codes(out, 0, len(known))


def _as_array(data: Any, name: str) -> NDArray[Any]:
    if data is None or isinstance(data, (str, bytes, dict)):
        raise DataError(
            f"{name}: expected one value or one row per sample, got {type(data).__name__}."
        )
    if is_sparse(data):
        data = data.toarray()
    if isinstance(data, (list, tuple)):
        for row, value in enumerate(data):
            if value is None:
                raise DataError(
                    f"{name}: expected a value, got None at row {row}. Take only rows that are "
                    "present, for instance X[X.present[name]]."
                )
    try:
        values = np.asarray(data)
    except ValueError as error:
        raise ShapeError(f"{name}: expected rows of equal length: {error}.") from error
    if values.ndim not in (1, 2):
        raise ShapeError(
            f"{name}: expected shape (n,) or (n, p), got {values.shape}. Bring images and "
            "sequences to vectors first, for instance by triptych.features."
        )
    if values.shape[0] == 0 or values.size == 0:
        raise DataError(f"{name}: expected at least one row and column, got {values.shape}.")
    return values


def _check_finite(values: NDArray[Any], name: str) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum(dtype=np.float64)):
            return
    bad = ~np.isfinite(values)
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        what = "NaN" if np.isnan(values[at]) else "infinity"
        column = f", column {at[1]}" if len(at) > 1 else ""
        raise DataError(f"{name}: expected finite numbers, got {what} at row {at[0]}{column}.")
