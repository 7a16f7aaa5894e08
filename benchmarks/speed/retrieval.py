"""Exact search by cosine beside NumPy's product and argpartition, and beside faiss's flat index.

Run: python benchmarks/speed/retrieval.py [small] [large]
Interleaved, every side in a process of its own, two threads, medians; the 10 nearest of each
query, codes of length one in float32 that stand ready on every side. Targets: not slower than
NumPy from 1,000 rows on, and memory that does not grow with rows times queries.
"""

import sys
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rivals import Rival, heading, interleave

RIVALS = Path(__file__).parent / "rivals"
SIDES = {"triptych": None, "numpy": None, "faiss": "search"}
# By part: (queries, rows, columns), repeats.
PARTS = {
    "small": ([(1, 1_000, 64), (100, 1_000, 64), (1_000, 10_000, 128), (1, 100_000, 128)], 7),
    "large": ([(1_000, 100_000, 256)], 3),
}


def main():
    """Print a table for every part asked for."""
    for part in sys.argv[1:] or PARTS:
        sizes, repeats = PARTS[part]
        with ExitStack() as stack:
            sides = {
                name: stack.enter_context(
                    Rival(name, RIVALS / f"{name}_retrieval.py", environment=where, sizes=sizes)
                )
                for name, where in SIDES.items()
            }
            print(f"\n{part}: {heading()}\n")
            print(
                "| queries | rows | columns | "
                + " | ".join(f"{name} ms | MiB" for name in SIDES)
                + " |"
            )
            print("| --- " * 9 + "|")
            for size in sizes:
                piece = " ".join(map(str, size))
                found = interleave({n: (s, piece) for n, s in sides.items()}, repeats=repeats)
                ours = found["triptych"]
                cells = []
                for name, one in found.items():
                    if one.error is not None:
                        cells.append(f"{one.error} | –")
                        continue
                    times = "" if name == "triptych" else f" ({one.seconds / ours.seconds:.2f} ×)"
                    same = "" if one.value == ours.value else ", other rows found"
                    cells.append(f"{1e3 * one.seconds:.2f}{times}{same} | {one.mib:.0f}")
                q, n, d = size
                print(f"| {q:,} | {n:,} | {d} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
