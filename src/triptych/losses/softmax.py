"""InfoNCE on tiles: two passes, the first for the normalisers, the second for the gradients.

The first pass keeps its exponentials as far as ``CACHE_BYTES`` go, and the second recomputes the
rest: batches of a few thousand rows cost three products, large ones nearly four. Cosines are
bounded, so no running maximum is needed unless the temperature is so low that exponentials leave
the range of their type; then rows and columns are shifted by their own log-sums.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from triptych.losses.tiled import Positives, Sphere, blocks, exact, side

# Exponentials kept between the passes: all of them up to n = 5,792 in float32.
CACHE_BYTES = 128 * 2**20


class SoftmaxPairs(torch.autograd.Function):
    """Mean over both directions of the cross-entropy between softmax and positives."""

    @staticmethod
    def forward(
        ctx: Any, za: Tensor, zb: Tensor, scale: Tensor, positives: Positives, keep: bool
    ) -> Tensor:
        """The loss; ``za`` and ``zb`` (n, d) of one type, ``scale`` = 1 / temperature.

        ``keep`` says whether exponentials are kept for a backward pass.
        """
        a, b, s, n = Sphere(za), Sphere(zb), float(scale), len(za)
        sums = _shifted_sums(a, b, s, CACHE_BYTES if keep else 0)
        if sums is None:
            sums = _safe_sums(a, b, s)
        if positives.plain:
            linear = 2 * sums.diagonal.sum()
        else:
            pulls = _pull(b, positives).mul_(a.z).mul_(a.inverse)
            linear = pulls.sum(dtype=exact(za.device)) * s
        ctx.save_for_backward(za, zb, scale)
        ctx.positives, ctx.sums = positives, sums
        return ((sums.rows.sum() + sums.cols.sum() - linear) / (2 * n)).to(za.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of both sides and of the scale."""
        za, zb, scale = ctx.saved_tensors
        a, b, s, n = Sphere(za), Sphere(zb), float(scale), len(za)
        da, db = _products(a, b, s, ctx.sums, -2.0 if ctx.positives.plain else 0.0)
        if not ctx.positives.plain:
            da -= _pull(b, ctx.positives)
            db -= _pull(a, ctx.positives)
        factor = upstream.to(za.dtype) / (2 * n)
        ds = a.pull_back_(da, factor * s) * factor
        b.pull_back_(db, factor * s)
        return da, db, ds.to(scale.dtype), None, None


class _Sums:
    """What the first pass leaves to the second.

    Args:
        n: Rows.
        like: For type and device.
        shift: Subtracted from every logit before the exponential; ``None``: there is none, and
            each row and column is shifted by its own log-sum.
    """

    def __init__(self, n: int, like: Tensor, shift: float | None) -> None:
        dtype = exact(like.device)
        self.rows = torch.zeros(n, dtype=dtype, device=like.device)  # log-sum-exp of each row
        self.cols = torch.zeros_like(self.rows)
        self.diagonal = torch.zeros_like(self.rows)  # logits of partners
        self.shift = shift
        self.kept: dict[int, Tensor] = {}  # exponentials of the first blocks of rows


def _range(dtype: torch.dtype) -> tuple[float, float]:
    """Largest logit that is exponentiated, and log of the least sum that is trusted.

    float32 holds exp of -87 to 88. A sum of exp(-50) or more has its largest term above
    exp(-50) / n, so what is lost below exp(-87) is far less than its rounding.
    """
    return (600.0, -500.0) if dtype == torch.float64 else (70.0, -50.0)


def _shifted_sums(a: Sphere, b: Sphere, s: float, keep: int) -> _Sums | None:
    """Log-sums of rows and columns with one shift for all; ``None`` where that is not exact."""
    n, size = len(a), side(a.z.device)
    highest, lowest = _range(a.z.dtype)
    sums = _Sums(n, a.z, max(0.0, s - highest))
    strip = min(size, n) * n * a.z.element_size()
    buffer = a.z.new_empty(min(size, n) ** 2)
    for number, rows in enumerate(blocks(n, size)):
        scaled = a.unit(rows, s)
        kept = (number + 1) * strip <= keep
        if kept:
            sums.kept[number] = a.z.new_empty(len(scaled) * n)
        for cols in blocks(n, size):
            v = b.unit(cols)
            x = _place(sums.kept[number] if kept else buffer, len(scaled), cols, kept)
            torch.mm(scaled, v.T, out=x)
            if rows == cols:
                sums.diagonal[rows] = x.diagonal().to(sums.diagonal.dtype)
            if sums.shift:
                x.sub_(sums.shift)
            x.exp_()
            sums.rows[rows] += x.sum(1)
            sums.cols[cols] += x.sum(0)
    least = torch.minimum(sums.rows.min(), sums.cols.min()).log()
    if not bool(least >= lowest):
        return None
    for total in (sums.rows, sums.cols):
        total.log_().add_(sums.shift or 0.0)
    return sums


def _place(memory: Tensor, height: int, cols: slice, kept: bool) -> Tensor:
    """Contiguous room for a tile: in the strip of its rows, or in the buffer for all."""
    width = cols.stop - cols.start
    start = height * cols.start if kept else 0
    return memory[start : start + height * width].view(height, width)


def _safe_sums(a: Sphere, b: Sphere, s: float) -> _Sums:
    """Log-sums at any temperature, each row and column with its own running shift."""
    n, size = len(a), side(a.z.device)
    sums = _Sums(n, a.z, None)
    sums.rows.fill_(-torch.inf)
    sums.cols.fill_(-torch.inf)
    for rows in blocks(n, size):
        scaled = a.unit(rows, s)
        for cols in blocks(n, size):
            x = scaled @ b.unit(cols).T
            if rows == cols:
                sums.diagonal[rows] = x.diagonal().to(sums.diagonal.dtype)
            for dim, total, at in ((1, sums.rows, rows), (0, sums.cols, cols)):
                more = x.logsumexp(dim).to(total.dtype)
                total[at] = torch.logaddexp(total[at], more)
    return sums


def _products(
    a: Sphere, b: Sphere, s: float, sums: _Sums, diagonal: float
) -> tuple[Tensor, Tensor]:
    """P V and P^T U with P the sum of both softmaxes, and ``diagonal`` added to its diagonal."""
    n, size, dtype = len(a), side(a.z.device), a.z.dtype
    da, db = torch.empty_like(a.z), torch.empty_like(b.z)
    buffer = a.z.new_empty(min(size, n) ** 2)
    weights = a.z.new_empty(min(128, n) * min(size, n))
    if sums.shift is not None:
        by_row = torch.exp(sums.shift - sums.rows).to(dtype)
        by_col = torch.exp(sums.shift - sums.cols).to(dtype)
    for number, rows in enumerate(blocks(n, size)):
        u = a.unit(rows)
        scaled = u * s
        # Taken out: a second backward through a kept graph recomputes.
        strip = sums.kept.pop(number, None)
        for cols in blocks(n, size):
            v = b.unit(cols)
            x = _place(buffer if strip is None else strip, len(u), cols, strip is not None)
            if strip is None:
                torch.mm(scaled, v.T, out=x)
            if sums.shift is None:
                other = torch.exp(x - sums.cols[cols])
                x.sub_(sums.rows[rows, None]).exp_().add_(other)
            else:
                if strip is None:
                    x = (x.sub_(sums.shift) if sums.shift else x).exp_()
                for part in blocks(len(u), 128):
                    w = weights[: (part.stop - part.start) * len(v)].view(-1, len(v))
                    torch.add(by_row[rows][part, None], by_col[cols], out=w)
                    x[part].mul_(w)
            if rows == cols and diagonal:
                x.diagonal().add_(diagonal)
            da[rows].addmm_(x, v, beta=int(cols.start > 0))
            db[cols].addmm_(x.T, u, beta=int(rows.start > 0))
    return da, db


def _pull(other: Sphere, positives: Positives) -> Tensor:
    """Sum over j of M_ij (1/n_i + 1/n_j) times unit row j, (n, d), with n_i positives of row i."""
    share = 1 / positives.count(other.z)[:, None]  # (n, 1)
    unit = other.unit(slice(0, len(other)))
    return positives.sum(unit).mul_(share).add_(positives.sum(unit * share))
