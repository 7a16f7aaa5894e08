"""Two noisy views of handwritten digits that have only the digit in common."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from triptych.dataset import Dataset
from triptych.modalities import Modalities
from triptych.seeding import check_random_state, generator

SIDE = 8
SHARES = {"train": 0.6, "valid": 0.2, "test": 0.2}


def load_two_view_digits(random_state: int | None = 0) -> Dataset:
    """Handwritten digits turned by chance, beside another of the same class under noise.

    The construction of Wang et al. on scikit-learn's 1,797 digits of 8×8 pixels, scaled to [0, 1].
    "rotated" (n, 64) is a digit turned by an angle drawn from U(-45°, 45°), with bilinear
    interpolation and zeros from outside. "noisy" (n, 64) is a different picture of the same class
    from the same part of the split, plus U(0, 1) at every pixel, cut at 1. Given the class the
    views are independent, so the class is all there is to find.

    ``labels`` has "digit", 0 to 9; ``splits`` has "random": 60 % of each class to train, 20 % to
    watch, 20 % to test.

    Args:
        random_state: Seed of split, angles, partners and noise.

    References:
        Wang et al. 2015, "On deep multi-view representation learning", ICML (there on MNIST).
    """
    from scipy.ndimage import rotate
    from sklearn.datasets import load_digits

    seed = check_random_state(random_state)
    pixels, digit = load_digits(return_X_y=True)
    pixels = pixels / 16  # (n, 64)
    parts = _split(digit, generator(seed, "split"))
    partner = _partners(digit, parts, generator(seed, "partners"))
    angles = generator(seed, "angles").uniform(-45, 45, len(pixels))  # degrees
    turned = [
        rotate(p.reshape(SIDE, SIDE), a, reshape=False, order=1, mode="grid-constant").ravel()
        for p, a in zip(pixels, angles, strict=True)
    ]
    noise = generator(seed, "noise").uniform(0, 1, pixels.shape)
    return Dataset(
        Modalities(
            {
                "rotated": np.clip(turned, 0, 1),  # interpolation may miss the ends by rounding
                "noisy": np.minimum(pixels[partner] + noise, 1),
            }
        ),
        labels={"digit": digit},
        splits={"random": parts},
        name="digits",
    )


def _split(digit: NDArray[np.int_], rng: np.random.Generator) -> NDArray[np.str_]:
    parts = np.full(len(digit), "train")
    for k in np.unique(digit):
        rows = rng.permutation(np.flatnonzero(digit == k))
        test, valid = (round(len(rows) * SHARES[part]) for part in ("test", "valid"))
        parts[rows[:test]] = "test"
        parts[rows[test : test + valid]] = "valid"
    return parts


def _partners(
    digit: NDArray[np.int_], parts: NDArray[np.str_], rng: np.random.Generator
) -> NDArray[np.intp]:
    """For each row another one of the same class and part, shape (n,)."""
    partner = np.empty(len(digit), dtype=np.intp)
    for part in SHARES:
        for k in np.unique(digit):
            rows = np.flatnonzero((digit == k) & (parts == part))
            ahead = rng.integers(1, len(rows), len(rows))
            partner[rows] = rows[(np.arange(len(rows)) + ahead) % len(rows)]
    return partner
