"""The automatic choice, and the tasks that it is judged on."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad

from triptych.datasets import beyond_normal
from triptych.datasets.beyond_normal import load_task, tasks
from triptych.errors import ParameterError
from triptych.information import _choice
from triptych.information._choice import PAIRS, choose


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("wiggly(normal)", "ksg-ranks"),
        ("swiss-roll(cdf(normal))", "ksg-ranks"),
        ("dense 5+5", "copula"),
        ("half-cube(sparse 5+5)", "copula"),
        ("student 3+3 dof 2", "student-copula"),
        ("asinh(student 2+2 dof 1)", "student-copula"),
    ],
)
def test_takes_what_fits(task, name):
    task = load_task(task)
    x, y = task.sample(4000, 1)
    chosen, reason = choose(x, y)
    assert chosen == name
    assert reason
    found = PAIRS[chosen](x, y)
    assert abs(found.value - task.mutual_information) < max(0.1, 4 * found.standard_error)
    assert found.warnings == ()


def test_a_choice_that_falls_short_says_so():
    x, y = load_task("spiral(sparse 5+5)").sample(4000, 0)
    assert PAIRS[choose(x, y).estimator](x, y).warnings


def test_discrete_variables_and_ties():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(100, 2)), rng.integers(0, 3, 100)
    assert choose(x, labels, y_discrete=True).estimator == "ross"
    assert choose(labels, x, x_discrete=True).estimator == "ross"
    assert choose(x, np.append(labels[:-1], 9), y_discrete=True).estimator == "ross"
    assert choose(labels, labels, True, True).estimator == "grassberger"
    assert choose(x, np.round(x)).estimator == "mixed"
    assert choose(x[:5], x[5:10]).estimator == "ksg-ranks"
    assert choose(x, x).estimator == "ksg-ranks"


def test_every_name_can_be_called():
    x, y = load_task("normal").sample(200, 0)
    for name, estimate in PAIRS.items():
        assert estimate(x, y, k=4, random_state=1).estimator == name


def test_choice_on_many_rows_looks_at_some(monkeypatch):
    monkeypatch.setattr(_choice, "ROWS", 500)
    seen = []
    monkeypatch.setattr(_choice, "_of_many_columns", lambda X, Y: seen.append(len(X)))
    choose(*load_task("dense 2+2").sample(1400, 0))
    assert seen == [467]


# The tasks.


def test_there_are_forty_with_the_published_values():
    truths = {name: round(task.mutual_information, 4) for name, task in tasks().items()}
    assert len(truths) == 40
    published = {
        "normal": 0.4133,
        "additive 0.1": 1.7094,
        "additive 0.75": 0.3333,
        "student 1+1 dof 1": 0.2242,
        "dense 2+2": 0.2939,
        "dense 5+5": 0.5928,
        "dense 25+25": 1.2922,
        "dense 50+50": 1.6243,
        "spiral(cdf(sparse 25+25))": 1.0217,
        "student 2+2 dof 2": 0.1931,
        "asinh(student 3+3 dof 2)": 0.2909,
        "student 5+5 dof 3": 0.2985,
    }
    assert {name: truths[name] for name in published} == published


def test_additive_noise_by_integration():
    for noise in (0.1, 0.75):

        def density(y, e=noise):
            return max(0.0, min(1, y + e) - max(0, y - e)) / (2 * e)

        def term(y):
            d = density(y)
            return -d * np.log(d) if d > 0 else 0.0

        ends = sorted({-noise, noise, 1 - noise, 1 + noise})
        entropy = sum(quad(term, a, b)[0] for a, b in pairwise(ends))
        truth = load_task(f"additive {noise}").mutual_information
        assert entropy - np.log(2 * noise) == pytest.approx(truth, abs=1e-6)


def test_samples_have_the_promised_form():
    for task in tasks().values():
        x, y = task.sample(60, 3)
        assert (x.shape[1], y.shape[1]) == task.dims
        assert len(x) == len(y) == 60
        assert np.isfinite(x).all() and np.isfinite(y).all()
    again = load_task("dense 2+2")
    np.testing.assert_array_equal(again.sample(9, 1)[0], again.sample(9, 1)[0])
    assert not np.array_equal(again.sample(9, 1)[0], again.sample(9, 2)[0])


def test_maps_can_be_undone():
    x = np.random.default_rng(0).normal(size=(2000, 3))
    turn, back = beyond_normal.spiral((0, 1), 0.5), beyond_normal.spiral((0, 1), -0.5)
    np.testing.assert_allclose(back(turn(x)), x, atol=1e-12)
    line = np.linspace(-6, 6, 4001)[:, None]
    for rising in (
        beyond_normal.half_cube,
        beyond_normal.wiggly_x,
        beyond_normal.wiggly_y,
        beyond_normal.two_humps(0.3, 0, 5),
        beyond_normal.two_humps(0.5, -1, 3),
    ):
        assert (np.diff(rising(line)[:, 0]) > 0).all()


def test_unknown_names_are_refused():
    with pytest.raises(ParameterError, match="name: expected one of 'normal'"):
        load_task("norm")
