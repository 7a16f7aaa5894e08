"""Convolutional LSTM: gates that read a map, a sequence, or both, at every step.

What depends on the input alone is computed for all steps in one call before the loop over time,
what a constant picture adds is computed once, and the gradient of the recurrent weights is one
call after the loop. Maps are kept as (..., h, w, c), the layout in which convolutions are fast.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from triptych.errors import ShapeError
from triptych.nn.parts import Parts

GATES = 4


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


def gate_scale(width: int, like: Tensor) -> Tensor:
    """Factors (4 * width,) of pre-activations in the order i, f, o, g.

    tanh(x) = 2 σ(2x) - 1, so with the last block doubled one sigmoid serves all four gates.
    """
    scale = torch.ones(GATES * width, dtype=like.dtype, device=like.device)
    scale[3 * width :] = 2
    return scale


def lstm_states(
    weight: Tensor,
    steps: int,
    *,
    static: Tensor | None = None,
    flat: Tensor | None = None,
    full: Tensor | None = None,
) -> Tensor:
    r"""States of all steps of a (convolutional) LSTM whose inputs have been multiplied already.

    .. math:: [i, f, o] = \sigma(a_t), \quad g = \tanh(a^g_t), \quad
              c_t = f \odot c_{t-1} + i \odot g, \quad h_t = o \odot \tanh(c_t)

    with :math:`a_t = W * h_{t-1} + s + u_t + v_t`, a convolution that keeps the size of maps, and
    a matrix product where there are none. There are no peepholes.

    Args:
        weight: Recurrent weights (4d, d, k, k) with k odd, or (4d, d); gates in the order i, f, o,
            g. They, like the inputs, come with the block of g doubled (:func:`gate_scale`).
        steps: How many, t >= 1.
        static: s, the same at every step: (b, h, w, 4d), or (b, 4d) without maps.
        flat: u, the same at every place: (t, b, 4d).
        full: v: (t, b, h, w, 4d); not used without maps.

    Returns:
        h: (t, b, h, w, d) or (t, b, d). A state has seen no later step, so of a sequence that is
        padded at its end the states at true steps are those of the sequence alone.

    References:
        Shi et al. 2015, arXiv:1506.04214, eq. 3 without peepholes; Barnum, Talukder, Yue 2020,
        arXiv:2011.07191.
    """
    maps = weight.ndim == 4
    if maps and static is None and full is None:
        raise ShapeError("lstm_states of maps: static or full must say their size.")
    given = [p for p in (static, flat, full, weight) if p is not None]
    if torch.is_grad_enabled() and any(p.requires_grad for p in given):
        states: Tensor = _States.apply(weight, steps, static, flat, full)  # type: ignore[no-untyped-call]
        return states
    return _forward(weight, steps, static, flat, full, keep=False)[0]


def _forward(
    weight: Tensor,
    steps: int,
    static: Tensor | None,
    flat: Tensor | None,
    full: Tensor | None,
    *,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """States h, and where they are kept for the way back, gates, cells and tanh of cells."""
    width = weight.shape[1]
    if static is not None:
        shape = static.shape[:-1]
    elif full is not None:
        shape = full.shape[1:-1]
    else:
        assert flat is not None
        shape = flat.shape[1:-1]
    like = next(p for p in (static, flat, full) if p is not None)
    held = steps if keep else 1
    h = like.new_empty(steps, *shape, width)
    gates = like.new_empty(held, *shape, GATES * width)
    cells, bent = (like.new_empty(held, *shape, width) for _ in range(2))
    kernel = _laid_out(weight)
    past: Tensor | None = None
    for t in range(steps):
        at = t if keep else 0
        a, c, bent_c = gates[at], cells[at], bent[at]
        terms = [] if t == 0 else [_product(h[t - 1], kernel)]
        terms += [] if static is None else [static]
        terms += [] if full is None else [full[t]]
        if flat is not None:
            u = flat[t]
            terms.append(u[:, None, None] if weight.ndim == 4 else u)
        if len(terms) == 1:
            a.copy_(terms[0].expand_as(a))
        else:
            torch.add(terms[0], terms[1], out=a)
            for term in terms[2:]:
                a.add_(term)
        a.sigmoid_()
        i, f, o, s = torch.split(a, width, dim=-1)
        # c = f c + i (2s - 1)
        torch.mul(i, s, out=bent_c)
        bent_c.mul_(2).sub_(i)
        if past is None:
            c.copy_(bent_c)
        else:
            torch.addcmul(bent_c, f, past, out=c)
        torch.tanh(c, out=bent_c)
        torch.mul(o, bent_c, out=h[t])
        past = c if keep else c.clone()
    return h, gates, cells, bent


class _States(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        weight: Tensor,
        steps: int,
        static: Tensor | None,
        flat: Tensor | None,
        full: Tensor | None,
    ) -> Tensor:
        h, gates, cells, bent = _forward(weight, steps, static, flat, full, keep=True)
        ctx.save_for_backward(weight, h, gates, cells, bent)
        ctx.given = static is not None, flat is not None, full is not None
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, h, gates, cells, bent = ctx.saved_tensors
        steps, width = len(h), weight.shape[1]
        kernel = _laid_out(weight)
        da = torch.empty_like(gates)
        dh = grad[steps - 1]
        dc: Tensor | None = None
        for t in reversed(range(steps)):
            i, f, o, s = torch.split(gates[t], width, dim=-1)
            di, df, do, ds = torch.split(da[t], width, dim=-1)
            torch.mul(dh, bent[t], out=do)
            through = torch.ops.aten.tanh_backward(dh * o, bent[t])
            dc = through if dc is None else dc.add_(through)
            torch.mul(dc, i, out=ds).mul_(2)
            torch.mul(dc, s, out=di).mul_(2).sub_(dc)
            if t:
                torch.mul(dc, cells[t - 1], out=df)
                dc = dc * f
            else:
                df.zero_()
            torch.ops.aten.sigmoid_backward.grad_input(da[t], gates[t], grad_input=da[t])
            if t:
                dh = _product_back(da[t], kernel).add_(grad[t - 1])
        static, flat, full = ctx.given
        needs = ctx.needs_input_grad
        over = tuple(range(2, da.ndim - 1))  # the places of maps
        return (
            _weight_back(h, da, weight) if needs[0] else None,
            None,
            da.sum(0) if static and needs[2] else None,
            (da.sum(over) if over else da) if flat and needs[3] else None,
            da if full and needs[4] else None,
        )


def _laid_out(weight: Tensor) -> Tensor:
    return weight.contiguous(memory_format=torch.channels_last) if weight.ndim == 4 else weight


def _product(h: Tensor, weight: Tensor) -> Tensor:
    """What the gates hear of the state before: (b, h, w, 4d) or (b, 4d)."""
    if weight.ndim == 2:
        return h @ weight.T
    return _last(F.conv2d(_first(h), weight, padding=weight.shape[2] // 2))


def _product_back(da: Tensor, weight: Tensor) -> Tensor:
    if weight.ndim == 2:
        return da @ weight
    return _last(F.conv_transpose2d(_first(da), weight, padding=weight.shape[2] // 2)).contiguous()


def _weight_back(h: Tensor, da: Tensor, weight: Tensor) -> Tensor:
    """Gradient of the recurrent weights over all steps at once."""
    if len(h) == 1:
        return torch.zeros_like(weight)
    seen, asked = h[:-1].flatten(0, 1), da[1:].flatten(0, 1)
    if weight.ndim == 2:
        return asked.T @ seen
    pad = weight.shape[2] // 2
    found: Tensor = torch.ops.aten.convolution_backward(
        _first(asked),
        _first(seen),
        weight,
        None,
        [1, 1],
        [pad, pad],
        [1, 1],
        False,
        [0, 0],
        1,
        [False, True, False],
    )[1]
    return found


def _first(maps: Tensor) -> Tensor:
    """(n, h, w, c) as convolutions take it, (n, c, h, w), without a copy."""
    return maps.permute(0, 3, 1, 2)


def _last(maps: Tensor) -> Tensor:
    return maps.permute(0, 2, 3, 1)


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
        # What is added, by whether it changes over time and from place to place.
        sums: dict[tuple[bool, bool], Tensor] = {}
        for name in self.inputs:
            if name in signals:
                signal = signals[name]
                added = self._heard(signal, self.inputs[name].scaled(scale))  # type: ignore[operator]
                if present is not None:
                    mask = present[name].to(added.dtype)
                    added = added * mask.reshape(-1, *[1] * (added.ndim - 1 - signal.timed))
                key = signal.timed, signal.maps
                sums[key] = sums[key] + added if key in sums else added
        static = sums.get((False, False), self.bias.new_zeros(rows, len(self.bias)))
        static = static + self.bias * scale
        if self.size is not None:
            static = static[:, None, None].expand(-1, *self.size, -1)
            if (False, True) in sums:
                static = static + sums[False, True]
        if self.state is None:
            return Signal(F.gelu(static), timed=False, maps=self.size is not None)
        states = lstm_states(
            self.state.scaled(scale),
            steps,
            static=static,
            flat=sums.get((True, False)),
            full=sums.get((True, True)),
        )
        return Signal(states, timed=True, maps=self.size is not None)

    def _heard(self, signal: Signal, weight: Tensor) -> Tensor:
        """A signal's part of the sum, of all steps in one call."""
        if not signal.maps:
            return signal.values @ weight.T
        values = signal.values.flatten(0, 1) if signal.timed else signal.values
        out = F.conv2d(
            _first(values), _laid_out(weight), stride=self.stride, padding=weight.shape[2] // 2
        )
        if self.size is not None and out.shape[2:] != self.size:
            out = F.interpolate(out, self.size, mode="bilinear", align_corners=False)
        found = _last(out)
        return found.reshape(*signal.values.shape[:2], *found.shape[1:]) if signal.timed else found


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
