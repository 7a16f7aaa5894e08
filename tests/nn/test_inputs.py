import pickle
import re

import numpy as np
import pytest
import scipy.sparse
import torch

from triptych.errors import DataError
from triptych.modalities import Modalities
from triptych.nn.inputs import (
    END,
    PAD,
    START,
    UNKNOWN,
    ImageInput,
    SequenceInput,
    TextInput,
    VectorInput,
    learn_input,
)
from triptych.values import decode, encode

ALL = np.ones(3, dtype=bool)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def come_back(reader):
    arrays: dict[str, np.ndarray] = {}
    return decode(encode(reader, arrays, "r"), arrays, {}, {})


def test_vectors_are_standardised_by_present_rows_only():
    data = rng().normal(5, 3, (50, 4))
    present = np.arange(50) < 40
    data[~present] = np.nan
    reader = VectorInput.learn(data, present)
    assert np.allclose(reader.mean, data[:40].mean(0), rtol=1e-6)
    assert np.allclose(reader.scale, data[:40].std(0), rtol=1e-6)
    values, lengths = reader.tensors(data, present)
    assert lengths is None and values.dtype == torch.float32
    assert (values[40:] == 0).all()
    assert np.allclose(reader.restore(values[:40]), data[:40], atol=1e-5)


def test_far_off_and_constant_columns():
    data = np.stack([1e6 + rng().normal(size=200), np.full(200, 0.1), np.zeros(200)], 1)
    values, _ = VectorInput.learn(data, np.ones(200, bool)).tensors(data, np.ones(200, bool))
    # A mean of 1e6 is kept in float32, whose steps there are 1/16.
    assert abs(values[:, 0].mean()) < 0.1 and abs(values[:, 0].std() - 1) < 0.02
    assert values[:, 1:].abs().max() < 1e-6


def test_sparse_vectors_give_the_same_as_dense_ones():
    data = rng().poisson(0.3, (30, 6)).astype(float)
    present = np.ones(30, bool)
    dense = VectorInput.learn(data, present).tensors(data, present)[0]
    sparse = scipy.sparse.csr_matrix(data)
    assert torch.equal(VectorInput.learn(sparse, present).tensors(sparse, present)[0], dense)


def test_images_stay_bytes_until_ready_and_come_back_exactly():
    data = rng().integers(3, 200, (3, 2, 5, 4)).astype(np.uint8)
    reader = ImageInput.learn(data, ALL)
    values, _ = reader.tensors(data, ALL)
    assert values.dtype == torch.uint8
    ready = reader.ready(values)
    assert torch.allclose(ready.mean((0, 2, 3)), torch.zeros(2), atol=1e-5)
    assert torch.allclose(ready.square().mean((0, 2, 3)), torch.ones(2), atol=1e-5)
    assert np.array_equal(reader.restore(ready), data)
    # What a decoder overshoots is cut to what was seen.
    assert reader.restore(ready * 100).max() == data.max()


def test_images_of_one_channel_lie_in_one_way():
    drawn = rng().integers(0, 256, (3, 4, 5, 1), dtype=np.uint8)
    data = drawn.transpose(0, 3, 1, 2)  # its channel has a stride of one entry
    assert data.flags.c_contiguous
    assert data.strides[1] == 1
    values, _ = ImageInput.learn(data, ALL).tensors(data, ALL)
    assert values.stride() == (20, 20, 5, 1)
    assert np.array_equal(values.numpy(), data)


def test_absent_images_are_not_read():
    data = rng().normal(size=(3, 1, 4, 4)).astype(np.float32)
    data[1] = np.nan
    present = np.array([True, False, True])
    reader = ImageInput.learn(data, present)
    assert torch.isfinite(reader.ready(reader.tensors(data, present)[0])).all()


@pytest.mark.parametrize("wave", [False, True])
def test_sequences_of_different_lengths_are_padded_with_zero(wave):
    data = [rng().normal(2, 3, (t,) if wave else (t, 2)) for t in (4, 7, 2)]
    present = np.array([True, True, False])
    reader = SequenceInput.learn(data, present, wave=wave)
    steps = np.concatenate([data[0], data[1]]).reshape(11, -1)
    assert np.allclose(reader.mean, steps.mean(0), rtol=1e-5)
    values, lengths = reader.tensors(data, present)
    assert lengths.tolist() == [4, 7, 0]
    assert values.shape == (3, 7, 1 if wave else 2)
    assert (values[0, 4:] == 0).all() and (values[2] == 0).all()
    inside = torch.cat([values[0, :4], values[1]])
    assert torch.allclose(inside.mean(0), torch.zeros(inside.shape[1]), atol=1e-6)


@pytest.mark.parametrize("wave", [False, True])
def test_an_array_of_sequences_gives_the_same_as_a_list(wave):
    data = rng().normal(2, 3, (3, 5) if wave else (3, 5, 2))
    array = SequenceInput.learn(data, ALL, wave=wave)
    listed = SequenceInput.learn(list(data), ALL, wave=wave)
    assert array.mean.shape == listed.mean.shape
    assert np.allclose(array.mean, listed.mean) and np.allclose(array.scale, listed.scale)
    assert torch.allclose(array.tensors(data, ALL)[0], listed.tensors(list(data), ALL)[0])


TEXTS = ["Latin small letter a", "LATIN capital letter b", "greek small letter alpha"]


def text_reader(**settings: int) -> TextInput:
    return TextInput.learn(TEXTS, ALL, **{"vocabulary": 200, "max_length": 30, **settings})


def test_texts_come_back_lower_cased_up_to_the_end_token():
    reader = text_reader()
    tokens, lengths = reader.tensors(TEXTS, ALL)
    assert reader.restore(tokens) == [t.lower() for t in TEXTS]
    row = [START, *tokens[0, : lengths[0]].tolist(), END, *tokens[1, : lengths[1]].tolist()]
    assert reader.restore(torch.tensor([row])) == [TEXTS[0].lower()]


def test_the_order_of_texts_does_not_change_the_vocabulary():
    flipped = TextInput.learn(TEXTS[::-1], ALL, vocabulary=200, max_length=30)
    assert flipped.tokenizer == text_reader().tokenizer
    assert np.array_equal(flipped.frequency, text_reader().frequency)


def test_long_empty_absent_and_unknown_texts():
    reader = text_reader(max_length=3)
    texts = ["letter " * 9, "", "letter", "жук"]
    tokens, lengths = reader.tensors(texts, np.array([True, True, False, True]))
    assert lengths.tolist()[:3] == [3, 0, 0] and tokens.shape[1] == 3
    assert (tokens[1:3] == PAD).all()
    assert (tokens[3, : lengths[3]] == UNKNOWN).any()
    assert reader.restore(tokens[3:]) == [""]


def test_frequency_counts_tokens_and_ends():
    reader = text_reader()
    tokens, lengths = reader.tensors(TEXTS, ALL)
    assert reader.frequency[PAD] == 0 and reader.frequency[END] == 3
    assert reader.frequency.sum() == int(lengths.sum()) + 3
    assert reader.frequency[int(tokens[0, 0])] == int((tokens == tokens[0, 0]).sum())
    assert reader.max_length == int(lengths.max())


def test_readers_are_chosen_by_kind_and_come_back_from_a_file_and_a_pickle():
    data = {
        "v": rng().normal(size=(3, 4)),
        "i": rng().normal(size=(3, 1, 4, 4)),
        "s": [rng().normal(size=(t, 2)) for t in (3, 5, 4)],
        "w": [rng().normal(size=t) for t in (3, 5, 4)],
        "t": TEXTS,
    }
    X = Modalities(data)
    classes = (VectorInput, ImageInput, SequenceInput, SequenceInput, TextInput)
    for name, cls in zip(X.names, classes, strict=True):
        reader = learn_input(X, name)
        assert type(reader) is cls
        first = reader.tensors(X[name], ALL)[0]
        for copy in (come_back(reader), pickle.loads(pickle.dumps(reader))):
            assert torch.equal(copy.tensors(X[name], ALL)[0], first)


def test_texts_without_a_word_are_refused_by_name():
    with pytest.raises(DataError, match="'note': every text is empty"):
        learn_input(Modalities({"note": ["", " ", ""]}), "note")


@pytest.mark.parametrize("size", [1e36, -1e60, 1e300])
def test_values_beyond_float32_are_refused_by_name_and_size(size):
    data = {"a": np.array([[1.0, 0.0], [2.0, size], [3.0, 1.0]]), "b": np.zeros((3, 1, 2, 2))}
    data["b"][1, 0, 0, 1] = size
    for name in data:
        with pytest.raises(
            DataError, match=f"modality '{name}': a value of {re.escape(f'{size:.3g}')}, where"
        ):
            learn_input(Modalities(data), name)
