"""Deep methods whose codes are random: posteriors, and a likelihood of every modality."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from triptych.arrays import check_modalities_named, check_number
from triptych.contracts.decoding import DecodingMethod
from triptych.contracts.deep import CODE_ROWS
from triptych.contracts.method import Data
from triptych.errors import ModalityError, ParameterError
from triptych.losses.variational import drawn, guarded, log_mixture, log_standard
from triptych.modalities import Kind, Modalities
from triptych.nn.inputs import learn_input
from triptych.nn.likelihoods import (
    Likelihood,
    check_family,
    check_values,
    decoded_kind,
    default_family,
    entries_of,
)
from triptych.nn.parts import Parts
from triptych.seeding import check_random_state, derive, torch_scope
from triptych.training.batches import Batch

# Codes of a row that are decoded at once when likelihoods are estimated.
AT_ONCE = 16


@dataclass(frozen=True)
class Posterior:
    """For each row a mixture of normal laws with independent coordinates.

    Args:
        mean: Shape (c, b, d).
        log_variance: Shape (c, b, d).
        weights: Shape (c, b), >= 0, adding up to 1 over c.
    """

    mean: Tensor
    log_variance: Tensor
    weights: Tensor

    @property
    def centre(self) -> Tensor:
        """Mean of the mixture, (b, d)."""
        return (self.weights[..., None] * self.mean).sum(0)

    def draw(self, samples: int) -> Tensor:
        """Draws (samples, b, d), without a gradient to the weights."""
        b = self.weights.shape[1]
        chosen = torch.multinomial(self.weights.T, samples, replacement=True).T  # (samples, b)
        at = chosen.to(self.mean.device), torch.arange(b, device=self.mean.device)
        return drawn(self.mean[at], self.log_variance[at])

    def log_density(self, z: Tensor) -> Tensor:
        """Log-density (...) of z (..., b, d)."""
        return log_mixture(z, self.mean, self.log_variance, self.weights)


class VariationalMethod(DecodingMethod):
    """Base of methods with a posterior of the code and a likelihood of every modality.

    A method writes ``_build`` (a network with ``decoders`` from :meth:`_likelihood_parts` and a
    buffer ``steps``), ``_posterior`` and ``_terms``. Its constructor stores what is read here.
    """

    n_components: int
    likelihoods: Mapping[str, str] | None
    noise: float | str | None
    weights: Mapping[str, float] | str
    beta: float
    warmup: float

    def _posterior(self, network: Any, batch: Batch) -> Posterior:
        """Of the code given the modalities that a batch has."""
        raise NotImplementedError

    # -- parameters ------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if isinstance(self.noise, str) and self.noise != "values":
            raise ParameterError(
                f"noise: expected a number > 0, 'values' or None; got {self.noise!r}."
            )
        if self.noise is not None and not isinstance(self.noise, str):
            check_number("noise", self.noise, low=0, open_low=True)
        check_number("beta", self.beta, low=0)
        check_number("warmup", self.warmup, low=0, high=1)
        if not isinstance(self.likelihoods, Mapping | None):
            raise ParameterError(
                f"likelihoods: expected a dict by modality name or None; got {self.likelihoods!r}."
            )
        if not isinstance(self.weights, Mapping):
            named = isinstance(self.weights, str) and self.weights in ("entries", "equal")
            if not named:
                raise ParameterError(
                    f"weights: expected 'entries', 'equal' or numbers by modality name; got "
                    f"{self.weights!r}."
                )
        else:
            for name, weight in self.weights.items():
                check_number(f"weights__{name}", weight, low=0)

    def _family(self, name: str, kind: Kind) -> str:
        return (self.likelihoods or {}).get(name, default_family(kind))

    def _fit(self, X: Modalities, y: Any, validation: Any) -> None:
        for label in ("likelihoods", "weights"):
            given = getattr(self, label)
            check_modalities_named(label, () if isinstance(given, str) else given or (), X.names)
        for name in X.names:
            family = self._family(name, X.kind(name))
            check_family(name, family, X.kind(name))
            if family in ("bernoulli", "categorical") and X.kind(name).form != "text":
                reader = learn_input(X, name)
                check_values(X, name, family, reader, "fit")
                if validation is not None:
                    check_values(validation[0], name, family, reader, "validation")
        super()._fit(X, y, validation)

    def _likelihood_parts(self, kinds: Mapping[str, Kind], widths: Mapping[str, int]) -> Parts:
        given, found = self.decoders or {}, {}
        for m, kind in kinds.items():
            family = self._family(m, kind)
            put_out = decoded_kind(kind, family, self.noise)
            decoder = self._decoder(m, put_out, widths[m], given.get(m))
            found[m] = Likelihood(decoder, family, kind, self.inputs_[m], self.noise)
        return Parts(found)

    @property
    def _weights(self) -> dict[str, float]:
        """Weight of each modality's log-likelihood."""
        if not isinstance(self.weights, str):
            return {m: float(self.weights.get(m, 1.0)) for m in self.names_in_}
        if self.weights == "equal":
            return dict.fromkeys(self.names_in_, 1.0)
        entries = {m: entries_of(self.kinds_[m], self.inputs_[m]) for m in self.names_in_}
        return {m: max(entries.values()) / size for m, size in entries.items()}

    def _beta(self, network: Any) -> float:
        """Weight of the divergence: rises while training begins, whole in every judgement."""
        rising = self.warmup * self._total_steps
        if not network.training or rising <= 0:
            return self.beta
        return self.beta * min(1.0, float(network.steps) / rising)

    def _after_step(self, network: Any) -> None:
        network.steps += 1

    # -- codes -----------------------------------------------------------------------------

    @staticmethod
    def _normal(outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and guarded log-variance (b, d) from an encoder's outputs (b, 2 d)."""
        mean, log_variance = outputs.float().chunk(2, dim=1)
        return mean, guarded(log_variance)

    def _decoder_codes(self, network: Any, batch: Batch) -> Mapping[str, Tensor]:
        return dict.fromkeys(self.names_in_, self._posterior(network, batch).centre)

    def _latents(
        self, network: Any, batch: Batch, posterior: Posterior, samples: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        """What decoders read, (samples, b, ...) by modality, and log p - log q, (samples, b)."""
        z = posterior.draw(samples)
        return dict.fromkeys(self.names_in_, z), log_standard(z) - posterior.log_density(z)

    def log_likelihood(
        self,
        X: Data,
        *,
        given: str | tuple[str, ...] | list[str] | None = None,
        n_samples: int = 128,
        random_state: int | None = 0,
    ) -> NDArray[np.float64]:
        r"""Log-probability of rows, estimated by importance: a lower bound in expectation.

        .. math:: \log \tfrac1K \sum_k p(z_k) \prod_m p(x_m \mid z_k) / q(z_k \mid x_{given})

        Args:
            X: Some of the modalities fitted, n rows; those that a row lacks are left out of its
                product.
            given: Modalities whose posterior proposes codes, or one of them; all of ``X`` when
                left out.
            n_samples: K >= 1; the bound grows tighter with it.
            random_state: Seed of the draws.

        Returns:
            Shape (n,), nats, in the units of the data: log-densities for gaussian and laplace
            likelihoods, log-probabilities for others. Weights of modalities play no part.

        Raises:
            DataError: Values that a likelihood cannot have.
        """
        self._check_fitted()
        check_number("n_samples", n_samples, low=1, integer=True)
        data = self._gate_transform(X)
        names = (given,) if isinstance(given, str) else tuple(given or data.names)
        unknown = [m for m in names if m not in data]
        if unknown:
            raise ModalityError(f"given: {unknown} are not in X, which has {list(data.names)}.")
        self._gate_transform(data.select(*names))  # every row must have one of these
        for m in data.names:
            family = self._family(m, self.kinds_[m])
            check_values(data, m, family, self.inputs_[m], "log_likelihood")
        found = []
        with torch.no_grad(), torch_scope(derive(check_random_state(random_state), "likelihood")):
            for batch in self._batches(data):
                found.append(self._log_likelihood(batch, names, n_samples).double().cpu().numpy())
        return np.concatenate(found)

    def _log_likelihood(self, batch: Batch, given: tuple[str, ...], n_samples: int) -> Tensor:
        posterior = self._posterior(self.network_, _only(batch, given))
        logs = []
        for start in range(0, n_samples, AT_ONCE):
            k = min(AT_ONCE, n_samples - start)
            codes, ratio = self._latents(self.network_, batch, posterior, k)
            for m in batch.names:
                likelihood: Likelihood = self.network_.decoders[m]  # type: ignore[index, assignment]
                log_p = likelihood.log_prob(codes[m], batch.values[m], batch.lengths.get(m))
                ratio = ratio + torch.where(
                    batch.present[m], log_p + likelihood.log_volume, torch.zeros_like(log_p)
                )
            logs.append(ratio)
        return torch.logsumexp(torch.cat(logs), 0) - float(np.log(n_samples))

    def sample(
        self, n: int = 1, given: Data | None = None, *, random_state: int | None = 0
    ) -> Modalities:
        """New samples of all modalities: the means of their laws at codes drawn at random.

        Args:
            n: Samples, or samples of each row of ``given``; those of a row follow one another.
            given: Modalities whose posterior draws the codes; from N(0, I) when left out.
            random_state: Seed.

        Returns:
            Modalities of all fitted names, n rows, or n times those of ``given``.
        """
        self._check_fitted()
        if isinstance(n, Mapping | Modalities):
            raise ParameterError("n: expected a number of samples, got modalities; write given=.")
        check_number("n", n, low=1, integer=True)
        codes: Iterator[Mapping[str, Tensor]]
        with torch.no_grad(), torch_scope(derive(check_random_state(random_state), "sample")):
            if given is None:
                codes = self._from_prior(n)
            else:
                codes = self._from_given(self._gate_transform(given), n)
            return self._restored(codes)

    def _from_prior(self, n: int) -> Iterator[Mapping[str, Tensor]]:
        device = self._device()
        self.network_.to(device).eval()
        for start in range(0, n, CODE_ROWS):
            yield self._prior(min(CODE_ROWS, n - start), device)

    def _prior(self, n: int, device: torch.device) -> Mapping[str, Tensor]:
        """What decoders read, from codes (n, d) of the prior."""
        return dict.fromkeys(self.names_in_, torch.randn(n, self.n_components, device=device))

    def _from_given(self, X: Modalities, n: int) -> Iterator[Mapping[str, Tensor]]:
        for batch in self._batches(X):
            posterior = self._posterior(self.network_, batch)
            codes, _ = self._latents(self.network_, batch, posterior, n)
            flat = {m: z.transpose(0, 1).flatten(0, 1) for m, z in codes.items()}
            for start in range(0, n * len(batch), CODE_ROWS):
                yield {m: z[start : start + CODE_ROWS] for m, z in flat.items()}

    def _score(self, X: Modalities, y: NDArray[Any] | None) -> float:
        for m in X.names:
            check_values(X, m, self._family(m, self.kinds_[m]), self.inputs_[m], "score")
        return super()._score(X, y)


def _only(batch: Batch, names: tuple[str, ...]) -> Batch:
    """The batch with these modalities alone."""
    return Batch(
        {m: batch.values[m] for m in names},
        {m: v for m, v in batch.lengths.items() if m in names},
        {m: batch.present[m] for m in names},
        batch.rows,
        {m: v for m, v in batch.content.items() if m in names},
        batch.y,
    )


def steps_buffer(network: nn.Module) -> None:
    """Give a network the count of steps that warming up reads."""
    network.register_buffer("steps", torch.zeros((), dtype=torch.long))
