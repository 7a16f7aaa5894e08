"""Early fusion: layers as written, equal weights wherever modalities meet, nothing made up."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from triptych import Modalities, Training, load
from triptych.errors import DataError, ModalityError, ParameterError, ShapeError
from triptych.fusion import EarlyFusion
from triptych.fusion._equal_widths import Plan, Widths, count, equal_widths
from triptych.nn.spectrogram import Spectrogram
from triptych.testing import check_method

PLACES = (1, 2, "late")
SOUND = Spectrogram(rate=1000, window=0.032, hop=0.016, bands=8)


def digits(n=120, seed=0):
    """Bright side of a picture, pitch of a sound; the label is whether they agree."""
    rng = np.random.default_rng(seed)
    side, high = rng.integers(0, 2, size=(2, n))
    images = rng.integers(0, 60, size=(n, 1, 8, 8), dtype=np.uint8)
    for row in range(n):
        images[row, 0, :, 4 * side[row] : 4 * side[row] + 4] += 150
    sounds = []
    for tone in high:
        t = np.arange(rng.integers(100, 180))
        sounds.append(np.sin(t * (1.4 if tone else 0.5)) + 0.1 * rng.normal(size=len(t)))
    return {"image": images, "sound": sounds}, side ^ high


def make(epochs=10, **given):
    settings = {"layers": (8, 8), "steps": 4, "spectrogram": SOUND, **given}
    training = Training(epochs=epochs, batch_size=16, learning_rate=1e-2, device="cpu")
    return EarlyFusion(8, training=training, random_state=0, **settings)


@pytest.mark.parametrize("fuse_at", PLACES)
def test_learns_what_only_both_tell(fuse_at):
    X, y = digits()
    new, y_new = digits(60, seed=1)
    model = make(fuse_at=fuse_at).fit(X, y)
    assert model.score(new, y_new) > 0.9  # chance 0.5, and either modality alone
    chances = model.predict_proba(new)
    np.testing.assert_allclose(chances.sum(1), 1)
    np.testing.assert_array_equal(model.classes_[chances.argmax(1)], model.predict(new))


def plain_layer(layer, x, frames, steps):
    """States (t, b, d, h, w) of a layer that reads maps x[t] and frames[t], channels first."""
    d, state, cell, states = layer.width, 0.0, 0.0, []
    for t in range(steps):
        a = layer.bias[None, :, None, None]
        for values, name in ((x, "image"), (frames, "sound"), (x, "joint")):
            if values is not None and name in layer.inputs:
                weight = layer.inputs[name].weight
                if weight.ndim == 4:
                    pad = weight.shape[2] // 2
                    a = a + F.conv2d(values[t], weight, stride=layer.stride, padding=pad)
                else:
                    a = a + (values[t] @ weight.T)[:, :, None, None]
        if t:
            a = a + F.conv2d(state, layer.state.weight, padding=layer.state.weight.shape[2] // 2)
        i, f, o, g = a.split(d, dim=1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        state = torch.sigmoid(o) * torch.tanh(cell)
        states.append(state)
    return torch.stack(states)


@pytest.mark.parametrize("fuse_at", PLACES)
def test_the_network_is_the_equations(fuse_at):
    rng = np.random.default_rng(0)
    X = {"image": rng.normal(size=(12, 2, 6, 5)), "sound": rng.normal(size=(12, 3, 4))}
    y = np.arange(12) % 3
    model = make(1, fuse_at=fuse_at, steps=None, layers=(3, 2)).fit(X, y)
    net, readers = model.network_, model.inputs_
    image = readers["image"].ready(readers["image"].tensors(X["image"], np.ones(12, bool))[0])
    sound = readers["sound"].tensors(X["sound"], np.ones(12, bool))[0].transpose(0, 1)
    joint, x, frames = list(net.joint), [image] * 3, sound
    with torch.no_grad():
        for layer in net.alone:
            x = plain_layer(layer["image"], x, None, 3)
            frames = _lstm(layer["sound"], frames)
        for at, layer in enumerate(joint):
            x = plain_layer(layer, x, frames if at == 0 else None, 3)
        read = F.adaptive_avg_pool2d(x[-1], (3, 3)).flatten(1)
        if fuse_at == "late":
            read = torch.cat([read, frames[-1]], dim=1)
        code = net.code(read)
    np.testing.assert_allclose(model.transform(X), code.numpy(), rtol=1e-4, atol=1e-6)  # float32
    logits = net.output(F.gelu(code)).softmax(1).detach().numpy()
    np.testing.assert_allclose(model.predict_proba(X), logits, rtol=1e-4)


def _lstm(layer, frames):
    state = cell = torch.zeros(frames.shape[1], layer.width)
    states = []
    for frame in frames:
        a = frame @ layer.inputs["sound"].weight.T + state @ layer.state.weight.T + layer.bias
        i, f, o, g = a.chunk(4, dim=1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        state = torch.sigmoid(o) * torch.tanh(cell)
        states.append(state)
    return torch.stack(states)


SOURCES = {
    "picture and sound": ({"a": (1, True), "b": (32, False)}, {"a": (14, 14)}, True),
    "two pictures and a vector": (
        {"a": (3, True), "b": (1, True), "c": (20, False)},
        {"a": (16, 16), "b": (7, 9)},
        False,
    ),
    "sequences": ({"a": (30, False), "b": (5, False), "c": (74, False)}, {}, True),
    "vectors": ({"a": (200, False), "b": (40, False)}, {}, False),
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("layers", [(16, 16), (24, 32, 16)])
def test_weights_are_as_many_wherever_modalities_meet(name, layers):
    def plan(fuse_at):
        return Plan(*SOURCES[name], fuse_at=fuse_at, kernel=3, stride=2, code=16, outputs=10)

    budget = count(plan(1), Widths(layers, layers))
    as_given = []
    for fuse_at in range(2, len(layers) + 2):
        widths = equal_widths(plan(fuse_at), layers, budget)
        assert abs(count(plan(fuse_at), widths) / budget - 1) < 0.01
        as_given.append(count(plan(fuse_at), equal_widths(plan(fuse_at), layers, None)))
    assert max(as_given) > 1.05 * budget  # without, later meeting would have more


@pytest.mark.parametrize("kind", ["both", "vectors", "sequences", "pictures"])
def test_the_count_is_that_of_the_network(kind):
    rng = np.random.default_rng(0)
    X, y = digits(20)
    if kind == "vectors":
        X = {"a": rng.normal(size=(20, 9)), "b": rng.normal(size=(20, 4))}
    elif kind == "sequences":
        X = {"a": rng.normal(size=(20, 5, 9)), "b": rng.normal(size=(20, 4))}
    elif kind == "pictures":
        X = {"a": X["image"], "b": rng.normal(size=(20, 3, 12, 5)), "c": rng.normal(size=(20, 4))}
    counts = []
    for fuse_at in PLACES:
        model = make(1, fuse_at=fuse_at, layers=(16, 16)).fit(X, y)
        place = 3 if fuse_at == "late" else fuse_at
        widths = Widths(**model.widths_)
        assert model.n_parameters == count(model._plan(model.kinds_, place), widths)
        assert len(widths.joint) == 2 and len(widths.alone) == place - 1
        counts.append(model.n_parameters)
    assert max(counts) / min(counts) < 1.02


@pytest.mark.parametrize("fuse_at", PLACES)
def test_what_is_absent_is_not_made_up(fuse_at):
    X, y = digits(80)
    holes = np.arange(80) % 4 == 0
    data = Modalities(X, present={"sound": ~holes})
    model = make(3, fuse_at=fuse_at, modality_dropout=0.5).fit(data, y)
    new = Modalities(digits(8, seed=2)[0])
    alone = model.transform(new.select("image"))
    masked = model.transform(new.with_present({"sound": np.zeros(8, bool)}))
    np.testing.assert_allclose(masked, alone, rtol=1e-4, atol=1e-6)  # float32, other batches
    # Neither silence nor average frames: those would be heard.
    silent = [np.zeros(150), *[np.zeros(151)] * 7]
    quiet = model.transform({"image": new["image"], "sound": silent})
    assert np.abs(quiet - alone).max() > 1e-3
    assert np.isfinite(model.transform(new.select("sound"))).all()


def test_labels_of_rows_with_nothing_teach_nothing():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    empty = np.arange(40) % 4 == 1
    X = {m: y[:, None] + rng.normal(size=(40, 3)) for m in "ab"}
    data = Modalities(X, present=dict.fromkeys("ab", ~empty))
    flipped = np.where(empty, 1 - y, y)
    one, two = (make(2, layers=(4,)).fit(data, labels).transform(X) for labels in (y, flipped))
    np.testing.assert_array_equal(one, two)


def test_dropping_modalities_teaches_to_do_without():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, size=200)
    strong, weak = (y[:, None] + s * rng.normal(size=(200, 3)) for s in (0.1, 0.5))
    found = {}
    for share in (0.0, 0.8):
        model = make(8, layers=(16,), modality_dropout=share).fit({"a": strong, "b": weak}, y)
        found[share] = np.mean(model.predict({"b": weak}) == y)
    assert found[0.8] > 0.85 and found[0.8] >= found[0.0]


def test_rows_of_other_lengths_do_not_matter():
    rng = np.random.default_rng(0)
    X = {
        "image": rng.normal(size=(12, 1, 6, 6)),
        "frames": [rng.normal(size=(n, 3)) for n in rng.integers(1, 9, size=12)],
    }
    for fuse_at in PLACES:
        model = make(1, fuse_at=fuse_at, steps=None).fit(X, np.arange(12) % 2)
        whole = model.transform(X)
        for row in range(12):
            one = {"image": X["image"][[row]], "frames": [X["frames"][row]]}
            np.testing.assert_allclose(model.transform(one)[0], whole[row], rtol=1e-4, atol=1e-6)


def test_many_rows_are_coded_in_pieces(monkeypatch):
    X, y = digits(30)
    model = make(1).fit(X, y)
    whole = model.transform(X)
    monkeypatch.setattr("triptych.fusion.early_fusion.HELD", 4 * 16 * 5 * 8 * 7)  # seven rows
    np.testing.assert_allclose(model.transform(X), whole, rtol=1e-4, atol=1e-6)


def test_numbers_and_several_labels_are_predicted():
    rng = np.random.default_rng(0)
    X = {"a": rng.normal(size=(200, 2)), "b": rng.normal(size=(200, 3, 2))}
    numbers = 100 + 5 * X["a"][:, 0] * np.sign(X["b"][:, -1, 0])
    model = make(14, steps=None, layers=(32,)).fit(X, numbers)
    assert model.score(X, numbers) > 0.5  # 0 without the product of both
    with pytest.raises(ParameterError, match="no classes"):
        model.predict_proba(X)
    both = np.stack([X["a"][:, 0] > 0, X["b"][:, -1, 1] > 0], axis=1).astype(int)
    several = make(8, steps=None, layers=(16,)).fit(X, both)
    assert several.target_.task == "multilabel" and several.score(X, both) > 0.5  # chance 0.25


@pytest.mark.parametrize("fuse_at", [2, "late"])
@pytest.mark.parametrize(
    "check",
    [
        "takes_the_kinds_it_declares",
        "takes_modalities_in_any_order",
        "codes_rows_with_gaps_if_declared",
        "fits_rows_with_gaps_if_declared",
        "codes_one_modality_if_declared",
        "survives_dull_columns",
    ],
)
def test_keeps_the_contract_wherever_modalities_meet(check, fuse_at):
    settings = Training(epochs=2, device="cpu")
    model = EarlyFusion(2, fuse_at=fuse_at, layers=(6, 4), training=settings, random_state=0)
    check_method(model, check)


def test_a_model_of_sounds_is_saved_with_its_front_end(tmp_path):
    X, y = digits(30)
    model = make(1, spectrogram={"sound": SOUND}).fit(X, y)
    model.save(tmp_path / "model")
    again = load(tmp_path / "model")
    assert again.transform(X).tobytes() == model.transform(X).tobytes()
    assert again.inputs_["sound"].frames.settings == SOUND


def test_sounds_and_pictures_may_stay_in_their_files(tmp_path):
    from PIL import Image
    from scipy.io import wavfile

    from triptych.media import Pictures, Sounds

    X, y = digits(12)
    for i in range(12):
        Image.fromarray(X["image"][i, 0]).save(tmp_path / f"{i}.png")
        wavfile.write(tmp_path / f"{i}.wav", 1000, X["sound"][i].astype(np.float32) / 2)
    pictures = Pictures([f"{i}.png" for i in range(12)], folder=tmp_path, size=8, colour="grey")
    sounds = Sounds([f"{i}.wav" for i in range(12)], folder=tmp_path)
    held = {"image": X["image"], "sound": [s.astype(np.float32) / 2 for s in X["sound"]]}
    filed = make(1, spectrogram=Spectrogram(window=0.032, hop=0.016, bands=8))
    there = filed.fit({"image": pictures, "sound": sounds}, y).transform(held)
    np.testing.assert_allclose(there, make(1).fit(held, y).transform(held), rtol=1e-3, atol=1e-5)
    # At another rate the same samples are another sound.
    fast = Sounds([f"{i}.wav" for i in range(12)], folder=tmp_path, rate=2000)
    for asked in (filed.transform, lambda X: make(1).fit(held, y, validation=(X, y))):
        with pytest.raises(DataError, match="'sound': files of 2000 samples per second; expected"):
            asked({"image": pictures, "sound": fast})


def test_learns_in_mixed_precision():
    X, y = digits(60)
    settings = Training(
        epochs=6, batch_size=16, learning_rate=1e-2, precision="bf16", device="cpu"
    )
    for fuse_at in (1, 2):
        model = make(fuse_at=fuse_at).set_params(training=settings).fit(X, y)
        assert model.history_["train"]["loss"][-1] < 0.6 < model.history_["train"]["loss"][0]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"fuse_at": 0}, "fuse_at"),
        ({"fuse_at": 3}, "fuse_at: expected a whole number >= 1 and <= 2, got 3"),
        ({"fuse_at": "early"}, "expected a layer from 1 to 2 or 'late', got 'early'"),
        ({"layers": ()}, "layers: expected the widths of at least one layer"),
        ({"layers": (4, 0)}, r"layers\[1\]"),
        ({"layers": np.array([4, 4])}, "layers: expected a tuple with the width of each layer"),
        ({"kernel": 4}, "kernel: expected an odd number, got 4"),
        ({"stride": 0}, "stride"),
        ({"steps": 0}, "steps"),
        ({"modality_dropout": 2}, "modality_dropout"),
        ({"spectrogram": 8000}, "spectrogram: expected Spectrogram"),
        ({"spectrogram": {"image": SOUND}}, "spectrogram: 'image' is no waveform"),
        ({"spectrogram": {"sound": 8000}}, "spectrogram__sound: expected Spectrogram"),
        ({"task": "ranking"}, "task: expected one of"),
    ],
)
def test_refuses_settings(given, words):
    X, y = digits(20)
    with pytest.raises(ParameterError, match=words):
        make(1, **given).fit(X, y)


def test_refuses_pictures_smaller_than_the_kernel():
    X, y = digits(20)
    with pytest.raises(ShapeError, match=r"'image': pictures of 8 × 8 are smaller .* 9 × 9"):
        make(1, kernel=9).fit(X, y)


def test_refuses_sequences_of_other_rates():
    rng = np.random.default_rng(0)
    X = {
        "a": rng.normal(size=(10, 6, 2)),
        "b": [rng.normal(size=(6 + (i == 7), 3)) for i in range(10)],
    }
    y = np.arange(10) % 2
    with pytest.raises(ShapeError, match="'a' and 'b': row 7 has 6 steps of one and 7 of"):
        make(1, steps=None).fit(X, y)
    model = make(1, steps=6).fit(X, y)  # brought to one rate
    few = {"a": X["a"], "b": [v[:5] for v in X["b"]]}
    with pytest.raises(ShapeError, match="row 0 has 6 steps of one and 5 of"):
        model.transform(few)


@pytest.mark.parametrize(
    ("task", "labels", "words"),
    [
        ("regression", ["a", "b"] * 10, "expected numbers for regression"),
        ("classification", [0.5, 1.5] * 10, "expected classes, got the number 0.5 at row 0"),
        ("multilabel", [0, 1] * 10, r"expected zeros and ones \(n, k\)"),
        ("classification", [3] * 20, "at least 2 classes"),
        ("auto", [2.0] * 20, "same value in all 20 rows"),
    ],
)
def test_refuses_labels_that_do_not_fit_the_task(task, labels, words):
    X, _ = digits(20)
    with pytest.raises(DataError, match=words):
        make(1, task=task).fit(X, np.array(labels))


def test_a_class_that_no_training_row_has_is_named():
    X, y = digits(20)
    names = np.array(["cat", "dog"])[y]
    new, _ = digits(4, seed=1)
    strange = np.array(["cat", "dog", "emu", "cat"])
    with pytest.raises(DataError, match="row 2 has the class 'emu', which no training row has"):
        make(1).fit(X, names, validation=(new, strange))


def test_refuses_what_it_cannot_read():
    X, y = digits(20)
    with pytest.raises(ModalityError, match="'words' is text"):
        make(1).fit({**X, "words": ["a"] * 20}, y)
    empty = [*X["sound"][:5], np.zeros(0), *X["sound"][6:]]
    with pytest.raises(DataError, match=r"'sound': expected at least one sample .* row 5"):
        make(1).fit({**X, "sound": empty}, y)
    frames = [np.ones((3, 2))] * 19 + [np.ones((0, 2))]
    with pytest.raises(ShapeError, match="'frames': the sequence at row 19 is empty"):
        make(1).fit({**X, "frames": frames}, y)
    with pytest.raises(ParameterError, match="Is the rate right"):
        make(1, spectrogram=Spectrogram(rate=1000, high=800))
    assert math.isfinite(make(1).fit(X, y).score(X, y))
