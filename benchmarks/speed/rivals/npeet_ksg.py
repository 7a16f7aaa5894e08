"""Information by nearest neighbours, npeet-plus."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import math

from data_ksg import pairs
from npeet_plus import mi


def prepare(sizes):
    """One piece for each (rows, columns)."""
    data = {f"{n} {d}": pairs(n, d) for n, d in sizes}
    return {key: lambda xy=xy: float(mi(*xy, k=3, base=math.e)) for key, xy in data.items()}
