"""The rows and codes that all measures of one method share, and how their results are written."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.dataset import Dataset
from triptych.errors import CapabilityError, DataError, ModalityError, ShapeError
from triptych.evaluation.codes import Codes, read_codes, usable_rows
from triptych.evaluation.columns import is_number, readable_labels
from triptych.evaluation.prediction import check_predicts
from triptych.evaluation.probes import Reader, linear_reader, subset
from triptych.modalities import Modalities

Value = dict[str, Any]


class Case:
    """A fitted method and the rows it is judged by.

    Args:
        model: The method.
        train: Rows from which probes learn.
        test: Rows to judge by.
        label: Label to probe, or ``None``.
        seed: Of probes, rows and masks.
        max_rows: Most training rows that probes learn from.
    """

    def __init__(
        self,
        model: Any,
        train: Dataset,
        test: Dataset,
        label: str | None,
        seed: int,
        max_rows: int,
    ) -> None:
        self.model, self.label, self.seed, self.max_rows = model, label, seed, max_rows
        self.names = train.X.names
        self.fitted = tuple(name for name in self.names if name in model.names_in_)
        if not self.fitted:
            raise ModalityError(
                f"the method was fitted on {list(model.names_in_)}; the data have "
                f"{list(self.names)}."
            )
        lacking = [name for name in self.fitted if name not in test.X]
        if lacking:
            raise ModalityError(
                f"the test rows have no modality {lacking[0]!r}, which the training rows have; "
                "rows that lack it mark it as absent."
            )
        self.labels = readable_labels(train)
        self.all_train = train
        y = np.arange(float(len(train))) if label is None else np.asarray(train.labels[label])
        numbers = label is None or is_number(y)
        self.train = train[subset(y, numbers, max_rows, seed)]
        self.test = test

    def check(self) -> None:
        """Refuse data of other shapes than the method was fitted on, which no measure can use."""
        for data in self.both:
            rows = np.flatnonzero(usable_rows(self.model, self.X(data)))[:1]
            try:
                if len(rows):
                    self.model.transform(self.X(data)[rows])
            except ShapeError:
                raise
            except (DataError, CapabilityError):
                return  # the measures say why they do not apply

    def X(self, data: Dataset) -> Modalities:
        """The modalities that the method was fitted on."""
        return data.X.select(*self.fitted)

    def y(self, data: Dataset, label: str | None = None) -> NDArray[Any]:
        """A label of the rows, the probed one when left out."""
        name = self.label if label is None else label
        if name is None:
            raise DataError("the data have no label that a probe can learn.")
        if name not in data.labels:
            raise DataError(f"the test rows have no label {name!r}.")
        return np.asarray(data.labels[name])

    @cached_property
    def rows(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Training and test rows that the method can transform."""
        found = [np.flatnonzero(usable_rows(self.model, self.X(d))) for d in self.both]
        if len(found[0]) < 2 or len(found[1]) < 1:
            raise DataError(
                f"{type(self.model).__name__} can transform {len(found[0])} training rows and "
                f"{len(found[1])} test rows."
            )
        return found[0], found[1]

    @property
    def both(self) -> tuple[Dataset, Dataset]:
        """Training and test rows."""
        return self.train, self.test

    @cached_property
    def codes(self) -> tuple[Codes, Codes]:
        """Codes of training and of test rows that have one."""
        (a, b), (train, test) = self.rows, self.both
        return read_codes(self.model, self.X(train)[a]), read_codes(self.model, self.X(test)[b])

    @cached_property
    def task(self) -> tuple[Any, Any, Any, Any]:
        """Z_train, y_train, Z_test, y_test."""
        (a, b), y, asked = self.rows, self.y(self.train), self.y(self.test)
        train, test = self.codes
        return train.joined(train), y[a], test.joined(train), asked[b]

    @cached_property
    def reader(self) -> Reader:
        """The linear probe of the whole code."""
        return linear_reader(*self.task[:2], self.seed)

    @cached_property
    def asked(self) -> tuple[Modalities, NDArray[Any], float | None]:
        """Test rows of which labels are predicted, those labels, and the mean of numbers."""
        y = self.y(self.test)
        numbers = check_predicts(self.model, y)
        rows = self.rows[1]
        mean = float(self.y(self.train).mean()) if numbers else None
        return self.X(self.test)[rows], y[rows], mean

    def needs(self, *names: str) -> None:
        """Refuse names that the method was not fitted on."""
        for name in names:
            if name not in self.fitted:
                raise CapabilityError(f"{type(self.model).__name__} was not fitted on {name!r}.")

    def attempt(self, measure: Callable[..., Any], *arguments: Any) -> Any:
        """What the measure found, or as a str why it does not apply."""
        try:
            return measure(*arguments)
        except (DataError, CapabilityError) as error:
            # The row says whose it is; worded alike, methods share a note.
            name = type(self.model).__name__
            said = str(error).replace(f"this {name}", "the method", 1)
            return f"does not apply: {said.replace(name, 'the method', 1)}"


def value_of(found: Any, attribute: str, otherwise: str = "") -> Value:
    """An attribute of what was found, or why there is nothing."""
    if isinstance(found, str):
        return {"why": found}
    value = getattr(found, attribute)
    if value is None:
        return {"why": f"does not apply: {otherwise}"}
    return {"value": float(value)}


def number(found: float | str) -> Value:
    """What was found, or why there is nothing."""
    return {"why": found} if isinstance(found, str) else {"value": found}
