"""Bounds on divergences: the formulas again, written plainly, and laws whose truth is known."""

import math

import pytest
import torch
from torch import Tensor

from triptych.errors import ParameterError, ShapeError
from triptych.losses.divergence_bounds import (
    DIVERGENCES,
    bounded_exp,
    f_divergence_lower_bound,
    gradient_penalty,
    kl_lower_bound,
    log_mean_exp,
    wasserstein_lower_bound,
)


def draw(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# Two laws on three states: every expectation is a sum, so bounds can be asked for equality.
P = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
Q = torch.tensor([0.2, 0.2, 0.6], dtype=torch.float64)
RATIO = P / Q
TRUTH = {
    "kl": (P * (P / Q).log()).sum(),
    "reverse_kl": (Q * (Q / P).log()).sum(),
    "js": ((P * (2 * P / (P + Q)).log()).sum() + (Q * (2 * Q / (P + Q)).log()).sum()) / 2,
    "pearson": ((P - Q) ** 2 / Q).sum(),
    "hellinger": ((P.sqrt() - Q.sqrt()) ** 2).sum(),
    "total_variation": (P - Q).abs().sum() / 2,
}
BEST = {
    "kl": 1 + RATIO.log(),
    "reverse_kl": RATIO.log(),
    "js": RATIO.log(),
    "pearson": 2 * (RATIO - 1),
    "hellinger": RATIO.log() / 2,
    "total_variation": 30 * RATIO.log().sign(),
}
# Ten samples of each law whose frequencies are the probabilities.
ROWS_P = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
ROWS_Q = torch.tensor([0] * 2 + [1] * 2 + [2] * 6)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_the_best_critic_attains_the_divergence(divergence: str) -> None:
    best = BEST[divergence]
    found = f_divergence_lower_bound(best[ROWS_P], best[ROWS_Q], divergence)
    assert found.item() == pytest.approx(TRUTH[divergence].item(), abs=1e-12)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_no_critic_exceeds_the_divergence(divergence: str) -> None:
    for seed in range(200):
        critic = BEST[divergence] + draw(3, seed) * 10 ** (seed % 4 - 2)
        found = f_divergence_lower_bound(critic[ROWS_P], critic[ROWS_Q], divergence)
        assert found.item() <= TRUTH[divergence].item() + 1e-12


def test_donsker_varadhan_attains_and_ignores_a_constant() -> None:
    best = RATIO.log() + 7
    assert kl_lower_bound(best[ROWS_P], best[ROWS_Q]).item() == pytest.approx(TRUTH["kl"].item())
    for seed in range(100):
        critic = draw(3, seed) * 10 ** (seed % 4 - 2)
        assert kl_lower_bound(critic[ROWS_P], critic[ROWS_Q]) <= TRUTH["kl"] + 1e-12


PLAIN = {
    "kl": lambda p, q: p.mean() - (q - 1).exp().mean(),
    "reverse_kl": lambda p, q: 1 - (-p).exp().mean() - q.mean(),
    "js": lambda p, q: (
        math.log(2) + (torch.sigmoid(p).log().mean() + (1 - torch.sigmoid(q)).log().mean()) / 2
    ),
    "pearson": lambda p, q: p.mean() - (q**2 / 4 + q).mean(),
    "hellinger": lambda p, q: (1 - (-p).exp()).mean() - (q.exp() - 1).mean(),
    "total_variation": lambda p, q: (0.5 * p.tanh()).mean() - (0.5 * q.tanh()).mean(),
}


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_value_and_gradient_of_the_formula_written_plainly(divergence: str) -> None:
    p, q = draw(5).requires_grad_(), draw(7, 1).requires_grad_()
    found, plain = f_divergence_lower_bound(p, q, divergence), PLAIN[divergence](p, q)
    assert found.item() == pytest.approx(plain.item(), rel=1e-12)
    ours, theirs = (torch.autograd.grad(v, (p, q)) for v in (found, plain))
    for a, b in zip(ours, theirs, strict=True):
        # Two orders of the same float64 operations.
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e12])
@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_extreme_scores_give_finite_values_and_gradients(divergence: str, size: float) -> None:
    for sign in (1, -1):
        p = torch.tensor([size, -size, 0.0]).requires_grad_()
        q = torch.tensor([sign * size, 0.0]).requires_grad_()
        found = f_divergence_lower_bound(p, q, divergence)
        found.backward()
        assert torch.isfinite(found) and torch.isfinite(p.grad).all()
        assert torch.isfinite(q.grad).all()


def test_the_bounded_exponential_is_exp_below_its_limit_and_rises_beyond() -> None:
    v = torch.linspace(-40, 40, 9)
    assert torch.equal(bounded_exp(v), v.exp())
    far = bounded_exp(torch.tensor([45.0, 90.0, 1e6]))
    assert torch.isfinite(far).all() and (far.diff() > 0).all()


def test_log_mean_exp_along_an_axis_and_over_all() -> None:
    v = draw(12).view(3, 4)
    torch.testing.assert_close(log_mean_exp(v), v.exp().mean().log())
    torch.testing.assert_close(log_mean_exp(v, 1), v.exp().mean(1).log())
    assert log_mean_exp(torch.full((4,), 1e30)).item() == pytest.approx(1e30)


def test_half_precision_is_widened_even_under_autocast() -> None:
    p, q = draw(64).to(torch.bfloat16), draw(64, 1).to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = kl_lower_bound(p, q)
    assert found.dtype == torch.float32
    # The scores have been rounded already; nothing more may be lost.
    assert found.item() == pytest.approx(kl_lower_bound(p.double(), q.double()).item(), rel=1e-5)


def test_wasserstein_of_shifted_samples_is_the_shift() -> None:
    z = draw(50)
    assert wasserstein_lower_bound(z + 3, z).item() == pytest.approx(3)


def test_the_penalty_is_zero_for_slope_one_and_known_for_others() -> None:
    p, q, mix = draw(12).view(6, 2), draw(12, 1).view(6, 2), draw(6, 2).sigmoid()
    direction = torch.tensor([0.6, 0.8], dtype=torch.float64)
    assert gradient_penalty(lambda u: u @ direction, p, q, mix).item() == pytest.approx(0)
    slope = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    found = gradient_penalty(lambda u: slope * (u @ direction), p, q, mix)
    assert found.item() == pytest.approx(4)
    (gradient,) = torch.autograd.grad(found, slope)
    assert gradient.item() == pytest.approx(4)  # d (s - 1)² / ds at 3
    flat = torch.zeros((), dtype=torch.float64, requires_grad=True)
    gradient_penalty(lambda u: flat * (u @ direction), p, q, mix).backward()
    assert torch.isfinite(flat.grad)


def test_the_penalty_looks_between_the_samples() -> None:
    seen = []

    def critic(u: Tensor) -> Tensor:
        seen.append(u.detach())
        return u.sum(1)

    gradient_penalty(critic, torch.ones(3, 2), torch.zeros(3, 2), torch.tensor([0.0, 0.25, 1.0]))
    assert torch.equal(seen[0][:, 0], torch.tensor([0.0, 0.25, 1.0]))


@pytest.mark.parametrize("bound", [kl_lower_bound, f_divergence_lower_bound])
def test_bad_shapes_are_named(bound) -> None:
    with pytest.raises(ShapeError, match=r"scores_p \(3, 3\) and scores_q \(4,\)"):
        bound(torch.zeros(3, 3), torch.zeros(4))
    with pytest.raises(ShapeError, match=r"scores_q \(0,\)"):
        bound(torch.zeros(3), torch.zeros(0))


def test_other_mistakes_are_named() -> None:
    with pytest.raises(ParameterError, match="divergence: expected one of 'kl'"):
        f_divergence_lower_bound(torch.zeros(2), torch.zeros(2), "nope")
    with pytest.raises(ShapeError, match=r"samples_q \(2, 2\), mix \(3,\)"):
        gradient_penalty(lambda u: u.sum(1), torch.zeros(3, 2), torch.zeros(2, 2), torch.zeros(3))
