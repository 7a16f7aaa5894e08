"""Measures that read a label: probes, predictions, words, coherence, missing and noisy rows."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np

from triptych.errors import CapabilityError, DataError
from triptych.evaluation.case import Case, Value, number, value_of
from triptych.evaluation.codes import alone
from triptych.evaluation.columns import has_class_names, named_by_text
from triptych.evaluation.prediction import (
    Calibration,
    PredictionCurve,
    calibration,
    prediction_by_absence,
    prediction_by_noise,
    prediction_score,
)
from triptych.evaluation.probes import knn_probe, linear_probe
from triptych.evaluation.robustness import (
    LEVELS,
    SHARES,
    MissingCurve,
    NoiseCurve,
    missing_curve_of,
    noise_curve_of,
)
from triptych.evaluation.subsets import coherence, told_by
from triptych.evaluation.zero_shot import zero_shot_of_label
from triptych.seeding import generator

# True samples that the reader of made ones learns from: it is asked for every method.
READER_ROWS = 2000
# Rows that are predicted under noise, which is drawn for every number of theirs.
NOISE_ROWS = 2000


def probes(case: Case) -> dict[str, Value]:
    """What readers of the whole code and of each modality alone tell."""
    linear = case.attempt(lambda: case.reader.score(*case.task[2:]))
    out = {
        "probe": value_of(linear, "value"),
        "balanced_probe": value_of(linear, "balanced", "numbers have no classes"),
        "knn": value_of(case.attempt(lambda: knn_probe(*case.task, case.seed)), "value"),
    }
    for name in case.names:
        found = case.attempt(_alone, case, name)
        out[f"probe:{name}"] = value_of(found, "value")
    return out


def _alone(case: Case, name: str) -> Any:
    case.needs(name)
    parts: list[Any] = []
    for data in case.both:
        rows = np.flatnonzero(data.X.present[name])
        if len(rows) == 0:
            raise DataError(f"modality {name!r} is absent in all rows.")
        parts += [alone(case.model, case.X(data)[rows], name), case.y(data)[rows]]
    train, y, test, asked = parts
    return linear_probe(train.joined(train), y, test.joined(train), asked, case.seed)


def predictions(case: Case) -> dict[str, Value]:
    """The method's own predictions, where it makes some."""
    if case.label is None:
        return {}
    score = case.attempt(_predict, case)
    found = {
        "predict": score,
        "predict_gain": case.attempt(_gain, case, score),
        **{f"predict:{name}": case.attempt(_predict, case, name) for name in case.names},
    }
    sure = case.attempt(_calibration, case)
    return {
        **{key: number(value) for key, value in found.items()},
        "predict_missing": _curve(case.attempt(_by_absence, case)),
        "predict_noise": _curve(case.attempt(_by_noise, case)),
        **{f"predict_{what}": value_of(sure, what) for what in ("ece", "brier")},
    }


def _predict(case: Case, name: str | None = None) -> float:
    X, y, mean = case.asked
    if name is not None:
        case.needs(name)
        if not case.model.capabilities.one_modality_at_transform:
            raise CapabilityError(
                f"{type(case.model).__name__} does not transform one modality alone."
            )
        rows = np.flatnonzero(X.present[name])
        if not len(rows):
            raise DataError(f"modality {name!r} is absent in all rows.")
        X, y = X[rows].select(name), y[rows]
    return prediction_score(case.model.predict(X), y, mean)


def _gain(case: Case, score: float | str) -> float:
    if isinstance(score, str):
        raise DataError(score.removeprefix("does not apply: "))
    (a, _), y = case.rows, case.y(case.train)
    X, asked, _ = case.asked
    train = case.X(case.train)[a]
    told = [
        told_by((m,), train, y[a], X, asked, random_state=case.seed, max_rows=case.max_rows)
        for m in case.fitted
    ]
    return score - max(told)


def _calibration(case: Case) -> Calibration:
    X, y, mean = case.asked
    if mean is not None:
        raise DataError("numbers have no probabilities.")
    return calibration(case.model.predict_proba(X), y, case.model.classes_)


def _by_absence(case: Case) -> PredictionCurve:
    X, y, mean = case.asked
    if len(case.fitted) < 2:
        raise CapabilityError("there is one modality, so none can be missing.")
    return prediction_by_absence(case.model, X, y, mean=mean, random_state=case.seed)


def _by_noise(case: Case) -> PredictionCurve:
    X, y, mean = case.asked
    rows = np.sort(generator(case.seed, "noise", "rows").permutation(len(y))[:NOISE_ROWS])
    return prediction_by_noise(
        case.model,
        X[rows],
        y[rows],
        mean=mean,
        random_state=case.seed,
        reference=case.X(case.train),
    )


def zero_shots(case: Case) -> dict[str, Value]:
    """Rows named by the nearest words."""
    label = case.label
    if label is None or not has_class_names(case.train.labels[label]):
        return {}
    return {
        f"zero_shot:{name}": value_of(case.attempt(_name, case, name), "accuracy")
        for name in named_by_text(case.all_train)
    }


def _name(case: Case, name: str) -> Any:
    case.needs(name)
    assert case.label is not None
    return zero_shot_of_label(case.model, case.all_train, case.test, case.label, name)


def coherences(case: Case) -> dict[str, Value]:
    """What a made modality tells about the label."""
    ways = permutations(case.names, 2)
    return {f"coherence:{a}>{b}": number(case.attempt(_cohere, case, a, b)) for a, b in ways}


def _cohere(case: Case, a: str, b: str) -> float:
    case.needs(a, b)
    return coherence(
        case.model,
        case.X(case.train),
        case.y(case.train),
        case.X(case.test),
        case.y(case.test),
        given=(a,),
        name=b,
        random_state=case.seed,
        max_rows=READER_ROWS,
    )


def robustness(case: Case) -> dict[str, Value]:
    """The linear probe with modalities missing and with noise."""
    out: dict[str, Value] = {}
    for what, at, measure in (
        ("missing", SHARES, _missing),
        ("noise", LEVELS, _noisy),
    ):
        found = case.attempt(measure, case)
        for i, place in enumerate(at[1:]):
            value = found if isinstance(found, str) else found.value[i]
            out[f"{what}:{place:g}"] = number(value)
    return out


def _missing(case: Case) -> MissingCurve:
    if len(case.fitted) < 2:
        raise CapabilityError("there is one modality, so none can be missing.")
    if not case.model.capabilities.missing_at_transform:
        raise CapabilityError(f"{type(case.model).__name__} needs every modality at transform.")
    test, y = case.X(case.test)[case.rows[1]], case.task[3]
    return missing_curve_of(case.reader, case.model, case.codes[0], test, y, SHARES[1:], case.seed)


def _noisy(case: Case) -> NoiseCurve:
    test, y = case.X(case.test)[case.rows[1]], case.task[3]
    return noise_curve_of(
        case.reader,
        case.model,
        case.codes[0],
        test,
        y,
        LEVELS[1:],
        case.seed,
        case.X(case.train),
    )


def _curve(found: PredictionCurve | str) -> Value:
    """The area under a curve, and the curve itself for those who draw it."""
    if isinstance(found, str):
        return {"why": found}
    return {"value": found.area, "at": list(found.at), "curve": list(found.value)}
