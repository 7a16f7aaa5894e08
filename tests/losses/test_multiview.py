"""Terms that ask what a code keeps beyond what a prediction tells, against closed forms."""

import math

import pytest
import torch
import torch.nn.functional as F

from triptych.errors import ShapeError
from triptych.losses import inverse_prediction, residual_entropy, symmetric_kl


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_inverse_prediction_is_the_sum_over_coordinates_and_the_mean_over_rows():
    z, f = normal(2, 5, 3)
    by_hand = sum(sum((z[i, k] - f[i, k]) ** 2 for k in range(3)) for i in range(5)) / 5
    assert inverse_prediction(z, f).item() == pytest.approx(by_hand.item())


@pytest.mark.parametrize("d", [1, 4, 64])
def test_inverse_prediction_of_unit_codes_does_not_depend_on_their_width(d):
    z, f = (F.normalize(normal(6, d, seed=s), dim=1) for s in (0, 1))
    cosine = (z * f).sum(1).mean().item()
    assert inverse_prediction(z, f).item() == pytest.approx(2 * (1 - cosine))


def test_residual_entropy_is_that_of_normal_residuals():
    sizes = torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64)
    f = normal(200_000, 3, seed=1)
    z = f + 0.5 + normal(200_000, 3) * sizes  # a constant offset could be predicted too
    wanted = sum(0.5 * math.log(2 * math.pi * math.e * float(s) ** 2) for s in sizes)
    # Each log-variance has standard error sqrt(2 / n) / 2 = 0.0016.
    assert residual_entropy(z, f).item() == pytest.approx(wanted, abs=0.01)


def test_residual_entropy_bounds_that_of_other_laws_from_above():
    # Uniform on [0, 2]: entropy log 2 = 0.693, the normal law of its variance has 0.870.
    z = 2 * torch.rand(50_000, 1, generator=torch.Generator().manual_seed(0))
    found = residual_entropy(z, torch.zeros_like(z)).item()
    assert found == pytest.approx(0.5 * math.log(2 * math.pi * math.e / 3), abs=0.02)
    assert found > math.log(2)


def test_equal_batches_have_finite_values_and_gradients():
    z = normal(8, 3).requires_grad_()
    value = residual_entropy(z, z.detach().clone()) + inverse_prediction(z, z.detach().clone())
    value.backward()
    assert math.isfinite(value.item())
    assert torch.isfinite(z.grad).all()


def test_symmetric_kl_is_the_mean_of_both_divergences_of_torch():
    mean_a, mean_b, wide_a, wide_b = normal(4, 7, 3)
    a, b = (
        torch.distributions.Normal(m, torch.exp(w / 2))
        for m, w in ((mean_a, wide_a), (mean_b, wide_b))
    )
    kl = torch.distributions.kl_divergence
    wanted = (kl(a, b) + kl(b, a)).sum(1) / 2
    found = symmetric_kl(mean_a, wide_a, mean_b, wide_b)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(found, symmetric_kl(mean_b, wide_b, mean_a, wide_a))
    assert symmetric_kl(mean_a, wide_a, mean_a, wide_a).abs().max() < 1e-12


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ShapeError, match=r"inverse_prediction .* got \(3, 2\) and \(3, 4\)"):
        inverse_prediction(torch.zeros(3, 2), torch.zeros(3, 4))
    with pytest.raises(ShapeError, match=r"residual_entropy .* n >= 2"):
        residual_entropy(torch.zeros(1, 2), torch.zeros(1, 2))
