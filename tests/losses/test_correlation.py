"""Correlation losses: plainly written values, finite differences, limits and guards."""

import numpy as np
import pytest
import scipy.linalg
import torch

from triptych.errors import ShapeError, TrainingError
from triptych.losses.correlation import (
    column_correlations,
    correlation_maxvar,
    correlation_squares,
    correlation_trace_norm,
    eckart_young,
    inverse_root,
)


def codes(n=60, widths=(4, 3), seed=0, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, 3))
    out = []
    for i, d in enumerate(widths):
        mixed = shared @ rng.normal(size=(3, d)) + (0.5 + i) * rng.normal(size=(n, d))
        out.append(torch.tensor(mixed + rng.normal(size=d), dtype=dtype))
    return out


def plain_correlations(za, zb, ridge):
    """Canonical correlations by symmetric roots, as the paper writes them."""
    A, B = za.numpy(), zb.numpy()
    A, B = A - A.mean(0), B - B.mean(0)
    n = len(A) - 1
    Saa = A.T @ A / n + ridge * np.eye(A.shape[1])
    Sbb = B.T @ B / n + ridge * np.eye(B.shape[1])
    root = [scipy.linalg.inv(scipy.linalg.sqrtm(S)).real for S in (Saa, Sbb)]
    return np.linalg.svd(root[0] @ (A.T @ B / n) @ root[1], compute_uv=False)


@pytest.mark.parametrize("ridge", [0.0, 1e-4, 0.3])
@pytest.mark.parametrize("widths", [(4, 3), (3, 3), (2, 5), (1, 1)])
def test_values_are_those_of_the_formula_with_symmetric_roots(ridge, widths):
    za, zb = codes(widths=widths)
    rho = plain_correlations(za, zb, ridge)
    # Relative 1e-9: two routes through float64 factors of well-conditioned covariances.
    assert correlation_trace_norm(za, zb, ridge=ridge).item() == pytest.approx(-rho.sum(), 1e-9)
    assert correlation_trace_norm(za, zb, ridge=ridge, top=1).item() == pytest.approx(
        -rho[0], rel=1e-9
    )
    squares = correlation_squares(za, zb, ridge=ridge).item()
    assert squares == pytest.approx(-(rho**2).sum(), rel=1e-9)
    if widths[0] == widths[1]:
        maxvar = correlation_maxvar([za, zb], ridge=ridge).item()
        assert maxvar == pytest.approx(-rho.sum(), rel=1e-9)


@pytest.mark.parametrize(
    "loss",
    [
        lambda a, b: correlation_trace_norm(a, b, ridge=1e-3),
        lambda a, b: correlation_trace_norm(a, b, ridge=1e-3, top=2),
        lambda a, b: correlation_squares(a, b, ridge=1e-3),
        lambda a, b: correlation_maxvar([a, b, a * b[:, :1]], ridge=1e-2),
        lambda a, b: eckart_young([a[:, :3], b]),
        lambda a, b: column_correlations(a[:, :3], b).sum(),
    ],
)
def test_closed_form_gradients_are_the_finite_differences(loss):
    za, zb = codes(n=12)
    za.requires_grad_()
    zb.requires_grad_()
    assert torch.autograd.gradcheck(loss, (za, zb), atol=1e-6)


def test_equal_correlations_have_a_finite_gradient():
    # An eigenvector's gradient has 1 / (rho_i - rho_j); here all correlations are 1.
    za = codes(widths=(4,))[0].requires_grad_()
    for loss in (correlation_trace_norm, correlation_squares):
        (grad,) = torch.autograd.grad(loss(za, za.detach().clone(), ridge=1e-4), za)
        assert torch.isfinite(grad).all()
    loss = correlation_maxvar([za, za.detach(), za.detach()], ridge=1e-6)
    assert loss.item() == pytest.approx(-4, abs=1e-4)  # ridge takes about 1e-6 a direction
    assert torch.isfinite(torch.autograd.grad(loss, za)[0]).all()


def test_any_invertible_map_of_a_code_leaves_the_correlations_alone():
    za, zb = codes()
    turn = torch.tensor(np.random.default_rng(1).normal(size=(4, 4)))
    for loss in (correlation_trace_norm, correlation_squares):
        before = loss(za, zb, ridge=0).item()
        assert loss(za @ turn + 7, 1e3 * zb - 2, ridge=0).item() == pytest.approx(before, rel=1e-9)


def test_half_precision_codes_give_the_value_of_float64_to_their_own_digits():
    za, zb = codes()
    exact = correlation_trace_norm(za, zb).item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = correlation_trace_norm(za.bfloat16(), zb.bfloat16())
    # bfloat16 has 8 bits: inputs and the value itself are off by up to 2^-8 of their size.
    assert half.dtype == torch.bfloat16 and half.item() == pytest.approx(exact, rel=0.02)


def test_minimum_of_eckart_young_is_minus_the_sum_of_one_plus_rho_squared():
    X, Y = codes(n=4000, widths=(4, 3))
    rho = plain_correlations(X, Y, 0.0)
    A = torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    B = torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weights = [A.mul_(0.1).requires_grad_(), B.mul_(0.1).requires_grad_()]
    whole = [torch.cat([X, X]), torch.cat([Y, Y])]  # both halves are then the same rows
    optimizer = torch.optim.LBFGS(weights, max_iter=300, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = eckart_young([whole[0] @ A, whole[1] @ B])
        loss.backward()
        return loss

    optimizer.step(closure)
    expected = -((1 + rho[:2]) ** 2).sum()
    # Divisors of n - 1 differ between the doubled rows and the single ones: 1 / 8000.
    assert closure().item() == pytest.approx(expected, rel=1e-3)


def test_eckart_young_has_the_same_expectation_at_any_batch_size():
    X, Y = codes(n=6000, widths=(3, 3))
    whole = eckart_young([X, Y]).item()
    order = torch.randperm(6000, generator=torch.Generator().manual_seed(0))
    parts = [eckart_young([X[i], Y[i]]).item() for i in order.split(10)]
    error = np.std(parts) / np.sqrt(len(parts))
    assert abs(np.mean(parts) - whole) < 4 * error
    assert error < abs(whole) / 10


def test_column_correlations_are_pearsons_and_zero_for_constants():
    za, zb = codes(widths=(3, 3))
    expected = [np.corrcoef(za[:, j], zb[:, j])[0, 1] for j in range(3)]
    np.testing.assert_allclose(column_correlations(za, zb).numpy(), expected, rtol=1e-10)
    flat = torch.full((60, 3), 0.1, dtype=torch.float64, requires_grad=True)
    value = column_correlations(flat, zb)
    assert (value == 0).all()
    value.sum().backward()
    assert (flat.grad == 0).all()


def test_inverse_root_whitens_and_leaves_empty_directions_alone():
    za = codes(widths=(4,))[0]
    S = torch.cov(za.T)
    R = inverse_root(S, 0.0)
    np.testing.assert_allclose((R @ S @ R).numpy(), np.eye(4), atol=1e-10)
    flat = torch.zeros(3, 3, dtype=torch.float64)
    flat[0, 0] = 4.0
    np.testing.assert_allclose(inverse_root(flat, 0.0).numpy(), np.diag([0.5, 0, 0]), atol=1e-15)


@pytest.mark.parametrize("loss", [correlation_trace_norm, correlation_squares])
def test_a_constant_unit_is_named_unless_a_ridge_holds_it(loss):
    za, zb = codes()
    za[:, 1] = 5.0
    with pytest.raises(TrainingError, match=r"sound: the covariance of the codes is singular"):
        loss(za, zb, ridge=0.0, names=("sound", "image"))
    assert torch.isfinite(loss(za, zb, ridge=1e-3))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_codes_that_are_not_finite_are_named(bad):
    za, zb = codes()
    zb[3, 0] = bad
    with pytest.raises(TrainingError, match=r"image: codes are not finite"):
        correlation_squares(za, zb, names=("sound", "image"))
    # A column whose variance is not above rounding is constant, and NaN is above nothing.
    with pytest.raises(TrainingError, match=r"zb, row 3: codes are not finite"):
        column_correlations(za[:, :3], zb)
    with pytest.raises(TrainingError, match=r"codes\[1\], row 3: codes are not finite"):
        eckart_young([za[:, :3], zb])


def test_shapes_are_named():
    with pytest.raises(ShapeError, match=r"\(5, 2\) and \(4, 2\)"):
        correlation_trace_norm(torch.ones(5, 2), torch.ones(4, 2))
    with pytest.raises(ShapeError, match="n >= 4"):
        eckart_young([torch.ones(3, 2), torch.ones(3, 2)])
    with pytest.raises(ShapeError, match="at least 2"):
        correlation_maxvar([torch.ones(3, 2)])
    with pytest.raises(ShapeError, match="same width"):
        column_correlations(torch.ones(5, 2), torch.ones(5, 3))


def nearly_empty(generator):
    """Codes of 64 units that live in one direction: sums over the others must find nothing."""
    line = torch.randn(400, 1, generator=generator) @ torch.randn(1, 64, generator=generator)
    return 0.4 * line, 0.04 * line @ torch.randn(64, 64, generator=generator)


def far_off(generator):
    """Codes whose mean is a million times their spread."""
    za = torch.randn(50, 3, generator=generator)
    zb = 0.5 * za + torch.randn(50, 3, generator=generator)
    return za + 1e6, zb - 1e6


@pytest.mark.parametrize("ridge", [0.0, 1e-4, 1e-3])
@pytest.mark.parametrize("made", [codes, nearly_empty, far_off])
@pytest.mark.parametrize("loss", [correlation_trace_norm, correlation_squares])
def test_single_precision_codes_give_what_double_gives(loss, made, ridge):
    if made is nearly_empty and ridge == 0:
        pytest.skip("dependent units need a ridge")
    given = codes(dtype=torch.float32) if made is codes else made(torch.Generator().manual_seed(0))
    found = []
    for dtype in (torch.float32, torch.float64):
        pair = [z.to(dtype).requires_grad_() for z in given]
        value = loss(*pair, ridge=ridge)
        found.append((value, *torch.autograd.grad(value, pair)))
    # The numbers are the same, so only the answer is rounded to single precision.
    for narrow, wide in zip(*found, strict=True):
        torch.testing.assert_close(narrow.double(), wide, rtol=1e-5, atol=1e-9)


def test_nearly_empty_directions_do_not_correlate():
    value = correlation_trace_norm(*nearly_empty(torch.Generator().manual_seed(0)))
    # One direction is shared; 1e-3 is what rounding of the codes themselves leaves elsewhere.
    assert -1.001 < value.item() < -0.99


def test_a_correlation_of_zero_leaves_the_gradient_of_the_others_exact():
    rng = np.random.default_rng(0)
    base = np.linalg.qr(rng.normal(size=(40, 6)))[0]
    base = np.linalg.qr(base - base.mean(0))[0]
    za = torch.tensor(base[:, :3]).requires_grad_()
    zb = torch.tensor(base[:, [0, 4, 5]] + 0.5 * base[:, [3, 1, 3]]).requires_grad_()
    value = correlation_trace_norm(za, zb, ridge=1e-3, top=2)
    value.backward()
    step = torch.tensor(rng.normal(size=(40, 3)))
    for z in (za, zb):
        with torch.no_grad():
            ahead, behind = (
                correlation_trace_norm(
                    *(w + s * 1e-6 * step if w is z else w for w in (za, zb)), ridge=1e-3, top=2
                )
                for s in (1, -1)
            )
        slope = (ahead - behind).item() / 2e-6
        # central differences of 1e-6 are right to about 1e-8 of the curvature
        assert (z.grad * step).sum().item() == pytest.approx(slope, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("loss", [correlation_trace_norm, correlation_squares])
def test_units_of_any_size_count_without_a_ridge(loss):
    za, zb = codes()
    sizes = torch.tensor([1.0, 1e-8, 1e8, 1e-23], dtype=za.dtype)
    value = loss(za, zb, ridge=0.0).item()
    # Correlations do not know of scales; 1e-6 is what Cholesky keeps across 31 powers of ten.
    assert loss(za * sizes, zb * 1e-20, ridge=0.0).item() == pytest.approx(value, rel=1e-6)
    with pytest.raises(TrainingError, match="singular"):
        loss(torch.cat([za, za[:, :1]], 1), zb, ridge=0.0)
