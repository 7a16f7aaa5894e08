"""The batch decomposition on gates hidden in many columns, and on data it must refuse."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from triptych.datasets.synthetic import logic_gate
from triptych.errors import DataError, ParameterError
from triptych.information._batch import SETTINGS, decomposition

Floats = NDArray[np.float64]

FAST = replace(SETTINGS, batch_size=128, learning_rate=5e-3)


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
    data = logic_gate(request.param, 2000, 1)
    a, b = (data.X[m][:, 0].astype(int) for m in ("a", "b"))
    found = decomposition(
        hidden(a, 20, 2),
        hidden(b, 15, 3),
        data.y,
        width=32,
        steps=60,
        affinity_steps=24 if request.param in ("and", "copy") else 0,
        training=FAST,
        random_state=0,
    )
    return request.param, data, found


def test_gates_hidden_in_many_columns_are_told_apart(case: tuple) -> None:
    _, data, found = case
    values = [v.to("bits").value for v in found]
    truth = [data.redundancy, *data.unique.values(), data.synergy]
    # Networks of sixty steps on 1000 rows; a tenth of a bit tells every gate from every other.
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
    assert any("read in batches of 1" in w for w in found.redundancy.warnings)


def test_without_affinities_refinement_alone_finds_the_coupling() -> None:
    data = logic_gate("and", 1200, 1)
    rng = np.random.default_rng(0)
    x1, x2 = (data.X[m] + 0.1 * rng.standard_normal((1200, 3)) for m in ("a", "b"))
    settings = {"width": 32, "steps": 120, "affinity_steps": 0, "training": FAST}
    found = decomposition(x1, x2, data.y, random_state=0, **settings)
    plain = decomposition(x1, x2, data.y, random_state=0, refine=0, **settings)
    # Independent given y, AND has less redundancy and more of its own on either side.
    assert found.redundancy.to("bits").value == pytest.approx(data.redundancy, abs=0.08)
    assert plain.redundancy.value < found.redundancy.value - 0.05


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.zeros(300)}, "two classes or more, got one"),
        ({"y": np.r_[np.zeros(295), np.ones(5)]}, "at least 10 rows of every class.* got 5 of"),
        ({"y": np.zeros(299)}, "one label for each of 300 rows"),
        ({"x1": np.zeros((299, 2))}, "299 of x1 and 300 of x2"),
        ({"x2": np.full((300, 2), np.nan)}, "x2: expected finite numbers, got nan at row 0"),
        ({"x1": np.array(["a"] * 300)}, "x1: expected real numbers"),
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
    for name in ("width", "steps", "refine", "depth", "affinity_steps"):
        with pytest.raises(ParameterError, match=f"{name}: expected a whole number"):
            decomposition(x, x, x > 99, **{name: -1})
