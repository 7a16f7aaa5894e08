"""Vectors from any kind of data, for linear methods, baselines and probes. Needs no torch."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import check_number, is_sparse
from triptych.errors import DataError, ParameterError, ShapeError
from triptych.modalities import Kind, Modalities
from triptych.values import register

_WORD = re.compile(r"\w+")


@register
@dataclass(frozen=True)
class Features:
    """How one modality becomes vectors (n, p).

    * *vector*: itself, as float64; sparse stays sparse.
    * *image*: all pixels in a row; whole numbers are divided by 255, so that a picture gives the
      same features as uint8 and as floats from 0 to 1.
    * *sequence*, *waveform*: mean and standard deviation over time of each column, in this order.
    * *text*: TF-IDF of the lower-cased words of the learnt vocabulary,
      log((1 + n) / (1 + n_w)) + 1 per occurrence with n_w texts that hold the word, rows scaled
      to unit length; a row without a known word is zero. Words are runs of letters and digits.

    Args:
        name: Modality, for errors.
        form: Kind of data.
        shape: Shape of one sample, as :class:`~triptych.modalities.Kind` has it.
        words: Vocabulary of a text modality, in the order of the columns.
        weights: Inverse document frequency of each word, shape (len(words),).
    """

    name: str
    form: str
    shape: tuple[int | None, ...] = ()
    words: tuple[str, ...] = ()
    weights: tuple[float, ...] = field(default=(), repr=False)

    @property
    def n_features(self) -> int:
        """Columns p of what :meth:`transform` returns."""
        if self.form == "text":
            return max(len(self.words), 1)
        if self.form == "waveform":
            return 2
        if self.form == "sequence":
            return 2 * _known(self.shape[1])
        return math.prod(_known(s) for s in self.shape)

    def transform(self, data: Any, present: NDArray[np.bool_] | None = None) -> Any:
        """Vectors of rows.

        Args:
            data: Rows of this modality, in any form that ``Modalities`` keeps.
            present: Boolean (n,); absent rows are not read and come back as zeros.

        Returns:
            Float array (n, p); SciPy ``csr_array`` (n, p) for text and for sparse vectors.

        Raises:
            ShapeError: Samples of another shape than was learnt.
            DataError: Data of another kind, or a row that is ``None`` and not marked absent.
        """
        rows = len(data) if isinstance(data, list) else int(data.shape[0])
        mask = _mask(data, rows, present, self.name)
        if self.form == "text":
            return self._text(data, mask)
        if isinstance(data, list) and self.form not in ("sequence", "waveform"):
            data = self._stack(data, mask)
        if self.form in ("sequence", "waveform"):
            return self._over_time(data, mask)
        self._check_shape(tuple(data.shape[1:]))
        if is_sparse(data):
            return _sparse_rows(data, mask)
        values = np.asarray(data)
        if self.form == "image" and values.dtype.kind in "iu":
            out = values.astype(np.float32) / np.float32(255)
        elif self.form == "image" and values.dtype != np.float64:
            out = values.astype(np.float32)
        else:
            out = values.astype(np.float64)
        out = out.reshape(rows, -1)  # (n, p)
        out[~mask] = 0
        return out

    def _check_shape(self, got: tuple[int, ...]) -> None:
        if got != self.shape:
            raise ShapeError(
                f"modality {self.name!r}: features were learnt from {self.form} of shape "
                f"{self.shape}, got {got}."
            )

    def _stack(self, data: list[Any], mask: NDArray[np.bool_]) -> NDArray[Any]:
        shape = tuple(_known(s) for s in self.shape)
        kept = [np.asarray(data[i]) for i in np.flatnonzero(mask)]
        for values in kept:
            self._check_shape(values.shape)
        out = np.zeros((len(data), *shape), dtype=np.result_type(*kept) if kept else np.float64)
        if kept:
            out[mask] = np.stack(kept)
        return out

    def _over_time(self, data: Any, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        width = self.n_features // 2
        out = np.zeros((len(mask), 2 * width))
        for row in np.flatnonzero(mask):
            values = np.asarray(data[row], dtype=np.float64)
            values = values[:, None] if self.form == "waveform" and values.ndim == 1 else values
            if values.ndim != 2 or values.shape[1] != width or len(values) == 0:
                raise ShapeError(
                    f"modality {self.name!r}: expected {width} columns over at least one step, "
                    f"got {values.shape} at row {row}."
                )
            out[row, :width] = values.mean(axis=0)
            out[row, width:] = values.std(axis=0)
        return out

    def _text(self, data: Any, mask: NDArray[np.bool_]) -> Any:
        from scipy.sparse import csr_array

        column = {word: j for j, word in enumerate(self.words)}
        weights = np.asarray(self.weights)
        values: list[NDArray[np.float64]] = []
        columns: list[int] = []
        starts = [0]
        for row in range(len(mask)):
            text = data[row]
            if mask[row]:
                if not isinstance(text, str):
                    raise DataError(
                        f"modality {self.name!r}: expected str, got {type(text).__name__} at "
                        f"row {row}."
                    )
                counts = Counter(column[w] for w in split_words(text) if w in column)
                if counts:
                    where = sorted(counts)
                    tfidf = np.array([counts[j] for j in where]) * weights[where]
                    values.append(tfidf / np.linalg.norm(tfidf))
                    columns.extend(where)
            starts.append(len(columns))
        flat = np.concatenate(values) if values else np.empty(0)
        shape = (len(mask), self.n_features)
        return csr_array((flat, np.array(columns, dtype=np.int32), np.array(starts)), shape=shape)

    def state(self) -> dict[str, Any]:
        """Plain values that JSON can hold; :func:`features_from_state` reads them back."""
        return {
            "name": self.name,
            "form": self.form,
            "shape": list(self.shape),
            "words": list(self.words),
            "weights": list(self.weights),
        }


def features_from_state(state: Mapping[str, Any]) -> Features:
    """The features whose :meth:`Features.state` this is."""
    lacking = [key for key in ("name", "form", "shape", "words", "weights") if key not in state]
    if lacking:
        raise ParameterError(f"state of features: {lacking} are not there; got {list(state)}.")
    return Features(
        name=str(state["name"]),
        form=str(state["form"]),
        shape=tuple(state["shape"]),
        words=tuple(state["words"]),
        weights=tuple(float(w) for w in state["weights"]),
    )


def fit_features(X: Modalities, max_text: int = 2000) -> dict[str, Features]:
    """Learn how each modality becomes vectors; rows that lack it are not looked at.

    Args:
        X: Modalities, n rows.
        max_text: Most words of a text modality: those that most texts hold, ties by alphabet.

    Returns:
        Features by modality name.
    """
    check_number("max_text", max_text, low=1, integer=True)
    return {
        name: _fit_text(name, X[name], X.present[name], max_text)
        if X.kind(name).form == "text"
        else _of_kind(name, X.kind(name))
        for name in X.names
    }


def transform_features(features: Mapping[str, Features], X: Modalities) -> dict[str, Any]:
    """Vectors (n, p_m) of those modalities of ``X`` that were learnt; absent rows are zeros."""
    return {
        name: learnt.transform(X[name], X.present[name])
        for name, learnt in features.items()
        if name in X
    }


def split_words(text: str) -> list[str]:
    """Lower-cased runs of letters and digits."""
    return _WORD.findall(text.lower())


def _of_kind(name: str, kind: Kind) -> Features:
    return Features(name, kind.form, kind.shape)


def _fit_text(name: str, texts: Sequence[Any], present: NDArray[np.bool_], most: int) -> Features:
    held: Counter[str] = Counter()
    n = 0
    for text, seen in zip(texts, present, strict=True):
        if seen:
            n += 1
            held.update(set(split_words(text)))
    words = sorted(held, key=lambda word: (-held[word], word))[:most]
    weights = tuple(math.log((1 + n) / (1 + held[word])) + 1 for word in words)
    return Features(name, "text", (), tuple(words), weights)


def _mask(data: Any, rows: int, present: NDArray[np.bool_] | None, name: str) -> NDArray[np.bool_]:
    mask = np.ones(rows, dtype=bool) if present is None else np.asarray(present, dtype=bool)
    if mask.shape != (rows,):
        raise ShapeError(
            f"presence of modality {name!r}: expected one boolean for each of {rows} rows, got "
            f"shape {mask.shape}."
        )
    for row in _none_rows(data):
        if mask[row]:
            raise DataError(f"modality {name!r}: row {row} is None but not marked absent.")
    return mask


def _none_rows(data: Any) -> Iterator[int]:
    if isinstance(data, list):
        yield from (row for row, value in enumerate(data) if value is None)


def _sparse_rows(data: Any, mask: NDArray[np.bool_]) -> Any:
    from scipy.sparse import csr_array, diags_array

    kept = csr_array(data, dtype=np.float64)
    if mask.all():
        return kept
    return csr_array(diags_array(mask.astype(np.float64)) @ kept)


def _known(size: int | None) -> int:
    if size is None:
        raise ShapeError("a size that differs between samples has no fixed number of columns.")
    return size
