"""Unrolled clustering and matching, against the equations written with loops."""

import math

import pytest
import torch

from triptych.errors import ParameterError, ShapeError
from triptych.losses import match_hinge, pair_scores, unrolled_clusters
from triptych.losses.clustering import squash, unit

B, P, C, K, D = 3, 7, 5, 4, 2


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def plainly(u, W, iterations, sharpness):
    """Every projected position is made; logits start at 0 and are replaced, not added up."""
    centres, shares = [], []
    for row in u:
        projected = [[W[j] @ u_i for j in range(len(W))] for u_i in row]  # (p, k) of (d,)
        logits = [torch.zeros(len(W), dtype=u.dtype) for _ in row]
        for step in range(iterations):
            share = [torch.exp(b) / torch.exp(b).sum() for b in logits]
            o = [
                sum(share[i][j] * projected[i][j] for i in range(len(row))) for j in range(len(W))
            ]
            if step < iterations - 1:
                logits = [
                    torch.stack(
                        [sharpness * (o[j] / o[j].norm()) @ projected[i][j] for j in range(len(W))]
                    )
                    for i in range(len(row))
                ]
        centres.append(torch.stack(o))
        shares.append(torch.stack(share))
    return torch.stack(centres), torch.stack(shares)


@pytest.mark.parametrize(("iterations", "sharpness"), [(1, 1.0), (2, 1.0), (3, 4.0), (5, 0.5)])
def test_equals_the_equations_with_every_projection_made(iterations, sharpness):
    u, W = normal(B, P, C).requires_grad_(), normal(K, D, C, seed=1).requires_grad_()
    found = unrolled_clusters(u, W, iterations=iterations, sharpness=sharpness)
    wanted = plainly(u, W, iterations, sharpness)
    weight = normal(B, K, D, seed=2)
    for ours, plain in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, plain)
    ours = torch.autograd.grad((found[0] * weight).sum(), (u, W))
    plain = torch.autograd.grad((wanted[0] * weight).sum(), (u, W))
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b)


def test_positions_share_among_clusters_and_not_clusters_among_positions():
    _, share = unrolled_clusters(normal(B, P, C), normal(K, D, C, seed=1))
    torch.testing.assert_close(share.sum(2), torch.ones(B, P, dtype=torch.float64))
    assert not torch.allclose(share.sum(1), torch.ones(B, K, dtype=torch.float64), atol=0.1)


def test_positions_that_are_not_there_are_as_if_left_out():
    u, W = normal(1, P, C), normal(K, D, C, seed=1)
    mask = torch.tensor([[True, False, True, True, False, True, False]])
    u_bad = torch.where(mask[..., None], u, 1e6)
    centres, share = unrolled_clusters(u_bad, W, mask)
    alone, of_alone = unrolled_clusters(u[mask][None], W)
    torch.testing.assert_close(centres, alone)
    torch.testing.assert_close(share[mask][None], of_alone)
    assert not share[~mask].any()


def test_equal_projections_keep_all_centres_equal():
    W = normal(1, D, C).expand(K, D, C)
    centres, share = unrolled_clusters(normal(B, P, C, seed=1), W, iterations=5)
    torch.testing.assert_close(centres, centres[:, :1].expand_as(centres))
    torch.testing.assert_close(share, torch.full_like(share, 1 / K))


def test_nothing_but_zeros_has_no_direction_and_finite_gradients():
    u = torch.zeros(2, P, C, requires_grad=True)
    W = normal(K, D, C).float().requires_grad_()
    centres, share = unrolled_clusters(squash(u), W)
    score = pair_scores(centres, normal(2, K, D).float())
    assert not score.any()
    torch.testing.assert_close(share, torch.full_like(share, 1 / K))
    (score.sum() + centres.sum()).backward()
    assert torch.isfinite(u.grad).all()
    assert torch.isfinite(W.grad).all()


def test_squash_shortens_and_keeps_directions():
    u = normal(20, C) * torch.logspace(-8, 3, 20, dtype=torch.float64)[:, None]
    short = squash(u)
    length = u.norm(dim=1)
    torch.testing.assert_close(short.norm(dim=1), torch.tanh(10 * length))
    torch.testing.assert_close(short / short.norm(dim=1, keepdim=True), u / length[:, None])


def test_pair_scores_are_sums_of_cosines():
    a, b = normal(3, K, D), normal(5, K, D, seed=1)
    cosine = torch.nn.CosineSimilarity(dim=0)
    scores = pair_scores(a, b)
    for i in range(3):
        for j in range(5):
            wanted = sum(cosine(a[i, c], b[j, c]) for c in range(K))
            assert scores[i, j].item() == pytest.approx(wanted.item())
    torch.testing.assert_close(pair_scores(a, a).diagonal(), torch.full((3,), float(K)).double())
    torch.testing.assert_close(pair_scores(a, -3 * a).diagonal(), torch.full((3,), -4.0).double())


def test_hinge_is_the_mean_over_wrong_pairs():
    scores = 3 * normal(4, 4)
    wrong = ~torch.eye(4, dtype=torch.bool)
    wrong[0, 2] = False
    pairs = [(i, j) for i in range(4) for j in range(4) if wrong[i, j]]
    wanted = sum(max(0.0, 2 + float(scores[i, j] - scores[j, j])) for i, j in pairs) / len(pairs)
    assert match_hinge(scores, wrong, margin=2).item() == pytest.approx(wanted)
    assert match_hinge(scores, torch.zeros_like(wrong), margin=2).item() == 0


def test_identical_rows_cost_the_margin_and_pull_nowhere():
    centres = normal(1, K, D).expand(6, K, D).clone().requires_grad_()
    loss = match_hinge(
        pair_scores(centres, centres.detach()), ~torch.eye(6, dtype=torch.bool), margin=K
    )
    loss.backward()
    assert loss.item() == pytest.approx(K)
    assert centres.grad.abs().max() < 1e-12


def test_unit_has_no_slope_at_zero():
    o = torch.zeros(2, D, requires_grad=True)
    unit(o).sum().backward()
    assert not o.grad.any()


def test_half_precision_is_widened():
    centres, share = unrolled_clusters(normal(B, P, C).bfloat16(), normal(K, D, C).bfloat16())
    assert centres.dtype == share.dtype == torch.float32
    assert math.isfinite(float(centres.sum()))


def test_what_does_not_fit_is_named():
    with pytest.raises(ShapeError, match=r"got \(3, 7, 5\) and \(4, 2, 6\)"):
        unrolled_clusters(normal(B, P, C), normal(K, D, 6))
    with pytest.raises(ShapeError, match=r"each of \(3, 7\) positions .* got \(3, 6\)"):
        unrolled_clusters(normal(B, P, C), normal(K, D, C), torch.ones(3, 6, dtype=torch.bool))
    with pytest.raises(ParameterError, match="iterations: expected a whole number >= 1"):
        unrolled_clusters(normal(B, P, C), normal(K, D, C), iterations=0)
    with pytest.raises(ShapeError, match="pair_scores"):
        pair_scores(normal(3, K, D), normal(3, K, D + 1))
    with pytest.raises(ShapeError, match="match_hinge"):
        match_hinge(normal(3, 3), torch.ones(3, 2, dtype=torch.bool), margin=1)
