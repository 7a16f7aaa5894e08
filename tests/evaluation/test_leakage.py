import numpy as np
import pytest

from triptych.errors import DataError, ShapeError
from triptych.evaluation.leakage import leakage


def normal(n, d, seed):
    return np.random.default_rng(seed).normal(size=(n, d))


def test_independent_parts_leak_nothing():
    score = leakage(normal(800, 4, 0), normal(800, 3, 1), normal(400, 4, 2), normal(400, 3, 3))
    # R² of nothing on 1200 test entries: standard error about 1 / sqrt(1200) = 0.03
    assert score.value < 0.06
    assert score.nonlinear < 0.05


def test_a_linear_copy_leaks_all_and_noise_its_known_share():
    W = normal(4, 2, 9)
    a, t = normal(1500, 4, 0), normal(700, 4, 2)
    assert leakage(a, a @ W, t, t @ W).linear > 0.999
    y, yt = a @ W, t @ W
    y = y / y.std(axis=0) + normal(1500, 2, 5)
    yt = yt / (a @ W).std(axis=0) + normal(700, 2, 6)
    # half of the variance is noise, which nothing can predict
    assert leakage(a, y, t, yt).linear == pytest.approx(0.5, abs=0.08)


def test_the_non_linear_reader_sees_what_the_linear_one_cannot():
    a, t = normal(2000, 1, 0), normal(500, 1, 1)
    score = leakage(a, a**2, t, t**2)
    assert score.linear < 0.1 and score.nonlinear > 0.8
    assert score.value == score.nonlinear


def test_value_is_never_below_saying_the_mean():
    a, t = normal(10, 8, 0), normal(200, 8, 1)
    score = leakage(a, normal(10, 2, 2), t, normal(200, 2, 3), k=1)
    assert score.nonlinear < 0 <= score.value < 0.05


def test_scale_of_columns_does_not_matter_and_dead_columns_do_not_count():
    a, t = normal(300, 3, 0), normal(200, 3, 1)
    y, yt = a[:, :2] + normal(300, 2, 2), t[:, :2] + normal(200, 2, 3)
    first = leakage(a, y, t, yt)
    scale = np.array([1e-3, 1e4])
    dead = np.full((300, 1), 0.1, np.float32), np.full((200, 1), 0.1, np.float32)
    again = leakage(
        5 * a + 2, np.hstack([y * scale, dead[0]]), 5 * t + 2, np.hstack([yt * scale, dead[1]])
    )
    assert again.value == pytest.approx(first.value, abs=1e-6)


def test_errors():
    a = normal(10, 2, 0)
    with pytest.raises(DataError, match="constant"):
        leakage(a, np.ones((10, 2)), a, np.ones((10, 2)))
    with pytest.raises(ShapeError, match="training rows of source and target differ: 10 and 9"):
        leakage(a, a[:9], a, a)
    with pytest.raises(ShapeError, match="widths"):
        leakage(a, a, a[:, :1], a)
