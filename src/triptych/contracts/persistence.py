"""Models on disk: JSON and safetensors, never pickle; written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.errors import PersistenceError
from triptych.folders import standing, write_folder
from triptych.values import decode, encode, qualified_name

FORMAT = 1
MANIFEST = "manifest.json"
ARRAYS = "arrays.safetensors"


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


def _text(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, indent=1, sort_keys=True).encode()


def write(
    path: Path, *, cls: str, parameters: Mapping[str, Any], learnt: Mapping[str, Any]
) -> None:
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
    write_folder(path, {MANIFEST: _text(manifest), ARRAYS: blob}, mark=MANIFEST)


def fingerprint(cls: str, learnt: Mapping[str, Any]) -> str:
    """One word for what a model of a class learnt: equal for the model and its saved copy.

    Args:
        cls: Name of the class.
        learnt: Attributes learnt.

    Returns:
        SHA-256, 64 hexadecimal digits.
    """
    arrays: dict[str, NDArray[Any]] = {}
    body = encode(dict(learnt), arrays, "learnt")
    digest = hashlib.sha256(json.dumps([cls, body], sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def read_manifest(path: Path) -> dict[str, Any]:
    """The checked manifest of a model folder."""
    path = standing(Path(path))
    if not (path / MANIFEST).is_file():
        there = "no such folder" if not path.exists() else f"no {MANIFEST} in it"
        raise PersistenceError(f"{path} is not a saved model: {there}.")
    try:
        written = (path / MANIFEST).read_bytes()
        manifest = json.loads(written.decode("utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise PersistenceError(f"{path / MANIFEST} cannot be read: {error}.") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        raise PersistenceError(f"{path / MANIFEST} is not a manifest of triptych.")
    if manifest["format"] > FORMAT:
        raise PersistenceError(
            f"{path} has format {manifest['format']}, newer than this triptych reads ({FORMAT}); "
            "install a newer triptych."
        )
    # Also what JSON does not mind, such as a changed space, says that somebody was here.
    if manifest.get("checksum") != _digest(_canonical(manifest)) or _text(manifest) != written:
        raise PersistenceError(f"{path / MANIFEST} was altered: its checksum does not match.")
    return manifest


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
    folder = standing(Path(path))
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
    given = dict((factories or {}).items())
    given.update({qualified_name(fn): fn for fn in (factories or {}).values()})
    own = {cls.__name__: cls for cls in classes}
    return Saved(
        cls=manifest["class"],
        parameters=decode(manifest["parameters"], arrays, given, own),
        learnt=decode(manifest["learnt"], arrays, given, own),
        versions=manifest["versions"],
    )
