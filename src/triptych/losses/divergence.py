"""Penalties between two batches of codes: are they orthogonal, equal in law, independent?"""

from __future__ import annotations

import torch
from torch import Tensor

from triptych.arrays import check_number
from triptych.errors import ShapeError


def orthogonality(s: Tensor, p: Tensor) -> Tensor:
    r"""Soft orthogonality of two codes of the same rows.

    .. math:: L = \tfrac{1}{d_s d_p} \lVert \hat S^\top \hat P \rVert_F^2

    where the columns are centred over the batch and the rows then scaled to unit length. The
    lengths are held constant in the gradient, so shrinking the codes is not rewarded. The product
    sums over rows: the value grows with n, and with n <= d it says little. Low values mean
    linearly uncorrelated, not independent.

    Args:
        s: Codes, shape (n, d_s).
        p: Other codes of the same rows, shape (n, d_p).

    Returns:
        Scalar >= 0; 0 for a single row, which centring makes zero.

    Raises:
        ShapeError: If the codes are not 2-D or have different numbers of rows.

    References:
        Bousmalis et al. 2016, arXiv:1608.06019, eq. 5 (neither centred nor averaged).
        Hazarika et al. 2020, arXiv:2005.03545 (MISA), difference loss.
    """
    _check_rows("orthogonality", s, p)
    with torch.autocast(s.device.type, enabled=False):
        product = _unit_rows(s).T @ _unit_rows(p)  # (d_s, d_p)
        return product.square().mean()


def _unit_rows(z: Tensor) -> Tensor:
    """Columns centred, rows of unit length with the length outside the gradient."""
    z = _wide(z)
    z = z - z.mean(0)
    length: Tensor = torch.linalg.vector_norm(z, dim=1, keepdim=True)
    return z / (length.detach() + 1e-6)


def decorrelation(s: Tensor, p: Tensor) -> Tensor:
    r"""Mean squared correlation between the columns of two codes of the same rows.

    .. math:: L = \frac{1}{\min(d_s, d_p)} \sum_{ij} \mathrm{corr}(s_i, p_j)^2

    Unlike :func:`orthogonality`, whose constant lengths make smaller codes a way downhill, the
    gradient here is at right angles to any rescaling of a column, so nothing collapses. For
    codes with uncorrelated columns L is at most 1; unrelated ones have about max(d_s, d_p) / n.

    Args:
        s: Codes, shape (n, d_s), n >= 2.
        p: Other codes of the same rows, shape (n, d_p).

    Returns:
        Scalar >= 0; constant columns count as uncorrelated.

    Raises:
        ShapeError: If the codes are not 2-D or have different numbers of rows.
    """
    _check_rows("decorrelation", s, p)
    with torch.autocast(s.device.type, enabled=False):
        correlations = _unit_columns(s).T @ _unit_columns(p)  # (d_s, d_p)
        return correlations.square().sum() / min(s.shape[1], p.shape[1])


def _unit_columns(z: Tensor) -> Tensor:
    z = _wide(z)
    z = z - z.mean(0)
    # The root of a sum has no gradient at 0, where a column is constant.
    return z / (z.square().sum(0) + 1e-12).sqrt()


def cmd(s: Tensor, t: Tensor, *, moments: int = 5, span: float = 1.0) -> Tensor:
    r"""Central moment discrepancy of two batches: 0 when means and central moments agree.

    .. math:: L = \frac{\lVert \bar s - \bar t \rVert_2}{|b-a|}
        + \sum_{k=2}^{K} \frac{\lVert C_k(s) - C_k(t) \rVert_2}{|b-a|^k}

    with C_k the k-th central moment of each coordinate. It compares coordinates one by one, not
    how they depend on one another.

    Args:
        s: Codes, shape (n, d).
        t: Codes, shape (m, d); rows need not belong together.
        moments: Highest moment K >= 1.
        span: Width |b - a| of the interval that codes lie in: 1 after a sigmoid, 2 after tanh.

    Returns:
        Scalar >= 0.

    Raises:
        ShapeError: If the codes are not 2-D, empty, or of different widths.

    References:
        Zellinger et al. 2017, arXiv:1702.08811, definition 2.
    """
    check_number("moments", moments, low=1, integer=True)
    check_number("span", span, low=0, open_low=True)
    if s.ndim != 2 or t.ndim != 2 or s.shape[1] != t.shape[1] or not len(s) or not len(t):
        raise ShapeError(
            "cmd compares coordinates, so both must be (rows, d) with the same d; "
            f"got {tuple(s.shape)} and {tuple(t.shape)}."
        )
    s, t = _wide(s), _wide(t)
    mean_s, mean_t = s.mean(0), t.mean(0)
    total = _norm(mean_s - mean_t) / span
    for k in range(2, moments + 1):
        gap = ((s - mean_s) ** k).mean(0) - ((t - mean_t) ** k).mean(0)  # (d,)
        total = total + _norm(gap) / span**k
    return total


def _norm(v: Tensor) -> Tensor:
    # The root has an infinite slope at zero, where equal batches are.
    return (v.square().sum() + 1e-12).sqrt() - 1e-6


def hsic(
    s: Tensor, p: Tensor, *, width_s: float | None = None, width_p: float | None = None
) -> Tensor:
    r"""Hilbert-Schmidt independence criterion with Gaussian kernels (biased estimate).

    .. math:: \mathrm{HSIC} = \operatorname{tr}(K H L H) / (n-1)^2, \quad H = I - 1/n

    In expectation it tends to zero with n only if the two codes are independent, which covers
    what :func:`orthogonality` cannot see. Time and memory grow with n squared: for batches.

    Args:
        s: Codes, shape (n, d_s) with n >= 2.
        p: Other codes of the same rows, shape (n, d_p).
        width_s: Kernel width of ``s``, in its unit; by default the median distance of rows, held
            constant in the gradient.
        width_p: The same for ``p``.

    Returns:
        Scalar >= 0 (up to rounding).

    Raises:
        ShapeError: If the codes are not 2-D, have different numbers of rows, or fewer than two.

    References:
        Gretton et al. 2005, "Measuring statistical dependence with Hilbert-Schmidt norms", eq. 9.
    """
    _check_rows("hsic", s, p, least=2)
    with torch.autocast(s.device.type, enabled=False):
        k, other = _gaussian(_wide(s), "width_s", width_s), _gaussian(_wide(p), "width_p", width_p)
        centred = k - k.mean(0) - k.mean(1, keepdim=True) + k.mean()  # H K H, (n, n)
        return (centred * other).sum() / (len(s) - 1) ** 2


def _gaussian(z: Tensor, name: str, width: float | None) -> Tensor:
    """Kernel (n, n) of exp(-distance² / (2 width²))."""
    z = z - z.mean(0)  # squares of far-off values would cancel
    length = z.square().sum(1)
    squared = (length[:, None] + length[None, :] - 2 * z @ z.T).clamp_min(0)
    if width is None:
        i, j = torch.triu_indices(len(z), len(z), offset=1, device=z.device)
        # Constant codes have median 0, and then any width gives the same kernel of ones.
        double = 2 * squared.detach()[i, j].median().clamp_min(1e-12)
        return torch.exp(-squared / double)
    check_number(name, width, low=0, open_low=True)
    return torch.exp(-squared / (2 * width**2))


def _wide(z: Tensor) -> Tensor:
    return z.float() if z.dtype in (torch.float16, torch.bfloat16) else z


def _check_rows(name: str, s: Tensor, p: Tensor, least: int = 1) -> None:
    if s.ndim != 2 or p.ndim != 2 or len(s) != len(p) or len(s) < least:
        raise ShapeError(
            f"{name} takes two codes of the same rows, (n, d_s) and (n, d_p) with n >= {least}; "
            f"got {tuple(s.shape)} and {tuple(p.shape)}."
        )
