"""The network of MFM: codes, factors, what is read from them, and codes without a modality."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from triptych.nn.parts import Parts
from triptych.nn.shared_private import PartsReader
from triptych.training.batches import Batch

Codes = dict[str, Tensor]


class Latents(NamedTuple):
    """Codes of a batch: z_y (b, d), and z_a (b, d_m) of every fitted modality."""

    label: Tensor
    private: Codes


class MFMNetwork(nn.Module):
    """Encoders Q, generators G, decoders F and D, and surrogates for rows that lack modalities.

    Args:
        private: Encoders to z_a by modality.
        branches: Encoders to features (b, width) by modality, from which z_y is read.
        surrogates: The same for surrogates.
        decoders: By modality; each reads [f_y, f_a].
        widths: Width of z_y under ``""`` and of each z_a under its modality.
        width: Of features.
        factors: Width of every factor.
        n_out: Outputs for the label.
        dropout: Share of hidden units of the generators and D left out while training.
        jointly: Whether z_y of complete rows is read from all modalities together; else
            surrogates give it for every row.
    """

    def __init__(
        self,
        private: Parts,
        branches: Parts,
        surrogates: Parts,
        decoders: Parts,
        *,
        widths: Mapping[str, int],
        width: int,
        factors: int,
        n_out: int,
        dropout: float,
        jointly: bool = True,
    ) -> None:
        super().__init__()
        self.jointly = jointly
        self.private, self.branches, self.surrogates = private, branches, surrogates
        self.decoders = decoders
        names = private.names
        self.sizes = [widths[""], *(widths[m] for m in names)]
        self.joint = nn.Sequential(
            nn.GELU(),
            nn.Linear(len(names) * width, width),
            nn.GELU(),
            nn.Linear(width, widths[""]),
        )
        self.guess = PartsReader(
            dict.fromkeys(names, width), sum(self.sizes), width=width, dropout=0.0
        )
        self.label_factor = _generator(widths[""], factors, dropout)
        self.private_factors = Parts({m: _generator(widths[m], factors, dropout) for m in names})
        self.label = nn.Sequential(
            nn.Linear(factors, factors),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(factors, n_out),
        )

    def without(self, batch: Batch, shown: Mapping[str, Tensor]) -> Latents:
        """All codes, from only those modalities that rows are shown (boolean (b,) by name)."""
        features = {
            m: nn.functional.gelu(
                self.surrogates[m](batch.values[m], batch.lengths.get(m)).float()
            )
            for m in batch.names
        }
        label, *private = torch.split(self.guess(features, shown), self.sizes, dim=1)
        return Latents(label, dict(zip(self.private.names, private, strict=True)))

    def latents(self, batch: Batch) -> Latents:
        """Codes of each row from what it has.

        z_y comes from all modalities together and z_a from its own; surrogates stand in for z_y
        of rows that lack any (of all rows, unless ``jointly``), and for z_a of what they lack.
        """
        own = {
            m: self.private[m](batch.values[m], batch.lengths.get(m)).float() for m in batch.names
        }
        whole = set(batch.names) == set(self.private.names)
        complete = torch.stack([batch.present[m] for m in batch.names]).all(dim=0) & whole
        if self.jointly and bool(complete.all()):
            return Latents(self._joint(batch), own)
        made = self.without(batch, batch.present)
        label = made.label
        if self.jointly and bool(complete.any()):
            label = torch.where(complete[:, None], self._joint(batch), label)
        private = {
            m: torch.where(batch.present[m][:, None], own[m], z) if m in own else z
            for m, z in made.private.items()
        }
        return Latents(label, private)

    def _joint(self, batch: Batch) -> Tensor:
        names = self.branches.names
        found = [self.branches[m](batch.values[m], batch.lengths.get(m)).float() for m in names]
        z: Tensor = self.joint(torch.cat(found, dim=1))
        return z

    def factors_of(self, z: Latents) -> tuple[Tensor, Codes]:
        """f_y (b, factors), and f_a (b, factors) by modality."""
        return self.label_factor(z.label), {
            m: self.private_factors[m](code) for m, code in z.private.items()
        }

    def decoder_codes(self, z: Latents) -> Codes:
        """What decoders read, (b, 2 factors) by modality: f_y beside f_a."""
        label, private = self.factors_of(z)
        return {m: torch.cat([label, f], dim=1) for m, f in private.items()}

    def read(self, z: Latents) -> Tensor:
        """Outputs for the label, (b, n_out)."""
        outputs: Tensor = self.label(self.label_factor(z.label))
        return outputs


def _generator(n_in: int, n_out: int, dropout: float) -> nn.Module:
    return nn.Sequential(
        nn.Linear(n_in, n_out), nn.ReLU(), nn.Dropout(dropout), nn.Linear(n_out, n_out), nn.ReLU()
    )


def proper_subsets(present: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """For each row some, but not all, of what it has; nothing of a row that has only one.

    How many is drawn first, evenly, and then which. Draws from torch's global generator.

    Args:
        present: Boolean (b,) by modality.
    """
    there = torch.stack(list(present.values()), dim=1).cpu()  # (b, m)
    count = there.sum(dim=1)
    many = 1 + torch.floor(torch.rand(len(there)) * (count - 1).clamp_min(1)).long()
    many = torch.where(count > 1, many.minimum(count - 1), 0)
    chance = torch.rand(there.shape).masked_fill(~there, -1.0)
    place = chance.argsort(dim=1, descending=True).argsort(dim=1)
    kept = place < many[:, None]
    device = next(iter(present.values())).device
    return {m: kept[:, i].to(device) for i, m in enumerate(present)}
