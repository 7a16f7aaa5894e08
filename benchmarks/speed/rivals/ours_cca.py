"""Our side of the CCA benchmarks, and the limit in the same process."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from data_cca import draw

from triptych.coordination import CCA


def prepare(
    n: int, p: int, q: int, kind: str = "float64", d: int | None = None, ridge: float = 0.0
) -> dict[str, Callable[[], Any]]:
    X, Y = draw(n, p, q, kind)
    model = CCA(d, ridge=ridge)

    def limit() -> None:
        for A, B in ((X, X), (Y, Y), (X, Y)):
            A.T @ B

    def limit_of_rows() -> None:
        for A in (X, Y):
            A @ A.T

    def fit() -> list[float]:
        return [float(r) for r in model.fit({"a": X, "b": Y}).correlations_[:3]]

    return {"limit": limit if n > max(p, q) else limit_of_rows, "fit": fit}
