"""Inference on a fitted method: the same as by hand, and honest where theory has no answer."""

import numpy as np
import pytest

from triptych import Modalities
from triptych.canonical import bartlett, permutation_test, rao_f
from triptych.coordination import CCA
from triptych.errors import CapabilityError, NotFittedError, ParameterError, ShapeError


def pair(n=60):
    random = np.random.default_rng(0)
    A = random.normal(size=(n, 4))
    return {"b": A, "a": 0.8 * A[:, :3] + random.normal(size=(n, 3)) * [0.5, 1, 4]}


def test_theory_uses_all_correlations_though_one_was_asked():
    model = CCA(1).fit(pair())
    rho = CCA().fit(pair()).correlations_
    np.testing.assert_array_equal(model.significance().p_values, rao_f(rho, 60, 3, 4).p_values)
    for lawley, name in ((False, "bartlett"), (True, "lawley")):
        np.testing.assert_array_equal(
            model.significance(name).p_values, bartlett(rho, 60, 3, 4, lawley=lawley).p_values
        )


def test_permutation_of_complete_rows():
    X = pair()
    present = {"a": np.arange(60) % 4 != 0}
    model = CCA(2).fit(Modalities(X, present=present))
    test = model.permutation_test(Modalities(X, present=present), 99)
    rows = present["a"]
    by_hand = permutation_test(X["a"][rows], X["b"][rows], n_permutations=99, n_components=2)
    np.testing.assert_array_equal(test.null, by_hand.null)
    np.testing.assert_allclose(test.correlations[:2], model.correlations_, rtol=1e-10)
    assert test.p_values[0] == 0.01
    groups = np.arange(60) // 20
    within = model.permutation_test(
        Modalities(X, present=present), 99, groups=groups, exchange="within"
    )
    assert not np.array_equal(within.null, test.null)


def test_a_ridge_has_no_theory_but_can_be_permuted():
    model = CCA(2, ridge=0.5).fit(pair())
    with pytest.raises(CapabilityError, match="permutation_test"):
        model.significance()
    test = model.permutation_test(pair(), 19)
    np.testing.assert_allclose(test.correlations, model.correlations_, rtol=1e-10)


def test_confounds_are_removed_and_count_as_rows():
    Z = np.random.default_rng(1).normal(size=(60, 2))
    model = CCA(confounds="c").fit({**pair(), "c": Z})
    np.testing.assert_array_equal(
        model.significance().p_values, rao_f(model.all_correlations_, 58, 3, 4).p_values
    )
    test = model.permutation_test({**pair(), "c": Z}, 9)
    np.testing.assert_allclose(test.correlations, model.correlations_, rtol=1e-10)
    by_hand = permutation_test(pair()["a"], pair()["b"], confounds=Z, n_permutations=9)
    np.testing.assert_array_equal(test.null, by_hand.null)


@pytest.mark.parametrize(("c", "r"), [(0.2, 0.0), (0.5, 1.0), (1.0, 0.0)])
def test_shrinkage_is_a_ridge(c, r):
    model = CCA(2, ridge=r, shrinkage=c).fit(pair())
    with pytest.raises(CapabilityError, match="shrinkage"):
        model.significance()
    test = model.permutation_test(pair(), 99)
    assert test.p_values[0] == 0.01
    assert np.isfinite(test.null).all()
    np.testing.assert_allclose(test.correlations, model.correlations_, rtol=1e-9, atol=1e-12)
    if c < 1:
        same = CCA(2, ridge=(c + r) / (1 - c)).fit(pair())
        np.testing.assert_allclose(test.correlations, same.correlations_, rtol=1e-10)


def test_some_of_the_correlations_are_no_test():
    model = CCA(1).fit(pair())
    model.all_correlations_ = model.correlations_
    with pytest.raises(CapabilityError, match="all 3 correlations are needed, and 1"):
        model.significance()


def test_words_are_columns_too():
    words = ["dark night", "bright day"] * 20
    numbers = np.random.default_rng(0).normal(size=(40, 2))
    numbers[::2] += 3
    model = CCA(1, ridge=0.1).fit({"text": words, "size": numbers})
    assert model.permutation_test({"text": words, "size": numbers}, 19).p_values[0] == 0.05


def test_bad_input_is_named():
    with pytest.raises(NotFittedError):
        CCA().significance()
    with pytest.raises(NotFittedError):
        CCA().permutation_test(pair())
    model = CCA().fit(pair())
    with pytest.raises(ParameterError, match="method"):
        model.significance("pillai")
    with pytest.raises(ShapeError, match="groups: expected one for each of 60 rows"):
        model.permutation_test(pair(), groups=[1, 2])
