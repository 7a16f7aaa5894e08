"""scikit-learn's side of the CCA benchmarks."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from data_cca import draw
from sklearn.cross_decomposition import CCA


def prepare(
    n: int, p: int, q: int, kind: str = "float64", d: int = 1
) -> dict[str, Callable[[], Any]]:
    X, Y = draw(n, p, q, kind)
    return {"fit": lambda: (CCA(d).fit(X, Y), None)[1]}
