"""One batch from the parts that the processes of a distributed run hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

_ALONE: ContextVar[bool] = ContextVar("alone", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """Inside, :func:`gather` leaves tensors as they are: every process holds all rows itself."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def several() -> bool:
    """Whether this is one of several processes that work on one batch."""
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return there and torch.distributed.get_world_size() > 1


def from_first(values: Sequence[float], device: torch.device) -> list[float]:
    """The numbers that the first process holds, on every process."""
    if not several():
        return list(values)
    held = torch.tensor(values, dtype=torch.float64, device=device)
    torch.distributed.broadcast(held, 0)
    return [float(v) for v in held.tolist()]


def gather(tensor: Tensor) -> Tensor:
    """Rows of all processes in the order of the batch; gradients flow back to every process.

    Of P processes, number r has rows r, r + P, r + 2 P and so on of the batch, as the training
    loop shares them, so a loss that looks at the order of rows sees the one it would see alone.

    With one process this is the tensor itself. The gradient that arrives is the sum over
    processes; together with the mean that data-parallel training takes over parameters, value
    and gradient are those of one process with the whole batch.

    Args:
        tensor: Shape (b, ...), the same on all processes but for the values.

    Returns:
        Shape (b * P, ...).
    """
    if _ALONE.get() or not several():
        return tensor
    if tensor.requires_grad:
        whole: Tensor = _Gather.apply(tensor)  # type: ignore[no-untyped-call]
        return whole
    return _joined(tensor)


def _joined(tensor: Tensor) -> Tensor:
    parts = [torch.empty_like(tensor) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, tensor.contiguous())
    return torch.stack(parts, dim=1).flatten(0, 1)


class _Gather(torch.autograd.Function):
    """Rows of all processes; back comes the sum of all processes' gradients by the own rows."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        """Rows of all processes, in the order of the batch."""
        return _joined(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Sum over processes, cut to the own rows."""
        total = gradient.contiguous().clone()
        torch.distributed.all_reduce(total)
        share = slice(torch.distributed.get_rank(), None, torch.distributed.get_world_size())
        return total[share]
