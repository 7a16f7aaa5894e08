"""lightly NT-Xent, which also tells rows of one side apart: a matrix of twice the width."""

import sys
import types

import torch

# torchvision's wheel may be built for CUDA and then lacks its own operators beside a CPU torch,
# but describes them when it is imported. Nothing here calls one.
sys.modules["torchvision._meta_registrations"] = types.ModuleType(
    "torchvision._meta_registrations"
)

from lightly.loss import NTXentLoss  # noqa: E402


def prepare(n, d, temperature):
    """Pieces on codes that ours draw too."""
    generator = torch.Generator().manual_seed(0)
    za = torch.randn(n, d, generator=generator)
    zb = za + torch.randn(n, d, generator=generator)
    za.requires_grad_()
    zb.requires_grad_()
    loss = NTXentLoss(temperature)

    def run():
        za.grad = zb.grad = None
        value = loss(za, zb)
        value.backward()
        return float(value.detach())

    return {"NTXentLoss": run}
