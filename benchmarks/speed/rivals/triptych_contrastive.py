"""Our contrastive losses, the three products that they cannot avoid, and the plain form."""

import torch
import torch.nn.functional as F

from triptych.losses.contrastive import info_nce
from triptych.losses.pairs import hinge, sigmoid


def prepare(n, d, temperature):
    """Pieces on codes that the peers draw too."""
    generator = torch.Generator().manual_seed(0)
    za = torch.randn(n, d, generator=generator)
    zb = za + torch.randn(n, d, generator=generator)
    za.requires_grad_()
    zb.requires_grad_()
    scale = torch.tensor(1 / temperature, requires_grad=True)

    def step(loss):
        def run():
            za.grad = zb.grad = scale.grad = None
            value = loss()
            value.backward()
            return float(value.detach())

        return run

    def products():
        with torch.no_grad():
            x = za @ zb.T
            x @ zb, x.T @ za

    def plain():
        logits = scale * F.normalize(za, dim=1) @ F.normalize(zb, dim=1).T
        partner = torch.arange(n)
        return (F.cross_entropy(logits, partner) + F.cross_entropy(logits.T, partner)) / 2

    def plain_sums():
        logits = scale * F.normalize(za, dim=1) @ F.normalize(zb, dim=1).T
        sums = torch.logsumexp(logits, 1).mean() + torch.logsumexp(logits, 0).mean()
        return sums / 2 - logits.diagonal().mean()

    return {
        "products": products,
        "plain": step(plain),
        "plain, log-sums": step(plain_sums),
        "info_nce": step(lambda: info_nce(za, zb, temperature=1 / scale)),
        "sigmoid": step(lambda: sigmoid(za, zb, temperature=1 / scale)),
        "hinge": step(lambda: hinge(za, zb)),
        "hardest": step(lambda: hinge(za, zb, hardest=True)),
    }
