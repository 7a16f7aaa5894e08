"""MultimodalAutoencoder: subsets by thirds, rebuilding what is absent, what zero means."""

import numpy as np
import pytest
import torch

from triptych import Modalities, Training
from triptych.errors import CapabilityError, DataError, ModalityError, ParameterError
from triptych.fusion import MultimodalAutoencoder
from triptych.nn.rbm import RBM, train_rbm
from triptych.nn.recipes import MLP, VectorDecoder
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
    for bad, message in (
        ({"weights": "entries"}, "weights: expected numbers by modality name or None; got 'ent"),
        ({"weights": {"z": 1.0}}, r"weights: \['z'\] are no modalities; there are \['a', 'b'\]"),
        ({"decoders": {"a": 5}}, r"decoders: expected a recipe, .* for 'a'; got 5"),
        ({"decoders": {"a": VectorDecoder}}, r"for 'a'; got <class"),
        ({"decoders": {"a": MLP()}}, "decoders: MLP for 'a' builds no decoder"),
    ):
        with pytest.raises(ParameterError, match=message):
            small(**bad).fit(views(20))


def test_a_modality_of_which_all_rows_are_set_aside_is_named():
    X = Modalities(views(10), present={"a": np.arange(10) == 3})
    said = set()
    for seed in range(6):
        training = Training(epochs=1, validation_share=0.5, device="cpu")
        model = MultimodalAutoencoder(2, training=training, random_state=seed)
        try:
            model.fit(X)
        except DataError as error:
            said.add(str(error))
    assert len(said) == 1 and "sets all 1 rows aside that have modality 'a'" in said.pop()


def layered(X, epochs=1, **kwargs):
    return MultimodalAutoencoder(
        4,
        **{
            "width": 16,
            "pretraining": RBM(epochs=3, learning_rate=0.01),
            "training": Training(epochs=epochs, batch_size=64, learning_rate=1e-2, device="cpu"),
            "random_state": 0,
            **kwargs,
        },
    ).fit(X)


def test_the_sparse_penalty_written_out(torch_draws):
    gaps = {"b": np.arange(12) % 3 > 0}
    X = Modalities(views(12), present=gaps)
    model = small(epochs=1, sparsity=3.0, sparsity_target=0.1).fit(Modalities(views()))
    batch = Rows(X, model.inputs_).take(np.arange(12))
    with torch.no_grad():
        terms = model._terms(model.network_, batch)
        wanted = 0.0
        for m in "ab":
            rows = [i for i in range(12) if m == "a" or gaps["b"][i]]
            h = torch.sigmoid(model.network_.encoders[m](batch.values[m][rows])).numpy()
            wanted += np.mean([(0.1 - h[:, j].mean()) ** 2 for j in range(h.shape[1])])
    assert float(terms["sparsity"]) == pytest.approx(wanted, rel=1e-4)
    rest = float(terms["a"] + terms["b"])
    assert float(terms["loss"]) == pytest.approx(rest + 3 * wanted, rel=1e-4)
    # With weight enough, units do become sparse.
    units = []
    for weight in (0.0, 30.0):
        fitted = small(epochs=8, sparsity=weight, sparsity_target=0.1).fit(views())
        batch = Rows(Modalities(views()), fitted.inputs_).take(np.arange(300))
        with torch.no_grad():
            h = fitted._branches(fitted.network_, batch)
        units.append(np.mean([float(torch.sigmoid(v).mean()) for v in h.values()]))
    assert abs(units[1] - 0.1) < 0.1 < abs(units[0] - 0.1)


def test_machines_are_unrolled_into_the_network():
    # A step too small to move a float32 leaves the network as pretraining made it.
    still = Training(epochs=1, batch_size=64, learning_rate=1e-30, weight_decay=0.0, device="cpu")
    X = views()
    model = layered(X, training=still)
    net, batch = model.network_, Rows(Modalities(X), model.inputs_).take(np.arange(300))
    from triptych.seeding import derive

    make = torch.Generator().manual_seed(derive(model.seed_, "pretraining"))
    posteriors = []
    for m in "ab":
        machine = train_rbm(batch.values[m], 16, model.pretraining, gaussian=True, generator=make)
        torch.testing.assert_close(net.encoders[m].weight, machine.w.T)
        torch.testing.assert_close(net.decoders[m].lower.weight, machine.w)
        torch.testing.assert_close(net.decoders[m].lower.bias, machine.c)
        posteriors.append(machine.hidden(batch.values[m]))
    above = torch.cat(posteriors, 1)
    machine = train_rbm(above, 4, model.pretraining, gaussian=False, generator=make)
    np.testing.assert_allclose(model.transform(X), machine.hidden(above), atol=1e-5)
    with torch.no_grad():
        upper = net.decoders["b"].upper(machine.hidden(above))
    torch.testing.assert_close(upper, machine.hidden(above) @ machine.w[16:].T + machine.c[16:])


def test_layers_learn_on_from_where_machines_left_them():
    new = views(100, seed=1)
    quick = Training(epochs=25, batch_size=16, learning_rate=2e-2, weight_decay=0, device="cpu")
    learnt = RBM(epochs=60, learning_rate=0.01, batch_size=10, sparsity=0.0, target=0.2)
    model = layered(views(), training=quick, pretraining=learnt)
    drawn = layered(views(), training=quick, pretraining=RBM(epochs=0))
    first = [m.history_["train"]["loss"][0] for m in (model, drawn)]
    assert first[0] < 0.5 * first[1]
    code = model.transform(new)
    assert code.min() >= 0
    assert code.max() <= 1  # sigmoid units
    rebuilt = model.reconstruct({"a": new["a"]})["b"]
    assert 1 - ((rebuilt - new["b"]) ** 2).sum() / (new["b"] ** 2).sum() > 0.8
    some = Modalities(views(), present={"b": np.arange(300) % 4 > 0})
    assert np.isfinite(layered(some).transform(some)).all()


def test_what_pretraining_does_not_take_is_named():
    X = views(20)
    with pytest.raises(ParameterError, match="expected RBM"):
        layered(X, pretraining=3)
    with pytest.raises(ParameterError, match="leave encoders and decoders out"):
        layered(X, encoders={"a": MLP()})
    with pytest.raises(ParameterError, match=r"\['w'\] are texts"):
        layered({"a": X["a"], "w": ["x"] * 20})
    with pytest.raises(ParameterError, match="sparsity_target"):
        layered(X, sparsity_target=0)
