"""Methods that predict: how right they are, how sure, and what absence and noise cost them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.arrays import as_labels, check_number
from triptych.errors import CapabilityError, DataError, ParameterError, ShapeError
from triptych.evaluation.probes import r2
from triptych.evaluation.robustness import LEVELS, SHARES, drop_modalities, noise_like
from triptych.modalities import Modalities, as_modalities
from triptych.seeding import check_random_state

Data = Mapping[str, Any] | Modalities

BINS = 15


@dataclass(frozen=True)
class Calibration:
    """How far probabilities are from what happens.

    Args:
        ece: Expected calibration error, 0 to 1: the mean distance, weighted by rows, of how often
            a prediction is right from how sure it is, in bins of equal width.
        brier: Mean squared distance of probabilities from what was the case: summed over classes,
            0 to 2; for several labels a mean over them, 0 to 1.
        rows: How many rows.
    """

    ece: float
    brier: float
    rows: int


@dataclass(frozen=True)
class PredictionCurve:
    """Quality of predictions against what was done to the rows.

    Args:
        at: Chance with which each modality was taken away, or spread of the noise; rising.
        value: Accuracy (R² for numbers) there.
    """

    at: tuple[float, ...]
    value: tuple[float, ...]

    @property
    def area(self) -> float:
        """Area under the curve by trapezia, over its width: the mean height."""
        x, y = np.asarray(self.at), np.asarray(self.value)
        return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum() / (x[-1] - x[0]))


def calibration(
    probabilities: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None, *, bins: int = BINS
) -> Calibration:
    """Expected calibration error and Brier score.

    Args:
        probabilities: Shape (n, k), as ``predict_proba`` gives them.
        y: Classes (n,); or zeros and ones (n, k) where there are several labels.
        classes: Classes (k,) in the order of the columns; left out for several labels. A row of
            another class counts as one that no probability was given to.
        bins: How many bins from 0 to 1 for the first figure.

    Raises:
        ShapeError: Shapes that do not fit each other.
        DataError: Probabilities outside of [0, 1], several labels that are not zeros and ones, or
            strings beside numbers.

    References:
        Guo, Pleiss, Sun, Weinberger 2017, arXiv:1706.04599, eq. 5; Brier 1950.
    """
    check_number("bins", bins, low=1, integer=True)
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or not len(p):
        raise ShapeError(f"probabilities: expected (n, k) with n >= 1, got shape {p.shape}.")
    if not ((p >= 0) & (p <= 1)).all():
        row = int(np.argwhere(~((p >= 0) & (p <= 1)))[0][0])
        raise DataError(f"probabilities: row {row} has {p[row].tolist()}, not all from 0 to 1.")
    truth = as_labels(y, len(p))
    if classes is None:
        if truth.shape != p.shape:
            raise ShapeError(f"y: expected zeros and ones {p.shape}, got shape {truth.shape}.")
        if not np.isin(truth, (0, 1)).all():
            row = int(np.argwhere(~np.isin(truth, (0, 1)))[0][0])
            raise DataError(f"y: expected zeros and ones, got {truth[row].tolist()} at row {row}.")
        sure, right = p.ravel(), truth.ravel().astype(np.float64)
        brier = float(((p - truth) ** 2).mean())
    else:
        known = np.asarray(classes)
        if known.shape != (p.shape[1],) or truth.ndim != 1:
            raise ShapeError(
                f"classes {known.shape} and y {truth.shape} do not fit probabilities {p.shape}."
            )
        _check_like("classes", known, truth)
        was = truth[:, None] == known[None]  # (n, k)
        sure, right = p.max(1), was[np.arange(len(p)), p.argmax(1)].astype(np.float64)
        # A row of no known class: 1 for the class that has no column.
        brier = float((((p - was) ** 2).sum(1) + ~was.any(1)).mean())
    at = np.minimum((sure * bins).astype(np.intp), bins - 1)
    gaps = np.bincount(at, weights=right - sure, minlength=bins)
    return Calibration(float(np.abs(gaps).sum() / len(sure)), brier, len(p))


def prediction_score(
    predicted: ArrayLike, y: ArrayLike, mean: float | NDArray[Any] | None = None
) -> float:
    """Accuracy, of whole rows for several labels; or R² against ``mean`` for numbers.

    Args:
        predicted: Shape (n,) or (n, k).
        y: What is true, the same shape.
        mean: What one would say without looking, for numbers: the mean of training rows, one or
            (k,). R² of several numbers a row is the mean of theirs, whatever their units.

    Raises:
        ShapeError: Shapes differ.
        DataError: Strings beside numbers, or numbers that all equal the mean.
    """
    found, truth = np.asarray(predicted), np.asarray(y)
    if found.shape != truth.shape:
        raise ShapeError(f"predictions have shape {found.shape}, labels {truth.shape}.")
    _check_like("predictions", found, truth)
    if mean is not None:
        columns = (v.reshape(len(truth), -1).T for v in (truth, found))
        each = np.broadcast_to(np.asarray(mean, dtype=np.float64), truth.shape[1:] or (1,))
        return float(np.mean([r2(t, f, m) for t, f, m in zip(*columns, each, strict=True)]))
    right = found == truth
    return float(right.reshape(len(right), -1).all(1).mean())


def _check_like(what: str, found: NDArray[Any], y: NDArray[Any]) -> None:
    """Refuse strings beside numbers, of which none would ever be equal."""
    if (found.dtype.kind in "US") != (y.dtype.kind in "US"):
        raise DataError(f"y: {what} are {found.dtype} and labels {y.dtype}; expected one type.")


def prediction_by_absence(
    model: Any,
    X: Data,
    y: ArrayLike,
    *,
    shares: Sequence[float] = SHARES,
    mean: float | NDArray[Any] | None = None,
    random_state: int | None = 0,
) -> PredictionCurve:
    """How predictions fare as modalities are taken away, by :func:`~.robustness.drop_modalities`.

    Args:
        model: A fitted method that predicts and takes missing modalities.
        X: Test rows.
        y: Their labels.
        shares: Chances of loss, rising from the first, at least two.
        mean: As in :func:`prediction_score`.
        random_state: Seed of what is taken.

    Raises:
        CapabilityError: The method needs every modality.
        ParameterError: Fewer than two shares, or shares that do not rise.
    """
    if not model.capabilities.missing_at_transform:
        raise CapabilityError(f"{type(model).__name__} needs every modality at transform.")
    data = as_modalities(X)
    _check_rising("shares", shares)
    return _curve(model, y, shares, mean, lambda s: drop_modalities(data, s, random_state))


def prediction_by_noise(
    model: Any,
    X: Data,
    y: ArrayLike,
    *,
    levels: Sequence[float] = LEVELS,
    mean: float | NDArray[Any] | None = None,
    random_state: int | None = 0,
    reference: Data | None = None,
) -> PredictionCurve:
    """How predictions fare under noise on all modalities but texts at once.

    The noise is that of :func:`triptych.noise.add_noise`, whose spread is given here as a share
    of the signal's own.

    Args:
        model: A fitted method that predicts.
        X: Test rows.
        y: Their labels.
        levels: Spreads of the noise, rising from the first, 0 to 1e6, at least two.
        mean: As in :func:`prediction_score`.
        random_state: Seed of the noise.
        reference: Rows that say how strong columns are, the training rows for instance; ``X``
            itself when left out.

    Raises:
        DataError: All modalities are texts, or numbers of a type that cannot hold the noise.
        ParameterError: Fewer than two levels, or levels that do not rise.
    """
    data = as_modalities(X)
    for level in levels:
        check_number("levels", level, low=0, high=1e6)
    _check_rising("levels", levels)

    noisy, seed = (
        noise_like(data if reference is None else reference),
        check_random_state(random_state),
    )
    return _curve(model, y, levels, mean, lambda level: noisy(data, level, seed))


def _check_rising(name: str, at: Sequence[float]) -> None:
    """Refuse what makes no curve, whose area would have no meaning."""
    if len(at) < 2 or not all(a < b for a, b in pairwise(at)):
        raise ParameterError(f"{name}: expected at least two, each above the last, got {at!r}.")


def _curve(
    model: Any,
    y: ArrayLike,
    at: Sequence[float],
    mean: float | NDArray[Any] | None,
    change: Callable[[float], Modalities],
) -> PredictionCurve:
    values = [prediction_score(model.predict(change(v)), y, mean) for v in at]
    return PredictionCurve(tuple(float(v) for v in at), tuple(values))


def check_predicts(model: Any, y: NDArray[Any]) -> bool:
    """Whether the labels are numbers to the method, which must have learnt labels like these.

    Args:
        model: Fitted.
        y: Labels of test rows.

    Raises:
        CapabilityError: It predicts nothing, or was fitted without labels.
        DataError: It learnt other labels than these.
    """
    name = type(model).__name__
    if not model.capabilities.predicts:
        raise CapabilityError(f"{name} does not predict labels.")
    classes = np.asarray(model.classes_)  # refuses a method fitted without labels
    numbers = not len(classes)
    if numbers != (np.asarray(y).dtype.kind == "f"):
        learnt, asked = ("numbers", "classes") if numbers else ("classes", "numbers")
        raise DataError(f"{name} learnt {learnt}, and these labels are {asked}.")
    if not numbers and not np.isin(y, classes).any():
        raise DataError(f"{name} learnt other classes than those of this label.")
    return numbers
