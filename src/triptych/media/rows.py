"""Rows of a modality that lie in a file each, and are read when they are asked for."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import check_choice, check_number
from triptych.errors import FileError, ParameterError, ShapeError
from triptych.media.reading import COLOURS, read_picture, read_sound, resampled

DEFAULT_SIZE = (64, 64)
LARGEST_SIDE = 8192


@dataclass(frozen=True)
class Origin:
    """Where paths were named, for errors.

    Args:
        table: The file that names them.
        column: Its column.
        unit: What its places are called: ``"line"`` or ``"row"``.
        places: Of each row (n,).
    """

    table: str
    column: str
    unit: str
    places: Sequence[int]


class FileRows:
    """Rows of one modality that lie in a file each: the base of pictures and sounds.

    Slices, index arrays and masks take rows without reading; an integer reads one row,
    :meth:`load` all.

    Args:
        paths: A file for each row (n,); ``None`` marks a row without the modality.
        folder: Relative paths start here; the working folder when left out.
        origin: Where the paths were named.

    Raises:
        FileError: A path that is no file; names its row. Files are opened when they are read.
    """

    on_demand: ClassVar[bool] = True
    form: ClassVar[str] = ""
    dtype: np.dtype[Any]
    sample_shape: tuple[int | None, ...]

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str] | None],
        *,
        folder: str | os.PathLike[str] | None = None,
        origin: Origin | None = None,
    ) -> None:
        if isinstance(paths, (str, bytes, os.PathLike)):
            raise ParameterError(f"paths: expected one for each row, got the path {paths!r}.")
        for row, path in enumerate(paths):
            if not isinstance(path, str | os.PathLike | None):
                raise ParameterError(f"paths, row {row}: expected a path or None, got {path!r}.")
        self._paths = [None if path is None else os.fspath(path) for path in paths]
        # Whole, since files are read later, when the working folder may be another.
        self._folder = os.path.abspath("" if folder is None else folder)
        self._origin = origin
        self._index = np.arange(len(self._paths))
        self._index[[path is None for path in self._paths]] = -1
        for row in self._index[self._index >= 0]:
            self._check_there(int(row))

    def __len__(self) -> int:
        return len(self._index)

    @property
    def ndim(self) -> int:
        """Axes of the rows put together."""
        return len(self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, ...) as far as all rows have one size."""
        return (len(self), *(s for s in self.sample_shape if s is not None))

    @property
    def present(self) -> NDArray[np.bool_]:
        """Boolean (n,): which rows have a file."""
        return np.asarray(self._index >= 0)

    def where(self, present: NDArray[np.bool_]) -> Self:
        """The same rows, of which some more are never read."""
        return self if present.all() else self._of(np.where(present, self._index, -1))

    def _of(self, index: NDArray[np.intp]) -> Self:
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__, _index=index)
        return new

    def __getitem__(self, rows: Any) -> Any:
        """One row as it is read (int), or these rows, still unread."""
        if isinstance(rows, (int, np.integer)):
            return self._row(int(self._index[rows]))
        return self._of(np.atleast_1d(self._index[rows]))

    def __iter__(self) -> Iterator[Any]:
        return (self[row] for row in range(len(self)))

    def load(self) -> Any:
        """All rows in memory."""
        raise NotImplementedError

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self.load(), dtype=dtype)

    def digests(self) -> list[bytes | None]:
        """A checksum of each row's file and of how it is read; ``None`` where absent.

        Reads every file once, a file that stands in several rows too, and decodes none.
        """
        known: dict[str, bytes] = {}
        out: list[bytes | None] = []
        for row in self._index.tolist():
            path = self._path(row) if row >= 0 else ""
            if path and path not in known:
                known[path] = self._digest(row)
            out.append(known[path] if path else None)
        return out

    def _digest(self, row: int) -> bytes:
        digest = hashlib.blake2b(repr(self._how()).encode(), digest_size=16)
        try:
            with open(self._path(row), "rb") as file:
                while part := file.read(1 << 20):
                    digest.update(part)
        except OSError as error:
            self._refuse(row, f"cannot be read; {error.strerror or error}", error)
        return digest.digest()

    def _how(self) -> tuple[Any, ...]:
        """What decides how a file becomes a row."""
        return ()

    def _row(self, row: int) -> Any:
        raise NotImplementedError

    def path(self, row: int) -> str | None:
        """The path of a row as it was given; ``None`` where absent."""
        at = int(self._index[row])
        return self._paths[at] if at >= 0 else None

    def _path(self, row: int) -> str:
        return os.path.join(self._folder, self._paths[row] or "")

    def _check_there(self, row: int) -> None:
        try:
            mode = os.stat(self._path(row)).st_mode
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            self._refuse(row, f"expected a file; {str(why)[:1].lower()}{str(why)[1:]}", error)
        if not stat.S_ISREG(mode):
            what = "a folder" if stat.S_ISDIR(mode) else "something else"
            self._refuse(row, f"expected a file, got {what}")

    def _refuse(self, row: int, why: str, cause: BaseException | None = None) -> NoReturn:
        at = f"row {row}"
        if self._origin is not None:
            o = self._origin
            at = f"{o.table}, {o.unit} {o.places[row]}, column {o.column!r}"
        raise FileError(f"{at}: {self._path(row)!r}: {why}.") from cause

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} files)"


class Pictures(FileRows):
    """Picture files, all brought to one size and one kind of colour as they are read.

    The sides are scaled by themselves, so the whole picture is kept and its proportions are not.
    Turned as the camera says, transparent pixels on white, of moving pictures the first, of 16
    bits the upper 8.

    Args:
        paths: A file for each row (n,); ``None`` marks a row without a picture.
        size: Width and height in pixels, or one number for both.
        colour: ``"rgb"`` or ``"grey"``.
        folder: Relative paths start here.
        origin: Where the paths were named.

    Raises:
        ParameterError: A size or colour that cannot be used.
        FileError: A path that is no file; a broken picture is named when it is read.

    Example:
        >>> Pictures([], size=(32, 24), colour="grey").shape
        (0, 1, 24, 32)
    """

    form = "image"

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str] | None],
        *,
        size: int | tuple[int, int] = DEFAULT_SIZE,
        colour: str = "rgb",
        folder: str | os.PathLike[str] | None = None,
        origin: Origin | None = None,
    ) -> None:
        sides = tuple(size) if isinstance(size, Sequence) else (size, size)
        if len(sides) != 2:
            raise ParameterError(f"size: expected a width and a height, got {size!r}.")
        for side in sides:
            check_number("size", side, low=1, high=LARGEST_SIDE, integer=True)
        check_choice("colour", colour, tuple(COLOURS))
        self.size, self.colour = (int(sides[0]), int(sides[1])), colour
        self.dtype = np.dtype(np.uint8)
        self.sample_shape = (COLOURS[colour], self.size[1], self.size[0])
        super().__init__(paths, folder=folder, origin=origin)

    def load(self) -> NDArray[np.uint8]:
        """Pictures (n, c, h, w) in memory; zeros in rows without one."""
        out = np.zeros(self.shape, dtype=np.uint8)
        for place, row in enumerate(self._index.tolist()):
            if row >= 0:
                out[place] = self._row(row)
        return out

    def _how(self) -> tuple[Any, ...]:
        return "picture", self.size, self.colour

    def _row(self, row: int) -> NDArray[np.uint8]:
        if row < 0:
            return np.zeros(self.shape[1:], dtype=np.uint8)
        try:
            return read_picture(self._path(row), self.size, self.colour)
        except FileError as error:
            self._refuse(row, str(error).rstrip("."), error)


class Sounds(FileRows):
    """WAV files as waveforms (t_i,) in float32 from -1 to 1; several channels become their mean.

    Args:
        paths: A file for each row (n,); ``None`` marks a row without a sound.
        rate: Samples per second; other rates are resampled. When left out every file must have
            the rate of the first.
        seconds: What is longer is cut; whole sounds when left out.
        folder: Relative paths start here.
        origin: Where the paths were named.

    Raises:
        ParameterError: A rate or length that cannot be used.
        FileError: A path that is no file; a broken sound is named when it is read.
    """

    form = "waveform"

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str] | None],
        *,
        rate: int | None = None,
        seconds: float | None = None,
        folder: str | os.PathLike[str] | None = None,
        origin: Origin | None = None,
    ) -> None:
        if rate is not None:
            check_number("rate", rate, low=1, high=1_000_000, integer=True)
        if seconds is not None:
            check_number("seconds", seconds, low=0, open_low=True)
        self.rate, self.seconds = rate, seconds
        self.dtype = np.dtype(np.float32)
        self.sample_shape = (None,)
        super().__init__(paths, folder=folder, origin=origin)
        self._native = rate or self._first_rate()

    def load(self) -> list[NDArray[np.float32] | None]:
        """Sounds (t_i,) in memory; ``None`` in rows without one."""
        return [self._row(row) if row >= 0 else None for row in self._index.tolist()]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        raise ShapeError("sounds of different length make no array.")

    def _how(self) -> tuple[Any, ...]:
        return "sound", self._native, self.seconds

    def _first_rate(self) -> int:
        rows = self._index[self._index >= 0]
        if not len(rows):
            return 0
        try:
            return read_sound(self._path(int(rows[0])))[0]
        except FileError as error:
            self._refuse(int(rows[0]), str(error).rstrip("."), error)

    def _row(self, row: int) -> NDArray[np.float32]:
        if row < 0:
            return np.zeros(0, dtype=np.float32)
        try:
            return self.read_like(self._path(row))
        except FileError as error:
            self._refuse(row, str(error).rstrip("."), error)

    def read_like(self, path: str | os.PathLike[str]) -> NDArray[np.float32]:
        """Another file, at the rate and of the length of these."""
        rate, samples = read_sound(path)
        if self.seconds is not None:
            samples = samples[: max(1, round(self.seconds * rate))]
        if rate == self._native:
            return samples
        if self.rate is None:
            raise FileError(
                f"it has {rate} samples per second, the first file {self._native}; declare a "
                "rate, to which all are resampled (in a table 'path:sound:8000')"
            )
        return resampled(samples, rate, self.rate)


def loaded(data: Any) -> Any:
    """Rows in memory: what lies in files is read, anything else is given back."""
    return data.load() if isinstance(data, FileRows) else data
