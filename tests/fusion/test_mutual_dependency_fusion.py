"""MutualDependencyFusion: bounds that stay below the truth, negatives apart, divergence named."""

import math

import numpy as np
import pytest
import torch

from triptych import Modalities, Training, load
from triptych.errors import (
    CapabilityError,
    DataError,
    ParameterError,
    TrainingError,
    TrainingWarning,
)
from triptych.fusion import ConcatFusion, MutualDependencyFusion
from triptych.fusion._dependency import apart
from triptych.fusion.mutual_dependency_fusion import FUSIONS
from triptych.nn.recipes import MLP
from triptych.training.batches import Rows

TRAINING = Training(epochs=15, batch_size=100, learning_rate=1e-2, device="cpu")
SOME = Training(epochs=8, batch_size=100, learning_rate=2e-2, device="cpu")
ONCE = Training(epochs=1, batch_size=20, device="cpu")
RHO = 0.9


def world(n=500, seed=0, rho=RHO):
    """Two normal variables whose information is -log(1 - rho²) / 2; a's sign is the label."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=n)
    b = rho * a + math.sqrt(1 - rho**2) * rng.normal(size=n)
    return {"a": a[:, None], "b": b[:, None]}, (a > 0).astype(int)


def small(**more):
    given = {
        "fusion": "ConcatFusion",
        "encoders": {m: MLP(width=16, depth=1) for m in "ab"},
        "width": 16,
        "training": TRAINING,
        "random_state": 0,
        **more,
    }
    return MutualDependencyFusion(4, **given)


@pytest.fixture(scope="module")
def fitted():
    X, y = world()
    return small(measure="kl", weight=1.0, critic_steps=3).fit(X, y)


@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 3), (7, 2), (20, 4)])
def test_negatives_never_leave_two_modalities_of_a_row_together(n, m):
    for seed in range(30):
        rows = apart(n, m, np.random.default_rng(seed))
        assert all(sorted(one) == list(range(n)) for one in rows.tolist())
        assert all(len(set(place)) == m for place in rows.T.tolist())


def test_every_pair_of_different_rows_is_as_likely():
    counts = np.zeros((5, 5))
    rng = np.random.default_rng(0)
    for _ in range(2000):
        a, b = apart(5, 2, rng)
        counts[a, b] += 1
    assert not counts.diagonal().any()
    # 500 expected of each pair, four standard errors of a count.
    assert np.abs(counts[~np.eye(5, dtype=bool)] - 500).max() < 4 * math.sqrt(500)


@pytest.mark.parametrize("name", sorted(FUSIONS))
def test_without_weight_it_is_the_fusion_itself(name):
    X, y = world(60)
    own = {"LowRankFusion": {"rank": 2}, "MultiplicativeFusion": {"form": "film"}}.get(name, {})
    common = {
        "encoders": {m: MLP(width=8, depth=1) for m in "ab"},
        "dropout": 0.2,
        "training": ONCE,
        "random_state": 0,
    }
    bare = FUSIONS[name](4, **common, **own).fit(X, y)
    model = MutualDependencyFusion(4, fusion=name, options=own, weight=0.0, **common).fit(X, y)
    np.testing.assert_array_equal(model.transform(X), bare.transform(X))
    np.testing.assert_array_equal(model.predict_proba(X), bare.predict_proba(X))
    assert model.history_["train"] == bare.history_["train"]
    with pytest.raises(CapabilityError, match="no critic, since weight is 0"):
        model.dependency_scores(X)


@pytest.mark.parametrize("name", sorted(FUSIONS))
def test_any_fusion_learns_beside_a_critic(name):
    X, y = world(100)
    model = small(fusion=name, measure="f", divergence="js", width=None).fit(X, y)
    assert set(model.history_["train"]) == {"loss", "task", "dependency", "loss:critic.0"}
    assert model.score(X, y) > 0.9


@pytest.mark.parametrize("measure", ["kl", "f", "wasserstein"])
def test_the_loss_is_the_task_less_the_weighted_bound(measure):
    X, y = world(50)
    model = small(measure=measure, weight=0.3, training=ONCE, modality_dropout=0.0).fit(X, y)
    network = model.network_.train()
    batch = Rows(Modalities(X), model.inputs_, model.target_.numbers(y)).take(np.arange(50))
    terms = model._terms(network, batch)
    features = model._features(network, batch)
    rows = apart(50, 2, model._draws(network, "negatives"))
    there = {m: torch.ones(50, dtype=torch.bool) for m in "ab"}
    joint = network.fuse(features, there)
    product = network.fuse({m: features[m][rows[k]] for k, m in enumerate("ab")}, there)
    p, q = (network.critic(torch.tanh(z))[:, 0] for z in (joint, product))
    bound = {
        "kl": p.mean() - torch.log(q.exp().mean()),
        "f": p.mean() - (q - 1).exp().mean(),
        "wasserstein": p.mean() - q.mean(),
    }[measure]
    task = torch.nn.functional.cross_entropy(network.head(joint), batch.y)
    torch.testing.assert_close(terms["dependency"], bound)
    torch.testing.assert_close(terms["loss"], task - 0.3 * bound)
    # Epochs are judged by the task.
    judged = model._terms(network.eval(), batch)
    torch.testing.assert_close(judged["loss"], judged["task"])


def test_each_step_moves_its_own_weights_only():
    X, y = world(40)
    model = small(training=ONCE).fit(X, y)
    network = model.network_
    whole, critic = model._phases(network)
    everything = {id(p) for p in network.parameters()}
    moved = [{id(p) for p in phase.parameters} for phase in (whole, critic)]
    assert moved[0] | moved[1] == everything and not moved[0] & moved[1]
    assert moved[1] == {id(p) for p in network.critic.parameters()}
    assert critic.steps == model.critic_steps


def test_the_estimate_on_new_rows_stays_below_the_truth(fitted):
    truth = -0.5 * math.log(1 - RHO**2)
    found = fitted.dependency(world(2000, seed=1)[0])
    # A code cannot tell more than the modalities do (0.83 nats); the standard error is 0.03.
    assert 0.4 < found < truth + 0.1
    assert fitted.history_["train"]["dependency"][-1] > 0.4


@pytest.mark.parametrize("measure", ["kl", "f", "wasserstein"])
def test_modalities_that_are_unrelated_show_nothing(measure):
    X, _ = world(400, rho=0.0)
    y = (X["a"][:, 0] + X["b"][:, 0] > 0).astype(int)
    model = small(measure=measure, weight=0.1, training=SOME).fit(X, y)
    assert model.dependency(world(1000, seed=1, rho=0.0)[0]) < 0.05
    assert model.score(X, y) > 0.9


def test_wasserstein_critics_have_slopes_of_about_one():
    X, y = world(300)
    model = small(measure="wasserstein", weight=0.5, critic_steps=3, training=SOME).fit(X, y)
    z = torch.from_numpy(model.transform(X)).tanh().requires_grad_()
    (slope,) = torch.autograd.grad(model.network_.scores(z).sum(), z)
    # The penalty is soft: near 1, and nowhere far beyond.
    assert slope.norm(dim=1).mean() < 1.3
    # Codes lie within the cube [-1, 1]^4, whose diagonal no distance exceeds.
    assert abs(model.dependency(X)) <= 2 * math.sqrt(4)
    assert "penalty" in model.history_["train"]


def test_scores_tell_rows_whose_modalities_contradict_each_other(fitted):
    X, _ = world(300, seed=2)
    crossed = {"a": X["a"], "b": -X["b"]}
    own, other = fitted.dependency_scores(X), fitted.dependency_scores(crossed)
    assert own.mean() > 0 > other.mean()
    # The share of pairs in which the row that belongs together scores higher.
    assert (own[:, None] > other[None]).mean() > 0.85
    np.testing.assert_allclose(fitted.dependency_scores({m: v[:5] for m, v in X.items()}), own[:5])


def test_many_rows_are_scored_in_pieces(fitted, monkeypatch):
    X, _ = world(50, seed=4)
    whole, bound = fitted.dependency_scores(X), fitted.dependency(X)
    seen, read = [], fitted._read_by_critic

    def reading(network, features):
        seen.append(len(features["a"]))
        return read(network, features)

    monkeypatch.setattr(fitted, "_read_by_critic", reading)
    monkeypatch.setattr("triptych.fusion.mutual_dependency_fusion.CODE_ROWS", 20)
    # Other batches, and so other roundings of float32.
    np.testing.assert_allclose(fitted.dependency_scores(X), whole, atol=1e-5)
    assert fitted.dependency(X) == pytest.approx(bound, abs=1e-5)
    assert seen == [20, 20, 10] * 3


def test_scores_have_their_zero_where_modalities_are_strangers(fitted):
    X, _ = world()
    rows = apart(500, 2, np.random.default_rng(5))
    strangers = {m: X[m][rows[k]] for k, m in enumerate("ab")}
    # Standard error of a mean of 500 scores whose spread is a few nats.
    assert abs(fitted.dependency_scores(strangers).mean()) < 1.0


def test_rows_that_lack_a_modality_do_not_enter_the_dependency():
    X, y = world(60)
    gone = np.arange(60) % 3 == 0
    holed = Modalities(X, present={"b": ~gone})
    model = small(training=ONCE, measure="kl").fit(holed, y)
    numbers = model.target_.numbers(y)
    batch = Rows(holed, model.inputs_, numbers).take(np.arange(60))
    whole = Rows(Modalities(X), model.inputs_, numbers).take(np.flatnonzero(~gone))
    found, expected = (model._terms(model.network_, b)["dependency"] for b in (batch, whole))
    torch.testing.assert_close(found, expected)
    with pytest.raises(CapabilityError, match="'b' is absent in 20 rows, the first is row 0"):
        model.dependency_scores(holed)
    assert model.predict(holed).shape == (60,)


def test_features_can_be_scored_instead_of_the_code():
    X, y = world(60)
    model = small(scored="features", training=ONCE).fit(X, y)
    assert model.network_.critic[0].in_features == 32
    batch = Rows(Modalities(X), model.inputs_, model.target_.numbers(y)).take(np.arange(60))
    loss = model._terms(model.network_, batch)
    (slope,) = torch.autograd.grad(
        loss["dependency"], model.network_.fuse.joint[0].weight, allow_unused=True
    )
    assert slope is None  # the fusing module feels the task alone


def test_saved_with_its_critic(fitted, tmp_path):
    X, _ = world(20, seed=3)
    fitted.save(tmp_path / "model")
    again = load(tmp_path / "model")
    np.testing.assert_array_equal(again.dependency_scores(X), fitted.dependency_scores(X))


# -- divergence ----------------------------------------------------------------------------

WILD = {
    "measure": "f",
    "divergence": "pearson",
    "weight": 1e4,
    "bound_limit": 5.0,
    "training": Training(
        epochs=20, batch_size=50, learning_rate=0.3, gradient_clip=None, device="cpu"
    ),
}


def test_a_critic_that_diverges_stops_training_and_is_named():
    X, y = world(100)
    with pytest.raises(
        TrainingError, match=r"dependency .* \(measure 'f'\) became .*weight = 10000"
    ):
        small(**WILD).fit(X, y)


def test_or_training_goes_on_without_it():
    X, y = world(100)
    with pytest.warns(TrainingWarning, match="The task alone is learnt from here") as told:
        model = small(on_divergence="continue", **WILD).fit(X, y)
    assert len(told) == 1
    assert model.diverged_at_ > 0
    assert model.history_["train"]["dependency"][-1] == 0
    assert all(math.isfinite(v) for terms in model.history_.train.values() for v in terms)
    with pytest.raises(CapabilityError, match=f"diverged at step {model.diverged_at_}"):
        model.dependency(X)


def test_a_best_epoch_from_before_does_not_undo_that_the_critic_was_given_up():
    X, y = world(120)
    training = Training(epochs=2, batch_size=84, validation_share=0.3, device="cpu")
    model = small(
        measure="f",
        divergence="pearson",
        weight=1000.0,
        bound_limit=0.5,
        on_divergence="continue",
        training=training,
    )
    network = None

    def worse(terms=model._terms):
        calls = iter(range(100))

        def judged(given, batch):
            nonlocal network
            network = given
            found = terms(given, batch)
            if given.training:
                return found
            # Validation gets worse from the first epoch on, so that the first is the best.
            return {**found, "loss": torch.tensor(float(next(calls)))}

        return judged

    def bound(given, joint, product, bound=model._bound):
        late = given.training and int(given.steps) > 3
        return bound(given, joint, product) * 0 + (9.0 if late else 0.0)

    model._terms, model._bound = worse(), bound
    with pytest.warns(TrainingWarning, match="at step 4, beyond bound_limit = 0.5"):
        model.fit(X, y)
    assert model.history_.best_epoch == 0
    assert model.diverged_at_ == 4
    with pytest.raises(CapabilityError, match="diverged at step 4"):
        model.dependency(X)


# -- rows that lack modalities -------------------------------------------------------------


def test_data_without_complete_rows_are_refused():
    X, y = world(40)
    half = np.arange(40) % 2 == 0
    never = Modalities(X, present={"a": half, "b": ~half})
    with pytest.raises(DataError, match="at least 2; there are 0 among 40 rows"):
        small(training=ONCE).fit(never, y)
    assert small(training=ONCE, weight=0.0).fit(never, y).predict(never).shape == (40,)
    # Two rows are complete, and most are set aside.
    few = Modalities(X, present={"a": half | (np.arange(40) < 4), "b": ~half})
    held = Training(epochs=1, validation_share=0.8, device="cpu")
    with pytest.raises(DataError, match=r"set aside for validation there are [01] among 8 rows"):
        small(training=held).fit(few, y)


def test_batches_smaller_than_the_modalities_are_refused():
    X, y = world(40)
    X = {**X, "c": X["a"] + X["b"]}
    with pytest.raises(ParameterError, match=r"training__batch_size: 3 modalities .* at least 3"):
        small(training=Training(epochs=1, batch_size=2, device="cpu"), width=4).fit(X, y)


def test_a_critic_that_no_batch_taught_tells_nothing(tmp_path):
    X, y = world(400)
    rare = Modalities(X, present={"a": np.arange(400) < 2})
    training = Training(epochs=1, batch_size=4, device="cpu")
    with pytest.warns(TrainingWarning, match="2 of 400 training rows have all modalities"):
        model = small(training=training).fit(rare, y)
    model.save(tmp_path / "model")
    for one in (model, load(tmp_path / "model")):
        for asked in (one.dependency, one.dependency_scores):
            with pytest.raises(CapabilityError, match="no critic, since no training batch had 2"):
                asked(X)


def test_a_calm_fit_has_no_divergence_to_report(fitted):
    assert fitted.diverged_at_ is None and fitted.unrelated_ != 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"fusion": "LateFusion"}, "fusion: expected one of"),
        ({"options": {"rank": 3}}, r"ConcatFusion has no \['rank'\] of its own; it has \[\]"),
        (
            {"fusion": "LowRankFusion", "options": {"rnk": 3}},
            r"no \['rnk'\] of its own; it has \['rank'\]",
        ),
        ({"fusion": "LowRankFusion", "options": {"rank": 0}}, "rank: expected a whole number"),
        ({"options": {"width": 3}}, r"has no \['width'\] of its own"),
        ({"options": ["rank"]}, r"options: expected a dict .* got list \['rank'\]"),
        ({"measure": "hsic"}, "measure: expected one of"),
        ({"divergence": "renyi"}, "divergence: expected one of"),
        ({"weight": -0.1}, "weight: expected a number >= 0"),
        ({"weight": math.inf, "on_divergence": "continue"}, "weight: expected a number .* 1e.06"),
        ({"scored": "labels"}, "scored: expected one of"),
        ({"critic_steps": 0}, "critic_steps: expected a whole number"),
        ({"critic_width": 0}, "critic_width: expected a whole number"),
        ({"bound_limit": 0}, "bound_limit: expected a number > 0"),
        ({"on_divergence": "hope"}, "on_divergence: expected one of"),
        ({"width": 0}, "width: expected a whole number"),
        ({"task": "ranking"}, "task: expected one of"),
    ],
)
def test_parameters_that_cannot_be_are_named(given, said):
    X, y = world(20)
    with pytest.raises(ParameterError, match=said):
        small(**given).fit(X, y)


def test_one_row_cannot_be_compared_with_others(fitted):
    with pytest.raises(DataError, match="2 modalities must all come from different rows"):
        fitted.dependency({"a": np.zeros((1, 1)), "b": np.zeros((1, 1))})


def test_it_predicts_as_well_as_its_fusion_where_dependency_helps_nothing():
    X, y = world(200)
    bare = ConcatFusion(4, encoders={m: MLP(width=16, depth=1) for m in "ab"}, training=TRAINING)
    assert (
        small().fit(X, y).score(X, y)
        > bare.set_params(random_state=0).fit(X, y).score(X, y) - 0.05
    )
