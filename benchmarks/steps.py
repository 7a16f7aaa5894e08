"""Steps of a long benchmark whose results are kept, so that the same command goes on."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("TRIPTYCH_DATA", HERE.parents[1] / "shared" / "data"))


class Steps:
    """Records by name, one JSON file each; a step done before is read, not done again.

    Args:
        topic: Name of the folder in ``benchmarks/.work``.
        seconds: No step is begun after so many.
    """

    def __init__(self, topic: str, seconds: float = float("inf")) -> None:
        self.folder, self.until = HERE / ".work" / topic, time.monotonic() + seconds

    def step(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The record of a step, and the seconds it took."""
        if (found := self.done(name)) is not None:
            return found
        if time.monotonic() > self.until:
            print(f"stopped before {name}; the same command goes on", flush=True)
            raise SystemExit(0)
        start = time.perf_counter()
        record = {**work(), "seconds": round(time.perf_counter() - start, 1)}
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name}.json"
        fresh = path.with_suffix(".part")
        fresh.write_text(json.dumps(record))
        fresh.rename(path)
        print(name, json.dumps(record), flush=True)
        return record

    def done(self, name: str) -> dict[str, Any] | None:
        """The record of a step that was done, or ``None``."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else None


def asked(about: str | None, parts: list[str]) -> argparse.Namespace:
    """What the command line says: run or table, which part, for how long, which seeds."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--only", choices=parts)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a small trial, kept apart")
    return parser.parse_args()


def mean_sd(values: list[float], digits: int = 1) -> str:
    """``mean ± standard deviation`` over seeds."""
    if not values:
        return ""
    mean = sum(values) / len(values)
    spread = (sum((v - mean) ** 2 for v in values) / max(len(values) - 1, 1)) ** 0.5
    return f"{mean:.{digits}f} ± {spread:.{digits}f}"
