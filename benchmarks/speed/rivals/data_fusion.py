"""Two modalities of zeros and ones with common factors; peers take nothing between."""

import numpy as np

NAMES = ("a", "b")


def data(n, p):
    """Both modalities (n, p), single precision."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(n, 16))
    return {m: (z @ rng.normal(size=(16, p)) > 0).astype(np.float32) for m in NAMES}
