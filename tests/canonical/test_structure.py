"""Loadings, redundancy and what they add up to."""

import numpy as np
import pytest

from triptych.canonical import (
    loadings,
    redundancy,
    structure,
    total_redundancy,
    variance_extracted,
)
from triptych.coordination import CCA
from triptych.errors import DataError, ShapeError


def pair(n=80, p=4, q=3):
    random = np.random.default_rng(0)
    A = random.normal(size=(n, p)) * [1, 10, 0.1, 3] + 5
    return {"a": A, "b": A[:, :q] + random.normal(size=(n, q))}


def test_identities_of_canonical_variates():
    X = pair()
    model = CCA().fit(X)
    Z = model.transform(X)
    found = structure(X, {name: Z[name] for name in X})
    rho = model.correlations_
    np.testing.assert_allclose(found.correlations, rho, rtol=1e-10)
    for name in X:
        np.testing.assert_allclose(found.loadings[name], model.loadings_[name], atol=1e-10)
        np.testing.assert_allclose(
            found.cross_loadings[name], rho * found.loadings[name], atol=1e-10
        )
        np.testing.assert_allclose(
            found.redundancy[name], rho**2 * found.variance_extracted[name], atol=1e-12
        )
        # All components of a CCA predict what a regression on all columns does.
        assert found.redundancy[name].sum() == pytest.approx(found.total_redundancy[name])
    # The narrower modality is spanned by its variates.
    assert found.variance_extracted["b"].sum() == pytest.approx(1)


def test_total_redundancy_is_the_mean_r_squared():
    X = pair()
    A = np.column_stack([np.ones(80), X["a"]])
    rest = X["b"] - A @ np.linalg.lstsq(A, X["b"], rcond=None)[0]
    r2 = 1 - rest.var(axis=0) / X["b"].var(axis=0)
    assert total_redundancy(X["b"], X["a"]) == pytest.approx(r2.mean())


def test_constant_columns_do_not_count():
    X = pair()
    wide = np.column_stack([X["a"], np.full(80, 3.0)])
    Z = CCA().fit(X).transform(X)
    same = structure({"a": wide, "b": X["b"]}, {"a": Z["a"], "b": Z["b"]})
    plain = structure(X, {"a": Z["a"], "b": Z["b"]})
    assert (same.loadings["a"][-1] == 0).all()
    np.testing.assert_allclose(same.redundancy["a"], plain.redundancy["a"])
    assert same.total_redundancy["a"] == pytest.approx(plain.total_redundancy["a"])
    nothing = np.ones((80, 2))
    assert total_redundancy(nothing, X["a"]) == 0
    assert (variance_extracted(loadings(nothing, Z["a"]), [False, False]) == 0).all()


def test_written_out():
    x = np.array([[1.0, 2], [3, 4], [2, 9]])
    z = np.array([[0.0], [1], [5]])
    np.testing.assert_allclose(loadings(x, z), np.corrcoef(x.T, z.T)[:2, 2:])
    np.testing.assert_allclose(redundancy([[0.5, 0.0], [1.0, 0.2]]), [0.625, 0.02])


def test_bad_input_is_named():
    with pytest.raises(ShapeError, match=r"\(3, 2\), \(4, 1\)"):
        loadings(np.ones((3, 2)), np.ones((4, 1)))
    with pytest.raises(DataError, match="2 rows; got 1"):
        loadings(np.ones((1, 2)), np.ones((1, 1)))
    with pytest.raises(ShapeError, match="the same two modalities"):
        structure({"a": np.ones((3, 2))}, {"a": np.ones((3, 2))})
