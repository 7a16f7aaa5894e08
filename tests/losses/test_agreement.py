"""Disagreement under a kernel, softmax over candidates, and the variance guard, written out."""

import math

import numpy as np
import pytest
import torch

from triptych.errors import ShapeError
from triptych.losses.agreement import (
    disagreement,
    partner_cross_entropy,
    similarity_logits,
    whiteness,
)
from triptych.losses.contrastive import info_nce
from triptych.similarity import Kernel

KERNELS = (
    Kernel("cosine"),
    Kernel("centred_cosine"),
    Kernel("linear"),
    Kernel("polynomial", degree=3, gamma=0.5, offset=1.0),
    Kernel("exponential", width=1.5),
    Kernel("rbf", width=1.5),
    Kernel("laplacian", gamma=0.3),
)


def draw(n=9, d=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, n, d, dtype=torch.float64, generator=generator)


def plain(kernel, x, y):
    """One kernel of two vectors, as the books write it."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    if kernel.name == "centred_cosine":
        x, y = x - x.mean(), y - y.mean()
    if "cosine" in kernel.name:
        return x @ y / math.sqrt((x @ x) * (y @ y))
    if kernel.name == "linear":
        return x @ y
    if kernel.name == "polynomial":
        return (kernel.gamma * (x @ y) + kernel.offset) ** kernel.degree
    if kernel.name == "exponential":
        return math.exp(x @ y / kernel.width**2)
    if kernel.name == "rbf":
        return math.exp(-((x - y) ** 2).sum() / (2 * kernel.width**2))
    return math.exp(-kernel.gamma * np.abs(x - y).sum())


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_disagreement_and_logits_are_the_formulas(kernel):
    za, zb = draw()
    expected = [
        (plain(kernel, a, a) + plain(kernel, b, b)) / 2 - plain(kernel, a, b)
        for a, b in zip(za, zb, strict=True)
    ]
    np.testing.assert_allclose(disagreement(kernel, za, zb), expected, rtol=1e-10, atol=1e-12)
    k = np.array([[plain(kernel, a, b) for b in zb[:5]] for a in za])
    k = np.log(k) if kernel.name in ("exponential", "rbf", "laplacian") else k
    np.testing.assert_allclose(similarity_logits(kernel, za, zb[:5]), k, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_equal_rows_agree_and_everything_stays_finite(kernel):
    za, _ = draw()
    assert float(disagreement(kernel, za, za.clone()).abs().max()) < 1e-12
    # Zeros, rows that coincide, and codes far beyond where kernels overflow float32.
    a = torch.tensor([[0.0, 0, 0], [1, 2, 3], [1e6, -1e6, 1e6], [3, 3, 3]], requires_grad=True)
    b = torch.tensor([[0.0, 0, 0], [1, 2, 3], [-1e6, -1e6, 1e6], [0, 0, 0]])
    found = disagreement(kernel, a, b)
    logits = similarity_logits(kernel, a, b)
    assert bool(torch.isfinite(found).all()) and bool((found >= 0).all())
    (found.mean() + partner_cross_entropy(logits)).backward()
    assert bool(torch.isfinite(a.grad).all())


def test_beyond_its_range_a_kernel_goes_on_along_its_tangent():
    for kernel in (Kernel("exponential", width=1.0), KERNELS[3]):
        x = torch.tensor([[3e4]], dtype=torch.float64, requires_grad=True)
        one = torch.ones(1, 1, dtype=torch.float64)
        (slope,) = torch.autograd.grad(disagreement(kernel, x, one).sum(), x)
        more, less = (disagreement(kernel, x.detach() + step, one) for step in (1.0, -1.0))
        assert float((more - less) / 2) == pytest.approx(float(slope), rel=1e-6)
        assert float(more) > float(less)


@pytest.mark.parametrize("ids", [None, [0, 1, 2, 0, 4, 1, 6, 7, 8]])
def test_cross_entropy_of_cosines_is_info_nce(ids):
    za, zb = draw()
    ids = None if ids is None else torch.tensor(ids)
    logits = similarity_logits(Kernel("cosine"), za, zb) / 0.2
    dense = partner_cross_entropy(logits, ids_a=ids)
    tiled = info_nce(za, zb, temperature=0.2, ids_a=ids)
    assert dense.item() == pytest.approx(tiled.item(), rel=1e-10)
    assert partner_cross_entropy(torch.zeros(5, 5)).item() == pytest.approx(math.log(5))
    with pytest.raises(ShapeError, match=r"\(n, n\); got \(9, 8\)"):
        partner_cross_entropy(logits[:, :8])


def test_whiteness_written_out():
    z, _ = draw()
    n, d = z.shape
    mean = [sum(z[i, k].item() for i in range(n)) / n for k in range(d)]
    sd = [
        math.sqrt(sum((z[i, k].item() - mean[k]) ** 2 for i in range(n)) / (n - 1))
        for k in range(d)
    ]
    total = sum(mean[k] ** 2 + (sd[k] - 1) ** 2 for k in range(d)) / d
    for k in range(d):
        for m in range(d):
            if k != m:
                cov = sum(
                    (z[i, k].item() - mean[k]) * (z[i, m].item() - mean[m]) for i in range(n)
                )
                total += 0.3 / d * (cov / (n - 1) / sd[k] / sd[m]) ** 2
    # 1e-8 is added to the variances.
    assert whiteness(z, decorrelation=0.3).item() == pytest.approx(total, rel=1e-6)
    white = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]) * math.sqrt(3) / 2
    assert whiteness(white).item() == pytest.approx(0, abs=1e-6)
    assert whiteness(torch.zeros(5, 3)).item() == pytest.approx(1, abs=1e-3)
    repeated = whiteness(torch.cat([white, white], dim=1), decorrelation=1.0).item()
    assert repeated == pytest.approx(1, abs=1e-5)  # each repeats one other
