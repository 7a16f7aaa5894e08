"""Probes: how much of a label simple readers find in codes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.arrays import as_labels, check_choice, check_number, row_chunks
from triptych.errors import DataError, ShapeError
from triptych.neighbours import unit_rows
from triptych.seeding import check_random_state, generator

MAX_ROWS = 10_000
MAX_CLASSES = 500
NEAR_ZERO = 1e-9  # a spread this small beside the mean is rounding, not signal


@dataclass(frozen=True)
class ProbeScore:
    """What a probe found.

    Args:
        value: Accuracy on test rows for classes; R² against the training mean for numbers.
        balanced: Mean recall over the classes among test rows; ``None`` for numbers.
        measure: ``"accuracy"`` or ``"R2"``.
        unseen: Share of test rows whose class no training row has; they count as wrong.
        n_train: Training rows that were used.
        n_test: Test rows.
    """

    value: float
    balanced: float | None
    measure: str
    unseen: float
    n_train: int
    n_test: int


@dataclass(frozen=True)
class Reader:
    """A probe that has learnt and can be asked about several sets of test rows.

    Args:
        predict: Labels (q,) from codes (q, d).
        classes: What there was to learn, shape (k,); empty for numbers.
        numbers: Whether labels are numbers.
        mean: Mean of the training labels if they are numbers, else 0.
        shape: Training codes that were used, (n, d).
    """

    predict: Callable[[NDArray[np.float64]], NDArray[Any]]
    classes: NDArray[Any]
    numbers: bool
    mean: float
    shape: tuple[int, int]

    def score(self, Z_test: ArrayLike, y_test: ArrayLike) -> ProbeScore:
        """How well test rows are read.

        Args:
            Z_test: Codes, shape (q, ...).
            y_test: Labels (q,).
        """
        test = as_codes(Z_test, "Z_test")
        asked = _labels(y_test, len(test), "y_test")
        if test.shape[1] != self.shape[1]:
            raise ShapeError(
                f"Z_train has {self.shape[1]} columns and Z_test {test.shape[1]}; they must agree."
            )
        if len(test) < 1:
            raise DataError("a probe needs at least 1 test row, got none.")
        if self.numbers:
            if asked.dtype.kind not in "biuf":
                raise DataError(f"y_test: expected numbers as in y_train, got {asked.dtype}.")
            value = r2(asked, self.predict(test), self.mean)
            return ProbeScore(value, None, "R2", 0.0, self.shape[0], len(test))
        seen = np.isin(asked, self.classes)
        if not seen.any():
            raise DataError("no test row has a class that training rows have.")
        right = self.predict(test) == asked
        _, of_class, counts = np.unique(asked, return_inverse=True, return_counts=True)
        balanced = float((np.bincount(of_class, weights=right) / counts).mean())
        unseen = float((~seen).mean())
        value = float(right.mean())
        return ProbeScore(value, balanced, "accuracy", unseen, self.shape[0], len(test))


def linear_probe(
    Z_train: ArrayLike,
    y_train: ArrayLike,
    Z_test: ArrayLike,
    y_test: ArrayLike,
    random_state: int | None = 0,
    *,
    max_rows: int = MAX_ROWS,
) -> ProbeScore:
    """A linear reader: standardised codes, then logistic regression; ridge for numbers.

    The penalty is scikit-learn's default for classes (C = 1) and is chosen by leave-one-out
    among 1e-3 ... 1e5 for numbers.

    Args:
        Z_train: Codes, shape (n, ...); what follows the first axis is flattened.
        y_train: Labels (n,): numbers if the type is float, else classes.
        Z_test: Codes, shape (q, ...).
        y_test: Labels (q,).
        random_state: Seed of the choice of rows beyond ``max_rows``.
        max_rows: Most training rows to use; every class keeps at least one.

    Raises:
        DataError: Fewer than two classes to learn, more than 500, no test row of a class that
            was learnt, or test numbers that are all equal.
    """
    return linear_reader(Z_train, y_train, random_state, max_rows=max_rows).score(Z_test, y_test)


def linear_reader(
    Z_train: ArrayLike,
    y_train: ArrayLike,
    random_state: int | None = 0,
    *,
    max_rows: int = MAX_ROWS,
) -> Reader:
    """The reader of :func:`linear_probe`, to be asked more than once."""
    train, y, classes = _learnt(Z_train, y_train, random_state, max_rows)
    mean, scale = spread_of(train)
    train = (train - mean) / scale
    if y.dtype.kind == "f":
        from sklearn.linear_model import RidgeCV

        model = RidgeCV(alphas=np.logspace(-3, 5, 9)).fit(train, y)
    else:
        if len(classes) > MAX_CLASSES:
            raise DataError(
                f"a linear probe takes at most {MAX_CLASSES} classes, got {len(classes)}; "
                "ask the kNN probe."
            )
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(max_iter=300, tol=1e-3)
        with warnings.catch_warnings():
            # The last digit of the weights does not move an accuracy.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(train, y)
    return _reader(lambda Z: np.asarray(model.predict((Z - mean) / scale)), train, y, classes)


def knn_probe(
    Z_train: ArrayLike,
    y_train: ArrayLike,
    Z_test: ArrayLike,
    y_test: ArrayLike,
    random_state: int | None = 0,
    *,
    k: int = 5,
    metric: str = "cosine",
    max_rows: int = MAX_ROWS,
) -> ProbeScore:
    """A local reader: the majority among the k nearest training rows; their mean for numbers.

    When classes tie, the one with the nearest row wins. Codes are compared as they are, without
    standardising.

    Args:
        Z_train: Codes, shape (n, ...); what follows the first axis is flattened.
        y_train: Labels (n,): numbers if the type is float, else classes.
        Z_test: Codes, shape (q, ...).
        y_test: Labels (q,).
        random_state: Seed of the choice of rows beyond ``max_rows``.
        k: Neighbours; at most the training rows.
        metric: ``"cosine"`` or ``"euclidean"``.
        max_rows: Most training rows to use; every class keeps at least one.
    """
    check_number("k", k, low=1, integer=True)
    check_choice("metric", metric, ("cosine", "euclidean"))
    train, y, classes = _learnt(Z_train, y_train, random_state, max_rows)

    def predict(Z: NDArray[np.float64]) -> NDArray[Any]:
        found = y[neighbours(train, Z, min(k, len(train)), metric)]  # (q, k)
        return np.asarray(found.mean(axis=1)) if y.dtype.kind == "f" else _majority(found)

    return _reader(predict, train, y, classes).score(Z_test, y_test)


def _reader(
    predict: Callable[[NDArray[np.float64]], NDArray[Any]],
    train: NDArray[np.float64],
    y: NDArray[Any],
    classes: NDArray[Any],
) -> Reader:
    numbers = y.dtype.kind == "f"
    mean = float(y.mean()) if numbers else 0.0
    return Reader(predict, classes, numbers, mean, (train.shape[0], train.shape[1]))


def neighbours(
    train: NDArray[np.float64], test: NDArray[np.float64], k: int, metric: str
) -> NDArray[np.intp]:
    """Rows (q, k) of ``train`` nearest to each row of ``test``, nearest first, in tiles."""
    check_choice("metric", metric, ("cosine", "euclidean"))
    if metric == "cosine":
        train, test = unit_rows(train), unit_rows(test)
        half_norms = np.zeros(len(train))
    else:
        half_norms = (train**2).sum(axis=1) / 2
    out = np.empty((len(test), k), dtype=np.intp)
    for part in row_chunks(len(test), 512):
        # -|a - b|^2 / 2 up to a term of the query alone
        scores = test[part] @ train.T - half_norms  # (tile, n)
        some = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        some.sort(axis=1)
        best = np.argsort(-np.take_along_axis(scores, some, axis=1), axis=1, kind="stable")
        out[part] = np.take_along_axis(some, best, axis=1)
    return out


def _majority(found: NDArray[Any]) -> NDArray[Any]:
    votes = (found[:, :, None] == found[:, None, :]).sum(axis=2)  # (q, k)
    return np.asarray(found[np.arange(len(found)), votes.argmax(axis=1)])


def r2(truth: NDArray[Any], predicted: NDArray[Any], mean: Any) -> float:
    """1 - SSE / SST with SST around ``mean``, summed over all entries.

    Args:
        truth: Any shape.
        predicted: The same shape.
        mean: What a reader without the codes would say, for instance the training mean.

    Raises:
        DataError: The truth equals the mean everywhere, so there is nothing to explain.
    """
    truth, predicted = np.asarray(truth, dtype=np.float64), np.asarray(predicted, np.float64)
    total = float(((truth - mean) ** 2).sum())
    if total <= NEAR_ZERO**2 * float((truth**2).sum()):
        raise DataError("R² asks for values that differ from their mean; these are constant.")
    return 1.0 - float(((truth - predicted) ** 2).sum()) / total


def spread_of(train: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of columns, each (d,); a constant column's deviation is infinite.

    So ``(Z - mean) / deviation`` makes a constant column 0 in every row.
    """
    mean, scale = train.mean(axis=0), train.std(axis=0)
    flat = scale <= NEAR_ZERO * np.maximum(np.abs(mean), NEAR_ZERO)
    return mean, np.where(flat, np.inf, scale)


def standardised(
    train: NDArray[np.float64], *others: NDArray[np.float64]
) -> tuple[NDArray[np.float64], ...]:
    """Arrays (n, d) with the mean and deviation of ``train`` taken out; constant columns are 0."""
    mean, scale = spread_of(train)
    return tuple((Z - mean) / scale for Z in (train, *others))


def as_codes(Z: ArrayLike, name: str) -> NDArray[np.float64]:
    """Finite codes (n, d) from an array (n, ...)."""
    values = np.asarray(Z)
    if values.ndim < 2 or values.dtype.kind not in "biuf":
        raise ShapeError(
            f"{name}: expected codes (n, d) of numbers, got shape {values.shape} of "
            f"{values.dtype}."
        )
    values = values.reshape(len(values), int(np.prod(values.shape[1:]))).astype(np.float64)
    if not np.isfinite(values).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise DataError(f"{name}: code is not finite at row {row}, column {column}.")
    return values


def subset(y: NDArray[Any], numbers: bool, max_rows: int, seed: int) -> NDArray[np.intp]:
    """At most ``max_rows`` rows in order, drawn evenly, one of each class first."""
    n = len(y)
    if n <= max_rows:
        return np.arange(n)
    order = generator(seed, "probe", "rows").permutation(n)
    if not numbers:
        _, first = np.unique(y[order], return_index=True)
        rest = np.ones(n, dtype=bool)
        rest[first] = False
        order = np.concatenate([order[first], order[rest]])
        max_rows = max(max_rows, len(first))
    return np.sort(order[:max_rows])


def _labels(y: ArrayLike, n: int, name: str) -> NDArray[Any]:
    values = as_labels(y, n, name)
    if values.dtype.kind == "O" and len({type(value) for value in values.tolist()}) > 1:
        raise DataError(f"{name}: expected labels of one type, got several.")
    return values


def _learnt(
    Z_train: ArrayLike, y_train: ArrayLike, random_state: int | None, max_rows: int
) -> tuple[NDArray[np.float64], NDArray[Any], NDArray[Any]]:
    """Codes, labels and classes to learn from."""
    check_number("max_rows", max_rows, low=2, integer=True)
    seed = check_random_state(random_state)
    train = as_codes(Z_train, "Z_train")
    y = _labels(y_train, len(train), "y_train")
    if len(train) < 2:
        raise DataError(f"a probe needs at least 2 training rows; got {len(train)}.")
    numbers = y.dtype.kind == "f"
    classes = np.empty(0) if numbers else np.unique(y)
    if not numbers and len(classes) < 2:
        raise DataError(
            f"a probe needs at least 2 classes to learn; got only {classes.tolist()[0]!r}."
        )
    rows = subset(y, numbers, max_rows, seed)
    return train[rows], y[rows], classes
