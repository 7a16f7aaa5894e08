"""Multimodal deep learning (Ngiam et al. 2011) on MNIST pictures and spoken digits.

20,000 pairs train, 4,000 test; the picture stands where the paper has video, the sound (26 log-mel
bands in 16 frames) where it has audio. Features without labels, then a linear SVM.

* ``features``: raw; ``RBM`` of each modality; the autoencoder that sees one modality and rebuilds
  both; the bimodal autoencoder, its input dropped by thirds, all with the paper's network (layers
  of sigmoids learnt first as sparse RBMs) and ``modern`` with networks of recipes; CCA.
* fusion, with clean recordings and with white noise of 0 dB on those of the test rows;
  cross-modality; shared representation (chance 10 %).

    python benchmarks/papers/ngiam.py run [--only FEATURES] [--seconds S] [--seeds N] [--quick]
    python benchmarks/papers/ngiam.py table [--seeds N]

``table`` ends with the paper's claims and whether they hold here.
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import fmin_l_bfgs_b

from triptych import Training
from triptych.coordination import CCA, SplitAE
from triptych.fusion import MultimodalAutoencoder
from triptych.nn.rbm import RBM, train_rbm
from triptych.nn.recipes import MLP, VectorDecoder

sys.path.insert(0, str(Path(__file__).resolve().parent))
import spoken_digits
from steps import Steps, asked, mean_sd

FEATURES = ("raw", "RBM", "one", "bimodal", "modern", "CCA")
RECIPE = RBM(epochs=20, learning_rate=1e-3, target=0.05)
NAMES = ("image", "sound")
COMPONENTS, FLOOR = 100, 1e-3
Codes = dict[str, np.ndarray]


class Whitened:
    """The paper's preparation: bands less their mean over time, whitened principal components."""

    def __init__(self, X: Codes) -> None:
        levelled = self._levelled(X)
        self.maps = {}
        for m, v in levelled.items():
            mean = v.mean(0)
            spread, axes = np.linalg.eigh(np.cov(v - mean, rowvar=False))
            self.maps[m] = mean, axes[:, -COMPONENTS:] / np.sqrt(spread[-COMPONENTS:])

    def _levelled(self, X: Codes) -> Codes:
        bands = X["sound"].reshape(len(X["sound"]), spoken_digits.FRAMES, -1)
        bands = bands - bands.mean(1, keepdims=True)
        return {"image": X["image"], "sound": bands.reshape(len(bands), -1)}

    def __call__(self, X: Codes) -> Codes:
        """Columns (n, 100) of each modality."""
        levelled = self._levelled(X)
        return {
            m: ((levelled[m] - mean) @ axes).astype(np.float32)
            for m, (mean, axes) in self.maps.items()
        }


def accuracy(Z: np.ndarray, y: np.ndarray, Z_new: np.ndarray, y_new: np.ndarray) -> float:
    """Accuracy in per cent of a linear SVM on standardised features.

    Squared hinge, one class against all others, C = 0.01: scikit-learn's ``LinearSVC``, but all
    classes in one L-BFGS of products of matrices, minutes faster on so many columns.
    """
    mean, spread = Z.mean(0), np.maximum(Z.std(0), 1e-6)
    A, B = (np.hstack([(v - mean) / spread, np.ones((len(v), 1))]) for v in (Z, Z_new))
    A, classes = A.astype(np.float32), np.unique(y)
    side = np.where(y[:, None] == classes, 1, -1).astype(np.float32)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(A.shape[1], len(classes))
        short = np.maximum(1 - side * (A @ w.astype(np.float32)), 0)
        slope = w - 0.02 * (A.T @ (side * short))
        return 0.5 * float(flat @ flat) + 0.01 * float((short**2).sum()), slope.ravel()

    start = np.zeros(A.shape[1] * len(classes))
    w, *_ = fmin_l_bfgs_b(loss, start, maxiter=1000)
    best = (B @ w.reshape(A.shape[1], -1)).argmax(1)
    return 100 * float(np.mean(classes[best] == y_new))


def training(seed: int, quick: bool) -> dict[str, Any]:
    """What all networks are given."""
    epochs = 1 if quick else 30
    return {
        "training": Training(epochs=epochs, batch_size=128, weight_decay=1e-4, device="cpu"),
        "random_state": seed,
    }


class Judge:
    """Codes of one kind of features: of all modalities and of each alone."""

    def __init__(self, what: str, seed: int, quick: bool) -> None:
        n, q = (1000, 200) if quick else (20_000, 4_000)
        X, self.y, T, self.y_new = spoken_digits.load(n, q, floor=FLOOR)
        _, _, noisy, _ = spoken_digits.load(10, q, noise_db=0.0, floor=FLOOR, seed=seed)
        whiten = Whitened(X)
        self.parts = {p: whiten(v) for p, v in (("train", X), ("clean", T), ("noisy", noisy))}
        self.seed, self.quick, self.width = seed, quick, 64 if quick else 512
        self.code = getattr(self, what)()

    def raw(self) -> Any:
        """The columns themselves."""
        return lambda X: np.concatenate([X[m] for m in NAMES if m in X], axis=1)

    def RBM(self) -> Any:
        """Posteriors of each modality's machine, side by side."""
        machines = {}
        for m in NAMES:
            make = torch.Generator().manual_seed(self.seed)
            data = torch.from_numpy(self.parts["train"][m]).float()
            machines[m] = train_rbm(data, self.width, RECIPE, gaussian=True, generator=make)
        return lambda X: np.concatenate(
            [machines[m].hidden(torch.from_numpy(X[m]).float()).numpy() for m in NAMES if m in X],
            axis=1,
        )

    def one(self) -> Any:
        """Autoencoders that see one modality and rebuild both; codes side by side."""
        models = {
            m: SplitAE(
                self.width,
                sources=[m],
                encoders={k: MLP(width=self.width) for k in NAMES},
                decoders={k: VectorDecoder(width=self.width) for k in NAMES},
                **training(self.seed, self.quick),
            ).fit(self.parts["train"])
            for m in NAMES
        }
        return lambda X: np.concatenate(
            [models[m].transform({m: X[m]})[m] for m in NAMES if m in X], axis=1
        )

    def bimodal(self) -> Any:
        """The bimodal autoencoder, layers learnt first."""
        return (
            MultimodalAutoencoder(
                self.width, width=self.width, pretraining=RECIPE, **training(self.seed, self.quick)
            )
            .fit(self.parts["train"])
            .transform
        )

    def modern(self) -> Any:
        """The bimodal autoencoder of recipes."""
        return (
            MultimodalAutoencoder(
                self.width,
                width=self.width,
                encoders={m: MLP(width=self.width) for m in NAMES},
                decoders={m: VectorDecoder(width=self.width) for m in NAMES},
                **training(self.seed, self.quick),
            )
            .fit(self.parts["train"])
            .transform
        )

    def CCA(self) -> Any:
        """Linear CCA on columns; codes of both are averaged."""
        model = CCA(50, ridge=1.0).fit(self.parts["train"])
        return lambda X: np.mean([z for _, z in model.transform(X).items()], axis=0)

    def answers(self) -> dict[str, Any]:
        """Accuracies of the three settings."""
        Z = {part: self.code(X) for part, X in self.parts.items()}
        found = {
            f"fusion, {part}": accuracy(Z["train"], self.y, Z[part], self.y_new)
            for part in ("clean", "noisy")
        }
        beside = self.RBM()
        B = {part: beside({"sound": X["sound"]}) for part, X in self.parts.items()}
        for part in ("clean", "noisy"):
            sides = [np.hstack([Z[p], B[p]]) for p in ("train", part)]
            found[f"with sound RBM, {part}"] = accuracy(sides[0], self.y, sides[1], self.y_new)
        alone = {
            m: {part: self.code({m: self.parts[part][m]}) for part in self.parts} for m in NAMES
        }
        for m in NAMES:
            found[m] = accuracy(alone[m]["train"], self.y, alone[m]["clean"], self.y_new)
        found["sound, noisy"] = accuracy(
            alone["sound"]["train"], self.y, alone["sound"]["noisy"], self.y_new
        )
        for a, b in (NAMES, NAMES[::-1]):
            train, test = alone[a]["train"], alone[b]["clean"]
            if train.shape[1] == test.shape[1]:
                found[f"{a} → {b}"] = accuracy(train, self.y, test, self.y_new)
        return found


CLAIMS = (
    (
        "a picture's features gain from rebuilding the sound too",
        lambda r: r["one"]["image"] > r["RBM"]["image"],
    ),
    (
        "sound is not helped by pictures at training",
        lambda r: r["bimodal"]["sound"] <= r["RBM"]["sound"],
    ),
    (
        "under noise, both modalities beat the sound alone",
        lambda r: r["bimodal"]["fusion, noisy"] > r["RBM"]["sound, noisy"],
    ),
    (
        "under noise, the bimodal code beside the sound's RBM is best",
        lambda r: (
            r["bimodal"]["with sound RBM, noisy"]
            >= max(r["bimodal"]["fusion, noisy"], r["RBM"]["sound, noisy"])
        ),
    ),
    (
        "the shared representation is above chance both ways",
        lambda r: min(r["bimodal"][k] for k in ("image → sound", "sound → image")) > 15,
    ),
    (
        "CCA has the better shared representation",
        lambda r: all(r["CCA"][k] > r["bimodal"][k] for k in ("image → sound", "sound → image")),
    ),
)


def table(steps: Steps, seeds: int) -> None:
    """Rows for benchmarks/RESULTS.md, and the claims."""
    from rivals import heading

    print(heading(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))) + "\n")
    done = {f: [r for s in range(seeds) if (r := steps.done(f"{f}-{s}"))] for f in FEATURES}
    columns = list(dict.fromkeys(k for rs in done.values() for r in rs for k in r))
    columns.remove("seconds")
    print(f"| features | {' | '.join(columns)} | seeds |\n" + "| --- " * (len(columns) + 2) + "|")
    for f, records in done.items():
        if records:
            cells = [mean_sd([r[k] for r in records]) if k in records[0] else "" for k in columns]
            print(f"| {f} | {' | '.join(cells)} | {len(records)} |")
    if not all(done.values()):
        return
    means = {f: {k: float(np.mean([r[k] for r in rs])) for k in rs[0]} for f, rs in done.items()}
    print("\n| claim of the paper | here |\n| --- | --- |")
    for claim, holds in CLAIMS:
        print(f"| {claim} | {'holds' if holds(means) else 'does not hold'} |")


def main() -> None:
    """Run the steps, or print what is done."""
    given = asked(__doc__, list(FEATURES))
    steps = Steps("ngiam" + "-quick" * given.quick, given.seconds)
    if given.what == "table":
        table(steps, given.seeds)
        return
    for seed in range(given.seeds):
        for f in [given.only] if given.only else FEATURES:
            steps.step(f"{f}-{seed}", lambda f=f, s=seed: Judge(f, s, given.quick).answers())


if __name__ == "__main__":
    main()
