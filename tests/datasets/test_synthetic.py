"""Samplers against the closed form of what they promise."""

import math
from itertools import product

import numpy as np
import pytest

from triptych.coordination import CCA
from triptych.datasets.synthetic import linear_gaussian, logic_gate, shared_private
from triptych.errors import ParameterError


def test_information_in_closed_form():
    sample = linear_gaussian(10, (0.9, 0.5), dims=(4, 3))
    known = -0.5 * (math.log(1 - 0.81) + math.log(1 - 0.25))
    assert sample.mutual_information == pytest.approx(known, rel=1e-12)
    assert sample.correlations.tolist() == [0.9, 0.5, 0.0]


def test_covariance_has_the_correlations_and_the_information():
    """From the covariance alone, by other formulas: an SVD, and three determinants."""
    sample = linear_gaussian(10, (0.2, 0.95, 0.6), dims=(5, 4), random_state=3)
    S = sample.covariance
    Sa, Sb, Sab = S[:5, :5], S[5:, 5:], S[:5, 5:]
    La, Lb = np.linalg.cholesky(Sa), np.linalg.cholesky(Sb)
    rho = np.linalg.svd(np.linalg.solve(La, Sab) @ np.linalg.inv(Lb).T, compute_uv=False)
    np.testing.assert_allclose(rho, [0.95, 0.6, 0.2, 0], atol=1e-12)
    logdet = [np.linalg.slogdet(m)[1] for m in (Sa, Sb, S)]
    information = (logdet[0] + logdet[1] - logdet[2]) / 2
    assert sample.mutual_information == pytest.approx(information, rel=1e-10)
    wa, wb = sample.weights["a"], sample.weights["b"]
    np.testing.assert_allclose(wa.T @ Sa @ wa, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(wb.T @ Sb @ wb, np.eye(4), atol=1e-12)
    np.testing.assert_allclose(wa.T @ Sab @ wb, np.diag([0.95, 0.6, 0.2, 0]), atol=1e-12)


def test_rows_have_the_covariance():
    n = 50_000
    sample = linear_gaussian(n, (0.8,), dims=(3, 2), random_state=1)
    X = np.hstack([sample.X["a"], sample.X["b"]])
    S = sample.covariance
    # The standard error of a covariance is sqrt((S_ij^2 + S_ii S_jj) / n); 5 for 25 entries.
    error = np.sqrt((S**2 + np.outer(np.diag(S), np.diag(S))) / n)
    assert (np.abs(X.T @ X / n - S) < 5 * error).all()


@pytest.mark.parametrize("seed", range(3))
def test_cca_recovers_the_correlations(seed):
    n, rho = 20_000, np.array([0.9, 0.6, 0.3])
    sample = linear_gaussian(n, rho, random_state=seed)
    found = CCA(3).fit(sample.X).correlations_
    # Standard error (1 - rho^2) / sqrt(n), plus the upward bias of order pq / n.
    assert (np.abs(found - rho) < 4 * (1 - rho**2) / np.sqrt(n) + 8 * 6 / n).all()


def test_the_population_does_not_depend_on_the_rows():
    small, large = (linear_gaussian(n, random_state=5) for n in (10, 100))
    np.testing.assert_array_equal(small.covariance, large.covariance)
    named = linear_gaussian(10, random_state=5, names=("x", "y"))
    np.testing.assert_array_equal(named.X["x"], small.X["a"])


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"correlations": (0.5, 0.5), "dims": (1, 3)}, "at most 1, the columns .* got 2"),
        ({"correlations": (1.0,)}, "below 1, got 1.0"),
        ({"correlations": (-0.1,)}, "correlations: expected a number >= 0, got -0.1"),
        ({"correlations": (float("nan"),)}, "got nan"),
        ({"n": 0}, "n: expected a whole number >= 1"),
        ({"dims": (3,)}, "dims: expected one for each of the two sides"),
        ({"dims": (3, 2.5)}, "dims: expected a whole number"),
        ({"names": "ab"}, "names: expected one for each"),
        ({"names": ("a", "a")}, "two different names"),
        ({"random_state": -1}, "random_state"),
    ],
)
def test_wrong_gaussians_are_refused(given, complaint):
    with pytest.raises(ParameterError, match=complaint):
        linear_gaussian(**given)


def r2(X, F):
    X = np.column_stack([X, np.ones(len(X))])
    left = F - X @ np.linalg.lstsq(X, F, rcond=None)[0]
    return 1 - (left**2).sum() / ((F - F.mean(axis=0)) ** 2).sum()


def test_factors_are_where_they_should_be():
    sample = shared_private(3000, n_shared=3, n_private=2, noise=0.1, names=("a", "b", "c"))
    assert sample.X.names == ("a", "b", "c") and sample.shared.shape == (3000, 3)
    for name in "abc":
        assert sample.X[name].shape == (3000, 10) and sample.private[name].shape == (3000, 2)
        # Orthonormal mixing: signal 1 against noise 0.01 leaves 1 / 1.01 of the variance.
        assert r2(sample.X[name], sample.shared) == pytest.approx(1 / 1.01, abs=3e-3)
        assert r2(sample.X[name], sample.private[name]) == pytest.approx(1 / 1.01, abs=3e-3)
    # Nothing of another's own: 10 columns explain 10 / n by chance.
    assert r2(sample.X["a"], sample.private["b"]) < 4 * 10 / 3000
    # What two modalities have in common is 3 dimensions wide.
    found = CCA(5).fit(sample.X.select("a", "b")).correlations_
    assert (found[:3] > 0.97).all() and (found[3:] < 0.15).all()


def test_the_bent_mixing_bends_and_can_be_undone():
    given = {"n": 500, "noise": 0.0, "dims": 6, "random_state": 2}
    flat, bent = shared_private(**given), shared_private(**given, nonlinear=True)
    np.testing.assert_array_equal(flat.shared, bent.shared)
    factors = np.hstack([bent.shared, bent.private["a"]])
    assert r2(flat.X["a"], factors) > 1 - 1e-12
    assert 0.5 < r2(bent.X["a"], factors) < 0.97
    # Piecewise linear and invertible: the least slope is 0.2 twice, so no two rows fall together.
    near, far = (np.linalg.norm(Z[:, None] - Z[None], axis=-1) for Z in (bent.X["a"], factors))
    assert (near >= 0.2**2 * far - 1e-12).all()


def test_one_more_modality_leaves_the_others_alone():
    two, three = (shared_private(20, names=names) for names in (("a", "b"), ("c", "b", "a")))
    np.testing.assert_array_equal(two.X["a"], three.X["a"])


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"dims": 3}, "dims: expected a whole number >= 4, got 3"),
        ({"n_shared": 0, "n_private": 0}, "at least one factor"),
        ({"noise": -1}, "noise: expected a number >= 0"),
        ({"names": ()}, "names: expected different names, at least one"),
        ({"names": ("a", "a")}, "names: expected different"),
        ({"n": 1.5}, "n: expected a whole number"),
    ],
)
def test_wrong_factors_are_refused(given, complaint):
    with pytest.raises(ParameterError, match=complaint):
        shared_private(**given)


def bits(joint):
    """I(rows; columns) of a table of probabilities."""
    outer = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log2(joint[seen] / outer[seen])).sum())


def table(inputs, y):
    return np.array([[np.mean((inputs == i) & (y == k)) for k in (0, 1)] for i in set(inputs)])


@pytest.mark.parametrize("gate", ["and", "or", "xor", "copy", "unique"])
def test_parts_add_up_to_what_the_inputs_tell(gate):
    sample = logic_gate(gate, 400, balanced=True)
    a, b = (sample.X[m][:, 0].astype(int) for m in "ab")
    ia, ib, iab = (bits(table(v, sample.y)) for v in (a, b, 2 * a + b))
    assert ia == pytest.approx(sample.redundancy + sample.unique["a"], abs=1e-12)
    assert ib == pytest.approx(sample.redundancy + sample.unique["b"], abs=1e-12)
    assert iab == pytest.approx(sample.mutual_information, abs=1e-12)


@pytest.mark.parametrize(
    ("gate", "redundancy", "unique", "synergy"),
    [
        ("and", 0.311278, (0, 0), 0.5),  # Bertschinger et al. 2014, table 1
        ("or", 0.311278, (0, 0), 0.5),
        ("xor", 0, (0, 0), 1),
        ("copy", 1, (0, 0), 0),
        ("unique", 0, (1, 0), 0),
    ],
)
def test_parts_as_published(gate, redundancy, unique, synergy):
    sample = logic_gate(gate, 4, names=("left", "right"))
    assert sample.redundancy == pytest.approx(redundancy, abs=1e-6)
    assert tuple(sample.unique.items()) == (("left", unique[0]), ("right", unique[1]))
    assert sample.synergy == synergy


def test_gates_do_what_they_are_called():
    truth = {"and": lambda a, b: a and b, "or": lambda a, b: a or b, "xor": lambda a, b: a != b}
    for gate, f in truth.items():
        sample = logic_gate(gate, 40, balanced=True)
        rows = set(zip(sample.X["a"][:, 0], sample.X["b"][:, 0], sample.y, strict=True))
        assert rows == {(a, b, int(f(a, b))) for a, b in product((0, 1), repeat=2)}
    copy = logic_gate("copy", 40)
    assert (copy.X["a"] == copy.X["b"]).all() and (copy.X["a"][:, 0] == copy.y).all()


def test_coins_are_fair_and_seeded():
    n = 10_000
    sample = logic_gate("unique", n, random_state=7)
    a, b = (sample.X[m][:, 0] for m in "ab")
    # 4 standard errors of a fair coin, and of the correlation of two.
    assert abs(a.mean() - 0.5) < 4 * 0.5 / np.sqrt(n) and abs(b.mean() - 0.5) < 4 * 0.5 / np.sqrt(
        n
    )
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(n)
    np.testing.assert_array_equal(logic_gate("unique", n, random_state=7).y, sample.y)
    assert (logic_gate("unique", n, random_state=8).y != sample.y).any()


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"gate": "nor"}, "gate: expected one of 'and', 'or', 'xor', 'copy', 'unique'; got 'nor'"),
        ({"n": 0}, "n: expected a whole number >= 1"),
        ({"n": 10, "balanced": True}, "multiple of 4 when balanced, got 10"),
        ({"names": ("a",)}, "names: expected one for each of the two sides"),
    ],
)
def test_wrong_gates_are_refused(given, complaint):
    with pytest.raises(ParameterError, match=complaint):
        logic_gate(**given)
