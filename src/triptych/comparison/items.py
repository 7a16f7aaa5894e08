"""Samples as they stand in the record of a comparison: pictures, words, numbers."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import is_sparse
from triptych.modalities import Modalities
from triptych.seeding import generator

EXAMPLES = 6
POINTS = 600
VALUES = 96


def item(value: Any, form: str, scale: tuple[float, float] = (0.0, 255.0)) -> dict[str, Any]:
    """One sample as it stands in the record.

    Args:
        value: The sample: a str, an image (c, h, w), or numbers of any shape.
        form: Its kind's form.
        scale: Values of an image that are black and white.
    """
    if form == "text":
        return {"kind": "text", "text": str(value)}
    if is_sparse(value):
        value = value.toarray()
    array = np.asarray(value, dtype=np.float64)
    if form == "image":
        return {"kind": "image", "png": _png(array, scale)}
    if form == "sequence":
        array = array.mean(axis=0)
    flat = array.ravel()
    some = np.linspace(0, len(flat) - 1, min(len(flat), VALUES)).round().astype(int)
    return {"kind": "vector", "values": [float(f"{v:.4g}") for v in flat[some]]}


def _png(image: NDArray[np.float64], scale: tuple[float, float]) -> str:
    from PIL import Image

    low, high = scale
    grey = np.clip((image - low) / ((high - low) or 1.0) * 255, 0, 255).round().astype(np.uint8)
    pixels = grey.transpose(1, 2, 0) if len(grey) == 3 else grey[0]  # (h, w, 3) or (h, w)
    stored = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stored, "PNG", optimize=True)
    return base64.b64encode(stored.getvalue()).decode("ascii")


def items(X: Modalities, name: str, rows: Any, like: Modalities | None = None) -> list[Any]:
    """Items of some rows; pictures are scaled as those of ``like``."""
    values, form = X[rows][name], X.kind(name).form
    scale = image_scale(like or X, name) if form == "image" else (0.0, 1.0)
    return [item(values[i], form, scale) for i in range(len(rows))]


def image_scale(X: Modalities, name: str) -> tuple[float, float]:
    """Values that are black and white: the type's range for integers, else those of the data."""
    rows = np.flatnonzero(X.present[name])[:POINTS]
    values = np.asarray(X[rows][name])
    if values.dtype.kind in "ui":
        return 0.0, float(max(255, values.max(initial=0)))
    low, high = float(values.min(initial=0.0)), float(values.max(initial=1.0))
    return low, high


def draw(rows: NDArray[np.intp], how_many: int, purpose: str) -> NDArray[np.intp]:
    """Some of the rows, the same ones whenever they are asked for."""
    if len(rows) <= how_many:
        return rows
    return np.sort(generator(0, purpose).choice(rows, how_many, replace=False))
