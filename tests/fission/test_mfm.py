"""MFM: its terms written out, what it does when modalities are absent, its interpretation."""

import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

import triptych
from triptych import Modalities, Training
from triptych.datasets import synthetic
from triptych.errors import DataError, ParameterError, ShapeError
from triptych.fission import MFM
from triptych.fission._mfm_network import proper_subsets
from triptych.losses.divergence import hsic, mmd
from triptych.nn.recipes import MLP, VectorDecoder
from triptych.training.batches import Rows

NAMES = ("a", "b", "c")


def factors(n=200, names=NAMES, **given):
    return synthetic.shared_private(n, names=names, random_state=0, **given)


def small(names=NAMES, **given):
    settings = {
        "n_private": 3,
        "factors": 8,
        "width": 16,
        "encoders": {m: MLP(width=16, depth=1) for m in names},
        "decoders": {m: VectorDecoder(width=16, depth=1) for m in names},
        "training": Training(epochs=2, batch_size=32, device="cpu"),
        "random_state": 0,
    }
    return MFM(4, **{**settings, **given})


@pytest.fixture(scope="module")
def tiny():
    sample = factors(64)
    y = (sample.shared[:, 0] > 0).astype(int)
    return sample, y, small().fit(sample.X, y)


@pytest.fixture(scope="module")
def known():
    """Two modalities, one shared factor that is the label, one private factor each."""
    sample = factors(1200, ("a", "b"), n_shared=1, n_private=1, noise=0.05)
    y = sample.shared[:, 0]
    training = Training(epochs=12, batch_size=64, learning_rate=8e-3, device="cpu")
    return sample, small(("a", "b"), training=training).fit(sample.X[:900], y[:900])


def rows_of(model, X, y=None):
    return Rows(X, model.inputs_, None if y is None else model.target_.numbers(y)).take(
        np.arange(len(X))
    )


# -- the terms ---------------------------------------------------------------------------


def test_the_loss_is_the_weighted_sum_of_joint_costs_and_divergences(tiny, torch_draws):
    sample, y, _ = tiny
    given = {"weights": {"a": 0.3}, "prior": 2.0, "task_weight": 0.7, "surrogate": 0.4}
    model = small(**given).fit(sample.X, y)
    batch = rows_of(model, sample.X, y)
    found = model._terms(model.network_, batch)
    z = model.network_.latents(batch)
    codes = model.network_.decoder_codes(z)
    total = 0.0
    for m, weight in (("a", 0.3), ("b", 1.0), ("c", 1.0)):
        made = model.network_.decoders[m](codes[m])
        error = (made - batch.values[m]).square().mean()
        assert found[m].item() == pytest.approx(error.item(), rel=1e-5)
        total += weight * error.item()
    logits = model.network_.read(z)
    task = -logits.log_softmax(1)[torch.arange(64), batch.y].mean()
    total += 0.7 * task.item() + 2.0 * found["prior"].item()
    total += (
        0.4
        * (found["surrogate"] + found["surrogate error"] + 0.7 * found["surrogate task"]).item()
    )
    assert found["loss"].item() == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize(
    ("kernel", "widths"),
    [("imq", lambda d: math.sqrt(2 * d)), ("authors", lambda d: d / math.sqrt(2))],
)
def test_the_prior_is_met_by_every_code_with_fresh_draws(tiny, kernel, widths, torch_draws):
    sample, _, model = tiny
    model = small(kernel=kernel).fit(sample.X, tiny[1])
    batch = rows_of(model, sample.X)
    torch.manual_seed(5)
    found = [model._terms(model.network_, batch)["prior"].item() for _ in range(2)]
    assert found[0] != found[1]
    torch.manual_seed(5)
    z = model.network_.latents(batch)
    total = 0.0
    for code in (z.label, *z.private.values()):
        drawn, d = torch.randn(code.shape), code.shape[1]
        form = "imq" if kernel == "imq" else "gaussian"
        total += mmd(code, drawn, kernel=form, widths=widths(d)).item()
    assert found[0] == pytest.approx(total, abs=1e-6)


def test_the_authors_kernel_divides_by_the_width_twice():
    z, drawn = torch.zeros(1, 6), torch.full((1, 6), 2.0)
    # exp(-mean((x - y)^2) / d): the squared distance over d squared.
    plain = 2 - 2 * math.exp(-4.0 / 6)
    assert mmd(z, drawn, widths=6 / math.sqrt(2)).item() == pytest.approx(plain, rel=1e-5)


def test_a_heavy_prior_draws_codes_to_itself_and_takes_from_the_rest():
    sample = factors(200, ("a", "b"))
    y = (sample.shared[:, 0] > 0).astype(int)
    training = Training(epochs=8, batch_size=40, learning_rate=1e-2, device="cpu")
    found = []
    for prior in (0.0, 300.0):
        model = small(("a", "b"), prior=prior, surrogate=0.0, training=training)
        t = model.fit(sample.X, y).history_["train"]
        found.append((t["prior"][-1], t["task"][-1]))
    # Three codes of 40 draws are about 3 x 0.04 apart from the prior they come from.
    assert found[1][0] < 0.15 < 0.35 < found[0][0]
    assert found[1][1] > found[0][1] + 0.05


def test_independence_adds_squared_correlations_of_every_two_codes(tiny, torch_draws):
    sample, y, _ = tiny
    there = np.arange(64) < 40
    X = sample.X.with_present({"c": there})
    model = small(independence=0.5, surrogate=0.0).fit(X, y)
    batch = rows_of(model, X, y)
    found = model._terms(model.network_, batch)
    z = model.network_.latents(batch)
    codes = {"y": z.label, **z.private}
    total = 0.0
    for a, b in (("y", "a"), ("y", "b"), ("y", "c"), ("a", "b"), ("a", "c"), ("b", "c")):
        rows = there if "c" in (a, b) else slice(None)
        one, other = (codes[k].detach().numpy()[rows] for k in (a, b))
        between = np.corrcoef(one.T, other.T)[: one.shape[1], one.shape[1] :]
        total += (between**2).sum() / min(between.shape)
    assert found["dependence"].item() == pytest.approx(total, rel=1e-4)  # float32
    rest = sum(found[m] for m in NAMES) + found["prior"] + found["task"]
    assert found["loss"].item() == pytest.approx(rest.item() + 0.5 * total, rel=1e-4)
    assert "dependence" not in small().fit(X, y).history_["train"]


def test_independence_keeps_the_label_out_of_private_codes():
    sample = factors(400, ("a", "b"), n_shared=1, n_private=1, noise=0.05)
    y = sample.shared[:, 0]
    told = []
    for weight in (0.0, 3.0):
        training = Training(epochs=10, batch_size=50, learning_rate=8e-3, device="cpu")
        model = small(("a", "b"), independence=weight, training=training)
        Z = model.fit(sample.X[:300], y[:300]).transform(sample.X)
        reader = LinearRegression().fit(Z["a"][:300], y[:300])
        told.append(reader.score(Z["a"][300:], y[300:]))
    assert told[1] < 0.55 < 0.7 < told[0]


def test_numbers_cost_their_absolute_error(tiny):
    sample, _, _ = tiny
    y = sample.shared[:, 0] * 10 + 3
    model = small().fit(sample.X, y)
    batch = rows_of(model, sample.X, y)
    outputs = model._outputs(model.network_, batch)[:, 0].detach().numpy()
    plain = np.abs(outputs - (y - y.mean()) / y.std()).mean()
    assert model._task_loss(torch.from_numpy(outputs)[:, None], batch).item() == pytest.approx(
        plain, rel=1e-5
    )
    assert model.predict(sample.X).std() < 20 and model.score(sample.X, y) <= 1


def test_surrogates_are_asked_of_what_is_hidden_and_of_nothing_else(
    tiny, torch_draws, monkeypatch
):
    sample, y, model = tiny
    batch = rows_of(model, sample.X, y)
    network = model.network_
    shown = {m: torch.ones(64, dtype=torch.bool) for m in NAMES}
    shown["b"] = torch.arange(64) % 2 == 0
    shown["c"] = torch.arange(64) % 2 == 1
    monkeypatch.setattr("triptych.fission.mfm.proper_subsets", lambda present: shown)
    z = network.latents(batch)
    found = model._surrogate_terms(network, batch, z)
    made = network.without(batch, shown)
    apart = (made.label - z.label).square().mean().item()
    error = 0.0
    label = network.label_factor(made.label)
    for m in (
        "b",
        "c",
    ):  # each hidden modality rebuilt from its own surrogate, none from another's
        gone = ~shown[m]
        apart += (made.private[m] - z.private[m])[gone].square().mean().item()
        code = torch.cat([label, network.private_factors[m](made.private[m])], 1)
        error += (network.decoders[m](code) - batch.values[m])[gone].square().mean().item()
    assert found["surrogate"].item() == pytest.approx(apart, rel=1e-5)
    assert found["surrogate error"].item() == pytest.approx(error, rel=1e-5)
    # Codes are what surrogates learn from, and are not drawn to them.
    model.network_.zero_grad()
    found["surrogate"].backward()
    assert all(p.grad is None for p in network.private.parameters())
    assert any(p.grad is not None for p in network.surrogates.parameters())
    model.network_.zero_grad()


def test_subsets_are_proper_and_all_come_up(torch_draws):
    present = {m: torch.ones(4000, dtype=torch.bool) for m in NAMES}
    present["a"][:1000] = False
    present["b"][:500] = False
    shown = proper_subsets(present)
    table = torch.stack([shown[m] for m in NAMES], 1)
    there = torch.stack([present[m] for m in NAMES], 1)
    assert not bool((table & ~there).any())
    assert not bool(table[:500].any())  # only c is there, and nothing smaller is left
    sizes = table[500:].sum(1)
    assert bool((sizes >= 1).all()) and bool((sizes < there[500:].sum(1)).all())
    full = table[1000:]
    for row in ([1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]):
        share = (full == torch.tensor(row).bool()).all(1).float().mean().item()
        # One in six; the spread of a share of 3000 rows is 0.007.
        assert share == pytest.approx(1 / 6, abs=0.03)


def test_rows_of_which_nothing_is_known_teach_no_labels():
    sample = factors(60)
    y = (sample.shared[:, 0] > 0).astype(int)
    gone = np.arange(60) % 3 == 0
    holes = sample.X.with_present(dict.fromkeys(NAMES, ~gone))
    one, other = (
        small().fit(holes, labels).predict_proba(sample.X)
        for labels in (y, np.where(gone, 1 - y, y))
    )
    np.testing.assert_array_equal(one, other)


# -- codes and labels --------------------------------------------------------------------


def test_labels_do_not_enter_the_codes(tiny):
    sample, y, model = tiny
    batch, blind = rows_of(model, sample.X, y), rows_of(model, sample.X)
    torch.testing.assert_close(
        model.network_.latents(batch).label, model.network_.latents(blind).label
    )


def test_private_codes_read_their_own_modality_alone(tiny):
    sample, _, model = tiny
    whole = model.transform(sample.X)
    alone = model.transform(sample.X.select("b"))
    np.testing.assert_allclose(alone["b"], whole["b"], atol=1e-6)
    assert np.abs(alone["shared"] - whole["shared"]).max() > 1e-3  # a surrogate, not the joint
    holed = sample.X.with_present({"a": np.arange(64) % 2 == 0})
    Z = model.transform(holed)
    np.testing.assert_allclose(Z["shared"][::2], whole["shared"][::2], atol=1e-5)
    np.testing.assert_allclose(
        Z["shared"][1::2], model.transform(sample.X.select("b", "c"))["shared"][1::2], atol=1e-5
    )


def test_factors_follow_the_codes(tiny):
    sample, _, model = tiny
    made = model.factors_of(sample.X)
    assert made.names == ("shared", *NAMES) and made["shared"].shape == (64, 8)
    assert (made["a"] >= 0).all()  # rectified
    Z = torch.from_numpy(model.transform(sample.X)["shared"])
    with torch.no_grad():
        wanted = model.network_.label_factor(Z)
    np.testing.assert_allclose(made["shared"], wanted.numpy(), atol=1e-5)


def test_predicts_rebuilds_and_imputes(known):
    sample, model = known
    X, y = sample.X[900:], sample.shared[900:, 0]
    assert model.score(X, y) > 0.8
    for m in ("a", "b"):  # the label is in both, so a surrogate has it too
        found = model.predict(X.select(m))
        assert np.corrcoef(found, y)[0, 1] > 0.9
    made = model.reconstruct(X.select("b"))["a"]
    error = ((made - X["a"]) ** 2).sum() / ((X["a"] - X["a"].mean(0)) ** 2).sum()
    # Of two factors of a, one can be known from b: half of the spread is left, and little more.
    assert error < 0.7


@pytest.mark.parametrize("complete", [0, 8])
def test_more_modalities_are_not_worse_where_training_rows_lack_them(complete, tmp_path):
    sample = factors(400, ("a", "b"), n_shared=1, n_private=1, noise=0.05)
    y = (sample.shared[:, 0] > 0).astype(int)
    rows = np.arange(300)
    whole, half = rows < complete, rows % 2 == 0
    holes = sample.X[:300].with_present({"a": half | whole, "b": ~half | whole})
    training = Training(epochs=16, batch_size=32, learning_rate=1e-2, device="cpu")
    model = small(("a", "b"), training=training).fit(holes, y[:300])
    assert not model.jointly_
    X, truth = sample.X[300:], y[300:]
    found = [(model.predict(part) == truth).mean() for part in (X, X.select("a"), X.select("b"))]
    # The label is in both. Of 100 rows, chance is 0.5 +- 0.05; three near the border may differ.
    assert min(found[1:]) > 0.85 and found[0] > max(found[1:]) - 0.03
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(triptych.load(tmp_path / "m").predict(X), model.predict(X))


def test_swap_changes_what_is_private(known):
    sample, model = known
    X, donors = sample.X[900:], sample.X[900:][np.arange(300)[::-1]]
    np.testing.assert_allclose(model.swap(X, X)["b"], model.reconstruct(X)["b"], atol=1e-5)
    u = np.concatenate([sample.shared, sample.private["a"]], axis=1)
    inputs = np.column_stack([sample.X["a"], np.ones(1200)])
    reader = np.linalg.lstsq(inputs, u, rcond=None)[0]
    shown = np.column_stack([model.swap(X, donors)["a"], np.ones(300)]) @ reader
    shared, private = sample.shared[900:, 0], sample.private["a"][900:, 0]
    assert np.corrcoef(shown[:, 0], shared)[0, 1] > 0.7
    assert np.corrcoef(shown[:, 1], private[::-1])[0, 1] > 0.7
    assert abs(np.corrcoef(shown[:, 1], private)[0, 1]) < 0.4
    with pytest.raises(ShapeError, match="300 rows and 299"):
        model.swap(X, donors[:299])


def test_generated_rows_agree_with_their_labels(known):
    _, model = known
    made, labels = model.sample(500, random_state=3)
    assert len(made) == len(labels) == 500 and made.names == ("a", "b")
    # What is generated, read by the model itself, is what it was generated with.
    assert np.corrcoef(model.predict(made), labels)[0, 1] > 0.8
    again, _ = model.sample(500, random_state=3)
    np.testing.assert_array_equal(made["a"], again["a"])
    with pytest.raises(ParameterError, match="n: expected"):
        model.sample(0)


def test_every_form_of_data_and_disk(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    X = Modalities(
        {
            "seq": [v + 0.1 * rng.normal(size=(int(rng.integers(2, 6)), 2)) for v in y],
            "pic": rng.normal(size=(40, 1, 8, 8)) + y[:, None, None, None],
            "txt": [("dark night", "bright day")[v] for v in y],
        }
    )
    training = Training(epochs=2, batch_size=16, device="cpu")
    model = MFM(2, n_private={"seq": 3, "pic": 2, "txt": 1}, width=8, factors=4, training=training,
                random_state=0).fit(X, y)  # fmt: skip
    assert {m: z.shape[1] for m, z in model.transform(X).items()} == {
        "shared": 2, "seq": 3, "pic": 2, "txt": 1,
    }  # fmt: skip
    made = model.reconstruct(X.select("pic"))
    assert made.kind("seq").form == "sequence" and made["pic"].shape == (40, 1, 8, 8)
    flow = model.gradient_flow(X)
    assert flow["seq"].shape == (40, 5) and flow["pic"].shape == (40, 8, 8) and "txt" not in flow
    assert set(model.information(X)) == {"seq", "pic"}
    model.save(tmp_path / "m")
    back = triptych.load(tmp_path / "m")
    np.testing.assert_array_equal(back.predict(X), model.predict(X))
    np.testing.assert_array_equal(back.transform(X)["seq"], model.transform(X)["seq"])


# -- interpretation ----------------------------------------------------------------------


def test_gradient_flow_is_the_squared_jacobian(tiny):
    sample, _, model = tiny
    X = sample.X[:5]
    codes = model.network_.decoder_codes(model.network_.latents(rows_of(model, X)))
    for factor, part in (("shared", slice(0, 8)), ("private", slice(8, 16))):
        flow = model.gradient_flow(X, factor)
        for row in range(5):
            jacobian = torch.autograd.functional.jacobian(
                lambda c: model.network_.decoders["a"](c[None])[0], codes["a"][row].detach()
            )
            plain = jacobian[:, part].square().sum(1)
            np.testing.assert_allclose(flow["a"][row], plain.numpy(), rtol=1e-4, atol=1e-7)
    with pytest.raises(ParameterError, match="factor"):
        model.gradient_flow(X, "label")


def test_gradient_flow_through_time_is_the_jacobian_of_each_step(torch_draws):
    rng = np.random.default_rng(0)
    X = Modalities({"s": rng.normal(size=(20, 4, 2)), "v": rng.normal(size=(20, 3))})
    training = Training(epochs=1, batch_size=10, device="cpu")
    model = MFM(2, n_private=2, width=8, factors=3, training=training, random_state=0)
    model.fit(X, np.arange(20) % 2)
    codes = model.network_.decoder_codes(model.network_.latents(rows_of(model, X)))["s"]
    jacobian = torch.autograd.functional.jacobian(
        lambda c: model.network_.decoders["s"].generate(c[None])[0], codes[3].detach()
    )  # (t, p, code)
    plain = jacobian[..., :3].square().sum((1, 2))
    np.testing.assert_allclose(model.gradient_flow(X)["s"][3], plain.numpy(), rtol=1e-4)


def test_information_is_the_ratio_of_normalised_dependence(tiny):
    sample, _, model = tiny
    found = model.information(sample.X)
    F = model.factors_of(sample.X)
    batch = rows_of(model, sample.X)
    with torch.no_grad():
        code = model.network_.decoder_codes(model.network_.latents(batch))["b"]
        made = model.network_.decoders["b"].generate(code)
    shared, private = (
        float(hsic(torch.from_numpy(F[part]), made, normalised=True)) for part in ("shared", "b")
    )
    assert found["b"]["shared"] == pytest.approx(shared, rel=1e-3)
    assert found["b"]["ratio"] == pytest.approx(shared / private, rel=1e-3)
    with pytest.raises(DataError, match="at least 2 rows"):
        model.information(sample.X[:1])


def test_what_only_the_shared_factor_knows_has_the_larger_ratio():
    """a is all shared, b mostly private: the shared factor informs a more."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=400)
    a = y[:, None] * rng.normal(size=4) + 0.1 * rng.normal(size=(400, 4))
    b = rng.normal(size=(400, 2)) @ rng.normal(size=(2, 4)) + 0.2 * y[:, None]
    names = ("a", "b")
    training = Training(epochs=12, batch_size=64, learning_rate=8e-3, device="cpu")
    model = small(names, training=training, n_private={"a": 1, "b": 3}).fit({"a": a, "b": b}, y)
    found = model.information({"a": a, "b": b})
    assert found["a"]["ratio"] > 2 * found["b"]["ratio"]


# -- bad input ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kernel": "linear"}, "kernel"),
        ({"n_private": 0}, "n_private"),
        ({"n_private": {"a": 2, "b": 0, "c": 1}}, "n_private__b"),
        ({"n_private": {"a": 2, "b": 2}}, r"no width for \['c'\]"),
        ({"weights": {"d": 1.0}}, "no modalities"),
        ({"weights": {"a": -1.0}}, "weights__a"),
        ({"weights": [1, 2]}, "weights: expected a dict by modality name"),
        ({"prior": -1}, "prior"),
        ({"independence": -1}, "independence"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_settings_that_cannot_be_are_named(given, message):
    sample = factors(20)
    with pytest.raises(ParameterError, match=message):
        small(**given).fit(sample.X, np.arange(20) % 2)


def test_labels_are_needed_and_few_rows_do():
    sample = factors(20)
    with pytest.raises(DataError, match="learns from labels"):
        small().fit(sample.X)
    # Codes wider than the rows are many, and than any modality.
    model = MFM(40, n_private=40, width=8, factors=4, random_state=0,
                training=Training(epochs=1, batch_size=8, device="cpu"))  # fmt: skip
    Z = model.fit(sample.X, np.arange(20) % 2).transform(sample.X)
    assert all(np.isfinite(Z[part]).all() for part in Z.names)
