"""What decoders make: absent modalities, codes that move, parts that change places."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from triptych.comparison.items import EXAMPLES, POINTS, draw, items
from triptych.evaluation.codes import usable_rows
from triptych.modalities import Modalities

# Others of which every subset is shown.
FEW = 3
# Dimensions of a code that are moved, and by how many standard deviations.
MOVED, STEPS = 4, (-2.0, -1.0, 0.0, 1.0, 2.0)
# Rows and columns of a grid of swapped parts.
SWAPPED = 4


def reconstructions(model: Any, X: Modalities) -> list[dict[str, Any]]:
    """Each absent modality beside the truth, from every subset of the others."""
    if not model.capabilities.reconstructs or len(X.names) < 2:
        return []
    whole = np.all(list(X.present.values()), axis=0)
    rows = draw(np.flatnonzero(whole), EXAMPLES, "rebuilt")
    out = []
    for absent in X.names if len(rows) else ():
        for others in _shown(model, [name for name in X.names if name != absent]):
            given = X.select(*others)
            rebuilt = model.reconstruct(given[rows]).select(absent)
            shown = [items(given, name, rows) for name in others]
            truth = items(X, absent, rows)
            made = items(rebuilt, absent, np.arange(len(rows)), X)
            out.append(
                {
                    "absent": absent,
                    "given": list(others),
                    "examples": [
                        {"given": [g[i] for g in shown], "truth": truth[i], "rebuilt": made[i]}
                        for i in range(len(rows))
                    ],
                }
            )
    return out


def traversals(model: Any, X: Modalities) -> list[dict[str, Any]]:
    """What a fusion code stands for when its most varied dimensions move, one at a time."""
    if model.panel != "fusion" or not model.capabilities.reconstructs:
        return []
    rows = draw(np.flatnonzero(usable_rows(model, X)), POINTS, "traversals")
    if len(rows) < 3:
        return []
    Z = np.asarray(model.transform(X[rows]), dtype=np.float64)
    spread = Z.std(axis=0)
    moved = np.argsort(-spread, kind="stable")[:MOVED]
    centre = Z[np.square((Z - Z.mean(axis=0)) / np.maximum(spread, 1e-12)).sum(axis=1).argmin()]
    codes = np.repeat(centre[None], len(moved) * len(STEPS), axis=0)
    for i, dimension in enumerate(moved):
        at = slice(i * len(STEPS), (i + 1) * len(STEPS))
        codes[at, dimension] += np.asarray(STEPS) * spread[dimension]
    made = model.decode(codes)
    out = []
    for name in made.names:
        shown = items(made, name, np.arange(len(codes)), X if name in X else None)
        lines = [
            {"dimension": int(d), "items": shown[i * len(STEPS) : (i + 1) * len(STEPS)]}
            for i, d in enumerate(moved)
        ]
        out.append({"modality": name, "steps": list(STEPS), "lines": lines})
    return out


def _shown(model: Any, others: list[str]) -> list[tuple[str, ...]]:
    """Subsets that an absent modality is rebuilt from: every one, of many others those of one."""
    able, most = model.capabilities, len(others)
    sizes = {1, most} if able.one_modality_at_transform else {most}
    if able.missing_at_transform and most <= FEW:
        sizes.update(range(1, most + 1))
    return [given for size in sorted(sizes) for given in combinations(others, size)]


def swaps(model: Any, X: Modalities) -> list[dict[str, Any]]:
    """By modality a grid: its rows' shared part with its columns' private part, decoded."""
    if not hasattr(model, "swap"):
        return []
    rows = draw(np.flatnonzero(np.all(list(X.present.values()), axis=0)), 2 * SWAPPED, "swapped")
    half = len(rows) // 2
    if not half:
        return []
    own, donors = rows[:half], rows[half : 2 * half]
    made = model.swap(X[np.repeat(own, half)], X[np.tile(donors, half)])
    out = []
    for name in made.names:
        if name not in X or (made.kind(name).form == "text" and len(made.names) > 1):
            continue  # a name has nothing of its own to give
        cells = items(made, name, np.arange(half * half), X)
        out.append(
            {
                "modality": name,
                "shared": items(X, name, own),
                "private": items(X, name, donors),
                "cells": [cells[i * half : (i + 1) * half] for i in range(half)],
            }
        )
    return out
