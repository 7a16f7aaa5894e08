"""Permutation: uniform under the null, also after a real component, and with groups."""

import numpy as np
import pytest

from triptych.canonical import permutation_test, rao_f
from triptych.errors import CapabilityError, DataError, ParameterError, ShapeError
from triptych.values import decode, encode

REPEATS, PERMUTATIONS = 200, 99
# Mean of 200 uniform p-values, and share of them below 0.2: three standard errors.
MEAN = 3 / np.sqrt(12 * REPEATS)
SHARE = 3 * np.sqrt(0.2 * 0.8 / REPEATS)


def correlations(A, B):
    A, B = A - A.mean(axis=0), B - B.mean(axis=0)
    return np.linalg.svd(np.linalg.qr(A)[0].T @ np.linalg.qr(B)[0], compute_uv=False)


def simulated(n=14, rho=(), p=3, q=3, noise=None, **kwargs):
    """p-values (repeats, components) of modalities whose first correlations are ``rho``."""
    random = np.random.default_rng(5)
    draw = noise or random.normal
    found = []
    for i in range(REPEATS):
        A, B = draw(size=(n, p)), draw(size=(n, q))
        for j, r in enumerate(rho):
            B[:, j] = r * A[:, j] + np.sqrt(1 - r**2) * B[:, j]
        test = permutation_test(A, B, n_permutations=PERMUTATIONS, random_state=i, **kwargs)
        found.append(test.p_values)
    return np.array(found)


@pytest.mark.parametrize("statistic", ["wilks", "roy"])
def test_uniform_when_nothing_is_shared(statistic):
    p = simulated(statistic=statistic, n_components=1)[:, 0]
    assert abs(p.mean() - 0.5) < MEAN + 1 / PERMUTATIONS
    assert abs((p <= 0.2).mean() - 0.2) < SHARE


def test_uniform_for_rows_far_from_normal():
    random = np.random.default_rng(6)
    p = simulated(noise=lambda size: random.standard_t(2, size=size), n_components=1)[:, 0]
    assert abs((p <= 0.2).mean() - 0.2) < SHARE


def test_uniform_for_the_second_component_after_a_real_first():
    p = simulated(rho=[0.95], n_components=2)
    assert (p[:, 0] <= 0.05).mean() > 0.9
    assert abs(p[:, 1].mean() - 0.5) < MEAN + 1 / PERMUTATIONS
    assert abs((p[:, 1] <= 0.2).mean() - 0.2) < SHARE


def test_unlike_widths_and_two_real_components():
    p = simulated(n=16, rho=[0.98, 0.95], p=3, q=5, n_components=3)
    assert abs(p[:, 2].mean() - 0.5) < MEAN + 1 / PERMUTATIONS
    assert abs((p[:, 2] <= 0.2).mean() - 0.2) < SHARE


def test_family_wise_errors_under_the_global_null():
    p = np.maximum.accumulate(simulated(), axis=1)
    assert ((p <= 0.2).any(axis=1)).mean() < 0.2 + SHARE


def test_confounds_are_removed():
    random = np.random.default_rng(7)
    found = []
    for i in range(REPEATS):
        Z = random.normal(size=(18, 3))
        A = random.normal(size=(18, 2)) + 3 * Z[:, :2]
        B = random.normal(size=(18, 2)) + 3 * Z[:, 1:]
        test = permutation_test(A, B, confounds=Z, n_permutations=PERMUTATIONS, random_state=i)
        found.append(test.p_values[0])
    assert abs(np.mean(found) - 0.5) < MEAN + 1 / PERMUTATIONS
    assert abs((np.array(found) <= 0.2).mean() - 0.2) < SHARE
    R = np.eye(18) - np.linalg.pinv(np.column_stack([np.ones(18), Z]).T).dot(
        np.column_stack([np.ones(18), Z]).T
    )
    # Theil's basis keeps the inner products of residuals only if its rows span them all.
    np.testing.assert_allclose(test.correlations, correlations(R @ A, R @ B), rtol=1e-9)
    assert test.n_samples == 14


def test_groups_that_repeat_a_thing():
    # Five noisy measurements of each of 8 things: rows are far from exchangeable.
    random, free, whole = np.random.default_rng(8), [], []
    groups = np.repeat(np.arange(8), 5)
    for i in range(REPEATS):
        A, B = (
            random.normal(size=(8, 1)).repeat(5, axis=0) + 0.1 * random.normal(size=(40, 1))
            for _ in range(2)
        )
        if i < 60:
            free.append(permutation_test(A, B, n_permutations=99, random_state=i).p_values[0])
        test = permutation_test(A, B, n_permutations=99, random_state=i, groups=groups)
        whole.append(test.p_values[0])
    assert (np.array(free) <= 0.2).mean() > 0.4
    assert abs((np.array(whole) <= 0.2).mean() - 0.2) < SHARE


def test_sites_with_means_of_their_own():
    random, free, within = np.random.default_rng(9), [], []
    sites = np.arange(30) % 3
    for i in range(REPEATS):
        shift = random.normal(size=(3, 1))[sites] * 2
        A, B = (random.normal(size=(30, 1)) + shift for _ in range(2))
        if i < 60:
            free.append(permutation_test(A, B, n_permutations=99, random_state=i).p_values[0])
        within.append(
            permutation_test(
                A, B, n_permutations=99, random_state=i, groups=sites, exchange="within"
            ).p_values[0]
        )
    assert (np.array(free) <= 0.2).mean() > 0.5
    assert abs((np.array(within) <= 0.2).mean() - 0.2) < SHARE


def test_agrees_with_theory_for_normal_rows():
    random = np.random.default_rng(1)
    A = random.normal(size=(120, 4))
    B = 0.25 * A[:, :3] + random.normal(size=(120, 3))
    rho = correlations(A, B)
    test = permutation_test(A, B, n_permutations=999)
    theory = rao_f(rho, 120, 4, 3).p_values
    # Binomial error of a p-value from 999 permutations, and the asymptotics of k > 0.
    error = 4 * np.sqrt(theory * (1 - theory) / 999) + 0.02
    assert (np.abs(test.p_values - theory) < error).all()
    np.testing.assert_allclose(test.correlations, rho, rtol=1e-10)


def test_the_null_of_the_first_component_is_that_of_shuffled_rows():
    random = np.random.default_rng(2)
    A, B = random.normal(size=(30, 3)), random.normal(size=(30, 2))
    test = permutation_test(A, B, n_permutations=400)
    plain = [correlations(A, B[random.permutation(30)])[0] for _ in range(400)]
    spread = np.std(plain)
    # The standard error of a difference of two means of 400.
    assert abs(test.null[:, 0].mean() - np.mean(plain)) < 3 * spread * np.sqrt(2 / 400)
    assert test.level(0.95)[0] == np.quantile(test.null[:, 0], 0.95)


def test_ridge_tests_the_regularised_correlations():
    random = np.random.default_rng(3)
    A, B = random.normal(size=(12, 30)), random.normal(size=(12, 30))
    plain = permutation_test(A, B, n_permutations=49, n_components=2)
    np.testing.assert_allclose(plain.correlations, 1)
    np.testing.assert_array_equal(plain.p_values, 1)  # every permutation does as well: ties
    B += 2 * A
    some = permutation_test(A, B, ridge=(1.0, 1.0), n_permutations=199, n_components=2)
    assert some.correlations[0] < 1
    assert some.p_values[0] < 0.05
    again = permutation_test(B, A, ridge=(1.0, 1.0), n_permutations=199, n_components=2)
    np.testing.assert_allclose(again.correlations, some.correlations, rtol=1e-10)


def test_confounds_and_ridge_are_a_ridge_on_the_residuals():
    random = np.random.default_rng(3)
    Z, A, B = (random.normal(size=(30, p)) for p in (3, 4, 2))
    design = np.column_stack([np.ones(30), Z])
    X, Y = (V - design @ np.linalg.lstsq(design, V, rcond=None)[0] for V in (A, B))
    X, Y = (V / V.std(axis=0, ddof=1) for V in (X, Y))
    inner = [V.T @ V / 29 + 0.7 * np.eye(V.shape[1]) for V in (X, Y)]
    M = np.linalg.solve(inner[0], X.T @ Y / 29) @ np.linalg.solve(inner[1], Y.T @ X / 29)
    rho = np.sqrt(np.sort(np.linalg.eigvals(M).real)[::-1][:2])
    test = permutation_test(A, B, confounds=Z, ridge=(0.7, 0.7), n_permutations=9)
    np.testing.assert_allclose(test.correlations, rho, rtol=1e-9)


def test_same_seed_same_answer_and_order_of_columns_is_nothing():
    random = np.random.default_rng(4)
    A, B = random.normal(size=(20, 3)), random.normal(size=(20, 3))
    one, two = (permutation_test(A, B, n_permutations=20, random_state=3) for _ in range(2))
    np.testing.assert_array_equal(one.null, two.null)
    other = permutation_test(A @ random.normal(size=(3, 3)), B[:, ::-1] * 7, n_permutations=20,
                             random_state=3)  # fmt: skip
    np.testing.assert_allclose(other.null, one.null, rtol=1e-8)
    assert (one.p_values_fwe == np.maximum.accumulate(one.p_values)).all()
    assert (one.p_values >= 1 / 21).all()


@pytest.mark.parametrize("factor", [1e150, 1e-150])
def test_degenerate_rows_give_no_nan(factor):
    A = np.array([[0.0, 1, 1, 2], [2, 5, 1, 10]])
    test = permutation_test(A * factor, [[3.0], [-1]], n_permutations=9)
    np.testing.assert_array_equal(test.p_values, 1)
    random = np.random.default_rng(5)
    B = random.normal(size=(9, 4))
    collinear = permutation_test(B[:, :2] * factor, B @ [[1, 0], [0, 1], [0, 0], [0, 0]],
                                 n_permutations=99)  # fmt: skip
    np.testing.assert_allclose(collinear.correlations, 1)
    assert (collinear.p_values < 0.1).all()
    assert np.isfinite(collinear.null).all()


def test_result_can_be_saved():
    random = np.random.default_rng(4)
    test = permutation_test(random.normal(size=(9, 2)), random.normal(size=(9, 2)))
    arrays = {}
    again = decode(encode(test, arrays, "t"), arrays, {}, {})
    np.testing.assert_array_equal(again.null, test.null)
    assert again.statistic == test.statistic


def test_bad_input_is_named():
    A = np.random.default_rng(0).normal(size=(10, 2))
    with pytest.raises(ShapeError, match=r"\(10, 2\), \(9, 2\)"):
        permutation_test(A, A[:9])
    with pytest.raises(DataError, match="every column of the second is constant"):
        permutation_test(A, np.ones((10, 2)))
    with pytest.raises(ParameterError, match="n_permutations"):
        permutation_test(A, A, n_permutations=0)
    with pytest.raises(ParameterError, match="n_components"):
        permutation_test(A, A, n_components=3)
    with pytest.raises(ParameterError, match="statistic"):
        permutation_test(A, A, statistic="pillai")
    with pytest.raises(ParameterError, match=r"ridge\[1\]"):
        permutation_test(A, A, ridge=(0, -1))
    with pytest.raises(ShapeError, match="one label for each of 10 rows"):
        permutation_test(A, A, groups=[1, 2])
    with pytest.raises(ParameterError, match="no two have the same"):
        permutation_test(A, A, groups=[0] * 4 + [1] * 6)
    with pytest.raises(ParameterError, match="nothing changes places within"):
        permutation_test(A, A, groups=np.arange(10), exchange="within")
    with pytest.raises(CapabilityError, match="confounds with whole groups"):
        permutation_test(A, A, groups=[0] * 5 + [1] * 5, confounds=A)
    with pytest.raises(DataError, match="leave fewer than 2"):
        permutation_test(A, A, confounds=np.random.default_rng(1).normal(size=(10, 9)))


def test_a_ridge_and_many_columns_call_no_later_component_real():
    random, found = np.random.default_rng(0), []
    for i in range(60):
        A, B = random.normal(size=(2, 50, 30))
        B[:, 0] = A[:, 0] + 0.1 * B[:, 0]
        test = permutation_test(
            A, B, n_permutations=19, n_components=3, ridge=(0.1, 0.1), random_state=i
        )
        assert test.statistic == "roy"
        found.append(test.p_values)
    p = np.array(found)
    assert (p[:, 0] <= 0.1).mean() > 0.5
    # On the safe side: three standard errors above the level of uniform p-values.
    assert ((p[:, 1:] <= 0.1).mean(axis=0) < 0.1 + 3 * np.sqrt(0.09 / 60)).all()
