"""Models on disk: JSON and safetensors, never pickle; written whole or not at all."""

from __future__ import annotations

import ctypes
import hashlib
import json
import math
import os
import platform
import shutil
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.errors import PersistenceError
from triptych.values import is_value, registered

FORMAT = 1
MANIFEST = "manifest.json"
ARRAYS = "arrays.safetensors"
MARK = "$"


@dataclass(frozen=True)
class Saved:
    """What a model folder held.

    Args:
        cls: Qualified name of the method's class.
        parameters: Arguments of its constructor.
        learnt: What ``fit`` learnt, by attribute.
        versions: Versions of the libraries that wrote it.
    """

    cls: str
    parameters: dict[str, Any]
    learnt: dict[str, Any]
    versions: dict[str, str]


# -- values to JSON and back -----------------------------------------------------------------


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
            return {"$objects": [encode(v, arrays, key) for v in value.tolist()]}
        arrays[key] = np.ascontiguousarray(value)
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
        parts = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
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
            raise PersistenceError(f"array {value['$array']!r} is not in {ARRAYS}.")
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
        return sum(count_numbers(getattr(value, f.name)) for f in fields(value))
    if isinstance(value, Mapping):
        return sum(count_numbers(v) for v in value.values())
    if isinstance(value, (list, tuple)):
        return sum(count_numbers(v) for v in value)
    return 0


# -- folders -----------------------------------------------------------------------------------


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries a model depends on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version()}
    for name in ("triptych", "numpy", "scipy", "scikit-learn", "torch", "tokenizers"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _canonical(manifest: Mapping[str, Any]) -> bytes:
    rest = {k: v for k, v in manifest.items() if k != "checksum"}
    return json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()


def write(path: Path, *, cls: str, parameters: Mapping[str, Any], learnt: Mapping[str, Any]) -> None:
    """Write a model folder, atomically.

    Args:
        path: The folder; an older model there is replaced, anything else is refused.
        cls: Qualified name of the class.
        parameters: Constructor's arguments.
        learnt: Attributes learnt.
    """
    from safetensors.numpy import save as to_bytes

    arrays: dict[str, NDArray[Any]] = {}
    body = {
        "parameters": encode(dict(parameters), arrays, "parameters"),
        "learnt": encode(dict(learnt), arrays, "learnt"),
    }
    blob = to_bytes(arrays)
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "class": cls,
        "versions": versions(),
        "checksums": {ARRAYS: _digest(blob)},
        **body,
    }
    manifest["checksum"] = _digest(_canonical(manifest))
    text = json.dumps(manifest, indent=1, sort_keys=True).encode()
    write_folder(path, {MANIFEST: text, ARRAYS: blob}, mark=MANIFEST)


def write_folder(path: Path, files: Mapping[str, bytes], *, mark: str) -> None:
    """Put ``files`` into folder ``path`` all at once; on any failure the old folder is intact.

    Args:
        path: The folder.
        files: Contents by file name.
        mark: A file that an older folder of ours must hold to be replaced.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise PersistenceError(f"cannot write {path}: a file of that name is in the way.")
    if path.is_dir() and any(path.iterdir()) and not (path / mark).is_file():
        raise PersistenceError(
            f"cannot write {path}: the folder holds other things (no {mark}); choose another."
        )
    fresh = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.new"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.mkdir()
        for name, data in files.items():
            with open(fresh / name, "wb") as f:
                f.write(data)
                f.flush()
                os.fsync(f.fileno())
        _swap_in(fresh, path)
        _sync_folder(path.parent)
    except OSError as error:
        if isinstance(error, PersistenceError):
            raise
        raise PersistenceError(
            f"cannot write {path}: {error.strerror or error}. What was there before is unchanged."
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _swap_in(fresh: Path, path: Path) -> None:
    """Make ``fresh`` stand at ``path``; the old folder ends at ``fresh`` and is removed."""
    if not path.exists():
        os.rename(fresh, path)
        return
    if _exchange(fresh, path):
        return
    # No atomic exchange here: keep the old folder findable by `read` between the two renames.
    old = _backup(path)
    shutil.rmtree(old, ignore_errors=True)
    os.rename(path, old)
    os.rename(fresh, path)
    shutil.rmtree(old, ignore_errors=True)


def _backup(path: Path) -> Path:
    return path.parent / f".{path.name}.old"


def _exchange(a: Path, b: Path) -> bool:
    """Swap two folders in one step where the system can (Linux renameat2)."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(renameat2(here, os.fsencode(a), here, os.fsencode(b), exchange) == 0)


def _sync_folder(path: Path) -> None:
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_manifest(path: Path) -> dict[str, Any]:
    """The checked manifest of a model folder."""
    path = _standing(Path(path))
    if not (path / MANIFEST).is_file():
        there = "no such folder" if not path.exists() else f"no {MANIFEST} in it"
        raise PersistenceError(f"{path} is not a saved model: {there}.")
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise PersistenceError(f"{path / MANIFEST} cannot be read: {error}.") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        raise PersistenceError(f"{path / MANIFEST} is not a manifest of triptych.")
    if manifest["format"] > FORMAT:
        raise PersistenceError(
            f"{path} has format {manifest['format']}, newer than this triptych reads ({FORMAT}); "
            "install a newer triptych."
        )
    if manifest.get("checksum") != _digest(_canonical(manifest)):
        raise PersistenceError(f"{path / MANIFEST} was altered: its checksum does not match.")
    return manifest


def _standing(path: Path) -> Path:
    """The folder itself, or its backup if a crash fell between two renames."""
    return _backup(path) if not path.exists() and _backup(path).exists() else path


def read(
    path: Path,
    *,
    factories: Mapping[str, Callable[..., Any]] | None = None,
    classes: Sequence[type] = (),
) -> Saved:
    """Read and check a model folder.

    Args:
        path: The folder.
        factories: A user's factories by name, as they were given to the constructor.
        classes: A user's own frozen recipes.

    Raises:
        PersistenceError: Not a model, altered, truncated, too new, or a name that is not known.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    manifest = read_manifest(path)
    folder = _standing(Path(path))
    try:
        blob = (folder / ARRAYS).read_bytes()
    except OSError as error:
        raise PersistenceError(f"{folder / ARRAYS} cannot be read: {error.strerror}.") from error
    if _digest(blob) != manifest["checksums"].get(ARRAYS):
        raise PersistenceError(f"{folder / ARRAYS} was altered or cut short: wrong checksum.")
    try:
        arrays = from_bytes(blob)
    except SafetensorError as error:
        raise PersistenceError(f"{folder / ARRAYS} cannot be read: {error}.") from error
    given = {name: fn for name, fn in (factories or {}).items()}
    given.update({qualified_name(fn): fn for fn in (factories or {}).values()})
    own = {cls.__name__: cls for cls in classes}
    return Saved(
        cls=manifest["class"],
        parameters=decode(manifest["parameters"], arrays, given, own),
        learnt=decode(manifest["learnt"], arrays, given, own),
        versions=manifest["versions"],
    )
