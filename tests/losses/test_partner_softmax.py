"""InfoNCE of any similarity on tiles, against dense float64 formulas and their gradients."""

import math

import pytest
import torch
import torch.nn.functional as F

from triptych.errors import ShapeError, TrainingError
from triptych.losses import partner_softmax
from triptych.losses.partner_softmax import similarity_info_nce
from triptych.similarity import Kernel

TILE = 16
KERNELS = (
    Kernel("cosine"),
    Kernel("centred_cosine"),
    Kernel("linear"),
    Kernel("polynomial", degree=3, gamma=0.5, offset=1.0),
    Kernel("exponential", width=1.5),
    Kernel("rbf", width=1.5),
    Kernel("laplacian", gamma=0.3),
)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(partner_softmax, "side", lambda device: TILE)


@pytest.fixture
def never_whole(monkeypatch):
    """No logits larger than a tile."""
    whole = partner_softmax.similarity_logits
    sizes = []

    def watched(kernel, a, b):
        sizes.append(max(len(a), len(b)))
        return whole(kernel, a, b)

    monkeypatch.setattr(partner_softmax, "similarity_logits", watched)
    yield
    assert sizes
    assert max(sizes) <= TILE


def draw(n, d=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    za, noise = torch.randn(2, n, d, dtype=torch.float64, generator=generator)
    return za, za + noise


def written_out(kernel, za, zb, factor, match):
    """The formula with the whole matrix."""
    if kernel.name == "centred_cosine":
        za, zb = (z - z.mean(1, keepdim=True) for z in (za, zb))
    if "cosine" in kernel.name:
        za, zb = F.normalize(za, dim=1), F.normalize(zb, dim=1)
    gaps = za[:, None] - zb[None]
    x = {
        "polynomial": lambda: (kernel.gamma * za @ zb.T + kernel.offset) ** kernel.degree,
        "exponential": lambda: za @ zb.T / kernel.width**2,
        "rbf": lambda: -gaps.square().sum(-1) / (2 * kernel.width**2),
        "laplacian": lambda: -kernel.gamma * gaps.abs().sum(-1),
    }.get(kernel.name, lambda: za @ zb.T)() * factor
    q = match.double() / match.sum(1, keepdim=True)
    return -((q * x.log_softmax(1)).sum() + (q * x.T.log_softmax(1)).sum()) / (2 * len(za))


def value_and_gradients(loss, za, zb, factor, dtype=torch.float64):
    leaves = [
        torch.as_tensor(t, dtype=torch.float64).detach().to(dtype).requires_grad_()
        for t in (za, zb, factor)
    ]
    value = loss(*leaves)
    return [value.detach(), *torch.autograd.grad(value, leaves)]


def compare(kernel, za, zb, factor=1.3, dtype=torch.float64, tolerance=1e-10, **ids):
    match = torch.eye(len(za), dtype=torch.bool)
    for given in ids.values():
        match = match | (given[:, None] == given[None])
    expected = value_and_gradients(
        lambda a, b, s: written_out(kernel, a, b, s, match), za, zb, factor
    )
    found = value_and_gradients(
        lambda a, b, s: similarity_info_nce(kernel, a, b, factor=s, **ids), za, zb, factor, dtype
    )
    for f, e in zip(found, expected, strict=True):
        assert f.dtype == dtype
        size = max(float(e.abs().max()), 1e-3)
        assert float((f.double() - e).abs().max()) <= tolerance * size


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
@pytest.mark.parametrize("n", [2, TILE, TILE + 1, 45])
def test_value_and_gradients(kernel, n, never_whole):
    compare(kernel, *draw(n))


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_value_and_gradients_in_single_precision(kernel, never_whole):
    # Cubes of inner products near 10 are logits near 1,000 with 7 digits.
    tolerance = 1e-3 if kernel.name == "polynomial" else 2e-5
    compare(kernel, *draw(45), dtype=torch.float32, tolerance=tolerance)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_rows_of_equal_content_and_rows_that_coincide(kernel, never_whole):
    za, zb = draw(45)
    ids_a, ids_b = torch.arange(45) // 2, torch.arange(45) % 40
    compare(kernel, za, zb, ids_a=ids_a, ids_b=ids_b)
    za[20:40], zb[3] = za[:20].clone(), zb[41]
    if kernel.name != "laplacian":  # whose slope jumps there; both sides of the jump are one
        zb[7] = za[30]
    compare(kernel, za, zb, ids_b=ids_b)


@pytest.mark.parametrize("factor", [1e-3, 100.0, 1e4])
@pytest.mark.parametrize("kernel", [Kernel("linear"), Kernel("rbf", width=1.5)], ids=str)
def test_any_scale(kernel, factor, never_whole):
    compare(kernel, *draw(37), factor=factor)


def test_large_logits_keep_the_digits_of_their_differences(never_whole):
    # Near 16,384 float32 has steps of 0.002. The logits here are multiples of 1/64 all the same;
    # had their log-sums been rounded to such steps, weights would be off by 0.1 %.
    za, zb = ((8 * z).round() / 8 for z in draw(40))
    za[:, 0], zb[:, 0] = 128.0, 128.0

    def both(loss, dtype):
        found = value_and_gradients(loss, za, zb, 1.0, dtype)
        # Along the constant column, and by the factor, 16,384 times nothing is summed.
        return [found[0], found[1][:, 1:], found[2][:, 1:]]

    plain, match = Kernel("linear"), torch.eye(40, dtype=torch.bool)
    expected = both(lambda a, b, s: written_out(plain, a, b, s, match), torch.float64)
    found = both(lambda a, b, s: similarity_info_nce(plain, a, b, factor=s), torch.float32)
    for f, e in zip(found, expected, strict=True):
        assert float((f.double() - e).abs().max()) <= 2e-6 * float(e.abs().max())


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: k.name)
def test_zero_rows_and_equal_rows_stay_finite(kernel, never_whole):
    za, zb = (z.float() for z in draw(40))
    za[5], zb[5], za[9], zb[9] = 0, 0, 2.0, 2.0
    for found in value_and_gradients(
        lambda a, b, s: similarity_info_nce(kernel, a, b, factor=s), za, zb, 1.0, torch.float32
    ):
        assert bool(torch.isfinite(found).all())
    equal = torch.ones(40, 3)
    assert float(similarity_info_nce(kernel, equal, equal)) == pytest.approx(
        math.log(40), rel=1e-6
    )


def test_a_graph_kept_is_walked_twice():
    za, zb = (z.requires_grad_() for z in draw(40))
    loss = similarity_info_nce(Kernel("rbf", width=1.0), za, zb) * 3
    first = torch.autograd.grad(loss, (za, zb), retain_graph=True)
    for one, other in zip(first, torch.autograd.grad(loss, (za, zb)), strict=True):
        assert torch.equal(one, other)


def test_refused():
    with pytest.raises(ShapeError, match=r"za \(8, 3\) and zb \(7, 3\)"):
        similarity_info_nce(Kernel("linear"), torch.ones(8, 3), torch.ones(7, 3))
    for n in (TILE, 40):
        with pytest.raises(ShapeError, match=rf"ids_a must be \({n},\), got \(3,\)"):
            similarity_info_nce(Kernel("linear"), *draw(n), ids_a=torch.arange(3))
    za, zb = draw(40)
    zb[2, 0] = math.nan
    with pytest.raises(TrainingError, match="zb, row 2: codes are not finite"):
        similarity_info_nce(Kernel("linear"), za, zb)
