"""Divergences and surprise: closed forms, bias, intervals, what is infinite."""

import math

import numpy as np
import pytest

from triptych.errors import DataError, ParameterError, ShapeError
from triptych.information import (
    cross_entropy,
    entropy,
    information_content,
    js_divergence,
    kl_divergence,
)

P, Q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
TRUTH = {
    kl_divergence: float((P * np.log(P / Q)).sum()),
    cross_entropy: float(-(P * np.log(Q)).sum()),
    js_divergence: float((P * np.log(2 * P / (P + Q)) + Q * np.log(2 * Q / (P + Q))).sum() / 2),
}


@pytest.mark.parametrize("measure", TRUTH)
@pytest.mark.parametrize("sizes", [(400, 300), (150, 800)])
def test_little_bias_and_intervals_that_cover(measure, sizes):
    rng = np.random.default_rng(0)
    found = [
        measure(rng.choice(3, sizes[0], p=P), rng.choice(3, sizes[1], p=Q)) for _ in range(250)
    ]
    values = np.array([f.value for f in found])
    told = np.mean([f.standard_error for f in found])
    assert values.mean() == pytest.approx(TRUTH[measure], abs=4 * values.std() / math.sqrt(250))
    assert told == pytest.approx(values.std(), rel=0.2)  # 250 draws know it to 4.5 %
    inside = np.mean([f.interval[0] <= TRUTH[measure] <= f.interval[1] for f in found])
    assert inside > 0.88  # 95 % less five standard deviations


@pytest.mark.parametrize("measure", [kl_divergence, js_divergence])
def test_of_equal_distributions_about_nothing_is_said(measure):
    rng = np.random.default_rng(1)
    draws = [measure(rng.integers(0, 6, 200), rng.integers(0, 6, 300)) for _ in range(200)]
    values = np.array([d.value for d in draws])
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(200) + 1e-3  # second-order bias
    assert np.mean([d.standard_error for d in draws]) >= 0.8 * values.std()
    plain = measure(rng.integers(0, 6, 200), rng.integers(0, 6, 300), estimator="plug-in")
    assert plain.value > 0


def test_a_category_that_is_not_there():
    x, y = ["a", "b"] * 20, ["b", "c"] * 20
    found = kl_divergence(x, y)
    assert found.estimator == "dirichlet" and "finite" in found.reason
    assert math.isfinite(found.value) and "by frequencies alone" in found.warnings[0]
    endless = kl_divergence(x, y, estimator="plug-in")
    assert endless.value == math.inf and "1 categories" in endless.warnings[0]
    assert math.isnan(endless.standard_error)
    assert cross_entropy(x, y, estimator="plug-in").value == math.inf
    assert js_divergence(x, y, estimator="plug-in", unit="bits").value == pytest.approx(0.5)


def test_information_content():
    assert information_content(probability=0.125, unit="bits").value == pytest.approx(3)
    assert information_content(probability=0).value == math.inf
    found = information_content("a", ["a"] * 25 + ["b"] * 75)
    assert found.value == pytest.approx(math.log(4))
    low, high = found.interval
    assert low < found.value < high
    never = information_content("c", ["a", "b"] * 50)
    assert (
        never.value == math.inf and 3 < never.interval[0] < 4 and "never seen" in never.warnings[0]
    )
    always = information_content(1, [1] * 50)
    assert always.value == 0 and always.interval[0] == 0 and always.interval[1] > 0.05
    row = information_content([1, 2], np.array([[1, 2], [1, 3]] * 20))
    assert row.value == pytest.approx(math.log(2))


def test_information_content_of_a_density():
    rng = np.random.default_rng(2)
    inside = 0
    for _ in range(100):
        found = information_content(0.5, rng.normal(size=400))
        truth = 0.5 * math.log(2 * math.pi) + 0.125
        inside += found.interval[0] <= truth <= found.interval[1]
    assert inside >= 84  # 95 % less five standard deviations
    with pytest.raises(ShapeError, match="2 finite numbers"):
        information_content(0.5, rng.normal(size=(10, 2)))
    with pytest.raises(DataError, match="no density"):
        information_content(0.0, np.zeros(50))


def test_bad_input_is_named():
    with pytest.raises(ShapeError, match=r"one shape, got \(2,\) and \(3,\)"):
        kl_divergence(probabilities=([0.5, 0.5], [0.2, 0.3, 0.5]))
    with pytest.raises(DataError, match="a pair"):
        kl_divergence(probabilities=[0.5, 0.25, 0.25])
    with pytest.raises(
        DataError, match=r"probabilities\[1\]: expected no negative entry, got -0.5"
    ):
        kl_divergence(probabilities=([0.5, 0.5], [1.5, -0.5]))
    with pytest.raises(ParameterError, match="two samples of one kind"):
        kl_divergence([1, 2, 3], [0.5, 1.5])
    with pytest.raises(DataError, match="same kind of categories"):
        kl_divergence(["a", "b"], [1, 2])
    with pytest.raises(ShapeError, match="same width"):
        js_divergence(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(DataError, match="at least 2 rows, got 1"):
        kl_divergence([1], [1, 2])
    with pytest.raises(ParameterError, match="one of 'auto', 'plug-in'"):
        js_divergence([1, 2], [1, 2], estimator="knn")
    with pytest.raises(ParameterError, match=r"got \['x'\] too"):
        kl_divergence([1], probabilities=([1.0], [1.0]))
    with pytest.raises(ParameterError, match="probability"):
        information_content(probability=1.5)
    assert entropy([1, 1]).value == 0
