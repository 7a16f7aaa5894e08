"""Kernel CCA beside its peers and beside the matrix products that it cannot avoid.

Run: python benchmarks/speed/kernel_cca.py exact|fourier|nystroem [--peers] [--repeats N]

The limit of exact kernel CCA is X X^T, Y Y^T and K_x K_y in double precision; that of features is
X W, Y W and the three products of moments, in single precision by blocks, without the cosines or
exponentials and without what makes Nyström's features orthonormal.
"""

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
KINDS: dict[str, dict[str, Any]] = {
    "exact": {"n": 2000, "p": 100, "d": 10, "ridge": 1e-3, "dtype": "float64"},
    "fourier": {
        "n": 50_000,
        "p": 256,
        "d": 10,
        "ridge": 1e-4,
        "dtype": "float32",
        "features": 2000,
    },
    "nystroem": {
        "n": 50_000,
        "p": 256,
        "d": 10,
        "ridge": 1e-4,
        "dtype": "float32",
        "features": 1000,
    },
}


def main() -> None:
    """Interleave, and print a table."""
    sys.path.insert(0, str(HERE.parent))
    from rivals import Rival, heading, interleave

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=list(KINDS))
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=1)
    parser.add_argument("--rows", type=int, help="fewer, to try the script")
    given = parser.parse_args()
    sizes = {**KINDS[given.kind], "kind": given.kind}
    if given.rows:
        sizes["n"] = given.rows
    sizes["width"] = sizes["p"] ** 0.5  # about half the median distance of these rows
    with ExitStack() as stack:

        def side(name: str, script: str, environment: str | None = None) -> Rival:
            path = HERE / "rivals" / script
            return stack.enter_context(Rival(name, path, environment=environment, **sizes))

        ours = side("triptych", "ours_kernel_cca.py")
        pieces = {"limit": (ours, "limit"), "triptych": (ours, "fit")}
        if given.peers and given.kind == "exact":
            for name, script, where in (
                ("mvlearn", "mvlearn_kernel_cca.py", "mvlearn"),
                ("cca-zoo", "zoo_kernel_cca.py", "main"),
            ):
                pieces[name] = (side(name, script, where), "fit")
        elif given.peers and given.kind == "nystroem":
            rival = side("scikit-learn + cca-zoo", "zoo_nystroem_cca.py", "main")
            pieces["scikit-learn + cca-zoo"] = (rival, "fit")
        found = interleave(pieces, repeats=given.repeats, warm_up=given.warm_up)
    print(f"{heading()}; {sizes}\n")
    print("| work | seconds | CPU s | over the limit | over triptych | MiB | slowest / fastest |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    limit, mine = found["limit"].seconds, found["triptych"].seconds
    for name, t in found.items():
        if t.error:
            print(f"| {name} | {t.error} | | | | | |")
            continue
        print(
            f"| {name} | {t.seconds:.3f} | {t.cpu:.2f} | {t.seconds / limit:.2f} | "
            f"{t.seconds / mine:.2f} | {t.mib:.0f} | {t.spread:.2f} |"
        )


if __name__ == "__main__":
    main()
