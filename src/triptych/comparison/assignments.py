"""Which position belongs to which cluster, and what is found where, drawn over pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.modalities import Modalities

Draw = Callable[[NDArray[np.float64]], dict[str, Any]]
# How much of a drawn pixel is colour; the rest is the picture.
COVER = 0.6


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
        By row, items by what they are; empty where no modality is a picture.
    """
    pictures = [m for m in X.names if X.kind(m).form == "image"]
    if not pictures or not len(rows):
        return []
    some = X[rows]
    shares = model.assign(some)
    found: list[dict[str, Any]] = [{} for _ in rows]
    for name in X.names:
        for row, item in zip(found, shown(name), strict=True):
            row[name] = item
    for name in pictures:
        grey = _grey(np.asarray(some[name]))
        for row, pixels, share in zip(found, grey, shares[name], strict=True):
            row[f"clusters of {name}"] = draw(_over(pixels, _coloured(share)))
        for source in X.names:
            if source == name:
                continue
            heat = model.localise(some, source, name)
            for row, pixels, values in zip(found, grey, heat, strict=True):
                row[f"{source} found in {name}"] = draw(_over(pixels, _hot(values)))
    return found


def _grey(images: NDArray[Any]) -> NDArray[np.float64]:
    """Brightness (n, h, w) in [0, 1]."""
    bright = images.astype(np.float64).mean(axis=1)
    low, high = bright.min(), bright.max()
    return np.asarray((bright - low) / ((high - low) or 1.0))


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
