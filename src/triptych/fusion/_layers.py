"""The autoencoder of Ngiam et al. 2011 as layers of sigmoid units, and how they are learnt."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from triptych.nn.decoders import SquaredErrorDecoder
from triptych.nn.rbm import RBM, train_rbm
from triptych.training.batches import Rows


class DenseLayer(nn.Linear):
    """One linear map of flattened samples, before its sigmoid."""

    def forward(self, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Hidden units (b, k) of values (b, ...)."""
        return super().forward(values.flatten(1))


class DenseBranch(SquaredErrorDecoder):
    """From the code through a layer of sigmoid units back to values.

    Args:
        n_in: Width d of the code.
        width: Hidden units k.
        shape: Of a sample.
    """

    def __init__(self, n_in: int, width: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape
        self.upper, self.lower = nn.Linear(n_in, width), nn.Linear(width, math.prod(shape))

    def forward(self, code: Tensor) -> Tensor:
        """Values (b, ...)."""
        values: Tensor = self.lower(torch.sigmoid(self.upper(code)))
        return values.reshape(len(code), *self.shape)


@torch.no_grad()
def pretrain(network: Any, rows: Rows, recipe: RBM, seed: int) -> None:
    """Learn the layers of each modality, then that of the code on top, and unroll them.

    Args:
        network: With ``encoders`` of :class:`DenseLayer`, a ``joint`` layer, and ``decoders`` of
            :class:`DenseBranch`; its weights are overwritten.
        rows: What to learn from; a modality from the rows that have it.
        recipe: How.
        seed: Of all draws.
    """
    make = torch.Generator().manual_seed(seed)
    batch = rows.take(np.arange(len(rows)))
    posteriors = []
    for name in network.encoders:
        mask = batch.present[name]
        values = batch.values[name].float().flatten(1)
        machine = train_rbm(values[mask], network.width, recipe, gaussian=True, generator=make)
        posteriors.append(machine.hidden(values) * mask[:, None])
        _write(network.encoders[name], machine.w.T, machine.b)
        _write(network.decoders[name].lower, machine.w, machine.c)
    above = torch.cat(posteriors, dim=1)
    joint = network.joint[0]
    machine = train_rbm(above, joint.out_features, recipe, gaussian=False, generator=make)
    _write(joint, machine.w.T, machine.b)
    for i, name in enumerate(network.encoders):
        at = slice(i * network.width, (i + 1) * network.width)
        _write(network.decoders[name].upper, machine.w[at], machine.c[at])


def _write(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)
