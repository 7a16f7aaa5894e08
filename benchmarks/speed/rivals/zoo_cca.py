"""cca-zoo's side of the CCA benchmarks."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from cca_zoo.linear import CCA, RidgeCCA
from data_cca import draw


def prepare(
    n: int, p: int, q: int, kind: str = "float64", d: int = 1, ridge: float = 0.0
) -> dict[str, Callable[[], Any]]:
    X, Y = draw(n, p, q, kind)

    def fit() -> None:
        (RidgeCCA(d, shrinkage=ridge) if ridge else CCA(d)).fit([X, Y])

    return {"fit": fit}
