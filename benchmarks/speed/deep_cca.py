"""The deep CCA loss and a training step, beside cca-zoo's loss and the products that they need.

python benchmarks/speed/deep_cca.py [--n 1000] [--d 50]
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from rivals import Rival, heading, interleave  # noqa: E402


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--d", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args()
    arguments = {"n": given.n, "d": given.d}
    with (
        Rival("ours", HERE / "rivals/ours_deep_cca.py", threads=given.threads, **arguments) as us,
        Rival(
            "cca-zoo",
            HERE / "rivals/zoo_deep_cca.py",
            environment="main",
            threads=given.threads,
            **arguments,
        ) as zoo,
    ):
        pieces = {piece: (us, piece) for piece in us.pieces} | {"cca-zoo": (zoo, "squares")}
        found = interleave(pieces, repeats=given.repeats)
    print(f"{heading(given.threads)}; n = {given.n:,}, d = {given.d}\n")
    print("| piece | ms | beside its products | beside cca-zoo | value |")
    print("| --- | --- | --- | --- | --- |")
    for name, timing in found.items():
        once = name.endswith("step")
        limit = found["products of the step" if once else "products of the loss"].seconds
        zoos = "" if once else f"{found['cca-zoo'].seconds / timing.seconds:.2f} x as fast"
        milliseconds = 1000 * timing.seconds / (1 if once else 20)
        value = "" if timing.value is None else f"{timing.value:.4f}"
        print(
            f"| {name} | {timing.error or f'{milliseconds:.2f}'} | {timing.seconds / limit:.2f} "
            f"| {zoos} | {value} |"
        )


if __name__ == "__main__":
    main()
