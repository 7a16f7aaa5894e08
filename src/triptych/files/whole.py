"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from triptych.errors import FileError


def write_whole(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Let ``write`` fill a file that takes the place of ``path`` only when it is complete.

    Args:
        path: The file; missing folders above it are made.
        write: Writes to the binary file it is given.
    """
    fresh = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.new"
    try:
        if path.is_dir():
            raise IsADirectoryError(None, "a folder of that name is in the way")
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(fresh, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError as error:
        raise FileError(
            f"cannot write {path}: {error.strerror or error}. What was there before is unchanged."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink()
