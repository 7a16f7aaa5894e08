"""Decoders of sequences: padding is no target, lengths are learnt, frames come back in units."""

import numpy as np
import pytest
import torch

from triptych import Modalities
from triptych.errors import ParameterError
from triptych.modalities import Kind
from triptych.nn.inputs import SequenceInput, learn_input
from triptych.nn.recipes import SequenceDecoder, default_decoder

LISTED = [np.arange(2.0 * t).reshape(t, 2) for t in (3, 5, 2)]
ALL = np.ones(3, dtype=bool)


@pytest.fixture
def listed(torch_draws):
    X = Modalities({"s": LISTED})
    reader = learn_input(X, "s")
    assert isinstance(reader, SequenceInput)
    return reader, SequenceDecoder(width=8).build(X.kind("s"), reader, 4)


def test_loss_is_the_mean_over_true_steps_and_the_length(listed):
    reader, decoder = listed
    values, lengths = reader.tensors(LISTED, ALL)
    code = torch.randn(3, 4)
    found = decoder.loss(code, values, lengths)
    made = decoder.generate(code)
    for row, steps in enumerate((3, 5, 2)):
        squares = [
            sum((made[row, t, c] - values[row, t, c]).item() ** 2 for t in range(steps)) / steps
            for c in range(2)
        ]
        wanted = (np.log(steps) - np.log([3, 5, 2]).mean()) / np.log([3, 5, 2]).std()
        length = (decoder.long(code)[row, 0].item() - wanted) ** 2
        assert found[row].item() == pytest.approx((sum(squares) + length) / 3, rel=1e-4)


def test_what_stands_in_padding_changes_nothing(listed):
    reader, decoder = listed
    values, lengths = reader.tensors(LISTED, ALL)
    code = torch.randn(3, 4)
    longer = torch.full((3, 9, 2), 77.0)
    longer[:, :5] = torch.where(torch.arange(5)[:, None] < lengths[:, None, None], values, 77.0)
    torch.testing.assert_close(
        decoder.loss(code, longer, lengths), decoder.loss(code, values, lengths)
    )


def test_lengths_are_learnt_and_frames_come_back_in_units(listed):
    reader, decoder = listed
    values, lengths = reader.tensors(LISTED, ALL)
    code = torch.eye(4)[:3]
    optimizer = torch.optim.Adam(decoder.parameters(), 0.02)
    for _ in range(400):
        optimizer.zero_grad()
        decoder.loss(code, values, lengths).mean().backward()
        optimizer.step()
    with torch.no_grad():
        assert decoder.lengths(code).tolist() == [3, 5, 2]
        back = reader.restore(decoder.generate(code), decoder.lengths(code))
        far = decoder.lengths(1e6 * torch.ones(1, 4))
    for made, true in zip(back, LISTED, strict=True):
        # Learnt in 400 steps; the frames run from 0 to 9.
        np.testing.assert_allclose(made, true, atol=0.5)
    assert 1 <= int(far) <= 5


def test_equal_lengths_need_none_learnt(torch_draws):
    X = Modalities({"s": np.random.default_rng(0).normal(size=(6, 4, 3))})
    reader = learn_input(X, "s")
    decoder = default_decoder(X.kind("s")).build(X.kind("s"), reader, 2)
    assert decoder.long is None
    code = torch.randn(5, 2)
    assert decoder.lengths(code).tolist() == [4] * 5
    with torch.no_grad():
        back = reader.restore(decoder.generate(code), decoder.lengths(code))
    assert [a.shape for a in back] == [(4, 3)] * 5
    values, lengths = reader.tensors(X["s"], np.ones(6, dtype=bool))
    wanted = (decoder.generate(torch.zeros(6, 2)) - values).square().mean((1, 2))
    torch.testing.assert_close(decoder.loss(torch.zeros(6, 2), values, lengths), wanted)


def test_it_is_for_sequences():
    with pytest.raises(ParameterError, match="SequenceDecoder is for sequence"):
        SequenceDecoder().build(Kind("vector", (3,)), None, 2)
