import time

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from triptych.errors import DataError, ParameterError, ShapeError
from triptych.evaluation.probes import (
    knn_probe,
    linear_probe,
    neighbours,
    r2,
    standardised,
    subset,
)


def blobs(n, classes=3, seed=0, spread=0.3):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, 4)) * 2
    y = rng.integers(0, classes, n)
    return centres[y] + spread * rng.normal(size=(n, 4)), np.array(["a", "b", "c", "d"])[y]


@pytest.mark.parametrize("probe", [linear_probe, knn_probe])
def test_separable_classes_are_found_and_shuffled_labels_are_not(probe):
    (Z, y), (Zt, yt) = blobs(300), blobs(200, seed=1)
    assert probe(Z, y, Zt, yt).value > 0.98
    order = np.random.default_rng(0).permutation(len(y))
    # chance 1/3; standard error of 200 rows 0.033, five of them
    assert abs(probe(Z, y[order], Zt, yt).value - 1 / 3) < 0.17


@pytest.mark.parametrize("probe", [linear_probe, knn_probe])
def test_constant_codes_are_no_better_than_one_class(probe):
    y = np.array([0, 0, 0, 1])
    score = probe(np.full((4, 3), 0.1, np.float32), y, np.full((4, 3), 0.1, np.float32), y)
    assert score.value in (0.25, 0.75)
    assert score.balanced == 0.5


def test_balanced_accuracy_equals_the_mean_recall():
    (Z, y), (Zt, yt) = blobs(300, spread=2.5), blobs(150, seed=1, spread=2.5)
    keep = (yt != "c") | (np.arange(150) % 7 == 0)
    Zt, yt = Zt[keep], yt[keep]
    score = knn_probe(Z, y, Zt, yt, metric="euclidean")
    from sklearn.neighbors import KNeighborsClassifier

    # five neighbours of three classes can tie 2-2-1, where ours takes the nearest
    theirs = KNeighborsClassifier(5).fit(Z, y).predict(Zt)
    assert score.value == pytest.approx((theirs == yt).mean(), abs=0.05)
    assert score.balanced == pytest.approx(balanced_accuracy_score(yt, theirs), abs=0.05)
    recalls = []
    near = neighbours(Z, Zt, 5, "euclidean")
    predicted = []
    for row in near:
        votes = [list(y[row]).count(label) for label in y[row]]
        predicted.append(y[row][votes.index(max(votes))])
    for label in "abc":
        of = [p == t for p, t in zip(predicted, yt, strict=True) if t == label]
        recalls.append(sum(of) / len(of))
    assert score.balanced == pytest.approx(sum(recalls) / 3)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_neighbours_equal_a_loop(metric):
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(40, 3)), rng.normal(size=(7, 3))
    near = neighbours(train, test, 4, metric)
    for i, z in enumerate(test):
        if metric == "cosine":
            far = [-(z @ t) / np.linalg.norm(z) / np.linalg.norm(t) for t in train]
        else:
            far = [np.linalg.norm(z - t) for t in train]
        assert near[i].tolist() == sorted(range(40), key=lambda j, far=far: far[j])[:4]


def test_numbers_are_read_by_ridge_and_neighbours_as_r2():
    rng = np.random.default_rng(0)
    Z, Zt = rng.normal(size=(400, 3)), rng.normal(size=(200, 3))
    w = np.array([1.0, -2.0, 0.5])
    exact = linear_probe(Z, Z @ w, Zt, Zt @ w)
    assert exact.measure == "R2" and exact.balanced is None
    assert exact.value > 1 - 1e-6
    assert 0.7 < knn_probe(Z, Z @ w, Zt, Zt @ w, metric="euclidean").value < 1
    noise = rng.normal(size=400)
    assert linear_probe(Z, noise, Zt, rng.normal(size=200)).value < 0.05


def test_r2_written_out():
    truth, guess = np.array([1.0, 2.0, 4.0]), np.array([1.5, 2.0, 3.0])
    assert r2(truth, guess, 2.0) == pytest.approx(1 - (0.25 + 1) / (1 + 4))
    with pytest.raises(DataError, match="constant"):
        r2(np.full(3, 0.1), guess, 0.1)


def test_unseen_classes_count_as_wrong_and_are_reported():
    Z, y = blobs(90)
    Zt, yt = blobs(40, seed=1)
    yt = yt.astype("U2")
    yt[:10] = "zz"
    score = linear_probe(Z, y, Zt, yt)
    assert score.unseen == pytest.approx(0.25)
    assert 0.7 < score.value <= 0.75


def test_the_cap_keeps_every_class_and_is_seeded():
    y = np.array([0] * 5000 + [1])
    rows = subset(y, False, 50, 3)
    assert len(rows) == 50 and 5000 in rows
    assert (rows == subset(y, False, 50, 3)).all()
    assert (rows != subset(y, False, 50, 4)).any()
    Z, y = blobs(500)
    score = linear_probe(Z, y, Z, y, max_rows=100)
    assert score.n_train == 100 and score.n_test == 500


def test_order_of_rows_and_scale_of_columns_do_not_matter():
    (Z, y), (Zt, yt) = blobs(200, spread=2), blobs(100, seed=1, spread=2)
    order = np.random.default_rng(0).permutation(200)
    first = linear_probe(Z, y, Zt, yt)
    assert linear_probe(Z[order], y[order], Zt, yt).value == pytest.approx(first.value, abs=0.011)
    scale = np.array([1e-3, 1.0, 1e3, 10.0])
    assert linear_probe(Z * scale, y, Zt * scale, yt).value == pytest.approx(
        first.value, abs=0.011
    )
    assert knn_probe(Z[order], y[order], Zt, yt) == knn_probe(Z, y, Zt, yt)


def test_constant_columns_become_zero():
    Z = np.column_stack([np.full(5, 1e8) + 1e-9, np.arange(5.0)])
    out, again = standardised(Z, Z[:2])
    assert not out[:, 0].any() and not again[:, 0].any()
    np.testing.assert_allclose(out[:, 1].std(), 1)


def test_errors_say_what_is_wrong():
    Z, y = blobs(20)
    with pytest.raises(DataError, match="only 'a'"):
        linear_probe(Z, np.full(20, "a"), Z, y)
    with pytest.raises(DataError, match="no test row"):
        knn_probe(Z, y, Z, np.full(20, "z"))
    bad = Z.copy()
    bad[3, 1] = np.nan
    with pytest.raises(DataError, match="row 3, column 1"):
        linear_probe(bad, y, Z, y)
    with pytest.raises(DataError, match="at most 500 classes, got 600"):
        linear_probe(np.zeros((600, 1)), np.arange(600), np.zeros((600, 1)), np.arange(600))
    with pytest.raises(ShapeError, match="4 columns and Z_test 3"):
        knn_probe(Z, y, Z[:, :3], y)
    with pytest.raises(ShapeError, match="y_train: expected one label for each of 20"):
        linear_probe(Z, y[:5], Z, y)
    with pytest.raises(ParameterError, match="metric"):
        knn_probe(Z, y, Z, y, metric="manhattan")
    with pytest.raises(DataError, match="of one type"):
        linear_probe(Z, np.array([1, "a"] * 10, dtype=object), Z, y)


def test_large_codes_take_seconds():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 10, 40_000)
    Z = rng.normal(size=(40_000, 128)).astype(np.float32)
    Z[:, :10] += np.eye(10)[y]
    start = time.process_time()
    score = linear_probe(Z, y, Z[:5000], y[:5000])
    assert score.n_train == 10_000 and score.value > 0.2
    knn_probe(Z, y, Z[:5000], y[:5000])
    # a few seconds of one core; the bound leaves room for a busy machine
    assert time.process_time() - start < 20
