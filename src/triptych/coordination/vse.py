"""VSE and VSE++: a partner is nearer than any other row by a margin (Kiros et al. 2014)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from triptych.arrays import check_choice, check_number
from triptych.coordination._contrastive import Contrastive, Network
from triptych.losses.pairs import hinge
from triptych.training.settings import Training

NEGATIVES = ("sum", "hardest")


class VSE(Contrastive):
    r"""Visual-semantic embedding: unit codes by a sum of hinges, both directions.

    .. math:: L = \tfrac{1}{n} \sum_i \sum_{k \ne i} \max(0, m - s_{ii} + s_{ik}) +
              \max(0, m - s_{ii} + s_{ki})

    with s the cosines. The paper sums over rows; the division by n keeps the loss of a smaller
    last batch comparable. ``negatives="hardest"`` is VSE++: of each inner sum only the largest
    term. It collapses easily from a random start, where the hardest negative of all rows is much
    the same, so it begins after ``warm_up`` steps with the sum. Rows of the batch with the same
    content in either modality are no negatives of each other.

    Args:
        n_components: Width d of the shared space.
        encoders: Recipes or factories by modality name, else the kind's default.
        margin: m > 0, in cosines.
        negatives: ``"sum"`` (VSE) or ``"hardest"`` (VSE++).
        warm_up: Steps with the sum before the hardest; without meaning for ``"sum"``.
        anchor: Modality that every other is paired with; ``None`` for all pairs.
        training: Epochs, batch size, learning rate, device, ``micro_batch_size``.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        history_: ``"loss"`` and one term for each pair of modalities. Validation of VSE++ always
            asks for the hardest, so that its epochs compare.

    ``score`` is minus the loss, in batches of the training's size.

    References:
        Kiros, Salakhutdinov and Zemel 2014, arXiv:1411.2539, eq. 10.
        Faghri, Fleet, Kiros and Fidler 2018, arXiv:1707.05612, eq. 6.
    """

    def __init__(
        self,
        n_components: int = 128,
        *,
        encoders: Mapping[str, Any] | None = None,
        margin: float = 0.2,
        negatives: str = "sum",
        warm_up: int = 200,
        anchor: str | None = None,
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.encoders = encoders
        self.margin = margin
        self.negatives = negatives
        self.warm_up = warm_up
        self.anchor = anchor
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("margin", self.margin, low=0, open_low=True)
        check_choice("negatives", self.negatives, NEGATIVES)
        check_number("warm_up", self.warm_up, low=0, integer=True)

    def _build(self, kinds: Any) -> torch.nn.Module:
        network = super()._build(kinds)
        assert isinstance(network, Network)
        # A buffer, so that a fit that goes on from a checkpoint knows how far it was.
        network.register_buffer("steps", torch.zeros((), dtype=torch.long))
        return network

    def _after_step(self, network: Any) -> None:
        network.steps += 1

    def _pair(
        self, network: Any, za: Tensor, zb: Tensor, ids_a: Tensor | None, ids_b: Tensor | None
    ) -> Tensor:
        warm = not network.training or int(network.steps) >= self.warm_up
        hardest = self.negatives == "hardest" and warm
        loss = hinge(za, zb, margin=self.margin, hardest=hardest, ids_a=ids_a, ids_b=ids_b)
        return loss / len(za)
