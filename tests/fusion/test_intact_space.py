"""IntactSpace: the published updates, an objective that never rises, and gross errors outlived."""

import warnings

import numpy as np
import pytest
from scipy.linalg import subspace_angles

from triptych import Modalities
from triptych.errors import DataError, ParameterError, TriptychWarning
from triptych.fusion import IntactSpace
from triptych.fusion._residuals import Loss, Maps, Seen, balanced, step

TINY = {"map_penalty": 1e-6, "code_penalty": 1e-6}


def world(n=200, d=3, m=3, p=7, noise=0.0, wrong=0.0, seed=0):
    """Codes, modalities that are linear pictures of them, and rows in which "a" is all wrong."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    X = {
        name: x @ rng.normal(size=(d, p)) + noise * rng.normal(size=(n, p)) + rng.normal(size=p)
        for name in "abcdef"[:m]
    }
    bad = rng.permutation(n)[: int(wrong * n)]
    X["a"][bad] = 40 * rng.normal(size=(len(bad), p)) + 20
    return x, X, bad


def angle(x, z):
    """Largest principal angle between two column spaces, in radians."""
    return subspace_angles(x - x.mean(0), z - z.mean(0)).max()


def least_squares(X, d):
    wide = np.concatenate([v - v.mean(0) for v in X.values()], axis=1)
    return np.linalg.svd(wide, full_matrices=False)[0][:, :d]


def plain(Z, present, x, W, b, c, C1, C2):
    """J written out row by row."""
    n, m = present.shape
    total = 0.0
    for i in range(n):
        logs = [
            np.log(1 + np.sum((Z[v][i] - W[v] @ x[i] - b[v]) ** 2) / c**2)
            for v in range(m)
            if present[i, v]
        ]
        total += (np.mean(logs) + C2 * x[i] @ x[i]) / n
    return total + C1 / m * sum(np.sum(w**2) for w in W)


def drawn(seed, n=12, d=2, widths=(3, 4, 2)):
    rng = np.random.default_rng(seed)
    Z = [rng.standard_cauchy(size=(n, p)) for p in widths]
    present = rng.random((n, len(widths))) < 0.7
    present[~present.any(1), 0] = True
    for v, z in enumerate(Z):
        z[~present[:, v]] = 0.0
    maps = Maps(
        tuple(rng.normal(size=(p, d)) for p in widths), tuple(rng.normal(size=p) for p in widths)
    )
    return Z, present, rng.normal(size=(n, d)), maps


@pytest.mark.parametrize("offset", [True, False])
def test_one_pass_is_the_two_published_updates(offset):
    Z, present, x, maps = drawn(0)
    if not offset:
        maps = Maps(maps.W, tuple(np.zeros_like(b) for b in maps.b))
    loss, (n, m), d = Loss(0.7, 0.06, 0.02), present.shape, 2
    W, b = maps.W, maps.b

    def q(codes, i, v):
        return 1 / (loss.c**2 + np.sum((Z[v][i] - W[v] @ codes[i] - b[v]) ** 2))

    codes = np.empty_like(x)
    for i in range(n):
        there = [v for v in range(m) if present[i, v]]
        A = sum(q(x, i, v) * W[v].T @ W[v] for v in there)
        A = A + len(there) * loss.code_penalty * np.eye(d)
        codes[i] = np.linalg.solve(A, sum(q(x, i, v) * W[v].T @ (Z[v][i] - b[v]) for v in there))
    before = plain(Z, present, x, W, b, loss.c, 0.06, 0.02)
    after = plain(Z, present, codes, W, b, loss.c, 0.06, 0.02)
    new, found_before, found_after, _ = step(Z, present, x, maps, loss, offset)
    # Both sides are float64 sums of some dozen terms of size 1 to 1e2.
    np.testing.assert_allclose(x, codes, rtol=1e-9, atol=1e-10)
    assert (found_before, found_after) == pytest.approx((before, after), rel=1e-12)
    for v in range(m):
        M, N = np.zeros((d + 1, d + 1)), np.zeros((Z[v].shape[1], d + 1))
        for i in range(n):
            if present[i, v]:
                weight, one = q(codes, i, v) * m / present[i].sum(), np.append(codes[i], offset)
                M += weight * np.outer(one, one)
                N += weight * np.outer(Z[v][i], one)
        M[:d, :d] += n * loss.map_penalty * np.eye(d)
        wanted = N @ np.linalg.inv(M) if offset else N[:, :d] @ np.linalg.inv(M[:d, :d])
        np.testing.assert_allclose(new.W[v], wanted[:, :d], rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(new.b[v], wanted[:, d] if offset else 0, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("c", [1e-3, 0.3, 30.0])
@pytest.mark.parametrize("seed", range(4))
def test_no_half_step_raises_the_objective(seed, c):
    # Cauchy noise, absent modalities, any start: the worst the updates can meet.
    Z, present, x, maps = drawn(seed, n=25)
    loss, values = Loss(c, 1e-4, 1e-4), []
    for turn in range(40):
        if turn % 10 == 9:
            x, maps = balanced(x, maps, loss, offset=True)
        maps, before, after, _ = step(Z, present, x, maps, loss, True)
        values += [before, after]
    # The sums of some hundred logarithms are known to 1e-13 of themselves.
    assert np.diff(values).max() <= 1e-12 * max(values)
    assert values[-1] < values[0]


def test_balancing_changes_no_product_and_lowers_the_penalties():
    Z, present, x, maps = drawn(3)
    loss = Loss(0.5, 0.06, 0.001)
    new_x, new = balanced(x, maps, loss, offset=True)
    for W, b, V, a in zip(maps.W, maps.b, new.W, new.b, strict=True):
        np.testing.assert_allclose(x @ W.T + b, new_x @ V.T + a, atol=1e-12)
    assert plain(Z, present, new_x, new.W, new.b, 0.5, 0.06, 0.001) < plain(
        Z, present, x, maps.W, maps.b, 0.5, 0.06, 0.001
    )
    maps_cost = 0.06 / 3 * sum(W.T @ W for W in new.W)
    codes_cost = 0.001 / len(x) * new_x.T @ new_x
    np.testing.assert_allclose(maps_cost, codes_cost, atol=1e-12)
    assert np.allclose(codes_cost, np.diag(np.diag(codes_cost)))


def test_squares_survive_cancellation():
    # |z|² is 1e16 times |z - Wx|²: expanded, nothing of it would be left.
    rng = np.random.default_rng(0)
    W, x = rng.normal(size=(5, 2)), rng.normal(size=(4, 2))
    r = 1e-6 * rng.normal(size=(4, 5))
    maps = Maps((1e2 * W,), (np.zeros(5),))
    seen = Seen([x @ (1e2 * W).T + r], np.ones((4, 1), bool), maps)
    # z itself is rounded at 1e-14, which is 1e-8 of r.
    np.testing.assert_allclose(seen.squares(x)[:, 0], (r**2).sum(1), rtol=1e-6)


def test_exact_data_give_the_space_back():  # (a)
    x, X, _ = world()
    model = IntactSpace(3, **TINY).fit(X)
    assert angle(x, model.transform(X)) < 1e-3
    rebuilt = model.reconstruct(X)
    for name in X:
        np.testing.assert_allclose(rebuilt[name], X[name], atol=1e-3)


@pytest.mark.parametrize("wrong", [0.05, 0.2, 0.3])
def test_gross_errors_in_one_modality_are_outlived(wrong):  # (b)
    x, X, bad = world(noise=0.05, wrong=wrong)
    model = IntactSpace(3, scaling="modality", **TINY).fit(X)
    z = model.transform(X)
    lost = angle(x, least_squares(X, 3))
    assert angle(x, z) < 0.05 < 0.5 < lost
    # What was wrong is not rebuilt: the other modalities decide.
    assert np.abs(model.reconstruct(X)["a"][bad] - X["a"][bad]).mean() > 10


def test_more_modalities_less_error():  # (c)
    errors = []
    for m in (1, 2, 4, 6):
        found = []
        for seed in range(3):
            x, X, _ = world(m=m, p=5, noise=0.5, seed=seed)
            found.append(angle(x, IntactSpace(3, scaling="none", **TINY).fit_transform(X)))
        errors.append(np.mean(found))
    assert errors == sorted(errors, reverse=True)
    # Error falls as the root of the number of modalities: by 2.4, and more than half of that.
    assert errors[0] > 1.7 * errors[-1]


@pytest.mark.parametrize("c", [None, 0.05, 5.0])
def test_the_objective_that_is_kept_never_rises(c):  # (d)
    _, X, _ = world(noise=0.3, wrong=0.1)
    gaps = {"b": np.arange(200) % 7 > 0, "c": np.arange(200) % 5 > 1}
    model = IntactSpace(3, c=c, max_iter=60, tol=0.0).fit(Modalities(X, present=gaps))
    values = np.array(model.objective_)
    assert len(values) > 40
    assert np.diff(values).max() <= 1e-12 * values[0]
    assert model.c_ == (c or pytest.approx(model.c_))
    assert model.n_iter_ == 60
    # The last one is the sum that a reader would write from what is kept.
    Z = [model._scaled(Modalities(X, present=gaps), m) for m in "abc"]
    held = np.stack([np.ones(200, bool), gaps["b"], gaps["c"]], axis=1)
    W, b = [model.maps_[m] for m in "abc"], [model.offsets_[m] for m in "abc"]
    x = model.transform(Modalities(X, present=gaps))
    J = plain(Z, held, x, W, b, model.c_, model.map_penalty, model.code_penalty)
    assert values[-1] * (1 + 1e-6) >= J
    assert model.score(Modalities(X, present=gaps)) == pytest.approx(
        model.map_penalty / 3 * sum(np.sum(w**2) for w in W) - J, rel=1e-9
    )


def test_new_rows_get_what_a_joint_fit_gives_them():  # (e)
    _, X, _ = world(n=400, noise=0.1, wrong=0.1)
    old = {m: v[:300] for m, v in X.items()}
    z = IntactSpace(3, **TINY).fit(old).transform(X)
    joint = IntactSpace(3, **TINY).fit_transform(X)
    # The maps of 300 rows and of 400 differ by noise / sqrt(300).
    assert angle(joint[300:], z[300:]) < 0.03


def test_a_fit_that_stops_early_says_so():
    _, X, _ = world(noise=0.1, wrong=0.1)
    with pytest.warns(TriptychWarning, match=r"J still falls after max_iter=3 passes.*tol=1e-06"):
        model = IntactSpace(3, max_iter=3).fit(X)
    assert not model.converged_
    for passes in (1, 2):
        with pytest.warns(TriptychWarning, match=rf"max_iter={passes} passes are too few") as said:
            IntactSpace(3, max_iter=passes).fit(X)
        assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert IntactSpace(3, max_iter=1000).fit(X).converged_
        IntactSpace(3, max_iter=3, tol=0.0).fit(X)  # passes were asked for, and made


@pytest.mark.parametrize("size", [50, 1000, 1e5])
def test_codes_as_wide_as_all_columns_are_not_carried_away(size):
    # Such a code can fit anything: what is grossly wrong leaves no residual, but a huge code.
    _, X, _ = world(n=300, d=2, p=6, noise=0.05)
    model = IntactSpace().fit(X)
    wrong = {m: v.copy() for m, v in X.items()}
    wrong["a"][:20] = size * np.random.default_rng(1).normal(size=(20, 6))
    right = model.transform(X)[:20]
    moved = np.linalg.norm(model.transform(wrong)[:20] - right, axis=1)
    without = np.linalg.norm(model.transform({m: X[m][:20] for m in "bc"}) - right, axis=1)
    assert (moved < 3 * without.max()).all()


def test_any_subset_and_no_neighbour():
    _, X, _ = world(noise=0.1, wrong=0.1)
    model = IntactSpace(3).fit(X)
    whole = model.transform(X)
    for names in ("a", "b", "ab", "cb"):
        part = Modalities({m: X[m] for m in names})
        z = model.transform(part)
        masked = Modalities(X, present={m: np.full(200, m in names) for m in X})
        # Rows are solved for in other batches, so sums differ by rounding.
        np.testing.assert_allclose(z, model.transform(masked), atol=1e-9)
        np.testing.assert_allclose(z[7:8], model.transform(part[7:8]), atol=1e-9)
    np.testing.assert_allclose(whole[::3], model.transform(Modalities(X)[::3]), atol=1e-9)


def test_a_new_row_that_is_wrong_in_one_modality_is_coded_by_the_others():
    _, X, _ = world(noise=0.05)
    model = IntactSpace(3).fit(X)
    clean = model.transform(X)
    for name in X:
        hit = {**X, name: X[name] + 1e3}
        moved = np.abs(model.transform(hit) - clean).max(axis=1) / np.abs(clean).max()
        assert np.median(moved) < 0.05


def test_units_do_not_matter_and_far_ones_do_not_overflow():
    _, X, _ = world(noise=0.1, wrong=0.1)
    z = IntactSpace(3).fit_transform(X)
    for factor in (1e-150, 1e120):
        far = IntactSpace(3).fit({**X, "b": X["b"] * factor})
        np.testing.assert_allclose(far.transform({**X, "b": X["b"] * factor}), z, atol=1e-6)
    rows, model = np.array(X["b"]), IntactSpace(3).fit(X)
    rows[3, 2] = 1e200
    with pytest.raises(DataError, match="modality 'b', row 3, column 2: it lies more than"):
        model.transform({**X, "b": rows})


def test_pictures_come_back_in_their_units():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 2))
    image = np.clip(
        120 + 20 * np.einsum("nk,kchw->nchw", x, rng.normal(size=(2, 3, 4, 5))), 0, 255
    )
    X = {"image": image.astype(np.uint8), "v": x @ rng.normal(size=(2, 6))}
    rebuilt = IntactSpace(2, **TINY).fit(X).reconstruct({"v": X["v"]})["image"]
    assert rebuilt.shape == image.shape
    assert np.median(np.abs(rebuilt - image)) < 2


def test_what_cannot_be_used_is_named():
    _, X, _ = world(n=20, p=2)
    for name in ("c", "map_penalty", "code_penalty"):
        with pytest.raises(ParameterError, match=rf"{name}: expected a number > 0, got 0"):
            IntactSpace(2, **{name: 0}).fit(X)
    with pytest.raises(ParameterError, match=r"scaling: expected one of .*; got array"):
        IntactSpace(2, scaling=np.ones(2)).fit(X)
    with pytest.raises(ParameterError, match=r"at most 6, the columns of .* together; got 7"):
        IntactSpace(7).fit(X)
    assert IntactSpace().fit(X).transform(X).shape == (20, 6)
    with pytest.raises(DataError, match="modality 'b': every column is constant"):
        IntactSpace(2).fit({**X, "b": np.ones((20, 3))})
    with pytest.raises(DataError, match="modality 'b' is absent in all 20 rows"):
        IntactSpace(2).fit(Modalities(X, present={"b": np.zeros(20, bool)}))
    nothing = Modalities(X, present={m: np.arange(20) != 4 for m in X})
    model = IntactSpace(2).fit(X)
    with pytest.raises(DataError, match="row 4 has no modality present"):
        model.transform(nothing)


def test_rows_with_nothing_change_nothing_in_fit():
    _, X, _ = world(n=60, noise=0.1)
    some = np.arange(60) % 4 > 0
    holed = Modalities(X, present=dict.fromkeys(X, some))
    model, other = IntactSpace(2).fit(holed), IntactSpace(2).fit(Modalities(X)[some])
    np.testing.assert_array_equal(model.transform(X), other.transform(X))
    assert model.score(holed) == other.score(Modalities(X)[some])


def test_fewer_rows_than_columns():
    x, X, _ = world(n=15, p=40, noise=0.01)
    model = IntactSpace(3, **TINY).fit(X)
    assert angle(x, model.transform(X)) < 0.02
    assert IntactSpace(100).fit(X).transform(X).shape == (15, 100)


@pytest.mark.parametrize("c", [1e-170, 1e-12, 1e12, 1e200])
def test_a_c_that_leaves_only_rounding_is_refused(c):
    _, X, _ = world(noise=0.3)
    with pytest.raises(ParameterError, match=r"c: expected from .* to .*, as a typical row"):
        IntactSpace(3, c=c).fit(X)


def test_data_too_small_for_squares_are_refused_unscaled_and_taken_scaled():
    _, X, _ = world(noise=0.3)
    tiny = {m: v * 1e-170 for m, v in X.items()}
    with pytest.raises(DataError, match=r"'a': its values differ by .* at most, too little"):
        IntactSpace(3, scaling="none").fit(tiny)
    codes, same = (IntactSpace(3).fit_transform(v) for v in (tiny, X))
    np.testing.assert_allclose(np.abs(codes), np.abs(same), rtol=1e-5, atol=1e-8)
