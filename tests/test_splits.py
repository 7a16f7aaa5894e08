"""Splits: groups whole, classes in proportion, the same every time."""

import numpy as np
import pytest
import sklearn.model_selection  # noqa: F401  its import draws from random's generator

from triptych import Dataset, Modalities
from triptych.errors import DataError, ParameterError
from triptych.splits import split_dataset


def data(n=100, **given):
    return Dataset(Modalities({"a": np.arange(n, dtype=float)[:, None]}), **given)


def counts(dataset):
    parts = next(iter(dataset.splits.values()))
    return [int((parts == p).sum()) for p in ("train", "valid", "test")]


def test_shares_are_as_asked():
    assert counts(split_dataset(data())) == [70, 10, 20]
    assert counts(split_dataset(data(), test=0.5, valid=0)) == [50, 0, 50]
    assert counts(split_dataset(data(3))) == [1, 1, 1]


def test_rows_stay_where_they_are_and_other_splits_are_kept():
    own = np.array(["test"] * 100)
    old = data(splits={"own": own}, labels={"y": np.arange(100)}, name="mine")
    new = split_dataset(old)
    assert list(new.splits) == ["random", "own"] and new.name == "mine"
    np.testing.assert_array_equal(new.X["a"], old.X["a"])
    np.testing.assert_array_equal(new.labels["y"], old.labels["y"])
    assert list(old.splits) == ["own"]
    assert len(new.part("test")) == 20
    assert list(split_dataset(new, name="own").splits) == ["own", "random"]


def test_the_seed_decides():
    def parts(seed):
        return split_dataset(data(), random_state=seed).splits["random"]

    np.testing.assert_array_equal(parts(0), parts(0))
    assert (parts(0) != parts(1)).any()


def test_groups_stay_whole():
    groups = np.array(["g", "h", "i", "j", "k"])[np.random.default_rng(0).integers(0, 5, 100)]
    new = split_dataset(data(groups=groups), test=0.2, valid=0.2)
    parts = [set(new.part(p).groups) for p in ("train", "valid", "test")]
    assert [len(p) for p in parts] == [3, 1, 1]
    assert len(set.union(*parts)) == 5


def test_classes_keep_their_shares():
    y = np.array([0] * 60 + [1] * 30 + [2] * 10)
    new = split_dataset(data(labels={"y": y}), label="y")
    for part, expected in (("test", [12, 6, 2]), ("valid", [6, 3, 1])):
        assert np.bincount(new.part(part).labels["y"]).tolist() == expected


def test_classes_keep_their_shares_among_groups():
    groups = np.repeat(np.arange(50), 4)
    y = np.repeat(np.array(["a"] * 40 + ["b"] * 10), 4)
    y[::4] = "b"  # one row of four; the majority decides
    new = split_dataset(data(200, groups=groups, labels={"y": y}), label="y")
    test = new.part("test")
    assert len(set(test.groups)) == 10
    assert len(set(test.groups[test.groups >= 40])) == 2
    assert not set(test.groups) & set(new.part("train").groups)


@pytest.mark.parametrize(
    "y",
    [
        np.arange(100),
        np.linspace(0, 1, 100),
        np.zeros(100),
        np.array([0] * 99 + [1]),
        np.array([0] * 97 + [1, 2, 3]),
        np.array(["x"] * 50 + ["y"] * 49 + ["z"]),
    ],
    ids=["all differ", "numbers", "one class", "one alone", "three alone", "words"],
)
def test_rare_classes_are_no_obstacle(y):
    for test, valid in ((0.2, 0.1), (0.01, 0.01), (0.9, 0.05)):
        got = counts(split_dataset(data(labels={"y": y}), test=test, valid=valid, label="y"))
        assert got[1:] == [round(100 * valid), round(100 * test)]


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"test": 0}, ParameterError, "test: expected a number > 0"),
        ({"test": 1.5}, ParameterError, "test: expected a number > 0 and <= 1, got 1.5"),
        ({"valid": -0.1}, ParameterError, "valid: expected a number >= 0"),
        ({"test": 0.6, "valid": 0.4}, ParameterError, "less than 1, got 0.6"),
        ({"label": "z"}, ParameterError, r"label: expected one of 'y'; got 'z'"),
        ({"random_state": "x"}, ParameterError, "random_state"),
    ],
)
def test_wrong_arguments_are_named(given, error, said):
    with pytest.raises(error, match=said):
        split_dataset(data(labels={"y": np.zeros(100)}), **given)


def test_too_few_rows_or_groups():
    with pytest.raises(DataError, match="'data': expected rows for every part, got 2 in all"):
        split_dataset(data(2))
    with pytest.raises(DataError, match="expected groups for every part, got 2 in all"):
        split_dataset(data(groups=np.arange(100) % 2))
