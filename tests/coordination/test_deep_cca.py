"""Deep CCA: known truth, its objectives, limits, and the guards."""

import warnings

import numpy as np
import pytest
import sklearn.linear_model  # noqa: F401  its import draws from Python's global generator
import torch
from torch import nn

from triptych import Dataset, Modalities, Training
from triptych.comparison import compare
from triptych.coordination import CCA, DeepCCA
from triptych.errors import DataError, DegenerateDataWarning, ParameterError, TrainingError
from triptych.nn.recipes import MLP


def curved(n, seed):
    """Two views of two latents, bent so that no linear map finds them both."""
    draw, world = np.random.default_rng(seed), np.random.default_rng(9)
    t = draw.uniform(-1, 1, size=(n, 2))
    a = np.c_[np.cos(3 * t[:, 0]), np.sin(3 * t[:, 0]), t[:, 1] ** 2]
    b = np.c_[t[:, 0] ** 3, np.abs(t[:, 1]), t[:, 0] * t[:, 1]]
    return {
        m: v @ world.normal(size=(3, p)) + 0.1 * draw.normal(size=(n, p))
        for m, v, p in (("a", a, 8), ("b", b, 7))
    }


def deep(objective="trace_norm", width=2, batch=250, epochs=15, **kwargs):
    training = Training(
        epochs=epochs, batch_size=batch, learning_rate=5e-3, device="cpu", **kwargs
    )
    small = {m: MLP(width=48, depth=1) for m in "ab"}
    return DeepCCA(width, objective=objective, encoders=small, training=training, random_state=0)


@pytest.mark.parametrize(
    ("objective", "batch"), [("trace_norm", 250), ("squares", 250), ("eckart_young", 50)]
)
def test_bent_latents_correlate_on_unseen_rows_where_the_linear_method_fails(objective, batch):
    X, new = curved(1000, 1), curved(500, 2)
    linear = CCA(2).fit(X).score(new)
    assert linear < 0.8
    assert deep(objective, batch=batch).fit(X).score(new) > 0.93


def test_noi_learns_from_batches_that_are_too_small_for_the_exact_objective():
    X, new = curved(1000, 1), curved(500, 2)
    model = deep("noi", batch=20, epochs=15).fit(X)
    assert model.score(new) > CCA(2).fit(X).score(new)


def test_noi_is_the_distance_to_codes_whitened_by_what_was_seen():
    X = curved(120, 1)
    model = deep("noi", width=2, batch=40, epochs=1)
    model.memory = 0.7
    model.fit(X)
    running, draw = model.network_.running, np.random.default_rng(0)
    batches = [{m: draw.normal(size=(40, 2)) + 3 for m in "ab"} for _ in range(3)]
    means, spreads, weight = dict.fromkeys("ab", 0.0), dict.fromkeys("ab", 0.0), 0.0
    for r in (running["a"], running["b"]):
        r.mean.zero_(), r.covariance.zero_(), r.weight.zero_()
    model.network_.train()
    for batch in batches:
        given = {m: torch.tensor(z, dtype=torch.float32) for m, z in batch.items()}
        found = float(model._terms_of(model.network_, given)["loss"])
        weight = 0.7 * weight + 0.3
        targets = {}
        for m, z in batch.items():
            means[m] = 0.7 * means[m] + 0.3 * z.mean(0)
            centred = z - means[m] / weight
            spreads[m] = 0.7 * spreads[m] + 0.3 * centred.T @ centred / 40
            values, vectors = np.linalg.eigh(spreads[m] / weight)
            targets[m] = centred @ (vectors / np.sqrt(values + 1e-4)) @ vectors.T
        gaps = [((batch[a] - targets[b]) ** 2).sum(1).mean() for a, b in (("a", "b"), ("b", "a"))]
        assert found == pytest.approx(np.mean(gaps), rel=1e-5)


@pytest.mark.parametrize(
    ("objective", "batch"),
    [("trace_norm", 200), ("squares", 200), ("eckart_young", 50), ("noi", 50)],
)
def test_three_modalities_correlate_in_every_pair_on_unseen_rows(objective, batch):
    def three(n, seed):
        found, t = curved(n, seed), np.random.default_rng(seed).uniform(-1, 1, size=(n, 2))
        bent = np.c_[np.tanh(2 * t[:, 0]), t[:, 1] ** 2, t[:, 0] ** 2]  # of the same latents
        return {**found, "c": bent @ np.random.default_rng(8).normal(size=(3, 6))}

    X, new = three(800, 1), three(400, 2)
    small = {m: MLP(width=48, depth=1) for m in "abc"}
    Z = deep(objective, batch=batch).set_params(encoders=small).fit(X).transform(new)
    for a, b in ("ab", "ac", "bc"):
        cross = np.corrcoef(Z[a], Z[b], rowvar=False)
        assert cross[0, 2] > 0.9 and cross[1, 3] > 0.85, (a, b)


def test_linear_encoders_reach_the_correlations_of_linear_cca():
    X = {m: v[:600] for m, v in curved(600, 3).items()}
    training = Training(
        epochs=300, batch_size=600, learning_rate=0.02, weight_decay=0, device="cpu"
    )
    linear = {m: MLP(depth=0) for m in "ab"}
    model = DeepCCA(2, encoders=linear, training=training, ridge=0, random_state=0).fit(X)
    # The optimum of the sum of the two is that of CCA; gradient steps end a little below.
    np.testing.assert_allclose(model.correlations_, CCA(2).fit(X).correlations_, atol=2e-3)


def test_codes_of_the_training_rows_are_ordered_uncorrelated_and_of_variance_one():
    X = curved(400, 1)
    Z = deep(epochs=3).fit(X).transform(X)
    cross = np.corrcoef(Z["a"], Z["b"], rowvar=False)
    # float32 codes: six digits.
    np.testing.assert_allclose(np.cov(Z["a"], rowvar=False), np.eye(2), atol=1e-4)
    np.testing.assert_allclose(cross[0, 3], 0, atol=1e-4)
    assert cross[0, 2] >= cross[1, 3] > 0


def test_rows_that_lack_a_modality_are_left_out_of_fit():
    X = curved(300, 1)
    holed = Modalities(X, present={"a": np.arange(300) >= 100})
    kept = {m: v[100:] for m, v in X.items()}
    assert np.array_equal(
        deep(epochs=2, batch=100).fit(holed).correlations_,
        deep(epochs=2, batch=100).fit(kept).correlations_,
    )


@pytest.mark.parametrize("objective", ["trace_norm", "squares"])
def test_a_batch_not_larger_than_the_code_is_refused_before_the_first_step(objective):
    X = curved(100, 1)
    with pytest.raises(ParameterError, match="training__batch_size: expected at least 21 rows"):
        deep(objective, width=20, batch=20).fit(X)
    with pytest.raises(ParameterError, match="X: expected at least 101 rows"):
        deep(objective, width=100, batch=256).fit(X)


@pytest.mark.parametrize("n_valid", [0, 1, 20])
def test_too_few_rows_to_watch_are_left_out_and_said(n_valid):
    X = curved(100, 1)
    few = {m: v[:20] for m, v in X.items()}
    # Of the twenty so many have both.
    held = Modalities(few, present={"a": np.arange(20) < n_valid, "b": np.arange(20) < 20})
    with pytest.warns(DegenerateDataWarning, match=f"validation: expected at least 21.*{n_valid}"):
        model = deep(width=20, batch=50, epochs=2).fit(X, validation=held)
    alone = deep(width=20, batch=50, epochs=2).fit(X)
    assert not model.history_["valid"] and model.history_.best_epoch is None
    np.testing.assert_array_equal(model.correlations_, alone.correlations_)
    with pytest.raises(DataError, match=r"validation: expected at least 21 .*patience watches"):
        deep(width=20, batch=50, patience=2).fit(X, validation=held)
    with pytest.raises(ParameterError, match=r"training__validation_share.* 0.1 of 100 rows are"):
        deep(width=20, batch=50, validation_share=0.1).fit(X)


def test_a_comparison_of_few_rows_fits_and_says_what_it_went_without():
    data = Dataset(Modalities(curved(60, 1)))
    short = {"epochs": 1, "device": "cpu"}
    record = compare(data, methods=["DeepCCA", "DCCAE"], training=short)
    for row in record["rows"][:2]:
        assert row["status"] == "ok", row["why"]
        assert any("fitted without them" in said for said in row["warnings"])


def test_a_last_batch_too_small_for_the_code_is_dropped():
    # 130 rows in batches of 60 leave 10, fewer than the 20 components: they would read as 20.
    X = curved(130, 1)
    model = deep(width=20, batch=60, epochs=1, schedule="constant").fit(X)
    assert model.history_["train"]["loss"][0] > -20


class Dead(nn.Module):
    def __init__(self, width, value):
        super().__init__()
        self.first, self.width, self.value = nn.Linear(8, 1), width, value

    def forward(self, x):
        code = self.first(x).expand(-1, self.width) * 0 + self.value
        return torch.cat([self.first(x), code[:, 1:]], dim=1)


def dead_units(kind, width):
    return Dead(width, 1.0)


def not_finite(kind, width):
    return Dead(width, float("inf"))


def test_dead_units_are_named_without_ridge_and_come_out_empty_with_one():
    X = curved(200, 1)
    training = Training(epochs=1, batch_size=100, device="cpu")
    model = DeepCCA(3, encoders={"a": dead_units}, training=training, random_state=0, ridge=0)
    with pytest.raises(TrainingError, match="a: the covariance of the codes is singular"):
        model.fit(X)
    with pytest.warns(DegenerateDataWarning, match="rank 1 and not 3"):
        model.set_params(ridge=1e-3).fit(X)
    Z = model.transform(X)
    assert Z["a"].shape == (200, 3) and np.isfinite(Z["a"]).all()
    assert (Z["a"][:, 1:] == 0).all() and (model.correlations_[1:] == 0).all()


def test_codes_that_are_not_finite_are_named_with_their_modality():
    with pytest.raises(TrainingError, match="a: codes are not finite"):
        DeepCCA(3, encoders={"a": not_finite}, random_state=0).fit(curved(200, 1))


def test_mixed_precision_trains_in_a_float64_island():
    X = curved(400, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = deep(epochs=3, precision="bf16").fit(X)
    assert np.isfinite(model.correlations_).all() and model.score(X) > 0.3


def test_micro_batches_give_the_gradient_of_the_whole_batch():
    X = curved(200, 1)
    # Plain steps: Adam would blow up the rounding of gradients that are zero, as the last bias's.
    whole = deep(epochs=2, batch=100, optimizer="sgd").fit(X)
    pieces = deep(epochs=2, batch=100, optimizer="sgd", micro_batch_size=30).fit(X)
    for a, b in zip(
        whole.network_.state_dict().values(), pieces.network_.state_dict().values(), strict=True
    ):
        # float32 sums in another order, through four steps.
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)
