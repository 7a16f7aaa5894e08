"""DCCAE, CorrAE, DistAE, SplitAE: their formulas, their limits, and rebuilding."""

import numpy as np
import pytest
import torch

from triptych import Modalities, Training
from triptych.coordination import DCCAE, CorrAE, DeepCCA, DistAE, SplitAE
from triptych.errors import DataError, ModalityError, ParameterError, TrainingError
from triptych.nn.recipes import MLP, VectorDecoder
from triptych.training.batches import Rows

SMALL = {m: MLP(width=16, depth=1) for m in "ab"}
BACK = {m: VectorDecoder(width=16, depth=1) for m in "ab"}


def views(n=240, seed=0):
    draw, world = np.random.default_rng(seed), np.random.default_rng(9)
    z = draw.normal(size=(n, 2))
    return {
        m: np.tanh(z @ world.normal(size=(2, p))) + 0.1 * draw.normal(size=(n, p))
        for m, p in (("a", 6), ("b", 5))
    }


def quick(epochs=3, batch=60):
    return Training(epochs=epochs, batch_size=batch, learning_rate=5e-3, device="cpu")


def make(cls, width=2, **kwargs):
    kwargs.setdefault("training", quick())
    return cls(width, encoders=SMALL, decoders=BACK, random_state=0, **kwargs)


def terms_of(model, X):
    model.network_.eval()
    batch = Rows(Modalities(X), model.inputs_).take(np.arange(len(X["a"])))
    with torch.no_grad():
        codes = {m: z.double().numpy() for m, z in model._encode(model.network_, batch).items()}
        terms = {k: float(v) for k, v in model._terms(model.network_, batch).items()}
    return codes, terms, batch


def mean_errors(model, batch, codes):
    with torch.no_grad():
        return {
            m: float(
                (model.network_.decoders[m](torch.tensor(codes[m]).float()) - batch.values[m])
                .square()
                .mean()
            )
            for m in codes
        }


def test_dccae_without_reconstruction_is_deep_cca():
    X = views()
    ours = make(DCCAE, reconstruction=0.0).fit(X)
    peer = DeepCCA(2, encoders=SMALL, training=quick(), random_state=0).fit(X)
    # The decoders' zero gradient changes nothing: the same batches, the same steps.
    np.testing.assert_allclose(ours.correlations_, peer.correlations_, rtol=1e-6)
    np.testing.assert_allclose(ours.transform(X)["a"], peer.transform(X)["a"], atol=1e-4)


def test_dccae_is_the_sum_of_its_two_terms():
    X = views()
    model = make(DCCAE, reconstruction=0.7).fit(X)
    codes, terms, batch = terms_of(model, X)
    rho = np.linalg.svd(whitened(codes["a"]).T @ whitened(codes["b"]), compute_uv=False)
    errors = mean_errors(model, batch, codes)
    # The ridge 1e-4 moves correlations of codes of about unit variance in the fourth digit.
    assert terms["agreement"] == pytest.approx(-rho.sum(), abs=5e-3)
    assert terms["loss"] == pytest.approx(terms["agreement"] + 0.7 * sum(errors.values()), 1e-5)


def whitened(Z):
    return np.linalg.qr(Z - Z.mean(0))[0]


def test_the_two_terms_have_batches_of_their_own_size():
    model = make(DCCAE, reconstruction_batch_size=20)
    model.fit(views())
    sizes = [s.batch_size for s in model._phases(model.network_)[0].streams]
    assert sizes == [None, 20]
    assert set(model.history_["train"]) >= {"loss", "agreement", "a", "b"}


def test_corr_ae_sums_the_correlations_of_columns():
    X = views()
    model = make(CorrAE, width=3).fit(X)
    codes, terms, _ = terms_of(model, X)
    expected = -sum(np.corrcoef(codes["a"][:, j], codes["b"][:, j])[0, 1] for j in range(3))
    assert terms["agreement"] == pytest.approx(expected, rel=1e-5)
    Z = model.transform(X)
    np.testing.assert_allclose(np.asarray(Z["a"]).std(0), 1, rtol=1e-4)


def test_dist_ae_has_the_two_distances_of_the_paper():
    X = views()
    codes, terms, _ = terms_of(model := make(DistAE).fit(X), X)
    f, g = codes["a"], codes["b"]
    relative = ((f - g) ** 2).sum(1) / ((f**2).sum(1) + (g**2).sum(1))
    assert terms["agreement"] == pytest.approx(relative.mean(), rel=1e-5)
    codes, terms, _ = terms_of(model := make(DistAE, form="affine").fit(X), X)
    link = model.network_.links["a:b"]
    A, b = link.weight.detach().numpy(), link.bias.detach().numpy()
    affine = ((codes["a"] - codes["b"] @ A.T - b) ** 2).sum(1)
    assert terms["agreement"] == pytest.approx(affine.mean(), rel=1e-5)


def test_split_ae_rebuilds_every_modality_from_every_source():
    X = views()
    model = make(SplitAE).fit(X)
    codes, terms, batch = terms_of(model, X)
    for source in "ab":
        for target in "ab":
            with torch.no_grad():
                guess = model.network_.decoders[target](torch.tensor(codes[source]).float())
            error = float((guess - batch.values[target]).square().mean())
            assert terms[f"{source}>{target}"] == pytest.approx(error, rel=1e-4)
    assert terms["loss"] == pytest.approx(sum(v for k, v in terms.items() if ">" in k), rel=1e-5)


def test_split_ae_with_one_source_has_one_encoder_and_says_so():
    X = views()
    model = make(SplitAE, sources=["a"])
    model.encoders = None
    model.fit(X)
    assert model.transform(X).names == ("a",)
    with pytest.raises(ModalityError, match=r"fitted with sources \['a'\]"):
        model.transform({"b": X["b"]})
    with pytest.raises(ParameterError, match="sources"):
        make(SplitAE, sources=["c"]).fit(X)
    with pytest.raises(ParameterError, match="sources"):
        make(SplitAE, sources="a").fit(X)


@pytest.mark.parametrize("cls", [DCCAE, CorrAE, DistAE, SplitAE])
def test_an_absent_modality_is_rebuilt_better_than_by_its_mean(cls):
    X, new = views(600), views(200, seed=1)
    model = make(cls, training=quick(epochs=30)).fit(X)
    rebuilt = model.reconstruct({"a": new["a"]})["b"]
    error = ((rebuilt - new["b"]) ** 2).mean()
    assert error < 0.6 * new["b"].var(axis=0).mean()


@pytest.mark.parametrize("cls", [CorrAE, DistAE, SplitAE])
def test_rows_that_lack_a_modality_change_its_terms_only(cls):
    X = views()
    there = np.arange(240) % 3 > 0
    holed = Modalities(
        {"a": X["a"], "b": np.where(there[:, None], X["b"], 1e6)}, present={"b": there}
    )
    plain = Modalities(
        {"a": X["a"], "b": np.where(there[:, None], X["b"], -3.0)}, present={"b": there}
    )
    codes = [make(cls).fit(d).transform(d)["a"] for d in (holed, plain)]
    assert np.array_equal(*codes)


def test_equal_codes_at_zero_have_distance_zero():
    model = make(DistAE)
    zero = torch.zeros(4, 2, requires_grad=True)
    there = torch.ones(4, dtype=torch.bool)

    class Network:
        links = None

    value = model._agreement(Network(), {"a": zero, "b": zero * 1.0}, {"a": there, "b": there})
    value.backward()
    assert value.item() == 0 and torch.isfinite(zero.grad).all()


@pytest.mark.parametrize("cls", [DCCAE, CorrAE, DistAE])
def test_modalities_that_are_never_together_are_refused(cls):
    # Nothing would agree with anything, and the loss of that would be 0.
    X, a = views(60), np.arange(60) < 30
    apart = Modalities(X, present={"a": a, "b": ~a})
    with pytest.raises(DataError, match=r"together|with every modality"):
        make(cls).fit(apart)


class Broken(torch.nn.Module):
    """Codes that are NaN."""

    def __init__(self, n_in, width):
        super().__init__()
        self.layer = torch.nn.Linear(n_in, width)

    def forward(self, x, lengths=None):
        return self.layer(x) * torch.nan


@pytest.mark.parametrize("cls", [DCCAE, CorrAE, DistAE])
def test_codes_that_are_not_finite_are_named_with_their_modality(cls):
    model = make(cls).set_params(encoders={"b": lambda kind, width: Broken(5, width)})
    with pytest.raises(TrainingError, match=r"^b(, row 0)?: codes are not finite"):
        model.fit(views(60))
