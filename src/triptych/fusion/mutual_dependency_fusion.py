"""Mutual dependency (Colombo et al. 2021): fusions that are asked to keep modalities together."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from triptych.arrays import check_choice, check_number, row_chunks
from triptych.contracts.deep import CODE_ROWS
from triptych.contracts.method import Data
from triptych.errors import (
    CapabilityError,
    DataError,
    ParameterError,
    TrainingError,
    TrainingWarning,
    warn,
)
from triptych.fusion._dependency import CriticNetwork, apart, check_complete, fewest
from triptych.fusion._labelled import FusionNetwork, LabelledFusion
from triptych.fusion.attention_fusion import AttentionFusion
from triptych.fusion.concat_fusion import ConcatFusion
from triptych.fusion.gated_fusion import GatedFusion
from triptych.fusion.low_rank_fusion import LowRankFusion
from triptych.fusion.multiplicative_fusion import MultiplicativeFusion
from triptych.fusion.tensor_fusion import TensorFusion
from triptych.losses.divergence_bounds import (
    DIVERGENCES,
    f_divergence_lower_bound,
    gradient_penalty,
    kl_lower_bound,
    wasserstein_lower_bound,
)
from triptych.losses.gather import gather
from triptych.modalities import Kind, Modalities
from triptych.nn.critics import dense
from triptych.nn.recipes import MLP
from triptych.seeding import generator
from triptych.training.batches import Batch
from triptych.training.loop import Phase, Stream
from triptych.training.settings import Training

FUSIONS: dict[str, type[LabelledFusion]] = {
    cls.__name__: cls
    for cls in (
        AttentionFusion,
        ConcatFusion,
        GatedFusion,
        LowRankFusion,
        MultiplicativeFusion,
        TensorFusion,
    )
}
MEASURES = ("kl", "f", "wasserstein")
SCORED = ("fused", "features")
PENALTY = 10.0


class MutualDependencyFusion(LabelledFusion):
    r"""A fusion that also keeps in its code how the modalities of a row depend on one another.

    .. math:: L = L_{task} - \lambda\, D\big(p(x_1, \dots, x_m) \,\|\, p(x_1) \cdots p(x_m)\big)

    D is bounded from below by a critic T of the fused code, which is that of a row's own
    modalities or of modalities from rows that differ, every one of them, from the others' rows:

    =================  =====================================================================
    measure            bound
    =================  =====================================================================
    ``"kl"``           Donsker and Varadhan's :math:`E T - \log E' e^T` (MINE)
    ``"f"``            that of a ``divergence``; for ``"kl"`` :math:`E T - E' e^{T - 1}`
    ``"wasserstein"``  :math:`E T - E' T`, T held near slope 1 by a gradient penalty
    =================  =====================================================================

    Critic and network take turns: ``critic_steps`` of the critic on other batches, one of the
    network with the critic held. The critic reads tanh of the code, which tells as much and
    cannot win by size. Only rows that have all modalities enter D; a batch of fewer of them than
    there are modalities moves the task alone. At λ = 0 this is the fusion itself. Epochs are
    chosen by the task: the loss of validation rows is theirs, since D is another critic's each
    time.

    Args:
        n_components: Width d of the code.
        fusion: Name of one of these: ConcatFusion, AttentionFusion, GatedFusion, TensorFusion,
            LowRankFusion, MultiplicativeFusion.
        options: Arguments of that fusion alone, for instance ``{"rank": 8}``.
        measure: One of the three.
        divergence: For ``measure="f"``, one of those of
            :func:`~triptych.losses.divergence_bounds.f_divergence_lower_bound`.
        weight: λ, from 0 to 1e6.
        scored: What T reads: ``"fused"``, the code, as in the paper, or ``"features"``, all
            encoders' outputs side by side, so that the fusing module feels the task alone.
        critic_width: Units of T's two hidden layers.
        critic_steps: Steps of the critic for one of the network.
        bound_limit: A bound that is beyond it, on either side, or not finite, has diverged; in
            nats, or units of tanh of the code.
        on_divergence: ``"stop"`` ends training with an error; ``"continue"`` warns, and the task
            alone is learnt from then on.
        encoders: Recipes or factories by modality name, else the kind's default.
        width: Width of each encoder's output; ``None`` for the fusion's default.
        head: Layers that read the code; ``None`` for the fusion's default.
        dropout: Share of each modality's features left out while training.
        modality_dropout: Share of training rows of which a random non-empty subset of modalities
            is kept for the task; the others keep all that they have.
        task: ``"classification"``, ``"multilabel"``, ``"regression"``, or ``"auto"``.
        training: Epochs, batch size, learning rate, device.
        random_state: Seed of weights, batches, negatives and dropout.

    Attributes:
        target_: What there is to predict; ``classes_`` are its classes.
        history_: ``"loss"``, ``"task"``, ``"dependency"``, the estimate of D, 0 for batches
            without one; and of the critic ``"loss:critic.0"``.
        unrelated_: Mean of T over modalities of different training rows, where
            :meth:`dependency_scores` has its zero.
        diverged_at_: Step at which the critic diverged and was given up, else ``None``.

    ``score`` is the accuracy, for several labels that of whole rows, or R².

    References:
        Colombo, Chapuis, Labeau, Clavel 2021, Improving Multimodal Fusion via Mutual Dependency
        Maximisation, EMNLP, arXiv:2109.00922. Here no negative keeps two modalities of one row
        together, and the critic reads tanh of the code.
    """

    unrelated_: float
    diverged_at_: int | None

    def __init__(
        self,
        n_components: int = 64,
        *,
        fusion: str = "LowRankFusion",
        options: Mapping[str, Any] | None = None,
        measure: str = "kl",
        divergence: str = "kl",
        weight: float = 0.1,
        scored: str = "fused",
        critic_width: int = 64,
        critic_steps: int = 2,
        bound_limit: float = 100.0,
        on_divergence: str = "stop",
        encoders: Mapping[str, Any] | None = None,
        width: int | Mapping[str, int] | None = None,
        head: MLP | None = None,
        dropout: float = 0.0,
        modality_dropout: float = 0.25,
        task: str = "auto",
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.fusion = fusion
        self.options = options
        self.measure = measure
        self.divergence = divergence
        self.weight = weight
        self.scored = scored
        self.critic_width = critic_width
        self.critic_steps = critic_steps
        self.bound_limit = bound_limit
        self.on_divergence = on_divergence
        self.encoders = encoders
        self.width = width  # type: ignore[assignment]
        self.head = head  # type: ignore[assignment]
        self.dropout = dropout
        self.modality_dropout = modality_dropout
        self.task = task
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        check_choice("fusion", self.fusion, tuple(FUSIONS))
        check_choice("measure", self.measure, MEASURES)
        check_choice("divergence", self.divergence, DIVERGENCES)
        check_choice("scored", self.scored, SCORED)
        check_choice("on_divergence", self.on_divergence, ("stop", "continue"))
        check_number("weight", self.weight, low=0, high=1e6)
        check_number("critic_width", self.critic_width, low=1, integer=True)
        check_number("critic_steps", self.critic_steps, low=1, integer=True)
        check_number("bound_limit", self.bound_limit, low=0, open_low=True, infinite=True)
        self._inner()._check_parameters()

    def _inner(self) -> LabelledFusion:
        """The fusion, unfitted, with what this method was given."""
        cls = FUSIONS[self.fusion]
        if self.options is not None and not isinstance(self.options, Mapping):
            raise ParameterError(
                "options: expected a dict of the fusion's own arguments, for instance "
                f'{{"rank": 8}}; got {type(self.options).__name__} {self.options!r}.'
            )
        options = dict(self.options or {})
        taken = set(inspect.signature(cls).parameters)
        own = sorted(taken - set(inspect.signature(type(self)).parameters))
        if unknown := sorted(set(options) - set(own), key=str):
            raise ParameterError(
                f"options: {self.fusion} has no {unknown} of its own; it has {own}."
            )
        given = {
            k: v
            for k, v in self.get_params(deep=False).items()
            if k in taken and not (k in ("width", "head") and v is None)
        }
        return cls(**given, **options)

    # -- fit -------------------------------------------------------------------------------

    def _fit(self, X: Modalities, y: NDArray[Any] | None, validation: Any) -> None:
        if self.weight:
            least = fewest(X.names)
            if self.training.batch_size < least:
                raise ParameterError(
                    f"training__batch_size: {len(X.names)} modalities must all come from "
                    f"different rows; expected at least {least}, got {self.training.batch_size}."
                )
            check_complete(X, "there are")
        super()._fit(X, y, validation)

    def _set_aside(self, X: Modalities, y: NDArray[Any] | None) -> Any:
        found = super()._set_aside(X, y)
        if self.weight:
            check_complete(found[0], "without those set aside for validation there are")
        return found

    # -- networks --------------------------------------------------------------------------

    def _build(self, kinds: Mapping[str, Kind]) -> nn.Module:
        inner = self._inner()
        inner.inputs_, inner.seed_, inner.target_ = self.inputs_, self.seed_, self.target_
        self._fusing = inner
        network = inner._build(kinds)
        assert isinstance(network, FusionNetwork)
        n_in = self.n_components
        if self.scored == "features":
            n_in = sum(inner._widths(tuple(sorted(kinds))).values())
        critic = self._seeded("critic", lambda: dense(n_in, 1, width=self.critic_width, depth=2))
        return CriticNetwork(network, critic)

    def _features(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        return self._fusing._features(network, batch)

    def _phases(self, network: Any) -> tuple[Phase, ...]:
        least = fewest(network.encoders.names)
        moved = tuple(
            p for part in (network.encoders, network.fuse, network.head) for p in part.parameters()
        )
        whole = Phase("all", (Stream(lambda b: self._terms(network, b), least=least),), moved)
        if not self.weight:
            return (whole,)
        critic = Phase(
            "critic",
            (Stream(lambda b: self._critic_terms(network, b), least=least),),
            tuple(network.critic.parameters()),
            steps=self.critic_steps,
        )
        return (whole, critic)

    def _after_step(self, network: Any) -> None:
        network.steps += 1

    # -- the two kinds of step -------------------------------------------------------------

    def _terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        features = self._features(network, batch)
        outputs = network.head(network.fuse(features, self._kept(network, batch)))
        task = self._task_loss(outputs, batch)
        if not self.weight:
            return {"loss": task, "task": task}
        nothing = torch.zeros((), device=task.device)
        pair = self._pair(network, features, batch)
        dependency = nothing if pair is None else self._bound(network, *pair)
        if self._diverges(network, dependency):
            dependency = nothing
        loss = task - self.weight * dependency if network.training else task
        return {"loss": loss, "task": task, "dependency": dependency}

    def _critic_terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            pair = self._pair(network, self._features(network, batch), batch)
        # A loss without parameters, which moves nothing.
        nothing = torch.zeros((), device=batch.rows.device, requires_grad=True)
        if pair is None:
            return {"loss": nothing + 0.0}
        value = self._bound(network, *pair)
        if self._diverges(network, value):
            return {"loss": nothing + 0.0}
        if network.training:
            network.judged += 1
        if self.measure != "wasserstein":
            return {"loss": -value}
        mix = self._draws(network, "mix").uniform(size=len(pair[0]))
        penalty = gradient_penalty(network.scores, *pair, torch.from_numpy(mix).to(pair[0]))
        return {"loss": PENALTY * penalty - value, "penalty": penalty}

    def _bound(self, network: Any, joint: Tensor, product: Tensor) -> Tensor:
        """The critic's lower bound on D, from its inputs (n, ...) of either law."""
        return self._bound_of(network.scores(joint), network.scores(product))

    def _bound_of(self, p: Tensor, q: Tensor) -> Tensor:
        if self.measure == "kl":
            return kl_lower_bound(p, q)
        if self.measure == "f":
            return f_divergence_lower_bound(p, q, self.divergence)
        return wasserstein_lower_bound(p, q)

    def _pair(
        self, network: Any, features: Mapping[str, Tensor], batch: Batch
    ) -> tuple[Tensor, Tensor] | None:
        """What the critic reads of rows as they are, and of modalities from different rows.

        Rows of all processes count, those that have every modality; ``None`` where they are
        fewer than the modalities, which then cannot all come from different rows.
        """
        names = tuple(network.encoders)
        whole = {m: gather(features[m]) for m in names}
        present = self._present(network, batch)
        rows = torch.stack([gather(present[m]) for m in names]).all(0)
        if int(network.diverged) >= 0 or int(rows.sum()) < fewest(names):
            return None
        joint = {m: h[rows] for m, h in whole.items()}
        places = apart(int(rows.sum()), len(names), self._draws(network, "negatives"))
        at = torch.from_numpy(places).to(rows.device)
        product = {m: joint[m][at[k]] for k, m in enumerate(names)}
        return self._read_by_critic(network, joint), self._read_by_critic(network, product)

    def _read_by_critic(self, network: Any, features: Mapping[str, Tensor]) -> Tensor:
        first = next(iter(features.values()))
        every = torch.ones(len(first), dtype=torch.bool, device=first.device)
        if self.scored == "features":
            return torch.cat([features[m] for m in network.encoders], dim=1).tanh()
        code: Tensor = network.fuse(features, dict.fromkeys(features, every))
        return code.tanh()

    def _draws(self, network: Any, what: str) -> np.random.Generator:
        """Draws of a step, the same on all processes; always the same where rows are judged."""
        return generator(self.seed_, what, int(network.steps) if network.training else -1)

    def _diverges(self, network: Any, value: Tensor) -> bool:
        """Whether a bound is beyond all bounds; what is to be done about it is done."""
        number = float(value.detach())
        if not network.training or (np.isfinite(number) and abs(number) <= self.bound_limit):
            return False
        about = (
            f"the dependency of modalities (measure {self.measure!r}) became {number:.3g} at step "
            f"{int(network.steps)}, beyond bound_limit = {self.bound_limit:g}: the critic has "
            f"diverged at weight = {self.weight:g}."
        )
        if self.on_divergence == "stop":
            raise TrainingError(
                f"{about} Take a smaller weight, measure='wasserstein', or "
                "on_divergence='continue'."
            )
        warn(f"{about} The task alone is learnt from here.", TrainingWarning)
        network.diverged.fill_(int(network.steps))
        return True

    # -- what the critic tells -------------------------------------------------------------

    def _after_training(self, X: Modalities) -> None:
        network: Any = self.network_
        at = int(network.diverged)
        self.diverged_at_ = at if at >= 0 else None
        complete = X[np.all(list(X.present.values()), axis=0)]
        self.unrelated_ = 0.0
        if self.weight and not int(network.judged):
            warn(
                f"the dependency of modalities was not learnt: {len(complete)} of {len(X)} "
                f"training rows have all modalities, and no batch had {fewest(X.names)} of them. "
                "Take a larger training__batch_size, or more such rows.",
                TrainingWarning,
            )
        elif self.weight and at < 0:
            self.unrelated_ = float(self._scores(complete, unrelated=True).mean())

    def _scores(self, X: Modalities, *, unrelated: bool = False) -> NDArray[np.float64]:
        """T of the rows (n,), or of modalities from different rows among them."""
        features = self._codes(X, lambda b: self._features(self.network_, b))
        if unrelated:
            places = apart(len(X), len(features), generator(self.seed_, "unrelated"))
            features = {m: features[m][places[k]] for k, m in enumerate(sorted(features))}
        network: Any = self.network_
        found = []
        with torch.no_grad():
            # Some rows at a time: a code may be made of very many products.
            for part in row_chunks(len(X), CODE_ROWS):
                some = {
                    m: torch.from_numpy(h[part]).to(self._device()) for m, h in features.items()
                }
                found.append(network.scores(self._read_by_critic(network, some)).double().cpu())
        return np.asarray(torch.cat(found).numpy())

    def dependency_scores(self, X: Data) -> NDArray[np.float64]:
        """How well the modalities of each row go together, by the critic.

        Args:
            X: All modalities fitted, present in all of n rows.

        Returns:
            Shape (n,): T less its mean over modalities of different rows. Above zero, a row's
            modalities belong together more than by chance; below, they contradict each other. For
            ``measure="kl"`` differences are those of log-ratios of the two laws, in nats, as far
            as the critic has learnt them.

        Raises:
            CapabilityError: A modality is absent, or there is no critic: λ was 0, it diverged, or
                no batch had rows to learn it from.
        """
        self._check_fitted()
        data = self._gate_critic(X, "dependency_scores")
        return self._scores(data) - self.unrelated_

    def dependency(self, X: Data) -> float:
        """The critic's lower bound on D from these rows; of new rows, an honest one.

        Args:
            X: All modalities fitted, present in all of n rows, n >= the number of modalities.
        """
        self._check_fitted()
        data = self._gate_critic(X, "dependency")
        if len(data) < fewest(data.names):
            raise DataError(
                f"dependency: {len(data.names)} modalities must all come from different rows; "
                f"got {len(data)} rows."
            )
        p, q = (torch.from_numpy(self._scores(data, unrelated=u)) for u in (False, True))
        return float(self._bound_of(p, q))

    def _gate_critic(self, X: Data, asked: str) -> Modalities:
        data = self._gate(X, asked, every_modality=True)
        self._refuse_missing(data, asked)
        if not self.weight or self.diverged_at_ is not None:
            why = "weight is 0" if not self.weight else f"it diverged at step {self.diverged_at_}"
            raise CapabilityError(f"{asked}: this model has no critic, since {why}.")
        network: Any = self.network_
        if not int(network.judged):
            raise CapabilityError(
                f"{asked}: this model has no critic, since no training batch had "
                f"{fewest(data.names)} rows with all modalities to learn it from."
            )
        return data
