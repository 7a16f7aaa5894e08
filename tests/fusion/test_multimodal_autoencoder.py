"""MultimodalAutoencoder: subsets by thirds, rebuilding what is absent, what zero means."""

import numpy as np
import pytest
import torch

from triptych import Modalities, Training
from triptych.errors import CapabilityError, ModalityError, ParameterError
from triptych.fusion import MultimodalAutoencoder
from triptych.nn.recipes import MLP
from triptych.training.batches import Rows


def views(n=300, seed=0):
    z = np.random.default_rng(seed).normal(size=(n, 2))
    mix = np.random.default_rng(9)
    return {m: z @ mix.normal(size=(2, p)) * s for m, p, s in (("a", 6, 1.0), ("b", 4, 50.0))}


def small(names="ab", epochs=60, **kwargs):
    return MultimodalAutoencoder(
        4,
        width=32,
        encoders={m: MLP(width=32) for m in names},
        training=Training(epochs=epochs, batch_size=64, learning_rate=5e-3, device="cpu"),
        random_state=0,
        **kwargs,
    )


@pytest.fixture(scope="module")
def fitted():
    return small().fit(views())


def test_an_absent_modality_is_rebuilt_in_its_own_units(fitted):
    new = views(100, seed=1)
    for given, absent in (("a", "b"), ("b", "a")):
        rebuilt = fitted.reconstruct({given: new[given]})
        assert rebuilt.names == ("a", "b")
        error = ((rebuilt[absent] - new[absent]) ** 2).sum()
        assert 1 - error / (new[absent] ** 2).sum() > 0.9


def test_absent_by_mask_and_not_given_are_the_same(fitted):
    new = views(10, seed=1)
    masked = Modalities(new, present={"b": np.zeros(10, bool)})
    np.testing.assert_allclose(
        fitted.transform(masked), fitted.transform({"a": new["a"]}), atol=1e-6
    )
    assert not np.allclose(fitted.transform(new), fitted.transform(masked), atol=1e-3)


@pytest.mark.parametrize(("names", "subsets"), [("ab", 3), ("abc", 7)])
def test_every_subset_is_as_likely(names, subsets, torch_draws):
    n = 20_000
    X = Modalities({m: np.random.default_rng(0).normal(size=(50, 2)) for m in names})
    model = small(names, epochs=1).fit(X)
    batch = Rows(X, model.inputs_).take(np.zeros(n, dtype=np.intp))
    used = model._subset(batch)
    code = sum(used[m].long() << i for i, m in enumerate(sorted(names)))
    share = torch.bincount(code, minlength=2 ** len(names)).double() / n
    assert share[0] == 0
    bound = 4 * np.sqrt(1 / subsets / n)  # four standard errors
    assert (share[1:] - 1 / subsets).abs().max() < bound


def test_what_is_absent_is_never_drawn(torch_draws):
    X = Modalities(views(40), present={"b": np.arange(40) % 2 == 0})
    model = small(epochs=1).fit(X)
    used = model._subset(Rows(X, model.inputs_).take(np.arange(40)))
    assert used["a"][1::2].all() and not used["b"][1::2].any()


def test_weights_of_zero_leave_a_modality_out_of_the_loss():
    model = small(epochs=1, weights={"b": 0.0}).fit(views())
    terms = model.history_["train"]
    assert terms["loss"][0] == pytest.approx(terms["a"][0], rel=1e-5)
    with pytest.raises(ParameterError, match=r"weights: \['c'\] are no modalities"):
        small(epochs=1, weights={"c": 1.0}).fit(views())


def test_text_and_picture_there_and_back():
    rng = np.random.default_rng(0)
    dark = rng.integers(0, 2, size=120)
    images = (dark[:, None, None, None] * 200 + rng.integers(0, 40, (120, 1, 8, 8))).astype(
        np.uint8
    )
    words = np.array(["black night", "bright day"])[dark].tolist()
    training = Training(epochs=40, batch_size=32, learning_rate=5e-3, device="cpu")
    model = MultimodalAutoencoder(8, width=32, training=training, random_state=0)
    X = {"image": images, "words": words}
    model.fit(X)
    assert model.reconstruct({"image": images})["words"] == words
    rebuilt = model.reconstruct({"words": words})["image"]
    assert rebuilt.dtype == np.uint8
    assert rebuilt[dark == 1].mean() > rebuilt[dark == 0].mean() + 100
    losses = model.reconstruction_loss({"image": images}, {"words": words})
    unigram = model.reconstruction_baseline({"words": words})["words"]
    assert losses["words"] < 0.2 * unigram
    # Two texts of two words and an end: the unigram is close to the entropy of its tokens.
    counts = np.array([(dark == 0).sum()] * 2 + [(dark == 1).sum()] * 2 + [120.0])
    share = counts / counts.sum()
    assert unigram == pytest.approx(-(share * np.log(share)).sum(), abs=0.1)


def test_what_it_does_not_take_is_named(fitted):
    with pytest.raises(ModalityError, match="'s' is sequence"):
        small().fit({"a": np.zeros((4, 2)), "s": np.zeros((4, 5, 2))})
    with pytest.raises(ParameterError, match="encoders: 'z' is no modality"):
        small("abz").fit(views(20))
    with pytest.raises(CapabilityError, match="does not predict"):
        fitted.predict(views(3))
