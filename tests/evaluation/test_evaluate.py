import json

import numpy as np
import pytest

from triptych.contracts.method import Capabilities, Coordination, Fission, Fusion
from triptych.dataset import Dataset
from triptych.errors import (
    CapabilityError,
    DataError,
    ModalityError,
    NotFittedError,
    ParameterError,
)
from triptych.evaluation import COLUMNS, columns, curve_of, default_baselines, evaluate, noise_of
from triptych.evaluation.codes import read_codes
from triptych.evaluation.resources import Resources
from triptych.modalities import Modalities, make_parts

ABLE = Capabilities(
    missing_at_fit=True,
    missing_at_transform=True,
    one_modality_at_transform=True,
    reconstructs=True,
)


def dataset(n=240, seed=0):
    """A shared class in both modalities and a private sign in each."""
    rng = np.random.default_rng(seed)
    y, own_a, own_b = rng.integers(0, 4, n), rng.integers(0, 2, n), rng.integers(0, 2, n)
    shared = np.eye(4)[y] * 4 + 0.1 * rng.normal(size=(n, 4))
    X = Modalities(
        {
            "a": np.column_stack([shared, own_a * 2.0 - 1 + 0.1 * rng.normal(size=n)]),
            "b": np.column_stack(
                [shared + 0.1 * rng.normal(size=(n, 4)), own_b * 2.0 - 1 + rng.normal(size=n) / 9]
            ),
        }
    )
    labels = {"class": np.array(list("pqrs"))[y], "sign": own_a, "size": shared[:, 0]}
    return Dataset(X, labels=labels)


class Mean(Fusion):
    """Mean of the shared columns of what is present."""

    capabilities = ABLE

    def _fit(self, X, y, validation):
        self.mean_ = {m: X[m].mean(axis=0) for m in X.names}

    def _transform(self, X):
        masks = np.stack([X.present[m] for m in X.names])[:, :, None]
        return (np.stack([X[m][:, :4] for m in X.names]) * masks).sum(0) / masks.sum(0)

    def _reconstruct(self, X):
        z = self._transform(X)
        return Modalities(
            {m: np.column_stack([z, np.full(len(X), v[4])]) for m, v in self.mean_.items()}
        )


class Columns(Coordination):
    """The shared columns of each modality."""

    capabilities = Capabilities(missing_at_transform=True, one_modality_at_transform=True)

    def _fit(self, X, y, validation):
        self.fitted_ = True

    def _transform(self, X):
        return make_parts({m: X[m][:, :4] for m in X.names}, X.present)


class Constant(Columns):
    """Codes that are all alike."""

    def _transform(self, X):
        return make_parts({m: np.full((len(X), 3), 0.1) for m in X.names}, X.present)


class Split(Fission):
    """The truth: shared columns and each modality's own; or a private part that leaks."""

    capabilities = ABLE

    def __init__(self, leaky=False):
        self.leaky = leaky

    def _fit(self, X, y, validation):
        self.parts_ = ("shared", *X.names)

    def _transform(self, X):
        masks = np.stack([X.present[m] for m in X.names])[:, :, None]
        shared = (np.stack([X[m][:, :4] for m in X.names]) * masks).sum(0) / masks.sum(0)
        own = {m: X[m][:, (0 if self.leaky else 4) :] for m in X.names}
        return make_parts({"shared": shared, **own}, X.present)

    def _reconstruct(self, X):
        raise AssertionError("not asked here")


TRAIN, TEST = dataset(), dataset(150, seed=1)


def judged(model, train=TRAIN, test=TEST, **more):
    return evaluate(model.fit(train.X), train, test, **more)


def test_every_column_has_a_value_or_a_reason_for_every_panel():
    keys = [column["key"] for column in columns(TRAIN)]
    assert len(set(keys)) == len(keys)
    split = Split()
    split._reconstruct = lambda X: X.merge({m: TEST.X[m][: len(X)] for m in "ab" if m not in X})
    for model in (Mean(), Columns(), split, Constant()):
        values = judged(model)
        assert list(values) == keys
        for key, value in values.items():
            if "value" in value:
                assert np.isfinite(value["value"]), key
            else:
                assert value["why"].startswith("does not apply: "), key
        json.dumps(values)


def test_fusion():
    values = judged(Mean(), resources=Resources(1.5, 2**21, None, "resident, sampled"))
    for key in ("probe", "balanced_probe", "knn", "probe:a", "probe:b"):
        assert values[key]["value"] > 0.95
    assert values["retrieval:a>b:R@1"]["value"] > 0.06  # within a class of 37, chance is 0.03
    assert 0.75 < values["reconstruction:a"]["value"] < 1
    assert values["missing:0.9"]["value"] > 0.95
    for key in ("leakage:shared>private:a", "dependence:shared~private:a:information"):
        assert "only fission" in values[key]["why"]
    assert values["resources:fit_s"] == {"value": 1.5}
    assert values["resources:peak_mib"] == {"value": 2.0}
    assert values["resources:parameters"] == {"value": 10.0}
    curve = curve_of(values)
    noise = noise_of(values)
    assert noise.level == (0.0, 0.5, 1.0, 2.0) and noise.value[0] == values["probe"]["value"]
    assert noise.value[1] > noise.value[3] > 0.25
    assert curve.share == (0.0, 0.3, 0.6, 0.9) and curve.value[0] == values["probe"]["value"]


def test_coordination_and_constant_codes():
    values = judged(Columns())
    assert values["probe"]["value"] > 0.95
    assert values["retrieval:b>a:median_rank"]["value"] < 40
    assert "no decoders" in values["reconstruction:a"]["why"]
    assert values["resources:fit_s"]["why"] == "does not apply: fitting was not measured"
    flat = judged(Constant())
    assert flat["retrieval:a>b:R@1"]["value"] == flat["retrieval:b>a:R@10"]["value"] == 0
    assert flat["retrieval:a>b:median_rank"]["value"] == 150
    # one class for all rows: a quarter, standard error 0.035
    assert flat["probe"]["value"] < 0.4 and flat["balanced_probe"]["value"] == 0.25
    assert flat["missing:0.9"]["value"] == flat["probe"]["value"]


class Silent(Split):
    """Says nothing in its private parts."""

    def _transform(self, X):
        parts = super()._transform(X)
        return make_parts(
            {k: v if k == "shared" else np.ones_like(v) for k, v in parts.items()}, parts.present
        )


def no_decoder(model):
    model.capabilities = Capabilities(missing_at_transform=True, one_modality_at_transform=True)
    return model


def test_fission_shows_what_leaks():
    clean = judged(no_decoder(Split()))
    assert clean["leakage:shared>private:a"]["value"] < 0.1
    assert clean["leakage:private:a>shared"]["value"] < 0.1
    assert clean["leakage:shared>class"]["value"] > 0.95
    assert clean["leakage:private:a>class"]["value"] < 0.45
    assert clean["leakage:private:a>sign"]["value"] > 0.95
    assert clean["leakage:shared>sign"]["value"] < 0.65
    assert clean["leakage:shared>size"]["value"] > 0.95  # R²: a number
    leaky = judged(no_decoder(Split(leaky=True)))
    assert leaky["leakage:private:a>shared"]["value"] > 0.9
    assert leaky["leakage:private:b>class"]["value"] > 0.95
    free, bound = (f["dependence:shared~private:a:hsic"]["value"] for f in (clean, leaky))
    assert free < 0.05 and bound > 0.5
    free, bound = (f["dependence:shared~private:a:information"]["value"] for f in (clean, leaky))
    assert 0 <= free < 0.2 and bound > 1
    silent = judged(no_decoder(Silent()))
    for key in ("leakage:shared>private:a", "dependence:shared~private:a:hsic"):
        assert "constant" in silent[key]["why"]


class Clusters(Fission):
    """Two centres of two columns for each modality."""

    capabilities = Capabilities(missing_at_transform=True, one_modality_at_transform=True)

    def _fit(self, X, y, validation):
        self.parts_ = X.names

    def _transform(self, X):
        return make_parts({m: X[m][:, :4].reshape(-1, 2, 2) for m in X.names}, X.present)


def test_clusters_of_a_modality_are_not_its_private_part():
    values = judged(Clusters())
    assert values["probe"]["value"] > 0.95
    for key in ("private:a>class", "shared>class", "private:a>shared"):
        assert "its parts are clusters" in values[f"leakage:{key}"]["why"]


def test_label_may_be_chosen_and_numbers_are_r2():
    values = judged(Mean(), label="size")
    assert values["probe"]["value"] > 0.95
    assert "numbers have no classes" in values["balanced_probe"]["why"]
    units = {column["key"]: column["unit"] for column in columns(TRAIN, "size")}
    assert units["probe"] == "R²" and units["leakage:shared>class"] == "accuracy"
    with pytest.raises(ParameterError, match=r"label: expected one of .*'class'.* got 'sex'"):
        judged(Mean(), label="sex")


def test_without_labels_the_rest_is_measured():
    bare = Dataset(TRAIN.X), Dataset(TEST.X)
    values = judged(Mean(), *bare)
    assert "no label" in values["probe"]["why"] and "no label" in values["missing:0.3"]["why"]
    assert "value" in values["retrieval:a>b:mAP"]


def test_groups_give_one_row_each_and_same_content_is_correct():
    test = Dataset(TEST.X, labels=TEST.labels, groups=np.arange(150) // 50)
    values = judged(Columns(), test=test)
    assert values["retrieval:a>b:median_rank"]["value"] <= 3
    assert "3 candidates" in values["retrieval:a>b:R@5"]["why"]
    twin = Modalities({"a": np.repeat(TEST.X["a"][:20], 2, axis=0), "b": TEST.X["b"][:40]})
    found = judged(Columns(), test=Dataset(twin))["retrieval:a>b:mAP"]
    assert found["value"] > 0


def test_absent_rows_are_left_out_or_filled_as_declared():
    rng = np.random.default_rng(5)
    some = Dataset(
        TEST.X.with_present({"a": rng.random(150) < 0.6}), labels=TEST.labels, name="some"
    )
    values = judged(Columns(), test=some)
    assert values["probe"]["value"] > 0.6
    strict = Columns()
    strict.capabilities = Capabilities(one_modality_at_transform=True)
    values = judged(strict, test=some)
    assert values["probe"]["value"] > 0.95  # complete rows only
    assert "needs every modality" in values["missing:0.3"]["why"]
    nothing = Dataset(TEST.X.with_present({"a": np.zeros(150, bool)}), labels=TEST.labels)
    values = judged(strict, test=nothing)
    assert "0 test rows" in values["probe"]["why"]
    assert "absent in all rows" in values["probe:a"]["why"]
    assert "value" in values["probe:b"]


def test_rows_that_a_method_does_not_take_are_left_out():
    class OfA(Mean):
        def codable_rows(self, X):
            return X.present["a"] if "a" in X else np.zeros(len(X), bool)

        def _transform(self, X):
            if not self.codable_rows(X).all():
                raise CapabilityError("it reads a.")
            return X["a"][:, :4]

    lacking = TEST.X.with_present({"a": np.arange(150) % 3 > 0})
    values = judged(OfA(), test=Dataset(lacking, labels=TEST.labels))
    assert values["probe"]["value"] > 0.95 and "it reads a" in values["probe:b"]["why"]


def test_a_label_may_have_the_name_of_a_part():
    names = {"shared": "class", "private:a": "sign", "label:shared": "size"}
    odd, asked = ({n: d.labels[like] for n, like in names.items()} for d in (TRAIN, TEST))
    model = no_decoder(Split()).fit(TRAIN.X)
    values = evaluate(model, Dataset(TRAIN.X, odd), Dataset(TEST.X, asked), label="shared")
    plain = evaluate(model, TRAIN, TEST)
    keys = [column["key"] for column in columns(Dataset(TRAIN.X, odd))]
    assert len(keys) == len(set(keys))
    assert values["leakage:shared>private:a"] == plain["leakage:shared>private:a"]
    assert values["leakage:shared>label:private:a"] == plain["leakage:shared>sign"]
    assert values["leakage:private:b>label:shared"] == plain["leakage:private:b>class"]


def test_a_column_of_labels_is_one_label_a_row():
    tall = {name: y[:, None] for name, y in TRAIN.labels.items()}
    assert Dataset(TRAIN.X, tall).labels["class"].shape == (240,)
    model = no_decoder(Mean()).fit(TRAIN.X)
    assert evaluate(model, Dataset(TRAIN.X, tall), TEST) == evaluate(model, TRAIN, TEST)


def test_what_cannot_be_judged_is_named():
    model = no_decoder(Mean())
    with pytest.raises(NotFittedError, match="this Mean is not fitted yet"):
        evaluate(model, TRAIN, TEST)
    model.fit(TRAIN.X)
    with pytest.raises(DataError, match=r"test: expected a Dataset, .* got Modalities"):
        evaluate(model, TRAIN, TEST.X)
    with pytest.raises(ModalityError, match="the test rows have no modality 'a', which the train"):
        evaluate(model, TRAIN, Dataset(TEST.X.select("b"), labels=TEST.labels))


def test_a_method_that_needs_all_says_so():
    model = Columns()
    model.capabilities = Capabilities()
    values = judged(model)
    assert "does not transform one modality alone" in values["probe:a"]["why"]
    assert "does not transform one modality alone" in values["retrieval:a>b:R@1"]["why"]


def test_modalities_that_were_not_fitted():
    three = Dataset(TRAIN.X.merge({"c": TRAIN.X["a"]}), labels=TRAIN.labels)
    more = Dataset(TEST.X.merge({"c": TEST.X["a"]}), labels=TEST.labels)
    values = evaluate(Columns().fit(TRAIN.X), three, more)
    assert "not fitted on 'c'" in values["probe:c"]["why"]
    assert values["probe:a"]["value"] > 0.9
    with pytest.raises(ModalityError, match="fitted on"):
        evaluate(Columns().fit(TRAIN.X), Dataset(Modalities({"z": np.eye(4)})), TEST)


def test_codes_that_are_not_finite_are_a_reason_and_other_errors_go_through():
    class Broken(Mean):
        def _transform(self, X):
            return np.full((len(X), 2), np.nan)

    assert "not finite" in judged(no_decoder(Broken()))["probe"]["why"]

    class Wrong(Mean):
        def _transform(self, X):
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        judged(Wrong())


def test_order_of_test_rows_does_not_matter():
    order = np.random.default_rng(0).permutation(150)
    model = no_decoder(Split()).fit(TRAIN.X)
    first, again = evaluate(model, TRAIN, TEST), evaluate(model, TRAIN, TEST[order])
    for key in first:
        if key.startswith(("missing", "noise")):
            continue  # what goes missing, and noise, is drawn by row
        assert again[key].get("value") == pytest.approx(first[key].get("value")), key


def test_baselines_are_judged_like_methods():
    y = TRAIN.labels["class"]
    rows = {}
    for name, model in default_baselines(4, method=Columns()).items():
        rows[name] = evaluate(model.fit(TRAIN.X, y), TRAIN, TEST)
    assert rows["chance"]["probe"]["value"] < 0.45
    assert rows["chance"]["retrieval:a>b:R@10"]["value"] < 0.2
    assert rows["concatenation + PCA"]["probe"]["value"] > 0.9
    assert rows["best single modality"]["probe"]["value"] > 0.9
    assert "alone" in rows["best single modality"]["probe:a"]["why"]
    assert "value" in rows["shuffled pairs"]["retrieval:a>b:mAP"]


def test_families_are_described():
    assert {"key", "title", "unit", "better", "group", "help"} == set(COLUMNS[0])
    for column in (*COLUMNS, *columns(TRAIN)):
        assert column["better"] in ("higher", "lower", None)
        assert column["help"].endswith(".") and column["title"]
    assert all("{" not in str(column)[1:-1] for column in columns(TRAIN))


def test_text_has_a_column_of_its_own():
    X = Modalities({"x": np.eye(4), "t": list("abcd")})
    data = Dataset(X, labels={"y": np.array([0, 1, 0, 1])})
    keys = [column["key"] for column in columns(data)]
    assert "reconstruction:t:nats" in keys and "reconstruction:x:nats" not in keys


def test_parts_that_nobody_has_are_left_out():
    X = TEST.X.with_present({"b": np.zeros(150, bool)})
    assert list(read_codes(Columns().fit(TRAIN.X), X)) == ["a"]
    strict = Columns()
    strict.capabilities = Capabilities()
    strict.fit(TRAIN.X)
    with pytest.raises(CapabilityError):
        read_codes(strict, X)
