"""One batch from the parts that the processes of a distributed run hold."""

from __future__ import annotations

import torch
from torch import Tensor


def gather(tensor: Tensor) -> Tensor:
    """Rows of all processes in the order of their ranks; gradients flow back to every process.

    With one process this is the tensor itself. The gradient that arrives is the sum over
    processes; together with the mean that data-parallel training takes over parameters, value
    and gradient are those of one process with the whole batch.

    Args:
        tensor: Shape (b, ...), the same on all processes but for the values.

    Returns:
        Shape (b * processes, ...).
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return tensor
    if torch.distributed.get_world_size() == 1:
        return tensor
    from torch.distributed.nn.functional import all_gather

    if not tensor.requires_grad:
        parts = [torch.empty_like(tensor) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)
    return torch.cat(all_gather(tensor.contiguous()))  # type: ignore[no-untyped-call]
