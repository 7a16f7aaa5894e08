"""Data sets that are always there, and readers of others by path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from triptych import files
from triptych.dataset import Dataset
from triptych.datasets import synthetic
from triptych.datasets.digits import load_two_view_digits
from triptych.datasets.glyphs import first_of_each, load_glyphs

__all__ = [
    "DATASETS",
    "first_of_each",
    "load",
    "load_glyphs",
    "load_two_view_digits",
    "synthetic",
]

DATASETS: Mapping[str, Callable[[], Dataset]] = {
    "glyphs": load_glyphs,
    "digits": load_two_view_digits,
}
"""Names that the command line knows, and what loads them."""


def load(name: str | Path) -> Dataset:
    """A data set of ours by its name, else the file or folder of that path.

    Args:
        name: A key of :data:`DATASETS`, or a path as for :func:`triptych.files.read`.
    """
    return DATASETS[str(name)]() if str(name) in DATASETS else files.read(name)
