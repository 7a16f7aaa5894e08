"""Multi-view information bottleneck (Federici et al. 2020)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.arrays import check_number
from triptych.contracts.method import Capabilities, Fission
from triptych.contracts.variational import steps_buffer
from triptych.errors import ParameterError
from triptych.fission._residuals import Codes, ResidualParts, mean_of, on_pairs
from triptych.losses.bounds import js_lower_bound, smile_estimate
from triptych.losses.gather import gather
from triptych.losses.multiview import symmetric_kl
from triptych.losses.variational import drawn, guarded, product_of_experts
from triptych.modalities import Kind
from triptych.nn.critics import CriticRecipe, SeparableCritic
from triptych.nn.parts import Parts
from triptych.training.batches import Batch
from triptych.training.settings import Training

# Where the weight of the divergence begins to rise from, as a share of where it ends.
FIRST = 1e-3


class _Network(nn.Module):
    steps: Tensor

    def __init__(self, encoders: Parts, heads: Parts, critics: Parts) -> None:
        super().__init__()
        self.encoders, self.heads, self.critics = encoders, heads, critics
        steps_buffer(self)


class MultiviewInformationBottleneck(ResidualParts, Fission):
    r"""Random codes that keep I(Z_a; Z_b) and lose what only one modality knows.

    .. math:: L = -I_{JS}(z_a; z_b)
              + \beta\, \tfrac12 \big[ KL(p(z_a \mid x_a) \| p(z_b \mid x_b))
              + KL(p(z_b \mid x_b) \| p(z_a \mid x_a)) \big]

    The divergence bounds what z_a holds of x_a beyond x_b, and the other way round; it is
    the variational relative of the inverse-predictive term of
    :class:`~triptych.fission.SelfSupervisedMultiview`. The first term is the Jensen-Shannon
    bound of a critic on all pairs of a batch, in nats and at most log 2: half of the paper's
    term, E[-softplus(-T)] - E[softplus(T)], but for a constant. With more than two modalities both
    are means over pairs. Rows of one modality have no part in them, but in the private parts.

    Args:
        n_components: Width d of the code.
        n_private: Width of each private part, at most ``width``.
        encoders: Recipes or factories by modality name, else the kind's default.
        width: Width of each encoder's output, from which mean and variance are made.
        beta: Weight of the divergence at the end; half of the paper's has the same optimum.
        warmup: Share of the training in which beta rises exponentially from a thousandth of it.
        critic: Recipe of the critic of z_a and z_b, one for each pair of modalities.
        training: Epochs, batch size, learning rate, device.
        random_state: Seed of weights, batches and draws.

    Attributes:
        parts_: ``("shared", *names)``.
        residuals_: By modality, the map from features and code to the private part.
        history_: ``"loss"``, ``"js"`` (the bound, at most log 2), ``"divergence"``, which bounds
            the information that is not shared, and ``"information"``, an estimate of I(Z_a; Z_b)
            by SMILE, all in nats; ``"beta"``.

    ``transform`` gives ``"shared"``, the mean of the product of the normal laws of z given each
    modality that a row has (of one modality, its mean), and, under a modality's name, what
    its features still tell linearly when its mean is known. ``score`` is minus the loss.

    References:
        Federici, Dutta, Forré, Kushman, Akata 2020, Learning Robust Representations via
        Multi-View Information Bottleneck, arXiv:2002.07017. Private parts are not theirs.

    Example:
        >>> from triptych import Training
        >>> from triptych.datasets import synthetic
        >>> X = synthetic.shared_private(60, random_state=0).X
        >>> few = Training(epochs=1, device="cpu")
        >>> model = MultiviewInformationBottleneck(4, training=few, random_state=0).fit(X)
        >>> model.transform(X.select("a"))["shared"].shape
        (60, 4)
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
        distributes=True,
    )

    def __init__(
        self,
        n_components: int = 64,
        *,
        n_private: int = 32,
        encoders: Mapping[str, Any] | None = None,
        width: int = 256,
        beta: float = 0.1,
        warmup: float = 0.5,
        critic: CriticRecipe = SeparableCritic(),
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.n_private = n_private
        self.encoders = encoders
        self.width = width
        self.beta = beta
        self.warmup = warmup
        self.critic = critic
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("beta", self.beta, low=0)
        check_number("warmup", self.warmup, low=0, high=1)
        if isinstance(self.critic, type) or not isinstance(self.critic, CriticRecipe):
            raise ParameterError(
                f"critic: expected a recipe, for instance SeparableCritic(); got {self.critic!r}."
            )

    def _build(self, kinds: Mapping[str, Kind]) -> nn.Module:
        d = self.n_components
        heads = {m: self._seeded(f"head:{m}", lambda: nn.Linear(self.width, 2 * d)) for m in kinds}
        names = sorted(kinds)
        critics = {
            _pair(a, b): self._seeded(f"critic:{_pair(a, b)}", lambda: self.critic.build(d, d))
            for i, a in enumerate(names)
            for b in names[i + 1 :]
        }
        return _Network(self._encoder_parts(kinds, self.width), Parts(heads), Parts(critics))

    # -- the loss --------------------------------------------------------------------------

    def _laws(self, network: Any, batch: Batch) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """Features, mean and log-variance by modality."""
        laws = {}
        for m in batch.names:
            h = F.gelu(network.encoders[m](batch.values[m], batch.lengths.get(m)).float())
            mean, log_variance = network.heads[m](h).chunk(2, dim=1)
            laws[m] = (h, mean, guarded(log_variance))
        return laws

    def _terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        laws = {m: (mean, wide) for m, (_, mean, wide) in self._laws(network, batch).items()}
        laws = {m: (gather(mean), gather(wide)) for m, (mean, wide) in laws.items()}
        # Drawn when gathered: processes, whose generators are alike, draw what one would.
        z = {m: drawn(*law) for m, law in laws.items()}
        present = {m: gather(mask) for m, mask in batch.present.items()}

        def nothing() -> Tensor:
            learnt = [p.sum() for p in network.parameters()]
            return (torch.stack(learnt).sum() + sum(code.sum() for code in z.values())) * 0.0

        bounds, divergences, information = [], [], []
        for a, b, both in on_pairs(batch.names, present):
            scores = network.critics[_pair(a, b)](z[a][both], z[b][both])
            bounds.append(js_lower_bound(scores))
            information.append(smile_estimate(scores.detach()))
            of_a, of_b = ([part[both] for part in laws[m]] for m in (a, b))
            divergences.append(symmetric_kl(*of_a, *of_b).mean())
        js, divergence = mean_of(bounds, nothing), mean_of(divergences, nothing)
        beta = self._beta(network)
        return {
            "loss": beta * divergence - js,
            "js": js,
            "divergence": divergence,
            "information": mean_of(information, nothing),
            "beta": js.new_tensor(beta),
        }

    def _beta(self, network: Any) -> float:
        """Weight of the divergence: rises while training begins, whole in every judgement."""
        rising = self.warmup * self._total_steps
        if not network.training or rising <= 0:
            return self.beta
        risen = min(1.0, float(network.steps) / rising)
        return float(self.beta * FIRST ** (1 - risen))

    def _after_step(self, network: Any) -> None:
        network.steps += 1

    # -- codes -----------------------------------------------------------------------------

    def _features(self, network: Any, batch: Batch) -> Codes:
        return {m: (h, mean) for m, (h, mean, _) in self._laws(network, batch).items()}

    def _common(self, network: Any, batch: Batch, codes: Codes) -> Tensor:
        laws = self._laws(network, batch)
        mean, _ = product_of_experts(
            torch.stack([mean for _, mean, _ in laws.values()]),
            torch.stack([log_variance for _, _, log_variance in laws.values()]),
            torch.stack([batch.present[m] for m in laws]),
            prior=False,
        )
        return mean


def _pair(a: str, b: str) -> str:
    """One name for two modalities, whatever characters theirs have."""
    return f"{len(a)}:{a}:{b}"
