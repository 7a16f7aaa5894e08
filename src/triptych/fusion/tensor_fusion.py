"""Tensor fusion (Zadeh et al. 2017): all products of all modalities' features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from triptych.arrays import check_number
from triptych.errors import ParameterError
from triptych.fusion._labelled import LabelledFusion
from triptych.nn.fusing import OuterProduct, outer_size
from triptych.nn.recipes import MLP
from triptych.training.batches import Batch
from triptych.training.settings import Training


class TensorFusion(LabelledFusion):
    r"""One code from every product of one feature of each modality, and of fewer.

    .. math:: h = W \,\mathrm{vec}\big([1; h_1] \otimes \dots \otimes [1; h_m]\big) + b

    The ones keep what each modality says alone and what any fewer say together; an absent one
    takes just the products with it away. The products are (width + 1) multiplied over modalities,
    which is refused above ``limit``: :class:`~triptych.fusion.LowRankFusion` is the way there.

    Args:
        n_components: Width d of the code.
        encoders: Recipes or factories by modality name, else the kind's default.
        width: Width of each encoder's output, rectified before it is multiplied; a number, or
            numbers by modality name.
        limit: Most products. The paper's have 33 * 33 * 129 = 140,481.
        product_dropout: Share of products left out while training.
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
        Zadeh, Chen, Poria, Cambria, Morency 2017, arXiv:1707.07250, eq. 3 to 5. Outputs are not
        squeezed into the range of one data set's labels here.
    """

    def __init__(
        self,
        n_components: int = 64,
        *,
        encoders: Mapping[str, Any] | None = None,
        width: int | Mapping[str, int] = 32,
        limit: int = 200_000,
        product_dropout: float = 0.0,
        head: MLP = MLP(width=128, depth=1),
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
        self.limit = limit
        self.product_dropout = product_dropout

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("limit", self.limit, low=1, integer=True)
        check_number("product_dropout", self.product_dropout, low=0, high=0.99)

    def _widths(self, names: tuple[str, ...]) -> dict[str, int]:
        widths = super()._widths(names)
        size = outer_size(widths)
        if size > self.limit:
            told = " * ".join(str(w + 1) for w in widths.values())
            raise ParameterError(
                f"width: the products of {list(widths)} are {told} = {size}, above limit = "
                f"{self.limit}. Take smaller widths, a larger limit, or LowRankFusion."
            )
        return widths

    def _fuse(self, widths: Mapping[str, int]) -> nn.Module:
        return OuterProduct(widths, self.n_components, self.product_dropout)

    def _features(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        return {m: F.relu(h) for m, h in super()._features(network, batch).items()}
