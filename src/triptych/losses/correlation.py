r"""Correlation losses: codes of several modalities whose canonical correlations add up to most.

All take centred or uncentred codes (n, d_m) of the same rows and look at the batch as a whole, so
n must be well above d: with n <= d the correlations of a batch are 1 whatever the codes are. They
compute in float64 whatever the precision of training (float32 on devices without float64), and
their gradients are closed forms: no eigenvector is differentiated, so equal correlations do no
harm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from triptych.arrays import check_number
from triptych.errors import ShapeError, TrainingError
from triptych.losses.tiled import check_codes

NAMES = ("za", "zb")


def correlation_trace_norm(
    za: Tensor,
    zb: Tensor,
    *,
    ridge: float = 1e-4,
    top: int | None = None,
    names: Sequence[str] = NAMES,
) -> Tensor:
    r"""Minus the sum of the canonical correlations of two batches of codes.

    .. math:: L = -\sum_{i \le k} \sigma_i(T), \qquad
              T = \Sigma_{aa}^{-1/2} \Sigma_{ab} \Sigma_{bb}^{-1/2}

    with divisors n - 1 and ``ridge`` added to the diagonals of the two covariances.

    Args:
        za: Codes, shape (n, d_a), n >= 2.
        zb: Codes of the same rows, shape (n, d_b).
        ridge: Added to each code's variance, >= 0, in the square of the codes' unit.
        top: How many of the largest correlations k count; ``None`` for all.
        names: Whose codes they are, for errors.

    Returns:
        Scalar in [-min(d_a, d_b), 0], in the dtype of ``za``.

    Raises:
        ShapeError: If the codes are not 2-D or of different numbers of rows.
        TrainingError: If codes are not finite or, without ridge, dependent; names whose.

    References:
        Andrew, Arora, Bilmes, Livescu 2013, Deep Canonical Correlation Analysis, ICML, eq. 10-13.
    """
    _check_pair("correlation_trace_norm", za, zb)
    check_number("ridge", ridge, low=0)
    if top is not None:
        check_number("top", top, low=1, high=min(za.shape[1], zb.shape[1]), integer=True)
    value: Tensor = _TraceNorm.apply(za, zb, float(ridge), top, tuple(names))  # type: ignore[no-untyped-call]
    return -value


def correlation_squares(
    za: Tensor, zb: Tensor, *, ridge: float = 1e-4, names: Sequence[str] = NAMES
) -> Tensor:
    r"""Minus the sum of the squared canonical correlations, by Cholesky factors alone.

    .. math:: L = -\operatorname{tr}(\Sigma_{aa}^{-1}\Sigma_{ab}\Sigma_{bb}^{-1}\Sigma_{ba})

    Cheaper than :func:`correlation_trace_norm`, and it prefers a few strong correlations to many
    weak ones. Arguments, value range and errors are the same.
    """
    _check_pair("correlation_squares", za, zb)
    check_number("ridge", ridge, low=0)
    value: Tensor = _Squares.apply(za, zb, float(ridge), tuple(names))  # type: ignore[no-untyped-call]
    return -value


def correlation_maxvar(
    codes: Sequence[Tensor], *, ridge: float = 1e-4, names: Sequence[str] | None = None
) -> Tensor:
    r"""Minus the mean agreement of two or more codes with their best common one (MAXVAR).

    .. math:: L = -\frac{1}{M-1}\Big(\sum_{i \le d} \lambda_i(R) - d\Big), \qquad
              R_{jk} = \Sigma_{jj}^{-1/2} \Sigma_{jk} \Sigma_{kk}^{-1/2},\; R_{jj} = I

    with d the smallest width. For two codes this is minus the sum of the correlations; M equal
    codes reach -d.

    Args:
        codes: M >= 2 codes of the same rows, each (n, d_m).
        ridge: Added to each code's variance, >= 0.
        names: Whose codes they are, for errors.

    Returns:
        Scalar in [-d, 0].

    Raises:
        ShapeError: If the codes do not go together.
        TrainingError: If codes are not finite or, without ridge, dependent; names whose.

    References:
        Kettenring 1971, Biometrika 58; Benton et al. 2017, arXiv:1702.02519 (deep GCCA).
    """
    if len(codes) < 2:
        raise ShapeError(f"correlation_maxvar needs at least 2 codes; got {len(codes)}.")
    for z in codes[1:]:
        _check_pair("correlation_maxvar", codes[0], z)
    check_number("ridge", ridge, low=0)
    names = names or [f"codes[{i}]" for i in range(len(codes))]
    with torch.autocast(codes[0].device.type, enabled=False):
        whitened = []
        for z, name in zip(codes, names, strict=True):
            wide = _island(z, name)
            centred = wide - wide.mean(0)
            covariance = centred.T @ centred / (len(z) - 1)
            factor = _cholesky(covariance, ridge, name)
            # Differentiable: the factor's own gradient is a closed form without eigenvalues.
            whitened.append(torch.linalg.solve_triangular(factor, centred.T, upper=False))
        blocks = []
        for j, left in enumerate(whitened):
            row = [
                torch.eye(len(left), dtype=left.dtype, device=left.device)
                if j == k
                else left @ right.T / (left.shape[1] - 1)
                for k, right in enumerate(whitened)
            ]
            blocks.append(torch.cat(row, dim=1))
        d = min(z.shape[1] for z in codes)
        total: Tensor = _TopEigenvalues.apply(torch.cat(blocks), d)  # type: ignore[no-untyped-call]
        return (-(total - d) / (len(codes) - 1)).to(codes[0].dtype)


def eckart_young(codes: Sequence[Tensor]) -> Tensor:
    r"""An objective without constraint whose minimum spans the canonical directions.

    .. math:: L = -2 \operatorname{tr} C + \operatorname{tr}(V V'), \quad
        C = \tfrac{1}{M} \sum_{jk} \mathrm{Cov}(Z_j, Z_k),\;
        V = \tfrac{1}{M} \sum_j \mathrm{Cov}(Z_j, Z_j)

    C is taken over the batch, V and V' over its two halves, so that the expectation of the value
    and of the gradient is that of the whole data at any batch size; nothing is inverted. For
    linear codes of two modalities the minimum is minus the sum of (1 + rho)² over the d largest
    correlations. At the minimum the codes are uncorrelated but not of unit variance.

    Args:
        codes: M >= 2 codes of the same rows, each (n, d), n >= 4.

    Returns:
        Scalar; lower is better.

    Raises:
        ShapeError: If the codes are not of one shape, or have fewer than 4 rows.

    References:
        Chapman et al. 2024, arXiv:2310.01012.
    """
    if len(codes) < 2:
        raise ShapeError(f"eckart_young needs at least 2 codes; got {len(codes)}.")
    shapes = [tuple(z.shape) for z in codes]
    if len(set(shapes)) > 1 or codes[0].ndim != 2 or len(codes[0]) < 4:
        raise ShapeError(
            f"eckart_young takes codes of one shape (n, d) with n >= 4; got {shapes}."
        )
    for i, z in enumerate(codes):
        check_codes(f"codes[{i}]", z)
    with torch.autocast(codes[0].device.type, enabled=False):
        stacked = torch.stack([_wide(z) for z in codes])  # (M, n, d)
        m, n, _ = stacked.shape
        centred = stacked - stacked.mean(1, keepdim=True)
        # tr of the sum over all pairs of covariances is the variance of the sum.
        shared = centred.sum(0).square().sum() / ((n - 1) * m)
        halves = []
        for half in (stacked[:, : n // 2], stacked[:, n // 2 :]):
            part = half - half.mean(1, keepdim=True)
            halves.append(torch.einsum("mni,mnj->ij", part, part) / ((part.shape[1] - 1) * m))
        return (-2 * shared + (halves[0] * halves[1]).sum()).to(codes[0].dtype)


def column_correlations(za: Tensor, zb: Tensor) -> Tensor:
    """Pearson correlation of each column of ``za`` with the same column of ``zb``, shape (d,).

    Args:
        za: Codes, shape (n, d), n >= 2.
        zb: Codes of the same rows, same shape.

    Returns:
        Correlations over the rows, in [-1, 1]; 0, with zero gradient, where a column is constant.
    """
    _check_pair("column_correlations", za, zb)
    if za.shape != zb.shape:
        raise ShapeError(
            "column_correlations pairs columns, so both must have the same width; got "
            f"{tuple(za.shape)} and {tuple(zb.shape)}."
        )
    for name, z in zip(NAMES, (za, zb), strict=True):
        check_codes(f"column_correlations: {name}", z)
    with torch.autocast(za.device.type, enabled=False):
        units = []
        for z in (za, zb):
            wide = _wide(z)
            centred = wide - wide.mean(0)
            size = centred.square().sum(0)
            # Rounding of a constant column is not a variance.
            floor = (wide.abs().amax(0) * torch.finfo(wide.dtype).eps).square() * len(z)
            units.append(
                torch.where(
                    size > floor,
                    centred / size.clamp_min(torch.finfo(wide.dtype).tiny).sqrt(),
                    0.0,
                )
            )
        return (units[0] * units[1]).sum(0).to(za.dtype)


class _Whitened:
    """Centred codes and T = L_a^{-1} S_ab L_b^{-T}, whose singular values are the correlations."""

    def __init__(self, za: Tensor, zb: Tensor, ridge: float, names: Sequence[str]) -> None:
        # Side by side, the three covariances are one product and both gradients another. In single
        # precision they would err by 1e-7 of the largest variance in every direction, and the
        # trace norm adds up such false correlations of directions that are nearly empty.
        both, d, self.dof = torch.cat([za, zb], dim=1), za.shape[1], len(za) - 1
        both, self.width = both.to(_widest(both)), d
        self.both = both - both.mean(0)
        covariance = self.both.T @ self.both / self.dof
        if not math.isfinite(float(covariance.diagonal().sum())):
            for z, name in zip((za, zb), names, strict=True):
                _island(z, name)
            raise TrainingError(f"{names[0]}, {names[1]}: the squares of the codes overflow.")
        self.cross = covariance[:d, d:]
        self.La = _cholesky(covariance[:d, :d], ridge, names[0])
        self.Lb = _cholesky(covariance[d:, d:], ridge, names[1])

    def T(self) -> Tensor:
        """The matrix T, (d_a, d_b)."""
        half = torch.linalg.solve_triangular(self.La, self.cross, upper=False)
        T: Tensor = torch.linalg.solve_triangular(self.Lb, half.T, upper=False).T
        return T

    def triplets(self) -> tuple[Tensor, Tensor, Tensor]:
        """Left vectors, singular values, falling, and right vectors of T."""
        whole = self.T()
        T = whole if whole.shape[0] >= whole.shape[1] else whole.T
        squares, right = torch.linalg.eigh(T.T @ T)
        # Half the work of an SVD, and as exact where no correlation is tiny: the smallest
        # left vectors are at right angles to about 1e-16 over the square of their correlation.
        if float(squares[0]) > 1e-6 * float(squares[-1]):
            rho, right = squares.flip(0).sqrt(), right.flip(1)
            left = T @ right / rho
        else:
            left, rho, transposed = torch.linalg.svd(T, full_matrices=False)
            right = transposed.T
        return (left, rho, right) if T is whole else (right, rho, left)

    def gradients(
        self, cross: Tensor, own_a: Tensor, own_b: Tensor, za: Tensor, zb: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Gradients by the codes, from those by the three covariances."""
        upper = torch.cat([2 * own_a, cross], dim=1)
        lower = torch.cat([cross.T, 2 * own_b], dim=1)
        weights = (torch.cat([upper, lower]) / self.dof).to(self.both.dtype)
        by = (self.both @ weights).to(za.dtype)
        return by[:, : self.width], by[:, self.width :].to(zb.dtype)


class _TraceNorm(torch.autograd.Function):
    """Sum of the top singular values of T."""

    @staticmethod
    def forward(
        ctx: Any, za: Tensor, zb: Tensor, ridge: float, top: int | None, names: Sequence[str]
    ) -> Tensor:
        with torch.autocast(za.device.type, enabled=False):
            w = _Whitened(za, zb, ridge, names)
            U, rho, V = w.triplets()
            U, rho, V = U[:, :top], rho[:top], V[:, :top]
            left = torch.linalg.solve_triangular(w.La.T, U, upper=True)  # (d_a, k)
            right = torch.linalg.solve_triangular(w.Lb.T, V, upper=True)  # (d_b, k)
            by_a, by_b = w.gradients(
                left @ right.T, -0.5 * left * rho @ left.T, -0.5 * right * rho @ right.T, za, zb
            )
        ctx.save_for_backward(by_a, by_b)
        total: Tensor = rho.sum().to(za.dtype)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        by_a, by_b = ctx.saved_tensors
        return grads[0] * by_a, grads[0] * by_b, None, None, None


class _Squares(torch.autograd.Function):
    """Sum of squares of the entries of T."""

    @staticmethod
    def forward(ctx: Any, za: Tensor, zb: Tensor, ridge: float, names: Sequence[str]) -> Tensor:
        with torch.autocast(za.device.type, enabled=False):
            w = _Whitened(za, zb, ridge, names)
            P = torch.cholesky_solve(w.cross, w.La)  # S_aa^{-1} S_ab, (d_a, d_b)
            Q = torch.cholesky_solve(w.cross.T, w.Lb)  # S_bb^{-1} S_ba, (d_b, d_a)
            cross = torch.cholesky_solve(P.T, w.Lb).T  # S_aa^{-1} S_ab S_bb^{-1}
            by_a, by_b = w.gradients(2 * cross, -cross @ P.T, -Q @ cross, za, zb)
        ctx.save_for_backward(by_a, by_b)
        total: Tensor = (P * Q.T).sum().to(za.dtype)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        by_a, by_b = ctx.saved_tensors
        return grads[0] * by_a, grads[0] * by_b, None, None


class _TopEigenvalues(torch.autograd.Function):
    """Sum of the d largest eigenvalues; its gradient is the projector on their space."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, d: int) -> Tensor:
        values, vectors = torch.linalg.eigh(matrix)
        kept = vectors[:, -d:]
        ctx.save_for_backward(kept)
        total: Tensor = values[-d:].sum()
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (kept,) = ctx.saved_tensors
        return grads[0] * kept @ kept.T, None


def inverse_root(covariance: Tensor, ridge: float) -> Tensor:
    """Symmetric inverse square root of ``covariance + ridge I``, shape (d, d), float64.

    Directions without variance stay at zero when there is no ridge.
    """
    matrix = covariance.double() if covariance.device.type != "mps" else covariance
    values, vectors = torch.linalg.eigh(matrix)
    values = values.clamp_min(0) + ridge
    least = values.max() * len(values) * torch.finfo(values.dtype).eps
    roots = torch.where(
        values > least,
        values.clamp_min(torch.finfo(values.dtype).tiny).rsqrt(),
        torch.zeros_like(values),
    )
    root: Tensor = (vectors * roots) @ vectors.T
    return root


def _cholesky(covariance: Tensor, ridge: float, name: str) -> Tensor:
    """Lower factor of ``covariance + ridge I``."""
    matrix = covariance + ridge * torch.eye(
        len(covariance), dtype=covariance.dtype, device=covariance.device
    )
    factor, info = torch.linalg.cholesky_ex(matrix)
    # What a unit has beyond the units before it, as a share of its own size.
    own = zip(
        factor.detach().diagonal().tolist(), matrix.detach().diagonal().tolist(), strict=True
    )
    if int(info) or not all(left > 1e-7 * math.sqrt(size) for left, size in own):
        raise TrainingError(
            f"{name}: the covariance of the codes is singular (a constant unit, or units that "
            f"depend on one another, in {len(matrix)} units) and ridge is {ridge:g}. Raise ridge, "
            "take larger batches or fewer components."
        )
    lower: Tensor = factor
    return lower


def _island(z: Tensor, name: str) -> Tensor:
    """The codes in float64, checked."""
    if not bool(torch.isfinite(z).all()):
        raise TrainingError(
            f"{name}: codes are not finite. Lower training__learning_rate, or look for extreme "
            "values in this modality."
        )
    return z if z.device.type == "mps" else z.double()


def _widest(z: Tensor) -> torch.dtype:
    """The most precise numbers of the codes' device."""
    return torch.float32 if z.device.type == "mps" else torch.float64


def _wide(z: Tensor) -> Tensor:
    return z.float() if z.dtype in (torch.float16, torch.bfloat16) else z


def _check_pair(name: str, za: Tensor, zb: Tensor) -> None:
    if za.ndim != 2 or zb.ndim != 2 or len(za) != len(zb) or len(za) < 2:
        raise ShapeError(
            f"{name} takes two codes of the same rows, (n, d_a) and (n, d_b) with n >= 2; got "
            f"{tuple(za.shape)} and {tuple(zb.shape)}."
        )
