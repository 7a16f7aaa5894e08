"""The bimodal deep autoencoder and its kin (Ngiam et al. 2011)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from triptych.arrays import check_modalities_named, check_number
from triptych.contracts.decoding import DecodingMethod
from triptych.contracts.method import Capabilities, Fusion
from triptych.errors import ParameterError
from triptych.fusion._layers import DenseBranch, DenseLayer, pretrain
from triptych.fusion._subsets import dropped_modalities
from triptych.modalities import Kind, Modalities
from triptych.nn.parts import Parts
from triptych.nn.rbm import RBM
from triptych.seeding import derive
from triptych.training.batches import Batch, Rows
from triptych.training.loop import Phase
from triptych.training.settings import Training


class _Network(nn.Module):
    def __init__(
        self,
        encoders: Parts,
        activate: nn.Module,
        joint: nn.Module,
        decoders: Parts,
        width: int,
    ) -> None:
        super().__init__()
        self.encoders, self.activate = encoders, activate
        self.joint, self.decoders, self.width = joint, decoders, width


class MultimodalAutoencoder(DecodingMethod, Fusion):
    r"""One code from any modalities, from which all modalities are rebuilt.

    .. math:: L = \sum_m w_m\, \ell_m\big(x_m, \hat x_m(z)\big), \qquad
              z = f\big([\,\delta_m\, h_m(x_m)\,]_m\big)

    Every modality is always a target. What goes in is dropped at random: for each row a non-empty
    subset of modalities is drawn uniformly (thirds for two modalities: one, the other, both), and
    the branch of what is not in the subset, or is absent, is multiplied by zero (delta). Errors
    are means over a modality's columns, or nats per token, so that no modality outweighs another
    by its size. ``sparsity`` adds that times sum over m of the mean over hidden units j of
    (ρ - mean over rows of sigmoid(h_mj))², with ρ = ``sparsity_target``.

    ``pretraining=RBM()`` takes the paper's network instead of recipes: one layer of sigmoid units
    for each modality, one for the code, and the same way back. Its layers are first learnt one
    after another, as sparse restricted Boltzmann machines: normal visible units below, the
    posteriors of the present modalities above (zeros where absent); unrolled, they are where
    training begins.

    Args:
        n_components: Width d of the code.
        encoders: Recipes or factories by modality name, else the kind's default.
        decoders: Decoder recipes by name, else the kind's default (vectors, images, texts).
        width: Width of each encoder's output and of the joint hidden layer.
        modality_dropout: Share of rows whose subset is drawn; the others keep all that is there.
        weights: Weights w by modality name, 1 where left out.
        sparsity: Weight of the sparse penalty on the branches' hidden units.
        sparsity_target: Mean activation that they are drawn to, in (0, 1).
        pretraining: How layers are learnt before; ``None`` for networks of recipes, from scratch.
            Vectors and images only; ``encoders`` and ``decoders`` must be left out.
        training: Epochs, batch size, learning rate, device.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        history_: ``"loss"``, the error of each modality, and ``"sparsity"`` if it counts.

    ``reconstruct`` shows what an absent modality may have been;
    :func:`~triptych.evaluation.subsets.reconstruct_subsets` measures it from every subset, and
    :func:`~triptych.evaluation.subsets.three_settings` asks the paper's three questions.
    ``score`` is minus the loss.

    References:
        Ngiam, Khosla, Kim, Nam, Lee, Ng 2011, Multimodal Deep Learning, ICML.
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
        n_components: int = 64,
        *,
        encoders: Mapping[str, Any] | None = None,
        decoders: Mapping[str, Any] | None = None,
        width: int = 256,
        modality_dropout: float = 1.0,
        weights: Mapping[str, float] | None = None,
        sparsity: float = 0.0,
        sparsity_target: float = 0.05,
        pretraining: RBM | None = None,
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.encoders = encoders
        self.decoders = decoders
        self.width = width
        self.modality_dropout = modality_dropout
        self.weights = weights
        self.sparsity = sparsity
        self.sparsity_target = sparsity_target
        self.pretraining = pretraining
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("width", self.width, low=1, integer=True)
        check_number("modality_dropout", self.modality_dropout, low=0, high=1)
        if not isinstance(self.weights, Mapping | None):
            raise ParameterError(
                f"weights: expected numbers by modality name or None; got {self.weights!r}."
            )
        for name, weight in (self.weights or {}).items():
            check_number(f"weights__{name}", weight, low=0)
        check_number("sparsity", self.sparsity, low=0)
        check_number("sparsity_target", self.sparsity_target, low=1e-6, high=1 - 1e-6)
        if self.pretraining is None:
            return
        if not isinstance(self.pretraining, RBM):
            raise ParameterError(
                f"pretraining: expected RBM(...) or None, got {self.pretraining!r}."
            )
        if self.encoders or self.decoders:
            raise ParameterError(
                "pretraining: layers learnt one by one have a network of their own; leave "
                "encoders and decoders out."
            )

    def _fit(self, X: Modalities, y: Any, validation: Any) -> None:
        check_modalities_named("weights", self.weights or {}, X.names)
        words = [m for m in X.names if X.kind(m).form == "text"]
        if self.pretraining is not None and words:
            raise ParameterError(
                f"pretraining: machines take vectors and images; {words} are texts."
            )
        self._learnt_from = X
        try:
            super()._fit(X, y, validation)
        finally:
            del self._learnt_from

    def _set_aside(self, X: Modalities, y: Any) -> Any:
        kept = super()._set_aside(X, y)
        self._learnt_from = kept[0]
        return kept

    def _build(self, kinds: Mapping[str, Kind]) -> nn.Module:
        if self.pretraining is not None:
            return self._seeded("layers", lambda: self._layers(kinds))

        def joint() -> nn.Module:
            return nn.Sequential(
                nn.Linear(self.width * len(kinds), self.width),
                nn.GELU(),
                nn.Linear(self.width, self.n_components),
            )

        return _Network(
            self._encoder_parts(kinds, self.width),
            nn.GELU(),
            self._seeded("joint", joint),
            self._decoder_parts(kinds, self.n_components),
            self.width,
        )

    def _layers(self, kinds: Mapping[str, Kind]) -> _Network:
        """The paper's network: a layer of sigmoids each, one for the code, and back."""
        shapes = {m: tuple(int(s or 0) for s in k.shape) for m, k in kinds.items()}
        return _Network(
            Parts({m: DenseLayer(math.prod(s), self.width) for m, s in shapes.items()}),
            nn.Sigmoid(),
            nn.Sequential(nn.Linear(self.width * len(kinds), self.n_components), nn.Sigmoid()),
            Parts({m: DenseBranch(self.n_components, self.width, s) for m, s in shapes.items()}),
            self.width,
        )

    def _phases(self, network: Any) -> tuple[Phase, ...]:
        if self.pretraining is not None and self.pretraining.epochs:
            rows = Rows(self._learnt_from, self.inputs_)
            pretrain(network, rows, self.pretraining, derive(self.seed_, "pretraining"))
        return super()._phases(network)

    def _branches(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        """Hidden units (b, width) of each modality, before they are activated."""
        return {
            m: network.encoders[m](batch.values[m], batch.lengths.get(m)).float()
            for m in batch.names
        }

    def _code(
        self,
        network: Any,
        batch: Batch,
        used: Mapping[str, Tensor],
        branches: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Joint code (b, d) from the modalities that ``used`` (b,) allows."""
        found = self._branches(network, batch) if branches is None else branches
        nothing = torch.zeros(len(batch), network.width, device=batch.rows.device)
        kept = [
            network.activate(found[m]) * used[m][:, None] if m in found else nothing
            for m in network.encoders
        ]
        code: Tensor = network.joint(torch.cat(kept, dim=1))
        return code

    def _subset(self, batch: Batch) -> dict[str, Tensor]:
        """For each row a non-empty subset of what is present, every subset as likely."""
        return dropped_modalities(batch, self.modality_dropout)

    def _sparsity(self, branches: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Sum over modalities of the mean squared distance of units' means from the target."""
        found = []
        for m, h in branches.items():
            mask = batch.present[m][:, None]
            mean = (torch.sigmoid(h) * mask).sum(0) / mask.sum().clamp_min(1)
            found.append((self.sparsity_target - mean).square().mean() * mask.any())
        return torch.stack(found).sum()

    def _terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        branches = self._branches(network, batch)
        code = self._code(network, batch, self._subset(batch), branches)
        terms = self._rebuilding(network, dict.fromkeys(batch.names, code), batch)
        weights = self.weights or {}
        loss = torch.stack([weights.get(m, 1.0) * term for m, term in terms.items()]).sum()
        if self.sparsity:
            terms["sparsity"] = self._sparsity(branches, batch)
            loss = loss + self.sparsity * terms["sparsity"]
        return {"loss": loss, **terms}

    def _decoder_codes(self, network: Any, batch: Batch) -> Mapping[str, Tensor]:
        return dict.fromkeys(self.names_in_, self._code(network, batch, batch.present))

    def _transform(self, X: Modalities) -> NDArray[np.float32]:
        return self._codes(
            X, lambda batch: {"code": self._code(self.network_, batch, batch.present)}
        )["code"]
