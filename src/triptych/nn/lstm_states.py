"""The recurrence of a (convolutional) LSTM, forward and back.

What depends on the input alone is computed for all steps in one call before the loop over time,
and the gradients of weights in one call after the loop. Maps are kept as (..., h, w, c), the
layout in which convolutions are fast.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from triptych.errors import ShapeError

GATES = 4


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
    x: Tensor | None = None,
    weight_x: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    r"""States of all steps of a (convolutional) LSTM.

    .. math:: [i, f, o] = \sigma(a_t), \quad g = \tanh(a^g_t), \quad
              c_t = f \odot c_{t-1} + i \odot g, \quad h_t = o \odot \tanh(c_t)

    with :math:`a_t = W * h_{t-1} + V * x_t + b + s + u_t`; the products are convolutions that keep
    the size of maps, and matrix products where there are no maps. There are no peepholes.

    Args:
        weight: W: (4d, d, k, k) with k odd, or (4d, d); gates in the order i, f, o, g. All that is
            added comes with the block of g doubled (:func:`gate_scale`).
        steps: How many, t >= 1.
        static: s, the same at every step: (b, h, w, 4d), or (b, 4d) without maps.
        flat: u, the same at every place of maps: (t, b, 4d).
        x: What changes from step to step: (t, b, h, w, c), or (t, b, c) without maps.
        weight_x: V: (4d, c, k, k) or (4d, c).
        bias: b: (4d,); with ``x`` only.

    Returns:
        h: (t, b, h, w, d) or (t, b, d). A state has seen no later step, so of a sequence that is
        padded at its end the states at true steps are those of the sequence alone.

    Raises:
        ShapeError: Neither ``static`` nor ``x`` is there to say how many rows there are.

    References:
        Shi et al. 2015, arXiv:1506.04214, eq. 3 without peepholes; Barnum, Talukder, Yue 2020,
        arXiv:2011.07191.
    """
    if static is None and x is None:
        raise ShapeError("lstm_states: static or x must say how many rows there are.")
    # In mixed precision the products around are rounded, the sums over time are not.
    some = (static, flat, x, weight_x, bias)
    given = (weight, *(None if p is None else p.to(weight.dtype) for p in some))
    with torch.autocast(weight.device.type, enabled=False):
        return _states(steps, given)


def _states(steps: int, given: tuple[Tensor | None, ...]) -> Tensor:
    if torch.is_grad_enabled() and any(p is not None and p.requires_grad for p in given):
        states: Tensor = _States.apply(steps, *given)  # type: ignore[no-untyped-call]
        return states
    h, held = _forward(steps, *given, keep=False)  # type: ignore[arg-type]
    for buffer in held:
        _give_back(buffer)
    return h


def _forward(
    steps: int,
    weight: Tensor,
    static: Tensor | None,
    flat: Tensor | None,
    x: Tensor | None,
    weight_x: Tensor | None,
    bias: Tensor | None,
    *,
    keep: bool,
) -> tuple[Tensor, list[Tensor]]:
    """States h, and what the way back needs: gates, 2 c and tanh(c) by step."""
    width, maps = weight.shape[1], weight.ndim == 4
    kernel = laid_out(weight)
    held = steps if keep else 1
    if x is not None:
        assert weight_x is not None
        gates = _product(x.flatten(0, 1), laid_out(weight_x), bias)
        gates = gates.reshape(steps, x.shape[1], *gates.shape[1:])
    else:
        assert static is not None
        gates = _buffer((held, *static.shape), static)
    shape = (*gates.shape[1:-1], width)
    h = gates.new_empty(steps, *shape)
    cells, bent = (_buffer((held, *shape), gates) for _ in range(2))
    # One call each for the views of all steps.
    opened = [part.unbind(0) for part in (gates, *torch.split(gates, width, dim=-1))]
    states, held_cells, held_bent = h.unbind(0), cells.unbind(0), bent.unbind(0)
    for t in range(steps):
        at = t if keep else 0
        a, i, f, o, s = (part[t if x is not None else at] for part in opened)
        c, tanh_c = held_cells[at], held_bent[at]
        added = [] if t == 0 else [_product(states[t - 1], kernel)]
        added += [] if static is None else [static]
        added += [] if flat is None else [flat[t][:, None, None] if maps else flat[t]]
        if x is None and len(added) == 1:
            a.copy_(added.pop())
        elif x is None:
            torch.add(added.pop(), added.pop(), out=a)
        for term in added:
            a.add_(term)
        a.sigmoid_()
        # 2 c = f 2 c + 2 i (2 s - 1): doubled too, since the sigmoid is faster than the tanh
        if t:
            torch.mul(f, held_cells[t - 1 if keep else 0], out=c).sub_(i, alpha=2)
        else:
            torch.mul(i, -2, out=c)
        c.addcmul_(i, s, value=4)
        torch.sigmoid(c, out=tanh_c).mul_(2).sub_(1)
        torch.mul(o, tanh_c, out=states[t])
    return h, [gates, cells, bent]


class _States(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, steps: int, *given: Tensor | None) -> Tensor:
        h, ctx.held = _forward(steps, *given, keep=True)  # type: ignore[arg-type]
        ctx.save_for_backward(h, *given)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        h, *given = ctx.saved_tensors
        weight, static, flat, x, weight_x, bias = given
        # The gates are written over below; who asks a second time has them computed again.
        held = ctx.held or _forward(len(h), *given, keep=True)[1]
        ctx.held = None
        da = _gate_gradients(grad, weight, *held)
        names = ("weight", "static", "flat", "x", "weight_x", "bias")
        needs = dict(zip(names, ctx.needs_input_grad[1:], strict=True))
        over = tuple(range(2, da.ndim - 1))  # the places of maps
        dx, dv, db = None, None, None
        if x is not None:
            wanted = [needs["x"], needs["weight_x"], bias is not None and needs["bias"]]
            dx, dv, db = _product_gradients(da.flatten(0, 1), x.flatten(0, 1), weight_x, wanted)
            dx = None if dx is None else dx.reshape(x.shape)
        dw = None
        if needs["weight"]:
            dw = torch.zeros_like(weight)
            if len(h) > 1:
                seen, asked = h[:-1].flatten(0, 1), da[1:].flatten(0, 1)
                dw = _product_gradients(asked, seen, weight, [False, True, False])[1]
        ds = da.sum(0) if static is not None and needs["static"] else None
        du = None
        if flat is not None and needs["flat"]:
            du = da.sum(over) if over else da.clone()
        for buffer in held:
            _give_back(buffer)
        return None, dw, ds, du, dx, dv, db


def _gate_gradients(
    grad: Tensor, weight: Tensor, gates: Tensor, cells: Tensor, bent: Tensor
) -> Tensor:
    """Gradients of what opens the gates, (t, b, ..., 4d), written over the gates."""
    width, kernel = weight.shape[1], laid_out(weight)
    dh = grad[-1]
    dc = torch.zeros_like(cells[0])  # four times the gradient of what cells hold, 2 c
    fresh, through = torch.empty_like(gates[0]), torch.empty_like(dc)
    di, df, do, ds = torch.split(fresh, width, dim=-1)
    opened = [part.unbind(0) for part in (gates, *torch.split(gates, width, dim=-1))]
    held_cells, held_bent, asked = cells.unbind(0), bent.unbind(0), grad.unbind(0)
    for t in reversed(range(len(gates))):
        a, i, f, o, s = (part[t] for part in opened)
        # With y = tanh(c): dy = o dh, and o dh (1 - y²) = o (dh - y do).
        torch.mul(dh, held_bent[t], out=do)
        torch.addcmul(dh, held_bent[t], do, value=-1, out=through)
        dc.addcmul_(o, through, value=2)
        torch.mul(dc, i, out=ds)
        torch.mul(dc, s, out=di).sub_(dc, alpha=0.5)
        if t:
            torch.mul(dc, held_cells[t - 1], out=df).mul_(0.25)
            dc.mul_(f)
        else:
            df.zero_()
        torch.ops.aten.sigmoid_backward.grad_input(fresh, a, grad_input=a)
        if t:
            dh = _product_back(a, kernel).add_(asked[t - 1])
    return gates


# Memory of steps before, used again: fresh pages would cost a quarter of a step on a processor.
_FREE: list[Tensor] = []
_HELD, _LOCK = 1 << 28, threading.Lock()  # bytes


def _buffer(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Room for numbers, where an earlier step had as much; to be given back."""
    size = math.prod(shape)
    if like.device.type == "cpu":
        with _LOCK:
            for at, free in enumerate(_FREE):
                if free.dtype == like.dtype and size <= len(free) <= 2 * size:
                    return _FREE.pop(at)[:size].view(shape)
    return like.new_empty(size)[:size].view(shape)


def _give_back(buffer: Tensor) -> None:
    """Keep the memory of what :func:`_buffer` lent; other tensors are let go."""
    whole = buffer._base
    if whole is None or whole.ndim != 1 or buffer.device.type != "cpu":
        return
    with _LOCK:
        _FREE.insert(0, whole)
        while sum(free.nbytes for free in _FREE) > _HELD:
            _FREE.pop()


def laid_out(weight: Tensor) -> Tensor:
    """Kernels in the layout of the maps; matrices as they are."""
    return weight.contiguous(memory_format=torch.channels_last) if weight.ndim == 4 else weight


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """What gates hear of x (n, h, w, c) or (n, c)."""
    if weight.ndim == 2:
        return F.linear(x, weight, bias)
    return channels_last(
        F.conv2d(channels_first(x), weight, bias, padding=weight.shape[2] // 2)
    ).contiguous()


def _product_back(da: Tensor, weight: Tensor) -> Tensor:
    if weight.ndim == 2:
        return da @ weight
    return channels_last(
        F.conv_transpose2d(channels_first(da), weight, padding=weight.shape[2] // 2)
    ).contiguous()


def _product_gradients(
    da: Tensor, x: Tensor, weight: Tensor, wanted: list[bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of x, weight and bias, those wanted, of all steps in one call."""
    if weight.ndim == 2:
        return (
            da @ weight if wanted[0] else None,
            da.T @ x if wanted[1] else None,
            da.sum(0) if wanted[2] else None,
        )
    pad = weight.shape[2] // 2
    dx, dw, db = torch.ops.aten.convolution_backward(
        channels_first(da),
        channels_first(x),
        laid_out(weight),
        [len(weight)],
        [1, 1],
        [pad, pad],
        [1, 1],
        False,
        [0, 0],
        1,
        wanted,
    )
    return None if dx is None else channels_last(dx).contiguous(), dw, db


def channels_first(maps: Tensor) -> Tensor:
    """(n, h, w, c) as convolutions take it, (n, c, h, w), without a copy."""
    return maps.permute(0, 3, 1, 2)


def channels_last(maps: Tensor) -> Tensor:
    """(n, c, h, w) as (n, h, w, c), without a copy."""
    return maps.permute(0, 2, 3, 1)
