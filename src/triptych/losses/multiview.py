"""What a code keeps beyond what another modality tells of it: estimates and penalties."""

from __future__ import annotations

import torch
from torch import Tensor

from triptych.errors import ShapeError
from triptych.losses.variational import LOG_2PI, gaussian_kl

# Rounding of float32 codes of size 1, squared: residuals below it have no size of their own.
SMALLEST = 1e-12


def inverse_prediction(z: Tensor, predicted: Tensor) -> Tensor:
    r"""Mean squared distance of codes from what another modality predicts of them.

    .. math:: L_{IP} = \tfrac1n \sum_i \lVert z_i - F(s_i) \rVert^2

    The sum over coordinates, so that for codes of unit length L is 2 (1 - cosine) whatever their
    width; with a mean over coordinates it would shrink as codes grow wider.

    Args:
        z: Codes, shape (n, d), n >= 1.
        predicted: Predictions of them, the same shape; for codes of one space, the partner's.

    Returns:
        Scalar >= 0. A constant code makes it 0, so it is of use only beside a term that keeps
        codes apart.

    Raises:
        ShapeError: If the shapes differ, are not 2-D, or have no row.

    References:
        Tsai et al. 2021, arXiv:2006.05576, eq. for L_IP.
    """
    _check("inverse_prediction", z, predicted, least=1)
    return (z - predicted).square().sum(1).mean()


def residual_entropy(z: Tensor, predicted: Tensor) -> Tensor:
    r"""How much of a code a prediction leaves open: entropy of normal residuals of their size.

    .. math:: \hat H(Z \mid S) = \sum_k \tfrac12 \log(2 \pi e\, \sigma_k^2), \qquad
        \sigma_k^2 = \operatorname{Var}_i (z_{ik} - F_k(s_i))

    An upper bound on H(Z | S) for the law behind the rows, since of all laws of one variance the
    normal has most entropy; the variances of a batch make it low by about d / 2n. Differential: it
    may be negative, and differences of it mean something, its zero does not. Codes of unit
    length fill no volume, so for them it is a yardstick along training and not an entropy.

    Args:
        z: Codes, shape (n, d), n >= 2.
        predicted: Predictions of them, the same shape.

    Returns:
        Scalar, in nats; finite for equal batches too, since variances stay above 1e-12.

    Raises:
        ShapeError: If the shapes differ, are not 2-D, or have fewer than two rows.

    References:
        Tsai et al. 2021, arXiv:2006.05576, section 2.3 (normal inverse predictor).
    """
    _check("residual_entropy", z, predicted, least=2)
    variance = (z - predicted).var(0, correction=0).clamp_min(SMALLEST)  # (d,)
    return 0.5 * (torch.log(variance) + LOG_2PI + 1).sum()


def symmetric_kl(
    mean_a: Tensor, log_variance_a: Tensor, mean_b: Tensor, log_variance_b: Tensor
) -> Tensor:
    r"""Half the sum of both divergences of two normal laws with independent coordinates.

    .. math:: D = \tfrac12 \big[ KL(p_a \| p_b) + KL(p_b \| p_a) \big]

    In expectation an upper bound on the mean of I(Z_a; A | B) and I(Z_b; B | A): what the codes
    hold that the other modality does not tell.

    Args:
        mean_a: Shape (..., d).
        log_variance_a: Shape (..., d).
        mean_b: Shape (..., d).
        log_variance_b: Shape (..., d).

    Returns:
        Shape (...), >= 0, in nats.

    References:
        Federici et al. 2020, arXiv:2002.07017, eq. 6 and appendix (there by one draw, whose value
        may be negative; here in closed form).
    """
    there = gaussian_kl(mean_a, log_variance_a, mean_b, log_variance_b)
    back = gaussian_kl(mean_b, log_variance_b, mean_a, log_variance_a)
    return (there + back) / 2


def _check(name: str, z: Tensor, predicted: Tensor, *, least: int) -> None:
    if z.shape != predicted.shape or z.ndim != 2 or len(z) < least:
        raise ShapeError(
            f"{name} compares row i of codes with row i of predictions, both (n, d) with n >= "
            f"{least}; got {tuple(z.shape)} and {tuple(predicted.shape)}."
        )
