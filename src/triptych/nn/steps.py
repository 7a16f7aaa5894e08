"""Sequences as a network that steps through them reads them: frames, thinned where too many."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from triptych.nn.inputs import SequenceInput
from triptych.nn.spectrogram import SpectrogramInput, padded
from triptych.values import register


@register
@dataclass(frozen=True)
class StepsInput:
    """Frames of a sequence or a waveform, at most so many.

    Args:
        frames: What makes them.
        most: A sequence of more frames becomes so many means over equal stretches of time;
            ``None`` leaves all frames.
        typical: Median steps of the present training rows: how long a network looks at rows that
            have nothing with time.
    """

    frames: SequenceInput | SpectrogramInput
    most: int | None
    typical: int

    @classmethod
    def learn(
        cls,
        frames: SequenceInput | SpectrogramInput,
        most: int | None,
        data: Any,
        present: NDArray[np.bool_],
    ) -> StepsInput:
        """The same frames, with the typical length of present rows."""
        if isinstance(frames, SpectrogramInput):
            middle = frames.typical
        elif isinstance(data, list):
            middle = int(np.median([len(a) for a, p in zip(data, present, strict=True) if p]))
        else:
            middle = int(data.shape[1])
        return cls(frames, most, min(most or middle, middle))

    @property
    def width(self) -> int:
        """Features of a frame."""
        return len(self.frames.mean)

    @property
    def reads_files(self) -> bool:
        """Whether sounds are wanted as files."""
        return isinstance(self.frames, SpectrogramInput)

    def tensors(self, data: Any, present: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
        """Frames (n, t, p), zero beyond the true ones, and how many are true (n,)."""
        if self.most is None:
            return self.frames.tensors(data, present)
        if isinstance(self.frames, SpectrogramInput):
            rows: Iterable[tuple[int, NDArray[np.float32]]] = self.frames.standardised(
                data, present
            )
        else:
            values, given = self.frames.tensors(data, present)
            rows = ((row, values[row, : int(given[row])].numpy()) for row in range(len(values)))
        kept = {row: thinned(found, self.most) for row, found in rows}
        return padded(kept, len(present), self.width)

    def ready(self, values: Tensor) -> Tensor:
        """The frames themselves."""
        return values


def thinned(frames: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """A sequence (t, p) of more than ``most`` steps as means over so many equal stretches of time.

    Stretch i runs from step i t / most to (i + 1) t / most; a step that two stretches share
    counts for each by its part.
    """
    return frames if len(frames) <= most else _shares(len(frames), most) @ frames


@lru_cache(maxsize=4096)
def _shares(steps: int, most: int) -> NDArray[np.float32]:
    """By how much each stretch (most,) hears each step: shape (most, steps), rows sum to one."""
    bound = np.arange(most + 1) * steps / most
    step = np.arange(steps)
    end, start = np.minimum(bound[1:, None], step + 1), np.maximum(bound[:-1, None], step)
    return np.asarray(np.maximum(end - start, 0) * (most / steps), dtype=np.float32)
