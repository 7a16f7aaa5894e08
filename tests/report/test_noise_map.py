"""Grids of noise, from a fitted method to the picture's words."""

import math

import numpy as np
import sklearn.linear_model  # noqa: F401  its import draws from Python's global generator

from triptych import Dataset, Modalities, Training
from triptych.comparison.extras import NOISE, gather
from triptych.fusion import EarlyFusion
from triptych.report.noise import noise_map
from triptych.report.reading_exhibits import read_exhibits

RECORD = {
    "modalities": ["image", "sound"],
    "levels": [None, 0.0],
    "value": [[0.9, 0.8], [0.7, 0.24]],
    "measure": "accuracy",
    "rows": 300,
}


def test_a_grid_is_drawn_and_told():
    picture = noise_map(read_exhibits({"noise": RECORD}).noise, "EarlyFusion")
    assert picture.alt == (
        "accuracy of EarlyFusion on 300 rows with white noise on image and sound: clean 0.900, "
        "at the strongest noise 0.240, mean 0.660."
    )
    one = {**RECORD, "modalities": ["image"], "value": [0.9, 0.5]}
    assert "on image: clean 0.900" in noise_map(read_exhibits({"noise": one}).noise, "X").alt


def test_records_that_cannot_be_read_are_left_out():
    for bad in ({"value": [[0.9], [0.7]]}, {"value": [[0.9, math.nan], [0, 1]]}, {"levels": []}):
        assert read_exhibits({"noise": {**RECORD, **bad}}).noise is None
    assert noise_map(None, "X") is None


def test_methods_that_learn_labels_show_how_noise_hurts():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, size=80)
    X = Modalities({m: y[:, None] + 0.3 * rng.normal(size=(80, 3)) for m in "ab"})
    settings = Training(epochs=8, batch_size=16, learning_rate=1e-2, device="cpu")
    model = EarlyFusion(4, layers=(8,), training=settings, random_state=0).fit(X, y)
    data = Dataset(X, labels={"kind": y})
    extras, troubles = gather(model, data, {}, "kind")
    assert troubles == []
    grid = extras["noise"]
    assert grid["modalities"] == ["a", "b"] and len(grid["levels"]) == len(NOISE)
    assert grid["value"][0][0] > 0.9 > grid["value"][-1][-1]
    assert noise_map(read_exhibits(extras).noise, "EarlyFusion") is not None
    assert "noise" not in gather(model, data, {}, None)[0]
