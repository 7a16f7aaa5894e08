"""One step of EarlyFusion, its products alone, a plainly written cell, loops, and log-mel frames.

All networks have the same layers and weights of the same shapes; the plain one is written as the
equations stand, one step of time after another.
"""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from triptych import Modalities, Training
from triptych.fusion import EarlyFusion
from triptych.nn.spectrogram import Spectrogram, SpectrogramInput
from triptych.training.batches import Rows, order_of
from triptych.training.loop import train

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from steps import DATA


class PlainCell(torch.nn.Module):
    """A convolutional LSTM cell; what a sound adds is a second input."""

    def __init__(self, n_in, d, stride=1, heard=0):
        super().__init__()
        self.x = torch.nn.Conv2d(n_in, 4 * d, 3, stride=stride, padding=1)
        self.h = torch.nn.Conv2d(d, 4 * d, 3, padding=1, bias=False)
        self.u = torch.nn.Linear(heard, 4 * d, bias=False) if heard else None

    def forward(self, x, h, c, frame=None):
        """New state and cell."""
        a = self.x(x) + self.h(h)
        if self.u is not None:
            a = a + self.u(frame)[:, :, None, None]
        i, f, o, g = a.chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c


class Plain(torch.nn.Module):
    """Two layers, and what reads them."""

    def __init__(self, d, bands, code, classes):
        super().__init__()
        self.first, self.second = PlainCell(1, d, 2, bands), PlainCell(d, d)
        self.code, self.output = torch.nn.Linear(16 * d, code), torch.nn.Linear(code, classes)
        self.d = d

    def forward(self, x, frames):
        """Logits of pictures (b, 1, h, w) and frames (b, t, p)."""
        side = -(-x.shape[-1] // 2)
        h1 = c1 = h2 = c2 = x.new_zeros(len(x), self.d, side, side)
        for frame in frames.unbind(1):
            h1, c1 = self.first(x, h1, c1, frame)
            h2, c2 = self.second(h1, h2, c2)
        return self.output(F.gelu(self.code(F.adaptive_avg_pool2d(h2, 4).flatten(1))))


def products(b, side, steps, d, bands):
    """The convolutions and matrix products of one step of ours, and nothing else.

    As in the step, every layer and step of time has states and gradients of its own.
    """

    def maps(n, c, s=side):
        return torch.randn(n, c, s, s).to(memory_format=torch.channels_last)

    back = torch.ops.aten.convolution_backward
    x, da, first = maps(b, 1, 2 * side), maps(b, 4 * d), maps(4 * d, 1, 3)
    layers = [(maps(steps * b, d), maps(steps * b, 4 * d)) for _ in range(2)]
    seen, asked = layers[0][0], layers[1][1]
    W, V, U = maps(4 * d, d, 3), maps(4 * d, d, 3), torch.randn(4 * d, bands)
    frames, heard = torch.randn(steps * b, bands), torch.randn(steps * b, 4 * d)
    one, two = [1, 1], [2, 2]
    rest = (one, one, False, [0, 0], 1)

    def run():
        with torch.no_grad():
            frames @ U.T
            F.conv2d(x, first, stride=2, padding=1)
            F.conv2d(seen, V, padding=1)
            for states, _ in layers:
                for h in states[:-b].split(b):
                    F.conv2d(h, W, padding=1)
            for states, gradients in layers:
                for g in gradients[b:].split(b):
                    F.conv_transpose2d(g, W, padding=1)
                back(gradients[b:], states[:-b], W, None, one, *rest, [False, True, False])
            back(asked, seen, V, None, one, *rest, [True, True, False])
            back(da, x, first, None, two, *rest, [False, True, False])
            heard.T @ frames

    return run


def optimizer_of(network, settings):
    """The loop's own."""
    big = [q for q in network.parameters() if q.ndim >= 2]
    small = [q for q in network.parameters() if q.ndim < 2]
    groups = [
        {"params": big, "weight_decay": settings.weight_decay},
        {"params": small, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate)


def prepare(side, batch, steps, width, bands, n):
    """Pieces by name; ``side`` is that of maps, pictures are twice as wide."""
    rng = np.random.default_rng(0)
    X = Modalities(
        {
            "image": rng.normal(size=(n, 1, 2 * side, 2 * side)).astype(np.float32),
            "sound": rng.normal(size=(n, steps, bands)).astype(np.float32),
        }
    )
    y = rng.integers(0, 10, size=n)
    settings = Training(epochs=1, batch_size=batch, device="cpu")
    model = EarlyFusion(64, layers=(width, width), training=settings, random_state=0)
    model.fit(X[: 2 * batch], y[: 2 * batch])
    rows = Rows(X, model.inputs_, model._targets(y, "y"))
    kinds = {m: X.kind(m) for m in sorted(X.names)}
    network, plain = model._build(kinds).train(), Plain(width, bands, 64, 10)
    one = rows.take(np.arange(batch))

    def step():
        network.zero_grad()
        model._terms(network, one)["loss"].backward()

    def plain_step():
        plain.zero_grad()
        F.cross_entropy(plain(one.values["image"], one.values["sound"]), one.y).backward()

    def epoch():
        fresh = model._build(kinds)
        train(fresh, model._phases(fresh), rows, settings, seed=0)

    def bare_epoch():
        fresh = model._build(kinds).train()
        optimizer = optimizer_of(fresh, settings)
        image, (sound, _) = rows.stored["image"][0], rows.stored["sound"]
        image = rows.readers["image"].ready(image)
        order = torch.from_numpy(order_of(0, "0.0", 0, n))
        always = torch.ones(batch, dtype=torch.bool)
        length = torch.full((batch,), steps)
        for start in range(0, n - batch + 1, batch):
            at = order[start : start + batch]
            optimizer.zero_grad(set_to_none=True)
            code = fresh(
                {"image": image[at], "sound": sound[at]},
                {"image": always, "sound": always},
                length,
            )
            loss = F.cross_entropy(fresh.output(F.gelu(code)), rows.y[at])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(fresh.parameters(), 1.0)
            optimizer.step()
            loss.item()

    with np.load(DATA / "fsdd.npz") as stored:
        waves, offsets = stored["waveforms"], stored["offsets"]
    spoken = [waves[a:b] for a, b in pairwise(offsets)]

    def features():
        present = np.ones(len(spoken), dtype=bool)
        reader = SpectrogramInput.learn("sound", spoken, present, Spectrogram(rate=8000))
        return list(reader.tensors(spoken, present)[0].shape)

    return {
        "step": step,
        "products alone": products(batch, side, steps, width, bands),
        "plain cell": plain_step,
        "epoch": epoch,
        "bare epoch": bare_epoch,
        "features": features,
    }
