"""Are estimates on real data consistent with themselves? The truth is unknown; relations are not.

Run: python benchmarks/truth/real.py run mnist|cells|glyphs [--steps N] [--seconds S]
     python benchmarks/truth/real.py show
Song and Ermon 2020 (arXiv:1910.06222, sec. 6.2) ask of an estimator on images

- monotone: I(X; top t rows of X) starts at 0 and never falls as t grows;
- data processing: I(X; [Y, h(Y)]) / I(X; Y) = 1 where h(Y) is part of Y;
- additivity: I([X, X']; [Y, Y']) / I(X; Y) = 2 for an independent second pair.

Here every side is reduced to principal components first (fitted without the partner), so that all
estimators see the same vectors: mnist takes the image and its top rows, and its left and right
half; cells the genes and a growing number of proteins; glyphs the picture and a growing number of
components of its name's letters. Gaussian copula and nearest neighbours stand beside.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA

from triptych.errors import TriptychError
from triptych.information import mutual_information
from triptych.information._neural import SETTINGS, estimate

DATA = Path(os.environ.get("TRIPTYCH_DATA", Path(__file__).resolve().parents[3] / "shared/data"))
NEURAL = ("infonce", "smile")
BESIDE = ("copula", "ksg")
IMAGES = 6000


def components(values: np.ndarray, k: int) -> np.ndarray:
    """The k leading principal components (n, k), fewer where there are no more."""
    k = min(k, *values.shape)
    return PCA(k, svd_solver="randomized" if k < 60 else "full", random_state=0).fit_transform(
        values
    )


def folded(values: np.ndarray) -> np.ndarray:
    """A function of the values that no ranks can undo: squared distances from the median."""
    return (values - np.median(values, axis=0)) ** 2


Case = tuple[str, np.ndarray, np.ndarray]


def relations(x: np.ndarray, y: np.ndarray, part: np.ndarray, what: str) -> Iterator[Case]:
    """The pair, the pair with a part of y twice, and two independent pairs side by side."""
    yield f"{what}: plain", x, y
    yield f"{what}: with h(Y)", x, np.concatenate([y, part], 1)
    half = len(x) // 2
    yield f"{what}: half of the rows", x[:half], y[:half]
    yield (
        f"{what}: two copies",
        np.concatenate([x[:half], x[half : 2 * half]], 1),
        np.concatenate([y[:half], y[half : 2 * half]], 1),
    )


def mnist() -> Iterator[Case]:
    """Image and top rows; left and right half."""
    with np.load(DATA / "mnist.npz") as file:
        images = file["train_images"][:IMAGES] / 255.0
    flat = components(images.reshape(len(images), -1), 16)
    for rows in (3, 6, 9, 12, 16, 20, 28):
        yield (
            f"top {rows:2d} rows",
            flat,
            components(images[:, :rows].reshape(len(images), -1), 16),
        )
    left, right = (
        components(v.reshape(len(images), -1), 16) for v in (images[..., :14], images[..., 14:])
    )
    yield from relations(left, right, folded(right[:, :4]), "halves")


def cells() -> Iterator[Case]:
    """Genes and proteins of 500 cells: logarithms, ten leading components of the genes."""
    with np.load(DATA / "citeseq_pbmc.npz") as file:
        genes, proteins = (file[k].astype(float) for k in ("rna", "adt"))
    genes = np.log1p(1e4 * genes / genes.sum(1, keepdims=True))
    proteins = np.log1p(proteins)
    x = components(genes, 10)
    order = np.argsort(-proteins.var(0))
    for k in (1, 2, 4, 8, 16):
        yield f"{k:2d} proteins", x, proteins[:, order[:k]]
    y = proteins[:, order[:8]]
    yield from relations(x, y, folded(y[:, :2]), "genes, 8 proteins")


def glyphs() -> Iterator[Case]:
    """Picture and name: components of pixels, and of counts of letter pairs."""
    from sklearn.feature_extraction.text import CountVectorizer

    from triptych.datasets import load_glyphs

    data = load_glyphs(faces=1)  # one picture a name: no pair repeats
    images = np.asarray(data.X["image"], dtype=float)
    x = components(images.reshape(len(images), -1), 16)
    counts = CountVectorizer(analyzer="char_wb", ngram_range=(2, 2), max_features=400)
    letters = counts.fit_transform(data.X["text"]).toarray().astype(float)
    names = components(np.log1p(letters), 16)
    for k in (1, 2, 4, 8, 16):
        yield f"{k:2d} components of the name", x, names[:, :k]
    yield from relations(x, names[:, :8], folded(names[:, :2]), "picture, name")


SETS = {"mnist": mnist, "cells": cells, "glyphs": glyphs}


def value(name: str, x: np.ndarray, y: np.ndarray, steps: int) -> dict:
    """One estimate, or why there is none."""
    start = time.process_time()
    try:
        if name in NEURAL:
            settings = replace(SETTINGS, batch_size=256)
            found = estimate(x, y, bound=name, steps=steps, training=settings, random_state=0)
        else:
            found = mutual_information(x, y, estimator=name, discrete=False)
    except TriptychError as error:
        return {"refused": str(error), "n": len(x), "seconds": time.process_time() - start}
    return {
        "value": found.value,
        "standard_error": found.standard_error,
        "n": len(x),
        "seconds": time.process_time() - start,
        "warnings": list(found.warnings),
    }


def read(path: Path) -> list[dict]:
    """Rows so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def run(args: argparse.Namespace) -> None:
    """Measure what the file does not hold yet, until the time is up."""
    done = {tuple(row["key"]) for row in read(args.rows)}
    start = time.process_time()
    for case, x, y in SETS[args.set]():
        for name in (*BESIDE, *NEURAL):
            key = (args.set, case, name)
            if key in done:
                continue
            if time.process_time() - start > args.seconds:
                print("time is up; the same command goes on")
                return
            found = value(name, x, y, args.steps)
            with args.rows.open("a") as file:
                file.write(json.dumps({"key": key, **found}) + "\n")
            said = found.get("refused") or f"{found['value']:.3f}"
            print(*key, said, f"{found['seconds']:.0f} s", flush=True)
    print("all there")


def cell(row: dict | None) -> str:
    """One estimate for the table."""
    if not row:
        return ""
    if "refused" in row:
        return "refused"
    return f"{row['value']:.2f} ± {row['standard_error']:.2f}"


def show(args: argparse.Namespace) -> None:
    """The tables, and the ratios."""
    rows = {tuple(row["key"]): row for row in read(args.rows)}
    print(f"{time.strftime('%Y-%m-%d')}, {platform.processor() or platform.machine()}, nats")
    names = [n for n in (*BESIDE, *NEURAL) if any(key[2] == n for key in rows)]
    for which in dict.fromkeys(key[0] for key in rows):
        print(
            f"\n| {which} |",
            " | ".join(names),
            "|\n|",
            " | ".join(["---"] * (len(names) + 1)),
            "|",
        )
        cases = list(dict.fromkeys(key[1] for key in rows if key[0] == which))
        for case in cases:
            cells_ = []
            for name in names:
                row = rows.get((which, case, name))
                cells_.append(cell(row))
            print(f"| {case} |", " | ".join(cells_), "|")
        for case in cases:
            for end, against, ideal in (
                ("with h(Y)", "plain", 1),
                ("two copies", "half of the rows", 2),
            ):
                if not case.endswith(end):
                    continue
                base = case.removesuffix(end) + against
                ratios = []
                for name in names:
                    pair = [rows.get((which, c, name), {}).get("value") for c in (case, base)]
                    ratios.append("" if None in pair else f"{pair[0] / pair[1]:.2f}")
                print(f"| ratio of {case!r} to {against!r}, {ideal} |", " | ".join(ratios), "|")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("do", choices=("run", "show"))
    parser.add_argument("set", nargs="?", choices=tuple(SETS), default="mnist")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=200)
    parser.add_argument("--rows", type=Path, default=Path("real.jsonl"))
    given = parser.parse_args()
    (run if given.do == "run" else show)(given)
