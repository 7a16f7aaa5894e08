"""Losses without negatives: agree across modalities, and let no dimension repeat another."""

from __future__ import annotations

import torch
from torch import Tensor

from triptych.arrays import check_number
from triptych.losses.tiled import check_pair, widened


def barlow_twins(za: Tensor, zb: Tensor, *, weight: float = 5e-3) -> Tensor:
    r"""Barlow Twins: the cross-correlation of two codes of the same rows should be the identity.

    .. math:: L = \sum_k (1 - C_{kk})^2 + \lambda \sum_{k \ne l} C_{kl}^2

    with C the correlations over the batch between dimension k of one side and l of the other.

    Args:
        za: Codes, shape (n, d) with n >= 2.
        zb: Codes of the same rows: same shape and device.
        weight: lambda > 0, of the redundancy term.

    Returns:
        Scalar >= 0. A constant dimension correlates with nothing and costs 1.

    Raises:
        ShapeError: If the shapes differ, are not 2-D, or hold fewer than two rows.

    References:
        Zbontar et al. 2021, arXiv:2103.03230, eq. 1 and 2.
    """
    check_pair("barlow_twins", za, zb)
    check_number("weight", weight, low=0, open_low=True)
    with torch.autocast(za.device.type, enabled=False):
        a, b = widened(za, zb)
        correlations = _unit_columns(a).T @ _unit_columns(b)  # (d, d)
        own = correlations.diagonal()
        others = correlations.square().sum() - own.square().sum()
        return (1 - own).square().sum() + weight * others.clamp_min(0)


def _unit_columns(z: Tensor) -> Tensor:
    z = z - z.mean(0)
    # Inside the root, which has no slope at 0, where a column is constant.
    return z / (z.square().sum(0) + 1e-12).sqrt()


def invariance(za: Tensor, zb: Tensor) -> Tensor:
    """Mean squared difference of partners' codes, over rows and dimensions; VICReg's s."""
    check_pair("invariance", za, zb, least=1)
    a, b = widened(za, zb)
    return (a - b).square().mean()


def variance_hinge(z: Tensor, *, target: float = 1.0, eps: float = 1e-4) -> Tensor:
    """How far standard deviations of the dimensions stay below ``target``, on average; VICReg's v.

    Args:
        z: Codes, shape (n, d) with n >= 2.
        target: Standard deviation from which on nothing is asked.
        eps: Added to the variance, whose root has no slope at 0.
    """
    check_pair("variance_hinge", z, z)
    return (target - (z.var(0) + eps).sqrt()).relu().mean()


def off_diagonal_covariance(z: Tensor) -> Tensor:
    """Sum of squared covariances between different dimensions, divided by d; VICReg's c.

    Args:
        z: Codes, shape (n, d) with n >= 2.
    """
    check_pair("off_diagonal_covariance", z, z)
    centred = z - z.mean(0)
    covariance = centred.T @ centred / (len(z) - 1)  # (d, d)
    others = covariance - torch.diag(covariance.diagonal())
    return others.square().sum() / z.shape[1]


def vicreg(
    za: Tensor,
    zb: Tensor,
    *,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
) -> Tensor:
    r"""VICReg: invariance, variance and covariance.

    .. math:: L = \lambda s(A, B) + \mu [v(A) + v(B)] + \nu [c(A) + c(B)]

    with s, v and c of :func:`invariance`, :func:`variance_hinge` and
    :func:`off_diagonal_covariance`.

    Args:
        za: Codes, shape (n, d) with n >= 2.
        zb: Codes of the same rows: same shape and device.
        invariance_weight: lambda >= 0.
        variance_weight: mu >= 0.
        covariance_weight: nu >= 0.

    Returns:
        Scalar >= 0.

    Raises:
        ShapeError: If the shapes differ, are not 2-D, or hold fewer than two rows.

    References:
        Bardes, Ponce and LeCun 2022, arXiv:2105.04906, eq. 6.
    """
    check_pair("vicreg", za, zb)
    check_number("invariance_weight", invariance_weight, low=0)
    check_number("variance_weight", variance_weight, low=0)
    check_number("covariance_weight", covariance_weight, low=0)
    with torch.autocast(za.device.type, enabled=False):
        a, b = widened(za, zb)
        spread = variance_hinge(a) + variance_hinge(b)
        repeated = off_diagonal_covariance(a) + off_diagonal_covariance(b)
        near = invariance(a, b)
        return invariance_weight * near + variance_weight * spread + covariance_weight * repeated
