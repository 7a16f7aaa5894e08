"""Self-supervised learning from several views (Tsai et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.arrays import check_number
from triptych.contracts.decoding import DecodingMethod
from triptych.contracts.method import Capabilities, Fission
from triptych.errors import CapabilityError, ParameterError
from triptych.fission._residuals import Codes, ResidualParts, mean_of, on_pairs
from triptych.losses.contrastive import info_nce
from triptych.losses.gather import gather
from triptych.losses.multiview import inverse_prediction, residual_entropy
from triptych.modalities import Kind, Modalities
from triptych.nn.parts import Parts
from triptych.training.batches import Batch
from triptych.training.settings import Training


class _Network(nn.Module):
    def __init__(self, encoders: Parts, heads: Parts, decoders: Parts | None) -> None:
        super().__init__()
        self.encoders, self.heads, self.decoders = encoders, heads, decoders


class SelfSupervisedMultiview(ResidualParts, DecodingMethod, Fission):
    r"""Codes that keep what another view tells, and lose what it does not.

    .. math:: L = \lambda_{CL} \operatorname{InfoNCE}(z_a, z_b)
              + \lambda_{FP}\, \lVert x_b - R_b(z_a) \rVert^2
              + \lambda_{IP}\, \lVert z_a - z_b \rVert^2

    If whatever matters of a sample is in each of its modalities (redundancy), then the code that
    is best is the one that maximises I(Z; S) and, among those, minimises H(Z | S), where S is
    another modality. The *contrastive* and the *forward-predictive* term (S is predicted from
    Z) raise the first; the *inverse-predictive* term (Z is predicted from S) lowers the second.
    Alone, the last has the constant code as its solution and is refused.

    Every modality is the signal of every other: each term is the mean over all pairs of
    modalities that a row has, forward prediction over both directions. With two modalities this is
    the paper's loss plus the same with the roles exchanged. F(s), which predicts z_a, is the
    encoder of s as in the paper, that is z_b. The forward error is a mean over entries of
    standardised values, or nats per token of texts; the inverse one a sum over coordinates. Rows
    of one modality have no part in the loss, but in the private parts.

    Args:
        n_components: Width d of the code z.
        n_private: Width of each private part, at most ``width``.
        encoders: Recipes or factories by modality name, else the kind's default.
        decoders: Recipes of R by name, else the kind's default (vectors, images, texts).
        width: Width of each encoder's output h, from which z is made by a linear map.
        contrastive: Weight λ_CL.
        forward: Weight λ_FP; 0 builds no decoders.
        inverse: Weight λ_IP; the paper's code takes a mean over coordinates, twice, so its weight
            is 2 / d of one here.
        temperature: Width of the softmax over cosines, > 0, no unit.
        training: Epochs, batch size, learning rate, device.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        parts_: ``("shared", *names)``.
        residuals_: By modality, the map from features and code to the private part.
        history_: ``"loss"`` and the terms ``"contrastive"``, ``"forward"``, ``"inverse"``, before
            weights; ``"information_lower_bound"`` of I(Z; S) with its cap log(batch), and
            ``"residual_entropy"``, which bounds H(Z | S) from above; nats, means over pairs.

    ``transform`` gives ``"shared"``, the mean of the codes z (unit length) of the modalities that
    a row has, at unit length; from one modality it is the paper's representation of it. The
    part of a modality's name is private: what h still tells linearly when z is known
    (leading principal components of the residual), where z is the code of that modality alone.
    ``reconstruct`` is R of the shared part. ``score`` is minus the loss.

    References:
        Tsai, Wu, Salakhutdinov, Morency 2021, Self-supervised Learning from a Multi-view
        Perspective, arXiv:2006.05576. Private parts are not theirs.

    Example:
        >>> from triptych import Training
        >>> from triptych.datasets import synthetic
        >>> X = synthetic.shared_private(60, random_state=0).X
        >>> few = Training(epochs=1, device="cpu")
        >>> model = SelfSupervisedMultiview(4, n_private=3, training=few, random_state=0).fit(X)
        >>> {name: z.shape for name, z in model.transform(X).items()}
        {'shared': (60, 4), 'a': (60, 3), 'b': (60, 3)}
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        kinds=("vector", "image", "text"),
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
        reconstructs=True,
        distributes=True,
    )
    _needs_content = True

    def __init__(
        self,
        n_components: int = 64,
        *,
        n_private: int = 32,
        encoders: Mapping[str, Any] | None = None,
        decoders: Mapping[str, Any] | None = None,
        width: int = 256,
        contrastive: float = 1.0,
        forward: float = 0.1,
        inverse: float = 0.1,
        temperature: float = 0.1,
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.n_private = n_private
        self.encoders = encoders
        self.decoders = decoders
        self.width = width
        self.contrastive = contrastive
        self.forward = forward
        self.inverse = inverse
        self.temperature = temperature
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        for name in ("contrastive", "forward", "inverse"):
            check_number(name, getattr(self, name), low=0)
        check_number("temperature", self.temperature, low=0, open_low=True)
        if self.contrastive == 0 and self.forward == 0:
            raise ParameterError(
                "contrastive, forward: at least one must be above 0; inverse prediction alone is "
                "best for a code that is constant."
            )

    def _build(self, kinds: Mapping[str, Kind]) -> nn.Module:
        heads = Parts(
            {
                m: self._seeded(f"head:{m}", lambda: nn.Linear(self.width, self.n_components))
                for m in kinds
            }
        )
        decoders = self._decoder_parts(kinds, self.n_components) if self.forward > 0 else None
        return _Network(self._encoder_parts(kinds, self.width), heads, decoders)

    # -- the loss --------------------------------------------------------------------------

    def _features(self, network: Any, batch: Batch) -> Codes:
        codes = {}
        for m in batch.names:
            h = F.gelu(network.encoders[m](batch.values[m], batch.lengths.get(m)).float())
            codes[m] = (h, F.normalize(network.heads[m](h), dim=1))
        return codes

    def _terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        own = {m: z for m, (_, z) in self._features(network, batch).items()}
        z = {m: gather(code) for m, code in own.items()}
        present = {m: gather(mask) for m, mask in batch.present.items()}
        content = {m: gather(ids) for m, ids in batch.content.items()}

        def nothing() -> Tensor:
            return torch.stack([code.sum() for code in z.values()]).sum() * 0.0

        contrastive, inverse, bounds, caps, entropies = [], [], [], [], []
        for a, b, both in on_pairs(batch.names, present):
            za, zb = z[a][both], z[b][both]
            loss = info_nce(
                za,
                zb,
                temperature=self.temperature,
                ids_a=content[a][both],
                ids_b=content[b][both],
            )
            contrastive.append(loss)
            inverse.append(inverse_prediction(za, zb))
            caps.append(loss.new_tensor(math.log(len(za))))
            bounds.append(caps[-1] - loss.detach())
            # As far as z is predicted, its residual is that of the partner too.
            entropies.append(residual_entropy(za.detach(), zb.detach()))
        terms = {
            "contrastive": mean_of(contrastive, nothing),
            "forward": self._forward(network, own, batch, nothing()),
            "inverse": mean_of(inverse, nothing),
        }
        loss = (
            self.contrastive * terms["contrastive"]
            + self.forward * terms["forward"]
            + self.inverse * terms["inverse"]
        )
        return {
            "loss": loss,
            **terms,
            "information_lower_bound": mean_of(bounds, nothing),
            "information_cap": mean_of(caps, nothing),
            "residual_entropy": mean_of(entropies, nothing),
        }

    def _forward(
        self, network: Any, z: Mapping[str, Tensor], batch: Batch, nothing: Tensor
    ) -> Tensor:
        """Mean error of every modality predicted from every other one that a row has."""
        if network.decoders is None:
            return nothing
        errors = []
        for b in batch.names:
            for a in batch.names:
                both = gather(batch.present[a] & batch.present[b])
                if a == b or not bool(both.any()):
                    continue
                lengths = batch.lengths.get(b)
                each = network.decoders[b].loss(z[a], batch.values[b], lengths)
                errors.append(gather(each)[both].mean())
        return mean_of(errors, lambda: nothing)

    # -- codes -----------------------------------------------------------------------------

    def _common(self, network: Any, batch: Batch, codes: Codes) -> Tensor:
        there = [z * batch.present[m][:, None] for m, (_, z) in codes.items()]
        return F.normalize(torch.stack(there).sum(dim=0), dim=1)

    def _decoder_codes(self, network: Any, batch: Batch) -> Mapping[str, Tensor]:
        common = self._common(network, batch, self._features(network, batch))
        return dict.fromkeys(self.names_in_, common)

    def _reconstruct(self, X: Modalities) -> Modalities:
        if self.forward == 0:
            raise CapabilityError(
                "SelfSupervisedMultiview has learnt no forward prediction (forward=0), so it "
                "cannot reconstruct."
            )
        return super()._reconstruct(X)
