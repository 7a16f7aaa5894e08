"""Intact space beside the batched Cholesky solves and products that its passes cannot avoid.

Run: python benchmarks/speed/intact_space.py [--repeats N] [--rows N]

``fit`` reads and scales the data, starts from singular vectors, and makes 50 passes; the limit is
what 50 passes cannot avoid alone (see rivals/ours_intact_space.py). Target: a ratio of at most 2.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SIZES = {"n": 10_000, "p": 200, "m": 3, "d": 50, "passes": 50, "wrong": 0.05}


def main() -> None:
    """Interleave, and print a table."""
    sys.path.insert(0, str(HERE.parent))
    from rivals import Rival, heading, interleave

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--rows", type=int, default=SIZES["n"])
    given = parser.parse_args()
    sizes = {**SIZES, "n": given.rows}
    with Rival("triptych", HERE / "rivals" / "ours_intact_space.py", **sizes) as ours:
        pieces = {"limit": (ours, "limit"), "triptych": (ours, "fit")}
        found = interleave(pieces, repeats=given.repeats, warm_up=given.warm_up)
    print(f"{heading()}; {sizes}; {found['triptych'].value}\n")
    print("| work | seconds | CPU s | over the limit | MiB | slowest / fastest |")
    print("| --- | --- | --- | --- | --- | --- |")
    limit = found["limit"].seconds
    for name, t in found.items():
        if t.error:
            print(f"| {name} | {t.error} | | | | |")
            continue
        print(
            f"| {name} | {t.seconds:.2f} | {t.cpu:.2f} | {t.seconds / limit:.2f} | "
            f"{t.mib:.0f} | {t.spread:.2f} |"
        )


if __name__ == "__main__":
    main()
