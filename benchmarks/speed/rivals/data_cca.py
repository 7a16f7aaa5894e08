"""Two modalities that share eight directions, the same on every side; imports NumPy alone."""

from typing import Any

import numpy as np


def draw(n: int, p: int, q: int, kind: str) -> tuple[Any, Any]:
    """Well-conditioned columns (n, p) and (n, q), filled in strips so that no copy is held."""
    rng = np.random.default_rng(0)
    loads = [rng.normal(size=(8, width)).astype(kind) / 3 for width in (p, q)]
    X, Y = np.empty((n, p), kind), np.empty((n, q), kind)
    for low in range(0, n, 10_000):
        k = min(10_000, n - low)
        shared = rng.standard_normal((k, 8), dtype=kind)
        for out, load in ((X, loads[0]), (Y, loads[1])):
            out[low : low + k] = rng.standard_normal((k, out.shape[1]), dtype=kind)
            out[low : low + k] += shared @ load
    return X, Y
