"""NestedAutoencoder: what each step moves, rows that do not know one another, a known code."""

import numpy as np
import pytest
import torch

from triptych import Modalities, Training
from triptych.errors import ParameterError
from triptych.fusion import NestedAutoencoder
from triptych.fusion._row_codes import RowCodes, Steps
from triptych.nn.recipes import MLP, VectorDecoder
from triptych.training.batches import Rows


def views(n=120, seed=0):
    z = np.random.default_rng(seed).normal(size=(n, 2))
    mix = np.random.default_rng(9)
    X = {
        m: np.tanh(z @ mix.normal(size=(2, p))) * s
        for m, p, s in (("a", 8, 1.0), ("b", 6, 50.0), ("c", 5, 0.1))
    }
    return X, z


def small(cls=NestedAutoencoder, names="abc", epochs=2, **kwargs):
    return cls(
        3,
        **{
            "width": 12,
            "encoders": {m: MLP(depth=0) for m in names},
            "decoders": {m: VectorDecoder(depth=0) for m in names},
            "code_steps": 10,
            "inference_steps": 60,
            "training": Training(
                epochs=epochs, batch_size=25, learning_rate=1e-2, schedule="constant", device="cpu"
            ),
            "random_state": 0,
            **kwargs,
        },
    )


class Watched(NestedAutoencoder):
    """Keeps the state of its rows as training left it."""

    def _after_training(self, X):
        self.kept = {m: v.clone() for m, v in self.network_.rows.named_buffers()}
        super()._after_training(X)


def test_steps_are_adam_on_each_row_by_itself(torch_draws):
    start, goal, size = torch.randn(5, 3), torch.randn(5, 3), torch.rand(5, 1) * 10
    rows = RowCodes(start.clone())
    # Rows 1 and 3 step nine times in company that changes; 0 and 4 never do.
    for company in ([1, 3], [1, 2], [3]) * 3:
        at = torch.tensor(company)
        for _ in range(3):
            rows.take(at, lambda h, at=at: (size[at] * (h - goal[at]) ** 2).sum(1), 1, 0.1)
    for row, steps in ((0, 0), (1, 18), (2, 9), (3, 18), (4, 0)):
        alone = start[row].clone().requires_grad_()
        adam = torch.optim.Adam([alone], lr=0.1)
        for _ in range(steps):
            adam.zero_grad()
            (size[row] * (alone - goal[row]) ** 2).sum().backward()
            adam.step()
        assert int(rows.count[row]) == steps
        torch.testing.assert_close(rows.codes[row], alone.detach(), rtol=1e-4, atol=1e-5)


def test_a_gradient_does_not_hang_on_how_many_rows_there_are(torch_draws):
    start = torch.randn(200, 3)
    many, one = Steps.fresh(start), Steps.fresh(start[:1])
    for steps in (many, one):
        steps.take(lambda h: (h.square() - 1).square().sum(1), 30, 0.1)
    torch.testing.assert_close(many.codes[:1], one.codes, rtol=1e-5, atol=1e-6)


def test_each_step_moves_its_own_and_nothing_else(torch_draws):
    X, _ = views()
    model = small(epochs=1).fit(X)
    net = model.network_
    net.rows = RowCodes(torch.rand(120, 3))
    batch = Rows(Modalities(X), model.inputs_).take(np.arange(30, 55))
    net.train()
    model._pretraining_rounds = 0

    def reached(loss):
        net.zero_grad()
        loss.backward()
        return {
            name.split(".")[0]
            for name, p in net.named_parameters()
            if p.grad is not None and p.grad.abs().sum() > 0
        }

    before = net.rows.codes.clone()
    assert reached(model._terms(net, batch)["loss"]) == {"encoders", "decoders"}
    assert reached(model._degradation_terms(net, batch)["loss"]) == {"degradation"}
    assert torch.equal(net.rows.codes, before)
    weights = [p.detach().clone() for p in net.parameters()]
    model._code_terms(net, batch)
    assert all(torch.equal(p, w) for p, w in zip(net.parameters(), weights, strict=True))
    moved = (net.rows.codes != before).any(1)
    assert moved[30:55].all()
    assert not moved[:30].any()
    assert not moved[55:].any()


def test_the_objective_written_out(torch_draws):
    X, _ = views(9)
    gaps = {"a": np.arange(9) != 2, "b": np.arange(9) != 5}
    data = Modalities(X, present=gaps)
    model = small(epochs=1, agreement=0.7, ridge=0.3).fit(views()[0])
    net = model.network_
    batch = Rows(data, model.inputs_).take(np.arange(9))
    codes = torch.rand(9, 3)
    net.rows = RowCodes(codes)
    net.train()
    with torch.no_grad():
        terms = model._terms(net, batch)
        wanted = 0.5 * 0.3 * float(codes.square().mean())
        for m in "abc":
            rows = [i for i in range(9) if batch.present[m][i]]
            errors, apart = [], []
            for i in rows:
                x = batch.values[m][i : i + 1]
                z = torch.sigmoid(net.encoders[m](x))
                errors.append(float((net.decoders[m](z) - x).square().mean()))
                g = torch.sigmoid(net.degradation[m](codes[i : i + 1]))
                apart.append(float((z - g).square().mean()))
            wanted += 0.5 * np.mean(errors) + 0.7 * 0.5 * np.mean(apart)
    assert float(terms["loss"]) == pytest.approx(wanted, rel=1e-5)
    net.eval()
    del net.rows


def test_no_batch_is_skipped_and_pretraining_moves_no_code():
    X, _ = views(110)  # four batches of 25 and one of 10
    model = small(Watched, epochs=3, pretraining=0.0).fit(X)
    assert model.kept["count"].tolist() == [3 * 10] * 110
    half = small(Watched, epochs=2, pretraining=0.5).fit(X)
    assert half.kept["count"].tolist() == [10] * 110
    assert half.history_["train"]["agreement"][0] == 0
    assert half.history_["train"]["agreement"][1] > 0


def test_rows_are_coded_by_themselves_from_the_mean_code():
    X, _ = views()
    model = small().fit(X)
    new, _ = views(30, seed=1)
    whole = model.transform(new)
    # Products of other sizes differ in the last digit, and 60 steps carry it on.
    shuffled = np.random.default_rng(0).permutation(30)
    np.testing.assert_allclose(
        model.transform({m: v[shuffled] for m, v in new.items()}), whole[shuffled], atol=1e-4
    )
    one = model.transform({m: v[3:4] for m, v in new.items()})
    np.testing.assert_allclose(one, whole[3:4], atol=1e-4)
    np.testing.assert_allclose(model.mean_code_, model.codes_.mean(0), atol=1e-6)
    model.inference_steps = 1
    first = model.transform(new)
    # One step of Adam is as long as its rate, wherever it leads.
    np.testing.assert_allclose(np.abs(first - model.mean_code_), 0.1, atol=1e-2)


def test_validation_is_coded_with_the_networks_held():
    X, _ = views()
    new, _ = views(40, seed=1)
    training = Training(epochs=3, batch_size=25, keep_best=False, device="cpu")
    alone = small(training=training).fit(X)
    watched = small(training=training).fit(X, validation=new)
    np.testing.assert_array_equal(alone.codes_, watched.codes_)
    assert len(watched.history_["valid"]["loss"]) == 3
    terms = watched.history_["valid"]
    assert set(terms) == set(watched.history_["train"])
    # What is said of validation rows is what score says of them; the mean code is settled later.
    assert -watched.score(new) == pytest.approx(terms["loss"][-1], rel=0.02)


def test_rows_set_aside_have_no_code_that_pulls_at_the_mean():
    X, _ = views()
    training = Training(epochs=1, batch_size=25, validation_share=0.5, device="cpu")
    assert small(Watched, training=training).fit(X).kept["codes"].shape == (60, 3)


def test_the_code_is_found_from_any_modalities():
    X, z = views(150)
    new, z_new = views(80, seed=1)
    model = small(epochs=15).fit(X)

    def r2(Z, Z_new):
        Z, Z_new = (np.column_stack([v, v**2, np.ones(len(v))]) for v in (Z, Z_new))
        left = z_new - Z_new @ np.linalg.lstsq(Z, z, rcond=None)[0]
        return 1 - (left**2).sum() / ((z_new - z_new.mean(0)) ** 2).sum()

    assert r2(model.codes_, model.transform(new)) > 0.7
    some = [{m: part[m] for m in "ac"} for part in (X, new)]
    assert r2(*map(model.transform, some)) > 0.7
    rebuilt = model.reconstruct({"a": new["a"], "c": new["c"]})["b"]
    assert 1 - ((rebuilt - new["b"]) ** 2).sum() / (new["b"] ** 2).sum() > 0.5


def test_training_codes_are_near_what_transform_finds():
    X, _ = views()
    model = small(epochs=10).fit(X)
    assert model.codes_.shape == (120, 3)
    found = model.transform(X)
    apart = np.linalg.norm(found - model.codes_, axis=1)
    spread = np.linalg.norm(model.codes_ - model.codes_.mean(0), axis=1)
    assert np.median(apart) < 0.5 * np.median(spread)


def test_what_cannot_be_used_is_named():
    X, _ = views(20)
    for bad in ("agreement", "code_learning_rate"):
        with pytest.raises(ParameterError, match=f"{bad}: expected a number > 0, got 0"):
            small(**{bad: 0}).fit(X)
    for bad in ("code_steps", "inference_steps", "width"):
        with pytest.raises(ParameterError, match=f"{bad}: expected a whole number >= 1"):
            small(**{bad: 0}).fit(X)
    with pytest.raises(ParameterError, match="pretraining"):
        small(pretraining=1.0).fit(X)
