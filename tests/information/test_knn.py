"""Estimators from nearest neighbours: the formulas written plainly, closed forms, relations."""

import numpy as np
import pytest
from scipy.special import digamma
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

from triptych.errors import DataError, ParameterError, ShapeError
from triptych.information import _knn


def pairs(n, rho, d=1, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return x, rho * x + np.sqrt(1 - rho**2) * rng.normal(size=(n, d))


def scaled(x):
    return (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)


def table(x, y=None):
    return np.abs(x[:, None] - (x if y is None else y)[None]).max(axis=2)


# The formulas again, one row at a time.


def plain_ksg_1(x, y, k):
    dx, dy = table(scaled(x)), table(scaled(y))
    n, total = len(x), 0.0
    for i in range(n):
        others = np.arange(n) != i
        reach = np.sort(np.maximum(dx[i], dy[i])[others])[k - 1]
        nx, ny = (dx[i][others] < reach).sum(), (dy[i][others] < reach).sum()
        total += digamma(nx + 1) + digamma(ny + 1)
    return digamma(k) + digamma(n) - total / n


def plain_ksg_2(x, y, k):
    dx, dy = table(scaled(x)), table(scaled(y))
    n, total = len(x), 0.0
    for i in range(n):
        others = np.flatnonzero(np.arange(n) != i)
        near = others[np.argsort(np.maximum(dx[i], dy[i])[others], kind="stable")[:k]]
        nx = (dx[i][others] <= dx[i][near].max()).sum()
        ny = (dy[i][others] <= dy[i][near].max()).sum()
        total += digamma(nx) + digamma(ny)
    return digamma(k) - 1 / k + digamma(n) - total / n


def plain_mixed(x, y, k):
    x, y = (v / 2.0 ** np.round(np.log2(v.std(axis=0, ddof=1))) for v in (x, y))
    dx, dy = table(x), table(y)
    n, total = len(x), 0.0
    for i in range(n):
        joint = np.maximum(dx[i], dy[i])
        reach = np.sort(joint[np.arange(n) != i])[k - 1]
        if reach == 0:
            own, nx, ny = (joint == 0).sum(), (dx[i] == 0).sum(), (dy[i] == 0).sum()
        else:
            own, nx, ny = k, (dx[i] < reach).sum(), (dy[i] < reach).sum()
        total += digamma(own) + np.log(n) - digamma(nx) - digamma(ny)
    return total / n


def plain_ross(x, labels, k):
    keep = np.array([(labels == c).sum() > 1 for c in labels])
    x, labels = x[keep], labels[keep]
    d, n, total = table(scaled(x)), len(x), 0.0
    for i in range(n):
        own = (labels == labels[i]) & (np.arange(n) != i)
        ki = min(k, own.sum())
        reach = np.sort(d[i][own])[ki - 1]
        m = (d[i] < reach).sum()
        total += digamma(n) + digamma(ki) - digamma(own.sum() + 1) - digamma(m)
    return total / n


def plain_conditional(x, y, z, k):
    dx, dy, dz = (table(scaled(v)) for v in (x, y, z))
    n, total = len(x), 0.0
    for i in range(n):
        others = np.arange(n) != i
        reach = np.sort(np.maximum(np.maximum(dx, dy), dz)[i][others])[k - 1]
        for sign, d in ((-1, np.maximum(dx, dz)), (-1, np.maximum(dy, dz)), (1, dz)):
            total += sign * digamma((d[i][others] < reach).sum() + 1)
    return digamma(k) + total / n


def plain_entropy(x, k):
    s = x.std(axis=0, ddof=1)
    d, (n, p) = table(x / s), x.shape
    reach = np.sort(d, axis=1)[:, k]
    logs = np.log(2 * reach).mean()
    return digamma(n) - digamma(k) + p * logs + np.log(s).sum()


def plain_divergence(x, y, k):
    s = np.vstack([x, y]).std(axis=0, ddof=1)
    x, y = x / s, y / s
    rho, nu = np.sort(table(x), axis=1)[:, k], np.sort(table(x, y), axis=1)[:, k - 1]
    return x.shape[1] * np.log(nu / rho).mean() + np.log(len(y) / (len(x) - 1))


EQUAL = 1e-9  # the same sums in another order


@pytest.mark.parametrize("k", [1, 3, 6])
@pytest.mark.parametrize(("p", "q"), [(1, 1), (2, 1), (2, 2), (3, 2)])
def test_each_equals_its_formula(p, q, k):
    rng = np.random.default_rng(p + 10 * q)
    x, z = rng.normal(size=(90, p)), rng.normal(size=(90, 1))
    y = np.tile(x[:, :1], q) + rng.exponential(size=(90, q))
    labels = rng.integers(0, 3, 90)
    found = {
        "ksg 1": (_knn.ksg(x, y, k=k), plain_ksg_1(x, y, k)),
        "ksg 2": (_knn.ksg(x, y, k=k, version=2), plain_ksg_2(x, y, k)),
        "mixed": (_knn.mixed(x, y, k=k), plain_mixed(x, y, k)),
        "ross": (_knn.ross(x, labels, k=k), plain_ross(x, labels, k)),
        "conditional": (_knn.conditional(x, y, z, k=k), plain_conditional(x, y, z, k)),
        "entropy": (_knn.entropy(x, k=k), plain_entropy(x, k)),
        "divergence": (
            _knn.divergence(x, 2 * x[:70] + 1, k=k),
            plain_divergence(x, 2 * x[:70] + 1, k),
        ),
    }
    for name, (estimate, expected) in found.items():
        assert float(estimate) == pytest.approx(expected, abs=EQUAL), name


@pytest.mark.parametrize("k", [2, 5])
def test_with_ties_too(k):
    rng = np.random.default_rng(k)
    x = rng.integers(0, 5, size=(120, 1)).astype(float)
    y = np.where(rng.random((120, 1)) < 0.5, x, rng.normal(size=(120, 1)))
    assert float(_knn.mixed(x, y, k=k)) == pytest.approx(plain_mixed(x, y, k), abs=EQUAL)
    # y has ties, but no row is repeated k times
    fine = rng.normal(size=(120, 1))
    estimate = _knn.ksg(fine, x, k=k)
    assert float(estimate) == pytest.approx(plain_ksg_1(fine, x, k), abs=EQUAL)
    assert any("mixed" in note for note in estimate.warnings)
    labels = rng.integers(0, 3, 120)
    some = np.concatenate([np.repeat(fine[:10], 2, axis=0), fine[20:]])  # pairs of equal rows
    assert float(_knn.ross(some, labels, k=3)) == pytest.approx(
        plain_ross(some, labels, 3), abs=EQUAL
    )


def test_small_classes_use_fewer_neighbours_and_single_rows_are_left_out():
    x = np.random.default_rng(0).normal(size=(40, 1))
    labels = np.array(["a"] * 30 + ["b"] * 7 + ["c"] * 2 + ["d"])
    estimate = _knn.ross(x, labels, k=5)
    assert float(estimate) == pytest.approx(plain_ross(x, labels, 5), abs=EQUAL)
    assert estimate.n_samples == 39
    assert any("1 classes of a single row" in note for note in estimate.warnings)


@pytest.mark.parametrize(
    ("sample", "truth"),
    [
        (lambda rng: rng.normal(size=(3000, 1)), 0.5 * np.log(2 * np.pi * np.e)),
        (lambda rng: rng.uniform(2, 5, size=(3000, 1)), np.log(3)),
        (lambda rng: rng.exponential(2.0, size=(3000, 1)), 1 + np.log(2)),
        (lambda rng: rng.laplace(0, 0.1, size=(3000, 1)), 1 + np.log(0.2)),
        (lambda rng: rng.normal(size=(3000, 2)) * [1e-6, 1e6], np.log(2 * np.pi * np.e)),
    ],
)
def test_entropy_of_known_densities(sample, truth):
    estimate = _knn.entropy(sample(np.random.default_rng(1)))
    assert abs(estimate.value - truth) < 4 * estimate.standard_error


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
def test_information_of_normal_pairs(version, rho):
    estimate = _knn.ksg(*pairs(2000, rho), version=version)
    assert abs(estimate.value + 0.5 * np.log(1 - rho**2)) < 4 * estimate.standard_error
    assert 0 < estimate.standard_error < 0.05
    assert estimate.interval[0] < estimate.value < estimate.interval[1]


def test_independent_pairs_may_come_out_negative():
    values = [_knn.ksg(*pairs(200, 0.0, seed=s)).value for s in range(20)]
    assert min(values) < 0 < max(values)
    # the mean of 20 has a standard error of about 0.012
    assert abs(np.mean(values)) < 0.05


def test_conditional_information_of_a_chain():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2000, 1))
    x, y = z + rng.normal(size=(2000, 1)), z + rng.normal(size=(2000, 1))
    estimate = _knn.conditional(x, y, z)
    assert abs(estimate.value) < 4 * estimate.standard_error
    alone = _knn.ksg(x, y)
    assert alone.value - estimate.value > 0.05  # ln(4 / 3) / 2 = 0.14 without the condition
    nothing = _knn.conditional(x, y, np.ones(2000))
    assert float(nothing) == pytest.approx(float(alone), abs=EQUAL)


def test_ross_and_mixed_on_two_shifted_normals():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 2000)
    x = rng.normal(size=2000) + 2 * labels
    truth = 0.3368  # by numerical integration
    for estimate in (_knn.ross(x, labels), _knn.mixed(x, labels)):
        assert abs(estimate.value - truth) < 4 * estimate.standard_error


def test_mixed_on_two_discrete_variables_is_the_plug_in():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, 5000)
    y = np.where(rng.random(5000) < 0.6, x, rng.integers(0, 3, 5000))
    joint = np.histogram2d(x, y, bins=(3, 3))[0] / 5000
    plug_in = (joint * np.log(joint / np.outer(joint.sum(axis=1), joint.sum(axis=0)))).sum()
    # digamma and log of counts near 500 differ by 1/1000
    assert float(_knn.mixed(x, y)) == pytest.approx(plug_in, abs=5e-3)


def test_mixed_on_half_discrete_half_continuous_pairs():
    """Half normal rows of correlation 0.9, half two symbols that agree nine times in ten."""
    values = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        n = 1000
        x, y = (v[:, 0] for v in pairs(n, 0.9, seed=seed))
        discrete = rng.random(n) < 0.5
        symbol = rng.choice([-4.0, 4.0], n)
        x = np.where(discrete, symbol, x)
        y = np.where(discrete, symbol * rng.choice([1, -1], n, p=[0.9, 0.1]), y)
        values.append(float(_knn.mixed(x, y)))
        with pytest.raises(DataError, match="estimator for discrete or mixed variables"):
            _knn.ksg(x, y)
    flip = 0.1 * np.log(0.1) + 0.9 * np.log(0.9)
    truth = np.log(2) + 0.5 * (-0.5 * np.log(1 - 0.81)) + 0.5 * (np.log(2) + flip)
    assert truth == pytest.approx(1.2924, abs=1e-4)  # the value of the paper's example
    # one value spreads by 0.045, so the mean of six by 0.02
    assert np.mean(values) == pytest.approx(truth, abs=0.06)


@pytest.mark.parametrize(
    ("shift", "spread", "truth"), [(0, 1, 0.0), (1, 1, 0.5), (0, 2, np.log(2) - 3 / 8)]
)
def test_divergence_of_normals(shift, spread, truth):
    rng = np.random.default_rng(2)
    estimate = _knn.divergence(rng.normal(size=2000), shift + spread * rng.normal(size=3000))
    assert abs(estimate.value - truth) < 4 * estimate.standard_error
    assert "20 disjoint blocks" in estimate.interval_kind


# Relations.


def test_information_is_symmetric_and_knows_no_unit():
    x, y = pairs(300, 0.7, d=2)
    for version in (1, 2):
        there = float(_knn.ksg(x, y, version=version))
        assert float(_knn.ksg(y, x, version=version)) == pytest.approx(there, abs=EQUAL)
        moved = _knn.ksg(x * [1e-9, 1e9] + 5, -3 * y, version=version)
        # rounding of 1e9 + 5 moves rows by 1e-16 of a spread, which seldom changes a count
        assert float(moved) == pytest.approx(there, abs=1e-3)
    order = np.random.default_rng(0).permutation(300)
    assert float(_knn.ksg(x[order], y[order])) == pytest.approx(float(_knn.ksg(x, y)), abs=1e-9)


def test_ranks_know_no_rising_map():
    x, y = pairs(300, 0.7)
    there = float(_knn.ksg(x, y, margins="normal"))
    assert float(_knn.ksg(np.exp(3 * x), y**3, margins="normal")) == pytest.approx(
        there, abs=EQUAL
    )


def test_entropy_follows_scale():
    x = np.random.default_rng(0).exponential(size=(400, 2))
    there = float(_knn.entropy(x))
    expected = there + np.log(6)
    assert float(_knn.entropy(x * [2.0, 3.0] - 7)) == pytest.approx(expected, abs=1e-6)


def test_agrees_with_scikit_learn():
    for rho in (0.0, 0.6, 0.9, 0.99):
        x, y = pairs(1000, rho, seed=3)
        theirs = mutual_info_regression(x, y[:, 0], random_state=0)[0]
        # they clip at 0 and add noise of 1e-10, which may change a count among ties
        assert max(0.0, float(_knn.ksg(x, y))) == pytest.approx(theirs, abs=1e-3)
    labels = (y[:, 0] > 0.3).astype(int) + (y[:, 0] > 1)
    theirs = mutual_info_classif(x, labels, random_state=0)[0]
    assert float(_knn.ross(x, labels)) == pytest.approx(theirs, abs=1e-3)


# What is said about difficult samples.


def test_too_many_dimensions_are_said():
    x, y = pairs(2000, 0.9, d=5)
    assert any("5 + 5 dimensions are many" in note for note in _knn.ksg(x, y).warnings)
    assert _knn.ksg(*pairs(2000, 0.5)).warnings == ()
    assert any("5 + 5 dimensions" in note for note in _knn.mixed(x, y).warnings)
    assert any("5 + 5 + 5 dim" in note for note in _knn.conditional(x, y, x[::-1]).warnings)
    wide = np.random.default_rng(0).uniform(size=(2000, 10))
    assert any("likely too high" in note for note in _knn.entropy(wide).warnings)
    assert _knn.entropy(x[:, :3]).warnings == ()
    labels = (x.sum(axis=1) > 0).astype(int)
    assert any("5 dimensions" in note for note in _knn.ross(x, labels).warnings)


def test_heavy_tails_are_said():
    x = np.random.default_rng(0).standard_t(1, size=(500, 1))
    assert any("heavy tails" in note for note in _knn.ksg(x, x + 1 / (1 + x**2)).warnings)


def test_a_few_repeated_rows_are_moved_apart_with_a_warning():
    x, y = pairs(400, 0.6)
    x[:8], y[:8] = x[0], y[0]
    first = _knn.ksg(x, y, random_state=1)
    assert any("seeded noise of 1e-10" in note for note in first.warnings)
    assert float(first) == float(_knn.ksg(x, y, random_state=1))
    assert np.isfinite(float(_knn.entropy(x)))
    assert np.isfinite(float(_knn.divergence(x, x)))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: _knn.ksg(np.arange(3.0), np.arange(3.0), k=3), "needs at least 4 rows, got 3"),
        (lambda: _knn.entropy([1.0, 2.0], k=2), "needs at least 3 rows, got 2"),
        (lambda: _knn.entropy(np.ones(50)), "x: a constant column has no density"),
        (
            lambda: _knn.entropy(np.repeat(np.arange(5.0), 10)),
            "100 % of the rows occur more than 3",
        ),
        (
            lambda: _knn.ksg([[1.0], [np.inf]], [1.0, 2.0], k=1),
            "x: expected finite numbers, got inf",
        ),
        (lambda: _knn.ksg(np.arange(9.0), np.arange(8.0)), "got x 9, y 8 rows"),
        (lambda: _knn.ksg(["a", "b"], [1.0, 2.0], k=1), "x: expected real numbers"),
        (lambda: _knn.ross(np.arange(9.0), np.zeros(9)), "labels: expected at least two classes"),
        (lambda: _knn.ross(np.arange(9.0), np.arange(9)), "expected classes of at least 2 rows"),
        (lambda: _knn.divergence(np.ones((9, 2)), np.ones((9, 3))), "x with 2 and y with 3"),
    ],
)
def test_what_cannot_be_used_is_named(call, words):
    with pytest.raises((DataError, ShapeError), match=words):
        call()


def test_parameters_are_checked():
    x, y = pairs(20, 0.5)
    with pytest.raises(ParameterError, match="version: expected one of 1, 2; got 3"):
        _knn.ksg(x, y, version=3)
    with pytest.raises(ParameterError, match="k: expected a whole number >= 1, got 0"):
        _knn.ksg(x, y, k=0)


def test_a_constant_tells_nothing():
    x, _ = pairs(50, 0.5)
    for estimate in (_knn.ksg(x, np.ones(50)), _knn.mixed(np.ones(50), x)):
        assert float(estimate) == 0.0
        assert any("tells nothing" in note for note in estimate.warnings)
    wide = np.hstack([x, np.ones((50, 1))])
    y = pairs(50, 0.5)[1]
    estimate = _knn.ksg(wide, y)
    assert float(estimate) == pytest.approx(float(_knn.ksg(x, y)), abs=EQUAL)
    assert any("constant columns tell nothing" in note for note in estimate.warnings)
