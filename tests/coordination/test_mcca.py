"""MCCA against its eigenproblem written out, CCA, cca-zoo, and what it must survive."""

import numpy as np
import pytest
from cca_zoo.linear import MCCA as TheirMCCA
from scipy.linalg import eigh
from scipy.sparse import csr_array
from sklearn.base import clone

import triptych
from triptych import Modalities
from triptych.coordination import CCA, MCCA, _sides
from triptych.errors import DataError, DegenerateDataWarning, ParameterError
from triptych.seeding import generator

from .sets_data import related, same_up_to_sign, standard


def written_out(X, ridge=0.0, shrinkage=0.0):
    """Eigenvalues and weights for standardised columns, by the dense generalised problem."""
    Z = standard(X)
    S = np.cov(np.hstack(list(Z.values())).T)
    B, edge = np.zeros_like(S), 0
    for z in Z.values():
        block = slice(edge, edge + z.shape[1])
        B[block, block] = (1 - shrinkage) * S[block, block] + (shrinkage + ridge) * np.eye(
            z.shape[1]
        )
        S[block, block] = B[block, block]
        edge = block.stop
    values, vectors = eigh(S, B)
    weights = vectors[:, ::-1] * np.sqrt(len(X))
    edges = np.cumsum([z.shape[1] for z in Z.values()])[:-1]
    return values[::-1], dict(zip(X, np.split(weights, edges), strict=True))


@pytest.mark.parametrize(("ridge", "shrinkage"), [(0, 0), (0.5, 0), (0, 0.3), (0.2, 0.9), (0, 1)])
def test_equals_the_eigenproblem_written_out(ridge, shrinkage):
    X = related()
    model = MCCA(2, ridge=ridge, shrinkage=shrinkage).fit(X)
    values, weights = written_out(X, ridge, shrinkage)
    np.testing.assert_allclose(model.eigenvalues_, values[:2], rtol=1e-10)
    for m, v in X.items():
        same_up_to_sign(
            model.weights_[m] * v.std(axis=0, ddof=1)[:, None], weights[m][:, :2], rtol=1e-9
        )


def test_two_modalities_are_cca():
    X = related(widths=(5, 4))
    for ridge in (0.0, 0.4, {"a": 0.1, "b": 2.0}):
        cca, mcca = CCA(ridge=ridge).fit(X), MCCA(ridge=ridge).fit(X)
        np.testing.assert_allclose(mcca.eigenvalues_, 1 + cca.correlations_, rtol=1e-10)
        for m in X:
            np.testing.assert_allclose(mcca.weights_[m], cca.weights_[m], atol=1e-8)
            np.testing.assert_allclose(mcca.loadings_[m], cca.loadings_[m], atol=1e-9)
    assert mcca.score(X) == pytest.approx(cca.score(X))
    np.testing.assert_allclose(MCCA().fit(X).correlations_, CCA().fit(X).correlations_, rtol=1e-10)


@pytest.mark.parametrize("shrinkage", [0.0, 0.5])
@pytest.mark.parametrize("pca", [True, False])
def test_agrees_with_cca_zoo(shrinkage, pca):
    X = standard(related(widths=(5, 4, 3, 6)))
    theirs = TheirMCCA(2, shrinkage=shrinkage, pca=pca).fit(list(X.values()))
    ours = MCCA(2, shrinkage=shrinkage).fit(X)
    for m, w in zip(X, theirs.weights_, strict=True):
        scale = np.linalg.norm(ours.weights_["a"], axis=0) / np.linalg.norm(
            theirs.weights_[0], axis=0
        )
        same_up_to_sign(ours.weights_[m], w * scale, rtol=1e-7)


def test_scaling_and_orthogonality_are_as_stated():
    X = related()
    Z = MCCA().fit(X).transform(X)
    total = sum(np.cov(Z[m].T) for m in X)
    np.testing.assert_allclose(total, 3 * np.eye(4), atol=1e-9)


def test_the_sum_of_correlations_is_a_maximum():
    X = related(d=1)
    model = MCCA(1).fit(X)
    random = np.random.default_rng(0)

    def objective(weights):
        codes = np.column_stack([X[m] @ w for m, w in weights.items()])
        S = np.cov(codes.T)
        return S.sum() / np.trace(S)

    best = objective({m: w[:, 0] for m, w in model.weights_.items()})
    assert best == pytest.approx(model.eigenvalues_[0])
    for _ in range(50):
        moved = {m: w[:, 0] * (1 + 0.1 * random.normal(size=len(w))) for m, w in
                 model.weights_.items()}  # fmt: skip
        assert objective(moved) <= best + 1e-12


def test_all_roads_lead_to_the_same(tmp_path, monkeypatch):
    X = related(n=700)
    X["a"] = np.where(X["a"] > np.median(X["a"], axis=0), X["a"], 0)
    one = MCCA(2).fit(X)
    monkeypatch.setattr(_sides, "CHUNK_NUMBERS", 256 * 12)  # several chunks
    np.save(tmp_path / "b.npy", X["b"])
    thin = {"a": csr_array(X["a"]), "b": np.load(tmp_path / "b.npy", mmap_mode="r"), "c": X["c"]}
    two = MCCA(2).fit(thin)
    monkeypatch.setattr(_sides, "UNSAFE", np.inf)
    three = MCCA(2).fit(X)
    for other in (two, three):
        np.testing.assert_allclose(other.eigenvalues_, one.eigenvalues_, rtol=1e-11)
        for m in X:
            np.testing.assert_allclose(other.weights_[m], one.weights_[m], rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(two.transform(thin)["a"], one.transform(X)["a"], atol=1e-9)


def test_sparse_rows_are_never_dense_as_a_whole(monkeypatch):
    X = related(n=900)
    thin = {m: csr_array(v) for m, v in X.items()}
    monkeypatch.setattr(_sides, "CHUNK_NUMBERS", 256 * 3)
    most, plain = [0], csr_array.toarray

    def watched(self, *args, **kwargs):
        most[0] = max(most[0], self.shape[0])
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(csr_array, "toarray", watched)
    MCCA(2).fit(thin)
    assert 0 < most[0] < 900


def test_bad_condition_takes_the_road_of_svd():
    X = related()
    random = np.random.default_rng(1)
    Q, _ = np.linalg.qr(random.normal(size=(5, 5)))
    bent = {**X, "a": standard(X)["a"] @ (Q * np.logspace(0, -6, 5)) @ Q.T}
    # Invertible maps of a modality change nothing but what the condition costs.
    np.testing.assert_allclose(
        MCCA(3).fit(bent).eigenvalues_, MCCA(3).fit(X).eigenvalues_, rtol=1e-8
    )


def test_many_more_columns_than_rows():
    random = np.random.default_rng(2)
    shared = random.normal(size=(20, 1))
    X = {
        m: shared + random.normal(size=(20, p)) for m, p in zip("abc", (200, 90, 30), strict=True)
    }
    values, weights = written_out(X, ridge=0.7)
    model = MCCA(2, ridge=0.7).fit(X)
    np.testing.assert_allclose(model.eigenvalues_, values[:2], rtol=1e-9)
    same_up_to_sign(
        model.weights_["a"] * X["a"].std(axis=0, ddof=1)[:, None], weights["a"][:, :2], rtol=1e-8
    )
    with pytest.warns(DegenerateDataWarning, match=r"'a' and 'b', 19 and 19.*Set ridge"):
        flat = MCCA(2).fit(X)
    np.testing.assert_allclose(flat.eigenvalues_, 3)


def test_low_rank_repeated_and_constant_columns():
    X = related(n=40)
    random = np.random.default_rng(3)
    wide = {
        "a": np.column_stack([X["a"], X["a"][:, 0], np.full(40, 7.0)]),
        "b": X["b"] @ random.normal(size=(4, 100)),
        "c": X["c"],
    }
    model = MCCA(2).fit(wide)
    assert model.rank_ == {"a": 5, "b": 4, "c": 3}
    np.testing.assert_allclose(model.eigenvalues_, MCCA(2).fit(X).eigenvalues_, rtol=1e-9)
    assert (model.weights_["a"][-1] == 0).all()
    assert np.isfinite(model.transform(wide)["b"]).all()


@pytest.mark.parametrize("factor", [1e150, 1e-150])
def test_extreme_scales(factor):
    X = related()
    scaled = {**X, "a": X["a"] * factor}
    one, two = MCCA(2).fit(X), MCCA(2).fit(scaled)
    np.testing.assert_allclose(two.eigenvalues_, one.eigenvalues_, rtol=1e-10)
    np.testing.assert_allclose(two.transform(scaled)["a"], one.transform(X)["a"], atol=1e-9)


def test_a_large_mean_against_the_spread():
    X = related()
    far = {m: standard(X)[m] + 1e6 for m in X}
    # A mean of 1e6 leaves 10 of 16 digits.
    np.testing.assert_allclose(
        MCCA(2).fit(far).eigenvalues_, MCCA(2).fit(X).eigenvalues_, rtol=1e-8
    )


def test_collinear_modalities_share_all():
    X = related(widths=(3,))
    random = np.random.default_rng(4)
    same = {"a": X["a"], "b": X["a"] @ random.normal(size=(3, 3)), "c": -X["a"]}
    model = MCCA().fit(same)
    np.testing.assert_allclose(model.eigenvalues_, 3, rtol=1e-10)
    np.testing.assert_allclose(model.correlations_, 1, rtol=1e-8)
    assert all(np.isfinite(w).all() for w in model.weights_.values())


def test_two_rows():
    X = {"a": [[0.0, 1], [2, 5]], "b": [[3.0], [-1]], "c": [[1.0], [1.5]]}
    with pytest.warns(DegenerateDataWarning):
        model = MCCA().fit(X)
    np.testing.assert_allclose(model.eigenvalues_, [3])
    Z = model.transform(X)
    np.testing.assert_allclose(np.abs(Z["a"]), np.sqrt(0.5))  # variance 1 with divisor n - 1


def test_only_complete_rows_are_learnt_from():
    X = related(n=60)
    present = {"a": np.arange(60) % 5 != 0, "c": np.arange(60) % 7 != 0}
    there = present["a"] & present["c"]
    some = MCCA(2).fit(Modalities(X, present=present))
    whole = MCCA(2).fit({m: v[there] for m, v in X.items()})
    assert some.n_samples_ == there.sum()
    np.testing.assert_array_equal(some.eigenvalues_, whole.eigenvalues_)
    Z = some.transform(Modalities(X, present=present))
    assert not Z.present["a"][0]
    assert (Z["a"][0] == 0).all()
    never = Modalities(X, present={"a": np.arange(60) < 30, "b": np.arange(60) >= 30})
    with pytest.raises(DataError, match=r"2 rows with all of .*got 0. GCCA"):
        MCCA().fit(never)


def test_noise_has_nothing_to_show_on_other_rows():
    random = np.random.default_rng(5)
    X, held = ({m: random.normal(size=(n, 3)) for m in "abc"} for n in (400, 4000))
    # The mean of nine correlations of 4000 independent rows.
    assert abs(MCCA().fit(X).score(held)) < 4 / np.sqrt(9 * 4000)


def test_saved_and_loaded(tmp_path):
    X = related()
    model = MCCA(2, ridge={"a": 0.1, "b": 0.0, "c": 1.0}).fit(X)
    model.save(tmp_path / "m")
    again = triptych.load(tmp_path / "m")
    assert again.transform(X)["a"].tobytes() == model.transform(X)["a"].tobytes()


def test_bad_input_is_named():
    X = related()
    with pytest.raises(ParameterError, match=r"at most 4, the second largest rank.*'a': 5.*got 5"):
        MCCA(5).fit(X)
    with pytest.raises(ParameterError, match=r"ridge__a: .*-1"):
        MCCA(ridge={"a": -1, "b": 0, "c": 0}).fit(X)
    with pytest.raises(ParameterError, match="shrinkage: expected a number >= 0 and <= 1, got 2"):
        MCCA(shrinkage=2).fit(X)
    with pytest.raises(ParameterError, match=r"ridge: expected a number for each of"):
        MCCA(ridge={"a": 1.0}).fit(X)
    with pytest.raises(DataError, match="modality 'b': every column is constant"):
        MCCA().fit({**X, "b": np.ones((150, 2))})


def test_permutation_learns_again_for_every_permutation():
    X = related(n=60, widths=(4, 3, 3), d=1)
    model = MCCA(2, ridge=0.3, shrinkage={"a": 0.1, "b": 0.0, "c": 0.2}).fit(X)
    test = model.permutation_test(X, 19, random_state=3)
    np.testing.assert_allclose(test.correlations, model.correlations_, atol=1e-12)
    assert test.p_values_fwe[0] == 0.05 < test.p_values_fwe[1]
    # The same orders, and a fit of the rows in them.
    random, null = generator(3, "permutations"), []
    for _ in range(19):
        moved = {"a": X["a"], **{m: X[m][random.permutation(60)] for m in ("b", "c")}}
        null.append(clone(model).fit(moved).correlations_.max())
    np.testing.assert_allclose(test.null[:, 0], null, atol=1e-12)
    assert model.permutation_test(X, 9, groups=np.repeat(range(20), 3)).n_samples == 60
    gaps = Modalities(X, present={"b": np.arange(60) > 9})
    assert model.permutation_test(gaps, 9, groups=np.repeat(range(20), 3)).n_samples == 50
    with pytest.raises(ParameterError, match="n_components"):
        model.permutation_test(X, 9, n_components=4)
