"""SharedPrivate's other settings: penalties by name, labels, swaps, the authors' presets."""

import math

import numpy as np
import pytest
import torch
from sklearn.base import clone

import triptych
from triptych import Modalities, Training
from triptych.datasets import synthetic
from triptych.errors import (
    CapabilityError,
    DataError,
    DegenerateDataWarning,
    ParameterError,
    ShapeError,
)
from triptych.fission import SharedPrivate
from triptych.fission._penalties import AGREEMENTS, SEPARATIONS, agreement_of, separation_of
from triptych.losses.divergence import cmd, mmd, orthogonality
from triptych.losses.kernel_sums import median_width
from triptych.nn.recipes import MLP, VectorDecoder
from triptych.nn.shared_private import Form
from triptych.testing import check_method
from triptych.training.batches import Batch, Rows

FAST = Training(epochs=3, batch_size=32, device="cpu")
NAMES = ("a", "b", "c")


def factors(n=200, names=NAMES, **given):
    return synthetic.shared_private(n, names=names, random_state=0, **given)


def small(names=NAMES, **given):
    settings = {
        "n_private": 4,
        "width": 16,
        "encoders": {m: MLP(width=16, depth=1) for m in names},
        "decoders": {m: VectorDecoder(width=16, depth=1) for m in names},
        "training": FAST,
        "random_state": 0,
    }
    if given.get("form", Form()).rebuilds == "features":
        settings.pop("decoders")
    inner = {k: given.pop(k) for k in list(given) if k.startswith("training__")}
    return SharedPrivate(4, **{**settings, **given}).set_params(**inner)


def codes(n=9, d=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return {m: torch.randn(n, d, dtype=torch.float64, generator=draw) for m in NAMES}


def batch_of(n=9, **absent):
    present = {m: torch.ones(n, dtype=torch.bool) for m in NAMES}
    for m, rows in absent.items():
        present[m][rows] = False
    ids = {m: torch.arange(n) for m in NAMES}
    return Batch({}, {}, present, torch.arange(n), ids)


# -- the terms ---------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["cmd", "mmd", "cosine"])
def test_agreement_is_the_mean_over_pairs_of_rows_that_count(by):
    z, batch = codes(), batch_of(a=[0, 1], b=[1, 5])
    found = agreement_of(by, z, batch, span=2.0)
    total = 0.0
    for a, b in (("a", "b"), ("a", "c"), ("b", "c")):
        here = [batch.present[m] for m in (a, b)]
        if by == "cosine":  # rows that have both
            both = here[0] & here[1]
            cos = [
                float(p @ q / (p.norm() * q.norm()))
                for p, q in zip(z[a][both], z[b][both], strict=True)
            ]
            total += 1 - sum(cos) / len(cos)
        elif by == "cmd":  # laws of all that have it, whatever the partner
            total += float(cmd(z[a][here[0]], z[b][here[1]], span=2.0))
        else:
            s, t = z[a][here[0]], z[b][here[1]]
            widths = [median_width(s, t) * f for f in (0.25, 0.5, 1, 2, 4)]
            total += float(mmd(s, t, widths=widths))
    assert found.item() == pytest.approx(total / 3)


def test_laws_do_not_see_pairs_and_samples_do():
    z, batch = codes(40), batch_of(40)
    z["b"] = z["a"] + 0.1 * z["b"]
    turned = {**z, "b": z["b"].roll(1, 0)}
    for by in ("cmd", "mmd"):
        assert agreement_of(by, turned, batch, span=2.0).item() == pytest.approx(
            agreement_of(by, z, batch, span=2.0).item()
        )
    for by in ("contrastive", "cosine"):
        assert (
            agreement_of(by, turned, batch, span=2.0) > agreement_of(by, z, batch, span=2.0) + 0.1
        )


def test_misa_separates_three_shared_pairs_and_three_private_ones():
    s, p, batch = codes(seed=0), codes(seed=1), batch_of(c=[3])
    kept = {m: batch.present[m] for m in NAMES}
    terms = [orthogonality(s[m][kept[m]], p[m][kept[m]]) for m in NAMES]
    for a, b in (("a", "b"), ("a", "c"), ("b", "c")):
        rows = kept[a] & kept[b]
        terms.append(orthogonality(p[a][rows], p[b][rows]))
    found = separation_of("centred", s, p, batch, between_private=True)
    assert found.item() == pytest.approx(float(sum(terms)) / 6)


@pytest.mark.parametrize("separation_by", SEPARATIONS)
@pytest.mark.parametrize("agreement_by", AGREEMENTS)
def test_identical_batches_have_finite_gradients(agreement_by, separation_by, torch_draws):
    same = torch.full((6, 3), 0.5, requires_grad=True)
    batch = batch_of(6)
    z = dict.fromkeys(NAMES, same)
    value = agreement_of(
        agreement_by, z, batch, span=1.0, domains=torch.nn.Linear(3, 3)
    ) + separation_of(separation_by, z, z, batch, between_private=True)
    value.backward()
    assert bool(torch.isfinite(value)) and bool(torch.isfinite(same.grad).all())


@pytest.mark.parametrize("by", AGREEMENTS)
def test_rows_that_lack_things_leave_no_nan(by, torch_draws):
    z = {m: v.requires_grad_() for m, v in codes(4).items()}
    batch = batch_of(4, a=[0, 1, 2, 3], b=[1, 2, 3])
    value = agreement_of(by, z, batch, span=2.0, domains=torch.nn.Linear(3, 3).double())
    value.backward()
    assert bool(torch.isfinite(value))


# -- fits --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        {"agreement_by": "cosine", "separation_by": "frobenius"},
        {"agreement_by": "cmd", "separation_by": "centred", "between_private": True},
        {"agreement_by": "mmd", "separation_by": "hsic", "reconstruction_by": "scale_invariant"},
        {"agreement_by": "adversarial", "separation_by": "samples", "agreement_after": 0.5},
        {"form": Form(codes="sigmoid", common_map=True, private_encoders=True, joined="added")},
        {"form": Form(rebuilds="features", shared_from="own", withheld=0.0, head="attention")},
    ],
)
def test_every_setting_learns_codes_and_labels_and_comes_back_from_disk(given, tmp_path):
    sample = factors()
    y = (sample.shared[:, 0] > 0).astype(int)
    holes = sample.X.with_present({"a": np.arange(200) % 5 != 2, "c": np.arange(200) % 7 != 1})
    model = small(**given).fit(holes, y)
    t = model.history_["train"]
    rebuilt = [sum(t[m][e] for m in NAMES) for e in (0, -1)]
    assert rebuilt[1] < rebuilt[0]
    assert model.predict_proba(holes.select("a", "b")).shape == (200, 2)
    Z = model.transform(holes)
    assert all(np.isfinite(Z[part]).all() for part in Z.names)
    model.save(tmp_path / "model")
    back = triptych.load(tmp_path / "model")
    assert back.get_params() == model.get_params()
    np.testing.assert_array_equal(back.predict(holes), model.predict(holes))
    np.testing.assert_array_equal(back.transform(holes)["shared"], Z["shared"])


def test_agreement_begins_late_if_asked_and_always_counts_in_judgement(torch_draws):
    sample = factors(64)
    model = small(agreement_after=0.5, training__epochs=2).fit(sample.X)
    t = model.history_["train"]
    rest = [t["separation"][e] + sum(t[m][e] for m in NAMES) for e in (0, 1)]
    assert t["loss"][0] == pytest.approx(rest[0], rel=1e-5)
    assert t["loss"][1] == pytest.approx(rest[1] + t["agreement"][1], rel=1e-5)
    rows = Rows(sample.X, model.inputs_, content=True).take(np.arange(64))
    found = model.set_params(agreement_after=1.0)._terms(model.network_, rows)
    whole = found["separation"] + found["agreement"] + sum(found[m] for m in NAMES)
    assert found["loss"].item() == pytest.approx(whole.item(), rel=1e-5)


@pytest.mark.parametrize(
    "training", [{"accumulate": 2}, {"validation_share": 0.5}, {"validation_share": 0.01}]
)
def test_steps_are_counted_as_the_training_takes_them(training):
    # Three batches, or two where rows are set aside, which are two at least.
    sample = factors(67)
    model = small(agreement_after=0.5, training__epochs=2)
    model.set_params(**{f"training__{k}": v for k, v in training.items()}).fit(sample.X)
    assert int(model.network_.steps) == model._total_steps
    t = model.history_["train"]
    rest = t["separation"][1] + sum(t[m][1] for m in NAMES)
    assert t["loss"][1] == pytest.approx(rest + t["agreement"][1], rel=1e-5)


def test_labels_of_every_task_and_none():
    sample = factors(300)
    s = sample.shared
    given = small(training=Training(epochs=12, batch_size=32, learning_rate=1e-2, device="cpu"))
    classes = np.where(s[:, 0] > 0, "high", "low")
    model = clone(given).fit(sample.X[:200], classes[:200])
    assert model.score(sample.X[200:], classes[200:]) > 0.8
    assert set(model.predict(sample.X)) <= {"high", "low"}
    assert model.score(sample.X[200:]) < 0  # without labels, minus the loss
    numbers = clone(given).fit(sample.X[:200], s[:200, 0] * 50 + 7)
    assert numbers.score(sample.X[200:], s[200:, 0] * 50 + 7) > 0.6
    given.set_params(training__epochs=1)
    several = clone(given).fit(sample.X, (s > 0).astype(int))
    assert several.predict(sample.X).shape == s.shape
    none = clone(given).fit(sample.X)
    assert none.target_ is None and "task" not in none.history_["train"]
    with pytest.raises(CapabilityError, match="learnt no labels"):
        none.predict(sample.X)


def test_labels_alone_can_be_learnt():
    sample = factors(300, n_shared=1, n_private=1)
    y = (sample.private["a"][:, 0] > 0).astype(int)
    given = small(reconstruction=0.0, separation=0.0, agreement=0.0)
    given.set_params(training=Training(epochs=10, batch_size=32, learning_rate=1e-2, device="cpu"))
    # ln 2 is what knowing nothing costs.
    assert given.fit(sample.X, y).history_["train"]["task"][-1] < 0.5 * math.log(2)


def test_what_a_row_lacks_is_no_zero_for_the_reader():
    sample = factors(60)
    y = (sample.shared[:, 0] > 0).astype(int)
    for head in ("dense", "attention"):
        model = small(form=Form(head=head)).fit(sample.X, y)
        gone = sample.X.with_present({"b": np.zeros(60, dtype=bool)})
        np.testing.assert_allclose(
            model.predict_proba(gone), model.predict_proba(sample.X.select("a", "c")), atol=1e-6
        )


def test_validation_of_a_fit_with_labels_needs_them_too():
    sample = factors(60)
    y = (sample.shared[:, 0] > 0).astype(int)
    model = small(training__epochs=1)
    with pytest.raises(DataError, match=r"give validation=\(X_valid, y_valid\)"):
        model.fit(sample.X, y, validation=sample.X)
    model.fit(sample.X, y, validation=(sample.X, y))
    assert "task" in model.history_["valid"]
    model.fit(sample.X, validation=sample.X)


def test_the_epoch_may_be_chosen_by_the_labels_alone():
    sample = factors(120, names=("a", "b"))
    y = np.random.default_rng(0).permutation(np.arange(120) % 2)  # nothing to learn but by heart
    given = {"training__epochs": 8, "training__learning_rate": 2e-2}
    held = (sample.X[80:], y[80:])
    model = small(("a", "b"), **given, training__watch="task")
    history = model.fit(sample.X[:80], y[:80], validation=held).history_
    assert history.best_epoch == int(np.argmin(history["valid"]["task"]))
    assert history.best_epoch != int(np.argmin(history["valid"]["loss"]))
    # The weights are that epoch's; batches of 32 and 8.
    judged = [(float(t["task"]), len(b)) for b, t in model._judgements(*held)]
    task = sum(value * rows for value, rows in judged) / 40
    assert task == pytest.approx(min(history["valid"]["task"]), rel=1e-5)
    with pytest.raises(ParameterError, match=r"training__watch: .*'separation'\]; got 'task'"):
        model.fit(sample.X[:80], validation=sample.X[80:])
    assert SharedPrivate.misa().training.watch == "task"


def test_rows_of_which_nothing_is_known_teach_no_labels():
    sample = factors(60)
    y = (sample.shared[:, 0] > 0).astype(int)
    gone = np.arange(60) % 3 == 0
    holes = sample.X.with_present(dict.fromkeys(NAMES, ~gone))
    one, other = (
        small(training__epochs=1).fit(holes, labels).predict_proba(sample.X)
        for labels in (y, np.where(gone, 1 - y, y))
    )
    np.testing.assert_array_equal(one, other)


# -- swaps -------------------------------------------------------------------------------


def test_swap_takes_the_shared_part_of_one_and_the_private_part_of_another():
    sample = factors(1500, names=("a", "b"), noise=0.05)
    training = Training(epochs=25, batch_size=128, learning_rate=5e-3, device="cpu")
    names = ("a", "b")
    given = {m: MLP(width=32) for m in names}
    model = small(names, n_private=4, width=32, encoders=given, training=training).fit(
        sample.X[:1200]
    )
    X, donors = sample.X[1200:], sample.X[1200:][np.arange(300)[::-1]]
    made = model.swap(X, donors)
    np.testing.assert_allclose(model.swap(X, X)["a"], model.reconstruct(X)["a"], atol=1e-5)
    # The truth is linear: what a made row shows of each factor is read by least squares.
    inputs = np.column_stack([sample.X["a"], np.ones(1500)])
    u = np.concatenate([sample.shared, sample.private["a"]], axis=1)
    reader = np.linalg.lstsq(inputs, u, rcond=None)[0]
    shown = np.column_stack([made["a"], np.ones(300)]) @ reader

    def correlation(one, other):
        return np.mean([np.corrcoef(one[:, k], other[:, k])[0, 1] for k in range(2)])

    shared, private = shown[:, :2], shown[:, 2:]
    assert correlation(shared, sample.shared[1200:]) > 0.8
    assert abs(correlation(shared, sample.shared[1200:][::-1])) < 0.3
    assert correlation(private, sample.private["a"][1200:][::-1]) > 0.8
    assert abs(correlation(private, sample.private["a"][1200:])) < 0.3


def test_swap_of_any_subsets_and_what_it_refuses():
    sample = factors(40)
    model = small().fit(sample.X)
    made = model.swap(sample.X.select("a"), sample.X.select("b", "c"))
    assert made.names == NAMES and made["c"].shape == (40, 10)
    alone = model.swap(sample.X.select("a"), sample.X.select("b"))
    np.testing.assert_allclose(alone["b"], made["b"], atol=1e-5)
    # A donor without a has an unknown private part of a, as in reconstruct.
    np.testing.assert_allclose(alone["c"], model.reconstruct(sample.X.select("a"))["c"], atol=1e-5)
    with pytest.raises(ShapeError, match="got 40 rows and 39"):
        model.swap(sample.X, sample.X[:39])
    featured = small(form=Form(rebuilds="features")).fit(sample.X)
    for ask in (lambda: featured.swap(sample.X, sample.X), lambda: featured.reconstruct(sample.X)):
        with pytest.raises(CapabilityError, match="rebuilds features"):
            ask()


def test_sequences_come_back_as_sequences():
    rng = np.random.default_rng(0)
    level = rng.normal(size=60)
    rows = [v + 0.1 * rng.normal(size=(int(rng.integers(2, 6)), 2)) for v in level]
    X = Modalities({"s": rows, "v": level[:, None] + 0.1 * rng.normal(size=(60, 3))})
    model = SharedPrivate(2, n_private=2, width=8, training=FAST, random_state=0).fit(X)
    made = model.reconstruct(X.select("v"))
    assert made.kind("s").form == "sequence"
    assert all(1 <= len(made["s"][i]) <= 5 for i in range(60))


# -- presets -----------------------------------------------------------------------------


def test_presets_are_the_authors_and_stay_open_to_change():
    misa = SharedPrivate.misa()
    # 0.3 times the sum of 3 + 3 terms, 1 times the mean of 3 errors.
    assert misa.separation == pytest.approx(1.8) and misa.reconstruction == pytest.approx(1 / 3)
    assert (misa.n_components, misa.n_private, misa.width) == (128, 128, 128)
    two = SharedPrivate.misa(32, modalities=2, random_state=3)
    assert two.separation == pytest.approx(0.3 * 3) and two.random_state == 3
    dsn = SharedPrivate.domain_separation(agreement_by="mmd")
    assert (dsn.agreement, dsn.separation, dsn.reconstruction) == (0.25, 0.15, 0.01)
    assert clone(dsn).get_params() == dsn.get_params()
    with pytest.raises(ParameterError, match="modalities"):
        SharedPrivate.misa(modalities=1)


def test_weights_for_another_number_of_modalities_are_refused():
    X = factors(40, names=("a", "b")).X
    given = {"training": FAST, "random_state": 0}
    with pytest.raises(ParameterError, match=r"meant for 3 .*misa\(modalities=2\)"):
        clone(SharedPrivate.misa(4, **given)).fit(X)
    SharedPrivate.misa(4, modalities=2, **given).fit(X)


@pytest.mark.parametrize("preset", ["misa", "domain_separation"])
def test_presets_keep_the_contract(preset):
    given = {
        "n_components": 4,
        "random_state": 0,
        "training": Training(epochs=2, batch_size=16, device="cpu"),
    }
    if preset == "misa":
        given["modalities"] = 2
    model = getattr(SharedPrivate, preset)(**given)
    check_method(
        model,
        [
            "stores_parameters",
            "fits_rows_with_gaps_if_declared",
            "codes_rows_with_gaps_if_declared",
            "scores_and_answers_labels",
            "predicts_if_declared",
        ],
    )


def test_domain_separation_makes_laws_agree_without_pairs():
    """Rows with one modality each, so nothing says who belongs together."""
    sample = factors(600, names=("a", "b"), n_shared=1, n_private=1)
    half = np.arange(600) % 2 == 0
    apart = sample.X.with_present({"a": half, "b": ~half})
    gaps = []
    for weight in (0.0, 5.0):
        model = SharedPrivate.domain_separation(
            4,
            agreement_by="mmd",
            agreement=weight,
            encoders={m: MLP(width=16) for m in ("a", "b")},
            training=Training(epochs=8, batch_size=64, learning_rate=5e-3, device="cpu"),
            random_state=0,
        ).fit(apart)
        z = [torch.from_numpy(model.transform(sample.X.select(m))["shared"]) for m in ("a", "b")]
        gaps.append(float(mmd(*z)))
    assert gaps[1] < gaps[0] / 2


# -- rows that say nothing ---------------------------------------------------------------


def test_agreement_of_rows_needs_rows_that_have_both(torch_draws):
    X = factors(60, names=("a", "b")).X
    half = np.arange(60) < 30
    apart = X.with_present({"a": half, "b": ~half})
    for by in ("contrastive", "cosine"):
        model = small(("a", "b"), agreement_by=by, training__epochs=1)
        with pytest.raises(DataError, match="of 60 rows at most 0 have two modalities together"):
            model.fit(apart)
        with pytest.raises(DataError, match="validation: agreement_by"):
            model.fit(X, validation=apart)
        model.set_params(agreement=0.0).fit(apart)
        assert math.isfinite(model.score(apart))
    for by in ("mmd", "adversarial"):
        model.set_params(agreement=1.0, agreement_by=by).fit(apart)
        assert math.isfinite(model.score(apart))
    model.set_params(agreement_by="contrastive").fit(X)
    for rows in (apart, X[:1]):
        with pytest.raises(DataError, match="score: agreement_by='contrastive'"):
            model.score(rows)
    with pytest.raises(DataError, match="sets aside"):
        model.set_params(training__validation_share=0.5).fit(
            X.with_present({"a": np.arange(60) < 31, "b": np.arange(60) > 28})
        )


def test_pairs_and_batches_without_rows_do_not_count_as_agreeing(torch_draws):
    z = codes(20)
    here = torch.arange(20) < 10
    batch = batch_of(20, c=list(range(10)), a=list(range(10, 20)), b=list(range(10, 20)))
    only = agreement_of("cosine", z, batch, span=2.0)  # c is nowhere beside a or b
    plain = 1 - torch.nn.functional.cosine_similarity(z["a"][here], z["b"][here]).mean()
    assert only.item() == pytest.approx(plain.item())

    X = factors(64, names=("a", "b")).X
    model = small(("a", "b"), agreement_by="cosine", separation=0.0, reconstruction=0.0).fit(X)
    first = np.arange(64) < 32  # of 64 rows the second batch of 32 has no pair
    assert model.score(X.with_present({"b": first})) == pytest.approx(
        model.score(X[:32]), rel=1e-5
    )


def test_history_leaves_out_batches_that_show_no_agreement():
    X = factors(64, names=("a", "b")).X
    given = {"agreement_by": "cosine", "separation": 0.0, "reconstruction": 0.0}
    gaps = X.with_present({"b": np.arange(64) < 32})
    kept = {"training__keep_best": False, "training__epochs": 2}
    model = small(("a", "b"), **given, **kept).fit(X, validation=gaps)
    whole = small(("a", "b"), **given, **kept).fit(X, validation=X[:32])
    for term in ("agreement", "loss"):  # the second batch of 32 has no pair
        found = model.history_["valid"][term]
        assert found == pytest.approx(whole.history_["valid"][term], rel=1e-5)

    few = X.with_present({"b": np.arange(64) < 2})  # an epoch may never have both in one batch
    model = small(("a", "b"), **given, training__epochs=6).fit(few)
    agreement = np.array(model.history_["train"]["agreement"])
    assert len(agreement) == 6 and np.isnan(agreement).any()
    assert np.isfinite(model.history_["train"]["loss"]).all()


# -- bad input ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"agreement_by": "wasserstein"}, "agreement_by"),
        ({"separation_by": "nothing"}, "separation_by"),
        ({"agreement_by": "cmd", "form": Form(codes="linear")}, "gives none"),
        ({"separation_by": "samples", "n_private": 3}, "must be equal; got 4 and 3"),
        ({"form": Form(joined="added"), "n_private": 3}, "form__joined='added' needs"),
        ({"form": Form(head="attention"), "n_private": 3}, "form__head='attention' needs"),
        ({"form": "misa"}, "expected Form"),
        ({"form": Form(rebuilds="features"), "decoders": {"a": VectorDecoder()}}, "leave them"),
        ({"agreement_after": 2.0}, "agreement_after"),
        ({"task": "ranking"}, "task: expected one of"),
    ],
)
def test_settings_that_cannot_be_are_named(given, message):
    sample = factors(40)
    model = SharedPrivate(4, **{"n_private": 4, "training": FAST, "random_state": 0, **given})
    with pytest.raises(ParameterError, match=message):
        model.fit(sample.X, sample.shared[:, 0])


def test_fewer_rows_than_columns_warn_and_wide_codes_are_finite():
    sample = factors(20)
    wide = small(n_private=30, separation=1.0)
    with pytest.warns(DegenerateDataWarning, match="batches of 20 rows and codes of 30"):
        wide.fit(sample.X)
    assert all(np.isfinite(wide.transform(sample.X)[part]).all() for part in wide.parts_)
    for by in ("contrastive", "cmd"):  # wider than any modality
        model = SharedPrivate(20, n_private=4, agreement_by=by, training=FAST, random_state=0)
        Z = model.fit(factors(40, n_shared=1, n_private=1, dims=3).X)
        assert math.isfinite(Z.history_["train"]["loss"][-1])
