"""Correlated normal pairs in d + d dimensions: the same rows for every side."""

import numpy as np


def pairs(n, d):
    """X and y (n, d), each column of y correlated 0.6 with its partner."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d))
    return x, 0.6 * x + 0.8 * rng.standard_normal((n, d))
