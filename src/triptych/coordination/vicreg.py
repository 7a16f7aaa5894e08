"""VICReg: invariance, variance and covariance across modalities (Bardes et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from triptych.arrays import check_number
from triptych.coordination._contrastive import PairLoss
from triptych.losses.redundancy import vicreg
from triptych.training.settings import Training


class VICReg(PairLoss):
    r"""Codes of partners near, with spread in every dimension and none that repeats another.

    .. math:: L = \lambda s(A, B) + \mu [v(A) + v(B)] + \nu [c(A) + c(B)]

    with s the mean squared difference of partners, v the shortfall of standard deviations below
    1, and c the squared covariances between dimensions, over the whole batch. There are no
    negatives. The loss reads the codes themselves, not a projection that is thrown away.

    Args:
        n_components: Width d of the codes.
        encoders: Recipes or factories by modality name, else the kind's default.
        invariance_weight: lambda >= 0.
        variance_weight: mu >= 0; at 0 codes may collapse.
        covariance_weight: nu >= 0.
        anchor: Modality that every other is paired with; ``None`` for all pairs.
        training: Epochs, batch size, learning rate, device, ``micro_batch_size``.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        history_: ``"loss"`` and one term for each pair of modalities.

    ``score`` is minus the loss, in batches of the training's size.

    References:
        Bardes, Ponce and LeCun 2022, arXiv:2105.04906.
    """

    _on_sphere = False

    def __init__(
        self,
        n_components: int = 128,
        *,
        encoders: Mapping[str, Any] | None = None,
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 1.0,
        anchor: str | None = None,
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.encoders = encoders
        self.invariance_weight = invariance_weight
        self.variance_weight = variance_weight
        self.covariance_weight = covariance_weight
        self.anchor = anchor
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("invariance_weight", self.invariance_weight, low=0)
        check_number("variance_weight", self.variance_weight, low=0)
        check_number("covariance_weight", self.covariance_weight, low=0)

    def _pair(
        self, network: Any, za: Tensor, zb: Tensor, ids_a: Tensor | None, ids_b: Tensor | None
    ) -> Tensor:
        return vicreg(
            za,
            zb,
            invariance_weight=self.invariance_weight,
            variance_weight=self.variance_weight,
            covariance_weight=self.covariance_weight,
        )
