"""One epoch of fusion autoencoders in our loop, and the same steps written out in PyTorch.

Both train fresh networks of the same layers on the same tensors in the same order; what ``fit``
does before (reading and standardising) is timed on neither side. Beside them the matrix products
alone that no such step can do without.
"""

import math
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from triptych import Modalities, Training
from triptych.fusion import MultimodalAutoencoder, MultimodalVAE
from triptych.nn.decoders import SquaredErrorDecoder
from triptych.nn.recipes import MLP, VectorDecoder
from triptych.training.batches import Rows, order_of
from triptych.training.loop import train

sys.path.insert(0, str(Path(__file__).parent))
from data_fusion import NAMES, data


def light(n_in, n_out, width):
    """Layers as multiviewae has them: ReLU, and no layer norm."""
    return nn.Sequential(
        *(nn.Linear(n_in, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()),
        nn.Linear(width, n_out),
    )


class LightValues(SquaredErrorDecoder):
    """Such layers from codes to values."""

    def __init__(self, n_in, n_out, width):
        super().__init__()
        self.layers = light(n_in, n_out, width)

    def forward(self, code):
        """Values (b, p)."""
        return self.layers(code)


@dataclass(frozen=True)
class LightDecoder:
    """Their recipe."""

    width: int

    def build(self, kind, reader, n_in):
        """The decoder of codes (b, n_in)."""
        return LightValues(n_in, math.prod(kind.shape), self.width)


def optimizer_of(network, settings):
    """The loop's own."""
    groups = [
        {
            "params": [q for q in network.parameters() if q.ndim >= 2],
            "weight_decay": settings.weight_decay,
        },
        {"params": [q for q in network.parameters() if q.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate)


def bare_vae(network, values, size, d, subsets=((0, 1), (0,), (1,))):
    """-ELBO(both) - ELBO(a) - ELBO(b) with bernoulli likelihoods."""
    laws = [network.encoders[m](values[m]).chunk(2, 1) for m in NAMES]
    raw = {m: values[m] * network.decoders[m].scale + network.decoders[m].mean for m in NAMES}
    loss = 0.0
    for members in subsets:
        precision = 1 + sum(torch.exp(-laws[i][1]) for i in members)
        mean = sum(torch.exp(-laws[i][1]) * laws[i][0] for i in members) / precision
        z = mean + torch.randn_like(mean) * precision.rsqrt()
        for i in members:
            out = network.decoders[NAMES[i]].decoder(z)
            loss = loss + F.binary_cross_entropy_with_logits(out, raw[NAMES[i]], reduction="sum")
        loss = loss + 0.5 * (mean**2 + 1 / precision - 1 + precision.log()).sum()
    return loss / size


def bare_autoencoder(network, values, size, d):
    """Both squared errors from a code of a random subset of inputs."""
    drawn = torch.randint(1, 4, (size,))
    kept = [(drawn & 1 > 0).float()[:, None], (drawn & 2 > 0).float()[:, None]]
    branches = [
        F.gelu(network.encoders[m](values[m])) * k for m, k in zip(NAMES, kept, strict=True)
    ]
    code = network.joint(torch.cat(branches, 1))
    return sum(F.mse_loss(network.decoders[m].forward(code), values[m]) for m in NAMES)


def products(network, batch, steps, decoded):
    """Products of linear layers and of their gradients; decoders run ``decoded`` times a step."""
    inputs = [
        next(a for a in network.encoders[m].modules() if isinstance(a, nn.Linear)) for m in NAMES
    ]
    outputs = [a for m in NAMES for a in network.decoders[m].modules()]
    work = []
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            times = decoded if any(layer is a for a in outputs) else 1
            needs = not any(layer is a for a in inputs)  # the gradient of what comes in
            x, g = torch.randn(batch, layer.in_features), torch.randn(batch, layer.out_features)
            work += [(x, g, layer.weight.detach(), needs)] * times

    def run():
        for _ in range(steps):
            for x, g, w, needs in work:
                x @ w.T
                g.T @ x
                if needs:
                    g @ w

    return run


BARE = {
    "vae": bare_vae,
    "joint vae": partial(bare_vae, subsets=((0, 1),)),
    "light joint vae": partial(bare_vae, subsets=((0, 1),)),
    "autoencoder": bare_autoencoder,
}


def prepare(n, p, width, d, batch):
    """One epoch of each."""
    X = data(n, p)
    settings = Training(epochs=1, batch_size=batch, device="cpu")
    recipes = {
        "encoders": {m: MLP(width=width) for m in NAMES},
        "decoders": {m: VectorDecoder(width=width) for m in NAMES},
        "training": settings,
        "random_state": 0,
    }
    lighter = {
        **recipes,
        "encoders": {m: lambda kind, n_out: light(kind.n_features, n_out, width) for m in NAMES},
        "decoders": {m: LightDecoder(width) for m in NAMES},
    }
    models = {
        "vae": MultimodalVAE(d, likelihoods=dict.fromkeys(NAMES, "bernoulli"), **recipes),
        "joint vae": MultimodalVAE(
            d, likelihoods=dict.fromkeys(NAMES, "bernoulli"), single=0.0, **recipes
        ),
        "light joint vae": MultimodalVAE(
            d, likelihoods=dict.fromkeys(NAMES, "bernoulli"), single=0.0, **lighter
        ),
        "autoencoder": MultimodalAutoencoder(d, width=width, **recipes),
    }
    few = {m: v[: 2 * batch] for m, v in X.items()}
    pieces = {}
    for name, model in models.items():
        model.fit(few)
        rows = Rows(Modalities(X), model.inputs_)
        kinds = {m: model.kinds_[m] for m in NAMES}

        def ours(model=model, rows=rows, kinds=kinds):
            network = model._build(kinds)
            train(
                network,
                model._phases(network),
                rows,
                settings,
                seed=0,
                after_step=lambda: model._after_step(network),
            )

        def bare(
            model=model,
            rows=rows,
            kinds=kinds,
            loss_of=BARE[name],
        ):
            network = model._build(kinds).train()
            optimizer = optimizer_of(network, settings)
            order = torch.from_numpy(order_of(0, "0.0", 0, n))
            for start in range(0, n, batch):
                at = order[start : start + batch]
                values = {m: rows.stored[m][0][at] for m in NAMES}
                optimizer.zero_grad(set_to_none=True)
                loss = loss_of(network, values, len(at), d)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                loss.item()

        pieces[name], pieces[f"bare {name}"] = ours, bare
        pieces[f"products of {name}"] = products(
            model._build(kinds), batch, math.ceil(n / batch), 2 if name == "vae" else 1
        )
    return pieces
