"""What each term of self-supervised multi-view learning does (Tsai et al. 2021).

Two data sets stand for the paper's (Omniglot characters drawn twice; pictures augmented twice):

- *emoji*: a drawing of Twemoji and one of Noto of the same emoji, 32 x 32; T is its group, one of
  nine;
- *digits*: an MNIST digit turned by one angle and by another, both within 45 degrees; T is the
  digit; *late* is the same for four times as many epochs.

For each mix of terms: accuracy of a linear probe and of the nearest neighbour on the code of one
view ("shared", from x alone) with ten labels a class, mean of five draws of them, on test rows;
and the information plane: I(Z;S) and H(Z|S) from ``history_``, I(Z;T) as H(T) less the
cross-entropy of a logistic regression on held-out rows, H(Z|T) of normal laws of each class's
size.

    python benchmarks/papers/self_supervised_multiview.py run [--only DATA] [--seconds S]
        [--seeds N] [--quick]
    python benchmarks/papers/self_supervised_multiview.py table [--seeds N]
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import rotate
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import cross_val_predict

from triptych import Training
from triptych.evaluation import knn_probe, linear_probe, retrieval
from triptych.fission import SelfSupervisedMultiview
from triptych.nn.recipes import MLP, ConvNet, ImageDecoder, VectorDecoder

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from steps import DATA, Steps, asked, mean_sd

LABELS, DRAWS = 10, 5
# contrastive, forward, inverse
MIXES = {
    "CL": (1.0, 0.0, 0.0),
    "FP": (0.0, 1.0, 0.0),
    "CL + 0.1 FP": (1.0, 0.1, 0.0),
    "CL + FP": (1.0, 1.0, 0.0),
    "CL + 0.3 IP": (1.0, 0.0, 0.3),
    "CL + 3 IP": (1.0, 0.0, 3.0),
    "CL + 0.1 FP + 0.3 IP": (1.0, 0.1, 0.3),
}
SETS = ("digits", "emoji", "late")
EPOCHS = {"digits": 15, "emoji": 12, "late": 60}
# Whether the contrastive term learns too much in time, and a little forward prediction helps.
LATE = ("CL", "CL + FP")

Split = tuple[dict[str, np.ndarray], np.ndarray]


def emoji() -> tuple[Split, Split]:
    """Training and test rows that have both drawings, with their groups."""
    with np.load(DATA / "emoji.npz") as f:
        both, split, group = f["has_noto"], f["split"], f["group"].astype(int)
        drawings = {m: f[m] for m in ("twemoji", "noto")}
    # Mean of 2 x 2 pixels, channels first.
    X = {
        m: v.reshape(-1, 32, 2, 32, 2, 3).mean((2, 4)).transpose(0, 3, 1, 2).astype(np.uint8)
        for m, v in drawings.items()
    }
    found = []
    for part in (0, 2):
        rows = both & (split == part)
        found.append(({m: v[rows] for m, v in X.items()}, group[rows]))
    return found[0], found[1]


def digits(seed: int, n_train: int = 6000, n_test: int = 2000) -> tuple[Split, Split]:
    """Digits turned by two angles."""
    draw = np.random.default_rng([seed, 21])
    with np.load(DATA / "mnist.npz") as f:
        given = [(f[f"{p}_images"], f[f"{p}_labels"].astype(int)) for p in ("train", "test")]
    found = []
    for (images, labels), n in zip(given, (n_train, n_test), strict=True):
        rows = draw.choice(len(images), n, replace=False)
        X = {
            m: np.stack(
                [rotate(images[i], draw.uniform(-45, 45), reshape=False, order=1) for i in rows]
            ).reshape(n, -1)
            / np.float32(255)
            for m in ("x", "s")
        }
        found.append((X, labels[rows]))
    return found[0], found[1]


def few_labels(
    train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray], seed: int
) -> dict[str, float]:
    """Accuracy with ten labels a class, mean of several draws."""
    draw, found = np.random.default_rng([seed, 22]), []
    for _ in range(DRAWS):
        rows = np.concatenate(
            [draw.permutation(np.flatnonzero(train[1] == c))[:LABELS] for c in np.unique(train[1])]
        )
        Z, y = train[0][rows], train[1][rows]
        found.append(
            [
                linear_probe(Z, y, *test).value,
                knn_probe(Z, y, *test, k=1).value,
            ]
        )
    linear, nearest = np.mean(found, axis=0)
    return {"linear": float(linear), "nearest": float(nearest)}


def about_labels(Z: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """I(Z;T) from below and H(Z|T) from above, in nats."""
    kept = np.isin(y, [c for c in np.unique(y) if (y == c).sum() >= 5])
    Z, y = Z[kept].astype(float), np.unique(y[kept], return_inverse=True)[1]
    share = np.bincount(y) / len(y)
    scaled = (Z - Z.mean(0)) / np.maximum(Z.std(0), 1e-6)
    chances = cross_val_predict(
        LogisticRegression(C=0.1, max_iter=300), scaled, y, cv=5, method="predict_proba"
    )
    entropies = [
        0.5 * np.log(2 * np.pi * np.e * np.maximum(Z[y == c].var(0), 1e-12)).sum()
        for c in range(len(share))
    ]
    return {
        "I(Z;T)": float(-(share * np.log(share)).sum() - log_loss(y, chances)),
        "H(Z|T)": float(share @ entropies),
    }


def judged(data: str, mix: str, seed: int, epochs: int, quick: bool) -> dict[str, Any]:
    """One fit and all its measures."""
    if data == "emoji":
        (X, y), (X_test, y_test) = emoji()
        x = "twemoji"
        recipes = {m: ConvNet(width=16) for m in X}, {m: ImageDecoder(width=16) for m in X}
    else:
        (X, y), (X_test, y_test) = digits(seed, *((600, 200) if quick else (6000, 2000)))
        x = "x"
        recipes = {m: MLP() for m in X}, {m: VectorDecoder() for m in X}
    contrastive, forward, inverse = MIXES[mix]
    model = SelfSupervisedMultiview(
        64,
        contrastive=contrastive,
        forward=forward,
        inverse=inverse,
        encoders=recipes[0],
        decoders=recipes[1],
        training=Training(epochs=1 if quick else epochs, batch_size=256, device="cpu"),
        random_state=seed,
    ).fit(X)
    Z, Z_test = (model.transform({x: part[x]})["shared"] for part in (X, X_test))
    other = next(m for m in X if m != x)
    hits = retrieval(Z_test, model.transform({other: X_test[other]})["shared"])
    history = model.history_["train"]
    return {
        **few_labels((Z, y), (Z_test, y_test), seed),
        "all_labels": linear_probe(Z, y, Z_test, y_test).value,
        "partner": hits.recall[1],
        "I(Z;S)": history["information_lower_bound"][-1],
        "H(Z|S)": history["residual_entropy"][-1],
        **about_labels(Z_test, y_test),
        "curve": {k: history[k] for k in ("information_lower_bound", "residual_entropy")},
    }


def main() -> None:
    """Run the steps, or print what is done."""
    given = asked(__doc__, list(SETS))
    steps = Steps("self_supervised_multiview" + "-quick" * given.quick, given.seconds)
    chosen = [given.only] if given.only else SETS
    if given.what == "run":
        for seed in range(given.seeds):
            for data in chosen:
                for mix in LATE if data == "late" else MIXES:
                    steps.step(
                        f"{data}-{mix}-{seed}".replace(" ", ""),
                        lambda data=data, mix=mix, seed=seed: judged(
                            data, mix, seed, EPOCHS[data], given.quick
                        ),
                    )
        return
    from rivals import heading

    print(heading(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))))
    for data in chosen:
        print(
            f"\n| {data}, {EPOCHS[data]} epochs | linear, 10 labels a class | nearest | linear, "
            "all labels | partner first | I(Z;S) | H(Z given S) | I(Z;T) | H(Z given T) | s | "
            "seeds |"
        )
        print("| --- " * 11 + "|")
        for mix in MIXES:
            name = f"{data}-{mix}".replace(" ", "")
            done = [r for s in range(given.seeds) if (r := steps.done(f"{name}-{s}"))]
            if done:
                mean = {k: mean_sd([r[k] for r in done], 3) for k in done[0] if k != "curve"}
                plane = [
                    mean_sd([r[k] for r in done], 2)
                    for k in ("I(Z;S)", "H(Z|S)", "I(Z;T)", "H(Z|T)", "seconds")
                ]
                print(
                    f"| {mix} | {mean['linear']} | {mean['nearest']} | {mean['all_labels']} | "
                    f"{mean['partner']} | {' | '.join(plane)} | {len(done)} |"
                )


if __name__ == "__main__":
    main()
