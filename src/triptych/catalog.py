"""All methods, found through the panels' re-export lines, and models read back from disk."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triptych.errors import ParameterError, PersistenceError, meant

if TYPE_CHECKING:
    from triptych.contracts.method import Method

PANELS = ("fusion", "coordination", "fission")


def methods() -> dict[str, type[Method]]:
    """Every method by qualified name, for instance ``"coordination.CCA"``; imports them all."""
    return {name: _imported(name) for name in names()}


def names() -> tuple[str, ...]:
    """Every qualified name, read from the panels' re-export lines; no method is imported."""
    return tuple(
        f"{panel}.{name}"
        for panel in PANELS
        for name in importlib.import_module(f"triptych.{panel}").__all__
    )


def find(name: str) -> type[Method]:
    """The method of a name: ``"CCA"``, ``"cca"`` or ``"coordination.CCA"``; no other is imported.

    Raises:
        ParameterError: No method has this name, or methods of two panels have.
    """
    known = names()
    asked = name.lower() if isinstance(name, str) else ""
    found = [key for key in known if asked in (key.lower(), key.lower().partition(".")[2])]
    if not found:
        plain = [key.partition(".")[2] for key in known]
        guess = meant(asked.rpartition(".")[2], plain)  # of another panel, maybe
        raise ParameterError(f"unknown method {name!r}.{guess} There are {sorted(plain)}.")
    if len(found) > 1:
        raise ParameterError(f"method {name!r} is one of {sorted(found)}; name the panel too.")
    return _imported(found[0])


def table() -> list[dict[str, Any]]:
    """One row per method, plain values: name, panel, summary, and every capability."""
    return [
        {
            "name": name,
            "panel": cls.panel,
            "summary": (inspect.getdoc(cls) or "").partition("\n")[0],
            **cls.capabilities.as_dict(),
        }
        for name, cls in methods().items()
    ]


def load(
    path: str | Path,
    *,
    factories: Mapping[str, Callable[..., Any]] | None = None,
    classes: Sequence[type] = (),
) -> Method:
    """Read a model that ``save`` wrote.

    The class is looked up among the methods of the panels and ``classes``; a name in a file is
    never imported.

    Args:
        path: Its folder.
        factories: A user's own factories, by name.
        classes: A user's own methods and frozen recipes.

    Raises:
        PersistenceError: Not a model, altered, too new, or of a class that is not known here.
    """
    from triptych.contracts import persistence

    held = persistence.read_manifest(Path(path)).get("class")
    own = {f"{cls.__module__}.{cls.__qualname__}": cls for cls in classes}
    ours = str(held).removeprefix("triptych.")
    if held in own:
        cls: Any = own[str(held)]
    elif held == f"triptych.{ours}" and ours in names():
        cls = _imported(ours)  # before reading: its module registers the settings that it takes
    else:
        raise PersistenceError(
            f"{path} holds a {held}, which is not known here; give a method of your own "
            "through load(path, classes=[...])."
        )
    saved = persistence.read(Path(path), factories=factories, classes=classes)
    try:
        model: Method = cls._from_saved(saved)
    except (AttributeError, TypeError) as error:
        raise PersistenceError(
            f"{path} was written by triptych {saved.versions.get('triptych', 'unknown')} and does "
            f"not fit the {held} of this one: {error}."
        ) from error
    return model


def _imported(name: str) -> type[Method]:
    panel, _, short = name.partition(".")
    cls: type[Method] = getattr(importlib.import_module(f"triptych.{panel}"), short)
    return cls
