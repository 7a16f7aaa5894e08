"""The front end beside the same formula written out in NumPy."""

import warnings

import numpy as np
import pytest
import torch

from triptych import Modalities
from triptych.errors import DataError, DegenerateDataWarning, ParameterError, ShapeError
from triptych.nn.spectrogram import Spectrogram, SpectrogramInput, log_mel, mel_filters
from triptych.nn.steps import StepsInput, thinned

SETTINGS = Spectrogram(rate=1000, window=0.03, hop=0.011, bands=6, low=15, floor=1e-3)


def plain(wave, window, hop, size, rate, bands, low, high, floor):
    """Frame by frame, frequency by frequency, band by band."""
    if len(wave) < window:
        wave = np.concatenate([wave, np.zeros(window - len(wave))])
    hann = [0.5 - 0.5 * np.cos(2 * np.pi * n / window) for n in range(window)]
    mels = np.linspace(*(2595 * np.log10(1 + f / 700) for f in (low, high)), bands + 2)
    edges = [700 * (10 ** (m / 2595) - 1) for m in mels]
    frames = []
    for start in range(0, len(wave) - window + 1, hop):
        energy = []
        for k in range(size // 2 + 1):
            angle = -2j * np.pi * k / size
            s = sum(hann[n] * wave[start + n] * np.exp(angle * n) for n in range(window))
            energy.append(abs(s) ** 2 / sum(w * w for w in hann))
        row = []
        for j in range(bands):
            left, middle, right = edges[j : j + 3]
            total = floor
            for k, e in enumerate(energy):
                f = k * rate / size
                if left < f <= middle:
                    total += e * (f - left) / (middle - left)
                elif middle < f < right:
                    total += e * (right - f) / (right - middle)
            row.append(np.log(total))
        frames.append(row)
    return np.array(frames)


def test_is_the_formula():
    rng = np.random.default_rng(0)
    waves, lengths = rng.normal(size=(4, 97)), [97, 30, 12, 64]
    found = log_mel(torch.from_numpy(waves), torch.tensor(lengths), SETTINGS).numpy()
    for row, length in enumerate(lengths):
        wanted = plain(waves[row, :length], 30, 11, 32, 1000, 6, 15, 500, 1e-3)
        np.testing.assert_allclose(found[row, : len(wanted)], wanted, rtol=1e-9)
        assert (found[row, len(wanted) :] == 0).all()
    assert SETTINGS.frames(torch.tensor(lengths)).tolist() == [7, 1, 1, 4]


def test_padding_is_not_heard():
    rng = np.random.default_rng(1)
    waves = torch.from_numpy(rng.normal(size=(2, 80)))
    lengths = torch.tensor([80, 50])
    scribbled = waves.clone()
    scribbled[1, 50:] = 1e6
    torch.testing.assert_close(
        log_mel(scribbled, lengths, SETTINGS), log_mel(waves, lengths, SETTINGS)
    )


def test_white_noise_has_its_variance_in_every_bin():
    waves = torch.from_numpy(3 * np.random.default_rng(2).normal(size=(1, 200_000)))
    found = log_mel(waves, None, SETTINGS)[0].exp().mean(0).numpy() - SETTINGS.floor
    weight = mel_filters(SETTINGS).sum(1)
    # 18,000 overlapping frames of energies as wide as their mean: about 1 % each.
    np.testing.assert_allclose(found / weight, 9, rtol=0.05)


def test_gradients_reach_the_samples():
    waves = torch.from_numpy(np.random.default_rng(3).normal(size=(2, 45))).requires_grad_()
    lengths = torch.tensor([45, 20])
    assert torch.autograd.gradcheck(lambda w: log_mel(w, lengths, SETTINGS), (waves,))
    log_mel(waves, lengths, SETTINGS).sum().backward()
    assert (waves.grad[1, 20:] == 0).all() and (waves.grad[1, 1:19] != 0).all()


@pytest.mark.parametrize("kind", [torch.int16, torch.uint8, torch.float16, torch.bfloat16])
def test_samples_of_any_type_are_heard(kind):
    waves = torch.from_numpy(np.random.default_rng(8).integers(0, 200, size=(2, 90))).to(kind)
    found = log_mel(waves, None, SETTINGS)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, log_mel(waves.float(), None, SETTINGS))


def test_no_recording_has_no_frames():
    assert log_mel(torch.zeros(0, 90), None, SETTINGS).shape == (0, 6, 6)
    assert log_mel(torch.zeros(0, 5), torch.zeros(0), SETTINGS).shape == (0, 1, 6)


@pytest.mark.parametrize("lengths", [[5, 46], [-1, 5], [5]])
def test_refuses_lengths_beyond_the_array(lengths):
    with pytest.raises(ShapeError, match="lengths from 0 to 45"):
        log_mel(torch.zeros(2, 45), torch.tensor(lengths), SETTINGS)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rate": 8000, "high": 6000}, "nothing above 4000 Hz, got 6000. Is the rate right?"),
        ({"rate": 0}, "Spectrogram.rate"),
        ({"rate": 8000, "low": 4000}, "Spectrogram.low"),
        ({"rate": 45}, "window has 1.125 samples"),
        ({"bands": 0}, "Spectrogram.bands"),
        ({"floor": 0}, "Spectrogram.floor"),
        ({"hop": -1}, "Spectrogram.hop"),
    ],
)
def test_refuses_settings_that_make_no_frames(given, words):
    with pytest.raises(ParameterError, match=words):
        Spectrogram(**given)


def test_refuses_bands_without_a_frequency():
    with pytest.raises(ParameterError, match=r"band 2, 34 to 47 Hz, holds none"):
        mel_filters(Spectrogram(rate=8000, bands=200))


def learn(waves, settings=SETTINGS, name="sound"):
    present = np.array([wave is not None for wave in waves])
    return SpectrogramInput.learn(name, waves, present, settings), present


def test_frames_of_training_rows_are_standardised():
    rng = np.random.default_rng(4)
    waves = [7 * rng.normal(size=n) for n in (300, 40, 900, 35)] + [None]
    reader, present = learn(waves)
    values, lengths = reader.tensors(waves, present)
    assert lengths.tolist() == [25, 1, 80, 1, 0] and values.shape == (5, 80, 6)
    kept = torch.cat([v[:n] for v, n in zip(values, lengths, strict=True)])
    torch.testing.assert_close(kept.mean(0), torch.zeros(6), atol=1e-4, rtol=0)  # float32 sums
    torch.testing.assert_close(kept.std(0, correction=0), torch.ones(6), atol=1e-4, rtol=0)
    # Units do not matter: the floor is a share of the training recordings' power.
    louder = [None if wave is None else 1000 * wave for wave in waves]
    again, _ = learn(louder)
    torch.testing.assert_close(again.tensors(louder, present)[0], values, atol=2e-4, rtol=0)
    whole = [np.round(100 * w).astype(np.int16) for w in waves[:3]]
    assert torch.isfinite(learn(whole)[0].tensors(whole, np.ones(3, bool))[0]).all()


def test_a_row_is_the_same_whatever_stands_beside_it():
    rng = np.random.default_rng(5)
    waves = [rng.normal(size=n) for n in (50, 700, 90)]
    reader, present = learn(waves)
    values, lengths = reader.tensors(waves, present)
    alone, _ = reader.tensors(waves[:1], present[:1])
    torch.testing.assert_close(alone[0], values[0, : lengths[0]])


def test_says_what_is_wrong_with_recordings():
    t = np.arange(400)
    good = np.sin(0.3 * t) + 0.1 * np.sin(0.71 * t)
    rows = {
        "silent throughout": np.zeros(400),
        r"cut off at the largest value \(clipped\)": np.clip(good, -0.6, 0.6),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        learn([good, good])
    for words, bad in rows.items():
        with pytest.warns(DegenerateDataWarning, match=f"'sound': 1 of 3 .*{words}.*row 1"):
            reader, present = learn([good, bad, good])
        assert torch.isfinite(reader.tensors([good, bad, good], present)[0]).all()
    with pytest.warns(DegenerateDataWarning, match="3 of 3 .* silent"):
        reader, present = learn([np.zeros(60)] * 3)
    assert torch.isfinite(reader.tensors([good] * 3, present)[0]).all()
    with pytest.warns(DegenerateDataWarning, match="44100 samples per second; is the rate right"):
        learn([good, good], Spectrogram(rate=44100))


@pytest.mark.parametrize("unit", [2.0**1000, 1e300, 1e-200])
def test_units_whose_squares_no_number_holds_do_not_matter(unit):
    rng = np.random.default_rng(9)
    waves = [rng.normal(size=n) * s for n, s in ((300, 1e-3), (80, 1.0), (200, 0.1))]
    scaled = [unit * wave for wave in waves]
    one, two = learn(waves)[0], learn(scaled)[0]
    np.testing.assert_allclose(two.loudness / unit, one.loudness, rtol=1e-12)
    there = np.ones(3, bool)
    with pytest.warns(DegenerateDataWarning, match="1 of 4 .* silent"):
        beside = learn([np.zeros(300), *scaled])[0]
    np.testing.assert_allclose(beside.loudness, two.loudness * np.sqrt(580 / 880), rtol=1e-12)
    torch.testing.assert_close(
        two.tensors(scaled, there)[0], one.tensors(waves, there)[0], atol=1e-4, rtol=1e-4
    )


def test_recordings_far_louder_than_those_of_training_are_named():
    reader, present = learn([np.sin(np.arange(90.0))] * 2)
    with pytest.raises(DataError, match=r"'sound': row 1 has samples of 1e\+300"):
        reader.tensors([np.ones(90), np.full(90, 1e300)], present)


def test_refuses_a_recording_without_a_sample():
    with pytest.raises(DataError, match=r"'sound': expected at least one sample .* row 1"):
        learn([np.ones(40), np.zeros(0)])


def test_sounds_in_files_say_their_rate(tmp_path):
    from scipy.io import wavfile

    from triptych.media import Sounds

    rng = np.random.default_rng(6)
    whole = [(1000 * rng.normal(size=n)).astype(np.int16) for n in (800, 1200)]
    for i, wave in enumerate(whole):
        wavfile.write(tmp_path / f"{i}.wav", 4000, wave)
    sounds = Sounds(["0.wav", None, "1.wav"], folder=tmp_path)
    present = np.array([True, False, True])
    reader = SpectrogramInput.learn("sound", sounds, present, Spectrogram())
    assert reader.settings.rate == 4000
    values, _ = reader.tensors(sounds.load(), present)
    memory = [whole[0] / 32768, None, whole[1] / 32768]
    same = SpectrogramInput.learn("sound", memory, present, Spectrogram(rate=4000))
    torch.testing.assert_close(values, same.tensors(memory, present)[0], atol=1e-4, rtol=1e-4)
    with pytest.raises(ParameterError, match=r"files have 4000 .* declares a rate of 8000"):
        SpectrogramInput.learn("sound", sounds, present, Spectrogram(rate=8000))
    faster = Sounds(["0.wav"], folder=tmp_path, rate=8000)
    with pytest.raises(DataError, match=r"'sound': files of 8000 .* expected 4000 as in training"):
        reader.tensors(faster, np.ones(1, bool))
    slow = reader.tensors(Sounds(["0.wav"], folder=tmp_path, rate=4000), np.ones(1, bool))
    torch.testing.assert_close(slow[0][0], values[0, : int(slow[1][0])])


def test_thinned_steps_are_means_over_equal_stretches():
    frames = np.arange(10, dtype=np.float32)[:, None] * [1, -2]
    fine = np.repeat(frames, 4, axis=0)  # 40 quarter steps, ten to each of four stretches
    wanted = fine.reshape(4, 10, 2).mean(1)
    np.testing.assert_allclose(thinned(frames.astype(np.float32), 4), wanted, rtol=1e-6)
    assert thinned(frames, 10) is frames
    X = Modalities({"frames": [frames, frames[:3]]})
    from triptych.nn.inputs import SequenceInput

    data, present = X["frames"], X.present["frames"]
    reader = StepsInput.learn(SequenceInput.learn(data, present), 4, data, present)
    values, lengths = reader.tensors(data, present)
    assert lengths.tolist() == [4, 3] and values.shape == (2, 4, 2) and reader.typical == 4
    assert (values[1, 3:] == 0).all()
