"""Autoencoders with one code per modality: decoders beside a term of agreement."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, permutations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from triptych.arrays import check_number
from triptych.contracts.decoding import DecodingMethod
from triptych.coordination._partners import check_together
from triptych.losses.gather import gather
from triptych.losses.tiled import check_codes
from triptych.modalities import Kind, Modalities
from triptych.nn.parts import Parts
from triptych.training.batches import Batch
from triptych.training.loop import Phase, Stream


class CodedNetwork(nn.Module):
    """Encoders and decoders by modality, and what the term of agreement learns."""

    def __init__(self, encoders: Parts, decoders: Parts, links: nn.Module | None = None) -> None:
        super().__init__()
        self.encoders, self.decoders, self.links = encoders, decoders, links


class RebuildingCodes(DecodingMethod):
    r"""Base of methods with loss ``agreement + reconstruction * sum of errors``.

    A method writes ``_agreement`` on the codes of the whole batch. The two terms may have batches
    of their own size (Wang et al. 2015): large ones for agreement, which looks across the batch,
    small ones for the errors. Decoders read the network's codes; the code of an absent modality
    is a least-squares regression on the codes present, learnt after training.
    """

    n_components: int
    reconstruction: float
    reconstruction_batch_size: int | None
    bridges_: dict[str, dict[str, NDArray[np.float64]]]

    def _agreement(
        self, network: Any, codes: Mapping[str, Tensor], present: Mapping[str, Tensor]
    ) -> Tensor:
        """Scalar, from codes (n, d) of all processes and where they are present (n,)."""
        raise NotImplementedError

    def _links(self, kinds: Mapping[str, Kind]) -> nn.Module | None:
        """What the term of agreement learns, if anything."""
        return None

    def _rows_needed(self) -> int:
        return 2

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("reconstruction", self.reconstruction, low=0)
        if self.reconstruction_batch_size is not None:
            check_number(
                "reconstruction_batch_size", self.reconstruction_batch_size, low=2, integer=True
            )

    def _fit(self, X: Modalities, y: Any, validation: Any) -> None:
        check_together(type(self).__name__, X, list(combinations(X.names, 2)))
        super()._fit(X, y, validation)

    def _build(self, kinds: Mapping[str, Kind]) -> nn.Module:
        return CodedNetwork(
            self._encoder_parts(kinds, self.n_components),
            self._decoder_parts(kinds, self.n_components),
            self._links(kinds),
        )

    def _phases(self, network: Any) -> tuple[Phase, ...]:
        if self.reconstruction_batch_size is None:
            return (
                Phase(
                    "all", (Stream(lambda b: self._terms(network, b), least=self._rows_needed()),)
                ),
            )
        agreement = Stream(
            lambda b: self._agreement_terms(network, self._encode(network, b), b),
            encode=lambda b: self._encode(network, b),
            terms_of=lambda codes, b: self._agreement_terms(network, codes, b),
            least=self._rows_needed(),
        )
        errors = Stream(
            lambda b: self._error_terms(network, self._encode(network, b), b),
            batch_size=self.reconstruction_batch_size,
        )
        return (Phase("reconstruction", (agreement, errors)),)

    def _encode(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        return {m: network.encoders[m](batch.values[m], batch.lengths.get(m)) for m in batch.names}

    def _agreement_terms(
        self, network: Any, codes: Mapping[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        whole = {m: gather(z) for m, z in codes.items()}
        for m, z in whole.items():
            check_codes(m, z)
        present = {m: gather(mask) for m, mask in batch.present.items()}
        value = self._agreement(network, whole, present)
        return {"loss": value, "agreement": value}

    def _error_terms(
        self, network: Any, codes: Mapping[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        errors = self._rebuilding(network, codes, batch)
        return {"loss": self.reconstruction * torch.stack(list(errors.values())).sum(), **errors}

    def _terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        codes = self._encode(network, batch)
        first = self._agreement_terms(network, codes, batch)
        second = self._error_terms(network, codes, batch)
        return {**first, **second, "loss": first["loss"] + second["loss"]}

    # -- codes of what is absent -----------------------------------------------------------

    def _after_training(self, X: Modalities) -> None:
        super()._after_training(X)
        codes = self._codes(X, lambda batch: self._encode(self.network_, batch))
        present = X.present
        self.bridges_ = {
            f"{a}:{b}": _regression(codes[a], codes[b], present[a] & present[b])
            for a, b in permutations(sorted(codes), 2)
        }

    def _decoder_codes(self, network: Any, batch: Batch) -> Mapping[str, Tensor]:
        own = self._encode(network, batch)
        found = {}
        for target in self.names_in_:
            total = torch.zeros(len(batch), self.n_components, device=batch.rows.device)
            count = torch.zeros(len(batch), 1, device=batch.rows.device)
            for source in batch.names:
                if source == target:
                    continue
                bridge = self.bridges_[f"{source}:{target}"]
                slope = torch.from_numpy(bridge["slope"]).to(total)
                offset = torch.from_numpy(bridge["offset"]).to(total)
                there = batch.present[source][:, None]
                total = total + torch.where(there, own[source].float() @ slope + offset, 0.0)
                count = count + there
            code = total / count.clamp_min(1)
            if target in own:
                code = torch.where(batch.present[target][:, None], own[target].float(), code)
            found[target] = code
        return found


def _regression(
    source: NDArray[Any], target: NDArray[Any], rows: NDArray[np.bool_]
) -> dict[str, NDArray[np.float64]]:
    """Least squares of codes (n, d) on codes (n, d), with the shortest slope where it is open."""
    d = source.shape[1]
    if rows.sum() < 2:
        centre = target.mean(0).astype(np.float64)
        return {"slope": np.zeros((d, target.shape[1])), "offset": centre}
    A, B = source[rows].astype(np.float64), target[rows].astype(np.float64)
    mean_a, mean_b = A.mean(0), B.mean(0)
    slope = np.linalg.lstsq(A - mean_a, B - mean_b, rcond=1e-6)[0]
    return {"slope": slope, "offset": mean_b - mean_a @ slope}
