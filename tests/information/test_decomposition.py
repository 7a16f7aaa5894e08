"""Decompositions: gates, identities, dit on random tables, and errors that are true."""

import dit
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from triptych.errors import DataError, ParameterError, ShapeError
from triptych.information import decomposition, mutual_information
from triptych.information._broja import least_information

EXACT = 1e-6  # bits: what was promised; the solver's own bound is 1e-9 nats


def table_of(gate, classes):
    p = np.zeros((2, 2, classes))
    for a, b in np.ndindex(2, 2):
        p[a, b, gate(a, b)] = 0.25
    return p


RDN = np.zeros((2, 2, 2))
RDN[0, 0, 0] = RDN[1, 1, 1] = 0.5
AND = 0.31127812445913283  # 3/4 log2(4/3)
GATES = {
    "and": (table_of(lambda a, b: a & b, 2), (AND, 0, 0, 0.5)),
    "or": (table_of(lambda a, b: a | b, 2), (AND, 0, 0, 0.5)),
    "xor": (table_of(lambda a, b: a ^ b, 2), (0, 0, 0, 1)),
    "unq": (table_of(lambda a, b: a, 2), (0, 1, 0, 0)),
    "rdn": (RDN, (1, 0, 0, 0)),
    "sum": (table_of(lambda a, b: a + b, 3), (0.5, 0, 0, 1)),
    # Two-bit copy: where Williams and Beer's redundancy says 1, this one says 0.
    "copy": (table_of(lambda a, b: 2 * a + b, 4), (0, 1, 1, 0)),
}


def parts(found):
    return [part.value for part in found.parts.values()]


@pytest.mark.parametrize("gate", GATES)
def test_gates(gate):
    p, truth = GATES[gate]
    found = decomposition(probabilities=p, unit="bits")
    assert parts(found) == pytest.approx(truth, abs=EXACT)
    assert all(part.standard_error == 0 for part in found.parts.values())
    swapped = decomposition(probabilities=p.swapaxes(0, 1), unit="bits")
    r, u1, u2, s = truth
    assert parts(swapped) == pytest.approx((r, u2, u1, s), abs=EXACT)


def random_table(rng, shape, zeros):
    p = rng.random(shape) ** 3 * (rng.random(shape) >= zeros)
    p.flat[0] += 1e-3
    return p / p.sum()


@pytest.mark.parametrize("zeros", [0.0, 0.4, 0.8])
@pytest.mark.parametrize("shape", [(2, 2, 2), (3, 4, 2), (5, 3, 4), (7, 7, 3), (1, 4, 3)])
def test_identities_and_the_bound(shape, zeros):
    rng = np.random.default_rng(0)
    for _ in range(4):
        p = random_table(rng, shape, zeros)
        k1, k2, ky = shape
        found = decomposition(probabilities=p, unit="bits")
        r, u1, u2, s = parts(found)
        assert min(r, u1, u2, s) >= 0
        bits = {"unit": "bits"}
        one = float(mutual_information(probabilities=p.sum(axis=1), **bits))
        two = float(mutual_information(probabilities=p.sum(axis=0), **bits))
        both = float(mutual_information(probabilities=p.reshape(k1 * k2, ky), **bits))
        assert (r + u1, r + u2) == pytest.approx((one, two), abs=EXACT)
        assert r + u1 + u2 + s == pytest.approx(both, abs=EXACT)
        least = least_information(p)
        assert least.gap <= 1e-9  # nats: the solver proves how near it is
        assert np.abs(least.q.sum(axis=1) - p.sum(axis=1)).max() < 1e-8
        assert np.abs(least.q.sum(axis=0) - p.sum(axis=0)).max() < 1e-8
        assert least.q.min() >= 0


@pytest.fixture
def numpy_draws(unchanged_globals):
    """For dit, whose optimiser draws from NumPy's global generator: put back afterwards."""
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    yield
    np.random.set_state(state)  # noqa: NPY002


def least_by_search(p):
    """The minimum for binary variables: one free number for each y, searched one in the other."""

    def information(first, second):
        q = p.copy()
        for y, t in enumerate((first, second)):
            q[:, :, y] += t * np.array([[1, -1], [-1, 1]])
        return float(mutual_information(probabilities=np.maximum(q, 0).reshape(4, 2)))

    def ends(y):
        return -min(p[0, 0, y], p[1, 1, y]), min(p[0, 1, y], p[1, 0, y])

    def search(f, y):
        found = minimize_scalar(f, bounds=ends(y), method="bounded", options={"xatol": 1e-12})
        return min(found.fun, *map(f, ends(y)))

    return search(lambda first: search(lambda second: information(first, second), 1), 0)


@pytest.mark.parametrize("seed", range(4))
def test_the_minimum_is_that_of_a_plain_search(seed):
    p = random_table(np.random.default_rng(seed), (2, 2, 2), 0.0)
    # The search gets as near as the square root of its rounding allows along each number.
    assert least_information(p).value == pytest.approx(least_by_search(p), abs=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_dit_agrees_as_far_as_its_optimiser_goes(seed, numpy_draws):
    p = random_table(np.random.default_rng(seed), (2, 2, 2), 0.0)
    outcomes = ["".join(map(str, at)) for at in np.ndindex(*p.shape)]
    theirs = dit.pid.PID_BROJA(dit.Distribution(outcomes, p.ravel()), [[0], [1]], [2])
    redundancy, synergy = (theirs.get_pi(node) for node in (((0,), (1,)), ((0, 1),)))
    found = decomposition(probabilities=p, unit="bits")
    # dit's optimiser was seen to stop 0.004 bits off, where the plain search agrees with ours.
    assert found.redundancy.value == pytest.approx(redundancy, abs=0.01)
    assert found.synergy.value == pytest.approx(synergy, abs=0.01)


def test_no_random_move_inside_the_set_finds_less():
    rng = np.random.default_rng(1)
    p = random_table(rng, (3, 3, 2), 0.0)
    least = least_information(p)

    def value(q):
        return float(mutual_information(probabilities=q.reshape(9, 2)))

    for _ in range(200):
        i, j, y = rng.permutation(3)[:2], rng.permutation(3)[:2], rng.integers(2)
        room = min(least.q[i[0], j[0], y], least.q[i[1], j[1], y])
        q = least.q / least.q.sum()
        step = room * rng.random()
        q[i[0], j[0], y] -= step
        q[i[1], j[1], y] -= step
        q[i[0], j[1], y] += step
        q[i[1], j[0], y] += step
        assert value(np.maximum(q, 0)) >= least.value - 1e-8


def test_extreme_tables():
    rng = np.random.default_rng(2)
    for _ in range(10):
        p = 10.0 ** rng.uniform(-14, 0, (4, 5, 3))
        found = decomposition(probabilities=p / p.sum())
        assert np.isfinite(parts(found)).all() and min(parts(found)) >= 0
    deterministic = np.zeros((6, 6, 6))
    deterministic[np.arange(6), np.arange(6)[::-1], np.arange(6)] = 1 / 6
    assert parts(decomposition(probabilities=deterministic)) == pytest.approx(
        (np.log(6), 0, 0, 0), abs=1e-9
    )


def draw(p, n, rng):
    at = rng.choice(p.size, n, p=p.ravel())
    return np.unravel_index(at, p.shape)


def test_standard_errors_are_those_of_repeated_draws():
    rng = np.random.default_rng(3)
    p = random_table(rng, (2, 3, 2), 0.0)
    truth = np.array(parts(decomposition(probabilities=p)))
    found = [decomposition(*draw(p, 2000, rng), n_shuffles=0) for _ in range(120)]
    values = np.array([parts(f) for f in found])
    told = np.array([[e.standard_error for e in f.parts.values()] for f in found]).mean(axis=0)
    inner = truth > 0.01  # at 0 the distribution is one-sided, and the error said is larger
    assert inner.sum() >= 2 and (told[~inner] >= values.std(axis=0)[~inner]).all()
    # 120 draws know a standard deviation to 6.5 %; four of these, and the plug-in's curvature.
    assert told[inner] == pytest.approx(values.std(axis=0)[inner], rel=0.35)
    assert np.abs(values.mean(axis=0) - truth).max() < 0.004  # bias of order cells / n


def test_of_samples_with_words_and_a_baseline():
    rng = np.random.default_rng(4)
    a, b = rng.integers(0, 2, 400), rng.integers(0, 2, 400)
    found = decomposition(np.array(["no", "yes"])[a], b, a ^ b, unit="bits")
    assert found.synergy.value == pytest.approx(1, abs=0.02)
    assert found.total.unit == "bits" and found.synergy.n_samples == 400
    assert found.total.value == pytest.approx(sum(parts(found)), abs=1e-9)
    # 2 n ln 2 I of the shuffled is chi-square with (4 - 1)(2 - 1) degrees of freedom.
    assert found.shuffled["total"] == pytest.approx(3 / (2 * 400 * np.log(2)), rel=0.9)
    assert "delta" in found.synergy.interval_kind
    few = decomposition(rng.integers(0, 9, 200), rng.integers(0, 9, 200), a[:200])
    assert "undersampled" in few.synergy.warnings[0]


def test_continuous_inputs_become_categories():
    rng = np.random.default_rng(5)
    shared, own = rng.normal(size=(2, 3000))
    x1 = np.stack([shared, own], axis=1)
    x2 = shared + 0.1 * rng.normal(size=3000)
    found = decomposition(x1, x2, shared > 0, categories=8)
    # Clusters of the plane cut across ``shared``, so the first input's code knows less of it.
    assert found.redundancy.value > 0.4 and found.unique_1.value < 0.02
    assert found.categories["x1"] == "8 clusters (k-means)"
    assert found.categories["x2"] == "8 bins of about equal frequency"
    assert found == decomposition(x1, x2, shared > 0, categories=8)


def test_minimum_mutual_information_for_contrast():
    p = GATES["copy"][0]
    assert parts(decomposition(probabilities=p, estimator="mmi", unit="bits")) == pytest.approx(
        (1, 0, 0, 1), abs=1e-12
    )


def test_bad_input_is_named():
    p = GATES["and"][0]
    with pytest.raises(ShapeError, match="3 axes"):
        decomposition(probabilities=p[0])
    with pytest.raises(DataError, match="sum of 2"):
        decomposition(probabilities=2 * p)
    with pytest.raises(ParameterError, match="one of 'broja'"):
        decomposition(probabilities=p, estimator="wrong")
    with pytest.raises(ShapeError, match="x1 10, x2 9, y 10"):
        decomposition([0] * 10, [1] * 9, [0, 1] * 5)
    with pytest.raises(ParameterError, match="at most 8000 margins"):
        decomposition(np.arange(500), np.arange(500), np.arange(500))
    one = decomposition([0, 1] * 10, [0, 0, 1, 1] * 5, [1] * 20)
    assert parts(one) == [0, 0, 0, 0] and "one category" in one.total.warnings[0]
