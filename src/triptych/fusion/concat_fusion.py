"""Concatenation: features side by side, then layers that read them all."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from triptych.fusion._labelled import LabelledFusion
from triptych.nn.fusing import Concatenation


class ConcatFusion(LabelledFusion):
    r"""One code of all modalities' features put side by side, learnt from labels.

    .. math:: h = g\big([\,f_1(x_1); \dots; f_m(x_m)\,]\big)

    Every f gives the same width after its data were standardised, so no modality outweighs
    another by its size. In the place of an absent modality stands a learnt vector. With linear
    encoders, ``{"image": MLP(depth=0)}``, this is early fusion of the inputs.

    Args:
        n_components: Width d of the code.
        encoders: Recipes or factories by modality name, else the kind's default.
        width: Width of each encoder's output; a number, or numbers by modality name. The hidden
            layer of g has that of the widest.
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
        Ngiam et al. 2011, Multimodal Deep Learning, ICML (dropped modalities).
    """

    def _fuse(self, widths: Mapping[str, int]) -> nn.Module:
        return Concatenation(widths, self.n_components, max(widths.values()))
