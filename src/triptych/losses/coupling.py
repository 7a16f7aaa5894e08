"""Joint laws of two variables and a label on the rows of a batch, with marginals asked for.

What the decomposition of Bertschinger et al. needs: q(x1, x2, y) that keeps the laws of (x1, y)
and (x2, y), as a table over the rows of a batch, and its information.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from triptych.errors import ShapeError
from triptych.losses.divergence_bounds import log_mean_exp


def coupled(
    affinities: Tensor,
    log_first: Tensor,
    log_second: Tensor,
    *,
    rounds: int = 100,
    tolerance: float = 1e-4,
) -> Tensor:
    r"""Sinkhorn's scaling in logarithms: the q nearest to exp(affinities) with given marginals.

    For label y, q(., . | y) has the row sums p(y | x1_a) / sum over a and the column sums
    p(y | x2_b) / sum over b. The weight of the label is the mean of both posteriors over the
    batch, so that both sides have one mass even where the classifiers differ.

    Args:
        affinities: Any numbers, shape (k, n, n).
        log_first: log p(y | x1_a), shape (n, k).
        log_second: log p(y | x2_b), shape (n, k).
        rounds: Most scalings of rows and columns.
        tolerance: Largest share by which row sums may miss when the scaling stops.

    Returns:
        log q(y, x1_a, x2_b), shape (k, n, n); its exponentials sum to 1.

    Raises:
        ShapeError: If the three do not fit each other.

    References:
        Sinkhorn 1964; Cuturi 2013, arXiv:1306.0895 (in logarithms: Peyré and Cuturi 2019, 4.4).
    """
    n, k = log_first.shape if log_first.ndim == 2 else (0, 0)
    if not n or not k or log_second.shape != (n, k) or affinities.shape != (k, n, n):
        raise ShapeError(
            "coupled takes affinities (k, n, n) of all pairs of rows and log posteriors (n, k) of "
            f"either side, n and k >= 1; got {tuple(affinities.shape)}, "
            f"{tuple(log_first.shape)} and {tuple(log_second.shape)}."
        )
    log_r, log_c, log_weight = _marginals(log_first, log_second)
    # Rows and columns that a label all but excludes are scaled from a start near the answer.
    start = affinities - affinities.amax((1, 2), keepdim=True)
    start = start + log_r[:, :, None] + log_c[:, None, :]
    return _scaled(start, log_r, log_c, rounds, tolerance) + log_weight[:, None, None]


def _marginals(log_first: Tensor, log_second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each label: log shares of the rows (k, n), of the columns (k, n), log weight (k,)."""
    log_weight = log_mean_exp(torch.cat([log_first, log_second]), 0)
    return F.log_softmax(log_first.T, 1), F.log_softmax(log_second.T, 1), log_weight


def _scaled(log_q: Tensor, log_r: Tensor, log_c: Tensor, rounds: int, tolerance: float) -> Tensor:
    """Rows and columns scaled in turn until the rows' shares are missed by little."""
    for _ in range(rounds):
        excess = log_r - torch.logsumexp(log_q, 2)  # (k, n)
        with torch.no_grad():
            missed = (log_r.exp() * (torch.exp(-excess) - 1).abs()).sum(1).max()
        log_q = log_q + excess[:, :, None]
        log_q = log_q + (log_c - torch.logsumexp(log_q, 1))[:, None, :]
        if missed < tolerance:
            break
    return log_q


def refined(log_q: Tensor, log_first: Tensor, log_second: Tensor, rounds: int) -> Tensor:
    """Alternate between the mixture of all labels and the q nearest to it: I_q only falls.

    I_q = min over r of the weighted sum of KL(q(. | y) || r), attained by the mixture; and for a
    given r the best q(. | y) is r scaled to the marginals. Both sets are convex, so the limit is
    the least I_q of all.

    Args:
        log_q: Shape (k, n, n), from :func:`coupled`.
        log_first: log p(y | x1_a), shape (n, k).
        log_second: log p(y | x2_b), shape (n, k).
        rounds: How often.

    References:
        Csiszár and Tusnády 1984, "Information geometry and alternating minimization".
    """
    log_r, log_c, log_weight = _marginals(log_first, log_second)
    # What scaled the last mixture scales the next one almost as well: a start near the answer.
    scales = torch.zeros_like(log_q)
    for _ in range(rounds):
        mixture = torch.logsumexp(log_q, 0, keepdim=True)
        log_q = _scaled(mixture + scales, log_r, log_c, 100, 1e-4)
        scales = log_q - mixture
        log_q = log_q + log_weight[:, None, None]
    return log_q


def information_of(log_q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """I_q(x1, x2; y), I_q(x1; y) and I_q(x2; y) of log q (k, n, n), in nats."""
    log_y = torch.logsumexp(log_q, (1, 2))  # (k,)
    log_pairs = torch.logsumexp(log_q, 0)  # (n, n)
    both = (log_q.exp() * (log_q - log_pairs - log_y[:, None, None])).sum()
    single = []
    for axis in (2, 1):
        log_one = torch.logsumexp(log_q, axis)  # (k, n)
        alone = torch.logsumexp(log_one, 0)  # (n,)
        single.append((log_one.exp() * (log_one - alone - log_y[:, None])).sum())
    return both, single[0], single[1]
