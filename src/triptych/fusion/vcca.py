"""Variational CCA (Wang, Yan, Lee, Livescu 2016): one random code, read from one modality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from triptych.contracts.method import Capabilities, Fusion
from triptych.contracts.variational_cca import VariationalCCA
from triptych.modalities import Modalities
from triptych.training.settings import Training


class VCCA(VariationalCCA, Fusion):
    r"""A code z of one modality from which all modalities are likely.

    .. math:: L = -\mathbb{E}_{q(z \mid x_s)} \Big[ \sum_m \lambda_m \log p(x_m \mid z) \Big]
              + \beta\, KL\big(q(z \mid x_s) \,\|\, N(0, I)\big)

    ``sources=["image"]`` is the paper's: the posterior sees that modality alone, at training and
    at test. With several sources L is the mean over those that a row has, each with an encoder of
    its own (the paper's two-sided variant with equal weights), and the code is their mean. As the
    variances go to 0 it becomes a split autoencoder.

    Args:
        n_components: Width d of the code.
        sources: Modalities that posteriors are read from; ``None`` for all.
        encoders: Recipes or factories by modality name, else the kind's default; their dropout
            and that of decoders matters here.
        decoders: Decoder recipes by name, else the kind's default (vectors, images, texts).
        likelihoods: ``"gaussian"``, ``"laplace"``, ``"bernoulli"`` or ``"categorical"`` by
            modality name; gaussian where left out, categorical for texts.
        noise: Size of gaussian and laplace noise in standardised units; one learnt for a modality
            where ``None``; ``"values"``: one for each value of a row, which the decoder tells too,
            of vectors and pictures (the paper's).
        weights: λ: ``"equal"`` is 1, ``"entries"`` makes modalities weigh alike whatever their
            size; or numbers by name, 1 where left out.
        beta: Weight of the divergence.
        warmup: Share of the training in which beta rises from 0.
        dropout: Share of the sampled code's coordinates left out while training.
        training: Epochs, batch size, learning rate, device.
        random_state: Seed of weights, batches and draws.

    Attributes:
        history_: ``"loss"``, minus the log-likelihood of each modality, ``"kl"``; nats per row.

    ``transform`` gives the posterior's mean. ``score`` is minus the loss.

    References:
        Wang, Yan, Lee, Livescu 2016, Deep Variational Canonical Correlation Analysis,
        arXiv:1610.03454.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        kinds=("vector", "image", "text"),
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
        reconstructs=True,
        distributes=True,
    )

    def __init__(
        self,
        n_components: int = 40,
        *,
        sources: Sequence[str] | None = None,
        encoders: Mapping[str, Any] | None = None,
        decoders: Mapping[str, Any] | None = None,
        likelihoods: Mapping[str, str] | None = None,
        noise: float | str | None = None,
        weights: Mapping[str, float] | str = "equal",
        beta: float = 1.0,
        warmup: float = 0.0,
        dropout: float = 0.1,
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.sources = sources
        self.encoders = encoders
        self.decoders = decoders
        self.likelihoods = likelihoods
        self.noise = noise
        self.weights = weights
        self.beta = beta
        self.warmup = warmup
        self.dropout = dropout
        self.training = training
        self.random_state = random_state

    def _transform(self, X: Modalities) -> NDArray[np.float32]:
        return self._codes(X, lambda b: {"code": self._posterior(self.network_, b).centre})["code"]
