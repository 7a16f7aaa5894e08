"""What an estimate says about itself where its number must not be taken at its word."""

import numpy as np
import pytest

from triptych.errors import DataError, ParameterError
from triptych.information import (
    conditional_mutual_information,
    decomposition,
    entropy,
    information_content,
    kl_divergence,
    mutual_information,
)


def said(estimate, words):
    return any(words in note for note in estimate.warnings)


@pytest.mark.parametrize("estimator", ["ksg", "ksg-2", "ksg-ranks", "mixed"])
def test_what_is_infinite_is_told_to_be_near_the_ceiling(estimator):
    rng = np.random.default_rng(0)
    x, noise = rng.standard_normal((2, 300))
    same = mutual_information(x, 2 * x, estimator=estimator)
    assert said(same, "is infinite where one is a function")
    assert not mutual_information(x, x + noise, estimator=estimator).warnings


def test_a_function_of_x_given_something_else_is_near_the_ceiling_too():
    rng = np.random.default_rng(0)
    x, z, noise = rng.standard_normal((3, 300))
    assert said(conditional_mutual_information(x, -x, z), "the information may be far larger")
    assert not conditional_mutual_information(x, x + noise, z).warnings


def test_few_rows_are_told():
    x, y = np.random.default_rng(1).standard_normal((2, 40))
    for few, enough in (
        (entropy(x[:39]), entropy(x)),
        (mutual_information(x[:39], y[:39]), mutual_information(x, y)),
        (
            mutual_information(x[:39], [0, 1, 2] * 13),
            mutual_information(x, [0, 1] * 20),
        ),
        (
            conditional_mutual_information(x[:39], y[:39], x[:39] ** 2),
            conditional_mutual_information(x, y, x**2),
        ),
    ):
        assert said(few, "fewer than 40 rows")
        assert not said(enough, "fewer than")


def test_many_dimensions_are_told_even_where_too_few_rows_can_show_it():
    rng = np.random.default_rng(2)
    X = rng.standard_normal((60, 20))
    found = entropy(X)
    # Half the dimensions would cost log(2 pi e) / 2 each: the truth is 28.4 nats.
    assert found.value > 20 / 2 * np.log(2 * np.pi * np.e) + 2 * found.standard_error
    assert said(found, "20 dimensions are many for 60 rows")
    both = mutual_information(X[:, :3], X[:, 3:6], estimator="ksg")
    assert said(both, "3 + 3 dimensions are many for 60 rows")
    assert not mutual_information(X[:, :2], X[:, 2:4], estimator="ksg").warnings


def test_a_divergence_in_many_dimensions_says_that_it_is_off():
    rng = np.random.default_rng(8)
    x, y = rng.standard_normal((2, 1000, 6))
    found = kl_divergence(x, y + 0.5)
    assert found.value < 6 * 0.5**2 / 2 - 3 * found.standard_error  # the truth is 0.75
    assert said(found, "6 dimensions are many for 1000 rows")
    assert not kl_divergence(x[:, :2], y[:, :2] + 0.5).warnings


def test_more_neighbours_than_a_quarter_of_the_rows():
    X = np.random.default_rng(3).standard_normal((500, 4))
    for found in (
        entropy(X, k=150),
        conditional_mutual_information(X[:, 0], X[:, 1], X[:, 2], k=150),
        mutual_information(X[:, :2], X[:, 2:], estimator="mixed", k=150),
    ):
        assert np.isfinite(found.value) and said(found, "fewer than 1510 rows")


def test_categories_of_one_row_do_not_pass_for_information():
    """Neighbours of a lonely category lie in others, which "mixed" takes for information."""
    rng = np.random.default_rng(4)
    labels = np.append(rng.integers(0, 3, 300), np.arange(10, 30))
    x = rng.standard_normal(320)
    found = mutual_information(x, labels)
    assert found.estimator == "ross" and said(found, "20 classes of a single row were left out")
    assert abs(found.value) < 3 * found.standard_error  # independent
    mixed = mutual_information(x, labels, estimator="mixed")
    assert mixed.value > 3 * mixed.standard_error
    assert said(mixed, "y: 6 % of the rows are of categories with at most 5 rows")
    with pytest.raises(DataError, match="y: expected classes of at least 2 rows, got 320"):
        mutual_information(x, np.arange(320))


def test_one_category_tells_nothing():
    x = np.random.default_rng(5).standard_normal(60)
    for found in (mutual_information(x, [0] * 60), mutual_information(["a"] * 60, x)):
        assert found.value == 0.0 and said(found, "tells nothing")
    # Within a category of the condition a label often has one class: that part is 0, no error.
    labels = np.repeat([0, 1, 2], 20)
    assert conditional_mutual_information(labels, x, labels).value == 0.0
    chained = conditional_mutual_information(labels, x, labels, estimator="chain")
    # Ross's bias and Miller-Madow's differ by a few hundredths at 60 rows.
    assert abs(chained.value) < 3 * chained.standard_error + 0.05


@pytest.mark.parametrize("estimator", ["frenzel-pompe", "gaussian"])
def test_estimators_of_numbers_refuse_categories_beside_a_condition(estimator):
    x, z = np.random.default_rng(6).standard_normal((2, 60))
    labels = np.repeat([0, 1], 30)
    with pytest.raises(ParameterError, match=f"'{estimator}' is for continuous.* y is discrete"):
        conditional_mutual_information(x, labels, z, estimator=estimator)


@pytest.mark.parametrize(
    "values",
    [
        np.array([2**63 + 1, 2**63 + 2], dtype=np.uint64),
        np.array([2**64 - 1, 0], dtype=np.uint64),
        np.array([-(2**63), -(2**63) + 1]),
        np.array([-(2**63), 2**63 - 1]),
        np.array([2**40, 2**40 + 3]),
    ],
    ids=["unsigned", "both ends unsigned", "lowest", "both ends", "far"],
)
def test_whole_numbers_of_any_size(values):
    rng = np.random.default_rng(7)
    a, b = rng.integers(0, 2, (2, 50))
    for function in (mutual_information, kl_divergence):
        near, far = function(a, b), function(values[a], values[b])
        assert near.value == far.value and near.standard_error == far.standard_error
    assert entropy(values[a]).value == entropy(a).value


def test_chance_in_a_decomposition_is_told_in_shares_whatever_the_unit():
    rng = np.random.default_rng(9)
    a, b, y = rng.integers(0, 5, (3, 60))
    nats, bits = (decomposition(a, b, y, unit=unit).total.warnings for unit in ("nats", "bits"))
    assert nats == bits and "% of that here" in nats[0] and "nats" not in nats[0]


def test_a_certain_outcome_has_no_minus_before_its_zero():
    assert not np.signbit(information_content(probability=1).value)
