"""SelfSupervisedMultiview: its loss written out, its parts, and what each term does."""

import math

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsRegressor

from triptych import Modalities, Training
from triptych.datasets import synthetic
from triptych.errors import CapabilityError, DataError, ParameterError
from triptych.fission import SelfSupervisedMultiview
from triptych.nn.recipes import MLP, VectorDecoder

SMALL = {m: MLP(width=32, depth=1) for m in "ab"}


def method(epochs=1, batch_size=128, **parameters):
    return SelfSupervisedMultiview(
        **{"n_components": 4, "n_private": 4, "width": 32, "encoders": SMALL, **parameters},
        decoders={m: VectorDecoder(width=32, depth=1) for m in "ab"},
        training=Training(epochs=epochs, batch_size=batch_size, learning_rate=3e-3, device="cpu"),
        random_state=0,
    )


@pytest.fixture(scope="module")
def sample():
    return synthetic.shared_private(1500, n_shared=2, n_private=2, random_state=0)


@pytest.fixture(scope="module")
def model(sample):
    return method(epochs=30, forward=0.3, n_components=6).fit(sample.X[:1000])


def standardised(model, name, values):
    return (values - model.inputs_[name].mean) / model.inputs_[name].scale


def plain_loss(model, X):
    """The docstring's formula with loops, from what the method gives for one modality alone."""
    z = {m: model.transform(X.select(m))["shared"].astype(np.float64) for m in X.names}
    made = {m: model.reconstruct(X.select(m)) for m in X.names}
    n, t = len(X), model.temperature
    s = np.array([[np.dot(z["a"][i], z["b"][j]) / t for j in range(n)] for i in range(n)])
    contrastive = -np.mean(
        [
            (s[i, i] - np.log(np.exp(s[i]).sum()) + s[i, i] - np.log(np.exp(s[:, i]).sum())) / 2
            for i in range(n)
        ]
    )
    forward = np.mean(
        [
            np.mean((standardised(model, b, made[a][b]) - standardised(model, b, X[b])) ** 2)
            for a, b in (("a", "b"), ("b", "a"))
        ]
    )
    inverse = np.mean([((z["a"][i] - z["b"][i]) ** 2).sum() for i in range(n)])
    return contrastive, forward, inverse


def test_the_loss_is_the_formula_written_plainly(sample):
    X = sample.X[:40]
    fitted = method(forward=0.7, inverse=0.3, contrastive=1.3).fit(X)
    contrastive, forward, inverse = plain_loss(fitted, X)
    wanted = 1.3 * contrastive + 0.7 * forward + 0.3 * inverse
    # Codes and products are float32.
    assert fitted.score(X) == pytest.approx(-wanted, rel=1e-4)


def test_history_holds_every_term_and_their_weighted_sum(model):
    t = model.history_["train"]
    for at in (0, -1):
        whole = t["contrastive"][at] + 0.3 * t["forward"][at] + 0.1 * t["inverse"][at]
        assert t["loss"][at] == pytest.approx(whole, rel=1e-5)
    bound, cap = np.array(t["information_lower_bound"]), np.array(t["information_cap"])
    assert (bound <= cap).all()
    assert cap.max() <= math.log(128) + 1e-6
    assert bound[-1] > bound[0] + 0.5
    assert t["residual_entropy"][-1] < t["residual_entropy"][0]


def test_shared_factors_are_in_the_shared_part_and_private_ones_beside_it(sample, model):
    Z = model.transform(sample.X)
    assert model.parts_ == ("shared", "a", "b") == Z.names
    np.testing.assert_allclose(np.linalg.norm(Z["shared"], axis=1), 1, rtol=1e-5)

    def told(codes, factors):
        probe = KNeighborsRegressor(10).fit(codes[:1000], factors[:1000])
        return probe.score(codes[1000:], factors[1000:])

    assert told(Z["shared"], sample.shared) > 0.8
    for name in sample.X.names:
        own, common = (told(Z[part], sample.private[name]) for part in (name, "shared"))
        assert own > 0.5
        assert common < 0.3


def test_private_parts_are_uncorrelated_with_the_modalitys_own_code(sample, model):
    X = sample.X[:1000]
    for name in X.names:
        parts = model.transform(X.select(name))
        code = (parts["shared"] - parts["shared"].mean(0)).astype(np.float64)
        own = parts[name].astype(np.float64)
        # Learnt on these rows, so the means are zero but for float32 sums.
        np.testing.assert_allclose(own.mean(0), 0, atol=1e-4 * np.abs(own).max())
        scale = np.outer(code.std(0), np.maximum(own.std(0), 1e-3 * own.std()))
        assert np.abs(code.T @ own / len(own) / scale).max() < 1e-2
        covariance = np.cov(own.T)
        np.testing.assert_allclose(
            covariance, np.diag(np.diag(covariance)), atol=1e-3 * covariance.max()
        )
        assert (np.diff(np.diag(covariance)) <= 1e-6).all()  # leading components first


def test_inverse_prediction_lowers_what_the_other_view_leaves_open(sample):
    X = sample.X[:600]
    loose, tight = (
        method(epochs=10, forward=0, inverse=weight).fit(X).history_["train"]
        for weight in (0.0, 10.0)
    )
    assert tight["residual_entropy"][-1] < loose["residual_entropy"][-1] - 0.5
    assert tight["inverse"][-1] < loose["inverse"][-1] / 2


def test_forward_prediction_alone_learns_too(sample):
    X, new = sample.X[:1000], sample.X[1000:]
    alone = method(epochs=15, contrastive=0, inverse=0, forward=1.0).fit(X)
    made = alone.reconstruct(new.select("a"))["b"]
    error = ((standardised(alone, "b", made) - standardised(alone, "b", new["b"])) ** 2).mean()
    # Half of the factors of a modality are its own, so about half can be predicted.
    assert error < 0.75


def test_rows_without_a_partner_weigh_nothing(sample):
    X = sample.X[:60]
    fitted = method().fit(X)
    there = np.arange(60) % 3 != 0
    holed = X.with_present({"b": there})
    assert fitted.score(holed) == pytest.approx(fitted.score(X[there]), rel=1e-5)
    Z = fitted.transform(holed)
    alone = fitted.transform(X[~there].select("a"))
    np.testing.assert_allclose(Z["shared"][~there], alone["shared"], atol=1e-6)
    assert not Z.present["b"][~there].any()


def test_rows_that_never_meet_a_partner_are_refused(sample):
    first = np.arange(60) < 30
    X = sample.X[:60]
    apart = X.with_present({"a": first, "b": ~first})
    once = X.with_present({"a": first, "b": ~first | (np.arange(60) == 7)})
    with pytest.raises(DataError, match=r"fit: Self.* needs 2 or more .* both of 'a' and 'b': 0"):
        method().fit(apart)
    with pytest.raises(DataError, match=r"fit: .* both of 'a' and 'b': 1\."):
        method().fit(once)
    with pytest.raises(DataError, match=r"validation: .* both of 'a' and 'b': 0"):
        method().fit(X, validation=apart)
    fitted = method().fit(X)
    with pytest.raises(DataError, match=r"score: .* both of 'a' and 'b': 0"):
        fitted.score(apart)
    with pytest.raises(DataError, match=r"score: .* both of 'a' and 'b': 1"):
        fitted.score(X[:1])


def test_batches_are_of_rows_with_a_partner(sample):
    X = sample.X[:80]
    few = np.arange(80) % 5 == 0
    holed = X.with_present({"b": few})
    fitted = method(batch_size=4, inverse=0, forward=0).fit(holed, validation=holed)
    # Sixteen pairs in batches of four: the bound's cap is log 4 in each of them.
    for part in ("train", "valid"):
        cap = fitted.history_[part]["information_cap"]
        np.testing.assert_allclose(cap, math.log(4), rtol=1e-6)
    assert fitted.score(holed) == pytest.approx(fitted.score(X[few]), rel=1e-5)
    # What needs no partner is learnt from every row.
    np.testing.assert_allclose(fitted.inputs_["a"].mean, X["a"].mean(0), atol=1e-5)


def test_three_modalities_never_make_a_batch_without_a_pair(sample):
    base = sample.X[:42]
    X = Modalities({"a": base["a"], "b": base["b"], "c": base["a"][:, ::-1]})
    kind = np.arange(42) % 3  # rows have a b, a c or b c
    holed = X.with_present({"a": kind != 2, "b": kind != 1, "c": kind != 0})
    more = {"encoders": {m: MLP(width=32, depth=1) for m in "abc"}, "forward": 0, "inverse": 0}
    with pytest.raises(ParameterError, match=r"batch_size: .* batches of 4 rows .* got 3"):
        method(batch_size=3, **more).fit(holed)
    fitted = method(batch_size=4, **more).fit(holed)  # ten batches, two rows left out
    assert fitted.history_["train"]["information_cap"][0] >= math.log(2) - 1e-6
    assert fitted.history_["train"]["contrastive"][0] > 0.2
    # Of complete rows every batch has all pairs, however small it is.
    pairs = method(batch_size=2, **more).fit(X)
    each = [pairs.score(X[i : i + 2]) for i in range(0, 42, 2)]
    assert pairs.score(X) == pytest.approx(np.mean(each), rel=1e-5)


def test_identical_rows_give_finite_losses(sample):
    X = sample.X[np.zeros(40, dtype=int)]
    fitted = method(epochs=2, batch_size=20, inverse=1.0).fit(X)
    t = fitted.history_["train"]
    # Nothing tells rows apart: all are partners of all, and log n is what choosing costs.
    assert t["contrastive"][0] == pytest.approx(math.log(20), abs=1e-3)
    assert all(np.isfinite(values).all() for values in t.values())
    assert np.isfinite(fitted.transform(X)["a"]).all()


def test_what_cannot_be_learnt_is_refused(sample):
    X = sample.X[:40]
    with pytest.raises(ParameterError, match=r"contrastive, forward: .* constant"):
        method(contrastive=0, forward=0, inverse=1).fit(X)
    with pytest.raises(ParameterError, match=r"n_private: .* at most 32; got 33"):
        method(n_private=33).fit(X)
    with pytest.raises(ParameterError, match="temperature: expected a number > 0"):
        method(temperature=0).fit(X)
    with pytest.raises(DataError, match="at least 2 modalities"):
        method().fit(X.select("a"))
    with pytest.raises(CapabilityError, match="forward=0"):
        method(forward=0).fit(X).reconstruct(X)
