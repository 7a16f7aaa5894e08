import numpy as np
import pytest
from sklearn.base import clone

from triptych.contracts.method import Capabilities, Coordination
from triptych.errors import CapabilityError, NotFittedError
from triptych.evaluation.baselines import (
    BestSingle,
    Chance,
    ConcatPCA,
    ShuffledPairs,
    default_baselines,
    shuffle_pairs,
)
from triptych.evaluation.probes import linear_probe
from triptych.evaluation.retrieval import retrieval
from triptych.evaluation.robustness import noise_curve
from triptych.modalities import Modalities, make_parts


def data(n=200, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    X = Modalities(
        {
            "noise": rng.normal(size=(n, 5)),
            "image": (rng.random((n, 1, 4, 4)) * 100 + 40 * y[:, None, None, None]).astype(
                np.uint8
            ),
            "text": [f"{['red', 'green', 'blue'][c]} w{rng.integers(9)}" for c in y],
            "steps": [rng.normal(size=(rng.integers(2, 6), 2)) for _ in range(n)],
        }
    )
    return X, y


class Linear(Coordination):
    """The data as codes: what a perfect method of equal modalities would learn."""

    capabilities = Capabilities(one_modality_at_transform=True)

    def _fit(self, X, y, validation):
        self.seen_ = X["b"].copy()
        self.shift_ = X["b"][0] - X["a"][0]
        self.valid_ = validation

    def _transform(self, X):
        return make_parts({m: X[m] for m in X.names}, X.present)


def test_chance_is_chance():
    X, y = data(300)
    Z = Chance(8).fit(X).transform(X)
    assert Z.names == X.names and Z["image"].shape == (300, 8)
    found = retrieval(Z["image"], Z["text"])
    # 10 of 300; standard error sqrt(0.033 * 0.967 / 300) = 0.01, four of them
    assert abs(found.recall[10] - 10 / 300) < 0.041
    T, yt = data(200, seed=1)
    Zt = Chance(8).fit(X).transform(T)
    assert linear_probe(Z["text"], y, Zt["text"], yt).value < 0.47
    again = Chance(8).fit(X).transform(X)
    np.testing.assert_array_equal(Z["text"], again["text"])
    other = Chance(8, random_state=1).fit(X).transform(X)
    assert (Z["text"] != other["text"]).any()
    assert Chance().fit(X).n_parameters == 0


def test_shuffling_keeps_each_modality_and_breaks_the_pairs():
    X, _ = data(100)
    X = X.with_present({"image": np.arange(100) % 3 > 0})
    mixed = shuffle_pairs(X, 0)
    np.testing.assert_array_equal(mixed["noise"], X["noise"])
    assert mixed["text"] != X["text"] and sorted(mixed["text"]) == sorted(X["text"])
    # the mask moves with its rows
    held = {row.tobytes() for row in X["image"][X.present["image"]]}
    assert {row.tobytes() for row in mixed["image"][mixed.present["image"]]} == held
    assert shuffle_pairs(X, 0)["text"] == mixed["text"] != shuffle_pairs(X, 1)["text"]


def test_shuffled_pairs_fits_on_shuffled_rows_and_transforms_true_ones():
    values = np.arange(40.0).reshape(20, 2)
    X = Modalities({"a": values, "b": values})
    method = Linear()
    baseline = ShuffledPairs(method).fit(X, validation=X[:10])
    assert (baseline.seen_ != values).any()
    assert sorted(baseline.seen_[:, 0]) == sorted(values[:, 0])
    assert not hasattr(method, "seen_")
    assert (baseline.valid_[0]["b"] != values[:10]).any()
    Z = baseline.transform(X)
    np.testing.assert_array_equal(Z["a"], Z["b"])
    assert baseline.panel == "coordination" and baseline.names_in_ == ("a", "b")
    assert baseline.capabilities.one_modality_at_transform
    indices, _ = baseline.retrieve({"a": values[1:3]}, among={"b": values}, k=1)
    assert indices.shape == (2, 1)
    with pytest.raises(NotFittedError):
        ShuffledPairs(Linear()).transform(X)
    with pytest.raises(AttributeError, match="no attribute 'seen_'"):
        _ = ShuffledPairs(Linear()).seen_


@pytest.mark.parametrize("with_validation", [False, True])
def test_best_single_picks_the_modality_that_knows_the_label(with_validation):
    X, y = data()
    valid = data(90, seed=1) if with_validation else None
    model = BestSingle(4).fit(X, y, validation=valid)
    assert set(model.scores_) == set(X.names)
    assert model.chosen_ in ("text", "image")
    assert model.scores_["noise"] < 0.5 < 0.9 < model.scores_[model.chosen_]
    assert ("validation" in model.chosen_by_) == with_validation
    assert model.transform(X).shape == (200, 4)
    only = BestSingle(4).fit(X.select("noise", "text"), y)
    with pytest.raises(CapabilityError):
        only.transform(X.select("noise"))


def test_best_single_without_usable_labels_says_how_it_chose():
    X, _ = data(60)
    for labels in (None, np.zeros(60, int)):
        model = BestSingle(2).fit(X, labels)
        assert "variance" in model.chosen_by_
        assert model.chosen_ == max(model.scores_, key=model.scores_.get)


def test_concatenation_equals_the_svd_of_standardised_columns():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(50, 3)) * [1, 10, 100] + 7, rng.normal(size=(50, 2))
    X = Modalities({"a": a, "b": b})
    Z = ConcatPCA(5).fit(X).transform(X)
    table = np.hstack(
        [(a - a.mean(0)) / a.std(0) / np.sqrt(3), (b - b.mean(0)) / b.std(0) / np.sqrt(2)]
    )
    U, s, _ = np.linalg.svd(table, full_matrices=False)
    # signs are free; double precision
    np.testing.assert_allclose(np.abs(Z), np.abs(U * s), atol=1e-10)
    assert ConcatPCA(5).fit(X).score(X) == pytest.approx(1)
    first = ConcatPCA(1).fit(X).score(X)
    assert first == pytest.approx(s[0] ** 2 / (s**2).sum())


def test_columns_that_follow_from_others_are_no_components():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 2))
    y = np.where(x[:, 0] > 0, "pos", "neg")
    a, b = (x @ rng.normal(size=(2, p)) + 0.3 * rng.normal(size=(400, p)) for p in (5, 4))
    kinds = np.eye(3)[rng.integers(0, 3, 400)]
    found = []
    for more in (b[:, :0], b.sum(1, keepdims=True), kinds):
        X = Modalities({"a": a, "b": np.hstack([b, more])})
        model = ConcatPCA().fit(X[:300])
        curve = noise_curve(model, X[:300], y[:300], X[300:], y[300:], levels=(0.0, 0.5))
        found.append((model.transform(X).shape[1], *curve.value))
    assert [width for width, _, _ in found] == [9, 9, 11]
    for _, clean, noisy in found:
        assert clean > 0.9 and noisy > 0.8


def test_absent_rows_are_the_mean_and_never_read():
    X, _ = data(80)
    gone = np.arange(80) % 4 == 0
    some = X.with_present({"image": ~gone})
    model = ConcatPCA(6).fit(some)
    other = Modalities(dict(X.items()), present={"image": ~gone})
    images = np.array(X["image"])
    images[gone] = 255
    other = Modalities({**dict(X.items()), "image": images}, present={"image": ~gone})
    np.testing.assert_allclose(
        ConcatPCA(6).fit(other).transform(other), model.transform(some), atol=1e-9
    )
    without = model.transform(X.select("noise", "text", "steps")[gone])
    np.testing.assert_allclose(model.transform(some)[gone], without, atol=1e-9)


def test_rows_are_coded_one_by_one_and_degenerate_data_is_survived():
    X, _ = data(40)
    model = ConcatPCA(3).fit(X)
    np.testing.assert_allclose(model.transform(X[7]), model.transform(X)[7:8], atol=1e-9)
    flat = Modalities({"a": np.ones((5, 2)), "t": ["same"] * 5})
    Z = ConcatPCA(3).fit(flat).transform(flat)
    assert Z.shape == (5, 3) and not Z.any()
    tiny = ConcatPCA(64).fit(X[:3]).transform(X)
    assert tiny.shape == (40, 2) and np.isfinite(tiny).all()


def test_models_are_saved_and_read(tmp_path):
    X, _ = data(30)
    model = ConcatPCA(3).fit(X)
    model.save(tmp_path / "m")
    assert (tmp_path / "m" / "manifest.json").exists()
    assert model.n_parameters > 0


def test_the_four_that_always_stand_beside():
    found = default_baselines(8, method=Linear())
    assert list(found) == [
        "chance",
        "shuffled pairs",
        "best single modality",
        "concatenation + PCA",
    ]
    for baseline in found.values():
        assert (
            clone(baseline).get_params(deep=False).keys() == baseline.get_params(deep=False).keys()
        )
