"""The container: named modalities of the same samples, with a mask of what is present."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.arrays import (
    as_mask,
    check_finite,
    is_dask,
    is_lazy,
    is_on_demand,
    is_sparse,
    row_chunks,
)
from triptych.errors import DataError, ModalityError, ShapeError, meant
from triptych.values import register

SHARED = "shared"
FORMS = ("vector", "sequence", "image", "waveform", "text")


@register
@dataclass(frozen=True)
class Kind:
    """What one sample of a modality is.

    Args:
        form: ``"vector"``, ``"sequence"``, ``"image"``, ``"waveform"`` or ``"text"``.
        shape: Shape of one sample; ``None`` stands for a length that differs between samples:
            vector (p,), sequence (t, p) or (None, p), image (c, h, w), waveform (t,) or (None,),
            text ().
    """

    form: str
    shape: tuple[int | None, ...] = ()

    @property
    def n_features(self) -> int:
        """Columns p of a vector or of a sequence's frames."""
        width = self.shape[-1] if self.form in ("vector", "sequence") else None
        if width is None:
            raise DataError(f"a modality of kind {self.form!r} has no fixed number of features.")
        return width

    def __str__(self) -> str:
        inner = ", ".join("t" if s is None else str(s) for s in self.shape)
        return f"{self.form} ({inner})" if self.shape else self.form


class Modalities:
    """Named modalities of the same n samples. Immutable; slices share the data.

    Args:
        data: Modality name to data with n rows: *vector* (n, p) as NumPy, SciPy sparse,
            memory-mapped or Dask array; *sequence* (n, t, p) or a list of (t_i, p); *image*
            (n, c, h, w); *waveform* list of (t_i,); *text* list of str. ``None`` in a list marks
            an absent row. Pictures and sounds may stay in their files (:mod:`triptych.media`).
        present: Boolean (n,) by modality name; names left out are present in all rows. What
            stands in absent rows is never read.
        kinds: Form by modality name where it cannot be told from the data, for instance
            ``{"sound": "waveform"}`` for an array (n, t).

    Raises:
        ModalityError: No modality, a positional list, or a name that is reserved or not a str.
        ShapeError: Modalities of different row counts, or a form that is not recognised.
        DataError: NaN or infinity in a present row; names modality, row and column. Memory-mapped
            and Dask arrays are checked when a method reads them.

    Example:
        >>> X = Modalities({"pixels": np.zeros((3, 4)), "words": ["a", None, "b"]})
        >>> X.names, len(X), X.present["words"]
        (('pixels', 'words'), 3, array([ True, False,  True]))
        >>> X[1:]["words"]
        [None, 'b']
    """

    _data: dict[str, Any]
    _present: dict[str, NDArray[np.bool_]]
    _kinds: dict[str, Kind]
    _rows: NDArray[np.intp] | slice | None
    _n: int
    _look = True  # whether arrays are looked at for NaN when the container is made

    def __init__(
        self,
        data: Mapping[str, Any] | Modalities,
        *,
        present: Mapping[str, ArrayLike] | None = None,
        kinds: Mapping[str, str] | None = None,
    ) -> None:
        if isinstance(data, Modalities):
            held = {name: data.present[name] for name in data.names}
            forms = {name: data.kind(name).form for name in data.names}
            present, kinds = {**held, **(present or {})}, {**forms, **(kinds or {})}
            data = dict(data.items())
        if not isinstance(data, Mapping):
            _refuse_container(data)
        if not data:
            raise ModalityError("expected at least one modality, got an empty dict.")
        for label, names in (("present", present or {}), ("kinds", kinds or {})):
            for name in names:
                if name not in data:
                    raise ModalityError(
                        f"{label} names {name!r}, which is not a modality; there are {list(data)}."
                    )
        store: dict[str, Any] = {}
        masks: dict[str, NDArray[np.bool_]] = {}
        forms_: dict[str, Kind] = {}
        for name, values in data.items():
            _check_name(name)
            store[name], forms_[name], found = _recognise(name, values, (kinds or {}).get(name))
            n = _length(store[name])
            mask = np.ones(n, dtype=bool) if found is None else found
            if present and name in present:
                mask = mask & as_mask(present[name], n, name)
                if found is not None and (as_mask(present[name], n, name) & ~found).any():
                    row = int(np.flatnonzero(as_mask(present[name], n, name) & ~found)[0])
                    raise DataError(f"modality {name!r}: row {row} is None but marked present.")
            masks[name] = mask
        lengths = {name: len(mask) for name, mask in masks.items()}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name!r} {n}" for name, n in lengths.items())
            raise ShapeError(f"every modality must have the same number of rows; got {listed}.")
        for name, values in store.items():
            looked = self._look or isinstance(values, list)
            if looked and not is_lazy(values) and forms_[name].form != "text":
                _check_values(name, values, masks[name])
        for mask in masks.values():
            mask.flags.writeable = False
        self._set(store, masks, forms_, None, next(iter(lengths.values())))

    def _set(
        self,
        data: dict[str, Any],
        present: dict[str, NDArray[np.bool_]],
        kinds: dict[str, Kind],
        rows: NDArray[np.intp] | slice | None,
        n: int,
    ) -> None:
        self.__dict__.update(_data=data, _present=present, _kinds=kinds, _rows=rows, _n=n)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"Modalities is immutable; cannot set {name!r}. Build a new one.")

    @classmethod
    def from_nan(
        cls, data: Mapping[str, Any], *, kinds: Mapping[str, str] | None = None
    ) -> Modalities:
        """Modalities in which a row whose values are all NaN is absent.

        Args:
            data: As for the constructor; a row of NaN only marks absence, a row with some NaN
                stays an error.
            kinds: As for the constructor.
        """
        if not isinstance(data, Mapping):
            _refuse_container(data)
        present = {}
        for name, values in data.items():
            if isinstance(values, np.ndarray) and values.dtype.kind == "f" and values.ndim > 1:
                axes = tuple(range(1, values.ndim))
                present[name] = ~np.isnan(values).all(axis=axes)
        return cls(data, present=present, kinds=kinds)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the modalities, in the order given."""
        return tuple(self._data)

    @property
    def shape(self) -> tuple[int]:
        """(n,): scikit-learn asks this before it takes rows."""
        return (self._n,)

    @property
    def present(self) -> Mapping[str, NDArray[np.bool_]]:
        """Boolean (n,) by modality: which rows have it."""
        if self._rows is None:
            return dict(self._present)
        return {name: mask[self._rows] for name, mask in self._present.items()}

    @property
    def complete(self) -> bool:
        """Whether every row has every modality."""
        return all(bool(mask.all()) for mask in self.present.values())

    def kind(self, name: str) -> Kind:
        """Form and shape of one sample of a modality."""
        self._known(name)
        return self._kinds[name]

    @property
    def kinds(self) -> dict[str, Kind]:
        """Form and shape of one sample, by modality."""
        return dict(self._kinds)

    def keys(self) -> tuple[str, ...]:
        """Names of the modalities, so that ``dict(X)`` works."""
        return self.names

    def items(self) -> Iterator[tuple[str, Any]]:
        """Pairs of name and data."""
        return ((name, self[name]) for name in self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._data

    def __len__(self) -> int:
        return self._n

    def _known(self, name: str) -> None:
        if name not in self._data:
            guess = meant(name, self.names)
            raise ModalityError(f"unknown modality {name!r}; there are {list(self.names)}.{guess}")

    def __getitem__(self, key: Any) -> Any:
        """Data of one modality (str), or Modalities of some rows (slice, indices, mask, int)."""
        if isinstance(key, str):
            self._known(key)
            values = take_rows(self._data[key], self._rows)
            # A file of an absent row is not opened, whatever marked it absent.
            return values.where(self.present[key]) if is_on_demand(values) else values
        if isinstance(key, tuple) and len(key) == 2 and key[1] is Ellipsis:
            key = key[0]  # scikit-learn takes rows as X[rows, ...]
        rows = self._compose(key)
        new = object.__new__(type(self))
        n = len(range(*rows.indices(self._base_rows))) if isinstance(rows, slice) else len(rows)
        new._set(self._data, self._present, self._kinds, rows, n)
        return new

    @property
    def _base_rows(self) -> int:
        return len(next(iter(self._present.values())))

    def _compose(self, key: Any) -> NDArray[np.intp] | slice:
        if isinstance(key, slice):
            if self._rows is None:
                return slice(*key.indices(self._n)) if (key.step or 1) > 0 else self._index(key)
            return self._index(key)
        chosen = np.atleast_1d(np.asarray(key))
        if chosen.size == 0:
            chosen = chosen.astype(np.intp)
        if chosen.ndim != 1 or chosen.dtype.kind not in "biu":
            raise DataError(
                "rows are taken by a slice, an integer, integers (k,) or a boolean mask (n,); "
                f"got {type(key).__name__} of shape {chosen.shape} and type {chosen.dtype}."
            )
        if chosen.dtype.kind == "b":
            if len(chosen) != self._n:
                raise ShapeError(f"a mask of {len(chosen)} rows cannot take rows of {self._n}.")
            chosen = np.flatnonzero(chosen)
        elif chosen.size and (chosen.max() >= self._n or chosen.min() < -self._n):
            worst = chosen.max() if chosen.max() >= self._n else chosen.min()
            # IndexError, so that old-style iteration and scikit-learn stop where they should.
            raise IndexError(f"row {worst} is out of range: there are {self._n} rows.")
        return self._index(chosen.astype(np.intp))

    def _index(self, key: Any) -> NDArray[np.intp]:
        base = np.arange(self._base_rows, dtype=np.intp)
        if self._rows is not None:
            base = base[self._rows]
        chosen: NDArray[np.intp] = base[key]
        return chosen

    def stored(self, name: str) -> tuple[Any, NDArray[np.intp] | slice | None]:
        """All rows that are kept of a modality, and which of them these are (``None``: all).

        For readers that go through rows in blocks: taking ``X[name]`` of chosen rows copies them.
        """
        self._known(name)
        return self._data[name], self._rows

    def select(self, *names: str) -> Modalities:
        """Only these modalities, in the order named."""
        if not names:
            raise ModalityError(f"select needs a name; there are {list(self.names)}.")
        for name in names:
            self._known(name)
        new = object.__new__(type(self))
        new._set(
            {name: self._data[name] for name in names},
            {name: self._present[name] for name in names},
            {name: self._kinds[name] for name in names},
            self._rows,
            self._n,
        )
        return new

    def with_present(self, present: Mapping[str, ArrayLike]) -> Modalities:
        """The same data with more rows marked absent.

        Args:
            present: Boolean (n,) by name; a row is present where it was and the mask says so.
        """
        masks = dict(self.present)
        for name, mask in present.items():
            self._known(name)
            masks[name] = masks[name] & as_mask(mask, self._n, name)
        new = object.__new__(type(self))
        data = {name: take_rows(values, self._rows) for name, values in self._data.items()}
        new._set(data, masks, self._kinds, None, self._n)
        return new

    def merge(self, other: Mapping[str, Any] | Modalities) -> Modalities:
        """These modalities and those of ``other``, of the same rows."""
        more = as_modalities(other)
        twice = [name for name in more.names if name in self]
        if twice:
            raise ModalityError(f"modalities {twice} are on both sides; rename one.")
        return Modalities(
            {**dict(self.items()), **dict(more.items())},
            present={**self.present, **more.present},
            kinds={name: k.form for name, k in {**self.kinds, **more.kinds}.items()},
        )

    def __repr__(self) -> str:
        parts = []
        for name in self.names:
            seen = int(self.present[name].sum())
            some = "" if seen == self._n else f", {seen} present"
            parts.append(f"{name}: {self._kinds[name]}{some}")
        return f"Modalities({self._n} rows; {'; '.join(parts)})"


def make_parts(
    data: Mapping[str, NDArray[Any]], present: Mapping[str, NDArray[np.bool_]]
) -> Modalities:
    """What a method returns: codes (n, d) or (n, k, d) by part, ``"shared"`` among the names.

    Args:
        data: Codes by part name.
        present: Boolean (n,) by part name; names left out are present in all rows.
    """
    n = len(next(iter(data.values())))
    masks = {name: np.array(present.get(name, np.ones(n, dtype=bool))) for name in data}
    for name, values in data.items():
        _check_values(name, values, masks[name])
        masks[name].flags.writeable = False
    forms = {2: "vector", 3: "sequence", 4: "image"}
    kinds = {name: Kind(forms[v.ndim], tuple(v.shape[1:])) for name, v in data.items()}
    new = object.__new__(Modalities)
    new._set(dict(data), masks, kinds, None, n)
    return new


def as_modalities(X: Mapping[str, Any] | Modalities, *, look: bool = True) -> Modalities:
    """``X`` itself if it is a container already, else the container made of a dict.

    Args:
        X: Container or dict.
        look: Whether values are looked at for NaN and infinity; a method that meets them anyway
            while it reads saves a pass.
    """
    if isinstance(X, Modalities):
        return X
    return Modalities(X) if look else _Unseen(X)


class _Unseen(Modalities):
    """Modalities whose values nobody has looked at yet."""

    _look = False


def take_rows(values: Any, rows: NDArray[np.intp] | slice | None) -> Any:
    """Rows of an array, sparse matrix or list; ``None`` takes all."""
    if rows is None:
        return values
    if isinstance(values, list):
        return values[rows] if isinstance(rows, slice) else [values[i] for i in rows]
    return values[rows]


def check_rows_finite(X: Modalities) -> None:
    """Check memory-mapped data for NaN and infinity, block by block; Dask data are not read."""
    for name in X.names:
        values = X._data[name]
        if not is_lazy(values) or is_dask(values) or is_on_demand(values):
            continue
        rows = np.arange(X._base_rows)[slice(None) if X._rows is None else X._rows]
        for part in row_chunks(len(rows)):
            try:
                check_finite(np.asarray(values[rows[part]]), name, X._present[name][rows[part]])
            except DataError as error:
                start = f" (counted from row {part.start})" if part.start else ""
                raise DataError(f"{error}{start}") from None


def _refuse_container(data: Any) -> NoReturn:
    if isinstance(data, (list, tuple)):
        names = ", ".join(f'"modality_{i}": ...' for i in range(max(len(data), 2)))
        raise ModalityError(
            "modalities have names: expected a dict or Modalities, got a "
            f"{type(data).__name__}. Write {{{names}}} with names of your own."
        )
    raise ModalityError(
        f"expected a dict of named modalities or Modalities, got {type(data).__name__}. "
        'Write {"image": images, "text": captions}, for example.'
    )


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not name:
        raise ModalityError(f"a modality's name must be a non-empty str, got {name!r}.")
    if name == SHARED:
        raise ModalityError(
            "'shared' is reserved for the shared part that fission methods return; "
            "give the modality another name."
        )
    if "__" in name or "/" in name or ":" in name:
        raise ModalityError(f"a modality's name may not hold '__', '/' or ':'; got {name!r}.")


def _length(values: Any) -> int:
    return len(values) if isinstance(values, list) else int(values.shape[0])


def _recognise(
    name: str, values: Any, form: str | None
) -> tuple[Any, Kind, NDArray[np.bool_] | None]:
    """Data in the form that is kept, its kind, and the mask that ``None`` entries make."""
    if form is not None and form not in FORMS:
        raise ModalityError(f"modality {name!r}: kind must be one of {FORMS}, got {form!r}.")
    if isinstance(values, (str, bytes, Mapping)) or values is None:
        raise DataError(
            f"modality {name!r}: expected an array or a list with one entry per row, "
            f"got {type(values).__name__}."
        )
    if is_on_demand(values):
        if form not in (None, values.form):
            raise ShapeError(f"modality {name!r}: declared {form!r}, but it is {values.form!r}.")
        there = values.present
        return values, Kind(values.form, values.sample_shape), None if there.all() else there
    if isinstance(values, np.ndarray) and values.dtype.kind in "OUS" and values.ndim == 1:
        values = values.tolist()
    if isinstance(values, (list, tuple)):
        return _recognise_list(name, list(values), form)
    if not is_sparse(values) and not is_dask(values) and not isinstance(values, np.ndarray):
        values = np.asarray(values)
    if isinstance(values, np.ma.MaskedArray):
        if np.ma.is_masked(values):
            raise DataError(
                f"modality {name!r}: an array with masked entries; mark absent rows with "
                "present={...}, and fill in what else is masked."
            )
        values = values.data
    if is_sparse(values):
        values = values.tocsr()
    if is_dask(values) and any(np.isnan(size) for size in values.shape):
        raise ShapeError(
            f"modality {name!r}: a Dask array of unknown chunk sizes, shape {values.shape}; call "
            "compute_chunk_sizes() on it first."
        )
    if values.dtype.kind not in "biufc" or values.dtype.kind == "c":
        raise DataError(
            f"modality {name!r}: expected real numbers or str, got an array of {values.dtype}."
        )
    forms = {2: ("vector", "waveform"), 3: ("sequence",), 4: ("image",)}.get(values.ndim, ())
    if not forms:
        hint = " Make one column of it with values[:, None]." if values.ndim == 1 else ""
        raise ShapeError(
            f"modality {name!r}: expected vectors (n, p), sequences (n, t, p) or images "
            f"(n, c, h, w); got shape {values.shape}.{hint}"
        )
    if form is not None and form not in forms:
        raise ShapeError(
            f"modality {name!r}: declared {form!r}, but an array of shape {values.shape} is "
            f"{' or '.join(forms)}."
        )
    if 0 in values.shape[1:]:
        raise ShapeError(f"modality {name!r}: no columns; got shape {values.shape}.")
    return values, Kind(form or forms[0], tuple(int(s) for s in values.shape[1:])), None


def _recognise_list(
    name: str, values: list[Any], form: str | None
) -> tuple[Any, Kind, NDArray[np.bool_] | None]:
    found = np.array([value is not None for value in values], dtype=bool)
    mask = None if found.all() else found
    first = next((value for value in values if value is not None), None)
    if first is None:
        if form == "text":
            return values, Kind("text"), mask
        raise DataError(f"modality {name!r}: no row is present, so its kind cannot be told.")
    if isinstance(first, str):
        for row, value in enumerate(values):
            if value is not None and not isinstance(value, str):
                raise DataError(
                    f"modality {name!r}: expected str in every row, got "
                    f"{type(value).__name__} ({value!r}) at row {row}; mark absence with None."
                )
        if form not in (None, "text"):
            raise ShapeError(f"modality {name!r}: declared {form!r}, but it holds str.")
        return values, Kind("text"), mask
    arrays = [None if value is None else np.asarray(value) for value in values]
    sample = next(a for a in arrays if a is not None)
    ndim = sample.ndim
    if ndim == 0:
        raise ShapeError(
            f"modality {name!r}: expected vectors (n, p); got a list of single values. "
            "Make one column of it with [[v] for v in values]."
        )
    for row, a in enumerate(arrays):
        if a is None:
            continue
        if a.dtype.kind not in "biuf":
            raise DataError(f"modality {name!r}: expected numbers, got {a.dtype} at row {row}.")
        if a.ndim != ndim or (ndim == 2 and a.shape[1] != sample.shape[1]):
            raise ShapeError(
                f"modality {name!r}: row {row} has shape {a.shape}, the first has {sample.shape}."
            )
    shapes = {a.shape for a in arrays if a is not None}
    if len(shapes) == 1 and ndim in (1, 2, 3) and form != "waveform":
        # A list of samples of one shape is the same data as the stacked array.
        stacked = np.zeros((len(arrays), *sample.shape), dtype=sample.dtype)
        for row, a in enumerate(arrays):
            if a is not None:
                stacked[row] = a
        kept, kind, _ = _recognise(name, stacked, form)
        return kept, kind, mask
    if ndim == 1 and form in (None, "waveform"):
        return arrays, Kind("waveform", (None,)), mask
    if ndim == 2 and form in (None, "sequence"):
        for row, a in enumerate(arrays):
            if a is not None and len(a) == 0:
                raise ShapeError(f"modality {name!r}: the sequence at row {row} is empty.")
        return arrays, Kind("sequence", (None, int(sample.shape[1]))), mask
    raise ShapeError(
        f"modality {name!r}: samples of different shapes, {sorted(shapes)[:3]} among them; only "
        "sequences (t_i, p) and waveforms (t_i,) may differ, and only in length."
    )


def _check_values(name: str, values: Any, present: NDArray[np.bool_]) -> None:
    if not isinstance(values, list):
        check_finite(values, name, present)
        return
    for row, a in enumerate(values):
        if a is not None and present[row] and a.dtype.kind == "f" and not np.isfinite(a).all():
            at: Sequence[int] = [int(i) for i in np.argwhere(~np.isfinite(a))[0]]
            what = "NaN" if np.isnan(a[tuple(at)]) else "infinity"
            column = f", column {at[1]}" if len(at) > 1 else ""
            raise DataError(
                f"modality {name!r}: expected finite numbers, got {what} at row {row}, step "
                f"{at[0]}{column}."
            )
