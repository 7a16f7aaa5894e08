"""Our correlation losses, a training step around them, and the products neither can avoid."""

from itertools import pairwise

import torch
from torch import nn

from triptych.losses.correlation import correlation_squares, correlation_trace_norm


def codes(n, d, dtype=torch.float32):
    """Two batches of codes (n, d) with correlations, the same on every side."""
    generator = torch.Generator().manual_seed(0)
    za = torch.randn(n, d, generator=generator)
    zb = za * torch.linspace(0.1, 1, d) + torch.randn(n, d, generator=generator)
    return za.to(dtype), zb.to(dtype)


def prepare(n, d, width=1024, pixels=784):
    """Pieces of work; a piece runs ``often`` times, since one takes about a millisecond."""
    za, zb = (z.requires_grad_() for z in codes(n, d))
    often = 20

    def loss(value):
        def run():
            for _ in range(often):
                za.grad = zb.grad = None
                found = value(za, zb)
                found.backward()
            return float(found.detach())

        return run

    def loss_products():
        with torch.no_grad():
            for _ in range(often):
                square = za.T @ za
                zb.T @ zb, za.T @ zb
                za @ square, zb @ square, za @ square, zb @ square

    sizes = [pixels, width, width, width, d]
    torch.manual_seed(0)
    networks = [
        nn.Sequential(
            *(
                layer
                for i, (a, b) in enumerate(pairwise(sizes))
                for layer in ([nn.Linear(a, b), nn.ReLU()] if i < 3 else [nn.Linear(a, b)])
            )
        )
        for _ in range(2)
    ]
    views = [torch.randn(n, pixels) for _ in range(2)]
    weights = [p for network in networks for p in network.parameters()]

    def step():
        for p in weights:
            p.grad = None
        found = correlation_trace_norm(*(f(x) for f, x in zip(networks, views, strict=True)))
        found.backward()
        return float(found.detach())

    layers = [(m, torch.randn(n, m.in_features), torch.randn(n, m.out_features))
              for f in networks for m in f if isinstance(m, nn.Linear)]  # fmt: skip

    def step_products():
        with torch.no_grad():
            for m, x, g in layers:
                x @ m.weight.T, g.T @ x
                if m.in_features != pixels:
                    g @ m.weight

    return {
        "trace norm": loss(correlation_trace_norm),
        "squares": loss(correlation_squares),
        "products of the loss": loss_products,
        "training step": step,
        "products of the step": step_products,
    }
