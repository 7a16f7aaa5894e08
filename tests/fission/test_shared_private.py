"""SharedPrivate on factors that are known: what is shared lands in shared, the rest beside it."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsRegressor

from triptych import Training
from triptych.datasets import synthetic
from triptych.errors import ModalityError, ParameterError
from triptych.fission import SharedPrivate
from triptych.nn.recipes import MLP


def r2(Z, F, Z_new, F_new):
    Z, Z_new = (np.column_stack([z, np.ones(len(z))]) for z in (Z, Z_new))
    left = F_new - Z_new @ np.linalg.lstsq(Z, F, rcond=None)[0]
    return 1 - (left**2).sum() / ((F_new - F_new.mean(axis=0)) ** 2).sum()


@pytest.fixture(scope="module")
def known():
    sample = synthetic.shared_private(3000, n_shared=2, n_private=2, random_state=0)
    model = SharedPrivate(
        6,
        n_private=4,
        width=64,
        encoders={m: MLP(width=64) for m in sample.X.names},
        training=Training(epochs=40, batch_size=128, learning_rate=3e-3, device="cpu"),
        random_state=0,
    ).fit(sample.X[:2000])
    return sample, model, model.transform(sample.X)


def test_shared_factors_are_in_the_shared_code(known):
    # The code lies on a sphere, so the factors are read from it by neighbours, not by a line.
    sample, _, Z = known
    probe = KNeighborsRegressor(10).fit(Z["shared"][:2000], sample.shared[:2000])
    assert probe.score(Z["shared"][2000:], sample.shared[2000:]) > 0.8


def test_private_factors_are_in_their_own_code_and_leak_little(known):
    sample, _, Z = known
    for name in sample.X.names:
        F = sample.private[name]
        own = r2(Z[name][:2000], F[:2000], Z[name][2000:], F[2000:])
        shared = r2(Z["shared"][:2000], F[:2000], Z["shared"][2000:], F[2000:])
        assert own > 0.7
        assert shared < 0.3
        assert own > shared + 0.5


def test_shared_codes_of_partners_are_nearest(known):
    sample, model, _ = known
    a, b = (model.transform(sample.X.select(m)[2000:2200])["shared"] for m in sample.X.names)
    # Two shared factors with noise; 200 rows, so chance of the first five is 0.025.
    best = np.argsort(-(a @ b.T), axis=1)[:, :5]
    assert (best == np.arange(200)[:, None]).any(axis=1).mean() > 0.5


def test_parts_are_declared_and_any_subset_transforms(known):
    sample, model, Z = known
    first = sample.X.names[0]
    assert model.parts_ == ("shared", *sample.X.names) == Z.names
    alone = model.transform(sample.X.select(first))
    assert alone.names == ("shared", first)
    np.testing.assert_allclose(np.linalg.norm(alone["shared"], axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(alone[first], Z[first], atol=1e-6)


def test_the_loss_is_the_weighted_sum_of_its_terms(known):
    _, model, _ = known
    t = model.history_["train"]
    names = [k for k in t if k not in ("loss", "agreement", "separation")]
    for epoch in (0, -1):
        whole = t["agreement"][epoch] + t["separation"][epoch] + sum(t[m][epoch] for m in names)
        assert t["loss"][epoch] == pytest.approx(whole, rel=1e-5)


def test_separation_separates(known):
    sample, model, _ = known
    loose = model.__class__(**{**model.get_params(deep=False), "separation": 0.0})
    loose.set_params(training__epochs=10).fit(sample.X[:1000])
    tight = model.__class__(**model.get_params(deep=False))
    tight.set_params(training__epochs=10, separation=5.0).fit(sample.X[:1000])
    assert (
        tight.history_["train"]["separation"][-1] < loose.history_["train"]["separation"][-1] / 2
    )


def test_what_cannot_be_used_is_named():
    X = synthetic.shared_private(50, random_state=0).X
    with pytest.raises(ParameterError, match="separation: expected a number >= 0"):
        SharedPrivate(separation=-1).fit(X)
    with pytest.raises(ParameterError, match="n_private"):
        SharedPrivate(n_private=0).fit(X)
    with pytest.raises(ModalityError, match="at least 2 modalities"):
        SharedPrivate().fit(X.select("a"))
