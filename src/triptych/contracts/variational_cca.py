"""Variational CCA, with and without private codes: what its two methods have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.arrays import check_number
from triptych.contracts.method import Data
from triptych.contracts.sourced import SourcedMethod
from triptych.contracts.variational import Posterior, VariationalMethod, steps_buffer
from triptych.errors import CapabilityError
from triptych.losses.variational import drawn, gaussian_kl, log_normal, log_standard
from triptych.modalities import Kind, Modalities
from triptych.nn.parts import Parts
from triptych.nn.recipes import build_encoder
from triptych.training.batches import Batch


class VCCANetwork(nn.Module):
    """Encoders of the sources, private encoders if there are any, and likelihoods."""

    def __init__(self, encoders: Parts, private: Parts | None, decoders: Parts) -> None:
        super().__init__()
        self.encoders, self.private, self.decoders = encoders, private, decoders
        steps_buffer(self)


class VariationalCCA(SourcedMethod, VariationalMethod):
    """Base: the posterior of z is that of one modality, and z rebuilds them all.

    A method that has private codes stores ``n_private`` and ``private_beta``; 0 stands for none.
    """

    dropout: float
    n_private: int = 0
    private_beta: Mapping[str, float] | float = 1.0

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("dropout", self.dropout, low=0, high=0.99)

    def _build(self, kinds: Mapping[str, Kind]) -> nn.Module:
        private = None
        if self.n_private:
            width = 2 * self.n_private
            private = Parts({m: self._private_encoder(m, k, width) for m, k in kinds.items()})
        return VCCANetwork(
            self._encoder_parts(self._coded(kinds), 2 * self.n_components),
            private,
            self._likelihood_parts(
                kinds, dict.fromkeys(kinds, self.n_components + self.n_private)
            ),
        )

    def _private_encoder(self, name: str, kind: Kind, width: int) -> nn.Module:
        """Like the modality's other encoder, with weights of its own."""
        recipe = (self.encoders or {}).get(name)
        return self._seeded(
            f"private:{name}", lambda: build_encoder(recipe, kind, self.inputs_[name], width)
        )

    def _gate_transform(self, X: Data) -> Modalities:
        """Rows to code must have a source; in losses a row without one weighs nothing."""
        data = super()._gate_transform(X)
        if not (rows := self.codable_rows(data)).all():
            raise CapabilityError(
                f"{type(self).__name__} reads its code from {list(self._coded(self.kinds_))}; row "
                f"{int(np.flatnonzero(~rows)[0])} has none of them."
            )
        return data

    # -- posteriors ------------------------------------------------------------------------

    def _posterior(self, network: Any, batch: Batch) -> Posterior:
        names = [m for m in batch.names if m in network.encoders.names]
        there = (
            torch.stack([batch.present[m] for m in names])
            if names
            else torch.zeros(1, len(batch), dtype=torch.bool, device=batch.rows.device)
        )
        laws = [
            self._normal(network.encoders[m](batch.values[m], batch.lengths.get(m))) for m in names
        ]
        total = there.sum(0).clamp_min(1)
        return Posterior(
            torch.stack([mean for mean, _ in laws]),
            torch.stack([log_variance for _, log_variance in laws]),
            there / total,
        )

    def _private_laws(self, network: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        if network.private is None:
            return {}
        return {
            m: self._normal(network.private[m](batch.values[m], batch.lengths.get(m)))
            for m in batch.names
        }

    # -- the loss --------------------------------------------------------------------------

    def _terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        posterior = self._posterior(network, batch)
        laws, beta, weights = (
            self._private_laws(network, batch),
            self._beta(network),
            self._weights,
        )
        # What is dropped here cannot be told by z or h alone, so neither takes over.
        drop = self.dropout if network.training else 0.0
        z = F.dropout(drawn(posterior.mean, posterior.log_variance), drop)  # (c, b, d)
        share, terms = posterior.weights, {}
        coded = share.sum(0) > 0  # rows that have a source
        for m in batch.names:
            code = z
            if m in laws:
                h = F.dropout(drawn(*laws[m]), drop)
                code = torch.cat([z, h.expand(len(z), *h.shape)], dim=2)
            found = network.decoders[m].log_prob(code, batch.values[m], batch.lengths.get(m))
            found = torch.where(batch.present[m], found, torch.zeros_like(found))
            terms[m] = -(share * found).sum(0).mean()
        kl = (share * gaussian_kl(posterior.mean, posterior.log_variance)).sum(0).mean()
        loss = torch.stack([weights[m] * error for m, error in terms.items()]).sum() + beta * kl
        terms["kl"] = kl
        for m, law in laws.items():
            own = (gaussian_kl(*law) * (batch.present[m] & coded)).mean()
            loss, terms[f"kl:{m}"] = loss + beta * self._private_share(m) * own, own
        return {"loss": loss, **terms}

    def _private_share(self, name: str) -> float:
        """What the divergence of a modality's private code weighs beside that of z."""
        given = self.private_beta
        return float(given.get(name, 1.0) if isinstance(given, Mapping) else given)

    # -- codes -----------------------------------------------------------------------------

    def _decoder_codes(self, network: Any, batch: Batch) -> Mapping[str, Tensor]:
        z, laws = self._posterior(network, batch).centre, self._private_laws(network, batch)
        if network.private is None:
            return dict.fromkeys(self.names_in_, z)
        nothing = torch.zeros(len(batch), self.n_private, device=z.device)  # the prior's mean
        known = {m: law[0] * batch.present[m][:, None] for m, law in laws.items()}
        return {m: torch.cat([z, known.get(m, nothing)], dim=1) for m in self.names_in_}

    def _latents(
        self, network: Any, batch: Batch, posterior: Posterior, samples: int
    ) -> tuple[dict[str, Tensor], Tensor]:
        codes, ratio = super()._latents(network, batch, posterior, samples)
        if network.private is None:
            return codes, ratio
        laws = self._private_laws(network, batch)
        for m in self.names_in_:
            h = torch.randn(samples, len(batch), self.n_private, device=ratio.device)
            if m in laws:
                mask = batch.present[m]
                own = drawn(*laws[m], samples)
                gained = log_standard(own) - log_normal(own, *laws[m])
                ratio = ratio + torch.where(mask, gained, torch.zeros_like(gained))
                h = torch.where(mask[:, None], own, h)
            codes[m] = torch.cat([codes[m], h], dim=2)
        return codes, ratio

    def _prior(self, n: int, device: torch.device) -> Mapping[str, Tensor]:
        codes = super()._prior(n, device)
        if not self.n_private:
            return codes
        return {
            m: torch.cat([z, torch.randn(n, self.n_private, device=device)], dim=1)
            for m, z in codes.items()
        }
