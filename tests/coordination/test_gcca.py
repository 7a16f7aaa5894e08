"""GCCA against its n x n eigenproblem, least squares, CCA, cca-zoo; with gaps and without."""

import numpy as np
import pytest
from cca_zoo.linear import GCCA as TheirGCCA
from scipy.linalg import eigh
from scipy.sparse import csr_array

import triptych
from triptych import Modalities
from triptych.coordination import CCA, GCCA, MCCA, _sides
from triptych.errors import CapabilityError, DataError, ParameterError

from .sets_data import related, same_up_to_sign, standard


def gaps(n=150, share=0.3, names="abc", seed=1):
    random = np.random.default_rng(seed)
    present = {m: random.random(n) > share for m in names}
    lonely = ~np.any(list(present.values()), axis=0)
    present[names[0]] |= lonely
    return present


def written_out(X, present, ridge=0.0):
    """Eigenvalues, G and weights for columns as given, by the matrix (n, n)."""
    n, total = len(X["a"]), 0
    K = np.sum(list(present.values()), axis=0).astype(float)
    parts = {}
    for m, v in X.items():
        rows = present[m]
        Z = np.zeros_like(v)
        Z[rows] = (v[rows] - v[rows].mean(axis=0)) / v[rows].std(axis=0, ddof=1)
        inverse = np.linalg.inv(Z.T @ Z + (rows.sum() - 1) * ridge * np.eye(v.shape[1]))
        parts[m] = inverse @ Z.T
        total = total + Z @ inverse @ Z.T
    root = 1 / np.sqrt(K)
    values, vectors = eigh(root[:, None] * total * root)
    G = root[:, None] * vectors[:, ::-1] * np.sqrt(K.sum() / n * (n - 1))
    return len(X) * values[::-1], G, {m: part @ G for m, part in parts.items()}


@pytest.mark.parametrize("ridge", [0.0, 0.6])
@pytest.mark.parametrize("missing", [False, True])
def test_equals_the_eigenproblem_written_out(ridge, missing):
    X = related()
    present = gaps() if missing else {m: np.ones(150, dtype=bool) for m in X}
    model = GCCA(2, ridge=ridge).fit(Modalities(X, present=present))
    values, _, weights = written_out(X, present, ridge)
    np.testing.assert_allclose(model.eigenvalues_, values[:2], rtol=1e-10)
    for m, v in X.items():
        spread = v[present[m]].std(axis=0, ddof=1)[:, None]
        same_up_to_sign(model.weights_[m] * spread, weights[m][:, :2], rtol=1e-8)


def test_minimises_what_it_says():
    # Of all G with G'KG fixed, and the best regressions to it, none comes nearer.
    X, present = related(n=40, d=1), gaps(40)
    K = np.sum(list(present.values()), axis=0)
    _, G, _ = written_out(X, present)
    design = {m: v[present[m]] - v[present[m]].mean(axis=0) for m, v in X.items()}

    def distance(g):
        g = g - (K * g).sum() / K.sum()
        g = g / np.sqrt((K * g**2).sum())
        rest = (g[present[m]] - d @ np.linalg.lstsq(d, g[present[m]], rcond=None)[0]
                for m, d in design.items())  # fmt: skip
        return sum((r**2).sum() for r in rest)

    random = np.random.default_rng(0)
    best = distance(G[:, 0])
    assert all(distance(G[:, 0] + s * random.normal(size=40)) >= best
               for s in np.logspace(-3, 1, 40))  # fmt: skip


def test_two_modalities_span_what_cca_does():
    X = related(widths=(5, 4))
    for ridge in (0.0, 0.4):
        cca, gcca = CCA(ridge=ridge).fit(X), GCCA(ridge=ridge).fit(X)
        for m in X:
            size = np.linalg.norm(gcca.weights_[m], axis=0) / np.linalg.norm(
                cca.weights_[m], axis=0
            )
            if not ridge:
                np.testing.assert_allclose(gcca.weights_[m], cca.weights_[m] * size, atol=1e-8)
        if not ridge:
            np.testing.assert_allclose(gcca.eigenvalues_, 1 + cca.correlations_, rtol=1e-10)
            np.testing.assert_allclose(gcca.correlations_, cca.correlations_, rtol=1e-8)
            # A regression of G with variance (1 + rho) / 2.
            np.testing.assert_allclose(
                gcca.transform(X)["a"].var(axis=0, ddof=1), (1 + cca.correlations_) / 2
            )


def test_without_gaps_and_ridge_it_is_mcca():
    X = related(widths=(5, 4, 3, 6))
    one, two = GCCA(3).fit(X), MCCA(3).fit(X)
    np.testing.assert_allclose(one.eigenvalues_, two.eigenvalues_, rtol=1e-10)
    for m in X:
        # Codes of variance 1 on average against regressions to G, whose R² is eigenvalue / 4.
        scale = np.sqrt(one.eigenvalues_) / 2
        np.testing.assert_allclose(one.weights_[m], two.weights_[m] * scale, atol=1e-9)


@pytest.mark.parametrize("shrinkage", [0.0, 0.5])
def test_agrees_with_cca_zoo(shrinkage):
    X = standard(related(widths=(5, 4, 3, 6)))
    theirs = TheirGCCA(2, shrinkage=shrinkage).fit(list(X.values()))
    ours = GCCA(2, shrinkage=shrinkage).fit(X)
    for m, w in zip(X, theirs.weights_, strict=True):
        same_up_to_sign(ours.weights_[m], w, rtol=1e-8)


def test_rows_with_gaps_teach():
    # Each row lacks one of three modalities: no complete row, and yet the factor is found.
    random = np.random.default_rng(3)
    shared = random.normal(size=(900, 1))
    X = {m: shared @ random.normal(size=(1, 4)) + random.normal(size=(900, 4)) for m in "abc"}
    present = {m: np.arange(900) % 3 != i for i, m in enumerate("abc")}
    model = GCCA(1).fit(Modalities(X, present=present))
    Z = model.transform(X)
    for m in "abc":
        assert abs(np.corrcoef(Z[m][:, 0], shared[:, 0])[0, 1]) > 0.7
    assert model.score(Modalities(X, present=present)) > 0.5
    with pytest.raises(DataError, match="rows with all of"):
        MCCA(1).fit(Modalities(X, present=present))


def test_the_order_and_values_of_absent_rows_do_not_matter():
    X, present = related(), gaps()
    other = {m: np.where(present[m][:, None], v, 1e9) for m, v in X.items()}
    one = GCCA(2).fit(Modalities(X, present=present))
    two = GCCA(2).fit(Modalities(other, present=present))
    np.testing.assert_array_equal(one.weights_["a"], two.weights_["a"])
    turned = np.random.default_rng(0).permutation(150)
    three = GCCA(2).fit(Modalities(X, present=present)[turned])
    np.testing.assert_allclose(three.weights_["a"], one.weights_["a"], rtol=1e-8)


def test_all_roads_lead_to_the_same(tmp_path, monkeypatch):
    X, present = related(n=700), gaps(700)
    X["a"] = np.where(X["a"] > np.median(X["a"], axis=0), X["a"], 0)
    one = GCCA(2).fit(Modalities(X, present=present))
    monkeypatch.setattr(_sides, "CHUNK_NUMBERS", 256 * 12)
    np.save(tmp_path / "b.npy", X["b"])
    thin = {"a": csr_array(X["a"]), "b": np.load(tmp_path / "b.npy", mmap_mode="r"), "c": X["c"]}
    two = GCCA(2).fit(Modalities(thin, present=present))
    monkeypatch.setattr(_sides, "UNSAFE", np.inf)
    three = GCCA(2).fit(Modalities(X, present=present))
    for other in (two, three):
        np.testing.assert_allclose(other.eigenvalues_, one.eigenvalues_, rtol=1e-11)
        for m in X:
            np.testing.assert_allclose(other.weights_[m], one.weights_[m], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("factor", [1e150, 1e-150])
def test_extreme_scales_and_dull_columns(factor):
    X, present = related(), gaps()
    dull = {**X, "a": np.column_stack([X["a"], X["a"][:, 1], np.ones(150)]) * factor}
    one = GCCA(2).fit(Modalities(X, present=present))
    two = GCCA(2).fit(Modalities(dull, present=present))
    assert two.rank_["a"] == 5
    np.testing.assert_allclose(two.eigenvalues_, one.eigenvalues_, rtol=1e-9)
    np.testing.assert_allclose(two.transform(dull)["a"], one.transform(X)["a"], atol=1e-9)


def test_wide_with_ridge_and_gaps():
    random = np.random.default_rng(2)
    shared = random.normal(size=(24, 1))
    X = {m: shared + random.normal(size=(24, 60)) for m in "abc"}
    present = gaps(24)
    values, _, _ = written_out(X, present, ridge=0.7)
    model = GCCA(1, ridge=0.7).fit(Modalities(X, present=present))
    np.testing.assert_allclose(model.eigenvalues_, values[:1], rtol=1e-9)


def test_saved_and_loaded(tmp_path):
    X = related()
    model = GCCA(2).fit(Modalities(X, present=gaps()))
    model.save(tmp_path / "m")
    again = triptych.load(tmp_path / "m")
    assert again.transform(X)["a"].tobytes() == model.transform(X)["a"].tobytes()


def test_bad_input_is_named():
    X = related()
    apart = {"a": np.arange(150) < 50, "b": np.abs(np.arange(150) - 74.5) < 25,
             "c": np.arange(150) >= 100}  # fmt: skip
    with pytest.raises(DataError, match="two modalities or more; got 0"):
        GCCA().fit(Modalities(X, present=apart))
    with pytest.raises(DataError, match="modality 'a': expected 2 rows that have it, got 1"):
        GCCA().fit(Modalities(X, present={"a": np.arange(150) == 3}))
    with pytest.raises(ParameterError, match="second largest rank"):
        GCCA(9).fit(X)


def test_permutation_keeps_who_is_absent():
    X = related(n=80, widths=(4, 3, 3), d=1)
    random = np.random.default_rng(0)
    present = {m: random.random(80) < 0.7 for m in X}
    gaps = Modalities(X, present=present)
    model = GCCA(1, ridge=0.2).fit(gaps)
    test = model.permutation_test(gaps, 19, random_state=0)
    np.testing.assert_allclose(test.correlations, model.correlations_, atol=1e-12)
    assert test.p_values[0] == 0.05 and test.n_samples == int(
        np.any(list(present.values()), 0).sum()
    )
    noise = Modalities({m: random.normal(size=v.shape) for m, v in X.items()}, present=present)
    assert GCCA(1).fit(noise).permutation_test(noise, 19).p_values[0] > 0.05
    with pytest.raises(CapabilityError, match="whole groups"):
        model.permutation_test(gaps, 9, groups=np.repeat(range(40), 2))
