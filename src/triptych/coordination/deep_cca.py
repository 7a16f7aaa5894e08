"""Deep canonical correlation analysis (Andrew et al. 2013) and its stochastic forms."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, permutations
from typing import Any

import torch
from torch import Tensor, nn

from triptych.arrays import check_choice, check_number
from triptych.coordination._correlated import CorrelatedCodes
from triptych.losses.correlation import (
    correlation_maxvar,
    correlation_squares,
    correlation_trace_norm,
    eckart_young,
    inverse_root,
)
from triptych.losses.gather import gather
from triptych.modalities import Kind
from triptych.nn.parts import Parts
from triptych.training.batches import Batch
from triptych.training.loop import Phase, Stream
from triptych.training.settings import Training

OBJECTIVES = ("trace_norm", "squares", "eckart_young", "noi")


class _Network(nn.Module):
    def __init__(self, encoders: Parts, running: Parts | None) -> None:
        super().__init__()
        self.encoders, self.running = encoders, running


class DeepCCA(CorrelatedCodes):
    r"""Networks whose codes have the largest canonical correlations.

    .. math:: \max_{f, g} \sum_{i=1}^{d} \rho_i\big(f(X), g(Y)\big)

    A linear CCA of the training codes closes the training: it orders the components by their
    correlation and gives each variance 1. Every objective looks across the batch:

    * ``"trace_norm"``: the sum of correlations, as in the paper; with more than two modalities
      the MAXVAR agreement with a common code (deep GCCA). Wants large batches: several times
      ``n_components``, up to all rows (``Training(batch_size=len(X))`` is full-batch training).
    * ``"squares"``: the sum of squared correlations by Cholesky factors, mean over pairs.
    * ``"eckart_young"``: unbiased at any batch size of at least 4 rows.
    * ``"noi"``: squared distance to the other modality's codes, whitened by a running
      covariance; works with small batches.

    Args:
        n_components: Width d of each modality's code.
        objective: One of the four above.
        ridge: Added to the variances of codes inside the objective.
        memory: Share of the running covariance that a batch leaves standing (``"noi"``).
        encoders: Recipes or factories by modality name, else the kind's default.
        training: Epochs, batch size, learning rate, device.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        correlations_: Canonical correlations (d,) of the training codes, falling.
        projections_: By modality, (d, d): what the closing CCA does to the network's codes.
        means_: By modality, (d,): means of the network's codes.
        history_: ``"loss"``.

    Rows in which a modality is absent are left out of ``fit``. ``score`` is the mean correlation
    of the components on the rows given.

    Warns:
        DegenerateDataWarning: Codes collapsed to a rank below d.

    References:
        Andrew, Arora, Bilmes, Livescu 2013, ICML; Wang, Arora, Livescu, Srebro 2015,
        arXiv:1510.02054 (``"noi"``); Benton et al. 2017, arXiv:1702.02519 (more than two);
        Chapman et al. 2024, arXiv:2310.01012 (``"eckart_young"``).
    """

    def __init__(
        self,
        n_components: int = 10,
        *,
        objective: str = "trace_norm",
        ridge: float = 1e-4,
        memory: float = 0.9,
        encoders: Mapping[str, Any] | None = None,
        training: Training = Training(batch_size=1000),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.objective = objective
        self.ridge = ridge
        self.memory = memory
        self.encoders = encoders
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_choice("objective", self.objective, OBJECTIVES)
        check_number("memory", self.memory, low=0, high=0.9999)

    def _least(self) -> int:
        return {"eckart_young": 4, "noi": 2}.get(self.objective, super()._least())

    def _build(self, kinds: Mapping[str, Kind]) -> nn.Module:
        running = None
        if self.objective == "noi":
            running = Parts({m: _Running(self.n_components, self.memory) for m in kinds})
        return _Network(self._encoder_parts(kinds, self.n_components), running)

    def _phases(self, network: Any) -> tuple[Phase, ...]:
        stream = Stream(
            lambda batch: self._terms(network, batch),
            encode=lambda batch: self._encode(network, batch),
            terms_of=lambda codes, batch: self._terms_of(network, codes),
            least=self._least(),
        )
        return (Phase("all", (stream,)),)

    def _terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        return self._terms_of(network, self._encode(network, batch))

    def _terms_of(self, network: Any, codes: Mapping[str, Tensor]) -> dict[str, Tensor]:
        whole = {m: gather(z) for m, z in codes.items()}
        if self.objective == "noi":
            return {"loss": _orthogonal_iteration(network.running, whole, self.ridge)}
        return {"loss": correlation_loss(self.objective, whole, self.ridge)}


def correlation_loss(objective: str, codes: Mapping[str, Tensor], ridge: float) -> Tensor:
    """The loss of a stateless objective, for two codes or more, by modality."""
    names = tuple(codes)
    if objective == "eckart_young":
        return eckart_young(list(codes.values()))
    if objective == "squares":
        pairs = combinations(names, 2)
        found = [
            correlation_squares(codes[a], codes[b], ridge=ridge, names=(a, b)) for a, b in pairs
        ]
        return torch.stack(found).mean()
    if len(names) == 2:
        a, b = names
        return correlation_trace_norm(codes[a], codes[b], ridge=ridge, names=names)
    return correlation_maxvar(list(codes.values()), ridge=ridge, names=names)


class _Running(nn.Module):
    """Mean and covariance of a modality's codes over recent batches, (d,) and (d, d)."""

    mean: Tensor
    covariance: Tensor
    weight: Tensor

    def __init__(self, width: int, memory: float) -> None:
        super().__init__()
        self.memory = memory
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("covariance", torch.zeros(width, width))
        self.register_buffer("weight", torch.zeros(()))

    def update(self, z: Tensor) -> None:
        """Take a batch (b, d) in."""
        new = 1 - self.memory
        with torch.no_grad():
            wide = z.detach().float()
            self.weight.mul_(self.memory).add_(new)
            self.mean.mul_(self.memory).add_(new * wide.mean(0))
            centred = wide - self.mean / self.weight
            self.covariance.mul_(self.memory).add_(new * centred.T @ centred / len(z))

    def whitened(self, z: Tensor, ridge: float) -> Tensor:
        """Codes (b, d) of covariance I, without gradient."""
        with torch.no_grad():
            # The share of batches not yet seen does not count.
            weight = self.weight.clamp_min(1e-12)
            root = inverse_root(self.covariance / weight, ridge).to(z.dtype)
            return (z.detach() - (self.mean / weight).to(z.dtype)) @ root


def _orthogonal_iteration(running: Parts, codes: Mapping[str, Tensor], ridge: float) -> Tensor:
    r"""Mean over ordered pairs of :math:`\lVert f_a - \tilde g_b \rVert^2 / n`.

    g~ are the other modality's codes, whitened by their running covariance and held constant.
    """
    with torch.autocast(next(iter(codes.values())).device.type, enabled=False):
        wide = {m: z.float() for m, z in codes.items()}
        if running.training:
            for m, z in wide.items():
                running[m].update(z)  # type: ignore[operator]
        targets: dict[str, Tensor] = {
            m: running[m].whitened(z, ridge)  # type: ignore[operator]
            for m, z in wide.items()
        }
        gaps = [(wide[a] - targets[b]).square().sum(1).mean() for a, b in permutations(wide, 2)]
        return torch.stack(gaps).mean()
