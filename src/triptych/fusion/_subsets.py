"""Subsets of the modalities that rows have."""

from __future__ import annotations

import torch
from torch import Tensor

# Subsets double with every modality; each has a posterior of its own.
MOST = 10


def drawn_subsets(present: Tensor) -> Tensor:
    """For each row a non-empty subset of what it has, every subset as likely.

    Args:
        present: Boolean (b, m).

    Returns:
        Boolean (b, m); empty where a row has nothing. Draws from torch's global generator.
    """
    chosen = present & (torch.rand(present.shape) < 0.5).to(present.device)
    # Fair coins that all fell on one side are tossed again: what is left is evenly likely.
    while bool((again := present.any(dim=1) & ~chosen.any(dim=1)).any()):
        tossed = (torch.rand(int(again.sum()), present.shape[1]) < 0.5).to(present.device)
        chosen[again] = present[again] & tossed
    return chosen


def all_subsets(m: int) -> Tensor:
    """Every non-empty subset of m things, boolean (2^m - 1, m)."""
    codes = torch.arange(1, 2**m)
    return torch.stack([(codes >> i) & 1 for i in range(m)], dim=1).bool()
