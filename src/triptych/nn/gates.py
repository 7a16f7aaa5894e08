"""Gates: how much of each part of a code passes, said by its own modality and by another's.

What a gate hears is additive, ``own + other``; where the other is absent it adds nothing. Every
gate therefore works for a modality alone, for a pair, and, by broadcasting, for all pairs of a
batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

START = 2.0  # bias of elementwise gates: about 0.88 open before training


class ElementwiseGate(nn.Module):
    r"""Soft selection of features: :math:`z = \sigma(U h + o + b) \odot V h`.

    Args:
        width: Width of the features h.
        n_out: Width d of the code z.
    """

    def __init__(self, width: int, n_out: int) -> None:
        super().__init__()
        self.value = nn.Linear(width, n_out)
        self.own = nn.Linear(width, n_out)
        nn.init.constant_(self.own.bias, START)
        self.n_heard = n_out

    def pieces(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Values and the gate's own logits, each (b, d), of features (b, width)."""
        return self.value(h), self.own(h)

    def forward(self, pieces: tuple[Tensor, Tensor], heard: Tensor | None) -> Tensor:
        """Code (..., d); ``heard`` (..., d) is what the other modality says."""
        value, _ = pieces
        code: Tensor = self.openness(pieces, heard) * value
        return code

    def openness(self, pieces: tuple[Tensor, Tensor], heard: Tensor | None) -> Tensor:
        """The gate itself, (..., d) in (0, 1)."""
        _, own = pieces
        return torch.sigmoid(own if heard is None else own + heard)


class AttentionGate(nn.Module):
    r"""Soft alignment over positions: :math:`z = \sum_s \mathrm{softmax}_s(q^T k_s)\, v_s`.

    The features are read as ``positions`` parts of equal width; the query is the modality's own
    plus what the other says, so that the other chooses which positions count.

    Args:
        width: Width of the features h, a multiple of ``positions``.
        n_out: Width d of the code z.
        positions: Parts among which attention is divided.
    """

    def __init__(self, width: int, n_out: int, positions: int) -> None:
        super().__init__()
        self.positions = positions
        part = width // positions
        self.value = nn.Linear(part, n_out)
        self.key = nn.Linear(part, n_out)
        self.own = nn.Linear(width, n_out)
        self.n_heard = n_out

    def pieces(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Values and keys (b, s, d) and the own query (b, d), of features (b, width)."""
        parts = h.reshape(*h.shape[:-1], self.positions, -1)
        return self.value(parts), self.key(parts), self.own(h)

    def forward(self, pieces: tuple[Tensor, Tensor, Tensor], heard: Tensor | None) -> Tensor:
        """Code (..., d); ``heard`` (..., d) is the other modality's query."""
        value = pieces[0]
        share = self.openness(pieces, heard)  # (..., s)
        return (share[..., None] * value).sum(-2)

    def openness(self, pieces: tuple[Tensor, Tensor, Tensor], heard: Tensor | None) -> Tensor:
        """Shares (..., s) of attention, which add up to 1."""
        _, key, own = pieces
        query = own if heard is None else own + heard
        scores = (key * query[..., None, :]).sum(-1) / math.sqrt(key.shape[-1])
        return torch.softmax(scores, dim=-1)
