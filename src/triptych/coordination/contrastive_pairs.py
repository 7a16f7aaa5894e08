"""ContrastivePairs: matches near, all other pairs a margin apart (Hadsell et al. 2006)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from triptych.arrays import check_number
from triptych.coordination._contrastive import Contrastive
from triptych.losses.pairs import contrastive_pairs
from triptych.training.settings import Training


class ContrastivePairs(Contrastive):
    r"""Unit codes by the contrastive loss of matching and other pairs of rows.

    .. math:: L = \operatorname{mean}_{\text{matches}} \tfrac{1}{2} D^2 +
              \operatorname{mean}_{\text{others}} \tfrac{1}{2} \max(0, m - D)^2

    with D the Euclidean distance on the unit sphere. Matches are partners and rows of the batch
    with the same content in either modality; all other pairs of the batch are the rest.

    Args:
        n_components: Width d of the shared space.
        encoders: Recipes or factories by modality name, else the kind's default.
        margin: m in (0, 2], a distance.
        anchor: Modality that every other is paired with; ``None`` for all pairs.
        training: Epochs, batch size, learning rate, device, ``micro_batch_size``.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        history_: ``"loss"`` and one term for each pair of modalities.

    ``score`` is minus the loss, in batches of the training's size.

    References:
        Hadsell, Chopra and LeCun 2006, "Dimensionality reduction by learning an invariant
        mapping", eq. 4.
    """

    def __init__(
        self,
        n_components: int = 128,
        *,
        encoders: Mapping[str, Any] | None = None,
        margin: float = 1.0,
        anchor: str | None = None,
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.encoders = encoders
        self.margin = margin
        self.anchor = anchor
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("margin", self.margin, low=0, high=2, open_low=True)

    def _pair(
        self, network: Any, za: Tensor, zb: Tensor, ids_a: Tensor | None, ids_b: Tensor | None
    ) -> Tensor:
        return contrastive_pairs(za, zb, margin=self.margin, ids_a=ids_a, ids_b=ids_b)
