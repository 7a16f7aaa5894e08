"""Correlations on other rows, and the warning when those of the fit are flattered."""

import warnings

import numpy as np
import pytest
from sklearn.model_selection import KFold

from triptych import Modalities
from triptych.canonical import cross_validated_correlations
from triptych.coordination import CCA
from triptych.errors import DataError, DegenerateDataWarning, ParameterError, ShapeError


def pair(n, p, q, rho=0.0, seed=0):
    random = np.random.default_rng(seed)
    A, B = random.normal(size=(n, p)), random.normal(size=(n, q))
    B[:, 0] = rho * A[:, 0] + np.sqrt(1 - rho**2) * B[:, 0]
    return {"a": A, "b": B}


def test_folds_written_out():
    X = pair(60, 3, 2, 0.8)
    found = cross_validated_correlations(CCA(), X, cv=KFold(3))
    for i, (train, test) in enumerate(KFold(3).split(X["a"])):
        model = CCA().fit({m: v[train] for m, v in X.items()})
        Z = model.transform({m: v[test] for m, v in X.items()})
        expected = [np.corrcoef(Z["a"][:, j], Z["b"][:, j])[0, 1] for j in range(2)]
        np.testing.assert_allclose(found.held_out[i], expected)
        np.testing.assert_allclose(found.in_sample[i], model.correlations_)
    assert found.n_held_out.tolist() == [20, 20, 20]
    np.testing.assert_allclose(found.mean, found.held_out.mean(axis=0))


def test_warns_when_columns_are_many():
    with pytest.warns(DegenerateDataWarning, match="inflated"):
        found = cross_validated_correlations(CCA(2), pair(60, 20, 20))
    assert found.in_sample[:, 0].min() > 0.85
    # 60 independent rows: a correlation of 0 has the standard error 1 / sqrt(60).
    assert abs(found.mean[0]) < 4 / np.sqrt(60)
    assert found.inflation[0] > 0.5


def test_silent_when_rows_are_many():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = cross_validated_correlations(CCA(1), pair(2000, 3, 3, 0.8), random_state=1)
    # Standard error of a correlation of 2000 rows.
    assert abs(found.mean[0] - 0.8) < 4 * (1 - 0.8**2) / np.sqrt(2000)
    assert (found.standard_error < 0.05).all()


def test_groups_are_held_out_together():
    X = pair(40, 2, 2)
    groups = np.arange(40) // 2
    seen = []

    class Spy(CCA):
        def _fit(self, X, y, validation):
            seen.append({tuple(row) for row in X["a"]})
            super()._fit(X, y, validation)

    cross_validated_correlations(Spy(), X, cv=4, groups=groups)
    assert len(seen) == 4
    for rows in seen:
        there = np.array([tuple(row) in rows for row in X["a"]])
        np.testing.assert_array_equal(there[::2], there[1::2])


def test_gaps_folds_and_seeds():
    data = pair(50, 3, 2, 0.9)
    X = Modalities(data, present={"b": np.arange(50) % 5 != 0})
    one, two = (cross_validated_correlations(CCA(1), X, random_state=3) for _ in range(2))
    np.testing.assert_array_equal(one.held_out, two.held_out)
    assert one.n_held_out.sum() == 40
    with pytest.raises(DataError, match="fewer folds"):
        cross_validated_correlations(CCA(1), X, cv=25)


def test_bad_input_is_named():
    X = pair(10, 2, 2)
    with pytest.raises(ParameterError, match="cv: 11 folds need as many rows; got 10"):
        cross_validated_correlations(CCA(), X, cv=11)
    with pytest.raises(ParameterError, match="cv"):
        cross_validated_correlations(CCA(), X, cv=1)
    with pytest.raises(ParameterError, match="cv: expected a number, a splitter"):
        cross_validated_correlations(CCA(), X, cv=None)

    class Uneven(CCA):
        def _transform(self, X):
            Z = super()._transform(X)
            return Modalities({"a": Z["a"], "b": Z["b"][:, :1]})

    with pytest.raises(ShapeError, match="different widths"):
        cross_validated_correlations(Uneven(), X, cv=2)


def test_what_is_no_coordination_method_is_refused():
    with pytest.raises(ParameterError, match="expected a coordination method, got 3"):
        cross_validated_correlations(3, pair(20, 2, 2))
