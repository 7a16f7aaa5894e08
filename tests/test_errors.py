"""Warnings point at the user's line, wherever they come from and whoever asks."""

import warnings

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline

from triptych.arrays import check_number
from triptych.errors import ParameterError, TriptychWarning
from triptych.fusion import IntactSpace

X = {m: np.random.default_rng(i).normal(size=(30, 5)) for i, m in enumerate("ab")}


def test_a_warning_names_the_file_of_the_user():
    for fit in (IntactSpace(2, max_iter=2).fit, make_pipeline(IntactSpace(2, max_iter=2)).fit):
        with pytest.warns(TriptychWarning) as said:
            fit(X)
        assert said[0].filename == __file__


def test_code_without_a_module_is_warned_too():
    code = "from triptych.fusion import IntactSpace\nIntactSpace(2, max_iter=2).fit(X)"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        exec(code, {"X": X})
    assert [w.category for w in said] == [TriptychWarning]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(np.inf, "inf"), (-np.inf, "-inf"), (10**5000, "inf"), (np.nan, "nan")],
    ids=["most", "least", "whole", "none"],
)
def test_numbers_are_finite_unless_infinity_means_no_limit(value, shown):
    with pytest.raises(ParameterError, match=f"x: expected a .*number, got {shown}"):
        check_number("x", value)
    check_number("x", np.inf, low=0, infinite=True)
