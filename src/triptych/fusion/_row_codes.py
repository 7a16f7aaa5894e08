"""One free code per row, moved by gradient steps with a state of each row's own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

# Adam's constants.
FIRST, SECOND, LEAST = 0.9, 0.999, 1e-8


class Steps:
    """Adam for codes (b, d) in which no row knows of another.

    Moments and the count of steps are held row by row, so that rows outside a batch are neither
    moved nor aged by it.

    Args:
        codes: Codes (b, d).
        first: Mean gradients (b, d).
        second: Mean squared gradients (b, d).
        count: Steps taken (b,).
    """

    def __init__(self, codes: Tensor, first: Tensor, second: Tensor, count: Tensor) -> None:
        self.codes, self.first, self.second, self.count = codes, first, second, count

    @classmethod
    def fresh(cls, codes: Tensor) -> Steps:
        """From these codes, with no step taken."""
        zeros = torch.zeros_like(codes)
        return cls(codes.clone(), zeros, zeros.clone(), torch.zeros_like(codes[:, 0]))

    def take(self, loss: Callable[[Tensor], Tensor], steps: int, rate: float) -> None:
        """Steps against the gradient of ``loss``, which gives a value (b,) of each row's code."""
        with torch.enable_grad():
            for step in range(steps):
                codes = self.codes.detach().requires_grad_()
                # A sum, not a mean: a row's gradient must not hang on how many there are.
                (slope,) = torch.autograd.grad(loss(codes).sum(), codes)
                self._move(slope, rate * (1 - step / steps) if steps > 1 else rate)

    def _move(self, slope: Tensor, rate: float) -> None:
        self.count = self.count + 1
        self.first = FIRST * self.first + (1 - FIRST) * slope
        self.second = SECOND * self.second + (1 - SECOND) * slope.square()
        t = self.count[:, None]
        mean = self.first / (1 - FIRST**t)
        spread = (self.second / (1 - SECOND**t)).sqrt()
        self.codes = self.codes.detach() - rate * mean / (spread + LEAST)


class RowCodes(nn.Module):
    """Codes (n, d) of all training rows and the state of their steps, as buffers.

    Args:
        codes: Where they begin, (n, d).
    """

    codes: Tensor
    first: Tensor
    second: Tensor
    count: Tensor

    def __init__(self, codes: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes)
        self.register_buffer("first", torch.zeros_like(codes))
        self.register_buffer("second", torch.zeros_like(codes))
        self.register_buffer("count", torch.zeros(len(codes)))

    def take(
        self, rows: Tensor, loss: Callable[[Tensor], Tensor], steps: int, rate: float
    ) -> None:
        """Steps of these rows alone."""
        some = Steps(self.codes[rows], self.first[rows], self.second[rows], self.count[rows])
        some.take(loss, steps, rate)
        self.codes[rows], self.first[rows] = some.codes, some.first
        self.second[rows], self.count[rows] = some.second, some.count
