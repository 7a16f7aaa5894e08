"""Gated coordination: gates as written, pairs judged by themselves, and the leak closed."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from triptych import Modalities, Training
from triptych.coordination import GatedCoordination
from triptych.coordination import gated_coordination as module
from triptych.errors import ModalityError, ParameterError
from triptych.losses.agreement import partner_cross_entropy
from triptych.nn.gates import AttentionGate, ElementwiseGate
from triptych.nn.recipes import MLP
from triptych.training.batches import Rows

SMALL = {m: MLP(width=16, depth=1) for m in "abc"}


def views(n=150, seed=0, names="ab"):
    draw, world = np.random.default_rng(seed), np.random.default_rng(9)
    z = draw.normal(size=(n, 3))
    return {
        m: np.tanh(z @ world.normal(size=(3, 6))) + 0.05 * draw.normal(size=(n, 6)) for m in names
    }


def make(names="ab", epochs=20, **kwargs):
    training = Training(epochs=epochs, batch_size=50, learning_rate=5e-3, device="cpu")
    given = {"width": 16, "training": training, "random_state": 0, **kwargs}
    return GatedCoordination(6, encoders={m: SMALL[m] for m in names}, **given)


@pytest.mark.parametrize("form", ["elementwise", "attention"])
@pytest.mark.parametrize("gates", ["own", "cross"])
def test_partners_of_unseen_rows_are_found(form, gates):
    model = make(form=form, gates=gates).fit(views())
    new = views(50, seed=1)
    found, cosines = model.retrieve({"a": new["a"]}, among={"b": new["b"]}, k=5)
    assert (found == np.arange(50)[:, None]).any(axis=1).mean() > 0.5  # chance is 0.1
    assert (np.diff(cosines, axis=1) <= 0).all()


def test_elementwise_gate_is_the_formula(torch_draws):
    gate, h, heard = ElementwiseGate(5, 3), torch.randn(4, 5), torch.randn(4, 3)
    W, U = gate.value, gate.own
    expected = torch.sigmoid(h @ U.weight.T + U.bias + heard) * (h @ W.weight.T + W.bias)
    torch.testing.assert_close(gate(gate.pieces(h), heard), expected)
    start = gate.openness(gate.pieces(torch.zeros(1, 5)), None)
    torch.testing.assert_close(start, torch.full((1, 3), 1 / (1 + math.exp(-2))))


def test_attention_gate_is_the_formula(torch_draws):
    gate, h, heard = AttentionGate(6, 3, 2), torch.randn(1, 6), torch.randn(1, 3)
    query = gate.own(h) + heard
    parts = [h[:, :3], h[:, 3:]]
    scores = [(query * gate.key(p)).sum().item() / math.sqrt(3) for p in parts]
    share = np.exp(scores) / np.exp(scores).sum()
    expected = sum(s * gate.value(p) for s, p in zip(share, parts, strict=True))
    torch.testing.assert_close(gate(gate.pieces(h), heard), expected)


@pytest.mark.parametrize("form", ["elementwise", "attention"])
def test_a_pair_is_judged_by_itself(form):
    model = make(form=form, gates="cross", epochs=2).fit(views())
    new = views(12, seed=1)
    whole = model.similarities({"a": new["a"]}, {"b": new["b"]})
    for i, j in ((0, 0), (3, 7), (11, 2)):
        alone = model.similarities({"a": new["a"][[i]]}, {"b": new["b"][[j]]})
        np.testing.assert_allclose(alone[0, 0], whole[i, j], atol=1e-6)
    # A row that has both modalities is the pair of the two.
    Z = model.transform(new)
    np.testing.assert_allclose((Z["a"] * Z["b"]).sum(1), np.diag(whole), atol=1e-5)
    back = model.similarities({"b": new["b"]}, {"a": new["a"]})
    np.testing.assert_allclose(back, whole.T, atol=1e-6)


def test_cross_gates_do_hear_the_other_modality():
    model = make(gates="cross", epochs=5).fit(views())
    new = views(10, seed=1)
    alone, both = model.transform({"a": new["a"]})["a"], model.transform(new)["a"]
    assert np.abs(alone - both).max() > 1e-3
    deaf = make(gates="own", epochs=5).fit(views())
    np.testing.assert_allclose(
        deaf.transform({"a": new["a"]})["a"], deaf.transform(new)["a"], atol=1e-6
    )


def fresh(generator, n=32):
    return torch.randn(n, 16, generator=generator), torch.randn(n, 16, generator=generator)


def trained_loss(cosines_of, network, steps=250):
    """Loss on new rows after training on new rows each step, modalities independent."""
    draw = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(steps):
        loss = partner_cross_entropy(cosines_of(*fresh(draw)) * 20)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.mean(losses[-50:])


def test_gates_that_see_the_partner_leak_and_ours_do_not():
    """On independent modalities no loss below log n is honest."""
    network = make(gates="cross", epochs=1).fit(views()).network_.train()

    def leaky(ha, hb):
        za = network.gates["a"](network.gates["a"].pieces(ha), network.voices["b:a"](hb))
        zb = network.gates["b"](network.gates["b"].pieces(hb), network.voices["a:b"](ha))
        return F.normalize(za, dim=1) @ F.normalize(zb, dim=1).T

    ours = trained_loss(lambda a, b: module._pair_cosines(network, "a", "b", a, b, True), network)
    assert ours > math.log(32) - 0.02  # the mean of 50 batches; no information to be had
    assert trained_loss(leaky, network) < math.log(32) - 1


def test_tiles_change_neither_value_nor_gradient(monkeypatch):
    network = make(gates="cross", epochs=1).fit(views()).network_
    found = []
    for tile in (1 << 23, 700):
        monkeypatch.setattr(module, "TILE", tile)
        ha, hb = (h.requires_grad_() for h in fresh(torch.Generator().manual_seed(1), 20))
        cosines = module._pair_cosines(network, "a", "b", ha, hb, True)
        found.append((cosines, *torch.autograd.grad(cosines.square().sum(), (ha, hb))))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_candidates_are_ranked_in_tiles(monkeypatch):
    X = views(40)
    model = make(gates="cross", epochs=1).fit(X)
    given = {"a": X["a"]}, {"b": X["b"]}
    whole = model.similarities(*given)
    monkeypatch.setattr(module, "TILE", 700)
    rows, cosines = model.retrieve(*given, k=6)
    best = np.argsort(-whole, axis=1, kind="stable")[:, :6]
    np.testing.assert_allclose(cosines, np.take_along_axis(whole, best, axis=1), atol=1e-6)
    assert (rows == best).mean() > 0.99  # rounding of another tile may part near ones


def test_rows_of_equal_content_are_positives_of_each_other():
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    ids = torch.tensor([0, 1, 0, 2])
    log_p, log_q = logits.log_softmax(1), logits.T.log_softmax(1)
    groups = [[0, 2], [1], [0, 2], [3]]
    expected = -np.mean(
        [np.mean([(log_p[i, j] + log_q[i, j]).item() / 2 for j in groups[i]]) for i in range(4)]
    )
    assert partner_cross_entropy(logits, ids_a=ids).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gates", ["own", "cross"])
def test_the_loss_is_info_nce_of_the_gated_codes(gates, monkeypatch):
    X = views(30)
    X["b"] = X["b"][np.arange(30) // 2]  # pairs of rows with one content
    model = make(gates=gates, epochs=2).fit(X)
    scale = float(model.network_.log_scale.detach().exp())
    alone = [model.transform({m: X[m]})[m] for m in "ab"]  # heard nothing
    cosines = {"a~b": alone[0] @ alone[1].T}
    if gates == "cross":
        cosines["a~b alone"] = cosines["a~b"]
        cosines["a~b"] = model.similarities({"a": X["a"]}, {"b": X["b"]})
    else:  # the matrix of pairs is not asked for
        monkeypatch.setattr(module, "_pair_cosines", None)
    batch = Rows(Modalities(X), model.inputs_, content=True).take(np.arange(30))
    with torch.no_grad():
        terms = model._terms(model.network_, batch)
    groups = np.arange(30) // 2
    q = (groups[:, None] == groups) / 2
    for name, found in cosines.items():
        logits, expected = found.astype(np.float64) * scale, 0.0
        for L in (logits, logits.T):
            log_p = L - np.log(np.exp(L).sum(1, keepdims=True))
            expected -= (q * log_p).sum() / 60
        assert float(terms[name]) == pytest.approx(expected, rel=1e-4)
    assert float(terms["loss"]) == pytest.approx(np.mean([float(terms[k]) for k in cosines]))


def test_gate_statistics_describe_the_gates_of_training():
    X = views()
    model = make(gates="own", epochs=5).fit(X)
    for m in "ab":
        stats = model.gate_statistics_[m]
        assert stats["mean"].shape == stats["spread"].shape == (6,)
        assert ((stats["mean"] > 0) & (stats["mean"] < 1)).all()
        assert 0 <= stats["saturated"] <= 1
    shares = make(form="attention", epochs=2).fit(X).gate_statistics_["a"]["mean"]
    assert shares.shape == (4,) and shares.sum() == pytest.approx(1, rel=1e-6)


def test_three_modalities_with_holes_train_and_code():
    X = views(60, names="abc")
    there = {"c": np.arange(60) % 2 == 0}
    model = make("abc", epochs=2, gates="cross").fit(Modalities(X, present=there))
    assert {"a~b", "a~b alone", "b~c"} <= set(model.history_["train"])
    Z = model.transform(Modalities(X, present=there))
    assert np.isfinite(Z["c"]).all() and not Z.present["c"][1]


def test_what_cannot_be_asked_is_refused():
    X = views(40)
    model = make(gates="cross", epochs=1).fit(X)
    with pytest.raises(ModalityError, match="both 'a'"):
        model.similarities({"a": X["a"]}, {"a": X["a"]})
    with pytest.raises(ModalityError, match="query: expected one modality"):
        model.similarities(X, {"b": X["b"]})
    with pytest.raises(ParameterError, match="k: expected at most 40"):
        model.retrieve({"a": X["a"]}, among={"b": X["b"]}, k=41)
    with pytest.raises(ParameterError, match="multiple of positions = 3"):
        make(form="attention", positions=3).fit(X)
