"""Distance autoencoders: codes near each other instead of correlated (Wang et al. 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from triptych.arrays import check_choice
from triptych.contracts.method import Capabilities, Coordination
from triptych.coordination._rebuilding import RebuildingCodes
from triptych.modalities import Kind, Modalities
from triptych.nn.parts import Parts
from triptych.training.settings import Training

FORMS = ("relative", "affine")


class DistAE(RebuildingCodes, Coordination):
    r"""Autoencoders whose codes of a row lie close together.

    .. math:: L = \frac{1}{n} \sum_i \delta_i + \lambda \sum_m \ell_m, \qquad
        \delta = \frac{\lVert f - g \rVert^2}{\lVert f \rVert^2 + \lVert g \rVert^2}
        \quad\text{or}\quad \lVert f - A g - b \rVert^2

    ``form="relative"`` is the paper's DistAE-1, ``"affine"`` its DistAE-2 with A and b learnt. In
    the affine form f is the modality that comes first in the alphabet. With more than two
    modalities the first term is the mean over pairs.

    Args:
        n_components: Width d of each modality's code.
        form: ``"relative"`` or ``"affine"``.
        reconstruction: Weight lambda >= 0 of the errors, means over standardised columns; at 0
            the affine form collapses to constant codes.
        reconstruction_batch_size: Rows of the errors' batches; ``None`` for the same batch.
        encoders: Recipes or factories by modality name, else the kind's default.
        decoders: Decoder recipes by name, else the kind's default (vectors, images, texts).
        training: Epochs, batch size, learning rate, device.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        history_: ``"agreement"`` (the mean distance) and each modality's error.

    ``transform`` gives the network's codes; in the affine form f and g live in spaces of their
    own, between which A and b lead. ``score`` is minus the loss.

    References:
        Wang, Arora, Livescu, Bilmes 2015, ICML, section 3 (DistAE).
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        kinds=("vector", "image", "text"),
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
        reconstructs=True,
        distributes=True,
    )

    def __init__(
        self,
        n_components: int = 10,
        *,
        form: str = "relative",
        reconstruction: float = 1.0,
        reconstruction_batch_size: int | None = None,
        encoders: Mapping[str, Any] | None = None,
        decoders: Mapping[str, Any] | None = None,
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.form = form
        self.reconstruction = reconstruction
        self.reconstruction_batch_size = reconstruction_batch_size
        self.encoders = encoders
        self.decoders = decoders
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_choice("form", self.form, FORMS)

    def _links(self, kinds: Mapping[str, Kind]) -> nn.Module | None:
        if self.form == "relative":
            return None

        def identity() -> nn.Module:
            link = nn.Linear(self.n_components, self.n_components)
            nn.init.eye_(link.weight)
            nn.init.zeros_(link.bias)
            return link

        pairs = [f"{a}:{b}" for a, b in combinations(sorted(kinds), 2)]
        return Parts({pair: self._seeded(f"link:{pair}", identity) for pair in pairs})

    def _agreement(
        self, network: Any, codes: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Tensor:
        found = []
        for a, b in combinations(codes, 2):
            rows = present[a] & present[b]
            f, g = codes[a].float(), codes[b].float()
            if network.links is not None:
                gaps = (f - network.links[f"{a}:{b}"](g)).square().sum(1)
            else:
                # Two zero codes are at distance 0 and not at 0 / 0.
                size = (f.square().sum(1) + g.square().sum(1)).clamp_min(1e-12)
                gaps = (f - g).square().sum(1) / size
            found.append((gaps * rows).sum() / rows.sum().clamp_min(1))
        return torch.stack(found).mean()

    def _transform(self, X: Modalities) -> Modalities:
        return self._parts(X, lambda batch: self._encode(self.network_, batch))
