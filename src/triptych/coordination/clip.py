"""CLIP: one encoder per modality, trained so that partners are nearest (Radford et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.arrays import check_number
from triptych.contracts.deep import DeepMethod
from triptych.contracts.method import Capabilities, Coordination
from triptych.losses.contrastive import info_nce
from triptych.losses.gather import gather
from triptych.modalities import Kind, Modalities, make_parts
from triptych.nn.parts import Parts
from triptych.training.batches import Batch
from triptych.training.loop import Phase, Stream
from triptych.training.settings import Training

LARGEST_SCALE = 100.0


class _Network(nn.Module):
    def __init__(self, encoders: Parts, temperature: float) -> None:
        super().__init__()
        self.encoders = encoders
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature)))


class CLIP(DeepMethod, Coordination):
    r"""Unit codes of all modalities in one space, by symmetric InfoNCE over the whole batch.

    .. math:: L = \tfrac{1}{2}\left[\mathrm{CE}(s\,U V^T, \mathrm{partners}) +
              \mathrm{CE}(s\,V U^T, \mathrm{partners})\right]

    with unit rows U, V and a learnt scale s = 1 / temperature, at most 100. Rows of the batch that
    hold the same content in either modality are all positives of each other. With more than two
    modalities the loss is the mean over pairs; a row counts in the pairs that it has.

    Args:
        n_components: Width d of the shared space.
        encoders: Recipes or factories by modality name, else the kind's default.
        temperature: Where the learnt temperature starts, in (0, 1].
        training: Epochs, batch size, learning rate, device; ``micro_batch_size`` keeps the
            encoders' memory small at any batch size.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        history_: ``"loss"``, one term for each pair of modalities, and ``"scale"``.
        temperature_: The temperature learnt.

    ``score`` is minus the loss, in batches of the training's size.

    References:
        Radford et al. 2021, arXiv:2103.00020.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
        distributes=True,
    )
    _needs_content = True

    def __init__(
        self,
        n_components: int = 128,
        *,
        encoders: Mapping[str, Any] | None = None,
        temperature: float = 0.07,
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.encoders = encoders
        self.temperature = temperature
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("temperature", self.temperature, low=1 / LARGEST_SCALE, high=1)

    def _build(self, kinds: Mapping[str, Kind]) -> nn.Module:
        return _Network(self._encoder_parts(kinds, self.n_components), self.temperature)

    def _encode(self, network: _Network, batch: Batch) -> dict[str, Tensor]:
        return {
            m: F.normalize(network.encoders[m](batch.values[m], batch.lengths.get(m)), dim=1)
            for m in batch.names
        }

    def _terms_of(
        self, network: _Network, codes: Mapping[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        codes = {m: gather(z) for m, z in codes.items()}
        present = {m: gather(mask) for m, mask in batch.present.items()}
        content = {m: gather(ids) for m, ids in batch.content.items()}
        scale = network.log_scale.exp()
        terms = {}
        for a, b in combinations(codes, 2):
            both = present[a] & present[b]
            count = int(both.sum())
            if count < 2:
                # Nothing to tell apart; the sum keeps every parameter in the graph.
                terms[f"{a}~{b}"] = (codes[a].sum() + codes[b].sum() + scale) * 0.0
                continue
            # A slice is a view; taking rows by mask costs a copy there and one back.
            rows = slice(None) if count == len(both) else both
            ids = {m: content[m][rows] if content else None for m in (a, b)}
            terms[f"{a}~{b}"] = info_nce(
                codes[a][rows], codes[b][rows], temperature=1 / scale, ids_a=ids[a], ids_b=ids[b]
            )
        loss = torch.stack(list(terms.values())).mean()
        return {"loss": loss, **terms, "scale": scale.detach()}

    def _terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        return self._terms_of(network, self._encode(network, batch), batch)

    def _phases(self, network: Any) -> tuple[Phase, ...]:
        stream = Stream(
            terms=lambda batch: self._terms(network, batch),
            encode=lambda batch: self._encode(network, batch),
            terms_of=lambda codes, batch: self._terms_of(network, codes, batch),
        )
        return (Phase("all", (stream,)),)

    def _after_step(self, network: Any) -> None:
        with torch.no_grad():
            network.log_scale.clamp_(max=math.log(LARGEST_SCALE))

    def _after_training(self, X: Modalities) -> None:
        self.temperature_ = float(torch.exp(-self.network_.log_scale.detach()))  # type: ignore[operator]

    def _transform(self, X: Modalities) -> Modalities:
        codes = self._codes(X, lambda batch: self._encode(self.network_, batch))  # type: ignore[arg-type]
        for name, mask in X.present.items():
            codes[name][~mask] = 0
        return make_parts({m: codes[m] for m in X.names}, X.present)
