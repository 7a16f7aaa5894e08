"""Every example is one short file that runs from an empty folder and says something."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import triptych

EXAMPLES = sorted(
    (Path(triptych.__file__).resolve().parents[2] / "examples").glob("*.py"),
    key=lambda path: path.name,
)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 2


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path: Path, tmp_path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) < 40
    run = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:triptych", str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(triptych.__file__).resolve().parents[1]),
            "TMPDIR": str(tmp_path),
        },
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()
