"""What is read as what, which estimator is asked, and what is refused."""

import math
import subprocess
import sys
import types

import numpy as np
import pytest

import triptych
import triptych.information as information
from triptych import Modalities
from triptych.contracts.estimate import Estimate
from triptych.errors import DataError, ParameterError, ShapeError
from triptych.information import (
    conditional_entropy,
    conditional_mutual_information,
    dual_total_correlation,
    entropy,
    interaction_information,
    joint_entropy,
    mutual_information,
    o_information,
    permutation_test,
    total_correlation,
)


class Gaussian:
    """Stands for the nearest-neighbour estimators: exact for normal data, from covariances."""

    def __init__(self):
        self.asked = []

    def _said(self, name, value, n, k):
        self.asked.append((name, k))
        return Estimate.normal(value, 0.01, n_samples=n, estimator=name)

    @staticmethod
    def _logdet(*parts):
        joint = np.concatenate(parts, axis=1)
        return np.linalg.slogdet(np.atleast_2d(np.cov(joint.T)))[1] / 2

    def entropy(self, x, *, k, random_state, name):
        d = x.shape[1]
        value = self._logdet(x) + d / 2 * math.log(2 * math.pi * math.e)
        return self._said("knn", value, len(x), k)

    def pair(self, name):
        def ksg(x, y, *, k, random_state):
            value = self._logdet(x) + self._logdet(y) - self._logdet(x, y)
            return self._said(name, value, len(x), k)

        return ksg

    def mixed(self, x, y, *, k, names):
        return self._said("mixed", 0.5, len(x), k)

    def ross(self, x, labels, *, k, random_state, names):
        assert labels.ndim == 1 and x.ndim == 2
        return self._said("ross", 0.25, len(x), k)

    def conditional(self, x, y, z, *, k, names):
        d = self._logdet
        value = d(x, z) + d(y, z) - d(x, y, z) - d(z)
        return self._said("frenzel-pompe", value, len(x), k)

    def divergence(self, x, y, *, k):
        return self._said("knn", 0.75, len(x), k)


@pytest.fixture
def neighbours(monkeypatch):
    """The estimators of continuous variables, replaced by what is known exactly."""
    stub = Gaussian()

    def choose(x, y, x_discrete, y_discrete):
        assert x.ndim == y.ndim == 2 and x.dtype == y.dtype == np.float64
        return ("ross" if x_discrete != y_discrete else "ksg"), "because"

    pairs = {name: stub.pair(name) for name in ("ksg", "ksg-2")}
    modules = {
        "_knn": stub,
        "_densities": stub,
        "_choice": types.SimpleNamespace(choose=choose, PAIRS=pairs),
    }
    for name, value in modules.items():
        monkeypatch.setattr(information, name, value, raising=False)
        monkeypatch.setitem(sys.modules, f"triptych.information.{name}", value)
    return stub


def normal(n=2000, seed=0, p=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, p)) @ rng.normal(size=(p, p))


@pytest.mark.parametrize(
    ("data", "discrete", "categories"),
    [
        ([0, 1, 2] * 10, None, 3),
        (["a", "b"] * 10, None, 2),
        (np.array([True, False] * 10), None, 2),
        (np.array([["a", "x"], ["a", "y"]] * 10), None, 2),
        (np.array([0.5, 1.5] * 10), True, 2),
        (np.array([[0, 1], [0, 1], [1, 1]] * 10, dtype=np.uint8), None, 2),
        (Modalities({"t": ["a", "b", "c"] * 8})["t"], None, 3),
        ([("a", 1), ("b", 2)] * 5, None, 10**9),
    ],
)
def test_what_is_read_as_categories(data, discrete, categories):
    found = entropy(data, discrete=discrete, estimator="plug-in")
    assert 0 < found.value <= math.log(categories) + 1e-12


def test_what_is_read_as_numbers(neighbours):
    x = normal()[:, :1]
    assert entropy(x).estimator == "knn"
    assert entropy(np.arange(50), discrete=False, k=7).estimator == "knn"
    assert neighbours.asked == [("knn", 3), ("knn", 7)]
    found = mutual_information(x, np.arange(2000) % 3)
    assert found.estimator == "ross" and found.reason == "because"
    assert mutual_information(np.arange(2000) % 3, x, unit="bits").value == pytest.approx(
        0.25 / math.log(2)
    )
    assert mutual_information(x, x + 1, estimator="ksg-2").estimator == "ksg-2"
    assert mutual_information(x, ["a", "b"] * 1000, estimator="mixed").estimator == "mixed"
    assert neighbours.asked[-1] == ("mixed", 5)


def test_chains_of_continuous_variables_are_those_of_entropies(neighbours):
    a, b, c = (column[:, None] for column in normal().T)
    d = neighbours._logdet
    whole = d(a, b, c)
    total = d(a) + d(b) + d(c) - whole
    rest = d(b, c) + d(a, c) + d(a, b)
    dual = rest - 2 * whole
    rounding = 1e-9
    assert float(total_correlation(a, b, c)) == pytest.approx(total, abs=rounding)
    assert float(dual_total_correlation(a, b, c)) == pytest.approx(dual, abs=rounding)
    assert float(o_information(a, b, c)) == pytest.approx(total - dual, abs=rounding)
    assert float(interaction_information(a, b, c)) == pytest.approx(total - dual, abs=rounding)
    four = [a, b, c, a + b + np.random.default_rng(1).normal(size=a.shape)]
    both = total_correlation(*four).value - dual_total_correlation(*four).value
    assert float(o_information(*four)) == pytest.approx(both, abs=rounding)
    assert float(conditional_mutual_information(a, b, c)) == pytest.approx(
        d(a, c) + d(b, c) - whole - d(c), abs=rounding
    )
    constant = math.log(2 * math.pi * math.e) / 2
    assert float(joint_entropy(a, b, c)) == pytest.approx(whole + 3 * constant, abs=rounding)
    assert float(conditional_entropy(a, b)) == pytest.approx(
        d(a, b) - d(b) + constant, abs=rounding
    )
    summed = total_correlation(a, b, c)
    assert summed.standard_error == pytest.approx(0.02) and "added" in summed.interval_kind


def test_mixed_kinds(neighbours):
    x = normal()[:, 0]
    z = np.arange(2000) % 2
    joint = joint_entropy(x, z)
    within = np.mean([entropy(x[z == v]).value for v in (0, 1)])
    assert joint.value == pytest.approx(within + math.log(2), abs=1e-3)  # bias correction of H(z)
    given = conditional_entropy(x, z)
    assert given.value == pytest.approx(within) and "mean over its categories" in given.reason
    left = conditional_entropy(z, x)
    assert left.value == pytest.approx(math.log(2) - 0.25, abs=1e-3)
    assert conditional_mutual_information(x, x**2, z).reason.startswith("given is discrete")
    other = normal()[:, 1]
    direct = conditional_mutual_information(x, x**3, other)
    chained = conditional_mutual_information(x, x**3, other, estimator="chain")
    assert chained.value == pytest.approx(direct.value, abs=1e-9)
    assert "I(X; Y, Z)" in chained.reason


def test_small_categories_are_left_out_and_said(neighbours):
    x = normal(100)[:, 0]
    z = np.array([0] * 97 + [1, 2, 3])
    found = conditional_entropy(x, z)
    assert found.n_samples == 97 and "3 categories of given with 3 rows" in found.warnings[-1]
    with pytest.raises(DataError, match="a category with at least 4 rows"):
        conditional_entropy(x, np.arange(100))


def test_permutation_test_of_continuous_variables(neighbours):
    x, y, _ = normal(200).T
    found = permutation_test(x, y, n_shuffles=19)
    assert found.p_value == 0.05 and found.corrected.estimator == "ksg less shuffled"
    with pytest.raises(DataError, match="given: expected a discrete variable"):
        permutation_test(x, y, x)


BAD = [
    (lambda: entropy([1.0, math.nan]), DataError, "x: expected finite numbers, got NaN at row 1"),
    (
        lambda: entropy(np.array([[1.0, 2.0], [3.0, -math.inf]])),
        DataError,
        "infinity at row 1, column 1",
    ),
    (lambda: entropy(["a", None]), DataError, "None at row 1"),
    (lambda: entropy("word"), DataError, "got str"),
    (lambda: entropy(None), DataError, "got NoneType"),
    (lambda: entropy([]), DataError, "at least one row"),
    (lambda: entropy(np.zeros((3, 2, 2))), ShapeError, r"got \(3, 2, 2\)"),
    (lambda: entropy([[1, 2], [3]]), ShapeError, "equal length"),
    (lambda: entropy([1]), DataError, "at least 2 rows, got 1"),
    (lambda: entropy([1 + 2j, 1]), DataError, "got complex128"),
    (lambda: entropy(["a", "b"], discrete=False), ParameterError, "needs numbers"),
    (lambda: entropy([1, 2], unit="hartley"), ParameterError, "'nats', 'bits'; got 'hartley'"),
    (lambda: entropy([1, 2], estimator="ksg"), ParameterError, "a discrete variable takes one of"),
    (lambda: entropy([1, 2], discrete=(True, False)), ParameterError, "discrete: expected"),
    (lambda: entropy(probabilities=[0.5, 0.6]), DataError, "sum to 1, got a sum of 1.1"),
    (lambda: entropy(probabilities=[1.5, -0.5]), DataError, "no negative entry, got -0.5 at 1"),
    (lambda: entropy(probabilities=[math.nan]), DataError, "finite probabilities"),
    (lambda: entropy([1], probabilities=[1.0]), ParameterError, r"got \['x'\] too"),
    (lambda: mutual_information(probabilities=[1.0]), ShapeError, r"2 axes.*got shape \(1,\)"),
    (lambda: mutual_information([1, 2], [1, 2, 3]), ShapeError, "x 2, y 3"),
    (lambda: total_correlation([1, 2]), DataError, "at least 2 variables, got 1"),
    (lambda: o_information([1, 2], [1, 2]), DataError, "at least 3 variables"),
    (lambda: interaction_information(*[[1, 2]] * 9), DataError, "at most 8 variables, got 9"),
    (lambda: permutation_test([1, 2], [1, 2], n_shuffles=0), ParameterError, "n_shuffles"),
    (lambda: permutation_test([1], [2], estimator="mine"), ParameterError, "for every shuffle"),
    (
        lambda: mutual_information([1.0] * 9, [2] * 9, estimator="ksg"),
        ParameterError,
        "y is discrete",
    ),
    (
        lambda: mutual_information([1.0] * 9, [2.0] * 9, estimator="ross"),
        ParameterError,
        "x is continuous and y is continuous",
    ),
    (lambda: mutual_information([1.0], [2.0]), DataError, "at least 4 rows, got 1"),
    (
        lambda: mutual_information([1.0] * 9, [2.0] * 9, estimator="ksg", settings={"a": 1}),
        ParameterError,
        "settings",
    ),
    (
        lambda: entropy([1, 2, 3], estimator="shrinkage", categories=(3, 4)),
        ParameterError,
        "expected 1 sizes",
    ),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD, ids=range(len(BAD)))
def test_bad_input_is_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_units_and_exact_results():
    found = entropy(probabilities=[[0.25, 0.25], [0.5, 0.0]], unit="bits")
    assert found.value == pytest.approx(1.5) and found.interval == (found.value, found.value)
    assert found.standard_error == 0
    assert found.estimator == "exact" and found.n_samples == 0
    nats = mutual_information([0, 1, 1] * 9, [0, 1, 0] * 9)
    bits = mutual_information([0, 1, 1] * 9, [0, 1, 0] * 9, unit="bits")
    assert bits.value == pytest.approx(nats.value / math.log(2))
    assert bits.standard_error == pytest.approx(nats.standard_error / math.log(2))


def test_estimators_of_discrete_variables_load_no_torch():
    code = (
        "import sys, triptych.information as i\n"
        "i.mutual_information([0, 1] * 9, [1, 0] * 9), i.decomposition([0, 1] * 9, [1, 0] * 9, "
        "[1, 0] * 9), i.permutation_test([0, 1] * 9, [1, 0] * 9)\n"
        "assert 'torch' not in sys.modules"
    )
    source = triptych.__file__.rpartition("/triptych/")[0]
    subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=120, env={"PYTHONPATH": source}
    )
