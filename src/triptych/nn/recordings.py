"""How loud recordings are, and what is wrong with them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.errors import DegenerateDataWarning, warn

# Clipped: so many samples in a row at the largest or smallest value, and this share of them all.
CLIPPED_RUN, CLIPPED_SHARE = 3, 0.01


class Loudness:
    """Root mean square of recordings of any size: squares are those of samples scaled by 2^k."""

    def __init__(self) -> None:
        self.power, self.exponent = 0.0, -1074  # of the smallest float64

    def hear(self, wave: NDArray[Any]) -> None:
        """Add one recording."""
        samples = np.asarray(wave, np.float64)
        largest, exponent = math.frexp(float(np.abs(samples).max()))
        if largest and exponent > self.exponent:
            self.power = math.ldexp(self.power, 2 * (self.exponent - exponent))
            self.exponent = exponent
        self.power += float(np.square(np.ldexp(samples, -self.exponent)).sum())

    def mean(self, n: int) -> float:
        """Over ``n`` samples."""
        return math.ldexp(math.sqrt(self.power / n), self.exponent)


class Flaws:
    """What is wrong with recordings, said once for all of them.

    Args:
        name: Modality.
        window: Samples of a frame.
        rate: Samples per second.
    """

    def __init__(self, name: str, window: int, rate: float) -> None:
        self.name, self.window, self.rate, self.seen = name, window, rate, 0
        self.silent: list[int] = []
        self.clipped: list[int] = []
        self.short: list[int] = []

    def look(self, row: int, wave: NDArray[Any]) -> None:
        """Note what is wrong with one recording."""
        self.seen += 1
        if len(wave) < self.window:
            self.short.append(row)
        low, high = wave.min(), wave.max()
        if low == high:
            self.silent.append(row)
        elif _held(wave, high) + _held(wave, low) >= CLIPPED_SHARE * len(wave):
            self.clipped.append(row)

    def warn(self) -> None:
        """One warning for each flaw."""
        if self.silent:
            self._say(self.silent, "silent throughout")
        if self.clipped:
            self._say(self.clipped, "cut off at the largest value (clipped)")
        if 2 * len(self.short) > self.seen:
            self._say(
                self.short,
                f"shorter than one window of {self.window} samples at {self.rate:g} samples per "
                "second; is the rate right?",
            )

    def _say(self, rows: list[int], what: str) -> None:
        count = f"{len(rows)} of {self.seen} recordings are {what}"
        warn(
            f"modality {self.name!r}: {count.rstrip('.')} (the first is row {rows[0]}).",
            DegenerateDataWarning,
        )


def _held(wave: NDArray[Any], value: Any) -> int:
    """Samples in runs of at least ``CLIPPED_RUN`` that equal ``value``."""
    at = np.flatnonzero(wave == value)
    if len(at) < CLIPPED_RUN:
        return 0
    runs = np.split(at, np.flatnonzero(np.diff(at) > 1) + 1)
    return sum(len(run) for run in runs if len(run) >= CLIPPED_RUN)
