"""Frozen settings and records: registered by name, so that a model folder can hold them.

A manifest names classes, and a name read from a file must never decide what is imported. Only
classes registered here, by decorator, where they are defined, can come back from a file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from triptych.errors import ParameterError

T = TypeVar("T", bound=type)

_REGISTRY: dict[str, type] = {}


def register(cls: T) -> T:
    """Class decorator: let a frozen dataclass be written to and read from a model folder."""
    if not dataclasses.is_dataclass(cls):
        raise TypeError(f"register takes dataclasses, got {cls!r}.")
    _REGISTRY[cls.__name__] = cls
    return cls


def registered() -> Mapping[str, type]:
    """Classes that may come back from a file, by name."""
    return dict(_REGISTRY)


def is_value(obj: Any) -> bool:
    """Whether ``obj`` is an instance of a dataclass (a frozen setting)."""
    return dataclasses.is_dataclass(obj) and not isinstance(obj, type)


def nested(name: str, value: Any) -> dict[str, Any]:
    """Parameters inside a frozen value or a dict of them: ``{"training__epochs": 10}``."""
    inner: dict[str, Any] = {}
    if is_value(value):
        parts = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    elif isinstance(value, Mapping):
        parts = {str(key): part for key, part in value.items()}
    else:
        return inner
    for key, part in parts.items():
        inner[f"{name}__{key}"] = part
        inner.update(nested(f"{name}__{key}", part))
    return inner


def replaced(value: Any, path: list[str], new: Any, name: str) -> Any:
    """A copy of ``value`` in which the part at ``path`` is ``new``; the original is untouched.

    Args:
        value: Frozen dataclass or mapping.
        path: Names from outside in, for instance ``["image", "width"]``.
        new: The new part.
        name: Parameter as the user wrote it, for errors.
    """
    if not path:
        return new
    head, rest = path[0], path[1:]
    if is_value(value):
        fields = [f.name for f in dataclasses.fields(value) if f.init]
        if head not in fields:
            raise ParameterError(
                f"{name}: {type(value).__name__} has no {head!r}; it has {fields}."
            )
        return dataclasses.replace(value, **{head: replaced(getattr(value, head), rest, new, name)})
    if isinstance(value, Mapping):
        if head not in value and rest:
            raise ParameterError(f"{name}: no entry {head!r}; there are {list(value)}.")
        return {**value, head: replaced(value.get(head), rest, new, name)}
    raise ParameterError(
        f"{name}: cannot reach {head!r} inside {value!r}; give a value with parts first."
    )
