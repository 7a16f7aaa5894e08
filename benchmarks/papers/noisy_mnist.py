"""Noisy two-view MNIST (Wang, Arora, Livescu, Bilmes 2015), by the authors' protocol.

View 1 is a digit turned by an angle from U(-45°, 45°) (bilinear, zeros from outside); view 2 is a
random digit of the same class and the same part, plus U(0, 1) noise at each pixel, cut at 1.
50,000 rows train, 10,000 tune, 10,000 test. Codes of view 1 are judged by a linear SVM, one class
against one, and by spectral clustering into 10. Every choice is made on the tuning part.

    python benchmarks/papers/noisy_mnist.py run [--only METHOD] [--seconds S] [--seed N]
    python benchmarks/papers/noisy_mnist.py table

``run`` works through a queue and stops once S seconds have passed; what is done stands in
``benchmarks/.work/noisy_mnist`` as one JSON file each, and the same command goes on from there.
``table`` prints rows for benchmarks/RESULTS.md from those files. A method is added by a function
in METHODS from settings to a fitted model, and its settings in SETTINGS.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from triptych import Modalities
from triptych.coordination import CCA, KernelCCA
from triptych.seeding import generator
from triptych.similarity import Kernel

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
WORK = HERE.parent / ".work" / "noisy_mnist"
DATA = Path(os.environ.get("TRIPTYCH_DATA", HERE.parents[2] / "shared" / "data"))
PARTS = {"train": slice(0, 50_000), "tune": slice(50_000, 60_000), "test": slice(60_000, 70_000)}
COMPONENTS = 10
COSTS = (0.01, 0.1, 1.0, 10.0)
NEIGHBOURS = (5, 10, 20, 30, 50)
# Error of the SVM, accuracy of clustering and NMI, in per cent.
PUBLISHED = {
    "CCA": (19.6, 72.9, 56.0),
    "FKCCA": (5.1, 94.7, 87.3),
    "NKCCA": (4.5, 95.1, 88.3),
}


def views(seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Both views (70,000, 784), float32 in [0, 1], and the digits; kept on disk once made."""
    kept = WORK / f"views-{seed}.npz"
    if kept.exists():
        with np.load(kept) as stored:
            return {"turned": stored["turned"], "noisy": stored["noisy"]}, stored["digit"]
    from scipy.ndimage import rotate

    with np.load(DATA / "mnist.npz") as stored:
        pixels = np.concatenate([stored["train_images"], stored["test_images"]])
        digit = np.concatenate([stored["train_labels"], stored["test_labels"]])
    pixels = pixels.astype(np.float32) / 255
    angles = generator(seed, "angles").uniform(-45, 45, len(pixels))
    turned = np.stack(
        [
            rotate(p, a, reshape=False, order=1, mode="grid-constant")
            for p, a in zip(pixels, angles, strict=True)
        ]
    )
    partner, draw = np.empty(len(pixels), dtype=np.intp), generator(seed, "partners")
    for part in PARTS.values():
        for k in range(10):
            rows = np.flatnonzero(digit[part] == k) + part.start
            partner[rows] = draw.choice(rows, len(rows))
    noise = generator(seed, "noise").random(pixels.shape, dtype=np.float32)
    noisy = np.minimum(pixels[partner] + noise, 1)
    found = {name: v.reshape(len(v), -1) for name, v in (("turned", turned), ("noisy", noisy))}
    WORK.mkdir(parents=True, exist_ok=True)
    fresh = kept.with_suffix(".part.npz")
    np.savez(fresh, digit=digit, **found)
    fresh.rename(kept)
    return found, digit


# -- methods ---------------------------------------------------------------------------------


def linear(X: Modalities, settings: Mapping[str, Any], seed: int) -> CCA:
    """Linear CCA with a ridge on standardised pixels."""
    return CCA(COMPONENTS, ridge=settings["ridge"]).fit(X)


def kernel(X: Modalities, settings: Mapping[str, Any], seed: int) -> KernelCCA:
    """Kernel CCA with RBF kernels, by random features or landmarks."""
    return KernelCCA(
        COMPONENTS,
        kernel={name: Kernel("rbf", width=settings[name]) for name in ("turned", "noisy")},
        ridge=settings["ridge"],
        approximation=settings["approximation"],
        n_features=settings["features"],
        random_state=seed,
    ).fit(X)


METHODS: dict[str, Callable[[Modalities, Mapping[str, Any], int], Any]] = {
    "CCA": linear,
    "FKCCA": kernel,
    "NKCCA": kernel,
}


def _kernels(
    approximation: str, features: int, grid: list[tuple[float, float]]
) -> list[dict[str, Any]]:
    return [
        {
            "approximation": approximation,
            "features": features,
            "turned": a,
            "noisy": b,
            "ridge": 1e-4,
        }
        for a, b in grid
    ]


# Tried on the tuning part, at the size given; the best is fitted again at the size of FINAL.
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "CCA": [{"ridge": r} for r in (1e-4, 1e-1, 1.0)],
    "FKCCA": _kernels(
        "fourier",
        2000,
        [(5.0, 8.0), (6.0, 10.0)],
    ),
    "NKCCA": _kernels(
        "nystroem",
        2000,
        [(3.0, 4.0), (3.0, 6.0), (4.0, 6.0), (4.0, 10.0), (5.0, 8.0), (6.0, 6.0)],
    ),
}
FINAL: dict[str, dict[str, Any]] = {
    "CCA": {},
    "FKCCA": {"features": 9000},
    "NKCCA": {"features": 9000},
}

# -- judges ----------------------------------------------------------------------------------


def svm_error(
    codes: tuple[np.ndarray, np.ndarray], digits: tuple[np.ndarray, np.ndarray], cost: float
) -> float:
    """Error in per cent of a linear SVM, one class against one, on codes of unit variance."""
    from sklearn.svm import SVC

    scale = codes[0].std(axis=0)
    model = SVC(kernel="linear", C=cost, cache_size=1000)
    model.fit(codes[0] / scale, digits[0])
    return float(100 * np.mean(model.predict(codes[1] / scale) != digits[1]))


def clustering(
    Z: np.ndarray, digit: np.ndarray, neighbours: int, seed: int
) -> tuple[float, float]:
    """Accuracy and NMI in per cent of spectral clustering into 10.

    Graph of neighbours with weights 0 and 1, made symmetric; ten eigenvectors of the normalised
    Laplacian, rows scaled to length 1; k-means, best of 20 starts. NMI divides by the larger
    entropy.
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import diags_array
    from scipy.sparse.linalg import eigsh
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score
    from sklearn.neighbors import kneighbors_graph

    graph = kneighbors_graph(Z, neighbours)
    graph = graph.maximum(graph.T)
    root = diags_array(1 / np.sqrt(np.asarray(graph.sum(axis=1)).ravel()))
    start = generator(seed, "eigenvectors").standard_normal(len(Z))
    _, vectors = eigsh(root @ graph @ root, k=10, which="LA", v0=start)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    found = KMeans(10, n_init=20, random_state=seed).fit_predict(vectors)
    table = np.zeros((10, 10), dtype=int)
    np.add.at(table, (found, digit), 1)
    rows, columns = linear_sum_assignment(-table)
    nmi = normalized_mutual_info_score(digit, found, average_method="max")
    return 100 * float(table[rows, columns].sum() / len(Z)), 100 * float(nmi)


# -- the queue -------------------------------------------------------------------------------


class Queue:
    """Steps whose results are kept; a step done before is read, not done again.

    Args:
        seconds: No step is begun after so many.
        folder: Where records stand.
    """

    def __init__(self, seconds: float, folder: Path = WORK) -> None:
        self.until, self.folder = time.monotonic() + seconds, folder

    def step(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The record of a step."""
        path = self.folder / f"{name}.json"
        if path.exists():
            record: dict[str, Any] = json.loads(path.read_text())
            return record
        if time.monotonic() > self.until:
            print(f"stopped before {name}; the same command goes on", flush=True)
            raise SystemExit(0)
        start = time.perf_counter()
        record = {**work(), "seconds": round(time.perf_counter() - start, 1)}
        fresh = path.with_suffix(".part")
        fresh.write_text(json.dumps(record))
        fresh.rename(path)
        print(name, json.dumps(record), flush=True)
        return record


def codes(method: str, settings: Mapping[str, Any], key: str, seed: int) -> dict[str, Any]:
    """Fit, and keep the codes of view 1 of all rows."""
    pixels, _ = views(seed)
    train = Modalities({name: v[PARTS["train"]] for name, v in pixels.items()})
    start = time.perf_counter()
    model = METHODS[method](train, settings, seed)
    fit_s = time.perf_counter() - start
    Z = model.transform({"turned": pixels["turned"]})["turned"]
    np.save(WORK / f"{key}.npy", Z)
    rho = getattr(model, "correlations_", np.empty(0))
    return {"fit_s": round(fit_s, 1), "correlations": np.round(rho, 4).tolist()}


def judged(key: str, part: str, seed: int, cost: float) -> dict[str, Any]:
    """Error of the SVM on one part."""
    Z = np.load(WORK / f"{key}.npy")
    _, digit = views(seed)
    rows, train = PARTS[part], PARTS["train"]
    return {
        "cost": cost,
        "error": svm_error((Z[train], Z[rows]), (digit[train], digit[rows]), cost),
    }


def clustered(key: str, part: str, seed: int, neighbours: int) -> dict[str, Any]:
    """Clustering of one part."""
    Z, (_, digit) = np.load(WORK / f"{key}.npy"), views(seed)
    rows = PARTS[part]
    accuracy, nmi = clustering(Z[rows], digit[rows], neighbours, seed)
    return {"neighbours": neighbours, "accuracy": accuracy, "nmi": nmi}


def final_key(method: str, seed: int) -> str:
    """Name of the final step: other settings of it are another step."""
    return "-".join([method, str(seed), "final", *(str(v) for v in FINAL[method].values())])


def run(method: str, queue: Queue, seed: int) -> dict[str, Any]:
    """All steps of one method; its final record."""
    tried = []
    for settings in SETTINGS[method]:
        # Chosen on the first seed; other seeds repeat what was chosen.
        name = f"{method}-0-" + "-".join(str(v) for v in settings.values())

        def fit(s: Mapping[str, Any] = settings, n: str = name) -> dict[str, Any]:
            return codes(method, s, n, 0)

        def judge(n: str = name) -> dict[str, Any]:
            return judged(n, "tune", 0, 1.0)

        queue.step(name, fit)
        tried.append((queue.step(f"{name}-tune-svm", judge)["error"], settings))
    chosen = min(tried, key=lambda pair: pair[0])[1]
    settings = {**chosen, **FINAL[method]}
    key = final_key(method, seed)

    def fit_final() -> dict[str, Any]:
        if seed or FINAL[method]:
            return {**codes(method, settings, key, seed), "settings": settings}
        # The very fit that was chosen.
        tuned = f"{method}-0-" + "-".join(str(v) for v in chosen.values())
        (WORK / f"{key}.npy").write_bytes((WORK / f"{tuned}.npy").read_bytes())
        known: dict[str, Any] = json.loads((WORK / f"{tuned}.json").read_text())
        return {
            "fit_s": known["fit_s"],
            "correlations": known["correlations"],
            "settings": settings,
        }

    fitted = queue.step(key, fit_final)
    costs = [
        queue.step(f"{key}-tune-svm-{c}", lambda c=c: judged(key, "tune", seed, c)) for c in COSTS
    ]
    best = min(costs, key=lambda r: r["error"])["cost"]
    final = queue.step(f"{key}-test-svm", lambda: judged(key, "test", seed, best))
    ways = [
        queue.step(f"{key}-tune-cluster-{k}", lambda k=k: clustered(key, "tune", seed, k))
        for k in NEIGHBOURS
    ]
    near = max(ways, key=lambda r: r["accuracy"])["neighbours"]
    groups = queue.step(f"{key}-test-cluster", lambda: clustered(key, "test", seed, near))
    return {**fitted, **groups, **final, "fit_s": fitted["fit_s"]}


def table() -> None:
    """Rows from what is on disk: published beside measured, mean over the seeds that are done."""
    from rivals import heading

    print(heading(os.cpu_count() or 1) + "\n")
    print(
        "| method | settings | SVM error % (published) | AC % (published) | NMI % (published) "
        "| fit s | seeds |\n| --- | --- | --- | --- | --- | --- | --- |"
    )
    for method in METHODS:
        done = []
        for seed in range(100):
            key = final_key(method, seed)
            path = WORK / f"{key}.json"
            parts = [WORK / f"{key}-test-{what}.json" for what in ("svm", "cluster")]
            if all(part.exists() for part in (path, *parts)):
                done.append([json.loads(p.read_text()) for p in (path, *parts)])
        if not done:
            continue
        settings = ", ".join(f"{k} {v}" for k, v in done[0][0]["settings"].items())
        figures = [
            statistics.mean(record[1]["error"] for record in done),
            statistics.mean(record[2]["accuracy"] for record in done),
            statistics.mean(record[2]["nmi"] for record in done),
        ]
        cells = [f"{m:.1f} ({p})" for m, p in zip(figures, PUBLISHED[method], strict=True)]
        seconds = statistics.mean(record[0]["fit_s"] for record in done)
        print(f"| {method} | {settings} | {' | '.join(cells)} | {seconds:.0f} | {len(done)} |")


def main() -> None:
    """Run the queue, or print what is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--only", choices=list(METHODS))
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.what == "table":
        table()
        return
    WORK.mkdir(parents=True, exist_ok=True)
    queue = Queue(given.seconds)
    for method in [given.only] if given.only else METHODS:
        print(method, json.dumps(run(method, queue, given.seed)), flush=True)


if __name__ == "__main__":
    main()
