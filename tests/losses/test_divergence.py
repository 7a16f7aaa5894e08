import math

import pytest
import torch
from torch import Tensor

from triptych.errors import ShapeError
from triptych.losses.divergence import (
    cmd,
    decorrelation,
    frobenius,
    hsic,
    orthogonality,
    sample_orthogonality,
    scale_invariant_mse,
)


def draw(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_orthogonality_written_out():
    s, p = draw(6, 3), draw(6, 2, seed=1)
    hats = []
    for z in (s, p):
        centred = [
            [(z[i, k] - z[:, k].mean()).item() for k in range(z.shape[1])] for i in range(6)
        ]
        hats.append([[v / math.sqrt(sum(u * u for u in row)) for v in row] for row in centred])
    total = sum(
        sum(hats[0][i][a] * hats[1][i][b] for i in range(6)) ** 2
        for a in range(3)
        for b in range(2)
    )
    # The divisor holds 1e-6 beside lengths of about one.
    assert orthogonality(s, p).item() == pytest.approx(total / 6, rel=1e-4)


def test_orthogonality_does_not_reward_shrinking():
    s, p = draw(8, 3).requires_grad_(), draw(8, 3, seed=1)
    (gradient,) = torch.autograd.grad(orthogonality(s, p), s)
    # Along s itself the product still shrinks when the length is constant, so the slope is 2 L.
    along = (gradient * (s - s.mean(0))).sum()
    assert along.item() == pytest.approx(2 * orthogonality(s, p).item(), rel=1e-4)
    assert orthogonality(0.5 * s, p).item() == pytest.approx(orthogonality(s, p).item(), rel=1e-4)


def test_orthogonality_of_one_row_is_zero_and_offsets_do_not_count():
    s, p = draw(8, 3), draw(8, 3, seed=1)
    assert orthogonality(s[:1], p[:1]).item() == 0
    assert orthogonality(s + 5, p).item() == pytest.approx(orthogonality(s, p).item())
    with pytest.raises(ShapeError, match=r"got \(8, 3\) and \(7, 3\)"):
        orthogonality(s, p[:7])


def test_cmd_written_out():
    s, t = draw(6, 2).sigmoid(), draw(9, 2, seed=1).sigmoid()
    total = 0.0
    for k in range(1, 6):
        gaps = []
        for c in range(2):
            means = [z[:, c].mean().item() for z in (s, t)]
            if k == 1:
                gaps.append(means[0] - means[1])
                continue
            a, b = (
                sum((v - m) ** k for v in z[:, c].tolist()) / len(z)
                for z, m in zip((s, t), means, strict=True)
            )
            gaps.append(a - b)
        total += math.sqrt(sum(g * g for g in gaps)) / 2.0**k
    # 1e-12 inside each of five roots.
    assert cmd(s, t, span=2.0).item() == pytest.approx(total, abs=1e-5)


def test_cmd_of_equal_batches_is_zero_with_a_finite_gradient():
    s = draw(5, 3).requires_grad_()
    value = cmd(s, s.detach().clone())
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-9)
    assert s.grad is not None and bool(torch.isfinite(s.grad).all())
    with pytest.raises(ShapeError, match="same d"):
        cmd(s, draw(5, 2))


def test_hsic_written_out_as_a_trace():
    s, p = draw(7, 2), draw(7, 3, seed=1)
    kernels = []
    for z, width in ((s, 0.8), (p, 1.5)):
        k = torch.zeros(7, 7, dtype=torch.float64)
        for i in range(7):
            for j in range(7):
                k[i, j] = math.exp(-((z[i] - z[j]) ** 2).sum().item() / (2 * width**2))
        kernels.append(k)
    h = torch.eye(7, dtype=torch.float64) - 1 / 7
    expected = torch.trace(kernels[0] @ h @ kernels[1] @ h) / 36
    assert hsic(s, p, width_s=0.8, width_p=1.5).item() == pytest.approx(expected.item())


def test_hsic_sees_dependence_without_correlation():
    x = torch.linspace(-1, 1, 101, dtype=torch.float64)[:, None]
    noise = draw(101, 1)
    assert hsic(x, x**2).item() > 5 * hsic(x, noise).item()


def test_hsic_of_a_constant_code_is_zero_with_a_finite_gradient():
    s = torch.ones(6, 2, requires_grad=True)
    value = hsic(s, draw(6, 2).float())
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert s.grad is not None and bool(torch.isfinite(s.grad).all())


def test_decorrelation_is_the_sum_of_squared_correlations(torch_draws):
    s, p = torch.randn(40, 3, dtype=torch.float64), torch.randn(40, 2, dtype=torch.float64)
    plain = sum(
        float(torch.corrcoef(torch.stack([s[:, i], p[:, j]]))[0, 1]) ** 2
        for i in range(3)
        for j in range(2)
    )
    assert decorrelation(s, p).item() == pytest.approx(plain / 2)
    assert decorrelation(s * 1e3 + 5, p).item() == pytest.approx(plain / 2)


def test_decorrelation_does_not_reward_small_codes(torch_draws):
    s = torch.randn(40, 3, dtype=torch.float64, requires_grad=True)
    decorrelation(s, s.detach()[:, :2]).backward()
    centred = s.detach() - s.detach().mean(0)
    assert (centred * s.grad).sum(0).abs().max() < 1e-10
    still = torch.zeros(5, 2, requires_grad=True)
    decorrelation(still, torch.randn(5, 2)).backward()
    assert torch.isfinite(still.grad).all()


def test_orthogonality_without_centring_is_that_of_domain_separation():
    s, p = draw(6, 3) + 2, draw(6, 2, seed=1)
    hats = [z / z.norm(dim=1, keepdim=True) for z in (s, p)]
    plain = sum(
        float((hats[0][:, a] * hats[1][:, b]).sum()) ** 2 for a in range(3) for b in range(2)
    )
    # The divisor holds 1e-6 beside lengths of about one.
    assert orthogonality(s, p, centred=False).item() == pytest.approx(plain / 6, rel=1e-4)


def test_positive_codes_reach_zero_only_if_centred():
    # Sigmoid codes that do not depend on one another, every pair of values equally often.
    s = torch.tensor([[0.2], [0.2], [0.8], [0.8]], dtype=torch.float64)
    p = torch.tensor([[0.3], [0.9], [0.3], [0.9]], dtype=torch.float64)
    assert orthogonality(s, p).item() == pytest.approx(0)
    assert orthogonality(s, p, centred=False).item() > 1


def test_frobenius_is_the_papers_formula_over_n_squared_and_does_reward_shrinking():
    s, p = draw(7, 3), draw(7, 2, seed=1)
    paper = sum(float((s[:, a] * p[:, b]).sum()) ** 2 for a in range(3) for b in range(2))
    assert frobenius(s, p).item() == pytest.approx(paper / 49)
    assert frobenius(0.5 * s, p).item() == pytest.approx(paper / 49 / 4)


def test_sample_orthogonality_is_another_thing_than_orthogonal_columns():
    s, p = draw(6, 3), draw(6, 3, seed=1)
    cosines = [float(a @ b / (a.norm() * b.norm())) for a, b in zip(s, p, strict=True)]
    assert sample_orthogonality(s, p).item() == pytest.approx(sum(c * c for c in cosines) / 6)
    # Rows at right angles whose columns go together.
    a = torch.tensor([[1.0, 0.0], [2.0, 0.0], [-3.0, 0.0]])
    b = a.flip(1)
    assert sample_orthogonality(a, b).item() == 0
    assert decorrelation(a, b).item() > 0.4
    with pytest.raises(ShapeError, match="one width"):
        sample_orthogonality(s, p[:, :2])


def test_scale_invariant_error_written_out_and_blind_to_a_constant():
    made, truth = draw(4, 6), draw(4, 6, seed=1)
    found = scale_invariant_mse(made, truth)
    for row in range(4):
        d = (made[row] - truth[row]).tolist()
        # The paper subtracts the second part; a public port adds it.
        plain = sum(v * v for v in d) / 6 - sum(d) ** 2 / 36
        assert found[row].item() == pytest.approx(plain)
    torch.testing.assert_close(scale_invariant_mse(made + 3, truth), found)
    assert scale_invariant_mse(made[:, :1], truth[:, :1]).abs().max().item() == 0
    with pytest.raises(ShapeError, match="one shape"):
        scale_invariant_mse(made, truth[:, :3])


def test_cmd_does_not_see_pairs():
    s, t = draw(40, 2).sigmoid(), draw(40, 2, seed=1).sigmoid()
    shuffled = t[torch.randperm(40, generator=torch.Generator().manual_seed(0))]
    assert cmd(s, shuffled).item() == pytest.approx(cmd(s, t).item())
    assert cmd(s[:1], t[:1]).isfinite()


def test_wider_codes_have_a_smaller_penalty_for_the_same_overlap():
    s, p = draw(8, 3), draw(8, 3, seed=1)
    twice = orthogonality(torch.cat([s, s], 1), torch.cat([p, p], 1))
    # Rows grow by the root of 2 on both sides, so each entry halves before it is squared.
    assert twice.item() == pytest.approx(orthogonality(s, p).item() / 4, rel=1e-4)


def test_uncorrelated_is_not_independent():
    x = torch.linspace(-1, 1, 101, dtype=torch.float64)[:, None]
    assert decorrelation(x, x**2).item() == pytest.approx(0, abs=1e-12)
    assert orthogonality(x, x**2).item() == pytest.approx(0, abs=1e-12)
    assert hsic(x, x**2, normalised=True).item() > 0.3


@pytest.mark.parametrize("size", [1e3, 1.0, 1e-4, 1e-7, 1e-12])
def test_codes_do_not_escape_decorrelation_by_being_small(size):
    w = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    q = torch.linalg.qr(w - w.mean(0)).Q
    z = (size * q).requires_grad_()
    found = decorrelation(z, z)
    assert found.item() == pytest.approx(1, abs=1e-4)  # columns in float32 are nearly uncorrelated
    found.backward()
    assert bool(torch.isfinite(z.grad).all())
    # A constant whose mean is rounded is a constant still.
    still = torch.full((50, 2), 0.1)
    assert decorrelation(still, size * q).item() == 0
