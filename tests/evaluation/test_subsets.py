"""Settings of Ngiam et al., subsets rebuilt, and coherence, on methods whose answers are known."""

import numpy as np
import pytest

from triptych import Modalities
from triptych.contracts.method import Capabilities, Fusion
from triptych.errors import CapabilityError, DataError, NotFittedError
from triptych.evaluation import coherence, gain, reconstruct_subsets, three_settings
from triptych.fusion import MultimodalAutoencoder


class Knows(Fusion):
    """Each modality's first column is the code; "b" tells it with the wrong sign if ``odd``."""

    capabilities = Capabilities(
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
        reconstructs=True,
    )

    def __init__(self, odd=False):
        self.odd = odd

    def _fit(self, X, y, validation):
        pass

    def _transform(self, X):
        sign = {"a": 1.0, "b": -1.0 if self.odd else 1.0}
        seen = [np.where(X.present[m], sign[m] * X[m][:, 0], 0) for m in X.names]
        return (np.sum(seen, 0) / np.maximum(np.sum([X.present[m] for m in X.names], 0), 1))[
            :, None
        ]

    def _reconstruct(self, X):
        code = self._transform(X)
        return Modalities({m: np.tile(code, (1, 3)) for m in self.names_in_})


def data(n=300, seed=0):
    y = np.random.default_rng(seed).integers(0, 2, n)
    base = np.where(y, 1.0, -1.0)[:, None]
    return Modalities({m: np.tile(base, (1, 3)) for m in "ab"}), y


def test_three_settings_by_a_method_that_knows_and_one_that_errs():
    (X, y), (T, asked) = data(), data(100, 1)
    found = three_settings(Knows().fit(X), X, y, T, asked)
    kinds = [s.setting for s in found]
    assert kinds == ["fusion"] + ["cross-modality"] * 2 + ["shared representation"] * 2
    assert [s.value for s in found] == [1.0] * 5
    assert (found[3].taught, found[3].asked) == (("a",), ("b",))
    odd = {
        (s.taught, s.asked): s.value
        for s in three_settings(Knows(odd=True).fit(X), X, y, T, asked)
    }
    # Each modality tells the label by itself, but what one taught misleads about the other.
    assert odd[("a",), ("a",)] == odd[("b",), ("b",)] == 1.0
    assert odd[("a",), ("b",)] == odd[("b",), ("a",)] == 0.0


def test_rows_without_the_modality_are_left_out():
    (X, y), (T, asked) = data(), data(100, 1)
    holed = T.with_present({"b": np.arange(100) < 10})
    assert [s.value for s in three_settings(Knows().fit(X), X, y, holed, asked)] == [1.0] * 5
    nothing = T.with_present({"b": np.zeros(100, bool)})
    with pytest.raises(DataError, match="modality 'b' is absent in all rows"):
        three_settings(Knows().fit(X), X, y, nothing, asked)


def test_every_subset_rebuilds_every_modality():
    (X, _), (T, _) = data(), data(100, 1)
    found = reconstruct_subsets(Knows().fit(X), X, T)
    assert list(found) == [("a",), ("b",), ("a", "b")]
    assert all(r.value == 1.0 for parts in found.values() for r in parts.values())
    odd = reconstruct_subsets(Knows(odd=True).fit(X), X, T)
    # The wrong sign has an error of 4 where the mean has 1; both together cancel to 0.
    assert odd["b",]["a"].value == pytest.approx(-3, abs=0.2)
    assert odd["a", "b"]["a"].value == pytest.approx(0, abs=0.05)

    class Mute(Knows):
        capabilities = Capabilities()

    with pytest.raises(CapabilityError, match="Mute has no decoders"):
        reconstruct_subsets(Mute().fit(X), X, T)


def test_coherence_is_what_a_reader_of_true_samples_says_of_made_ones():
    (X, y), (T, asked) = data(), data(100, 1)
    ask = {"given": ("b",), "name": "a"}
    assert coherence(Knows().fit(X), X, y, T, asked, **ask) == 1.0
    assert coherence(Knows(odd=True).fit(X), X, y, T, asked, **ask) == 0.0
    nothing = T.with_present({"b": np.zeros(100, bool)})
    with pytest.raises(DataError, match="to be shown"):
        coherence(Knows().fit(X), X, y, nothing, asked, **ask)


def test_gain_over_one_modality_and_over_all_side_by_side():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    hint = rng.normal(size=400)
    # Neither modality tells the label; their sum does.
    X = Modalities(
        {"a": np.tile((y - 0.5) * 4 + hint, (3, 1)).T, "b": np.tile(-hint, (3, 1)).T * 1.0}
    )
    noise = {m: v + 0.5 * rng.normal(size=v.shape) for m, v in X.items()}
    found = gain(Knows().fit(X), X[:300], y[:300], X[300:], y[300:])
    assert found.value == found.concatenation == 1.0
    assert set(found.single) == {"a", "b"}
    assert found.over_concatenation == 0
    assert found.over_single == pytest.approx(1 - max(found.single.values()))
    assert found.single["b"] < 0.65
    worse = gain(Knows(odd=True).fit(X), Modalities(noise)[:300], y[:300], X[300:], y[300:])
    assert worse.over_concatenation < -0.05


def test_methods_that_are_not_fitted_are_refused():
    X, y, model = {"a": np.zeros((2, 1))}, [0, 1], MultimodalAutoencoder()
    for ask in (
        lambda: three_settings(model, X, y, X, y),
        lambda: gain(model, X, y, X, y),
        lambda: reconstruct_subsets(model, X, X),
        lambda: coherence(model, X, y, X, y, given=("a",), name="a"),
    ):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            ask()
