"""A method is held to its capabilities: what it declares works, what it does not is refused."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.contracts.method import Coordination, Fusion
from triptych.errors import (
    CapabilityError,
    DataError,
    ModalityError,
    ParameterError,
    ShapeError,
    TriptychError,
)
from triptych.modalities import FORMS, Modalities
from triptych.testing.examples import NAMES, example, first_forms, labels
from triptych.testing.manners import require_panel, require_rows_apart, require_saved
from triptych.testing.subject import (
    ROWS,
    Subject,
    codes,
    require,
    require_close,
    require_equal,
    require_refusal,
)


def takes_the_kinds_it_declares(s: Subject) -> None:
    """Every declared kind fits, codes rows apart and is saved; every other kind is refused."""
    plain = first_forms(s.able)
    for form in FORMS:
        forms = (form, *plain[1:])
        X, X_new = example(forms, ROWS, seed=0), example(forms, 9, seed=1)
        if form not in s.able.kinds:
            require_refusal(f"fit of {form}, not declared", partial(s.fit, X), ModalityError)
            continue
        try:
            model = s.fit(X)
            require_panel(s, model, X_new)
            require_rows_apart(model, X_new)
            with tempfile.TemporaryDirectory() as folder:
                require_saved(s, model, X_new, Path(folder) / "model")
        except (AssertionError, TriptychError) as error:
            raise AssertionError(f"modality of kind {form}: {error}") from error


def takes_as_many_modalities_as_it_declares(s: Subject) -> None:
    """The declared numbers of modalities fit; one fewer or one more is refused."""
    low, high = s.able.min_modalities, s.able.max_modalities
    most = high if high is not None else max(low, 2) + 1
    for count in sorted({low, min(most, len(NAMES))}):
        forms = first_forms(s.able, count)
        require_panel(s, s.fit(example(forms, ROWS)), example(forms, 5, seed=1))
    if low > 1:
        few = example(first_forms(s.able, low - 1), ROWS)
        require_refusal(f"fit of {low - 1} modalities", lambda: s.fit(few), ModalityError)
    if high is not None and high < len(NAMES):
        many = example(first_forms(s.able, high + 1), ROWS)
        require_refusal(f"fit of {high + 1} modalities", lambda: s.fit(many), ModalityError)


def fits_rows_with_gaps_if_declared(s: Subject) -> None:
    """Rows that lack a modality: learnt from, and what stands there is never read; or refused."""
    X = s.X
    if len(X.names) < 2:
        return
    mask = np.ones(ROWS, dtype=bool)
    mask[[1, 5, 20]] = False
    other = np.ones(ROWS, dtype=bool)
    other[[2, 30]] = False
    gaps = {X.names[0]: mask, X.names[1]: other}
    if not s.able.missing_at_fit:
        require_refusal(
            "fit with absent modalities, missing_at_fit=False",
            lambda: s.fit(X.with_present(gaps)),
            CapabilityError,
        )
        return
    model = s.fit(X.with_present(gaps))
    require_panel(s, model, s.X_new)
    again = s.fit(_scribbled(X, gaps).with_present(gaps))
    require_equal(
        "other values in absent rows of fit", codes(again, s.X_new), codes(model, s.X_new)
    )


def codes_rows_with_gaps_if_declared(s: Subject) -> None:
    """The same at ``transform``; rows that lack nothing have the codes they had."""
    X, model = s.X_new, s.fitted
    if len(X.names) < 2:
        return
    mask = np.arange(len(X)) % 3 != 1
    gaps = {X.names[1]: mask}
    holed = X.with_present(gaps)
    if not s.able.missing_at_transform:
        require_refusal(
            "transform with absent modalities, missing_at_transform=False",
            lambda: model.transform(holed),
            CapabilityError,
        )
        return
    require_panel(s, model, holed)
    with_gaps, whole = codes(model, holed), codes(model, X)
    require_close(
        "rows that lack nothing, beside rows with gaps",
        {k: z[mask] for k, z in with_gaps.items()},
        {k: whole[k][mask] for k in with_gaps},
        share=1e-4,
    )
    scribbled = codes(model, _scribbled(X, gaps).with_present(gaps))
    present = {k: mask if k == X.names[1] and k else mask | True for k in with_gaps}
    require_equal(
        "other values in absent rows of transform",
        {k: z[present[k]] for k, z in scribbled.items()},
        {k: z[present[k]] for k, z in with_gaps.items()},
    )
    nothing = {name: np.arange(len(X)) != 4 for name in X.names}
    if s.cls.panel != "coordination":
        message = require_refusal(
            "transform of a row with nothing present",
            lambda: model.transform(X.with_present(nothing)),
            DataError,
        )
        require("4" in message, f"the row with nothing present is not named: {message}")


def codes_one_modality_if_declared(s: Subject) -> None:
    """One modality alone at ``transform``: coded, or refused."""
    model, X = s.fitted, s.X_new
    if len(X.names) < 2:
        return
    for name in X.names:
        alone = X.select(name)
        if s.able.one_modality_at_transform:
            require_panel(s, model, alone)
        else:
            require_refusal(
                f"transform of {name!r} alone, one_modality_at_transform=False",
                partial(model.transform, alone),
                CapabilityError,
            )


def scores_and_answers_labels(s: Subject) -> None:
    """``score`` is a finite number; labels are used, checked, or let be."""
    X, X_new, model = s.X, s.X_new, s.fitted
    y = np.arange(ROWS) % 2
    score = model.score(X_new, s.y(len(X_new), 1))
    require(isinstance(score, float) and bool(np.isfinite(score)), f"score gives {score!r}")
    require(score == model.score(X_new, s.y(len(X_new), 1)), "score differs when asked again")
    require_refusal("y of wrong length", lambda: s.new().fit(X, y[:-1]), ShapeError)
    holes = np.where(np.arange(ROWS) == 3, np.nan, y.astype(float))
    require_refusal("y with NaN", lambda: s.new().fit(X, holes), DataError)
    if s.able.needs_labels:
        require_refusal("no y, needs_labels=True", lambda: s.new().fit(X), DataError)
        require_refusal("y of one class", lambda: s.new().fit(X, np.zeros(ROWS, int)), DataError)
    elif not s.able.uses_labels:
        require_equal(
            "y given, needs_labels=False", codes(s.fit(X, y), X_new), codes(model, X_new)
        )


def respects_n_components(s: Subject) -> None:
    """Codes are as wide as asked; a width that cannot be is refused."""
    if not isinstance(s.new().get_params(deep=False).get("n_components"), (int, np.integer)):
        return
    for width in (1, 3):
        model = s.fit(n_components=width)
        shapes = {k: z.shape for k, z in codes(model, s.X_new).items()}
        if s.cls.panel == "fission":
            shapes = {k: shape for k, shape in shapes.items() if k == "shared"}
        wrong = {k: shape for k, shape in shapes.items() if shape[-1] != width}
        require(not wrong, f"n_components={width} gives codes of shapes {wrong}")
    for bad in (0, -1, 1.5, "two"):
        message = require_refusal(
            f"n_components={bad!r}", partial(s.fit, n_components=bad), ParameterError
        )
        require("n_components" in message, f"the error does not name n_components: {message}")


def reconstructs_if_declared(s: Subject) -> None:
    """``reconstruct`` gives every modality in its own kind, from all that ``transform`` takes."""
    model, X = s.fitted, s.X_new
    if not s.able.reconstructs:
        require_refusal("reconstruct, not declared", lambda: model.reconstruct(X), CapabilityError)
        return
    if isinstance(model, Fusion):
        Z = np.asarray(model.transform(X))
        wanted, decoded = model.reconstruct(X), model.decode(Z)
        for name in wanted.names:
            same = _alike(wanted[name], decoded[name])
            require(same, f"decode(transform(X)) is not reconstruct(X): {name!r} differs")
        require_refusal("codes of another width", lambda: model.decode(Z[:, :-1]), ShapeError)
        require_refusal("codes with NaN", lambda: model.decode(Z * np.nan), DataError)
    given = [X]
    if s.able.one_modality_at_transform:
        given += [X.select(name) for name in X.names]
    for part in given:
        rebuilt = model.reconstruct(part)
        what = f"reconstruct from {list(part.names)}"
        require(isinstance(rebuilt, Modalities), f"{what} gives {type(rebuilt).__name__}")
        require(set(rebuilt.names) == set(X.names), f"{what} gives {rebuilt.names}")
        require(len(rebuilt) == len(X), f"{what} gives {len(rebuilt)} rows for {len(X)}")
        for name in X.names:
            form, got = X.kind(name).form, rebuilt.kind(name).form
            require(got == form, f"{what}: {name!r} is {got}, fitted as {form}")
            if form in ("vector", "image"):
                shape, back = X[name].shape, rebuilt[name].shape
                require(back == shape, f"{what}: {name!r} has shape {back}, expected {shape}")


def _alike(wanted: Any, got: Any) -> bool:
    if isinstance(wanted, list):
        return list(wanted) == list(got)
    a, b = (np.asarray(v, dtype=np.float64) for v in (wanted, got))
    # Codes pass through float32 in between; a picture's whole numbers may round the other way.
    near = 1e-3 * np.abs(a).max(initial=0.0) + (np.asarray(wanted).dtype.kind in "ui")
    return a.shape == b.shape and bool(np.abs(a - b).max(initial=0.0) <= near)


def predicts_if_declared(s: Subject) -> None:
    """``predict`` gives labels that were seen, one per row; or it is refused."""
    model, X = s.fitted, s.X_new
    if not s.able.predicts or s.y() is None:
        require_refusal("predict, without labels", lambda: model.predict(X), CapabilityError)
    if not s.able.predicts:
        return
    if s.y() is None:
        model = s.fit(y=labels(ROWS, 0))
    found: NDArray[Any] = np.asarray(model.predict(X))
    require(found.shape[:1] == (len(X),), f"predict gives shape {found.shape} for {len(X)} rows")
    strange = sorted(set(found.tolist()) - {0, 1})
    require(not strange, f"predict gives {strange}, which were never seen")


def retrieves(s: Subject) -> None:
    """``retrieve`` gives the best rows first, and says what it cannot search."""
    model, X = s.fitted, s.X
    if not isinstance(model, Coordination) or not s.able.one_modality_at_transform:
        return
    a, b = X.names[:2]
    query, among = s.X_new.select(a), X.select(b)
    rows, similar = model.retrieve(query, among, k=4)
    require(rows.shape == similar.shape == (len(query), 4), f"retrieve gives shape {rows.shape}")
    require(bool(((rows >= 0) & (rows < len(among))).all()), "retrieve gives rows out of range")
    require(bool((np.diff(similar, axis=1) <= 0).all()), "retrieve is not sorted, best first")
    distinct = all(len(set(row.tolist())) == 4 for row in rows)
    require(distinct, "retrieve gives a row twice")
    require_refusal(
        "k above the rows", lambda: model.retrieve(query, among, k=len(among) + 1), ParameterError
    )
    require_refusal(
        "a query of two modalities", lambda: model.retrieve(s.X_new, among), ModalityError
    )


def takes_validation_rows(s: Subject) -> None:
    """``validation`` is taken with and without labels, and checked like the rest."""
    X, X_new = s.X, s.X_new
    y_new = s.y(len(X_new), 1)
    if not s.able.needs_labels:
        require_panel(s, s.new().fit(X, validation=X_new), X_new)
    require_panel(s, s.new().fit(X, s.y(), validation=(X_new, y_new)), X_new)
    stranger = Modalities({"stranger": np.zeros((4, 3))})
    require_refusal(
        "validation of an unknown modality",
        lambda: s.new().fit(X, s.y(), validation=(stranger, y_new)),
        DataError,
    )


def _scribbled(X: Modalities, gaps: Mapping[str, NDArray[np.bool_]]) -> Modalities:
    """The same modalities with other values where they are said to be absent."""
    data: dict[str, Any] = {}
    for name, values in X.items():
        absent = ~gaps.get(name, np.ones(len(X), dtype=bool))
        if isinstance(values, list):
            donor = values[int(np.flatnonzero(~absent)[0])]
            data[name] = [donor if gone else v for v, gone in zip(values, absent, strict=True)]
        else:
            data[name] = np.array(values)
            data[name][absent] = 77
    return Modalities(data, kinds={name: X.kind(name).form for name in X.names})


CHECKS: tuple[Callable[[Subject], None], ...] = (
    takes_the_kinds_it_declares,
    takes_as_many_modalities_as_it_declares,
    fits_rows_with_gaps_if_declared,
    codes_rows_with_gaps_if_declared,
    codes_one_modality_if_declared,
    scores_and_answers_labels,
    respects_n_components,
    reconstructs_if_declared,
    predicts_if_declared,
    retrieves,
    takes_validation_rows,
)
