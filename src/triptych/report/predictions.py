"""Predictions as a picture: what they lose as modalities go missing, and under noise."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from triptych.report.exhibits import Fading
from triptych.report.figures import FAINT, MUTED, PALETTE, STYLE, Picture, as_picture
from triptych.report.numbers import show

_AXES = {
    "absence": ("modalities taken away", "share of modalities taken away"),
    "noise": ("noise", "noise, in spreads of each column"),
}


def fading_curves(curves: Sequence[Fading], name: str) -> Picture | None:
    """Quality of a method's predictions as its rows get worse, one panel for each way."""
    known = [c for c in curves if c.cause in _AXES and len(c.at) > 1]
    if not known:
        return None
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(4.6, 2.2 * len(known)), layout="constrained")
        axes = fig.subplots(len(known), 1, squeeze=False)[:, 0]
        told = []
        low = min(min(c.value) for c in known)
        high = max(max(c.value) for c in known)
        room = 0.05 * max(high - low, 0.1)
        for i, (ax, curve) in enumerate(zip(axes, known, strict=True)):
            cause, label = _AXES[curve.cause]
            ax.plot(curve.at, curve.value, color=PALETTE[i], marker="o", linewidth=1.8)
            ax.fill_between(curve.at, curve.value, low - room, color=PALETTE[i], alpha=0.12)
            ax.axhline(curve.area, color=MUTED, linewidth=1.1, linestyle=(0, (4, 2)))
            ax.set_xlabel(label)
            ax.set_ylabel(curve.measure)
            ax.set_ylim(low - room, high + room)  # one scale, so that panels can be compared
            ax.grid(axis="y", color=FAINT, linewidth=0.6)
            ax.set_axisbelow(True)
            if curve.cause == "absence":
                ax.xaxis.set_major_formatter(PercentFormatter(1.0))
            told.append(
                f"{cause}: {curve.measure} from {show(curve.value[0])} to "
                f"{show(curve.value[-1])}, on average {show(curve.area)} (dashed)"
            )
        alt = f"Predictions of {name} as rows get worse. {'; '.join(told)}."
        return as_picture(fig, alt, "What absence and noise cost the predictions")
