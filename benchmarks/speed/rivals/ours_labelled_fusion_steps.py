"""One epoch of each fusion with labels in our loop, and the same steps written out in PyTorch.

Both train fresh networks of the same layers on the same tensors in the same order, with a quarter
of the rows cut to a random subset of their two modalities; late fusion's two predictors learn one
after another on both sides. What ``fit`` does before (reading and standardising) is timed on
neither.
"""

import sys
from pathlib import Path

import torch
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent))
from ours_fusion_steps import NAMES, data, optimizer_of

from triptych import Modalities, Training
from triptych.fusion import (
    AttentionFusion,
    ConcatFusion,
    GatedFusion,
    LateFusion,
    LowRankFusion,
    MultiplicativeFusion,
    TensorFusion,
)
from triptych.nn.recipes import MLP
from triptych.training.batches import Rows, order_of
from triptych.training.loop import train


def one(h, kept):
    """[1; h], h zero where it is not kept."""
    return torch.cat([torch.ones(len(h), 1), h * kept], 1)


def concat(fuse, h, kept):
    """Side by side, a learnt vector for what is absent."""
    parts = [v * k + a * (1 - k) for v, k, a in zip(h, kept, fuse.absent, strict=True)]
    return fuse.joint(torch.cat(parts, 1))


def attention(fuse, h, kept):
    """Softmax over those kept."""
    values = torch.stack([v * k for v, k in zip(h, kept, strict=True)], 1)
    scores = torch.tanh(fuse.key(values)) @ fuse.query
    scores = scores.masked_fill(torch.cat(kept, 1) == 0, -torch.inf)
    return (scores.softmax(1)[:, :, None] * values).sum(1)


def gated(fuse, h, kept):
    """One gate z and 1 - z, all for the one that is kept."""
    a, b = (v * k for v, k in zip(h, kept, strict=True))
    z = torch.sigmoid(fuse.gate(torch.cat([a, b], 1)))
    z = torch.where(kept[1] == 0, 1.0, torch.where(kept[0] == 0, 0.0, z))
    return z * fuse.project["a"](a).tanh() + (1 - z) * fuse.project["b"](b).tanh()


def tensor(fuse, h, kept):
    """All products."""
    a, b = (one(F.relu(v), k) for v, k in zip(h, kept, strict=True))
    return fuse.linear((a[:, :, None] * b[:, None]).flatten(1))


def low_rank(fuse, h, kept):
    """A sum of products of maps."""
    a, b = (one(F.relu(v), k) @ f for v, k, f in zip(h, kept, fuse.factors, strict=True))
    return (a * b).view(len(a), fuse.rank, -1).sum(1) + fuse.bias


def film(fuse, h, kept):
    """One scales and shifts the other."""
    more, beta = (fuse.steps["b"].generator(h[1].tanh() * kept[1]) * kept[1]).chunk(2, 1)
    return (1 + more) * h[0].tanh() * kept[0] + beta


JOINT = {
    "concat": (ConcatFusion, {}, concat),
    "attention": (AttentionFusion, {}, attention),
    "gated": (GatedFusion, {}, gated),
    "tensor": (TensorFusion, {"head": MLP(depth=0)}, tensor),
    "low rank": (LowRankFusion, {}, low_rank),
    "film": (MultiplicativeFusion, {"form": "film"}, film),
}


def joint_loss(fuse_of):
    """The loss of a fusion, from the network and a batch."""

    def loss(network, values, y):
        size = len(y)
        drawn = torch.where(torch.rand(size) < 0.25, torch.randint(1, 4, (size,)), 3)
        kept = [(drawn & 1 > 0).float()[:, None], (drawn & 2 > 0).float()[:, None]]
        h = [network.encoders[m](values[m]) for m in NAMES]
        return F.cross_entropy(network.head(fuse_of(network.fuse, h, kept)), y)

    return loss


def late(network, values, y):
    """The one modality that there is."""
    (m,) = values
    return F.cross_entropy(network.heads[m](network.encoders[m](values[m])), y)


def prepare(n, p, width, d, batch):
    """One epoch of each."""
    X = data(n, p)
    y = (X["a"][:, 0] > X["b"][:, 0]).astype(int)
    settings = Training(epochs=1, batch_size=batch, device="cpu")
    given = {
        "encoders": {m: MLP(width=width) for m in NAMES},
        "training": settings,
        "random_state": 0,
    }
    work = {
        name: (cls(d, **given, **own), joint_loss(fuse))
        for name, (cls, own, fuse) in JOINT.items()
    }
    work["late"] = (LateFusion(**given), late)
    few = {m: v[: 2 * batch] for m, v in X.items()}
    pieces = {}
    for name, (model, loss_of) in work.items():
        model.fit(few, y[: 2 * batch])
        numbers = model.target_.numbers(y)
        # What is learnt one after another: modalities, with the kinds and rows of each.
        fits = [
            (
                names,
                {m: model.kinds_[m] for m in names},
                Rows(Modalities({m: X[m] for m in names}), model.inputs_, numbers),
            )
            for names in ([(m,) for m in NAMES] if name == "late" else [NAMES])
        ]

        def ours(model=model, fits=fits):
            for _, kinds, rows in fits:
                network = model._build(kinds)
                train(network, model._phases(network), rows, settings, seed=0)

        def bare(model=model, fits=fits, loss_of=loss_of):
            for names, kinds, rows in fits:
                network = model._build(kinds).train()
                optimizer = optimizer_of(network, settings)
                order = torch.from_numpy(order_of(0, "0.0", 0, n))
                for start in range(0, n, batch):
                    at = order[start : start + batch]
                    values = {m: rows.stored[m][0][at] for m in names}
                    optimizer.zero_grad(set_to_none=True)
                    loss = loss_of(network, values, rows.y[at])
                    loss.backward()
                    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                    optimizer.step()
                    loss.item()

        pieces[name], pieces[f"bare {name}"] = ours, bare
    return pieces
