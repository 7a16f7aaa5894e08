"""MFM on MNIST pictures and spoken digits of the same class, beside its two halves.

The digit is shared; a writer's hand and a speaker's voice are private. 6,000 pairs to learn from,
2,000 to judge by; pictures (1, 28, 28), sounds 16 frames of 26 log-mel bands. "discriminative" has
no reconstruction and no prior, "generative" no label (a logistic regression on its z_y predicts);
"apart" has codes so narrow, so near their prior and so uncorrelated that z_y must hold the digit;
"apart, longer" has narrow private codes, uncorrelated ones, and 40 epochs at twice the rate.
The paper pairs MNIST with SVHN and has convolutions; here dense layers read pictures and GRUs
sounds, so that a fit takes a minute of one core.

    python benchmarks/papers/mfm.py run [--only METHOD] [--seconds S] [--seeds N] [--quick]
    python benchmarks/papers/mfm.py table [--seeds N]
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from triptych import Training
from triptych.evaluation import leakage
from triptych.fission import MFM
from triptych.nn.recipes import MLP, Recurrent, SequenceDecoder, VectorDecoder

sys.path.insert(0, str(Path(__file__).resolve().parent))
from spoken_digits import BANDS, FRAMES, load
from steps import DATA, Steps, asked, mean_sd

METHODS: dict[str, dict[str, Any]] = {
    "MFM": {},
    "MFM, prior 10": {"prior": 10.0},
    "MFM, apart": {
        "n_components": 10,
        "n_private": 4,
        "prior": 20.0,
        "independence": 1.0,
        "dropout": 0.0,
    },
    "MFM, apart, longer": {
        "n_private": 4,
        "independence": 1.0,
        "dropout": 0.0,
        "training": {"epochs": 40, "learning_rate": 2e-3},
    },
    "discriminative": {"weights": {"image": 0.0, "sound": 0.0}, "prior": 0.0},
    "generative": {"task_weight": 0.0},
}
NAMES = ("image", "sound")
COLUMNS = {
    "labels": ["accuracy", "from image", "from sound"],
    "rebuilt, R²": ["image of both", "sound of both", "image from sound", "sound from image"],
    "generated": ["swapped digit", "donor digit", "sampled image", "sampled sound", "both agree"],
    "parts": [
        "digit in shared",
        "digit in image part",
        "digit in sound part",
        "speaker in shared",
        "speaker in sound part",
        "image part in shared",
        "sound part in shared",
    ],
}


def over_seeds(values: list[float], digits: int) -> str:
    """Mean and standard deviation; of one seed the value alone."""
    return f"{values[0]:.{digits}f}" if len(values) == 1 else mean_sd(values, digits)


def shaped(X: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Pictures and sequences."""
    n = len(X["image"])
    return {
        "image": X["image"].reshape(n, 1, 28, 28),
        "sound": X["sound"].reshape(n, FRAMES, BANDS),
    }


def probe(old: np.ndarray, y: np.ndarray, new: np.ndarray, truth: np.ndarray) -> float:
    """Accuracy of a logistic regression on codes."""
    reader = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300)).fit(old, y)
    return float(reader.score(new, truth))


def judged(name: str, seed: int, quick: bool) -> dict[str, Any]:
    """All measures of one fit."""
    n_train, n_test = (500, 200) if quick else (6000, 2000)
    X, y, X_new, truth = load(n_train, n_test)
    X, X_new, y, truth = shaped(X), shaped(X_new), y.astype(int), truth.astype(int)
    with np.load(DATA / "avmnist_pairs.npz") as p, np.load(DATA / "fsdd.npz") as f:
        voice = f["speakers"][p["train_fsdd"][:n_train]]
        voice_new = f["speakers"][p["test_fsdd"][:n_test]]
    settings: dict[str, Any] = {"n_components": 32, "n_private": 16, "dropout": 0.1}
    settings |= METHODS[name]
    length = {"epochs": 15, **settings.pop("training", {}), **({"epochs": 1} if quick else {})}
    model = MFM(
        factors=64,
        encoders={"image": MLP(width=256), "sound": Recurrent(width=64)},
        decoders={"image": VectorDecoder(width=256), "sound": SequenceDecoder(width=64)},
        training=Training(**length, batch_size=128, device="cpu"),
        random_state=seed,
        **settings,
    ).fit(X, y)
    Z, Z_new = model.transform(X), model.transform(X_new)
    alone = {m: {m: X_new[m]} for m in NAMES}
    found: dict[str, Any] = {}
    if name == "generative":
        reader = LogisticRegression(max_iter=300).fit(Z["shared"], y)
        told = {
            "accuracy": Z_new["shared"],
            **{f"from {m}": model.transform(alone[m])["shared"] for m in NAMES},
        }
        found |= {k: float(reader.score(z, truth)) for k, z in told.items()}
    else:
        found["accuracy"] = float((model.predict(X_new) == truth).mean())
        found |= {f"from {m}": float((model.predict(alone[m]) == truth).mean()) for m in NAMES}

    def r2(made: np.ndarray, m: str) -> float:
        error = ((np.asarray(made) - X_new[m]) ** 2).sum()
        return float(1 - error / ((X_new[m] - X[m].mean(axis=0)) ** 2).sum())

    whole = model.reconstruct(X_new)
    for m, other in (NAMES, NAMES[::-1]):
        found[f"{m} of both"] = r2(whole[m], m)
        found[f"{m} from {other}"] = r2(model.reconstruct(alone[other])[m], m)

    readers = {
        m: make_pipeline(StandardScaler(), SVC(C=10)).fit(X[m].reshape(len(y), -1), y)
        for m in NAMES
    }

    def seen(made: Any, m: str) -> np.ndarray:
        values = np.asarray(made[m])
        return np.asarray(readers[m].predict(values.reshape(len(values), -1)))

    order = np.random.default_rng(seed).permutation(len(truth))
    swapped = seen(model.swap(X_new, {m: v[order] for m, v in X_new.items()}), "image")
    differ = truth != truth[order]
    found["swapped digit"] = float((swapped == truth)[differ].mean())
    found["donor digit"] = float((swapped == truth[order])[differ].mean())
    made, label = model.sample(len(truth), random_state=seed)
    if name == "generative":  # its own outputs were never taught
        label = seen(made, "image")
    marks = {m: seen(made, m) for m in NAMES}
    found |= {f"sampled {m}": float((marks[m] == label).mean()) for m in NAMES}
    found["both agree"] = float((marks["image"] == marks["sound"]).mean())
    found |= {f"real {m}": float((seen(X_new, m) == truth).mean()) for m in NAMES}
    for part, key in (("shared", "shared"), ("image", "image part"), ("sound", "sound part")):
        found[f"digit in {key}"] = probe(Z[part], y, Z_new[part], truth)
        if part != "image":
            found[f"speaker in {key}"] = probe(Z[part], voice, Z_new[part], voice_new)
    for m in NAMES:
        found[f"{m} part in shared"] = leakage(Z["shared"], Z[m], Z_new["shared"], Z_new[m]).value
    for m, part in model.information({m: v[:1000] for m, v in X_new.items()}).items():
        found[f"information {m}"] = part["ratio"]
    return found


def main() -> None:
    """Run the steps, or print what is done."""
    given = asked(__doc__, list(METHODS))
    steps = Steps("mfm" + "-quick" * given.quick, given.seconds)
    if given.what == "run":
        for seed in range(given.seeds):
            for name in [given.only] if given.only else METHODS:
                steps.step(f"{name}-{seed}", lambda n=name, s=seed: judged(n, s, given.quick))
        return
    from rivals import heading

    print(heading(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))))
    for title, columns in COLUMNS.items():
        print(f"\n| {title} | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}")
        for name in METHODS:
            done = [r for s in range(given.seeds) if (r := steps.done(f"{name}-{s}"))]
            if done:
                cells = [over_seeds([r[c] for r in done], 3) for c in columns]
                print(f"| {name} ({len(done)} seeds) | {' | '.join(cells)} |")
    done = [r for s in range(given.seeds) if (r := steps.done(f"MFM-{s}"))]
    if done:
        told = {m: over_seeds([r[f"information {m}"] for r in done], 2) for m in NAMES}
        real = {m: over_seeds([r[f"real {m}"] for r in done], 3) for m in NAMES}
        print(f"\nInformation ratio of MFM: {told}. SVMs that judge, on real rows: {real}.")


if __name__ == "__main__":
    main()
