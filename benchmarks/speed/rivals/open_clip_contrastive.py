"""open_clip's losses on the same codes."""

import sys
import types

import torch
import torch.nn.functional as F

# torchvision's wheel may be built for CUDA and then lacks its own operators beside a CPU torch,
# but describes them when it is imported. Nothing here calls one.
sys.modules["torchvision._meta_registrations"] = types.ModuleType(
    "torchvision._meta_registrations"
)

from open_clip.loss import ClipLoss, SigLipLoss  # noqa: E402


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
