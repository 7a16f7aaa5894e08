"""Left against right halves of MNIST (Andrew, Arora, Bilmes, Livescu 2013): total correlation.

54,000 rows train, 6,000 tune, 10,000 test; 392 columns on either side. The measure is the sum
over 50 components of the correlation of the two codes on rows that were not fitted. Ridge and
width are chosen on the tuning part, kernels with the number of landmarks given first and the
final one with more.

    python benchmarks/papers/mnist_halves.py run [--seconds S]
    python benchmarks/papers/mnist_halves.py table

As in noisy_mnist.py, what is done stands in JSON files, below ``benchmarks/.work/mnist_halves``.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import noisy_mnist  # noqa: E402

from triptych import Modalities, Training  # noqa: E402
from triptych.coordination import CCA, DeepCCA, KernelCCA  # noqa: E402
from triptych.nn.recipes import MLP  # noqa: E402
from triptych.similarity import Kernel, centred_cosine  # noqa: E402

WORK = HERE.parent / ".work" / "mnist_halves"
PARTS = {"train": slice(0, 54_000), "tune": slice(54_000, 60_000), "test": slice(60_000, 70_000)}
COMPONENTS = 50
PUBLISHED = {"CCA": (28.1, 28.0), "KCCA-RBF": (33.5, 33.0), "DCCA": (39.4, 39.7)}  # tuning, test
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "CCA": [{"ridge": r} for r in (1e-3, 1e-2, 1e-1)],
    "KCCA-RBF": [
        {"width": w, "ridge": r, "features": 1500}
        for w, r in ((4.0, 1e-4), (6.0, 1e-4), (8.0, 1e-4), (6.0, 1e-5), (6.0, 1e-3))
    ],
    "DCCA": [
        {"units": 1024, "layers": 2, "dropout": d, "batch": 2000, "epochs": 8} for d in (0.0, 0.2)
    ],
}
FINAL: dict[str, dict[str, Any]] = {
    "CCA": {},
    "KCCA-RBF": {"features": 4000},
    "DCCA": {"epochs": 30},
}


def halves(method: str) -> Modalities:
    """Both halves, float32 in [0, 1]: (70,000, 392), for networks pictures (70,000, 1, 28, 14).

    Pictures are scaled as a whole: a pixel that is nearly always black would become noise.
    """
    with np.load(noisy_mnist.DATA / "mnist.npz") as stored:
        pixels = np.concatenate([stored["train_images"], stored["test_images"]])
    pixels = pixels.astype(np.float32) / 255  # (n, 28, 28)
    n = len(pixels)
    shape = (n, 1, 28, 14) if method == "DCCA" else (n, -1)
    return Modalities(
        {"left": pixels[:, :, :14].reshape(shape), "right": pixels[:, :, 14:].reshape(shape)}
    )


def fitted(method: str, X: Modalities, settings: dict[str, Any]) -> CCA | KernelCCA | DeepCCA:
    """The method on the training part."""
    if method == "CCA":
        return CCA(COMPONENTS, ridge=settings["ridge"]).fit(X)
    if method == "DCCA":
        network = MLP(settings["units"], settings["layers"], settings["dropout"])
        return DeepCCA(
            COMPONENTS,
            encoders=dict.fromkeys(X.names, network),
            training=Training(epochs=settings["epochs"], batch_size=settings["batch"]),
            random_state=0,
        ).fit(X)
    return KernelCCA(
        COMPONENTS,
        kernel=Kernel("rbf", width=settings["width"]),
        ridge=settings["ridge"],
        approximation="nystroem",
        n_features=settings["features"],
        random_state=0,
    ).fit(X)


def measured(method: str, settings: dict[str, Any], parts: tuple[str, ...]) -> dict[str, Any]:
    """Total correlation on parts."""
    X = halves(method)
    start = time.perf_counter()
    model = fitted(method, X[PARTS["train"]], settings)
    record: dict[str, Any] = {"settings": settings, "fit_s": time.perf_counter() - start}
    for part in parts:
        Z = model.transform(X[PARTS[part]])
        record[part] = float(centred_cosine(Z["left"], Z["right"], axis="samples").sum())
    return record


def run(method: str, queue: noisy_mnist.Queue) -> dict[str, Any]:
    """All steps of one method; its final record."""
    tried = []
    for settings in SETTINGS[method]:
        name = f"{method}-" + "-".join(str(v) for v in settings.values())

        def tune(s: dict[str, Any] = settings) -> dict[str, Any]:
            return measured(method, s, ("tune",))

        tried.append(queue.step(name, tune))
    best = max(tried, key=lambda record: record["tune"])["settings"]
    settings = {**best, **FINAL[method]}
    return queue.step(f"{method}-final", lambda: measured(method, settings, ("tune", "test")))


def main() -> None:
    """Run the queue, or print what is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["run", "table"])
    parser.add_argument("--seconds", type=float, default=float("inf"))
    given = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    queue = noisy_mnist.Queue(given.seconds if given.what == "run" else -1, WORK)
    if given.what == "table":
        from rivals import heading

        print(heading(os.cpu_count() or 1) + "\n")
        print("| method | settings | tuning (published) | test (published) | fit s |")
        print("| --- | --- | --- | --- | --- |")
    for method in SETTINGS:
        record = run(method, queue)
        settings = ", ".join(f"{k} {v}" for k, v in record["settings"].items())
        tune, test = PUBLISHED[method]
        print(
            f"| {method} | {settings} | {record['tune']:.1f} ({tune}) | {record['test']:.1f} "
            f"({test}) | {record['fit_s']:.0f} |"
        )


if __name__ == "__main__":
    main()
