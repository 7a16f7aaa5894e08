"""What can go wrong, by cause. Every error of ours is a :class:`TriptychError`.

Each message says what was expected, what came, and whose it was (modality, row, parameter).
The classes also inherit from the built-in that Python users expect (``ValueError``, ``OSError``).
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from types import FrameType


class TriptychError(Exception):
    """Base of all errors that triptych raises on purpose."""


class DataError(TriptychError, ValueError):
    """The data cannot be used: wrong type, NaN, too few rows, unknown labels."""


class ShapeError(DataError):
    """Shapes or lengths do not fit each other or what was learnt."""


class ModalityError(DataError):
    """A modality is unknown, missing, or named in a way that cannot be used."""


class ParameterError(TriptychError, ValueError):
    """A parameter has a value that cannot be used."""


class CapabilityError(TriptychError, TypeError):
    """A method was asked for something that it declares it cannot do."""


class NotFittedError(TriptychError, ValueError, AttributeError):
    """A method was used before ``fit``."""


class FileError(TriptychError, OSError):
    """A file or folder could not be read or written as asked."""


class PersistenceError(FileError):
    """A saved model is damaged, too new, of an unknown class, or cannot be saved."""


class MissingDependencyError(TriptychError, ImportError):
    """An optional dependency is not installed."""


class TrainingError(TriptychError, RuntimeError):
    """Training could not go on, for instance because the loss is no longer finite."""


class TriptychWarning(UserWarning):
    """Base of all warnings of ours."""


class DegenerateDataWarning(TriptychWarning):
    """The data allow an answer, but not one to be trusted (constant columns, n < p)."""


class TrainingWarning(TriptychWarning):
    """Training went on, but without something that was asked for."""


# Packages whose lines a user has not written: ours, and those that call back into ours.
WITHIN = ("triptych", "torch", "accelerate", "sklearn", "joblib", "typer", "click")


def _root(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def warn(text: str, category: type[TriptychWarning]) -> None:
    """A warning that points at the line of the user, however deep we are."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _root(frame) in WITHIN:
        level, frame = level + 1, frame.f_back
    warnings.warn(text, category, stacklevel=level)


def meant(name: object, known: Iterable[str]) -> str:
    """``" Did you mean 'CLIP'?"`` for a name close to one that is known, else nothing.

    Example:
        >>> meant("clipp", ["CCA", "CLIP"]), meant("t-SNE", ["CCA", "CLIP"])
        (" Did you mean 'CLIP'?", '')
    """
    from difflib import get_close_matches  # only where something has gone wrong

    by_lower = {one.lower(): one for one in known}
    near = get_close_matches(str(name).lower(), by_lower, n=1, cutoff=0.7)
    return f" Did you mean {by_lower[near[0]]!r}?" if near else ""
