"""lightly NT-Xent, which also tells rows of one side apart: a matrix of twice the width."""

import torch
from lightly.loss import NTXentLoss


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
