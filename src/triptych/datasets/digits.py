"""Two noisy views of scikit-learn's digits, made as Wang et al. made theirs of MNIST."""

from __future__ import annotations

import numpy as np

from triptych.dataset import Dataset
from triptych.modalities import Modalities
from triptych.seeding import check_random_state, generator


def load_two_view_digits(random_state: int | None = 0) -> Dataset:
    """Two views of handwritten digits that share only the digit.

    View ``"rotated"`` is a digit turned by a uniform angle of ±45 degrees (bilinear, zeros
    outside); view ``"noisy"`` is another digit of the same class plus uniform [0, 1] noise, cut
    to [0, 1]. Partners are drawn within a part of the split.

    Args:
        random_state: Seed of angles, partners and noise.

    Returns:
        1,797 rows: modalities ``"rotated"`` and ``"noisy"``, each (n, 64) in [0, 1]; label
        ``"digit"``; one split, ``"digits"``, of 60 %, 20 % and 20 %.

    References:
        Wang, Arora, Livescu, Bilmes 2015, On Deep Multi-View Representation Learning, ICML.
    """
    from scipy.ndimage import rotate
    from sklearn.datasets import load_digits

    seed = check_random_state(random_state)
    digits = load_digits()
    images, labels = digits.images / 16.0, digits.target
    part = np.empty(len(labels), dtype="U5")
    rng = generator(seed, "split")
    for digit in range(10):
        rows = rng.permutation(np.flatnonzero(labels == digit))
        first, second = int(0.6 * len(rows)), int(0.8 * len(rows))
        part[rows[:first]], part[rows[first:second]], part[rows[second:]] = (
            "train",
            "valid",
            "test",
        )
    angles = generator(seed, "angles").uniform(-45, 45, size=len(labels))
    turned = np.stack(
        [rotate(i, a, reshape=False, order=1) for i, a in zip(images, angles, strict=True)]
    )
    rng = generator(seed, "partners")
    partner = np.arange(len(labels))
    for digit in range(10):
        for name in ("train", "valid", "test"):
            rows = np.flatnonzero((labels == digit) & (part == name))
            partner[rows] = rng.choice(rows, size=len(rows))
    noise = generator(seed, "noise").uniform(size=images.shape)
    noisy = np.clip(images[partner] + noise, 0, 1)
    return Dataset(
        X=Modalities(
            {
                "rotated": np.clip(turned, 0, 1).reshape(len(labels), -1),
                "noisy": noisy.reshape(len(labels), -1),
            }
        ),
        labels={"digit": labels},
        splits={"digits": part},
        name="digits",
    )
