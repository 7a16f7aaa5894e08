"""Probabilistic CCA against its closed form, plain Gaussian conditioning, and its likelihood."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.stats import multivariate_normal

import triptych
from triptych import Modalities
from triptych.coordination import CCA, ProbabilisticCCA, _latent, _sides
from triptych.errors import (
    DataError,
    DegenerateDataWarning,
    ModalityError,
    ParameterError,
    TriptychWarning,
)

from .sets_data import related, same_up_to_sign


def gaps(n, share=0.3, names="abc", seed=1):
    random = np.random.default_rng(seed)
    return {m: random.random(n) > share for m in names}


def joint(model, names):
    """Mean and covariance of the columns under the model, from what it learnt."""
    mean = np.concatenate([model.means_[m] for m in names])
    W = np.vstack([model.bases_[m] @ model.latent_weights_[m] for m in names])
    C, edge = W @ W.T, 0
    for m in names:
        block = slice(edge, edge + len(model.means_[m]))
        C[block, block] += model.bases_[m] @ model.latent_noise_[m] @ model.bases_[m].T
        edge = block.stop
    return mean, C


def likelihood(model, X):
    """Mean log-density per row by scipy, of what each row has."""
    total, rows = 0.0, 0
    for i in range(len(X)):
        names = [m for m in sorted(X.names) if X.present[m][i]]
        if names:
            mean, C = joint(model, names)
            x = np.concatenate([X[m][i] for m in names])
            total += multivariate_normal(mean, C).logpdf(x)
            rows += 1
    return total / rows


def test_closed_form_written_out():
    X = related(widths=(5, 4))
    model = ProbabilisticCCA(2).fit(X)
    A, B = (v - v.mean(axis=0) for v in X.values())
    S11, S22, S12 = A.T @ A / 150, B.T @ B / 150, A.T @ B / 150
    values, U = np.linalg.eig(np.linalg.solve(S11, S12) @ np.linalg.solve(S22, S12.T))
    order = np.argsort(-values.real)[:2]
    rho = np.sqrt(values.real[order])
    U = U.real[:, order]
    U /= np.sqrt(np.einsum("pk,pq,qk->k", U, S11, U))
    W1 = S11 @ U * np.sqrt(rho)
    V = np.linalg.solve(S22, S12.T @ U) / rho
    W2 = S22 @ V * np.sqrt(rho)
    mean, C = joint(model, "ab")
    np.testing.assert_allclose(model.correlations_, rho, rtol=1e-9)
    np.testing.assert_allclose(mean, np.concatenate([v.mean(axis=0) for v in X.values()]))
    expected = np.block([[S11, W1 @ W2.T], [W2 @ W1.T, S22]])
    np.testing.assert_allclose(C, expected, atol=1e-10 * np.abs(expected).max())
    same_up_to_sign(model.transform(X)["a"], A @ U * np.sqrt(rho), rtol=1e-9)


def test_codes_are_those_of_cca_drawn_towards_zero():
    X = related(widths=(5, 4))
    cca, model = CCA(2).fit(X), ProbabilisticCCA(2).fit(X)
    np.testing.assert_allclose(model.correlations_, cca.correlations_, rtol=1e-10)
    # CCA's variates have variance 1 with divisor n - 1, the likelihood's with divisor n.
    shrink = np.sqrt(cca.correlations_ * 150 / 149)
    for m in X:
        np.testing.assert_allclose(model.transform(X)[m], cca.transform(X)[m] * shrink, atol=1e-9)
    np.testing.assert_allclose(
        ProbabilisticCCA(2, ridge=0.0).fit(X).score(X), model.likelihoods_[0], rtol=1e-12
    )


@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_em_finds_the_closed_form(ridge, monkeypatch):
    X = related(widths=(5, 4))
    exact = ProbabilisticCCA(2, ridge=ridge).fit(X)
    random = np.random.default_rng(0)
    start = _latent._start

    def elsewhere(sides, width):
        found = start(sides, width)
        W = {m: w + 0.2 * random.normal(size=w.shape) for m, w in found.W.items()}
        return _latent.Latent(W, found.noise, {m: v + 0.1 for m, v in found.means.items()})

    monkeypatch.setattr(_latent, "_start", elsewhere)
    patterns = exact._patterns(Modalities(X), exact.features_)
    sides = _sides.read_sides(Modalities(X), exact.features_)
    added = {m: ridge / (s.s**2 / 150 + ridge) for m, s in sides.sides.items()}
    latent, track, settled = _latent.expectation_maximisation(
        patterns, added, sides, 2, 20_000, 1e-13
    )
    assert settled
    assert (np.diff(track) > -1e-12).all()
    volume = sum(exact.volumes_.values())
    # EM stops where a step adds 1e-13, and what is left is a few thousand such steps at most.
    assert track[-1] - volume == pytest.approx(exact.likelihoods_[0], abs=1e-9)
    strength = np.mean([np.diag(latent.fixed().strength[m]) for m in "ab"], axis=0)
    np.testing.assert_allclose(strength / (1 + strength), exact.correlations_, atol=1e-5)


@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("names", ["ab", "abc"])
def test_the_likelihood_never_falls(ridge, names):
    X = {m: v for m, v in related(n=60).items() if m in names}
    data = Modalities(X, present=gaps(60, names=names))
    with pytest.warns(TriptychWarning, match="max_iter=6"):
        model = ProbabilisticCCA(2, ridge=ridge, max_iter=6, tol=0).fit(data)
    assert len(model.likelihoods_) == model.n_iter_ == 6
    assert (np.diff(model.likelihoods_) > -1e-10).all()
    assert model.likelihoods_[-1] > model.likelihoods_[0]


def test_score_is_the_density_of_what_rows_have():
    X = Modalities(related(n=60), present=gaps(60))
    model = ProbabilisticCCA(2).fit(X)
    assert model.score(X) == pytest.approx(likelihood(model, X), rel=1e-9)
    assert model.likelihoods_[-1] == pytest.approx(model.score(X), rel=1e-12)
    held = Modalities(related(n=30, seed=5))
    assert model.score(held) == pytest.approx(likelihood(model, held), rel=1e-9)


def test_em_ends_at_a_maximum():
    X = Modalities(related(n=60, widths=(3, 2, 2), d=1), present=gaps(60))
    model = ProbabilisticCCA(1, tol=1e-12, max_iter=20_000).fit(X)
    best, random = model.score(X), np.random.default_rng(0)
    for part in ("latent_weights_", "latent_means_", "latent_noise_"):
        kept = getattr(model, part)
        for _ in range(10):
            moved = {}
            for m, v in kept.items():
                step = 1e-3 * random.normal(size=v.shape)
                moved[m] = v + (step + step.T if part == "latent_noise_" else step)
            setattr(model, part, moved)
            # A step of 1e-3 costs 1e-6 at a maximum, and gains 1e-3 where it is none.
            assert model.score(X) < best + 1e-8
        setattr(model, part, kept)


def test_posterior_and_reconstruction_are_gaussian_conditioning():
    X = Modalities(related(n=80), present=gaps(80))
    model = ProbabilisticCCA(2).fit(X)
    means, covariances = model.posterior(X)
    rebuilt = model.reconstruct(X)
    W = {m: model.bases_[m] @ model.latent_weights_[m] for m in "abc"}
    for i in range(12):
        names = [m for m in "abc" if X.present[m][i]]
        if not names:
            np.testing.assert_array_equal(means[i], 0)
            np.testing.assert_array_equal(covariances[i], np.eye(2))
            continue
        mean, C = joint(model, names)
        cross = np.vstack([W[m] for m in names])
        gain = np.linalg.solve(C, cross).T
        x = np.concatenate([X[m][i] for m in names])
        np.testing.assert_allclose(means[i], gain @ (x - mean), atol=1e-9)
        np.testing.assert_allclose(covariances[i], np.eye(2) - gain @ cross, atol=1e-9)
        for m in set("abc") - set(names):
            centre, K = joint(model, [*names, m])
            p = len(mean)
            there = centre[p:] + K[p:, :p] @ np.linalg.solve(K[:p, :p], x - centre[:p])
            np.testing.assert_allclose(rebuilt[m][i], there, atol=1e-8 * np.abs(there).max())
    alone, _ = model.posterior(X.select("b"))
    rows = X.present["b"]
    np.testing.assert_allclose(alone[rows], model.transform(X)["b"][rows], atol=1e-12)


def test_recovers_the_factor_though_no_row_is_complete():
    random = np.random.default_rng(3)
    n, z = 900, np.random.default_rng(4).normal(size=(900, 1))
    true = {m: random.normal(size=(1, 4)) for m in "abc"}
    X = {m: z @ w + random.normal(size=(n, 4)) for m, w in true.items()}
    present = {m: np.arange(n) % 3 != i for i, m in enumerate("abc")}
    model = ProbabilisticCCA(1).fit(Modalities(X, present=present))
    for m, w in true.items():
        found = (model.bases_[m] @ model.latent_weights_[m]).T
        # About 600 rows: an entry has a standard error near sqrt(2 / 600).
        np.testing.assert_allclose(
            found * np.sign((found * w).sum()), w, atol=5 * (2 / 600) ** 0.5
        )
    means, _ = model.posterior(X)
    assert abs(np.corrcoef(means[:, 0], z[:, 0])[0, 1]) > 0.9


def test_rows_with_gaps_correct_the_means():
    # b is there only where the shared factor is high: its mean in those rows is too high.
    random = np.random.default_rng(6)
    z = random.normal(size=(4000, 1))
    X = {m: z + 0.3 * random.normal(size=(4000, 2)) for m in "ab"}
    model = ProbabilisticCCA(1).fit(Modalities(X, present={"b": z[:, 0] > 0}))
    assert X["b"][z[:, 0] > 0].mean() > 0.7
    # What is missing depends on a nearly alone, so little of the error is left.
    assert np.abs(model.means_["b"]).max() < 0.15


def test_rotation_and_signs_are_fixed():
    X = Modalities(related(n=100), present=gaps(100))
    model = ProbabilisticCCA(2).fit(X)
    M = sum(
        model.latent_weights_[m].T
        @ np.linalg.solve(model.latent_noise_[m], model.latent_weights_[m])
        for m in "abc"
    )
    np.testing.assert_allclose(M, np.diag(np.diag(M)), atol=1e-9 * M[0, 0])
    assert M[0, 0] > M[1, 1]
    both = np.concatenate(list(model.loadings_.values()))
    assert (both[np.abs(both).argmax(axis=0), np.arange(2)] > 0).all()


def test_loadings_are_correlations_with_the_code():
    X = related(widths=(5, 4))
    model = ProbabilisticCCA(2).fit(X)
    W = model.bases_["a"] @ model.latent_weights_["a"]
    np.testing.assert_allclose(model.loadings_["a"], W / X["a"].std(axis=0)[:, None], atol=1e-10)


@pytest.mark.parametrize("factor", [1e150, 1e-150])
def test_extreme_scales(factor):
    X = related()
    present = gaps(150)
    scaled = {**X, "a": X["a"] * factor}
    # One component, since the second of these is so weak that its likelihood is all but flat.
    one = ProbabilisticCCA(1, tol=1e-12).fit(Modalities(X, present=present))
    two = ProbabilisticCCA(1, tol=1e-12).fit(Modalities(scaled, present=present))
    # A likelihood flat to 1e-12 is a model right to about 1e-6.
    np.testing.assert_allclose(two.correlations_, one.correlations_, rtol=1e-5)
    np.testing.assert_allclose(two.transform(scaled)["a"], one.transform(X)["a"], atol=1e-5)
    np.testing.assert_allclose(two.loadings_["a"], one.loadings_["a"], atol=1e-5)
    # The density of five columns in other units, in the rows that have them.
    shift = 5 * np.log(factor) * present["a"].sum() / one.n_samples_
    assert two.likelihoods_[-1] == pytest.approx(one.likelihoods_[-1] - shift, rel=1e-7)


def test_dependent_and_constant_columns_are_not_modelled():
    X = related(n=60)
    dull = {**X, "a": np.column_stack([X["a"], X["a"][:, 1], np.full(60, 3.0)])}
    one, two = ProbabilisticCCA(2).fit(X), ProbabilisticCCA(2).fit(dull)
    assert two.rank_["a"] == 5
    np.testing.assert_allclose(two.correlations_, one.correlations_, rtol=1e-6)
    rebuilt = two.reconstruct({m: v for m, v in dull.items() if m != "a"})["a"]
    np.testing.assert_allclose(rebuilt[:, 1], rebuilt[:, 5], atol=1e-9)
    np.testing.assert_allclose(rebuilt[:, 6], 3)


def test_wide_data_with_ridge():
    random = np.random.default_rng(7)
    z = random.normal(size=(30, 1))
    X = {m: z + random.normal(size=(30, 80)) for m in "ab"}
    model = ProbabilisticCCA(1, ridge=1.0).fit(X)
    assert model.correlations_[0] < 1
    means, _ = model.posterior(X)
    assert abs(np.corrcoef(means[:, 0], z[:, 0])[0, 1]) > 0.8
    assert np.isfinite(model.score(X))


def test_collinear_modalities_and_two_rows_stay_finite():
    X = related(widths=(3,))
    same = {"a": X["a"], "b": X["a"] @ np.random.default_rng(0).normal(size=(3, 3))}
    with pytest.warns(DegenerateDataWarning, match="without any noise"):
        model = ProbabilisticCCA().fit(same)
    np.testing.assert_allclose(model.correlations_, 1, rtol=1e-7)
    assert np.isfinite(model.transform(same)["b"]).all()
    np.testing.assert_allclose(
        model.reconstruct({"a": same["a"]})["b"], same["b"], rtol=0, atol=1e-3
    )
    two = {"a": [[0.0, 1], [2, 5]], "b": [[3.0], [-1]]}
    with pytest.warns(DegenerateDataWarning):
        tiny = ProbabilisticCCA().fit(two)
    assert np.isfinite(tiny.transform(two)["a"]).all()
    with pytest.warns(DegenerateDataWarning):
        third = ProbabilisticCCA(1).fit({**same, "c": X["a"]})
    assert np.isfinite(third.score({**same, "c": X["a"]}))


def test_sparse_and_memory_mapped_rows(tmp_path, monkeypatch):
    X, present = related(n=700), gaps(700)
    one = ProbabilisticCCA(2).fit(Modalities(X, present=present))
    monkeypatch.setattr(_sides, "CHUNK_NUMBERS", 256 * 12)
    np.save(tmp_path / "b.npy", X["b"])
    thin = {"a": csr_array(X["a"]), "b": np.load(tmp_path / "b.npy", mmap_mode="r"), "c": X["c"]}
    two = ProbabilisticCCA(2).fit(Modalities(thin, present=present))
    np.testing.assert_allclose(two.likelihoods_[-1], one.likelihoods_[-1], rtol=1e-9)
    np.testing.assert_allclose(two.transform(thin)["a"], one.transform(X)["a"], atol=1e-6)


def test_pictures_come_back_as_pictures():
    random = np.random.default_rng(0)
    light = random.integers(0, 200, size=(50, 1, 1, 1))
    images = (light + random.integers(0, 40, (50, 1, 3, 3))).astype(np.uint8)
    X = {"image": images, "light": light.reshape(50, 1) + random.normal(size=(50, 1))}
    model = ProbabilisticCCA(1).fit(X)
    rebuilt = model.reconstruct({"light": X["light"]})["image"]
    assert rebuilt.shape == images.shape
    assert np.corrcoef(rebuilt.ravel(), images.ravel())[0, 1] > 0.9
    assert abs(rebuilt.mean() - images.mean()) < 1


def test_saved_and_loaded(tmp_path):
    X = Modalities(related(), present=gaps(150))
    model = ProbabilisticCCA(2).fit(X)
    model.save(tmp_path / "m")
    again = triptych.load(tmp_path / "m")
    assert again.transform(X)["a"].tobytes() == model.transform(X)["a"].tobytes()
    assert again.score(X) == model.score(X)


def test_bad_input_is_named():
    X = related()
    with pytest.raises(ParameterError, match="second largest rank"):
        ProbabilisticCCA(5).fit(X)
    with pytest.raises(ParameterError, match="ridge"):
        ProbabilisticCCA(ridge=-1).fit(X)
    with pytest.raises(ParameterError, match="max_iter"):
        ProbabilisticCCA(max_iter=0).fit(X)
    with pytest.raises(ParameterError, match="tol"):
        ProbabilisticCCA(tol=-1).fit(X)
    with pytest.raises(ModalityError, match="modality 't' is text"):
        ProbabilisticCCA().fit({"a": X["a"][:2], "t": ["one", "two"]})
    apart = {"a": np.arange(150) < 50, "b": np.abs(np.arange(150) - 74.5) < 25,
             "c": np.arange(150) >= 100}  # fmt: skip
    with pytest.raises(DataError, match="two modalities or more; got 0"):
        ProbabilisticCCA().fit(Modalities(X, present=apart))


def test_two_modalities_with_gaps_have_equal_strength():
    X = Modalities(related(n=80, widths=(4, 3)), present=gaps(80, names="ab"))
    model = ProbabilisticCCA(2).fit(X)
    # Fixing what the likelihood leaves free has not changed the likelihood.
    assert model.score(X) == pytest.approx(model.likelihoods_[-1], rel=1e-10)
    one, two = (
        model.latent_weights_[m].T
        @ np.linalg.solve(model.latent_noise_[m], model.latent_weights_[m])
        for m in "ab"
    )
    strength = model.correlations_ / (1 - model.correlations_)
    np.testing.assert_allclose(one, np.diag(strength), atol=1e-8)
    np.testing.assert_allclose(two, np.diag(strength), atol=1e-8)
    alone = likelihood(model, X)
    assert alone == pytest.approx(model.score(X), rel=1e-9)


def test_rows_that_lack_one_are_worth_having():
    random = np.random.default_rng(8)
    z = random.normal(size=(500, 1))
    X = {m: z @ random.normal(size=(1, 6)) + random.normal(size=(500, 6)) for m in "ab"}
    held = {m: v[400:] for m, v in X.items()}
    present = {"a": np.arange(400) < 220, "b": np.arange(400) >= 180}
    train = Modalities({m: v[:400] for m, v in X.items()}, present=present)
    whole = np.arange(400)[180:220]
    # 40 complete pairs, and 360 rows that tell the covariance within one modality.
    assert ProbabilisticCCA(1).fit(train).score(held) > (
        ProbabilisticCCA(1).fit(train[whole]).score(held) + 0.5
    )


def test_permutation_of_two_modalities_is_that_of_cca():
    X = related(n=60, widths=(4, 3), d=1)
    for ridge in (0.0, {"a": 0.2, "b": 0.7}):
        model = ProbabilisticCCA(ridge=ridge).fit(X)
        test = model.permutation_test(X, 29)
        np.testing.assert_allclose(test.correlations, model.correlations_, atol=1e-10)
        assert test.p_values[0] == 1 / 30 < test.p_values[1]
    np.testing.assert_allclose(
        ProbabilisticCCA().fit(X).permutation_test(X, 9).null,
        CCA().fit(X).permutation_test(X, 9).null,
    )


def test_permutation_by_em():
    X = related(n=120, widths=(3, 3, 2), d=1, noise=0.5)
    gaps = Modalities(X, present={"a": np.arange(120) % 4 > 0})
    model = ProbabilisticCCA(1, ridge=0.1).fit(gaps)
    test = model.permutation_test(gaps, 19)
    assert test.statistic == "largest" and test.p_values[0] == 0.05
    again = ProbabilisticCCA(1, ridge=0.1).fit(gaps)
    np.testing.assert_array_equal(again.correlations_, model.correlations_)  # left as it was
