"""Gates as a picture: how much of each modality passes."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from triptych.report.exhibits import Gate
from triptych.report.figures import (
    FAINT,
    INK,
    MUTED,
    PALETTE,
    STYLE,
    Picture,
    as_picture,
    shortened,
)
from triptych.report.numbers import show

BINS = 20
FEW = 12  # gates that are drawn one by one


def gate_bars(gates: Sequence[Gate], name: str) -> Picture | None:
    """For each modality its mean open share, and how its gates differ.

    Many gates are counted by their mean opening; few, such as the positions of attention, are
    drawn one by one, with the spread over rows.
    """
    if not gates:
        return None
    if all(len(gate.mean) == 1 for gate in gates):
        return _shares(gates, name)
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(4.6, 0.5 + 1.35 * len(gates)), layout="constrained")
        axes = fig.subplots(len(gates), 1, squeeze=False)[:, 0]
        told = []
        for i, (ax, gate) in enumerate(zip(axes, gates, strict=True)):
            colour = PALETTE[i % len(PALETTE)]
            mean = float(np.mean(gate.mean))
            if len(gate.mean) <= FEW:
                _one_by_one(ax, gate, colour)
                most = max(range(len(gate.mean)), key=lambda j: gate.mean[j])
                told.append(
                    f"{gate.modality}: {', '.join(show(v) for v in gate.mean)} of the whole, most "
                    f"at {most + 1}"
                )
            else:
                _counted(ax, gate, mean, colour)
                told.append(
                    f"{gate.modality}: {show(mean)} open on average, gates from "
                    f"{show(min(gate.mean))} to {show(max(gate.mean))}, "
                    f"{100 * gate.saturated:.0f} % of all nearly shut or fully open"
                )
            ax.set_title(
                f"{shortened(gate.modality, 18)}: {show(mean)} open"
                if gate.elementwise
                else f"{shortened(gate.modality, 18)}: share of each position",
                fontsize=10,
                loc="left",
                color=INK,
                parse_math=False,
            )
            ax.grid(axis="y", color=FAINT, linewidth=0.6)
            ax.set_axisbelow(True)
        alt = f"Gates of {name} on the training rows. {'; '.join(told)}."
        return as_picture(fig, alt, "How much the gates let pass")


def _shares(gates: Sequence[Gate], name: str) -> Picture:
    """One share for each modality, such as attention gives: bars side by side."""
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(4.6, 2.4), layout="constrained")
        ax = fig.subplots()
        x = np.arange(len(gates))
        mean = [gate.mean[0] for gate in gates]
        spread = [gate.spread[0] if gate.spread else 0.0 for gate in gates]
        colours = [PALETTE[i % len(PALETTE)] for i in range(len(gates))]
        ax.bar(x, mean, color=colours, width=0.7, yerr=spread, ecolor=MUTED, capsize=2)
        ax.set_ylim(0, 1.02)
        ax.set_xticks(x, [shortened(gate.modality, 12) for gate in gates], parse_math=False)
        ax.set_ylabel("share")
        ax.set_xlabel("modality; lines: spread over rows that have it")
        ax.grid(axis="y", color=FAINT, linewidth=0.6)
        ax.set_axisbelow(True)
        told = "; ".join(
            f"{gate.modality}: {show(gate.mean[0])}, nearly nothing or all in "
            f"{100 * gate.saturated:.0f} % of rows"
            for gate in gates
        )
        return as_picture(
            fig, f"Shares of {name} on the training rows. {told}.", "Which modality is heard"
        )


def _counted(ax: Axes, gate: Gate, mean: float, colour: str) -> None:
    edges = np.linspace(0, 1, BINS + 1)
    counts, _ = np.histogram(np.clip(gate.mean, 0, 1), edges)
    ax.bar(edges[:-1], counts, width=1 / BINS, align="edge", color=colour, edgecolor="white")
    ax.axvline(mean, color=MUTED, linewidth=1.2, linestyle=(0, (4, 2)))
    ax.set_xlim(0, 1)
    ax.set_ylabel("gates")
    ax.set_xlabel("mean opening; dashed: of all")


def _one_by_one(ax: Axes, gate: Gate, colour: str) -> None:
    x = np.arange(1, len(gate.mean) + 1)
    spread = gate.spread if len(gate.spread) == len(gate.mean) else None
    ax.bar(x, gate.mean, color=colour, width=0.7, yerr=spread, ecolor=MUTED, capsize=2)
    ax.set_ylim(0, max(1.0, *gate.mean))
    ax.set_xticks(x)
    ax.set_ylabel("share")
    ax.set_xlabel(
        "gate; lines: spread over rows" if gate.elementwise else "position; lines: spread"
    )
