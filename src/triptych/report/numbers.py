"""Numbers as a reader wants them: three digits, one rule for every column."""

from __future__ import annotations

import math
import re
from typing import Any

MINUS = "\N{MINUS SIGN}"
NATS_PER_BIT = math.log(2)
ROUNDING = 1e-9
"""Bits or nats below this are what a solver leaves, not what data tell."""
_SCALES = ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e5, " k"))


def shown_unit(unit: str) -> tuple[str, float]:
    """The unit that people read, and what a number in ``unit`` is divided by to be in it.

    Information is in nats inside the package, and in bits where people read it.
    """
    return re.sub(r"\bnats?\b", "bits", unit), NATS_PER_BIT if unit.startswith("nat") else 1.0


def finite(value: Any) -> float | None:
    """``value`` as a finite float, else None (None, NaN, infinity, words)."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def show(value: float) -> str:
    """Three decimals up to 1, three digits above: ``0.043``, ``31.2``, ``1.24 M``."""
    return show_pair(value, None)[0]


def show_pair(mean: float, std: float | None) -> tuple[str, str]:
    """A mean and its spread, rounded at the same place; the spread is ``""`` without one."""
    size = abs(mean)
    if size == 0 and not std:
        return "0", "" if std is None else "0"
    for scale, letter in _SCALES:
        if size >= scale:
            shift = 1e3 if letter == " k" else scale
            head = _fixed(mean / shift, _places(size / shift))
            tail = "" if std is None else _fixed(std / shift, _places(size / shift))
            return head + letter, tail + letter if tail else ""
    places = _places(size)
    if 0 < size < 5e-4:
        return f"{mean:.1g}".replace("-", MINUS), "" if std is None else f"{std:.1g}"
    return _fixed(mean, places), "" if std is None else _fixed(std, places)


def _places(size: float) -> int:
    if size <= 1:
        return 3
    if size < 10:
        return 2
    return 1 if size < 100 else 0


def _fixed(value: float, places: int) -> str:
    text = f"{value:,.{places}f}"
    if set(text) <= set("-0.,"):  # no negative zero
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def count(n: int, one: str, many: str | None = None) -> str:
    """``1 method``, ``3 methods``, ``no methods``."""
    word = one if n == 1 else many or one + "s"
    return f"{'no' if n == 0 else f'{n:,}'} {word}"


def listed(names: list[str] | tuple[str, ...], limit: int = 4) -> str:
    """``a``, ``a and b``, ``a, b and c``, ``a, b, c and 4 more``."""
    shown = list(names)
    if len(shown) > limit:
        shown = [*shown[: limit - 1], f"{len(shown) - limit + 1} more"]
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " and " + shown[-1]


def as_words(value: Any) -> str:
    """A setting as one short line: lists and mappings written out, None as ``none``."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{k}: {as_words(v)}" for k, v in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(as_words(v) for v in value) or "none"
    return str(value)
