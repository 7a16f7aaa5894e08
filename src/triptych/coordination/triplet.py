"""Triplet: a row is nearer to its partner than to other rows by a margin (Schroff et al. 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from triptych.arrays import check_choice, check_number
from triptych.coordination._contrastive import Contrastive
from triptych.losses.pairs import MINING, triplet
from triptych.training.settings import Training


class Triplet(Contrastive):
    r"""Unit codes by triplets of a row, its partner, and another row of the partner's modality.

    .. math:: L = \operatorname{mean}_{i,k} \max(0, m + D_{ii} - D_{ik})

    over both directions, with D the Euclidean distance on the unit sphere. Rows of the batch with
    the same content in either modality are no negatives of each other. From a random start the
    hardest negatives can collapse all codes into one point, where the loss is m, so that mining
    begins after ``warm_up`` steps with all triplets.

    Args:
        n_components: Width d of the shared space.
        encoders: Recipes or factories by modality name, else the kind's default.
        margin: m > 0, a distance.
        mining: ``"all"`` triplets that cost something, the ``"semihard"`` among them, whose
            negative is farther than the partner, or the ``"hardest"`` of each row.
        warm_up: Steps with all triplets before the hardest.
        anchor: Modality that every other is paired with; ``None`` for all pairs.
        training: Epochs, batch size, learning rate, device, ``micro_batch_size``.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        history_: ``"loss"`` and one term for each pair of modalities.

    ``score`` is minus the loss, in batches of the training's size.

    References:
        Schroff, Kalenichenko and Philbin 2015, arXiv:1503.03832.
        Hermans, Beyer and Leibe 2017, arXiv:1703.07737.
    """

    def __init__(
        self,
        n_components: int = 128,
        *,
        encoders: Mapping[str, Any] | None = None,
        margin: float = 0.2,
        mining: str = "all",
        warm_up: int = 200,
        anchor: str | None = None,
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.encoders = encoders
        self.margin = margin
        self.mining = mining
        self.warm_up = warm_up
        self.anchor = anchor
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("margin", self.margin, low=0, open_low=True)
        check_choice("mining", self.mining, MINING)
        check_number("warm_up", self.warm_up, low=0, integer=True)

    def _build(self, kinds: Any) -> torch.nn.Module:
        network = super()._build(kinds)
        # A buffer, so that a fit that goes on from a checkpoint knows how far it was.
        network.register_buffer("steps", torch.zeros((), dtype=torch.long))
        return network

    def _after_step(self, network: Any) -> None:
        network.steps += 1

    def _pair(
        self, network: Any, za: Tensor, zb: Tensor, ids_a: Tensor | None, ids_b: Tensor | None
    ) -> Tensor:
        cold = network.training and int(network.steps) < self.warm_up
        mining = "all" if cold and self.mining == "hardest" else self.mining
        return triplet(za, zb, margin=self.margin, mining=mining, ids_a=ids_a, ids_b=ids_b)
