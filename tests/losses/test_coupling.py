"""Couplings of a batch: marginals, information written out, and exact decompositions."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from triptych.datasets.synthetic import logic_gate
from triptych.errors import ShapeError
from triptych.losses.coupling import coupled, information_of, refined

Floats = NDArray[np.float64]

BIT = math.log(2)


def posteriors(n: int, k: int, seed: int = 0, sharp: float = 1.0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    raw = sharp * torch.randn(2, n, k, dtype=torch.float64, generator=g)
    first, second = torch.log_softmax(raw, 2)
    return first, second


def of_table(x: NDArray[np.int64], y: NDArray[np.int64]) -> Tensor:
    """log p(y | x) of every row by counting, zeros as e^-40."""
    rows = [[np.mean(y[x == v] == label) for label in np.unique(y)] for v in x]
    return torch.tensor(rows, dtype=torch.float64).clamp_min(math.exp(-40)).log()


def parts_of(log_q: Tensor) -> tuple[float, float, float]:
    """Redundancy and uniques."""
    both, one, two = (v.item() for v in information_of(log_q))
    return one + two - both, both - two, both - one


@pytest.mark.parametrize("size", [0, 1, 1e4])
def test_the_coupling_has_the_marginals_asked_for(size: float) -> None:
    n, k = 7, 3
    first, second = posteriors(n, k)
    g = torch.Generator().manual_seed(1)
    affinities = min(size, 8) * torch.randn(k, n, n, dtype=torch.float64, generator=g)
    affinities = affinities + size  # a constant changes nothing, however large
    q = coupled(affinities, first, second, rounds=2000, tolerance=1e-9).exp()
    assert q.sum().item() == pytest.approx(1)
    weight = (first.exp().mean(0) + second.exp().mean(0)) / 2
    for sums, log_p in ((q.sum(2).T, first), (q.sum(1).T, second)):
        expected = log_p.exp() / log_p.exp().sum(0) * weight  # (n, k)
        # Columns are scaled last; rows miss by the tolerance.
        torch.testing.assert_close(sums, expected, atol=1e-8, rtol=0)


def test_information_is_the_sum_written_out() -> None:
    first, second = posteriors(5, 2)
    q = coupled(torch.zeros(2, 5, 5, dtype=torch.float64), first, second).exp()
    p = q.permute(1, 2, 0).numpy()  # (x1, x2, y)

    def plain(table: Floats) -> float:
        total = 0.0
        for i in range(table.shape[0]):
            for j in range(table.shape[1]):
                total += table[i, j] * math.log(table[i, j] / (table[i].sum() * table[:, j].sum()))
        return total

    found = [v.item() for v in information_of(q.log())]
    assert found == pytest.approx(
        [plain(p.reshape(25, 2)), plain(p.sum(1)), plain(p.sum(0))], rel=1e-10
    )


def test_refinement_never_raises_the_information() -> None:
    first, second = posteriors(12, 3, sharp=2)
    g = torch.Generator().manual_seed(3)
    log_q = coupled(torch.randn(3, 12, 12, dtype=torch.float64, generator=g), first, second)
    values = []
    for _ in range(30):
        values.append(information_of(log_q)[0].item())
        log_q = refined(log_q, first, second, 1)
    # Sinkhorn stops within 1e-4 of the row sums.
    assert all(b <= a + 1e-4 for a, b in pairwise(values))
    assert values[-1] < values[0] - 0.01
    # More information than either side alone has, always.
    assert min(parts_of(log_q)[1:]) > -1e-6


@pytest.mark.parametrize("gate", ["and", "or", "xor", "copy", "unique"])
def test_refinement_ends_in_the_exact_decomposition_of_gates(gate: str) -> None:
    data = logic_gate(gate, 24, 0, balanced=True)
    a, b = (data.X[m][:, 0].astype(int) for m in ("a", "b"))
    first, second = of_table(a, data.y), of_table(b, data.y)
    start = coupled(torch.zeros(2, 24, 24, dtype=torch.float64), first, second)
    found = parts_of(refined(start, first, second, 100))
    expected = [data.redundancy, data.unique["a"], data.unique["b"]]
    # Alternating steps near a face of the simplex gain like 1 / rounds.
    assert found == pytest.approx([v * BIT for v in expected], abs=2e-3)


def test_refinement_ends_where_an_exact_solver_ends() -> None:
    states = [(0, 0, 0), (0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 1, 1), (2, 0, 1), (2, 1, 1)]
    a, b, y = np.repeat(states, [7, 6, 3, 8, 5, 7, 4], axis=0).T
    first, second = of_table(a, y), of_table(b, y)
    start = coupled(torch.zeros(2, 40, 40, dtype=torch.float64), first, second)
    found = parts_of(refined(start, first, second, 200))
    # Nats, from PID_BROJA of dit 2.3 on the same counts.
    assert found == pytest.approx([0.0614453, 0.2208798, 0.0], abs=2e-3)


def test_extreme_posteriors_give_finite_values_and_gradients() -> None:
    for dtype in (torch.float32, torch.float64):
        log_p = torch.log_softmax(torch.tensor([[2e3, 0.0], [0.0, 2e3], [3e3, 0.0]]), 1).to(dtype)
        never = torch.log_softmax(torch.tensor([[2e3, 0.0]] * 3), 1).to(dtype)
        for first, second in ((log_p, log_p), (log_p, never), (never, never)):
            affinities = torch.zeros(2, 3, 3, dtype=dtype, requires_grad=True)
            least = information_of(coupled(affinities, first, second))[0]
            least.backward()
            assert torch.isfinite(least) and torch.isfinite(affinities.grad).all()


def test_shapes_that_do_not_fit_are_named() -> None:
    first, second = posteriors(5, 2)
    with pytest.raises(ShapeError, match=r"got \(2, 5, 4\), \(5, 2\) and \(5, 2\)"):
        coupled(torch.zeros(2, 5, 4), first, second)
    with pytest.raises(ShapeError, match=r"\(5, 2\) and \(4, 2\)"):
        coupled(torch.zeros(2, 5, 5), first, second[:4])
