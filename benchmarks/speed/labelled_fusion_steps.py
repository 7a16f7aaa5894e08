"""Fusions with labels beside the same steps written out in PyTorch.

Run: python benchmarks/speed/labelled_fusion_steps.py [--rows N] [--repeats N] [--threads N]

Two modalities of 256 columns, encoders with two hidden layers of 256, codes of 32, batches of 256;
one epoch (see rivals/ours_labelled_fusion_steps.py). Target: 0.9 of the bare loop's samples per
second.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SIZES = {"n": 16_384, "p": 256, "width": 256, "d": 32, "batch": 256}
WORK = ("concat", "attention", "gated", "tensor", "low rank", "film", "late")


def main() -> None:
    """Interleave, and print a table."""
    sys.path.insert(0, str(HERE.parent))
    from rivals import Rival, heading, interleave

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=SIZES["n"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    sizes, threads = {**SIZES, "n": given.rows}, given.threads
    script = HERE / "rivals" / "ours_labelled_fusion_steps.py"
    with Rival("triptych", script, threads=threads, **sizes) as ours:
        names = [name for work in WORK for name in (work, f"bare {work}")]
        found = interleave({n: (ours, n) for n in names}, repeats=given.repeats, warm_up=1)
    print(f"{heading(threads)}; {sizes}\n")
    print("| work | samples/s | CPU s | of the bare loop's | slowest / fastest |")
    print("| --- | --- | --- | --- | --- |")
    for name, t in found.items():
        if t.error:
            print(f"| {name} | {t.error} | | | |")
            continue
        bare = found[name if name.startswith("bare") else f"bare {name}"]
        print(
            f"| {name} | {given.rows / t.seconds:.0f} | {t.cpu:.2f} | "
            f"{bare.seconds / t.seconds:.2f} | {t.spread:.2f} |"
        )


if __name__ == "__main__":
    main()
