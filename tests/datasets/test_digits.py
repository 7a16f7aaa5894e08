"""Two noisy views of digits: only the digit is shared."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from triptych.coordination import CCA
from triptych.datasets import load, load_two_view_digits
from triptych.errors import ParameterError


@pytest.fixture(scope="module")
def digits():
    return load("digits")


def undo_noise(noisy, candidates):
    """Rows of ``candidates`` that could lie under the noise: nowhere brighter than the view."""
    return np.flatnonzero((candidates <= noisy + 1e-12).all(axis=1))


def test_rows_and_parts(digits):
    assert digits.X["rotated"].shape == digits.X["noisy"].shape == (1797, 64)
    for values in (digits.X["rotated"], digits.X["noisy"]):
        assert values.min() >= 0 and values.max() <= 1
    parts = {p: digits.part(p) for p in ("train", "valid", "test")}
    assert [round(len(d) / 1797, 2) for d in parts.values()] == [0.6, 0.2, 0.2]
    for part in parts.values():
        shares = np.bincount(part.labels["digit"]) / len(part)
        np.testing.assert_allclose(shares, 0.1, atol=0.01)


def test_the_first_view_is_the_digit_turned(digits):
    pixels = load_digits().data / 16
    # Turning moves ink about; digits fill the height of 8 pixels, so corners fall off.
    kept = digits.X["rotated"].sum(axis=1) / pixels.sum(axis=1)
    assert np.median(kept) > 0.85 and kept.max() < 1.1
    assert np.abs(digits.X["rotated"] - pixels).mean() > 0.05
    np.testing.assert_array_equal(digits.labels["digit"], load_digits().target)


def test_partners_are_others_of_the_same_class_and_part(digits):
    pixels, target = load_digits().data / 16, digits.labels["digit"]
    parts = digits.splits["random"]
    for row in range(0, 1797, 100):
        same = np.flatnonzero((target == target[row]) & (parts == parts[row]))
        under = same[undo_noise(digits.X["noisy"][row], pixels[same])]
        assert len(set(under.tolist()) - {row}) >= 1


def test_noise_is_uniform_and_cut(digits):
    # Corner pixels are empty in nearly all digits, so there the view is the noise itself.
    corner = np.sort(digits.X["noisy"][:, 0])
    # Kolmogorov-Smirnov at 0.1 %: 1.95 / sqrt(n).
    assert np.abs(corner - (np.arange(1797) + 0.5) / 1797).max() < 1.95 / np.sqrt(1797)
    assert (digits.X["noisy"] == 1).mean() > 0.1


def test_the_digit_is_shared(digits):
    train, test = digits.part("train"), digits.part("test")
    Z = CCA(3, ridge=0.1).fit(train.X).transform(test.X)
    found = np.corrcoef(Z["rotated"][:, 0], Z["noisy"][:, 0])[0, 1]
    assert found > 0.4  # chance: 3 standard errors are 0.16


def test_the_seed_decides():
    one, two, other = (load_two_view_digits(s) for s in (0, 0, 1))
    for name in one.X.names:
        np.testing.assert_array_equal(one.X[name], two.X[name])
        assert (one.X[name] != other.X[name]).any()
    with pytest.raises(ParameterError, match="random_state: expected an int or None, got 'x'"):
        load_two_view_digits("x")
