"""Penalties between two batches of codes: are they orthogonal, equal in law, independent?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from triptych.arrays import check_number
from triptych.errors import ShapeError
from triptych.losses.kernel_sums import Kernel, centred_product, kernel_sum, median_width


def frobenius(s: Tensor, p: Tensor) -> Tensor:
    r"""Squared size of the mean product of two codes of the same rows.

    .. math:: L = \lVert S^\top P / n \rVert_F^2

    Divided by n², which the paper is not, so that its size does not follow the batch's. Nothing
    holds lengths: codes that shrink to zero reach its minimum.

    Args:
        s: Codes, shape (n, d_s).
        p: Other codes of the same rows, shape (n, d_p).

    Returns:
        Scalar >= 0.

    Raises:
        ShapeError: If the codes are not 2-D or have different numbers of rows.

    References:
        Bousmalis et al. 2016, arXiv:1608.06019, eq. 5 (times n²).
    """
    _check_rows("frobenius", s, p)
    with torch.autocast(s.device.type, enabled=False):
        return (_wide(s).T @ _wide(p) / len(s)).square().sum()


def sample_orthogonality(s: Tensor, p: Tensor) -> Tensor:
    r"""Mean over rows of the squared cosine between two codes of a row.

    .. math:: L = \frac{1}{n} \sum_i \cos^2(s_i, p_i)

    It looks at one row at a time, which the others here never do: columns may be correlated over
    rows at L = 0, and uncorrelated at L = 1.

    Args:
        s: Codes, shape (n, d).
        p: Other codes of the same rows, the same shape.

    Returns:
        Scalar from 0 to 1.

    Raises:
        ShapeError: If the shapes differ or are not 2-D.
    """
    _check_rows("sample_orthogonality", s, p)
    if s.shape[1] != p.shape[1]:
        raise ShapeError(
            "sample_orthogonality takes the angle between the two codes of a row, which need one "
            f"width; got {tuple(s.shape)} and {tuple(p.shape)}."
        )
    with torch.autocast(s.device.type, enabled=False):
        return (F.normalize(_wide(s), dim=1) * F.normalize(_wide(p), dim=1)).sum(1).square().mean()


def orthogonality(s: Tensor, p: Tensor, *, centred: bool = True) -> Tensor:
    r"""Soft orthogonality of two codes of the same rows.

    .. math:: L = \tfrac{1}{d_s d_p} \lVert \hat S^\top \hat P \rVert_F^2

    where the columns are centred over the batch and the rows then scaled to unit length. The
    lengths are held constant in the gradient, so shrinking the codes is not rewarded. The product
    sums over rows: the value grows with n, and with n <= d it says little. Low values mean
    linearly uncorrelated, not independent. Codes whose entries are all positive, as after a
    sigmoid, cannot reach 0 unless they are centred.

    Args:
        s: Codes, shape (n, d_s).
        p: Other codes of the same rows, shape (n, d_p).
        centred: Whether columns are centred, as in MISA; domain separation does not.

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
        product = _unit_rows(s, centred).T @ _unit_rows(p, centred)  # (d_s, d_p)
        return product.square().mean()


def _unit_rows(z: Tensor, centred: bool) -> Tensor:
    """Rows of unit length, the length outside the gradient."""
    z = _wide(z)
    if centred:
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
    size = z.detach().abs().amax(0)
    z = z - z.mean(0)
    spread = z.detach().abs().amax(0)
    # Of a constant column rounding alone is left; below 1e-18 slopes would have infinite squares.
    known = spread > (8 * torch.finfo(z.dtype).eps * size).clamp_min(1e-18)
    # Beside 1e-12 the squares of small columns would count for nothing.
    factor = torch.where(spread < 1e-3, 1 / spread.clamp_min(1e-18), 1.0)
    z = z * torch.where(known, factor, 0.0)
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


def mmd(
    s: Tensor,
    t: Tensor,
    *,
    kernel: str = "gaussian",
    widths: float | Sequence[float] | None = None,
    unbiased: bool = False,
) -> Tensor:
    r"""Squared maximum mean discrepancy: 0 when two batches have one law.

    .. math:: L = \overline{k(s, s')} + \overline{k(t, t')} - 2\, \overline{k(s, t)}

    Biased (with the pairs of a row with itself, never negative) or unbiased (without them; may be
    negative). Tiled: time grows with (n + m)², memory with n + m.

    Args:
        s: Codes, shape (n, d).
        t: Codes, shape (m, d); rows need not belong together.
        kernel: ``"gaussian"``, exp(-D / 2w²) of the squared distance D, or ``"imq"``,
            w² / (w² + D), which pulls on far rows too.
        widths: w, in the unit of the codes, or several of which the mean is taken; by default the
            median distance of rows of both, held constant in the gradient. With w so wide that k
            is nearly constant, gradients are tiny and need a large weight.
        unbiased: Whether pairs of a row with itself are left out.

    Returns:
        Scalar.

    Raises:
        ShapeError: If the codes are not 2-D, empty, of different widths, or of fewer than two
            rows where unbiased.

    References:
        Gretton et al. 2012, "A kernel two-sample test", JMLR 13, lemma 6 and eq. 5.
        Tolstikhin et al. 2018, arXiv:1711.01558, section 4 (the heavy-tailed kernel).
    """
    if s.ndim != 2 or t.ndim != 2 or s.shape[1] != t.shape[1]:
        raise ShapeError(
            f"mmd compares batches (rows, d) of one width; got {tuple(s.shape)} and "
            f"{tuple(t.shape)}."
        )
    least = 2 if unbiased else 1
    if min(len(s), len(t)) < least:
        raise ShapeError(f"mmd needs {least} rows of each; got {len(s)} and {len(t)}.")
    with torch.autocast(s.device.type, enabled=False):
        dtype = torch.promote_types(_wide(s).dtype, _wide(t).dtype)
        s, t = s.to(dtype), t.to(dtype)
        middle = torch.cat([s, t]).detach().mean(0)  # squares of far-off values would cancel
        s, t = s - middle, t - middle
        k = _kernel(kernel, widths, s, t)
        cross = kernel_sum(s, t, k) / (len(s) * len(t))
        within = [
            (kernel_sum(z, None, k) - len(z)) / (len(z) * (len(z) - 1))
            if unbiased
            else kernel_sum(z, None, k) / len(z) ** 2
            for z in (s, t)
        ]
        return within[0] + within[1] - 2 * cross


def hsic(
    s: Tensor,
    p: Tensor,
    *,
    width_s: float | None = None,
    width_p: float | None = None,
    normalised: bool = False,
) -> Tensor:
    r"""Hilbert-Schmidt independence criterion with Gaussian kernels (biased estimate).

    .. math:: \mathrm{HSIC} = \operatorname{tr}(K H L H) / (n-1)^2, \quad H = I - 1/n

    In expectation it tends to zero with n only if the two codes are independent, which covers
    what :func:`orthogonality` cannot see. Tiled: time grows with n², memory with n.

    Args:
        s: Codes, shape (n, d_s) with n >= 2.
        p: Other codes of the same rows, shape (n, d_p).
        width_s: Kernel width of ``s``, in its unit; by default the median distance of rows (of at
            most 1024, evenly spaced), held constant in the gradient.
        width_p: The same for ``p``.
        normalised: Divide by the root of HSIC(s, s) HSIC(p, p), so that 1 is the most; 0 where
            one of them is constant.

    Returns:
        Scalar >= 0 (up to rounding).

    Raises:
        ShapeError: If the codes are not 2-D, have different numbers of rows, or fewer than two.

    References:
        Gretton et al. 2005, "Measuring statistical dependence with Hilbert-Schmidt norms", eq. 9.
    """
    _check_rows("hsic", s, p, least=2)
    for name, width in (("width_s", width_s), ("width_p", width_p)):
        if width is not None:
            check_number(name, width, low=0, open_low=True)
    with torch.autocast(s.device.type, enabled=False):
        dtype = torch.promote_types(_wide(s).dtype, _wide(p).dtype)
        s, p = s.to(dtype), p.to(dtype)
        s, p = s - s.detach().mean(0), p - p.detach().mean(0)
        k, other = _kernel("gaussian", width_s, s), _kernel("gaussian", width_p, p)
        value = centred_product(s, p, k, other)
        if not normalised:
            return value / (len(s) - 1) ** 2
        sizes = centred_product(s, s, k, k) * centred_product(p, p, other, other)
        # Of constant codes rounding alone is left, and of rounding no share may be taken.
        known = sizes > (1e-6 * len(s)) ** 4
        return torch.where(known, value / torch.where(known, sizes, 1.0).sqrt(), value * 0)


def _kernel(form: str, widths: float | Sequence[float] | None, *batches: Tensor) -> Kernel:
    if widths is None:
        return Kernel(form, (median_width(*batches),))
    if isinstance(widths, Sequence):
        if not widths:
            raise ShapeError("widths: expected at least one kernel width, got none.")
        return Kernel(form, tuple(widths))
    return Kernel(form, (widths,))


def scale_invariant_mse(made: Tensor, truth: Tensor) -> Tensor:
    r"""Squared error of each row, but for what adding one number to the whole row would mend.

    .. math:: L_i = \tfrac{1}{k} \lVert d_i \rVert^2 - \tfrac{1}{k^2} (1^\top d_i)^2,
              \quad d = \hat x - x

    the variance of the k differences of a row. (A public port adds the second part.)

    Args:
        made: Shape (n, ...), k values a row.
        truth: The same shape.

    Returns:
        Shape (n,), >= 0; 0 for a single value a row.

    Raises:
        ShapeError: If the shapes differ.

    References:
        Bousmalis et al. 2016, arXiv:1608.06019, eq. 4. Eigen et al. 2014, arXiv:1406.2283.
    """
    if made.shape != truth.shape or made.ndim < 2:
        raise ShapeError(
            "scale_invariant_mse compares rows (n, ...) of one shape; got "
            f"{tuple(made.shape)} and {tuple(truth.shape)}."
        )
    difference = _wide(made - truth).flatten(1)
    # Taken from the mean rather than between two large squares that would cancel.
    return (difference - difference.mean(1, keepdim=True)).square().mean(1)


def _wide(z: Tensor) -> Tensor:
    return z.float() if z.dtype in (torch.float16, torch.bfloat16) else z


def _check_rows(name: str, s: Tensor, p: Tensor, least: int = 1) -> None:
    if s.ndim != 2 or p.ndim != 2 or len(s) != len(p) or len(s) < least:
        raise ShapeError(
            f"{name} takes two codes of the same rows, (n, d_s) and (n, d_p) with n >= {least}; "
            f"got {tuple(s.shape)} and {tuple(p.shape)}."
        )
