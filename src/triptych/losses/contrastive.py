"""Contrastive losses: tell a row's partner from the rest of the batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from triptych.arrays import check_number
from triptych.errors import ShapeError
from triptych.losses.softmax import SoftmaxPairs
from triptych.losses.tiled import (
    Positives,
    check_codes,
    check_pair,
    gradients_wanted,
    one_temperature,
    wide,
    widened,
)


def info_nce(
    za: Tensor,
    zb: Tensor,
    *,
    temperature: float | Tensor = 0.07,
    ids_a: Tensor | None = None,
    ids_b: Tensor | None = None,
) -> Tensor:
    r"""Symmetric InfoNCE of two batches whose i-th rows belong together.

    .. math:: L = -\tfrac{1}{2n} \sum_i \sum_j q_{ij}
        \left[\log p(b_j \mid a_i) + \log p(a_j \mid b_i)\right]

    with p the softmax over the batch of cosine / temperature. Without ids, q is 1 for i = j and 0
    elsewhere; in expectation log(n) - L is then a lower bound on I(A; B), so a batch of n rows can
    show log(n) nats and no more.

    With ids, row j is a positive of row i if their ids are equal on either side, since a picture
    of the same text is no negative. q is uniform over the positives of i, so L is never below the
    mean log of their number. Ids that are all different give the plain form.

    The (n, n) matrix is never held: see :mod:`triptych.losses.softmax`. Gradients are of first
    order. A zero row has cosine 0 with every other and no gradient.

    Args:
        za: Embeddings, shape (n, d) with n >= 2; scaled to unit length here.
        zb: Their partners: same shape and device.
        temperature: Width of the softmax, > 0, no unit; gradients flow into a scalar tensor.
        ids_a: Integers (n,), equal where the content behind ``za`` is equal.
        ids_b: The same for ``zb``.

    Returns:
        Scalar, in nats; lower is better; log(n) when all rows look alike.

    Raises:
        ShapeError: If the shapes differ, are not 2-D, or hold fewer than two rows.
        TrainingError: If codes are not finite; names side and row.
        ParameterError: If the temperature is not above 0.

    References:
        van den Oord et al. 2018, arXiv:1807.03748, eq. 4 (one direction).
        Radford et al. 2021, arXiv:2103.00020, fig. 3 (mean of both directions).
        Khosla et al. 2020, arXiv:2004.11362, eq. 2 (several positives, mean outside the log).
    """
    check_pair("info_nce", za, zb)
    with torch.autocast(za.device.type, enabled=False):
        a, b = widened(za, zb)
        scale = 1 / one_temperature("info_nce", temperature, a)
        positives = Positives("info_nce", len(a), ids_a, ids_b, a.device)
        keep = gradients_wanted(a, b, scale)
        loss: Tensor = SoftmaxPairs.apply(a, b, scale, positives, keep)  # type: ignore[no-untyped-call]
        return loss


def alignment(za: Tensor, zb: Tensor) -> Tensor:
    """Mean squared distance of partners on the unit sphere: 2 - 2 x mean cosine.

    Args:
        za: Embeddings, shape (n, d).
        zb: Their partners, same shape.

    Returns:
        Scalar in [0, 4]; 0 when partners coincide.

    References:
        Wang and Isola 2020, arXiv:2005.10242, sec. 4.1, with exponent 2.
    """
    check_pair("alignment", za, zb, least=1)
    a, b = F.normalize(wide(za), dim=1), F.normalize(wide(zb), dim=1)
    return (a - b).square().sum(1).mean()


def uniformity(z: Tensor, *, t: float = 2.0) -> Tensor:
    """Log of the mean Gaussian potential over pairs of different rows on the unit sphere.

    Args:
        z: Embeddings, shape (n, d) with n >= 2.
        t: Sharpness of the potential, > 0.

    Returns:
        Scalar in [-4t, 0]; lower is more uniform; 0 when all rows point the same way.

    References:
        Wang and Isola 2020, arXiv:2005.10242, sec. 4.1.
    """
    if z.ndim != 2 or len(z) < 2:
        raise ShapeError(f"uniformity takes (n, d) with n >= 2; got z {tuple(z.shape)}.")
    check_codes("uniformity: z", z)
    check_number("t", t, low=0, open_low=True)
    with torch.autocast(z.device.type, enabled=False):
        unit = F.normalize(wide(z), dim=1)
        i, j = torch.triu_indices(len(z), len(z), offset=1, device=z.device)
        squared = 2 - 2 * (unit @ unit.T)[i, j]  # (n (n - 1) / 2,)
        return torch.logsumexp(-t * squared, 0) - torch.log(squared.new_tensor(len(squared)))
