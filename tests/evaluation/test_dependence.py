"""Dependence of parts: what is independent, curved, equal; against plain formulas."""

import numpy as np
import pytest
import torch

from triptych.errors import DataError, ShapeError
from triptych.evaluation import dependence
from triptych.losses import hsic


@pytest.fixture(scope="module")
def z():
    return np.random.default_rng(0).normal(size=(400, 3))


def test_a_part_depends_on_itself_wholly(z):
    found = dependence(z, 3 * z + 1)
    assert found.hsic == pytest.approx(1)
    assert found.p_value == pytest.approx(1 / 51)
    assert found.n == 400


def test_independent_parts_are_at_chance(z):
    found = dependence(z, np.random.default_rng(1).normal(size=(400, 2)))
    assert found.p_value > 0.05
    assert abs(found.hsic / found.chance - 1) < 0.5
    assert abs(found.information) < 4 * found.stderr + 0.05


def test_what_no_line_tells_is_seen():
    line = np.linspace(-1, 1, 400)
    curved = np.abs(line) + 1e-3 * np.random.default_rng(3).normal(size=400)
    assert abs(np.corrcoef(line, curved)[0, 1]) < 0.01
    found = dependence(line[:, None], curved[:, None])
    assert found.hsic > 5 * found.chance
    assert found.p_value == pytest.approx(1 / 51)
    assert found.information > 1


def test_information_is_that_of_a_normal_pair():
    rho = 0.8
    x, e = np.random.default_rng(0).normal(size=(2, 1000))
    found = dependence(x[:, None], (rho * x + np.sqrt(1 - rho**2) * e)[:, None])
    assert found.information == pytest.approx(-0.5 * np.log(1 - rho**2), abs=4 * found.stderr)


def test_hsic_is_the_normalised_form_of_the_loss(z):
    a = (z - z.mean(0)) / z.std(0)
    b = np.tanh(a[:, :2])
    scaled = (b - b.mean(0)) / b.std(0)
    A, B = torch.from_numpy(a), torch.from_numpy(scaled)
    # The median of torch takes the lower of two middle values, numpy's their mean.
    wanted = hsic(A, B) / (hsic(A, A) * hsic(B, B)).sqrt()
    assert dependence(z, b).hsic == pytest.approx(float(wanted), rel=1e-3)


def test_many_rows_are_thinned_and_seeded(z):
    long = np.tile(z, (10, 1)) + 0.1 * np.random.default_rng(2).normal(size=(4000, 3))
    found = dependence(long[:, :1], long[:, 1:], max_rows=200, permutations=5)
    assert found.n == 200
    assert found == dependence(long[:, :1], long[:, 1:], max_rows=200, permutations=5)


def test_excess_is_the_way_from_chance_to_a_copy(z):
    same, free = dependence(z, z), dependence(z, np.random.default_rng(9).normal(size=(400, 2)))
    assert same.excess == pytest.approx(1) and free.excess < 0.02
    # 0.6 of the rows are of a copy: about as much of the way, less what the others blur
    mixed = np.where(np.arange(400)[:, None] < 240, z, np.roll(z, 7, axis=0))
    assert 0.2 < dependence(z, mixed).excess < 0.6
    apart = dependence(np.eye(40), np.eye(40))  # every row as far from every other
    assert apart.chance == pytest.approx(1) and apart.excess == 0


def test_rows_that_repeat_have_finite_figures(z):
    """Codes of few different contents, as of words."""
    few = z[np.arange(400) % 5]
    found = dependence(few, few)
    assert found.excess == pytest.approx(1)
    # five equally likely contents; 80 rows of each: the estimate is near the entropy
    assert found.information == pytest.approx(np.log(5), abs=0.1)


def test_what_cannot_be_asked_is_named(z):
    with pytest.raises(DataError, match="b is constant"):
        dependence(z, np.ones((400, 2)))
    with pytest.raises(ShapeError, match="400, 399"):
        dependence(z, z[:-1])
    with pytest.raises(DataError, match="at least 10 rows"):
        dependence(z[:9], z[:9])
