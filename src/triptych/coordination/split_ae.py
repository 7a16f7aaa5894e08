"""Split autoencoders: each modality's code rebuilds all (Ngiam et al. 2011)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from triptych.contracts.method import Capabilities, Coordination
from triptych.contracts.sourced import SourcedMethod
from triptych.coordination._rebuilding import CodedNetwork
from triptych.errors import CapabilityError, ModalityError
from triptych.modalities import Kind, Modalities
from triptych.nn.parts import Parts
from triptych.training.batches import Batch
from triptych.training.settings import Training


class SplitAE(SourcedMethod, Coordination):
    r"""One encoder per modality, whose code alone must rebuild every modality.

    .. math:: L = \sum_s \sum_t \ell_t\big(x_t, \hat x_t(f_s(x_s))\big)

    The decoders are shared by all sources, so that codes of different modalities mean the same.
    ``sources=["image"]`` has one encoder only, as in the paper, whose row of results is that of
    the modality that is there at test.

    Args:
        n_components: Width d of each modality's code.
        sources: Modalities that get an encoder; ``None`` for all.
        encoders: Recipes or factories by modality name, else the kind's default.
        decoders: Decoder recipes by name, else the kind's default (vectors, images, texts).
        training: Epochs, batch size, learning rate, device.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        history_: ``"loss"`` and ``"source>target"``, the error of each target from each source.

    ``reconstruct`` rebuilds a modality from the mean of the codes that there are. ``score`` is
    minus the loss.

    References:
        Ngiam et al. 2011, Multimodal Deep Learning, ICML; Wang, Arora, Livescu, Bilmes 2015,
        ICML, section 2 (SplitAE).
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
        n_components: int = 10,
        *,
        sources: Sequence[str] | None = None,
        encoders: Mapping[str, Any] | None = None,
        decoders: Mapping[str, Any] | None = None,
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.sources = sources
        self.encoders = encoders
        self.decoders = decoders
        self.training = training
        self.random_state = random_state

    def _build(self, kinds: Mapping[str, Kind]) -> CodedNetwork:
        return CodedNetwork(
            self._encoder_parts(self._coded(kinds), self.n_components),
            self._decoder_parts(kinds, self.n_components),
        )

    def _encode(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        encoders: Parts = network.encoders
        return {
            m: encoders[m](batch.values[m], batch.lengths.get(m))
            for m in batch.names
            if m in encoders.names
        }

    def _terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        terms = {}
        for source, code in self._encode(network, batch).items():
            codes = dict.fromkeys(batch.names, code)
            errors = self._rebuilding(network, codes, batch, given=source)
            terms.update({f"{source}>{target}": e for target, e in errors.items()})
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}

    def _decoder_codes(self, network: Any, batch: Batch) -> Mapping[str, Tensor]:
        codes = self._encode(network, batch)
        masks = {m: batch.present[m][:, None].float() for m in codes}
        if not codes or not bool(torch.stack(list(masks.values())).sum(0).bool().all()):
            raise CapabilityError(
                f"SplitAE rebuilds from {sorted(network.encoders.names)}; a row has none of them."
            )
        total = torch.stack([codes[m].float() * masks[m] for m in codes]).sum(0)
        mean = total / torch.stack(list(masks.values())).sum(0)
        return dict.fromkeys(self.names_in_, mean)

    def _transform(self, X: Modalities) -> Modalities:
        known = [m for m in X.names if self.sources is None or m in self.sources]
        if not known:
            raise ModalityError(
                f"SplitAE was fitted with sources {list(self.sources or ())}; got {X.names}."
            )
        return self._parts(X.select(*known), lambda batch: self._encode(self.network_, batch))
