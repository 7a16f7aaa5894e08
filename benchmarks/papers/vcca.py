"""VCCA and VCCA-private on noisy two-view MNIST (Wang, Yan, Lee, Livescu 2016).

Views, parts and the SVM are those of noisy_mnist.py. The posterior of z sees the turned digit
alone; the turned view is bernoulli, the noisy one normal with a size of the noise for each pixel
of each row, as in the paper. Three hidden layers of 1024 each way, d = 40, private codes of 30; 25
epochs with a falling rate. The dropout of layers and samples is chosen on the tuning part of the
first seed by fits of 8 epochs.

    python benchmarks/papers/vcca.py run [--only METHOD] [--seconds S] [--seeds N] [--quick]
    python benchmarks/papers/vcca.py table [--seeds N]

A fit keeps a checkpoint: stopped with Ctrl-C, the same command goes on.
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from triptych import Training
from triptych.fission import VCCAPrivate
from triptych.fusion import VCCA
from triptych.nn.recipes import MLP, VectorDecoder

sys.path.insert(0, str(Path(__file__).resolve().parent))
from noisy_mnist import COSTS, PARTS, svm_error, views
from steps import Steps, asked, mean_sd

PUBLISHED = {"VCCA": 3.0, "VCCAPrivate": 2.4}
WANTED = {"VCCA": 3.6, "VCCAPrivate": 3.0}
DROPOUT = (0.0, 0.1, 0.2)
EPOCHS, EPOCHS_TO_CHOOSE = 25, 8


def codes(
    method: str, dropout: float, seed: int, epochs: int, quick: bool, steps: Steps
) -> np.ndarray:
    """Codes (70,000, 40) of the turned view of all rows; kept on disk."""
    fit = f"{method}-{dropout}-{seed}-{epochs}"
    kept = steps.folder / f"codes-{fit}.npy"
    if kept.exists():
        return np.load(kept)
    pixels, _ = views(seed)
    train = PARTS["train"] if not quick else slice(0, 1000)
    width = 64 if quick else 1024
    X = {m: v[train] for m, v in pixels.items()}
    given: dict[str, Any] = {
        "sources": ["turned"],
        "encoders": {m: MLP(width=width, depth=3, dropout=dropout) for m in X},
        "decoders": {m: VectorDecoder(width=width, depth=3, dropout=dropout) for m in X},
        "likelihoods": {"turned": "bernoulli"},
        "noise": "values",
        "dropout": dropout,
        "training": Training(
            epochs=1 if quick else epochs,
            batch_size=250,
            weight_decay=0.0,
            device="cpu",
            checkpoint=str(steps.folder / f"fit-{fit}"),
        ),
        "random_state": seed,
    }
    if method == "VCCA":
        Z = VCCA(40, **given).fit(X).transform({"turned": pixels["turned"]})
    else:
        model = VCCAPrivate(40, n_private=30, **given).fit(X)
        Z = np.asarray(model.transform({"turned": pixels["turned"]})["shared"])
    np.save(kept, Z)
    return Z


def run(method: str, steps: Steps, seeds: int, quick: bool) -> None:
    """All steps of one method."""

    def judged(dropout: float, seed: int, epochs: int, part: str, cost: float) -> dict[str, Any]:
        """Error in per cent of the SVM on one part."""
        Z, (_, digit) = codes(method, dropout, seed, epochs, quick, steps), views(seed)
        train = PARTS["train"] if not quick else slice(0, 1000)
        rows = PARTS[part]
        error = svm_error((Z[train], Z[rows]), (digit[train], digit[rows]), cost)
        return {"error": error, "cost": cost, "dropout": dropout}

    def ask(*what: Any) -> dict[str, Any]:
        return steps.step("-".join(map(str, (method, *what))), lambda: judged(*what))

    tried = [ask(d, 0, EPOCHS_TO_CHOOSE, "tune", 1.0) for d in DROPOUT[: 1 if quick else None]]
    dropout = min(tried, key=lambda r: r["error"])["dropout"]
    for seed in range(seeds):
        at = (dropout, seed, EPOCHS)
        best = min((ask(*at, "tune", c) for c in COSTS), key=lambda r: r["error"])
        final = ask(*at, "test", best["cost"])
        steps.step(f"{method}-final-{seed}", lambda final=final: final)


def main() -> None:
    """Run the steps, or print what is done."""
    given = asked(__doc__, list(PUBLISHED))
    steps = Steps("vcca" + "-quick" * given.quick, given.seconds)
    if given.what == "run":
        steps.folder.mkdir(parents=True, exist_ok=True)
        for method in [given.only] if given.only else PUBLISHED:
            run(method, steps, given.seeds, given.quick)
        return
    from rivals import heading

    print(heading(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))) + "\n")
    print("| method | SVM error % | published | wanted | dropout | seeds |")
    print("| --- | --- | --- | --- | --- | --- |")
    for method, published in PUBLISHED.items():
        done = [r for s in range(given.seeds) if (r := steps.done(f"{method}-final-{s}"))]
        if done:
            print(
                f"| {method} | {mean_sd([r['error'] for r in done])} | {published} | "
                f"≤ {WANTED[method]} | {done[0]['dropout']} | {len(done)} |"
            )


if __name__ == "__main__":
    main()
