"""Multiplicative interactions (Jayakumar et al. 2020): one modality's weights hang on another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from triptych.arrays import check_choice
from triptych.errors import ParameterError
from triptych.fusion._labelled import LabelledFusion
from triptych.nn.fusing import DiagonalInteraction, FiLM, GeneralInteraction, InteractionChain
from triptych.nn.parts import Parts
from triptych.nn.recipes import MLP
from triptych.training.settings import Training

FORMS = ("general", "diagonal", "film")


class MultiplicativeFusion(LabelledFusion):
    r"""One code of a main modality x on which the others, z, act by multiplication.

    ==============  ==================================================
    form            what z does to x
    ==============  ==================================================
    ``"general"``   :math:`z^T \mathbb{W} x + U z + V x + b`
    ``"diagonal"``  :math:`(W z + v) \odot x + U z + b`, a gate
    ``"film"``      :math:`(1 + \Delta\gamma(z)) \odot x + \beta(z)`
    ==============  ==================================================

    With more than two modalities the others act one after another, in alphabetical order. Inputs
    of a product are bounded by tanh. An absent z, or x, takes its terms away; what FiLM does then
    is nothing.

    Args:
        n_components: Width d of the code.
        encoders: Recipes or factories by modality name, else the kind's default.
        width: Width of each encoder's output, and of FiLM's hidden layer that reads it; a number,
            or numbers by modality name. The main modality's are d wide for ``"diagonal"`` and
            ``"film"``.
        form: One of the three.
        main: The modality that is x; ``None`` for the first in alphabetical order.
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
        Jayakumar et al. 2020, Multiplicative Interactions and Where to Find Them, ICLR, section 2.
        Perez, Strub, de Vries, Dumoulin, Courville 2018, arXiv:1709.07871, eq. 2.
    """

    def __init__(
        self,
        n_components: int = 64,
        *,
        encoders: Mapping[str, Any] | None = None,
        width: int | Mapping[str, int] = 64,
        form: str = "general",
        main: str | None = None,
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
        self.form = form
        self.main = main

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_choice("form", self.form, FORMS)

    def _main(self, names: tuple[str, ...]) -> str:
        if self.main is not None and self.main not in names:
            raise ParameterError(f"main: {self.main!r} is no modality; there are {list(names)}.")
        return names[0] if self.main is None else self.main

    def _widths(self, names: tuple[str, ...]) -> dict[str, int]:
        widths = super()._widths(names)
        if self.form != "general":
            widths[self._main(names)] = self.n_components
        return widths

    def _fuse(self, widths: Mapping[str, int]) -> nn.Module:
        main, d = self._main(tuple(widths)), self.n_components
        steps: dict[str, nn.Module] = {}
        for m in (name for name in widths if name != main):
            if self.form == "general":
                steps[m] = GeneralInteraction(d if steps else widths[main], widths[m], d)
            elif self.form == "diagonal":
                steps[m] = DiagonalInteraction(widths[m], d)
            else:
                steps[m] = FiLM(widths[m], d, widths[m])
        return InteractionChain(main, Parts(steps))
