"""Pieces of shared and private networks: how they hang together, and what reads the parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.arrays import check_choice, check_number
from triptych.errors import ParameterError
from triptych.nn.encoders import AttentionBlock
from triptych.nn.parts import Parts
from triptych.values import register

CODES = ("sphere", "sigmoid", "linear")


@register
@dataclass(frozen=True)
class Form:
    """How the networks of shared and private codes hang together.

    Args:
        codes: ``"sphere"`` (shared codes at unit length, private ones free), ``"sigmoid"`` (all
            in [0, 1]) or ``"linear"`` (all free).
        common_map: Whether one map leads from the features of every modality, which are then
            layer-normed, to shared codes; else each modality has its own.
        private_encoders: Whether private codes have encoders of their own; else they are read
            from the features that shared codes are read from.
        rebuilds: ``"input"`` or ``"features"``: what a decoder must rebuild. Features are what
            an encoder gives; then nothing can be decoded to data.
        shared_from: ``"others"`` (a decoder reads the shared code of another modality of the row)
            or ``"own"``.
        joined: Whether a decoder reads both codes ``"concatenated"`` or ``"added"``.
        head: ``"dense"`` (one hidden layer) or ``"attention"`` (one layer of attention among the
            codes of a row first) to predict labels.
        reads: ``"all"`` codes or the ``"shared"`` ones alone, to predict labels.
        dropout: Share of the head's hidden units left out while training.
        withheld: Share of training rows of which a decoder does not see the private code, and
            the head only some modalities, so that they learn what absence means.
    """

    codes: str = "sphere"
    common_map: bool = False
    private_encoders: bool = False
    rebuilds: str = "input"
    shared_from: str = "others"
    joined: str = "concatenated"
    head: str = "dense"
    reads: str = "all"
    dropout: float = 0.0
    withheld: float = 0.2

    def __post_init__(self) -> None:
        check_choice("form__codes", self.codes, CODES)
        check_choice("form__rebuilds", self.rebuilds, ("input", "features"))
        check_choice("form__shared_from", self.shared_from, ("others", "own"))
        check_choice("form__joined", self.joined, ("concatenated", "added"))
        check_choice("form__head", self.head, ("dense", "attention"))
        check_choice("form__reads", self.reads, ("all", "shared"))
        check_number("form__dropout", self.dropout, low=0, high=0.99)
        check_number("form__withheld", self.withheld, low=0, high=1)

    def check_widths(self, n_components: int, n_private: int) -> None:
        """Raise :class:`ParameterError` where both codes must be equally wide and are not."""
        for name, value in (("joined", "added"), ("head", "attention")):
            if getattr(self, name) == value and n_components != n_private:
                raise ParameterError(
                    f"form__{name}={value!r} needs n_components and n_private to be equal; got "
                    f"{n_components} and {n_private}."
                )

    def shared_code(self, z: Tensor) -> Tensor:
        """A shared code (b, d) as this form has it, from a linear map's output."""
        if self.codes == "sphere":
            return F.normalize(z, dim=1)
        return torch.sigmoid(z) if self.codes == "sigmoid" else z

    def private_code(self, z: Tensor) -> Tensor:
        """A private code (b, d_m), from a linear map's output."""
        return torch.sigmoid(z) if self.codes == "sigmoid" else z

    def both(self, shared: Tensor, private: Tensor) -> Tensor:
        """What a decoder reads."""
        if self.joined == "added":
            return shared + private
        return torch.cat([shared, private], dim=1)


class PartsReader(nn.Module):
    """One hidden layer over the codes of a row; those it lacks are left out of a mean.

    Args:
        widths: Width of each code by name.
        n_out: Outputs.
        width: Hidden units.
        dropout: Share of them left out while training.
    """

    def __init__(
        self, widths: Mapping[str, int], n_out: int, *, width: int, dropout: float
    ) -> None:
        super().__init__()
        self.maps = Parts({k: nn.Linear(d, width) for k, d in widths.items()})
        self.dropout, self.out = nn.Dropout(dropout), nn.Linear(width, n_out)

    def forward(self, codes: Mapping[str, Tensor], there: Mapping[str, Tensor]) -> Tensor:
        """Outputs (b, n_out) of codes (b, d_k) that rows have where ``there`` (b,) says so."""
        mapped = torch.stack([self.maps[k](z) for k, z in codes.items()], dim=1)
        mask = torch.stack([there[k] for k in codes], dim=1)[..., None]  # (b, k, 1)
        mean = torch.where(mask, mapped, 0.0).sum(1) / mask.sum(1).clamp_min(1)
        made: Tensor = self.out(self.dropout(F.gelu(mean)))
        return made


class AttendingReader(nn.Module):
    """Attention among the codes of a row, which then stand side by side before two layers.

    In the place of a code that a row lacks stands the mean of what the others became.

    Args:
        names: Of the codes, in the order in which they stand.
        n_in: Width of every code.
        n_out: Outputs.
        dropout: Share of the hidden units left out while training.
    """

    def __init__(self, names: tuple[str, ...], n_in: int, n_out: int, *, dropout: float) -> None:
        super().__init__()
        self.names = names
        self.attention = AttentionBlock(n_in, 0.1, heads=2)
        wide = len(names) * n_in
        self.layers = nn.Sequential(
            nn.Linear(wide, wide // 2), nn.Dropout(dropout), nn.ReLU(), nn.Linear(wide // 2, n_out)
        )

    def forward(self, codes: Mapping[str, Tensor], there: Mapping[str, Tensor]) -> Tensor:
        """Outputs (b, n_out) of codes (b, d) that rows have where ``there`` (b,) says so."""
        any_ = next(iter(codes.values()))
        absent = torch.zeros(len(any_), dtype=torch.bool, device=any_.device)
        stacked = torch.stack([codes.get(k, torch.zeros_like(any_)) for k in self.names], dim=1)
        mask = torch.stack([there.get(k, absent) for k in self.names], dim=1)  # (b, k)
        steps = self.attention(stacked, mask)
        kept = torch.where(mask[..., None], steps, 0.0)
        mean = kept.sum(1, keepdim=True) / mask.sum(1).clamp_min(1)[:, None, None]
        made: Tensor = self.layers(torch.where(mask[..., None], steps, mean).flatten(1))
        return made


def some_of(present: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """What rows are shown: of a share of them, each modality by the toss of a coin.

    Args:
        present: Boolean (b,) by modality.
        share: Of rows that are not shown all they have. A row of which nothing would be left is
            shown all. Draws from torch's global generator.
    """
    there = torch.stack(list(present.values()), dim=1)  # (b, m)
    fewer = there & (torch.rand(there.shape) < 0.5).to(there.device)
    tossed = (torch.rand(len(there), 1) < share).to(there.device)
    shown = torch.where(tossed & fewer.any(dim=1, keepdim=True), fewer, there)
    return {m: shown[:, i] for i, m in enumerate(present)}
