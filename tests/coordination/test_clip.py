"""CLIP: the loss of the paper, several positives, missing modalities, learnt temperature."""

import math

import numpy as np
import pytest
import torch

from triptych import Modalities, Training
from triptych.coordination import CLIP
from triptych.errors import ParameterError
from triptych.losses.contrastive import info_nce
from triptych.nn.recipes import MLP
from triptych.training.batches import Rows

SMALL = Training(epochs=30, batch_size=64, learning_rate=5e-3, device="cpu")


def views(n=200, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 3))
    mix = np.random.default_rng(9)
    return {m: np.tanh(z @ mix.normal(size=(3, p))) for m, p in (("a", 8), ("b", 6), ("c", 5))}


def small(names="ab", **kwargs):
    return CLIP(
        8, encoders={m: MLP(width=32) for m in names}, training=SMALL, random_state=0, **kwargs
    )


def test_partners_of_unseen_rows_become_nearest_neighbours():
    X = views()
    new = views(50, seed=1)
    model = small().fit({m: X[m] for m in "ab"})
    found, cosines = model.retrieve({"a": new["a"]}, among={"b": new["b"]}, k=3)
    hit = (found == np.arange(50)[:, None]).any(axis=1).mean()
    assert hit > 0.5  # chance is 0.06
    assert (np.diff(cosines, axis=1) <= 0).all()


def test_codes_have_unit_length():
    X = {m: v for m, v in views(40).items() if m in "ab"}
    Z = small().fit(X).transform(X)
    np.testing.assert_allclose(np.linalg.norm(Z["a"], axis=1), 1, rtol=1e-5)


def test_the_loss_is_info_nce_at_the_learnt_temperature_over_all_pairs():
    X = Modalities(views(40))
    model = small("abc").fit(X)
    batch = Rows(X, model.inputs_, content=True).take(np.arange(40))
    terms = model._terms(model.network_, batch)
    Z = {m: torch.from_numpy(np.array(model.transform(X)[m])) for m in "abc"}
    for pair in ("a~b", "a~c", "b~c"):
        a, b = pair.split("~")
        expected = info_nce(Z[a], Z[b], temperature=model.temperature_)
        assert terms[pair].item() == pytest.approx(expected.item(), rel=1e-4)
    mean = np.mean([terms[p].item() for p in ("a~b", "a~c", "b~c")])
    assert terms["loss"].item() == pytest.approx(mean, rel=1e-5)


def test_rows_with_one_text_are_positives_of_each_other():
    # Four pictures of each word: to tell them apart is impossible, and is not asked.
    rng = np.random.default_rng(0)
    word = np.repeat(["red", "green", "blue"], 20)
    image = np.eye(3)[np.repeat([0, 1, 2], 20)] + 0.1 * rng.normal(size=(60, 3))
    model = CLIP(4, encoders={"x": MLP(width=16)}, training=SMALL, random_state=0)
    model.fit({"x": image, "t": word})
    Z = model.transform({"x": image, "t": word})
    found, _ = model.retrieve({"t": ["blue"]}, among={"x": image}, k=20)
    assert (word[found[0]] == "blue").mean() > 0.9
    assert np.isfinite(Z["t"]).all()


def test_the_scale_never_passes_one_hundred():
    X = {m: v for m, v in views(30).items() if m in "ab"}
    fast = Training(epochs=40, batch_size=30, learning_rate=0.3, schedule="constant", device="cpu")
    model = CLIP(4, encoders={m: MLP(width=8) for m in "ab"}, temperature=0.0101, training=fast)
    model.set_params(random_state=0).fit(X)
    assert max(model.history_["train"]["scale"]) <= 100.0 + 1e-3
    assert model.temperature_ >= 0.01 - 1e-6


def test_rows_without_a_partner_change_nothing():
    X = {m: v[:40] for m, v in views().items() if m in "ab"}
    rng = np.random.default_rng(3)
    absent = np.arange(60) >= 40
    more = {
        "a": np.concatenate([X["a"], rng.normal(size=(20, 8))]),
        "b": np.concatenate([X["b"], np.full((20, 6), np.nan)]),
    }
    Y = Modalities(more, present={"b": ~absent})
    model = small().fit(Y)
    assert not model.transform(Y).present["b"][absent].any()
    batch = Rows(Y, model.inputs_, content=True).take(np.arange(60))
    whole = model._terms(model.network_, batch)["loss"]
    part = model._terms(model.network_, batch.part(slice(0, 40)))["loss"]
    assert whole.item() == pytest.approx(part.item(), rel=1e-5)


def test_a_start_at_chance_costs_log_n():
    X = Modalities({m: v for m, v in views(64).items() if m in "ab"})
    model = small(temperature=1.0).set_params(training__epochs=1, training__learning_rate=1e-9)
    model.fit(X)
    assert model.history_["train"]["loss"][0] == pytest.approx(math.log(64), abs=0.2)


@pytest.mark.parametrize("temperature", [0, -1, 2, "hot", 0.001])
def test_temperatures_that_cannot_be_used(temperature):
    X = {m: v for m, v in views(10).items() if m in "ab"}
    with pytest.raises(ParameterError, match="temperature"):
        CLIP(temperature=temperature).fit(X)
