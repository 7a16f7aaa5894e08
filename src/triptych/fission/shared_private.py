"""Shared and private codes: agreement, separation, reconstruction."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.arrays import check_number
from triptych.contracts.decoding import DecodingMethod
from triptych.contracts.method import Capabilities, Fission
from triptych.losses.contrastive import info_nce
from triptych.losses.divergence import decorrelation
from triptych.losses.gather import gather
from triptych.modalities import SHARED, Kind, Modalities
from triptych.nn.parts import Parts
from triptych.training.batches import Batch
from triptych.training.settings import Training

TEMPERATURE = 0.07


class _Network(nn.Module):
    def __init__(
        self, encoders: Parts, shared: Parts, private: Parts, decoders: Parts, width: int
    ) -> None:
        super().__init__()
        self.encoders, self.shared, self.private = encoders, shared, private
        self.decoders, self.private_width = decoders, width


class SharedPrivate(DecodingMethod, Fission):
    r"""For each modality a shared code s_m, which its partners have too, and a private code p_m.

    .. math:: L = \alpha \sum_{a<b} \mathrm{InfoNCE}(s_a, s_b)
              + \beta \sum_m \lVert \mathrm{corr}(S_m, P_m) \rVert_F^2
              + \gamma \sum_m \ell_m\big(x_m, D_m(s_{m' \neq m}, p_m)\big)

    *Agreement* asks partners for the same shared code, sample by sample. *Separation* makes
    shared and private codes uncorrelated over the batch, column by column.
    *Reconstruction* needs both parts; the shared part that a decoder reads is taken from another
    modality of the row, so that what only one modality knows has no place in it.

    Args:
        n_components: Width d of the shared code.
        n_private: Width of each private code.
        encoders: Recipes or factories by modality name, else the kind's default.
        decoders: Decoder recipes by name, else the kind's default (vectors, images, texts).
        width: Width of each encoder's output.
        agreement: Weight alpha.
        separation: Weight beta.
        reconstruction: Weight gamma.
        training: Epochs, batch size, learning rate, device.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        parts_: ``("shared", *names)``.
        history_: ``"loss"``, ``"agreement"``, ``"separation"`` and the error of each modality.

    ``transform`` gives ``"shared"``, the mean of the shared codes of the modalities present, at
    unit length, and a private code for each modality given. ``reconstruct`` reads a private code
    of zeros, which stands for "unknown", where a modality is absent. ``score`` is minus the loss.

    References:
        Bousmalis et al. 2016, Domain Separation Networks, NeurIPS (the three terms).
        Hazarika et al. 2020, MISA, ACM Multimedia (centred separation). Both hold lengths
        constant in the gradient, which lets codes shrink; correlations are used here instead.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        kinds=("vector", "image", "text"),
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
        reconstructs=True,
        distributes=True,
    )
    _needs_content = True
    # Share of rows whose private code is withheld from the decoder in training, so that it
    # learns what "unknown" means.
    _withheld = 0.2

    def __init__(
        self,
        n_components: int = 64,
        *,
        n_private: int = 32,
        encoders: Mapping[str, Any] | None = None,
        decoders: Mapping[str, Any] | None = None,
        width: int = 256,
        agreement: float = 1.0,
        separation: float = 1.0,
        reconstruction: float = 1.0,
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.n_private = n_private
        self.encoders = encoders
        self.decoders = decoders
        self.width = width
        self.agreement = agreement
        self.separation = separation
        self.reconstruction = reconstruction
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("n_private", self.n_private, low=1, integer=True)
        check_number("width", self.width, low=1, integer=True)
        for name in ("agreement", "separation", "reconstruction"):
            check_number(name, getattr(self, name), low=0)

    def _build(self, kinds: Mapping[str, Kind]) -> nn.Module:
        def heads(part: str, width: int) -> Parts:
            return Parts(
                {
                    m: self._seeded(f"{part}:{m}", lambda: nn.Linear(self.width, width))
                    for m in kinds
                }
            )

        return _Network(
            self._encoder_parts(kinds, self.width),
            heads("shared", self.n_components),
            heads("private", self.n_private),
            self._decoder_parts(kinds, self.n_components + self.n_private),
            self.n_private,
        )

    def _fit(self, X: Modalities, y: Any, validation: Any) -> None:
        self.parts_ = (SHARED, *X.names)
        super()._fit(X, y, validation)

    def _split(self, network: Any, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Shared codes of unit length and private codes, by modality."""
        shared, private = {}, {}
        for m in batch.names:
            h = F.gelu(network.encoders[m](batch.values[m], batch.lengths.get(m)).float())
            shared[m] = F.normalize(network.shared[m](h), dim=1)
            private[m] = network.private[m](h)
        return shared, private

    def _terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        shared, private = self._split(network, batch)
        agreement = self._agreement(shared, batch)
        apart = [
            decorrelation(gather(shared[m])[rows], gather(private[m])[rows])
            for m in batch.names
            if int((rows := gather(batch.present[m])).sum()) > 1
        ]
        separation = torch.stack(apart).mean() if apart else agreement * 0
        kept = (torch.rand(len(batch), 1) >= self._withheld).to(batch.rows.device)
        codes = {
            m: torch.cat([self._of_others(m, shared, batch), private[m] * kept], dim=1)
            for m in batch.names
        }
        errors = self._rebuilding(network, codes, batch)
        loss = (
            self.agreement * agreement
            + self.separation * separation
            + self.reconstruction * torch.stack(list(errors.values())).sum()
        )
        return {"loss": loss, "agreement": agreement, "separation": separation, **errors}

    def _agreement(self, shared: Mapping[str, Tensor], batch: Batch) -> Tensor:
        codes = {m: gather(s) for m, s in shared.items()}
        present = {m: gather(mask) for m, mask in batch.present.items()}
        content = {m: gather(ids) for m, ids in batch.content.items()}
        pairs = []
        for a, b in combinations(codes, 2):
            rows = present[a] & present[b]
            if int(rows.sum()) < 2:
                pairs.append((codes[a].sum() + codes[b].sum()) * 0.0)
                continue
            pairs.append(
                info_nce(
                    codes[a][rows],
                    codes[b][rows],
                    temperature=TEMPERATURE,
                    ids_a=content[a][rows],
                    ids_b=content[b][rows],
                )
            )
        return torch.stack(pairs).mean()

    def _of_others(self, name: str, shared: Mapping[str, Tensor], batch: Batch) -> Tensor:
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

    def _mean_shared(self, shared: Mapping[str, Tensor], batch: Batch) -> Tensor:
        total = torch.stack([s * batch.present[m][:, None] for m, s in shared.items()]).sum(dim=0)
        return F.normalize(total, dim=1)

    def _decoder_codes(self, network: Any, batch: Batch) -> Mapping[str, Tensor]:
        shared, private = self._split(network, batch)
        common = self._mean_shared(shared, batch)
        nothing = torch.zeros(len(batch), network.private_width, device=common.device)
        known = {m: p * batch.present[m][:, None] for m, p in private.items()}
        return {m: torch.cat([common, known.get(m, nothing)], dim=1) for m in self.names_in_}

    def _transform(self, X: Modalities) -> Modalities:
        def parts(batch: Batch) -> dict[str, Tensor]:
            shared, private = self._split(self.network_, batch)
            return {SHARED: self._mean_shared(shared, batch), **private}

        return self._parts(X, parts, (SHARED, *X.names))
