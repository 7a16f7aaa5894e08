"""Randomness is passed: one seed enters, and every use has a stream of its own, keyed by name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from triptych.errors import ParameterError


def check_random_state(random_state: int | None) -> int:
    """The seed itself, or a fresh one for ``None``; global generators are never used."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, (bool, np.bool_)) or not isinstance(
        random_state, (int, np.integer)
    ):
        raise ParameterError(f"random_state: expected an int or None, got {random_state!r}.")
    if not 0 <= random_state < 2**32:
        raise ParameterError(f"random_state: expected 0 <= seed < 2**32, got {random_state}.")
    return int(random_state)


def derive(seed: int, *keys: str | int) -> int:
    """A seed for one use, the same for the same keys: ``derive(0, "encoder", "image")``.

    Keyed by name rather than drawn in order, so that reordering modalities changes nothing.
    """
    words = [seed]
    for key in keys:
        digest = hashlib.sha256(str(key).encode()).digest()
        words.extend(int.from_bytes(digest[i : i + 4], "little") for i in (0, 4))
    return int(np.random.SeedSequence(words).generate_state(1)[0])


def generator(seed: int, *keys: str | int) -> np.random.Generator:
    """A NumPy generator for one use."""
    return np.random.default_rng(derive(seed, *keys))


@contextmanager
def torch_scope(seed: int) -> Iterator[None]:
    """Seed torch's global generators inside, and leave them as they were found."""
    import torch

    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
