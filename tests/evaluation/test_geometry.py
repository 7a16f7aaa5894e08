"""Modality gap, alignment and uniformity: hand-made codes, and the columns of a comparison."""

import math

import numpy as np
import pytest
import torch

from triptych import Dataset, Modalities
from triptych.coordination import CCA
from triptych.errors import DataError, ShapeError
from triptych.evaluation import alignment, evaluate, geometry, modality_gap, uniformity
from triptych.losses import contrastive


def test_codes_whose_figures_are_known():
    east, north = np.array([[2.0, 0], [5, 0]]), np.array([[0, 3.0], [0, 1]])
    assert modality_gap(east, north) == pytest.approx(math.sqrt(2))
    assert modality_gap(east, -east) == pytest.approx(2)
    assert modality_gap(east, 3 * east[:1]) == 0
    assert alignment(east, north) == pytest.approx(2)
    assert alignment(east, -east) == pytest.approx(4)
    assert uniformity(east) == pytest.approx(0)
    assert uniformity(np.array([[1.0, 0], [-1, 0]])) == pytest.approx(-8)


def test_they_agree_with_the_losses_on_tiles(monkeypatch):
    monkeypatch.setattr(geometry, "TILE", 7)
    rng = np.random.default_rng(0)
    za, zb = rng.normal(size=(2, 30, 4))
    assert uniformity(za) == pytest.approx(
        contrastive.uniformity(torch.from_numpy(za)).item(), rel=1e-9
    )
    assert alignment(za, zb) == pytest.approx(
        contrastive.alignment(torch.from_numpy(za), torch.from_numpy(zb)).item(), rel=1e-9
    )


def test_a_comparison_has_them_for_coordination():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(60, 2))
    X = Modalities({"a": z @ rng.normal(size=(2, 4)), "b": z @ rng.normal(size=(2, 3))})
    data = Dataset(X, labels={"y": (z[:, 0] > 0).astype(int)})
    model = CCA(2).fit(X)
    values = evaluate(model, data, data)
    Z = model.transform(X)
    assert values["gap:a~b"]["value"] == pytest.approx(modality_gap(Z["a"], Z["b"]))
    assert values["alignment:a~b"]["value"] == pytest.approx(0, abs=1e-6)  # one latent, no noise
    assert -8 <= values["uniformity:a"]["value"] < 0


def test_refused():
    with pytest.raises(ShapeError, match=r"\(4, 3\).*\(4, 2\)"):
        modality_gap(np.ones((4, 3)), np.ones((4, 2)))
    with pytest.raises(ShapeError, match="partners"):
        alignment(np.ones((4, 3)), np.ones((5, 3)))
    with pytest.raises(DataError, match="got 1"):
        uniformity(np.ones((1, 3)))
    with pytest.raises(DataError, match="not finite at row 1"):
        uniformity(np.array([[1.0], [np.nan]]))
