"""Reconstruction of an absent modality from the others, measured against knowing nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import is_sparse, row_chunks
from triptych.errors import CapabilityError, DataError, ShapeError
from triptych.modalities import Modalities, as_modalities

CHUNK = 2048


@dataclass(frozen=True)
class Reconstruction:
    """How well one modality was rebuilt from the others.

    Args:
        value: Share of the error of knowing nothing that is gone; 1 is perfect, 0 no better.
            For numbers R² against the mean of the training rows, over all entries; for text
            1 - cross-entropy / cross-entropy of the unigram.
        measure: ``"R2"`` or ``"cross-entropy"``.
        loss: Mean squared error, or nats per token.
        baseline: The same of the mean, or of the unigram.
        n: Rows that were rebuilt.
    """

    value: float
    measure: str
    loss: float
    baseline: float
    n: int


def training_mean(X: Mapping[str, Any] | Modalities, name: str) -> NDArray[np.float64]:
    """Mean sample of one modality over the rows that have it."""
    data = as_modalities(X)
    values, rows = data[name], np.flatnonzero(data.present[name])
    if data.kind(name).form == "text":
        raise DataError(f"modality {name!r} is text; it has no mean.")
    if len(rows) == 0:
        raise DataError(f"modality {name!r} is absent in all {len(data)} rows.")
    if isinstance(values, list):
        raise ShapeError(f"modality {name!r}: samples of different length have no mean.")
    total = np.zeros(tuple(values.shape[1:]))
    for part in row_chunks(len(rows), CHUNK):
        total += _dense(values, rows[part]).sum(axis=0)
    return np.asarray(total / len(rows))


def reconstruction_r2(
    truth: Any, rebuilt: Any, mean: NDArray[np.float64], rows: NDArray[np.intp] | None = None
) -> Reconstruction:
    """R² over all entries of all rows: 1 - squared error / squared distance from ``mean``.

    Args:
        truth: Array (n, ...).
        rebuilt: Array of the same shape, in the same units.
        mean: Mean sample of other rows, shape (...).
        rows: Rows to look at; all when left out.

    Raises:
        ShapeError: Shapes differ.
        DataError: Values that are not finite, or a truth that is the mean everywhere.
    """
    shapes = tuple(truth.shape), tuple(rebuilt.shape), tuple(mean.shape)
    if shapes[0] != shapes[1] or shapes[0][1:] != shapes[2]:
        raise ShapeError(
            f"expected truth, rebuilt and mean of one shape; got {shapes[0]}, {shapes[1]} and "
            f"{shapes[2]}."
        )
    chosen = np.arange(shapes[0][0]) if rows is None else rows
    error = spread = size = 0.0
    for part in row_chunks(len(chosen), CHUNK):
        real, made = _dense(truth, chosen[part]), _dense(rebuilt, chosen[part])
        if not np.isfinite(made).all():
            row = int(chosen[part.start + int(np.argwhere(~np.isfinite(made))[0][0])])
            raise DataError(f"what was rebuilt is not finite at row {row}.")
        error += float(((real - made) ** 2).sum())
        spread += float(((real - mean) ** 2).sum())
        size += float((real**2).sum())
    if spread <= 1e-18 * size or spread == 0:
        raise DataError("R² asks for values that differ from their mean; these are constant.")
    entries = len(chosen) * max(int(np.prod(shapes[2])), 1)
    return Reconstruction(
        1.0 - error / spread, "R2", error / entries, spread / entries, len(chosen)
    )


def reconstruct_absent(
    model: Any,
    train: Mapping[str, Any] | Modalities,
    test: Mapping[str, Any] | Modalities,
    name: str,
) -> Reconstruction:
    """Rebuild one modality of test rows from all the others, and measure it.

    Rows are used that have the modality and at least one other. Text is measured by the model's
    own ``reconstruction_loss(X_given, X_truth)`` and ``reconstruction_baseline(X_truth)``, both
    dicts of nats per token by name, because a token is what the model's tokenizer says it is.

    Args:
        model: A fitted method.
        train: Modalities from which the mean is learnt.
        test: Modalities to rebuild.
        name: The modality that is taken away.

    Raises:
        CapabilityError: The method does not reconstruct, or not from those modalities.
        DataError: Nothing to rebuild or to compare with.
    """
    data = as_modalities(test)
    others = tuple(other for other in data.names if other != name)
    if model.capabilities.reconstructs and not others:
        raise DataError("there is no other modality to rebuild it from.")
    return reconstruct_given(model, train, data, others, name)


def reconstruct_given(
    model: Any,
    train: Mapping[str, Any] | Modalities,
    test: Mapping[str, Any] | Modalities,
    given: tuple[str, ...],
    name: str,
) -> Reconstruction:
    """Rebuild one modality of test rows from those given, itself among them or not.

    Rows are used that have the modality and, where the method takes gaps, one at least of those
    given; else all of them. Otherwise as :func:`reconstruct_absent`.
    """
    data = as_modalities(test)
    able, kind = model.capabilities, data.kind(name)
    method = type(model).__name__
    if not able.reconstructs:
        raise CapabilityError(f"{method} has no decoders.")
    whole = set(given) == set(data.names)
    single = len(given) == 1 and able.one_modality_at_transform
    if not (whole or able.missing_at_transform or single):
        raise CapabilityError(f"{method} needs every modality at transform.")
    shown = data.select(*given)
    held = np.stack([shown.present[other] for other in given])  # (m, n)
    enough = held.any(axis=0) if able.missing_at_transform else held.all(axis=0)
    rows = np.flatnonzero(data.present[name] & enough)
    if len(rows) == 0:
        raise DataError(f"no test row has {name!r} and another modality.")
    shown, truth = shown[rows], data.select(name)[rows]
    if kind.form == "text":
        return _text(model, shown, truth, name)
    rebuilt = model.reconstruct(shown)[name]
    if isinstance(rebuilt, list) or isinstance(truth[name], list):
        raise DataError("samples of different length are not compared entry by entry.")
    return reconstruction_r2(truth[name], rebuilt, training_mean(train, name))


def _text(model: Any, given: Modalities, truth: Modalities, name: str) -> Reconstruction:
    method = type(model).__name__
    for needed in ("reconstruction_loss", "reconstruction_baseline"):
        if not hasattr(model, needed):
            raise CapabilityError(f"{method} has no {needed} to measure text with.")
    losses, baselines = model.reconstruction_loss(given, truth), None
    if name in losses:
        baselines = model.reconstruction_baseline(truth)
    if baselines is None or name not in baselines:
        raise CapabilityError(f"{method} gives no cross-entropy for {name!r}.")
    loss, baseline = float(losses[name]), float(baselines[name])
    if not (np.isfinite(loss) and np.isfinite(baseline)):
        raise DataError(f"cross-entropy is not finite: {loss}, unigram {baseline}.")
    if baseline <= 0:
        raise DataError("every token is the same, so there is nothing to rebuild.")
    return Reconstruction(1.0 - loss / baseline, "cross-entropy", loss, baseline, len(truth))


def _dense(values: Any, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    part = values[rows]
    return np.asarray(part.toarray() if is_sparse(part) else part, dtype=np.float64)
