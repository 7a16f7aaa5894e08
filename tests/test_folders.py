"""Folders are written whole or not at all: full disk, killed process, things in the way."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import triptych
from triptych import folders
from triptych.errors import PersistenceError
from triptych.folders import standing, write_folder

OLD = {"mark": b"old", "body": b"o" * 1000}
NEW = {"mark": b"new", "body": b"n" * 2000}


def held(path):
    return {p.name: p.read_bytes() for p in standing(path).iterdir()}


@pytest.fixture
def place(tmp_path):
    write_folder(tmp_path / "model", OLD, mark="mark")
    return tmp_path / "model"


def test_a_folder_is_replaced_and_nothing_else_is_left(place):
    write_folder(place, NEW, mark="mark")
    assert held(place) == NEW
    assert os.listdir(place.parent) == ["model"]


@pytest.mark.parametrize(
    ("call", "count"), [("mkdir", 2), ("fsync", 1), ("fsync", 2), ("rename", 1), ("rename", 2)]
)
def test_a_full_disk_leaves_the_old_folder(place, monkeypatch, call, count):
    if call == "rename":
        monkeypatch.setattr(folders, "_exchange", lambda a, b: False)
    real, calls = getattr(os, call), []

    def full(*args, **kwargs):
        calls.append(args)
        if len(calls) == count:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*args, **kwargs)

    monkeypatch.setattr(os, call, full)
    with pytest.raises(PersistenceError, match=r"cannot write .*No space left on device"):
        write_folder(place, NEW, mark="mark")
    assert held(place) == OLD
    assert not [n for n in os.listdir(place.parent) if n.endswith(".new")]


def test_a_crash_between_two_renames_is_read_from_the_backup(place, monkeypatch):
    monkeypatch.setattr(folders, "_exchange", lambda a, b: False)
    os.rename(place, place.parent / ".model.old")
    assert held(place) == OLD
    write_folder(place, NEW, mark="mark")
    assert held(place) == NEW


def test_what_is_not_ours_stays(tmp_path):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(PersistenceError, match="a file of that name is in the way"):
        write_folder(tmp_path / "file", NEW, mark="mark")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter").write_bytes(b"mine")
    with pytest.raises(PersistenceError, match="holds other things"):
        write_folder(tmp_path / "other", NEW, mark="mark")
    assert held(tmp_path / "other") == {"letter": b"mine"}
    with pytest.raises(PersistenceError, match="cannot write"):
        write_folder(tmp_path / "file" / "model", NEW, mark="mark")


SAVING = """
import sys
from pathlib import Path
from test_folders import NEW, OLD
from triptych.folders import write_folder
while True:
    for files in (NEW, OLD):
        write_folder(Path(sys.argv[1]), files, mark="mark")
        print("saved", flush=True)
"""


@pytest.mark.parametrize("wait", [0.0, 0.003, 0.011])
def test_a_killed_process_leaves_the_old_or_the_new(place, wait):
    paths = [str(Path(triptych.__file__).parents[1]), str(Path(__file__).parent)]
    process = subprocess.Popen(
        [sys.executable, "-c", SAVING, str(place)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process.stdout as said:
        assert said.readline() == b"saved\n"
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
    assert held(place) in (OLD, NEW)
