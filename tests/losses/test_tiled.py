"""Tiled losses against dense float64 formulas, differentiated by autograd."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from triptych.errors import ParameterError, ShapeError, TrainingError
from triptych.losses import pairs, softmax, tiled
from triptych.losses.contrastive import info_nce
from triptych.losses.pairs import contrastive_pairs, hinge, sigmoid, triplet

TILE = 16


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    for module in (softmax, tiled):
        monkeypatch.setattr(module, "side", lambda device: TILE)
    assert pairs.one_pass is tiled.one_pass


def draw(n, d=6, seed=0, near=1.0, dtype=torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    za, noise = torch.randn(2, n, d, dtype=torch.float64, generator=generator)
    return za.to(dtype), (near * za + noise).to(dtype)


# -- dense references --------------------------------------------------------------------------


def cosines(za, zb):
    return F.normalize(za, dim=1) @ F.normalize(zb, dim=1).T


def matches(n, ids_a=None, ids_b=None):
    found = torch.eye(n, dtype=torch.bool)
    for ids in (ids_a, ids_b):
        if ids is not None:
            found = found | (ids[:, None] == ids[None, :])
    return found


def distances(za, zb):
    u, v = F.normalize(za, dim=1), F.normalize(zb, dim=1)
    return ((u[:, None] - v[None, :]).square().sum(-1) + 1e-300).sqrt()


def dense_info_nce(za, zb, match, temperature, bias):
    x = cosines(za, zb) / temperature
    weights = match.to(x) / match.sum(1, keepdim=True)
    return (F.cross_entropy(x, weights) + F.cross_entropy(x.T, weights)) / 2


def dense_sigmoid(za, zb, match, temperature, bias):
    x = cosines(za, zb) / temperature + bias
    return -F.logsigmoid(torch.where(match, x, -x)).sum() / len(za)


def dense_hinge(za, zb, match, temperature, bias):
    s = cosines(za, zb)
    own = s.diagonal()
    by_row, by_col = F.relu(0.2 - own[:, None] + s), F.relu(0.2 - own[None, :] + s)
    return by_row[~match].sum() + by_col[~match].sum()


def dense_hardest(za, zb, match, temperature, bias):
    s = cosines(za, zb)
    own = s.diagonal()
    others = s.masked_fill(match, -torch.inf)
    costs = [F.relu(0.2 - own + others.max(dim).values) for dim in (0, 1)]
    return sum(c.sum() for c in costs)


def dense_pairs(za, zb, match, temperature, bias):
    D = distances(za, zb)
    others = F.relu(0.7 - D[~match]).square() / 2
    return (D[match].square() / 2).mean() + (others.mean() if len(others) else 0)


def dense_triplet(za, zb, match, temperature, bias, mining="all"):
    D = distances(za, zb)
    costs = []
    for i in range(len(za)):
        for k in range(len(za)):
            if not match[i, k]:
                for far in (D[i, k], D[k, i]):
                    cost = 0.4 + D[i, i] - far
                    if cost > 0 and (mining == "all" or far > D[i, i]):
                        costs.append(cost)
    return torch.stack(costs).mean() if costs else D.sum() * 0


def dense_triplet_hardest(za, zb, match, temperature, bias):
    D = distances(za, zb)
    near = D.masked_fill(match, torch.inf)
    costs = torch.cat([F.relu(0.4 + D.diagonal() - near.min(dim).values) for dim in (1, 0)])
    return costs.mean()


LOSSES = {
    "info_nce": (dense_info_nce, lambda a, b, t, c, **ids: info_nce(a, b, temperature=t, **ids)),
    "sigmoid": (
        dense_sigmoid,
        lambda a, b, t, c, **ids: sigmoid(a, b, temperature=t, bias=c, **ids),
    ),
    "hinge": (dense_hinge, lambda a, b, t, c, **ids: hinge(a, b, **ids)),
    "hardest": (dense_hardest, lambda a, b, t, c, **ids: hinge(a, b, hardest=True, **ids)),
    "pairs": (dense_pairs, lambda a, b, t, c, **ids: contrastive_pairs(a, b, margin=0.7, **ids)),
    "triplet": (dense_triplet, lambda a, b, t, c, **ids: triplet(a, b, margin=0.4, **ids)),
    "semihard": (
        lambda *args: dense_triplet(*args, mining="semihard"),
        lambda a, b, t, c, **ids: triplet(a, b, margin=0.4, mining="semihard", **ids),
    ),
    "nearest": (
        dense_triplet_hardest,
        lambda a, b, t, c, **ids: triplet(a, b, margin=0.4, mining="hardest", **ids),
    ),
}


def value_and_gradients(loss, za, zb, scale, bias, *more, dtype=torch.float64, **ids):
    leaves = [x.detach().to(dtype).requires_grad_() for x in (za, zb, scale, bias)]
    value = loss(leaves[0], leaves[1], *more, 1 / leaves[2], leaves[3], **ids)
    value.backward()
    value = value.detach()
    return [value, *(x.grad if x.grad is not None else torch.zeros_like(x) for x in leaves)]


def compare(name, za, zb, scale=10.0, bias=-2.0, dtype=torch.float64, tolerance=None, **ids):
    # 1e-10 and 1e-5 of the largest entry are what the losses promise in their types.
    tolerance = tolerance or (1e-10 if dtype == torch.float64 else 1e-5)
    dense, ours = LOSSES[name]
    scale, bias = (torch.tensor(v, dtype=torch.float64) for v in (scale, bias))
    expected = value_and_gradients(
        lambda a, b, t, c: dense(a, b, matches(len(za), **ids), t, c),
        za.double(), zb.double(), scale, bias,
    )  # fmt: skip
    found = value_and_gradients(ours, za, zb, scale, bias, dtype=dtype, **ids)
    for f, e in zip(found, expected, strict=True):
        assert f.dtype == dtype
        size = max(float(e.abs().max()), 1e-3)
        assert float((f.double() - e).abs().max()) <= tolerance * size


# -- equal to the dense form -------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("n", [2, 3, TILE, 2 * TILE, 45])
def test_value_and_gradients_in_double_precision(name, n):
    za, zb = draw(n)
    compare(name, za, zb)


@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradients_in_single_precision(name):
    # Codes rounded first, so that both forms start from the same numbers.
    za, zb = draw(45, dtype=torch.float32)
    compare(name, za, zb, dtype=torch.float32)


@pytest.mark.parametrize("name", LOSSES)
def test_rows_of_equal_content(name):
    za, zb = draw(40)
    generator = torch.Generator().manual_seed(1)
    ids_a, ids_b = torch.randint(0, 15, (2, 40), generator=generator)
    compare(name, za, zb, ids_a=ids_a, ids_b=ids_b)
    compare(name, za, zb, ids_b=ids_b)


@pytest.mark.parametrize("name", LOSSES)
def test_ids_that_all_differ_change_nothing(name):
    za, zb = draw(20)
    compare(name, za, zb, ids_a=torch.randperm(20, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("name", ["info_nce", "sigmoid"])
@pytest.mark.parametrize("scale", [1.0, 100.0, 5000.0])
@pytest.mark.parametrize("near", [1.0, -3.0])
def test_any_scale(name, scale, near):
    # near = -3: partners point apart, so that the largest logit of a row is far below the scale.
    za, zb = draw(37, near=near)
    compare(name, za, zb, scale=scale)


def test_scale_one_hundred_in_single_precision():
    # Rounding of cosines, 6e-8 / sqrt(d) of 1, is multiplied by 100.
    za, zb = draw(37, d=64, dtype=torch.float32)
    compare("info_nce", za, zb, scale=100.0, dtype=torch.float32)
    compare("sigmoid", za, zb, scale=100.0, dtype=torch.float32)


def test_logits_outside_the_range_of_exponentials():
    # All cosines near -1: sums below what one shift for all can hold in float32.
    generator = torch.Generator().manual_seed(0)
    za = torch.tensor([1.0, 0, 0]) + 0.05 * torch.randn(20, 3, generator=generator)
    zb = -za + 0.05 * torch.randn(20, 3, generator=generator)
    a, b = tiled.Sphere(za), tiled.Sphere(zb)
    assert softmax._shifted_sums(a, b, 100.0, 0) is None
    # Logits of -100 are rounded to 4e-6; the derivative by the scale, 0.01 here, is a difference
    # of cosines near -1 weighted by probabilities that are wrong by as much.
    compare("info_nce", za, zb, scale=100.0, dtype=torch.float32, tolerance=4e-4)


@pytest.mark.parametrize("keep", [0, 2 * TILE * 45 * 8, 1 << 30])
def test_kept_exponentials_change_nothing(monkeypatch, keep):
    monkeypatch.setattr(softmax, "CACHE_BYTES", keep)
    za, zb = draw(45)
    compare("info_nce", za, zb)


@pytest.mark.parametrize("name", LOSSES)
def test_duplicate_rows(name):
    za, zb = draw(30)
    za[7], zb[7] = za[3], zb[3]
    # Ties of the hardest negative are broken by choice, so only the value is defined there;
    # whether a duplicate is farther than the partner is for rounding to say ("semihard").
    if name == "semihard":
        assert torch.isfinite(LOSSES[name][1](za, zb, 0.1, 0.0))
    elif name in ("hardest", "nearest"):
        dense, ours = LOSSES[name]
        expected = dense(za, zb, matches(30), None, None)
        assert ours(za, zb, 0.1, 0.0).item() == pytest.approx(expected.item(), rel=1e-12)
    else:
        compare(name, za, zb)


@pytest.mark.parametrize("name", LOSSES)
def test_a_graph_kept_is_walked_twice(name):
    za, zb = draw(20)
    za.requires_grad_()
    value = LOSSES[name][1](za, zb, torch.tensor(0.2, dtype=torch.float64), torch.zeros(()))
    (first,) = torch.autograd.grad(value, za, retain_graph=True)
    first = first.clone()
    (second,) = torch.autograd.grad(3 * value, za)
    torch.testing.assert_close(second, 3 * first)


@pytest.mark.parametrize("name", LOSSES)
def test_without_gradients_none_are_computed(name, monkeypatch):
    def fail(*args):
        raise AssertionError("a gradient was worked out")

    za, zb = draw(20)
    expected = LOSSES[name][1](za, zb, 0.2, 0.0).item()
    monkeypatch.setattr(tiled.Sphere, "pull_back_", fail)
    with torch.no_grad():
        assert LOSSES[name][1](za.requires_grad_(), zb, 0.2, 0.0).item() == expected


# -- known values ------------------------------------------------------------------------------


def test_sigmoid_of_unrelated_codes_at_the_published_start():
    z = torch.eye(12, dtype=torch.float64)
    value = sigmoid(z[:6], z[6:], temperature=0.1, bias=-10.0)
    expected = math.log1p(math.exp(10)) + 5 * math.log1p(math.exp(-10))
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_a_constant_code_costs_the_margin():
    # Collapse: every negative is as near as the partner.
    z = torch.ones(5, 3)
    assert hinge(z, z).item() == pytest.approx(2 * 5 * 4 * 0.2, rel=1e-5)
    assert hinge(z, z, hardest=True).item() == pytest.approx(2 * 5 * 0.2, rel=1e-5)
    assert triplet(z, z).item() == pytest.approx(0.2, rel=1e-5)
    # A cosine is rounded to 6e-8, so a distance of 0 to 3.5e-4, times the slope of 0.5.
    assert contrastive_pairs(z, z, margin=0.5).item() == pytest.approx(0.125, abs=2e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_coinciding_rows_have_finite_gradients(name):
    z = torch.ones(4, 3, requires_grad=True)
    LOSSES[name][1](z, z.detach().clone(), 0.1, 0.0).backward()
    assert torch.isfinite(z.grad).all()


@pytest.mark.parametrize("name", LOSSES)
def test_a_zero_row_has_no_gradient_and_spoils_none(name):
    za, zb = draw(20)
    za[4] = 0
    a, b = za.requires_grad_(), zb.requires_grad_()
    value = LOSSES[name][1](a, b, torch.tensor(0.2, dtype=torch.float64), torch.zeros(()))
    value.backward()
    assert torch.isfinite(value)
    assert (a.grad[4] == 0).all()
    assert torch.isfinite(a.grad).all() and torch.isfinite(b.grad).all()
    assert b.grad.abs().max() > 0


@pytest.mark.parametrize("name", ["hinge", "hardest", "triplet", "semihard", "nearest"])
def test_without_negatives_a_hinge_is_zero(name):
    za, zb = draw(6)
    value = LOSSES[name][1](za.requires_grad_(), zb, 0.1, 0.0, ids_a=torch.zeros(6).long())
    value.backward()
    assert value.item() == 0
    assert (za.grad == 0).all()


def test_half_precision_is_worked_in_single():
    za, zb = draw(20, dtype=torch.bfloat16)
    for name, (_, ours) in LOSSES.items():
        with torch.autocast("cpu", dtype=torch.bfloat16):
            value = ours(za, zb, 0.1, 0.0)
        assert value.dtype == torch.float32, name
        assert value.item() == pytest.approx(ours(za.float(), zb.float(), 0.1, 0.0).item())


# -- refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOSSES)
def test_shapes_are_named(name):
    ours = LOSSES[name][1]
    with pytest.raises(ShapeError, match=r"za \(8, 3\) and zb \(7, 3\)"):
        ours(torch.ones(8, 3), torch.ones(7, 3), 0.1, 0.0)
    with pytest.raises(ShapeError, match="n >= 2"):
        ours(torch.ones(1, 3), torch.ones(1, 3), 0.1, 0.0)
    with pytest.raises(ShapeError, match=r"ids_a must be \(8,\), got \(3,\)"):
        ours(torch.ones(8, 3), torch.ones(8, 3), 0.1, 0.0, ids_a=torch.arange(3))
    with pytest.raises(ShapeError, match=r"za is torch\.int64"):
        ours(torch.ones(8, 3).long(), torch.ones(8, 3), 0.1, 0.0)


def test_parameters_are_named():
    z = torch.ones(4, 3)
    with pytest.raises(ParameterError, match="margin"):
        hinge(z, z, margin=0.0)
    with pytest.raises(ParameterError, match="mining"):
        triplet(z, z, mining="hard")
    with pytest.raises(ParameterError, match="margin"):
        contrastive_pairs(z, z, margin=2.5)
    with pytest.raises(ShapeError, match="one bias"):
        sigmoid(z, z, bias=torch.zeros(2))
    with pytest.raises(ShapeError, match="one temperature"):
        sigmoid(z, z, temperature=torch.ones(2))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_codes_that_are_not_finite_are_named(name, bad):
    # A hardest negative among NaN is none, and a loss without negatives is 0.
    ours = LOSSES[name][1]
    za, zb = draw(5, dtype=torch.float32)
    for rows, row in ((slice(None), 0), (slice(3, 4), 3)):
        broken = zb.clone()
        broken[rows, 1] = bad
        with pytest.raises(TrainingError, match=f"zb, row {row}: codes are not finite"):
            ours(za, broken, 0.1, 0.0)
    # Finite codes whose sum is not: no reason to refuse.
    assert math.isfinite(float(ours(torch.full_like(zb, 3e37), zb, 0.1, 0.0)))


@pytest.mark.parametrize("value", [0.0, -0.1, math.nan])
def test_a_temperature_without_meaning_is_refused_as_a_tensor_too(value):
    za, zb = draw(5)
    for loss in (info_nce, sigmoid):
        with pytest.raises(ParameterError, match="temperature: expected a number > 0"):
            loss(za, zb, temperature=torch.tensor(value))
    with pytest.raises(ParameterError, match="bias"):
        sigmoid(za, zb, bias=torch.tensor(math.nan))
