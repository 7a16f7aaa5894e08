"""Attention over modalities: a weighted mean of their features, with weights for each row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from triptych.arrays import check_choice
from triptych.contracts.method import Data
from triptych.fusion._labelled import LabelledFusion, shares_told
from triptych.modalities import Modalities
from triptych.nn.fusing import SCORES, ModalityAttention
from triptych.nn.recipes import MLP
from triptych.training.settings import Training


class AttentionFusion(LabelledFusion):
    r"""One code, the mean of modalities' features weighted anew for each row by attention.

    .. math:: h = \sum_m \alpha_m h_m, \qquad
              \alpha = \mathrm{softmax}_m\, w^T \tanh(V h_m) \quad\text{or}\quad
              \mathrm{softmax}_m\, q^T K h_m / \sqrt d

    The softmax is over the modalities that a row has; a row with one alone is that one's
    features.

    Args:
        n_components: Width d of every encoder's output, and of the code.
        encoders: Recipes or factories by modality name, else the kind's default.
        attention: ``"additive"``, the first of the two, or ``"dot"``.
        head: Layers that read the code; ``MLP(depth=0)`` is a linear map.
        dropout: Share of each modality's features left out while training.
        modality_dropout: Share of training rows of which a random non-empty subset of modalities
            is kept; the others keep all that they have.
        task: ``"classification"``, ``"multilabel"``, ``"regression"``, or ``"auto"``.
        training: Epochs, batch size, learning rate, device.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        target_: What there is to predict; ``classes_`` are its classes.
        gate_statistics_: By modality ``"mean"`` and ``"spread"`` (1,) of its share over the
            training rows that have it, and ``"saturated"``, the share of rows in which it is
            below 0.05 or above 0.95.
        history_: ``"loss"`` and ``"task"``, which are the same.

    ``score`` is the accuracy, for several labels that of whole rows, or R².

    References:
        Bahdanau, Cho, Bengio 2015, arXiv:1409.0473 (additive); Vaswani et al. 2017,
        arXiv:1706.03762 (dot). Over modalities instead of steps, with one learnt query.
    """

    gate_statistics_: dict[str, dict[str, Any]]

    def __init__(
        self,
        n_components: int = 64,
        *,
        encoders: Mapping[str, Any] | None = None,
        attention: str = "additive",
        head: MLP = MLP(depth=0),
        dropout: float = 0.0,
        modality_dropout: float = 0.25,
        task: str = "auto",
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.encoders = encoders
        self.attention = attention
        self.head = head
        self.dropout = dropout
        self.modality_dropout = modality_dropout
        self.task = task
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_choice("attention", self.attention, SCORES)

    def _widths(self, names: tuple[str, ...]) -> dict[str, int]:
        return dict.fromkeys(names, self.n_components)

    def _fuse(self, widths: Mapping[str, int]) -> nn.Module:
        return ModalityAttention(tuple(widths), self.n_components, self.attention)

    def shares(self, X: Data) -> dict[str, NDArray[np.float32]]:
        """How much attention each modality gets in each row.

        Args:
            X: Any of the modalities fitted, n rows.

        Returns:
            By fitted name (n,), in [0, 1], 0 where absent; the shares of a row sum to 1.
        """
        self._check_fitted()
        found = self._shares(self._gate_transform(X))
        return {m: found[:, i] for i, m in enumerate(sorted(self.names_in_))}

    def _shares(self, X: Modalities) -> NDArray[np.float32]:
        """Shares (n, m), modalities in alphabetical order."""
        network: Any = self.network_
        return self._codes(
            X,
            lambda b: {
                "shares": network.fuse.shares(
                    self._features(network, b), self._present(network, b)
                )
            },
        )["shares"]

    def _after_training(self, X: Modalities) -> None:
        found = self._shares(X)
        names = sorted(X.names)
        self.gate_statistics_ = {
            m: shares_told(found[X.present[m], i, None]) for i, m in enumerate(names)
        }
