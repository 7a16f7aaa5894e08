"""Mutual information of two variables from a critic's scores of all pairs of a batch.

A score matrix (n, n) holds T(x_i, y_j): its diagonal is n samples of the joint law, the rest
n (n - 1) samples of the product of the marginals. The diagonal never counts among the latter:
there it would pull every estimate towards log n.

What is a bound in expectation carries it in its name. Values are in nats and to be maximised
(lower bounds) or minimised (upper bounds).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from triptych.arrays import check_number
from triptych.errors import ParameterError, ShapeError
from triptych.losses.divergence_bounds import (
    f_divergence_lower_bound,
    kl_lower_bound,
    log_mean_exp,
    wide,
)


def joint_and_product(scores: Tensor) -> tuple[Tensor, Tensor]:
    """The diagonal (n,) and everything else (n (n - 1),) of a score matrix (n, n), n >= 2.

    Raises:
        ShapeError: If the matrix is not square or has fewer than two rows.
    """
    _check_square("joint_and_product", scores)
    n = len(scores)
    # Without its first entry the matrix, read in rows of n + 1, ends each row in the diagonal.
    rest = scores.flatten()[1:].view(n - 1, n + 1)[:, :-1]
    return scores.diagonal(), rest.reshape(-1)


def donsker_varadhan_lower_bound(scores: Tensor) -> Tensor:
    r"""Donsker and Varadhan's bound :math:`E_{xy} T - \log E_{x,y} e^T`.

    Best for T = log p(x, y) / p(x) p(y) + c. The value of a batch lies too high on average, the
    more the smaller the batch; over many batches, average the exponentials and not the values.

    Args:
        scores: Shape (n, n), n >= 2, partners on the diagonal.

    Returns:
        Scalar, in nats.

    Raises:
        ShapeError: If the matrix is not square or has fewer than two rows.

    References:
        Belghazi et al. 2018, arXiv:1801.04062, eq. 5 to 8.
    """
    _check_square("donsker_varadhan_lower_bound", scores)
    return kl_lower_bound(*joint_and_product(scores))


def mine_lower_bound(
    scores: Tensor, log_mean: Tensor | None = None, *, momentum: float = 0.99
) -> tuple[Tensor, Tensor]:
    r"""Donsker and Varadhan's value with the gradient of MINE, which a batch biases less.

    .. math:: \nabla = E_{xy} \nabla T - E_{x,y}[e^T \nabla T] \,/\, m, \qquad
        m \leftarrow \text{momentum} \cdot m + (1 - \text{momentum}) E_{x,y} e^T

    The running mean m is the caller's state, held as its logarithm. This batch already counts in
    it, so that the weight of a batch never exceeds 1 / (1 - momentum).

    Args:
        scores: Shape (n, n), n >= 2, partners on the diagonal.
        log_mean: log m after the batch before, a scalar; ``None`` at the first.
        momentum: In [0, 1); at 0 the gradient is that of the plain bound.

    Returns:
        The bound, a scalar in nats, and the new log m, without gradient.

    Raises:
        ShapeError: If the matrix is not square or has fewer than two rows.
        ParameterError: If the momentum is not in [0, 1).

    References:
        Belghazi et al. 2018, arXiv:1801.04062, eq. 12 and below.
    """
    _check_square("mine_lower_bound", scores)
    check_number("momentum", momentum, low=0)
    if momentum >= 1:
        raise ParameterError(f"momentum: expected a number >= 0 and < 1, got {momentum!r}.")
    joint, product = joint_and_product(wide(scores))
    with torch.autocast(scores.device.type, enabled=False):
        now = log_mean_exp(product)
        held = now.detach()
        if log_mean is not None and momentum > 0:
            held = torch.logaddexp(
                log_mean.detach().to(held) + math.log(momentum), held + math.log1p(-momentum)
            )
        value = joint.mean() - now
        slope = joint.mean() - torch.exp(now - held)
        return slope + (value - slope).detach(), held


def nwj_lower_bound(scores: Tensor) -> Tensor:
    r"""Nguyen, Wainwright and Jordan's bound :math:`E_{xy} T - e^{-1} E_{x,y} e^T`.

    Best for T = 1 + log p(x, y) / p(x) p(y). Unbiased on a batch, but its variance grows like
    exp(I), through rare pairs that a small sample does not even contain.

    Args:
        scores: Shape (n, n), n >= 2, partners on the diagonal.

    Returns:
        Scalar, in nats.

    Raises:
        ShapeError: If the matrix is not square or has fewer than two rows.

    References:
        Nguyen, Wainwright and Jordan 2010, arXiv:0809.0853.
        Poole et al. 2019, arXiv:1905.06922, eq. 4.
    """
    _check_square("nwj_lower_bound", scores)
    return f_divergence_lower_bound(*joint_and_product(scores), "kl")


def log_ratio_lower_bound(log_ratios: Tensor) -> Tensor:
    """The bound of :func:`nwj_lower_bound` for scores that are log p(x, y) / p(x) p(y) itself.

    This is how information is read from a critic that was trained by :func:`js_lower_bound`.

    Args:
        log_ratios: Shape (n, n), n >= 2, partners on the diagonal.

    Returns:
        Scalar, in nats: 1 + E_joint T - E_product exp(T).

    Raises:
        ShapeError: If the matrix is not square or has fewer than two rows.

    References:
        Poole et al. 2019, arXiv:1905.06922, sec. 2.4.
    """
    _check_square("log_ratio_lower_bound", log_ratios)
    return nwj_lower_bound(wide(log_ratios) + 1)


def infonce_lower_bound(scores: Tensor, *, both: bool = False) -> Tensor:
    r"""InfoNCE: how well row i is told to belong to column i among all n columns.

    .. math:: \log n + \tfrac{1}{n} \sum_i
        \left[ T_{ii} - \log \textstyle\sum_j e^{T_{ij}} \right] \le \log n

    Best for T = log p(y | x) + c(x). Low variance, and no more than log n whatever the truth.

    Args:
        scores: Shape (n, n), n >= 2, partners on the diagonal.
        both: Whether columns are told among rows too; the mean of both directions.

    Returns:
        Scalar, in nats.

    Raises:
        ShapeError: If the matrix is not square or has fewer than two rows.

    References:
        van den Oord et al. 2018, arXiv:1807.03748, eq. 4 and 5.
        Poole et al. 2019, arXiv:1905.06922, eq. 10.
    """
    _check_square("infonce_lower_bound", scores)
    with torch.autocast(scores.device.type, enabled=False):
        logits = wide(scores)
        partner = torch.arange(len(logits), device=logits.device)
        loss = F.cross_entropy(logits, partner)
        if both:
            loss = (loss + F.cross_entropy(logits.T, partner)) / 2
        return math.log(len(logits)) - loss


def js_lower_bound(scores: Tensor) -> Tensor:
    """Bound on the Jensen-Shannon divergence of joint and product, at most log 2.

    Best for T = log p(x, y) / p(x) p(y), and calm while training. It is no mutual information:
    read that with :func:`log_ratio_lower_bound` or :func:`smile_estimate`, without gradient.

    Args:
        scores: Shape (n, n), n >= 2, partners on the diagonal.

    Returns:
        Scalar in nats, of the divergence from the even mixture.

    Raises:
        ShapeError: If the matrix is not square or has fewer than two rows.

    References:
        Hjelm et al. 2019, arXiv:1808.06670, eq. 4; Nowozin et al. 2016, arXiv:1606.00709.
    """
    _check_square("js_lower_bound", scores)
    return f_divergence_lower_bound(*joint_and_product(scores), "js")


def smile_estimate(log_ratios: Tensor, *, clip: float = 5.0) -> Tensor:
    r"""SMILE: Donsker and Varadhan with the product's scores held in [-clip, clip]. No bound.

    .. math:: E_{xy} T - \log E_{x,y}\, e^{\min(\max(T, -\tau), \tau)}

    A small clip has less variance and more bias; as it grows the value becomes
    :func:`donsker_varadhan_lower_bound`. The critic is trained by :func:`js_lower_bound`.

    Args:
        log_ratios: Shape (n, n), n >= 2, partners on the diagonal.
        clip: Largest size τ > 0 of a score of the product, in nats.

    Returns:
        Scalar, in nats.

    Raises:
        ShapeError: If the matrix is not square or has fewer than two rows.

    References:
        Song and Ermon 2020, arXiv:1910.06222, eq. 17.
    """
    _check_square("smile_estimate", log_ratios)
    check_number("clip", clip, low=0, open_low=True, infinite=True)
    joint, product = joint_and_product(wide(log_ratios))
    return kl_lower_bound(joint, product.clamp(-clip, clip))


def club_upper_bound(log_densities: Tensor) -> Tensor:
    r"""CLUB: :math:`E_{xy} \log q(y|x) - E_{x,y} \log q(y|x)`.

    An upper bound if q is p(y | x), or near enough to it; for a poor q it is no bound, and
    nothing in the value tells. Fit q by maximum likelihood and not by this.

    Args:
        log_densities: log q(y_j | x_i) at (i, j), shape (n, n), n >= 2. What depends on y alone
            cancels in expectation.

    Returns:
        Scalar, in nats.

    Raises:
        ShapeError: If the matrix is not square or has fewer than two rows.

    References:
        Cheng et al. 2020, arXiv:2006.12013, eq. 8 to 13, whose mean over the product includes
        the diagonal (a factor (n - 1) / n).
    """
    _check_square("club_upper_bound", log_densities)
    joint, product = joint_and_product(wide(log_densities))
    with torch.autocast(log_densities.device.type, enabled=False):
        return joint.mean() - product.mean()


def leave_one_out_upper_bound(log_densities: Tensor) -> Tensor:
    r"""Mean of :math:`\log q(y_i|x_i) - \log \tfrac{1}{n-1} \sum_{j \ne i} q(y_i|x_j)`.

    An upper bound if q is p(y | x); the marginal of y is a mixture over the other rows.

    Args:
        log_densities: log q(y_j | x_i) at (i, j), shape (n, n), n >= 2.

    Returns:
        Scalar, in nats.

    Raises:
        ShapeError: If the matrix is not square or has fewer than two rows.

    References:
        Poole et al. 2019, arXiv:1905.06922, eq. 15.
    """
    _check_square("leave_one_out_upper_bound", log_densities)
    joint, others = joint_and_product(wide(log_densities).T)
    with torch.autocast(log_densities.device.type, enabled=False):
        return (joint - log_mean_exp(others.view(len(joint), -1), 1)).mean()


def barber_agakov_lower_bound(log_densities: Tensor, entropy: float | Tensor) -> Tensor:
    """h(Y) + E log q(y | x): a lower bound for any density q, where h(Y) is known.

    Args:
        log_densities: log q(y_i | x_i), shape (n,), n >= 1.
        entropy: h(Y), in nats.

    Returns:
        Scalar, in nats.

    Raises:
        ShapeError: If the densities are not 1-D or are empty.

    References:
        Barber and Agakov 2003, "The IM algorithm", eq. 3.
    """
    _check_rows("barber_agakov_lower_bound", log_densities)
    return entropy + wide(log_densities).mean()


def difference_of_entropies(log_marginal: Tensor, log_conditional: Tensor) -> Tensor:
    """Cross-entropy of a model of y less that of a model of y given x. No bound.

    Each term lies above its entropy, so errors of the two models have opposite signs. Nothing
    caps the value: this is the way past log n when good density models are at hand.

    Args:
        log_marginal: log q(y_i), shape (n,), n >= 1.
        log_conditional: log q(y_i | x_i), shape (n,).

    Returns:
        Scalar, in nats.

    Raises:
        ShapeError: If the densities are not 1-D, are empty, or differ in number.

    References:
        McAllester and Stratos 2020, arXiv:1811.04251, sec. 4.
    """
    _check_rows("difference_of_entropies", log_marginal)
    if log_marginal.shape != log_conditional.shape:
        raise ShapeError(
            "difference_of_entropies takes both log densities of the same rows; got log_marginal "
            f"{tuple(log_marginal.shape)} and log_conditional {tuple(log_conditional.shape)}."
        )
    return (wide(log_conditional) - wide(log_marginal)).mean()


def _check_square(name: str, scores: Tensor) -> None:
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1] or len(scores) < 2:
        raise ShapeError(
            f"{name} takes the scores of all pairs of a batch, (n, n) with n >= 2 and partners on "
            f"the diagonal; got {tuple(scores.shape)}."
        )


def _check_rows(name: str, values: Tensor) -> None:
    if values.ndim != 1 or not len(values):
        raise ShapeError(
            f"{name} takes one log density a row, (n,) with n >= 1; got {tuple(values.shape)}."
        )
