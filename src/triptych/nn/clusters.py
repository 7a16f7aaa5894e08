"""Clusters of positions, one projection each, that are watched while they learn."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

# A cluster that holds less than this share of an equal part of all positions is dead.
DEAD = 0.02
# Steps over which the share of a cluster is averaged, about 1 / (1 - MEMORY).
MEMORY = 0.95
# Size of what tells a new cluster from the one it is split off, beside that one's weights.
APART = 0.3


class Clusters(nn.Module):
    """Encoders and the projections (k, d, c) of k clusters.

    Args:
        encoders: Of positions.
        k: Clusters.
        d: Components of a centre.
        c: Features of a position.
    """

    share: Tensor
    reseeded: Tensor

    def __init__(self, encoders: nn.Module, k: int, d: int, c: int) -> None:
        super().__init__()
        self.encoders = encoders
        # Glorot's bounds for the one map from c features to all k clusters of d components.
        bound = (6 / (c + k * d)) ** 0.5
        self.projections = nn.Parameter(torch.empty(k, d, c).uniform_(-bound, bound))
        self.register_buffer("share", torch.full((k,), 1 / k))
        self.register_buffer("reseeded", torch.zeros((), dtype=torch.long))

    def _load_from_state_dict(self, *given: Any) -> None:
        # Weights of an earlier epoch, taken back as the best, do not undo what was counted since.
        counted = int(self.reseeded)
        super()._load_from_state_dict(*given)
        self.reseeded.fill_(max(counted, int(self.reseeded)))

    @torch.no_grad()
    def watch(self, assigned: Iterable[Tensor]) -> None:
        """Take the assignments (b, p, k) of a batch, by modality, into the running shares."""
        totals = [share.sum((0, 1)) for share in assigned]  # each (k,)
        shares = [total / total.sum() for total in totals if float(total.sum()) > 0]
        if shares:
            self.share.lerp_(torch.stack(shares).mean(0), 1 - MEMORY)

    def dead(self) -> Tensor:
        """Which clusters (k,) hold next to nothing."""
        return self.share < DEAD / len(self.share)

    @torch.no_grad()
    def reseed(self) -> None:
        """Seed every dead cluster anew, beside the fullest.

        Small new weights of its own would lose every softmax to the large ones of the others.
        """
        dead = self.dead()
        if not bool(dead.any()):
            return
        W = self.projections
        for j in torch.nonzero(dead)[:, 0].tolist():
            fullest = W[int(self.share.argmax())]
            noise = torch.randn(fullest.shape).to(W.device) * fullest.square().mean().sqrt()
            W[j] = fullest + APART * noise
            self.share[j] = 1 / len(self.share)
            self.reseeded += 1
