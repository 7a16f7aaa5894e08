"""A process that runs one rival's work when asked, and says what each run took.

Started by :mod:`rivals`, with the Python of the rival's own environment, so it imports nothing of
ours: python worker.py FILE JSON. FILE defines ``prepare(**JSON)``, which gives the pieces of work
by name (callables without arguments). Each line read names a piece; each line written is its
record: seconds, CPU seconds, MiB beyond what stood before, and what the piece returned.
"""

import contextlib
import importlib.util
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _mib(key: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    return float("nan")


def measured(piece: Callable[[], Any]) -> dict[str, Any]:
    """Run it once."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = _mib("VmRSS")
    cpu, wall = time.process_time(), time.perf_counter()
    value = piece()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"seconds": wall, "cpu": cpu, "mib": _mib("VmHWM") - before, "value": value}


def main() -> None:
    """Serve until the input ends."""
    out, sys.stdout = sys.stdout, sys.stderr  # what a library prints must not look like a record
    spec = importlib.util.spec_from_file_location("work", sys.argv[1])
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pieces = module.prepare(**json.loads(sys.argv[2]))
    print(json.dumps({"pieces": list(pieces)}), file=out, flush=True)
    for line in sys.stdin:
        try:
            record = measured(pieces[line.strip()])
        except Exception as error:
            record = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(record), file=out, flush=True)


if __name__ == "__main__":
    main()
