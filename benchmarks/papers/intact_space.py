"""Intact space (Xu, Tao, Xu 2015): recovery under gross errors, and real features.

``recovery``: 500 rows, codes of 5 dimensions, modalities of 20 columns with noise of 0.1; a share
of the rows is wrong in the first modality (20 + 40 N(0, 1)). Largest principal angle in degrees
between the true codes and those found, beside least squares (singular vectors of all columns);
the largest rise of J from one half step to the next, as a share of J; and the angle between codes
of held-out rows and those of a fit to all rows.

``mfeat`` and ``leaves100``: five stratified folds; fitted on all modalities, asked with the first
k in the alphabet's order. Accuracy of logistic regression on codes, on the standardised columns
of the same modalities side by side, and on the mean of MCCA's codes.

    python benchmarks/papers/intact_space.py run [--only PART] [--seconds S] [--seeds N]
    python benchmarks/papers/intact_space.py table
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import subspace_angles

from triptych import Modalities
from triptych.coordination import MCCA
from triptych.fusion import IntactSpace

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from steps import DATA, Steps, asked, mean_sd

RATES, COUNTS, D = (0.0, 0.05, 0.1, 0.2, 0.3), (2, 3, 4, 6), 5
VIEWS = {
    "mfeat": ("fac", "fou", "kar", "mor", "pix", "zer"),
    "leaves100": ("margin", "shape", "texture"),
}


def world(seed: int, m: int, rate: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """True codes, and modalities that are noisy linear pictures of them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(500, D))
    X = {
        f"m{v}": x @ rng.normal(size=(D, 20)) + 0.1 * rng.normal(size=(500, 20)) for v in range(m)
    }
    wrong = rng.permutation(500)[: int(500 * rate)]
    X["m0"][wrong] = 20 + 40 * rng.normal(size=(len(wrong), 20))
    return x, X


def degrees(a: np.ndarray, b: np.ndarray) -> float:
    """Largest principal angle of two column spaces."""
    return float(np.degrees(subspace_angles(a - a.mean(0), b - b.mean(0)).max()))


def recovery(seed: int, m: int, rate: float) -> dict[str, Any]:
    """Acceptance (a) to (e) on one drawn world."""
    x, X = world(seed, m, rate)
    settings = {"scaling": "modality", "map_penalty": 1e-4, "code_penalty": 1e-4}
    model = IntactSpace(D, **settings).fit(X)
    wide = np.concatenate([v - v.mean(0) for v in X.values()], axis=1)
    kept = {name: v[:400] for name, v in X.items()}
    held = {name: v[400:] for name, v in X.items()}
    new = IntactSpace(D, **settings).fit(kept).transform(held)
    J = np.array(model.objective_)
    return {
        "angle": degrees(x, model.transform(X)),
        "least squares": degrees(x, np.linalg.svd(wide, full_matrices=False)[0][:, :D]),
        "rise": float(np.diff(J).max() / J[0]),
        "held out": degrees(model.transform(held), new),
        "passes": model.n_iter_,
    }


def real(name: str, seed: int) -> dict[str, Any]:
    """Accuracies in per cent by number of modalities, mean over five folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    with np.load(DATA / f"{name}.npz") as stored:
        y = stored["labels"]
        X = Modalities({m: stored[m].astype(float) for m in VIEWS[name]})

    def accuracy(train: np.ndarray, test: np.ndarray) -> float:
        mean, spread = train.mean(0), np.maximum(train.std(0), 1e-9)
        probe = LogisticRegression(max_iter=1000).fit((train - mean) / spread, y[a])
        return 100 * float(probe.score((test - mean) / spread, y[b]))

    found: dict[str, list[float]] = {}
    for a, b in StratifiedKFold(5, shuffle=True, random_state=seed).split(y, y):
        model = IntactSpace(50).fit(X[a])
        sets = MCCA(30, ridge=0.1).fit(X[a])
        for k in range(1, len(VIEWS[name]) + 1):
            some = X.select(*VIEWS[name][:k])
            sides = {
                "intact": (model.transform(some[a]), model.transform(some[b])),
                "columns": tuple(
                    np.concatenate([some[r][m] for m in some.names], axis=1) for r in (a, b)
                ),
                "MCCA": tuple(
                    np.mean([z for _, z in sets.transform(some[r]).items()], axis=0)
                    for r in (a, b)
                ),
            }
            for what, (train, test) in sides.items():
                found.setdefault(f"{what}:{k}", []).append(accuracy(train, test))
    return {key: float(np.mean(values)) for key, values in found.items()}


def run(steps: Steps, only: str | None, seeds: int) -> None:
    """All steps, or those of one part."""
    for seed in range(seeds):
        if only in (None, "recovery"):
            for m in COUNTS:
                for rate in RATES:
                    steps.step(
                        f"recovery-{seed}-{m}-{rate}",
                        lambda s=seed, m=m, r=rate: recovery(s, m, r),
                    )
        for name in VIEWS:
            if only in (None, name):
                steps.step(f"{name}-{seed}", lambda n=name, s=seed: real(n, s))


def table(steps: Steps, seeds: int) -> None:
    """Rows for benchmarks/RESULTS.md from what is on disk."""
    from rivals import heading

    print(heading(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))) + "\n")
    print("| modalities | wrong rows | angle | least squares | held out | largest rise of J |")
    print("| --- | --- | --- | --- | --- | --- |")
    for m in COUNTS:
        for rate in RATES:
            done = [steps.done(f"recovery-{s}-{m}-{rate}") for s in range(seeds)]
            kept = [record for record in done if record]
            if kept:
                cells = [
                    mean_sd([r[what] for r in kept], 2)
                    for what in ("angle", "least squares", "held out")
                ]
                worst = max(r["rise"] for r in kept)
                print(f"| {m} | {rate:.0%} | {' | '.join(cells)} | {worst:.0e} |")
    for name, views in VIEWS.items():
        kept = [r for s in range(seeds) if (r := steps.done(f"{name}-{s}"))]
        if not kept:
            continue
        print(f"\n| {name}: first k of {', '.join(views)} | intact | columns | MCCA | seeds |")
        print("| --- | --- | --- | --- | --- |")
        for k in range(1, len(views) + 1):
            cells = [
                mean_sd([r[f"{what}:{k}"] for r in kept]) for what in ("intact", "columns", "MCCA")
            ]
            print(f"| {k} | {' | '.join(cells)} | {len(kept)} |")


def main() -> None:
    """Run the steps, or print what is done."""
    given = asked(__doc__, ["recovery", *VIEWS])
    steps = Steps("intact_space", given.seconds)
    if given.what == "table":
        table(steps, given.seeds)
    else:
        run(steps, given.only, given.seeds)


if __name__ == "__main__":
    main()
