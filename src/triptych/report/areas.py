"""Information as areas: circles where circles can be true, bars everywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Patch

from triptych.information.measuring import Knows, Together
from triptych.information.partial import Decomposition
from triptych.report.figures import (
    FAINT,
    INK,
    MUTED,
    PALETTE,
    STYLE,
    Picture,
    as_picture,
    canvas,
    shortened,
)
from triptych.report.numbers import ROUNDING, show

# Parts keep colour and hatch everywhere, so that a grey print reads the same.
COLOURS = {
    "redundancy": PALETTE[2],
    "unique_1": PALETTE[0],
    "unique_2": PALETTE[1],
    "synergy": PALETTE[3],
}
_HATCH = {"redundancy": "", "unique_1": "//", "unique_2": "\\\\", "synergy": ".."}
# Below this share of the whole a circle cannot be seen, and its place says nothing.
_LEAST = 1e-6


def overlap_distance(first: float, second: float, common: float) -> float:
    """Distance of the centres of two circles that have areas and an overlap as asked.

    Args:
        first: Area of the first, > 0.
        second: Area of the second, > 0.
        common: Area of the overlap, from 0 to the smaller one.
    """
    r, s = math.sqrt(first / math.pi), math.sqrt(second / math.pi)
    low, high = abs(r - s), r + s
    for _ in range(100):
        middle = (low + high) / 2
        if _lens(r, s, middle) > common:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _lens(r: float, s: float, d: float) -> float:
    """Area that two circles of radii r and s at distance d have in common."""
    if d >= r + s:
        return 0.0
    if d <= abs(r - s):
        return math.pi * min(r, s) ** 2
    a = math.acos(max(-1.0, min(1.0, (d * d + r * r - s * s) / (2 * d * r))))
    b = math.acos(max(-1.0, min(1.0, (d * d + s * s - r * r) / (2 * d * s))))
    kite = (-d + r + s) * (d + r - s) * (d - r + s) * (d + r + s)
    return r * r * a + s * s * b - 0.5 * math.sqrt(max(kite, 0.0))


def circles(pair: Together, target: str, unit: str) -> Picture | None:
    """What two modalities tell, as circles of true area; ``None`` where circles cannot be true.

    The overlap is the redundancy, and synergy, which lies in neither, is a circle of its own.
    Circles cannot show negative parts, or that there is nothing.
    """
    values = {name: part.value for name, part in pair.parts.parts.items()}
    # What is only rounding is nothing, and is told as nothing.
    values = {name: v if abs(v) > ROUNDING else 0.0 for name, v in values.items()}
    total = sum(values.values())
    if total <= 0 or min(values.values()) < -_LEAST * total:
        return None
    areas = [max(values["redundancy"] + values[u], 0.0) for u in ("unique_1", "unique_2")]
    if max(areas) < _LEAST * total:
        return None
    with matplotlib.rc_context(STYLE):
        fig, ax = canvas(4.6, 3.3)
        right, height = _two_circles(ax, pair, areas, values)
        size = math.sqrt(max(values["synergy"], 0.0) / math.pi)
        if values["synergy"] > _LEAST * total:
            _disc(ax, right + 0.25 * height + size, size, "synergy")
        where = right + 0.25 * height + size
        ax.annotate(
            f"only together\n{show(values['synergy'])}",
            (where, -max(size, 0.02 * height)),
            xytext=(0, -5),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=9.5,
            color=INK,
        )
        ax.set_aspect("equal")
        ax.set_axis_off()
        ax.margins(0.16)
        told = (
            f"{pair.names[0]} alone {show(values['unique_1'])}, {pair.names[1]} alone "
            f"{show(values['unique_2'])}, both {show(values['redundancy'])}, only together "
            f"{show(values['synergy'])} {unit}"
        )
        alt = f"Circles whose areas are what is told about {target}: {told}."
        return as_picture(
            fig, alt, f"What they tell about {shortened(target, 24)}, by area ({unit})"
        )


def _two_circles(
    ax: Axes, pair: Together, areas: Sequence[float], values: dict[str, float]
) -> tuple[float, float]:
    """Draw both; the right end and the height of what was drawn."""
    r, s = (math.sqrt(area / math.pi) for area in areas)
    common = min(values["redundancy"], *areas)
    d = overlap_distance(areas[0], areas[1], common) if min(areas) > 0 else 0.0
    if min(areas) > 0 and common <= 0:
        d = (r + s) * 1.04  # apart, to be seen as two
    _disc(ax, 0.0, r, "unique_1")
    _disc(ax, d, s, "unique_2")
    high = max(r, s)
    marks = (
        (f"{shortened(pair.names[0], 16)}\nalone {show(values['unique_1'])}", -0.75 * r, "right"),
        (f"both\n{show(values['redundancy'])}", (d - s + r) / 2, "center"),
        (
            f"{shortened(pair.names[1], 16)}\nalone {show(values['unique_2'])}",
            d + 0.75 * s,
            "left",
        ),
    )
    for words, x, side in marks:
        ax.annotate(
            words,
            (x, high * 1.04),
            ha=side,
            va="bottom",
            fontsize=9.5,
            color=INK,
            parse_math=False,
        )
    return max(r, d + s), 2 * high


def _disc(ax: Axes, x: float, radius: float, part: str) -> None:
    style: Any = {"facecolor": COLOURS[part], "edgecolor": INK, "alpha": 0.45, "linewidth": 1.2}
    ax.add_patch(Circle((x, 0.0), radius, **style))
    ax.update_datalim([(x - radius, -radius), (x + radius, radius)])
    ax.autoscale_view()


def part_bars(pairs: Sequence[Together], entropy: float, target: str, unit: str) -> Picture | None:
    """One bar for each two modalities, cut into the four parts, beside all there is to tell."""
    if not pairs:
        return None
    with matplotlib.rc_context(STYLE):
        fig, ax = canvas(4.6, 1.5 + 0.5 * len(pairs))
        told = []
        for y, pair in enumerate(pairs):
            told.append(f"{' and '.join(pair.names)}: {_bar(ax, y, pair.parts)}")
        names = [shortened(" + ".join(pair.names), 24) for pair in pairs]
        ax.set_yticks(range(len(pairs)), names)
        for text in ax.get_yticklabels():
            text.set(parse_math=False, color=INK)
        ax.invert_yaxis()
        ax.axvline(entropy, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
        ax.set_xlabel(f"{unit}; dashed: all there is to tell, {show(entropy)}", parse_math=False)
        ax.set_xlim(left=min(0.0, ax.get_xlim()[0]), right=max(entropy * 1.04, ax.get_xlim()[1]))
        ax.grid(axis="x", color=FAINT, linewidth=0.6)
        ax.set_axisbelow(True)
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        keys = []
        words = ("both tell", "only the first", "only the second", "only together")
        for word, part in zip(words, COLOURS, strict=True):
            keys.append(
                Patch(facecolor=COLOURS[part], hatch=_HATCH[part], edgecolor="white", label=word)
            )
        fig.legend(handles=keys, loc="outside lower center", ncols=2, frameon=False, fontsize=9.5)
        return as_picture(
            fig, f"{'. '.join(told)}.", f"Who tells what about {shortened(target, 24)}"
        )


def _bar(ax: Axes, y: int, parts: Decomposition) -> str:
    ahead, behind = 0.0, 0.0  # negative parts, where an estimator gives them, go to the left
    for name, part in parts.parts.items():
        start = ahead if part.value >= 0 else behind
        ax.barh(
            y,
            part.value,
            left=start,
            height=0.62,
            color=COLOURS[name],
            hatch=_HATCH[name],
            edgecolor="white",
            linewidth=0.6,
        )
        if part.value >= 0:
            ahead += part.value
        else:
            behind += part.value
    return ", ".join(
        f"{name.replace('_', ' ')} {show(p.value if abs(p.value) > ROUNDING else 0.0)}"
        for name, p in parts.parts.items()
    )


def knowledge(knows: Sequence[Knows], entropy: float, target: str, unit: str) -> Picture | None:
    """What each modality tells, with its interval, beside what chance alone gives."""
    if not knows:
        return None
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(4.6, 1.2 + 0.42 * len(knows)), layout="constrained")
        ax = fig.add_subplot()
        told = []
        for y, one in enumerate(knows):
            low, high = one.about.interval
            ax.plot([low, high], [y, y], color=PALETTE[0], linewidth=1.8)
            ax.plot(one.about.value, y, "o", color=PALETTE[0], markersize=6)
            ax.plot(one.shuffled, y, "s", color=MUTED, mfc="white", markersize=5)
            told.append(
                f"{one.name} {show(one.about.value)} ({show(low)} to {show(high)}), by chance "
                f"{show(one.shuffled)}"
            )
        ax.set_yticks(range(len(knows)), [shortened(one.name, 24) for one in knows])
        for text in ax.get_yticklabels():
            text.set(parse_math=False, color=INK)
        ax.set_ylim(len(knows) - 0.4, -0.6)
        ax.axvline(entropy, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
        ax.set_xlim(left=min(0.0, ax.get_xlim()[0]))
        ax.set_xlabel(f"{unit}; square: by chance, dashed: all there is to tell")
        ax.grid(color=FAINT, linewidth=0.6)
        ax.set_axisbelow(True)
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        title = f"What each tells about {shortened(target, 24)}"
        return as_picture(fig, f"{title}, in {unit}: {'; '.join(told)}.", title)
