"""Bounds on information: formulas written plainly, and the best critic of a known Gaussian."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from triptych.errors import ParameterError, ShapeError
from triptych.losses.bounds import (
    barber_agakov_lower_bound,
    club_upper_bound,
    difference_of_entropies,
    donsker_varadhan_lower_bound,
    infonce_lower_bound,
    joint_and_product,
    js_lower_bound,
    leave_one_out_upper_bound,
    log_ratio_lower_bound,
    mine_lower_bound,
    nwj_lower_bound,
    smile_estimate,
)


def draw(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, n, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def parts(scores: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    n = len(scores)
    joint = [scores[i, i] for i in range(n)]
    return joint, [scores[i, j] for i in range(n) for j in range(n) if i != j]


def mean(values: list[Tensor]) -> Tensor:
    return sum(values, start=torch.zeros((), dtype=torch.float64)) / len(values)


def plain_infonce(t: Tensor) -> Tensor:
    n = len(t)
    rows = [t[i, i] - sum(t[i, j].exp() for j in range(n)).log() for i in range(n)]
    return math.log(n) + mean(rows)


def plain_leave_one_out(t: Tensor) -> Tensor:
    n = len(t)
    rows = []
    for i in range(n):
        others = mean([t[j, i].exp() for j in range(n) if j != i])
        rows.append(t[i, i] - others.log())
    return mean(rows)


PLAIN: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "dv": (
        donsker_varadhan_lower_bound,
        lambda t: mean(parts(t)[0]) - mean([v.exp() for v in parts(t)[1]]).log(),
    ),
    "nwj": (
        nwj_lower_bound,
        lambda t: mean(parts(t)[0]) - mean([v.exp() for v in parts(t)[1]]) / math.e,
    ),
    "log_ratio": (
        log_ratio_lower_bound,
        lambda t: 1 + mean(parts(t)[0]) - mean([v.exp() for v in parts(t)[1]]),
    ),
    "infonce": (infonce_lower_bound, plain_infonce),
    "infonce, both": (
        lambda t: infonce_lower_bound(t, both=True),
        lambda t: (plain_infonce(t) + plain_infonce(t.T)) / 2,
    ),
    "js": (
        js_lower_bound,
        lambda t: (
            (
                mean([torch.sigmoid(v).log() for v in parts(t)[0]])
                + mean([(1 - torch.sigmoid(v)).log() for v in parts(t)[1]])
            )
            / 2
            + math.log(2)
        ),
    ),
    "smile": (
        lambda t: smile_estimate(t, clip=0.8),
        lambda t: (
            mean(parts(t)[0]) - mean([torch.clamp(v, -0.8, 0.8).exp() for v in parts(t)[1]]).log()
        ),
    ),
    "club": (club_upper_bound, lambda t: mean(parts(t)[0]) - mean(parts(t)[1])),
    "leave one out": (leave_one_out_upper_bound, plain_leave_one_out),
}


@pytest.mark.parametrize("name", PLAIN)
def test_value_and_gradient_of_the_formula_written_plainly(name: str) -> None:
    ours, theirs = PLAIN[name]
    for n, seed in ((2, 0), (5, 1), (9, 2)):
        t = (2 * draw(n, seed)).requires_grad_()
        found, plain = ours(t), theirs(t)
        assert found.item() == pytest.approx(plain.item(), rel=1e-11)
        (a,), (b,) = torch.autograd.grad(found, t), torch.autograd.grad(plain, t)
        # Two orders of the same float64 operations.
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


def test_joint_and_product_split_the_matrix_in_the_order_of_rows() -> None:
    joint, product = joint_and_product(torch.arange(9.0).view(3, 3))
    assert joint.tolist() == [0, 4, 8]
    assert product.tolist() == [1, 2, 3, 5, 6, 7]
    turned = joint_and_product(torch.arange(9.0).view(3, 3).T)[1]
    assert turned.tolist() == [3, 6, 1, 7, 2, 5]


def test_mine_has_the_value_of_dv_and_the_gradient_of_the_running_mean() -> None:
    t, before = draw(6).requires_grad_(), torch.tensor(2.5, dtype=torch.float64)
    found, log_mean = mine_lower_bound(t, before.log(), momentum=0.9)
    assert found.item() == pytest.approx(donsker_varadhan_lower_bound(t).item())
    off = torch.stack(parts(t)[1])
    running = 0.9 * before + 0.1 * off.exp().mean().detach()
    assert log_mean.exp().item() == pytest.approx(running.item())
    plain = t.diagonal().mean() - off.exp().mean() / running
    (a,), (b,) = torch.autograd.grad(found, t), torch.autograd.grad(plain, t)
    torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_mine_begins_as_donsker_varadhan() -> None:
    t = draw(6).requires_grad_()
    (plain,) = torch.autograd.grad(donsker_varadhan_lower_bound(t), t)
    for log_mean, momentum in ((None, 0.99), (torch.tensor(3.0), 0.0)):
        found, held = mine_lower_bound(t, log_mean, momentum=momentum)
        (gradient,) = torch.autograd.grad(found, t)
        torch.testing.assert_close(gradient, plain)
        assert not held.requires_grad


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("size", [1e3, 1e10])
def test_extreme_scores_give_finite_values_and_gradients(name: str, size: float) -> None:
    for seed in range(4):
        t = (size * draw(4, seed).float()).requires_grad_()
        found = PLAIN[name][0](t)
        found.backward()
        assert torch.isfinite(found) and torch.isfinite(t.grad).all()


def test_mine_is_finite_when_a_batch_leaps_beyond_the_running_mean() -> None:
    t = torch.full((3, 3), 1e4, requires_grad=True)
    found, held = mine_lower_bound(t, torch.tensor(0.0))
    found.backward()
    assert torch.isfinite(found) and torch.isfinite(held) and torch.isfinite(t.grad).all()


@pytest.mark.parametrize("name", PLAIN)
def test_half_precision_is_widened_even_under_autocast(name: str) -> None:
    rounded = (3 * draw(8)).to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = PLAIN[name][0](rounded)
    assert found.dtype == torch.float32
    # float32 sums of 56 terms of about e^9.
    assert found.item() == pytest.approx(PLAIN[name][0](rounded.double()).item(), rel=1e-4)


@pytest.mark.parametrize(
    "bound", [joint_and_product, *(ours for ours, _ in PLAIN.values()), mine_lower_bound]
)
@pytest.mark.parametrize("shape", [(3, 4), (1, 1), (3,), (2, 2, 2), (0, 0)])
def test_bad_shapes_are_named(bound, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"n >= 2") as caught:
        bound(torch.zeros(shape))
    assert str(tuple(shape)) in str(caught.value)


def test_other_mistakes_are_named() -> None:
    with pytest.raises(ParameterError, match=r"momentum: .* < 1, got 1"):
        mine_lower_bound(draw(3), momentum=1)
    with pytest.raises(ParameterError, match="clip: expected a number > 0, got 0"):
        smile_estimate(draw(3), clip=0)
    with pytest.raises(ShapeError, match=r"log_marginal \(3,\) and log_conditional \(4,\)"):
        difference_of_entropies(torch.zeros(3), torch.zeros(4))
    with pytest.raises(ShapeError, match=r"n >= 1; got \(0,\)"):
        barber_agakov_lower_bound(torch.zeros(0), 1.0)


# -- the best critic of a Gaussian whose information is known ----------------------------------


def gaussian(
    information: float, batches: int, n: int, d: int = 20
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """log p(y_j) - as a ratio, and densities - for batches of d correlated pairs of columns."""
    rng = np.random.default_rng(7)
    square = -math.expm1(-2 * information / d)
    x = torch.from_numpy(rng.standard_normal((batches, n, d)))
    noise = torch.from_numpy(rng.standard_normal((batches, n, d)))
    y = math.sqrt(square) * x + math.sqrt(1 - square) * noise
    gap = (y[:, None] - math.sqrt(square) * x[:, :, None]).square().sum(-1)  # (batches, n, n)
    conditional = -gap / (2 * (1 - square)) - d / 2 * math.log(2 * math.pi * (1 - square))
    marginal = -y.square().sum(-1) / 2 - d / 2 * math.log(2 * math.pi)  # (batches, n)
    return conditional - marginal[:, None], conditional, marginal, x


def average(bound: Callable[[Tensor], Tensor], matrices: Tensor) -> tuple[float, float]:
    values = torch.stack([bound(m) for m in matrices])
    return values.mean().item(), values.std().item() / math.sqrt(len(values))


@pytest.mark.parametrize(("information", "expected"), [(2, 1.84), (6, 3.77), (10, 4.12)])
def test_infonce_of_the_best_critic_saturates_as_known(
    information: float, expected: float
) -> None:
    ratio = gaussian(information, 60, 64)[0]
    found, error = average(infonce_lower_bound, ratio)
    # Computed beforehand from another 60 batches: two standard errors of each, and rounding.
    assert found == pytest.approx(expected, abs=4 * error + 0.005)
    assert found < math.log(64)


def test_means_of_unbiased_bounds_are_the_information_at_the_best_critic() -> None:
    ratio, conditional, marginal, _ = gaussian(1.0, 400, 16, d=4)
    for bound in (log_ratio_lower_bound, lambda t: nwj_lower_bound(t + 1)):
        found, error = average(bound, ratio)
        assert found == pytest.approx(1.0, abs=4 * error)
    rows = torch.stack([c.diagonal() for c in conditional]).flatten()
    found = difference_of_entropies(marginal.flatten(), rows).item()
    spread = (rows - marginal.flatten()).std().item() / math.sqrt(len(rows))
    assert found == pytest.approx(1.0, abs=4 * spread)
    entropy = 4 / 2 * math.log(2 * math.pi * math.e)
    found = barber_agakov_lower_bound(rows, entropy).item()
    assert found == pytest.approx(1.0, abs=4 * rows.std().item() / math.sqrt(len(rows)))


def test_batches_bias_donsker_varadhan_up_and_infonce_down() -> None:
    ratio = gaussian(2.0, 400, 8)[0]
    above, error = average(donsker_varadhan_lower_bound, ratio)
    below, other = average(infonce_lower_bound, ratio)
    assert above - 2 * error > 2 > below + 2 * other
    assert below < math.log(8)


def test_upper_bounds_lie_above_and_close_around_with_the_lower_ones() -> None:
    ratio, conditional, _, _ = gaussian(1.0, 200, 32, d=4)
    # With q = p(y | x), CLUB is KL(joint, product) + KL(product, joint); here d ρ² / (1 - ρ²).
    square = -math.expm1(-0.5)
    found, error = average(club_upper_bound, conditional)
    assert found == pytest.approx(4 * square / (1 - square), abs=4 * error)
    over, error = average(leave_one_out_upper_bound, conditional)
    under, other = average(infonce_lower_bound, ratio)
    assert under - 3 * other < 1 < over + 3 * error
    assert over - under < 0.3


def test_smile_tends_to_donsker_varadhan_and_a_small_clip_pulls_it_up() -> None:
    ratio = gaussian(2.0, 1, 64)[0][0]
    dv = donsker_varadhan_lower_bound(ratio).item()
    assert smile_estimate(ratio, clip=1e3).item() == pytest.approx(dv)
    # The largest scores of the product are cut, and the smallest raised: neither is neutral.
    assert smile_estimate(ratio, clip=1e-6).item() == pytest.approx(
        ratio.diagonal().mean().item(), abs=1e-5
    )


def test_scores_without_information_give_zero() -> None:
    flat = torch.full((6, 6), 0.7, dtype=torch.float64)
    for bound in (donsker_varadhan_lower_bound, infonce_lower_bound, club_upper_bound):
        assert bound(flat).item() == pytest.approx(0, abs=1e-12)
    assert js_lower_bound(torch.zeros(6, 6)).item() == pytest.approx(0, abs=1e-6)
    assert log_ratio_lower_bound(torch.zeros(6, 6)).item() == pytest.approx(0, abs=1e-6)
