"""The batch decomposition: its coupling against exact answers, the whole on hidden gates."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from triptych.datasets.synthetic import logic_gate
from triptych.errors import DataError, ParameterError
from triptych.information._batch import (
    SETTINGS,
    coupled,
    decomposition,
    information_of,
    refined,
)

Floats = NDArray[np.float64]

FAST = replace(SETTINGS, batch_size=128, learning_rate=5e-3)
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


def hidden(bits: NDArray[np.int64], columns: int, seed: int) -> Floats:
    """A coin in many columns: a direction of its own, noise, and a nuisance that is larger."""
    rng = np.random.default_rng(seed)
    n = len(bits)
    own, nuisance = rng.standard_normal((2, 1, columns))
    clean = (2 * bits - 1)[:, None] + 0.2 * rng.standard_normal((n, 1))
    noise = 0.2 * rng.standard_normal((n, columns))
    return clean @ own + 2 * rng.standard_normal((n, 1)) @ nuisance + noise


@pytest.fixture(scope="module", params=["and", "xor", "copy", "unique"])
def case(request: pytest.FixtureRequest) -> tuple:
    data = logic_gate(request.param, 2400, 1)
    a, b = (data.X[m][:, 0].astype(int) for m in ("a", "b"))
    found = decomposition(
        hidden(a, 20, 2),
        hidden(b, 15, 3),
        data.y,
        width=32,
        steps=60,
        training=FAST,
        random_state=0,
    )
    return request.param, data, found


def test_gates_hidden_in_many_columns_are_told_apart(case: tuple) -> None:
    _, data, found = case
    values = [v.to("bits").value for v in found]
    truth = [data.redundancy, *data.unique.values(), data.synergy]
    # Networks of sixty steps on 1200 rows; a tenth of a bit tells every gate from every other.
    assert values == pytest.approx(truth, abs=0.1)


def test_the_four_add_up_to_what_both_tell(case: tuple) -> None:
    _, data, found = case
    total = sum(v.value for v in found)
    # I(x1, x2; y) by labels: entropy of y less a cross-entropy of nearly nothing.
    shares = np.bincount(data.y) / len(data.y)
    entropy = -(shares * np.log(shares)).sum()
    assert total == pytest.approx(entropy, abs=0.05)
    assert found.unique_1.value > -1e-6 and found.unique_2.value > -1e-6
    for part in found:
        low, high = part.interval
        assert low <= part.value <= high and part.unit == "nats"
        assert part.n_samples % 128 == 0


def test_the_same_seed_gives_the_same_numbers() -> None:
    rng = np.random.default_rng(0)
    x1, x2 = rng.standard_normal((2, 300, 3))
    y = x1[:, 0] + x2[:, 0] > 0
    again = [
        decomposition(x1, x2, y, width=8, depth=1, steps=8, training=FAST, random_state=s)
        for s in (1, 1, 2)
    ]
    assert again[0] == again[1]
    assert again[0] != again[2]


def test_labels_may_be_words_and_few_rows_are_said() -> None:
    rng = np.random.default_rng(0)
    x1, x2 = rng.standard_normal((2, 240, 2))
    y = np.where(x1[:, 0] > 0, "up", "down")
    found = decomposition(x1, x2, y, width=8, depth=1, steps=8, random_state=0)
    assert any("read in batches of 16" in w for w in found.redundancy.warnings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.zeros(300)}, "two classes or more, got one"),
        ({"y": np.r_[np.zeros(295), np.ones(5)]}, "at least 10 rows of every class.* got 5 of"),
        ({"y": np.zeros(299)}, "one label for each of 300 rows"),
        ({"x1": np.zeros((299, 2))}, "299 of x1 and 300 of x2"),
        ({"x2": np.full((300, 2), np.nan)}, "'x2'.*NaN at row 0"),
        ({"x1": np.array(["a"] * 300)}, "x1: expected numbers"),
    ],
)
def test_bad_data_are_named(change: dict, message: str) -> None:
    rng = np.random.default_rng(0)
    data = {"x1": rng.standard_normal((300, 2)), "x2": rng.standard_normal((300, 2))}
    data["y"] = data["x1"][:, 0] > 0
    with pytest.raises(DataError, match=message):
        decomposition(**{**data, **change})


def test_too_few_rows_and_bad_settings_are_named() -> None:
    x = np.arange(199.0)
    with pytest.raises(DataError, match=r"at least 200 rows.* got 199"):
        decomposition(x, x, x > 99)
    for name in ("width", "steps", "refine", "depth"):
        with pytest.raises(ParameterError, match=f"{name}: expected a whole number"):
            decomposition(x, x, x > 99, **{name: -1})
