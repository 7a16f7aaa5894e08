"""Clusters over pictures, from a fitted method to the page."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from triptych import Dataset, Modalities, Training
from triptych.comparison.assignments import _coloured, _hot, _over, _pictures
from triptych.comparison.extras import gather
from triptych.evaluation import BestSingle
from triptych.fission import DeepMultimodalClustering
from triptych.nn.positions import ConvMap, FrameNet
from triptych.report.page import html
from triptych.report.reading_exhibits import read_exhibits
from triptych.report.summary import summarise


@pytest.fixture(scope="module")
def shown():
    draw = np.random.default_rng(0)
    X = Modalities({"a<b": draw.random((40, 3, 16, 24)), "sound": draw.random((40, 9, 4))})
    model = DeepMultimodalClustering(
        4,
        n_clusters=3,
        width=8,
        encoders={"a<b": ConvMap(width=4, depth=0), "sound": FrameNet(8, 1, 3)},
        training=Training(epochs=1, batch_size=20, device="cpu"),
        random_state=0,
    ).fit(X)
    extras, troubles = gather(model, Dataset(X, {}), {}, None)
    assert not troubles
    return extras


def test_rows_have_their_pictures_clusters_and_finds(shown):
    read = read_exhibits(shown).assignments
    assert len(read) == 6
    names = [name for name, _ in read[0]]
    assert names[:4] == ["a<b", "sound", "clusters of a<b", "sound found in a<b"]
    assert names[4:] == ["clusters of sound", "a<b found in sound"]
    kinds = [thing.kind for _, thing in read[0]]
    assert kinds == ["image", "vector", *["image"] * 4]
    assert all((thing.width, thing.height) == (24, 16) for _, thing in read[0][2:4])
    assert all((thing.width, thing.height) == (9, 4) for _, thing in read[0][4:])
    drawn = Image.open(io.BytesIO(base64.b64decode(read[0][2][1].png)))
    assert drawn.mode == "RGB"


def test_the_page_holds_them(shown, comparison):
    comparison["rows"][0]["extras"] = shown
    page = html(summarise(comparison))
    assert "Clusters and places" in page
    assert "sound found in a&lt;b" in page


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (["shared", "a"], "shared and private parts<"),
        (["a", "b"], "clusters that match across modalities<"),
        ([], "shared and private parts, or clusters<"),
    ],
)
def test_the_heading_says_what_parts_there_are(comparison, parts, said):
    row = comparison["rows"][0]
    row["panel"], row["extras"] = "fission", {"parts": parts}
    comparison["rows"] = [row]
    assert html(summarise(comparison)).count(said) == 1


def test_the_best_single_modality_says_which_it_is(comparison):
    row = comparison["rows"][-1]
    row["panel"] = "baseline"
    row["extras"] = {"choice": {"modality": "a<b", "by": "chosen by a linear probe"}}
    page = html(summarise(comparison))
    assert 'title="chosen by a linear probe">(a&lt;b)<' in page


def test_the_choice_of_the_best_single_modality_is_gathered():
    rng = np.random.default_rng(0)
    X = Modalities({"a": rng.normal(size=(60, 2)), "b": rng.normal(size=(60, 2))})
    y = (X["b"][:, 0] > 0).astype(int)
    shown, _ = gather(BestSingle(2).fit(X, y), Dataset(X), {}, None)
    assert shown["choice"]["modality"] == "b"
    assert "linear probe" in shown["choice"]["by"]


def test_clusters_are_no_shared_and_private_parts(shown):
    assert shown["parts"] == ["a<b", "sound"]


def test_sequences_and_waveforms_are_drawn_with_time_to_the_right():
    frames = np.array([[0.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    (drawn,) = _pictures([frames], "sequence")
    np.testing.assert_array_equal(drawn, [[0, 1, 0], [0, 0, 0]])  # the last column is on top
    tone = np.sin(0.5 * np.pi * np.arange(4000)) * (np.arange(4000) >= 2000)  # a quarter of 2 π
    spectrum, silent = _pictures([tone, np.zeros(100)], "waveform")
    assert spectrum.shape[0] == 129 and spectrum[:, : spectrum.shape[1] // 2 - 1].max() < 0.5
    assert abs(spectrum[:, -1].argmax() - 64) <= 1
    assert np.isfinite(silent).all()
    assert _pictures([np.zeros((1000, 3))], "sequence")[0].shape == (3, 256)
    assert _pictures(["words"], "text") == []


def test_a_position_has_the_colour_of_its_fullest_cluster():
    share = np.zeros((3, 2, 2))
    share[0, 0], share[2, 1, 0] = 1.0, 1.0
    share[:, 1, 1] = 1 / 3  # no choice
    colours = _coloured(share)
    np.testing.assert_allclose(colours[:, 0, 0], colours[:, 0, 1])
    assert np.abs(colours[:, 0, 0] - colours[:, 1, 0]).max() > 0.3
    np.testing.assert_allclose(colours[:, 1, 1], 1)


def test_heat_runs_from_the_least_to_the_largest_and_lies_over_the_picture():
    heat = _hot(np.array([[0.0, 1.0], [0.5, 0.5]]))
    assert heat[:, 0, 0].sum() < heat[:, 1, 0].sum() < heat[:, 0, 1].sum()
    assert np.isfinite(_hot(np.zeros((2, 2)))).all()
    over = _over(np.zeros((4, 6)), heat)
    assert over.shape == (3, 4, 6)
    np.testing.assert_allclose(over[:, :2, :3], np.broadcast_to(0.6 * heat[:, :1, :1], (3, 2, 3)))
    assert (_over(np.ones((4, 6)), heat) >= over).all()
