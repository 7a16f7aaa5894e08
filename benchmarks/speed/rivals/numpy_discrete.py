"""The least that counting costs: the passes of ``np.bincount`` that the answer needs."""

from typing import Any

import numpy as np


def draw(n: int, categories: int, dtype: str) -> tuple[Any, Any]:
    """Two dependent columns of small whole numbers."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, categories, n)
    y = (x + rng.integers(0, categories // 2, n)) % categories
    return x.astype(dtype), y.astype(dtype)


def prepare(n: int, categories: int, dtype: str) -> dict[str, Any]:
    x, y = draw(n, categories, dtype)

    def entropy() -> float:
        counts = np.bincount(x)
        p = counts[counts > 0] / n
        return float(-(p * np.log(p)).sum())

    def information() -> float:
        pairs = x.astype(np.intp) * categories + y
        tables = [np.bincount(x), np.bincount(y), np.bincount(pairs)]
        shares = [t[t > 0] / n for t in tables]
        h = [float(-(p * np.log(p)).sum()) for p in shares]
        return h[0] + h[1] - h[2]

    return {"entropy": entropy, "information": information}
