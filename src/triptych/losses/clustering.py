"""Soft clustering of positions in a projection per cluster, unrolled; scores of matching centres.

Letters here: b rows, p positions of a row, c features of a position, k clusters, d components.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from triptych.arrays import check_number
from triptych.errors import ShapeError

# Squared lengths below this have no direction: what lies there counts as zero, without gradient.
NOWHERE = 1e-12
# Lengths of a third and more are 1 after squashing, as in the authors' code.
STEEP = 10.0


def squash(u: Tensor) -> Tensor:
    r"""Vectors shortened to a length below 1, small ones in proportion.

    .. math:: u \leftarrow \tanh(10 \lVert u \rVert)\, u / \lVert u \rVert

    Args:
        u: Shape (..., c).

    Returns:
        Shape (..., c); 0 stays 0, with a finite gradient.

    References:
        Hu, Nie, Li 2019 (DMC), the authors' code.
    """
    squared = u.square().sum(-1, keepdim=True)
    somewhere = squared > NOWHERE
    length = torch.where(somewhere, squared, 1.0).sqrt()
    return u * torch.where(somewhere, torch.tanh(STEEP * length) / length, STEEP)


def unit(o: Tensor) -> Tensor:
    """Vectors (..., d) of unit length; a zero vector stays zero and has no gradient."""
    squared = o.square().sum(-1, keepdim=True)
    somewhere = squared > NOWHERE
    return torch.where(somewhere, o / torch.where(somewhere, squared, 1.0).sqrt(), 0.0)


def unrolled_clusters(
    features: Tensor,
    projections: Tensor,
    mask: Tensor | None = None,
    *,
    iterations: int = 3,
    sharpness: float = 1.0,
) -> tuple[Tensor, Tensor]:
    r"""Centres of clusters, each in a projection of its own, and who belongs to which.

    .. math:: s_{ij} = \operatorname{softmax}_j \big( z \langle c_j / \lVert c_j \rVert,
        W_j u_i \rangle \big), \qquad c_j = \sum_i s_{ij} W_j u_i

    taken in turns, beginning with s = 1/k; the softmax is over clusters, for each position. The
    projections are what tells clusters apart: were they equal, all centres would stay equal.

    The projected positions (b, p, k, d) are never made: c_j = W_j (Σ_i s_ij u_i), and
    <c_j, W_j u_i> = <W_jᵀ c_j, u_i>, so products are of size b p k c instead of b p k c d.

    Args:
        features: u, shape (b, p, c), used as they are (see :func:`squash`).
        projections: W, shape (k, d, c).
        mask: Boolean (b, p): positions that are there; all when left out.
        iterations: How often centres are taken, r >= 1.
        sharpness: z > 0; larger makes assignments harder.

    Returns:
        Centres (b, k, d), not normalised, and assignments s (b, p, k), each summing to 1 over
        clusters, from which the centres were taken; zero where nothing is.

    Raises:
        ShapeError: If the three do not fit each other.

    References:
        Hu, Nie, Li 2019, Deep Multimodal Clustering for Unsupervised Audiovisual Learning, CVPR,
        section 3.1.
    """
    check_number("iterations", iterations, low=1, integer=True)
    check_number("sharpness", sharpness, low=0, open_low=True)
    _check(features, projections, mask)
    k = len(projections)
    with torch.autocast(features.device.type, enabled=False):
        u, W = _wide(features), _wide(projections)
        if mask is not None:
            u = torch.where(mask[..., None], u, 0.0)
        share = u.new_full((*u.shape[:2], k), 1 / k)  # (b, p, k)
        pooled = (u.sum(1) / k).expand(k, -1, -1)  # Σ_i s_ij u_i, by cluster, (k, b, c)
        centres = pooled @ W.mT  # (k, b, d)
        for _ in range(iterations - 1):
            pulling = unit(centres) @ W  # (k, b, c)
            share = F.softmax(sharpness * (u @ pulling.permute(1, 2, 0)), dim=2)  # (b, p, k)
            pooled = (share.mT @ u).transpose(0, 1)
            centres = pooled @ W.mT
        if mask is not None:
            share = share * mask[..., None]
        return centres.transpose(0, 1), share


def pair_scores(a: Tensor, b: Tensor) -> Tensor:
    r"""How well the centres of every row of one modality match those of every row of another.

    .. math:: S = \sum_j \cos(c_j^a, c_j^b) \in [-k, k]

    Args:
        a: Centres, shape (n, k, d).
        b: Centres, shape (m, k, d).

    Returns:
        Shape (n, m); a centre that is zero adds 0.

    Raises:
        ShapeError: If the centres do not fit each other.
    """
    if a.ndim != 3 or b.ndim != 3 or a.shape[1:] != b.shape[1:]:
        raise ShapeError(
            "pair_scores compares centres (n, k, d) and (m, k, d); got "
            f"{tuple(a.shape)} and {tuple(b.shape)}."
        )
    with torch.autocast(a.device.type, enabled=False):
        return unit(_wide(a)).flatten(1) @ unit(_wide(b)).flatten(1).T


def match_hinge(scores: Tensor, wrong: Tensor, *, margin: float) -> Tensor:
    r"""Right pairs must score higher than wrong ones, by a margin.

    .. math:: L = \operatorname{mean}_{(i, l)\ \text{wrong}} \max(0, m + S_{il} - S_{ll})

    Args:
        scores: S, shape (n, n), partners on the diagonal.
        wrong: Boolean (n, n): which pairs are compared with the right pair of their column.
        margin: m > 0; k is that of scores in [-k, k].

    Returns:
        Scalar >= 0; 0 where no pair is wrong.

    References:
        Hu, Nie, Li 2019, eq. of the max-margin loss (one wrong sound for each picture).
    """
    check_number("margin", margin, low=0, open_low=True)
    if scores.ndim != 2 or scores.shape[0] != scores.shape[1] or wrong.shape != scores.shape:
        raise ShapeError(
            "match_hinge takes scores (n, n) and a mask of the same shape; got "
            f"{tuple(scores.shape)} and {tuple(wrong.shape)}."
        )
    costs = F.relu(margin + scores - scores.diagonal())
    return torch.where(wrong, costs, 0.0).sum() / wrong.sum().clamp_min(1)


def _wide(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _check(features: Tensor, projections: Tensor, mask: Tensor | None) -> None:
    fits = features.ndim == 3 and projections.ndim == 3
    if not fits or features.shape[2] != projections.shape[2]:
        raise ShapeError(
            "unrolled_clusters takes features (b, p, c) and projections (k, d, c); got "
            f"{tuple(features.shape)} and {tuple(projections.shape)}."
        )
    if mask is not None and mask.shape != features.shape[:2]:
        raise ShapeError(
            f"unrolled_clusters: mask says for each of {tuple(features.shape[:2])} positions "
            f"whether it is there; got {tuple(mask.shape)}."
        )
