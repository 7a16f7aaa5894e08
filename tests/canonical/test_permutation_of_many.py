"""Permutation for any number of modalities: uniform under the null, and with absent rows."""

import numpy as np
import pytest

from triptych.canonical.many import permutation_of_many
from triptych.errors import CapabilityError, DataError, ParameterError, ShapeError


def mean_correlation(X):
    def correlations(orders):
        columns = np.stack([v[orders[m]] for m, v in X.items()])
        C = np.corrcoef(columns)
        return np.array([(C.sum() - len(C)) / (len(C) * (len(C) - 1))])

    return correlations


def everywhere(X):
    return {m: np.ones(len(v), dtype=bool) for m, v in X.items()}


def test_uniform_when_nothing_is_shared_and_small_when_something_is():
    random, repeats = np.random.default_rng(0), 150
    p, found = np.empty(repeats), np.empty(repeats)
    for i in range(repeats):
        X = {m: random.standard_t(2, size=20) for m in "abc"}
        test = permutation_of_many(
            mean_correlation(X), everywhere(X), n_permutations=24, random_state=i
        )
        p[i] = test.p_values[0]
        shared = random.normal(size=20)
        X = {m: v + 3 * shared for m, v in X.items()}
        found[i] = permutation_of_many(
            mean_correlation(X), everywhere(X), n_permutations=24, random_state=i
        ).p_values[0]
    # Three standard errors of 150 uniform numbers, and of the share of them below 0.2.
    assert abs(p.mean() - 0.52) < 3 / np.sqrt(12 * repeats)
    assert abs((p <= 0.2).mean() - 0.2) < 3 * np.sqrt(0.16 / repeats)
    assert np.median(found) == 0.04


def test_what_is_permuted():
    random = np.random.default_rng(1)
    present = {"a": random.random(30) < 0.7, "b": random.random(30) < 0.7, "c": np.ones(30, bool)}
    groups = np.repeat(np.arange(10), 3)
    seen = []

    def correlations(orders):
        seen.append({m: order.copy() for m, order in orders.items()})
        return np.array([0.5, 0.1])

    permutation_of_many(
        correlations, present, n_permutations=5, groups=groups, exchange="within", random_state=0
    )
    for orders in seen:
        np.testing.assert_array_equal(orders["a"], np.arange(30))
        for m, order in orders.items():
            np.testing.assert_array_equal(np.sort(order), np.arange(30))
            np.testing.assert_array_equal(order[~present[m]], np.flatnonzero(~present[m]))
            np.testing.assert_array_equal(groups[order], groups)
    assert any((orders["c"] != np.arange(30)).any() for orders in seen[1:])
    whole = []
    permutation_of_many(
        lambda orders: whole.append(orders["c"].copy()) or np.array([0.5]),
        {m: np.ones(30, bool) for m in "abc"},
        n_permutations=5,
        groups=groups,
    )
    assert all((np.diff(order.reshape(10, 3)) == 1).all() for order in whole)


def test_every_component_is_compared_with_the_largest():
    drawn = iter(np.array([[0.9, 0.3, 0.5], [0.6, 0.1, 0.1], [0.1, 0.2, 0.0], [0.2, 0.4, 0.4]]))
    test = permutation_of_many(
        lambda orders: next(drawn),
        {m: np.ones(5, bool) for m in "ab"},
        n_permutations=3,
    )
    np.testing.assert_array_equal(test.null[:, 0], [0.6, 0.2, 0.4])
    np.testing.assert_array_equal(test.null[:, 2], test.null[:, 0])
    np.testing.assert_array_equal(test.p_values, [0.25, 0.75, 0.5])
    np.testing.assert_array_equal(test.p_values_fwe, [0.25, 0.75, 0.75])
    assert test.statistic == "largest" and test.n_permutations == 3 and test.n_samples == 5


def test_bad_input():
    whole = {m: np.ones(6, bool) for m in "ab"}
    gaps = {"a": whole["a"], "b": np.arange(6) > 0}

    def ask(present=whole, **kwargs):
        return permutation_of_many(lambda orders: np.array([0.5]), present, **kwargs)

    with pytest.raises(ParameterError, match="n_permutations"):
        ask(n_permutations=0)
    with pytest.raises(ParameterError, match="exchange"):
        ask(exchange="some")
    with pytest.raises(ShapeError, match="groups: expected one label for each of 6 rows"):
        ask(groups=[1, 2])
    with pytest.raises(CapabilityError, match="whole groups cannot change places"):
        ask(gaps, groups=[0, 0, 1, 1, 2, 2])
    with pytest.raises(DataError, match="2 rows; got 1"):
        ask({m: v[:1] for m, v in whole.items()})
