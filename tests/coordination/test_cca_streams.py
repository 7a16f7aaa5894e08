"""CCA of rows that come in batches, from files, sparse, or by Dask: one answer by all roads."""

import random
import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array, random_array

import triptych
from triptych.coordination import CCA
from triptych.errors import (
    CapabilityError,
    DataError,
    DegenerateDataWarning,
    ModalityError,
    NotFittedError,
    ParameterError,
    ShapeError,
)


def pair(n=200, p=5, q=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    return {"a": X, "b": X[:, :q] @ rng.normal(size=(q, q)) + rng.normal(size=(n, q))}


def batches(X, size):
    n = len(next(iter(X.values())))
    return ({m: v[low : low + size] for m, v in X.items()} for low in range(0, n, size))


def assert_same(one, two, tolerance=1e-11):
    np.testing.assert_allclose(one.all_correlations_, two.all_correlations_, atol=tolerance)
    assert one.n_samples_ == two.n_samples_
    for part in ("weights_", "loadings_", "cross_loadings_", "means_"):
        for name in "ab":
            mine, other = getattr(one, part)[name], getattr(two, part)[name]
            np.testing.assert_allclose(mine, other, atol=100 * tolerance)


@pytest.mark.parametrize("size", [1, 7, 64, 500])
def test_batches_of_any_size_are_the_whole(size):
    X = pair()
    X["a"] = X["a"] * [1, 10, 1e3, 1e-3, 1] + [1e4, 0, 0, 0, -5]
    whole = CCA().fit(X)
    model = CCA()
    for batch in batches(X, size):
        assert model.partial_fit(batch) is model
    assert_same(model, whole)
    assert_same(CCA().fit(batches(X, size)), whole)
    assert_same(CCA().fit(iter(list(batches(X, size)))), whole)


def test_codes_are_asked_for_at_any_time():
    X = pair()
    model = CCA(2)
    with pytest.raises(NotFittedError):
        model.transform(X)
    with pytest.raises(AttributeError, match="correlations_"):
        _ = model.correlations_
    model.partial_fit({m: v[:1] for m, v in X.items()})
    with pytest.raises(DataError, match="needs 2 rows with both modalities; got 1"):
        model.transform(X)
    model.partial_fit({m: v[1:100] for m, v in X.items()})
    half = model.transform(X)["a"].copy()
    model.partial_fit({m: v[100:] for m, v in X.items()})
    assert not np.allclose(model.transform(X)["a"], half)
    np.testing.assert_allclose(
        model.transform(X)["a"], CCA(2).fit(X).transform(X)["a"], atol=1e-11
    )


def test_a_saved_stream_goes_on(tmp_path):
    X = pair()
    model = CCA().partial_fit({m: v[:90] for m, v in X.items()})
    model.save(tmp_path / "m")
    again = triptych.load(tmp_path / "m")
    assert again.transform(X)["a"].tobytes() == model.transform(X)["a"].tobytes()
    again.partial_fit({m: v[90:] for m, v in X.items()})
    assert_same(again, CCA().fit(X))
    with pytest.raises(CapabilityError, match="keeps no moments"):
        CCA().fit(X).partial_fit(X)
    assert_same(model.fit(X), CCA().fit(X))  # fit forgets what came before


def test_rows_that_lack_a_modality_are_left_out_of_batches():
    X = pair(60)
    there = {"a": np.arange(60) % 5 != 0, "b": np.arange(60) % 7 != 0}
    there["a"][20:40] = False
    whole = CCA().fit(triptych.Modalities(X, present=there))
    model = CCA()
    for low in range(0, 60, 20):
        part = slice(low, low + 20)
        model.partial_fit(
            triptych.Modalities(
                {m: v[part] for m, v in X.items()}, present={m: v[part] for m, v in there.items()}
            )
        )
    assert_same(model, whole)


def test_a_batch_that_does_not_fit_is_named():
    X = pair()
    good = {m: v[:50] for m, v in X.items()}
    narrow = {**good, "a": good["a"][:, :3]}
    wanted = r"batch 3: modality 'a': .*before were vector \(5\), this one is vector \(3\)"
    with pytest.raises(ShapeError, match=wanted):
        CCA().fit(iter([good, good, narrow]))
    with pytest.raises(ModalityError, match=r"batch 2: .*\['a', 'b'\]; got \['a', 'c'\]"):
        CCA().fit(iter([good, {"a": good["a"], "c": good["b"]}]))
    holes = good["b"].copy()
    holes[4, 2] = np.nan
    with pytest.raises(DataError, match=r"batch 2: modality 'b'.*NaN at row 4, column 2"):
        CCA().fit(iter([good, {**good, "b": holes}]))
    with pytest.raises(DataError, match="gave no batch"):
        CCA().fit(iter([]))
    with pytest.raises(CapabilityError, match="words of modality 'b'"):
        CCA().partial_fit({"a": X["a"][:2], "b": ["x", "y"]})
    with pytest.raises(ParameterError, match=r"read once.*'svd'"):
        CCA(solver="svd").partial_fit(good)
    with pytest.raises(ParameterError, match="reads rows twice"):
        _ = CCA(shrinkage="auto").partial_fit(good).correlations_
    # A refused batch changes nothing, and a refused iterator leaves a method unfitted.
    model = CCA().partial_fit(good)
    with pytest.raises(ShapeError):
        model.partial_fit(narrow)
    assert model.n_samples_ == 50
    with pytest.raises(ParameterError, match=r"at most 4.*got 5"):
        CCA(5).fit(iter([good]))
    failed = CCA()
    with pytest.raises(ShapeError):
        failed.fit(iter([good, narrow]))
    with pytest.raises(NotFittedError):
        failed.transform(good)


def test_one_pass_says_what_it_cannot_see():
    X = pair(2000)
    near = {**X, "a": np.column_stack([X["a"], X["a"][:, 0] + 1e-7 * X["b"][:, 1]])}
    with pytest.warns(DegenerateDataWarning, match="one pass over rows"):
        model = CCA().fit(
            batches(
                {
                    **X,
                    "a": np.column_stack(
                        [X["a"], X["a"][:, 0] + 3e-6 * np.random.default_rng(1).normal(size=2000)]
                    ),
                },
                100,
            )
        )
    assert model.error_bound_ > 1e-6
    assert CCA().fit(near).rank_["a"] == 6  # rows read twice show it
    copied = {**X, "a": np.column_stack([X["a"], X["a"][:, 0]])}
    with pytest.warns(DegenerateDataWarning, match="'a': one pass.*sees 5 directions of 6"):
        model = CCA().fit(batches(copied, 100))
    assert model.rank_["a"] == 5
    np.testing.assert_allclose(model.correlations_, CCA().fit(X).correlations_, atol=1e-10)


def test_what_cannot_be_solved_for_is_not_there():
    X = pair()
    for model, message in (
        (CCA().partial_fit({m: v[:1] for m, v in X.items()}), "needs 2 rows"),
        (CCA(7).partial_fit(X), "at most 4"),
        (CCA(shrinkage="auto").partial_fit(X), "reads rows twice"),
    ):
        assert not hasattr(model, "correlations_")
        assert getattr(model, "weights_", None) is None
        with pytest.raises((DataError, ParameterError), match=message):
            _ = model.correlations_
        with pytest.raises((DataError, ParameterError), match=message):
            model.transform(X)
    refused = CCA()
    with pytest.raises(DataError):
        refused.partial_fit({"a": X["a"], "b": np.full((200, 4), np.nan)})
    assert not hasattr(refused, "correlations_")


def test_large_means_cost_a_stream_no_digits():
    X = pair(1000)
    rho = CCA(solver="svd").fit(X).correlations_
    far = {m: v + 1e6 for m, v in X.items()}
    np.testing.assert_allclose(CCA().fit(batches(far, 64)).correlations_, rho, rtol=1e-8)
    drifting = {m: v + np.linspace(0, 1e4, 1000)[:, None] for m, v in X.items()}
    exact = CCA(solver="svd").fit(drifting).correlations_
    np.testing.assert_allclose(CCA().fit(batches(drifting, 64)).correlations_, exact, atol=1e-6)


def test_confounds_and_pictures_in_batches():
    rng = np.random.default_rng(3)
    X = pair(120)
    X["age"] = rng.normal(size=(120, 2))
    X["a"] = X["a"] + X["age"] @ rng.normal(size=(2, 5))
    whole = CCA(confounds="age").fit(X)
    model = CCA(confounds="age").fit(batches(X, 33))
    assert_same(model, whole)
    np.testing.assert_allclose(model.transform(X)["a"], whole.transform(X)["a"], atol=1e-10)
    images = {"a": rng.integers(0, 255, (90, 1, 2, 2)).astype(np.uint8), "b": X["b"][:90]}
    assert_same(CCA().fit(batches(images, 40)), CCA().fit(images))


def test_memory_mapped_files(tmp_path):
    X = pair(5000)
    X["a"][17, 3] = 2.5
    for name, values in X.items():
        np.save(tmp_path / f"{name}.npy", values)
    maps = {m: np.load(tmp_path / f"{m}.npy", mmap_mode="r") for m in X}
    assert_same(CCA().fit(maps), CCA().fit(X), tolerance=1e-14)
    rows = np.arange(0, 5000, 3)
    some = triptych.Modalities(maps)[rows]
    assert_same(CCA().fit(some), CCA().fit({m: v[rows] for m, v in X.items()}), tolerance=1e-14)
    writable = {m: np.load(tmp_path / f"{m}.npy", mmap_mode="r+") for m in X}
    writable["a"][17, 3] = np.inf
    with pytest.raises(DataError, match=r"'a'.*infinity at row 17, column 3"):
        CCA().fit(writable)
    # Changes to a private map exist in memory only, and reading must not lose them.
    private = {m: np.load(tmp_path / f"{m}.npy", mmap_mode="c") for m in X}
    private["a"][:] = X["b"][:, [0, 1, 2, 3, 0]]
    CCA().fit(private)
    np.testing.assert_array_equal(private["a"][:, :4], X["b"])


def test_sparse_columns_stay_sparse(monkeypatch):
    X = {
        "a": random_array((3000, 40), density=0.1, format="csr", rng=np.random.default_rng(0)),
        "b": random_array((3000, 30), density=0.2, format="csc", rng=np.random.default_rng(1)),
    }
    full = {m: v.toarray() for m, v in X.items()}
    mixed = {"a": X["a"], "b": full["b"]}
    whole = CCA(solver="svd").fit(full)
    tall = []
    dense = csr_array.toarray

    def watched(self, *args, **kwargs):
        tall.append(self.shape[0])
        return dense(self, *args, **kwargs)

    monkeypatch.setattr(csr_array, "toarray", watched)
    one, two = CCA().fit(X), CCA().fit(mixed)
    assert max(tall) <= 512  # the pilot's rows and (p, q) products
    assert_same(one, whole)
    assert_same(two, whole)
    thin = X["a"].copy()
    thin.data[5] = np.nan
    with pytest.raises(DataError, match=r"'a'.*NaN at row"):
        CCA().fit({**X, "a": thin})
    far = {"a": csr_array(full["a"] + 1e6), "b": X["b"]}  # sparse by name only
    np.testing.assert_allclose(CCA().fit(far).correlations_, whole.correlations_, atol=1e-8)


# -- Dask ---------------------------------------------------------------------------------


def test_dask_arrays_run_on_dask():
    da = pytest.importorskip("dask.array")
    X = pair(900)
    whole = CCA().fit(X)
    lazy = {
        "a": da.from_array(X["a"], chunks=(250, 2)),
        "b": da.from_array(X["b"], chunks=(400, 4)),
    }
    for solver in ("auto", "cholesky", "refined"):
        assert_same(CCA(solver=solver).fit(lazy), whole)
    assert_same(CCA().fit({"a": lazy["a"], "b": X["b"]}), whole)
    assert_same(CCA(shrinkage="auto").fit(lazy), CCA(shrinkage="auto").fit(X))
    mask = np.arange(900) % 4 != 0
    some = triptych.Modalities(lazy, present={"a": mask})
    assert_same(CCA().fit(some), CCA().fit({m: v[mask] for m, v in X.items()}))
    wide = {m: da.from_array(v[:30, :], chunks=11) for m, v in pair(30, 40, 40).items()}
    near = {m: np.asarray(v) for m, v in wide.items()}
    assert_same(CCA(ridge=0.5).fit(wide), CCA(ridge=0.5).fit(near))


def test_dask_arrays_that_cannot_be_read_are_named():
    da = pytest.importorskip("dask.array")
    X = pair(60)
    lazy = da.from_array(X["a"], chunks=(25, 5))
    unknown = lazy[lazy[:, 0] > 0]
    with pytest.raises(ShapeError, match="'a': a Dask array of unknown chunk sizes"):
        CCA().fit({"a": unknown, "b": X["b"][:30]})
    holes = X["a"].copy()
    holes[41, 2] = np.nan
    with pytest.raises(DataError, match=r"'a'.*NaN at row 41, column 2"):
        CCA().fit({"a": da.from_array(holes, chunks=(25, 5)), "b": X["b"]})


def test_two_workers_give_the_same():
    distributed = pytest.importorskip("distributed")
    da = pytest.importorskip("dask.array")
    X = pair(500)
    lazy = {m: da.from_array(v, chunks=(120, -1)) for m, v in X.items()}
    before = random.getstate()  # the cluster draws from it
    try:
        cluster = distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
        )
        with cluster, distributed.Client(cluster):
            assert_same(CCA().fit(lazy), CCA().fit(X))
    finally:
        random.setstate(before)


def test_sequences_with_nan_are_named():
    frames = [np.ones((3, 2)) * k for k in range(6)]
    frames[4][1, 0] = np.nan
    with pytest.raises(DataError, match=r"'a'.*NaN at row 4"):
        CCA().fit({"a": frames, "b": np.arange(6.0)[:, None]})
    images = np.random.default_rng(0).normal(size=(6, 1, 2, 2))
    images[3, 0, 1, 1] = np.inf
    with pytest.raises(DataError, match=r"'a'.*infinity at row 3"):
        CCA().fit({"a": images, "b": np.arange(6.0)[:, None]})
    wide = np.random.default_rng(0).normal(size=(6, 30))
    wide[2, 7] = np.nan
    for solver in ("svd", "dual", "randomized"):
        with pytest.raises(DataError, match=r"'a'.*NaN at row 2, column 7"):
            CCA(1, ridge=1.0, solver=solver).fit({"a": wide, "b": np.arange(6.0)[:, None]})


@pytest.mark.parametrize("solver", ["auto", "svd"])
def test_dask_blocks_of_another_shape_than_declared_are_named(solver):
    da = pytest.importorskip("dask.array")
    X = pair()
    short = da.from_array(X["a"], chunks=(50, 5)).map_blocks(lambda b: b[:, :2], dtype=float)
    with pytest.raises(ShapeError, match=r"'a'.* declares as .*5\) turned out to be .*2\)"):
        CCA(solver=solver).fit({"a": short, "b": X["b"]})


@pytest.mark.parametrize("ridge", [1e-12, 1e-8, 1e-2])
def test_the_bound_of_a_ridged_stream_covers_directions_left_out(ridge):
    X = pair()
    noise = 1e-7 * np.random.default_rng(1).normal(size=200)
    X["a"] = np.column_stack([X["a"], X["a"][:, 0] + noise])
    exact = CCA(ridge=ridge, solver="svd").fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)
        stream = CCA(ridge=ridge).fit(batches(X, 50))
    gap = np.abs(stream.correlations_ - exact.correlations_).max()
    assert gap <= stream.error_bound_ + 1e-13  # rounding of the singular values themselves
    assert ridge < 1e-10 or stream.error_bound_ < 1e-5
