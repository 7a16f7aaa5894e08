"""MultimodalVAE and MultimodalAutoencoder beside bare PyTorch, its products alone, and peers.

Run: python benchmarks/speed/fusion_steps.py [--rows N] [--repeats N] [--threads N] [--no-peers]

Two modalities of 784 columns, two hidden layers of 256 each way, codes of 32, batches of 512; one
epoch (see rivals/ours_fusion_steps.py). Targets: 0.9 of the bare loop's samples per second, 1.35
times multivae's (terms of both and of each) and 1.6 times multiviewae's (the joint term alone,
with "light" layers like its own: ReLU and no layer norm). The limit is the matrix products alone.
"""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEERS = (("multivae", "vae"), ("multiviewae", "light joint vae"))
SIZES = {"n": 60_000, "p": 784, "width": 256, "d": 32, "batch": 512}


def main() -> None:
    """Interleave, and print a table."""
    sys.path.insert(0, str(HERE.parent))
    from rivals import Rival, heading, interleave

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=SIZES["n"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-peers", action="store_true")
    given = parser.parse_args()
    sizes, threads = {**SIZES, "n": given.rows}, given.threads
    script = HERE / "rivals" / "ours_fusion_steps.py"
    with ExitStack() as stack:
        ours = stack.enter_context(Rival("triptych", script, threads=threads, **sizes))
        names = ("vae", "joint vae", "light joint vae", "autoencoder")
        work = {
            n: (ours, n) for name in names for n in (name, f"bare {name}", f"products of {name}")
        }
        for peer, piece in () if given.no_peers else PEERS:
            file = HERE / "rivals" / f"{peer}_fusion_steps.py"
            rival = Rival(peer, file, environment=peer, threads=threads, **sizes)
            work[f"{peer} {piece}"] = (stack.enter_context(rival), piece)
        found = interleave(work, repeats=given.repeats, warm_up=1)
    print(f"{heading(threads)}; {sizes}\n")
    print("| work | samples/s | CPU s | ours, times as many samples/s | slowest / fastest |")
    print("| --- | --- | --- | --- | --- |")
    for name, t in found.items():
        if t.error:
            print(f"| {name} | {t.error} | | | |")
            continue
        own = found[max((n for n in names if name.endswith(n)), key=len)]
        print(
            f"| {name} | {given.rows / t.seconds:.0f} | {t.cpu:.2f} | "
            f"{t.seconds / own.seconds:.2f} | {t.spread:.2f} |"
        )


if __name__ == "__main__":
    main()
