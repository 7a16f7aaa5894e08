"""Layers of a convolutional LSTM: gates that read maps, sequences, or both, at every step.

What a constant picture adds is computed once, and what sequences add for all steps in one call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.nn.lstm_states import (
    GATES,
    channels_first,
    channels_last,
    gate_scale,
    laid_out,
    lstm_states,
)
from triptych.nn.parts import Parts


@dataclass(frozen=True)
class Signal:
    """What a layer reads.

    Args:
        values: A map (b, h, w, c) or features (b, p); with a first axis of t steps if ``timed``.
        timed: Whether it changes over time.
        maps: Whether it is a map.
    """

    values: Tensor
    timed: bool
    maps: bool


class JoinedLayer(nn.Module):
    r"""One layer that hears one or several signals.

    .. math:: a_t = \sum_m \delta_m\, (W_m * x_{m,t}) + W * h_{t-1} + b

    Maps come by convolution, features by a matrix product, added at every place of the map. With
    ``recurrent`` the sum opens the gates of an LSTM (:func:`lstm_states`); without, the output is
    GELU of the sum. The presence δ multiplies what a modality adds: an absent one adds nothing.

    Args:
        inputs: By name, ``(width, maps)``: channels or features, and whether it is a map.
        width: Channels or features d of the state.
        size: Height and width of the layer's map; ``None`` without maps.
        kernel: Side k of convolutions, odd.
        stride: Of the convolutions of inputs.
        recurrent: Whether there is time.
    """

    def __init__(
        self,
        inputs: Mapping[str, tuple[int, bool]],
        width: int,
        *,
        size: tuple[int, int] | None,
        kernel: int,
        stride: int = 1,
        recurrent: bool,
    ) -> None:
        super().__init__()
        self.width, self.size, self.stride = width, size, stride
        rows = (GATES if recurrent else 1) * width
        self.inputs = Parts(
            {m: _Weight(rows, n, kernel if maps else 0) for m, (n, maps) in inputs.items()}
        )
        self.state = _Weight(rows, width, kernel if size else 0) if recurrent else None
        self.bias = nn.Parameter(torch.zeros(rows))
        if recurrent:
            with torch.no_grad():
                self.bias[width : 2 * width] = 1  # what is held is kept at first

    def forward(
        self,
        signals: Mapping[str, Signal],
        rows: int,
        steps: int = 1,
        present: Mapping[str, Tensor] | None = None,
    ) -> Signal:
        """What the layer makes of the signals that are there.

        Args:
            signals: By name; those left out add nothing.
            rows: How many, b.
            steps: Of time, t >= 1.
            present: Boolean (b,) by name; all present when left out.
        """
        scale = torch.ones_like(self.bias)
        if self.state is not None:
            scale = gate_scale(self.width, self.bias)
        bias: Tensor | None = self.bias * scale
        steady: list[Tensor] = []  # the same at every step
        flat: list[Tensor] = []  # the same at every place
        moving: list[tuple[Tensor, Tensor]] = []  # neither, with the weights
        for name in self.inputs:
            if name not in signals:
                continue
            signal, weight = signals[name], self.inputs[name].scaled(scale)  # type: ignore[operator]
            values = signal.values
            if present is not None:
                mask = present[name].to(values.dtype)
                values = values * mask.reshape(-1, *[1] * (values.ndim - 1 - signal.timed))
            if signal.timed and signal.maps == (self.size is not None):
                moving.append((self._resized(values), weight))
            elif signal.timed:
                flat.append(F.linear(values, weight))
            else:
                steady.append(self._heard(values, weight, bias))
                bias = None  # the first of them brings it along
        if bias is not None and not moving:
            steady.append(self._spread(bias.expand(rows, -1)))
        static = sum(steady[1:], steady[0]) if steady else None
        if self.state is None:
            assert static is not None
            return Signal(F.gelu(static), timed=False, maps=self.size is not None)
        states = lstm_states(
            self.state.scaled(scale),
            steps,
            static=static,
            flat=sum(flat[1:], flat[0]) if flat else None,
            x=_joined([v for v, _ in moving], -1),
            weight_x=_joined([w for _, w in moving], 1),
            bias=bias if moving else None,
        )
        return Signal(states, timed=True, maps=self.size is not None)

    def _heard(self, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """What has no time, in the form of the layer's sum: (b, h, w, rows) or (b, rows)."""
        if weight.ndim == 2:
            return self._spread(F.linear(values, weight, bias))
        kernel, pad = laid_out(weight), weight.shape[2] // 2
        return self._resized(
            channels_last(
                F.conv2d(channels_first(values), kernel, bias, stride=self.stride, padding=pad)
            )
        )

    def _spread(self, values: Tensor) -> Tensor:
        """Features (b, n) at every place of the layer's map."""
        if self.size is None:
            return values
        return values[:, None, None].expand(-1, *self.size, -1)

    def _resized(self, maps: Tensor) -> Tensor:
        """Maps (..., h, w, c) in the layer's size."""
        if self.size is None or maps.shape[-3:-1] == self.size:
            return maps
        some = channels_first(maps.flatten(0, -4))
        some = channels_last(F.interpolate(some, self.size, mode="bilinear", align_corners=False))
        return some.reshape(*maps.shape[:-3], *some.shape[1:])


def _joined(parts: list[Tensor], dim: int) -> Tensor | None:
    if len(parts) > 1:
        return torch.cat(parts, dim=dim)
    return parts[0] if parts else None  # not copied


class _Weight(nn.Module):
    """A matrix (rows, n), or kernels (rows, n, k, k); within 1 / sqrt(what a row adds up)."""

    def __init__(self, rows: int, n: int, kernel: int) -> None:
        super().__init__()
        shape = (rows, n, kernel, kernel) if kernel else (rows, n)
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        self.weight = nn.Parameter(torch.empty(shape).uniform_(-bound, bound))

    def scaled(self, scale: Tensor) -> Tensor:
        """With each row multiplied."""
        return self.weight * scale.reshape(-1, *[1] * (self.weight.ndim - 1))
