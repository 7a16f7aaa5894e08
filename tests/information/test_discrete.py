"""Estimators from counts: golden values, the formulas written plainly, errors that cover."""

import math

import numpy as np
import pytest
from scipy.special import digamma

from triptych.errors import ParameterError
from triptych.information import (
    conditional_mutual_information,
    entropy,
    mutual_information,
    permutation_test,
)
from triptych.information._counting import tally
from triptych.information._discrete import DISCRETE, entropy_of, influence
from triptych.information._variables import Codes, make_codes

COUNTS = np.array([4, 12, 4, 5, 3, 1, 5, 1, 2, 2, 2, 2, 11, 3, 4, 12, 12, 1, 2], float)
# Values of these counts, computed once by other hands (88 rows, 19 categories seen), in nats.
GOLDEN = {
    "plug-in": 2.635444,
    "miller-madow": 2.737717,
    "grassberger-88": 2.749458,
    "grassberger": 2.733853,
    "chao-shen": 2.761664,
    "jackknife": 2.765877,
    "shrinkage": 2.786418,
}


@pytest.mark.parametrize("estimator", DISCRETE)
def test_golden_values(estimator):
    rows = np.repeat(np.arange(19), COUNTS.astype(int))
    found = entropy(rows, estimator=estimator)
    assert found.value == pytest.approx(GOLDEN[estimator], abs=5e-7)  # six decimals are known
    assert found.estimator == estimator and found.n_samples == 88 and found.unit == "nats"


def test_shrinkage_with_unseen_categories():
    rows = np.repeat(np.arange(19), COUNTS.astype(int))
    found = entropy(rows, estimator="shrinkage", categories=100)
    assert found.value == pytest.approx(3.178878, abs=5e-7)
    with pytest.raises(ParameterError, match="at least the 19"):
        entropy(rows, estimator="shrinkage", categories=18)
    with pytest.raises(ParameterError, match="only 'shrinkage'"):
        entropy(rows, estimator="plug-in", categories=100)


def plain(counts, estimator):
    """Each estimator as its paper has it, one category at a time."""
    counts = [int(c) for c in counts if c > 0]
    n, k = sum(counts), len(counts)

    def ml(c):
        return -sum(v / sum(c) * math.log(v / sum(c)) for v in c if v)

    if estimator == "plug-in":
        return ml(counts)
    if estimator == "miller-madow":
        return ml(counts) + (k - 1) / (2 * n)
    if estimator == "grassberger-88":
        return math.log(n) - sum(v * (digamma(v) + (-1) ** v / (v * (v + 1))) for v in counts) / n
    if estimator == "grassberger":
        table = {1: -np.euler_gamma - math.log(2), 2: 2 - np.euler_gamma - math.log(2)}
        for v in range(3, max(counts) + 1):  # Grassberger's recursion
            table[v] = table[v - 1] if v % 2 else table[v - 2] + 2 / (v - 1)
        return math.log(n) - sum(v * table[v] for v in counts) / n
    if estimator == "jackknife":
        held = 0.0
        for i, v in enumerate(counts):
            held += v / n * ml([*counts[:i], v - 1, *counts[i + 1 :]])
        return n * ml(counts) - (n - 1) * held
    if estimator == "chao-shen":
        once = counts.count(1)
        once = n - 1 if once == n else once
        total = 0.0
        for v in counts:
            p = (1 - once / n) * v / n
            total -= p * math.log(p) / (1 - (1 - p) ** n)
        return total
    p = [v / n for v in counts]
    below = (n - 1) * sum((1 / k - v) ** 2 for v in p)
    weight = 1.0 if below == 0 else min(1.0, max(0.0, (1 - sum(v * v for v in p)) / below))
    return ml([weight / k + (1 - weight) * v for v in p])


@pytest.mark.parametrize("estimator", DISCRETE)
def test_equals_the_paper_written_plainly(estimator):
    rng = np.random.default_rng(0)
    for k, n in [(2, 5), (3, 9), (10, 12), (40, 30), (7, 400), (3, 3)]:
        counts = np.bincount(rng.integers(0, k, n)).astype(float)
        counts = counts[counts > 0]
        # The difference of digammas in Grassberger's G loses a few digits beside the recursion.
        assert entropy_of(counts, estimator) == pytest.approx(plain(counts, estimator), abs=1e-11)


@pytest.mark.parametrize("estimator", ["shrinkage", "chao-shen"])
def test_pseudo_values_are_those_of_leaving_rows_out(estimator):
    n, whole = COUNTS.sum(), entropy_of(COUNTS, estimator, 30)
    for j, found in enumerate(influence(COUNTS, estimator, 30)):
        less = COUNTS.copy()
        less[j] -= 1
        without = entropy_of(less[less > 0], estimator, 30)
        assert found == pytest.approx(n * whole - (n - 1) * without, abs=1e-9)


def test_grassberger_at_counts_of_millions():
    # G(n) tends to log n for even n and to log n - 1 / n for odd n.
    for counts, more in (([4e6, 6e6], 0.0), ([4e6 + 1, 6e6 - 1], 2e-7)):
        assert entropy_of(np.array(counts), "grassberger") == pytest.approx(
            entropy_of(np.array(counts), "plug-in") + more, abs=1e-12
        )


@pytest.mark.parametrize("estimator", ["plug-in", "miller-madow", "grassberger", "chao-shen"])
def test_intervals_cover_the_truth(estimator):
    rng = np.random.default_rng(1)
    p = np.array([0.4, 0.3, 0.2, 0.1])
    truth = -(p * np.log(p)).sum()
    inside = 0
    for _ in range(300):
        found = entropy(rng.choice(4, 400, p=p), estimator=estimator)
        inside += found.interval[0] <= truth <= found.interval[1]
    # 95 % of 300 are 285; five standard deviations are 19, and small samples cost a little.
    assert 263 <= inside <= 300


@pytest.mark.parametrize("estimator", ["auto", "grassberger"])
def test_intervals_of_information_cover_with_some_and_with_none(estimator):
    rng = np.random.default_rng(2)
    for flip, truth in (
        (0.5, 0.0),
        (0.2, math.log(2) + 0.2 * math.log(0.2) + 0.8 * math.log(0.8)),
    ):
        inside = 0
        for _ in range(300):
            x = rng.integers(0, 2, 300)
            y = x ^ (rng.random(300) < flip)
            found = mutual_information(x, y, estimator=estimator)
            inside += found.interval[0] <= truth <= found.interval[1]
        assert inside >= 263, (flip, inside)  # at independence the interval is a little too wide


def test_a_balanced_sample_is_not_called_exact():
    found = mutual_information([0, 0, 1, 1] * 25, [0, 1, 0, 1] * 25, estimator="plug-in")
    assert found.value == pytest.approx(0, abs=1e-15)
    # 2 n I is chi-square of one degree of freedom: standard deviation sqrt(2) / (2 n).
    assert found.standard_error == pytest.approx(math.sqrt(2) / 200, rel=1e-9)


def test_negatives_stay_where_sampling_made_them():
    rng = np.random.default_rng(3)
    draws = [
        mutual_information(rng.integers(0, 4, 200), rng.integers(0, 4, 200)).value
        for _ in range(60)
    ]
    assert min(draws) < -0.005 and np.mean(np.array(draws) < 0) > 0.2


def test_bias_is_less_than_the_plug_ins():
    rng = np.random.default_rng(4)
    found = {name: [] for name in ("plug-in", "miller-madow", "grassberger", "jackknife")}
    for _ in range(100):
        x, y = rng.integers(0, 10, 100), rng.integers(0, 10, 100)
        for name, values in found.items():
            values.append(mutual_information(x, y, estimator=name).value)
    means = {name: np.mean(values) for name, values in found.items()}
    # Notes: 10 x 10 independent, 100 rows: the plug-in shows 0.476 nats that are not there.
    assert means.pop("plug-in") == pytest.approx(0.476, abs=0.02)
    assert all(abs(mean) < 0.3 for mean in means.values()), means


def test_warnings_say_what_matters():
    rng = np.random.default_rng(5)
    assert "one category" in entropy([3] * 20).warnings[0]
    assert "log n = 3.91" in entropy(np.arange(50)).warnings[0]
    (note,) = mutual_information(rng.integers(0, 20, 200), rng.integers(0, 20, 200)).warnings
    assert note.startswith("undersampled table: 200 rows in")
    notes = mutual_information(
        rng.integers(0, 9, 900), rng.integers(0, 9, 900), estimator="plug-in"
    ).warnings
    assert any("the plug-in's bias" in n for n in notes)
    assert entropy(rng.integers(0, 3, 5000)).warnings == ()


def test_permutation_test_finds_what_is_there_and_subtracts_what_is_not():
    rng = np.random.default_rng(6)
    x = rng.integers(0, 10, 300)
    nothing = permutation_test(x, rng.integers(0, 10, 300), estimator="plug-in", n_shuffles=99)
    assert nothing.bias == pytest.approx(81 / 600, rel=0.35)  # (10 - 1)² / (2 n), first order
    assert abs(nothing.corrected.value) < 0.06 and nothing.p_value > 0.01
    something = permutation_test(x, (x + rng.integers(0, 5, 300)) % 10, n_shuffles=99)
    assert something.p_value == 0.01
    again = permutation_test(x, (x // 2), n_shuffles=99, unit="bits")
    assert again.shuffled.mean() == pytest.approx(again.bias)


def test_p_values_are_about_uniform_where_there_is_nothing():
    rng = np.random.default_rng(7)
    found = [
        permutation_test(
            rng.integers(0, 3, 60), rng.integers(0, 3, 60), n_shuffles=39, random_state=i
        ).p_value
        for i in range(200)
    ]
    assert 0.01 <= np.mean(np.array(found) <= 0.05) <= 0.11  # 5 % ± four standard deviations
    assert np.mean(found) == pytest.approx(0.5, abs=0.1)


def test_permutation_given_a_third_variable_keeps_what_that_explains():
    rng = np.random.default_rng(8)
    z = rng.integers(0, 3, 400)
    x, y = (z + (rng.random(400) < 0.2)) % 3, (z + (rng.random(400) < 0.2)) % 3
    assert permutation_test(x, y, n_shuffles=49).p_value == 0.02
    given = permutation_test(x, y, z, n_shuffles=49)
    assert given.p_value > 0.02
    assert given.estimate == conditional_mutual_information(x, y, z)


def test_counting_is_the_same_by_every_road():
    rng = np.random.default_rng(9)
    a, b = rng.integers(-3, 4, 500), rng.integers(10**12, 10**12 + 3, 500)
    words = np.array(["x", "yy", "zzz"])[b - 10**12]
    objects = np.array([("t", 1), "two", 3], dtype=object)[b - 10**12]
    plainly = {}
    for pair in zip(a.tolist(), b.tolist(), strict=True):
        plainly[pair] = plainly.get(pair, 0) + 1
    for second in (b, words, objects, b.astype(float), b[:, None]):
        table = tally([make_codes(a), make_codes(second)])
        assert sorted(table.counts) == sorted(plainly.values())
    for dtype in (np.int8, np.int16, np.int64, np.float32):
        table = tally([make_codes(a.astype(dtype))])
        assert table.counts.tolist() == np.unique(a, return_counts=True)[1].tolist()
    unsigned = tally([make_codes((a + 3).astype(np.uint64)), make_codes(a > 0)])
    assert unsigned.n == 500 and unsigned.counts.sum() == 500
    rows = np.stack([a, b], axis=1)
    assert sorted(tally([make_codes(rows)]).counts) == sorted(plainly.values())


def test_chunks_do_not_show():
    rng = np.random.default_rng(10)
    a, b = rng.integers(2, 9, 200_001).astype(np.uint8), rng.integers(-2, 5, 200_001)
    table = tally([make_codes(a), make_codes(b)])
    whole = np.zeros((7, 7))
    np.add.at(whole, (a - 2, b + 2), 1)
    assert table.counts.tolist() == whole[whole > 0].tolist()


def test_huge_alphabets_are_counted_without_their_table():
    n = 300
    many = [Codes(np.arange(n) * 10**9, 0, 10**12) for _ in range(8)]
    table = tally(many)
    assert table.counts.tolist() == [1.0] * n
    assert table.onto((0, 1, 2, 3, 4, 5))[0].tolist() == [1.0] * n


def test_minus_zero_is_zero():
    assert entropy(np.array([0.0, -0.0] * 5), discrete=True).value == pytest.approx(0, abs=0.06)
    assert tally([make_codes(np.array([[0.0, 1.0], [-0.0, 1.0]]))]).counts.tolist() == [2.0]
