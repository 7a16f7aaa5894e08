"""The gated multimodal unit (Arevalo et al. 2017): gates decide, by feature, who speaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from triptych.arrays import check_choice
from triptych.contracts.method import Data
from triptych.errors import ParameterError
from triptych.fusion._labelled import LabelledFusion, shares_told
from triptych.modalities import Modalities
from triptych.nn.fusing import GATE_INPUTS, GatedUnit
from triptych.nn.recipes import MLP
from triptych.training.batches import Batch
from triptych.training.settings import Training


class GatedFusion(LabelledFusion):
    r"""One code whose every feature is a mixture of modalities, by gates that hear them all.

    .. math:: h = z \odot \tanh(W_a x_a) + (1 - z) \odot \tanh(W_b x_b), \qquad
              z = \sigma(W_z [x_a; x_b])

    for two modalities with ``tied`` gates; in general :math:`h = \sum_m z_m \odot \tanh(W_m x_m)`
    with a gate :math:`z_m = \sigma(U_m [x_1; \dots; x_K])` for each, which need not sum to 1.
    Here x is an encoder's output; with ``MLP(depth=0)`` a linear map of the data. Absent
    modalities say nothing to the gates, and the gates of those present are scaled to the sum that
    all would have.

    Args:
        n_components: Width d of the code.
        encoders: Recipes or factories by modality name, else the kind's default.
        width: Width of each encoder's output x; a number, or numbers by modality name.
        gate_input: What gates hear: ``"raw"``, x itself, as in the paper, or ``"projected"``,
            W x before the tanh, as in the authors' code.
        tied: One gate z and 1 - z for two modalities; ``None`` where there are two.
        head: Layers that read the code; ``MLP(depth=0)`` is a linear map.
        dropout: Share of each modality's features left out while training.
        modality_dropout: Share of training rows of which a random non-empty subset of modalities
            is kept; the others keep all that they have.
        task: ``"classification"``, ``"multilabel"``, ``"regression"``, or ``"auto"``.
        training: Epochs, batch size, learning rate, device.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        target_: What there is to predict; ``classes_`` are its classes.
        gate_statistics_: By modality ``"mean"`` and ``"spread"`` (d,) of its gates over the
            training rows that have it, and ``"saturated"``, the share of gates below 0.05 or
            above 0.95. A modality whose gates stay shut plays no part.
        history_: ``"loss"`` and ``"task"``, which are the same.

    ``score`` is the accuracy, for several labels that of whole rows, or R².

    References:
        Arevalo, Solorio, Montes-y-Gómez, González 2017, arXiv:1702.01992, section 3.
    """

    gate_statistics_: dict[str, dict[str, Any]]

    def __init__(
        self,
        n_components: int = 64,
        *,
        encoders: Mapping[str, Any] | None = None,
        width: int | Mapping[str, int] = 64,
        gate_input: str = "raw",
        tied: bool | None = None,
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
        self.gate_input = gate_input
        self.tied = tied

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_choice("gate_input", self.gate_input, GATE_INPUTS)
        if self.tied not in (True, False, None):
            raise ParameterError(f"tied: expected True, False or None, got {self.tied!r}.")

    def _fuse(self, widths: Mapping[str, int]) -> nn.Module:
        tied = len(widths) == 2 if self.tied is None else bool(self.tied)
        if tied and len(widths) != 2:
            raise ParameterError(
                f"tied: z and 1 - z are for two modalities; there are {len(widths)}: "
                f"{list(widths)}."
            )
        return GatedUnit(widths, self.n_components, gate_input=self.gate_input, tied=tied)

    def gates(self, X: Data) -> dict[str, NDArray[np.float32]]:
        """How far the gates of each modality are open in each row.

        Args:
            X: Any of the modalities fitted, n rows.

        Returns:
            By fitted name (n, d), >= 0; 0 where absent.
        """
        self._check_fitted()
        return self._gates(self._gate_transform(X))

    def _gates(self, X: Modalities) -> dict[str, NDArray[np.float32]]:
        network: Any = self.network_

        def opened(batch: Batch) -> dict[str, Any]:
            gates = network.fuse.gates(
                self._features(network, batch), self._present(network, batch)
            )
            return dict(zip(network.fuse.names, gates, strict=True))

        return self._codes(X, opened)

    def _after_training(self, X: Modalities) -> None:
        self.gate_statistics_ = {
            m: shares_told(gates[X.present[m]]) for m, gates in self._gates(X).items()
        }
