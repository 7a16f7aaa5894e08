"""MultimodalVAE: bounds against closed forms, posteriors of subsets, generation in units."""

import math

import numpy as np
import pytest
import torch

from triptych import Modalities, Training
from triptych.errors import DataError, ModalityError, ParameterError
from triptych.fusion import MultimodalVAE
from triptych.fusion._subsets import all_subsets, drawn_subsets
from triptych.losses import gaussian_kl, product_of_experts
from triptych.losses.variational import log_normal, log_standard
from triptych.nn.recipes import (
    MLP,
    ConvNet,
    ImageDecoder,
    TextDecoder,
    TextEncoder,
    VectorDecoder,
)
from triptych.training.batches import Rows

QUICK = {"training": Training(epochs=20, batch_size=25, learning_rate=1e-2, device="cpu")}
EXPERTS = ("product", "mixture", "mixture_of_products")


def views(n=200, names="ab", seed=0):
    z = np.random.default_rng(seed).normal(size=(n, 2))
    mix = np.random.default_rng(9)
    return {
        m: z @ mix.normal(size=(2, p)) * s
        for m, p, s in zip("abc", (6, 4, 3), (1.0, 50.0, 0.1), strict=True)
        if m in names
    }


def small(names="ab", epochs=1, depth=1, **kwargs):
    given = {
        "encoders": {m: MLP(width=24, depth=depth) for m in names},
        "decoders": {m: VectorDecoder(width=24, depth=depth) for m in names},
        "training": Training(epochs=epochs, batch_size=50, learning_rate=5e-3, device="cpu"),
        "random_state": 0,
        **kwargs,
    }
    return MultimodalVAE(2, **given)


def whole(model, X):
    return Rows(Modalities(X), model.inputs_).take(np.arange(len(next(iter(X.values())))))


@pytest.fixture
def without_noise(monkeypatch):
    """Draws that are the means, so that a bound can be written out."""
    import triptych.contracts.variational as shared
    import triptych.fusion.multimodal_vae as module

    def mean_of(mean, log_variance, samples=None):
        return mean if samples is None else mean.expand(samples, *mean.shape)

    monkeypatch.setattr(module, "drawn", mean_of)
    monkeypatch.setattr(shared, "drawn", mean_of)


def test_the_product_loss_written_out(without_noise, torch_draws):
    X = views(7)
    gaps = {"a": np.arange(7) != 1, "b": np.arange(7) != 4}
    model = small(noise=0.5, beta=0.7, cross=0.3, weights={"a": 2.0}).fit(Modalities(X))
    net = model.network_
    batch = Rows(Modalities(X, present=gaps), model.inputs_).take(np.arange(7))
    with torch.no_grad():
        terms = model._terms(net, batch)
        laws = {m: model._normal(net.encoders[m](batch.values[m])) for m in "ab"}
        loss, weights = 0.0, {"a": 2.0, "b": 1.0}

        def nll(m, z, i):
            out = net.decoders[m].decoder(z[None])[0]
            away = (batch.values[m][i] - out) / 0.5
            return float((0.5 * away**2 + math.log(0.5) + 0.5 * math.log(2 * math.pi)).sum())

        for i in range(7):
            there = [m for m in "ab" if gaps[m][i]]
            for members, targets, scale in (
                (there, there, 1.0),
                *(((m,), (m,), 1.0) for m in there),
            ):
                tau = 1 + sum(torch.exp(-laws[m][1][i]) for m in members)
                mu = sum(torch.exp(-laws[m][1][i]) * laws[m][0][i] for m in members) / tau
                loss += scale * sum(weights[t] * nll(t, mu, i) for t in targets) / 7
                loss += 0.7 * float(gaussian_kl(mu, -tau.log())) / 7
            for m in there:
                for other in (t for t in there if t != m):
                    tau = 1 + torch.exp(-laws[m][1][i])
                    mu = torch.exp(-laws[m][1][i]) * laws[m][0][i] / tau
                    loss += 0.3 * weights[other] * nll(other, mu, i) / 7
    # Some hundred float32 terms.
    assert float(terms["loss"]) == pytest.approx(loss, rel=1e-4)
    assert set(terms) == {"loss", "a", "b", "kl", "a>a", "b>b", "a>b", "b>a"}


def test_the_mixture_loss_is_its_bound_written_out(without_noise, torch_draws):
    X = views(5)
    model = small(experts="mixture", noise=1.0, weights="equal", n_samples=3).fit(X)
    net, batch = model.network_, whole(model, X)
    with torch.no_grad():
        found = float(model._terms(net, batch)["loss"])
        laws = [model._normal(net.encoders[m](batch.values[m])) for m in "ab"]
        bound = 0.0
        for mean, _ in laws:
            log_w = log_standard(mean) - torch.log(
                sum(log_normal(mean, *law).exp() for law in laws) / 2
            )
            for m in "ab":
                log_w = log_w + net.decoders[m].log_prob(mean, batch.values[m])
            # Three draws that are all the mean: their mean weight is that of one.
            bound += float(log_w.mean()) / 2
    assert found == pytest.approx(-bound, rel=1e-5)


def test_more_codes_give_a_tighter_bound(torch_draws):
    X = views(60)
    model = small(experts="mixture", noise=0.5, epochs=3).fit(X)
    batch, losses = whole(model, X), {}
    with torch.no_grad():
        for k in (1, 4, 32):
            model.n_samples = k
            each = [float(model._terms(model.network_, batch)["loss"]) for _ in range(20)]
            losses[k] = np.mean(each)
    assert losses[1] > losses[4] > losses[32]


def test_subsets_of_the_mixture_of_products(torch_draws):
    X = views(4, "abc")
    gaps = {"b": np.array([True, False, True, True]), "c": np.array([True, False, True, False])}
    model = small("abc", experts="mixture_of_products").fit(views(60, "abc"))
    batch = Rows(Modalities(X, present=gaps), model.inputs_).take(np.arange(4))
    with torch.no_grad():
        found = model._posterior(model.network_, batch)
        mean, log_variance, present = model._laws(model.network_, batch)
        terms = model._terms(model.network_, batch)
    np.testing.assert_array_equal((found.weights > 0).sum(0), [7, 1, 7, 3])
    np.testing.assert_allclose(found.weights.sum(0), 1, rtol=1e-6)
    kl = np.zeros(4)
    for s, members in enumerate(all_subsets(3)):
        joint = product_of_experts(mean[members], log_variance[members], present[members])
        rows = found.weights[s] > 0
        torch.testing.assert_close(found.mean[s][rows], joint[0][rows])
        kl += np.where(rows, gaussian_kl(*joint).numpy(), 0) / [7, 1, 7, 3]
    assert float(terms["kl"]) == pytest.approx(kl.mean(), rel=1e-4)


@pytest.mark.parametrize("experts", EXPERTS)
def test_a_row_with_nothing_has_the_prior_for_its_posterior(experts, torch_draws):
    X = Modalities(views(3), present={m: np.array([True, True, False]) for m in "ab"})
    model = small(experts=experts).fit(views(60))
    batch = Rows(X, model.inputs_).take(np.arange(3))
    with torch.no_grad():
        posterior = model._posterior(model.network_, batch)
    at = posterior.weights[:, 2].argmax()
    np.testing.assert_allclose(posterior.weights[:, 2].sum(), 1)
    np.testing.assert_array_equal(posterior.mean[at, 2], 0)
    np.testing.assert_array_equal(posterior.log_variance[at, 2], 0)


def test_one_modality_may_be_given_by_its_name():
    names = {"a": "sound", "b": "image"}
    X = {names[m]: values for m, values in views(20).items()}
    model = MultimodalVAE(2, training=Training(epochs=1, device="cpu"), random_state=0).fit(X)
    by_name, by_tuple = (model.log_likelihood(X, given=g) for g in ("sound", ("sound",)))
    np.testing.assert_array_equal(by_name, by_tuple)


def test_subsets_are_even_among_what_is_there(torch_draws):
    present = torch.ones(8000, 3, dtype=torch.bool)
    present[4000:, 1] = False
    present[:2] = False
    chosen = drawn_subsets(present)
    assert not (chosen & ~present).any()
    assert not chosen[:2].any()
    code = (chosen.long() * torch.tensor([1, 2, 4])).sum(1)
    # Four standard errors.
    first = torch.bincount(code[2:4000], minlength=8)[1:].double() / 3998
    assert (first - 1 / 7).abs().max() < 4 * math.sqrt(1 / 7 / 4000)
    rest = torch.bincount(code[4000:], minlength=8).double() / 4000
    assert (rest[[1, 4, 5]] - 1 / 3).abs().max() < 4 * math.sqrt(2 / 9 / 4000)


@pytest.mark.parametrize("experts", EXPERTS)
def test_log_likelihood_is_that_of_the_linear_normal_model(experts):
    # With linear decoders x ~ N(b, W W^T + s²), which nobody needs to sample.
    X = views(40)
    model = small(depth=0, experts=experts, noise=0.8, epochs=40).fit(X)
    wanted = 0.0
    W, b, units = [], [], []
    for m in "ab":
        line = model.network_.decoders[m].decoder.layers.layers[0]
        W.append(line.weight.detach().numpy().astype(float))
        b.append(line.bias.detach().numpy().astype(float))
        units.append(model.inputs_[m])
    W, b = np.concatenate(W), np.concatenate(b)
    scale = np.concatenate([u.scale for u in units]).astype(float)
    x = np.concatenate([(X[m] - u.mean) / u.scale for m, u in zip("ab", units, strict=True)], 1)
    C = W @ W.T + 0.64 * np.eye(len(W))
    away = x - b
    wanted = (
        -0.5
        * (
            np.einsum("np,pq,nq->n", away, np.linalg.inv(C), away)
            + np.linalg.slogdet(2 * np.pi * C)[1]
        )
        - np.log(scale).sum()
    )
    found = model.log_likelihood(X, n_samples=2000)
    # The bound is below in expectation; weights of 2,000 codes vary by some per cent.
    assert np.abs(found - wanted).mean() < 0.2
    assert found.mean() < wanted.mean() + 0.05
    one = model.log_likelihood(X, n_samples=1).mean()
    assert one < found.mean()
    other = model.log_likelihood(X, given=("a",), n_samples=2000)
    assert np.abs(other - wanted).mean() < 1.0


def test_log_likelihood_with_noise_of_each_value_is_the_integral_over_the_code():
    X = Modalities(
        {m: v[:, :2] for m, v in views(15).items()}, present={"a": np.arange(15) % 4 > 0}
    )
    likelihoods = {"b": "laplace"}
    model = small(noise="values", likelihoods=likelihoods, epochs=20)
    model = model.set_params(n_components=1).fit(X)
    batch = Rows(X, model.inputs_).take(np.arange(15))
    z = torch.linspace(-8, 8, 4001)[:, None]
    log_p = log_standard(z)[:, None].expand(-1, 15)
    for m, law in (("a", torch.distributions.Normal), ("b", torch.distributions.Laplace)):
        with torch.no_grad():
            mean, size = model.network_.decoders[m].decoder(z).chunk(2, 1)
        noise = torch.exp(3 * torch.tanh(size / 3))
        each = law(mean[:, None], noise[:, None]).log_prob(batch.values[m][None])  # (k, n, p)
        found = (each - torch.from_numpy(model.inputs_[m].scale).log()).sum(-1)
        log_p = log_p + torch.where(batch.present[m], found, 0.0)
    wanted = torch.logsumexp(log_p.double(), 0) + math.log(16 / 4000)
    # 4,000 weights vary by some hundredths in the rows farthest out.
    np.testing.assert_allclose(model.log_likelihood(X, n_samples=4000), wanted, atol=0.1)


@pytest.mark.parametrize("experts", EXPERTS)
def test_what_is_absent_is_generated_in_its_units(experts):
    model = small(experts=experts, noise=0.3, cross=1.0, **QUICK).fit(views(250))
    new = views(100, seed=1)
    for given, absent in (("a", "b"), ("b", "a")):
        rebuilt = model.reconstruct({given: new[given]})[absent]
        error = ((rebuilt - new[absent]) ** 2).sum()
        assert 1 - error / (new[absent] ** 2).sum() > 0.8
    masked = Modalities(new, present={"b": np.zeros(100, bool)})
    np.testing.assert_allclose(
        model.transform(masked), model.transform({"a": new["a"]}), atol=1e-5
    )


def test_samples_come_from_the_prior_or_from_what_is_given():
    model = small(noise=0.2, **QUICK).fit(views(250))
    free = model.sample(500, random_state=1)
    assert free["a"].shape == (500, 6)
    assert free.names == ("a", "b")
    # The prior's samples spread as the data do.
    ratio = free["b"].std(0) / views(300)["b"].std(0)
    assert 0.5 < ratio.min() < ratio.max() < 1.5
    new = views(3, seed=2)
    drawn = model.sample(50, {"a": new["a"]}, random_state=1)
    assert len(drawn) == 150
    means = drawn["b"].reshape(3, 50, 4).mean(1)
    assert np.abs(means - new["b"]).max() < 0.5 * np.abs(new["b"]).max()
    again = model.sample(50, {"a": new["a"]}, random_state=1)
    np.testing.assert_array_equal(drawn["b"], again["b"])


def test_the_divergence_warms_up_and_is_whole_when_judged():
    model = small(warmup=0.5, epochs=2).fit(views(100))
    net = model.network_
    assert int(net.steps) == 4
    net.steps.fill_(0)
    assert model._beta(net) == 1.0  # in evaluation
    net.train()
    assert model._beta(net) == 0.0
    net.steps.fill_(1)
    assert model._beta(net) == pytest.approx(0.5)
    net.eval()


def test_weights_by_entries():
    model = small().fit(views(30))
    assert model._weights == {"a": 1.0, "b": 1.5}
    assert small(weights="equal").fit(views(30))._weights == {"a": 1.0, "b": 1.0}
    assert small(weights={"b": 3.0}).fit(views(30))._weights == {"a": 1.0, "b": 3.0}


def test_an_exploding_log_variance_is_held(torch_draws):
    X = views(20)
    model = small().fit(X)
    with torch.no_grad():
        for m in "ab":
            head = model.network_.encoders[m].module.layers[-1]
            head.weight[2:] *= 1e12
        posterior = model._posterior(model.network_, whole(model, X))
        terms = model._terms(model.network_, whole(model, X))
    assert posterior.log_variance.abs().max() <= 11  # two experts of exp(10) and the prior
    assert all(torch.isfinite(v) for v in terms.values())
    assert np.isfinite(model.transform(X)).all()


def test_likelihoods_of_every_kind_together():
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, size=60)
    grey = kind[:, None, None, None]
    X = {
        "one": np.eye(3)[kind],
        "image": (rng.random((60, 1, 8, 8)) * 60 + 60 * grey).astype(np.uint8),
        "words": np.array(["red fox", "blue fish", "green bird"])[kind].tolist(),
        "far": kind[:, None] + rng.laplace(size=(60, 2)) * 0.1,
    }
    model = MultimodalVAE(
        4,
        likelihoods={"one": "categorical", "image": "bernoulli", "far": "laplace"},
        encoders={
            "one": MLP(width=16, depth=1),
            "image": ConvNet(width=4),
            "words": TextEncoder(width=16, depth=1),
            "far": MLP(width=16, depth=1),
        },
        decoders={"image": ImageDecoder(width=4), "words": TextDecoder(width=24)},
        training=Training(epochs=20, batch_size=20, learning_rate=2e-2, device="cpu"),
        cross=0.3,
        random_state=0,
    ).fit(X)
    rebuilt = model.reconstruct({"far": X["far"]})
    assert (rebuilt["one"].argmax(1) == kind).mean() > 0.9
    assert set(rebuilt["words"]) <= set(X["words"])
    assert np.isfinite(model.log_likelihood(X, n_samples=4)).all()
    losses = model.reconstruction_loss({"far": X["far"]}, {"words": X["words"]})
    assert losses["words"] < model.reconstruction_baseline({"words": X["words"]})["words"]


def test_what_cannot_be_used_is_named():
    X = views(20)
    counts = {**X, "b": np.arange(80).reshape(20, 4).astype(float)}
    with pytest.raises(DataError, match="modality 'b': a bernoulli likelihood expects"):
        small(likelihoods={"b": "bernoulli"}).fit(counts)
    scaled = {**X, "b": (counts["b"] - 3) / (79 - 3) * (1 + 1e-7)}  # off by a rounding
    scaled["b"][0] = np.clip(scaled["b"][0], -1e-9, 1)
    small(likelihoods={"b": "bernoulli"}).fit(scaled)
    scaled["b"][7, 2] = 1.00001
    with pytest.raises(DataError, match=r"values from 0 to 1; got 1\.00001 at row 7, value 2"):
        small(likelihoods={"b": "bernoulli"}).fit(scaled)
    one = {**X, "b": np.eye(4)[np.arange(20) % 4]}
    model = small(likelihoods={"b": "categorical"}).fit(one)
    with pytest.raises(DataError, match="score, modality 'b': a categorical likelihood"):
        model.score(X)
    with pytest.raises(DataError, match="log_likelihood, modality 'b'"):
        model.log_likelihood({"b": X["b"]})
    with pytest.raises(ModalityError, match=r"given: \['c'\] are not in X"):
        model.log_likelihood(one, given=("c",))
    for bad, message in (
        ({"experts": "sum"}, "experts: expected one of"),
        ({"beta": -1}, "beta: expected a number >= 0"),
        ({"noise": 0}, "noise: expected a number > 0"),
        ({"weights": "size"}, "weights: expected 'entries', 'equal'"),
        ({"weights": {"z": 1.0}}, r"weights: \['z'\] are no modalities"),
        ({"likelihoods": {"z": "gaussian"}}, r"likelihoods: \['z'\] are no modalities"),
        ({"n_samples": 0}, "n_samples"),
    ):
        with pytest.raises(ParameterError, match=message):
            small(**bad).fit(X)
    many = {f"m{i}": X["a"] for i in range(11)}
    with pytest.raises(ParameterError, match="at most 10 modalities, got 11"):
        MultimodalVAE(2, experts="mixture_of_products").fit(many)
