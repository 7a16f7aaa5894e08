"""EarlyFusion's step beside its products alone and a plain cell; its loop; log-mel features.

Run: python benchmarks/speed/early_fusion.py [--side N] [--repeats N] [--threads N]

Two layers of 16 channels on maps of 7 × 7 (``--side``), 16 steps of 32 bands, batches of 64;
forward and backward (see rivals/ours_early_fusion.py). Targets: a step takes at most 1.4 times
what its convolutions and matrix products take alone, on as many numbers, and less than a plainly
written cell; the training loop does 0.9 of a bare loop's rows per second with the same network;
features of the 3,000 spoken digits, moments learnt first, take less than 5 s.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SIZES = {"batch": 64, "steps": 16, "width": 16, "bands": 32, "n": 640}


def main() -> None:
    """Interleave, and print a table."""
    sys.path.insert(0, str(HERE.parent))
    from rivals import Rival, heading, interleave

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=7)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    sizes = {**SIZES, "side": given.side}
    script = HERE / "rivals" / "ours_early_fusion.py"
    with Rival("triptych", script, threads=given.threads, **sizes) as ours:
        small = ("step", "products alone", "plain cell")
        found = interleave({n: (ours, n) for n in small}, repeats=given.repeats, warm_up=2)
        loops = {n: (ours, n) for n in ("epoch", "bare epoch")}
        found |= interleave(loops, repeats=max(3, given.repeats // 3))
        found |= interleave({"features": (ours, "features")}, repeats=3)
    print(f"{heading(given.threads)}; {sizes}\n")
    step = found["step"].seconds
    beside = {
        "products alone": f"step / this: {step / found['products alone'].seconds:.2f} (≤ 1.4)",
        "plain cell": f"this / step: {found['plain cell'].seconds / step:.2f} (> 1)",
        "bare epoch": "this / epoch: "
        f"{found['bare epoch'].seconds / found['epoch'].seconds:.2f} (≥ 0.9)",
        "features": f"{found['features'].value} in less than 5 s",
    }
    print("| work | ms | CPU ms | slowest / fastest | target |\n| --- | --- | --- | --- | --- |")
    for name, t in found.items():
        if t.error:
            print(f"| {name} | {t.error} | | | |")
            continue
        print(
            f"| {name} | {1000 * t.seconds:.1f} | {1000 * t.cpu:.1f} | {t.spread:.2f} | "
            f"{beside.get(name, '')} |"
        )


if __name__ == "__main__":
    main()
