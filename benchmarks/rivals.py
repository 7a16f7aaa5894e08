"""Speed beside peers: every rival a process of its own, runs interleaved, threads equal.

Peers conflict with one another and with us, so each set lives in a virtual environment below
``benchmarks/.peers`` (or the folder that ``TRIPTYCH_PEERS`` names), made once from the packages
written here. A benchmark writes one file per side that defines ``prepare`` (see ``worker.py``):

    with Rival("triptych", "ours_cca.py", n=1000) as ours, \
         Rival("cca-zoo", "zoo_cca.py", environment="main", n=1000) as zoo:
        rows = interleave({"triptych": (ours, "fit"), "cca-zoo": (zoo, "fit")}, repeats=5)
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).resolve().parent
PEERS = Path(os.environ.get("TRIPTYCH_PEERS", HERE / ".peers"))
TORCH = "torch==2.13.0"  # first and alone, so that nothing else chooses the build
# By environment: calls of pip install, in order.
PACKAGES: dict[str, list[list[str]]] = {
    "main": [
        [TORCH, "numpy", "scipy", "scikit-learn", "statsmodels", "psutil"],
        [TORCH, "cca-zoo==4.0.1", "infomeasure", "dit"],
        ["--no-deps", "npeet-plus"],
    ],
    "contrastive": [
        [TORCH],
        ["--no-deps", "torchvision==0.28.0"],
        [TORCH, "torchvision==0.28.0", "open_clip_torch", "pytorch-metric-learning", "lightly"],
    ],
    "multivae": [
        [TORCH],
        ["--no-deps", "torchvision==0.28.0"],
        [TORCH, "torchvision==0.28.0", "multivae==1.0.3"],
    ],
    "multiviewae": [
        [TORCH],
        ["--no-deps", "torchvision==0.28.0"],
        # Its Lightning names a setuptools that torch refuses.
        ["--no-deps", "multiviewae==1.1.8", "pytorch-lightning==1.5.10"],
        [
            *(TORCH, "torchvision==0.28.0", "hydra-core", "ordereddict", "pandas", "schema"),
            *(
                "scipy",
                "matplotlib",
                "tensorboard",
                "future",
                "pyDeprecate==0.3.1",
                "torchmetrics",
            ),
            *("fsspec[http]", "tqdm", "PyYAML", "packaging", "setuptools<81"),
        ],
    ],
    "search": [["numpy", "faiss-cpu==1.15.1"]],
    "mvlearn": [
        ["numpy<1.24", "scipy<1.11", "scikit-learn<1.3", "joblib", "matplotlib", "seaborn"],
        ["--no-deps", "mvlearn==0.5.0"],
    ],
}


def environment(name: str) -> Path:
    """The Python of a peers' environment, which is made first where it is not there."""
    folder = PEERS / name
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"setting up the peers of {name!r} in {folder} (once)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        for packages in PACKAGES[name]:
            subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
        (folder / "ready").touch()
    return python


class Rival:
    """One side of a benchmark, in a process of its own.

    Args:
        name: For messages.
        script: File with ``prepare``, beside the benchmark that starts it or absolute.
        environment: Name of a peers' environment; ``None`` for the Python that runs now.
        threads: Threads of every numerical library.
        arguments: Passed to ``prepare``.
    """

    def __init__(
        self,
        name: str,
        script: str | Path,
        *,
        environment: str | None = None,
        threads: int = 2,
        **arguments: Any,
    ) -> None:
        self.name = name
        path = Path(script)
        python = (
            sys.executable if environment is None else str(globals()["environment"](environment))
        )
        names = ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "NUMBA")
        env = {**os.environ, **{f"{n}_NUM_THREADS": str(threads) for n in names}}
        if environment is not None:
            env.pop("PYTHONPATH", None)
        self.process = subprocess.Popen(
            [python, str(HERE / "worker.py"), str(path.resolve()), json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        self.pieces = self._read()["pieces"]

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with {self.process.wait()}")
        record: dict[str, Any] = json.loads(line)
        return record

    def run(self, piece: str) -> dict[str, Any]:
        """One run of a piece: its record, or ``{"error": ...}``."""
        assert self.process.stdin is not None
        self.process.stdin.write(piece + "\n")
        self.process.stdin.flush()
        return self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class Timing:
    """Medians over the runs of one piece.

    Args:
        seconds: Wall time.
        cpu: CPU seconds of all threads.
        mib: Memory beyond what stood before.
        spread: Slowest over fastest run.
        value: What the last run returned.
        error: Why there is no time.
    """

    seconds: float = float("nan")
    cpu: float = float("nan")
    mib: float = float("nan")
    spread: float = float("nan")
    value: Any = None
    error: str | None = None


def interleave(
    pieces: Mapping[str, tuple[Rival, str]], *, repeats: int = 5, warm_up: int = 1
) -> dict[str, Timing]:
    """Run every piece in turn, ``repeats`` times after ``warm_up`` rounds that do not count."""
    records: dict[str, list[dict[str, Any]]] = {name: [] for name in pieces}
    failed: dict[str, str] = {}
    for turn in range(warm_up + repeats):
        for name, (rival, piece) in pieces.items():
            if name in failed:
                continue
            record = rival.run(piece)
            if "error" in record:
                failed[name] = record["error"]
            elif turn >= warm_up:
                records[name].append(record)
    found = {}
    for name, runs in records.items():
        if name in failed:
            found[name] = Timing(error=failed[name])
            continue
        times = [r["seconds"] for r in runs]
        found[name] = Timing(
            statistics.median(times),
            statistics.median(r["cpu"] for r in runs),
            statistics.median(r["mib"] for r in runs),
            max(times) / min(times),
            runs[-1]["value"],
        )
    return found


def heading(threads: int = 2) -> str:
    """Where and when: the line above a table of figures."""
    model = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    today, python = time.strftime("%Y-%m-%d"), platform.python_version()
    return f"{today}, {model}, {threads} threads, Python {python}"
