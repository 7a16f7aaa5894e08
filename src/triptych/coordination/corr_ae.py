"""Correlated autoencoders: correlation dimension by dimension (Wang et al. 2015)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from triptych.contracts.method import Capabilities, Coordination
from triptych.coordination._rebuilding import RebuildingCodes
from triptych.losses.correlation import column_correlations
from triptych.modalities import Modalities, make_parts
from triptych.training.settings import Training


class CorrAE(RebuildingCodes, Coordination):
    r"""Autoencoders whose j-th code dimensions correlate, each with its partner only.

    .. math:: L = -\sum_j \mathrm{corr}\big(f_j(X), g_j(Y)\big) + \lambda \sum_m \ell_m

    :class:`DCCAE` without the constraint that dimensions be uncorrelated with one another: several
    may learn the same. With more than two modalities the first term is the mean over pairs.

    Args:
        n_components: Width d of each modality's code.
        reconstruction: Weight lambda >= 0 of the errors, means over standardised columns.
        reconstruction_batch_size: Rows of the errors' batches; ``None`` for the same batch.
        encoders: Recipes or factories by modality name, else the kind's default.
        decoders: Decoder recipes by name, else the kind's default (vectors, images, texts).
        training: Epochs, batch size of the correlations, learning rate, device.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        means_, spreads_: By modality, (d,): codes are ``(network's - means_) / spreads_``.
        history_: ``"agreement"`` (minus the sum of correlations) and each modality's error.

    ``score`` is minus the loss.

    References:
        Wang, Arora, Livescu, Bilmes 2015, ICML, section 3 (CorrAE).
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        kinds=("vector", "image", "text"),
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
        reconstructs=True,
        distributes=True,
    )
    means_: dict[str, NDArray[np.float64]]
    spreads_: dict[str, NDArray[np.float64]]

    def __init__(
        self,
        n_components: int = 10,
        *,
        reconstruction: float = 1.0,
        reconstruction_batch_size: int | None = 100,
        encoders: Mapping[str, Any] | None = None,
        decoders: Mapping[str, Any] | None = None,
        training: Training = Training(batch_size=1000),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.reconstruction = reconstruction
        self.reconstruction_batch_size = reconstruction_batch_size
        self.encoders = encoders
        self.decoders = decoders
        self.training = training
        self.random_state = random_state

    def _agreement(
        self, network: Any, codes: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Tensor:
        found = []
        for a, b in combinations(codes, 2):
            rows = present[a] & present[b]
            if int(rows.sum()) < 2:
                found.append((codes[a].sum() + codes[b].sum()) * 0.0)
                continue
            found.append(-column_correlations(codes[a][rows], codes[b][rows]).sum())
        return torch.stack(found).mean()

    def _after_training(self, X: Modalities) -> None:
        super()._after_training(X)
        codes = self._codes(X, lambda batch: self._encode(self.network_, batch))
        seen = {m: z[X.present[m]].astype(np.float64) for m, z in codes.items()}
        self.means_ = {m: z.mean(0) for m, z in seen.items()}
        spreads = {m: z.std(0) for m, z in seen.items()}
        # A unit that does not vary stays at zero instead of being blown up.
        self.spreads_ = {m: np.where(s > 1e-6, s, 1.0) for m, s in spreads.items()}

    def _transform(self, X: Modalities) -> Modalities:
        found = self._codes(X, lambda batch: self._encode(self.network_, batch))
        codes = {}
        for m in X.names:
            code = (found[m] - self.means_[m]) / self.spreads_[m]
            codes[m] = np.where(X.present[m][:, None], code, 0.0).astype(np.float32)
        return make_parts(codes, X.present)
