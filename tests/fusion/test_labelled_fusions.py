"""Fusions that learn from labels: what only all modalities tell, absent ones, and bad labels."""

import numpy as np
import pytest
import torch

from triptych import Modalities, Training, load
from triptych.errors import ParameterError
from triptych.fusion import (
    AttentionFusion,
    ConcatFusion,
    GatedFusion,
    LateFusion,
    LowRankFusion,
    MultiplicativeFusion,
    TensorFusion,
)
from triptych.nn.recipes import MLP
from triptych.nn.targets import learn_target
from triptych.training.batches import Batch, Rows

TRAINING = Training(epochs=10, batch_size=40, learning_rate=2e-2, device="cpu")
ONCE = Training(epochs=1, batch_size=16, device="cpu")
JOINT = {
    "concat": ConcatFusion,
    "attention": AttentionFusion,
    "gated": GatedFusion,
    "tensor": TensorFusion,
    "low rank": LowRankFusion,
    "general": MultiplicativeFusion,
    "diagonal": lambda **k: MultiplicativeFusion(form="diagonal", **k),
    "film": lambda **k: MultiplicativeFusion(form="film", **k),
}
EVERY = {**JOINT, "late": LateFusion}


def world(n=200, seed=0):
    """Signs of a and b; what their product says, neither says alone."""
    rng = np.random.default_rng(seed)
    s = rng.choice([-1.0, 1.0], size=(n, 2))
    noise = rng.normal(size=(n, 5)) * 0.3
    return {"a": s[:, [0, 0]] + noise[:, :2], "b": s[:, [1, 1, 1]] + noise[:, 2:]}, s


def small(make, names="ab", **more):
    given = {
        "encoders": {m: MLP(width=16, depth=1) for m in names},
        "training": TRAINING,
        "random_state": 0,
        **more,
    }
    if make is LateFusion:
        given.pop("modality_dropout", None)
    return make(**given)


@pytest.mark.parametrize("name", JOINT)
def test_what_only_both_tell_is_learnt(name):
    X, s = world()
    X_new, s_new = world(200, seed=1)
    y, y_new = (np.where(v.prod(1) > 0, "same", "other") for v in (s, s_new))
    training = TRAINING
    if name == "attention":  # has to bend a mean of two features, which takes it longer
        training = Training(epochs=50, batch_size=40, learning_rate=8e-3, device="cpu")
    given = {"modality_dropout": 0.0, "head": MLP(width=16, depth=1), "training": training}
    model = small(JOINT[name], **given).fit(X, y)
    assert model.score(X_new, y_new) > 0.95
    assert model.classes_.tolist() == ["other", "same"]
    proba = model.predict_proba(X_new)
    np.testing.assert_allclose(proba.sum(1), 1)
    assert (model.classes_[proba.argmax(1)] == model.predict(X_new)).all()


def test_late_fusion_cannot_know_what_only_both_tell():
    X, s = world()
    X_new, s_new = world(400, seed=1)
    model = small(LateFusion).fit(X, (s.prod(1) > 0).astype(int))
    # Chance, give or take four standard errors.
    assert abs(model.score(X_new, (s_new.prod(1) > 0).astype(int)) - 0.5) < 4 * 0.5 / 20


@pytest.mark.parametrize("name", ["concat", "gated", "low rank", "late"])
def test_several_labels_and_numbers(name, tmp_path):
    X, s = world()
    X_new, s_new = world(200, seed=1)
    labels, labels_new = (s > 0).astype(int), (s_new > 0).astype(int)
    model = small(EVERY[name]).fit(X, labels)
    # Both signs right; late fusion mixes what one modality cannot know into the other's answer.
    assert model.score(X_new, labels_new) > (0.2 if name == "late" else 0.9)
    proba = model.predict_proba(X_new)
    assert proba.shape == (200, 2) and proba.min() >= 0 and proba.max() <= 1
    numbers, numbers_new = (1000 + 50 * v.sum(1) for v in (s, s_new))
    model = small(EVERY[name]).fit(X, numbers)
    assert model.score(X_new, numbers_new) > (0.6 if name == "late" else 0.85)
    with pytest.raises(ParameterError, match="predict_proba"):
        model.predict_proba(X_new)
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(load(tmp_path / "model").predict(X_new), model.predict(X_new))
    wide = small(EVERY[name], training=ONCE).fit(X, 3.0 + s)
    assert wide.predict(X_new).shape == (200, 2)


@pytest.mark.parametrize("name", EVERY)
def test_absent_by_mask_and_not_given_are_the_same(name):
    X, s = world()
    rng = np.random.default_rng(3)
    gone = rng.random(200) < 0.2
    holed = Modalities(X, present={"a": ~gone, "b": gone | (rng.random(200) < 0.8)})
    model = small(EVERY[name]).fit(holed, (s[:, 0] > 0).astype(int))
    X_new, s_new = world(100, seed=1)
    masked = Modalities(X_new, present={"b": np.zeros(100, bool)})
    np.testing.assert_allclose(
        model.predict_proba(masked), model.predict_proba({"a": X_new["a"]}), atol=1e-6
    )
    assert (model.predict({"a": X_new["a"]}) == (s_new[:, 0] > 0)).mean() > 0.95
    # Without a there is nothing to know: no better than chance, and not sure of itself.
    blind = model.predict_proba({"b": X_new["b"]})
    assert np.abs(blind - 0.5).mean() < 0.3


@pytest.mark.parametrize("name", ["concat", "film"])
def test_modality_dropout_learns_to_do_without(name):
    """a is the truth, and turned round wherever b is -1: without b it is best read as it is."""
    rng = np.random.default_rng(0)
    y, b = rng.integers(0, 2, size=200), np.where(rng.random(200) < 0.3, -1.0, 1.0)
    a = np.where(y, 1.0, -1.0) * b
    noise = 0.1 * rng.normal(size=(200, 2))
    X = {"a": (a + noise[:, 0])[:, None], "b": (b + noise[:, 1])[:, None]}
    found = [
        small(JOINT[name], modality_dropout=share, head=MLP(width=16, depth=1)).fit(X, y)
        for share in (0.0, 0.6)
    ]
    nll = []
    for model in found:
        proba = model.predict_proba({"a": X["a"]})
        nll.append(-np.log(proba[np.arange(200), y]).mean())
    # a alone leaves the entropy of 0.3, 0.61 nats; a model that did not foresee it is sure.
    assert nll[1] < 0.68 and nll[1] < nll[0] - 0.05


@pytest.mark.parametrize("name", JOINT)
def test_dropout_of_modalities_is_for_training_only(name):
    X, s = world(40)
    model = small(JOINT[name], modality_dropout=1.0, training=ONCE)
    model.fit(X, (s[:, 0] > 0).astype(int))
    batch = Rows(Modalities(X), model.inputs_, np.zeros(40, int)).take(np.arange(40))
    with torch.no_grad():
        once, again = (model._terms(model.network_, batch)["loss"] for _ in range(2))
    assert torch.equal(once, again)


def test_rows_without_anything_do_not_count_in_the_loss():
    model = ConcatFusion()
    model.target_ = target = learn_target(np.array([0, 1]))
    outputs = torch.tensor([[1.0, -1.0], [0.5, 2.0], [9.0, 9.0]])
    y, rows = torch.tensor([0, 1, 0]), torch.tensor([True, True, False])
    batch = Batch({}, {}, {"a": rows}, torch.arange(3), y=y)
    found = model._task_loss(outputs, batch)
    assert torch.allclose(found, target.loss(outputs[:2], y[:2]))
    nothing = model._task_loss(outputs.requires_grad_(), batch, torch.zeros(3, dtype=torch.bool))
    nothing.backward()
    assert float(nothing.detach()) == 0 and not bool(outputs.grad.any())


# -- what gates and attention tell ---------------------------------------------------------


@pytest.mark.parametrize("name", ["attention", "gated"])
def test_the_modality_that_knows_gets_the_share(name):
    """In half of the rows a is noise of its own kind, in the others b is."""
    rng = np.random.default_rng(0)
    n = 600
    y, who = rng.integers(0, 2, size=n), rng.integers(0, 2, size=n)
    told = np.where(y, 1.0, -1.0)
    X = {}
    for i, m in enumerate("ab"):
        mine = who == i
        X[m] = np.c_[np.where(mine, told, rng.choice([-1.0, 1.0], n)), np.where(mine, 3.0, -3.0)]
        X[m] += 0.1 * rng.normal(size=(n, 2))
    model = small(JOINT[name], modality_dropout=0.0).fit(X, y)
    assert model.score(X, y) > 0.97
    if name == "attention":
        shares = model.shares(X)
        np.testing.assert_allclose(shares["a"] + shares["b"], 1, atol=1e-6)
        assert shares["a"][who == 0].mean() > shares["a"][who == 1].mean() + 0.3
        told = model.gate_statistics_["a"]
        assert told["mean"] == pytest.approx(shares["a"].mean(), abs=1e-6)
    else:
        gates = model.gates(X)
        np.testing.assert_allclose(gates["a"] + gates["b"], 1, atol=1e-6)
        np.testing.assert_allclose(
            model.gate_statistics_["b"]["mean"],
            gates["b"].mean(0),
            rtol=1e-4,  # float32
        )
        assert np.abs(gates["a"][who == 0].mean(0) - gates["a"][who == 1].mean(0)).max() > 0.3


def test_tensor_fusion_by_a_given_road_equals_low_rank_fusion():
    """Whole models: one fitted, its factors made into the other's tensor."""
    X, s = world(60)
    y = (s.prod(1) > 0).astype(int)
    head = MLP(width=8, depth=1)
    low = small(LowRankFusion, width=4, rank=2, training=ONCE, head=head).fit(X, y)
    full = small(TensorFusion, width=4, training=ONCE, head=head).fit(X, y)
    state = dict(low.network_.state_dict())
    for key in ("fuse.factors.0", "fuse.factors.1", "fuse.bias"):
        state.pop(key)
    state["fuse.linear.weight"] = low.network_.fuse.tensor().detach()
    state["fuse.linear.bias"] = low.network_.fuse.bias.detach()
    full.network_.load_state_dict(state)
    full.inputs_ = low.inputs_
    # float32, products of five numbers added up twenty-five at a time
    np.testing.assert_allclose(full.transform(X), low.transform(X), atol=1e-5)
