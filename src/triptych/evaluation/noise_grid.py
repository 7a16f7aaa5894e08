"""Accuracy under noise on every modality: a grid over signal-to-noise ratios."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import as_labels
from triptych.errors import CapabilityError, DataError, ParameterError
from triptych.evaluation.codes import read_codes, usable_rows
from triptych.evaluation.prediction import prediction_score
from triptych.evaluation.probes import MAX_ROWS, linear_reader
from triptych.modalities import Modalities, as_modalities
from triptych.noise import add_noise


@dataclass(frozen=True)
class NoiseGrid:
    """Quality under noise of stated strengths.

    Args:
        levels: Decibels by modality, infinity for none, in the order of the axes of ``value``.
        value: Accuracy, or R² for numbers, with one axis for each modality of ``levels``.
        measure: ``"accuracy"`` or ``"R2"``.
        rows: Rows asked: those of q that the method can take.
    """

    levels: dict[str, tuple[float, ...]]
    value: NDArray[np.float64]
    measure: str
    rows: int

    @property
    def mean(self) -> float:
        """Over all cells: the area under the surface, every level counting the same."""
        return float(self.value.mean())

    @property
    def standard_error(self) -> NDArray[np.float64]:
        """Of each accuracy, from the number of rows; NaN for R².

        Rows and noise are the same in all cells, so that differences between cells, and between
        methods on the same rows, are known better than this says.
        """
        if self.measure != "accuracy":
            return np.full(self.value.shape, np.nan)
        return np.asarray(np.sqrt(self.value * (1 - self.value) / self.rows))

    def at(self, **level: float) -> float:
        """The value at one level of each modality: ``grid.at(image=10, sound=0)``."""
        if set(level) != set(self.levels):
            raise ParameterError(f"at: expected a level of {list(self.levels)}, got {level}.")
        place = []
        for name, levels in self.levels.items():
            if level[name] not in levels:
                raise ParameterError(f"at: {name!r} has the levels {levels}, got {level[name]}.")
            place.append(levels.index(level[name]))
        return float(self.value[tuple(place)])


def noise_grid(
    model: Any,
    X: Mapping[str, Any] | Modalities,
    y: Any,
    levels: Mapping[str, Sequence[float]],
    *,
    train: Mapping[str, Any] | Modalities | None = None,
    y_train: Any = None,
    random_state: int | None = 0,
    max_rows: int = MAX_ROWS,
) -> NoiseGrid:
    """Ask a method about the same rows under white noise, for all combinations of strengths.

    Noise is :func:`triptych.noise.add_noise`, the same draws in every cell, scaled. The strength
    of columns is that of ``train``, or of ``X`` without it. Rows that the method cannot take, for
    want of a modality, are left out.

    Args:
        model: A fitted method.
        X: Test rows, q of them.
        y: Their labels.
        levels: Signal-to-noise ratios in decibels by modality, for instance ``{"image":
            (math.inf, 10, 0), "sound": (math.inf, 10, 0)}``; others stay clean.
        train: Rows for a linear probe of the codes, with ``y_train``. Left out, the method's own
            ``predict`` answers.
        y_train: Labels of ``train``.
        random_state: Seed of the noise and of the probe.
        max_rows: Most training rows of the probe.

    Raises:
        CapabilityError: The method predicts no labels, and there is no ``train``.
        DataError: Labels of another type than those that it predicts.
        ParameterError: No level, or none for a modality.

    References:
        Barnum, Talukder, Yue 2020, arXiv:2011.07191 (accuracy under noise on both modalities).
    """
    lists = isinstance(levels, Mapping) and all(
        isinstance(steps, Sequence) and not isinstance(steps, str) and len(steps)
        for steps in levels.values()
    )
    if not lists or not levels:
        raise ParameterError(
            f"levels: expected some for each modality, for instance {{'image': (inf, 10)}}; got "
            f"{levels!r}."
        )
    data = as_modalities(X)
    asked, usable = as_labels(y, len(data), "y"), usable_rows(model, data)
    if not usable.any():
        raise DataError(f"X: no row has the modalities that {type(model).__name__} needs.")
    data, asked = data[usable], asked[usable]
    known = None if train is None else as_modalities(train)
    answer, measure = _reader(model, asked, known, y_train, random_state, max_rows)
    axes = {name: tuple(float(s) for s in steps) for name, steps in levels.items()}
    value = np.empty([len(steps) for steps in axes.values()])
    for place in product(*(range(len(steps)) for steps in axes.values())):
        snr = {name: steps[at] for at, (name, steps) in zip(place, axes.items(), strict=True)}
        noisy = add_noise(data, snr, reference=known, random_state=random_state)
        value[place] = answer(noisy)
    return NoiseGrid(axes, value, measure, len(data))


def _reader(
    model: Any,
    asked: NDArray[Any],
    train: Modalities | None,
    y_train: Any,
    random_state: int | None,
    max_rows: int,
) -> tuple[Callable[[Modalities], float], str]:
    """What gives the quality on rows, and what it measures."""
    if train is not None:
        if y_train is None:
            raise DataError("y_train: a probe learns from labels of train; got None.")
        seen, usable = as_labels(y_train, len(train), "y_train"), usable_rows(model, train)
        codes = read_codes(model, train[usable])
        reader = linear_reader(codes.joined(codes), seen[usable], random_state, max_rows=max_rows)

        def probed(X: Modalities) -> float:
            return reader.score(read_codes(model, X).joined(codes), asked).value

        return probed, "R2" if reader.numbers else "accuracy"
    if not model.capabilities.predicts or getattr(model, "target_", True) is None:
        raise CapabilityError(
            f"{type(model).__name__} predicts no labels; give train and y_train for a probe."
        )
    target = getattr(model, "target_", None)
    numbers = target.task == "regression" if target is not None else asked.dtype.kind == "f"

    def predicted(X: Modalities) -> float:
        mean = asked.mean(axis=0) if numbers else None
        return prediction_score(model.predict(X), asked, mean)

    return predicted, "R2" if numbers else "accuracy"


def level_name(level: float) -> str:
    """``"clean"`` or decibels in words."""
    return "clean" if math.isinf(level) else f"{level:g} dB"
