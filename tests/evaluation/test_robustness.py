import math
from types import SimpleNamespace

import numpy as np
import pytest

from triptych.contracts.method import Capabilities
from triptych.errors import CapabilityError, DataError, ParameterError
from triptych.evaluation import robustness
from triptych.evaluation.robustness import (
    drop_modalities,
    missing_curve,
    noise_curve,
    noisy_modalities,
)
from triptych.modalities import Modalities


def three(n=400):
    return Modalities({name: np.zeros((n, 1)) for name in "abc"})


def stacked(X):
    return np.stack([X.present[name] for name in X.names])


def test_every_row_keeps_one_and_the_share_is_as_asked():
    X = three(2000)
    for share in (0.0, 0.3, 0.6, 0.9, 1.0):
        kept = stacked(drop_modalities(X, share))
        assert kept.any(axis=0).all()
        # of three, all are lost with chance share³, and then one comes back
        expected = share - share**3 / 3
        # standard error of 6000 draws 0.0065, five of them
        assert (~kept).mean() == pytest.approx(expected, abs=0.033)


def test_what_is_missing_at_a_small_share_is_missing_at_a_larger():
    X = three()
    kept = [stacked(drop_modalities(X, share, 3)) for share in (0.2, 0.5, 0.8)]
    assert not (kept[1] & ~kept[0]).any()
    assert not (kept[2] & ~kept[1]).any()


def test_absent_stays_absent_and_order_of_modalities_does_not_matter():
    X = three().with_present({"a": np.arange(400) % 2 == 0, "b": np.arange(400) % 4 > 0})
    X = X.with_present({"c": np.arange(400) % 4 == 0})
    less = drop_modalities(X, 0.9, 1)
    for name in "abc":
        assert not (less.present[name] & ~X.present[name]).any()
    assert (stacked(less).any(axis=0) == stacked(X).any(axis=0)).all()
    turned = drop_modalities(X.select("c", "a", "b"), 0.9, 1)
    for name in "abc":
        np.testing.assert_array_equal(turned.present[name], less.present[name])


class Sum:
    """Fusion by the sum of what is present."""

    capabilities = Capabilities(missing_at_transform=True)
    panel = "fusion"
    names_in_ = ("a", "b")

    def transform(self, X):
        return sum(np.where(X.present[m][:, None], X[m], 0) for m in X.names)


def test_redundant_modalities_survive_and_one_that_is_alone_does_not():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 600)
    signal, noise = np.eye(2)[y], np.zeros((600, 2))
    both = Modalities({"a": signal, "b": 2 * signal})
    found = missing_curve(Sum(), both[:300], y[:300], both[300:], y[300:], shares=(0, 0.9))
    assert found.value == (1.0, 1.0)
    one = Modalities({"a": signal, "b": noise})
    found = missing_curve(Sum(), one[:300], y[:300], one[300:], y[300:], shares=(0, 0.9))
    assert found.value[0] == 1
    # a is lost in 0.09 + 0.81 / 2 = 0.495 of the rows, and half of those are guessed right
    assert found.value[1] == pytest.approx(1 - 0.495 / 2, abs=0.1)
    assert found.taken[0] == 0 and found.taken[1] == pytest.approx(0.495, abs=0.02)


def test_accuracy_under_noise_is_that_of_two_normal_classes():
    n = 20_000
    rng = np.random.default_rng(1)
    sign = rng.choice([-1.0, 1.0], n)
    X = Modalities({"a": sign[:, None], "b": np.zeros((n, 1))})
    half = n // 2
    levels = (0.0, 0.5, 1.0, 3.0)
    y = np.where(sign > 0, "up", "down")
    found = noise_curve(Sum(), X[:half], y[:half], X[half:], y[half:], levels=levels)
    assert found.level == levels and found.value[0] == 1
    for level, value in zip(levels[1:], found.value[1:], strict=True):
        # a probe that splits at 0 is right where noise of this spread stays below 1
        right = 0.5 * (1 + math.erf(1 / (level * math.sqrt(2))))
        # four standard errors, and that the split may not be just at 0
        assert value == pytest.approx(right, abs=4 * math.sqrt(0.25 / half) + 0.01)


def test_noise_is_the_same_at_every_level_and_spares_texts_and_absent_rows():
    rng = np.random.default_rng(2)
    words = ["one", "two", "three", "four"]
    X = Modalities(
        {"a": rng.normal(size=(4, 3)), "word": words},
        present={"a": np.array([True, True, True, False])},
    )
    weak, strong = (noisy_modalities(X, level, 5) for level in (0.5, 2.0))
    assert list(strong["word"]) == words and not strong.present["a"][3]
    there = slice(0, 3)
    np.testing.assert_allclose(
        (strong["a"] - X["a"])[there], 4 * (weak["a"] - X["a"])[there], rtol=1e-9
    )
    same = noisy_modalities(X, 0.0)
    np.testing.assert_array_equal(same["a"][there], X["a"][there])
    with pytest.raises(DataError, match="all modalities are texts"):
        noisy_modalities(X.select("word"), 1.0)
    with pytest.raises(ParameterError, match="level"):
        noisy_modalities(X, -1.0)
    with pytest.raises(ParameterError, match="levels"):
        noise_curve(Sum(), X, [0, 1, 0, 1], X, [0, 1, 0, 1], levels=(0, math.nan))
    for levels in (0.5, (), "01"):
        with pytest.raises(ParameterError, match="levels: expected spreads"):
            noise_curve(Sum(), X, [0, 1, 0, 1], X, [0, 1, 0, 1], levels=levels)


def test_columns_are_as_strong_as_in_training_rows_and_few_are_noisy_at_once(monkeypatch):
    rng = np.random.default_rng(3)
    train = Modalities({"a": rng.normal(size=(400, 3)) * [1, 10, 100], "b": np.zeros((400, 3))})
    test = Modalities({"a": np.zeros((50, 3)), "b": np.zeros((50, 3))})
    monkeypatch.setattr(robustness, "NOISY_AT_ONCE", 20)
    seen = []

    class Watched(Sum):
        def transform(self, X):
            seen.append(X["a"])
            return super().transform(X)

    def curve(at):
        y = np.arange(400) % 2
        noise_curve(Watched(), train, y, test[at], y[at], levels=(0.5, 2.0), random_state=7)
        rows = [part for part in seen if len(part) < 400]
        seen.clear()
        assert max(map(len, rows)) <= 20
        half = len(rows) // 2
        return np.concatenate(rows[:half]), np.concatenate(rows[half:])

    weak, strong = curve(np.arange(50))
    assert len(np.unique(weak[:, 0])) == 50
    np.testing.assert_allclose(strong, 4 * weak, rtol=1e-9)
    # 50 draws; four standard errors of a spread are 4 / sqrt(100).
    np.testing.assert_allclose(weak.std(axis=0), [0.5, 5, 50], rtol=0.4)
    alone, _ = curve(np.arange(1))
    np.testing.assert_array_equal(alone[0], weak[0])


def test_numbers_that_cannot_hold_the_noise_are_a_matter_of_the_data():
    # Of whole numbers with steps as large as the noise, and of half precision near its end.
    bits = np.eye(6, dtype=np.uint8).reshape(6, 1, 2, 3)
    with pytest.raises(DataError, match=r"modality 'm' under noise: .* lost between whole"):
        noisy_modalities({"m": bits}, 0.5)
    near = (np.array([[1.0], [-1.0], [1.0]]) * 6e4).astype(np.float16)
    with pytest.raises(DataError, match=r"modality 'm' under noise: .* beyond what float16"):
        noisy_modalities({"m": near}, 10.0)


def test_errors():
    X = three(4)
    with pytest.raises(ParameterError, match="share"):
        drop_modalities(X, 1.5)
    model = SimpleNamespace(capabilities=Capabilities(), names_in_=("a",))
    with pytest.raises(CapabilityError, match="needs every modality"):
        missing_curve(model, X, [0, 1, 0, 1], X, [0, 1, 0, 1])
