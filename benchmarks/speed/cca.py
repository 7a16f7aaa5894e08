"""Linear CCA: time, memory and error beside the products no solver can avoid, and beside peers.

Run: python benchmarks/speed/cca.py WHICH [repeats] [peers] [tiny]
"peers" adds them to 200k, and "tiny" tries the script on a hundredth of the rows.
WHICH is one of 10k, 100k-float32, 100k-float64, 200k-float32, 200k-float64, wide, condition,
single, file, dask. The limit (X^T X, Y^T Y, X^T Y; for wide data X X^T, Y Y^T) is timed in the
same process as ours; all sides interleave, with two threads each. Peers of other versions of
NumPy run in their own environments (``benchmarks/rivals.py``). ``file`` writes 8 GB into the
folder TRIPTYCH_SCRATCH (or that for temporary files) and takes it away again; ``dask`` needs the
package distributed.
"""

import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from rivals import Rival, heading, interleave
from worker import measured

HERE = Path(__file__).resolve().parent / "rivals"
LESS = 100 if "tiny" in sys.argv else 1
THREADS = 1 if "tiny" in sys.argv else 2


def beside_peers(
    title: str, ours: dict[str, Any], peers: dict[str, dict[str, Any]], repeats: int
) -> None:
    """A table of medians and ratios."""
    files = {
        "cca-zoo 4.0.1": ("zoo_cca.py", "main"),
        "mvlearn 0.5.0": ("mvlearn_cca.py", "mvlearn"),
        "scikit-learn": ("sklearn_cca.py", "main"),
    }
    with ExitStack() as stack:
        mine = stack.enter_context(
            Rival("triptych", HERE / "ours_cca.py", threads=THREADS, **ours)
        )
        pieces = {"limit": (mine, "limit"), "triptych": (mine, "fit")}
        for name, arguments in peers.items():
            script, environment = files[name]
            rival = Rival(
                name, HERE / script, environment=environment, threads=THREADS, **arguments
            )
            pieces[name] = (stack.enter_context(rival), "fit")
        rows = interleave(pieces, repeats=repeats)
    print(f"\n{title} ({heading(THREADS)}; {repeats} runs)\n")
    print("| | wall s | × limit | × triptych | extra MiB | slowest / fastest |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, row in rows.items():
        if row.error:
            print(f"| {name} | {row.error[:60]} | | | | |")
            continue
        print(
            f"| {name} | {row.seconds:.3f} | {row.seconds / rows['limit'].seconds:.2f} | "
            f"{row.seconds / rows['triptych'].seconds:.2f} | {row.mib:.0f} | {row.spread:.2f} |"
        )


def tall(n: int, p: int, kind: str, peers: list[str], repeats: int) -> None:
    n = max(n // LESS, 2 * p + 100)
    shape = {"n": n, "p": p, "q": p, "kind": kind}
    beside_peers(
        f"fit at {n:,} × {p} × {p}, {kind}, all components",
        shape,
        {name: {**shape, "d": 2 if name == "scikit-learn" else p} for name in peers},
        repeats,
    )


def wide(repeats: int) -> None:
    p = 20_000 // min(LESS, 10)
    shape = {"n": 1000 // min(LESS, 5), "p": p, "q": p, "d": 10}
    beside_peers(
        f"ridge CCA at {shape['n']:,} × {p:,} × {p:,}, float64, 10 components",
        {**shape, "ridge": 0.5},
        {"cca-zoo 4.0.1": {**shape, "ridge": 0.5}},
        repeats,
    )


def bent(n: int, p: int, condition: float, seed: int = 0) -> tuple[Any, Any, Any]:
    """Modalities of a given condition, and the correlations of exactly these numbers.

    The reference is QR with extended precision (Gram-Schmidt twice in np.longdouble).
    """
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=(n, p))
    sides = []
    for noise in (0.5, 1.0):
        Z = shared + noise * rng.normal(size=(n, p)) * np.linspace(0.2, 3, p)
        Z = np.linalg.qr(Z - Z.mean(axis=0))[0] * math.sqrt(n)
        U, V = (np.linalg.qr(rng.normal(size=(p, p)))[0] for _ in range(2))
        sides.append(Z @ (U * np.logspace(0, -math.log10(condition), p)) @ V)
    Qa, Qb = (_extended(side) for side in sides)
    return *sides, np.linalg.svd((Qa.T @ Qb).astype(float), compute_uv=False)


def _extended(X: Any) -> Any:
    Q = X.astype(np.longdouble)
    Q -= Q.mean(axis=0)
    for j in range(Q.shape[1]):
        for _ in range(2):
            Q[:, j] -= Q[:, :j] @ (Q[:, :j].T @ Q[:, j])
        Q[:, j] /= np.sqrt((Q[:, j] ** 2).sum())
    return Q


def condition(repeats: int) -> None:
    """Error at rising condition on small data with an extended reference, and time on large."""
    from triptych.coordination import CCA

    print(f"\nerror of the correlations, 4,000 × 24 × 24, float64, auto ({heading(THREADS)})\n")
    print("| condition | solver | largest error | error_bound_ |")
    print("| --- | --- | --- | --- |")
    for power in (0, 2, 4, 6, 8, 10, 12):
        X, Y, rho = bent(4000, 24, 10.0**power)
        for solver in ("auto", "refined", "svd"):
            model = CCA(solver=solver).fit({"a": X, "b": Y})
            error = np.abs(
                model.all_correlations_[: len(rho)] - rho[: len(model.all_correlations_)]
            ).max()
            bound = f"{error:.1e} | {model.error_bound_:.1e}"
            print(f"| 1e{power} | {solver}: {model.solver_} | {bound} |")
    rng, n = np.random.default_rng(0), 100_000 // min(LESS, 50)
    X, Y = rng.normal(size=(2, n, 256))
    bend = np.linalg.qr(rng.normal(size=(256, 256)))[0]
    for power in (6, 8, 12):
        A = X @ (bend * np.logspace(0, -power, 256)) @ bend.T
        limit, fit = _in_turn(
            [lambda A=A: _products(A, Y), lambda A=A: CCA().fit({"a": A, "b": Y})], repeats
        )
        ratio = f"{fit / limit:.2f} × the limit ({limit:.2f} s)"
        print(f"\n{n:,} × 256 × 256 float64 at condition 1e{power}: {ratio}")


def single(repeats: int) -> None:
    """float32 against the exact answer for the same numbers; a large mean."""
    from triptych.coordination import CCA

    sys.path.insert(0, str(HERE))
    from data_cca import draw

    print(f"\nfloat32 and large means ({heading(THREADS)})\n")
    print("| data | solver | largest error | error_bound_ |")
    print("| --- | --- | --- | --- |")
    for n, p in ((50_000 // min(LESS, 50), 256), (100_000 // min(LESS, 50), 256)):
        X, Y = draw(n, p, p, "float32")
        bent_ = X @ (np.eye(p) + 0.3 * np.random.default_rng(1).normal(size=(p, p)) / 4).astype(
            "float32"
        )
        for name, A in (
            ("well-conditioned", X),
            (f"condition {np.linalg.cond(bent_):.0f}", bent_),
        ):
            exact = CCA(solver="refined").fit({"a": A.astype(float), "b": Y.astype(float)})
            model = CCA().fit({"a": A, "b": Y})
            error = np.abs(model.correlations_ - exact.correlations_).max()
            bound = f"{model.solver_} | {error:.1e} | {model.error_bound_:.1e}"
            print(f"| {n:,} × {p} × {p} float32, {name} | {bound} |")
    X, Y = (side.astype(float) for side in draw(20_000, 64, 64, "float64"))
    far = X + 1e6
    exact = CCA(solver="svd").fit({"a": far - 1e6, "b": Y})  # exact: both are the same numbers
    model = CCA().fit({"a": far, "b": Y})
    error = np.abs(model.correlations_ - exact.correlations_).max()
    bound = f"{model.solver_} | {error:.1e} | {model.error_bound_:.1e}"
    print(f"| 20,000 × 64 × 64 float64, mean 1e6 | {bound} |")


def _products(X: Any, Y: Any) -> None:
    for A, B in ((X, X), (Y, Y), (X, Y)):
        A.T @ B


def _in_turn(pieces: list[Callable[[], Any]], repeats: int) -> list[float]:
    times: list[list[float]] = [[] for _ in pieces]
    for turn in range(repeats + 1):
        for piece, into in zip(pieces, times, strict=True):
            start = time.perf_counter()
            piece()
            if turn:
                into.append(time.perf_counter() - start)
    return [statistics.median(each) for each in times]


def file(_: int) -> None:
    """4,000,000 rows of 256 + 256 float32 from files, and the rate of 400,000 in memory."""
    from triptych.coordination import CCA

    sys.path.insert(0, str(HERE))
    from data_cca import draw

    n, part = 4_000_000 // LESS, 400_000 // LESS
    X, Y = draw(part, 256, 256, "float32")
    held = {"a": X, "b": Y}
    CCA().fit({m: v[:50_000] for m, v in held.items()})
    memory = statistics.median(
        measured(lambda: (CCA().fit(held), None)[1])["seconds"] for _ in range(3)
    )
    with tempfile.TemporaryDirectory(dir=os.environ.get("TRIPTYCH_SCRATCH")) as folder:
        for name, side in (("a", X), ("b", Y)):
            out = np.lib.format.open_memmap(f"{folder}/{name}.npy", "w+", np.float32, (n, 256))
            for low in range(0, n, part):
                out[low : low + part] = side
                out[low] += low / n  # so that no two parts are the same
            out.flush()
            del out
        small = CCA().fit(held).correlations_[0]
        held.clear()
        del X, Y, side
        maps = {m: np.load(f"{folder}/{m}.npy", mmap_mode="r") for m in "ab"}
        record = measured(lambda: float(CCA().fit(maps).correlations_[0]))
    print(f"\n{n:,} × (256 + 256) float32 from files ({heading(THREADS)})\n")
    print("| | rows / s | extra MiB | first correlation |\n| --- | --- | --- | --- |")
    print(f"| {part:,} rows in memory | {part / memory:,.0f} | | {small:.6f} |")
    rate = n / record["seconds"]
    print(f"| {n:,} rows from files | {rate:,.0f} | {record['mib']:.0f} | {record['value']:.6f} |")
    print(f"\n{rate / (part / memory):.2f} of the rate in memory")


def cluster(_: int) -> None:
    """The same correlations from NumPy, Dask's threads and a LocalCluster of two workers."""
    import dask.array as da
    from distributed import Client, LocalCluster

    from triptych.coordination import CCA

    sys.path.insert(0, str(HERE))
    from data_cca import draw

    X, Y = draw(30_000, 128, 96, "float64")
    lazy = {"a": da.from_array(X, chunks=(4_000, 50)), "b": da.from_array(Y, chunks=(7_000, 96))}
    whole = CCA().fit({"a": X, "b": Y}).correlations_
    print(
        f"\nDask, 30,000 × 128 × 96 ({heading(THREADS)})\n\n"
        "| | seconds | largest difference |\n| --- | --- | --- |"
    )
    start = time.perf_counter()
    threads = CCA().fit(lazy).correlations_
    print(f"| threads | {time.perf_counter() - start:.2f} | {np.abs(threads - whole).max():.1e} |")
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local,
        Client(local),
    ):
        for solver in ("auto", "refined"):
            start = time.perf_counter()
            found = CCA(solver=solver).fit(lazy).correlations_
            seconds, apart = time.perf_counter() - start, np.abs(found - whole).max()
            print(f"| LocalCluster, 2 workers, {solver} | {seconds:.2f} | {apart:.1e} |")


def main() -> None:
    """One benchmark of the list above."""
    which = sys.argv[1] if len(sys.argv) > 1 else "10k"
    repeats = next((int(word) for word in sys.argv[2:] if word.isdigit()), 5)
    both = ["cca-zoo 4.0.1", "mvlearn 0.5.0"]
    if which == "10k":
        tall(10_000, 100, "float64", [*both, "scikit-learn"], repeats)
    elif which.startswith("100k"):
        tall(100_000, 256, which[5:], both, repeats)
    elif which.startswith("200k"):
        tall(200_000, 784, which[5:], both if "peers" in sys.argv else [], repeats)
    else:
        pieces = {
            "wide": wide,
            "condition": condition,
            "single": single,
            "file": file,
            "dask": cluster,
        }
        pieces[which](repeats)


if __name__ == "__main__":
    main()
