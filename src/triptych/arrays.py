"""The one gate for arrays of users: what enters is checked here, and named when bad."""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.errors import DataError, ParameterError, ShapeError, meant

CHUNK_ROWS = 16_384
CHUNK_NUMBERS = 1 << 21
MOST = sys.float_info.max  # whole numbers beyond it are no floats either


def is_sparse(data: Any) -> bool:
    """Whether ``data`` is a SciPy sparse container, without importing SciPy."""
    return type(data).__module__.startswith("scipy.sparse")


def is_dask(data: Any) -> bool:
    """Whether ``data`` is a Dask array, without importing Dask."""
    return type(data).__module__.startswith("dask.array")


def is_on_demand(data: Any) -> bool:
    """Whether rows lie in files of their own (:mod:`triptych.media`)."""
    return getattr(data, "on_demand", False) is True


def is_lazy(data: Any) -> bool:
    """Whether reading ``data`` costs more than a look at memory (memory-mapped, Dask, files)."""
    if is_dask(data) or is_on_demand(data):
        return True
    while isinstance(data, np.ndarray):
        if isinstance(data, np.memmap):
            return True
        data = data.base
    return False


def rows_at_once(shape: tuple[int, ...], numbers: int = CHUNK_NUMBERS) -> int:
    """How many rows of an array (n, ...) hold about so many numbers: 1 to CHUNK_ROWS."""
    return int(min(max(numbers // max(math.prod(shape[1:]), 1), 1), CHUNK_ROWS))


def row_chunks(n: int, rows: int = CHUNK_ROWS) -> Iterator[slice]:
    """Slices that cover ``range(n)`` in order."""
    for start in range(0, n, rows):
        yield slice(start, min(start + rows, n))


def _finite(values: NDArray[Any]) -> bool:
    # One sum is far cheaper than a mask; it can only overflow, never hide a NaN.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(np.sum(values, dtype=np.float64)):
            return True
    return bool(np.isfinite(values).all())


def check_finite(data: Any, name: str, present: NDArray[np.bool_] | None = None) -> None:
    """Raise :class:`DataError` at the first NaN or infinity in rows that are present.

    Args:
        data: Array of any shape whose first axis is rows, or a SciPy sparse matrix.
        name: Modality, for the message.
        present: Boolean (n,); rows that are ``False`` are not looked at.
    """
    if is_on_demand(data):  # looked at whenever a file is read
        return
    values = data.data if is_sparse(data) else data
    if values.dtype.kind not in "fc":
        return
    if is_sparse(data):
        if _finite(values):
            return
        coo = data.tocoo()
        bad = ~np.isfinite(coo.data)
        if present is not None:
            bad &= present[coo.row]
        if bad.any():
            at = np.flatnonzero(bad)[0]
            refuse_not_finite(name, coo.data[at], int(coo.row[at]), (int(coo.col[at]),))
        return
    for part in row_chunks(len(values)):
        block = np.asarray(values[part])
        if _finite(block):
            continue
        bad = ~np.isfinite(block)
        if present is not None:
            bad[~present[part]] = False
        if bad.any():
            row, *rest = (int(i) for i in np.argwhere(bad)[0])
            refuse_not_finite(name, block[(row, *rest)], part.start + row, tuple(rest))


def refuse_not_finite(name: str, value: Any, row: int, rest: tuple[int, ...]) -> None:
    """Raise :class:`DataError` that names modality, row and column of a NaN or infinity."""
    what = "NaN" if np.isnan(value) else "infinity"
    where = f"column {rest[0]}" if len(rest) == 1 else f"position {rest}"
    raise DataError(
        f"modality {name!r}: expected finite numbers, got {what} at row {row}, {where}. Mark "
        "absent rows: present={...} in Python, '<name>__present' in a file; Modalities.from_nan "
        "turns all-NaN rows into absence."
    )


def as_mask(mask: ArrayLike, n: int, name: str) -> NDArray[np.bool_]:
    """A boolean mask (n,), from booleans or from numbers that are only 0 and 1."""
    values = np.asarray(mask)
    if values.shape != (n,):
        raise ShapeError(
            f"presence of modality {name!r}: expected one boolean for each of {n} rows, "
            f"got shape {values.shape}."
        )
    if values.dtype.kind not in "biuf" or not np.isin(values, (0, 1)).all():
        raise DataError(f"presence of modality {name!r}: expected booleans, got {values.dtype}.")
    return values.astype(bool)


def as_labels(y: ArrayLike, n: int, name: str = "y") -> NDArray[Any]:
    """Labels (n,) or (n, k) of one type, without NaN or ``None``; a column (n, 1) is flattened.

    Raises:
        ShapeError: Not one label, or one row of labels, for each of n rows.
        DataError: ``None``, NaN, labels of several types, or of a type that is none of numbers,
            booleans and strings.
    """
    try:
        values = np.asarray(y)
    except ValueError:  # rows of different lengths
        raise ShapeError(
            f"{name}: expected labels (n,) or (n, k), got rows unlike in length."
        ) from None
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim == 0 or values.shape[0] != n or not all(values.shape[1:]):
        raise ShapeError(
            f"{name}: expected one label for each of {n} rows, got shape {values.shape}."
        )
    if values.dtype.kind == "O":
        values = _of_one_type(values, name)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        row = int(np.argwhere(~np.isfinite(values))[0][0])
        raise DataError(f"{name}: expected finite labels, got {values[row]} at row {row}.")
    if values.dtype.kind not in "biufUS":
        raise DataError(f"{name}: expected numbers or strings, got {values.dtype}.")
    return values


def _of_one_type(values: NDArray[Any], name: str) -> NDArray[Any]:
    """Objects as an array of strings or numbers."""
    kinds: dict[str, Any] = {
        "a string": str,
        "a number": (int, float, np.integer, np.floating, np.bool_),
    }
    first = ""
    for place, value in np.ndenumerate(values):
        if value is None:
            raise DataError(f"{name}: expected a label, got None at row {place[0]}.")
        what = next((word for word, kind in kinds.items() if isinstance(value, kind)), "")
        if not what:
            got = type(value).__name__
            raise DataError(f"{name}: expected numbers or strings, got {got} at row {place[0]}.")
        if first and what != first:
            raise DataError(
                f"{name}: expected labels of one type, got {first} at row 0 and {what} at row "
                f"{place[0]}."
            )
        first = what
    return np.array(values.tolist())


def check_number(
    name: str,
    value: Any,
    *,
    low: float = -np.inf,
    high: float = np.inf,
    integer: bool = False,
    open_low: bool = False,
    infinite: bool = False,
) -> None:
    """Raise :class:`ParameterError` unless ``value`` is a finite number in [low, high].

    Args:
        name: Parameter, for the message.
        value: What the user gave.
        low: Smallest value allowed (excluded with ``open_low``).
        high: Largest value allowed.
        integer: Whether only whole numbers will do.
        open_low: Whether ``low`` itself is refused.
        infinite: Whether infinity will do as well, where it means that there is no limit.
    """
    kinds = (int, np.integer) if integer else (int, float, np.integer, np.floating)
    ok = isinstance(value, kinds) and not isinstance(value, (bool, np.bool_))
    within = ok and (low < value if open_low else low <= value) and value <= high
    if within and (-MOST <= value <= MOST or (infinite and value == np.inf)):
        return
    noun = "a whole number" if integer else "a number"
    if within:
        noun = noun.replace("a", "a finite", 1)
        value = float("inf") if value > MOST else float("-inf")
    lower = "" if low == -np.inf else (f" > {low:g}" if open_low else f" >= {low:g}")
    upper = "" if high == np.inf else (f" and <= {high:g}" if lower else f" <= {high:g}")
    raise ParameterError(f"{name}: expected {noun}{lower}{upper}, got {value!r}.")


def check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Raise :class:`ParameterError` unless ``value`` is one of ``choices``."""
    # Arrays are compared by entry, and the answer is no bool.
    if not isinstance(value, Hashable) or value not in choices:
        listed = ", ".join(repr(c) for c in choices)
        guess = meant(value, [c for c in choices if isinstance(c, str)])
        raise ParameterError(f"{name}: expected one of {listed}; got {value!r}.{guess}")


def check_modalities_named(name: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Raise :class:`ParameterError` if a parameter names what is no modality.

    Args:
        name: Of the parameter.
        given: What it names.
        known: Modalities.
    """
    unknown = [one for one in given if one not in known]
    if unknown:
        guess = meant(unknown[0], known)
        raise ParameterError(
            f"{name}: {unknown} are no modalities; there are {list(known)}.{guess}"
        )
