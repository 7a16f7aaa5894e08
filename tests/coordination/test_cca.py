"""CCA against a reference written plainly, known truths, and what it must survive."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.cross_decomposition import CCA as SklearnCCA
from sklearn.model_selection import GridSearchCV, cross_val_score

import triptych
from triptych.coordination import CCA
from triptych.errors import (
    DataError,
    DegenerateDataWarning,
    ModalityError,
    NotFittedError,
    ParameterError,
    PersistenceError,
    ShapeError,
)


def pair(n=200, p=5, q=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    Y = X[:, :q] @ rng.normal(size=(q, q)) + rng.normal(size=(n, q))
    return {"a": X, "b": Y}


def reference(A, B):
    Qa, _ = np.linalg.qr(A - A.mean(axis=0))
    Qb, _ = np.linalg.qr(B - B.mean(axis=0))
    return np.linalg.svd(Qa.T @ Qb, compute_uv=False)


def test_equals_qr_and_svd():
    X = pair()
    np.testing.assert_allclose(CCA().fit(X).correlations_, reference(*X.values()), rtol=1e-10)


def test_condition_of_a_million():
    rng = np.random.default_rng(1)
    X = pair()
    U, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    bent = {"a": X["a"] @ (U * np.logspace(0, -6, 5)) @ U.T, "b": X["b"]}
    rho = reference(*X.values())  # invertible maps change nothing
    np.testing.assert_allclose(CCA().fit(bent).correlations_, rho, rtol=1e-6)


def test_repeated_and_constant_columns_change_nothing():
    X = pair()
    wide = np.column_stack([X["a"], X["a"][:, 0], np.full(200, 7.0)])
    model = CCA().fit({"a": wide, "b": X["b"]})
    assert model.rank_["a"] == 5
    np.testing.assert_allclose(model.correlations_, reference(*X.values()), rtol=1e-10)
    assert np.isfinite(model.weights_["a"]).all()
    assert (model.loadings_["a"][-1] == 0).all()


@pytest.mark.parametrize("factor", [1e150, 1e-150])
def test_extreme_scales(factor):
    X = pair()
    rho = CCA().fit({"a": X["a"] * factor, "b": X["b"]}).correlations_
    np.testing.assert_allclose(rho, reference(*X.values()), rtol=1e-10)


def test_canonical_constraints():
    X = pair()
    model = CCA().fit(X)
    Z = model.transform(X)
    joint = np.cov(np.column_stack([Z["a"], Z["b"]]).T)
    np.testing.assert_allclose(joint[:4, :4], np.eye(4), atol=1e-10)
    np.testing.assert_allclose(joint[:4, 4:], np.diag(model.correlations_), atol=1e-10)


def test_more_columns_than_rows_warns_and_stays_finite():
    with pytest.warns(DegenerateDataWarning, match="ridge"):
        model = CCA().fit(pair(n=6, p=10, q=8))
    np.testing.assert_allclose(model.correlations_, 1.0)
    shrunk = CCA(ridge=0.5).fit(pair(n=6, p=10, q=8)).correlations_
    assert (shrunk < 1).all()


def test_ridge_is_the_regularised_eigenproblem():
    X = pair()
    A, B = (v - v.mean(axis=0) for v in X.values())
    A, B = A / A.std(axis=0, ddof=1), B / B.std(axis=0, ddof=1)
    Saa, Sbb, Sab = A.T @ A / 199 + 0.3 * np.eye(5), B.T @ B / 199 + 0.3 * np.eye(4), A.T @ B / 199
    eig = np.linalg.eigvals(np.linalg.solve(Saa, Sab) @ np.linalg.solve(Sbb, Sab.T))
    expected = np.sqrt(np.sort(eig.real)[::-1][:4])
    np.testing.assert_allclose(CCA(ridge=0.3).fit(X).correlations_, expected, rtol=1e-8)


def test_recovers_known_correlations():
    rng, n = np.random.default_rng(2), 20_000
    rho = np.array([0.9, 0.5])
    A = rng.normal(size=(n, 2))
    B = rho * A + np.sqrt(1 - rho**2) * rng.normal(size=(n, 2))
    error = np.abs(CCA().fit({"a": A, "b": B @ [[2, 1], [0, 3]]}).correlations_ - rho)
    assert (error < 3 * (1 - rho**2) / np.sqrt(n)).all()


def test_agrees_with_scikit_learn():
    X = pair(p=6, q=3)
    ours = CCA(2).fit(X)
    theirs = SklearnCCA(2, tol=1e-20, max_iter=10_000).fit(X["a"], X["b"])
    for name, scores in zip("ab", theirs.transform(X["a"], X["b"]), strict=True):
        mine = ours.transform(X)[name]
        unit = scores / scores.std(axis=0, ddof=1)
        sign = np.sign((mine * unit).sum(axis=0))
        # Theirs iterates until a step is 1e-10, and steps shrink by (rho_2 / rho_1)^2 only.
        np.testing.assert_allclose(mine, unit * sign, atol=1e-6)


def test_equals_the_eigenproblem_in_closed_form():
    X = pair(n=60, p=3, q=2)
    S = np.cov(np.column_stack([*X.values()]).T)
    M = np.linalg.solve(S[:3, :3], S[:3, 3:]) @ np.linalg.solve(S[3:, 3:], S[3:, :3])
    rho = np.sqrt(np.sort(np.linalg.eigvals(M).real)[::-1][:2])
    # The closed form squares the condition and takes a root of small numbers.
    np.testing.assert_allclose(CCA().fit(X).correlations_, rho, rtol=1e-10)


def test_invertible_maps_of_a_modality_change_nothing():
    X = pair()
    rng = np.random.default_rng(3)
    turned = {"a": X["a"] @ rng.normal(size=(5, 5)) + 10, "b": -3 * X["b"][:, ::-1]}
    one, two = CCA().fit(X), CCA().fit(turned)
    np.testing.assert_allclose(one.correlations_, two.correlations_, rtol=1e-10)
    for name in "ab":
        mine, other = one.transform(X)[name], two.transform(turned)[name]
        sign = np.sign((mine * other).sum(axis=0))
        np.testing.assert_allclose(mine, other * sign, atol=1e-9)


def test_units_of_columns_change_no_sign():
    X = pair()
    scaled = {"a": X["a"] * [1e-3, 1, 1e6, 7, 0.1] + 5, "b": X["b"] * 100}
    one, two = CCA().fit(X), CCA().fit(scaled)
    np.testing.assert_allclose(one.transform(X)["a"], two.transform(scaled)["a"], atol=1e-8)


def test_the_largest_loading_of_either_modality_is_positive():
    model = CCA().fit(pair(seed=4))
    both = np.concatenate([model.loadings_["a"], model.loadings_["b"]])
    assert (both[np.abs(both).argmax(axis=0), np.arange(4)] > 0).all()


def test_loadings_are_correlations_with_the_variate():
    X = pair(n=50, p=3, q=2)
    for ridge in (0.0, 0.7):
        model = CCA(ridge=ridge).fit(X)
        Z = model.transform(X)
        for name in "ab":
            expected = np.corrcoef(X[name].T, Z[name].T)[: X[name].shape[1], X[name].shape[1] :]
            np.testing.assert_allclose(model.loadings_[name], expected, atol=1e-12)


def test_a_large_mean_against_the_spread():
    X = pair()
    rho = CCA().fit(X).correlations_
    # A mean of 1e6 leaves 10 of 16 digits.
    far = {name: columns + 1e6 for name, columns in X.items()}
    np.testing.assert_allclose(CCA().fit(far).correlations_, rho, rtol=1e-8)
    summed = np.column_stack([far["a"], far["a"].sum(axis=1)])
    model = CCA().fit({"a": summed, "b": far["b"]})
    assert model.rank_["a"] == 5
    np.testing.assert_allclose(model.correlations_, rho, rtol=1e-8)


def test_more_columns_than_rows_of_low_rank():
    rng = np.random.default_rng(5)
    X = pair(n=30, p=3, q=2)
    wide = {"a": X["a"] @ rng.normal(size=(3, 90)), "b": X["b"] @ rng.normal(size=(2, 40))}
    model = CCA().fit(wide)
    assert model.rank_ == {"a": 3, "b": 2}
    np.testing.assert_allclose(model.correlations_, reference(*X.values()), rtol=1e-9)
    assert model.transform(wide)["a"].shape == (30, 2)


def test_two_rows():
    with pytest.warns(DegenerateDataWarning, match="1 correlations are 1"):
        model = CCA().fit({"a": [[0.0, 1], [2, 5]], "b": [[3.0], [-1]]})
    assert model.rank_ == {"a": 1, "b": 1}
    np.testing.assert_allclose(model.correlations_, [1])
    Z = model.transform({"a": [[0.0, 1], [2, 5]], "b": [[3.0], [-1]]})
    np.testing.assert_allclose(np.abs(Z["a"]), np.sqrt(0.5))  # variance 1 with divisor n - 1
    np.testing.assert_allclose(Z["a"], Z["b"])


def test_the_number_of_forced_correlations_is_said():
    with pytest.warns(DegenerateDataWarning, match=r"\b3 correlations are 1"):
        model = CCA().fit(pair(n=10, p=7, q=5))  # 7 + 5 - 9
    np.testing.assert_allclose(model.correlations_[:3], 1)
    assert model.correlations_[3] < 1 - 1e-6


def test_independent_modalities_have_no_correlation_to_show_on_other_rows():
    rng = np.random.default_rng(6)
    X = {"a": rng.normal(size=(400, 3)), "b": rng.normal(size=(400, 3))}
    held = {"a": rng.normal(size=(4000, 3)), "b": rng.normal(size=(4000, 3))}
    model = CCA().fit(X)
    # The mean of three correlations of 4000 independent rows has this standard error.
    assert abs(model.score(held)) < 4 / np.sqrt(3 * 4000)


def test_score_of_the_rows_fitted_is_the_mean_correlation():
    X = pair()
    model = CCA().fit(X)
    assert model.score(X) == pytest.approx(model.correlations_.mean(), rel=1e-10)
    assert model.score({"a": np.zeros((3, 5)), "b": X["b"][:3]}) == 0


def test_a_ridge_for_each_modality():
    X = pair()
    same = CCA(ridge={"b": 0.3, "a": 0.3}).fit(X).correlations_
    np.testing.assert_array_equal(same, CCA(ridge=0.3).fit(X).correlations_)
    other = CCA(ridge={"a": 0.3, "b": 0}).fit(X)
    assert other.correlations_[0] > same[0]
    assert other.set_params(ridge__b=0.3).fit(X).correlations_[0] == same[0]
    with pytest.raises(ParameterError, match=r"ridge: expected a number for each of \['a', 'b'\]"):
        CCA(ridge={"a": 1.0}).fit(X)
    with pytest.raises(ParameterError, match=r"ridge__b: .*'much'"):
        CCA(ridge={"a": 1.0, "b": "much"}).fit(X)
    for bad in (np.nan, np.inf, None, True):
        with pytest.raises(ParameterError, match="ridge"):
            CCA(ridge=bad).fit(X)


def test_sparse_columns_are_the_same_data():
    X = pair()
    X["a"] = np.where(X["a"] > 0.5, X["a"], 0)
    thin = {**X, "a": csr_array(X["a"])}
    one, two = CCA().fit(X), CCA().fit(thin)
    # Products of stored entries are summed in another order.
    np.testing.assert_allclose(one.correlations_, two.correlations_, rtol=1e-13)
    np.testing.assert_allclose(one.transform(X)["a"], two.transform(thin)["a"], atol=1e-12)


def test_only_complete_pairs_are_learnt_from():
    X = pair(n=40)
    holes = {"a": np.arange(40) % 5 != 0, "b": np.arange(40) % 7 != 0}
    there = holes["a"] & holes["b"]
    some = CCA().fit(triptych.Modalities(X, present=holes))
    whole = CCA().fit({name: columns[there] for name, columns in X.items()})
    np.testing.assert_array_equal(some.correlations_, whole.correlations_)
    never = triptych.Modalities(X, present={"a": np.arange(40) < 20, "b": np.arange(40) >= 20})
    with pytest.raises(DataError, match="2 rows with both modalities; got 0"):
        CCA().fit(never)


def test_whole_numbers_and_single_precision():
    X = {name: np.round(columns * 100).astype(np.int16) for name, columns in pair().items()}
    rho = CCA().fit(X).correlations_
    single = {name: columns.astype(np.float32) for name, columns in X.items()}
    np.testing.assert_allclose(CCA().fit(single).correlations_, rho, rtol=1e-12)


def test_pictures_and_words_with_absent_rows():
    rng = np.random.default_rng(0)
    dark = rng.integers(0, 2, size=40)
    images = (dark[:, None, None, None] * 200 + rng.integers(0, 40, (40, 1, 3, 3))).astype("uint8")
    words = [
        None if i == 3 else ("black night" if d == 0 else "bright day") for i, d in enumerate(dark)
    ]
    model = CCA(1, ridge=0.1).fit({"image": images, "text": words})
    Z = model.transform({"image": images, "text": words})
    assert not Z.present["text"][3]
    found, _ = model.retrieve({"text": ["bright day"]}, among={"image": images}, k=5)
    assert dark[found[0]].all()


def test_works_with_scikit_learn():
    X = triptych.Modalities(pair())
    assert cross_val_score(CCA(2), X, cv=3).mean() > 0.5
    search = GridSearchCV(CCA(2), {"ridge": [0.0, 100.0]}, cv=3).fit(X)
    assert search.best_params_["ridge"] == 0.0


def test_saved_and_loaded_codes_are_equal(tmp_path):
    X = pair()
    model = CCA(2).fit(X)
    model.save(tmp_path / "m")
    model.save(tmp_path / "m")
    again = triptych.load(tmp_path / "m")
    assert again.transform(X)["a"].tobytes() == model.transform(X)["a"].tobytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m"]
    arrays = tmp_path / "m" / "arrays.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:-1])
    with pytest.raises(PersistenceError, match="altered or cut short"):
        triptych.load(tmp_path / "m")


def test_refuses_to_replace_a_folder_of_other_things(tmp_path):
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(PersistenceError, match="holds other things"):
        CCA().fit(pair()).save(tmp_path)
    assert (tmp_path / "diary.txt").read_text() == "mine"


def test_bad_input_is_named():
    X = pair()
    holes = X["a"].copy()
    holes[3, 1] = np.nan
    with pytest.raises(DataError, match=r"'a'.*NaN at row 3, column 1"):
        CCA().fit({**X, "a": holes})
    with pytest.raises(ModalityError, match="at least 2 modalities"):
        CCA().fit({"a": X["a"]})
    with pytest.raises(ModalityError, match="have names"):
        CCA().fit([X["a"], X["b"]])
    with pytest.raises(ShapeError, match="'a' 200, 'b' 100"):
        CCA().fit({"a": X["a"], "b": X["b"][:100]})
    with pytest.raises(DataError, match="at least 2 rows"):
        CCA().fit({m: v[:1] for m, v in X.items()})
    with pytest.raises(DataError, match="every column is constant"):
        CCA().fit({**X, "a": np.ones((200, 2))})
    with pytest.raises(
        ParameterError, match=r"at most 4, the smaller rank .*'a': 5, 'b': 4.*; got 5"
    ):
        CCA(5).fit(X)
    with pytest.raises(ParameterError, match="ridge"):
        CCA(ridge=-1).fit(X)
    with pytest.raises(NotFittedError, match="call fit"):
        CCA().transform(X)
    with pytest.raises(ModalityError, match="unknown modality 'c'"):
        CCA().fit(X).transform({"c": X["a"]})
    with pytest.raises(ShapeError, match="fitted as vector"):
        CCA().fit(X).transform({"a": X["b"]})


def test_masked_entries_are_not_taken_for_numbers():
    rng = np.random.default_rng(0)
    values = np.ma.masked_greater(rng.normal(size=(20, 2)), 1.0)
    with pytest.raises(DataError, match="'a': an array with masked entries; mark absent rows"):
        CCA().fit({"a": values, "b": rng.normal(size=(20, 1))})
    whole = np.ma.masked_array(values.data)
    CCA().fit({"a": whole, "b": values.data[:, :1] + 1})
