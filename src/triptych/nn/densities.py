"""Density models of vectors, log q(y | x) and log q(y), and recipes for them.

All have ``log_density(x, y) -> (n,)`` for partners, where ``x`` may have no columns at all: then
the model is one of y alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.arrays import check_number
from triptych.nn.critics import dense
from triptych.values import register

# Standard deviations between e^-6 and e^6 of a standardised column.
_LOG_SCALE = 6.0


@runtime_checkable
class DensityRecipe(Protocol):
    """Settings of a density model: a frozen, registered dataclass that can build it."""

    def build(self, n_x: int, n_y: int) -> Density:
        """A model of y (n, n_y) given x (n, n_x)."""
        ...


class Density(nn.Module):
    """What every density model answers."""

    def log_density(self, x: Tensor, y: Tensor) -> Tensor:
        """Log q(y_i | x_i), in nats, shape (n,)."""
        raise NotImplementedError

    def log_densities(self, x: Tensor, y: Tensor) -> Tensor:
        """Log q(y_j | x_i) at (i, j), shape (n, m)."""
        n, m = len(x), len(y)
        rows = x.repeat_interleave(m, 0), y.repeat(n, 1)
        return self.log_density(*rows).view(n, m)


@register
@dataclass(frozen=True)
class GaussianDensity:
    """q(y | x) normal with independent columns, mean and spread from networks.

    Args:
        width: Units of a hidden layer.
        depth: Hidden layers; 0 makes mean and log spread linear.

    References:
        Cheng et al. 2020, arXiv:2006.12013, sec. 4 (their log variance is held in [-1, 1]; here
        in [-12, 12], so that more than a nat a column can be told).
    """

    width: int = 256
    depth: int = 2

    def __post_init__(self) -> None:
        check_number("GaussianDensity.width", self.width, low=1, integer=True)
        check_number("GaussianDensity.depth", self.depth, low=0, integer=True)

    def build(self, n_x: int, n_y: int) -> Density:
        """The model of y (n, n_y) given x (n, n_x)."""
        return Gaussian(n_x, n_y, width=self.width, depth=self.depth)


@register
@dataclass(frozen=True)
class AutoregressiveDensity:
    """q(y | x) column by column, each a mixture of normals given x and the columns before.

    Args:
        width: Units of a hidden layer.
        depth: Hidden layers, at least 1.
        components: Normals in each column's mixture.

    References:
        Germain et al. 2015, arXiv:1502.03509 (masks); Uria et al. 2013, arXiv:1306.0186.
    """

    width: int = 256
    depth: int = 2
    components: int = 4

    def __post_init__(self) -> None:
        check_number("AutoregressiveDensity.width", self.width, low=1, integer=True)
        check_number("AutoregressiveDensity.depth", self.depth, low=1, integer=True)
        check_number("AutoregressiveDensity.components", self.components, low=1, integer=True)

    def build(self, n_x: int, n_y: int) -> Density:
        """The model of y (n, n_y) given x (n, n_x)."""
        return Autoregressive(
            n_x, n_y, width=self.width, depth=self.depth, components=self.components
        )


class Gaussian(Density):
    """See :class:`GaussianDensity`."""

    def __init__(self, n_x: int, n_y: int, *, width: int, depth: int) -> None:
        super().__init__()
        # Without x the mean is a parameter: a map from nothing has a bias alone.
        self.net = dense(n_x, 2 * n_y, width=width, depth=depth) if n_x else _Constant(2 * n_y)

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = self.net(x).chunk(2, -1)
        return mean, _bounded(raw)

    def log_density(self, x: Tensor, y: Tensor) -> Tensor:
        """Log q(y_i | x_i), shape (n,)."""
        mean, log_scale = self._moments(x)
        z = (y - mean) * torch.exp(-log_scale)
        return -(z.square() / 2 + log_scale + math.log(2 * math.pi) / 2).sum(-1)

    def log_densities(self, x: Tensor, y: Tensor) -> Tensor:
        """Log q(y_j | x_i), shape (n, m): three matrix products instead of n m passes."""
        mean, log_scale = self._moments(x)
        precision = torch.exp(-2 * log_scale)  # (n, q)
        square = precision @ y.square().T - 2 * (precision * mean) @ y.T  # (n, m)
        own = (precision * mean.square() / 2 + log_scale).sum(-1)  # (n,)
        flat = y.shape[1] * math.log(2 * math.pi) / 2
        return -(square / 2 + own[:, None] + flat)


class Autoregressive(Density):
    """See :class:`AutoregressiveDensity`."""

    def __init__(self, n_x: int, n_y: int, *, width: int, depth: int, components: int) -> None:
        super().__init__()
        self.shape = (n_y, components, 3)
        # A unit of degree k sees x and the first k columns; column j + 1 is read from k <= j.
        unit = torch.arange(width) % n_y
        inputs = torch.arange(1, n_y + 1)
        self.first = _Masked(n_y, width, unit[:, None] >= inputs)
        self.context = nn.Linear(n_x, width, bias=False) if n_x else None
        self.hidden = nn.ModuleList(
            _Masked(width, width, unit[:, None] >= unit) for _ in range(depth - 1)
        )
        outputs = torch.arange(n_y).repeat_interleave(components * 3)
        self.last = _Masked(width, len(outputs), outputs[:, None] >= unit)
        # Components that begin alike would stay alike.
        with torch.no_grad():
            spread = torch.linspace(-1, 1, components) if components > 1 else torch.zeros(1)
            self.last.bias.view(self.shape)[..., 1] += spread

    def log_density(self, x: Tensor, y: Tensor) -> Tensor:
        """Log q(y_i | x_i), shape (n,)."""
        h = self.first(y)
        if self.context is not None:
            h = h + self.context(x)
        for layer in self.hidden:
            h = layer(F.relu(h))
        weight, mean, raw = self.last(F.relu(h)).view(len(y), *self.shape).unbind(-1)
        log_scale = _bounded(raw)  # (n, q, components)
        z = (y[..., None] - mean) * torch.exp(-log_scale)
        each = -z.square() / 2 - log_scale - math.log(2 * math.pi) / 2
        return torch.logsumexp(F.log_softmax(weight, -1) + each, -1).sum(-1)


class _Masked(nn.Linear):
    mask: Tensor

    def __init__(self, n_in: int, n_out: int, mask: Tensor) -> None:
        super().__init__(n_in, n_out)
        self.register_buffer("mask", mask.float(), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        return F.linear(values, self.weight * self.mask, self.bias)


class _Constant(nn.Module):
    def __init__(self, n_out: int) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor) -> Tensor:
        return self.value.expand(len(x), -1)


def _bounded(raw: Tensor) -> Tensor:
    return _LOG_SCALE * torch.tanh(raw / _LOG_SCALE)
