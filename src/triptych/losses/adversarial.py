"""Adversaries by gradient reversal: a classifier learns, and codes learn to mislead it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from triptych.arrays import check_number
from triptych.errors import ShapeError


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return z.view_as(z)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        return -ctx.factor * upstream, None


def reverse_gradient(z: Tensor, factor: float = 1.0) -> Tensor:
    """``z`` itself, whose gradient is multiplied by ``-factor`` on the way back.

    Args:
        z: Any shape.
        factor: How strongly what comes before is pushed uphill, >= 0.

    References:
        Ganin and Lempitsky 2015, arXiv:1409.7495, eq. 9 and 10.
    """
    check_number("factor", factor, low=0)
    reversed_: Tensor = _Reverse.apply(z, factor)  # type: ignore[no-untyped-call]
    return reversed_


def domain_adversarial(
    codes: Sequence[Tensor], classifier: Callable[[Tensor], Tensor], *, factor: float = 1.0
) -> Tensor:
    r"""How well a classifier tells from a code which modality it came from.

    .. math:: L = \log m - H, \qquad
              H = \frac{1}{m} \sum_a \frac{1}{n_a} \sum_i -\log q_a(s_{a i})

    log(m) where codes tell everything and 0 where they tell nothing, so that less is better for
    them as for every loss. The gradient is that of the cross-entropy H: the classifier's weights
    go downhill in H and, by :func:`reverse_gradient`, the codes uphill. Each modality weighs the
    same, however many rows have it.

    Args:
        codes: Of each modality, (n_a, d) with n_a >= 1; rows need not belong together.
        classifier: From codes (n, d) to logits (n, m).
        factor: Of the reversal.

    Returns:
        Scalar <= log(m), in nats; below 0 where the classifier does worse than chance.

    Raises:
        ShapeError: Fewer than two modalities, an empty one, or logits of another width.

    References:
        Bousmalis et al. 2016, arXiv:1608.06019, eq. 6 (two domains).
    """
    if len(codes) < 2 or any(z.ndim != 2 or len(z) < 1 for z in codes):
        raise ShapeError(
            "domain_adversarial takes codes (n, d), n >= 1, of two modalities or more; got "
            f"{[tuple(z.shape) for z in codes]}."
        )
    logits = classifier(reverse_gradient(torch.cat(list(codes)), factor)).float()
    if logits.shape != (sum(len(z) for z in codes), len(codes)):
        raise ShapeError(
            f"domain_adversarial: the classifier must give a logit for each of {len(codes)} "
            f"modalities; got {tuple(logits.shape)}."
        )
    found = [
        F.cross_entropy(part, part.new_full((len(part),), at, dtype=torch.long))
        for at, part in enumerate(torch.split(logits, [len(z) for z in codes]))
    ]
    entropy = torch.stack(found).mean()
    # Uphill for the codes is downhill in what is given; the classifier's slope stays that of H.
    return math.log(len(codes)) - entropy.detach() + (entropy - entropy.detach())
