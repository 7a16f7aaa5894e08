"""MNIST pictures and spoken digits of the same class, as vectors, for several benchmarks."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from steps import DATA

BANDS, FRAMES, RATE, WINDOW, HOP = 26, 16, 8000, 200, 80


def mel_filters() -> np.ndarray:
    """Triangles (26, 129) on the mel scale up to 4 kHz."""
    edges = 700 * (
        10 ** (np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), BANDS + 2) / 2595) - 1
    )
    frequency = np.linspace(0, RATE / 2, 129)
    rising = (frequency - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - frequency) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rising, falling))


def log_mel(wave: np.ndarray, filters: np.ndarray, floor: float) -> np.ndarray:
    """Log energies (416,): 26 bands in 16 frames, the recording's length divided evenly."""
    wave = np.pad(wave, (0, max(0, WINDOW - len(wave))))
    starts = np.arange(0, len(wave) - WINDOW + 1, HOP)
    frames = wave[starts[:, None] + np.arange(WINDOW)] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(frames, 256, axis=1)) ** 2
    bands = np.log(power @ filters.T + floor)  # (frames, 26)
    at = np.linspace(0, len(bands) - 1, FRAMES)
    low = np.floor(at).astype(int)
    high, share = np.minimum(low + 1, len(bands) - 1), (at - low)[:, None]
    return (bands[low] * (1 - share) + bands[high] * share).ravel()


def load(
    n_train: int,
    n_test: int,
    *,
    noise_db: float | None = None,
    floor: float = 1e-6,
    seed: int = 0,
) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """Pairs (pictures in [0, 1] (n, 784), sounds (n, 416)) and digits, for training and test.

    Args:
        n_train: At most 60,000; pairs stay within the split.
        n_test: At most 10,000.
        noise_db: Signal-to-noise ratio of white noise on the recordings; ``None`` for none.
        floor: Added to energies before the logarithm.
        seed: Of the noise, drawn anew for every pair.
    """
    with np.load(DATA / "mnist.npz") as m, np.load(DATA / "fsdd.npz") as f:
        images = {part: m[f"{part}_images"] for part in ("train", "test")}
        digits = {part: m[f"{part}_labels"] for part in ("train", "test")}
        waves, offsets = f["waveforms"] / 32768, f["offsets"]
    with np.load(DATA / "avmnist_pairs.npz") as p:
        pairs = {part: p[f"{part}_fsdd"] for part in ("train", "test")}
    filters, rng = mel_filters(), np.random.default_rng(seed)
    found = []
    for part, n in (("train", n_train), ("test", n_test)):
        chosen = pairs[part][:n]
        which, back = np.unique(chosen, return_inverse=True)
        if noise_db is None:
            sounds = np.stack(
                [log_mel(waves[offsets[i] : offsets[i + 1]], filters, floor) for i in which]
            )
            sounds = sounds[back]
        else:
            sounds = np.empty((n, BANDS * FRAMES))
            for row, i in enumerate(chosen):
                wave = waves[offsets[i] : offsets[i + 1]]
                loud = np.sqrt(np.var(wave) / 10 ** (noise_db / 10))
                noise = loud * rng.normal(size=len(wave))
                sounds[row] = log_mel(wave + noise, filters, floor)
        pictures = images[part][:n].reshape(n, -1).astype(np.float32) / 255
        found += [{"image": pictures, "sound": sounds.astype(np.float32)}, digits[part][:n]]
    return found[0], found[1], found[2], found[3]
