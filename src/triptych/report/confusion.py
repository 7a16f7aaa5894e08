"""Zero-shot classification as a picture: what was taken for what."""

from __future__ import annotations

import matplotlib
import numpy as np
from numpy.typing import NDArray

from triptych.report.exhibits import Naming
from triptych.report.figures import FAINT, INK, STYLE, Picture, as_picture, canvas, shortened
from triptych.report.numbers import count, show

MOST_CLASSES = 16


def confusion_map(naming: Naming, name: str) -> Picture | None:
    """True classes by row, given ones by column; each row adds up to 1.

    Of many classes the most frequent ones are drawn and the rest are put together.
    """
    if not naming.classes:
        return None
    classes, counts, rest = _gathered(naming)
    asked = counts.sum(axis=1, keepdims=True)
    shares = counts / np.where(asked > 0, asked, 1)
    k = len(shares)
    with matplotlib.rc_context(STYLE):
        side = 1.9 + 0.19 * k
        fig, ax = canvas(4.6, max(2.6, side))
        ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        words = [shortened(word, 16) for word in classes]
        words += [f"{rest} more"] if rest else []
        ax.set_xticks(range(k), words, rotation=90 if k > 5 else 0)
        ax.set_yticks(range(k), words)
        size = 9.5 if k <= 8 else 8
        for text in (*ax.get_xticklabels(), *ax.get_yticklabels()):
            text.set(parse_math=False, color=INK, fontsize=size)
        for i, j in zip(*np.nonzero(shares >= 0.1), strict=True):
            shade = "white" if shares[i, j] > 0.55 else INK
            figure = f"{100 * shares[i, j]:.0f}"
            ax.text(j, i, figure, ha="center", va="center", color=shade, fontsize=size - 2)
        ax.tick_params(length=0)
        ax.spines[:].set(visible=True, color=FAINT)
        ax.set_xlabel("class given (% of the row)")
        ax.set_ylabel("true class")
        tops = "".join(
            f", among the first {depth} {show(v)}" for depth, v in naming.top if depth > 1
        )
        alt = (
            f"Zero-shot by {name}: {naming.label} of {count(naming.rows, 'row')} from "
            f"{naming.modality}, named by {naming.text}: accuracy {show(naming.accuracy)}{tops}, "
            f"chance {show(1 / len(naming.classes))}. {_told(classes, shares)}"
        )
        title = f"{naming.label} from {naming.modality}, by words alone: {show(naming.accuracy)}"
        return as_picture(fig, alt, shortened(title, 60))


def _gathered(naming: Naming) -> tuple[list[str], NDArray[np.float64], int]:
    """Classes that rows have, the most frequent first; the others, so many, in a last one."""
    counts = np.array(naming.confusion, dtype=float)  # (k, k)
    asked = counts.sum(axis=1)
    order = [int(i) for i in np.argsort(-asked, kind="stable") if asked[i] > 0]
    kept = order if len(order) <= MOST_CLASSES else order[: MOST_CLASSES - 1]
    rest = [i for i in range(len(counts)) if i not in kept]
    names = [naming.classes[i] for i in kept]
    out = counts[np.ix_(kept, kept)]
    if counts[rest].sum() > 0 or counts[np.ix_(kept, rest)].sum() > 0:
        column = counts[np.ix_(kept, rest)].sum(axis=1, keepdims=True)
        row = counts[np.ix_(rest, kept)].sum(axis=0)
        corner = counts[np.ix_(rest, rest)].sum()
        out = np.block([[out, column], [row[None], np.array([[corner]])]])
        return names, out, len(rest)
    return names, out, 0


def _told(classes: list[str], shares: NDArray[np.float64]) -> str:
    own = shares.diagonal()
    places = range(len(classes))
    best, worst = max(places, key=lambda i: own[i]), min(places, key=lambda i: own[i])
    return (
        f"Best {classes[best]} ({show(own[best])}), worst {classes[worst]} ({show(own[worst])})."
    )
