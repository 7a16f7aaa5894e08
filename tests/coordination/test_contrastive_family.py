"""What the contrastive and redundancy-reducing methods promise beyond the contract."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from triptych import Modalities, Training
from triptych.coordination import (
    CLIP,
    VSE,
    BarlowTwins,
    ContrastivePairs,
    GatedCoordination,
    SigLIP,
    SimilarityAlignment,
    Triplet,
    VICReg,
)
from triptych.errors import DataError, DegenerateDataWarning, ParameterError, TrainingError
from triptych.nn.recipes import MLP
from triptych.training.batches import Rows

FAST = Training(epochs=25, batch_size=64, learning_rate=5e-3, device="cpu")
METHODS = {
    "CLIP": (CLIP, {}),
    "SigLIP": (SigLIP, {"bias": -4.0}),
    "VSE": (VSE, {}),
    "VSE++": (VSE, {"negatives": "hardest", "warm_up": 20}),
    "ContrastivePairs": (ContrastivePairs, {}),
    "Triplet": (Triplet, {}),
    "Triplet, semihard": (Triplet, {"mining": "semihard"}),
    "Triplet, hardest": (Triplet, {"mining": "hardest", "warm_up": 20}),
    "BarlowTwins": (BarlowTwins, {}),
    "VICReg": (VICReg, {}),
    "SimilarityAlignment": (SimilarityAlignment, {"guard": "negatives", "similarity": "rbf"}),
}
SHORT = Training(epochs=2, batch_size=40, device="cpu")
EVERY = [*METHODS, "GatedCoordination"]


def views(n=128, seed=0, names="ab"):
    z = np.random.default_rng(seed).normal(size=(n, 3))
    mix = np.random.default_rng(9)
    sides = {m: np.tanh(z @ mix.normal(size=(3, p))) for m, p in (("a", 8), ("b", 6), ("c", 5))}
    return {m: sides[m] for m in names}


def make(name, names="ab", training=FAST, **more):
    cls, settings = METHODS[name]
    encoders = {m: MLP(width=24, depth=1) for m in names}
    return cls(6, encoders=encoders, training=training, random_state=0, **{**settings, **more})


def terms_of(model, X):
    X = Modalities(X) if isinstance(X, dict) else X
    batch = Rows(X, model.inputs_, content=model._needs_content).take(np.arange(len(X)))
    with torch.no_grad():
        return {k: float(v) for k, v in model._terms(model.network_, batch).items()}


@pytest.mark.parametrize("name", METHODS)
def test_partners_of_unseen_rows_are_found_and_codes_do_not_collapse(name):
    model = make(name).fit(views())
    new = views(50, seed=1)
    Z = model.transform(new)
    found, _ = model.retrieve({"a": new["a"]}, among={"b": new["b"]}, k=5)
    assert (found == np.arange(50)[:, None]).any(axis=1).mean() > 0.5  # chance is 0.1
    for code in (Z["a"], Z["b"]):
        share = np.linalg.svd(code - code.mean(0), compute_uv=False) ** 2
        share = share / share.sum()
        # Three latents: exp of the entropy of the spectrum counts directions that are used.
        assert math.exp(-(share * np.log(share + 1e-12)).sum()) > 1.5


@pytest.mark.parametrize("name", METHODS)
def test_micro_batches_change_nothing(name):
    # Plain descent: Adam divides gradients that are nought but rounding by their own size.
    settings = {"epochs": 2, "batch_size": 48, "learning_rate": 0.02, "optimizer": "sgd"}
    X = views(96)
    more = {"warm_up": 1} if "warm_up" in METHODS[name][1] else {}
    codes = []
    for micro in (None, 10):
        training = Training(micro_batch_size=micro, device="cpu", **settings)
        codes.append(make(name, training=training, **more).fit(X).transform(X)["a"])
    # Float32 over four steps; the third and fourth digit would show a lost piece.
    np.testing.assert_allclose(codes[0], codes[1], atol=1e-4 * np.abs(codes[0]).max())


@pytest.mark.parametrize("name", ["VSE", "VSE++"])
def test_vse_is_the_sum_of_hinges(name):
    X = views(30)
    model = make(name).fit(X)
    Z = {m: np.asarray(z, dtype=float) for m, z in model.transform(X).items()}
    s = Z["a"] @ Z["b"].T
    total = 0.0
    for i in range(30):
        rows = [max(0.0, 0.2 - s[i, i] + s[i, k]) for k in range(30) if k != i]
        cols = [max(0.0, 0.2 - s[i, i] + s[k, i]) for k in range(30) if k != i]
        total += sum(rows) + sum(cols) if name == "VSE" else max(rows) + max(cols)
    assert terms_of(model, X)["loss"] == pytest.approx(total / 30, rel=1e-3, abs=1e-5)
    assert -model.score(X) == pytest.approx(terms_of(model, X)["loss"], rel=1e-5)


def test_siglip_is_the_mean_of_row_sums():
    X = views(30)
    model = make("SigLIP").fit(X)
    Z = {m: np.asarray(z, dtype=float) for m, z in model.transform(X).items()}
    x = Z["a"] @ Z["b"].T / model.temperature_ + model.bias_
    y = 2 * np.eye(30) - 1
    expected = np.log1p(np.exp(-y * x)).sum() / 30
    assert terms_of(model, X)["loss"] == pytest.approx(expected, rel=1e-3)
    assert set(model.history_["train"]) >= {"a~b", "scale", "bias"}


def test_contrastive_pairs_written_out():
    X = views(30)
    model = make("ContrastivePairs").fit(X)
    Z = {m: np.asarray(z, dtype=float) for m, z in model.transform(X).items()}
    near, far = [], []
    for i in range(30):
        for k in range(30):
            D = np.linalg.norm(Z["a"][i] - Z["b"][k])
            (near if i == k else far).append(D**2 / 2 if i == k else max(0.0, 1 - D) ** 2 / 2)
    assert terms_of(model, X)["loss"] == pytest.approx(np.mean(near) + np.mean(far), rel=1e-3)


@pytest.mark.parametrize("mining", ["all", "semihard", "hardest"])
def test_triplets_written_out(mining):
    X = views(30)
    model = make("Triplet", mining=mining, warm_up=0).fit(X)
    Z = {m: np.asarray(z, dtype=float) for m, z in model.transform(X).items()}
    D = np.linalg.norm(Z["a"][:, None] - Z["b"][None], axis=2)
    costs = []
    for i in range(30):
        for row in (D[i], D[:, i]):
            others = np.delete(row, i)
            all_costs = [0.2 + D[i, i] - far for far in others]
            if mining == "hardest":
                costs.append(max(0.0, max(all_costs)))
            else:
                costs += [
                    c
                    for c, far in zip(all_costs, others, strict=True)
                    if c > 0 and (mining == "all" or far > D[i, i])
                ]
    expected = np.mean(costs) if costs else 0.0
    assert terms_of(model, X)["loss"] == pytest.approx(expected, rel=2e-3, abs=1e-5)


def test_information_is_bounded_below_the_log_of_the_batch():
    model = make("CLIP").fit(views())
    history = model.history_["train"]
    bound, cap = (history[f"a~b:information_{w}"] for w in ("lower_bound", "cap"))
    assert cap[-1] == pytest.approx(math.log(64))
    np.testing.assert_allclose(np.array(cap) - np.array(history["a~b"]), bound, rtol=1e-4)
    assert bound[0] < bound[-1] <= cap[-1]


@pytest.mark.parametrize("name", METHODS)
def test_an_anchor_leaves_out_the_other_pairs(name):
    X = views(40, names="abc")
    short = Training(epochs=1, batch_size=40, device="cpu")
    free = make(name, "abc", short).fit(X)
    held = make(name, "abc", short, anchor="b").fit(X)
    assert {"a~b", "a~c", "b~c"} <= set(free.history_["train"])
    assert "a~c" not in held.history_["train"]
    found = terms_of(held, X)
    assert found["loss"] == pytest.approx((found["a~b"] + found["b~c"]) / 2, rel=1e-5)
    with pytest.raises(ParameterError, match=r"anchor.*'z'"):
        make(name, "ab", short, anchor="z").fit(views(40))


@pytest.mark.parametrize("name", METHODS)
def test_rows_without_a_partner_change_nothing(name):
    X = views(40)
    absent = np.arange(50) >= 40
    more = {
        "a": np.concatenate([X["a"], np.random.default_rng(3).normal(size=(10, 8))]),
        "b": np.concatenate([X["b"], np.full((10, 6), np.nan)]),
    }
    Y = Modalities(more, present={"b": ~absent})
    short = Training(epochs=2, batch_size=50, device="cpu")
    model = make(name, training=short).fit(Y)
    batch = Rows(Y, model.inputs_, content=True).take(np.arange(50))
    whole = model._terms(model.network_, batch)["loss"]
    part = model._terms(model.network_, batch.part(slice(0, 40)))["loss"]
    assert whole.item() == pytest.approx(part.item(), rel=1e-5)


def pairs_of(name, training=SHORT):
    """The method, or the one that is no subclass of theirs but makes the same promises."""
    if name != "GatedCoordination":
        return make(name, training=training)
    small = {m: MLP(width=24, depth=1) for m in "ab"}
    return GatedCoordination(6, width=24, encoders=small, training=training, random_state=0)


@pytest.mark.parametrize("name", EVERY)
def test_rows_of_one_content_are_refused(name):
    X = {**views(20), "b": np.ones((20, 6))}
    with pytest.raises(DataError, match=r"all 20 rows of modality 'b' have the same content"):
        pairs_of(name).fit(X)


@pytest.mark.parametrize("name", EVERY)
def test_modalities_that_are_never_together_are_refused(name):
    first = np.arange(20) < 10
    apart = Modalities(views(20), present={"a": first, "b": ~first})
    with pytest.raises(DataError, match=r"of 'a' and any of \['b'\] there are 0, and 2"):
        pairs_of(name).fit(apart)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("what", ["one row", "never together", "the same partner"])
def test_rows_that_cannot_judge_are_not_watched(name, what):
    X = views(40)
    held = {
        "one row": {m: v[:1] for m, v in X.items()},
        "never together": Modalities(
            X, present={"a": np.arange(40) < 20, "b": np.arange(40) >= 20}
        ),
        "the same partner": {**X, "b": np.ones((40, 6))},
    }[what]
    with pytest.warns(DegenerateDataWarning, match=r"validation: expected .* without them"):
        model = pairs_of(name).fit(X, validation=held)
    # Their loss would have been 0 in the first epoch, which had then been kept as the best.
    assert not model.history_["valid"] and model.history_.best_epoch is None
    watching = Training(epochs=2, batch_size=40, device="cpu", patience=1)
    with pytest.raises(DataError, match="training__patience watches them"):
        pairs_of(name, watching).fit(X, validation=held)
    if what != "the same partner":
        with pytest.raises(DataError, match=r"score: .* at least 2 rows"):
            model.score(held)


class Silent(nn.Module):
    """Codes that are exactly zero for all rows, or for those whose first number is negative."""

    def __init__(self, n_in, width, everywhere):
        super().__init__()
        self.layer, self.everywhere = nn.Linear(n_in, width), everywhere

    def forward(self, x, lengths=None):
        return self.layer(x) * (0.0 if self.everywhere else (x[:, :1] > 0))


def silent(kind, width):
    return Silent(kind.shape[0], width, True)


def half_silent(kind, width):
    return Silent(kind.shape[0], width, False)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("encoder", [silent, half_silent])
def test_zero_codes_have_finite_losses_and_stay_zero(name, encoder):
    X = views(40)
    model = pairs_of(name).set_params(encoders={"a": encoder}).fit(X)
    assert np.isfinite(model.history_["train"]["loss"]).all()
    Z = model.transform(X)
    assert np.isfinite(Z["a"]).all() and np.isfinite(Z["b"]).all()
    if name != "GatedCoordination":  # whose gate has a bias of its own
        zero = (Z["a"] == 0).all(axis=1)
        assert zero.all() if encoder is silent else 0.2 < zero.mean() < 0.8
    _, similar = model.retrieve({"a": X["a"]}, {"b": X["b"]}, k=3)
    assert np.isfinite(similar).all()


class Broken(nn.Module):
    """Codes that are NaN."""

    def __init__(self, n_in, width):
        super().__init__()
        self.layer = nn.Linear(n_in, width)

    def forward(self, x, lengths=None):
        return self.layer(x) * torch.nan


@pytest.mark.parametrize("name", EVERY)
def test_codes_that_are_not_finite_are_named_with_their_modality(name):
    model = pairs_of(name).set_params(encoders={"b": lambda kind, width: Broken(6, width)})
    with pytest.raises(TrainingError, match=r"^b, row 0: codes are not finite"):
        model.fit(views(40))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_the_smallest_batches_and_a_scale_at_its_cap_stay_finite(name, precision):
    X = views(24)
    X["b"][::3] = X["b"][0]  # so that some batches of two have no negative
    wild = Training(
        epochs=3,
        batch_size=2,
        learning_rate=0.05,
        gradient_clip=None,
        device="cpu",
        precision=precision,
    )
    model = pairs_of(name, wild)
    if "temperature" in model.get_params():
        model.set_params(temperature=0.01)
    model.fit(X)
    assert np.isfinite(model.history_["train"]["loss"]).all()
    assert max(model.history_["train"].get("scale", [0])) <= 100.001
    assert all(np.isfinite(model.transform(X)[m]).all() for m in "ab")


def test_hardest_negatives_begin_after_the_warm_up():
    short = Training(epochs=3, batch_size=64, device="cpu")
    X = views(128)  # 2 steps an epoch
    early = make("VSE++", training=short, warm_up=2).fit(X).history_["train"]["loss"]
    plain = make("VSE", training=short).fit(X).history_["train"]["loss"]
    assert early[0] == pytest.approx(plain[0])  # the sum
    assert early[1] < plain[1] / 5  # one negative a row instead of 63
    assert int(make("VSE++", training=short).fit(X).network_.steps) == 6


@pytest.mark.parametrize(
    ("cls", "settings", "whose"),
    [
        (VSE, {"margin": 0}, "margin"),
        (VSE, {"negatives": "all"}, "negatives"),
        (VSE, {"warm_up": -1}, "warm_up"),
        (Triplet, {"mining": "hard"}, "mining"),
        (ContrastivePairs, {"margin": 3}, "margin"),
        (SigLIP, {"temperature": 2}, "temperature"),
        (SigLIP, {"bias": "low"}, "bias"),
        (BarlowTwins, {"redundancy_weight": 0}, "redundancy_weight"),
        (VICReg, {"variance_weight": -1}, "variance_weight"),
    ],
)
def test_parameters_that_cannot_be_used(cls, settings, whose):
    with pytest.raises(ParameterError, match=whose):
        cls(**settings).fit(views(10))
