"""Where a fit stands, on disk: enough to go on as if nothing had happened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, from_numpy

from triptych.errors import PersistenceError
from triptych.folders import standing, write_folder
from triptych.values import decode, encode

STATE = "state.json"
ARRAYS = "state.safetensors"


def save(folder: Path, state: Mapping[str, Any]) -> None:
    """Write a state of numbers, strings, tensors and mappings of them, atomically."""
    from safetensors.numpy import save as to_bytes

    arrays: dict[str, np.ndarray[Any, Any]] = {}
    body = encode(_arrays(state), arrays, "state")
    blob = to_bytes(arrays)
    text = json.dumps(body).encode()
    write_folder(folder, {STATE: text, ARRAYS: blob}, mark=STATE)


def load(folder: Path) -> dict[str, Any] | None:
    """The state last written there, tensors as tensors; ``None`` where there is none."""
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    folder = standing(Path(folder))
    if not folder.exists() or not any(folder.iterdir()):
        return None
    try:
        body = json.loads((folder / STATE).read_text(encoding="utf-8"))
        arrays = from_bytes((folder / ARRAYS).read_bytes())
    except (OSError, ValueError, SafetensorError) as error:
        raise PersistenceError(
            f"{folder} holds no checkpoint that can be read: {error}"
        ) from error
    state: dict[str, Any] = _tensors(decode(body, arrays, {}, {}))
    return state


def _arrays(value: Any) -> Any:
    if isinstance(value, Tensor):
        return np.array(value.detach().cpu().numpy())
    if isinstance(value, Mapping):
        return {str(k): _arrays(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_arrays(v) for v in value)
    return value


def _tensors(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return from_numpy(np.array(value))
    if isinstance(value, dict):
        return {k: _tensors(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_tensors(v) for v in value)
    return value
