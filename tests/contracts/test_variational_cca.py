"""VCCA: the posterior of one modality, its bound in closed form, and the private variant."""

import math

import numpy as np
import pytest
import torch

from triptych import Modalities, Training
from triptych.catalog import load
from triptych.errors import CapabilityError, DataError, NotFittedError, ParameterError
from triptych.evaluation import noise_grid
from triptych.fission import VCCAPrivate
from triptych.fusion import VCCA
from triptych.losses import gaussian_kl
from triptych.nn.recipes import MLP, VectorDecoder
from triptych.training.batches import Rows

QUICK = Training(epochs=25, batch_size=25, learning_rate=1e-2, device="cpu")


def views(n=250, seed=0):
    """A shared code of two, and one private number in each modality."""
    rng = np.random.default_rng(seed)
    z, own = rng.normal(size=(n, 2)), rng.normal(size=(n, 2))
    mix = np.random.default_rng(9)
    X = {
        m: np.column_stack([z, own[:, i]]) @ mix.normal(size=(3, p)) * scale
        for i, (m, p, scale) in enumerate((("a", 6, 1.0), ("b", 5, 20.0)))
    }
    return X, z, own


def small(cls=VCCA, depth=1, **kwargs):
    return cls(
        2,
        **{
            "encoders": {m: MLP(width=24, depth=depth) for m in "ab"},
            "decoders": {m: VectorDecoder(width=24, depth=depth) for m in "ab"},
            "training": QUICK,
            "random_state": 0,
            **kwargs,
        },
    )


def r2(Z, F, Z_new, F_new):
    Z, Z_new = (np.column_stack([z, np.ones(len(z))]) for z in (Z, Z_new))
    left = F_new - Z_new @ np.linalg.lstsq(Z, F, rcond=None)[0]
    return 1 - (left**2).sum() / ((F_new - F_new.mean(axis=0)) ** 2).sum()


def test_with_one_source_the_other_modality_is_never_read():
    X, _, _ = views()
    model = small(sources=["a"], training=Training(epochs=1, device="cpu")).fit(X)
    assert model.network_.encoders.names == ("a",)
    both = model.transform(X)
    np.testing.assert_array_equal(both, model.transform({**X, "b": X["b"] * 2 + 1}))
    np.testing.assert_array_equal(both, model.transform({"a": X["a"]}))
    with pytest.raises(CapabilityError, match=r"reads its code from \['a'\]; row 0 has none"):
        model.transform({"b": X["b"]})
    gaps = Modalities(X, present={"a": np.arange(250) != 3})
    with pytest.raises(CapabilityError, match="row 3 has none of them"):
        model.transform(gaps)
    assert small(sources=["a"], training=Training(epochs=1, device="cpu")).fit(gaps).names_in_


def test_the_bound_in_closed_form(torch_draws):
    # With linear decoders E log p(x|z) over a normal z is known:
    # -|x - W mu - b|² / 2s² - tr(W Σ W^T) / 2s² - p log(s sqrt(2 pi)).
    X, _, _ = views(20)
    model = small(depth=0, noise=0.7, beta=0.5, weights={"b": 2.0}, sources=["a"]).fit(X)
    net = model.network_
    batch = Rows(Modalities(X), model.inputs_).take(np.arange(20))
    with torch.no_grad():
        found = np.array([float(model._terms(net, batch)["loss"]) for _ in range(400)])
        mean, log_variance = model._normal(net.encoders["a"](batch.values["a"]))
        wanted = 0.5 * gaussian_kl(mean, log_variance).mean()
        for m, weight in (("a", 1.0), ("b", 2.0)):
            line = net.decoders[m].decoder.layers.layers[0]
            left = (batch.values[m] - line(mean)).square().sum(1)
            spread = (line.weight.square() @ log_variance.exp().T).sum(0)
            constant = len(line.bias) * math.log(0.7 * math.sqrt(2 * math.pi))
            wanted = wanted + weight * ((left + spread) / (2 * 0.49) + constant).mean()
    # Four standard errors of the mean of 400 draws.
    assert abs(found.mean() - float(wanted)) < 4 * found.std() / 20


def test_dropout_of_samples_is_for_training_alone(torch_draws):
    X, _, _ = views(20)
    model = small(depth=0, noise=1.0, dropout=0.5).fit(X)
    batch = Rows(Modalities(X), model.inputs_).take(np.arange(20))
    net = model.network_

    def spread():
        with torch.no_grad():
            return np.std([float(model._terms(net, batch)["a"]) for _ in range(60)])

    quiet = spread()
    net.train()
    assert spread() > 1.2 * quiet
    net.eval()


def test_the_shared_code_is_found_from_either_modality():
    X, z, _ = views()
    new, z_new, _ = views(seed=1)
    model = small(noise=0.3).fit(X)
    for m in "ab":
        assert r2(model.transform({m: X[m]}), z, model.transform({m: new[m]}), z_new) > 0.6
    alone = small(noise=0.3, sources=["a"]).fit(X)
    assert r2(alone.transform(X), z, alone.transform(new), z_new) > 0.6


def test_samples_of_both():
    X, _, _ = views(60)
    for cls in (VCCA, VCCAPrivate):
        model = small(cls, training=Training(epochs=1, device="cpu")).fit(X)
        assert model.sample(5)["b"].shape == (5, 5)
        drawn = model.sample(3, {"a": X["a"][:4]})
        assert len(drawn) == 12
        assert len(np.unique(drawn["b"][:, 0])) == 12


def test_samples_of_given_rows_are_decoded_some_at_a_time(monkeypatch):
    X, _, _ = views(10)
    model = small(training=Training(epochs=1, device="cpu")).fit(X)
    whole = model.sample(5, {"a": X["a"]})
    sizes = []
    generate = type(model.network_.decoders["b"]).generate

    def watched(self, code):
        sizes.append(len(code))
        return generate(self, code)

    monkeypatch.setattr(type(model.network_.decoders["b"]), "generate", watched)
    monkeypatch.setattr("triptych.contracts.variational.CODE_ROWS", 20)
    some = model.sample(5, {"a": X["a"]})
    assert max(sizes) == 20
    # Float32 products of 20 and of 50 rows may be summed in another order.
    np.testing.assert_allclose(some["b"], whole["b"], rtol=1e-4, atol=1e-4)


def test_what_cannot_be_used_is_named():
    X, _, _ = views(20)
    for bad, message in (
        ({"sources": "a"}, "sources: expected names of modalities"),
        ({"sources": ["z"]}, r"sources: \['z'\] are no modalities"),
        ({"dropout": 1.0}, "dropout: expected a number >= 0 and <= 0.99"),
    ):
        with pytest.raises(ParameterError, match=message):
            small(**bad).fit(X)
    for bad, message in (
        ({"n_private": 0}, "n_private"),
        ({"private_beta": -1.0}, "private_beta: expected a number >= 0"),
        ({"private_beta": {"a": "much"}}, "private_beta__a: expected a number"),
        ({"private_beta": {"z": 2.0}}, r"private_beta: \['z'\] are no modalities"),
        ({"private_beta": None}, "private_beta: expected a number"),
    ):
        with pytest.raises(ParameterError, match=message):
            small(VCCAPrivate, **bad).fit(X)


def small_private(**kwargs):
    return small(VCCAPrivate, **kwargs)


def test_private_codes_hold_what_only_one_modality_has():
    X, z, own = views(400)
    new, z_new, own_new = views(seed=1)
    model = small_private(n_private=1, noise=0.3, dropout=0.1).fit(X)
    Z, Z_new = model.transform(X), model.transform(new)
    assert model.parts_ == Z.names == ("shared", "a", "b")
    assert r2(Z["shared"], z, Z_new["shared"], z_new) > 0.6
    for i, m in enumerate("ab"):
        told = r2(Z[m], own[:, [i]], Z_new[m], own_new[:, [i]])
        assert told > 0.4
        assert told > r2(Z["shared"], own[:, [i]], Z_new["shared"], own_new[:, [i]]) + 0.2


def test_the_private_loss_has_a_divergence_for_each_code():
    X, _, _ = views(60)
    model = small_private(n_private=2, training=Training(epochs=1, device="cpu")).fit(X)
    t = model.history_["train"]
    parts = t["a"][0] + t["b"][0] + t["kl"][0] + t["kl:a"][0] + t["kl:b"][0]
    assert t["loss"][0] == pytest.approx(parts, rel=1e-5)
    model.set_params(beta=0.0).fit(X)
    t = model.history_["train"]
    assert t["loss"][0] == pytest.approx(t["a"][0] + t["b"][0], rel=1e-5)


@pytest.mark.parametrize(("given", "a", "b"), [(3.0, 3, 3), ({"b": 0.5}, 1, 0.5)])
def test_divergences_of_private_codes_weigh_what_is_asked(given, a, b):
    X, _, _ = views(60)
    model = small_private(
        n_private=2, beta=2.0, private_beta=given, training=Training(epochs=1, device="cpu")
    )
    t = {k: v[0] for k, v in model.fit(X).history_["train"].items()}
    wanted = t["a"] + t["b"] + 2 * (t["kl"] + a * t["kl:a"] + b * t["kl:b"])
    assert t["loss"] == pytest.approx(wanted, rel=1e-5)


def test_a_dear_private_code_is_used_less_and_z_more():
    X, _, _ = views(400)
    cheap, dear = (small_private(noise=0.3, private_beta={"b": g}).fit(X) for g in (0.1, 10.0))
    last = [{k: v[-1] for k, v in model.history_["train"].items()} for model in (cheap, dear)]
    assert last[1]["kl:b"] < 0.5 * last[0]["kl:b"]
    assert last[1]["kl"] > last[0]["kl"]


def test_likelihood_of_the_linear_model_with_private_codes():
    # x_m = W_m [z, h_m] + b_m + noise, so all of x is normal.
    X, _, _ = views(30)
    model = small_private(depth=0, n_private=1, noise=0.8, dropout=0.0).fit(X)
    C, b, x, volume = np.zeros((11, 11)), [], [], 0.0
    blocks = {"a": slice(0, 6), "b": slice(6, 11)}
    W = {}
    for m, at in blocks.items():
        line = model.network_.decoders[m].decoder.layers.layers[0]
        W[m] = line.weight.detach().numpy().astype(float)
        b.append(line.bias.detach().numpy())
        reader = model.inputs_[m]
        x.append((X[m] - reader.mean) / reader.scale)
        volume += np.log(reader.scale.astype(float)).sum()
        C[at, at] += W[m][:, 2:] @ W[m][:, 2:].T
    shared = np.concatenate([W[m][:, :2] for m in blocks])
    C += shared @ shared.T + 0.64 * np.eye(11)
    away = np.concatenate(x, 1) - np.concatenate(b)
    wanted = -0.5 * np.einsum("np,pq,nq->n", away, np.linalg.inv(C), away)
    wanted -= 0.5 * np.linalg.slogdet(2 * np.pi * C)[1] + volume
    found = model.log_likelihood(X, n_samples=3000)
    # Weights of 3,000 codes vary by some per cent, more in rows far out.
    assert np.abs(found - wanted).mean() < 0.3


@pytest.mark.parametrize("make", [small, small_private])
def test_rows_without_a_source_weigh_nothing_in_losses_and_are_not_coded(make, torch_draws):
    X, _, _ = views(40)
    gaps = Modalities(X, present={"a": np.arange(40) % 3 != 0})
    quick = Training(epochs=2, batch_size=8, validation_share=0.25, device="cpu")
    model = make(sources=["a"], training=quick).fit(gaps)
    assert np.isfinite(model.history_["valid"]["loss"]).all()
    whole = Modalities({m: v[np.arange(40) % 3 != 0] for m, v in X.items()})
    assert model.score(gaps) == model.score(whole)
    batch = Rows(gaps, model.inputs_).take(np.arange(0, 40, 3))  # none has a source
    with torch.no_grad():
        assert float(model._terms(model.network_.train(), batch)["loss"]) == 0
    model.network_.eval()
    with pytest.raises(DataError, match=r"score: no row has any of \['a'\]"):
        model.score(Modalities(X, present={"a": np.zeros(40, dtype=bool)}))
    with pytest.raises(DataError, match=r"validation: no row has any of \['a'\]"):
        make(sources=["a"]).fit(
            X,
            validation=Modalities(
                {"a": X["a"], "b": X["b"]}, present={"a": np.zeros(40, dtype=bool)}
            ),
        )
    for ask in (model.transform, model.reconstruct, model.log_likelihood):
        with pytest.raises(CapabilityError, match=r"reads its code from \['a'\]; row 0 has none"):
            ask(gaps)


def test_before_fit_nothing_can_be_asked():
    X, _, _ = views(20)
    y = np.arange(20) % 2
    with pytest.raises(NotFittedError, match="this VCCA is not fitted yet"):
        noise_grid(VCCA(2), X, y, {"a": (math.inf, 0.0)}, train=X, y_train=y)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"sources": 3}, "sources: expected names"),
        ({"sources": "a"}, "sources: expected names"),
        ({"weights": None}, "weights: expected"),
        ({"weights": [1, 2]}, "weights: expected"),
        ({"weights": np.array([1, 2])}, "weights: expected"),
        ({"beta": np.inf}, "beta: expected a finite number >= 0, got inf"),
        ({"beta": 10**400}, "beta: expected a finite number >= 0, got inf"),
        ({"likelihoods": "gaussian"}, "likelihoods: expected a dict"),
    ],
)
def test_parameters_of_the_wrong_type_are_named(wrong, words):
    with pytest.raises(ParameterError, match=words):
        small(**wrong).fit(views(20)[0])


@pytest.mark.parametrize("cls", [VCCA, VCCAPrivate])
def test_noise_of_each_value_is_learnt_from_the_code(cls, tmp_path):
    # The first modality says how loud the second is, row by row.
    rng = np.random.default_rng(4)
    loud = rng.choice([0.1, 2.0], 600)
    X = {"a": np.column_stack([loud, loud]), "b": rng.normal(size=(600, 3)) * loud[:, None]}
    more = Training(epochs=40, batch_size=50, learning_rate=1e-2, device="cpu")
    private = {"n_private": 1} if cls is VCCAPrivate else {}
    models = {
        noise: small(cls, sources=["a"], noise=noise, training=more, **private).fit(X)
        for noise in ("values", None)
    }
    model = models["values"]
    assert model.reconstruct({"a": X["a"]})["b"].shape == (600, 3)
    assert model.sample(4)["b"].shape == (4, 3)
    found = {noise: one.log_likelihood(X).mean() for noise, one in models.items()}
    # One size for all rows costs 3 (log rms(0.1, 2) - log sqrt(0.1 * 2)) = 3.5 nats of b alone.
    assert found["values"] > found[None] + 2.5
    model.save(tmp_path / "m")
    again = load(tmp_path / "m")
    for m, rebuilt in again.reconstruct(X).items():
        np.testing.assert_array_equal(rebuilt, model.reconstruct(X)[m])
    with pytest.raises(ParameterError, match=r"noise: .* > 0, 'values' or None; got 'value'"):
        small(cls, noise="value").fit(X)
