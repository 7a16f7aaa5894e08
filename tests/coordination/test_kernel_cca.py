"""Kernel CCA against its dual written plainly, CCA on explicit features, and bad kernels."""

import warnings

import numpy as np
import pytest
from scipy.linalg import eigh
from sklearn.model_selection import GridSearchCV, cross_val_score

import triptych
from triptych.coordination import CCA, KernelCCA
from triptych.coordination import _kernel_dual as dual
from triptych.coordination import _kernel_features as primal
from triptych.errors import (
    CapabilityError,
    DataError,
    DegenerateDataWarning,
    ParameterError,
    PersistenceError,
    ShapeError,
)
from triptych.similarity import Kernel, median_width, pairwise
from triptych.testing import check_method


def pair(n=60, p=4, q=3, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))
    return {
        "a": np.tanh(z @ rng.normal(size=(2, p))) + 0.3 * rng.normal(size=(n, p)),
        "b": (z @ rng.normal(size=(2, q))) ** 2 + 0.3 * rng.normal(size=(n, q)),
    }


def centred(K):
    H = np.eye(len(K)) - 1 / len(K)
    return H @ K @ H


def require_same(one, other, tolerance):
    """Codes equal up to the sign of each component."""
    for name in ("a", "b"):
        sign = np.sign((one[name] * other[name]).sum(axis=0))
        np.testing.assert_allclose(one[name], sign * other[name], atol=tolerance)


def plain(Ka, Kb, ridge, d):
    """The problem as it is stated: a symmetric pencil over the coefficients of both."""
    n = len(Ka)
    Ka, Kb, zero = centred(Ka), centred(Kb), np.zeros((n, n))
    cross = Ka @ Kb / (n - 1)
    own = [K @ K / (n - 1) + ridge * K + 1e-13 * np.eye(n) for K in (Ka, Kb)]
    values, vectors = eigh(
        np.block([[zero, cross], [cross.T, zero]]), np.block([[own[0], zero], [zero, own[1]]])
    )
    A, B = np.sqrt(2) * vectors[:n, ::-1][:, :d], np.sqrt(2) * vectors[n:, ::-1][:, :d]
    return values[::-1][:d], Ka @ A, Kb @ B


@pytest.mark.parametrize(
    "kernel", ["rbf", "laplacian", "polynomial", "cosine", Kernel("exponential", width=9.0)]
)
def test_equals_the_dual_problem_written_plainly(kernel):
    X = pair()
    model = KernelCCA(3, kernel=kernel, ridge=0.05).fit(X)
    K = {name: pairwise(model.kernels_[name], X[name]) for name in X}
    rho, za, zb = plain(K["a"], K["b"], 0.05, 3)
    # The jitter of 1e-13 that lets the pencil be factored at all.
    np.testing.assert_allclose(model.correlations_, rho, rtol=1e-7)
    require_same(model.transform(X), {"a": za, "b": zb}, 1e-5)


def test_constraints_and_the_fixed_point_of_the_notes():
    X, ridge = pair(), 0.02
    model = KernelCCA(4, ridge=ridge).fit(X)
    n = 60
    K = {name: centred(pairwise(model.kernels_[name], X[name])) for name in X}
    for name in X:
        A = model.weights_[name]
        gram = A.T @ (K[name] @ K[name] / (n - 1) + ridge * K[name]) @ A
        np.testing.assert_allclose(gram, np.eye(4), atol=1e-9)
    cross = model.weights_["a"].T @ K["a"] @ K["b"] @ model.weights_["b"] / (n - 1)
    np.testing.assert_allclose(cross, np.diag(model.correlations_), atol=1e-9)
    M = {name: K[name] + (n - 1) * ridge * np.eye(n) for name in X}
    A = model.weights_["a"]
    turned = np.linalg.solve(M["a"], K["b"] @ np.linalg.solve(M["b"], K["a"] @ A))
    np.testing.assert_allclose(turned, A * model.correlations_**2, atol=1e-8)


def standardised(X):
    return {m: (v - v.mean(axis=0)) / v.std(axis=0, ddof=1) for m, v in X.items()}


@pytest.mark.parametrize("ridge", [0.3, 0.0])
def test_a_linear_kernel_is_ridge_cca(ridge):
    X = standardised(pair())  # CCA's ridge is on columns of unit variance
    new = {m: v[:9] + 0.1 for m, v in X.items()}
    ours = KernelCCA(3, kernel="linear", ridge=ridge).fit(X)
    theirs = CCA(3, ridge=ridge).fit(X)
    np.testing.assert_allclose(ours.correlations_, theirs.correlations_, rtol=1e-10)
    require_same(ours.transform(new), theirs.transform(new), 1e-9)


def test_a_polynomial_kernel_is_cca_on_the_explicit_map():
    X = pair(p=2, q=2)
    kernel = Kernel("polynomial", degree=2, gamma=1.0, offset=1.0)

    def mapped(v):
        x, y = v.T
        return np.column_stack([x * x, y * y, np.sqrt(2) * x * y, np.sqrt(2) * v])

    ours = KernelCCA(3, kernel=kernel, ridge=0.0).fit(X)
    theirs = CCA(3).fit({m: mapped(v) for m, v in X.items()})
    np.testing.assert_allclose(ours.correlations_, theirs.correlations_, rtol=1e-8)
    new = pair(p=2, q=2, seed=1)
    require_same(
        ours.transform(new), theirs.transform({m: mapped(v) for m, v in new.items()}), 1e-7
    )


@pytest.mark.parametrize("kernel", ["rbf", "polynomial", "linear"])
def test_nystroem_with_all_rows_as_landmarks_is_exact(kernel):
    X, new = pair(), pair(n=7, seed=1)
    exact = KernelCCA(3, kernel=kernel, ridge=0.05, random_state=0).fit(X)
    whole = KernelCCA(3, kernel=kernel, ridge=0.05, approximation="nystroem", random_state=0).fit(
        X
    )
    # Landmarks that the others explain to 1e-13 are dropped; features are their root.
    np.testing.assert_allclose(whole.correlations_, exact.correlations_, atol=1e-7)
    require_same(whole.transform(new), exact.transform(new), 1e-4)


@pytest.mark.parametrize("kernel", ["rbf", "laplacian"])
def test_fourier_features_approximate_the_kernel(kernel):
    X = pair(n=30)["a"]
    found = Kernel(kernel).learnt(X)
    features = primal.draw_fourier("a", found, 4, 20_000, np.random.default_rng(0)).transform(X)
    # A mean of 20,000 products with a standard deviation below 1: five standard errors.
    np.testing.assert_allclose(features @ features.T, pairwise(found, X), atol=5 / np.sqrt(2e4))


def test_fourier_features_approach_the_exact_solution():
    X = pair(n=300)
    exact = KernelCCA(2, ridge=0.05, random_state=0).fit(X)
    near = KernelCCA(2, ridge=0.05, approximation="fourier", n_features=2000, random_state=0).fit(
        X
    )
    # The kernel's error of 1/sqrt(2000) moves correlations of a ridge of 0.05 by less than that.
    np.testing.assert_allclose(near.correlations_, exact.correlations_, atol=0.03)
    assert near.score(pair(n=300, seed=0)) == pytest.approx(exact.score(X), abs=0.03)


def test_agrees_with_cca_zoo_where_definitions_agree():
    zoo = pytest.importorskip("cca_zoo.nonparametric")
    X = standardised(pair())  # it centres columns, which moves polynomial and cosine kernels
    share, width = 0.2, 1.5
    theirs = zoo.KCCA(3, kernel="rbf", gamma=1 / (2 * width**2), shrinkage=share)
    codes = theirs.fit([X["a"], X["b"]]).transform([X["a"], X["b"]])
    # (1 - c) K² / (n - 1) + c K: its ridge beside the variance is c / (1 - c).
    ours = KernelCCA(3, kernel=Kernel("rbf", width=width), ridge=share / (1 - share)).fit(X)
    mine = ours.transform(X)
    for name, z in zip("ab", codes, strict=True):
        cosines = np.abs(np.sum(z * mine[name], axis=0)) / (
            np.linalg.norm(z, axis=0) * np.linalg.norm(mine[name], axis=0)
        )
        np.testing.assert_allclose(cosines, 1, atol=1e-8)


@pytest.mark.parametrize("ridge", [1e-1, 1e-4, 1e-7])
def test_the_leading_subspace_is_the_full_solution(ridge):
    X = pair(n=450, p=6, q=5)
    K = [dual.centre(pairwise("rbf", v))[0] for v in X.values()]
    c = 449 * ridge
    found = dual.solve_leading(K[0].copy(), K[1].copy(), c, c, 6, np.random.default_rng(0))
    whole = dual.solve_by_spectra(*(dual.spectrum(k) for k in K), c, c, 6)
    assert found is not None
    np.testing.assert_allclose(found.correlations, whole.correlations, atol=1e-12)
    # The residual is 1e-9, and neighbouring correlations lie apart by 1e-4 or more.
    require_same(
        {"a": K[0] @ found.left, "b": K[1] @ found.right},
        {"a": K[0] @ whole.left, "b": K[1] @ whole.right},
        1e-4,
    )


def test_more_components_than_the_leading_subspace_holds_are_counted_by_the_spectra():
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(500, 2)), "b": rng.normal(size=(500, 3))}
    model = KernelCCA(kernel="linear").fit(X)
    assert model.correlations_.shape == (2,)
    with pytest.raises(ParameterError, match=r"at most 2, .*'a': 2, 'b': 3.* 500 rows; got 3"):
        KernelCCA(3, kernel="linear").fit(X)


def test_single_precision_features_have_the_moments_of_double(monkeypatch):
    X = pair(n=3000)
    found = {}
    for many in (1000, 10_000):
        monkeypatch.setattr("triptych.coordination.kernel_cca.MANY_ROWS", many)
        for how in ("nystroem", "fourier"):
            model = KernelCCA(3, ridge=1e-4, approximation=how, n_features=200, random_state=0)
            found[many, how] = model.fit(X).correlations_
    # Rounding of 1e-7 beside a ridge of 1e-4; Nyström also drops landmarks at 1e-6.
    np.testing.assert_allclose(found[1000, "fourier"], found[10_000, "fourier"], atol=1e-5)
    np.testing.assert_allclose(found[1000, "nystroem"], found[10_000, "nystroem"], atol=1e-3)


def test_moments_by_blocks_are_those_of_all_rows(monkeypatch):
    rng = np.random.default_rng(0)
    F = {"a": 1e3 + rng.normal(size=(1000, 5)), "b": rng.normal(size=(1000, 4))}
    F["b"] += F["a"][:, :4]
    monkeypatch.setattr(primal, "BLOCK_ENTRIES", 1280)  # blocks of 256 rows, the last of 232
    monkeypatch.setattr(primal, "BLOCK_ROWS", 1)
    sides = tuple(
        primal.Columns(m, 1000, v.shape[1], lambda rows, v=v: v[rows].copy()) for m, v in F.items()
    )
    found = primal.moments(sides, {m: lambda block: block for m in F}, 5)
    whole = np.cov(np.hstack(list(F.values())).T)
    np.testing.assert_allclose(found.own[0], whole[:5, :5], atol=1e-12)
    np.testing.assert_allclose(found.cross, whole[:5, 5:], atol=1e-12)
    np.testing.assert_allclose(found.means[0], F["a"].mean(axis=0), rtol=1e-14)


def test_moments_have_the_same_solution_by_every_road(monkeypatch):
    rng = np.random.default_rng(0)
    n, p = 1000, 200
    Z = rng.normal(size=(n, p)) @ rng.normal(size=(p, 2 * p))
    S = np.cov((Z + 5 * rng.normal(size=Z.shape)).T)
    found = primal.Moments((np.zeros(p), np.zeros(p)), (S[:p, :p], S[p:, p:]), S[:p, p:])
    ridges = (10.0, 20.0)
    few, every = (primal.solve_moments(found, ridges, d, rng) for d in (4, p))
    monkeypatch.setattr(primal, "KRYLOV", 1)
    some = primal.solve_moments(found, ridges, 4, rng)
    Sa, Sb = S[:p, :p] + 10 * np.eye(p), S[p:, p:] + 20 * np.eye(p)
    M = np.linalg.solve(Sa, S[:p, p:]) @ np.linalg.solve(Sb, S[p:, :p])
    rho = np.sqrt(np.sort(np.linalg.eigvals(M).real)[::-1][:4])
    for one in (few, some, every):
        np.testing.assert_allclose(one.correlations[:4], rho, rtol=1e-10)
        A, B = one.left[:, :4], one.right[:, :4]
        np.testing.assert_allclose(A.T @ Sa @ A, np.eye(4), atol=1e-9)
        np.testing.assert_allclose(B.T @ Sb @ B, np.eye(4), atol=1e-9)
        np.testing.assert_allclose(A.T @ S[:p, p:] @ B, np.diag(rho), atol=1e-9)


def test_auto_is_exact_for_few_rows_and_nystroem_for_many(monkeypatch):
    X = pair()
    assert KernelCCA(2).fit(X).approximation_ == "exact"
    assert KernelCCA(2, approximation=None).fit(X).approximation_ == "exact"
    monkeypatch.setattr("triptych.coordination.kernel_cca.MOST_EXACT", 50)
    assert KernelCCA(2).fit(X).approximation_ == "nystroem"
    K = {m: pairwise("rbf", v) for m, v in X.items()}
    assert KernelCCA(2, kernel="precomputed").fit(K).approximation_ == "exact"


@pytest.mark.parametrize("approximation", ["exact", "nystroem", "fourier"])
def test_a_large_mean_and_an_extreme_unit_change_nothing(approximation):
    X = pair()
    one, two = (
        KernelCCA(2, approximation=approximation, n_features=40, random_state=0).fit(data)
        for data in (X, {"a": 1e150 * X["a"], "b": X["b"] + 1e6})
    )
    # A mean of 1e6 leaves 10 of 16 digits, and phases of cosines lose as many.
    tolerance = 0.05 if approximation == "fourier" else 1e-6
    np.testing.assert_allclose(one.correlations_, two.correlations_, atol=tolerance)


def test_functions_and_precomputed_kernels_are_the_same_as_names():
    X, new = pair(), pair(n=5, seed=1)
    kernels = {m: Kernel("rbf", width=median_width(v)) for m, v in X.items()}
    named = KernelCCA(2, kernel=kernels).fit(X)
    called = KernelCCA(2, kernel={m: k.__call__ for m, k in kernels.items()}).fit(X)
    require_same(called.transform(new), named.transform(new), 1e-9)
    given = KernelCCA(2, kernel="precomputed").fit({m: k(X[m], X[m]) for m, k in kernels.items()})
    rows = {m: k(new[m], X[m]) for m, k in kernels.items()}
    single = {m: k(X[m], X[m]).astype(np.float32) for m, k in kernels.items()}
    single["a"] *= 1 + 1e-7 * np.random.default_rng(0).normal(size=(60, 60)).astype(np.float32)
    found = KernelCCA(2, kernel="precomputed").fit(single).correlations_
    # Rounding of 1e-7 beside a ridge of 1e-2.
    np.testing.assert_allclose(found, named.correlations_, atol=1e-5)
    require_same(given.transform(rows), named.transform(new), 1e-9)
    assert given.score(rows) == pytest.approx(named.score(new))
    mixed = KernelCCA(2, kernel={"a": "precomputed", "b": kernels["b"]})
    mixed.fit({"a": kernels["a"](X["a"], X["a"]), "b": X["b"]})
    require_same(mixed.transform({"a": rows["a"], "b": new["b"]}), named.transform(new), 1e-9)


def test_precomputed_kernels_of_rows_that_lack_a_modality():
    X = pair()
    there = {"a": np.arange(60) % 5 != 0, "b": np.arange(60) % 7 != 0}
    both = there["a"] & there["b"]
    K = {m: pairwise(Kernel("rbf", width=1.0), v) for m, v in X.items()}
    some = KernelCCA(2, kernel="precomputed").fit(triptych.Modalities(K, present=there))
    whole = KernelCCA(2, kernel=Kernel("rbf", width=1.0)).fit({m: v[both] for m, v in X.items()})
    np.testing.assert_allclose(some.correlations_, whole.correlations_, rtol=1e-10)
    require_same(some.transform(K), whole.transform(X), 1e-9)


def test_a_precomputed_kernel_is_refused_where_rows_alone_are_taken():
    K = {m: pairwise("rbf", v) for m, v in pair().items()}
    with pytest.raises(ShapeError, match=r"'a'.*square.*\(40, 60\).*cross-validated search"):
        KernelCCA(2, kernel="precomputed").fit(triptych.Modalities(K)[:40])
    search = GridSearchCV(KernelCCA(2, kernel="precomputed"), {"ridge": [0.1, 1.0]}, cv=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn counts failed fits in a warning too
        with pytest.raises(ValueError, match="cross-validated search"):
            search.fit(triptych.Modalities(K))


def test_bad_kernels_are_named():
    X = pair()
    K = {m: pairwise("rbf", v) for m, v in X.items()}
    fit = KernelCCA(2, kernel="precomputed").fit
    with pytest.raises(DataError, match=r"'a'.*not positive semi-definite.*smallest eigenvalue"):
        # Distances, where similarities were expected.
        fit({**K, "a": 1 + np.linalg.norm(X["a"][:, None] - X["a"][None], axis=2)})
    indefinite = K["a"] - 0.5 * np.diag(np.arange(60) % 2)
    with pytest.raises(DataError, match=r"'a'.*not positive semi-definite"):
        fit({**K, "a": indefinite})
    bent = K["b"].copy()
    bent[3, 7] += 0.1
    with pytest.raises(DataError, match=r"'b'.*symmetric; got .* for rows (3|7) and (3|7)"):
        fit({**K, "b": bent})
    with pytest.raises(DataError, match=r"'a'.*centred kernel is 0"):
        fit({**K, "a": np.ones((60, 60))})
    with pytest.raises(ShapeError, match=r"of shape \(60, 60\); got"):
        KernelCCA(2, kernel=lambda A, B: A).fit(X)
    with pytest.raises(DataError, match=r"'a'.*overflows or is not a number"):
        KernelCCA(2, kernel=lambda A, B: np.full((len(A), len(B)), np.nan)).fit(X)
    with pytest.raises(DataError, match=r"'a'.*overflows"):
        KernelCCA(2, kernel=Kernel("exponential", width=1e-3)).fit(X)
    with pytest.raises(ParameterError, match=r"approximation 'nystroem'.*'a' is a precomputed"):
        KernelCCA(2, kernel="precomputed", approximation="nystroem").fit(K)
    with pytest.raises(ParameterError, match=r"'fourier' is for kernels of x - y.*'linear'"):
        KernelCCA(2, kernel="linear", approximation="fourier").fit(X)
    for approximation in ("exact", "nystroem", "fourier"):
        model = KernelCCA(2, approximation=approximation)
        with pytest.raises(DataError, match=r"'a'.*rows drawn are equal"):
            model.fit({**X, "a": np.ones((60, 2))})
        with pytest.raises(DataError, match="'a'"):
            model.set_params(kernel="linear" if approximation != "fourier" else "rbf").fit(
                {**X, "a": np.zeros((60, 2))}
            )


def test_bad_parameters_are_named():
    X = pair()
    for parameters, message in (
        ({"kernel": "gaussian"}, "kernel: expected one of 'cosine'"),
        ({"kernel": 3}, "kernel: expected a name, a Kernel or a function; got 3"),
        ({"kernel": {"a": "rbf"}}, r"kernel: expected one for each of \['a', 'b'\]"),
        ({"kernel": {"a": "rbf", "b": "x"}}, "kernel__b: expected one of"),
        ({"ridge": -1.0}, "ridge: expected a number >= 0"),
        ({"ridge": {"a": 1.0, "b": np.nan}}, "ridge__b"),
        ({"ridge": {"a": 1.0}}, r"ridge: expected one for each of \['a', 'b'\]"),
        ({"approximation": "taylor"}, "approximation: expected one of 'auto'"),
        ({"n_features": 0}, "n_features: expected a whole number >= 1"),
        ({"n_components": 60}, "n_components: expected at most 59, the smaller rank"),
        ({"n_components": 41, "approximation": "nystroem", "n_features": 40}, "at most 40"),
    ):
        with pytest.raises(ParameterError, match=message):
            KernelCCA(**parameters).fit(X)


def test_without_ridge_full_kernels_correlate_perfectly_and_say_so():
    with pytest.warns(DegenerateDataWarning, match="59 correlations are 1 for any data"):
        model = KernelCCA(5, ridge=0.0).fit(pair())
    np.testing.assert_allclose(model.correlations_, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        KernelCCA(3, kernel="linear", ridge=0.0).fit(pair())


def test_a_kernel_that_spans_more_than_its_digits_says_so():
    X = pair()
    X["b"] = X["b"] * np.linspace(1, 40, 60)[:, None]
    kernel = {"a": "rbf", "b": Kernel("exponential", width=10.0)}
    with pytest.warns(DegenerateDataWarning, match="'b': half of the rows have a kernel below"):
        KernelCCA(1, kernel=kernel).fit(X)


def test_the_span_of_landmarks_has_no_larger_correlations_than_all_rows():
    X = pair()
    whole = KernelCCA(3).fit(X).correlations_
    for m in (5, 20, 40):
        some = KernelCCA(3, approximation="nystroem", n_features=m, random_state=0).fit(X)
        assert (some.correlations_ <= whole + 1e-9).all()


def test_two_rows():
    model = KernelCCA(1).fit({"a": [[0.0, 1], [2, 5]], "b": [[3.0], [-1]]})
    assert np.isfinite(model.transform({"a": [[0.0, 1], [9, 9]]})["a"]).all()
    assert 0 < model.correlations_[0] < 1


def test_finds_what_no_line_finds():
    rng = np.random.default_rng(0)

    def rings(n):
        angle = rng.uniform(0, 2 * np.pi, size=(n, 1))
        return {"x": np.cos(angle), "y": np.cos(2 * angle) + 0.1 * rng.normal(size=(n, 1))}

    train, test = rings(300), rings(300)
    # One correlation of 300 independent rows has the standard error 0.06.
    assert abs(CCA(1).fit(train).score(test)) < 0.2
    assert KernelCCA(1, ridge=1e-3).fit(train).score(test) > 0.9


def test_works_with_scikit_learn():
    X = triptych.Modalities(pair(n=90))
    assert cross_val_score(KernelCCA(1, ridge=0.1), X, cv=3).mean() > 0.3
    grid = {"kernel__a__width": [0.01, 1.0], "ridge": [0.1]}
    kernels = {"a": Kernel("rbf", width=1.0), "b": Kernel("rbf")}
    search = GridSearchCV(KernelCCA(1, kernel=kernels), grid, cv=3).fit(X)
    assert search.best_params_["kernel__a__width"] == 1.0


def cubed(A, B):
    return (1 + A @ B.T) ** 3


@pytest.mark.parametrize("approximation", ["exact", "nystroem", "fourier"])
def test_keeps_the_contract_whatever_the_approximation(approximation):
    check_method(KernelCCA(2, approximation=approximation, n_features=20, random_state=0))


def test_saved_with_a_function_of_the_users(tmp_path):
    X = pair()
    model = KernelCCA(2, kernel=cubed).fit(X)
    model.save(tmp_path / "m")
    with pytest.raises(PersistenceError, match="factories="):
        triptych.load(tmp_path / "m")
    again = triptych.load(tmp_path / "m", factories={"cubed": cubed})
    assert again.transform(X)["a"].tobytes() == model.transform(X)["a"].tobytes()
    K = {m: pairwise("rbf", v) for m, v in X.items()}
    model = KernelCCA(2, kernel="precomputed").fit(K)
    model.save(tmp_path / "k")
    assert triptych.load(tmp_path / "k").transform(K)["b"].tobytes() == (
        model.transform(K)["b"].tobytes()
    )


@pytest.mark.parametrize("approximation", ["nystroem", "fourier"])
def test_a_ridge_does_not_hide_the_rank_of_features(approximation):
    X = pair()
    two = {"a": np.repeat(X["a"][:2], 30, axis=0), "b": X["b"]}  # two different rows: rank 1
    with pytest.raises(ParameterError, match="at most 1, the smaller rank"):
        KernelCCA(2, ridge=0.1, approximation=approximation, n_features=40).fit(two)
    model = KernelCCA(ridge=0.1, approximation=approximation, n_features=40).fit(two)
    assert model.correlations_.shape == (1,) and model.transform(two)["b"].shape == (60, 1)


@pytest.mark.parametrize("approximation", ["exact", "nystroem"])
def test_warnings_point_at_the_line_of_the_user(approximation):
    with pytest.warns(DegenerateDataWarning, match="without ridge") as caught:
        KernelCCA(2, ridge=0.0, approximation=approximation).fit(pair())
    assert caught[0].filename == __file__


def test_rows_too_large_for_any_width_are_named():
    X = pair()
    with pytest.raises(DataError, match="modality 'a': width"):
        KernelCCA().fit({"a": X["a"] * 1e306, "b": X["b"]})


@pytest.mark.parametrize("approximation", ["nystroem", "fourier"])
def test_many_rows_beyond_the_range_of_single_precision(approximation, monkeypatch):
    X = pair(300)
    how = {"approximation": approximation, "n_features": 40, "random_state": 0}
    plain = KernelCCA(2, **how).fit(X).correlations_  # in double precision
    monkeypatch.setattr("triptych.coordination.kernel_cca.MANY_ROWS", 100)
    for unit in (1e150, 1e-150):
        found = KernelCCA(2, **how).fit({"a": X["a"] * unit, "b": X["b"]}).correlations_
        np.testing.assert_allclose(found, plain, atol=1e-9)
    if approximation == "nystroem":  # the phase of a cosine does see the mean
        found = KernelCCA(2, **how).fit({"a": X["a"] + 1e6, "b": X["b"]}).correlations_
        # Of sixteen digits the mean takes six; the median width, of squares, and weak
        # landmarks enlarge what is left.
        np.testing.assert_allclose(found, plain, atol=1e-6)


def test_permutation_of_linear_kernels_is_that_of_cca():
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(60, 3)), "b": rng.normal(size=(60, 2))}
    X["b"][:, 0] += X["a"][:, 0]
    theirs = CCA().fit(X).permutation_test(X, 49, n_components=1)
    kernels = {"a": X["a"] @ X["a"].T, "b": X["b"]}
    for data, kernel in ((X, "linear"), (kernels, {"a": "precomputed", "b": "linear"})):
        model = KernelCCA(2, kernel=kernel, ridge=1e-12).fit(data)
        test = model.permutation_test(data, 49, n_components=1)
        np.testing.assert_allclose(test.correlations, model.correlations_[:1], atol=1e-9)
        np.testing.assert_allclose(test.null, theirs.null, atol=1e-8)
        np.testing.assert_array_equal(test.p_values, theirs.p_values)
    with pytest.raises(CapabilityError, match="'a' is a precomputed kernel with the 60 rows"):
        model.permutation_test({"a": kernels["a"][:30], "b": X["b"][:30]}, 9)


@pytest.mark.parametrize("approximation", ["exact", "nystroem", "fourier"])
def test_permutation_is_of_exact_kernels_with_the_ridge(approximation):
    rng = np.random.default_rng(1)
    X = {"a": rng.normal(size=(80, 2)), "b": rng.normal(size=(80, 2))}
    X["b"][:, 0] += X["a"][:, 0] ** 2
    exact = KernelCCA(2, ridge=0.1).fit(X)
    model = KernelCCA(
        2, ridge=0.1, approximation=approximation, n_features=200, random_state=0
    ).fit(X)
    test = model.permutation_test(X, 19)
    np.testing.assert_allclose(test.correlations, exact.correlations_, atol=1e-9)
    assert test.p_values_fwe[0] == 0.05
    noise = {**X, "b": rng.normal(size=(80, 2))}
    assert KernelCCA(2, ridge=0.1).fit(noise).permutation_test(noise, 19).p_values[0] > 0.05
    with pytest.raises(DataError, match=r"2 <= n <= 4,000.*got 5,000"):
        model.permutation_test({m: np.tile(v, (63, 1))[:5000] for m, v in X.items()}, 9)
