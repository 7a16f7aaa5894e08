"""Encoders that keep positions: how these lie, and that rows and padding do not touch them."""

import numpy as np
import pytest
import torch
from torch import nn

from triptych.errors import CapabilityError, ParameterError, ShapeError
from triptych.modalities import Kind, Modalities
from triptych.nn.inputs import learn_input
from triptych.nn.positions import ConvMap, FrameNet, WordStates, build_positions
from triptych.nn.recipes import ConvNet

pytestmark = pytest.mark.usefixtures("torch_draws")

IMAGE, FRAMES, WAVE, TEXT = (
    Kind("image", (3, 24, 40)),
    Kind("sequence", (None, 6)),
    Kind("waveform", (None,)),
    Kind("text"),
)


@pytest.fixture(scope="module")
def words():
    return learn_input(Modalities({"text": ["red fox", "blue fish", "red fish eats"]}), "text")


@pytest.mark.parametrize(("cell", "shape"), [(1, (24, 40)), (4, (6, 10)), (8, (3, 5))])
def test_maps_have_a_position_for_each_cell(cell, shape):
    encoder = build_positions(ConvMap(width=4, cell=cell), IMAGE, None, 7)
    found = encoder(torch.randn(2, 3, 24, 40))
    assert found.shape == shape
    assert found.features.shape == (2, shape[0] * shape[1], 7)
    assert found.mask is None


def test_a_position_sees_its_surroundings_and_nothing_far_away():
    module = ConvMap(width=4, cell=4, depth=0).build_positions(IMAGE, None, 5)
    picture = torch.randn(1, 3, 24, 40)
    other = picture.clone()
    other[..., 30:] += 1
    changed = (module(picture) - module(other)).abs().amax((0, 1, 2)) > 1e-6
    assert changed.tolist() == [False] * 7 + [True] * 3


@pytest.mark.parametrize("kind", [FRAMES, WAVE], ids=["sequence", "waveform"])
def test_frames_do_not_depend_on_padding(kind):
    wave = kind.form == "waveform"
    encoder = build_positions(None, kind, None, 7).eval()
    steps = torch.randn(1, 150 if wave else 9, 1 if wave else 6)
    alone = encoder(steps, torch.tensor([steps.shape[1]]))
    longer = torch.cat([steps, 1e3 * torch.ones(1, 70, steps.shape[2])], 1)
    both = encoder(torch.cat([longer, longer]), torch.tensor([steps.shape[1], longer.shape[1]]))
    n = int(both.mask[0].sum())
    assert n == (3 if wave else 9)  # 150 samples, thinned 64 times
    assert alone.mask.all()
    torch.testing.assert_close(both.features[0, :n], alone.features[0, :n], atol=1e-5, rtol=1e-4)
    assert int(both.mask[1].sum()) > n


def test_a_kernel_of_one_reads_sets(words):
    encoder = build_positions(FrameNet(kernel=1), FRAMES, None, 7)
    members = torch.randn(1, 8, 6)
    turned = torch.randperm(8)
    torch.testing.assert_close(
        encoder(members[:, turned]).features, encoder(members).features[:, turned]
    )


def test_words_keep_their_places(words):
    encoder = build_positions(WordStates(depth=1), TEXT, words, 7).eval()
    tokens, lengths = words.tensors(["red fox", "red"], np.ones(2, dtype=bool))
    found = encoder(tokens, lengths)
    assert found.shape == (tokens.shape[1],)
    assert found.mask.sum(1).tolist() == lengths.tolist()
    alone, own = words.tensors(["red"], np.ones(1, dtype=bool))
    n = int(own[0])
    torch.testing.assert_close(
        found.features[1, :n], encoder(alone, own).features[0, :n], atol=1e-5, rtol=1e-4
    )


class Halving(nn.Module):
    def __init__(self, kind, width):
        super().__init__()
        self.map = nn.Linear(6, width)

    def forward(self, values, lengths):
        return self.map(values)[:, ::2]


class Telling(Halving):
    def forward(self, values, lengths):
        steps = super().forward(values, lengths)
        return steps, torch.arange(steps.shape[1]) < (lengths[:, None] + 1) // 2


def test_a_factory_that_leaves_steps_out_must_say_which_are_there():
    steps, lengths = torch.randn(2, 8, 6), torch.tensor([8, 3])

    def halving(kind, width):
        return Halving(kind, width)

    def telling(kind, width):
        return Telling(kind, width)

    with pytest.raises(ShapeError, match="halving gives 4 steps for 8"):
        build_positions(halving, FRAMES, None, 7)(steps, lengths)
    found = build_positions(telling, FRAMES, None, 7)(steps, lengths)
    assert found.mask.sum(1).tolist() == [4, 2]


def test_encoders_without_positions_are_refused():
    with pytest.raises(ParameterError, match=r"ConvNet .* take ConvMap\(\)"):
        build_positions(ConvNet(), IMAGE, None, 7)
    with pytest.raises(ParameterError, match="FrameNet is for sequence and waveform"):
        build_positions(FrameNet(), IMAGE, None, 7)
    with pytest.raises(ParameterError, match=r"settings such as ConvMap\(\)"):
        build_positions(ConvMap, IMAGE, None, 7)
    with pytest.raises(ParameterError, match="must return a torch module"):
        build_positions(lambda kind, width: None, IMAGE, None, 7)
    with pytest.raises(ShapeError, match=r"must give maps \(b, width, h, w\)"):
        build_positions(lambda kind, width: nn.Flatten(), IMAGE, None, 7)(torch.zeros(2, 3, 4, 4))
    with pytest.raises(CapabilityError, match="has no positions"):
        build_positions(None, Kind("vector", (3,)), None, 7)
    with pytest.raises(ParameterError, match="power of 2"):
        ConvMap(cell=6)
    with pytest.raises(ParameterError, match="odd"):
        FrameNet(kernel=4)
