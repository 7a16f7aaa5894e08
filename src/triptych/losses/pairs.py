"""Losses that are sums over pairs or triplets of rows: SigLIP, hinges, Hadsell's, FaceNet's.

Each sees the cosines of two batches tile by tile (:mod:`triptych.losses.tiled`); the (n, n) matrix
is never held. Rows i are partners; with ids, rows of equal content are no negatives of each other.
A zero row has cosine 0 with every other and no gradient. Gradients are of first order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from triptych.arrays import check_choice, check_number
from triptych.errors import ShapeError
from triptych.losses.tiled import (
    Positives,
    Sphere,
    check_pair,
    exact,
    hardest_negatives,
    one_pass,
    one_temperature,
    unit_rows,
    widened,
)

MINING = ("all", "semihard", "hardest")


def sigmoid(
    za: Tensor,
    zb: Tensor,
    *,
    temperature: float | Tensor = 0.1,
    bias: float | Tensor = -10.0,
    ids_a: Tensor | None = None,
    ids_b: Tensor | None = None,
) -> Tensor:
    r"""SigLIP: every pair of rows by itself is a match or none.

    .. math:: L = -\tfrac{1}{n} \sum_{ij} \log \sigma\left(y_{ij}
        (\cos(a_i, b_j) / \tau + \beta)\right)

    with y = 1 for positives and -1 for all other pairs; divided by n, not by n squared.

    Args:
        za: Embeddings, shape (n, d) with n >= 2; scaled to unit length here.
        zb: Their partners: same shape and device.
        temperature: tau > 0, no unit; gradients flow into a scalar tensor.
        bias: beta, no unit; gradients flow into a scalar tensor.
        ids_a: Integers (n,), equal where the content behind ``za`` is equal: positives.
        ids_b: The same for ``zb``.

    Returns:
        Scalar in nats, >= 0.

    Raises:
        ShapeError: If the shapes differ, are not 2-D, or hold fewer than two rows.
        TrainingError: If codes are not finite; names side and row.

    References:
        Zhai et al. 2023, arXiv:2303.15343, eq. 1; temperature and bias start at 0.1 and -10.
    """
    a, b, positives = _prepared("sigmoid", za, zb, ids_a, ids_b)
    if not isinstance(bias, Tensor):
        check_number("bias", bias)
        bias = a.new_tensor(bias)
    elif bias.numel() != 1:
        raise ShapeError(f"sigmoid takes one bias; got a tensor of shape {tuple(bias.shape)}.")
    else:
        check_number("bias", float(bias.detach()))
    scale = 1 / one_temperature("sigmoid", temperature, a)
    return _run(
        a, b, scale, bias.reshape(()).to(a), lambda a, b, bias: _Sigmoid(a, b, bias, positives)
    )


def hinge(
    za: Tensor,
    zb: Tensor,
    *,
    margin: float = 0.2,
    hardest: bool = False,
    ids_a: Tensor | None = None,
    ids_b: Tensor | None = None,
) -> Tensor:
    r"""Sum of hinges of a visual-semantic embedding, both directions.

    .. math:: L = \sum_i \sum_{k \ne i} \left[\max(0, m - s_{ii} + s_{ik}) +
        \max(0, m - s_{ii} + s_{ki})\right]

    with s the cosines; with ``hardest`` the inner sum is its largest term.

    Args:
        za: Embeddings, shape (n, d) with n >= 2; scaled to unit length here.
        zb: Their partners: same shape and device.
        margin: m > 0, in cosines.
        hardest: Whether only the hardest negative of each row and column counts (VSE++).
        ids_a: Integers (n,), equal where the content behind ``za`` is equal: no negatives.
        ids_b: The same for ``zb``.

    Returns:
        Scalar >= 0, a sum over rows as in the papers; 0 where no row has a negative.

    Raises:
        ShapeError: If the shapes differ, are not 2-D, or hold fewer than two rows.
        TrainingError: If codes are not finite; names side and row.

    References:
        Kiros, Salakhutdinov and Zemel 2014, arXiv:1411.2539, eq. 10.
        Faghri et al. 2018, arXiv:1707.05612, eq. 6.
    """
    a, b, positives = _prepared("hinge", za, zb, ids_a, ids_b)
    check_number("margin", margin, low=0, open_low=True)
    if not hardest:
        return _run(a, b, None, None, lambda a, b, bias: _Hinge(a, b, bias, margin, positives))
    with torch.autocast(za.device.type, enabled=False):
        own, others = _own_and_hardest(a, b, positives)
        return torch.cat([F.relu(margin - own[has] + other) for has, other in others]).sum()


def contrastive_pairs(
    za: Tensor,
    zb: Tensor,
    *,
    margin: float = 1.0,
    ids_a: Tensor | None = None,
    ids_b: Tensor | None = None,
) -> Tensor:
    r"""Contrastive loss of Hadsell et al.: matches near, all others at least a margin apart.

    .. math:: L = \operatorname{mean}_{\text{matches}} \tfrac{1}{2} D_{ij}^2 +
        \operatorname{mean}_{\text{others}} \tfrac{1}{2} \max(0, m - D_{ij})^2

    with D the Euclidean distance on the unit sphere, where its order is that of cosines (the
    paper leaves codes free). Means, since of n squared pairs only n match. Where two rows that do
    not match coincide, the distance has no direction and the pair no gradient.

    Args:
        za: Embeddings, shape (n, d) with n >= 2; scaled to unit length here.
        zb: Their partners: same shape and device.
        margin: m in (0, 2], a distance; 2 is that of opposite points.
        ids_a: Integers (n,), equal where the content behind ``za`` is equal: matches.
        ids_b: The same for ``zb``.

    Returns:
        Scalar >= 0.

    Raises:
        ShapeError: If the shapes differ, are not 2-D, or hold fewer than two rows.
        TrainingError: If codes are not finite; names side and row.

    References:
        Hadsell, Chopra and LeCun 2006, "Dimensionality reduction by learning an invariant
        mapping", eq. 4 (which labels matches 0).
    """
    a, b, positives = _prepared("contrastive_pairs", za, zb, ids_a, ids_b)
    check_number("margin", margin, low=0, high=2, open_low=True)
    return _run(a, b, None, None, lambda a, b, bias: _Hadsell(a, b, bias, margin, positives))


def triplet(
    za: Tensor,
    zb: Tensor,
    *,
    margin: float = 0.2,
    mining: str = "all",
    ids_a: Tensor | None = None,
    ids_b: Tensor | None = None,
) -> Tensor:
    r"""Triplets of a row, its partner, and a row of the partner's side that does not match.

    .. math:: L = \operatorname{mean}_{i, k} \max(0, m + D_{ii} - D_{ik})

    over both directions, with D the Euclidean distance on the unit sphere. ``"all"``: the mean
    is over triplets that cost something; ``"semihard"``: over those of them whose negative is
    farther than the partner; ``"hardest"``: over rows, each with its nearest negative.

    Args:
        za: Embeddings, shape (n, d) with n >= 2; scaled to unit length here.
        zb: Their partners: same shape and device.
        margin: m > 0, a distance.
        mining: ``"all"``, ``"semihard"`` or ``"hardest"``.
        ids_a: Integers (n,), equal where the content behind ``za`` is equal: no negatives.
        ids_b: The same for ``zb``.

    Returns:
        Scalar >= 0; 0 where no triplet costs anything.

    Raises:
        ShapeError: If the shapes differ, are not 2-D, or hold fewer than two rows.
        TrainingError: If codes are not finite; names side and row.

    References:
        Schroff, Kalenichenko and Philbin 2015, arXiv:1503.03832, sec. 3.2 (squared distances).
        Hermans, Beyer and Leibe 2017, arXiv:1703.07737 (mean over those that cost; hardest).
    """
    a, b, positives = _prepared("triplet", za, zb, ids_a, ids_b)
    check_number("margin", margin, low=0, open_low=True)
    check_choice("mining", mining, MINING)
    if mining != "hardest":
        semi = mining == "semihard"
        return _run(
            a, b, None, None, lambda a, b, bias: _Triplet(a, b, bias, margin, semi, positives)
        )
    with torch.autocast(za.device.type, enabled=False):
        own, others = _own_and_hardest(a, b, positives)
        near = _distance(own)
        costs = [F.relu(margin + near[has] - _distance(other)) for has, other in others]
        return torch.cat(costs).sum() / max(1, sum(len(c) for c in costs))


# -- shared pieces ---------------------------------------------------------------------------


def _prepared(
    name: str, za: Tensor, zb: Tensor, ids_a: Tensor | None, ids_b: Tensor | None
) -> tuple[Tensor, Tensor, Positives]:
    check_pair(name, za, zb)
    a, b = widened(za, zb)
    return a, b, Positives(name, len(a), ids_a, ids_b, a.device)


def _run(
    a: Tensor, b: Tensor, scale: Tensor | None, bias: Tensor | None, make: Callable[..., Any]
) -> Tensor:
    scale = a.new_ones(()) if scale is None else scale
    bias = a.new_zeros(()) if bias is None else bias
    with torch.autocast(a.device.type, enabled=False):
        return one_pass(a, b, scale, bias, make)


def _own_and_hardest(
    a: Tensor, b: Tensor, positives: Positives
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Cosines of partners (n,), and by direction which rows have negatives and the hardest's."""
    of_a, of_b = hardest_negatives(a, b, positives)
    u, v = unit_rows(a), unit_rows(b)
    has_a, has_b = of_a >= 0, of_b >= 0
    return torch.linalg.vecdot(u, v), [
        (has_a, torch.linalg.vecdot(u[has_a], v[of_a[has_a]])),
        (has_b, torch.linalg.vecdot(v[has_b], u[of_b[has_b]])),
    ]


def _nearest(dtype: torch.dtype) -> float:
    """Squared distance below which rounding of the cosine leaves no direction."""
    return 1e-12 if dtype == torch.float64 else 1e-6


def _distance(cosine: Tensor) -> Tensor:
    """Euclidean distance of unit rows; no gradient where they coincide."""
    squared = (2 - 2 * cosine).clamp_min(0)
    apart = squared > _nearest(cosine.dtype)
    root = torch.where(apart, squared, torch.ones_like(squared)).sqrt()
    return torch.where(apart, root, squared.detach().sqrt())


def _slope(distance: Tensor) -> Tensor:
    """-dD/dcos = 1 / D, zero where rows coincide."""
    near = distance.square() <= _nearest(distance.dtype)
    return distance.reciprocal().masked_fill_(near, 0)


def _partners(a: Sphere, b: Sphere) -> Tensor:
    """Cosines of partners, (n,)."""
    cosines: Tensor = torch.linalg.vecdot(a.z, b.z) * (a.inverse * b.inverse)[:, 0]
    return cosines


class _Sigmoid:
    """SigLIP's sum over a tile."""

    def __init__(self, a: Sphere, b: Sphere, bias: float, positives: Positives) -> None:
        self.bias, self.positives, self.n = bias, positives, len(a)
        self.slope = torch.zeros((), dtype=exact(a.z.device), device=a.z.device)

    def tile(self, x: Tensor, rows: slice, cols: slice) -> Tensor:
        match = self.positives.tile(rows, cols)
        x.add_(self.bias)
        if match is not None:
            x.copy_(torch.where(match, -x, x))
        total = -F.logsigmoid(-x).sum(dtype=self.slope.dtype)
        x.sigmoid_()
        if match is not None:
            x.copy_(torch.where(match, -x, x))
        self.slope += x.sum(dtype=self.slope.dtype)
        return total

    def closing(self) -> tuple[Tensor | float, Tensor | None]:
        return 1 / self.n, None

    def bias_gradient(self) -> Tensor | None:
        return self.slope


class _Hinge:
    """Kiros' sum over a tile."""

    def __init__(
        self, a: Sphere, b: Sphere, bias: float, margin: float, positives: Positives
    ) -> None:
        self.positives, self.exact = positives, exact(a.z.device)
        self.bar = _partners(a, b) - margin  # what a negative may reach for free
        self.active = torch.zeros_like(self.bar)

    def tile(self, x: Tensor, rows: slice, cols: slice) -> Tensor:
        match = self.positives.tile(rows, cols)
        if match is not None:
            x.masked_fill_(match, -torch.inf)
        by_row = (x - self.bar[rows, None]).relu_()
        by_col = x.sub_(self.bar[cols]).relu_()
        total = by_row.sum(dtype=self.exact) + by_col.sum(dtype=self.exact)
        by_row.sign_()
        by_col.sign_()
        self.active[rows] += by_row.sum(1)
        self.active[cols] += by_col.sum(0)
        x.add_(by_row)
        return total

    def closing(self) -> tuple[Tensor | float, Tensor | None]:
        return 1.0, -self.active

    def bias_gradient(self) -> Tensor | None:
        return None


class _Hadsell:
    """Hadsell's sum over a tile, for matches and others."""

    def __init__(
        self, a: Sphere, b: Sphere, bias: float, margin: float, positives: Positives
    ) -> None:
        self.positives, self.margin = positives, margin
        matches = float(positives.count(a.z).sum(dtype=exact(a.z.device)))
        self.match, self.other = 1 / matches, 1 / max(1.0, len(a) ** 2 - matches)

    def tile(self, x: Tensor, rows: slice, cols: slice) -> Tensor:
        match = self.positives.tile(rows, cols)
        distance = (2 - 2 * x).clamp_min_(0).sqrt_()
        short = (self.margin - distance).relu_()
        total = short.square().mul_(self.other / 2)
        slope = _slope(distance).mul_(short).mul_(self.other)
        if match is not None:
            total = torch.where(match, (1 - x) * self.match, total)
            slope.masked_fill_(match, -self.match)
        x.copy_(slope)
        return total.sum(dtype=exact(x.device))

    def closing(self) -> tuple[Tensor | float, Tensor | None]:
        return 1.0, None

    def bias_gradient(self) -> Tensor | None:
        return None


class _Triplet:
    """Triplets of a tile that cost something, as anchors by row and by column."""

    def __init__(
        self, a: Sphere, b: Sphere, bias: float, margin: float, semi: bool, positives: Positives
    ) -> None:
        self.positives, self.margin, self.semi = positives, margin, semi
        self.exact = exact(a.z.device)
        self.near = (2 - 2 * _partners(a, b)).clamp_min_(0).sqrt_()  # distance of partners
        self.active = torch.zeros_like(self.near)

    def tile(self, x: Tensor, rows: slice, cols: slice) -> Tensor:
        match = self.positives.tile(rows, cols)
        distance = x.neg_().add_(1).mul_(2).clamp_min_(0).sqrt_()
        weight = torch.zeros_like(x)
        total = torch.zeros((), dtype=self.exact, device=x.device)
        for dim, at, near in (
            (1, rows, self.near[rows, None]),
            (0, cols, self.near[cols]),
        ):
            cost = near - distance + self.margin
            costs = cost > 0
            if self.semi:
                costs &= distance > near
            if match is not None:
                costs &= ~match
            total += cost.mul_(costs).sum(dtype=self.exact)
            weight += costs
            self.active[at] += costs.sum(dim)
        x.copy_(_slope(distance).mul_(weight))
        return total

    def closing(self) -> tuple[Tensor | float, Tensor | None]:
        count = self.active.sum(dtype=self.exact).clamp_min(1)
        return 1 / count, -self.active * _slope(self.near)

    def bias_gradient(self) -> Tensor | None:
        return None
