"""Folders that are written whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from triptych.errors import PersistenceError


def check_place(path: Path, mark: str) -> None:
    """Raise :class:`PersistenceError` where :func:`write_folder` would not put a folder."""
    if path.exists() and not path.is_dir():
        raise PersistenceError(f"cannot write {path}: a file of that name is in the way.")
    if path.is_dir() and any(path.iterdir()) and not (path / mark).is_file():
        raise PersistenceError(
            f"cannot write {path}: the folder holds other things (no {mark}); choose another."
        )


def write_folder(path: Path, files: Mapping[str, bytes], *, mark: str) -> None:
    """Put ``files`` into folder ``path`` all at once; on any failure the old folder is intact.

    Args:
        path: The folder.
        files: Contents by file name.
        mark: A file that an older folder of ours must hold to be replaced.
    """
    path = Path(path)
    check_place(path, mark)
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
    """Make the swap last through a power cut, where the file system can do that for folders."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with contextlib.suppress(OSError):  # the new folder stands already; nothing has failed
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def standing(path: Path) -> Path:
    """The folder itself, or its backup if a crash fell between two renames."""
    return _backup(path) if not path.exists() and _backup(path).exists() else path
