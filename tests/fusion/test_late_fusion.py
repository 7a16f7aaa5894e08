"""LateFusion: averages, products and stacking as they are defined, and honest scores."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from triptych import Modalities, Training, load
from triptych.errors import DataError, ParameterError
from triptych.fusion import LateFusion
from triptych.fusion._stacking import folds_of_rows, learn_stacker
from triptych.nn.recipes import MLP
from triptych.nn.targets import learn_target

TRAINING = Training(epochs=8, batch_size=40, learning_rate=2e-2, device="cpu")


def world(n=160, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, size=n)
    return {m: np.eye(3)[y] + s * rng.normal(size=(n, 3)) for m, s in (("a", 0.5), ("b", 1.0))}, y


def small(combination="average", **more):
    encoders = {m: MLP(width=8, depth=1) for m in "ab"}
    given = {"encoders": encoders, "width": 8, "training": TRAINING, "random_state": 0, **more}
    return LateFusion(combination, **given)


def apart(model, X):
    """Outputs (n, k) of each modality's own predictor."""
    return model._codes(Modalities(X), lambda b: model._apart(model.network_, b))


def softmax(v):
    e = np.exp(v - v.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.fixture(scope="module")
def data():
    return world()


def holed(X):
    rows = np.arange(len(X["a"]))
    return Modalities(X, present={"a": rows % 5 != 1, "b": rows % 5 != 2})


def test_the_average_is_that_of_probabilities(data):
    X, y = data
    model = small(weights={"a": 3.0}).fit(X, y)
    p = {m: softmax(v.astype(float)) for m, v in apart(model, X).items()}
    found = model.predict_proba(holed(X))
    for i in range(len(y)):
        w = {"a": 3.0 * (i % 5 != 1), "b": 1.0 * (i % 5 != 2)}
        expected = sum(w[m] * p[m][i] for m in "ab") / sum(w.values())
        np.testing.assert_allclose(found[i], expected, atol=1e-6)


def test_the_product_is_that_of_probabilities(data):
    X, y = data
    model = small("product", weights={"b": 0.5}).fit(X, y)
    p = {m: softmax(v.astype(float)) for m, v in apart(model, X).items()}
    found = model.predict_proba(holed(X))
    for i in range(len(y)):
        raw = np.ones(3)
        for m, w in (("a", 1.0 * (i % 5 != 1)), ("b", 0.5 * (i % 5 != 2))):
            raw *= p[m][i] ** w
        np.testing.assert_allclose(found[i], raw / raw.sum(), atol=1e-6)


@pytest.mark.parametrize("combination", ["average", "product"])
def test_labels_are_combined_one_by_one(data, combination):
    X, y = data
    labels = np.c_[y == 0, y == 1].astype(int)
    model = small(combination).fit(X, labels)
    p = [1 / (1 + np.exp(-v.astype(float))) for v in apart(model, X).values()]
    if combination == "average":
        expected = (p[0] + p[1]) / 2
    else:
        yes, no = p[0] * p[1], (1 - p[0]) * (1 - p[1])
        expected = yes / (yes + no)
    np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-6)


def test_numbers_are_averaged_or_weighted_by_precision(data):
    X, y = data
    numbers = 10 + 5.0 * y
    mean, product = (small(c).fit(X, numbers) for c in ("average", "product"))
    outputs = apart(mean, X)
    np.testing.assert_allclose(
        mean.predict(X), mean.target_.labels((outputs["a"] + outputs["b"]) / 2), rtol=1e-5
    )
    outputs = apart(product, X)
    precision = {m: 1 / v for m, v in product.variances_.items()}
    assert precision["a"] > precision["b"]  # b is the noisy one
    expected = sum(precision[m] * outputs[m] for m in "ab") / sum(precision.values())
    np.testing.assert_allclose(product.predict(X), product.target_.labels(expected), rtol=1e-5)


def test_predictors_learn_alone(data):
    """Unclipped, what one modality's predictor learns does not depend on what the other is."""
    X, y = data
    other = {"a": X["a"], "b": X["b"][::-1]}
    training = Training(epochs=3, batch_size=160, optimizer="sgd", gradient_clip=None)
    one, two = (apart(small(training=training).fit(d, y), d)["a"] for d in (X, other))
    np.testing.assert_allclose(one, two, atol=1e-6)


@pytest.mark.parametrize("combination", ["average", "product"])
@pytest.mark.parametrize("numbers", [False, True])
def test_weights_of_any_size_count_by_their_ratio(data, combination, numbers):
    X, y = data
    y = 5.0 * y if numbers else y
    training = Training(epochs=1, device="cpu")
    found = []
    for unit in (1.0, 1e-50, 1e-300):
        model = small(combination, weights={"a": unit, "b": 2 * unit}, training=training)
        found.append(model.fit(X, y).transform(holed(X)))
    if combination == "product" and not numbers:
        # Powers of 0 are 1: all classes are as likely.
        np.testing.assert_allclose(found[1:], -np.log(3), rtol=1e-6)
    else:
        np.testing.assert_allclose(found[1:], [found[0]] * 2, rtol=1e-4, atol=1e-6)  # float32


def test_a_row_that_has_only_what_counts_little_is_predicted_from_it(data):
    X, y = data
    model = small(weights={"a": 1e6, "b": 1e-300}, training=Training(epochs=1, device="cpu"))
    model.fit(X, y)
    np.testing.assert_allclose(
        model.predict_proba({"b": X["b"]}), softmax(apart(model, X)["b"]), rtol=1e-4
    )


# -- stacking ------------------------------------------------------------------------------


def test_a_stacker_is_the_optimum_that_scikit_learn_finds():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, size=90)
    scores = np.eye(3)[y] * [2, 1, 0.5] + rng.normal(size=(90, 3)) * [10, 1, 1]
    target = learn_target(y)
    stacker = learn_stacker(scores, target.numbers(y), target)
    scaled = (scores - scores.mean(0)) / scores.std(0)
    oracle = LogisticRegression(C=1.0, tol=1e-10, max_iter=2000).fit(scaled, y)
    found = torch.softmax(stacker.outputs(torch.from_numpy(scores)), 1).numpy()
    # Both stop when the gradient is small.
    np.testing.assert_allclose(found, oracle.predict_proba(scaled), atol=1e-5)
    numbers = scores[:, 0] + rng.normal(size=90)
    target = learn_target(numbers)
    stacker = learn_stacker(scores, target.numbers(numbers), target)
    # The squared error is a mean, half of it the usual one, so the ridge is half as well.
    oracle = Ridge(alpha=0.5).fit(scaled, target.numbers(numbers)[:, 0])
    found = stacker.outputs(torch.from_numpy(scores)).numpy()[:, 0]
    np.testing.assert_allclose(found, oracle.predict(scaled), atol=1e-5)


def test_scores_for_stacking_come_from_predictors_that_did_not_see_the_row():
    """Labels without any reason: by heart they are known, honestly they are not."""
    rng = np.random.default_rng(0)
    X = {m: rng.normal(size=(120, 20)) for m in "ab"}
    y = rng.integers(0, 2, size=120)
    training = Training(epochs=25, batch_size=40, learning_rate=2e-2, device="cpu")
    encoders = {m: MLP(width=32, depth=1) for m in "ab"}
    model = small("stacking", folds=3, training=training, encoders=encoders).fit(X, y)
    by_heart = softmax(apart(model, X)["a"]).argmax(1)
    assert (by_heart == y).mean() > 0.95
    honest = model._out_of_fold(Modalities(X), y, model.target_.numbers(y), None)
    # Chance, give or take four standard errors.
    assert abs((honest["a"].argmax(1) == y).mean() - 0.5) < 4 * 0.5 / np.sqrt(120)
    scores = [np.concatenate(list(v.values()), axis=1) for v in (honest, apart(model, X))]
    naive = learn_stacker(scores[1], y, model.target_)
    sure = [
        np.abs(torch.softmax(s.outputs(torch.from_numpy(v)), 1).numpy() - 0.5).mean()
        for s, v in ((model.stackers_["a:b"], scores[0]), (naive, scores[1]))
    ]
    assert sure[0] < 0.15 and sure[1] > 0.35


def test_stacking_weighs_each_set_of_modalities_by_itself(data, tmp_path):
    X, y = data
    model = small("stacking", folds=3).fit(holed(X), y)
    assert sorted(model.stackers_) == ["a", "a:b", "b"]
    outputs = apart(model, X)
    found = model.transform(holed(X))
    for name, i in (("a:b", 0), ("b", 1), ("a", 2)):
        scores = np.concatenate([outputs[m][i : i + 1] for m in name.split(":")], axis=1)
        expected = model.stackers_[name].outputs(torch.from_numpy(scores))[0].numpy()
        np.testing.assert_allclose(found[i], expected, atol=1e-5)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(again.transform(holed(X)), found)


def test_folds_share_every_class():
    y = np.repeat([0, 1, 2], [50, 9, 4])
    fold = folds_of_rows(y, learn_target(y), 4, seed=0)
    counts = np.array([[np.sum((fold == f) & (y == c)) for c in range(3)] for f in range(4)])
    assert (counts.max(0) - counts.min(0) <= 1).all() and counts.sum() == 63
    assert not np.array_equal(fold, folds_of_rows(y, learn_target(y), 4, seed=1))


def test_a_class_that_a_fold_lacks_is_no_error(data):
    X, _ = data
    y = np.array([0, 1] * 79 + [2, 0])  # one row alone has class 2
    model = small("stacking", folds=2, training=Training(epochs=1, device="cpu")).fit(X, y)
    assert model.predict_proba(X).shape == (160, 3)


# -- bad input -----------------------------------------------------------------------------


def test_rows_that_only_have_what_does_not_count_are_named(data):
    X, y = data
    model = small(weights={"b": 0.0}, training=Training(epochs=1, device="cpu")).fit(X, y)
    gaps = Modalities(X, present={"a": np.arange(160) != 7})
    with pytest.raises(DataError, match=r"row 7 has only modalities whose weight is 0: \['b'\]"):
        model.predict(gaps)
    with pytest.raises(DataError, match="row 7"):
        model.score(gaps, y)


def test_sets_of_modalities_never_seen_together_are_named(data):
    X, y = data
    rows = np.arange(160)
    never = Modalities(X, present={"a": rows % 2 == 0, "b": rows % 2 == 1})
    training = Training(epochs=1, device="cpu")
    model = small("stacking", folds=2, training=training).fit(never, y)
    assert model.predict(never).shape == (160,)
    with pytest.raises(DataError, match=r"row 0 has \['a', 'b'\], and no training row had them"):
        model.predict(X)


def test_modalities_too_rare_for_folds_are_named(data):
    X, y = data
    rare = Modalities(X, present={"b": np.arange(160) < 2})
    with pytest.raises(DataError, match="folds: modality 'b' is present in 2 of 160 rows"):
        small("stacking", folds=2, training=Training(epochs=1, device="cpu")).fit(rare, y)


def test_stacking_of_many_modalities_is_refused(data):
    X, y = data
    many = {f"m{i}": X["a"] for i in range(7)}
    with pytest.raises(ParameterError, match="stacking takes at most 6 modalities"):
        small("stacking", encoders=None).fit(many, y)


@pytest.mark.parametrize("weights", [[1, 2], np.ones(2), 3.0])
def test_weights_without_names_are_refused(data, weights):
    X, y = data
    with pytest.raises(ParameterError, match="weights: expected a dict by modality name"):
        small(weights=weights).fit(X, y)
