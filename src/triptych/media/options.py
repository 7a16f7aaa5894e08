"""Pictures and sounds as the words of a table's specification ask for them."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from triptych.errors import DataError, ParameterError
from triptych.media.reading import COLOURS
from triptych.media.rows import FileRows, Pictures, Sounds


def picture_options(words: Sequence[str]) -> dict[str, Any]:
    """``["32x24", "grey"]`` as arguments of :class:`Pictures`.

    Example:
        >>> picture_options(["32x24", "grey"]), picture_options(["48"])
        ({'size': (32, 24), 'colour': 'grey'}, {'size': (48, 48)})
    """
    found: dict[str, Any] = {}
    for word in words:
        sides = word.lower().split("x")
        if word in COLOURS:
            _once(found, "colour", word)
        elif len(sides) <= 2 and all(side.isascii() and side.isdigit() for side in sides):
            _once(found, "size", (int(sides[0]), int(sides[-1])))
        else:
            raise ParameterError(
                f"expected a picture's size such as '64x48' (width x height) or its colour, one "
                f"of {tuple(COLOURS)}; got {word!r}."
            )
    return found


def sound_options(words: Sequence[str]) -> dict[str, Any]:
    """``["8000", "2.5s"]`` as arguments of :class:`Sounds`.

    Example:
        >>> sound_options(["8000", "2.5s"])
        {'rate': 8000, 'seconds': 2.5}
    """
    found: dict[str, Any] = {}
    for word in words:
        if word.isascii() and word.isdigit():
            _once(found, "rate", int(word))
            continue
        if (length := _seconds(word)) is not None:
            _once(found, "seconds", length)
            continue
        raise ParameterError(
            f"expected samples per second such as '8000', or a longest duration such as '2s'; "
            f"got {word!r}."
        )
    return found


def _seconds(word: str) -> float | None:
    with contextlib.suppress(ValueError):
        return float(word[:-1]) if word.endswith("s") else None
    return None


def _once(found: dict[str, Any], name: str, value: Any) -> None:
    if name in found:
        raise ParameterError(f"{name}: said twice, {found[name]} and {value}.")
    found[name] = value


def of_kind(
    kind: str, words: Sequence[str], paths: Sequence[str | None], **where: Any
) -> FileRows:
    """Pictures or sounds as a table's specification says.

    Args:
        kind: ``"picture"`` or ``"sound"``.
        words: Options, as for :func:`picture_options` and :func:`sound_options`.
        paths: A file for each row.
        where: ``folder`` and ``origin``.
    """
    if kind == "picture":
        return Pictures(paths, **picture_options(words), **where)
    if kind == "sound":
        return Sounds(paths, **sound_options(words), **where)
    raise DataError(f"kind: expected 'picture' or 'sound', got {kind!r}.")
