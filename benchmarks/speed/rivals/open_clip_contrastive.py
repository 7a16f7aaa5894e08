"""open_clip's losses on the same codes."""

import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss, SigLipLoss


def prepare(n, d, temperature):
    """Pieces on codes that ours draw too."""
    generator = torch.Generator().manual_seed(0)
    za = torch.randn(n, d, generator=generator)
    zb = za + torch.randn(n, d, generator=generator)
    za.requires_grad_()
    zb.requires_grad_()
    scale = torch.tensor(1 / temperature, requires_grad=True)
    clip, siglip = ClipLoss(), SigLipLoss()

    def step(loss):
        def run():
            za.grad = zb.grad = scale.grad = None
            value = loss(F.normalize(za, dim=1), F.normalize(zb, dim=1))
            value.backward()
            return float(value.detach())

        return run

    return {
        "ClipLoss": step(lambda a, b: clip(a, b, scale)),
        "SigLipLoss": step(lambda a, b: siglip(a, b, scale, torch.tensor(-10.0))),
    }
