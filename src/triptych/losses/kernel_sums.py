"""Sums over all pairs of rows of a kernel of their distance, tile by tile: memory O(n d).

A tile of squared distances becomes kernel values and slopes, is summed, multiplied back into
gradients at once, and forgotten.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from triptych.arrays import check_choice, check_number
from triptych.losses.tiled import blocks, exact, gradients_wanted, side

FORMS = ("gaussian", "imq")
# Rows whose distances the median is taken of; all distances of many rows would not fit.
MEDIAN_ROWS = 1024


@dataclass(frozen=True)
class Kernel:
    r"""Mean over widths w of a kernel of the squared distance D.

    ``"gaussian"`` is :math:`\exp(-D / 2w^2)`, ``"imq"`` :math:`w^2 / (w^2 + D)`, whose tails are
    heavy enough to pull on far rows. Both are 1 at distance 0.
    """

    form: str
    widths: tuple[float, ...]

    def __post_init__(self) -> None:
        check_choice("kernel", self.form, FORMS)
        for width in self.widths:
            check_number("widths", width, low=0, open_low=True)

    def values(self, squared: Tensor) -> Tensor:
        """Kernel of squared distances of any shape."""
        total = torch.zeros_like(squared)
        for width in self.widths:
            total += self._one(squared, width)
        return total / len(self.widths)

    def values_and_slopes(self, squared: Tensor) -> tuple[Tensor, Tensor]:
        """Kernel of squared distances, and its derivative by them."""
        values, slopes = torch.zeros_like(squared), torch.zeros_like(squared)
        for width in self.widths:
            one = self._one(squared, width)
            values += one
            if self.form == "gaussian":
                slopes.add_(one, alpha=-0.5 / width**2)
            else:
                slopes.addcmul_(one, one, value=-1 / width**2)
        return values / len(self.widths), slopes / len(self.widths)

    def _one(self, squared: Tensor, width: float) -> Tensor:
        if self.form == "gaussian":
            return torch.exp(squared * (-0.5 / width**2))
        return width**2 / (width**2 + squared)


def median_width(*batches: Tensor) -> float:
    """Median distance between rows of all batches (n_i, d), of at most 1024 evenly spaced ones."""
    every = sum(len(z) for z in batches)
    step = -(-every // MEDIAN_ROWS)
    z = torch.cat([z.detach() for z in batches])[::step]
    i, j = torch.triu_indices(len(z), len(z), offset=1, device=z.device)
    # Constant rows have median 0, and then any width gives the same kernel of ones.
    least = 1e-12
    if not len(i):
        return math.sqrt(least)
    z = z - z.mean(0)
    return math.sqrt(max(float(_squared(z, z)[i, j].median()), least))


def _squared(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances (n, m) of centred rows."""
    lengths = x.square().sum(1)[:, None] + y.square().sum(1)[None, :]
    return torch.addmm(lengths, x, y.T, alpha=-2).clamp_min_(0)


def _tiles(n: int, m: int | None, size: int) -> Iterator[tuple[slice, slice, int]]:
    """Tiles of an (n, m) matrix; of a symmetric one the upper half, and how often each counts."""
    for rows in blocks(n, size):
        for cols in blocks(n if m is None else m, size):
            if m is None and cols.start < rows.start:
                continue
            yield rows, cols, 2 if m is None and cols.start > rows.start else 1


def _pull(weights: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """For each row i of x (n, d): sum over j of weights (n, m) times (x_i - y_j)."""
    return weights.sum(1, keepdim=True) * x - weights @ y


class _KernelSum(torch.autograd.Function):
    """Sum of k(x_i, y_j) over all pairs; ``y`` is ``None`` for the rows of x among themselves."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor | None, kernel: Kernel, wanted: bool) -> Tensor:
        total = torch.zeros((), dtype=exact(x.device), device=x.device)
        other = x if y is None else y
        dx = torch.zeros_like(x) if wanted else None
        dy = (dx if y is None else torch.zeros_like(y)) if wanted else None
        for rows, cols, times in _tiles(len(x), None if y is None else len(y), side(x.device)):
            a, b = x[rows], other[cols]
            squared = _squared(a, b)
            if dx is None or dy is None:
                total += times * kernel.values(squared).sum(dtype=total.dtype)
                continue
            values, slopes = kernel.values_and_slopes(squared)
            total += times * values.sum(dtype=total.dtype)
            # Of a symmetric sum, a tile on the diagonal meets its rows from both sides.
            both = 4 if y is None and times == 1 else 2 * times
            dx[rows] += both * _pull(slopes, a, b)
            if not (y is None and times == 1):
                dy[cols] += both * _pull(slopes.T, b, a)
        ctx.same = y is None
        ctx.gradients = (dx, dy)
        return total.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        dx, dy = ctx.gradients
        return dx * upstream, None if ctx.same else dy * upstream, None, None


def kernel_sum(x: Tensor, y: Tensor | None, kernel: Kernel) -> Tensor:
    """Sum over i, j of k(x_i, y_j), or of k(x_i, x_j) with the diagonal where y is ``None``."""
    wanted = gradients_wanted(x) if y is None else gradients_wanted(x, y)
    total: Tensor = _KernelSum.apply(x, y, kernel, wanted)  # type: ignore[no-untyped-call]
    return total


class _CentredProduct(torch.autograd.Function):
    """tr(K H L H) of the kernels of two codes of the same rows, in two passes over the tiles."""

    @staticmethod
    def forward(ctx: Any, s: Tensor, p: Tensor, k: Kernel, other: Kernel, wanted: bool) -> Tensor:
        n, size, dtype = len(s), side(s.device), exact(s.device)
        sums = torch.zeros(2, n, dtype=dtype, device=s.device)
        for rows, cols, times in _tiles(n, None, size):
            for at, (z, kernel) in enumerate(((s, k), (p, other))):
                tile = kernel.values(_squared(z[rows], z[cols]))
                sums[at, rows] += tile.sum(1, dtype=dtype)
                if times == 2:
                    sums[at, cols] += tile.sum(0, dtype=dtype)
        means = (sums / n).to(s.dtype)  # of each row of K and of L
        middle = (sums.sum(1) / n**2).to(s.dtype)
        total = torch.zeros((), dtype=dtype, device=s.device)
        ds = torch.zeros_like(s) if wanted else None
        dp = torch.zeros_like(p) if wanted else None
        for rows, cols, times in _tiles(n, None, size):
            centred, slopes = [], []
            for at, (z, kernel) in enumerate(((s, k), (p, other))):
                values, slope = kernel.values_and_slopes(_squared(z[rows], z[cols]))
                values -= means[at, rows, None] + means[at, None, cols] - middle[at]
                centred.append(values)
                slopes.append(slope)
            total += times * (centred[0] * centred[1]).sum(dtype=dtype)
            for z, d, slope, partner in (
                (s, ds, slopes[0], centred[1]),
                (p, dp, slopes[1], centred[0]),
            ):
                if d is None:
                    continue
                weights = slope * partner
                d[rows] += 4 * _pull(weights, z[rows], z[cols])
                if times == 2:
                    d[cols] += 4 * _pull(weights.T, z[cols], z[rows])
        ctx.gradients = (ds, dp)
        return total.to(s.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        ds, dp = ctx.gradients
        return ds * upstream, dp * upstream, None, None, None


def centred_product(s: Tensor, p: Tensor, k: Kernel, other: Kernel) -> Tensor:
    """tr(K H L H) of codes (n, d_s) and (n, d_p), H = I - 1/n."""
    wanted = gradients_wanted(s, p)
    value: Tensor = _CentredProduct.apply(s, p, k, other, wanted)  # type: ignore[no-untyped-call]
    return value
