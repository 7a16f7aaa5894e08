"""Subsets of the modalities that rows have."""

from __future__ import annotations

import torch
from torch import Tensor

from triptych.training.batches import Batch

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


def dropped_modalities(batch: Batch, share: float) -> dict[str, Tensor]:
    """Modality dropout: which modalities each row keeps, boolean (b,) by name.

    Args:
        batch: Rows.
        share: Share of rows of which a non-empty subset is drawn; the others keep all they have.
    """
    there = torch.stack([batch.present[m] for m in batch.names], dim=1)  # (b, m)
    whole = (torch.rand(len(there)) >= share).to(there.device)
    chosen = torch.where(whole[:, None], there, drawn_subsets(there))
    return {name: chosen[:, i] for i, name in enumerate(batch.names)}


def all_subsets(m: int) -> Tensor:
    """Every non-empty subset of m things, boolean (2^m - 1, m)."""
    codes = torch.arange(1, 2**m)
    return torch.stack([(codes >> i) & 1 for i in range(m)], dim=1).bool()
