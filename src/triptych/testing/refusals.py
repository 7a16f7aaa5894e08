"""Bad input: each is refused with an error of ours that says whose it was."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from triptych.errors import DataError, ModalityError, NotFittedError, ShapeError, TriptychError
from triptych.modalities import Modalities
from triptych.testing.examples import example
from triptych.testing.subject import ROWS, Subject, codes, require, require_refusal


def refuses_what_is_no_data(s: Subject) -> None:
    """Positional lists, nothing, bare arrays and bad names are refused by ``fit``."""
    data = dict(s.X.items())
    first = s.X.names[0]
    bad: dict[str, Any] = {
        "a positional list": list(data.values()),
        "None": None,
        "a bare array": np.zeros((ROWS, 3)),
        "a str": "alpha",
        "an empty dict": {},
        "a name that is no str": {**data, 3: data[first]},
        "the reserved name": {**data, "shared": data[first]},
        "a modality that is None": {**data, first: None},
        "a modality of objects": {**data, first: [object()] * ROWS},
        "complex numbers": {**data, first: np.ones((ROWS, 3), dtype=complex)},
        "no columns": {**data, first: np.empty((ROWS, 0))},
    }
    for what, X in bad.items():
        require_refusal(f"fit of {what}", partial(s.new().fit, X, s.y()), DataError)


def refuses_rows_that_do_not_fit(s: Subject) -> None:
    """Different row counts, no row, one row, and a modality absent in all rows are refused."""
    X, y = s.X, s.y()
    first = X.names[0]
    if len(X.names) > 1:
        uneven = {**dict(X.items()), first: X[first][:-1]}
        message = require_refusal(
            "different row counts", lambda: s.new().fit(uneven, y), ShapeError
        )
        require(first in message, f"different row counts: the modality is not named: {message}")
    for n in (0, 1):
        few = None if y is None else y[:n]
        require_refusal(f"fit of {n} rows", partial(s.new().fit, X[:n], few), DataError)
    gone = X.with_present({first: np.zeros(ROWS, dtype=bool)})
    message = require_refusal(
        "a modality absent everywhere", lambda: s.new().fit(gone, y), DataError
    )
    require(first in message, f"absent everywhere: the modality is not named: {message}")


def names_where_a_value_is_not_finite(s: Subject) -> None:
    """NaN and infinity are refused in ``fit`` and ``transform``, with modality, row and column."""
    X, X_new, y = s.X, s.X_new, s.y()
    name = X.names[-1]
    if X.kind(name).form != "vector":
        return
    for value in (np.nan, np.inf, -np.inf):
        bad = np.array(X[name], dtype=np.float64)
        bad[3, 1] = value
        new = np.array(X_new[name], dtype=np.float64)
        new[2, 4] = value
        asked: tuple[tuple[str, Callable[[], Any], tuple[str, ...]], ...] = (
            ("fit", partial(s.new().fit, {**dict(X.items()), name: bad}, y), ("3", "1")),
            (
                "transform",
                partial(s.fitted.transform, {**dict(X_new.items()), name: new}),
                ("2", "4"),
            ),
        )
        for where, call, (row, column) in asked:
            message = require_refusal(f"{value} in {where}", call, DataError)
            for word in (name, f"row {row}", f"column {column}"):
                require(word in message, f"{value} in {where}: no {word!r} in: {message}")


def refuses_other_data_at_transform(s: Subject) -> None:
    """Unknown modalities, other widths, no rows and no names are refused by ``transform``."""
    X, model = s.X_new, s.fitted
    first = X.names[0]
    data = dict(X.items())
    message = require_refusal(
        "an unknown modality at transform",
        lambda: model.transform({**data, "stranger": np.zeros((len(X), 3))}),
        ModalityError,
    )
    require("stranger" in message, f"the unknown modality is not named: {message}")
    if X.kind(first).form == "vector":
        wide = {**data, first: np.column_stack([X[first], X[first]])}
        message = require_refusal("another width", lambda: model.transform(wide), ShapeError)
        require(first in message, f"another width: the modality is not named: {message}")
        text = {**data, first: ["word"] * len(X)}
        require_refusal("another kind of data", lambda: model.transform(text), ShapeError)
    positional: Any = list(data.values())
    require_refusal("no rows at transform", lambda: model.transform(X[:0]), DataError)
    require_refusal("a list at transform", partial(model.transform, positional), DataError)
    if len(X.names) > 1:
        require_refusal(
            "score of one modality",
            lambda: model.score(X.select(first), s.y(len(X), 1)),
            ModalityError,
        )


def survives_dull_columns(s: Subject) -> None:
    """Constant and repeated columns give finite codes or a clear error; whole numbers are data."""
    X, y = s.X, s.y()
    first = X.names[0]
    if X.kind(first).form != "vector":
        return
    values = np.asarray(X[first])
    dull: dict[str, Any] = {
        "a constant column": np.column_stack([values, np.full(ROWS, 3.0)]),
        "a repeated column": np.column_stack([values, values[:, :1]]),
        "constant columns only": np.full((ROWS, 4), 2.0),
        "whole numbers": np.round(values * 10).astype(np.int64),
        "booleans": values > 0,
        "single precision": values.astype(np.float32),
    }
    for what, columns in dull.items():
        there = Modalities({**dict(X.items()), first: columns})
        try:
            model = s.new().fit(there, y)
        except TriptychError as error:
            clear = what == "constant columns only" and first in str(error)
            if not clear:
                raise AssertionError(f"fit of {what}: {type(error).__name__}: {error}") from error
            continue
        finite = all(bool(np.isfinite(z).all()) for z in codes(model, there).values())
        require(finite, f"{what}: codes hold NaN or infinity")


def stays_finite_far_from_what_it_learnt(s: Subject) -> None:
    """Huge values at ``transform`` give finite codes or a clear error, never NaN or infinity."""
    X = s.X_new
    name = X.names[0]
    if X.kind(name).form != "vector":
        return
    for size in (1e30, 1e100):
        far = {**dict(X.items()), name: np.asarray(X[name]) * size}
        try:
            found = codes(s.fitted, far)
        except TriptychError as error:
            require(name in str(error), f"values of {size}: {name!r} is not named: {error}")
            continue
        finite = all(bool(np.isfinite(z).all()) for z in found.values())
        require(finite, f"values of {size}: codes hold NaN or infinity")


def is_not_fitted_after_a_failed_fit(s: Subject) -> None:
    """A ``fit`` that refuses its data leaves a new method unfitted."""
    model = s.new()
    bad = example(["vector"] * 2, ROWS)
    require_refusal("fit of one row", lambda: model.fit(bad[:1], s.y(1)), DataError)
    require_refusal("transform after a failed fit", lambda: model.transform(bad), NotFittedError)


CHECKS: tuple[Callable[[Subject], None], ...] = (
    refuses_what_is_no_data,
    refuses_rows_that_do_not_fit,
    names_where_a_value_is_not_finite,
    refuses_other_data_at_transform,
    survives_dull_columns,
    stays_finite_far_from_what_it_learnt,
    is_not_fitted_after_a_failed_fit,
)
