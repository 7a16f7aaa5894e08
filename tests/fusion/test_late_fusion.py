"""LateFusion: averages, products and stacking as they are defined, and honest scores."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge

from triptych import Modalities, Training, load
from triptych.errors import DataError, ParameterError
from triptych.fusion import ConcatFusion, LateFusion
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


# -- predictors apart ----------------------------------------------------------------------

WATCHED = Training(
    epochs=12,
    batch_size=16,
    learning_rate=5e-2,
    gradient_clip=0.1,
    patience=2,
    validation_share=0.3,
    device="cpu",
)


@pytest.mark.parametrize("numbers", [False, True])
def test_a_predictor_is_the_one_of_a_fit_on_its_modality_alone(data, numbers):
    """Clipped, stopped early and with dropout, bit by bit; the other modality may be anything."""
    X, y = data
    y = 5.0 * y if numbers else y
    given = {"training": WATCHED, "dropout": 0.2}
    both = small(**given).fit(X, y)
    for m in "ab":
        alone = small(**given, encoders={m: MLP(width=8, depth=1)}).fit({m: X[m]}, y)
        np.testing.assert_array_equal(apart(both, X)[m], apart(alone, {m: X[m]})[m])
        np.testing.assert_array_equal(both.predict({m: X[m]}), alone.predict({m: X[m]}))
        for part in ("train", "valid"):
            assert both.history_[part][m] == alone.history_[part]["loss"]
        assert both.best_epochs_[m] == alone.history_.best_epoch
    assert len(set(both.best_epochs_.values())) == 2  # each at its own best


def test_a_predictor_learns_from_the_rows_that_have_its_modality(data):
    X, y = data
    X = holed(X)
    both = small().fit(X, y)
    for m in "ab":
        rows = X.present[m]
        dense = {m: X[m][rows]}
        encoders = {m: MLP(width=8, depth=1)}
        for alone in (
            small(encoders=encoders).fit(dense, y[rows]),
            small(encoders=encoders).fit(X.select(m), y),
        ):
            # Moments are sums of the same numbers, in pieces of other sizes.
            np.testing.assert_allclose(
                apart(both, dense)[m], apart(alone, dense)[m], rtol=1e-5, atol=1e-6
            )


def test_the_history_is_the_mean_of_predictors_that_stop_when_they_stop(data):
    X, y = data
    found = small(training=WATCHED).fit(X, y).history_
    for part in ("train", "valid"):
        a, b = found[part]["a"], found[part]["b"]
        assert len(a) != len(b) and len(found[part]["loss"]) == max(len(a), len(b))
        for at, mean in enumerate(found[part]["loss"]):
            one, two = a[min(at, len(a) - 1)], b[min(at, len(b) - 1)]
            assert mean == pytest.approx((one + two) / 2)


def test_an_interrupted_fit_goes_on_with_the_predictor_it_was_at(data, tmp_path):
    X, y = data
    training = Training(
        epochs=3, batch_size=40, device="cpu", checkpoint=str(tmp_path / "c"), checkpoint_every_s=0
    )
    plain = small(training=Training(epochs=3, batch_size=40, device="cpu")).fit(X, y)
    seen = []

    class Stopping(LateFusion):
        def _terms(self, network, batch):
            if network.training:
                seen.append(batch.names)
            if seen.count(("b",)) == 5:
                raise KeyboardInterrupt
            return super()._terms(network, batch)

    given = {"encoders": {m: MLP(width=8, depth=1) for m in "ab"}, "width": 8, "random_state": 0}
    with pytest.raises(KeyboardInterrupt):
        Stopping(training=training, **given).fit(X, y)
    assert seen.count(("a",)) == 12
    seen[:] = [("b",)] * 10
    with pytest.raises(ParameterError, match="belongs to another fit"):
        Stopping("product", training=training, **given).fit(X, y)
    again = Stopping(training=training, **given).fit(X, y)
    assert seen[10:] == [("b",)] * 8  # four of its twelve steps were taken, and all of a's
    np.testing.assert_array_equal(again.transform(X), plain.transform(X))
    assert again.history_ == plain.history_


def test_a_checkpoint_of_another_method_is_left_alone(data, tmp_path):
    X, y = data
    training = Training(epochs=1, device="cpu", checkpoint=str(tmp_path / "c"))
    ConcatFusion(4, training=training, random_state=0).fit(X, y)
    with pytest.raises(ParameterError, match="belongs to another fit"):
        small(training=training).fit(X, y)


def test_modalities_too_rare_to_learn_from_or_to_watch_are_named(data):
    X, y = data
    rare = Modalities(X, present={"b": np.arange(160) == 3})
    with pytest.raises(DataError, match="modality 'b' is present in 1 of 160 rows"):
        small().fit(rare, y)
    few = Modalities(X, present={"b": np.arange(160) < 3})
    with pytest.raises(DataError, match="modality 'b': training__validation_share sets 2 of 3"):
        small(training=WATCHED).fit(few, y)
    blind = Modalities(X, present={"b": np.zeros(160, bool)})
    with pytest.raises(DataError, match="validation: modality 'b' is absent in all 160 rows"):
        small(training=Training(epochs=1, patience=1)).fit(X, y, validation=(blind, y))
    model = small(training=Training(epochs=2, device="cpu")).fit(X, y, validation=(blind, y))
    assert set(model.history_["valid"]) == {"loss", "a"} and model.best_epochs_["b"] is None


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
