"""MultiviewInformationBottleneck: its terms written out, and what beta does."""

import math

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsRegressor

from triptych import Training
from triptych.datasets import synthetic
from triptych.errors import DataError, ParameterError
from triptych.fission import MultiviewInformationBottleneck
from triptych.nn.critics import SeparableCritic
from triptych.nn.recipes import MLP


def method(epochs=1, **parameters):
    return MultiviewInformationBottleneck(
        **{"n_components": 4, "n_private": 4, "width": 32, **parameters},
        encoders={m: MLP(width=32, depth=1) for m in "ab"},
        critic=SeparableCritic(width=32, depth=1, n_components=8),
        training=Training(epochs=epochs, batch_size=128, learning_rate=3e-3, device="cpu"),
        random_state=0,
    )


@pytest.fixture(scope="module")
def sample():
    return synthetic.shared_private(1500, n_shared=2, n_private=2, random_state=0)


@pytest.fixture(scope="module")
def model(sample):
    return method(epochs=30).fit(sample.X[:1000])


def test_the_loss_is_divergence_times_beta_less_the_bound(model):
    t = model.history_["train"]
    assert t["beta"][0] == pytest.approx(0.1 * 1e-3, rel=1.0)  # a mean over the first steps
    assert t["beta"][-1] == pytest.approx(0.1)
    assert t["loss"][-1] == pytest.approx(0.1 * t["divergence"][-1] - t["js"][-1], rel=1e-5)
    assert max(t["js"]) <= math.log(2)
    assert t["information"][-1] > 0.5


def test_divergence_and_bound_are_the_formulas(sample, model, torch_draws):
    batch = next(iter(model._batches(sample.X[:30])))
    with torch.no_grad():
        laws = model._laws(model.network_, batch)
        torch.manual_seed(3)
        terms = model._terms(model.network_, batch)
        torch.manual_seed(3)
        z = {
            m: mean + torch.exp(wide / 2) * torch.randn_like(mean)
            for m, (_, mean, wide) in laws.items()
        }
        scores = model.network_.critics["1:a:b"](z["a"], z["b"]).double()
    a, b = (
        torch.distributions.Normal(mean, torch.exp(wide / 2)) for _, mean, wide in laws.values()
    )
    kl = torch.distributions.kl_divergence
    divergence = ((kl(a, b) + kl(b, a)).sum(1) / 2).mean()
    assert terms["divergence"].item() == pytest.approx(divergence.item(), rel=1e-4)
    n = len(scores)
    joint = sum(-math.log1p(math.exp(-scores[i, i])) for i in range(n)) / n
    others = [(i, j) for i in range(n) for j in range(n) if i != j]
    product = sum(math.log1p(math.exp(scores[i, j])) for i, j in others) / len(others)
    # The bound of Jensen and Shannon: log 2 and half of both expectations.
    wanted = math.log(2) + (joint - product) / 2
    assert terms["js"].item() == pytest.approx(wanted, rel=1e-4)
    # The paper's loss at twice the weight is twice this one, but for a constant.
    paper = -(joint - product) + 2 * 0.1 * divergence.item()
    loss = terms["loss"].item()
    assert 2 * (loss + math.log(2)) == pytest.approx(paper, rel=1e-4)


def test_beta_presses_out_what_is_not_shared(sample):
    X = sample.X[:600]
    loose, tight = (method(epochs=10, warmup=0, beta=beta).fit(X) for beta in (0.0, 1.0))
    assert (
        tight.history_["train"]["divergence"][-1] < loose.history_["train"]["divergence"][-1] / 3
    )


def test_the_shared_part_has_the_shared_factors_and_not_the_private_ones(sample, model):
    Z = model.transform(sample.X)

    def told(codes, factors):
        return (
            KNeighborsRegressor(10)
            .fit(codes[:1000], factors[:1000])
            .score(codes[1000:], factors[1000:])
        )

    # Far above what is told of private factors; 500 rows have a standard error of about 0.03.
    assert told(Z["shared"], sample.shared) > 0.5
    for name in sample.X.names:
        assert told(Z["shared"], sample.private[name]) < 0.3


def test_several_modalities_are_a_product_of_their_laws(sample, model):
    X = sample.X[:20]
    batch = next(iter(model._batches(X)))
    with torch.no_grad():
        laws = [
            (mean.double().numpy(), np.exp(-wide.double().numpy()))
            for _, mean, wide in model._laws(model.network_, batch).values()
        ]
    wanted = sum(m * p for m, p in laws) / sum(p for _, p in laws)
    np.testing.assert_allclose(model.transform(X)["shared"], wanted, rtol=1e-3, atol=1e-4)
    alone = model.transform(X.select("a"))["shared"]
    np.testing.assert_allclose(alone, laws[0][0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("changed", "steps"),
    [
        ({"validation_share": 0.5}, 12),  # 30 rows in batches of 10, four epochs
        ({"accumulate": 2}, 12),
        ({"batch_size": 20}, 12),
        ({}, 24),
    ],
)
def test_beta_has_risen_after_the_share_of_the_steps_that_are_made(sample, changed, steps):
    training = Training(**{"epochs": 4, "batch_size": 10, "device": "cpu", **changed})
    fitted = method(warmup=0.5).set_params(training=training).fit(sample.X[:60])
    assert int(fitted.network_.steps) == fitted._total_steps == steps
    beta = fitted.history_["train"]["beta"]
    assert beta[1] < 0.1 * 0.9
    assert beta[2] == pytest.approx(0.1)  # the third epoch is wholly in the second half


def test_rows_without_a_partner_are_no_steps_of_the_rise(sample):
    X = sample.X[:60].with_present({"b": np.arange(60) % 2 == 0})
    fitted = method().set_params(training__batch_size=10).fit(X)
    assert int(fitted.network_.steps) == fitted._total_steps == 3


def test_rows_that_never_meet_a_partner_are_refused(sample, model):
    first = np.arange(60) < 30
    apart = sample.X[:60].with_present({"a": first, "b": ~first})
    with pytest.raises(DataError, match=r"fit: Multi.* both of 'a' and 'b': 0"):
        method().fit(apart)
    with pytest.raises(DataError, match=r"score: Multi.* both of 'a' and 'b': 1"):
        model.score(sample.X[:1])


def test_what_cannot_be_used_is_named(sample):
    X = sample.X[:40]
    with pytest.raises(ParameterError, match="beta: expected a number >= 0"):
        method(beta=-1).fit(X)
    with pytest.raises(ParameterError, match="critic: expected a recipe"):
        method().set_params(critic=SeparableCritic).fit(X)
