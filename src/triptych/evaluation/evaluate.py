"""All measures of one fitted method, uniform over panels; what does not apply says why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from triptych.arrays import check_number
from triptych.dataset import Dataset
from triptych.errors import DataError
from triptych.evaluation.by_code import geometry, leakages, reconstructions, retrievals
from triptych.evaluation.by_label import (
    coherences,
    predictions,
    probes,
    robustness,
    zero_shots,
)
from triptych.evaluation.case import Case, Value
from triptych.evaluation.codes import check_is_fitted
from triptych.evaluation.columns import choose_label, columns
from triptych.evaluation.probes import MAX_ROWS
from triptych.evaluation.resources import Resources
from triptych.evaluation.robustness import LEVELS, SHARES, MissingCurve, NoiseCurve
from triptych.seeding import check_random_state

MEASURES = (
    probes,
    predictions,
    retrievals,
    zero_shots,
    reconstructions,
    coherences,
    leakages,
    geometry,
    robustness,
)


def evaluate(
    model: Any,
    train: Dataset,
    test: Dataset,
    *,
    label: str | None = None,
    random_state: int | None = 0,
    resources: Resources | None = None,
    max_rows: int = MAX_ROWS,
) -> dict[str, Value]:
    """Judge a fitted method by every measure.

    The code that a probe reads is the fusion code, or all parts of a coordination or fission
    code side by side, with the training mean where a part is absent. Probes learn from codes of
    training rows and are asked on test rows; "alone" means that both show one modality only.
    Retrieval compares the codes that each modality gets by itself, on one row per group, and
    counts identical content as correct. Rows that a method cannot transform are left out of its
    figures.

    Args:
        model: Fitted method, or anything with its ``transform``, ``capabilities``, ``panel`` and
            ``names_in_``.
        train: Rows from which probes learn (and the method did).
        test: Rows to judge by.
        label: Label to probe; the first that a probe can learn when left out.
        random_state: Seed of probes, rows and masks.
        resources: What fitting cost, from :func:`~triptych.evaluation.resources.measure`.
        max_rows: Most training rows that probes learn from; every class keeps at least one.

    Returns:
        By column key, in the order of :func:`~triptych.evaluation.columns.columns`,
        ``{"value": float}`` or ``{"why": "does not apply: ..."}``.

    Raises:
        ParameterError: A label that the data do not have.
        ShapeError: Modalities of other shapes than were fitted.
        ModalityError: None of the modalities fitted, or one of them not in the test rows.
        NotFittedError: A method before ``fit``.
    """
    check_number("max_rows", max_rows, low=2, integer=True)
    seed = check_random_state(random_state)
    for word, data in (("train", train), ("test", test)):
        if not isinstance(data, Dataset):
            raise DataError(
                f"{word}: expected a Dataset, Dataset(Modalities(X), labels={{'name': y}}) for "
                f"instance; got {type(data).__name__}."
            )
    check_is_fitted(model)
    case = Case(model, train, test, choose_label(train, label), seed, max_rows)
    case.check()
    values: dict[str, Value] = {}
    for measure in MEASURES:
        values.update(measure(case))
    values.update(_costs(model, resources))
    listed = [column["key"] for column in columns(train, label)]
    return {key: values[key] for key in listed}


def curve_of(values: Mapping[str, Value]) -> MissingCurve | None:
    """The missing-modality curve inside the values of :func:`evaluate`; ``None`` without one."""
    found = _heights(values, "missing", SHARES)
    return None if found is None else MissingCurve(SHARES, found, ())


def noise_of(values: Mapping[str, Value]) -> NoiseCurve | None:
    """The curve under noise inside the values of :func:`evaluate`; ``None`` without one."""
    found = _heights(values, "noise", LEVELS)
    return None if found is None else NoiseCurve(LEVELS, found)


def _heights(
    values: Mapping[str, Value], what: str, at: tuple[float, ...]
) -> tuple[float, ...] | None:
    """The probe's value with nothing done to the rows, and at all that was."""
    keys = ["probe", *(f"{what}:{place:g}" for place in at[1:])]
    found = [values.get(key, {}).get("value") for key in keys]
    if any(value is None for value in found):
        return None
    return tuple(float(v) for v in found if v is not None)


def _costs(model: Any, cost: Resources | None) -> dict[str, Value]:
    unknown = "does not apply: fitting was not measured"
    numbers = getattr(model, "n_parameters", None)
    return {
        "resources:fit_s": {"why": unknown} if cost is None else {"value": cost.seconds},
        "resources:peak_mib": {"why": unknown}
        if cost is None
        else {"value": cost.peak_bytes / 2**20},
        "resources:parameters": {"why": "does not apply: the method does not count them"}
        if numbers is None
        else {"value": float(numbers)},
    }
