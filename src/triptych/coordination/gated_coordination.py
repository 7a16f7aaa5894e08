"""Gated coordination: each modality's code is filtered by itself or by the other modality."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import combinations, permutations
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from triptych.arrays import check_choice, check_number
from triptych.contracts.deep import DeepMethod
from triptych.contracts.method import Capabilities, Coordination, Data
from triptych.coordination._partners import check_partners, check_scored, watchable
from triptych.errors import DataError, ModalityError, ParameterError
from triptych.losses.agreement import partner_cross_entropy
from triptych.losses.contrastive import info_nce
from triptych.losses.gather import gather
from triptych.losses.tiled import check_codes
from triptych.modalities import Kind, Modalities, as_modalities
from triptych.neighbours import first_best
from triptych.nn.gates import AttentionGate, ElementwiseGate
from triptych.nn.parts import Parts
from triptych.training.batches import Batch
from triptych.training.loop import Phase, Stream
from triptych.training.settings import Training

FORMS = ("elementwise", "attention")
GATES = ("own", "cross")
LARGEST_SCALE = 100.0
# Numbers in one tile of pairs (rows, n, d); what is beyond is computed tile by tile.
TILE = 1 << 23


class _Network(nn.Module):
    def __init__(self, encoders: Parts, gates: Parts, voices: Parts | None) -> None:
        super().__init__()
        self.encoders, self.gates, self.voices = encoders, gates, voices
        self.log_scale = nn.Parameter(torch.tensor(-math.log(0.07)))


class GatedCoordination(DeepMethod, Coordination):
    r"""Codes that pass through gates, trained so that partners are nearest.

    .. math:: z_A = g_A(x_A, x_B) \odot f_A(x_A), \qquad z_B = g_B(x_A, x_B) \odot f_B(x_B)

    Each modality keeps a code of its own, but what passes may depend on the other. The loss is
    symmetric InfoNCE of the gated codes, with a learnt scale of at most 100.

    * ``gates="own"``: the gate hears its own modality only. Codes stand alone, so searching among
      many is as cheap as without gates.
    * ``gates="cross"``: the gate of A hears B too. A gate that has seen the true partner would
      tell which one it is, so every pair of the batch, true or not, gets gates of its own: the
      cost of a step grows with the square of the batch times d, and :meth:`similarities` and
      ``retrieve`` open the gates again for every candidate. A second term trains the gates to
      work when nothing is heard; ``transform`` gives the codes of rows by what they have.

    Args:
        n_components: Width d of each modality's code.
        gates: ``"own"`` or ``"cross"``.
        form: ``"elementwise"`` (a sigmoid for each feature) or ``"attention"`` (a softmax over
            ``positions`` parts of the encoder's output; the other modality asks, the parts
            answer).
        positions: Parts that attention is divided among.
        width: Width of each encoder's output.
        encoders: Recipes or factories by modality name, else the kind's default.
        training: Epochs, batch size, learning rate, device.
        random_state: Seed of weights, batches and dropout.

    Attributes:
        gate_statistics_: By modality, ``"mean"`` and ``"spread"`` of each gate (d,), or each
            position's share (positions,), over the training rows, and ``"saturated"``, the share
            of gates below 0.05 or above 0.95.
        history_: ``"loss"``, the terms of each pair of modalities (``"a~b"``, and ``"a~b alone"``
            for cross gates), and ``"scale"``.

    ``score`` is minus the loss, in batches of the training's size.

    References:
        Arevalo et al. 2017, arXiv:1702.01992 (gated units, there with one output);
        Radford et al. 2021, arXiv:2103.00020 (the loss).
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
        distributes=True,
    )
    _needs_content = True
    gate_statistics_: dict[str, dict[str, Any]]

    def __init__(
        self,
        n_components: int = 64,
        *,
        gates: str = "own",
        form: str = "elementwise",
        positions: int = 4,
        width: int = 128,
        encoders: Mapping[str, Any] | None = None,
        training: Training = Training(batch_size=128),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.gates = gates
        self.form = form
        self.positions = positions
        self.width = width
        self.encoders = encoders
        self.training = training
        self.random_state = random_state

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_choice("gates", self.gates, GATES)
        check_choice("form", self.form, FORMS)
        check_number("positions", self.positions, low=2, integer=True)
        check_number("width", self.width, low=1, integer=True)
        if self.form == "attention" and self.width % self.positions:
            raise ParameterError(
                f"width: expected a multiple of positions = {self.positions}, got {self.width}."
            )

    def _build(self, kinds: Mapping[str, Kind]) -> nn.Module:
        d, width = self.n_components, self.width

        def gate() -> nn.Module:
            if self.form == "elementwise":
                return ElementwiseGate(width, d)
            return AttentionGate(width, d, self.positions)

        voices = None
        if self.gates == "cross":
            pairs = [f"{speaker}:{hearer}" for speaker, hearer in permutations(kinds, 2)]
            # Without bias: an absent modality says nothing, which is zero.
            voices = Parts(
                {
                    p: self._seeded(f"voice:{p}", lambda: nn.Linear(width, d, bias=False))
                    for p in pairs
                }
            )
        return _Network(
            self._encoder_parts(kinds, width),
            Parts({m: self._seeded(f"gate:{m}", gate) for m in kinds}),
            voices,
        )

    def _fit(
        self,
        X: Modalities,
        y: NDArray[Any] | None,
        validation: tuple[Modalities, NDArray[Any] | None] | None,
    ) -> None:
        name, pairs = type(self).__name__, list(combinations(X.names, 2))
        check_partners(name, X, pairs)
        super()._fit(X, y, watchable(name, validation, pairs, self.training))

    def _score(self, X: Modalities, y: NDArray[Any] | None) -> float:
        check_scored(type(self).__name__, X, list(combinations(X.names, 2)))
        return super()._score(X, y)

    # -- loss ------------------------------------------------------------------------------

    def _features(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        return {
            m: F.gelu(network.encoders[m](batch.values[m], batch.lengths.get(m)).float())
            for m in batch.names
        }

    def _phases(self, network: Any) -> tuple[Phase, ...]:
        stream = Stream(
            terms=lambda batch: self._terms(network, batch),
            encode=lambda batch: self._features(network, batch),
            terms_of=lambda codes, batch: self._terms_of(network, codes, batch),
        )
        return (Phase("all", (stream,)),)

    def _terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        return self._terms_of(network, self._features(network, batch), batch)

    def _terms_of(
        self, network: Any, features: Mapping[str, Tensor], batch: Batch
    ) -> dict[str, Tensor]:
        whole = {m: gather(h) for m, h in features.items()}
        for m, h in whole.items():
            check_codes(m, h)
        present = {m: gather(mask) for m, mask in batch.present.items()}
        content = {m: gather(ids) for m, ids in batch.content.items()}
        scale = network.log_scale.exp()
        terms = {}
        with torch.autocast(batch.rows.device.type, enabled=False):
            for a, b in combinations(whole, 2):
                rows = present[a] & present[b]
                ids = [content[m][rows] if content else None for m in (a, b)]
                ha, hb = whole[a][rows], whole[b][rows]
                for label, heard in (("", True), (" alone", False)):
                    if heard and network.voices is None:
                        continue
                    name = f"{a}~{b}{label if network.voices is not None else ''}"
                    if len(ha) < 2:
                        # Nothing to tell apart; the sum keeps every parameter in the graph.
                        terms[name] = (ha.sum() + hb.sum() + scale) * 0.0
                        continue
                    if not heard:  # codes that stand alone need no matrix of pairs
                        terms[name] = info_nce(
                            _deaf_codes(network, a, ha),
                            _deaf_codes(network, b, hb),
                            temperature=1 / scale,
                            ids_a=ids[0],
                            ids_b=ids[1],
                        )
                        continue
                    cosines = _pair_cosines(network, a, b, ha, hb, heard)
                    terms[name] = partner_cross_entropy(
                        cosines * scale, ids_a=ids[0], ids_b=ids[1]
                    )
        loss = torch.stack(list(terms.values())).mean()
        return {"loss": loss, **terms, "scale": scale.detach()}

    def _after_step(self, network: Any) -> None:
        with torch.no_grad():
            network.log_scale.clamp_(max=math.log(LARGEST_SCALE))

    # -- codes -----------------------------------------------------------------------------

    def _gated(self, network: Any, batch: Batch, *, openness: bool = False) -> dict[str, Tensor]:
        """Codes (b, d) of what each row has, or the gates that made them."""
        features = self._features(network, batch)
        found = {}
        for m, h in features.items():
            heard = None
            if network.voices is not None:
                said = [
                    network.voices[f"{k}:{m}"](features[k]) * batch.present[k][:, None]
                    for k in features
                    if k != m
                ]
                count = sum(batch.present[k].float() for k in features if k != m)
                if said:
                    heard = torch.stack(said).sum(0) / torch.as_tensor(count).clamp_min(1)[:, None]
            gate = network.gates[m]
            pieces = gate.pieces(h)
            if openness:
                found[m] = gate.openness(pieces, heard)
            else:
                found[m] = F.normalize(gate(pieces, heard), dim=1)
        return found

    def _transform(self, X: Modalities) -> Modalities:
        return self._parts(X, lambda batch: self._gated(self.network_, batch))

    def _after_training(self, X: Modalities) -> None:
        opened = self._codes(X, lambda batch: self._gated(self.network_, batch, openness=True))
        self.gate_statistics_ = {}
        for m, gates in opened.items():
            seen = gates[X.present[m]].astype(np.float64)
            extreme = (seen < 0.05) | (seen > 0.95)
            self.gate_statistics_[m] = {
                "mean": seen.mean(0),
                "spread": seen.std(0),
                "saturated": float(extreme.mean()),
            }

    # -- pairs -----------------------------------------------------------------------------

    def similarities(self, query: Data, among: Data) -> NDArray[np.float32]:
        """Cosine of every query with every candidate, gates opened for each pair by itself.

        Args:
            query: One modality, q rows.
            among: One other modality, n rows.

        Returns:
            Shape (q, n), in [-1, 1]; what one pair gets depends on no other row.

        Raises:
            ModalityError: If either is not one fitted modality, or both are the same.
        """
        return np.concatenate(list(self._similar(query, among)))

    def _similar(self, query: Data, among: Data) -> Iterator[NDArray[np.float32]]:
        """Cosines of some queries with every candidate, (some of q, n)."""
        self._check_fitted()
        (a, ha), (b, hb) = (
            self._one_side(where, X) for where, X in (("query", query), ("among", among))
        )
        if a == b:
            raise ModalityError(f"query and among are both {a!r}; pairs need two modalities.")
        for rows in _tiles(len(ha), len(hb) * self.n_components):
            with torch.no_grad():
                cosines = _pair_cosines(self.network_, a, b, ha[rows], hb, self.gates == "cross")
            yield cosines.cpu().numpy()

    def _one_side(self, where: str, X: Data) -> tuple[str, Tensor]:
        data = as_modalities(X)
        if len(data.names) != 1:
            raise ModalityError(f"{where}: expected one modality, got {list(data.names)}.")
        name = data.names[0]
        if not data.present[name].all():
            row = int(np.flatnonzero(~data.present[name])[0])
            raise DataError(f"{where}: row {row} of {name!r} is absent.")
        data = self._gate_transform(data)
        features = self._codes(data, lambda batch: self._features(self.network_, batch))[name]
        return name, torch.from_numpy(features).to(self._device())

    def retrieve(
        self, query: Data, among: Data, k: int = 10
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Nearest partners of each query; cross gates are opened for every candidate.

        Arguments and results are those of every coordination method.
        """
        if self.gates == "own":
            return super().retrieve(query, among, k)
        check_number("k", k, low=1, integer=True)
        return first_best(self._similar(query, among), k)


def _deaf_codes(network: Any, name: str, h: Tensor) -> Tensor:
    """Codes (n, d) of unit length whose gates hear nothing, of features (n, width)."""
    gate = network.gates[name]
    return F.normalize(gate(gate.pieces(h), None), dim=1)


def _pair_cosines(network: Any, a: str, b: str, ha: Tensor, hb: Tensor, heard: bool) -> Tensor:
    """Cosines (q, n) of gated codes of rows of a (q, width) with rows of b (n, width)."""
    if not heard:
        return _deaf_codes(network, a, ha) @ _deaf_codes(network, b, hb).T
    gate_a, gate_b = network.gates[a], network.gates[b]
    pieces_a, pieces_b = gate_a.pieces(ha), gate_b.pieces(hb)
    to_a, to_b = network.voices[f"{b}:{a}"](hb), network.voices[f"{a}:{b}"](ha)

    def tile(rows: slice) -> Tensor:
        # Row i of a hears row j of b, and the other way round: (rows, n, d).
        za = gate_a(tuple(p[rows, None] for p in pieces_a), to_a[None])
        zb = gate_b(tuple(p[None] for p in pieces_b), to_b[rows, None])
        return F.cosine_similarity(za, zb, dim=-1)

    tiles = list(_tiles(len(ha), len(hb) * to_a.shape[1]))
    if len(tiles) > 1 and torch.is_grad_enabled():
        return torch.cat([checkpoint(tile, rows, use_reentrant=False) for rows in tiles])
    return torch.cat([tile(rows) for rows in tiles])


def _tiles(n: int, numbers_per_row: int) -> Iterator[slice]:
    rows = max(1, TILE // max(1, numbers_per_row))
    for start in range(0, n, rows):
        yield slice(start, start + rows)
