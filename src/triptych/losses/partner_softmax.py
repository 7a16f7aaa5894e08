"""InfoNCE of any similarity, tile by tile: the matrix of logits is never held.

For cosines :mod:`triptych.losses.softmax` does the same with fewer products.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from triptych.losses.agreement import partner_cross_entropy, similarity_logits
from triptych.losses.tiled import Positives, blocks, check_pair, exact, side, widened
from triptych.similarity import Kernel


def similarity_info_nce(
    kernel: Kernel,
    za: Tensor,
    zb: Tensor,
    *,
    factor: float | Tensor = 1.0,
    ids_a: Tensor | None = None,
    ids_b: Tensor | None = None,
) -> Tensor:
    r"""Symmetric InfoNCE with the logits of a similarity in place of cosines.

    .. math:: L = -\tfrac{1}{2n} \sum_{ij} q_{ij}
        \left[\log p(b_j \mid a_i) + \log p(a_j \mid b_i)\right]

    with p the softmax over the batch of ``factor`` times
    :func:`triptych.losses.agreement.similarity_logits`, and q as in
    :func:`triptych.losses.info_nce`.

    A batch that fits one tile is worked on whole. A larger one is seen twice, once for the
    normalisers and once for the gradients, so that memory beyond inputs and gradients is a few
    tiles. Gradients are of first order.

    Args:
        kernel: With every parameter a number.
        za: Codes, shape (n, d) with n >= 2.
        zb: Their partners: same shape and device.
        factor: Multiplies the logits; gradients flow into a scalar tensor.
        ids_a: Integers (n,), equal where the content behind ``za`` is equal: positives.
        ids_b: The same for ``zb``.

    Returns:
        Scalar, in nats; log(n) when all logits are equal.

    Raises:
        ShapeError: If the shapes differ, are not 2-D, or hold fewer than two rows.
        TrainingError: If codes are not finite; names side and row.
    """
    check_pair("similarity_info_nce", za, zb)
    with torch.autocast(za.device.type, enabled=False):
        a, b = widened(za, zb)
        by = factor.reshape(()).to(a) if isinstance(factor, Tensor) else a.new_tensor(factor)
        positives = Positives("similarity_info_nce", len(a), ids_a, ids_b, a.device)
        if len(a) <= side(a.device):
            logits = similarity_logits(kernel, a, b) * by
            return partner_cross_entropy(logits, ids_a=ids_a, ids_b=ids_b)
        loss: Tensor = _PartnerSoftmax.apply(a, b, by, kernel, positives)  # type: ignore[no-untyped-call]
        return loss


class _PartnerSoftmax(torch.autograd.Function):
    """Mean over both directions of the cross-entropy between softmax and positives."""

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor, factor: Tensor, kernel: Kernel, positives: Positives
    ) -> Tensor:
        n, size, dtype = len(a), side(a.device), exact(a.device)
        rows_of, cols_of = _Normalisers(n, a), _Normalisers(n, a)
        share = 1 / positives.count(a)  # (n,)
        linear = torch.zeros((), dtype=dtype, device=a.device)
        for rows in blocks(n, size):
            for cols in blocks(n, size):
                x = similarity_logits(kernel, a[rows], b[cols]) * factor
                rows_of.add(rows, x)
                cols_of.add(cols, x.T)
                target = _target(positives, share, rows, cols)
                if target is not None:
                    linear += (target * x).sum(dtype=dtype)
        ctx.save_for_backward(a, b, factor)
        ctx.kernel, ctx.positives, ctx.share = kernel, positives, share
        ctx.rows_of, ctx.cols_of = rows_of, cols_of
        return ((rows_of.total() + cols_of.total() - linear) / (2 * n)).to(a.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        a, b, factor = ctx.saved_tensors
        n, size = len(a), side(a.device)
        da, db, dfactor = torch.zeros_like(a), torch.zeros_like(b), torch.zeros_like(factor)
        for rows in blocks(n, size):
            for cols in blocks(n, size):
                with torch.enable_grad():
                    u, v, by = (t.detach().requires_grad_() for t in (a[rows], b[cols], factor))
                    x = similarity_logits(ctx.kernel, u, v) * by
                slope = ctx.rows_of.softmax(rows, x.detach())
                slope += ctx.cols_of.softmax(cols, x.detach().T).T
                target = _target(ctx.positives, ctx.share, rows, cols)
                if target is not None:
                    slope -= target
                slope *= upstream / (2 * n)
                du, dv, dby = torch.autograd.grad(x, (u, v, by), slope)
                da[rows] += du
                db[cols] += dv
                dfactor += dby
        return da, db, dfactor, None, None


class _Normalisers:
    """Largest logit of each row (n,), and the sum of exponentials below it."""

    def __init__(self, n: int, like: Tensor) -> None:
        # Apart, since their sum would round the second to the digits of the first.
        self.largest = like.new_full((n,), -torch.inf)
        self.sums = torch.zeros(n, dtype=exact(like.device), device=like.device)

    def add(self, at: slice, x: Tensor) -> None:
        """Take in more logits (b, m) of some rows."""
        before = self.largest[at]
        largest = torch.maximum(before, x.max(1).values)
        more = torch.exp(x - largest[:, None]).sum(1, dtype=self.sums.dtype)
        self.sums[at] = self.sums[at] * torch.exp(before - largest) + more
        self.largest[at] = largest

    def total(self) -> Tensor:
        """Sum over rows of the log of the sum of exponentials."""
        return (self.largest + self.sums.log()).sum()

    def softmax(self, at: slice, x: Tensor) -> Tensor:
        """Of logits (b, m) of some rows, once all were taken in."""
        return torch.exp(x - self.largest[at, None]) / self.sums[at, None].to(x.dtype)


def _target(positives: Positives, share: Tensor, rows: slice, cols: slice) -> Tensor | None:
    """A tile of both directions' targets; ``None`` where it is all zero."""
    match = positives.tile(rows, cols)
    if match is None:
        return None
    return match * (share[rows, None] + share[cols])
