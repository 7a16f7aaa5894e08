"""Normal and copula estimators: closed forms, their bias, and what they refuse."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import digamma

from triptych.datasets.beyond_normal import load_task
from triptych.errors import DataError
from triptych.information import _copula, _gaussian


def correlated(n, d, seed=0):
    """Rows of a covariance of its own, (n, d), and that covariance."""
    rng = np.random.default_rng(seed)
    A = np.random.default_rng(99).normal(size=(d, d))
    return rng.normal(size=(n, d)) @ A.T, A @ A.T


def log_det(S):
    return np.linalg.slogdet(S)[1]


def truth_of_pair(S, p):
    return 0.5 * (log_det(S[:p, :p]) + log_det(S[p:, p:]) - log_det(S))


def test_entropy_without_bias_in_few_rows():
    S = correlated(2, 4)[1]
    truth = 0.5 * (4 * np.log(2 * np.pi * np.e) + log_det(S))
    values = [_gaussian.entropy(correlated(12, 4, seed)[0]).value for seed in range(400)]
    # the plug-in is 0.5 too low here; the mean of 400 has a standard error of 0.025
    assert np.mean(values) == pytest.approx(truth, abs=0.1)


def test_information_without_bias_in_few_rows():
    S = correlated(2, 6)[1]
    values = []
    for seed in range(400):
        X = correlated(20, 6, seed)[0]
        values.append(_gaussian.mutual_information(X[:, :3], X[:, 3:]).value)
    error = np.std(values) / 20
    assert abs(np.mean(values) - truth_of_pair(S, 3)) < 4 * error
    plug_in_bias = 9 / (2 * 20)
    assert 4 * error < plug_in_bias / 2  # so that the test would see the bias


def test_conditional_information_and_the_chain_rule():
    X, S = correlated(3000, 5)
    x, y, z = X[:, :2], X[:, 2:3], X[:, 3:]
    found = _gaussian.conditional_mutual_information(x, y, z)

    def part(*columns):
        return log_det(S[np.ix_(columns, columns)])

    truth = 0.5 * (part(0, 1, 3, 4) + part(2, 3, 4) - part(3, 4) - part(0, 1, 2, 3, 4))
    assert abs(found.value - truth) < 4 * found.standard_error
    whole = _gaussian.mutual_information(x, np.hstack([y, z]))
    part_z = _gaussian.mutual_information(x, z)
    assert found.value == pytest.approx(whole.value - part_z.value, abs=1e-9)
    same = _gaussian.conditional_mutual_information(x, y, np.ones(3000))
    assert same.value == pytest.approx(_gaussian.mutual_information(x, y).value, abs=1e-12)


def test_divergence_without_bias_in_few_rows():
    A, B = correlated(2, 2)[1], np.array([[2.0, 0.5], [0.5, 1.0]])
    shift = np.array([0.5, -1.0])
    inverse = np.linalg.inv(B)
    truth = 0.5 * (np.trace(inverse @ A) + shift @ inverse @ shift - 2 + log_det(B) - log_det(A))
    values = []
    for seed in range(600):
        rng = np.random.default_rng(seed)
        x = rng.multivariate_normal(shift, A, size=25)
        y = rng.multivariate_normal([0, 0], B, size=40)
        values.append(_gaussian.divergence(x, y).value)
    error = np.std(values) / np.sqrt(600)
    assert abs(np.mean(values) - truth) < 4 * error
    x, y = rng.multivariate_normal(shift, A, size=5000), rng.multivariate_normal([0, 0], B, 5000)
    found = _gaussian.divergence(x, y)
    assert abs(found.value - truth) < 4 * found.standard_error


@pytest.mark.parametrize("estimate", [_gaussian.mutual_information, _gaussian.copula])
def test_error_matches_the_spread_even_at_independence(estimate):
    for rho in (0.0, 0.7):
        values, errors = [], []
        for seed in range(200):
            rng = np.random.default_rng(seed)
            x = rng.normal(size=(200, 1))
            found = estimate(x, rho * x + np.sqrt(1 - rho**2) * rng.normal(size=(200, 1)))
            values.append(found.value)
            errors.append(found.standard_error)
        # a spread of 200 values is known to 5 %, that of squares of normals to 15 %; at
        # independence the error varies with the estimate and is on the safe side
        assert 0.8 < np.mean(errors) / np.std(values) < (1.8 if rho == 0 else 1.2)


def test_information_knows_no_linear_map_and_is_symmetric():
    X, _ = correlated(100, 5)
    x, y = X[:, :2], X[:, 2:]
    there = float(_gaussian.mutual_information(x, y))
    A = np.random.default_rng(1).normal(size=(3, 3))
    assert float(_gaussian.mutual_information(x * [1e9, 1e-9], y @ A)) == pytest.approx(
        there, abs=1e-8
    )
    assert float(_gaussian.mutual_information(y, x)) == pytest.approx(there, abs=1e-10)


def test_copulas_know_no_rising_map():
    X, _ = correlated(300, 4)
    x, y = X[:, :2], X[:, 2:]
    for estimate in (_gaussian.copula, _copula.student):
        there = float(estimate(x, y))
        assert float(estimate(np.exp(x), np.cbrt(y))) == pytest.approx(there, abs=1e-9)
        assert float(estimate(y, x)) == pytest.approx(there, abs=1e-3)  # search of the degrees


def test_normal_copula_written_plainly():
    X, _ = correlated(150, 3)
    z = np.column_stack([stats.norm.ppf(stats.rankdata(c) / 151) for c in X.T])
    S = np.cov(z.T)
    plug_in = 0.5 * (np.log(S[0, 0]) + log_det(S[1:, 1:]) - log_det(S))

    def bias(d):
        psi = sum(digamma((150 - j) / 2) for j in range(1, d + 1))
        return 0.5 * (psi + d * np.log(2 / 149))

    expected = plug_in - (bias(1) + bias(2) - bias(3))
    assert float(_gaussian.copula(X[:, 0], X[:, 1:])) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("name", ["student 2+2 dof 1", "asinh(student 2+2 dof 1)", "dense 3+3"])
def test_student_copula_finds_the_degrees_and_the_information(name):
    task = load_task(name)
    x, y = task.sample(2000, 0)
    found = _copula.student(x, y)
    assert abs(found.value - task.mutual_information) < 4 * found.standard_error
    assert found.warnings == ()
    degrees = _copula.fit_degrees(stats.rankdata(np.hstack([x, y]), axis=0) / 2001)
    assert degrees == pytest.approx(1, abs=0.2) if "student" in name else degrees > 30


def test_student_density_is_that_of_scipy():
    R = np.array([[1.0, 0.3], [0.3, 1.0]])
    at = np.random.default_rng(0).normal(size=(7, 2))
    expected = stats.multivariate_t([0, 0], R, df=2.5).logpdf(at)
    np.testing.assert_allclose(_copula._log_density(at, R, 2.5), expected, atol=1e-12)
    entropy = stats.multivariate_t([0, 0], np.eye(2), df=2.5).entropy()
    assert _copula._entropy(2.5, 2) == pytest.approx(entropy, abs=1e-9)


def test_bent_dependence_is_said():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 2))
    bent = np.hstack(
        [x[:, :1] ** 2 + 0.3 * rng.normal(size=(3000, 1)), rng.normal(size=(3000, 1))]
    )
    for estimate in (_gaussian.copula, _copula.student):
        assert _copula.BENT in estimate(x, bent).warnings
    straight = 0.6 * x + 0.8 * rng.normal(size=(3000, 2))
    assert _gaussian.copula(x, straight).warnings == ()


def test_the_fit_is_seldom_doubted_without_reason():
    doubts = 0
    for seed in range(60):
        X, _ = correlated(400, 6, seed)
        doubts += _copula.BENT in _gaussian.copula(X[:, :3], X[:, 3:]).warnings
    assert doubts <= 2  # the limits allow well below 1 %


def test_ties_are_said():
    x = np.random.default_rng(0).integers(0, 9, size=(500, 1)).astype(float)
    y = x + np.random.default_rng(1).normal(size=(500, 1))
    assert any("ranks are shared" in note for note in _gaussian.copula(x, y).warnings)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda X: _gaussian.entropy(X[:4]),
            "x: a normal entropy of 3 columns needs at least 5 rows",
        ),
        (lambda X: _gaussian.entropy(X @ np.ones((3, 2))), "x: a column is a linear function"),
        (lambda X: _gaussian.entropy(X * [1, 0, 1]), "x: a constant column has no density"),
        (lambda X: _gaussian.mutual_information(X, X[:, 0]), "x and y: a column is a linear"),
        (lambda X: _gaussian.mutual_information(X[:3], X[:3]), "at least 4 rows, got 3"),
        (lambda X: _gaussian.mutual_information(X[:6], X[:6] + X[1:7]), "needs at least 8 rows"),
        (lambda X: _gaussian.copula(X, X[:, ::-1] ** 3), "linear function"),
        (lambda X: _copula.student(X, X), "linear function"),
        (lambda X: _gaussian.divergence(X, X[:4]), "y: a normal divergence of 3 columns needs"),
        (lambda X: _gaussian.divergence(X, X[:, :2]), "x with 3 and y with 2"),
    ],
)
def test_what_cannot_be_used_is_named(call, words):
    with pytest.raises(DataError, match=words):
        call(np.random.default_rng(0).normal(size=(60, 3)))


def test_a_constant_tells_nothing():
    x = np.random.default_rng(0).normal(size=50)
    for estimate in (_gaussian.mutual_information, _gaussian.copula, _copula.student):
        assert float(estimate(x, np.ones(50))) == 0.0
