"""Noise has the strength that was asked for, and touches nothing else."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from triptych import Modalities
from triptych.errors import DataError, ModalityError, ParameterError, ShapeError
from triptych.features import fit_features
from triptych.noise import add_noise, column_spread


def data(n=6, seed=0):
    rng = np.random.default_rng(seed)
    return Modalities(
        {
            "image": rng.integers(0, 256, size=(n, 3, 40, 40), dtype=np.uint8),
            "sound": [5 + rng.normal(scale=1 + i, size=9000 + 100 * i) for i in range(n)],
            "frames": [rng.normal(size=(2000 + i, 2)) * [1, 50] for i in range(n)],
            "words": ["word"] * n,
        }
    )


def test_each_modality_gets_the_ratio_asked_for():
    X = data()
    noisy = add_noise(X, {"image": 10, "sound": 0, "frames": -6})
    for row in range(len(X)):
        image, sound = X["image"][row].astype(float), X["sound"][row]
        for clean, found, ratio in (
            (image, noisy["image"][row], 10),
            (sound, noisy["sound"][row], 0),
        ):
            # The variance of k normal draws is known to sqrt(2 / k): 1.5 % of 9,000.
            measured = 10 * np.log10(clean.var() / np.var(found - clean))
            assert abs(measured - ratio) < 10 * np.log10(1 + 4 * np.sqrt(2 / clean.size))
    added = np.concatenate([b - a for a, b in zip(X["frames"], noisy["frames"], strict=True)])
    signal = np.concatenate(X["frames"]).var(axis=0)
    np.testing.assert_allclose(10 * np.log10(signal / added.var(axis=0)), -6, atol=0.3)
    assert noisy["words"] == X["words"] and noisy["image"].dtype == np.int32
    assert noisy.kinds.keys() == X.kinds.keys()


def test_an_offset_carries_no_power():
    X = data()
    moved = {"sound": [wave + 100 for wave in X["sound"]]}
    once = add_noise(X.select("sound"), {"sound": 5})["sound"]
    for a, b in zip(once, add_noise(moved, {"sound": 5})["sound"], strict=True):
        np.testing.assert_allclose(b - a, 100, rtol=1e-9)  # float64, sums of nine thousand


def test_noise_is_the_same_at_every_ratio_but_for_its_strength():
    X = data().select("sound")
    weak, strong = (add_noise(X, {"sound": r}, random_state=3)["sound"] for r in (20, 0))
    for clean, a, b in zip(X["sound"], weak, strong, strict=True):
        np.testing.assert_allclose(10 * (a - clean), b - clean, rtol=1e-6, atol=1e-9)
    other = add_noise(X, {"sound": 0}, random_state=4)["sound"]
    assert abs(np.corrcoef(other[0] - X["sound"][0], strong[0] - X["sound"][0])[0, 1]) < 0.05


def test_ratios_by_row_and_no_noise():
    X = data()
    ratios = np.full(6, np.inf)
    ratios[2] = 0
    noisy = add_noise(X, {"image": ratios, "sound": np.inf})
    changed = [bool((noisy["image"][i] != X["image"][i]).any()) for i in range(6)]
    assert changed == [False, False, True, False, False, False]
    assert noisy["sound"][0] is X["sound"][0]


def test_absent_rows_stay_absent_and_silence_stays_silent():
    X = Modalities({"sound": [np.zeros(50), None, np.arange(9.0)], "x": np.ones((3, 2))})
    noisy = add_noise(X, {"sound": 0, "x": 0})
    assert noisy.present["sound"].tolist() == [True, False, True]
    np.testing.assert_array_equal(noisy["sound"][0], 0)
    np.testing.assert_array_equal(noisy["x"], 1)


def test_columns_are_as_strong_as_in_the_reference():
    rng = np.random.default_rng(0)
    train, one = rng.normal(size=(500, 2)) * [1, 7], np.zeros((400, 2))
    noisy = add_noise({"x": one}, {"x": 20}, reference={"x": train})["x"]
    np.testing.assert_allclose(noisy.std(axis=0), 0.1 * train.std(axis=0), rtol=0.15)


@pytest.mark.parametrize(
    ("snr", "error", "words"),
    [
        ({"smell": 0}, ModalityError, "unknown modality 'smell'"),
        ({"words": 0}, ModalityError, "'words' is text"),
        ({"image": np.nan}, ParameterError, "snr__image: expected decibels, got nan"),
        ({"image": -np.inf}, ParameterError, "got -inf"),
        ({"image": "loud"}, ParameterError, "got 'loud'"),
        ({"image": [1, 2]}, ShapeError, "one for each of 6 rows"),
    ],
)
def test_refuses_what_is_no_ratio(snr, error, words):
    with pytest.raises(error, match=words):
        add_noise(data(), snr)


@pytest.mark.parametrize(("kind", "ratio"), [(np.float16, -100), (np.float64, -1e5)])
def test_refuses_noise_that_no_number_holds(kind, ratio):
    rows = np.arange(8, dtype=kind).reshape(4, 2)
    there = Modalities({"x": rows}, present={"x": np.arange(4) > 1})
    with pytest.raises(ParameterError, match=f"snr__x: noise of {ratio:g} dB in row 2 is beyond"):
        add_noise(there, {"x": ratio})
    sounds = {"x": [np.arange(9, dtype=kind)] * 2}
    with pytest.raises(ParameterError, match=r"in row 0 is beyond what float\d\d can hold"):
        add_noise(sounds, {"x": -1e5})


def test_refuses_a_reference_that_does_not_fit():
    with pytest.raises(DataError, match="reference: modality 'x'"):
        add_noise({"x": np.ones((2, 2))}, {"x": 0}, reference={"y": np.ones((2, 2))})
    with pytest.raises(ShapeError, match="has 3 columns, X has 2"):
        add_noise({"x": np.ones((2, 2))}, {"x": 0}, reference={"x": np.ones((2, 3))})


def test_noisy_pictures_of_bytes_give_the_features_of_noisy_pictures_of_floats():
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, size=(5, 1, 8, 8), dtype=np.uint8)
    whole = Modalities({"image": pixels})
    floats = Modalities({"image": pixels / np.float32(255)})
    for level in (20.0, -20.0):
        a, b = (add_noise(X, {"image": level}) for X in (whole, floats))
        seen = [
            fit_features(X)["image"].transform(Y["image"]) for X, Y in ((whole, a), (floats, b))
        ]
        np.testing.assert_allclose(seen[0], seen[1], atol=0.51 / 255)
    with pytest.raises(ParameterError, match="row 2 is beyond"):
        add_noise(whole, {"image": [np.inf, np.inf, -300, 0, 0]})


def test_noise_that_rounding_would_swallow_is_refused():
    pixels = np.random.default_rng(4).integers(0, 2, size=(5, 1, 8, 8), dtype=np.uint8)
    with pytest.raises(ParameterError, match=r"snr__image: noise of a spread of 0.05, .* floats"):
        add_noise({"image": pixels}, {"image": 20.0})
    noisy = add_noise({"image": pixels.astype(np.float32)}, {"image": 20.0})["image"]
    assert np.std(noisy - pixels) == pytest.approx(0.05, rel=0.2)
    # A blank picture among others has no noise, and is no reason to refuse them.
    bytes_ = pixels * np.array([255, 255, 0, 255, 255], np.uint8)[:, None, None, None]
    assert np.std(add_noise({"image": bytes_}, {"image": 20.0})["image"][0] - bytes_[0]) > 10


def test_large_whole_numbers_keep_their_last_digits():
    stamps = np.random.default_rng(5).integers(0, 100, size=(50, 2)) + 1_700_000_000
    noisy = add_noise({"time": stamps}, {"time": 60.0})["time"]
    # Noise of a thousandth of the spread; float32 would round to steps of 128.
    assert np.abs(noisy - stamps).max() < 0.2


def test_sparse_columns_are_as_strong_as_dense_ones():
    rng = np.random.default_rng(6)
    dense = rng.normal(size=(40, 5)) * (rng.random((40, 5)) < 0.3) + [0, 0, 1e6, 0, 0]
    dense[:, 4] = 0
    present = {"x": np.arange(40) % 4 > 0}
    found = column_spread("x", "vector", Modalities({"x": csr_array(dense)}, present=present))
    np.testing.assert_allclose(found, dense[present["x"]].std(axis=0), rtol=1e-8)
