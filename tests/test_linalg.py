"""Standardising, rank, angles and signs, where float64 is at its limits."""

import numpy as np
import pytest

from triptych.linalg import canonical_pairs, fixed_signs, standardise, thin_svd


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("factor", [1.0, 1e150, 1e-150, -3.0])
def test_standardised_columns_have_mean_0_and_spread_1(factor):
    X = (draw(50, 4) * [1, 5, 0.1, 2] + [0, 1, -7, 100]) * factor
    kept = X.copy()
    Y, means, spreads, constant, _ = standardise(X)
    # Sums of 50 rounded numbers of size 1.
    np.testing.assert_allclose(Y.mean(axis=0), 0, atol=1e-14)
    np.testing.assert_allclose(Y.std(axis=0, ddof=1), 1, rtol=1e-13)
    np.testing.assert_allclose(Y * spreads + means, X, rtol=1e-13)
    assert not constant.any()
    np.testing.assert_array_equal(X, kept)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e150, 1e-300, 1e16, 5e-324])
def test_a_constant_column_is_zero(value):
    Y, means, spreads, constant, noise = standardise(np.column_stack([draw(9), np.full(9, value)]))
    assert constant.tolist() == [False, True]
    assert (Y[:, 1] == 0).all() and spreads[1] == 1 and noise[1] == 0
    np.testing.assert_allclose(means[1], value, rtol=1e-15)


def test_whole_numbers_and_booleans_are_numbers():
    X = np.array([[1, 0], [2, 1], [4, 1]])
    np.testing.assert_array_equal(standardise(X).values, standardise(X.astype(float)).values)
    assert standardise(X > [1, 0]).values.std(axis=0, ddof=1).round(12).tolist() == [1, 1]


def test_a_large_mean_costs_the_digits_that_it_must():
    x = draw(1000, 3)
    got = standardise(x + 1e9)
    # 1e9 leaves 16 - 9 = 7 digits of numbers of size 1.
    np.testing.assert_allclose(got.values, standardise(x).values, atol=1e-6)
    np.testing.assert_allclose(got.noise, 2.2e-16 * 1e9, rtol=0.2)


@pytest.mark.parametrize(("n", "p"), [(30, 5), (5, 30), (8, 8), (2, 3), (3, 1)])
def test_thin_svd_rebuilds(n, p):
    X = draw(n, p)
    U, s, Vt = thin_svd(X)
    assert U.shape == (n, len(s)) and Vt.shape == (len(s), p) and len(s) == min(n, p)
    np.testing.assert_allclose(U * s @ Vt, X, atol=1e-13)
    np.testing.assert_allclose(U.T @ U, np.eye(len(s)), atol=1e-14)
    np.testing.assert_allclose(Vt @ Vt.T, np.eye(len(s)), atol=1e-14)
    assert (np.diff(s) <= 0).all()


@pytest.mark.parametrize("shape", [(40, 12), (12, 40)])
def test_rank_is_found(shape):
    n, p = shape
    X = draw(n, 3) @ draw(3, p, seed=1)
    assert len(thin_svd(X)[1]) == 3
    assert len(thin_svd(X * 1e-200)[1]) == 3
    assert len(thin_svd(np.zeros(shape))[1]) == 0


def test_a_small_direction_counts_and_rounding_does_not():
    X = draw(200, 3)
    near = np.column_stack([X, X[:, 0] + 1e-6 * draw(200, seed=1)])
    assert len(thin_svd(standardise(near).values)[1]) == 4
    # A sum of columns is dependent, but far from 0 it is rounded in its 7th digit.
    far = X + 1e9
    scaled = standardise(np.column_stack([far, far[:, 0] + far[:, 1]]))
    assert len(thin_svd(scaled.values)[1]) == 4
    assert len(thin_svd(scaled.values, scaled.noise)[1]) == 3


def test_a_noisy_column_costs_no_other_direction():
    X = draw(200, 3)
    X[:, 1] = X[:, 0] + 1e-3 * X[:, 1]
    X[:, 2] += 1e13
    scaled = standardise(X)
    assert len(thin_svd(scaled.values, scaled.noise)[1]) == 3


def test_single_precision_is_known_as_such():
    X = draw(100, 2).astype(np.float32)
    both = np.column_stack([X, X[:, 0] + X[:, 1]])
    scaled = standardise(both)
    assert scaled.values.dtype == np.float64
    assert len(thin_svd(scaled.values, scaled.noise)[1]) == 2


def test_angles_between_known_spaces():
    cosines = np.array([0.9, 0.4])
    Ua = np.eye(5)[:, :2]
    Ub = np.zeros((5, 3))
    Ub[[0, 1], [0, 1]] = cosines
    Ub[[2, 3], [0, 1]] = np.sqrt(1 - cosines**2)
    Ub[4, 2] = 1
    turn = np.linalg.qr(draw(3, 3))[0]
    P, rho, Q = canonical_pairs(Ua, Ub @ turn)
    np.testing.assert_allclose(rho, cosines, rtol=1e-14)
    np.testing.assert_allclose((Ua @ P).T @ (Ub @ turn @ Q), np.diag(rho), atol=1e-15)
    _, rho, _ = canonical_pairs(Ua, Ub, np.array([0.5, 0.5]), np.array([1, 0.25, 1]))
    np.testing.assert_allclose(rho, [0.45, 0.05], rtol=1e-14)


def test_equal_spaces_have_cosines_of_at_most_1():
    U = np.linalg.qr(draw(100, 20))[0]
    _, rho, _ = canonical_pairs(U, U)
    assert rho.max() <= 1


def test_signs_make_the_largest_entry_positive():
    a, b = np.array([[1.0, 2.0, 0.0]]), np.array([[-3.0, 1.0, 0.0], [2.0, -1.0, 0.0]])
    assert fixed_signs(a, b).tolist() == [-1, 1, 1]


def test_rounding_does_not_choose_between_equal_entries():
    tied = np.array([[1.0], [-1.0 - 1e-12]])
    assert fixed_signs(tied).tolist() == [1]
