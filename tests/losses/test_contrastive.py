import math

import pytest
import torch
from torch import Tensor

from triptych.errors import ParameterError, ShapeError
from triptych.losses.contrastive import alignment, info_nce, uniformity


def draw(n: int, d: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    za, zb = torch.randn(2, n, d, dtype=torch.float64, generator=generator)
    return za, zb


def by_hand(za, zb, temperature, positives):
    """The sum written out; ``positives[i]`` lists the positives of row i."""
    n = len(za)
    cosine = torch.nn.CosineSimilarity(dim=0)
    s = [[math.exp(cosine(a, b) / temperature) for b in zb] for a in za]
    total = 0.0
    for i in range(n):
        row, column = sum(s[i]), sum(s[j][i] for j in range(n))
        for j in positives[i]:
            total -= math.log(s[i][j] / row) / len(positives[i])
            total -= math.log(s[j][i] / column) / len(positives[i])
    return total / (2 * n)


@pytest.mark.parametrize("n", [2, 5])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_equals_the_sum_written_out_by_hand(n, scale):
    za, zb = draw(n)
    expected = by_hand(za, zb, 0.5, [[i] for i in range(n)])
    found = info_nce(scale * za, scale * zb, temperature=0.5)
    assert found.item() == pytest.approx(expected, rel=1e-10)


def test_duplicates_on_either_side_are_positives():
    za, zb = draw(5)
    ids_a, ids_b = torch.tensor([7, 7, 3, 4, 5]), torch.tensor([0, 1, 2, 3, 2])
    positives = [[0, 1], [0, 1], [2, 4], [3], [2, 4]]
    expected = by_hand(za, zb, 0.3, positives)
    found = info_nce(za, zb, temperature=0.3, ids_a=ids_a, ids_b=ids_b)
    assert found.item() == pytest.approx(expected, rel=1e-10)
    # Each side alone counts only its own duplicates.
    only_a = by_hand(za, zb, 0.3, [[0, 1], [0, 1], [2], [3], [4]])
    assert info_nce(za, zb, temperature=0.3, ids_a=ids_a).item() == pytest.approx(only_a)


def test_unique_ids_give_the_plain_form():
    za, zb = draw(6)
    ids = torch.arange(6)
    plain = info_nce(za, zb)
    assert info_nce(za, zb, ids_a=ids, ids_b=ids + 9).item() == pytest.approx(plain.item())


def test_floor_with_duplicates_is_the_log_of_their_number():
    z = torch.eye(4, dtype=torch.float64)[[0, 0, 1, 1]]
    ids = torch.tensor([0, 0, 1, 1])
    found = info_nce(z, z, temperature=0.01, ids_a=ids)
    assert found.item() == pytest.approx(math.log(2), abs=1e-12)


def test_equal_rows_give_log_n():
    assert info_nce(torch.ones(8, 3), torch.ones(8, 3)).item() == pytest.approx(math.log(8))


def test_gradient_reaches_a_learnt_temperature():
    za, zb = draw(5)
    log_t = torch.tensor(-1.0, dtype=torch.float64, requires_grad=True)
    info_nce(za, zb, temperature=log_t.exp()).backward()
    step = 1e-6
    slope = (
        info_nce(za, zb, temperature=math.exp(-1 + step))
        - info_nce(za, zb, temperature=math.exp(-1 - step))
    ) / (2 * step)
    assert log_t.grad is not None
    assert log_t.grad.item() == pytest.approx(slope.item(), rel=1e-6)


def test_logits_are_float32_under_autocast():
    za, zb = (z.float() for z in draw(6, 16))
    expected = info_nce(za, zb)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = info_nce(za, zb)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
    assert info_nce(za.bfloat16(), zb.bfloat16()).dtype == torch.float32


def test_names_both_shapes_when_rows_do_not_pair():
    with pytest.raises(ShapeError, match=r"za \(8, 3\) and zb \(7, 3\)"):
        info_nce(torch.ones(8, 3), torch.ones(7, 3))
    with pytest.raises(ShapeError, match="n >= 2"):
        info_nce(torch.ones(1, 3), torch.ones(1, 3))
    with pytest.raises(ShapeError, match=r"ids_b must be \(8,\), got \(7,\)"):
        info_nce(torch.ones(8, 3), torch.ones(8, 3), ids_b=torch.arange(7))
    with pytest.raises(ParameterError, match="temperature"):
        info_nce(torch.ones(8, 3), torch.ones(8, 3), temperature=0.0)


def test_alignment_is_the_mean_squared_distance_of_unit_vectors():
    za, zb = draw(5)
    expected = sum(
        ((a / a.norm() - b / b.norm()) ** 2).sum().item() for a, b in zip(za, zb, strict=True)
    )
    assert alignment(za, zb).item() == pytest.approx(expected / 5)
    assert alignment(za, -za).item() == pytest.approx(4)


def test_uniformity_is_the_log_mean_potential_of_pairs():
    z, _ = draw(5)
    unit = [row / row.norm() for row in z]
    pairs = [
        math.exp(-2 * ((unit[i] - unit[j]) ** 2).sum().item()) for i in range(5) for j in range(i)
    ]
    assert uniformity(z).item() == pytest.approx(math.log(sum(pairs) / len(pairs)))
    assert uniformity(torch.ones(4, 3)).item() == pytest.approx(0, abs=1e-6)
