"""Quality under noise as a picture: one cell for each pair of strengths."""

from __future__ import annotations

import matplotlib
import numpy as np

from triptych.report.exhibits import Noise
from triptych.report.figures import FAINT, INK, STYLE, Picture, as_picture, canvas, shortened
from triptych.report.numbers import count, show


def noise_map(noise: Noise | None, name: str) -> Picture | None:
    """Strengths of the first modality by row, of the second by column, clean ones first.

    Args:
        noise: What was measured.
        name: Of the method.
    """
    if noise is None:
        return None
    value = np.array(noise.value)  # (1 or levels, levels)
    levels = ["clean" if level is None else f"{level:g} dB" for level in noise.levels]
    down, across = (noise.modalities[0], noise.modalities[-1])
    with matplotlib.rc_context(STYLE):
        fig, ax = canvas(4.6, 1.3 + 0.36 * len(value))
        low, high = min(0.0, float(value.min())), max(1.0, float(value.max()))
        ax.imshow(value, cmap="Blues", vmin=low, vmax=high, aspect="auto", interpolation="nearest")
        ax.set_xticks(range(len(levels)), levels)
        ax.set_yticks(range(len(value)), levels if len(value) > 1 else [""])
        for i, j in np.ndindex(*value.shape):
            dark = value[i, j] > low + 0.55 * (high - low)
            ax.text(
                j,
                i,
                show(float(value[i, j])),
                ha="center",
                va="center",
                color="white" if dark else INK,
                fontsize=9,
            )
        ax.tick_params(length=0)
        ax.spines[:].set(visible=True, color=FAINT)
        ax.set_xlabel(f"noise on {shortened(across, 24)}", parse_math=False)
        if len(value) > 1:
            ax.set_ylabel(f"noise on {shortened(down, 18)}", parse_math=False)
        both = " and ".join(noise.modalities)
        alt = (
            f"{noise.measure} of {name} on {count(noise.rows, 'row')} with white noise on {both}: "
            f"clean {show(float(value[0, 0]))}, at the strongest noise "
            f"{show(float(value[-1, -1]))}, mean {show(float(value.mean()))}."
        )
        return as_picture(fig, alt, f"{noise.measure} under noise, by signal-to-noise ratio")
