"""Divergences of two laws from a critic's scores on samples of each: bounds to be maximised.

Every function takes scores T(u) on samples of p and on samples of q, in any number. What holds
for the expectation holds for a batch only on average, and not even that where a logarithm stands
outside the mean (:func:`kl_lower_bound`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from triptych.arrays import check_choice
from triptych.errors import ShapeError

DIVERGENCES = ("kl", "reverse_kl", "js", "pearson", "hellinger", "total_variation")


def log_mean_exp(values: Tensor, dim: int | None = None) -> Tensor:
    """log(mean(exp(values))) along one axis or over all, without overflow.

    Args:
        values: Any shape, at least one entry.
        dim: Axis; ``None`` for all entries.
    """
    axes = tuple(range(values.ndim)) if dim is None else (dim,)
    count = math.prod(values.shape[a] for a in axes)
    return torch.logsumexp(values, axes) - math.log(count)


def kl_lower_bound(scores_p: Tensor, scores_q: Tensor) -> Tensor:
    r"""Donsker and Varadhan's bound on KL(p || q).

    .. math:: E_p[T] - \log E_q[e^T] \le KL(p \| q)

    with equality for :math:`T = \log p/q + c`. On a batch the logarithm of a mean is on average
    smaller than that of the expectation, so the value lies too high.

    Args:
        scores_p: Scores of samples of p, shape (n,), n >= 1.
        scores_q: Scores of samples of q, shape (m,), m >= 1.

    Returns:
        Scalar, in nats.

    Raises:
        ShapeError: If either is not 1-D or is empty.

    References:
        Donsker and Varadhan 1983; Belghazi et al. 2018, arXiv:1801.04062, eq. 5.
    """
    p, q = _two("kl_lower_bound", scores_p, scores_q)
    with torch.autocast(p.device.type, enabled=False):
        return p.mean() - log_mean_exp(q)


def f_divergence_lower_bound(scores_p: Tensor, scores_q: Tensor, divergence: str = "kl") -> Tensor:
    r"""Variational bound on an f-divergence: :math:`E_p[g(T)] - E_q[f^*(g(T))]`.

    ======================  ================================  =====================
    divergence              bound                             best T, r = p / q
    ======================  ================================  =====================
    ``"kl"``                E_p T - E_q exp(T - 1)            1 + log r
    ``"reverse_kl"``        1 - E_p exp(-T) - E_q T           log r
    ``"js"``                log 2 - (E_p s(-T) + E_q s(T))/2  log r (s is softplus)
    ``"pearson"``           E_p T - E_q (T² / 4 + T)          2 (r - 1)
    ``"hellinger"``         2 - E_p exp(-T) - E_q exp(T)      (log r) / 2
    ``"total_variation"``   (E_p tanh T - E_q tanh T) / 2     +inf or -inf
    ======================  ================================  =====================

    Jensen-Shannon is that of the even mixture, at most log 2; Hellinger is the integral of
    (sqrt p - sqrt q)², at most 2; total variation is at most 1. A batch's value is unbiased.

    Args:
        scores_p: Scores of samples of p, shape (n,), n >= 1.
        scores_q: Scores of samples of q, shape (m,), m >= 1.
        divergence: Which.

    Returns:
        Scalar, finite for all finite scores of ordinary size: exponentials go on as their
        tangent where they pass the root of the largest number of the type.

    Raises:
        ShapeError: If either is not 1-D or is empty.
        ParameterError: If the divergence is unknown.

    References:
        Nguyen, Wainwright and Jordan 2010, arXiv:0809.0853, lemma 1.
        Nowozin et al. 2016, arXiv:1606.00709, tables 2 and 6; Jensen-Shannon and total variation
        scaled to the usual definitions.
    """
    check_choice("divergence", divergence, DIVERGENCES)
    p, q = _two("f_divergence_lower_bound", scores_p, scores_q)
    with torch.autocast(p.device.type, enabled=False):
        if divergence == "kl":
            return p.mean() - bounded_exp(q - 1).mean()
        if divergence == "reverse_kl":
            return 1 - bounded_exp(-p).mean() - q.mean()
        if divergence == "js":
            return math.log(2) - (F.softplus(-p).mean() + F.softplus(q).mean()) / 2
        if divergence == "pearson":
            return p.mean() - (q.square() / 4 + q).mean()
        if divergence == "hellinger":
            return 2 - bounded_exp(-p).mean() - bounded_exp(q).mean()
        return (p.tanh().mean() - q.tanh().mean()) / 2


def wasserstein_lower_bound(scores_p: Tensor, scores_q: Tensor) -> Tensor:
    """E_p T - E_q T: at most the Wasserstein-1 distance if T is 1-Lipschitz.

    The function cannot know whether T is; :func:`gradient_penalty` asks a critic for it.

    Args:
        scores_p: Scores of samples of p, shape (n,), n >= 1.
        scores_q: Scores of samples of q, shape (m,), m >= 1.

    Returns:
        Scalar, in the unit of the critic's input; changing all scores by a constant does nothing.

    Raises:
        ShapeError: If either is not 1-D or is empty.

    References:
        Arjovsky et al. 2017, arXiv:1701.07875, eq. 2.
    """
    p, q = _two("wasserstein_lower_bound", scores_p, scores_q)
    with torch.autocast(p.device.type, enabled=False):
        return p.mean() - q.mean()


def gradient_penalty(
    critic: Callable[[Tensor], Tensor], samples_p: Tensor, samples_q: Tensor, mix: Tensor
) -> Tensor:
    """Mean squared distance from 1 of the critic's slope between samples of p and of q.

    Args:
        critic: From samples (n, ...) to scores (n,), row by row.
        samples_p: Shape (n, ...).
        samples_q: The same shape; rows need not belong together.
        mix: Where between the two, uniform on [0, 1], shape (n,): the randomness is the caller's.

    Returns:
        Scalar >= 0, differentiable in the critic's parameters; to be added to the negative of
        :func:`wasserstein_lower_bound`, usually ten times.

    Raises:
        ShapeError: If the samples differ in shape, are empty, or ``mix`` is not (n,).

    References:
        Gulrajani et al. 2017, arXiv:1704.00028, eq. 3.
    """
    n = len(samples_p)
    if samples_p.shape != samples_q.shape or samples_p.ndim < 2 or n < 1 or mix.shape != (n,):
        raise ShapeError(
            "gradient_penalty mixes row i of p with row i of q, so both must be (n, ...) of the "
            f"same shape, n >= 1, and mix (n,); got samples_p {tuple(samples_p.shape)}, samples_q "
            f"{tuple(samples_q.shape)}, mix {tuple(mix.shape)}."
        )
    share = mix.reshape(-1, *[1] * (samples_p.ndim - 1))
    between = (share * samples_p + (1 - share) * samples_q).detach().requires_grad_()
    with torch.enable_grad(), torch.autocast(between.device.type, enabled=False):
        scores = critic(wide(between))
        (slope,) = torch.autograd.grad(scores.sum(), between, create_graph=True)
        # The root of a sum has no gradient at 0, where a critic is flat.
        length = (slope.flatten(1).square().sum(1) + 1e-12).sqrt()  # (n,)
        return (length - 1).square().mean()


def bounded_exp(values: Tensor) -> Tensor:
    """exp, continued as its tangent beyond the root of the largest number of the type.

    One bad pair then gives a huge value and a huge gradient, both finite, instead of infinity.
    The tangent lies below exp, but only where the mean that it enters is beyond any use.
    """
    limit = math.log(torch.finfo(values.dtype).max) / 2
    return values.clamp(max=limit).exp() * (1 + (values - limit).clamp(min=0))


def wide(values: Tensor) -> Tensor:
    """Half precision as float32; a logarithm of a mean of exponentials needs the digits."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _two(name: str, scores_p: Tensor, scores_q: Tensor) -> tuple[Tensor, Tensor]:
    if scores_p.ndim != 1 or scores_q.ndim != 1 or not len(scores_p) or not len(scores_q):
        raise ShapeError(
            f"{name} takes scores (n,) of samples of p and (m,) of samples of q, n and m >= 1; "
            f"got scores_p {tuple(scores_p.shape)} and scores_q {tuple(scores_q.shape)}."
        )
    return wide(scores_p), wide(scores_q)
