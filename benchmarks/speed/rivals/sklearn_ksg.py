"""Information by nearest neighbours, scikit-learn (columns against columns, so 1 + 1 only)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from data_ksg import pairs
from sklearn.feature_selection import mutual_info_regression


def prepare(sizes):
    """One piece for each (rows, columns)."""
    data = {f"{n} {d}": pairs(n, d) for n, d in sizes}

    def run(x, y):
        return float(mutual_info_regression(x, y[:, 0], n_neighbors=3, random_state=0)[0])

    return {key: lambda xy=xy: run(*xy) for key, xy in data.items()}
