"""What a fit costs: seconds, memory, parameters."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

STATM = Path("/proc/self/statm")
PERIOD_S = 0.02


@dataclass(frozen=True)
class Resources:
    """What one call cost.

    Args:
        seconds: Wall-clock time.
        peak_bytes: Most memory that the call added to the process, see ``memory``.
        gpu_bytes: Most memory that torch held on its GPU, all told; ``None`` without one.
        memory: What ``peak_bytes`` is: ``"resident, sampled"`` is the largest resident set size
            seen every 20 ms, less that at the start, when memory that earlier calls freed is given
            back to the system where glibc can (elsewhere it is used again, unseen);
            ``"resident, high-water"`` is by how much the process's largest size so far grew, 0 if
            an earlier call needed more.
    """

    seconds: float
    peak_bytes: int
    gpu_bytes: int | None
    memory: str


class _Watch:
    """A thread that samples the resident set size; it costs microseconds a sample."""

    def __init__(self) -> None:
        self.sampled = STATM.exists()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.start = self.peak = 0

    def _now(self) -> int:
        if not self.sampled:
            return _high_water()
        import resource

        return int(STATM.read_text().split()[1]) * resource.getpagesize()

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_S):
            self.peak = max(self.peak, self._now())

    def __enter__(self) -> Self:
        _give_back()
        self.start = self.peak = self._now()
        if self.sampled:
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.sampled:
            self._stop.set()
            self._thread.join()
        self.peak = max(self.peak, self._now())


def measure(call: Callable[[], Any]) -> tuple[Any, Resources]:
    """Run ``call()`` and say what it cost.

    Only this process is seen: memory of child processes is not counted.

    Args:
        call: Without arguments, for instance ``lambda: model.fit(X)``.

    Returns:
        What the call returned, and its cost. An error of the call goes through.
    """
    cuda = _cuda()
    if cuda is not None:
        cuda.reset_peak_memory_stats()
    with _Watch() as watch:
        start = time.perf_counter()
        result = call()
        if cuda is not None:
            cuda.synchronize()
        seconds = time.perf_counter() - start
    return result, Resources(
        seconds=seconds,
        peak_bytes=max(0, watch.peak - watch.start),
        gpu_bytes=None if cuda is None else int(cuda.max_memory_allocated()),
        memory="resident, sampled" if watch.sampled else "resident, high-water",
    )


def _give_back() -> None:
    """Let go of garbage, and of memory that the allocator holds for later."""
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def _cuda() -> Any:
    # Measuring must not be what loads torch.
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_available() else None


def _high_water() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(most if sys.platform == "darwin" else most * 1024)
