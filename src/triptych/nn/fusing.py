"""Modules that make one code of the features of several modalities.

All have ``forward(features, present) -> (b, d)``: features (b, width) and a mask (b,) by name, for
every name that they were built for. What stands in a row that is not present is never read; a row
that has nothing gets a code that depends on the weights alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.nn.parts import Parts

Features = Mapping[str, Tensor]
GATE_INPUTS = ("raw", "projected")
SCORES = ("additive", "dot")


def masked(values: Tensor, mask: Tensor) -> Tensor:
    """Rows of ``values`` (b, ...), zero where ``mask`` (b,) is false, whatever stands there."""
    keep = mask.reshape(-1, *[1] * (values.ndim - 1))
    return torch.where(keep, values, torch.zeros_like(values))


class Concatenation(nn.Module):
    r"""Features side by side, then a hidden layer: :math:`g([h_1; \dots; h_m])`.

    An absent modality is said by a learnt vector in its place, which no sample has by chance.

    Args:
        widths: Width of each modality's features.
        n_out: Width d of the code.
        width: Units of the hidden layer.
    """

    def __init__(self, widths: Mapping[str, int], n_out: int, width: int) -> None:
        super().__init__()
        self.names = tuple(sorted(widths))
        self.absent = nn.ParameterList([0.1 * torch.randn(widths[m]) for m in self.names])
        self.joint = nn.Sequential(
            nn.Linear(sum(widths.values()), width), nn.GELU(), nn.Linear(width, n_out)
        )

    def forward(self, features: Features, present: Features) -> Tensor:
        """Code (b, d)."""
        parts = [
            torch.where(present[m][:, None], features[m], absent)
            for m, absent in zip(self.names, self.absent, strict=True)
        ]
        code: Tensor = self.joint(torch.cat(parts, dim=1))
        return code


class ModalityAttention(nn.Module):
    r"""Attention over modalities: :math:`h = \sum_m \alpha_m h_m` over those present.

    .. math:: \alpha = \mathrm{softmax}_m\, w^T \tanh(V h_m) \quad\text{or}\quad
              \alpha = \mathrm{softmax}_m\, q^T K h_m / \sqrt d

    Args:
        names: Modalities.
        width: Width d of every modality's features, and of the code.
        score: ``"additive"``, the first, or ``"dot"``.
    """

    def __init__(self, names: tuple[str, ...], width: int, score: str) -> None:
        super().__init__()
        self.names, self.score = tuple(sorted(names)), score
        self.key = nn.Linear(width, width, bias=score == "additive")
        self.query = nn.Parameter(torch.randn(width) / math.sqrt(width))

    def shares(self, features: Features, present: Features) -> Tensor:
        """Attention (b, m), modalities in alphabetical order; zero where absent."""
        return self._shares(self._stacked(features, present), present)

    def forward(self, features: Features, present: Features) -> Tensor:
        """Code (b, d); zeros for a row that has nothing."""
        values = self._stacked(features, present)
        return (self._shares(values, present)[:, :, None] * values).sum(1)

    def _stacked(self, features: Features, present: Features) -> Tensor:
        """Features (b, m, d), zero where absent."""
        return torch.stack([masked(features[m], present[m]) for m in self.names], dim=1)

    def _shares(self, values: Tensor, present: Features) -> Tensor:
        keys = self.key(values)  # (b, m, d)
        if self.score == "additive":
            scores = keys.tanh() @ self.query
        else:
            scores = keys @ self.query / math.sqrt(len(self.query))
        there = torch.stack([present[m] for m in self.names], dim=1)
        scores = scores.masked_fill(~there, -math.inf)
        # A row of nothing but -inf would be NaN, in the gradient too.
        some = there.any(dim=1, keepdim=True)
        return masked(torch.where(some, scores, torch.zeros_like(scores)).softmax(1), some[:, 0])


class GatedUnit(nn.Module):
    r"""Gated multimodal unit: :math:`h = \sum_m z_m \odot \tanh(W_m x_m)`.

    .. math:: z_m = \sigma\Big(\sum_k U_{mk} a_k\Big),
              \qquad a_k = x_k \ \text{(raw)} \quad\text{or}\quad W_k x_k \ \text{(projected)}

    ``tied`` is the form for two modalities, one gate z for the first and 1 - z for the second;
    else every modality has a gate of its own, and they need not sum to 1. Absent modalities say
    nothing to the gates, and the gates of those present are scaled, feature by feature, to the
    sum that all would have: z and 1 - z become 1 for the one that is there. No biases, as in the
    paper.

    Args:
        widths: Width of each modality's features x.
        n_out: Width d of the code.
        gate_input: What gates hear: ``"raw"`` or ``"projected"``.
        tied: Whether there is one gate for two modalities.
    """

    def __init__(
        self, widths: Mapping[str, int], n_out: int, *, gate_input: str, tied: bool
    ) -> None:
        super().__init__()
        self.names, self.gate_input, self.tied = tuple(sorted(widths)), gate_input, tied
        self.project = Parts({m: nn.Linear(widths[m], n_out, bias=False) for m in self.names})
        heard = sum(widths.values()) if gate_input == "raw" else n_out * len(self.names)
        gates = 1 if tied else len(self.names)
        self.gate = nn.Linear(heard, gates * n_out, bias=False)

    def gates(self, features: Features, present: Features) -> Tensor:
        """Open shares (m, b, d), modalities in alphabetical order; zero where absent."""
        values = self._values(features, present)
        return self._gates(values, self._projected(values), present)

    def forward(self, features: Features, present: Features) -> Tensor:
        """Code (b, d); zeros for a row that has nothing."""
        values = self._values(features, present)
        projected = self._projected(values)
        gates = self._gates(values, projected, present)
        # Without biases the absent, which is zero, stays so.
        return (gates * torch.stack([projected[m].tanh() for m in self.names])).sum(0)

    def _values(self, features: Features, present: Features) -> dict[str, Tensor]:
        return {m: masked(features[m], present[m]) for m in self.names}

    def _projected(self, values: Features) -> dict[str, Tensor]:
        return {m: self.project[m](values[m]) for m in self.names}

    def _gates(self, values: Features, projected: Features, present: Features) -> Tensor:
        source = values if self.gate_input == "raw" else projected
        heard = torch.cat([source[m] for m in self.names], dim=1)
        logits = self.gate(heard)
        if self.tied:
            # 1 - sigmoid(a) is sigmoid(-a), without cancellation.
            each = torch.stack([logits, -logits])
        else:
            each = torch.stack(logits.chunk(len(self.names), dim=1))
        gates = torch.sigmoid(each)
        there = torch.stack([present[m] for m in self.names])[:, :, None]  # (m, b, 1)
        if bool(there.all()):
            return gates
        # Shares of those present as a softmax of logarithms: gates shut so tight that they are 0
        # have shares still.
        logs = F.logsigmoid(each).masked_fill(~there, -math.inf)
        some = there.any(dim=0)  # a row of nothing but -inf would be NaN, in the gradient too
        shares = torch.where(some, logs, torch.zeros_like(logs)).softmax(0)
        return torch.where(there, shares * gates.sum(0), torch.zeros_like(gates))


class OuterProduct(nn.Module):
    r"""Tensor fusion: a linear map of :math:`[1; h_1] \otimes \dots \otimes [1; h_m]`.

    The ones keep every product of fewer modalities. An absent one enters as [1; 0], which takes
    exactly the products with it out.

    Args:
        widths: Width of each modality's features.
        n_out: Width d of the code.
        dropout: Share of the products left out while training.
    """

    def __init__(self, widths: Mapping[str, int], n_out: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.names = tuple(sorted(widths))
        self.dropout = dropout
        self.linear = nn.Linear(outer_size(widths), n_out)

    def products(self, features: Features, present: Features) -> Tensor:
        """All products, (b, prod of (width + 1)), the last modality running fastest."""
        found = _with_one(features[self.names[0]], present[self.names[0]])
        for m in self.names[1:]:
            more = _with_one(features[m], present[m])
            found = (found[:, :, None] * more[:, None, :]).flatten(1)
        return found

    def forward(self, features: Features, present: Features) -> Tensor:
        """Code (b, d)."""
        products = F.dropout(self.products(features, present), self.dropout, self.training)
        code: Tensor = self.linear(products)
        return code


class LowRankProduct(nn.Module):
    r"""Low-rank fusion: :math:`\sum_{r=1}^R \prod_m W_m^{(r)} [1; h_m] + b`.

    This is :class:`OuterProduct` whose weight tensor has CP rank R at most, at a cost that is
    linear in the number of modalities. An absent one enters as [1; 0].

    Args:
        widths: Width of each modality's features.
        n_out: Width d of the code.
        rank: R >= 1.
    """

    def __init__(self, widths: Mapping[str, int], n_out: int, rank: int) -> None:
        super().__init__()
        self.names, self.rank, self.n_out = tuple(sorted(widths)), rank, n_out
        # Products of m factors vanish or explode; these begin with a sum of spread 1 for
        # features of spread 1.
        share = rank ** (-1 / (2 * len(self.names)))
        self.factors = nn.ParameterList(
            [
                share / math.sqrt(widths[m] + 1) * torch.randn(widths[m] + 1, rank * n_out)
                for m in self.names
            ]
        )
        self.bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, features: Features, present: Features) -> Tensor:
        """Code (b, d)."""
        product: Tensor | None = None
        for m, factor in zip(self.names, self.factors, strict=True):
            part = _with_one(features[m], present[m]) @ factor  # (b, R d)
            product = part if product is None else product * part
        assert product is not None
        return product.view(-1, self.rank, self.n_out).sum(1) + self.bias

    def tensor(self) -> Tensor:
        """The weight (d, prod of (width + 1)) of the :class:`OuterProduct` that this equals."""
        found: Tensor | None = None
        for factor in self.factors:
            part = factor.view(len(factor), self.rank, self.n_out)
            if found is not None:
                part = (found[:, None] * part[None]).flatten(0, 1)
            found = part
        assert found is not None
        return found.sum(1).T


class GeneralInteraction(nn.Module):
    r"""All products of two: :math:`z^T \mathbb{W} x + U z + V x + b`.

    A side that is absent takes its terms out.

    Args:
        n_x: Width of x.
        n_z: Width of z.
        n_out: Width d of what comes out.
    """

    def __init__(self, n_x: int, n_z: int, n_out: int) -> None:
        super().__init__()
        # Small, so that products do not rule from the start: spread 1 for inputs of spread 1.
        self.W = nn.Parameter(torch.randn(n_z, n_x, n_out) / math.sqrt(n_z * n_x))
        self.U = nn.Linear(n_z, n_out, bias=False)
        self.V = nn.Linear(n_x, n_out)

    def forward(self, x: Tensor, z: Tensor, x_there: Tensor, z_there: Tensor) -> Tensor:
        """Shape (b, d), of x (b, n_x), z (b, n_z) and their masks (b,)."""
        x, z = masked(x, x_there), masked(z, z_there)
        # z^T W first: a weight matrix for every row, which then meets x.
        both = torch.einsum("bz,zxo,bx->bo", z, self.W, x)
        found: Tensor = both + self.U(z) + self.V(x)
        return found


class DiagonalInteraction(nn.Module):
    r"""Gating: :math:`(W z + v) \odot x + U z + b`.

    Args:
        n_z: Width of z.
        width: Width of x, and of what comes out.
    """

    def __init__(self, n_z: int, width: int) -> None:
        super().__init__()
        self.W, self.U = nn.Linear(n_z, width, bias=False), nn.Linear(n_z, width)
        self.v = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, z: Tensor, x_there: Tensor, z_there: Tensor) -> Tensor:
        """Shape (b, width), of x (b, width), z (b, n_z) and their masks (b,)."""
        x, z = masked(x, x_there), masked(z, z_there)
        found: Tensor = (self.W(z) + self.v) * x + self.U(z)
        return found


class FiLM(nn.Module):
    r"""Feature-wise linear modulation: :math:`(1 + \Delta\gamma(z)) \odot x + \beta(z)`.

    Delta gamma and beta come from a hidden layer and begin as zero: x passes as it is. Where z is
    absent it does so for good.

    Args:
        n_z: Width of z.
        width: Width of x, and of what comes out.
        hidden: Units of the hidden layer.
    """

    def __init__(self, n_z: int, width: int, hidden: int) -> None:
        super().__init__()
        self.generator = nn.Sequential(
            nn.Linear(n_z, hidden), nn.ReLU(), nn.Linear(hidden, 2 * width)
        )
        last = self.generator[2]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor, z: Tensor, x_there: Tensor, z_there: Tensor) -> Tensor:
        """Shape (b, width), of x (b, width), z (b, n_z) and their masks (b,)."""
        more, beta = masked(self.generator(masked(z, z_there)), z_there).chunk(2, dim=1)
        return (1 + more) * masked(x, x_there) + beta


class InteractionChain(nn.Module):
    """One modality, and the others acting on it one after another, in alphabetical order.

    Args:
        main: The modality acted on.
        steps: By each other name, an interaction.
    """

    def __init__(self, main: str, steps: Parts) -> None:
        super().__init__()
        self.main, self.steps = main, steps

    def forward(self, features: Features, present: Features) -> Tensor:
        """Code (b, d). Features are bounded first, since products of large ones explode."""
        code, there = features[self.main].tanh(), present[self.main]
        for m in self.steps:
            code = self.steps[m](code, features[m].tanh(), there, present[m])
            there = there | present[m]
        return code


def outer_size(widths: Mapping[str, int]) -> int:
    """How many products :class:`OuterProduct` has: the product of (width + 1)."""
    return math.prod(width + 1 for width in widths.values())


def _with_one(values: Tensor, mask: Tensor) -> Tensor:
    """Shape (b, 1 + width): a one, and the values where they are present."""
    one = torch.ones(len(values), 1, dtype=values.dtype, device=values.device)
    return torch.cat([one, masked(values, mask)], dim=1)
