"""BarlowTwins: the cross-correlation of codes should be the identity (Zbontar et al. 2021)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from triptych.arrays import check_number
from triptych.coordination._contrastive import PairLoss
from triptych.losses.redundancy import barlow_twins
from triptych.training.settings import Training


class BarlowTwins(PairLoss):
    r"""Codes that correlate dimension by dimension across modalities, and not otherwise.

    .. math:: L = \sum_k (1 - C_{kk})^2 + \lambda \sum_{k \ne l} C_{kl}^2

    with C the correlations over the whole batch between the codes of two modalities. There are
    no negatives. The loss reads the codes themselves, not a projection that is thrown away.

    Args:
        n_components: Width d of the codes.
        encoders: Recipes or factories by modality name, else the kind's default.
        redundancy_weight: lambda > 0.
        anchor: Modality that every other is paired with; ``None`` for all pairs.
        training: Epochs, batch size, learning rate, device, ``micro_batch_size``.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        history_: ``"loss"`` and one term for each pair of modalities.

    ``score`` is minus the loss, in batches of the training's size.

    References:
        Zbontar et al. 2021, arXiv:2103.03230 (two views of one picture there).
    """

    _on_sphere = False

    def __init__(
        self,
        n_components: int = 128,
        *,
        encoders: Mapping[str, Any] | None = None,
        redundancy_weight: float = 5e-3,
        anchor: str | None = None,
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.encoders = encoders
        self.redundancy_weight = redundancy_weight
        self.anchor = anchor
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("redundancy_weight", self.redundancy_weight, low=0, open_low=True)

    def _pair(
        self, network: Any, za: Tensor, zb: Tensor, ids_a: Tensor | None, ids_b: Tensor | None
    ) -> Tensor:
        return barlow_twins(za, zb, weight=self.redundancy_weight)
