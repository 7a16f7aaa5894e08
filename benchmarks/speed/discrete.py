"""Discrete entropy and mutual information of small whole numbers beside NumPy and peers.

Run: python benchmarks/speed/discrete.py [--n 10000000] [--categories 10] [--repeats 5]
One process per side, runs interleaved, equal threads, medians of wall time. "np.bincount" is the
passes that the answer needs and nothing else. Targets: at most 2 times these, and at least 10
times faster than each peer.
"""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from rivals import Rival, heading, interleave  # noqa: E402

PEERS = ("scikit-learn", "infomeasure", "dit")


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--n", type=int, default=10_000_000)
    ask.add_argument("--categories", type=int, default=10)
    ask.add_argument("--dtype", default="int64")
    ask.add_argument("--repeats", type=int, default=5)
    given = ask.parse_args()
    print(f"### Discrete, {given.n:,} rows, {given.categories} categories, {given.dtype}")
    print(f"{heading()}\n")
    print("| quantity | side | median | times np.bincount | triptych is faster by |")
    print("|---|---|---|---|---|")
    data = {"n": given.n, "categories": given.categories, "dtype": given.dtype}
    folder = HERE / "rivals"
    with ExitStack() as stack:
        open_ = stack.enter_context
        sides = {
            "np.bincount": open_(Rival("numpy", folder / "numpy_discrete.py", **data)),
            "triptych": open_(Rival("triptych", folder / "ours_discrete.py", **data)),
        }
        for peer in PEERS:
            script = folder / "peers_discrete.py"
            sides[peer] = open_(Rival(peer, script, environment="main", peer=peer, **data))
        for quantity in ("entropy", "information"):
            found = interleave(
                {name: (side, quantity) for name, side in sides.items()}, repeats=given.repeats
            )
            base, ours = found["np.bincount"], found["triptych"]
            for name, timing in found.items():
                if timing.error:
                    print(f"| {quantity} | {name} | {timing.error} | | |")
                    continue
                assert abs(timing.value - ours.value) < 1e-6, (name, timing.value, ours.value)
                print(
                    f"| {quantity} | {name} | {timing.seconds:.4f} s | "
                    f"{timing.seconds / base.seconds:.2f} | {timing.seconds / ours.seconds:.1f} |"
                )


if __name__ == "__main__":
    main()
