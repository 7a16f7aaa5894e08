"""Data sets that are always there, and readers by name or path."""

from __future__ import annotations

from pathlib import Path

from triptych.dataset import Dataset
from triptych.datasets import synthetic as synthetic
from triptych.datasets.digits import load_two_view_digits as load_two_view_digits
from triptych.datasets.glyphs import first_of_each as first_of_each
from triptych.datasets.glyphs import load_glyphs as load_glyphs

DATASETS = {"glyphs": load_glyphs, "digits": load_two_view_digits}


def load(data: str | Path) -> Dataset:
    """A data set of ours by name, or what a file or folder holds.

    Args:
        data: ``"glyphs"``, ``"digits"``, or a path that :func:`triptych.files.read` reads.
    """
    from triptych.files import read

    return DATASETS[str(data)]() if str(data) in DATASETS else read(data)
