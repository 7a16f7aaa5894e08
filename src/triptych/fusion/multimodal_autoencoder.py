"""The bimodal deep autoencoder and its kin (Ngiam et al. 2011), trained end to end."""

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
from triptych.errors import ParameterError
from triptych.modalities import Kind, Modalities
from triptych.nn.parts import Parts
from triptych.training.batches import Batch
from triptych.training.settings import Training


class _Network(nn.Module):
    def __init__(self, encoders: Parts, joint: nn.Module, decoders: Parts, width: int) -> None:
        super().__init__()
        self.encoders, self.joint, self.decoders = encoders, joint, decoders
        self.width = width


class MultimodalAutoencoder(DecodingMethod, Fusion):
    r"""One code from any modalities, from which all modalities are rebuilt.

    .. math:: L = \sum_m w_m\, \ell_m\big(x_m, \hat x_m(z)\big), \qquad
              z = f\big([\,\delta_m\, h_m(x_m)\,]_m\big)

    Every modality is always a target. What goes in is dropped at random: for each row a non-empty
    subset of modalities is drawn uniformly (thirds for two modalities: one, the other, both), and
    the branch of what is not in the subset, or is absent, is multiplied by zero (delta). Errors
    are means over a modality's columns, or nats per token, so that no modality outweighs another
    by its size.

    Args:
        n_components: Width d of the code.
        encoders: Recipes or factories by modality name, else the kind's default.
        decoders: Decoder recipes by name, else the kind's default (vectors, images, texts).
        width: Width of each encoder's output and of the joint hidden layer.
        modality_dropout: Share of rows whose subset is drawn; the others keep all that is there.
        weights: Weights w by modality name, 1 where left out.
        training: Epochs, batch size, learning rate, device.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        history_: ``"loss"`` and the error of each modality.

    The layer-wise pretraining by RBMs of the paper is not here; end-to-end training took its
    place. ``score`` is minus the loss.

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
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.encoders = encoders
        self.decoders = decoders
        self.width = width
        self.modality_dropout = modality_dropout
        self.weights = weights
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("width", self.width, low=1, integer=True)
        check_number("modality_dropout", self.modality_dropout, low=0, high=1)
        for name, weight in (self.weights or {}).items():
            check_number(f"weights__{name}", weight, low=0)

    def _fit(self, X: Modalities, y: Any, validation: Any) -> None:
        unknown = [name for name in self.weights or {} if name not in X.names]
        if unknown:
            raise ParameterError(f"weights: {unknown} are no modalities; there are {X.names}.")
        super()._fit(X, y, validation)

    def _build(self, kinds: Mapping[str, Kind]) -> nn.Module:
        def joint() -> nn.Module:
            return nn.Sequential(
                nn.GELU(),
                nn.Linear(self.width * len(kinds), self.width),
                nn.GELU(),
                nn.Linear(self.width, self.n_components),
            )

        return _Network(
            self._encoder_parts(kinds, self.width),
            self._seeded("joint", joint),
            self._decoder_parts(kinds, self.n_components),
            self.width,
        )

    def _code(self, network: Any, batch: Batch, used: Mapping[str, Tensor]) -> Tensor:
        """Joint code (b, d) from the modalities that ``used`` (b,) allows."""
        n = len(batch)
        branches = []
        for name in network.encoders:
            if name in batch.values:
                branch = network.encoders[name](batch.values[name], batch.lengths.get(name))
                branches.append(branch * used[name][:, None])
            else:
                branches.append(torch.zeros(n, network.width, device=batch.rows.device))
        code: Tensor = network.joint(torch.cat([b.float() for b in branches], dim=1))
        return code

    def _subset(self, batch: Batch) -> dict[str, Tensor]:
        """For each row a non-empty subset of what is present, every subset as likely."""
        there = torch.stack([batch.present[m] for m in batch.names], dim=1)  # (b, m)
        n, m = there.shape
        drawn = torch.randint(1, 2**m, (n,))
        bits = torch.stack([(drawn >> i) & 1 for i in range(m)], dim=1).bool()
        whole = torch.rand(n) >= self.modality_dropout
        chosen = there & (bits | whole[:, None]).to(there.device)
        # Nothing of the drawn subset is there: keep what is.
        chosen = torch.where(chosen.any(dim=1, keepdim=True), chosen, there)
        return {name: chosen[:, i] for i, name in enumerate(batch.names)}

    def _terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        code = self._code(network, batch, self._subset(batch))
        terms = self._rebuilding(network, dict.fromkeys(batch.names, code), batch)
        weights = self.weights or {}
        loss = torch.stack([weights.get(m, 1.0) * term for m, term in terms.items()]).sum()
        return {"loss": loss, **terms}

    def _decoder_codes(self, network: Any, batch: Batch) -> Mapping[str, Tensor]:
        return dict.fromkeys(self.names_in_, self._code(network, batch, batch.present))

    def _transform(self, X: Modalities) -> NDArray[np.float32]:
        return self._codes(
            X, lambda batch: {"code": self._code(self.network_, batch, batch.present)}
        )["code"]
