"""Information by nearest neighbours, infomeasure."""

import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import infomeasure
from data_ksg import pairs

logging.disable(logging.WARNING)


def prepare(sizes):
    """One piece for each (rows, columns)."""
    data = {f"{n} {d}": pairs(n, d) for n, d in sizes}

    def run(x, y):
        return float(infomeasure.mutual_information(x, y, approach="ksg", k=3, base="e"))

    return {key: lambda xy=xy: run(*xy) for key, xy in data.items()}
