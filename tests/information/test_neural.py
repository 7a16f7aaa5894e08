"""Neural estimates on laws whose information is known; small networks, a few seconds in all."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from triptych import Training
from triptych.contracts.estimate import Estimate
from triptych.errors import DataError, ParameterError, ShapeError, TriptychError
from triptych.information._neural import DENSITY_BOUNDS, NAMES, SETTINGS, estimate
from triptych.nn.critics import BilinearCritic, ConcatCritic, SeparableCritic
from triptych.nn.densities import AutoregressiveDensity, GaussianDensity

Floats = NDArray[np.float64]

FAST = replace(SETTINGS, batch_size=64, learning_rate=3e-3)
SMALL = {
    bound: AutoregressiveDensity(width=16, depth=1, components=1)
    if bound == "doe"
    else GaussianDensity(width=16, depth=1)
    if bound in ("club", "l1out")
    else SeparableCritic(width=32, depth=1, n_components=8)
    for bound in NAMES
}


def pair(information: float, n: int, d: int = 2, seed: int = 0) -> tuple[Floats, Floats]:
    """Gaussian vectors with so much information, spread evenly over d pairs of columns."""
    rng = np.random.default_rng(seed)
    x, noise = rng.standard_normal((2, n, d))
    square = -math.expm1(-2 * information / d)
    return x, math.sqrt(square) * x + math.sqrt(1 - square) * noise


def quick(x: Floats, y: Floats, bound: str = "infonce", steps: int = 250, **more) -> Estimate:
    settings = {"critic": SMALL[bound], "training": FAST, "random_state": 0, **more}
    return estimate(x, y, bound=bound, steps=steps, **settings)


@pytest.mark.parametrize("bound", NAMES)
def test_a_gaussian_pair_is_told_to_a_tenth(bound: str) -> None:
    x, y = pair(0.7, 2500)
    found = quick(x, y, bound, steps=400 if bound in DENSITY_BOUNDS else 160)
    assert found.unit == "nats" and found.estimator == NAMES[bound]
    assert found.n_samples == 960  # fifteen batches of 64 out of 1000 rows
    truth = 0.7
    if bound == "club":  # its own truth is KL both ways: d ρ² / (1 - ρ²)
        truth = 2 * math.expm1(0.7)
    # The critic has seen 1250 rows: a tenth of a nat beside three standard errors.
    assert found.value == pytest.approx(truth, abs=0.1 + 3 * found.standard_error)
    assert 0 < found.standard_error < 0.15
    low, high = found.interval
    assert low < found.value < high
    assert "15 held-out batches" in found.interval_kind


@pytest.mark.parametrize("bound", NAMES)
def test_independent_variables_have_none_and_nothing_is_clipped(bound: str) -> None:
    values = []
    for seed in range(2):
        x, _ = pair(1, 600, seed=seed)
        _, y = pair(1, 600, seed=seed + 100)
        found = quick(x, y, bound, steps=40, random_state=seed)
        values.append(found.value)
        # 300 rows to train on: what was memorised costs on held-out pairs, and is not hidden.
        assert abs(found.value) < 0.08 + 3 * found.standard_error
    assert len(set(values)) == 2 and 0.0 not in values


def test_the_same_seed_gives_the_same_number_and_another_another() -> None:
    x, y = pair(0.7, 400)
    first, again, other = (quick(x, y, steps=20, random_state=s) for s in (3, 3, 4))
    assert first == again
    assert first.value != other.value


def test_mine_holds_its_running_mean_anew_in_every_call() -> None:
    x, y = pair(0.7, 400)
    assert quick(x, y, "mine", steps=20) == quick(x, y, "mine", steps=20)


def test_scale_and_shift_of_columns_do_not_matter() -> None:
    x, y = pair(0.7, 400)
    plain = quick(x, y, steps=20)
    moved = quick(x * [1e6, 1e-6] + [5, -1e3], 3 - y, steps=20)
    mirrored = quick(x, -y, steps=20)
    # Standardised in float64 and rounded to float32 once.
    assert moved.value == pytest.approx(mirrored.value, abs=1e-3)
    assert plain.value == pytest.approx(mirrored.value, abs=0.2)


def test_ranks_tame_tails_and_cubes_are_no_obstacle() -> None:
    x, y = pair(0.7, 1500)
    straight = quick(x, y, scale="ranks", steps=60)
    bent = quick(np.sinh(4 * x), y**3, scale="ranks", steps=60)
    assert bent.value == pytest.approx(straight.value, abs=1e-3)  # same ranks; float rounding
    assert not any("tails" in w for w in bent.warnings)
    wild = quick(np.sinh(4 * x), y**3, steps=10)
    assert any('scale="ranks"' in w for w in wild.warnings)


def test_a_joint_critic_sees_what_a_bilinear_one_cannot() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1500, 1))
    y = x**2 + 0.3 * rng.standard_normal((1500, 1))
    joint = quick(x, y, critic=ConcatCritic(width=32), steps=150)
    linear = quick(x, y, critic=BilinearCritic(), steps=150)
    assert joint.value > 0.6
    assert abs(linear.value) < 0.1  # uncorrelated


def test_infonce_warns_near_its_cap_and_never_exceeds_it() -> None:
    x, y = pair(12, 800, d=4)
    found = quick(x, y, training=replace(FAST, batch_size=16), steps=400)
    assert found.value <= math.log(16)
    assert any("cap log(16) = 2.77" in w for w in found.warnings)
    calm = quick(*pair(0.3, 800), training=replace(FAST, batch_size=64), steps=30)
    assert not any("cap" in w for w in calm.warnings)


def test_exponential_bounds_warn_where_few_pairs_decide() -> None:
    x, y = pair(9, 800, d=2)
    found = quick(x, y, "nwj", steps=400)
    assert any("rests on about" in w for w in found.warnings)
    assert not any("rests on" in w for w in quick(*pair(0.3, 800), "nwj", steps=30).warnings)


@pytest.mark.parametrize(
    ("bound", "words"),
    [("club", "only if the density"), ("doe", "neither a lower"), ("smile", "neither a lower")],
)
def test_what_is_no_bound_says_so(bound: str, words: str) -> None:
    found = quick(*pair(0.3, 300), bound, steps=5)
    assert any(words in w for w in found.warnings)


def test_few_rows_are_read_in_smaller_batches_and_fewer_refused() -> None:
    x, y = pair(0.5, 160)
    found = quick(x, y, steps=5)
    assert any("read in batches of 8" in w for w in found.warnings)
    with pytest.raises(DataError, match=r"at least 160 rows.* got 159"):
        quick(x[:159], y[:159])


def test_constants_say_nothing() -> None:
    x, y = pair(0.5, 300)
    nothing = quick(np.ones(300), y)
    assert nothing.value == 0 and nothing.standard_error == 0
    assert any("x is constant" in w for w in nothing.warnings)
    beside = quick(np.column_stack([x, np.full(300, 7.0)]), y, steps=5)
    assert any("1 constant columns of x" in w for w in beside.warnings)


def test_a_column_constant_but_for_one_row_is_survived() -> None:
    x, y = pair(0.5, 300)
    for row in (0, 150):
        x = np.zeros((300, 1))
        x[row] = 1
        assert math.isfinite(quick(x, y, steps=5).value)


def test_repeated_pairs_are_reported() -> None:
    x, y = pair(0.5, 200)
    twice = quick(np.concatenate([x, x]), np.concatenate([y, y]), steps=5)
    assert any("200 of 400 pairs repeat" in w for w in twice.warnings)


def test_integers_booleans_and_single_columns_are_taken() -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 4, 400)
    found = quick(x, x >= 2, steps=150)
    # One bit, and 160 held-out rows.
    assert found.value == pytest.approx(math.log(2), abs=0.1)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (
            np.zeros((200, 2, 2)),
            np.zeros(200),
            r"x: expected numbers \(n, p\).* got shape \(200, 2, 2\)",
        ),
        (np.zeros((200, 0)), np.zeros(200), r"got shape \(200, 0\)"),
        (np.zeros(200), np.zeros(199), "200 of x and 199 of y"),
        (np.array(["a"] * 200), np.zeros(200), "x: expected real numbers"),
        (np.zeros(200), np.full(200, np.nan), "y: expected finite numbers, got nan at row 0"),
        (
            np.zeros(200),
            np.r_[np.zeros(199), np.inf],
            "y: expected finite numbers, got inf at row 199",
        ),
    ],
)
def test_bad_data_are_named(x: Floats, y: Floats, message: str) -> None:
    with pytest.raises(DataError, match=message):
        quick(x, y)
    assert issubclass(ShapeError, TriptychError)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bound": "nope"}, "bound: expected one of 'infonce'"),
        ({"bound": "club", "critic": SeparableCritic()}, "'club' takes the recipe of a density"),
        ({"critic": GaussianDensity()}, "'infonce' takes the recipe of a critic"),
        ({"critic": SeparableCritic}, "a recipe such as .* got the class SeparableCritic"),
        ({"critic": 3}, "critic: expected a recipe"),
        ({"steps": 0}, "steps: expected a whole number >= 1"),
        ({"scale": "log"}, "scale: expected one of"),
        ({"clip": -1}, "clip: expected a number > 0"),
        ({"random_state": -1}, "random_state"),
    ],
)
def test_bad_settings_are_named(settings: dict, message: str) -> None:
    x, y = pair(0.5, 200)
    with pytest.raises(ParameterError, match=message):
        estimate(x, y, **settings)


def test_patience_and_other_settings_of_training_are_obeyed() -> None:
    x, y = pair(0.5, 400)
    found = quick(x, y, training=Training(batch_size=32, patience=2, learning_rate=0.03))
    assert int(found.reason.split("epoch ")[1].split(" of ")[0]) < 36
    assert "in batches of 20" in found.reason
