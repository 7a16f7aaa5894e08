"""Bases of standardised columns: what each road sees, and what it says of its own error."""

import numpy as np
import pytest

from triptych.bases import (
    Penalty,
    by_cholesky,
    by_eigenvalues,
    by_singular_values,
    numerical_rank,
    refined,
    whitener,
)
from triptych.linalg import EPS, standardise

NONE = Penalty()


def columns(n=400, sizes=(1.0, 0.5, 0.1), seed=0):
    """Standardised columns over the root of n - 1, of falling directions."""
    rng = np.random.default_rng(seed)
    p = len(sizes)
    X = rng.normal(size=(n, p)) * sizes @ np.linalg.qr(rng.normal(size=(p, p)))[0]
    return standardise(X).values / np.sqrt(n - 1)


@pytest.mark.parametrize("penalty", [NONE, Penalty(1.0, 0.3), Penalty(0.6, 0.4)])
def test_directions_are_orthonormal_under_the_penalty(penalty):
    Z = columns()
    C = Z.T @ Z
    A = penalty.keep * C + penalty.add * np.eye(3)
    U, s, Vt = np.linalg.svd(Z, full_matrices=False)
    found = by_cholesky(C, penalty, EPS)
    for basis, Q in ((found, Z), (by_singular_values(s, Vt, penalty, 0.0), U)):
        turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
        at = basis.place(turn)
        other = np.random.default_rng(2).normal(size=(400, 2))
        weights, products = basis.expand(turn, Q.T @ other)
        np.testing.assert_allclose(weights.T @ A @ weights, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(Q @ at, Z @ weights, atol=1e-12)
        np.testing.assert_allclose(basis.own(at), Q.T @ (Q @ at), atol=1e-12)
        # What lies outside the columns' space has no product with them.
        np.testing.assert_allclose(products, Z.T @ other, atol=1e-12)


def test_cholesky_knows_its_condition():
    for power in (1, 3, 5):
        Z = columns(sizes=(1.0, 10.0**-power, 10.0**-power))
        C = Z.T @ Z
        found = by_cholesky(C, NONE, 1e-16)
        assert found is not None
        exact = 1e-16 / np.linalg.eigvalsh(C)[0]
        assert exact * 0.9 < found.error < 2 * exact
    copied = np.column_stack([Z, Z[:, 0]])
    assert by_cholesky(copied.T @ copied, NONE, EPS) is None
    # A penalty makes a factor, but not a direction that the columns lack.
    assert by_cholesky(copied.T @ copied, Penalty(1.0, 0.1), EPS) is None


def test_one_look_leaves_out_what_it_cannot_see():
    Z = columns(sizes=(1.0, 0.3, 1e-9))
    s, Vt, error = by_eigenvalues(Z.T @ Z, EPS, np.zeros(3))
    assert len(s) == 2 and Vt.shape == (2, 3) and error < 1e-10
    assert len(by_eigenvalues(np.eye(2), EPS, np.full(2, 2.0))[0]) == 0  # all is rounding


@pytest.mark.parametrize("power", [3, 6, 9, 11])
def test_a_second_pass_sees_what_the_first_blurred(power):
    sizes = np.logspace(0, -power, 6)
    rng = np.random.default_rng(power)
    Z = (
        np.linalg.qr(rng.normal(size=(500, 6)))[0]
        * sizes
        @ np.linalg.qr(rng.normal(size=(6, 6)))[0]
    )
    W, back = whitener(Z.T @ Z, 4 * EPS)
    Q = Z @ W
    s, Vt, inner, error = refined(Q.T @ Q, back, np.zeros(6), 500)
    # Singular values are sure to machine epsilon of the largest, with some for the products.
    np.testing.assert_allclose(s, sizes, atol=1e-14)
    # The smallest direction is turned by rounding as large as epsilon times the condition.
    U = Q @ inner
    np.testing.assert_allclose(U.T @ U, np.eye(6), atol=1e-14 * 10**power + 1e-13)
    np.testing.assert_allclose(U * s @ Vt, Z, atol=1e-14)
    assert error < 1e-2


def test_rank_is_that_of_thin_svd():
    s, Vt = np.array([1.0, 1e-6, 1e-15]), np.eye(3)
    keep, _ = numerical_rank(s, Vt, np.zeros(3), 100)
    assert keep.tolist() == [True, True, False]
    keep, error = numerical_rank(s, Vt, np.array([0.0, 2e-6, 0.0]), 100)
    assert keep.tolist() == [True, False, False]
    assert error < 1e-14
