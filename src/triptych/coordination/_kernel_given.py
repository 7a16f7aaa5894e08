"""What a user says of kernels: one for all modalities, or one by name, and its open numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from triptych.coordination._kernel_features import Columns
from triptych.errors import DataError, ParameterError
from triptych.seeding import generator
from triptych.similarity import Kernel

Function = Callable[..., Any]
Given = str | Kernel | Function

PRECOMPUTED = "precomputed"
MEDIAN_ROWS = 1000


def parts_of(name: str, value: Any) -> dict[str, Any]:
    """Values by the name of the parameter, with that of the modality where there are several."""
    if not isinstance(value, Mapping):
        return {name: value}
    return {f"{name}__{key}": part for key, part in value.items()}


def one_of(parameter: str, value: Any, name: str, names: tuple[str, ...]) -> Any:
    """What a parameter says of one modality."""
    if not isinstance(value, Mapping):
        return value
    if set(value) != set(names):
        raise ParameterError(
            f"{parameter}: expected one for each of {list(names)}, got {dict(value)}."
        )
    return value[name]


def learnt(given: Given, side: Columns, seed: int) -> Kernel | None:
    """The kernel with its numbers, learnt from some rows; ``None`` for one that is a function."""
    if given == PRECOMPUTED:
        return None
    kernel = Kernel(given) if isinstance(given, str) else given
    if not isinstance(kernel, Kernel):
        return None
    draw = generator(seed, "median", side.name)
    rows = np.sort(draw.choice(side.n, min(side.n, MEDIAN_ROWS), replace=False))
    try:
        return kernel.learnt(side.read(rows))
    except (DataError, ParameterError) as error:  # rows are equal, or too large for any width
        raise DataError(f"modality {side.name!r}: {error}") from error
