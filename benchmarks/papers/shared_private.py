"""Shared and private codes where the truth is known, on glyphs, and MISA on CMU-MOSI.

known: two modalities of 2 shared and 2 private factors each, 10 columns, noise 0.1, mixed by a
matrix or bent; 1,500 rows to learn from, 1,000 to judge by. R² of the true factors read from each
part, the better of ridge and ten nearest rows. "linear" is CCA (mean of both variates) and PCA of
what is left when it is regressed out, so that parts are orthogonal to the last digit. MFM is given
the shared factors as labels, which no other method sees.

glyphs: letters of three scripts in four faces of DejaVu; the character is shared by picture and
name, the face is private to the picture. The picture's private part of one row is decoded with the
shared part of another's name, and ConvNets taught on real pictures say which face and script they
see.

mosi: 1,447 utterances of 62 videos, 752 of 31 others. Vectors, one each of text, audio and video:
not the word sequences of the paper. Every tenth training video chooses the epoch.

    python benchmarks/papers/shared_private.py run [--only PART] [--seconds S] [--seeds N]
    python benchmarks/papers/shared_private.py table [--seeds N]
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.decomposition import PCA
from sklearn.metrics import f1_score

from triptych import Training
from triptych.coordination import CCA
from triptych.datasets import load_glyphs, synthetic
from triptych.evaluation import leakage
from triptych.fission import MFM, SharedPrivate, VCCAPrivate
from triptych.nn.inputs import learn_input
from triptych.nn.recipes import MLP, ConvNet, VectorDecoder
from triptych.nn.shared_private import Form
from triptych.training.batches import Rows, order_of

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from steps import DATA, Steps, asked, mean_sd

PARTS = ["known", "glyphs", "mosi"]
SIDES = ("a", "b")


def over_seeds(values: list[float], digits: int) -> str:
    """Mean and standard deviation; of one seed the value alone."""
    return f"{values[0]:.{digits}f}" if len(values) == 1 else mean_sd(values, digits)


# -- known truth -------------------------------------------------------------------------


def linear_parts(sample: Any, train: slice, d: int = 2) -> dict[str, np.ndarray]:
    """CCA's mean variates, and principal components of what they leave of each modality."""
    X = {m: np.asarray(sample.X[m]) for m in SIDES}
    Z = CCA(n_components=d).fit({m: v[train] for m, v in X.items()}).transform(X)
    shared = (Z["a"] + Z["b"]) / 2
    parts = {"shared": shared}
    S = shared - shared[train].mean(0)
    for m, v in X.items():
        v = v - v[train].mean(0)
        rest = v - S @ np.linalg.lstsq(S[train], v[train], rcond=None)[0]
        parts[m] = PCA(d).fit(rest[train]).transform(rest)
    return parts


def settings(seed: int, quick: bool) -> dict[str, Any]:
    return {
        "encoders": {m: MLP(width=64) for m in SIDES},
        "decoders": {m: VectorDecoder(width=64) for m in SIDES},
        "training": Training(
            epochs=2 if quick else 40, batch_size=128, learning_rate=3e-3, device="cpu"
        ),
        "random_state": seed,
    }


def fissions(seed: int, quick: bool) -> dict[str, Callable[[], Any]]:
    given = settings(seed, quick)
    sp = {"n_private": 4, "width": 64, **given}
    laws = {**sp, "n_private": 4, "form": Form(codes="linear", private_encoders=True)}
    return {
        "SharedPrivate": lambda: SharedPrivate(6, **sp),
        "SharedPrivate, HSIC": lambda: SharedPrivate(
            6, separation_by="hsic", separation=30.0, **sp
        ),
        "SharedPrivate, no separation": lambda: SharedPrivate(6, separation=0.0, **sp),
        "SharedPrivate, cosine": lambda: SharedPrivate(6, agreement_by="cosine", **sp),
        "SharedPrivate, MMD": lambda: SharedPrivate(4, agreement_by="mmd", **laws),
        "SharedPrivate, MMD, own shared": lambda: SharedPrivate(
            4,
            agreement_by="mmd",
            **{**laws, "form": Form(codes="linear", private_encoders=True, shared_from="own")},
        ),
        "VCCAPrivate": lambda: VCCAPrivate(4, n_private=4, **given),
        "MFM (labels)": lambda: MFM(4, n_private=4, width=64, **given),
    }


def known(name: str, nonlinear: bool, seed: int, quick: bool) -> dict[str, Any]:
    """R² of true factors from each part."""
    sample = synthetic.shared_private(2500, nonlinear=nonlinear, random_state=seed)
    train, test = slice(0, 1500), slice(1500, 2500)
    if name == "linear":
        parts: Any = linear_parts(sample, train)
    else:
        model = fissions(seed, quick)[name]()
        y = sample.shared[train] if name.startswith("MFM") else None
        parts = model.fit(sample.X[train], y).transform(sample.X)
    truth = {"shared": sample.shared, **sample.private}

    def told(part: str, factor: str) -> float:
        Z, f = np.asarray(parts[part]), truth[factor]
        return leakage(Z[train], f[train], Z[test], f[test]).value

    return {
        "shared": told("shared", "shared"),
        "private": float(np.mean([told(m, m) for m in SIDES])),
        "private in shared": float(np.mean([told("shared", m) for m in SIDES])),
        "shared in private": float(np.mean([told(m, "shared") for m in SIDES])),
    }


# -- glyphs ------------------------------------------------------------------------------

FACES = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono-Oblique", "DejaVuSerif-Italic")
SCRIPTS = ("LATIN", "GREEK", "CYRILLIC")


def letters() -> tuple[Any, Any]:
    """Training and test rows, by characters."""
    data = load_glyphs()

    def kept(part: Any) -> Any:
        face = part.labels["face"].astype(str)
        script = np.char.upper(part.labels["script"].astype(str))
        category = np.char.startswith(part.labels["category"].astype(str), "L")
        return part[np.flatnonzero(np.isin(face, FACES) & np.isin(script, SCRIPTS) & category)]

    return kept(data.part("train")), kept(data.part("test"))


def taught(train: Any, label: str, epochs: int) -> Callable[[np.ndarray], np.ndarray]:
    """A ConvNet that says the label of pictures."""
    classes, y = np.unique(train.labels[label], return_inverse=True)
    X = train.X.select("image")
    reader, target = learn_input(X, "image"), torch.from_numpy(y)
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        ConvNet().build(X.kind("image"), reader, 64),
        torch.nn.GELU(),
        torch.nn.Linear(64, len(classes)),
    )
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=1e-2)
    rows = Rows(X, {"image": reader})
    for epoch in range(epochs):
        order = order_of(0, "taught", epoch, len(train))
        for start in range(0, len(order) - 127, 128):
            at = order[start : start + 128]
            loss = F.cross_entropy(network(rows.take(at).values["image"]), target[at])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    network.eval()

    def say(images: np.ndarray) -> np.ndarray:
        values, _ = reader.tensors(images, np.ones(len(images), bool))
        with torch.no_grad():
            guess = [network(reader.ready(v)).argmax(1) for v in values.split(512)]
        return classes[torch.cat(guess).numpy()]

    return say


def glyphs(seed: int, quick: bool) -> dict[str, Any]:
    """Agreement of taught ConvNets with swapped pictures of unseen characters; leakage."""
    train, test = letters()
    readers = {k: taught(train, k, 1 if quick else 6) for k in ("face", "script")}
    model = SharedPrivate(
        n_private=128,
        reconstruction=10.0,
        random_state=seed,
        training=Training(
            epochs=1 if quick else 18, batch_size=128, learning_rate=2e-3, device="cpu"
        ),
    ).fit(train.X)
    found: dict[str, Any] = {"train": len(train), "test": len(test)}
    other = np.random.default_rng(seed).permutation(len(test))
    real, face = np.asarray(test.X["image"]), test.labels["face"]
    script = test.labels["script"]
    for key in ("face", "script"):
        found[f"real {key}"] = float((readers[key](real) == test.labels[key]).mean())
    for source in ("image", "text"):
        # The same rows' own pictures first: what rebuilding alone costs.
        for what, donors in (("rebuilt", np.arange(len(test))), ("swapped", other)):
            made = model.swap(test.X.select(source), test.X.select("image")[donors])["image"]
            found[f"{what} face, {source}"] = float((readers["face"](made) == face[donors]).mean())
            found[f"{what} script, {source}"] = float((readers["script"](made) == script).mean())
    old, new = (np.asarray(model.transform(d.X)["image"]) for d in (train, test))
    sold, snew = (np.asarray(model.transform(d.X)["shared"]) for d in (train, test))
    found["shared in private"] = leakage(old, sold, new, snew).value
    found["private in shared"] = leakage(sold, old, snew, new).value
    return found


# -- CMU-MOSI ----------------------------------------------------------------------------

SWITCHES = {
    "plain fusion": {"agreement": 0.0, "separation": 0.0, "reconstruction": 0.0},
    "MISA": {},
    "no agreement": {"agreement": 0.0},
    "no separation": {"separation": 0.0},
    "no reconstruction": {"reconstruction": 0.0},
}


def mosi(name: str, seed: int, quick: bool) -> dict[str, Any]:
    """Accuracy and weighted F1 on the test videos."""
    held = np.load(DATA / "mosi.npz")
    names = ("text", "audio", "video")
    videos = held["train_video_id"]
    chosen = np.random.default_rng(seed).permutation(np.unique(videos))[::10]
    valid = np.isin(videos, chosen)
    X, y = {m: held[f"train_{m}"] for m in names}, held["train_label"].astype(int)
    model = SharedPrivate.misa(
        64,
        encoders=dict.fromkeys(names, MLP(width=64, depth=0)),
        training=Training(
            epochs=1 if quick else 30, batch_size=128, learning_rate=1e-3, weight_decay=1e-2,
            device="cpu", watch="task",
        ),
        random_state=seed,
        **SWITCHES[name],
    )  # fmt: skip
    model.fit(
        {m: v[~valid] for m, v in X.items()},
        y[~valid],
        validation=({m: v[valid] for m, v in X.items()}, y[valid]),
    )
    truth = held["test_label"].astype(int)
    guess = model.predict({m: held[f"test_{m}"] for m in names})
    return {
        "accuracy": float((guess == truth).mean()),
        "f1": float(f1_score(truth, guess, average="weighted")),
        "agreement": model.history_["train"]["agreement"][-1],
        "separation": model.history_["train"]["separation"][-1],
    }


# -- all ---------------------------------------------------------------------------------


def run(part: str, steps: Steps, seeds: int, quick: bool) -> None:
    """All steps of one part, seed by seed."""
    for seed in range(seeds):
        if part == "known":
            for nonlinear in (False, True):
                for name in ["linear", *fissions(0, quick)]:
                    key = f"known-{'bent' if nonlinear else 'linear'}-{name}-{seed}"
                    steps.step(key, lambda n=name, b=nonlinear, s=seed: known(n, b, s, quick))
        elif part == "glyphs":
            steps.step(f"glyphs-{seed}", lambda s=seed: glyphs(s, quick))
        else:
            for name in SWITCHES:
                steps.step(f"mosi-{name}-{seed}", lambda n=name, s=seed: mosi(n, s, quick))


def table(steps: Steps, seeds: int) -> None:
    """Markdown rows of what is done."""

    def rows(title: str, key: str, columns: list[str], digits: int = 2) -> None:
        done = [r for s in range(seeds) if (r := steps.done(f"{key}-{s}"))]
        if done:
            cells = [over_seeds([r[c] for r in done], digits) for c in columns]
            print(f"| {title} | {' | '.join(cells)} | {len(done)} |")

    columns = ["shared", "private", "private in shared", "shared in private"]
    for kind in ("linear", "bent"):
        print(f"\n| {kind} mixing: R² | {' | '.join(columns)} | seeds |\n|{' --- |' * 6}")
        for name in ["linear", *fissions(0, False)]:
            rows(name, f"known-{kind}-{name}", columns)
    done = [r for s in range(seeds) if (r := steps.done(f"glyphs-{s}"))]
    if done:
        print("\n| glyphs | measured |\n| --- | --- |")
        for key in done[0]:
            if key != "seconds":
                print(f"| {key} | {over_seeds([r[key] for r in done], 3)} ({len(done)} seeds) |")
    columns = ["accuracy", "f1", "agreement", "separation"]
    print(f"\n| CMU-MOSI | {' | '.join(columns)} | seeds |\n|{' --- |' * 6}")
    for name in SWITCHES:
        rows(name, f"mosi-{name}", columns, 3)


def main() -> None:
    """Run the steps, or print what is done."""
    given = asked(__doc__, PARTS)
    steps = Steps("shared-private" + "-quick" * given.quick, given.seconds)
    if given.what == "run":
        for part in [given.only] if given.only else PARTS:
            run(part, steps, given.seeds, given.quick)
        return
    from rivals import heading

    print(heading(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))))
    table(steps, given.seeds)


if __name__ == "__main__":
    main()
