"""Barlow Twins and VICReg against the sums of their papers."""

import pytest
import torch

from triptych.errors import ParameterError, ShapeError
from triptych.losses.redundancy import (
    barlow_twins,
    invariance,
    off_diagonal_covariance,
    variance_hinge,
    vicreg,
)


def draw(n=7, d=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, n, d, dtype=torch.float64, generator=generator)


def test_barlow_twins_written_out():
    za, zb = draw()
    expected = 0.0
    for k in range(3):
        for m in range(3):
            x, y = za[:, k] - za[:, k].mean(), zb[:, m] - zb[:, m].mean()
            c = (x * y).sum() / (x.square().sum().sqrt() * y.square().sum().sqrt())
            expected += (1 - c) ** 2 if k == m else 0.01 * c**2
    assert barlow_twins(za, zb, weight=0.01).item() == pytest.approx(expected.item(), rel=1e-10)


def test_vicreg_written_out():
    za, zb = draw()
    n, d = za.shape
    s = sum(((za[i, k] - zb[i, k]) ** 2).item() for i in range(n) for k in range(d)) / (n * d)
    total = 10 * s
    for z in (za, zb):
        mean = z.mean(0)
        for k in range(d):
            var = ((z[:, k] - mean[k]) ** 2).sum().item() / (n - 1)
            total += 5 * max(0.0, 1 - (var + 1e-4) ** 0.5) / d
            for m in range(d):
                if k != m:
                    cov = ((z[:, k] - mean[k]) * (z[:, m] - mean[m])).sum().item() / (n - 1)
                    total += 2 * cov**2 / d
    found = vicreg(za, zb, invariance_weight=10, variance_weight=5, covariance_weight=2)
    assert found.item() == pytest.approx(total, rel=1e-10)


def test_perfect_codes_cost_nothing():
    # Orthogonal columns of unit variance, the same on both sides.
    z = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]], dtype=torch.float64)
    assert barlow_twins(z, z).item() == pytest.approx(0, abs=1e-10)
    assert vicreg(z, z).item() == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("loss", [barlow_twins, vicreg])
def test_collapsed_codes_cost_and_have_finite_gradients(loss):
    z = torch.ones(5, 3, requires_grad=True)
    value = loss(z, z.detach().clone())
    value.backward()
    # Barlow Twins: every dimension correlates with nothing; VICReg: 25 (1 - 0.01) a side.
    assert value.item() == pytest.approx(3.0 if loss is barlow_twins else 49.5, rel=1e-4)
    assert torch.isfinite(z.grad).all()


def test_scale_is_free_for_barlow_twins():
    za, zb = draw()
    assert barlow_twins(9 * za + 2, zb).item() == pytest.approx(barlow_twins(za, zb).item())


def test_terms_by_themselves():
    za, zb = draw()
    assert invariance(za, za).item() == 0
    assert invariance(za, zb).item() == pytest.approx((za - zb).square().mean().item())
    assert variance_hinge(100 * za).item() == 0
    assert off_diagonal_covariance(za[:, :1]).item() == 0


@pytest.mark.parametrize("loss", [barlow_twins, vicreg])
def test_refused(loss):
    with pytest.raises(ShapeError, match=r"za \(8, 3\) and zb \(7, 3\)"):
        loss(torch.ones(8, 3), torch.ones(7, 3))
    with pytest.raises(ShapeError, match="n >= 2"):
        loss(torch.ones(1, 3), torch.ones(1, 3))
    with pytest.raises(ParameterError, match="weight"):
        barlow_twins(torch.ones(3, 3), torch.ones(3, 3), weight=-1.0)
    with pytest.raises(ParameterError, match="variance_weight"):
        vicreg(torch.ones(3, 3), torch.ones(3, 3), variance_weight=-1.0)
