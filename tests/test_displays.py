"""Displays keep the values they draw, draw on axes given, and say what they cannot draw."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from triptych import Modalities
from triptych.coordination import CCA, GCCA
from triptych.displays import CorrelationsDisplay, LoadingsDisplay, VariatesDisplay
from triptych.errors import (
    CapabilityError,
    ModalityError,
    NotFittedError,
    ParameterError,
    ShapeError,
)


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def pair(n=60):
    random = np.random.default_rng(0)
    A = random.normal(size=(n, 5))
    B = random.normal(size=(n, 4))
    B[:, 0] += 3 * A[:, 0]
    return {"a": A, "b": B}


def test_correlations_with_their_null():
    model = CCA().fit(pair())
    shown = CorrelationsDisplay.from_estimator(model, pair(), n_permutations=49)
    np.testing.assert_array_equal(shown.correlations, model.correlations_)
    by_hand = model.permutation_test(pair(), 49)
    np.testing.assert_array_equal(shown.test.null, by_hand.null)
    assert shown.figure_ is shown.ax_.figure
    said = [text.get_text() for text in shown.ax_.get_legend().get_texts()]
    assert said == ["by chance (5% to 95%)", "beyond chance", "not beyond"]
    points = [line for line in shown.ax_.lines if line.get_marker() == "o"]
    assert [len(line.get_xdata()) for line in points] == [1, 3]  # one component is real
    assert points[1].get_markerfacecolor() == "white"  # hollow, so that grey prints tell


def test_correlations_without_a_null():
    class Untested:
        correlations_ = np.array([0.8, 0.1])

    shown = CorrelationsDisplay.from_estimator(Untested(), pair())
    assert shown.test is None
    assert shown.ax_.get_legend() is None


def test_correlations_of_two_modalities_and_more_with_their_null():
    shown = CorrelationsDisplay.from_estimator(GCCA(2).fit(pair()), pair(), n_permutations=9)
    assert shown.test.n_permutations == 9
    assert shown.test.statistic == "largest"


def test_axes_given_are_drawn_on():
    figure, axes = plt.subplots(1, 3)
    model = CCA().fit(pair())
    for ax, shown in zip(
        axes,
        (
            CorrelationsDisplay.from_estimator(model, ax=axes[0]),
            LoadingsDisplay.from_estimator(model, ax=axes[1]),
            VariatesDisplay.from_estimator(model, pair(), ax=axes[2]),
        ),
        strict=True,
    ):
        assert shown.ax_ is ax
        assert shown.figure_ is figure
        assert shown.plot().ax_ is not ax


def test_the_largest_loadings_by_modality():
    model = CCA().fit(pair())
    shown = LoadingsDisplay.from_estimator(
        model, component=1, top=2, names={"b": ["one", "two", "three", "four"]}
    )
    names = [text.get_text() for text in shown.ax_.get_yticklabels()]
    best = {m: np.argsort(-np.abs(model.loadings_[m][:, 1]))[:2] for m in "ab"}
    words = ["one", "two", "three", "four"]
    assert names == [*(str(j) for j in best["a"]), *(words[j] for j in best["b"])]
    widths = [bar.get_width() for bar in shown.ax_.patches]
    np.testing.assert_allclose(
        widths, [*model.loadings_["a"][best["a"], 1], *model.loadings_["b"][best["b"], 1]]
    )
    assert len({bar.get_hatch() for bar in shown.ax_.patches}) == 2


def test_words_name_themselves():
    texts = ["night $dark", "bright day"] * 20
    size = np.random.default_rng(0).normal(size=(40, 1))
    size[::2] += 3
    model = CCA(ridge=0.1).fit({"size": size, "text": texts})
    shown = LoadingsDisplay.from_estimator(model)
    assert "night" in [text.get_text() for text in shown.ax_.get_yticklabels()]
    shown.figure_.canvas.draw()


def test_variates_of_rows_that_have_both():
    X = Modalities(pair(), present={"a": np.arange(60) % 3 != 0})
    model = CCA().fit(X)
    labels = np.arange(60) % 9
    shown = VariatesDisplay.from_estimator(model, X, component=1, labels=labels)
    assert len(shown.codes["a"]) == 40
    assert shown.correlation_ == pytest.approx(model.correlations_[1])
    marks = {len(part.get_paths()[0].vertices) for part in shown.ax_.collections}
    assert len(shown.ax_.collections) == 6  # six of nine classes are left
    assert len(marks) > 2
    flat = VariatesDisplay(codes={"a": np.zeros(3), "b": np.arange(3.0)}).plot()
    assert flat.correlation_ == 0
    many = VariatesDisplay(codes=shown.codes, labels=np.arange(40)).plot()
    assert many.ax_.get_legend().get_texts()[0].get_text() == "other"


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(NotFittedError):
        CorrelationsDisplay.from_estimator(CCA())
    model = CCA().fit(pair())
    with pytest.raises(ParameterError, match=r"component: expected .* <= 3, got 4"):
        LoadingsDisplay.from_estimator(model, component=4)
    with pytest.raises(ShapeError, match=r"names\['b'\]: expected 4 names, got 1"):
        LoadingsDisplay.from_estimator(model, names={"b": ["one"]})
    with pytest.raises(ModalityError, match=r"two of \['a'\]"):
        VariatesDisplay.from_estimator(model, {"a": pair()["a"]})
    with pytest.raises(ParameterError, match="two modalities"):
        VariatesDisplay(codes={"a": [1.0]}).plot()
    del model.loadings_
    with pytest.raises(CapabilityError, match="CCA has no loadings_"):
        LoadingsDisplay.from_estimator(model)
