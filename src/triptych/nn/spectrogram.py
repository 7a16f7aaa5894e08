"""Log-mel spectrograms: what a network hears of a waveform."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from triptych.arrays import check_number, row_chunks
from triptych.errors import DataError, ParameterError, ShapeError
from triptych.media import Sounds, loaded
from triptych.nn.inputs import FILES
from triptych.nn.recordings import Flaws, Loudness
from triptych.values import register

# Of recordings in memory whose rate nobody says.
RATE = 8000.0
# Recordings in memory that are looked at together.
ROWS = 4096
# Samples of padded recordings that are transformed at a time.
SAMPLES = 1 << 21
# Largest sample in units of the training recordings' loudness: its power is a finite float32.
LOUDEST = 1e9


@register
@dataclass(frozen=True)
class Spectrogram:
    """How waveforms become frames of log-mel energies.

    Args:
        rate: Samples per second of the recordings. ``None``: what sound files say, and 8,000 for
            recordings in memory.
        window: Length of a frame in seconds.
        hop: Seconds from the start of one frame to the next.
        bands: Bands F, evenly spaced on the mel scale 2595 log10(1 + f / 700).
        low: Lowest frequency in Hz.
        high: Highest frequency in Hz; ``None`` for half the rate.
        floor: Added to energies before the logarithm, as a share of the mean power of the
            training recordings; silence becomes its logarithm.
    """

    rate: float | None = None
    window: float = 0.025
    hop: float = 0.010
    bands: int = 32
    low: float = 20.0
    high: float | None = None
    floor: float = 1e-6

    def __post_init__(self) -> None:
        for name in ("window", "hop", "floor"):
            check_number(f"Spectrogram.{name}", getattr(self, name), low=0, open_low=True)
        check_number("Spectrogram.bands", self.bands, low=1, integer=True)
        check_number("Spectrogram.low", self.low, low=0)
        if self.high is not None:
            check_number("Spectrogram.high", self.high, low=0, open_low=True)
        if self.rate is not None:
            check_number("Spectrogram.rate", self.rate, low=0, open_low=True)
            self._check_rate(self.rate)

    def _check_rate(self, rate: float) -> None:
        high = rate / 2 if self.high is None else self.high
        if high > rate / 2:
            raise ParameterError(
                f"Spectrogram.high: at {rate:g} samples per second there is nothing above "
                f"{rate / 2:g} Hz, got {high:g}. Is the rate right?"
            )
        if self.low >= high:
            raise ParameterError(
                f"Spectrogram.low: expected less than the highest frequency, {high:g} Hz; got "
                f"{self.low:g}."
            )
        if round(self.window * rate) < 2 or round(self.hop * rate) < 1:
            raise ParameterError(
                f"Spectrogram: at {rate:g} samples per second the window has "
                f"{self.window * rate:g} samples and the hop {self.hop * rate:g}; expected at "
                "least 2 and 1."
            )

    def at(self, rate: float) -> Spectrogram:
        """The same settings, with this rate where none was declared."""
        return self if self.rate is not None else replace(self, rate=float(rate))

    @property
    def samples(self) -> tuple[int, int, int]:
        """Samples of a window, of a hop, and of the Fourier transform (a power of two)."""
        if self.rate is None:
            raise ParameterError("Spectrogram.rate: expected samples per second, got None.")
        window = round(self.window * self.rate)
        return window, round(self.hop * self.rate), 1 << (window - 1).bit_length()

    def frames(self, length: Tensor) -> Tensor:
        """Frames of recordings of so many samples (b,): whole windows, and at least one."""
        window, hop, _ = self.samples
        return torch.where(length > 0, 1 + (length - window).clamp_min(0) // hop, 0)


def mel_filters(settings: Spectrogram) -> NDArray[np.float64]:
    """Triangles (F, bins) of height one over the frequencies of the Fourier transform.

    Raises:
        ParameterError: A band so narrow that none of these frequencies lies in it.
    """
    _, _, size = settings.samples
    rate = settings.rate or RATE
    top = rate / 2 if settings.high is None else settings.high
    mel = np.linspace(_mel(settings.low), _mel(top), settings.bands + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    frequency = np.arange(size // 2 + 1) * rate / size
    rising = (frequency - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - frequency) / np.diff(edges)[1:, None]
    filters = np.maximum(0, np.minimum(rising, falling))
    empty = np.flatnonzero(filters.sum(1) == 0)
    if len(empty):
        band = int(empty[0])
        raise ParameterError(
            f"Spectrogram.bands: band {band}, {edges[band]:.0f} to {edges[band + 2]:.0f} Hz, "
            f"holds none of the frequencies, {rate / size:g} Hz apart; take fewer bands or a "
            "longer window."
        )
    return np.asarray(filters)


def log_mel(waves: Tensor, lengths: Tensor | None, settings: Spectrogram) -> Tensor:
    r"""Log-mel energies of waveforms; gradients reach the samples.

    .. math:: S_{tj} = \log\Big(\epsilon + \sum_k M_{jk}\,
              \frac{|\sum_n w_n x_{th + n} e^{-2 \pi i k n / N}|^2}{\sum_n w_n^2}\Big)

    with w a Hann window, h the hop, M the triangles of :func:`mel_filters` and ε the floor. White
    noise of variance σ² has the expected energy σ² in every bin.

    Args:
        waves: Samples (b, t), t >= 1. Whole numbers and halves are computed with as float32.
        lengths: How many of them are true (b,), 1 to t; all when left out. Only frames that lie
            within the true samples are made (:meth:`Spectrogram.frames`); a recording shorter
            than one window is continued by zeros.
        settings: With a rate.

    Returns:
        (b, frames, F), zero where a row has no more frames.

    Raises:
        ShapeError: Waves are not (b, t), or a length is below 0 or above t.
    """
    # No transform takes whole numbers, and squares of halves end at 65,504.
    if waves.dtype not in (torch.float32, torch.float64):
        waves = waves.float()
    if waves.ndim != 2 or waves.shape[1] < 1:
        raise ShapeError(f"log_mel: expected waveforms (b, t), got {tuple(waves.shape)}.")
    b, t = waves.shape
    given = torch.full((b,), t) if lengths is None else lengths.to("cpu", torch.long)
    if given.shape != (b,) or bool(((given < 0) | (given > t)).any()):
        raise ShapeError(
            f"log_mel: expected {b} lengths from 0 to {t}, the samples there are; got "
            f"{given.tolist()[:5]}."
        )
    window, hop, size = settings.samples
    frames = settings.frames(given).to(waves.device)
    if not b:
        return waves.new_zeros(0, int(settings.frames(torch.tensor(t))), settings.bands)
    many = max(1, int(frames.max()))
    given = given.to(waves.device)
    true = torch.arange(t, device=waves.device) < given[:, None]
    samples = torch.where(true, waves, 0.0)
    short = window + (many - 1) * hop - t
    if short > 0:
        samples = torch.nn.functional.pad(samples, (0, short))
    hann, filters = _constants(settings, str(waves.dtype))
    hann, filters = hann.to(waves.device), filters.to(waves.device)
    cut = samples.unfold(1, window, hop)[:, :many] * hann  # (b, frames, window)
    spectrum = torch.fft.rfft(cut, size)
    power = spectrum.real.square() + spectrum.imag.square()
    bands = torch.log(power @ filters + settings.floor)
    kept = torch.arange(many, device=waves.device) < frames[:, None]
    return torch.where(kept[..., None], bands, 0.0)


@lru_cache(maxsize=16)
def _constants(settings: Spectrogram, dtype: str) -> tuple[Tensor, Tensor]:
    """Window (n,), and filters (bins, F) divided by the window's energy."""
    kind = getattr(torch, dtype.removeprefix("torch."))
    hann = torch.hann_window(settings.samples[0], dtype=torch.float64)
    filters = torch.from_numpy(mel_filters(settings)) / hann.square().sum()
    return hann.to(kind), filters.T.contiguous().to(kind)


def _mel(frequency: float) -> float:
    return 2595 * math.log10(1 + frequency / 700)


@register
@dataclass(frozen=True)
class SpectrogramInput:
    """Waveforms as frames of log-mel energies, each band centred and scaled.

    Args:
        name: Modality, for messages.
        settings: How frames are made, with a rate.
        loudness: Root mean square of the training recordings, by which samples are divided.
        mean: By band (F,).
        scale: By band (F,), > 0.
        typical: Median frames of a training recording.
    """

    name: str
    settings: Spectrogram
    loudness: float
    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    typical: int = 1
    reads_files: ClassVar[bool] = True

    @classmethod
    def learn(
        cls, name: str, data: Any, present: NDArray[np.bool_], settings: Spectrogram
    ) -> SpectrogramInput:
        """Loudness and moments of the present recordings.

        Args:
            name: Modality.
            data: Waveforms: a list of (t_i,), an array (n, t) or sounds in files.
            present: Boolean (n,).
            settings: How frames are made.

        Raises:
            DataError: A recording without a sample; names the row.
            ParameterError: A declared rate that is not that of the files, or settings that do
                not fit the rate.

        Warns:
            DegenerateDataWarning: Recordings that are silent throughout or cut off at their
                largest value, or most of them shorter than one window.
        """
        known = data._native if isinstance(data, Sounds) else 0
        if known and settings.rate is not None and settings.rate != known:
            raise ParameterError(
                f"modality {name!r}: its files have {known} samples per second; its Spectrogram "
                f"declares a rate of {settings.rate:g}."
            )
        settings = settings.at(known or RATE)
        bands = settings.bands
        draft = cls(name, settings, 1.0, np.zeros(bands, np.float32), np.ones(bands, np.float32))
        flaws = Flaws(name, settings.samples[0], settings.rate or RATE)
        loudness, lengths = Loudness(), list[int]()
        for chunk in draft._recordings(data, present):
            for row, wave in chunk:
                flaws.look(row, wave)
                loudness.hear(wave)
                lengths.append(len(wave))
        flaws.warn()
        frames = settings.frames(torch.tensor(lengths)).numpy()
        draft = replace(
            draft,
            loudness=loudness.mean(sum(lengths)) or 1.0,
            typical=round(float(np.median(frames))),
        )
        total, square = np.zeros(bands), np.zeros(bands)
        for chunk in draft._recordings(data, present):
            for _, found in draft._frames(chunk):
                total += found.sum(0, dtype=np.float64)
                square += np.square(found, dtype=np.float64).sum(0)
        mean = total / frames.sum()
        spread = np.sqrt(np.maximum(square / frames.sum() - mean**2, 0))
        spread = np.where(spread > 1e-5, spread, 1.0)
        return replace(draft, mean=mean.astype(np.float32), scale=spread.astype(np.float32))

    def tensors(self, data: Any, present: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
        """Standardised frames (n, t, F), zero beyond the true ones, and how many are true (n,)."""
        return padded(dict(self.standardised(data, present)), len(present), len(self.mean))

    def standardised(
        self, data: Any, present: NDArray[np.bool_]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Present rows, in any order, and their frames (t, F)."""
        for chunk in self._recordings(data, present):
            for row, found in self._frames(chunk):
                yield row, (found - self.mean) / self.scale

    def ready(self, values: Tensor) -> Tensor:
        """The frames themselves."""
        return values

    def _recordings(
        self, data: Any, present: NDArray[np.bool_]
    ) -> Iterator[list[tuple[int, NDArray[Any]]]]:
        """Present rows and their samples, some rows at a time."""
        if isinstance(data, Sounds) and data._native not in (0, self.settings.rate):
            raise DataError(
                f"modality {self.name!r}: files of {data._native} samples per second; expected "
                f"{self.settings.rate:g} as in training. Sounds(..., rate={self.settings.rate:g}) "
                "resamples them."
            )
        rows = np.flatnonzero(present)
        for part in row_chunks(len(rows), FILES if isinstance(data, Sounds) else ROWS):
            some = loaded(data[rows[part]]) if isinstance(data, Sounds) else None
            chunk = []
            for place, row in enumerate(rows[part].tolist()):
                wave = np.asarray(data[row] if some is None else some[place])
                if wave.ndim != 1 or not len(wave):
                    raise DataError(
                        f"modality {self.name!r}: expected at least one sample (t,), got shape "
                        f"{wave.shape} at row {row}."
                    )
                chunk.append((row, wave))
            yield chunk

    def _frames(
        self, chunk: list[tuple[int, NDArray[Any]]]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Rows and their frames (t, F), not yet standardised; of like lengths together."""
        held = sorted(chunk, key=lambda item: len(item[1]))  # so that little is padded
        while held:
            many = 1
            while many < len(held) and (many + 1) * len(held[many][1]) <= SAMPLES:
                many += 1
            now, held = held[:many], held[many:]
            lengths = [len(wave) for _, wave in now]
            padded = np.zeros((many, lengths[-1]), np.float32)
            for place, (row, wave) in enumerate(now):
                padded[place, : len(wave)] = self._scaled(row, wave)
            with torch.no_grad():
                given = torch.tensor(lengths)
                found = log_mel(torch.from_numpy(padded), given, self.settings).numpy()
            true = self.settings.frames(given).tolist()
            for place, (row, _) in enumerate(now):
                yield row, found[place, : true[place]]

    def _scaled(self, row: int, wave: NDArray[Any]) -> NDArray[np.float64]:
        """Samples in units of the training recordings' loudness."""
        with np.errstate(over="ignore"):  # said below
            scaled = np.asarray(wave, np.float64) / self.loudness
        if not np.abs(scaled).max() < LOUDEST:
            raise DataError(
                f"modality {self.name!r}: row {row} has samples of {np.abs(wave).max():.3g}; "
                f"those of the training rows have a root mean square of {self.loudness:.3g}, and "
                f"more than {LOUDEST:.0e} times as much is too far to compute with."
            )
        return scaled


def padded(rows: Mapping[int, NDArray[np.float32]], n: int, width: int) -> tuple[Tensor, Tensor]:
    """Frames (t_i, width) by row, the others having none, as (n, t, width) and lengths (n,)."""
    longest = max((len(found) for found in rows.values()), default=1)
    out = np.zeros((n, max(longest, 1), width), np.float32)
    lengths = torch.zeros(n, dtype=torch.long)
    for row, found in rows.items():
        out[row, : len(found)], lengths[row] = found, len(found)
    return torch.from_numpy(out), lengths
