"""What the methods reach on the glyphs: unseen characters and unseen faces.

Run: python benchmarks/papers/glyphs.py clip|clip-quick|contrastive|autoencoder|shared-private
         [--epochs N]
Prints rows for benchmarks/RESULTS.md. Retrieval is over 600 unseen characters, one picture per
character (the first face that has it), identical pictures all counted as correct. With
--checkpoint FOLDER the run can be stopped, and the same command goes on where it was.
"""

import argparse
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from triptych import Dataset
from triptych.coordination import CLIP, VSE, ContrastivePairs, SigLIP, Triplet
from triptych.datasets import load_glyphs
from triptych.evaluation import (
    first_rows,
    knn_probe,
    linear_probe,
    reconstruct_absent,
    retrieval,
    same_partner,
)
from triptych.evaluation.zero_shot import zero_shot_of_label
from triptych.fission import SharedPrivate
from triptych.fusion import MultimodalAutoencoder
from triptych.nn.inputs import learn_input
from triptych.nn.recipes import ConvNet, TextEncoder
from triptych.training.batches import Rows, order_of


def say(what: str, value: object) -> None:
    """One row of the table."""
    print(f"| {what} | {value} |", flush=True)


def recalls(codes_image: np.ndarray, codes_text: np.ndarray, one_each: Dataset) -> None:
    """Recall in both directions, as table rows."""
    sides = {"image": codes_image, "text": codes_text}
    for a, b in (("image", "text"), ("text", "image")):
        score = retrieval(sides[a], sides[b], same_partner(one_each.X, a, b))
        found = ", ".join(f"R@{k} {v:.3f}" for k, v in score.recall.items())
        say(f"{a} to {b}, {score.n_queries} characters", f"{found}, median {score.median_rank:g}")


class Fits:
    """Fits that may be stopped with Ctrl-C and taken up again, and their seconds over all goes."""

    def __init__(self, epochs: int, folder: Path | None) -> None:
        self.epochs, self.folder = epochs, folder

    def fit(self, name: str, model: Any, train: Dataset, valid: Dataset | None = None) -> Any:
        """The model, fitted for so many epochs; its time is a row of the table."""
        model.set_params(training__epochs=self.epochs)
        before = 0.0
        if self.folder is not None:
            model.set_params(training__checkpoint=str(self.folder / name))
            spent = self.folder / f"{name}.seconds"
            before = float(spent.read_text()) if spent.exists() else 0.0
        start = time.perf_counter()
        try:
            model.fit(train.X, validation=None if valid is None else valid.X)
        finally:
            seconds = before + time.perf_counter() - start
            if self.folder is not None:
                spent.write_text(str(seconds))
        say(f"{name}: fit", f"{seconds:.0f} s, {len(model.history_)} epochs")
        return model


def one_each(data: Dataset) -> Dataset:
    """One picture per character."""
    return data[first_rows(data.groups)]


def clip(fits: Fits, faces: int | None, full: bool) -> None:
    """CLIP; in full with augmentation, dropout and all faces."""
    data = load_glyphs(faces=faces)
    encoders = (
        {
            "image": ConvNet(shift=2, scale=0.1, dropout=0.1),
            "text": TextEncoder(token_dropout=0.1),
        }
        if full
        else None
    )
    width = 256 if full else 128
    model = CLIP(width, encoders=encoders, random_state=0)
    fits.fit("CLIP", model, data.part("train"), data.part("valid") if full else None)
    test = one_each(data.part("test"))
    Z = model.transform(test.X)
    recalls(Z["image"], Z["text"], test)


def contrastive(fits: Fits) -> None:
    """Every contrastive method with three faces and defaults, and scripts named by words alone."""
    data = load_glyphs(faces=3)
    train, test = data.part("train"), data.part("test")
    each = one_each(test)
    for name, model in {
        "CLIP": CLIP(random_state=0),
        "SigLIP": SigLIP(random_state=0),
        "VSE": VSE(random_state=0),
        "VSE++": VSE(negatives="hardest", random_state=0),
        "ContrastivePairs": ContrastivePairs(random_state=0),
        "Triplet": Triplet(random_state=0),
    }.items():
        Z = fits.fit(name, model, train).transform(each.X)
        recalls(Z["image"], Z["text"], each)
        found = zero_shot_of_label(model, train, each, "script", "image", ["{} LETTER"])
        value = f"{found.accuracy:.3f}, balanced {found.balanced:.3f}"
        say(f"{name}: script by words alone, {len(found.predicted)} rows", value)


def supervised(train: Dataset, test: Dataset, epochs: int, width: int) -> float:
    """Accuracy of a ConvNet of the autoencoder's size that is taught the script."""
    classes, y = np.unique(train.labels["script"], return_inverse=True)
    reader = learn_input(train.X, "image")
    torch.manual_seed(0)
    kind = train.X.kind("image")
    network = torch.nn.Sequential(
        ConvNet().build(kind, reader, width), torch.nn.GELU(), torch.nn.Linear(width, len(classes))
    )
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-2)
    rows, target = Rows(train.X.select("image"), {"image": reader}), torch.from_numpy(y)
    steps = len(train) // 256
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=epochs * steps)
    for epoch in range(epochs):
        order = order_of(0, "supervised", epoch, len(train))
        for step in range(steps):
            at = order[step * 256 : (step + 1) * 256]
            loss = F.cross_entropy(network(rows.take(at).values["image"]), target[at])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    network.eval()
    unseen = Rows(test.X.select("image"), {"image": reader})
    with torch.no_grad():
        guess = torch.cat(
            [
                network(unseen.take(np.arange(i, min(i + 1024, len(test)))).values["image"])
                for i in range(0, len(test), 1024)
            ]
        ).argmax(1)
    return float((classes[guess.numpy()] == test.labels["script"]).mean())


def script_probe(model: object, train: Dataset, test: Dataset, *names: str) -> float:
    """Accuracy of the linear probe for the script from some modalities."""
    codes = [model.transform(d.X.select(*names)) for d in (train, test)]  # type: ignore[attr-defined]
    return linear_probe(
        codes[0], train.labels["script"], codes[1], test.labels["script"], max_rows=40_000
    ).value


def autoencoder(fits: Fits) -> None:
    """The multimodal autoencoder on unseen characters and on unseen faces."""
    data = load_glyphs()
    for split in ("characters", "faces"):
        train, test = data.part("train", split), data.part("test", split)
        model = fits.fit(split, MultimodalAutoencoder(random_state=0), train)
        alone = script_probe(model, train, test, "image")
        both = script_probe(model, train, test, "image", "text")
        say(f"{split}: script from picture alone", f"{alone:.3f}")
        say(f"{split}: script from both", f"{both:.3f} (ratio {alone / both:.2f})")
        taught = supervised(train, test, fits.epochs, model.width)
        say(f"{split}: supervised ConvNet", f"{taught:.3f} (ratio {alone / taught:.2f})")
        for name in ("image", "text"):
            r = reconstruct_absent(model, train.X, test.X, name)
            say(f"{split}: {name} rebuilt", f"{r.value:.3f} ({r.measure}, of {r.baseline:.3f})")


def telling(test: Dataset) -> float:
    """Accuracy of someone who knows every picture by heart: of equal ones, one face is right."""
    pictures = np.asarray(test.X["image"]).reshape(len(test), -1)
    kinds = np.unique(pictures, axis=0, return_inverse=True)[1].ravel()
    faces = np.unique(test.labels["face"], return_inverse=True)[1]
    counts = np.zeros((kinds.max() + 1, faces.max() + 1), int)
    np.add.at(counts, (kinds, faces), 1)
    return float(counts.max(axis=1).sum() / len(test))


def shared_private(fits: Fits) -> None:
    """Shared and private codes, with CLIP at equal epochs.

    A face lies in the ends and the weight of strokes, of which little is left where pictures are
    rebuilt roughly: hence the wide private code and the weight of reconstruction.
    """
    data = load_glyphs()
    train, test = data.part("train"), data.part("test")
    letters = np.char.startswith(test.labels["category"].astype(str), "L")
    model = SharedPrivate(n_private=128, reconstruction=10.0, random_state=0)
    fits.fit("SharedPrivate", model, train)
    old, new = (model.transform(d.X.select("image")) for d in (train, test))
    for part in ("image", "shared"):
        for rows, whose in ((slice(None), "all"), (letters, "letters")):
            y = (train.labels["face"], test.labels["face"][rows])
            line = linear_probe(old[part], y[0], new[part][rows], y[1], max_rows=40_000).value
            near = knn_probe(old[part], y[0], new[part][rows], y[1], max_rows=40_000).value
            name = "private picture code" if part == "image" else "shared code of the picture"
            say(f"face from {name}, {whose}", f"linear {line:.3f}, 5 nearest {near:.3f}")
    say("nobody can tell the face beyond, all", f"{telling(test):.3f}")
    say("nobody can tell it beyond, letters", f"{telling(test[np.flatnonzero(letters)]):.3f}")
    each = one_each(test)
    sides = [model.transform(each.X.select(m))["shared"] for m in ("image", "text")]
    recalls(sides[0], sides[1], each)
    Z = fits.fit("CLIP", CLIP(random_state=0), train).transform(each.X)
    recalls(Z["image"], Z["text"], each)


# Epochs that each protocol takes unless told otherwise.
EPOCHS = {"clip": 24, "clip-quick": 6, "contrastive": 8, "autoencoder": 8, "shared-private": 12}


def main() -> None:
    """Run one of the protocols."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=list(EPOCHS))
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--checkpoint", type=Path)
    given = parser.parse_args()
    print(
        f"{given.what}: torch {torch.__version__}, Python {platform.python_version()}, "
        f"{torch.get_num_threads()} threads, {time.strftime('%Y-%m-%d')}\n\n| what | measured |\n"
        "| --- | --- |",
        flush=True,
    )
    if given.checkpoint is not None:
        given.checkpoint.mkdir(parents=True, exist_ok=True)
    fits = Fits(given.epochs or EPOCHS[given.what], given.checkpoint)
    if given.what.startswith("clip"):
        full = given.what == "clip"
        clip(fits, None if full else 3, full)
    elif given.what == "contrastive":
        contrastive(fits)
    elif given.what == "autoencoder":
        autoencoder(fits)
    else:
        shared_private(fits)


if __name__ == "__main__":
    main()
