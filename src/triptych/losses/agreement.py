"""How far partners are from agreeing under a similarity function, and what keeps codes apart."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from triptych.arrays import check_number
from triptych.errors import ShapeError
from triptych.losses.redundancy import off_diagonal_covariance
from triptych.losses.similarity import (
    _centred,
    _squared_distances,
    _unit,
    centred_cosine,
    cosine,
    laplacian,
    linear,
    rbf,
)
from triptych.losses.tiled import check_pair, widened
from triptych.similarity import Kernel

# Where a polynomial or exponential kernel leaves its curve for its tangent: squares of what
# follows, as a norm of gradients takes them, are finite float32 still.
LARGEST = 1e9
# Of these the logarithm is what a softmax compares.
POSITIVE = ("exponential", "rbf", "laplacian")


def disagreement(kernel: Kernel, za: Tensor, zb: Tensor) -> Tensor:
    r"""Half the squared distance of partners in the kernel's own space.

    .. math:: D_i = \tfrac{1}{2}\big[k(a_i, a_i) + k(b_i, b_i)\big] - k(a_i, b_i)
              = \tfrac{1}{2} \lVert \varphi(a_i) - \varphi(b_i) \rVert^2 \ge 0

    For kernels that are 1 for equal rows (cosine, RBF, Laplacian) it is 1 - k. For the unbounded
    ones, whose k could be bought with the length of codes, it is 0 for equal rows of any length.
    Polynomial and exponential kernels go on along their tangent beyond 1e9; D stays >= 0.

    Args:
        kernel: With every parameter a number.
        za: Codes, shape (n, d).
        zb: Partners' codes, the same shape and device.

    Returns:
        Shape (n,). A zero row has cosine 0, with itself too, and D = 1.

    Raises:
        ShapeError: If the shapes differ or are not 2-D.
    """
    check_pair("disagreement", za, zb, least=1)
    a, b = widened(za, zb)
    if kernel.name == "cosine":
        return (1 - cosine(a, b)).clamp_min(0)
    if kernel.name == "centred_cosine":
        return (1 - centred_cosine(a, b)).clamp_min(0)
    if kernel.name == "linear":
        return (a - b).square().sum(1) / 2
    if kernel.name in ("rbf", "laplacian"):
        k = rbf if kernel.name == "rbf" else laplacian
        return 1 - k(a, b, **kernel.parameters())
    both = _continued(kernel, linear(a, a)) + _continued(kernel, linear(b, b))
    # Where partners coincide, rounding must not tell them apart.
    return (both / 2 - _continued(kernel, linear(a, b))).clamp_min(0)


def similarity_logits(kernel: Kernel, za: Tensor, zb: Tensor) -> Tensor:
    """What a softmax over candidates compares: log k where k > 0 always, k itself elsewhere.

    Args:
        kernel: With every parameter a number.
        za: Codes, shape (n, d).
        zb: Candidates, shape (m, d), same device.

    Returns:
        Shape (n, m): x·y / width² for ``exponential``, -‖x - y‖² / (2 width²) for ``rbf``,
        -gamma ‖x - y‖₁ for ``laplacian``; cosine, inner product or polynomial as they are, the
        last along its tangent beyond 1e9.

    Raises:
        ShapeError: If they are not 2-D or differ in d.
    """
    if za.ndim != 2 or zb.ndim != 2 or za.shape[1] != zb.shape[1]:
        raise ShapeError(
            "similarity_logits compares rows, so both must be (rows, d) with the same d; got za "
            f"{tuple(za.shape)} and zb {tuple(zb.shape)}."
        )
    a, b = widened(za, zb)
    if kernel.name == "laplacian":
        assert kernel.gamma is not None
        return -kernel.gamma * torch.cdist(a, b, p=1.0)
    if kernel.name in ("rbf", "exponential"):
        assert kernel.width is not None
        if kernel.name == "exponential":
            return (a / kernel.width) @ (b / kernel.width).T
        # Distances do not see where the middle is, and squares near it are small.
        middle = b.detach().mean(0)
        return -_squared_distances((a - middle) / kernel.width, (b - middle) / kernel.width) / 2
    if kernel.name == "centred_cosine":
        a, b = _centred(a), _centred(b)
    if kernel.name in ("cosine", "centred_cosine"):
        return _unit(a) @ _unit(b).T
    raw = a @ b.T
    return raw if kernel.name == "linear" else _continued(kernel, raw)


def partner_cross_entropy(
    logits: Tensor, *, ids_a: Tensor | None = None, ids_b: Tensor | None = None
) -> Tensor:
    """InfoNCE of any similarity: symmetric softmax loss of which column is a row's partner.

    The dense form of :func:`triptych.losses.info_nce` for logits that are no cosines.

    Args:
        logits: Shape (n, n); row i and column i belong together.
        ids_a: Integers (n,), equal where rows have equal content; those are positives of each
            other, and the target is uniform over them.
        ids_b: The same for columns.

    Returns:
        Scalar, in nats; log(n) when all logits are equal.

    Raises:
        ShapeError: If the logits are not square.
    """
    n = len(logits)
    if logits.shape != (n, n):
        raise ShapeError(f"logits of partners must be (n, n); got {tuple(logits.shape)}.")
    given = [ids for ids in (ids_a, ids_b) if ids is not None]
    if not given:
        target = torch.arange(n, device=logits.device)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
    positive = torch.eye(n, dtype=torch.bool, device=logits.device)
    for ids in given:
        positive = positive | (ids[:, None] == ids[None, :])
    weights = positive.to(logits.dtype)
    weights = weights / weights.sum(1, keepdim=True)
    return (F.cross_entropy(logits, weights) + F.cross_entropy(logits.T, weights)) / 2


def whiteness(z: Tensor, *, decorrelation: float = 0.2) -> Tensor:
    r"""How far codes are from mean 0, variance 1 and no correlation of dimensions.

    .. math:: \frac{1}{d} \sum_k \big[\mu_k^2 + (\sigma_k - 1)^2\big]
              + \frac{\delta}{d} \sum_{k \ne l} R_{kl}^2

    Variances are held from both sides, so that no dimension outgrows the others where a
    similarity would reward it; correlations R are looked at instead of covariances, which
    dimensions that repeat one another could escape by shrinking.

    Args:
        z: Codes, shape (n, d) with n >= 2.
        decorrelation: delta >= 0.

    Returns:
        Scalar >= 0: 1 for codes that are all zero, 0 for white ones.

    Raises:
        ShapeError: If they are not 2-D or hold fewer than two rows.
    """
    check_pair("whiteness", z, z)
    check_number("decorrelation", decorrelation, low=0)
    wide, _ = widened(z, z)
    # Added to the variance, whose root has no slope at 0.
    spread = (wide.var(0) + 1e-8).sqrt()
    moments = wide.mean(0).square().mean() + (spread - 1).square().mean()
    return moments + decorrelation * off_diagonal_covariance(wide / spread)


def _continued(kernel: Kernel, raw: Tensor) -> Tensor:
    """The kernel of inner products; beyond 1e9 along its tangent, which is finite."""
    if kernel.name == "exponential":
        assert kernel.width is not None
        exponent = raw / kernel.width**2
        held = exponent.clamp(max=math.log(LARGEST))
        return torch.exp(held) * (1 + exponent - held)
    assert kernel.gamma and kernel.degree and kernel.offset is not None
    base = kernel.gamma * raw + kernel.offset
    end = LARGEST ** (1 / kernel.degree)
    held = base.clamp(-end, end)
    slope = kernel.degree * held ** (kernel.degree - 1)
    return held**kernel.degree + slope * (base - held)
