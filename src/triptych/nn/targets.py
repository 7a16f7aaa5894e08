"""From labels to numbers that a network learns, and from its outputs back to labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from triptych.errors import DataError, ParameterError, ShapeError
from triptych.values import register

TASKS = ("classification", "multilabel", "regression")
# Largest number in spreads of the training's: the sum of many squares is a finite float32.
FARTHEST = 1e15


@register
@dataclass(frozen=True)
class Target:
    """What there is to predict.

    Args:
        task: One of ``"classification"`` (one class per row), ``"multilabel"`` (any number of k
            labels per row) and ``"regression"`` (k numbers per row).
        classes: Classes, sorted, shape (k,); the labels' numbers 0 to k - 1 for several labels;
            empty for numbers.
        mean: Training mean of numbers, shape (k,); empty for classes.
        scale: Training spread of numbers, shape (k,), > 0; empty for classes.
        flat: Whether labels come as (n,) and not as (n, k).
    """

    task: str
    classes: NDArray[Any]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    flat: bool = True

    @property
    def width(self) -> int:
        """How many outputs a network needs."""
        return len(self.mean) if self.task == "regression" else len(self.classes)

    def numbers(self, y: NDArray[Any], name: str = "y") -> NDArray[Any]:
        """Labels as numbers: class indices (n,), zeros and ones (n, k), or scaled numbers (n, k).

        Raises:
            DataError: A class that no training row has, no number where one is needed, or one too
                far from those of training to compute with.
        """
        if self.task == "classification":
            at = self.positions(y)
            if (at < 0).any():
                row = int(np.flatnonzero(at < 0)[0])
                raise DataError(
                    f"{name}: row {row} has the class {y.tolist()[row]!r}, which no training row "
                    "has."
                )
            return at
        self._check_form(y, name)
        if self.task == "multilabel":
            return _binary(y, name).astype(np.float32)
        return self._scaled(y, name).astype(np.float32)

    def _check_form(self, y: NDArray[Any], name: str) -> None:
        if (y.ndim == 1) != self.flat or (y.ndim == 2 and y.shape[1] != self.width):
            form = "(n,)" if self.flat else f"(n, {self.width})"
            raise ShapeError(f"{name}: expected shape {form} as in training, got {y.shape}.")

    def _scaled(self, y: NDArray[Any], name: str) -> NDArray[np.float64]:
        """Numbers (n, k) in spreads of the training's from its mean."""
        values = _numeric(y, name).reshape(len(y), -1)
        with np.errstate(over="ignore"):  # said below
            scaled = (values - self.mean) / self.scale
        far = np.argwhere(~(np.abs(scaled) < FARTHEST))
        if len(far):
            row, column = far[0]
            raise DataError(
                f"{name}: row {row} has {values[row, column]:.3g} in column {column}, more than "
                f"{FARTHEST:.0e} standard deviations from the mean of training, too far to "
                "compute with."
            )
        return np.asarray(scaled)

    def positions(self, y: NDArray[Any]) -> NDArray[np.int64]:
        """Where each label stands among the classes, (n,); -1 if it is none of them."""
        if y.ndim != 1:
            raise ShapeError(f"y: expected one class per row, got shape {y.shape}.")
        if (y.dtype.kind in "US") != (self.classes.dtype.kind in "US"):
            raise DataError(f"y: the classes learnt are {self.classes.dtype}, got {y.dtype}.")
        at = np.searchsorted(self.classes, y).clip(max=len(self.classes) - 1)
        return np.where(self.classes[at] == y, at, -1).astype(np.int64)

    def check(self, y: NDArray[Any]) -> None:
        """Refuse labels of another form or type than those learnt; classes may be new."""
        if self.task == "classification":
            self.positions(y)
        else:
            self.numbers(y)

    def score(self, y: NDArray[Any], found: NDArray[Any]) -> float:
        """Accuracy for classes (of all labels of a row for several); R² for numbers.

        Raises:
            DataError: Labels of another type, or numbers of which R² has no meaning.
            ShapeError: Labels of another form.
        """
        if self.task == "classification":
            return float(np.mean(self.positions(y) == self.positions(found)))
        self._check_form(y, "y")
        if self.task == "multilabel":
            return float((_binary(y, "y") == found).all(axis=1).mean())
        truth, guess = self._scaled(y, "y"), self._scaled(found, "predictions")
        around = np.square(truth - truth.mean(axis=0)).sum(axis=0)
        # Of equal numbers the mean is theirs but for rounding.
        if not (around > 1e-24 * np.square(truth).sum(axis=0)).all():
            raise DataError("score: R² needs at least 2 rows whose labels differ.")
        return float(np.mean(1 - np.square(truth - guess).sum(axis=0) / around))

    def loss(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Mean loss over rows: cross-entropy, binary cross-entropy, or squared error.

        Args:
            outputs: Of the network, (b, width).
            y: As :meth:`numbers` gives them.
        """
        if self.task == "classification":
            return F.cross_entropy(outputs, y)
        if self.task == "multilabel":
            return F.binary_cross_entropy_with_logits(outputs, y)
        return F.mse_loss(outputs, y)

    def labels(self, outputs: NDArray[Any]) -> NDArray[Any]:
        """Labels in the user's own values, (n,) or (n, k), from outputs (n, width)."""
        if self.task == "classification":
            return np.asarray(self.classes[outputs.argmax(axis=1)])
        if self.task == "multilabel":
            return (outputs > 0).astype(np.int64)
        values = outputs * self.scale + self.mean
        return np.asarray(values[:, 0] if self.flat else values)

    def probabilities(self, outputs: NDArray[Any]) -> NDArray[np.float64]:
        """Probabilities (n, width) of the classes, or of each label.

        Raises:
            ParameterError: Numbers are predicted, which have none.
        """
        if self.task == "regression":
            raise ParameterError("predict_proba: numbers were learnt, which have no classes.")
        values = torch.from_numpy(np.asarray(outputs, dtype=np.float64))
        if self.task == "multilabel":
            return np.asarray(torch.sigmoid(values).numpy())
        return np.asarray(torch.softmax(values, dim=1).numpy())


def learn_target(y: NDArray[Any], task: str = "auto") -> Target:
    """What labels ask for.

    Args:
        y: Labels (n,) or (n, k), checked before.
        task: One of ``TASKS``, or ``"auto"``: a table of zeros and ones (n, k) is multilabel,
            other floating numbers are regression, all else classification.

    Raises:
        DataError: One class or one value only, or labels that do not fit the task.
        ParameterError: A task that there is not.
    """
    if task not in (*TASKS, "auto"):
        raise ParameterError(f"task: expected one of {('auto', *TASKS)}, got {task!r}.")
    if task == "auto":
        if y.ndim == 2 and (y.dtype.kind != "f" or np.isin(y, (0.0, 1.0)).all()):
            task = "multilabel"
        else:
            task = "regression" if y.dtype.kind == "f" else "classification"
    none = np.empty(0)
    if task == "classification":
        if y.ndim != 1:
            raise ShapeError(f"y: expected one class per row (n,), got shape {y.shape}.")
        if y.dtype.kind == "f" and (y != np.round(y)).any():
            row = int(np.flatnonzero(y != np.round(y))[0])
            raise DataError(f"y: expected classes, got the number {float(y[row])} at row {row}.")
        classes = np.unique(y)
        if len(classes) < 2:
            raise DataError(f"y: expected at least 2 classes, got only {classes.tolist()[0]!r}.")
        return Target(task, classes, none, none)
    if task == "multilabel":
        if y.ndim != 2:
            raise ShapeError(f"y: expected zeros and ones (n, k), got shape {y.shape}.")
        _binary(y, "y")
        return Target(task, np.arange(y.shape[1]), none, none, flat=False)
    values = _numeric(y, "y").reshape(len(y), -1)
    size = np.maximum(np.abs(values).max(axis=0), np.finfo(float).tiny)
    ordinary = values / size  # whose squares neither overflow nor vanish
    spread = ordinary.std(axis=0)
    dead = np.flatnonzero(spread <= 1e-12)
    if len(dead):
        raise DataError(f"y: column {dead[0]} has the same value in all {len(y)} rows.")
    return Target(task, none, ordinary.mean(axis=0) * size, spread * size, flat=y.ndim == 1)


def _binary(y: NDArray[Any], name: str) -> NDArray[Any]:
    wrong = np.argwhere((y != 0) & (y != 1))
    if len(wrong):
        row, column = wrong[0]
        raise DataError(
            f"{name}: expected zeros and ones, got {y.tolist()[row][column]!r} at row {row}, "
            f"column {column}."
        )
    return y


def _numeric(y: NDArray[Any], name: str) -> NDArray[np.float64]:
    if y.dtype.kind not in "fiub":
        raise DataError(f"{name}: expected numbers for regression, got {y.dtype}.")
    return y.astype(np.float64)
