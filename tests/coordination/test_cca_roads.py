"""Every solver of CCA against one reference, on drawn, degenerate and hostile data."""

import numpy as np
import pytest
from cca_zoo.linear import CCA as ZooCCA
from cca_zoo.linear import RidgeCCA
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from triptych.coordination import CCA, _solution
from triptych.errors import (
    DataError,
    DegenerateDataWarning,
    ModalityError,
    ParameterError,
)

TALL = ("auto", "cholesky", "refined", "svd")


def pair(n=200, p=5, q=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    k = min(p, q)
    Y = rng.normal(size=(n, q))
    Y[:, :k] += X[:, :k] @ rng.normal(size=(k, k))
    return {"a": X, "b": Y}


def whiten(X, keep=1.0, add=0.0):
    """Plainly: QR and SVD of the standardised columns, directions of size 0 left out."""
    Z = X - X.mean(axis=0)
    spread = Z.std(axis=0, ddof=1)
    Z = Z[:, spread > 1e-12 * np.abs(X).max(axis=0)]
    Z = Z / Z.std(axis=0, ddof=1) / np.sqrt(len(Z) - 1)
    Q, R = np.linalg.qr(Z)
    U, s, _ = np.linalg.svd(R)
    U, s = (Q @ U)[:, : (s > 1e-11 * s[0]).sum()], s[s > 1e-11 * s[0]]
    return U * (s / np.sqrt(keep * s**2 + add))


def reference(A, B, ridge=0.0):
    return np.linalg.svd(whiten(A, add=ridge).T @ whiten(B, add=ridge), compute_uv=False)


@given(
    n=st.integers(20, 60),
    p=st.integers(1, 6),
    q=st.integers(1, 6),
    seed=st.integers(0, 10**6),
    mean=st.sampled_from([0.0, 1.0, -1e6]),
    scale=st.sampled_from([1.0, 1e-150, 1e150, 1e-3]),
    ridge=st.sampled_from([0.0, 0.0, 0.4]),
)
@settings(max_examples=30, deadline=None, derandomize=True, database=None)
def test_every_solver_gives_the_reference(n, p, q, seed, mean, scale, ridge):
    X = pair(n, p, q, seed)
    X = {"a": (X["a"] + mean) * scale, "b": X["b"]}
    rho = reference(*X.values(), ridge)
    # A mean of 1e6 leaves 10 of the numbers' own 16 digits.
    tolerance = 1e-8 if abs(mean) > 1 else 1e-11
    for solver in (*TALL, *(("dual",) if ridge else ())):
        model = CCA(solver=solver, ridge=ridge).fit(X)
        np.testing.assert_allclose(model.correlations_, rho, atol=tolerance, err_msg=solver)
        Z = model.transform(X)
        both = (Z["a"] * Z["b"]).sum(axis=0) / (n - 1)
        penalty = sum((model.correlations_ - both) ** 2)
        assert ridge or penalty < 1e-14


@given(seed=st.integers(0, 10**6), kind=st.sampled_from(["copy", "sum", "constant", "zero"]))
@settings(max_examples=20, deadline=None, derandomize=True, database=None)
def test_dependent_columns_are_found_by_every_road_that_reads_twice(seed, kind):
    X = pair(seed=seed)
    extra = {
        "copy": X["a"][:, 1],
        "sum": X["a"] @ [1.0, 2, 3, 4, 5],
        "constant": np.full(200, 0.1),
        "zero": np.zeros(200),
    }[kind]
    wide = {"a": np.column_stack([extra, X["a"]]), "b": X["b"]}
    rho = reference(*X.values())
    for solver in ("auto", "refined", "svd"):
        model = CCA(solver=solver).fit(wide)
        assert model.rank_ == {"a": 5, "b": 4}, solver
        np.testing.assert_allclose(model.correlations_, rho, rtol=1e-10, err_msg=solver)
        assert np.isfinite(model.weights_["a"]).all()
    if kind in ("copy", "sum"):
        with pytest.raises(DataError, match="'a': its columns depend on one another"):
            CCA(solver="cholesky").fit(wide)


@pytest.mark.parametrize("power", [2, 4, 6, 8])
def test_the_error_grows_as_the_condition_at_most(power):
    rng = np.random.default_rng(power)
    X = pair(2000, 12, 12, seed=power)
    U, V = (np.linalg.qr(rng.normal(size=(12, 12)))[0] for _ in range(2))
    bent = {"a": X["a"] @ (U * np.logspace(0, -power, 12)) @ V, "b": X["b"]}
    rho = reference(*X.values())  # invertible maps change nothing, but for the rounding of bent
    for solver in ("auto", "refined", "svd"):
        model = CCA(solver=solver).fit(bent)
        error = np.abs(model.correlations_ - rho).max()
        # Rounding of the data, 1e-16 times the condition, in 2000 independent rows.
        assert error < 1e-10 if power <= 6 else error < 1e-8, solver
        assert error < 10 * model.error_bound_ + 1e-13, solver


def test_auto_takes_the_road_that_the_condition_asks_for():
    rng = np.random.default_rng(0)
    X = pair(3000, 200, 190)
    assert CCA().fit(X).solver_ == "cholesky"
    near = {**X, "a": X["a"] @ np.diag(np.logspace(0, -6, 200)) @ rng.normal(size=(200, 200))}
    assert CCA().fit(near).solver_ == "refined"
    assert CCA().fit({m: v[:500, :5] for m, v in near.items()}).solver_ != "refined"
    with pytest.warns(DegenerateDataWarning):
        assert CCA().fit({m: v[:40] for m, v in X.items()}).solver_ == "svd"
    assert CCA(ridge=1.0).fit({m: v[:40] for m, v in X.items()}).solver_ == "svd"
    wide = {m: np.random.default_rng(3).normal(size=(80, 9000)) for m in "ab"}
    assert CCA(2, ridge=1.0).fit(wide).solver_ == "dual"


@pytest.mark.parametrize(
    "how", [{"ridge": 0.5}, {"shrinkage": 0.3}, {"ridge": {"a": 2, "b": 0.1}}]
)
def test_dual_and_randomized_give_what_svd_gives(how):
    rng = np.random.default_rng(1)
    shared = rng.normal(size=(60, 6)) * [3, 2.5, 2, 1.5, 1, 0.5]
    X = {
        "a": shared @ rng.normal(size=(6, 150)) + rng.normal(size=(60, 150)) + 7,
        "b": shared @ rng.normal(size=(6, 100)) + rng.normal(size=(60, 100)),
    }
    exact = CCA(3, solver="svd", **how).fit(X)
    dual = CCA(3, solver="dual", **how).fit(X)
    drawn = CCA(3, solver="randomized", random_state=0, **how).fit(X)
    for model, tolerance in ((dual, 1e-11), (drawn, 1e-5)):
        np.testing.assert_allclose(model.correlations_, exact.correlations_, atol=tolerance**1.5)
        for part in ("weights_", "loadings_", "cross_loadings_", "explained_variance_"):
            for name in "ab":
                mine, other = getattr(model, part)[name], getattr(exact, part)[name]
                np.testing.assert_allclose(mine, other, atol=tolerance)
    assert np.abs(drawn.correlations_ - exact.correlations_).max() <= drawn.error_bound_ <= 1e-6
    thin = {m: csr_array(v * (v > 1)) for m, v in X.items()}
    full = {m: v.toarray() for m, v in thin.items()}
    for solver in ("dual", "randomized"):
        one, two = (CCA(2, solver=solver, random_state=1, **how).fit(D) for D in (thin, full))
        np.testing.assert_allclose(one.correlations_, two.correlations_, atol=1e-9)
    with pytest.raises(ParameterError, match="'a' has none: set ridge"):
        CCA(2, solver="randomized").fit(X)
    with pytest.raises(ParameterError, match=r"at most 59.*got 60"):
        CCA(60, solver="randomized", **how).fit(X)


def test_float32_products_answer_to_a_millionth():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(30_000, 5))
    X = {m: rng.normal(size=(30_000, p)) for m, p in (("a", 150), ("b", 130))}
    X = {m: v + shared @ rng.normal(size=(5, v.shape[1])) / 5 for m, v in X.items()}
    single = {m: v.astype(np.float32) for m, v in X.items()}
    exact = CCA(solver="refined").fit({m: v.astype(np.float64) for m, v in single.items()})
    model = CCA().fit(single)
    assert model.solver_ == "cholesky" and model.error_bound_ > 1e-9  # products were float32
    np.testing.assert_allclose(model.correlations_, exact.correlations_, atol=1e-6)
    far = {m: v + np.float32(1000) for m, v in single.items()}
    exact = CCA(solver="refined").fit({m: v.astype(np.float64) for m, v in far.items()})
    np.testing.assert_allclose(CCA().fit(far).correlations_, exact.correlations_, atol=1e-6)


def test_rows_in_order_of_size_are_no_trap():
    X = {m: np.sort(v, axis=0) + 1e5 for m, v in pair(2000).items()}
    rho = reference(*X.values())
    for solver in TALL:
        np.testing.assert_allclose(CCA(solver=solver).fit(X).correlations_, rho, rtol=1e-8)


# -- the canonical constraints ------------------------------------------------------------


@pytest.mark.parametrize("solver", TALL)
def test_canonical_constraints_and_the_trace(solver):
    X = pair(300, 6, 4)
    model = CCA(solver=solver).fit(X)
    S = np.cov(np.column_stack([X["a"], X["b"]]).T)
    Saa, Sbb, Sab = S[:6, :6], S[6:, 6:], S[:6, 6:]
    U, V = model.weights_["a"], model.weights_["b"]
    np.testing.assert_allclose(U.T @ Saa @ U, np.eye(4), atol=1e-10)
    np.testing.assert_allclose(V.T @ Sbb @ V, np.eye(4), atol=1e-10)
    np.testing.assert_allclose(U.T @ Sab @ V, np.diag(model.correlations_), atol=1e-10)
    trace = np.trace(np.linalg.solve(Saa, Sab) @ np.linalg.solve(Sbb, Sab.T))
    assert trace == pytest.approx((model.all_correlations_**2).sum(), rel=1e-10)


def test_all_correlations_and_the_first_of_them():
    X = pair(300, 6, 4)
    model = CCA(2).fit(X)
    assert model.all_correlations_.shape == (4,) and model.n_samples_ == 300
    np.testing.assert_array_equal(model.correlations_, model.all_correlations_[:2])


@pytest.mark.parametrize("ridge", [0.0, 0.8])
def test_loadings_and_what_they_add_up_to(ridge):
    X = pair(120, 4, 4)
    X["a"] = np.column_stack([X["a"], np.full(120, 3.0)])
    model = CCA(ridge=ridge).fit(X)
    Z = model.transform(X)
    for name, other in (("a", "b"), ("b", "a")):
        p = X[name].shape[1]
        with np.errstate(invalid="ignore", divide="ignore"):
            joint = np.corrcoef(np.column_stack([X[name], Z[name], Z[other]]).T)
        own, cross = (np.nan_to_num(joint[:p, p + 4 * k : p + 4 * k + 4]) for k in (0, 1))
        np.testing.assert_allclose(model.loadings_[name], own, atol=1e-11)
        np.testing.assert_allclose(model.cross_loadings_[name], cross, atol=1e-11)
        varying = 4  # the constant column has no variance to explain
        share = (own**2).sum(axis=0) / varying
        np.testing.assert_allclose(model.explained_variance_[name], share, atol=1e-11)
        if not ridge:
            total = 0.0  # mean R² of each column regressed on the other modality
            for j in range(4):
                D = np.column_stack([np.ones(120), X[other][:, :4]])
                fit = D @ np.linalg.lstsq(D, X[name][:, j], rcond=None)[0]
                total += fit.var() / X[name][:, j].var() / 4
            assert model.redundancy_[name].sum() == pytest.approx(total, rel=1e-9)
            assert model.explained_variance_[name].sum() == pytest.approx(1)


# -- other hands --------------------------------------------------------------------------


def test_agrees_with_cca_zoo():
    X = pair(400, 6, 5)
    theirs = ZooCCA(3).fit([X["a"], X["b"]])
    ours = CCA(3).fit(X)
    scores = theirs.transform([X["a"], X["b"]])
    for name, other in zip("ab", scores, strict=True):
        mine = ours.transform(X)[name]
        unit = other / other.std(axis=0, ddof=1)
        sign = np.sign((mine * unit).sum(axis=0))
        np.testing.assert_allclose(mine, unit * sign, atol=1e-8)


def test_shrinkage_spans_what_cca_zoo_calls_ridge():
    X = {m: (v - v.mean(axis=0)) / v.std(axis=0, ddof=1) for m, v in pair(400, 6, 5).items()}
    ours = CCA(3, shrinkage=0.4).fit(X)
    scores = RidgeCCA(3, shrinkage=0.4).fit([X["a"], X["b"]]).transform([X["a"], X["b"]])
    for name, other in zip("ab", scores, strict=True):
        joint = np.corrcoef(ours.transform(X)[name].T, np.asarray(other).T)[:3, 3:]
        # Variances there have divisor n in places, which moves c by 1 / n.
        np.testing.assert_allclose(np.abs(np.diag(joint)), 1, atol=1e-4)


# -- shrinkage and confounds --------------------------------------------------------------


def test_shrinkage_is_a_ridge_of_c_over_1_minus_c():
    X = pair()
    one = CCA(shrinkage={"a": 0.2, "b": 0.5}).fit(X)
    two = CCA(ridge={"a": 0.25, "b": 1.0}).fit(X)
    np.testing.assert_allclose(one.correlations_, two.correlations_, rtol=1e-12)
    for name in "ab":
        ratio = one.weights_[name] / two.weights_[name]
        np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-8)
    assert one.shrinkage_ == pytest.approx({"a": 0.2, "b": 0.5})
    assert (CCA(shrinkage=1.0).fit(X).correlations_ == 0).all()  # I alone: partial least squares


@pytest.mark.parametrize("solver", [*TALL, "dual"])
def test_automatic_shrinkage_is_the_closed_form(solver):
    X = pair(50, 8, 4)
    model = CCA(shrinkage="auto", solver=solver).fit(X)
    for name, columns in X.items():
        Z = (columns - columns.mean(axis=0)) / columns.std(axis=0, ddof=1)
        n, p = Z.shape
        above = below = 0.0
        for i in range(p):
            for j in range(p):
                if i != j:
                    w = Z[:, i] * Z[:, j]
                    above += n / (n - 1) ** 3 * ((w - w.mean()) ** 2).sum()
                    below += (n / (n - 1) * w.mean()) ** 2
        assert model.shrinkage_[name] == pytest.approx(min(above / below, 1), rel=1e-10)
    assert CCA(shrinkage={"a": "auto", "b": 0}).fit(X).shrinkage_["b"] == 0


@pytest.mark.parametrize("solver", [*TALL, "dual"])
def test_confounds_are_removed(solver):
    how = {"ridge": 0.2} if solver == "dual" else {}
    rng = np.random.default_rng(2)
    X = pair(150, 5, 4)
    c = rng.normal(size=(150, 2)) * [1, 100] + [5, 0]
    mixed = {m: v + c @ rng.normal(size=(2, v.shape[1])) for m, v in X.items()}
    mixed["age"] = np.column_stack([c, c[:, 0]])  # a repeated confound changes nothing
    D = np.column_stack([np.ones(150), c])
    left = {m: mixed[m] - D @ np.linalg.lstsq(D, mixed[m], rcond=None)[0] for m in "ab"}
    plain = CCA(solver="svd", **how).fit(left)
    model = CCA(confounds="age", solver=solver, **how).fit(mixed)
    np.testing.assert_allclose(model.correlations_, plain.correlations_, atol=1e-10)
    Z = model.transform(mixed)
    assert Z.names == ("a", "b")
    for name in "ab":
        np.testing.assert_allclose(Z[name], plain.transform(left)[name], atol=1e-8)
    assert model.score(mixed) == pytest.approx(plain.score(left), abs=1e-10)
    # Without the confounds, they are taken to be at their mean.
    mean = {**mixed, "age": np.tile(mixed["age"].mean(axis=0), (150, 1))}
    alone = model.transform({"a": mixed["a"]})["a"]
    np.testing.assert_allclose(alone, model.transform(mean)["a"], atol=1e-8)


def test_confounds_that_cannot_be():
    X = pair()
    with pytest.raises(ModalityError, match=r"expected a modality 'age' beside two others"):
        CCA(confounds="age").fit(X)
    with pytest.raises(ModalityError, match="at least 2 modalities"):
        CCA(confounds="b").fit(X)
    with pytest.raises(ModalityError, match="at most 2 modalities"):
        CCA(confounds="age").fit({**X, "age": X["a"], "c": X["b"]})
    with pytest.raises(DataError, match="'a': nothing is left"):
        CCA(confounds="age").fit({**X, "age": X["a"]})
    model = CCA(confounds="age").fit({**X, "age": X["a"][:, :1] ** 2})
    with pytest.raises(ModalityError, match="only the confounds 'age'"):
        model.transform({"age": X["a"][:, :1]})


# -- what is too much or too little -------------------------------------------------------


def test_collinear_modalities_correlate_by_1():
    rng = np.random.default_rng(4)
    X = rng.normal(size=(500, 4))
    for solver in TALL:
        model = CCA(solver=solver).fit({"a": X, "b": X @ rng.normal(size=(4, 4)) + 3})
        np.testing.assert_allclose(model.correlations_, 1, atol=1e-8)
        assert (model.correlations_ <= 1).all() and np.isfinite(model.weights_["a"]).all()


def test_few_rows_warn_of_chance():
    rng = np.random.default_rng(0)
    unrelated = {"a": rng.normal(size=(200, 45)), "b": rng.normal(size=(200, 45))}
    with pytest.warns(DegenerateDataWarning, match=r"200 rows are few.*correlation of about 0\.8"):
        model = CCA().fit(unrelated)
    # The edge of the spectrum moves by n^(-2/3).
    assert model.correlations_[0] == pytest.approx(model.chance_correlation_, abs=0.05)
    CCA(shrinkage="auto").fit(unrelated)  # no warning


def test_two_rows_by_every_road():
    X = {"a": [[0.0, 1], [2, 5]], "b": [[3.0], [-1]]}
    for solver in ("auto", "refined", "svd"):
        with pytest.warns(DegenerateDataWarning):
            model = CCA(solver=solver).fit(X)
        np.testing.assert_allclose(model.correlations_, [1], atol=1e-12)


def test_numbers_that_cannot_be_squared_are_said():
    X = pair(2000)
    X["a"][777, 2] = 1e300
    with pytest.raises(DataError, match="squares overflow"):
        CCA().fit(X)


def test_bad_parameters_are_named():
    X = pair()
    for bad in (-0.1, 1.5, "much", None):
        with pytest.raises(ParameterError, match="shrinkage"):
            CCA(shrinkage=bad).fit(X)
    with pytest.raises(ParameterError, match=r"shrinkage: expected a number for each"):
        CCA(shrinkage={"a": 0.1}).fit(X)
    with pytest.raises(ParameterError, match="solver: expected one of 'auto'"):
        CCA(solver="magic").fit(X)
    with pytest.raises(ParameterError, match="needs n_components"):
        CCA(solver="randomized").fit(X)
    with pytest.raises(ParameterError, match="confounds: expected the name"):
        CCA(confounds=3).fit(X)


def test_warnings_point_at_the_line_that_asked():
    X = pair(12)
    asked = (
        lambda: CCA().fit(X),
        lambda: CCA().fit(iter([X])),
        lambda: CCA().partial_fit(X).correlations_,
    )
    for ask in asked:
        with pytest.warns(DegenerateDataWarning) as heard:
            ask()
        assert [warning.filename for warning in heard] == [__file__]


@pytest.mark.parametrize("penalty", [{"ridge": 0.1}, {"shrinkage": 0.3}, {"ridge": 1e-6}])
def test_a_penalty_does_not_hide_that_columns_depend_on_one_another(penalty):
    X = pair(80, 4, 3)
    copied = {
        "a": np.column_stack([X["a"], X["a"] @ np.full((4, 3), 0.5)]),
        "b": np.column_stack([X["b"]] * 3),
    }
    svd = CCA(solver="svd", **penalty).fit(copied)
    found = CCA(**penalty).fit(copied)
    stream = CCA(**penalty).fit(iter([copied]))
    for model in (found, stream):
        assert model.rank_ == svd.rank_ == {"a": 4, "b": 3}
        # Directions of one pass are as exact as the ridge is above its rounding.
        np.testing.assert_allclose(model.all_correlations_, svd.all_correlations_, atol=1e-9)
        for part in (model.loadings_, model.cross_loadings_, model.explained_variance_):
            assert all(np.isfinite(values).all() for values in part.values())
    for model in (CCA(4, **penalty), CCA(4, solver="refined", **penalty)):
        with pytest.raises(ParameterError, match="at most 3, the smaller rank"):
            model.fit(copied)
    with pytest.raises(DataError, match="'a': its columns depend on one another"):
        CCA(solver="cholesky", **penalty).fit(copied)
    with pytest.raises(ParameterError, match=r"at most 3.*rank.*'a': 4, 'b': 3.*got 4"):
        CCA(4, solver="randomized", random_state=0, **penalty).fit(copied)
    leading = CCA(3, solver="randomized", random_state=0, **penalty).fit(copied)
    assert leading.rank_ == svd.rank_
    np.testing.assert_allclose(leading.correlations_, svd.correlations_, atol=1e-6)


def test_the_randomised_road_knows_ranks_as_far_as_it_looks():
    X = pair(80, 4, 3)
    rng = np.random.default_rng(0)
    wide = {"a": X["a"] @ rng.normal(size=(4, 30)), "b": rng.normal(size=(80, 40))}
    wide["b"][:, :5] += wide["a"][:, :5]
    model = CCA(2, ridge=0.1, solver="randomized", random_state=0).fit(wide)
    assert model.rank_ == {"a": 4, "b": 40}
    single = {m: (100 + v).astype(np.float32) for m, v in wide.items()}
    assert CCA(2, ridge=0.1, solver="randomized", random_state=0).fit(single).rank_["a"] == 4
    far = {**wide, "a": wide["a"] * 1e-120}
    with pytest.raises(ParameterError, match=r"at most 4.*\{'a': 4, 'b': 15\}.*up to 15.*got 5"):
        CCA(5, ridge=0.1, solver="randomized", random_state=0).fit(far)


@pytest.mark.parametrize("how", [lambda X: X, lambda X: iter([X])])
def test_one_pass_warns_of_rows_that_dwarf_all_others(how):
    X = pair(500, 4, 3)
    X["a"][17], X["b"][17] = 3e7, -2e7
    with pytest.warns(DegenerateDataWarning, match="rows that dwarf all others.*error"):
        model = CCA(solver="cholesky").fit(how(X))
    exact = CCA(solver="svd").fit(X).correlations_
    assert model.error_bound_ > 1e-6 and np.abs(model.correlations_ - exact).max() > 1e-9
    np.testing.assert_allclose(CCA().fit(X).correlations_, exact, atol=1e-9)


def test_a_stream_of_fewer_rows_than_columns_with_a_ridge():
    X = pair(20, 30, 25)
    svd, stream = CCA(ridge=0.5, solver="svd").fit(X), CCA(ridge=0.5).fit(iter([X]))
    assert stream.rank_ == svd.rank_ == {"a": 19, "b": 19}
    np.testing.assert_allclose(stream.correlations_, svd.correlations_, atol=1e-10)
    np.testing.assert_allclose(stream.loadings_["b"], svd.loadings_["b"], atol=1e-9)
    with pytest.raises(ParameterError, match="at most 19"):
        CCA(20, ridge=0.5).fit(iter([X]))


@pytest.mark.parametrize("solver", TALL)
def test_confounds_that_leave_nothing_are_named(solver):
    X = pair(60, 3, 2)
    with pytest.raises(DataError, match="'a': nothing is left once the effect of 'c' is removed"):
        CCA(confounds="c", solver=solver).fit({**X, "c": X["a"] * 2 + 1})


@pytest.mark.parametrize("shape", [(60, 80), (80, 60), (60, 60)])
def test_few_components_by_squares_are_those_by_singular_values(shape):
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.normal(size=(n, 60)))[0] for n in shape)
    sizes = np.linspace(0.99, 0.05, 60)
    K = U * sizes @ V.T
    rho, (P, Q) = _solution._by_squares(K, 3)
    np.testing.assert_allclose(rho, sizes, atol=1e-13)
    for turn in (P, Q):
        np.testing.assert_allclose(turn.T @ turn, np.eye(3), atol=1e-13)
    np.testing.assert_allclose(np.diag(P.T @ K @ Q), sizes[:3], atol=1e-13)
    # Squares of small values drown in rounding, and are not taken.
    assert _solution._by_squares(U * np.geomspace(1, 1e-4, 60) @ V.T, 3) is None


@pytest.mark.parametrize("mean", [0.0, 3.0, 1e6])
def test_wide_data_of_any_mean_by_rows(mean):
    X = {m: v + mean for m, v in pair(50, 1300, 1100).items()}  # more than one strip
    few, whole = (CCA(d, ridge=0.4, solver="dual").fit(X) for d in (2, None))
    svd = CCA(2, ridge=0.4, solver="svd").fit(X)
    tolerance = 1e-10 if mean < 10 else 1e-8  # a mean of 1e6 leaves 10 digits of the numbers
    for model in (few, whole):
        np.testing.assert_allclose(
            model.all_correlations_[:49], svd.all_correlations_[:49], atol=tolerance
        )
    for name in "ab":
        scale = np.abs(svd.weights_[name]).max()
        np.testing.assert_allclose(
            few.weights_[name], svd.weights_[name], atol=100 * tolerance * scale
        )
        np.testing.assert_allclose(few.loadings_[name], svd.loadings_[name], atol=100 * tolerance)
