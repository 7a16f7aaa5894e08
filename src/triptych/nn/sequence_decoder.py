"""Sequences of vectors from codes: a GRU that runs on from the code, and says how long."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from triptych.nn.decoders import Decoder
from triptych.nn.encoders import masked_mean, steps_mask


class SequenceValues(Decoder):
    """A GRU that reads the code at its start and at every step, and one linear map to frames.

    Where lengths differ, the code also says how long its sequence is; the error of the
    standardised logarithm of the length then counts like one more column.

    Args:
        n_in: Width d of the code.
        n_features: Columns p of a frame.
        width: Width of the state.
        longest: Most steps to generate.
        log_length: Mean logarithm of the training lengths.
        log_spread: Their standard deviation; 0 where all have one length.
    """

    def __init__(
        self,
        n_in: int,
        n_features: int,
        *,
        width: int,
        longest: int,
        log_length: float,
        log_spread: float,
    ) -> None:
        super().__init__()
        self.longest, self.log_length, self.log_spread = longest, log_length, log_spread
        self.start, self.beside = nn.Linear(n_in, width), nn.Linear(n_in, width)
        self.cell = nn.GRU(width, width, batch_first=True)
        self.out = nn.Linear(width, n_features)
        self.long = nn.Linear(n_in, 1) if log_spread > 0 else None

    def frames(self, code: Tensor, steps: int) -> Tensor:
        """Standardised frames (b, steps, p); the first ones do not depend on ``steps``."""
        beside = self.beside(code)[:, None].expand(-1, steps, -1)
        states, _ = self.cell(beside, torch.tanh(self.start(code))[None].contiguous())
        made: Tensor = self.out(states)
        return made

    def loss(self, code: Tensor, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Mean squared error (b,) over true steps and columns, padding left out."""
        mask = steps_mask(lengths, values)
        squares = (self.frames(code, values.shape[1]).float() - values.float()).square()
        columns = masked_mean(squares, mask)  # (b, p)
        if self.long is None:
            return columns.mean(1)
        true = mask.sum(1).clamp_min(1).float().log()
        off = self.long(code)[:, 0].float() - (true - self.log_length) / self.log_spread
        return torch.cat([columns, off.square()[:, None]], 1).mean(1)

    def lengths(self, code: Tensor) -> Tensor:
        """How many steps (b,) the sequence of a code has, from 1 to the longest seen."""
        if self.long is None:
            steps = round(math.exp(self.log_length))
            return torch.full((len(code),), steps, device=code.device)
        log = self.log_length + self.log_spread * self.long(code)[:, 0].float()
        found: Tensor = log.clamp(0, math.log(self.longest) + 1).exp().round().long()
        return found.clamp(1, self.longest)

    def generate(self, code: Tensor) -> Tensor:
        """Standardised frames (b, longest, p); :meth:`lengths` says how many are meant."""
        return self.frames(code, self.longest)
