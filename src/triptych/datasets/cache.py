"""Arrays that are made once and kept in the user's cache folder."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.files.whole import write_whole


def cache_folder() -> Path:
    """Where made data are kept: ``TRIPTYCH_CACHE``, else ``triptych`` in the user's cache folder.

    The user's cache folder is ``XDG_CACHE_HOME``, else the system's custom: ``~/.cache``,
    ``~/Library/Caches`` on a Mac, ``LOCALAPPDATA`` on Windows.
    """
    if own := os.environ.get("TRIPTYCH_CACHE"):
        return Path(own)
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "triptych"
    if sys.platform == "darwin":
        return Path(os.path.expanduser("~/Library/Caches/triptych"))
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "triptych"
    return Path(os.path.expanduser("~/.cache/triptych"))


def cached(
    path: Path,
    make: Callable[[], Mapping[str, NDArray[Any]]],
    good: Callable[[Mapping[str, NDArray[Any]]], bool],
) -> Mapping[str, NDArray[Any]]:
    """What the file holds if it is whole, else what ``make`` gives, which is then kept.

    Nothing depends on the cache: a damaged file is made again, and a folder that cannot be
    written is done without.

    Args:
        path: An ``.npz`` file; its name must change when what ``make`` gives would.
        make: Makes the arrays.
        good: Whether arrays read from the file have the right names, types and shapes.
    """
    # Whatever is wrong with a cached file, making the arrays again is the answer.
    with (
        contextlib.suppress(Exception),
        np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file,
    ):
        arrays = {name: file[name] for name in file.files}
        if good(arrays):
            return arrays
    arrays = dict(make())
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    with contextlib.suppress(OSError):
        write_whole(path, lambda file: file.write(buffer.getbuffer()))
    return arrays
