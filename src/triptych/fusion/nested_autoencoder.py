"""Nested autoencoders (AE²-Nets; Zhang, Liu, Fu 2019): a free code that explains inner codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from triptych.arrays import check_number
from triptych.contracts.decoding import DecodingMethod
from triptych.contracts.method import Capabilities, Fusion
from triptych.fusion._row_codes import RowCodes, Steps
from triptych.modalities import Kind, Modalities
from triptych.nn.encoders import VectorEncoder
from triptych.nn.parts import Parts
from triptych.seeding import derive, torch_scope
from triptych.training.batches import Batch
from triptych.training.loop import Phase, Stream
from triptych.training.settings import Training

# All three steps of a round are on the same rows.
ROWS = "rows"


class _Network(nn.Module):
    rows: RowCodes
    mean_code: Tensor

    def __init__(self, encoders: Parts, decoders: Parts, degradation: Parts, width: int) -> None:
        super().__init__()
        self.encoders, self.decoders, self.degradation = encoders, decoders, degradation
        self.register_buffer("mean_code", torch.full((width,), 0.5))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def inner(self, batch: Batch) -> dict[str, Tensor]:
        """Inner codes (b, width) of the modalities in a batch, in (0, 1)."""
        return {
            m: torch.sigmoid(self.encoders[m](batch.values[m], batch.lengths.get(m)).float())
            for m in batch.names
        }

    def degraded(self, name: str, code: Tensor) -> Tensor:
        """What a modality's degradation net makes of codes (b, d), in (0, 1)."""
        return torch.sigmoid(self.degradation[name](code))


class NestedAutoencoder(DecodingMethod, Fusion):
    r"""A code h of each sample, itself learnt, that explains the inner code of every modality.

    .. math:: J = \sum_v \Big[ \tfrac12 \overline{(x_v - \hat x_v)^2} + \tfrac{\lambda}{2}
              \overline{(z_v - g_v(h))^2} \Big] + \tfrac{\rho}{2} \overline{h^2}

    Inner autoencoders x → z → x̂, a degradation net g_v from h to z of each modality, and h a free
    vector of every training row; bars are means over entries of the rows that have the modality
    (nats a token for texts), so that sizes do not decide; the h of a row minimises the sum over
    the modalities that this row has. Each round takes one batch and steps in turn: the
    autoencoders with g(h) held, the degradation nets with z held, and then ``code_steps`` steps of
    these rows' h, each row with moments of its own. In the first ``pretraining`` of all rounds
    only the autoencoders learn.

    Args:
        n_components: Width d of h.
        width: Width of the inner codes.
        depth: Hidden layers of the degradation nets; 0 is one layer, as in the paper's code.
        encoders: Recipes or factories by modality name, else the kind's default.
        decoders: Decoder recipes by name, else the kind's default (vectors, images, texts).
        agreement: λ.
        ridge: ρ, which keeps h from drifting.
        code_steps: Steps of h in a round.
        code_learning_rate: Largest step of h; falls to 0 within a round's steps.
        inference_steps: Steps of h for rows that were not trained on.
        pretraining: Share of all rounds.
        training: Epochs, batch size, learning rate, device.
        random_state: Seed of weights, batches and first codes.

    Attributes:
        codes_: h of the rows that were trained on, in their order, (n, d); settled with the final
            networks.
        mean_code_: Their mean, (d,), from which every other row begins.
        history_: ``"loss"``, the error of each modality, ``"agreement"``, and
            ``"loss:degradation.0"`` and ``"loss:codes.0"`` of the other two steps.

    ``transform`` finds h of any rows from any modalities: gradient steps from the mean code with
    the networks held, each row by itself. That of a training row is near ``codes_`` where its
    modalities decide it. Validation rows are coded in the same way. ``reconstruct`` decodes
    g_v(h). ``score`` is minus J.

    References:
        Zhang, Liu, Fu 2019, AE2-Nets: Autoencoder in Autoencoder Networks, CVPR. The authors'
        code skips a batch each epoch, moves h in the step of the degradation nets as well, and
        shares one optimiser state among all batches of h; none of it is so here.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        kinds=("vector", "image", "text"),
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
        reconstructs=True,
    )

    def __init__(
        self,
        n_components: int = 64,
        *,
        width: int = 200,
        depth: int = 0,
        encoders: Mapping[str, Any] | None = None,
        decoders: Mapping[str, Any] | None = None,
        agreement: float = 1.0,
        ridge: float = 1e-4,
        code_steps: int = 50,
        code_learning_rate: float = 0.1,
        inference_steps: int = 100,
        pretraining: float = 1 / 3,
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.width = width
        self.depth = depth
        self.encoders = encoders
        self.decoders = decoders
        self.agreement = agreement
        self.ridge = ridge
        self.code_steps = code_steps
        self.code_learning_rate = code_learning_rate
        self.inference_steps = inference_steps
        self.pretraining = pretraining
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("width", self.width, low=1, integer=True)
        check_number("depth", self.depth, low=0, integer=True)
        check_number("agreement", self.agreement, low=0, open_low=True)
        check_number("ridge", self.ridge, low=0)
        check_number("code_steps", self.code_steps, low=1, integer=True)
        check_number("code_learning_rate", self.code_learning_rate, low=0, open_low=True)
        check_number("inference_steps", self.inference_steps, low=1, integer=True)
        check_number("pretraining", self.pretraining, low=0, high=0.99)

    # -- networks --------------------------------------------------------------------------

    def _build(self, kinds: Mapping[str, Kind]) -> nn.Module:
        def degradation() -> nn.Module:
            return VectorEncoder(
                self.n_components, self.width, width=self.width, depth=self.depth, dropout=0.0
            )

        return _Network(
            self._encoder_parts(kinds, self.width),
            self._decoder_parts(kinds, self.width),
            Parts({m: self._seeded(f"degradation:{m}", degradation) for m in kinds}),
            self.n_components,
        )

    def _fit(self, X: Modalities, y: Any, validation: Any) -> None:
        self._n_rows = len(X)
        super()._fit(X, y, validation)

    def _set_aside(self, X: Modalities, y: Any) -> Any:
        kept = super()._set_aside(X, y)
        self._n_rows = len(kept[0])  # a code that never moves would pull at the mean
        return kept

    def _phases(self, network: Any) -> tuple[Phase, ...]:
        first = torch.empty(self._n_rows, self.n_components)
        with torch_scope(derive(self.seed_, "codes")):
            network.rows = RowCodes(first.uniform_(0, 1))
        self._pretraining_rounds = round(self.pretraining * self._total_steps)
        inner = (*network.encoders.parameters(), *network.decoders.parameters())
        return (
            Phase("all", (Stream(lambda b: self._terms(network, b), order=ROWS),), inner),
            Phase(
                "degradation",
                (Stream(lambda b: self._degradation_terms(network, b), order=ROWS),),
                tuple(network.degradation.parameters()),
            ),
            Phase(
                "codes",
                (Stream(lambda b: self._code_terms(network, b), order=ROWS),),
                moves=True,
            ),
        )

    def _pretrains(self, network: Any) -> bool:
        return bool(network.training and int(network.steps) < self._pretraining_rounds)

    # -- the three steps -------------------------------------------------------------------

    def _terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        """J of the rows; its gradient reaches the autoencoders only."""
        inner = network.inner(batch)
        errors = self._rebuilding(network, inner, batch)
        if self._pretrains(network):
            agreement = 0.0 * sum(z.sum() for z in inner.values())
            code = network.rows.codes[batch.rows]
        else:
            # Rows that are judged are no training rows: theirs is another code of that number.
            code = (
                network.rows.codes[batch.rows]
                if network.training
                else self._inferred(network, batch, inner)
            )
            with torch.no_grad():
                guesses = self._guesses(network, batch, code)
            agreement = _apart(batch, inner, guesses)
        loss = 0.5 * torch.stack(list(errors.values())).sum() + self.agreement * agreement
        loss = loss + 0.5 * self.ridge * code.detach().square().mean()
        return {"loss": loss, **errors, "agreement": agreement}

    def _degradation_terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            inner = network.inner(batch)  # anew, since the encoders have just moved
            code = (
                network.rows.codes[batch.rows]
                if network.training
                else self._inferred(network, batch, inner)
            )
        loss = _apart(batch, inner, self._guesses(network, batch, code))
        return {"loss": 0.0 * loss if self._pretrains(network) else loss}

    def _code_terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            inner = network.inner(batch)
        if not network.training:
            code = self._inferred(network, batch, inner)
        else:
            if not self._pretrains(network):
                network.rows.take(
                    batch.rows,
                    lambda h: self._cost(network, batch, inner, h),
                    self.code_steps,
                    self.code_learning_rate,
                )
            network.steps += 1  # the last step of a round
            code = network.rows.codes[batch.rows]
        with torch.no_grad():
            return {"loss": self._cost(network, batch, inner, code).mean()}

    def _guesses(self, network: Any, batch: Batch, code: Tensor) -> dict[str, Tensor]:
        """g(h) of the modalities in a batch, (b, width)."""
        return {m: network.degraded(m, code) for m in batch.names}

    def _cost(
        self, network: Any, batch: Batch, inner: Mapping[str, Tensor], code: Tensor
    ) -> Tensor:
        """What of J hangs on each row's own code, (b,)."""
        away = _distance(batch, inner, self._guesses(network, batch, code))
        return self.agreement * away + 0.5 * self.ridge * code.square().mean(1)

    # -- codes of other rows ---------------------------------------------------------------

    def _inferred(
        self,
        network: Any,
        batch: Batch,
        inner: Mapping[str, Tensor] | None = None,
        start: Tensor | None = None,
    ) -> Tensor:
        """Codes (b, d) with the networks held, each row by itself, from the mean code."""
        if inner is None:
            with torch.no_grad():
                inner = network.inner(batch)
        held = {m: z.detach() for m, z in inner.items()}
        if start is None:
            mean = network.rows.codes.mean(0) if hasattr(network, "rows") else network.mean_code
            start = mean.expand(len(batch), -1)
        steps = Steps.fresh(start)
        steps.take(
            lambda h: self._cost(network, batch, held, h),
            self.inference_steps,
            self.code_learning_rate,
        )
        return steps.codes

    def _after_training(self, X: Modalities) -> None:
        super()._after_training(X)
        network: Any = self.network_
        codes, found = network.rows.codes, []
        for batch in self._batches(X):
            start = codes[batch.rows.to(codes.device)].to(batch.rows.device)
            found.append(self._inferred(network, batch, start=start).cpu().numpy())
        self.codes_: NDArray[np.float32] = np.concatenate(found)
        self.mean_code_: NDArray[np.float32] = self.codes_.mean(0)
        network.mean_code.copy_(torch.from_numpy(self.mean_code_))
        del network.rows

    def _transform(self, X: Modalities) -> NDArray[np.float32]:
        return self._codes(X, lambda b: {"code": self._inferred(self.network_, b)})["code"]

    def _decoder_codes(self, network: Any, batch: Batch) -> Mapping[str, Tensor]:
        return self._read_by_decoders(network, self._inferred(network, batch))

    def _read_by_decoders(self, network: Any, code: Tensor) -> Mapping[str, Tensor]:
        return {m: network.degraded(m, code) for m in self.names_in_}


def _each(inner: Mapping[str, Tensor], guesses: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Half the mean squared distance of inner codes from g(h), (b,) by modality."""
    return {m: 0.5 * (z - guesses[m]).square().mean(1) for m, z in inner.items()}


def _distance(batch: Batch, inner: Mapping[str, Tensor], guesses: Mapping[str, Tensor]) -> Tensor:
    """Sum over the modalities that each row has, (b,)."""
    found = _each(inner, guesses)
    return torch.stack([each * batch.present[m] for m, each in found.items()]).sum(0)


def _apart(batch: Batch, inner: Mapping[str, Tensor], guesses: Mapping[str, Tensor]) -> Tensor:
    """Sum over modalities of the mean over the rows that have each."""
    found = _each(inner, guesses)
    there = batch.present
    return torch.stack([batch.mean(e * there[m], there[m], m) for m, e in found.items()]).sum()
