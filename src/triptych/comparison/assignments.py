"""Which position belongs to which cluster, and what is found where, over pictures and sounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.modalities import Modalities

Draw = Callable[[NDArray[np.float64]], dict[str, Any]]
# How much of a drawn pixel is colour; the rest is the picture.
COVER = 0.6
# Most frames that a drawn sequence has, and samples of a waveform in one column of its spectrum.
FRAMES, WINDOW = 256, 256


def assigned(
    model: Any, X: Modalities, rows: NDArray[np.intp], shown: Callable[[str], Any], draw: Draw
) -> list[dict[str, Any]]:
    """For each row its pictures, their clusters in colours, and where other modalities are found.

    Args:
        model: A fitted method with ``assign`` and ``localise``.
        X: Modalities.
        rows: Rows to show, which have all of them.
        shown: From a modality's name to the items of these rows.
        draw: From pixels (3, h, w) in [0, 1] to an item.

    Returns:
        By row, items by what they are; empty where all modalities are words.
    """
    some = X[rows]
    pictures = {m: _pictures(some[m], X.kind(m).form) for m in X.names if len(rows)}
    pictures = {m: drawn for m, drawn in pictures.items() if drawn}
    if not pictures:
        return []
    shares = model.assign(some)
    found: list[dict[str, Any]] = [{} for _ in rows]
    for name in X.names:
        for row, item in zip(found, shown(name), strict=True):
            row[name] = item
    for name, grey in pictures.items():
        for row, pixels, share in zip(found, grey, shares[name], strict=True):
            row[f"clusters of {name}"] = draw(_over(pixels, _coloured(_laid(share, 3))))
        for source in X.names:
            if source == name:
                continue
            heat = model.localise(some, source, name)
            for row, pixels, values in zip(found, grey, heat, strict=True):
                row[f"{source} found in {name}"] = draw(_over(pixels, _hot(_laid(values, 2))))
    return found


def _pictures(values: Any, form: str) -> list[NDArray[np.float64]]:
    """Each row in brightness (h, w) from 0 to 1, time from left to right; none of words."""
    if form == "image":
        bright = list(np.asarray(values, dtype=np.float64).mean(axis=1))
    elif form == "sequence":  # the first column lies at the bottom, as low bands do
        bright = [_thinned(np.asarray(row, dtype=np.float64)).T[::-1] for row in values]
    elif form == "waveform":
        powers = [_spectrum(row) for row in values]
        least = max(1e-6 * max(float(p.max()) for p in powers), 1e-30)  # 60 dB below the loudest
        bright = [np.log10(np.maximum(power, least)).T[::-1] for power in powers]
    else:
        return []
    low, high = min(b.min() for b in bright), max(b.max() for b in bright)
    return [(b - low) / ((high - low) or 1.0) for b in bright]


def _thinned(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """Frames (t, p), evenly spaced ones of many."""
    t = len(frames)
    return np.asarray(frames[np.linspace(0, t - 1, min(t, FRAMES)).round().astype(int)])


def _spectrum(wave: Any) -> NDArray[np.float64]:
    """Power (t, f) of a waveform's pieces at each frequency."""
    flat = np.asarray(wave, dtype=np.float64).ravel()
    size = min(WINDOW, len(flat))
    starts = np.linspace(0, len(flat) - size, min(FRAMES, max(1, 2 * len(flat) // size - 1)))
    pieces = flat[starts.astype(int)[:, None] + np.arange(size)] * np.hanning(size + 2)[1:-1]
    return np.asarray(np.abs(np.fft.rfft(pieces, axis=1)) ** 2)


def _laid(values: NDArray[Any], axes: int) -> NDArray[Any]:
    """Values by position as those of a picture: positions in time are columns of one row."""
    return values if values.ndim == axes else np.expand_dims(values, -2)


def _coloured(share: NDArray[Any]) -> NDArray[np.float64]:
    """The colour (3, h, w) of each position's fullest cluster, paler where others share it."""
    import matplotlib

    k = len(share)
    colours = matplotlib.colormaps["turbo"](np.linspace(0.05, 0.95, k))[:, :3]
    sure = share.max(axis=0)
    # From 1/k, which is no choice at all, to 1.
    depth = np.clip((sure - 1 / k) / (1 - 1 / k), 0, 1) ** 0.5
    full = np.moveaxis(colours[share.argmax(axis=0)], 2, 0)
    return np.asarray(1 - depth * (1 - full))


def _hot(values: NDArray[Any]) -> NDArray[np.float64]:
    """Colours (3, h, w) from the least to the largest value."""
    import matplotlib

    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / ((high - low) or 1.0)
    return np.moveaxis(matplotlib.colormaps["magma"](scaled)[..., :3], 2, 0)


def _over(grey: NDArray[np.float64], colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """A picture (h, w) under colours of its cells (3, h', w')."""
    places = [
        np.minimum(np.arange(large) * small // large, small - 1)
        for small, large in zip(colours.shape[1:], grey.shape, strict=True)
    ]
    whole = colours[:, places[0][:, None], places[1]]
    return np.asarray(COVER * whole + (1 - COVER) * grey)
