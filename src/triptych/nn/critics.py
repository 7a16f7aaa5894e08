"""Critics: networks that score every pair of a batch, T(x_i, y_j), and recipes for them.

All have ``forward(x, y) -> (n, m)`` for x (n, p) and y (m, q): row i against all of y. For the
functions of :mod:`triptych.losses.bounds` both have n rows, partners on the diagonal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from triptych.arrays import check_number
from triptych.values import register


@runtime_checkable
class CriticRecipe(Protocol):
    """Settings of a critic: a frozen, registered dataclass that can build it."""

    def build(self, n_x: int, n_y: int) -> nn.Module:
        """A module with ``forward(x, y) -> (n, m)`` for x (n, n_x) and y (m, n_y)."""
        ...


@register
@dataclass(frozen=True)
class SeparableCritic:
    """T(x, y) = g(x) · h(y) + a(x) + b(y): two networks, n + m passes for n m scores.

    Args:
        width: Units of a hidden layer.
        depth: Hidden layers of either network; 0 makes g and h linear.
        n_components: Width d of the codes whose products are the scores.

    References:
        van den Oord et al. 2018, arXiv:1807.03748; the terms of one side alone let bounds that
        are not blind to them (Donsker-Varadhan, NWJ, Jensen-Shannon) be attained.
    """

    width: int = 256
    depth: int = 2
    n_components: int = 32

    def __post_init__(self) -> None:
        check_number("SeparableCritic.width", self.width, low=1, integer=True)
        check_number("SeparableCritic.depth", self.depth, low=0, integer=True)
        check_number("SeparableCritic.n_components", self.n_components, low=1, integer=True)

    def build(self, n_x: int, n_y: int) -> nn.Module:
        """The critic of x (n, n_x) and y (m, n_y)."""
        return Separable(n_x, n_y, self.n_components, width=self.width, depth=self.depth)


@register
@dataclass(frozen=True)
class ConcatCritic:
    """T(x, y) = f(x, y) of the pair side by side: any function of both, n m passes.

    Args:
        width: Units of a hidden layer.
        depth: Hidden layers, at least 1.
        tile: Most pairs that hidden layers hold at once; beyond it a training step computes them
            twice, and memory does not grow with the number of pairs.
    """

    width: int = 256
    depth: int = 2
    tile: int = 16_384

    def __post_init__(self) -> None:
        check_number("ConcatCritic.width", self.width, low=1, integer=True)
        check_number("ConcatCritic.depth", self.depth, low=1, integer=True)
        check_number("ConcatCritic.tile", self.tile, low=1, integer=True)

    def build(self, n_x: int, n_y: int) -> nn.Module:
        """The critic of x (n, n_x) and y (m, n_y)."""
        return Concat(n_x, n_y, width=self.width, depth=self.depth, tile=self.tile)


@register
@dataclass(frozen=True)
class BilinearCritic:
    """T(x, y) = xᵀ W y: for codes that are already good, and the least that can overfit.

    Args:
        rank: Of W; ``None`` for no limit.
    """

    rank: int | None = None

    def __post_init__(self) -> None:
        if self.rank is not None:
            check_number("BilinearCritic.rank", self.rank, low=1, integer=True)

    def build(self, n_x: int, n_y: int) -> nn.Module:
        """The critic of x (n, n_x) and y (m, n_y)."""
        rank = min(n_x, n_y) if self.rank is None else min(self.rank, n_x, n_y)
        return Bilinear(n_x, n_y, rank)


class Separable(nn.Module):
    """See :class:`SeparableCritic`."""

    def __init__(self, n_x: int, n_y: int, d: int, *, width: int, depth: int) -> None:
        super().__init__()
        self.d = d
        self.of_x = dense(n_x, d + 1, width=width, depth=depth)
        self.of_y = dense(n_y, d + 1, width=width, depth=depth)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Scores (n, m)."""
        gx, hy = self.of_x(x), self.of_y(y)  # (n, d + 1), (m, d + 1)
        alone = gx[:, self.d :] + hy[:, self.d :].T  # (n, m)
        scores: Tensor = gx[:, : self.d] @ hy[:, : self.d].T / math.sqrt(self.d) + alone
        return scores


class Concat(nn.Module):
    """See :class:`ConcatCritic`."""

    def __init__(self, n_x: int, n_y: int, *, width: int, depth: int, tile: int) -> None:
        super().__init__()
        # One layer on (x, y) is a layer on x plus a layer on y: n + m passes instead of n m.
        self.of_x = nn.Linear(n_x, width)
        self.of_y = nn.Linear(n_y, width, bias=False)
        self.rest = nn.Sequential(nn.ReLU(), dense(width, 1, width=width, depth=depth - 1))
        self.tile = tile

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Scores (n, m)."""
        hx, hy = self.of_x(x), self.of_y(y)  # (n, width), (m, width)
        rows = max(1, self.tile // max(1, len(y)))
        if len(x) <= rows:
            return self._scores(hx, hy)
        parts = hx.split(rows)
        if not torch.is_grad_enabled():
            return torch.cat([self._scores(part, hy) for part in parts])
        return torch.cat(
            [
                checkpoint(self._scores, part, hy, use_reentrant=False, preserve_rng_state=False)
                for part in parts
            ]
        )

    def _scores(self, hx: Tensor, hy: Tensor) -> Tensor:
        scores: Tensor = self.rest(hx[:, None] + hy[None])[..., 0]  # (n, m)
        return scores


class Bilinear(nn.Module):
    """See :class:`BilinearCritic`."""

    def __init__(self, n_x: int, n_y: int, rank: int) -> None:
        super().__init__()
        self.of_x = nn.Linear(n_x, rank, bias=False)
        self.of_y = nn.Linear(n_y, rank, bias=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Scores (n, m)."""
        scores: Tensor = self.of_x(x) @ self.of_y(y).T
        return scores


def dense(n_in: int, n_out: int, *, width: int, depth: int) -> nn.Sequential:
    """Rectified layers and a linear map. No norms: what a critic says has no natural scale."""
    layers: list[nn.Module] = []
    for i in range(depth):
        layers += [nn.Linear(width if i else n_in, width), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(width if depth else n_in, n_out))
