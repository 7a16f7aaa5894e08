"""What a fit runs on: its device and processes by Accelerate, and its optimiser."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from triptych.errors import ParameterError
from triptych.training.settings import Training


def optimizer_for(
    parameters: list[nn.Parameter], settings: Training, rate: float
) -> torch.optim.Optimizer:
    """The setting's optimiser, with weight decay for matrices alone."""
    # Biases, norms and scales have fewer than two axes; pulling them to zero helps nobody.
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=0.9)
    # One pass over memory for each weight, where the device has it, instead of one a formula.
    fused = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)
    return torch.optim.AdamW(groups, lr=rate, fused=fused)


def accelerator_for(settings: Training) -> Any:
    """Accelerate for the setting's device and precision.

    Raises:
        ParameterError: The machine has no such device.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedDataParallelKwargs

    for name, there in (("cuda", torch.cuda.is_available()), ("mps", _mps())):
        if settings.device == name and not there:
            raise ParameterError(f"training__device: {name!r} is not available on this machine.")
    # Accelerate keeps one state for the process; a fit of another precision needs a new one.
    AcceleratorState._reset_state()
    return Accelerator(
        cpu=settings.device == "cpu",
        mixed_precision={"32": "no", "bf16": "bf16", "16": "fp16"}[settings.precision],
        # A process whose rows all lack a modality has no use for its decoder in this step.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


def _mps() -> bool:
    return torch.backends.mps.is_available()
