"""Data that is always there: counts, splits that do not leak, truths that hold."""

import unicodedata

import numpy as np
import pytest

from triptych.coordination import CCA
from triptych.datasets import first_of_each, load, load_glyphs, load_two_view_digits, synthetic
from triptych.errors import ParameterError


@pytest.fixture(scope="module")
def glyphs(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("TRIPTYCH_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield load_glyphs(faces=3)
    patch.undo()


def test_glyphs_are_pictures_with_their_names(glyphs):
    names, characters = glyphs.X["text"], glyphs.labels["character"]
    assert all(unicodedata.name(c) == n for c, n in zip(characters, names, strict=True))
    images = glyphs.X["image"]
    assert images.shape[1:] == (1, 32, 32) and images.dtype == np.uint8
    blank = images.reshape(len(images), -1).max(axis=1) == 0
    assert blank.mean() < 0.01


def test_cached_and_drawn_glyphs_are_equal(glyphs, tmp_path, monkeypatch):
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path))
    drawn = load_glyphs(faces=1)
    (cached,) = tmp_path.iterdir()
    assert load_glyphs(faces=1).X["image"].tobytes() == drawn.X["image"].tobytes()
    cached.write_bytes(b"damaged")
    assert load_glyphs(faces=1).X["image"].tobytes() == drawn.X["image"].tobytes()


def test_held_out_characters_are_unseen_and_so_are_their_pictures(glyphs):
    parts = {p: glyphs.part(p, "characters") for p in ("train", "valid", "test")}
    for part in ("valid", "test"):
        assert len(first_of_each(parts[part])) == 600
        assert not set(parts[part].groups) & set(parts["train"].groups)
        seen = {i.tobytes() for i in parts["train"].X["image"]}
        assert not any(i.tobytes() in seen for i in parts[part].X["image"] if i.any())


def test_faces_split_holds_faces_out(glyphs):
    test = glyphs.part("test", "faces")
    assert not set(test.labels["face"]) & set(glyphs.part("train", "faces").labels["face"])


def test_unknown_faces_are_named():
    with pytest.raises(ParameterError, match="unknown face 'Comic'"):
        load_glyphs(faces=["Comic"])
    with pytest.raises(ParameterError, match="faces: expected a whole number"):
        load_glyphs(faces=13)


def test_two_views_share_only_the_digit():
    data = load("digits")
    again = load_two_view_digits(random_state=0)
    assert data.X["noisy"].tobytes() == again.X["noisy"].tobytes()
    assert data.X["rotated"].shape == (1797, 64) and data.X["noisy"].max() <= 1
    rho = CCA(9, ridge=0.1).fit(data.part("train").X).correlations_
    assert rho[0] > 0.6  # the digit


def test_linear_gaussian_has_its_correlations():
    sample = synthetic.linear_gaussian(20_000, (0.8, 0.4), random_state=1)
    rho = sample.truth["correlations"]
    error = np.abs(CCA().fit(sample.X).correlations_ - rho)[:2]
    assert (error < 3 * (1 - rho[:2] ** 2) / np.sqrt(20_000)).all()
    known = -0.5 * (np.log(1 - 0.64) + np.log(1 - 0.16))
    assert sample.truth["mutual_information"] == pytest.approx(known)
    with pytest.raises(ParameterError, match="at most 1"):
        synthetic.linear_gaussian(10, (0.5, 0.5), dims=(1, 3))


@pytest.mark.parametrize("nonlinear", [False, True])
def test_factors_are_in_the_modalities_that_have_them(nonlinear):
    sample = synthetic.shared_private(4000, nonlinear=nonlinear, noise=0.0, random_state=0)

    def r2(X, F):
        X = np.column_stack([X, np.ones(len(X))])
        left = F - X @ np.linalg.lstsq(X, F, rcond=None)[0]
        return 1 - (left**2).sum() / ((F - F.mean(axis=0)) ** 2).sum()

    for name in ("a", "b"):
        assert r2(sample.X[name], sample.truth["shared"]) > 0.8
        assert r2(sample.X[name], sample.truth["private"][name]) > 0.8
    assert r2(sample.X["a"], sample.truth["private"]["b"]) < 0.05


@pytest.mark.parametrize("gate", ["and", "xor", "copy", "unique"])
def test_gates_add_up_to_the_information_of_both(gate):
    sample = synthetic.logic_gate(gate, 4000)
    a, b = (sample.X[m][:, 0].astype(int) for m in "ab")
    counts = np.zeros((4, 2))
    np.add.at(counts, (2 * a + b, sample.y), 1)
    p = counts / counts.sum()
    outer = p.sum(1, keepdims=True) * p.sum(0)
    mask = p > 0
    information = (p[mask] * np.log(p[mask] / outer[mask])).sum()
    assert sum(sample.truth.values()) == pytest.approx(information, abs=0.03)
    with pytest.raises(ParameterError, match="gate"):
        synthetic.logic_gate("nor")
