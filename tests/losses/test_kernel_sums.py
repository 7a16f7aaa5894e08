"""MMD and HSIC by tiles: equal to the dense formulas in float64, in memory that stays small."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from triptych.errors import ParameterError, ShapeError
from triptych.losses import kernel_sums
from triptych.losses.divergence import hsic, mmd


def draw(n: int, d: int, seed: int = 0, shift: float = 0.0) -> Tensor:
    made = torch.randn(n, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return made + shift


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(kernel_sums, "side", lambda device: 5)


def dense_kernel(x: Tensor, y: Tensor, form: str, widths: list[float]) -> Tensor:
    squared = (x[:, None] - y[None]).square().sum(2)
    each = [
        torch.exp(-squared / (2 * w**2)) if form == "gaussian" else w**2 / (w**2 + squared)
        for w in widths
    ]
    return torch.stack(each).mean(0)


def dense_mmd(s: Tensor, t: Tensor, form: str, widths: list[float], unbiased: bool) -> Tensor:
    ss, tt, st_ = (dense_kernel(a, b, form, widths) for a, b in ((s, s), (t, t), (s, t)))
    if not unbiased:
        return ss.mean() + tt.mean() - 2 * st_.mean()
    off = [(k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1)) for k in (ss, tt)]
    return off[0] + off[1] - 2 * st_.mean()


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("form", ["gaussian", "imq"])
@pytest.mark.parametrize("sizes", [(13, 8), (5, 5), (2, 11)])
def test_mmd_by_tiles_is_the_dense_formula(small_tiles, sizes, form, unbiased):
    s, t = draw(sizes[0], 3).requires_grad_(), draw(sizes[1], 3, 1, 0.5).requires_grad_()
    found = mmd(s, t, kernel=form, widths=[0.7, 2.0], unbiased=unbiased)
    wanted = dense_mmd(s, t, form, [0.7, 2.0], unbiased)
    # float64 sums of a hundred terms near 1.
    assert found.item() == pytest.approx(wanted.item(), abs=1e-13)
    for got, true in zip(
        torch.autograd.grad(3 * found, [s, t]),
        torch.autograd.grad(3 * wanted, [s, t]),
        strict=True,
    ):
        torch.testing.assert_close(got, true, rtol=1e-9, atol=1e-13)


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 14), st.integers(1, 4), st.integers(0, 1000), st.floats(0.2, 5))
def test_hsic_by_tiles_is_the_dense_trace(n, d, seed, width):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel_sums, "side", lambda device: 4)
        s, p = draw(n, d, seed).requires_grad_(), draw(n, 2, seed + 1).requires_grad_()
        found = hsic(s, p, width_s=width, width_p=1.3)
    h = torch.eye(n, dtype=torch.float64) - 1 / n
    k, other = (dense_kernel(z, z, "gaussian", [w]) for z, w in ((s, width), (p, 1.3)))
    wanted = torch.trace(k @ h @ other @ h) / (n - 1) ** 2
    assert found.item() == pytest.approx(wanted.item(), abs=1e-12)
    for got, true in zip(
        torch.autograd.grad(found, [s, p]), torch.autograd.grad(wanted, [s, p]), strict=True
    ):
        torch.testing.assert_close(got, true, rtol=1e-8, atol=1e-12)


def test_normalised_hsic_is_one_for_itself_and_zero_for_a_constant():
    s = draw(20, 2)
    assert hsic(s, s, normalised=True).item() == pytest.approx(1)
    assert hsic(s, torch.ones(20, 3, dtype=torch.float64), normalised=True).item() == 0
    p = s[:, :1] ** 2
    h = torch.eye(20, dtype=torch.float64) - 1 / 20
    k, other = (
        h @ dense_kernel(z, z, "gaussian", [kernel_sums.median_width(z)]) @ h for z in (s, p)
    )
    wanted = (k * other).sum() / (k.norm() * other.norm())
    assert hsic(s, p, normalised=True).item() == pytest.approx(wanted.item())


class _Largest(TorchDispatchMode):
    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        if isinstance(found, Tensor):
            self.numbers = max(self.numbers, found.numel())
        return found


@pytest.mark.parametrize("measure", [mmd, hsic])
def test_no_matrix_of_all_pairs_is_ever_made(measure, monkeypatch):
    monkeypatch.setattr(kernel_sums, "side", lambda device: 64)
    monkeypatch.setattr(kernel_sums, "MEDIAN_ROWS", 64)
    s, p = draw(700, 2).requires_grad_(), draw(700, 2, 1)
    with _Largest() as seen:
        measure(s, p).backward()
    assert seen.numbers <= 64 * 64 < 700**2 / 100


def test_mmd_of_one_batch_with_itself_is_zero_with_a_finite_gradient():
    s = draw(9, 3).float().requires_grad_()
    value = mmd(s, s.detach().clone())
    value.backward()
    # Three means of float32 kernels near 1.
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert bool(torch.isfinite(s.grad).all())
    still = torch.ones(4, 2, requires_grad=True)
    mmd(still, torch.ones(3, 2)).backward()
    assert bool(torch.isfinite(still.grad).all())


def test_mmd_tells_laws_apart_and_pairs_not():
    s, t = draw(300, 2), draw(300, 2, 1)
    same, other = mmd(s, t, unbiased=True).item(), mmd(s, 2 * t, unbiased=True).item()
    # Under one law the estimate has a spread near 2 / n.
    assert abs(same) < 0.02 < other
    shuffled = t[torch.randperm(300, generator=torch.Generator().manual_seed(0))]
    assert mmd(s, shuffled).item() == pytest.approx(mmd(s, t).item())


def test_a_kernel_too_wide_is_nearly_constant_so_its_gradient_is_tiny():
    d = 80
    s, t = draw(64, d).requires_grad_(), draw(64, d, 1, 0.5)
    sizes = []
    for width in (d / math.sqrt(2), None):
        (slope,) = torch.autograd.grad(mmd(s, t, widths=width), s)
        sizes.append(slope.norm().item())
    assert sizes[0] < sizes[1] / 10


def test_far_off_values_keep_their_digits():
    s, t = draw(30, 2).float(), draw(30, 2, 1).float() * 1.5
    # 1e4 leaves float32 three digits of these codes' decimals.
    assert mmd(s + 1e4, t + 1e4).item() == pytest.approx(mmd(s, t).item(), rel=0.05)


def test_what_cannot_be_compared_is_named():
    with pytest.raises(ShapeError, match=r"one width; got \(4, 2\) and \(4, 3\)"):
        mmd(draw(4, 2), draw(4, 3))
    with pytest.raises(ShapeError, match="2 rows of each; got 1 and 4"):
        mmd(draw(1, 2), draw(4, 2), unbiased=True)
    with pytest.raises(ParameterError, match="kernel"):
        mmd(draw(4, 2), draw(4, 2), kernel="linear")
    with pytest.raises(ParameterError, match="widths"):
        mmd(draw(4, 2), draw(4, 2), widths=0.0)
    with pytest.raises(ShapeError, match="at least one kernel width"):
        mmd(draw(4, 2), draw(4, 2), widths=[])
    with pytest.raises(ParameterError, match="width_p"):
        hsic(draw(4, 2), draw(4, 2), width_p=-1.0)
