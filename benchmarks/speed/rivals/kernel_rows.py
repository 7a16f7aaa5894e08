"""Rows of the kernel CCA benchmark, the same for every rival."""

import numpy as np


def draw(n: int, p: int, dtype: str) -> dict[str, np.ndarray]:
    """Two modalities with five latents in common, bent in the second."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(n, 5))
    return {
        "x": (z @ rng.normal(size=(5, p)) + rng.normal(size=(n, p))).astype(dtype),
        "y": (np.tanh(z) @ rng.normal(size=(5, p)) + rng.normal(size=(n, p))).astype(dtype),
    }
