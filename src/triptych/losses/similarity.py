"""Similarity of rows of tensors, with gradients that stay finite where rows coincide or vanish.

The names, parameters and values of :mod:`triptych.similarity`, which does the same for arrays.
Each function compares row i with row i; :func:`pairwise` compares every row with every row.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from triptych.arrays import check_choice, row_chunks
from triptych.errors import DataError, ParameterError, ShapeError
from triptych.similarity import Kernel

# Entries of a tile, so that temporaries stay near 16 MB in single precision.
TILE_ENTRIES = 4_000_000
# Below this share of |x|² + |y|² their difference to 2 x·y has lost too many digits.
NEAR = {torch.float32: 1e-2, torch.float64: 1e-6}


def cosine(za: Tensor, zb: Tensor) -> Tensor:
    """Cosine of the angle between rows; 0, with gradient 0, where a row is zero.

    Args:
        za: Shape (n, d).
        zb: Same shape.

    Returns:
        Shape (n,), in [-1, 1].

    Raises:
        ShapeError: If the shapes differ or are not 2-D.
    """
    a, b = _pair("cosine", za, zb)
    return (_unit(a) * _unit(b)).sum(1)


def centred_cosine(za: Tensor, zb: Tensor, *, axis: str = "features") -> Tensor:
    """Pearson's correlation: the cosine of vectors centred along the axis that is named.

    Args:
        za: Shape (n, d).
        zb: Same shape.
        axis: ``"features"`` correlates row i with row i over their d features; ``"samples"``
            correlates column j with column j over the n rows, as canonical correlations do.

    Returns:
        Shape (n,) over features, (d,) over samples, in [-1, 1]; 0, with gradient 0, where either
        is constant.
    """
    check_choice("axis", axis, ("features", "samples"))
    a, b = _pair("centred_cosine", za, zb)
    if axis == "samples":
        a, b = a.T, b.T
    return (_unit(_centred(a)) * _unit(_centred(b))).sum(1)


def linear(za: Tensor, zb: Tensor) -> Tensor:
    """Inner product of rows (n, d), shape (n,)."""
    a, b = _pair("linear", za, zb)
    return (a * b).sum(1)


def polynomial(
    za: Tensor, zb: Tensor, *, degree: int = 2, gamma: float = 1.0, offset: float = 1.0
) -> Tensor:
    """(gamma x·y + offset)^degree of rows (n, d), shape (n,); offset >= 0, degree whole."""
    kernel = Kernel("polynomial", degree=degree, gamma=gamma, offset=offset)
    return _shaped(kernel, linear(za, zb))


def exponential(za: Tensor, zb: Tensor, *, width: float = 1.0, log: bool = False) -> Tensor:
    """exp(x·y / width²) of rows (n, d), shape (n,); with ``log`` x·y / width², which is finite."""
    kernel = Kernel("exponential", width=width)
    exponent = linear(za, zb) / width**2
    return exponent if log else _shaped(kernel, exponent)


def rbf(za: Tensor, zb: Tensor, *, width: float = 1.0) -> Tensor:
    """exp(-‖x - y‖² / (2 width²)) of rows (n, d), shape (n,), in [0, 1]."""
    kernel = Kernel("rbf", width=width)
    a, b = _pair("rbf", za, zb)
    return _shaped(kernel, ((a - b) / width).square().sum(1))


def laplacian(za: Tensor, zb: Tensor, *, gamma: float = 1.0) -> Tensor:
    """exp(-gamma ‖x - y‖₁) of rows (n, d), shape (n,), in [0, 1]; gradient 0 where x_j = y_j."""
    kernel = Kernel("laplacian", gamma=gamma)
    a, b = _pair("laplacian", za, zb)
    return _shaped(kernel, (a - b).abs().sum(1))


def pairwise(kernel: str | Kernel, za: Tensor, zb: Tensor | None = None) -> Tensor:
    """Every row with every row, in tiles whose temporaries do not grow with n.

    Args:
        kernel: Name or :class:`triptych.similarity.Kernel`. Parameters left open are learnt from
            the rows of ``zb``, outside the gradient.
        za: Shape (n, d).
        zb: Shape (m, d), same dtype and device; ``za`` itself when left out.

    Returns:
        Shape (n, m). With gradients, what the backward pass needs is kept, a few (n, m).

    Raises:
        ShapeError: If they are not 2-D or differ in d.
    """
    b = za if zb is None else zb
    _check_tensors("pairwise", za, b)
    if za.ndim != 2 or b.ndim != 2 or za.shape[1] != b.shape[1]:
        raise ShapeError(
            "pairwise compares rows feature by feature, so both must be (rows, d) with the same "
            f"d; got {tuple(za.shape)} and {tuple(b.shape)}."
        )
    if isinstance(kernel, str):
        kernel = Kernel(kernel)
    elif not isinstance(kernel, Kernel):
        raise ParameterError(f"kernel: expected a name or a Kernel, got {kernel!r}.")
    with torch.autocast(za.device.type, enabled=False):
        left, right = _wide(za), _wide(b)
        kernel = kernel.learnt(right.detach().cpu().numpy())
        prepared = _prepared(kernel, left, right)
        step = max(1, TILE_ENTRIES // max(len(right), 1))
        blocks = [
            _block(kernel, prepared[0][part], prepared[1]) for part in row_chunks(len(left), step)
        ]
        return torch.cat(blocks) if blocks else left.new_empty(0, len(right))


def _prepared(kernel: Kernel, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Rows in the form in which :func:`_block` compares them."""
    if kernel.name == "cosine":
        return _unit(a), _unit(b)
    if kernel.name == "centred_cosine":
        return _unit(_centred(a)), _unit(_centred(b))
    if kernel.name in ("rbf", "exponential"):
        assert kernel.width is not None
        # Distances do not see where the middle is, and squares near it are small.
        middle: Any = b.detach().mean(0) if kernel.name == "rbf" and len(b) else 0.0
        return (a - middle) / kernel.width, (b - middle) / kernel.width
    return a, b


def _block(kernel: Kernel, a: Tensor, b: Tensor) -> Tensor:
    if kernel.name == "laplacian":
        return _shaped(kernel, torch.cdist(a, b, p=1.0))
    if kernel.name == "rbf":
        return _shaped(kernel, _squared_distances(a, b))
    return _shaped(kernel, a @ b.T)


def _shaped(kernel: Kernel, raw: Tensor) -> Tensor:
    """The kernel from what it is a function of: inner products or distances."""
    if kernel.name == "polynomial":
        assert kernel.gamma and kernel.degree and kernel.offset is not None
        return (kernel.gamma * raw + kernel.offset) ** kernel.degree
    if kernel.name == "rbf":
        return torch.exp(-raw / 2)
    if kernel.name == "laplacian":
        assert kernel.gamma is not None
        return torch.exp(-kernel.gamma * raw)
    return torch.exp(raw) if kernel.name == "exponential" else raw


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """‖a - b‖² of every row with every row, shape (n, m), near points by their differences."""
    left, right = a.square().sum(1)[:, None], b.square().sum(1)
    squared = left + right - 2 * a @ b.T
    # Where two long vectors almost coincide, the sum above is the rounding of large numbers.
    # Where both overflow it is NaN, and their difference may still be small.
    near = ~(squared.detach() >= NEAR[squared.dtype] * (left + right).detach())
    i, j = near.nonzero(as_tuple=True)
    if not len(i):
        return squared
    step = max(1, TILE_ENTRIES // max(a.shape[1], 1))
    gaps = [(a[i[p]] - b[j[p]]).square().sum(1) for p in row_chunks(len(i), step)]
    return squared.index_put((i, j), torch.cat(gaps))


def _unit(z: Tensor) -> Tensor:
    """Rows of length one; a zero row stays zero and sends no gradient back."""
    # Divided by the largest first, so that no square overflows or vanishes.
    size = z.detach().abs().amax(1, keepdim=True)
    alive = size > torch.finfo(z.dtype).tiny  # below, the gradient itself overflows
    z = z / torch.where(alive, size, 1.0)
    squares = z.square().sum(1, keepdim=True)
    # The root has an infinite slope at 0, which times a gradient of 0 would be NaN.
    length = torch.where(alive, squares, 1.0).sqrt()
    return torch.where(alive, z / length, 0.0)


def _centred(z: Tensor) -> Tensor:
    """Rows of mean zero; a constant row becomes exactly zero."""
    size = z.detach().abs().amax(1, keepdim=True)
    z = z / torch.where(size > 0, size, 1.0)
    z = z - z.mean(1, keepdim=True)
    # What is left of a constant row is the rounding of its mean.
    noise = 4 * torch.finfo(z.dtype).eps
    return torch.where(z.detach().abs().amax(1, keepdim=True) > noise, z, 0.0)


def _wide(z: Tensor) -> Tensor:
    return z.float() if z.dtype in (torch.float16, torch.bfloat16) else z


def _check_tensors(name: str, *given: Any) -> None:
    for z in given:
        if not isinstance(z, Tensor) or not z.is_floating_point():
            what = str(z.dtype) if isinstance(z, Tensor) else type(z).__name__
            raise DataError(
                f"{name} compares tensors of floating point, got {what}; arrays have the same "
                "functions in triptych.similarity."
            )
    first = given[0]
    for z in given[1:]:
        if (z.dtype, z.device) != (first.dtype, first.device):
            raise DataError(
                f"{name} compares tensors of one dtype on one device; got {first.dtype} on "
                f"{first.device} and {z.dtype} on {z.device}."
            )


def _pair(name: str, za: Tensor, zb: Tensor) -> tuple[Tensor, Tensor]:
    _check_tensors(name, za, zb)
    if za.shape != zb.shape or za.ndim != 2:
        raise ShapeError(
            f"{name} compares row i of za with row i of zb, so both must be (n, d); got za "
            f"{tuple(za.shape)} and zb {tuple(zb.shape)}."
        )
    return _wide(za), _wide(zb)
