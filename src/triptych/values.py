"""Frozen settings and records: registered by name, so that a model folder can hold them.

A manifest names classes, and a name read from a file must never decide what is imported. Only
classes registered here, by decorator, where they are defined, can come back from a file.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from triptych.errors import ParameterError, PersistenceError, meant

T = TypeVar("T", bound=type)

MARK = "$"
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
                f"{meant(head, fields)}"
            )
        return dataclasses.replace(
            value, **{head: replaced(getattr(value, head), rest, new, name)}
        )
    if isinstance(value, Mapping):
        if head not in value and rest:
            raise ParameterError(f"{name}: no entry {head!r}; there are {list(value)}.")
        return {**value, head: replaced(value.get(head), rest, new, name)}
    raise ParameterError(
        f"{name}: cannot reach {head!r} inside {value!r}; give a value with parts first."
    )


def qualified_name(factory: Callable[..., Any]) -> str:
    """``module:qualname`` of a function or class that can be named; a lambda cannot."""
    name = getattr(factory, "__qualname__", "")
    module = getattr(factory, "__module__", "")
    if not name or not module or "<" in name:
        raise PersistenceError(
            f"cannot save {factory!r}: it has no name to find it by. Use a function defined at "
            "the top of a module instead of a lambda or an inner function."
        )
    return f"{module}:{name}"


def encode(value: Any, arrays: dict[str, NDArray[Any]], key: str) -> Any:
    """Plain JSON for ``value``; arrays are put aside into ``arrays`` under keys below ``key``."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, np.integer)) and not isinstance(value, np.bool_):
        return int(value)
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return number if math.isfinite(number) else {"$float": repr(number)}
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "US":
            return {"$strings": value.tolist()}
        if value.dtype.kind == "O":
            return {
                "$objects": [encode(v, arrays, f"{key}.{i}") for i, v in enumerate(value.tolist())]
            }
        arrays[key] = np.ascontiguousarray(value).reshape(value.shape)  # keeps shape ()
        return {"$array": key}
    if isinstance(value, tuple):
        return {"$tuple": [encode(v, arrays, f"{key}.{i}") for i, v in enumerate(value)]}
    if isinstance(value, list):
        return [encode(v, arrays, f"{key}.{i}") for i, v in enumerate(value)]
    if isinstance(value, Mapping):
        if not all(isinstance(k, str) for k in value):
            raise PersistenceError(f"cannot save {key}: keys must be str, got {list(value)[:3]}.")
        inner = {k: encode(v, arrays, f"{key}.{k}") for k, v in value.items()}
        return {"$dict": inner} if any(k.startswith(MARK) for k in inner) else inner
    if is_value(value):
        parts = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        return {
            "$value": type(value).__name__,
            "fields": {k: encode(v, arrays, f"{key}.{k}") for k, v in parts.items()},
        }
    if callable(value):
        return {"$factory": qualified_name(value)}
    raise PersistenceError(f"cannot save {key}: {type(value).__name__} has no written form.")


def decode(
    value: Any,
    arrays: Mapping[str, NDArray[Any]],
    factories: Mapping[str, Callable[..., Any]],
    classes: Mapping[str, type],
) -> Any:
    """What :func:`encode` wrote. Names are looked up in what is given, never imported."""

    def inner(v: Any) -> Any:
        return decode(v, arrays, factories, classes)

    if isinstance(value, list):
        return [inner(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "$float" in value:
        return float(value["$float"])
    if "$strings" in value:
        return np.array(value["$strings"], dtype=np.str_)
    if "$objects" in value:
        out = np.empty(len(value["$objects"]), dtype=object)
        out[:] = [inner(v) for v in value["$objects"]]
        return out
    if "$array" in value:
        if value["$array"] not in arrays:
            raise PersistenceError(f"array {value['$array']!r} is named but not stored.")
        return arrays[value["$array"]]
    if "$tuple" in value:
        return tuple(inner(v) for v in value["$tuple"])
    if "$dict" in value:
        return {k: inner(v) for k, v in value["$dict"].items()}
    if "$factory" in value:
        return _find(value["$factory"], factories, "factories={...}")
    if "$value" in value:
        cls = _find(value["$value"], {**registered(), **classes}, "classes=[...]")
        return cls(**{k: inner(v) for k, v in value["fields"].items()})
    return {k: inner(v) for k, v in value.items()}


def _find(name: str, known: Mapping[str, Any], argument: str) -> Any:
    for key in (name, name.rpartition(":")[2], name.rpartition(".")[2]):
        if key in known:
            return known[key]
    raise PersistenceError(
        f"the model was saved with {name!r}, which is not known here. Names in a file are never "
        f"imported: give it again through load(path, {argument})."
    )


def count_numbers(value: Any) -> int:
    """How many numbers the arrays inside a learnt value hold."""
    if isinstance(value, np.ndarray):
        return int(value.size) if value.dtype.kind in "fc" else 0
    if is_value(value):
        return sum(count_numbers(getattr(value, f.name)) for f in dataclasses.fields(value))
    if isinstance(value, Mapping):
        return sum(count_numbers(v) for v in value.values())
    if isinstance(value, (list, tuple)):
        return sum(count_numbers(v) for v in value)
    return 0
