"""Normal posteriors: divergences, products and mixtures against plainly written ones."""

import math

import pytest
import torch
from torch import distributions as D

from triptych.errors import ShapeError
from triptych.losses import gaussian_kl, product_of_experts
from triptych.losses.variational import guarded, log_mixture, log_normal, log_standard


def drawn(*shape, seed=0):
    make = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=make, dtype=torch.float64)


def test_kl_is_the_sum_over_coordinates():
    mean, log_variance, nu, log_tau = (drawn(4, 3, seed=s) for s in range(4))
    wanted = torch.zeros(4, dtype=torch.float64)
    for i in range(4):
        for k in range(3):
            s2, t2 = math.exp(log_variance[i, k]), math.exp(log_tau[i, k])
            away = (mean[i, k] - nu[i, k]) ** 2
            wanted[i] += 0.5 * (math.log(t2 / s2) - 1 + (s2 + away) / t2)
    torch.testing.assert_close(gaussian_kl(mean, log_variance, nu, log_tau), wanted)
    own = D.kl_divergence(D.Normal(mean, (log_variance / 2).exp()), D.Normal(0.0, 1.0)).sum(1)
    torch.testing.assert_close(gaussian_kl(mean, log_variance), own)


def test_kl_keeps_its_digits_near_equality():
    tiny = torch.full((1, 1), 1e-9, dtype=torch.float64)
    # x²/4 of a log-variance x, where exp(x) - x - 1 written out would be 0.
    assert float(gaussian_kl(torch.zeros_like(tiny), tiny)) == pytest.approx(2.5e-19, rel=1e-6)


def test_product_of_experts_is_the_normalised_product_of_densities():
    means, log_variances = drawn(3, 1, 1), drawn(3, 1, 1, seed=1)
    grid = torch.linspace(-12, 12, 20_001, dtype=torch.float64)
    for members in ((0,), (0, 2), (0, 1, 2), ()):
        present = torch.tensor([[m in members] for m in range(3)])
        mean, log_variance = product_of_experts(means, log_variances, present)
        logs = log_standard(grid[:, None])
        for m in members:
            logs = logs + log_normal(grid[:, None], means[m], log_variances[m])
        density = logs.exp() / torch.trapezoid(logs.exp(), grid)
        found = log_normal(grid[:, None], mean, log_variance).exp()
        # The trapezoid rule is exact to rounding for smooth functions that end at 0.
        torch.testing.assert_close(found, density, atol=1e-10, rtol=1e-8)


def test_the_prior_counts_once_and_what_is_absent_not_at_all():
    means, log_variances = drawn(2, 5, 3), drawn(2, 5, 3, seed=1)
    present = torch.ones(2, 5, dtype=torch.bool)
    with_prior = product_of_experts(means, log_variances, present)
    precision = 1 + (-log_variances).exp().sum(0)
    torch.testing.assert_close(with_prior[1], -precision.log())
    without = product_of_experts(means, log_variances, present, prior=False)
    torch.testing.assert_close(without[1], -(precision - 1).log())
    wild = means.clone()
    wild[1] = torch.nan
    present[1] = False
    one = product_of_experts(wild, log_variances, present, prior=False)
    torch.testing.assert_close(one[0], means[0])
    torch.testing.assert_close(one[1], log_variances[0])
    nothing = product_of_experts(wild, log_variances, torch.zeros_like(present))
    assert not nothing[0].any()
    assert not nothing[1].any()


def test_mixture_is_the_sum_of_its_parts_and_has_a_gradient_beside_nothing():
    means = drawn(3, 2, 4).requires_grad_()
    log_variances, z = drawn(3, 2, 4, seed=1), drawn(6, 2, 4, seed=2)
    weights = torch.tensor([[0.5, 0.0], [0.25, 0.0], [0.25, 1.0]], dtype=torch.float64)
    found = log_mixture(z, means, log_variances, weights)
    for b in range(2):
        each = sum(
            weights[c, b] * log_normal(z[:, b], means[c, b], log_variances[c, b]).exp()
            for c in range(3)
        )
        torch.testing.assert_close(found[:, b], each.log())
    found.sum().backward()
    assert torch.isfinite(means.grad).all()
    assert not means.grad[:2, 1].any()


def test_log_variances_are_bent_and_keep_their_slope():
    far = torch.tensor([-1e30, -30.0, 0.0, 0.01, 30.0, 1e30], dtype=torch.float64)
    found = guarded(far)
    assert found.abs().max() <= 10
    torch.testing.assert_close(found[2:4], far[2:4], atol=1e-8, rtol=1e-5)
    wide = torch.tensor(30.0, dtype=torch.float64, requires_grad=True)
    guarded(wide).backward()
    assert wide.grad > 0


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ShapeError, match=r"gaussian_kl: .* got \(2, 3\) and \(2, 4\)"):
        gaussian_kl(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(ShapeError, match=r"\(3, 2\); got \(2, 3\)"):
        product_of_experts(torch.zeros(3, 2, 4), torch.zeros(3, 2, 4), torch.ones(2, 3) > 0)
