"""Variational CCA with private codes (Wang, Yan, Lee, Livescu 2016)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from triptych.arrays import check_modalities_named, check_number
from triptych.contracts.method import Capabilities, Fission
from triptych.contracts.variational_cca import VariationalCCA
from triptych.modalities import SHARED, Modalities
from triptych.training.batches import Batch
from triptych.training.settings import Training


class VCCAPrivate(VariationalCCA, Fission):
    r"""A shared code z, read from one modality, and for each modality a private code h_m.

    .. math:: L = -\mathbb{E} \Big[ \sum_m \lambda_m \log p(x_m \mid z, h_m) \Big]
              + \beta\, KL\big(q(z \mid x_s) \,\|\, p\big)
              + \beta \sum_m \gamma_m KL\big(q(h_m \mid x_m) \,\|\, p\big)

    with p = N(0, I). What keeps h_m from taking what is shared is the bottleneck, ``dropout`` on
    samples of z and h, and γ_m > 1; the paper has dropout and γ = 1. ``sources=["image"]`` is the
    paper's; with several, L is the mean over those that a row has.

    Args:
        n_components: Width d of the shared code.
        n_private: Width of each private code.
        sources: Modalities that posteriors of z are read from; ``None`` for all.
        encoders: Recipes or factories by modality name, else the kind's default; private encoders
            are made like them.
        decoders: Decoder recipes by name, else the kind's default (vectors, images, texts).
        likelihoods: ``"gaussian"``, ``"laplace"``, ``"bernoulli"`` or ``"categorical"`` by
            modality name; gaussian where left out, categorical for texts.
        noise: Size of gaussian and laplace noise in standardised units; one learnt for a modality
            where ``None``; ``"values"``: one for each value of a row, which the decoder tells too,
            of vectors and pictures (the paper's).
        weights: λ: ``"equal"`` is 1, ``"entries"`` makes modalities weigh alike whatever their
            size; or numbers by name, 1 where left out.
        beta: Weight of the divergences.
        private_beta: γ: what the divergence of a private code weighs beside that of z; one number
            or numbers by modality name, 1 where left out.
        warmup: Share of the training in which beta rises from 0.
        dropout: Share of the coordinates of z and h left out while training.
        training: Epochs, batch size, learning rate, device.
        random_state: Seed of weights, batches and draws.

    Attributes:
        parts_: ``("shared", *names)``.
        history_: ``"loss"``, minus the log-likelihood of each modality, ``"kl"`` and
            ``"kl:<modality>"``; nats per row.

    ``transform`` gives posterior means. ``reconstruct`` reads a private code of zeros, its prior's
    mean, where a modality is absent. ``log_likelihood(given=...)`` proposes z from those given and
    private codes from the modality that they belong to. ``score`` is minus the loss.

    References:
        Wang, Yan, Lee, Livescu 2016, Deep Variational Canonical Correlation Analysis,
        arXiv:1610.03454, section 3.
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
        n_private: int = 30,
        sources: Sequence[str] | None = None,
        encoders: Mapping[str, Any] | None = None,
        decoders: Mapping[str, Any] | None = None,
        likelihoods: Mapping[str, str] | None = None,
        noise: float | str | None = None,
        weights: Mapping[str, float] | str = "equal",
        beta: float = 1.0,
        private_beta: Mapping[str, float] | float = 1.0,
        warmup: float = 0.0,
        dropout: float = 0.2,
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.n_private = n_private
        self.sources = sources
        self.encoders = encoders
        self.decoders = decoders
        self.likelihoods = likelihoods
        self.noise = noise
        self.weights = weights
        self.beta = beta
        self.private_beta = private_beta
        self.warmup = warmup
        self.dropout = dropout
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("n_private", self.n_private, low=1, integer=True)
        given = self.private_beta
        for name, value in given.items() if isinstance(given, Mapping) else [("", given)]:
            check_number("private_beta" + f"__{name}" * bool(name), value, low=0)

    def _fit(self, X: Modalities, y: Any, validation: Any) -> None:
        given = self.private_beta
        check_modalities_named(
            "private_beta", given if isinstance(given, Mapping) else (), X.names
        )
        self.parts_ = (SHARED, *X.names)
        super()._fit(X, y, validation)

    def _transform(self, X: Modalities) -> Modalities:
        def parts(batch: Batch) -> dict[str, Tensor]:
            private = self._private_laws(self.network_, batch)
            shared = self._posterior(self.network_, batch).centre
            return {SHARED: shared, **{m: mean for m, (mean, _) in private.items()}}

        return self._parts(X, parts, (SHARED, *X.names))
