"""CPU time of `import triptych` and of the command's help, in fresh processes.

Run: python benchmarks/speed/import_time.py [repeats]
CPU time of user and system together, so that other work on the machine matters little.
"""

import os
import platform
import statistics
import subprocess
import sys
import time

HELP = "import sys; sys.argv = ['triptych', '--help']; from triptych.cli import main; main()"
CASES = {  # what: (code, limit in seconds)
    "python alone": ("", None),
    "import triptych": ("import triptych", 0.3),
    "triptych --help": (HELP, 0.7),
}


def cpu_s(code: str) -> float:
    """CPU seconds of one fresh interpreter that runs ``code``."""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"failed with exit code {child.returncode}: {code}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    times: dict[str, list[float]] = {what: [] for what in CASES}
    for code, _ in CASES.values():
        cpu_s(code)  # writes the byte code and warms the disk's cache; not counted
    for _ in range(repeats):  # interleaved: a slow minute slows every case
        for what, (code, _) in CASES.items():
            times[what].append(cpu_s(code))
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {repeats} runs each,")
    print(f"{time.strftime('%Y-%m-%d')}; CPU seconds")
    print(f"{'':18}{'median':>8}{'min':>8}{'max':>8}{'limit':>8}")
    late = []
    for what, (_, limit) in CASES.items():
        median = statistics.median(times[what])
        shown = "" if limit is None else f"{limit:.1f}"
        print(f"{what:18}{median:8.3f}{min(times[what]):8.3f}{max(times[what]):8.3f}{shown:>8}")
        if limit is not None and median > limit:
            late.append(what)
    if late:
        raise SystemExit(f"over its limit: {', '.join(late)}")


if __name__ == "__main__":
    main()
