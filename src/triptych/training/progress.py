"""What a user sees of a fit while it runs, and how Ctrl-C reaches it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from triptych.training.history import History
from triptych.training.settings import Training


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Ctrl-C is seen between steps, where weights and optimiser agree; twice stops at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN:  # a job in a script's background, which Ctrl-C is not for
        yield stop
        return

    def wait(number: int, frame: Any) -> None:
        if stop.is_set() and callable(before):
            before(number, frame)
        stop.set()

    signal.signal(signal.SIGINT, wait)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def progress(
    settings: Training, total: int, shown: bool
) -> Iterator[Callable[[int, History], None]]:
    """Gives what is told of steps done and of the history; a bar on stderr where one is asked."""
    if not (settings.progress and shown):
        yield lambda steps, history: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("training"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("training", total=total, loss="")

        def advance(steps: int, history: History) -> None:
            losses = history.train.get("loss", [])
            bar.update(task, advance=steps, loss=f"loss {losses[-1]:.3f}" if losses else "")

        yield advance
