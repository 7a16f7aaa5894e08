"""Leakage: what one part of a code tells about another part that should know nothing of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.arrays import check_number
from triptych.errors import DataError, ShapeError
from triptych.evaluation.probes import as_codes, neighbours, r2, standardised, subset
from triptych.seeding import check_random_state

MAX_ROWS = 5_000
PENALTIES = np.logspace(-2, 4, 7)


@dataclass(frozen=True)
class LeakageScore:
    """How much of one part can be predicted from another, as R² on test rows.

    Args:
        value: The larger of both readers and of 0, which always saying the mean reaches.
        linear: R² of ridge regression.
        nonlinear: R² of the mean of the k nearest rows.
    """

    value: float
    linear: float
    nonlinear: float


def leakage(
    source_train: ArrayLike,
    target_train: ArrayLike,
    source_test: ArrayLike,
    target_test: ArrayLike,
    random_state: int | None = 0,
    *,
    k: int = 10,
    max_rows: int = MAX_ROWS,
) -> LeakageScore:
    """Predict one part of a code from another, with a linear and a non-linear reader.

    Both parts are standardised with the training rows; columns of the target that are constant
    there are left out, so that every living dimension counts the same. The non-linear reader is
    k nearest neighbours (euclidean) in the standardised source. Ridge chooses its penalty by
    leave-one-out on training rows.

    Args:
        source_train: Codes (n, d) that predict.
        target_train: Codes (n, e) to be predicted.
        source_test: Codes (q, d).
        target_test: Codes (q, e).
        random_state: Seed of the choice of rows beyond ``max_rows``.
        k: Neighbours.
        max_rows: Most training rows and most test rows to use.

    Raises:
        DataError: The target is constant, so there is nothing to leak.
        ShapeError: Rows or columns that do not fit.
    """
    check_number("k", k, low=1, integer=True)
    check_number("max_rows", max_rows, low=2, integer=True)
    seed = check_random_state(random_state)
    train, y = as_codes(source_train, "source_train"), as_codes(target_train, "target_train")
    test, truth = as_codes(source_test, "source_test"), as_codes(target_test, "target_test")
    for a, b, where in ((train, y, "training"), (test, truth, "test")):
        if len(a) != len(b):
            raise ShapeError(f"{where} rows of source and target differ: {len(a)} and {len(b)}.")
    if train.shape[1] != test.shape[1] or y.shape[1] != truth.shape[1]:
        raise ShapeError("training and test codes have different widths.")
    if len(train) < 2 or len(test) < 1:
        raise DataError(f"leakage needs 2 training rows and 1 test row; got {len(train)}.")
    rows, asked = (subset(np.arange(float(len(a))), True, max_rows, seed) for a in (train, test))
    train, test = standardised(train[rows], test[asked])
    y, truth = standardised(y[rows], truth[asked])
    alive = y.any(axis=0)
    if not alive.any():
        raise DataError("the part to be predicted is constant, so nothing can leak into it.")
    y, truth = y[:, alive], truth[:, alive]
    from sklearn.linear_model import RidgeCV

    made = RidgeCV(alphas=PENALTIES).fit(train, y).predict(test).reshape(truth.shape)
    near = neighbours(train, test, min(k, len(train)), "euclidean")
    linear, nonlinear = r2(truth, made, 0.0), r2(truth, _mean_of(y, near), 0.0)
    return LeakageScore(max(0.0, linear, nonlinear), linear, nonlinear)


def _mean_of(y: NDArray[np.float64], near: NDArray[np.intp]) -> NDArray[np.float64]:
    total = np.zeros((len(near), y.shape[1]))
    for column in near.T:
        total += y[column]
    return np.asarray(total / near.shape[1])
