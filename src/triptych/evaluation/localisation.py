"""Localisation: does a map over positions show where a thing is?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.arrays import check_number
from triptych.errors import DataError, ShapeError

# Thresholds over which success is averaged, as published: 0, 0.05, ..., 0.95.
THRESHOLDS = np.arange(0, 1, 0.05)


@dataclass(frozen=True)
class PointingScore:
    """How often the largest value of a map lies on its thing.

    Args:
        value: Share of maps that hit, in [0, 1].
        chance: What a random position hits: the mean share of the area that things cover.
        n: Maps.
    """

    value: float
    chance: float
    n: int


@dataclass(frozen=True)
class OverlapScore:
    """How well maps cover their things.

    Args:
        mean: Mean intersection over union, in [0, 1].
        success: Share of maps whose intersection over union exceeds one half.
        auc: That share, averaged over thresholds 0, 0.05, ..., 0.95.
        each: Intersection over union of every map, (n,).
    """

    mean: float
    success: float
    auc: float
    each: NDArray[np.float64]


def pointing_game(maps: ArrayLike, things: ArrayLike) -> PointingScore:
    """How often the position of a map's largest value lies on the thing.

    A map may be coarser than the mask of its thing; a cell points with its centre. Where several
    cells share the largest value, the share of them that hits counts, so that a constant map
    does as well as chance and not as its first cell does.

    Args:
        maps: Shape (n, h, w), or (n, t) for positions in time; larger where the thing is likelier.
        things: Boolean (n, H, W), or (n, T): where the thing is, at least one position a row.

    Raises:
        ShapeError: Other shapes or numbers of rows.
        DataError: A map that is not finite, or a row without a thing; it is named.

    References:
        Zhang et al. 2016, Top-down Neural Attention by Excitation Backprop, arXiv:1608.00507,
        section 4.2.
    """
    values, masks = _pairs("pointing_game", maps, things)
    n = len(values)
    # Mask at the centre of each cell, (n, h, w).
    places = np.ix_(
        np.arange(n),
        *(
            ((np.arange(small) + 0.5) * large / small).astype(np.intp)
            for small, large in zip(values.shape[1:], masks.shape[1:], strict=True)
        ),
    )
    at_centres = masks[places].reshape(n, -1)
    flat = values.reshape(n, -1)
    largest = flat == flat.max(axis=1, keepdims=True)
    hits = (largest & at_centres).sum(axis=1) / largest.sum(axis=1)
    return PointingScore(float(hits.mean()), float(at_centres.mean()), n)


def overlap(maps: ArrayLike, things: ArrayLike, *, threshold: float = 0.5) -> OverlapScore:
    """Intersection over union of thresholded maps and the things' masks.

    Each map is stretched to [0, 1] and repeated up to the size of its mask; positions of at least
    ``threshold`` count as covered. A constant map covers nothing.

    Args:
        maps: Shape (n, h, w), or (n, t).
        things: Boolean (n, H, W), or (n, T), where H is a multiple of h and so on.
        threshold: Share of the way from a map's least to its largest value, in [0, 1].

    Raises:
        ShapeError: Other shapes or numbers of rows, or sizes that are no multiples.
        DataError: A map that is not finite, or a row without a thing; it is named.
    """
    check_number("threshold", threshold, low=0, high=1)
    values, masks = _pairs("overlap", maps, things)
    for axis, (small, large) in enumerate(
        zip(values.shape[1:], masks.shape[1:], strict=True), start=1
    ):
        if large % small:
            raise ShapeError(
                f"overlap: things of shape {masks.shape[1:]} cannot be laid over maps of shape "
                f"{values.shape[1:]}; each side must be a multiple."
            )
        values = values.repeat(large // small, axis=axis)
    flat, wanted = values.reshape(len(values), -1), masks.reshape(len(masks), -1)
    low, high = flat.min(axis=1, keepdims=True), flat.max(axis=1, keepdims=True)
    covered = (flat >= low + threshold * (high - low)) & (high > low)
    each = (covered & wanted).sum(axis=1) / (covered | wanted).sum(axis=1)
    auc = float(np.mean([(each > t).mean() for t in THRESHOLDS]))
    return OverlapScore(float(each.mean()), float((each > 0.5).mean()), auc, each)


def _pairs(
    name: str, maps: ArrayLike, things: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values: NDArray[Any] = np.asarray(maps)
    masks: NDArray[Any] = np.asarray(things)
    fits = values.ndim in (2, 3) and values.ndim == masks.ndim and len(values) == len(masks)
    if not fits or not values.size or any(np.less(masks.shape, values.shape)):
        raise ShapeError(
            f"{name}: expected maps (n, h, w) and masks (n, H, W) of things, at least as fine; "
            f"got {values.shape} and {masks.shape}."
        )
    if masks.dtype != bool:
        raise DataError(f"{name}: expected masks of booleans, got {masks.dtype}.")
    values = values.astype(np.float64)
    for bad, what in (
        (~np.isfinite(values).reshape(len(values), -1).all(axis=1), "the map is not finite"),
        (~masks.reshape(len(masks), -1).any(axis=1), "there is no thing to find"),
    ):
        if bad.any():
            raise DataError(f"{name}: in row {int(np.flatnonzero(bad)[0])} {what}.")
    return values, masks
