"""What contrastive and redundancy-reducing methods share: codes of one width, losses of pairs."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from itertools import combinations
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from triptych.contracts.deep import DeepMethod
from triptych.contracts.method import Capabilities, Coordination
from triptych.coordination._partners import check_partners, check_scored, watchable
from triptych.errors import ParameterError
from triptych.losses.gather import gather
from triptych.losses.tiled import check_codes
from triptych.modalities import Kind, Modalities
from triptych.training.batches import Batch
from triptych.training.loop import Phase, Stream

LARGEST_SCALE = 100.0


class Network(nn.Module):
    """Encoders by modality, and the numbers that the loss learns beside them.

    Args:
        encoders: By modality.
        numbers: By name, where each starts.
    """

    def __init__(self, encoders: nn.Module, numbers: Mapping[str, float]) -> None:
        super().__init__()
        self.encoders = encoders
        for name, start in numbers.items():
            self.register_parameter(name, nn.Parameter(torch.tensor(float(start))))


class PairLoss(DeepMethod, Coordination):
    """Codes of every modality in one space, by a loss of every pair of modalities.

    A method writes ``_pair``. The loss sees the batch of all processes; it is the mean over
    pairs, all of them or those with ``anchor``, and a row counts in the pairs that it has.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
        distributes=True,
    )
    n_components: int
    anchor: str | None
    _on_sphere = True  # whether codes have unit length
    _bounds_information = False

    # -- what a method writes --------------------------------------------------------------

    @abstractmethod
    def _pair(
        self, network: Any, za: Tensor, zb: Tensor, ids_a: Tensor | None, ids_b: Tensor | None
    ) -> Tensor:
        """The loss of n >= 2 rows of two modalities."""

    def _numbers(self) -> dict[str, float]:
        """Numbers that the loss learns, and where they start."""
        return {}

    def _shown(self, network: Any) -> dict[str, Tensor]:
        """Further terms for the history."""
        return {}

    # -- fit -------------------------------------------------------------------------------

    def _fit(
        self,
        X: Modalities,
        y: NDArray[Any] | None,
        validation: tuple[Modalities, NDArray[Any] | None] | None,
    ) -> None:
        if self.anchor is not None and self.anchor not in X.names:
            raise ParameterError(
                f"anchor: expected a modality, one of {list(X.names)}, or None for all pairs; "
                f"got {self.anchor!r}."
            )
        name, pairs = type(self).__name__, self._pairs(X.names)
        check_partners(name, X, pairs)
        super()._fit(X, y, watchable(name, validation, pairs, self.training))

    def _build(self, kinds: Mapping[str, Kind]) -> nn.Module:
        return Network(self._encoder_parts(kinds, self.n_components), self._numbers())

    def _encode(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        codes = {
            m: network.encoders[m](batch.values[m], batch.lengths.get(m)) for m in batch.names
        }
        if self._on_sphere:
            codes = {m: F.normalize(z, dim=1) for m, z in codes.items()}
        return codes

    def _pairs(self, names: tuple[str, ...]) -> list[tuple[str, str]]:
        return [p for p in combinations(names, 2) if self.anchor is None or self.anchor in p]

    def _terms_of(
        self, network: Any, codes: Mapping[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        codes = {m: gather(z) for m, z in codes.items()}
        for m, z in codes.items():
            check_codes(m, z)
        present = {m: gather(mask) for m, mask in batch.present.items()}
        content = {m: gather(ids) for m, ids in batch.content.items()}
        terms: dict[str, Tensor] = {}
        bounds: dict[str, Tensor] = {}
        for a, b in self._pairs(tuple(codes)):
            both = present[a] & present[b]
            count = int(both.sum())
            if count < 2:
                # Nothing to tell apart; the sum keeps every parameter in the graph.
                learnt = sum((p.sum() for p in network.parameters(recurse=False)), codes[a].sum())
                terms[f"{a}~{b}"] = (learnt + codes[b].sum()) * 0.0
                continue
            # A slice is a view; taking rows by mask costs a copy there and one back.
            rows = slice(None) if count == len(both) else both
            ids = {m: content[m][rows] if content else None for m in (a, b)}
            loss = self._pair(network, codes[a][rows], codes[b][rows], ids[a], ids[b])
            terms[f"{a}~{b}"] = loss
            if self._bounds_information:
                cap = loss.new_tensor(math.log(count))
                bounds[f"{a}~{b}:information_lower_bound"] = cap - loss.detach()
                bounds[f"{a}~{b}:information_cap"] = cap
        loss = torch.stack(list(terms.values())).mean()
        return {"loss": loss, **terms, **bounds, **self._shown(network)}

    def _terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        return self._terms_of(network, self._encode(network, batch), batch)

    def _phases(self, network: Any) -> tuple[Phase, ...]:
        stream = Stream(
            terms=lambda batch: self._terms(network, batch),
            encode=lambda batch: self._encode(network, batch),
            terms_of=lambda codes, batch: self._terms_of(network, codes, batch),
        )
        return (Phase("all", (stream,)),)

    def _score(self, X: Modalities, y: NDArray[Any] | None) -> float:
        check_scored(type(self).__name__, X, self._pairs(X.names))
        return super()._score(X, y)

    # -- codes -----------------------------------------------------------------------------

    def _transform(self, X: Modalities) -> Modalities:
        return self._parts(X, lambda batch: self._encode(self.network_, batch))


class Contrastive(PairLoss):
    """A loss that tells partners from other rows, some of which have the partner's content."""

    _needs_content = True


class Tempered(Contrastive):
    """A contrastive loss with a learnt scale = 1 / temperature of at most 100."""

    temperature: float
    temperature_: float

    def _numbers(self) -> dict[str, float]:
        return {"log_scale": -math.log(self.temperature)}

    def _shown(self, network: Any) -> dict[str, Tensor]:
        return {"scale": network.log_scale.detach().exp()}

    def _after_step(self, network: Any) -> None:
        with torch.no_grad():
            network.log_scale.clamp_(max=math.log(LARGEST_SCALE))

    def _after_training(self, X: Modalities) -> None:
        self.temperature_ = float(torch.exp(-self.network_.log_scale.detach()))  # type: ignore[operator]
