"""pytorch-metric-learning NT-Xent on the same codes; one direction."""

import torch
from pytorch_metric_learning.losses import NTXentLoss


def prepare(n, d, temperature):
    """Pieces on codes that ours draw too."""
    generator = torch.Generator().manual_seed(0)
    za = torch.randn(n, d, generator=generator)
    zb = za + torch.randn(n, d, generator=generator)
    za.requires_grad_()
    zb.requires_grad_()
    loss, labels = NTXentLoss(temperature), torch.arange(n)

    def run():
        za.grad = zb.grad = None
        # Other labels, if equal ones: of the very same tensor it takes no row as its own partner.
        value = loss(za, labels, ref_emb=zb, ref_labels=labels.clone())
        value.backward()
        return float(value.detach())

    return {"NTXentLoss, one direction": run}
