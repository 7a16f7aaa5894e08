"""SigLIP: every pair of rows by itself is a match or none (Zhai et al. 2023)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from triptych.arrays import check_number
from triptych.coordination._contrastive import LARGEST_SCALE, Tempered
from triptych.losses.pairs import sigmoid
from triptych.training.settings import Training


class SigLIP(Tempered):
    r"""Unit codes of all modalities in one space, by a sigmoid for every pair of rows.

    .. math:: L = -\tfrac{1}{n} \sum_{ij} \log \sigma(y_{ij} (s\, u_i \cdot v_j + b))

    with y = 1 for partners and -1 else, a learnt scale s of at most 100 and a learnt bias b. Rows
    of the batch that hold the same content in either modality are positives of each other.

    Args:
        n_components: Width d of the shared space.
        encoders: Recipes or factories by modality name, else the kind's default.
        temperature: Where 1 / s starts, in [0.01, 1].
        bias: Where b starts; about minus the log of the batch size balances matches and others.
        anchor: Modality that every other is paired with; ``None`` for all pairs.
        training: Epochs, batch size, learning rate, device, ``micro_batch_size``.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        history_: ``"loss"``, one term for each pair of modalities, ``"scale"`` and ``"bias"``.
        temperature_: 1 / s as learnt.
        bias_: b as learnt.

    ``score`` is minus the loss, in batches of the training's size.

    References:
        Zhai et al. 2023, arXiv:2303.15343.
    """

    def __init__(
        self,
        n_components: int = 128,
        *,
        encoders: Mapping[str, Any] | None = None,
        temperature: float = 0.1,
        bias: float = -10.0,
        anchor: str | None = None,
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.encoders = encoders
        self.temperature = temperature
        self.bias = bias
        self.anchor = anchor
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("temperature", self.temperature, low=1 / LARGEST_SCALE, high=1)
        check_number("bias", self.bias)

    def _numbers(self) -> dict[str, float]:
        return {**super()._numbers(), "bias": self.bias}

    def _shown(self, network: Any) -> dict[str, Tensor]:
        return {**super()._shown(network), "bias": network.bias.detach()}

    def _after_training(self, X: Any) -> None:
        super()._after_training(X)
        self.bias_ = float(self.network_.bias.detach())  # type: ignore[operator]

    def _pair(
        self, network: Any, za: Tensor, zb: Tensor, ids_a: Tensor | None, ids_b: Tensor | None
    ) -> Tensor:
        temperature = (-network.log_scale).exp()
        return sigmoid(
            za, zb, temperature=temperature, bias=network.bias, ids_a=ids_a, ids_b=ids_b
        )
