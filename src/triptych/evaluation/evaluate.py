"""All measures of one fitted method, uniform over panels; what does not apply says why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import combinations, permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import check_number
from triptych.dataset import Dataset
from triptych.errors import CapabilityError, DataError, ModalityError, ShapeError
from triptych.evaluation.codes import Codes, alone, comparable, read_codes, usable_rows
from triptych.evaluation.columns import (
    DEPTHS,
    choose_label,
    columns,
    has_class_names,
    is_number,
    named_by_text,
    private,
    readable_labels,
)
from triptych.evaluation.dependence import DependenceScore, dependence
from triptych.evaluation.geometry import alignment, modality_gap, uniformity
from triptych.evaluation.leakage import leakage
from triptych.evaluation.prediction import (
    Calibration,
    PredictionCurve,
    calibration,
    check_predicts,
    prediction_by_absence,
    prediction_by_noise,
    prediction_score,
)
from triptych.evaluation.probes import (
    MAX_ROWS,
    Reader,
    knn_probe,
    linear_probe,
    linear_reader,
    subset,
)
from triptych.evaluation.reconstruction import reconstruct_absent
from triptych.evaluation.resources import Resources
from triptych.evaluation.retrieval import first_rows, retrieval, same_partner
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
from triptych.modalities import SHARED, Modalities
from triptych.seeding import check_random_state, generator

Value = dict[str, Any]
# True samples that the reader of made ones learns from: it is asked for every method.
READER_ROWS = 2000
# Rows that are predicted under noise, which is drawn for every number of theirs.
NOISE_ROWS = 2000
# Shuffles of rows, whose mean dependence is taken off; it settles after few.
PERMUTATIONS = 10


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
    """
    check_number("max_rows", max_rows, low=2, integer=True)
    seed = check_random_state(random_state)
    judge = _Judge(model, train, test, choose_label(train, label), seed, max_rows)
    judge.check()
    values: dict[str, Value] = {}
    for measure in (
        judge.probes,
        judge.predictions,
        judge.retrievals,
        judge.zero_shots,
        judge.reconstructions,
        judge.coherences,
        judge.leakages,
        judge.geometry,
        judge.robustness,
    ):
        values.update(measure())
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


class _Judge:
    """The rows and codes that the measures of one method share."""

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
        self.labels = readable_labels(train)
        self.all_train = train
        y = np.arange(float(len(train))) if label is None else np.asarray(train.labels[label])
        numbers = label is None or is_number(y)
        self.train = train[subset(y, numbers, max_rows, seed)]
        self.test = test

    def check(self) -> None:
        """Refuse data of other shapes than the method was fitted on, which no measure can use."""
        for data in self._both:
            rows = np.flatnonzero(usable_rows(self.model, self.X(data)))[:1]
            try:
                if len(rows):
                    self.model.transform(self.X(data)[rows])
            except ShapeError:
                raise
            except (DataError, CapabilityError):
                return  # the measures say why they do not apply

    def X(self, data: Dataset) -> Modalities:
        return data.X.select(*self.fitted)

    def y(self, data: Dataset, label: str | None = None) -> NDArray[Any]:
        name = self.label if label is None else label
        if name is None:
            raise DataError("the data have no label that a probe can learn.")
        if name not in data.labels:
            raise DataError(f"the test rows have no label {name!r}.")
        return np.asarray(data.labels[name])

    @cached_property
    def rows(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Training and test rows that the method can transform."""
        found = [np.flatnonzero(usable_rows(self.model, self.X(d))) for d in self._both]
        if len(found[0]) < 2 or len(found[1]) < 1:
            raise DataError(
                f"{type(self.model).__name__} can transform {len(found[0])} training rows and "
                f"{len(found[1])} test rows."
            )
        return found[0], found[1]

    @property
    def _both(self) -> tuple[Dataset, Dataset]:
        return self.train, self.test

    @cached_property
    def codes(self) -> tuple[Codes, Codes]:
        (a, b), (train, test) = self.rows, self._both
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

    def probes(self) -> dict[str, Value]:
        linear = self._attempt(lambda: self.reader.score(*self.task[2:]))
        out = {
            "probe": _read(linear, "value"),
            "balanced_probe": _read(linear, "balanced", "numbers have no classes"),
            "knn": _read(self._attempt(lambda: knn_probe(*self.task, self.seed)), "value"),
        }
        for name in self.names:
            found = self._attempt(self._alone, name)
            out[f"probe:{name}"] = _read(found, "value")
        return out

    def predictions(self) -> dict[str, Value]:
        if self.label is None:
            return {}
        score = self._attempt(self._predict)
        found = {
            "predict": score,
            "predict_gain": self._attempt(self._gain, score),
            **{f"predict:{name}": self._attempt(self._predict, name) for name in self.names},
        }
        sure = self._attempt(self._calibration)
        return {
            **{key: _number(value) for key, value in found.items()},
            "predict_missing": _curve(self._attempt(self._by_absence)),
            "predict_noise": _curve(self._attempt(self._by_noise)),
            **{f"predict_{what}": _read(sure, what) for what in ("ece", "brier")},
        }

    @cached_property
    def asked(self) -> tuple[Modalities, NDArray[Any], float | None]:
        """Test rows of which labels are predicted, those labels, and the mean of numbers."""
        y = self.y(self.test)
        numbers = check_predicts(self.model, y)
        rows = self.rows[1]
        mean = float(self.y(self.train).mean()) if numbers else None
        return self.X(self.test)[rows], y[rows], mean

    def _predict(self, name: str | None = None) -> float:
        X, y, mean = self.asked
        if name is not None:
            self._needs(name)
            if not self.model.capabilities.one_modality_at_transform:
                raise CapabilityError(
                    f"{type(self.model).__name__} does not transform one modality alone."
                )
            rows = np.flatnonzero(X.present[name])
            if not len(rows):
                raise DataError(f"modality {name!r} is absent in all rows.")
            X, y = X[rows].select(name), y[rows]
        return prediction_score(self.model.predict(X), y, mean)

    def _gain(self, score: float | str) -> float:
        if isinstance(score, str):
            raise DataError(score.removeprefix("does not apply: "))
        (a, _), y = self.rows, self.y(self.train)
        X, asked, _ = self.asked
        train = self.X(self.train)[a]
        told = [
            told_by((m,), train, y[a], X, asked, random_state=self.seed, max_rows=self.max_rows)
            for m in self.fitted
        ]
        return score - max(told)

    def _calibration(self) -> Calibration:
        X, y, mean = self.asked
        if mean is not None:
            raise DataError("numbers have no probabilities.")
        return calibration(self.model.predict_proba(X), y, self.model.classes_)

    def _by_absence(self) -> PredictionCurve:
        X, y, mean = self.asked
        if len(self.fitted) < 2:
            raise CapabilityError("there is one modality, so none can be missing.")
        return prediction_by_absence(self.model, X, y, mean=mean, random_state=self.seed)

    def _by_noise(self) -> PredictionCurve:
        X, y, mean = self.asked
        rows = np.sort(generator(self.seed, "noise", "rows").permutation(len(y))[:NOISE_ROWS])
        return prediction_by_noise(
            self.model,
            X[rows],
            y[rows],
            mean=mean,
            random_state=self.seed,
            reference=self.X(self.train),
        )

    def _needs(self, *names: str) -> None:
        for name in names:
            if name not in self.fitted:
                raise CapabilityError(f"{type(self.model).__name__} was not fitted on {name!r}.")

    def _attempt(self, measure: Callable[..., Any], *arguments: Any) -> Any:
        """What the measure found, or as a str why it does not apply."""
        try:
            return measure(*arguments)
        except (DataError, CapabilityError) as error:
            # The row says whose it is; worded alike, methods share a note.
            name = type(self.model).__name__
            said = str(error).replace(f"this {name}", "the method", 1)
            return f"does not apply: {said.replace(name, 'the method', 1)}"

    def _alone(self, name: str) -> Any:
        self._needs(name)
        parts: list[Any] = []
        for data in self._both:
            rows = np.flatnonzero(data.X.present[name])
            if len(rows) == 0:
                raise DataError(f"modality {name!r} is absent in all rows.")
            parts += [alone(self.model, self.X(data)[rows], name), self.y(data)[rows]]
        train, y, test, asked = parts
        return linear_probe(train.joined(train), y, test.joined(train), asked, self.seed)

    def retrievals(self) -> dict[str, Value]:
        out: dict[str, Value] = {}
        for a, b in combinations(self.names, 2):
            both = self._attempt(self._retrieve, a, b)
            for side, (query, target) in enumerate(((a, b), (b, a))):
                key = f"retrieval:{query}>{target}"
                found = both if isinstance(both, str) else both[side]
                for k in DEPTHS:
                    out[f"{key}:R@{k}"] = _recall(found, k)
                out[f"{key}:median_rank"] = _read(found, "median_rank")
                out[f"{key}:mAP"] = _read(found, "mean_average_precision")
        return out

    def _retrieve(self, a: str, b: str) -> Any:
        self._needs(a, b)
        X = self.test.X
        rows = first_rows(self.test.groups, X.present[a] & X.present[b])
        if len(rows) < 2:
            raise DataError(f"{len(rows)} test rows have both {a!r} and {b!r}; 2 are needed.")
        some = X.select(a, b)[rows]
        za, zb = comparable(self.model, some, a), comparable(self.model, some, b)
        if za.shape[1] != zb.shape[1]:
            raise DataError(
                f"codes of {a!r} and {b!r} have different widths, {za.shape[1]} and {zb.shape[1]}."
            )
        partners = same_partner(some, a, b)
        there = retrieval(za, zb, partners, DEPTHS)
        return there, retrieval(zb, za, partners.swapped(), DEPTHS)

    def zero_shots(self) -> dict[str, Value]:
        label = self.label
        if label is None or not has_class_names(self.train.labels[label]):
            return {}
        return {
            f"zero_shot:{name}": _read(self._attempt(self._name, name), "accuracy")
            for name in named_by_text(self.all_train)
        }

    def _name(self, name: str) -> Any:
        self._needs(name)
        assert self.label is not None
        return zero_shot_of_label(self.model, self.all_train, self.test, self.label, name)

    def reconstructions(self) -> dict[str, Value]:
        out: dict[str, Value] = {}
        for name in self.names if len(self.names) > 1 else ():
            found = self._attempt(self._rebuild, name)
            out[f"reconstruction:{name}"] = _read(found, "value")
            out[f"reconstruction:{name}:nats"] = _read(found, "loss")
        return out

    def _rebuild(self, name: str) -> Any:
        self._needs(name)
        return reconstruct_absent(self.model, self.all_train.X, self.X(self.test), name)

    def coherences(self) -> dict[str, Value]:
        ways = permutations(self.names, 2)
        return {f"coherence:{a}>{b}": _number(self._attempt(self._cohere, a, b)) for a, b in ways}

    def _cohere(self, a: str, b: str) -> float:
        self._needs(a, b)
        return coherence(
            self.model,
            self.X(self.train),
            self.y(self.train),
            self.X(self.test),
            self.y(self.test),
            given=(a,),
            name=b,
            random_state=self.seed,
            max_rows=READER_ROWS,
        )

    def leakages(self) -> dict[str, Value]:
        out: dict[str, Value] = {}
        ways = [(SHARED, private(a)) for a in self.names]
        for a, b in [*ways, *((b, a) for a, b in ways)]:
            found = self._attempt(self._leak, a, b)
            out[f"leakage:{a}>{b}"] = _read(found, "value")
        for a, b in ways:
            depends = self._attempt(self._depend, a, b)
            out[f"dependence:{a}~{b}:hsic"] = _read(depends, "excess")
            # An estimate about 0 may lie below it, which is no less dependent.
            known = depends if isinstance(depends, str) else max(0.0, depends.information)
            out[f"dependence:{a}~{b}:information"] = _number(known)
        for part in (SHARED, *(private(a) for a in self.names)):
            for name in self.labels:
                found = self._attempt(self._tell, part, name)
                out[f"leakage:{part}>{name}"] = _read(found, "value")
        return out

    def _parts(self, *parts: str) -> list[tuple[list[NDArray[np.float64]], NDArray[np.bool_]]]:
        """Per data set: codes of the parts in rows that have all of them, and those rows."""
        if self.model.panel != "fission":
            raise CapabilityError("only fission methods have shared and private parts.")
        if SHARED not in self.model.parts_:
            raise CapabilityError("its parts are clusters, and none is shared or private.")
        keys = [part.removeprefix("private:") for part in parts]
        self._needs(*(key for key in keys if key != SHARED))
        out = []
        for codes in self.codes:
            lacking = [part for part, key in zip(parts, keys, strict=True) if key not in codes]
            if lacking:
                raise DataError(f"the code has no part {lacking[0]!r}.")
            rows = np.all([codes.present[key] for key in keys], axis=0)
            if not rows.any():
                raise DataError(f"no row has all of {list(parts)}.")
            out.append(([codes.parts[key][rows] for key in keys], rows))
        return out

    def _leak(self, source: str, target: str) -> Any:
        ((za, zb), _), ((ta, tb), _) = self._parts(source, target)
        return leakage(za, zb, ta, tb, self.seed)

    def _depend(self, a: str, b: str) -> DependenceScore:
        ((za, zb), _) = self._parts(a, b)[1]
        return dependence(za, zb, permutations=PERMUTATIONS, random_state=self.seed)

    def _tell(self, part: str, label: str) -> Any:
        ((train,), a), ((test,), b) = self._parts(part)
        y = self.y(self.train, label)[self.rows[0]][a]
        asked = self.y(self.test, label)[self.rows[1]][b]
        return linear_probe(train, y, test, asked, self.seed)

    def geometry(self) -> dict[str, Value]:
        out: dict[str, Value] = {}
        for a, b in combinations(self.names, 2):
            both = self._attempt(self._places, a, b)
            for what, measure in (("gap", modality_gap), ("alignment", alignment)):
                found = both if isinstance(both, str) else self._attempt(measure, *both)
                out[f"{what}:{a}~{b}"] = _number(found)
        for a in self.names:
            alone = self._attempt(self._places, a)
            found = alone if isinstance(alone, str) else self._attempt(uniformity, *alone)
            out[f"uniformity:{a}"] = _number(found)
        return out

    def _places(self, *names: str) -> list[NDArray[np.float64]]:
        """Codes of the modalities in the test rows that have them all."""
        if self.model.panel != "coordination":
            raise CapabilityError("only coordination gives every modality a code of its own.")
        self._needs(*names)
        codes = self.codes[1]
        lacking = [name for name in names if name not in codes]
        if lacking:
            raise DataError(f"no test row has a code of {lacking[0]!r}.")
        rows = np.all([codes.present[name] for name in names], axis=0)
        if not rows.any():
            raise DataError(f"no test row has all of {list(names)}.")
        return [codes.parts[name][rows] for name in names]

    def robustness(self) -> dict[str, Value]:
        out: dict[str, Value] = {}
        for what, at, measure in (
            ("missing", SHARES, self._curve),
            ("noise", LEVELS, self._noisy),
        ):
            found = self._attempt(measure)
            for i, place in enumerate(at[1:]):
                value = found if isinstance(found, str) else found.value[i]
                out[f"{what}:{place:g}"] = _number(value)
        return out

    def _curve(self) -> MissingCurve:
        if len(self.fitted) < 2:
            raise CapabilityError("there is one modality, so none can be missing.")
        if not self.model.capabilities.missing_at_transform:
            raise CapabilityError(
                f"{type(self.model).__name__} needs every modality at transform."
            )
        test, y = self.X(self.test)[self.rows[1]], self.task[3]
        return missing_curve_of(
            self.reader, self.model, self.codes[0], test, y, SHARES[1:], self.seed
        )

    def _noisy(self) -> NoiseCurve:
        test, y = self.X(self.test)[self.rows[1]], self.task[3]
        return noise_curve_of(
            self.reader,
            self.model,
            self.codes[0],
            test,
            y,
            LEVELS[1:],
            self.seed,
            self.X(self.train),
        )


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


def _read(found: Any, attribute: str, otherwise: str = "") -> Value:
    if isinstance(found, str):
        return {"why": found}
    value = getattr(found, attribute)
    if value is None:
        return {"why": f"does not apply: {otherwise}"}
    return {"value": float(value)}


def _number(found: float | str) -> Value:
    return {"why": found} if isinstance(found, str) else {"value": found}


def _curve(found: PredictionCurve | str) -> Value:
    """The area under a curve, and the curve itself for those who draw it."""
    if isinstance(found, str):
        return {"why": found}
    return {"value": found.area, "at": list(found.at), "curve": list(found.value)}


def _recall(found: Any, k: int) -> Value:
    if isinstance(found, str):
        return {"why": found}
    if found.n_targets <= k:
        return {"why": f"does not apply: there are {found.n_targets} candidates, all within {k}"}
    return {"value": found.recall[k]}
