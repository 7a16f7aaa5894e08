"""The network of SharedPrivate: features, shared and private codes of a batch, its reader."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.modalities import SHARED
from triptych.nn.parts import Parts
from triptych.nn.shared_private import AttendingReader, Form, PartsReader, some_of
from triptych.training.batches import Batch

Codes = dict[str, Tensor]


class Network(nn.Module):
    """Encoders, maps to both codes, decoders, and what some settings add.

    Args:
        form: How they hang together.
        encoders: By modality.
        shared: Maps to shared codes by modality, or one named ``"shared"``.
        private: Maps to private codes by modality.
        decoders: By modality.
        widths: Of features, of the shared code and of each private one.
    """

    private_encoders: Parts
    domains: nn.Module
    head: nn.Module
    steps: Tensor

    def __init__(
        self,
        form: Form,
        encoders: Parts,
        shared: Parts,
        private: Parts,
        decoders: Parts,
        widths: tuple[int, int, int],
    ) -> None:
        super().__init__()
        self.form, self.widths = form, widths
        self.encoders, self.shared, self.private = encoders, shared, private
        self.decoders = decoders

    def reader(self, names: tuple[str, ...], n_out: int) -> nn.Module:
        """What labels are read with, ``n_out`` outputs; to be kept as ``head``."""
        width, d, d_private = self.widths
        widths = {SHARED: d}
        if self.form.reads == "all":
            widths = {f"private:{m}": d_private for m in names}
            widths |= {f"shared:{m}": d for m in names}
        if self.form.head == "attention":
            return AttendingReader(tuple(widths), d, n_out, dropout=self.form.dropout)
        return PartsReader(widths, n_out, width=width, dropout=self.form.dropout)

    def features(self, batch: Batch, which: str = "encoders") -> Codes:
        """By modality, what codes are read from, (b, width)."""
        found = {}
        for m in batch.names:
            encoder = getattr(self, which)[m]
            h = F.gelu(encoder(batch.values[m], batch.lengths.get(m)).float())
            found[m] = F.layer_norm(h, h.shape[1:]) if self.form.common_map else h
        return found

    def split(self, batch: Batch, features: Codes | None = None) -> tuple[Codes, Codes]:
        """Shared and private codes, by modality."""
        h = self.features(batch) if features is None else features
        own = self.features(batch, "private_encoders") if self.form.private_encoders else h
        shared, private = {}, {}
        for m in batch.names:
            to_shared = self.shared[SHARED if self.form.common_map else m]
            shared[m] = self.form.shared_code(to_shared(h[m]))
            private[m] = self.form.private_code(self.private[m](own[m]))
        return shared, private

    def mean_shared(self, shared: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Mean (b, d) of the shared codes that rows have, at unit length if each is."""
        total = torch.stack([s * present[m][:, None] for m, s in shared.items()]).sum(dim=0)
        if self.form.codes == "sphere":
            return F.normalize(total, dim=1)
        count = torch.stack([present[m] for m in shared]).sum(dim=0).clamp_min(1)
        return total / count[:, None]

    def read(
        self, shared: Mapping[str, Tensor], private: Mapping[str, Tensor], batch: Batch
    ) -> Tensor:
        """What is said of the labels, (b, n_out), from the modalities that rows have."""
        shown: Mapping[str, Tensor] = batch.present
        if self.training and self.form.withheld:
            shown = some_of(batch.present, self.form.withheld)
        if self.form.reads == "shared":
            codes = {SHARED: self.mean_shared(shared, shown)}
            there = {SHARED: torch.ones_like(next(iter(shown.values())))}
        else:
            codes = {f"private:{m}": z for m, z in private.items()}
            codes |= {f"shared:{m}": z for m, z in shared.items()}
            there = {k: shown[k.partition(":")[2]] for k in codes}
        outputs: Tensor = self.head(codes, there)
        return outputs


def of_others(name: str, shared: Mapping[str, Tensor], batch: Batch) -> Tensor:
    """For each row the shared code of another modality, drawn at random, (b, d).

    A row that has no other modality reads its own.
    """
    others = [m for m in shared if m != name]
    there = torch.stack([batch.present[m] for m in others], dim=1)  # (b, m - 1)
    chance = torch.rand(there.shape).to(there.device).masked_fill(~there, -1.0)
    stacked = torch.stack([shared[m] for m in others], dim=1)  # (b, m - 1, d)
    rows = torch.arange(len(there), device=there.device)
    return torch.where(
        there.any(dim=1, keepdim=True), stacked[rows, chance.argmax(dim=1)], shared[name]
    )
