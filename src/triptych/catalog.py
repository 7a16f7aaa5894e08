"""All methods, found through the panels' re-export lines, and models read back from disk."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triptych.errors import ParameterError, PersistenceError

if TYPE_CHECKING:
    from triptych.contracts.method import Method

PANELS = ("fusion", "coordination", "fission")


def methods() -> dict[str, type[Method]]:
    """Every method by qualified name, for instance ``"coordination.CCA"``."""
    found = {}
    for panel in PANELS:
        module = importlib.import_module(f"triptych.{panel}")
        found.update({f"{panel}.{name}": getattr(module, name) for name in module.__all__})
    return found


def find(name: str) -> type[Method]:
    """The method of a name: ``"CCA"``, ``"cca"`` or ``"coordination.CCA"``."""
    known = methods()
    for key, cls in known.items():
        if name.lower() in (key.lower(), key.lower().partition(".")[2]):
            return cls
    raise ParameterError(f"unknown method {name!r}; there are {sorted(known)}.")


def load(
    path: str | Path,
    *,
    factories: Mapping[str, Callable[..., Any]] | None = None,
    classes: Sequence[type] = (),
) -> Method:
    """Read a model that ``save`` wrote.

    Args:
        path: Its folder.
        factories: A user's own factories, by name.
        classes: A user's own methods and frozen recipes.

    Raises:
        PersistenceError: Not a model, altered, too new, or of a class that is not known here.
    """
    from triptych.contracts import persistence

    known = {f"triptych.{name}": cls for name, cls in methods().items()}
    known.update({f"{cls.__module__}.{cls.__qualname__}": cls for cls in classes})
    saved = persistence.read(Path(path), factories=factories, classes=classes)
    if saved.cls not in known:
        raise PersistenceError(
            f"{path} holds a {saved.cls}, which is not known here; give a method of your own "
            "through load(path, classes=[...])."
        )
    return known[saved.cls]._from_saved(saved)
