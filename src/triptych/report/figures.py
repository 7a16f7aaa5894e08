"""Figures as self-contained SVG pictures, each with words for those who do not see it.

Drawn with Matplotlib's objects, never through pyplot, so nothing global is left behind. Colours
are those of Okabe and Ito, told apart by most colour-blind readers; every colour also has its own
marker or dash, and lines carry their name, so a grey print reads the same.
"""

from __future__ import annotations

import base64
import io
import math
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from triptych.report.exhibits import CodeMap, Curve, Null
from triptych.report.numbers import count, listed, show
from triptych.report.table import Column, Row, ranking, reach

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#B0508A", "#B97900", "#3A9BD1", "#222222")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (3, 2)), "-", (0, (8, 3)))
INK, MUTED, FAINT = "#1b1f24", "#545b66", "#d5d9df"
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "svg.fonttype": "none",
}
_PAGE_FONT = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, 'Noto Sans', sans-serif"
# Places on an axis that are each given a number.
MOST_TICKS = 6

# What is done to rows: title, words, axis, and how its numbers are written.
LOSSES = {
    "missing": (
        "Missing modalities",
        "as modalities go missing",
        "share of modalities taken away",
        ".0%",
    ),
    "noisy": (
        "Under noise",
        "under noise on all modalities of numbers",
        "noise, times the spread of each signal",
        "g",
    ),
}


@dataclass(frozen=True)
class Picture:
    """An image for the page: where it lies (a data URI), what it shows, and its title."""

    uri: str
    alt: str
    title: str
    width: int
    height: int


def loss_curves(curves: Sequence[Curve], name: str) -> Picture | None:
    """The main term of the loss, in training and validation; the best epoch is ringed."""
    if not curves:
        return None
    main = curves[0]
    with matplotlib.rc_context(STYLE):
        fig, ax = canvas(4.6, 3.0)
        told = _draw_curve(ax, main, ring=True)
        ax.set_xlabel("epoch")
        ax.set_ylabel(main.term, parse_math=False)
        alt = f"Loss of {name} by epoch, term {main.term}. {told}"
        return as_picture(fig, alt, "Loss while learning")


def loss_terms(curves: Sequence[Curve], name: str) -> Picture | None:
    """Every named term in its own small frame, where there is more than the total."""
    if len(curves) < 2:
        return None
    rows = math.ceil(len(curves) / 2)
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(4.6, 1.75 * rows), layout="constrained")
        axes = fig.subplots(rows, 2, squeeze=False)
        told = []
        for ax, curve in zip(axes.flat, curves, strict=False):
            told.append(f"{curve.term}: {_draw_curve(ax, curve, ring=False, share=0.6 / rows)}")
            ax.set_title(shortened(curve.term, 26), fontsize=10, loc="left", parse_math=False)
            ax.yaxis.set_major_locator(MaxNLocator(4))
        for ax in axes.flat[len(curves) :]:
            ax.set_axis_off()
        alt = f"Every term of the loss of {name} by epoch. {' '.join(told)}"
        return as_picture(fig, alt, "Every term of the loss")


def _draw_curve(ax: Axes, curve: Curve, *, ring: bool, share: float = 0.75) -> str:
    told = []
    ends = []
    for values, word, colour, dash in (
        (curve.train, "training", PALETTE[0], "-"),
        (curve.valid, "validation", PALETTE[1], (0, (5, 2))),
    ):
        y = np.array(values, dtype=float)
        known = np.flatnonzero(np.isfinite(y))
        if not len(known):
            continue
        x = np.arange(1, len(y) + 1)
        marker = "o" if len(known) == 1 else ""
        ax.plot(x, y, color=colour, linestyle=dash, linewidth=1.8, marker=marker, markersize=4)
        ends.append((float(x[known[-1]]), float(y[known[-1]]), word, colour))
        told.append(f"{word} goes from {show(y[known[0]])} to {show(y[known[-1]])}")
        if word == "validation" and ring:
            best = int(known[np.argmin(y[known])])
            ax.plot(x[best], y[best], "o", markersize=9, fillstyle="none", color=colour)
            told.append(f"lowest validation {show(y[best])} at epoch {best + 1} (ringed)")
    _name_ends(ax, ends, size=9.5 if ring else 8, share=share)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.grid(axis="y", color=FAINT, linewidth=0.6)
    return "; ".join(told).capitalize() + "."


def correlation_bars(
    values: Sequence[float], name: str, null: Null | None = None
) -> Picture | None:
    """Canonical correlations, one bar each, in the order given, and what chance would give.

    Bars beyond chance are filled and others hatched where there is a null; its level is a line
    across each bar. Where the null is of some of the rows, their own correlations are circles.
    """
    if not values:
        return None
    with matplotlib.rc_context(STYLE):
        fig, ax = canvas(4.6, 2.8 if null is None else 3.2)
        x = np.arange(1, len(values) + 1)
        bars = ax.bar(x, values, color=PALETTE[0], width=0.72)
        if len(values) <= 10:
            ax.bar_label(bars, fmt="%.2f", fontsize=8.5, color=INK, padding=2)
        told = "" if null is None else _draw_null(ax, bars, null, name)
        ax.set_ylim(min(0.0, *values), max(1.0, *values) * 1.06)
        ax.set_xlabel("component")
        ax.set_ylabel("correlation")
        ax.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        ax.grid(axis="y", color=FAINT, linewidth=0.6)
        ax.set_axisbelow(True)
        if null is not None:
            fig.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
        firsts = listed([show(v) for v in values[:5]], limit=5)
        alt = f"{count(len(values), 'canonical correlation')} of {name}; the first: {firsts}."
        return as_picture(fig, f"{alt} {told}", "Canonical correlations")


def _draw_null(ax: Axes, bars: Any, null: Null, name: str) -> str:
    beyond, at = null.beyond(), np.arange(1, len(null.by_chance) + 1)
    for i, bar in enumerate(bars):
        if i >= beyond:
            bar.set(facecolor="white", edgecolor=PALETTE[0], hatch="////", linewidth=0.8)
    label = f"{null.level:.0%} level by chance"
    ax.hlines(null.by_chance, at - 0.46, at + 0.46, color=PALETTE[1], linewidth=2.2, label=label)
    whose = "the rows fitted"
    if not null.all_rows:
        whose = f"{null.rows:,} rows drawn"
        ax.plot(at, null.correlations, "o", color=INK, mfc="white", markersize=5, label=whose)
    ps = listed([show(p) for p in null.p_values[:5]], limit=5)
    levels = listed([show(v) for v in null.by_chance[:5]], limit=5)
    return (
        f"{count(null.permutations, 'permutation')} of {whose}: by chance the first would be up "
        f"to {levels} ({null.level:.0%} level); p = {ps}, family-wise. "
        f"{count(beyond, 'component')} of {name} beyond chance (filled); others hatched."
    )


def code_map(codes: CodeMap | None, name: str) -> Picture | None:
    """Codes in the plane; the most frequent labels have a colour, a marker and their name.

    Codes far outside the rest are drawn at the edge, since a few of them would leave one spot of
    all others; the picture says how many they are.
    """
    if codes is None:
        return None
    xy, moved = _within(np.array(codes.xy, dtype=float))
    labels = np.array(codes.labels, dtype=object)
    common = Counter(label for label in codes.labels if label).most_common(len(PALETTE))
    frequent = sorted(label for label, _ in common)  # the same label looks the same in every map
    with matplotlib.rc_context(STYLE):
        fig, ax = canvas(4.6, 4.2)
        rest = ~np.isin(labels, frequent)
        if rest.any():
            x, y = xy[rest].T
            ax.scatter(x, y, s=7, color="#b4bac3", linewidths=0, rasterized=True)
        size = 24 if len(xy) < 1000 else 12
        for i, label in enumerate(frequent):
            x, y = xy[labels == label].T
            style: Any = {"marker": MARKERS[i], "color": PALETTE[i], "linewidths": 0}
            ax.scatter(x, y, size, alpha=0.75, rasterized=True, **style)
            ax.scatter([], [], 26, label=shortened(label, 20), **style)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[["left", "bottom"]].set_color(FAINT)
        ax.spines[["top", "right"]].set(visible=True, color=FAINT)
        far = f"{count(moved, 'code')} from farther out at the edge" if moved else ""
        ax.set_xlabel(far, fontsize=9)
        others = len(set(codes.labels) - set(frequent) - {""})
        if rest.any() and others:
            ax.scatter([], [], s=14, color="#b4bac3", label=count(others, "other label"))
        if frequent:
            columns = 2 if max(map(len, frequent)) > 11 else 3
            legend = fig.legend(
                loc="outside lower center", ncols=columns, frameon=False, fontsize=9.5
            )
            for text in legend.get_texts():
                text.set_parse_math(False)
        shown = f"; marked labels: {listed(frequent, 8)}" if frequent else ""
        alt = f"Map of {count(len(xy), 'code')} of {name} in two dimensions{shown}."
        return as_picture(fig, f"{alt} {far}." if far else alt, "Map of the codes")


def _within(xy: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Points (n, 2) with those far out moved to the edge of where the others are, and how many.

    Far is more than half the spread of the middle 96 % away from them, on either axis.
    """
    low, high = np.quantile(xy, [0.02, 0.98], axis=0)
    room = np.where(high > low, 0.5 * (high - low), np.inf)
    inside = np.clip(xy, low - room, high + room)
    return inside, int((inside != xy).any(axis=1).sum())


def loss_of_rows(
    curves: Mapping[str, Sequence[tuple[float, float]]], cause: str, measure: str = "accuracy"
) -> Picture | None:
    """Quality of the probe against what was done to the rows, one named line per method.

    Args:
        curves: Points by method.
        cause: ``"missing"`` or ``"noisy"``.
        measure: ``"accuracy"`` or ``"R²"``.
    """
    known = {name: points for name, points in curves.items() if points}
    if not known:
        return None
    with matplotlib.rc_context(STYLE):
        # Names of many lines need room beside the axes.
        fig, ax = canvas(4.6, 3.0 if len(known) == 1 else max(3.6, 1.4 + 0.2 * len(known)))
        ends = []
        for i, (name, points) in enumerate(known.items()):
            x, y = np.array(points).T
            colour, marker, dash = line_style(i)
            ax.plot(
                x, y, color=colour, linestyle=dash, marker=marker, markersize=5.5, linewidth=1.8
            )
            ends.append((float(x[-1]), float(y[-1]), name, colour))
        if len(known) > 1:
            _name_ends(ax, ends, size=9.5)
        title, told_as, across, form = LOSSES[cause]
        if cause == "missing":
            ax.xaxis.set_major_formatter(PercentFormatter(1.0))
        measured = sorted({at for points in known.values() for at, _ in points})
        if len(measured) <= MOST_TICKS:
            ax.set_xticks(measured)
        ax.set_xlabel(across)
        ax.set_ylabel(measure)
        low, high = ax.get_ylim()
        ax.set_ylim(
            max(0.0, low - 0.02) if low >= 0 else low,
            min(1.02, high + 0.02) if high <= 1.02 else high,
        )
        low, high = ax.get_ylim()
        # Neither measure goes beyond 1, though names of lines may.
        ax.set_yticks([at for at in ax.get_yticks() if low <= at <= min(1.0, high) + 1e-9])
        ax.set_ylim(low, high)
        ax.grid(axis="y", color=FAINT, linewidth=0.6)
        told = "; ".join(
            f"{name} from {show(p[0][1])} at {p[0][0]:{form}} to {show(p[-1][1])} at "
            f"{p[-1][0]:{form}}"
            for name, p in known.items()
        )
        return as_picture(fig, f"{measure[:1].upper()}{measure[1:]} {told_as}: {told}.", title)


def line_style(i: int) -> tuple[str, str, Any]:
    """Colour, marker and dash of the i-th line, together another than those of any line before.

    Colours come again after seven lines, beside other markers and dashes each time.
    """
    again = i // len(PALETTE)
    return (
        PALETTE[i % len(PALETTE)],
        MARKERS[(i + 3 * again) % len(MARKERS)],
        DASHES[(i + 2 * again) % len(DASHES)],
    )


def dot_plot(rows: Sequence[Row], at: int, column: Column) -> Picture | None:
    """One measure for all rows, best on top; methods filled, baselines hollow, ± as a line.

    Nothing is drawn for fewer than two values: there is nothing to see between them.
    """
    ordered = ranking(rows, at, column.better)[::-1]
    if len(ordered) < 2:
        return None
    unit = f" ({column.unit})" if column.unit else ""
    with matplotlib.rc_context(STYLE):
        fig, ax = canvas(4.6, 0.75 + 0.3 * len(ordered))
        for y, row in enumerate(ordered):
            cell = row.cells[at]
            face, colour = ("white", MUTED) if row.baseline else (PALETTE[0], PALETTE[0])
            marker = "s" if row.baseline else "o"
            ax.errorbar(
                cell.mean or 0.0,
                y,
                xerr=reach(cell) or None,
                fmt=marker,
                markersize=6,
                color=colour,
                mfc=face,
                elinewidth=1.6,
                capsize=3,
            )
            ax.annotate(
                cell.text,
                (1.0, y),
                xycoords=("axes fraction", "data"),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize=9.5,
                color=INK,
                weight="bold" if cell.mark == "best" else "normal",
            )
        names = [shortened(row.name, 24) for row in ordered]
        ax.set_yticks(range(len(ordered)), names)
        for text, row in zip(ax.get_yticklabels(), ordered, strict=True):
            text.set(parse_math=False, color=MUTED if row.baseline else INK)
        ax.tick_params(axis="y", length=0)
        ax.set_ylim(-0.6, len(ordered) - 0.4)
        ax.margins(x=0.06)
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.spines["left"].set_visible(False)
        ax.grid(color=FAINT, linewidth=0.6)
        ax.set_axisbelow(True)
        told = ", ".join(f"{r.name} {r.cells[at].text}" for r in ordered[::-1])
        direction = f"{column.better} is better"
        alt = f"{column.title}{unit}, {direction}. From best to worst: {told}."
        return as_picture(fig, alt, f"{column.title}{unit}, {direction}")


def sparkline(values: Sequence[float]) -> Picture | None:
    """A vector as a small line, for showing it beside another."""
    if not values:
        return None
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(1.5, 0.6))
        ax = fig.add_axes((0.02, 0.06, 0.96, 0.88))
        ax.plot(values, color=PALETTE[0], linewidth=1.1)
        ax.axhline(0, color=FAINT, linewidth=0.6, zorder=0)
        ax.set_axis_off()
        alt = (
            f"Vector of {count(len(values), 'number')}, {show(min(values))} to {show(max(values))}"
        )
        return as_picture(fig, alt, "")


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure of so many inches, and its axes."""
    fig = Figure(figsize=(width, height), layout="constrained")
    return fig, fig.add_subplot()


def _name_ends(
    ax: Axes, ends: Sequence[tuple[float, float, str, str]], *, size: float, share: float = 0.75
) -> None:
    """Write each line's name at its right end, pushed apart where they would overlap.

    Args:
        ax: Where the lines are.
        ends: For each line its last x and y, its name and its colour.
        size: Of the letters, in points.
        share: How much of the figure's height these axes have, about.
    """
    if not ends:
        return
    ax.margins(y=0.12)
    low, high = ax.get_ylim()
    figure = ax.get_figure(root=True)
    height = 72 * share * (figure.get_size_inches()[1] if figure else 3.0)  # points
    step = 1.35 * size / height * (high - low)
    placed: list[float] = []
    for x, y, word, colour in sorted(ends, key=lambda end: end[1]):
        at = y if not placed else max(y, placed[-1] + step)
        placed.append(at)
        ax.annotate(
            shortened(word, 22),
            (x, y),
            xytext=(1.0, at),
            xycoords="data",
            textcoords=("axes fraction", "data"),
            va="center",
            color=colour,
            fontsize=size,
            parse_math=False,
            annotation_clip=False,
        )
    if placed[-1] > high:
        ax.set_ylim(low, placed[-1] + step / 2)


def shortened(text: str, most: int) -> str:
    """The text on one line, cut to at most so many characters."""
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "\N{HORIZONTAL ELLIPSIS}"


def as_picture(fig: Figure, alt: str, title: str) -> Picture:
    """The figure as SVG, the same bytes for the same figure."""
    buffer = io.BytesIO()
    nothing: dict[str, Any] = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with warnings.catch_warnings(), matplotlib.rc_context({"svg.hashsalt": "triptych"}):
        # A script that DejaVu lacks is measured roughly here and drawn by the browser's fonts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        # A picture too small for its words is drawn as it is.
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        fig.savefig(buffer, format="svg", dpi=144, metadata=nothing, transparent=True)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", _PAGE_FONT, buffer.getvalue().decode("utf-8"))
    uri = "data:image/svg+xml;base64," + base64.b64encode(svg.encode("utf-8")).decode("ascii")
    width, height = (round(96 * inches) for inches in fig.get_size_inches())
    return Picture(uri, " ".join(alt.split()), title, width, height)
