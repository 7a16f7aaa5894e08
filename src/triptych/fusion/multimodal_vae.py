"""Multimodal variational autoencoders: products, mixtures, and mixtures of products of experts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from triptych.arrays import check_choice, check_number
from triptych.contracts.method import Capabilities, Fusion
from triptych.contracts.variational import Posterior, VariationalMethod, steps_buffer
from triptych.errors import ParameterError
from triptych.fusion._subsets import MOST, all_subsets, drawn_subsets
from triptych.losses.variational import drawn, gaussian_kl, log_standard, product_of_experts
from triptych.modalities import Kind, Modalities
from triptych.nn.parts import Parts
from triptych.training.batches import Batch
from triptych.training.settings import Training

EXPERTS = ("product", "mixture", "mixture_of_products")


class _Network(nn.Module):
    def __init__(self, encoders: Parts, decoders: Parts) -> None:
        super().__init__()
        self.encoders, self.decoders = encoders, decoders
        steps_buffer(self)


class MultimodalVAE(VariationalMethod, Fusion):
    r"""One random code of each sample, from any of its modalities, that rebuilds them all.

    .. math:: \mathrm{ELBO}(S \to T) = \sum_{m \in T} \lambda_m
        \mathbb{E}_{q(z \mid x_S)} \log p(x_m \mid z) - \beta\, KL\big(q(z \mid x_S) \,\|\,
        N(0, I)\big)

    Each modality's encoder is an expert, a normal law of the code. ``experts`` says how those of
    the modalities that are there become one posterior:

    * ``"product"``: normal, precisions added, the prior among the experts once (MVAE). The loss
      is -ELBO(all → all) - single * sum over m of ELBO(m → m), and with three modalities or
      more -ELBO(S → S) of ``subsets`` random subsets, since a product alone never trains its
      single experts.
    * ``"mixture"``: each expert as likely, no prior among them (MMVAE). ``n_samples`` codes are
      drawn from every expert and all modalities decoded from each; with K of them the loss is
      minus the mean over experts of log 1/K sum exp(sum λ log p(x|z) + β (log p(z) - log q(z))),
      with q the whole mixture.
    * ``"mixture_of_products"``: each non-empty subset's product, the prior in every one, as
      likely (MoPoE). One code is drawn from the mixture, row by row, and the divergence is the
      mean over subsets, which bounds that of the mixture.

    ``cross`` adds the errors of each modality rebuilt from the code of each other one alone.

    Args:
        n_components: Width d of the code.
        experts: How experts are joined.
        encoders: Recipes or factories by modality name, else the kind's default.
        decoders: Decoder recipes by name, else the kind's default (vectors, images, texts).
        likelihoods: ``"gaussian"``, ``"laplace"``, ``"bernoulli"`` or ``"categorical"`` by
            modality name; gaussian where left out, categorical for texts. See
            :class:`~triptych.nn.likelihoods.Likelihood`.
        noise: Size of gaussian and laplace noise in standardised units; one learnt for a modality
            where ``None``; ``"values"``: one for each value of a row, which the decoder tells too,
            of vectors and pictures.
        weights: λ: ``"entries"`` makes every modality weigh as much as that of most entries
            (λ = most entries / own), ``"equal"`` is 1; or numbers by name, 1 where left out.
        beta: Weight of the divergence.
        warmup: Share of the training in which beta rises from 0.
        single: Weight of ELBO(m → m); ``None`` is 1 for products and 0 for mixtures.
        cross: Weight of errors of one modality from the code of another alone.
        subsets: Random subsets beside all and single (products of three modalities or more).
        n_samples: Codes from each expert of a mixture.
        training: Epochs, batch size, learning rate, device.
        random_state: Seed of weights, batches and draws.

    Attributes:
        history_: ``"loss"``, minus the log-likelihood of each modality, ``"kl"``, and what
            ``single``, ``cross`` and ``subsets`` add; nats per row.

    ``transform`` gives the posterior's mean. Log-variances are bent into (-10, 10). ``score`` is
    minus the loss; :meth:`log_likelihood` is the measure to compare models by. :meth:`sample`
    draws from the prior or given other modalities.

    References:
        Wu and Goodman 2018, arXiv:1802.05335; Shi, Siddharth, Paige, Torr 2019, arXiv:1911.03393
        (normal instead of Laplace laws, gradients by reparametrisation); Sutter, Daunhawer, Vogt
        2021, arXiv:2105.02470 (components drawn by chance, not by place in the batch).
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
        n_components: int = 32,
        *,
        experts: str = "product",
        encoders: Mapping[str, Any] | None = None,
        decoders: Mapping[str, Any] | None = None,
        likelihoods: Mapping[str, str] | None = None,
        noise: float | str | None = None,
        weights: Mapping[str, float] | str = "entries",
        beta: float = 1.0,
        warmup: float = 0.0,
        single: float | None = None,
        cross: float = 0.0,
        subsets: int = 1,
        n_samples: int = 1,
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.experts = experts
        self.encoders = encoders
        self.decoders = decoders
        self.likelihoods = likelihoods
        self.noise = noise
        self.weights = weights
        self.beta = beta
        self.warmup = warmup
        self.single = single
        self.cross = cross
        self.subsets = subsets
        self.n_samples = n_samples
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_choice("experts", self.experts, EXPERTS)
        if self.single is not None:
            check_number("single", self.single, low=0)
        check_number("cross", self.cross, low=0)
        check_number("subsets", self.subsets, low=0, integer=True)
        check_number("n_samples", self.n_samples, low=1, integer=True)

    def _fit(self, X: Modalities, y: Any, validation: Any) -> None:
        if self.experts == "mixture_of_products" and len(X.names) > MOST:
            raise ParameterError(
                f"experts: a mixture of products has 2^m - 1 parts; at most {MOST} modalities, "
                f"got {len(X.names)}. Take 'mixture' or 'product'."
            )
        super()._fit(X, y, validation)

    def _build(self, kinds: Mapping[str, Kind]) -> nn.Module:
        return _Network(
            self._encoder_parts(kinds, 2 * self.n_components),
            self._likelihood_parts(kinds, dict.fromkeys(kinds, self.n_components)),
        )

    # -- posteriors ------------------------------------------------------------------------

    def _laws(self, network: Any, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Each expert's mean and log-variance (m, b, d), and whether it is there (m, b)."""
        found = [
            self._normal(network.encoders[m](batch.values[m], batch.lengths.get(m)))
            for m in batch.names
        ]
        present = torch.stack([batch.present[m] for m in batch.names])
        return torch.stack([f[0] for f in found]), torch.stack([f[1] for f in found]), present

    def _joined(self, mean: Tensor, log_variance: Tensor, present: Tensor) -> Posterior:
        if self.experts == "mixture":
            # The prior where an expert is absent, for rows that have none.
            mean, log_variance = (
                torch.where(present[..., None], part, 0.0) for part in (mean, log_variance)
            )
            return Posterior(mean, log_variance, _even(present))
        if self.experts == "product":
            joint = product_of_experts(mean, log_variance, present)
            one = torch.ones(1, present.shape[1], device=mean.device)
            return Posterior(joint[0][None], joint[1][None], one)
        chosen = all_subsets(len(mean)).to(mean.device)  # (s, m)
        parts = [product_of_experts(mean, log_variance, present & s[:, None]) for s in chosen]
        # A subset with a member that is not there is another subset once more.
        whole = (present[None] | ~chosen[:, :, None]).all(1)  # (s, b)
        return Posterior(
            torch.stack([p[0] for p in parts]), torch.stack([p[1] for p in parts]), _even(whole)
        )

    def _posterior(self, network: Any, batch: Batch) -> Posterior:
        return self._joined(*self._laws(network, batch))

    def _transform(self, X: Modalities) -> NDArray[np.float32]:
        return self._codes(X, lambda b: {"code": self._posterior(self.network_, b).centre})["code"]

    # -- the loss --------------------------------------------------------------------------

    def _terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        laws = self._laws(network, batch)
        posterior, beta = self._joined(*laws), self._beta(network)
        loss, terms = (
            self._bound_by_samples(network, batch, posterior, beta)
            if self.experts == "mixture"
            else self._bound(network, batch, posterior, beta)
        )
        single = float(self.experts == "product") if self.single is None else self.single
        alone = self._alone(*laws)
        if single or self.cross:
            for i, name in enumerate(batch.names):
                own, others = self._from_one(network, batch, alone, i, beta, single)
                loss = loss + single * own + self.cross * sum(others.values())
                terms.update({f"{name}>{name}": own} if single else {}, **others)
        if self.experts == "product" and self.subsets and len(batch.names) > 2:
            for _ in range(self.subsets):
                extra = self._of_subset(network, batch, *laws, beta)
                loss = loss + extra
                terms["subsets"] = terms.get("subsets", torch.zeros_like(extra)) + extra.detach()
        return {"loss": loss, **terms}

    def _bound(
        self, network: Any, batch: Batch, posterior: Posterior, beta: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """-ELBO(all → all) with one code a row and the mean divergence of the parts."""
        errors = self._errors(network, batch, posterior.draw(1)[0])
        each = gaussian_kl(posterior.mean, posterior.log_variance)  # (c, b)
        kl = (posterior.weights * each).sum(0).mean()
        return self._weighted(errors) + beta * kl, {**errors, "kl": kl}

    def _bound_by_samples(
        self, network: Any, batch: Batch, posterior: Posterior, beta: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Minus the importance-weighted bound of each expert, mean over experts."""
        (m, b, d), k = posterior.mean.shape, self.n_samples
        z = drawn(posterior.mean, posterior.log_variance, k)  # (k, m, b, d)
        ratio = log_standard(z) - posterior.log_density(z.transpose(0, 1)).transpose(0, 1)
        log_w = beta * ratio  # (k, m, b)
        terms, weights = {}, self._weights
        for name in batch.names:
            found = network.decoders[name].log_prob(
                z.reshape(k * m, b, d), batch.values[name], batch.lengths.get(name)
            )
            found = torch.where(batch.present[name], found, torch.zeros_like(found))
            found = found.reshape(k, m, b)
            log_w = log_w + weights[name] * found
            terms[name] = -(posterior.weights * found.mean(0)).sum(0).mean()
        bound = torch.logsumexp(log_w, 0) - math.log(k)  # (m, b)
        # Experts that are absent are left out before they are weighed: 0 times NaN is NaN.
        bound = torch.where(posterior.weights > 0, bound, torch.zeros_like(bound))
        terms["kl"] = -(posterior.weights * ratio.mean(0)).sum(0).mean()
        return -(posterior.weights * bound).sum(0).mean(), terms

    def _alone(
        self, mean: Tensor, log_variance: Tensor, present: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What each modality by itself says of the code: the posterior that transform gives."""
        if self.experts == "mixture":
            return mean, log_variance, present
        one = [
            product_of_experts(mean[i : i + 1], log_variance[i : i + 1], present[i : i + 1])
            for i in range(len(mean))
        ]
        return torch.stack([p[0] for p in one]), torch.stack([p[1] for p in one]), present

    def _from_one(
        self,
        network: Any,
        batch: Batch,
        alone: tuple[Tensor, Tensor, Tensor],
        i: int,
        beta: float,
        single: float,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """-ELBO(m → m) of the i-th modality, and errors of the others from its code alone."""
        mean, log_variance, present = (part[i] for part in alone)
        source, z = batch.names[i], drawn(mean, log_variance)
        targets = [
            m for m in batch.names if (m == source and single) or (m != source and self.cross)
        ]
        errors = self._errors(network, batch, z, among=present, names=targets)
        kl = (gaussian_kl(mean, log_variance) * present).mean()
        weights = self._weights
        own = weights[source] * errors.pop(source) + beta * kl if single else kl * 0
        return own, {f"{source}>{m}": weights[m] * error for m, error in errors.items()}

    def _of_subset(
        self,
        network: Any,
        batch: Batch,
        mean: Tensor,
        log_variance: Tensor,
        present: Tensor,
        beta: float,
    ) -> Tensor:
        """-ELBO(S → S) of a random subset of each row's modalities."""
        chosen = drawn_subsets(present.T).T  # (m, b)
        joint = product_of_experts(mean, log_variance, chosen)
        errors = self._errors(network, batch, drawn(*joint), chosen=chosen)
        return self._weighted(errors) + beta * gaussian_kl(*joint).mean()

    def _errors(
        self,
        network: Any,
        batch: Batch,
        z: Tensor,
        *,
        among: Tensor | None = None,
        chosen: Tensor | None = None,
        names: list[str] | None = None,
    ) -> dict[str, Tensor]:
        """Minus the log-likelihood of each modality given codes (b, d), mean over all rows.

        Args:
            network: With its decoders.
            batch: The rows.
            z: Codes.
            among: Rows (b,) that count; all when left out.
            chosen: Rows by modality (m, b) that count; those present when left out.
            names: Modalities; all when left out.
        """
        found = {}
        for i, name in enumerate(batch.names):
            if names is not None and name not in names:
                continue
            counts = batch.present[name] if chosen is None else chosen[i]
            counts = counts if among is None else counts & among
            each = network.decoders[name].loss(z, batch.values[name], batch.lengths.get(name))
            found[name] = torch.where(counts, each, torch.zeros_like(each)).mean()
        return found

    def _weighted(self, errors: Mapping[str, Tensor]) -> Tensor:
        weights = self._weights
        return torch.stack([weights[m] * error for m, error in errors.items()]).sum()


def _even(there: Tensor) -> Tensor:
    """Weights (c, b) that are the same for all that is there; the first where nothing is."""
    total = there.sum(0)
    first = torch.zeros_like(there)
    first[0] = True
    kept = torch.where(total > 0, there, first)
    return kept / kept.sum(0)
