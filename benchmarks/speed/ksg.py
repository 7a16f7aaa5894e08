"""Information by nearest neighbours beside npeet-plus, scikit-learn and infomeasure.

Run: python benchmarks/speed/ksg.py [small] [line] [plane] [five] [million]
Interleaved, every side in a process of its own, two threads, medians; k = 3. Targets: n = 100,000
in 1 + 1 columns at least 2.5 times faster than npeet-plus and 4 times than scikit-learn, in 2 + 2
1.5 times and in 5 + 5 2.5 times the fastest peer; never below 0.9 of a peer at n <= 10,000;
n = 1,000,000 in 1 + 1 below 10 s.
"""

import sys
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rivals import Rival, heading, interleave

RIVALS = Path(__file__).parent / "rivals"
PEERS = ("npeet", "sklearn", "infomeasure")
# By part: (rows, columns of each side), repeats, peers that take part.
PARTS = {
    "small": (
        [(n, d) for n in (300, 1_000, 3_000, 10_000) for d in (1, 2, 5)],
        7,
        PEERS,
    ),
    "line": ([(100_000, 1)], 7, PEERS),
    "plane": ([(100_000, 2)], 5, ("npeet", "infomeasure")),
    "five": ([(100_000, 5)], 1, ("npeet",)),
    "million": ([(1_000_000, 1)], 1, ()),
}


def main():
    """Print a table for every part asked for."""
    for part in sys.argv[1:] or PARTS:
        sizes, repeats, peers = PARTS[part]
        with ExitStack() as stack:
            sides = {
                "triptych": stack.enter_context(
                    Rival("triptych", RIVALS / "ours_ksg.py", sizes=sizes)
                )
            }
            for peer in peers:
                sides[peer] = stack.enter_context(
                    Rival(peer, RIVALS / f"{peer}_ksg.py", environment="main", sizes=sizes)
                )
            print(f"\n{part}: {heading()}\n")
            print("| n | columns | triptych s | CPU s | MiB | nats | " + " | ".join(peers) + " |")
            print("| --- " * (6 + len(peers)) + "|")
            for n, d in sizes:
                taking = {
                    name: (side, f"{n} {d}")
                    for name, side in sides.items()
                    if d == 1 or name != "sklearn"
                }
                found = interleave(taking, repeats=repeats, warm_up=int(repeats > 1))
                ours = found["triptych"]
                cells = [
                    f"{found[p].seconds:.4f} s, {found[p].seconds / ours.seconds:.2f} × "
                    f"(CPU {found[p].cpu / ours.cpu:.2f} ×)"
                    if p in found and found[p].error is None
                    else (found[p].error if p in found else "–")
                    for p in peers
                ]
                print(
                    f"| {n:,} | {d} + {d} | {ours.seconds:.4f} | {ours.cpu:.4f} | "
                    f"{ours.mib:.0f} | {ours.value:.4f} | " + " | ".join(cells) + " |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
