"""Low-rank fusion (Liu et al. 2018): tensor fusion without the tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from triptych.arrays import check_number
from triptych.fusion._labelled import LabelledFusion
from triptych.nn.fusing import LowRankProduct
from triptych.nn.recipes import MLP
from triptych.training.batches import Batch
from triptych.training.settings import Training


class LowRankFusion(LabelledFusion):
    r"""One code, a sum of R products over modalities of linear maps of their features.

    .. math:: h = \sum_{r=1}^R \prod_m W_m^{(r)} [1; h_m] + b

    It equals :class:`~triptych.fusion.TensorFusion` whose weights have rank R at most, for a cost
    that grows with the sum of the widths and not with their product. An absent modality enters as
    [1; 0], which takes just the products with it away.

    Args:
        n_components: Width d of the code.
        encoders: Recipes or factories by modality name, else the kind's default.
        width: Width of each encoder's output, rectified before it is multiplied; a number, or
            numbers by modality name.
        rank: R.
        head: Layers that read the code; ``MLP(depth=0)`` is a linear map.
        dropout: Share of each modality's features left out while training.
        modality_dropout: Share of training rows of which a random non-empty subset of modalities
            is kept; the others keep all that they have.
        task: ``"classification"``, ``"multilabel"``, ``"regression"``, or ``"auto"``.
        training: Epochs, batch size, learning rate, device.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        target_: What there is to predict; ``classes_`` are its classes.
        history_: ``"loss"`` and ``"task"``, which are the same.

    ``score`` is the accuracy, for several labels that of whole rows, or R².

    References:
        Liu, Shen, Lakshminarasimhan, Liang, Zadeh, Morency 2018, arXiv:1806.00064, eq. 6. The sum
        is plain, as there; the authors' code weighs its terms, which the factors do as well.
    """

    def __init__(
        self,
        n_components: int = 64,
        *,
        encoders: Mapping[str, Any] | None = None,
        width: int | Mapping[str, int] = 64,
        rank: int = 4,
        head: MLP = MLP(depth=0),
        dropout: float = 0.0,
        modality_dropout: float = 0.25,
        task: str = "auto",
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        super().__init__(
            n_components,
            encoders=encoders,
            width=width,
            head=head,
            dropout=dropout,
            modality_dropout=modality_dropout,
            task=task,
            training=training,
            random_state=random_state,
        )
        self.rank = rank

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("rank", self.rank, low=1, integer=True)

    def _fuse(self, widths: Mapping[str, int]) -> nn.Module:
        return LowRankProduct(widths, self.n_components, self.rank)

    def _features(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        return {m: F.relu(h) for m, h in super()._features(network, batch).items()}
