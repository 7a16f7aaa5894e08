"""Small data of every kind, related across modalities, for asking a method questions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.contracts.method import Capabilities
from triptych.modalities import Modalities

NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")
_WORDS = (("dark", "bright"), ("small", "large"), ("river", "mountain"), ("near", "far"))


def latents(n: int, seed: int) -> NDArray[np.float64]:
    """What the modalities of an example have in common, shape (n, 4)."""
    return np.random.default_rng([seed, 0]).normal(size=(n, len(_WORDS)))


def labels(n: int, seed: int) -> NDArray[np.intp]:
    """Two classes (n,) that the latents decide; both are there."""
    first = latents(n, seed)[:, 0]
    return (first > np.median(first)).astype(np.intp)


def example(forms: Sequence[str], n: int = 36, *, seed: int = 0) -> Modalities:
    """Modalities ``alpha``, ``beta``, ... of the forms named, n rows that belong together.

    Args:
        forms: Form of each modality: ``"vector"``, ``"sequence"``, ``"image"``, ``"waveform"`` or
            ``"text"``.
        n: Rows.
        seed: Other seeds give other rows.
    """
    shared = latents(n, seed)
    data, kinds = {}, {}
    for i, (name, form) in enumerate(zip(NAMES, forms, strict=False)):
        # The maps are the same for all seeds, so that other seeds are new rows of one world.
        world = np.random.default_rng([12345, i])
        draw = np.random.default_rng([seed, i + 1])
        data[name] = _MAKERS[form](shared, world, draw, i)
        kinds[name] = form
    return Modalities(data, kinds=kinds)


def first_forms(able: Capabilities, count: int | None = None) -> tuple[str, ...]:
    """Forms of the plainest data that a method takes: vectors where it can."""
    form = "vector" if "vector" in able.kinds else able.kinds[0]
    return (form,) * (count or max(able.min_modalities, 1 if able.max_modalities == 1 else 2))


def _vector(
    shared: NDArray[np.float64], world: np.random.Generator, draw: np.random.Generator, i: int
) -> NDArray[np.float64]:
    width = 5 + i
    mixed = shared @ world.normal(size=(shared.shape[1], width))
    return mixed + 0.5 * draw.normal(size=(len(shared), width)) + world.normal(size=width)


def _image(
    shared: NDArray[np.float64], world: np.random.Generator, draw: np.random.Generator, i: int
) -> NDArray[np.uint8]:
    size = 16
    blocks = world.normal(size=(shared.shape[1], 4, 4)).repeat(4, axis=1).repeat(4, axis=2)
    pixels = 128 + 25 * np.einsum("nk,khw->nhw", shared, blocks)
    pixels += 10 * draw.normal(size=(len(shared), size, size))
    images: NDArray[np.uint8] = np.clip(pixels, 0, 255).astype(np.uint8)[:, None]
    return images  # (n, 1, h, w)


def _sequence(
    shared: NDArray[np.float64], world: np.random.Generator, draw: np.random.Generator, i: int
) -> list[NDArray[np.float64]]:
    mixed = shared @ world.normal(size=(shared.shape[1], 3))
    return [row + 0.5 * draw.normal(size=(int(draw.integers(3, 8)), 3)) for row in mixed]


def _waveform(
    shared: NDArray[np.float64], world: np.random.Generator, draw: np.random.Generator, i: int
) -> list[NDArray[np.float64]]:
    out = []
    for row in shared:
        steps = np.arange(int(draw.integers(96, 129)))
        wave = np.sin(steps * (0.3 + 0.1 * np.tanh(row[0]))) * np.exp(0.3 * row[1])
        out.append(wave + 0.2 * row[2] + 0.05 * draw.normal(size=len(steps)))
    return out


def _text(
    shared: NDArray[np.float64], world: np.random.Generator, draw: np.random.Generator, i: int
) -> list[str]:
    texts = []
    for row in shared:
        said = [pair[int(value > 0)] for pair, value in zip(_WORDS, row, strict=True)]
        texts.append(" ".join(said[: int(draw.integers(2, len(said) + 1))]))
    return texts


_MAKERS: dict[str, Any] = {
    "vector": _vector,
    "image": _image,
    "sequence": _sequence,
    "waveform": _waveform,
    "text": _text,
}
