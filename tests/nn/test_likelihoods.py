"""Likelihoods beside torch's own distributions, in the units of the data."""

import numpy as np
import pytest
import torch
from torch import distributions as D

from triptych import Modalities
from triptych.errors import DataError, ParameterError
from triptych.modalities import Kind
from triptych.nn.inputs import learn_input
from triptych.nn.likelihoods import (
    Likelihood,
    check_family,
    check_values,
    decoded_kind,
    entries_of,
)
from triptych.nn.recipes import default_decoder


def likelihood(data, family, noise=None, kind=None):
    X = Modalities({"m": data}, kinds=kind)
    reader = learn_input(X, "m")
    decoder = default_decoder(X.kind("m")).build(X.kind("m"), reader, 2)
    made = Likelihood(decoder, family, X.kind("m"), reader, noise).eval()
    stored, lengths = reader.tensors(X["m"], np.ones(len(X), bool))
    return made, reader, reader.ready(stored), lengths


@pytest.mark.parametrize("family", ["gaussian", "laplace"])
@pytest.mark.parametrize("form", ["vector", "image"])
def test_densities_are_those_of_the_data_in_their_units(family, form, torch_draws):
    rng = np.random.default_rng(0)
    shape = (7, 3) if form == "vector" else (7, 2, 5, 4)
    data = rng.normal(size=shape) * 30 + 5
    made, reader, values, _ = likelihood(data, family, noise=0.4)
    code = torch.randn(7, 2)
    out = torch.from_numpy(reader.mean), torch.from_numpy(reader.scale)
    mean, scale = (v[:, None, None] if form == "image" else v for v in out)
    law = {"gaussian": D.Normal, "laplace": D.Laplace}[family]
    with torch.no_grad():
        plain = law(made.decoder(code) * scale + mean, 0.4 * scale)
        wanted = plain.log_prob(torch.from_numpy(data).float()).flatten(1).sum(1)
        found = made.log_prob(code, values) + made.log_volume
    # Sums of up to 40 float32 terms of size 1 to 10.
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("family", ["gaussian", "laplace"])
@pytest.mark.parametrize("form", ["vector", "image"])
def test_each_value_has_the_noise_that_is_decoded(family, form, torch_draws):
    rng = np.random.default_rng(1)
    shape = (7, 3) if form == "vector" else (7, 2, 5, 4)
    data = rng.normal(size=shape) * 30 + 5
    X = Modalities({"m": data})
    reader, kind = learn_input(X, "m"), X.kind("m")
    twice = decoded_kind(kind, family, "values")
    decoder = default_decoder(kind).build(twice, reader, 2)
    made = Likelihood(decoder, family, kind, reader, "values").eval()
    stored, _ = reader.tensors(X["m"], np.ones(7, bool))
    code = torch.randn(3, 7, 2)
    mean, scale = (torch.from_numpy(v) for v in (reader.mean, reader.scale))
    if form == "image":
        mean, scale = mean[:, None, None], scale[:, None, None]
    law = {"gaussian": D.Normal, "laplace": D.Laplace}[family]
    with torch.no_grad():
        found = made.log_prob(code, reader.ready(stored)) + made.log_volume
        for k in range(3):
            out, size = decoder(code[k]).chunk(2, 1)
            noise = torch.exp(3 * torch.tanh(size / 3))
            plain = law(out * scale + mean, noise * scale)
            wanted = plain.log_prob(torch.from_numpy(data).float()).flatten(1).sum(1)
            torch.testing.assert_close(found[k], wanted, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(made.generate(code[0]), decoder(code[0])[:, : shape[1]])
    with pytest.raises(ParameterError, match="'values' is for vectors and pictures"):
        decoded_kind(Kind("sequence", (None, 3)), family, "values")
    assert decoded_kind(kind, "bernoulli", "values") is kind


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.float32, 1)])
def test_bernoulli_of_pictures(dtype, top, torch_draws):
    data = (np.random.default_rng(0).random((5, 1, 4, 4)) * top).astype(dtype)
    made, reader, values, _ = likelihood(data, "bernoulli")
    code = torch.randn(5, 2)
    chance = torch.from_numpy(data.astype(np.float32) / top)
    with torch.no_grad():
        logits = made.decoder(code)
        wanted = -torch.nn.functional.binary_cross_entropy_with_logits(
            logits, chance, reduction="none"
        )
        found = made.log_prob(code, values)
        torch.testing.assert_close(found, wanted.flatten(1).sum(1), rtol=1e-4, atol=1e-4)
        rebuilt = reader.restore(made.generate(code))
    shown = torch.sigmoid(logits).numpy() * top
    # Bytes are rounded, and cut to the range that was seen.
    wanted = np.clip(shown, data.min(), data.max())
    np.testing.assert_allclose(rebuilt, wanted, atol=0.51 if top == 255 else 1e-4)
    assert made.log_volume == 0


def test_categorical_vectors_and_several_codes_of_a_row(torch_draws):
    data = np.eye(4)[[0, 2, 3, 1, 2]]
    made, reader, values, _ = likelihood(data, "categorical")
    code = torch.randn(3, 5, 2)
    with torch.no_grad():
        found = made.log_prob(code, values)
        for k in range(3):
            law = D.Categorical(logits=made.decoder(code[k]))
            wanted = law.log_prob(torch.tensor([0, 2, 3, 1, 2]))
            torch.testing.assert_close(found[k], wanted, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(made.log_prob(code[k], values), found[k])
        shares = reader.restore(made.generate(code[0]))
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)


def test_texts_have_the_likelihood_of_their_tokens(torch_draws):
    texts = ["a b", "b", "a a a b"]
    made, reader, values, lengths = likelihood(texts, "categorical")
    code = torch.randn(2, 3, 2)
    with torch.no_grad():
        found = made.log_prob(code, values, lengths)
        nats, _ = made.decoder.token_loss(code[1], values, lengths)
    torch.testing.assert_close(found[1], -nats)
    # Mean number of tokens and an end: 2, 1 and 4 words.
    assert entries_of(Modalities({"m": texts}).kind("m"), reader) == pytest.approx(7 / 3 + 1)


def test_the_noise_is_learnt_and_stays_in_bounds(torch_draws):
    made, _, values, _ = likelihood(np.random.default_rng(0).normal(size=(50, 3)), "gaussian")
    with torch.no_grad():
        made.log_noise.fill_(1e9)
        assert torch.isfinite(made.log_prob(torch.zeros(50, 2), values)).all()
    fixed, _, _, _ = likelihood(np.ones((3, 2)) * [[0], [1], [2]], "gaussian", noise=2.0)
    assert not hasattr(fixed, "log_noise")
    assert float(fixed._log_size()) == pytest.approx(np.log(2))


def test_data_that_a_family_cannot_have_are_named():
    X = Modalities({"m": np.array([[0.0, 0.5], [0.2, 7.0]])})
    reader = learn_input(X, "m")
    with pytest.raises(
        DataError, match=r"fit, modality 'm': a bernoulli .* from 0 to 1; got 7 at row 1, value 1"
    ):
        check_values(X, "m", "bernoulli", reader, "fit")
    with pytest.raises(
        DataError, match=r"expects a single 1 per row and zeros beside it; got \(0, 0.5\) at row 0"
    ):
        check_values(X, "m", "categorical", reader, "fit")
    hidden = X.with_present({"m": np.array([True, False])})
    check_values(hidden, "m", "bernoulli", reader, "fit")
    with pytest.raises(ParameterError, match="likelihoods__m: expected one of"):
        check_family("m", "poisson", X.kind("m"))
    words = Modalities({"m": ["a", "b"]})
    with pytest.raises(ParameterError, match="kind text can be 'categorical'; got 'gaussian'"):
        check_family("m", "gaussian", words.kind("m"))
