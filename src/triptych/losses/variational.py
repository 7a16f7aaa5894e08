"""Normal posteriors with independent coordinates: divergences, products and mixtures of them.

Everywhere ``mean`` and ``log_variance`` have one shape; the last axis is the code's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from triptych.errors import ShapeError

LOG_2PI = math.log(2 * math.pi)
# Log-variances stay within ± this: exp(10) is 150 standard deviations squared.
WIDEST = 10.0


def guarded(log_variance: Tensor) -> Tensor:
    """Log-variances bent smoothly into (-10, 10), so that none explodes and none loses its way.

    Near 0 nothing changes; far out the slope is small but never 0, as it would be after a cut.
    """
    return WIDEST * torch.tanh(log_variance / WIDEST)


def gaussian_kl(
    mean: Tensor,
    log_variance: Tensor,
    other_mean: Tensor | None = None,
    other_log_variance: Tensor | None = None,
) -> Tensor:
    r"""Kullback-Leibler divergence of normal laws from others, or from N(0, I).

    .. math:: KL = \tfrac12 \sum_k \Big[ \log \tfrac{\tau_k^2}{\sigma_k^2} - 1
              + \tfrac{\sigma_k^2 + (\mu_k - \nu_k)^2}{\tau_k^2} \Big]

    Args:
        mean: mu, shape (..., d).
        log_variance: log sigma², shape (..., d).
        other_mean: nu; 0 when left out.
        other_log_variance: log tau²; 0 when left out.

    Returns:
        Shape (...), >= 0, in nats.

    References:
        Kingma and Welling 2014, arXiv:1312.6114, appendix B.
    """
    _check("gaussian_kl", mean, log_variance)
    nu = torch.zeros_like(mean) if other_mean is None else other_mean
    log_tau = torch.zeros_like(mean) if other_log_variance is None else other_log_variance
    # (x - log x - 1) / 2 with x = σ² / τ², as expm1, which keeps the digits near equality.
    gap = log_variance - log_tau
    each = torch.expm1(gap) - gap + (mean - nu).square() * torch.exp(-log_tau)
    return 0.5 * each.sum(-1)


def product_of_experts(
    means: Tensor, log_variances: Tensor, present: Tensor, *, prior: bool = True
) -> tuple[Tensor, Tensor]:
    r"""The normal law proportional to the product of the experts that are there.

    .. math:: \sigma^2 = \Big(1 + \sum_m \sigma_m^{-2}\Big)^{-1}, \qquad
              \mu = \sigma^2 \sum_m \sigma_m^{-2} \mu_m

    with the prior N(0, I) as one more expert, once.

    Args:
        means: Shape (m, ..., d).
        log_variances: Shape (m, ..., d).
        present: Boolean (m, ...): what is absent has no say, whatever stands there.
        prior: Whether the prior is one of the experts. Without it some expert must be there.

    Returns:
        Mean and log-variance, shape (..., d); those of the prior where nothing is there.

    Raises:
        ShapeError: If the three do not fit each other.

    References:
        Wu and Goodman 2018, arXiv:1802.05335, eq. 3; Cao and Fleet 2014, arXiv:1410.7827.
    """
    _check("product_of_experts", means, log_variances)
    if present.shape != means.shape[:-1]:
        raise ShapeError(
            "product_of_experts: present says for every expert and row whether it is there, "
            f"{tuple(means.shape[:-1])}; got {tuple(present.shape)}."
        )
    there = present[..., None]
    precision = torch.where(there, torch.exp(-log_variances), 0.0)  # (m, ..., d)
    total = precision.sum(0) + float(prior)
    pulled = (precision * torch.where(there, means, 0.0)).sum(0)
    return pulled / total, -torch.log(total)


def log_normal(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log-density (...) of z (..., d) under a normal law with independent coordinates, nats."""
    each = log_variance + LOG_2PI + (z - mean).square() * torch.exp(-log_variance)
    return -0.5 * each.sum(-1)


def log_standard(z: Tensor) -> Tensor:
    """Log-density (...) of z (..., d) under N(0, I), nats."""
    return -0.5 * (z.square() + LOG_2PI).sum(-1)


def log_mixture(z: Tensor, means: Tensor, log_variances: Tensor, weights: Tensor) -> Tensor:
    """Log-density (..., b) of z (..., b, d) under a mixture of normal laws of each row.

    Args:
        z: Shape (..., b, d).
        means: Shape (c, b, d).
        log_variances: Shape (c, b, d).
        weights: Shape (c, b), >= 0; they add up to 1 over c. A weight of 0 leaves its law out.
    """
    _check("log_mixture", means, log_variances)
    each = log_normal(z[..., None, :, :], means, log_variances)  # (..., c, b)
    # log 0 has no gradient that is a number, so what is left out is set aside before.
    left_out = weights <= 0
    logs = torch.where(left_out, -torch.inf, torch.where(left_out, 1.0, weights).log())
    return torch.logsumexp(torch.where(left_out, -torch.inf, each + logs), dim=-2)


def drawn(mean: Tensor, log_variance: Tensor, samples: int | None = None) -> Tensor:
    """Draws from normal laws with a gradient to both parameters, by torch's generator.

    Args:
        mean: Shape (..., d).
        log_variance: Shape (..., d).
        samples: How many of each; ``None`` for one, without an axis of its own.

    Returns:
        Shape (..., d), or (samples, ..., d).
    """
    shape = mean.shape if samples is None else (samples, *mean.shape)
    noise = torch.randn(shape, dtype=mean.dtype, device=mean.device)
    return mean + torch.exp(0.5 * log_variance) * noise


def _check(name: str, mean: Tensor, log_variance: Tensor) -> None:
    if mean.shape != log_variance.shape or mean.ndim < 1:
        raise ShapeError(
            f"{name}: mean and log-variance must have one shape (..., d); got "
            f"{tuple(mean.shape)} and {tuple(log_variance.shape)}."
        )
