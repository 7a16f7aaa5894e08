"""Neural estimators on staircases: 20-d Gaussian pairs of 2 to 10 nats, and their cubes.

Run: python benchmarks/truth/staircase.py run --batch 64 [--levels 2,6,10] [--seeds 2]
         [--bounds infonce,smile] [--tasks gaussian,cubic] [--seconds 240]
     python benchmarks/truth/staircase.py show
Every finished row goes to a file of JSON lines (--rows), so a run that was stopped goes on where
it was. Settings: 100,000 pairs (--pairs), 2,000 steps (--steps, rounded up to whole epochs) on
half of them, the house defaults otherwise, one thread. Known truth: x ~ N(0, I), y = rho x +
sqrt(1 - rho²) e in each of 20 columns, rho² = 1 - exp(-I / 10); cubes are y³, which keeps the
information. The spread is that of one batch: standard error times the root of their number.
"""

import argparse
import json
import math
import platform
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from triptych.information._neural import SETTINGS, estimate

D = 20
BOUNDS = ("infonce", "mine", "nwj", "smile", "club", "doe")
# Best critic, single batches: methods notes of this project, mean ± spread over 60 batches.
BEST = {
    (64, "infonce"): {2: "1.84", 6: "3.77", 10: "4.12"},
    (64, "mine"): {2: "2.04 ± .29", 6: "6.42 ± .65", 10: "11.3 ± 1.3"},
    (64, "nwj"): {2: "2.03 ± .29", 6: "6.25 ± .71", 10: "10.5 ± .9"},
    (512, "infonce"): {2: "1.98", 6: "4.94", 10: "6.05"},
    (512, "mine"): {2: "2.01 ± .08", 6: "6.02 ± .22", 10: "10.2 ± .46"},
    (512, "nwj"): {2: "2.01 ± .08", 6: "6.00 ± .23", 10: "10.1 ± .5"},
}


def staircase(task: str, level: float, seed: int, pairs: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (n, 20) and (n, 20) with ``level`` nats."""
    rng = np.random.default_rng([seed, int(level * 100)])
    x, noise = rng.standard_normal((2, pairs, D))
    square = -math.expm1(-2 * level / D)
    y = math.sqrt(square) * x + math.sqrt(1 - square) * noise
    return x, y**3 if task == "cubic" else y


def measured(
    task: str, level: float, bound: str, batch: int, seed: int, scale: str, pairs: int, steps: int
) -> dict:
    """One row: value, error, spread of one batch, seconds, warnings."""
    x, y = staircase(task, level, seed, pairs)
    start = time.process_time()
    found = estimate(
        x,
        y,
        bound=bound,
        steps=steps,
        scale=scale,
        training=replace(SETTINGS, batch_size=batch),
        random_state=seed,
    )
    batches = found.n_samples / batch
    return {
        "value": found.value,
        "standard_error": found.standard_error,
        "spread": found.standard_error * math.sqrt(batches),
        "seconds": time.process_time() - start,
        "warnings": list(found.warnings),
    }


def run(args: argparse.Namespace) -> None:
    """Measure what the file does not hold yet, until the time is up."""
    done = {tuple(row["key"]) for row in read(args.rows)}
    start = time.process_time()
    for seed in range(args.seeds):
        for level in args.levels.split(","):
            for task in args.tasks.split(","):
                for bound in args.bounds.split(","):
                    key = (task, float(level), bound, args.batch, seed, args.scale)
                    key += (args.pairs, args.steps)
                    if key in done:
                        continue
                    if time.process_time() - start > args.seconds:
                        print("time is up; the same command goes on")
                        return
                    row = {"key": key, **measured(*key)}
                    with args.rows.open("a") as file:
                        file.write(json.dumps(row) + "\n")
                    print(key, f"{row['value']:.2f}", f"{row['seconds']:.0f} s", flush=True)
    print("all there")


def read(path: Path) -> list[dict]:
    """Rows so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def show(args: argparse.Namespace) -> None:
    """The tables."""
    rows = read(args.rows)
    print(
        f"{time.strftime('%Y-%m-%d')}, {platform.processor() or platform.machine()}, "
        f"{torch.get_num_threads()} thread(s), torch {torch.__version__}\n"
    )
    groups: dict[tuple, dict] = {}
    levels = sorted({row["key"][1] for row in rows})
    for row in rows:
        task, level, bound, batch, _, scale, pairs, steps = row["key"]
        groups.setdefault((pairs, steps, batch, task, scale, bound), {}).setdefault(
            level, []
        ).append(row)
    print(
        "| pairs | steps | batch | task | bound |",
        " | ".join(f"{v:g} nats" for v in levels),
        "| CPU s |",
    )
    print("| --- | --- | --- | --- | --- |", " | ".join("---" for _ in levels), "| --- |")
    for (pairs, steps, batch, task, scale, bound), by_level in sorted(groups.items()):
        cells = []
        for level in levels:
            found = by_level.get(level, [])
            if not found:
                cells.append("")
                continue
            values = np.array([f["value"] for f in found])
            spread = np.mean([f["spread"] for f in found])
            cell = f"{values.mean():.2f} (bias {values.mean() - level:+.2f}, spread {spread:.2f}"
            cell += f", {len(values)} seeds)"
            if best := BEST.get((batch, bound), {}).get(int(level)):
                cell += f"; best critic {best}"
            cells.append(cell)
        seconds = np.median([f["seconds"] for v in by_level.values() for f in v])
        name = task if scale == "standard" else f"{task}, {scale}"
        print(
            f"| {pairs} | {steps} | {batch} | {name} | {bound} |",
            " | ".join(cells),
            f"| {seconds:.0f} |",
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("do", choices=("run", "show"))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--levels", default="2,6,10")
    parser.add_argument("--tasks", default="gaussian,cubic")
    parser.add_argument("--bounds", default=",".join(BOUNDS))
    parser.add_argument("--scale", default="standard")
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--rows", type=Path, default=Path("staircase.jsonl"))
    given = parser.parse_args()
    (run if given.do == "run" else show)(given)
