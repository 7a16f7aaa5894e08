"""The contract of a method: scikit-learn's manners over named modalities.

A method writes ``__init__`` (stores its arguments), ``_fit`` and ``_transform``, and whatever else
it can do (``_reconstruct``, ``_score``, ``_predict``). The bases here check what users give,
so that every method refuses the same bad input in the same words.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from triptych.arrays import as_labels, check_number, is_on_demand, row_chunks
from triptych.contracts import persistence
from triptych.errors import (
    CapabilityError,
    DataError,
    ModalityError,
    NotFittedError,
    ParameterError,
    ShapeError,
    meant,
)
from triptych.modalities import (
    FORMS,
    Kind,
    Modalities,
    as_modalities,
    check_rows_finite,
    make_parts,
)
from triptych.neighbours import nearest
from triptych.values import count_numbers, nested, replaced

Data = Mapping[str, Any] | Modalities

# Rows in files that are read and coded at a time.
FILE_ROWS = 1024


@dataclass(frozen=True)
class Capabilities:
    """What a method declares that it can do; the contract tests hold it to its word.

    Args:
        min_modalities: Fewest modalities it fits.
        max_modalities: Most modalities it fits; ``None`` for any number.
        kinds: Forms of data that it takes.
        missing_at_fit: Whether rows may lack a modality in ``fit``.
        missing_at_transform: Whether rows may lack a modality in ``transform``.
        one_modality_at_transform: Whether ``transform`` takes one modality alone.
        needs_labels: Whether ``fit`` needs ``y``.
        uses_labels: Whether ``fit`` learns from ``y`` too where it is given.
        reconstructs: Whether it has ``reconstruct``.
        predicts: Whether it has ``predict``, where it was fitted with ``y``.
        streams: Whether it learns from data larger than memory in one pass.
        distributes: Whether ``fit`` runs on several processes.
    """

    min_modalities: int = 2
    max_modalities: int | None = None
    kinds: tuple[str, ...] = FORMS
    missing_at_fit: bool = False
    missing_at_transform: bool = False
    one_modality_at_transform: bool = False
    needs_labels: bool = False
    uses_labels: bool = False
    reconstructs: bool = False
    predicts: bool = False
    streams: bool = False
    distributes: bool = False

    def refusal(self, data: Modalities) -> str:
        """Why modalities of this number and these kinds cannot be fitted; ``""`` if they can."""
        names = list(data.names)
        if len(names) < self.min_modalities:
            return f"needs at least {self.min_modalities} modalities; got {names}."
        if self.max_modalities is not None and len(names) > self.max_modalities:
            most = f"takes at most {self.max_modalities} modalities; got {names}."
            return f"{most} Choose some with X.select(...), on the command line with --only."
        for name in names:
            form = data.kind(name).form
            if form not in self.kinds:
                return f"takes {', '.join(self.kinds)}; modality {name!r} is {form}."
        return ""

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for tables."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


class Method(BaseEstimator):
    """Base of all methods: checks of input, parameters, saving."""

    panel: ClassVar[str] = ""
    capabilities: ClassVar[Capabilities] = Capabilities()
    names_in_: tuple[str, ...]
    kinds_: dict[str, Kind]
    # Whether ``_fit`` itself finds NaN and infinity while it reads, which saves a pass.
    _looks_in_fit: ClassVar[bool] = False
    # Whether ``_transform`` itself holds no more than some rows of data in files.
    _reads_in_pieces: ClassVar[bool] = False

    # -- fit and transform -----------------------------------------------------------------

    def fit(self, X: Data, y: ArrayLike | None = None, *, validation: Any = None) -> Self:
        """Learn from paired modalities.

        Args:
            X: Modalities, or a dict of them, n >= 2 rows.
            y: Labels (n,), for methods that need them; checked and else left alone.
            validation: Modalities of other rows, or a pair ``(X_valid, y_valid)``, for methods
                that watch how well they generalise while they learn.

        Returns:
            self

        Raises:
            DataError: The data cannot be used; names the modality and the row.
            ParameterError: A parameter has a value that cannot be used.
        """
        self._check_parameters()
        data = self._gate_fit(X)
        labels = self._gate_labels(y, len(data), "y")
        if labels is not None and self.capabilities.needs_labels:
            _check_classes(labels)
        self.names_in_, self.kinds_ = data.names, data.kinds
        try:
            self._fit(data, labels, self._gate_validation(validation))
        except Exception:
            # A refused fit leaves a method that is not fitted, not one that is half fitted.
            del self.names_in_, self.kinds_
            raise
        return self

    def transform(self, X: Data) -> Any:
        """Codes of rows, in the form that the panel declares.

        Args:
            X: Modalities with names that were fitted, n >= 1 rows.

        Raises:
            NotFittedError: Before ``fit``.
            ModalityError: A modality that was not fitted.
            CapabilityError: Absent modalities, where the method does not take them.
        """
        self._check_fitted()
        data = self._gate_transform(X)
        in_files = any(is_on_demand(data.stored(name)[0]) for name in data.names)
        if in_files and len(data) > FILE_ROWS and not self._reads_in_pieces:
            pieces = [self._transform(data[part]) for part in row_chunks(len(data), FILE_ROWS)]
            return _joined(pieces)
        return self._transform(data)

    def fit_transform(self, X: Data, y: ArrayLike | None = None, **fit_params: Any) -> Any:
        """``fit(X, y)`` and then ``transform(X)``."""
        return self.fit(X, y, **fit_params).transform(X)

    def score(self, X: Data, y: ArrayLike | None = None) -> float:
        """How well the method does on these rows; larger is better.

        Args:
            X: Modalities as in ``fit``.
            y: Labels (n,), for methods that need them.
        """
        self._check_fitted()
        data = self._gate(X, "X", every_modality=True)
        if not self.capabilities.missing_at_fit:
            self._refuse_missing(data, "score")
        return float(self._score(data, self._gate_labels(y, len(data), "y")))

    def reconstruct(self, X: Data) -> Modalities:
        """Every fitted modality, rebuilt from those given.

        Args:
            X: Any modalities that ``transform`` takes.

        Returns:
            Modalities of all fitted names, n rows.
        """
        self._check_fitted()
        if not self.capabilities.reconstructs:
            raise CapabilityError(f"{type(self).__name__} has no decoders; it cannot reconstruct.")
        return self._reconstruct(self._gate_transform(X))

    def predict(self, X: Data) -> NDArray[Any]:
        """Labels (n,) of rows, for methods trained with labels."""
        self._check_fitted()
        if not self.capabilities.predicts:
            raise CapabilityError(f"{type(self).__name__} does not predict labels.")
        return self._predict(self._gate_transform(X))

    # -- what a method writes --------------------------------------------------------------

    def _check_parameters(self) -> None:
        """Check the parameters' values; called first in ``fit``."""
        if not hasattr(self, "n_components"):
            return
        width: Any = self.n_components
        default = signature(type(self)).parameters.get("n_components")
        asked = default is not None and default.default is not None
        if asked or width is not None:
            check_number("n_components", width, low=1, integer=True)

    def _fit(
        self,
        X: Modalities,
        y: NDArray[Any] | None,
        validation: tuple[Modalities, NDArray[Any] | None] | None,
    ) -> None:
        raise CapabilityError(f"{type(self).__name__} does not define _fit.")

    def _transform(self, X: Modalities) -> Any:
        raise CapabilityError(f"{type(self).__name__} does not define _transform.")

    def _score(self, X: Modalities, y: NDArray[Any] | None) -> float:
        raise CapabilityError(f"{type(self).__name__} has no score.")

    def _reconstruct(self, X: Modalities) -> Modalities:
        raise CapabilityError(f"{type(self).__name__} does not define _reconstruct.")

    def _predict(self, X: Modalities) -> NDArray[Any]:
        raise CapabilityError(f"{type(self).__name__} does not define _predict.")

    @property
    def n_parameters(self) -> int:
        """How many numbers were learnt."""
        self._check_fitted()
        return count_numbers(self._learnt())

    # -- gates -----------------------------------------------------------------------------

    def _check_fitted(self) -> None:
        if not hasattr(self, "names_in_"):
            name = type(self).__name__
            raise NotFittedError(f"this {name} is not fitted yet; call fit(X) first.")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "names_in_")

    def _gate_fit(self, X: Data) -> Modalities:
        data = as_modalities(X, look=not self._looks_in_fit)
        name, able = type(self).__name__, self.capabilities
        if why := able.refusal(data):
            raise ModalityError(f"{name} {why}")
        if len(data) < 2:
            raise DataError(f"{name} needs at least 2 rows to learn from; got {len(data)}.")
        for modality in data.names:
            if not data.present[modality].any():
                raise DataError(f"modality {modality!r} is absent in all {len(data)} rows.")
        if not able.missing_at_fit:
            self._refuse_missing(data, "fit")
        if not self._looks_in_fit:
            check_rows_finite(data)
        return data

    def _gate_validation(self, validation: Any) -> tuple[Modalities, NDArray[Any] | None] | None:
        if validation is None:
            return None
        X, y = validation if isinstance(validation, tuple) else (validation, None)
        data = self._gate(X, "validation", every_modality=True)
        if not self.capabilities.missing_at_fit:
            self._refuse_missing(data, "validation")
        return data, self._gate_labels(y, len(data), "validation y")

    def _refuse_missing(self, data: Modalities, where: str) -> None:
        for modality, mask in data.present.items():
            if not mask.all():
                raise CapabilityError(
                    f"{type(self).__name__} needs every modality in every row ({where}); "
                    f"{modality!r} is absent in {int((~mask).sum())} rows, the first is row "
                    f"{int(np.flatnonzero(~mask)[0])}. Leave those rows out."
                )

    def _gate_labels(self, y: ArrayLike | None, n: int, name: str) -> NDArray[Any] | None:
        if y is None:
            if self.capabilities.needs_labels:
                raise DataError(f"{type(self).__name__} learns from labels; {name} is missing.")
            return None
        return as_labels(y, n, name)

    def _gate(self, X: Data, where: str, *, every_modality: bool) -> Modalities:
        data = as_modalities(X)
        known = list(self.names_in_)
        for modality in data.names:
            if modality not in self.kinds_:
                raise ModalityError(
                    f"{where}: unknown modality {modality!r}; {type(self).__name__} was fitted "
                    f"on {known}."
                )
            _check_kind(modality, data.kind(modality), self.kinds_[modality])
        if every_modality and set(data.names) != set(known):
            lacking = [m for m in known if m not in data]
            raise ModalityError(f"{where}: needs all of {known}; {lacking} are not there.")
        if len(data) < 1:
            raise DataError(f"{where}: expected at least 1 row, got 0.")
        check_rows_finite(data)
        return data.select(*(m for m in known if m in data))

    def _gate_transform(self, X: Data) -> Modalities:
        data = self._gate(X, "transform", every_modality=False)
        able, name = self.capabilities, type(self).__name__
        lacking = [m for m in self.names_in_ if m not in data]
        if len(data.names) == 1 and lacking and not able.one_modality_at_transform:
            raise CapabilityError(f"{name} needs all modalities at transform; {lacking} lack.")
        if lacking and not (able.missing_at_transform or able.one_modality_at_transform):
            raise CapabilityError(f"{name} needs all modalities at transform; {lacking} lack.")
        if not able.missing_at_transform:
            self._refuse_missing(data, "transform")
        if self.panel != "coordination":
            some = np.any(np.stack(list(data.present.values())), axis=0)
            if not some.all():
                row = int(np.flatnonzero(~some)[0])
                raise DataError(f"row {row} has no modality present; {name} cannot code nothing.")
        return data

    # -- parameters, reaching into frozen values -------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name; with ``deep``, also those inside frozen values and dicts."""
        own: dict[str, Any] = super().get_params(deep=False)
        if not deep:
            return own
        return {**own, **{k: v for name, p in own.items() for k, v in nested(name, p).items()}}

    def set_params(self, **params: Any) -> Self:
        """Set parameters; ``training__epochs=5`` replaces one part of a frozen value."""
        own = super().get_params(deep=False)
        for name, value in sorted(params.items(), key=lambda item: item[0].count("__")):
            head, *path = name.split("__")
            if head not in own:
                raise ParameterError(
                    f"{type(self).__name__} has no parameter {head!r}; it has {sorted(own)}."
                    f"{meant(head, own)}"
                )
            setattr(self, head, replaced(getattr(self, head), path, value, name))
        return self

    # -- saving ----------------------------------------------------------------------------

    def _learnt(self) -> dict[str, Any]:
        """What was learnt, by attribute: all that ends in ``_``."""
        return {k: v for k, v in vars(self).items() if k.endswith("_") and not k.startswith("_")}

    def _restore(self, learnt: Mapping[str, Any]) -> None:
        """Take back what :meth:`_learnt` gave."""
        for name, value in learnt.items():
            setattr(self, name, value)

    def checksum(self) -> str:
        """One word for what was learnt: equal for a model and its saved copy."""
        self._check_fitted()
        return persistence.fingerprint(type(self).__name__, self._learnt())

    def save(self, path: str | Path) -> None:
        """Write a folder ``path`` with ``manifest.json`` and ``arrays.safetensors``.

        Writing is atomic: a crash leaves the old model or the new one.

        Raises:
            NotFittedError: Before ``fit``.
            PersistenceError: A parameter that cannot be named (a lambda), or a disk that refuses.
        """
        self._check_fitted()
        persistence.write(
            Path(path),
            cls=f"{type(self).__module__.rpartition('.')[0]}.{type(self).__qualname__}"
            if type(self).__module__.startswith("triptych.")
            else f"{type(self).__module__}.{type(self).__qualname__}",
            parameters=self.get_params(deep=False),
            learnt=self._learnt(),
        )

    @classmethod
    def _from_saved(cls, saved: persistence.Saved) -> Self:
        model = cls(**saved.parameters)
        model._restore(saved.learnt)
        return model


class Fusion(Method):
    """Methods whose ``transform`` gives one code per sample, array (n, d)."""

    panel: ClassVar[str] = "fusion"

    def decode(self, Z: ArrayLike) -> Modalities:
        """Every fitted modality, from codes; ``decode(transform(X))`` is ``reconstruct(X)``.

        Args:
            Z: Codes (n, d), those of ``transform`` or others between and beyond them.

        Raises:
            CapabilityError: The method has no decoders.
            ShapeError: Codes of another width.
            DataError: Codes that are not finite.
        """
        self._check_fitted()
        if not self.capabilities.reconstructs:
            raise CapabilityError(f"{type(self).__name__} has no decoders; it cannot decode.")
        codes, width = np.asarray(Z, dtype=np.float64), self._code_width()
        if codes.ndim != 2 or not len(codes) or codes.shape[1] != width:
            raise ShapeError(f"Z: expected codes (n, {width}), got shape {codes.shape}.")
        if not np.isfinite(codes).all():
            row, column = np.argwhere(~np.isfinite(codes))[0]
            raise DataError(f"Z: expected finite codes, got {codes[row, column]} at row {row}.")
        return self._decode(codes)

    def _code_width(self) -> int:
        return int(self.get_params(deep=False)["n_components"])

    def _decode(self, codes: NDArray[np.float64]) -> Modalities:
        raise CapabilityError(f"{type(self).__name__} does not define _decode.")


class Coordination(Method):
    """Methods whose ``transform`` gives one code per modality, Modalities of (n, d_m)."""

    panel: ClassVar[str] = "coordination"

    def retrieve(
        self, query: Data, among: Data, k: int = 10
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Nearest partners of each query by cosine of codes.

        Args:
            query: One modality, q rows, for instance ``{"text": queries}``.
            among: One modality, n rows, in which to search.
            k: How many to return, at most n.

        Returns:
            indices: Rows of ``among``, best first, shape (q, k).
            similarities: Cosines, shape (q, k).
        """
        self._check_fitted()
        sides = [self._side(where, X)[1] for where, X in (("query", query), ("among", among))]
        check_number("k", k, low=1, integer=True)
        if k > len(sides[1]):
            raise ParameterError(
                f"k: expected at most {len(sides[1])}, the rows of among; got {k}."
            )
        if sides[0].shape[1] != sides[1].shape[1]:
            raise ShapeError("codes of different widths cannot be compared.")
        return nearest(sides[0], sides[1], k)

    def _side(self, where: str, X: Data) -> tuple[str, NDArray[Any]]:
        """One modality's name and the codes of its rows, all of which must have it."""
        data = as_modalities(X)
        if len(data.names) != 1:
            raise ModalityError(f"{where}: expected one modality, got {list(data.names)}.")
        name = data.names[0]
        mask = data.present[name]
        if not mask.all():
            row = int(np.flatnonzero(~mask)[0])
            raise DataError(f"{where}: row {row} of {name!r} is absent.")
        return name, self.transform(data)[name]


class Fission(Method):
    """Methods whose ``transform`` gives parts: ``"shared"`` and one private part per modality."""

    panel: ClassVar[str] = "fission"
    parts_: tuple[str, ...]


def _joined(pieces: list[Any]) -> Any:
    """Codes of rows one after another."""
    if not isinstance(pieces[0], Modalities):
        return np.concatenate(pieces)
    names = pieces[0].names
    return make_parts(
        {name: np.concatenate([piece[name] for piece in pieces]) for name in names},
        {name: np.concatenate([piece.present[name] for piece in pieces]) for name in names},
    )


def _check_classes(y: NDArray[Any]) -> None:
    """Refuse one class only; numbers and tables of labels are looked at by who learns them."""
    if y.ndim == 1 and y.dtype.kind != "f" and len(np.unique(y)) < 2:
        raise DataError(f"y: expected at least 2 classes, got only {y.tolist()[0]!r}.")


def _check_kind(name: str, kind: Kind, fitted: Kind) -> None:
    same = kind.form == fitted.form and len(kind.shape) == len(fitted.shape)
    pairs = zip(kind.shape, fitted.shape, strict=False)
    if kind.form in ("sequence", "waveform"):
        # Time may differ from what was fitted; features may not.
        pairs = zip(kind.shape[1:], fitted.shape[1:], strict=False)
    if not same or any(a != b for a, b in pairs):
        raise ShapeError(f"modality {name!r}: fitted as {fitted}, got {kind}.")
