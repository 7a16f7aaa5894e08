"""CLIP: one encoder per modality, trained so that partners are nearest (Radford et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from triptych.arrays import check_number
from triptych.coordination._contrastive import LARGEST_SCALE, Tempered
from triptych.losses.contrastive import info_nce
from triptych.training.settings import Training


class CLIP(Tempered):
    r"""Unit codes of all modalities in one space, by symmetric InfoNCE over the whole batch.

    .. math:: L = \tfrac{1}{2}\left[\mathrm{CE}(s\,U V^T, \mathrm{partners}) +
              \mathrm{CE}(s\,V U^T, \mathrm{partners})\right]

    with unit rows U, V and a learnt scale s = 1 / temperature, at most 100. Rows of the batch that
    hold the same content in either modality are all positives of each other. With more than two
    modalities the loss is the mean over pairs; a row counts in the pairs that it has.

    Args:
        n_components: Width d of the shared space.
        encoders: Recipes or factories by modality name, else the kind's default.
        temperature: Where the learnt temperature starts, in [0.01, 1].
        anchor: Modality that every other is paired with; ``None`` for all pairs.
        training: Epochs, batch size, learning rate, device; ``micro_batch_size`` keeps the
            encoders' memory small at any batch size.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        history_: ``"loss"``; for each pair of modalities a and b the terms ``"a~b"``,
            ``"a~b:information_lower_bound"`` = log n - L, a lower bound on I(A; B) in nats in
            expectation, and its cap log n, ``"a~b:information_cap"``; and ``"scale"``.
        temperature_: The temperature learnt.

    ``score`` is minus the loss, in batches of the training's size.

    References:
        Radford et al. 2021, arXiv:2103.00020.
    """

    _bounds_information = True

    def __init__(
        self,
        n_components: int = 128,
        *,
        encoders: Mapping[str, Any] | None = None,
        temperature: float = 0.07,
        anchor: str | None = None,
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.encoders = encoders
        self.temperature = temperature
        self.anchor = anchor
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("temperature", self.temperature, low=1 / LARGEST_SCALE, high=1)

    def _pair(
        self, network: Any, za: Tensor, zb: Tensor, ids_a: Tensor | None, ids_b: Tensor | None
    ) -> Tensor:
        temperature = (-network.log_scale).exp()
        return info_nce(za, zb, temperature=temperature, ids_a=ids_a, ids_b=ids_b)
