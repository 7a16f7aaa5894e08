"""Pictures of unseen emoji and their names: contrastive methods beside linear CCA.

Run: python benchmarks/papers/emoji.py METHOD [--seed 0] [--epochs 60] [--out emoji.json]
     python benchmarks/papers/emoji.py table --out emoji.json
METHOD is cca, vse, vse++, clip or siglip. A row that OUT holds is not run again, so the queue can
be stopped and taken up. Training rows are the drawings, in both styles, of training emoji without
skin tone, each with its name and keywords; retrieval is among the 206 test emoji without skin
tone, twemoji drawings, from picture to words and back. Data: emoji.npz in TRIPTYCH_DATA.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from triptych import Training
from triptych.coordination import CCA, CLIP, VSE, SigLIP
from triptych.evaluation import retrieval, same_partner
from triptych.modalities import Modalities
from triptych.nn.recipes import MLP, ConvNet

HERE = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get("TRIPTYCH_DATA", HERE / "shared" / "data"))
METHODS = ("cca", "vse", "vse++", "clip", "siglip")


def load(tones: bool = False) -> tuple[Modalities, Modalities, Modalities]:
    """Training, validation and test rows: pictures (3, 32, 32) and weighted words."""
    with np.load(DATA / "emoji.npz") as file:
        held = {key: file[key] for key in file.files}
    plain = held["skin_tone"][:, 0] == 0
    texts = np.array(
        [
            f"{name} | {words.replace('|', ' ')}"
            for name, words in zip(held["name"], held["keywords"], strict=True)
        ]
    )
    split = held["split"]
    train = (split == 0) & (plain | tones)
    words = TfidfVectorizer(sublinear_tf=True, min_df=2)
    pieces = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, min_df=3, max_features=4000
    )
    weights = [v.fit(texts[train]).transform(texts).toarray() for v in (words, pieces)]
    # Columns of rare words, scaled to unit spread, would drown the rest; directions do not.
    whole = np.concatenate(weights, axis=1)
    axes = TruncatedSVD(200, random_state=0).fit(whole[train])
    vectors = axes.transform(whole).astype(np.float32)

    def small(images: np.ndarray) -> np.ndarray:
        means = images.reshape(len(images), 32, 2, 32, 2, 3).mean((2, 4))
        return np.ascontiguousarray(means.round().astype(np.uint8).transpose(0, 3, 1, 2))

    def rows(at: np.ndarray, *styles: str) -> Modalities:
        chosen = [at & held["has_noto"] if style == "noto" else at for style in styles]
        return Modalities(
            {
                "image": np.concatenate(
                    [small(held[s][c]) for s, c in zip(styles, chosen, strict=True)]
                ),
                "words": np.concatenate([vectors[c] for c in chosen]),
            }
        )

    return (
        rows(train, "twemoji", "noto"),
        rows((split == 1) & plain, "twemoji"),
        rows((split == 2) & plain, "twemoji"),
    )


def cca(train: Modalities, test: Modalities) -> Modalities:
    """Linear CCA of 100 principal components of either side."""
    sides: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = ({}, {})
    for name in train.names:
        flat = [np.asarray(X[name]).reshape(len(X), -1).astype(float) for X in (train, test)]
        axes = PCA(100, random_state=0).fit(flat[0])
        for side, values in zip(sides, flat, strict=True):
            side[name] = axes.transform(values)
    codes: Modalities = CCA(30).fit(sides[0]).transform(sides[1])
    return codes


def fit(name: str, epochs: int, seed: int, args: argparse.Namespace) -> tuple[dict, float]:
    """Figures in both directions, and seconds."""
    train, valid, test = load(args.tones)
    judged = valid if args.valid else test
    start = time.perf_counter()
    if name == "cca":
        Z = cca(train, judged)
    else:
        training = Training(
            epochs=epochs, batch_size=args.batch, learning_rate=args.rate, weight_decay=args.decay
        )
        common = {
            "encoders": {
                "image": ConvNet(width=args.width, shift=3, scale=0.15, dropout=args.dropout),
                "words": MLP(width=512, depth=args.depth, dropout=args.dropout),
            },
            "training": training,
            "random_state": seed,
        }
        made = {
            "vse": lambda: VSE(256, margin=args.margin, **common),
            "vse++": lambda: VSE(256, negatives="hardest", margin=args.margin, **common),
            "clip": lambda: CLIP(256, **common),
            "siglip": lambda: SigLIP(256, bias=-5.5, **common),
        }
        # Not the best epoch by validation: that loss turns up long before recall does.
        Z = made[name]().fit(train).transform(judged)
    seconds = time.perf_counter() - start
    figures = {}
    for a, b in (("image", "words"), ("words", "image")):
        score = retrieval(np.asarray(Z[a]), np.asarray(Z[b]), same_partner(judged, a, b))
        figures[f"{a} to {b}"] = {
            **{f"R@{k}": v for k, v in score.recall.items()},
            "median rank": score.median_rank,
            "queries": score.n_queries,
        }
    return figures, seconds


def table(out: Path) -> None:
    """Means over seeds, as markdown."""
    rows = json.loads(out.read_text())
    print("| method | seeds | picture → words R@1 / 5 / 10, median | words → picture | s |")
    print("| --- | ---: | --- | --- | ---: |")
    for name in METHODS:
        found = [r for r in rows.values() if r["method"] == name]
        if not found:
            continue
        cells = []
        for way in ("image to words", "words to image"):
            keys = ("R@1", "R@5", "R@10", "median rank")
            mean = {k: np.mean([r["figures"][way][k] for r in found]) for k in keys}
            recalls = " / ".join(f"{mean[k]:.3f}" for k in keys[:3])
            cells.append(f"{recalls}, {mean['median rank']:.1f}")
        seconds = np.mean([r["seconds"] for r in found])
        print(f"| {name} | {len(found)} | {cells[0]} | {cells[1]} | {seconds:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=(*METHODS, "table"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--decay", type=float, default=0.3)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--depth", type=int, default=1)
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--margin", type=float, default=0.2)
    parser.add_argument("--valid", action="store_true", help="judge on the validation rows")
    parser.add_argument("--tones", action="store_true", help="train on skin tones too")
    parser.add_argument("--out", type=Path, default=Path("emoji.json"))
    args = parser.parse_args()
    if args.what == "table":
        table(args.out)
        return
    rows = json.loads(args.out.read_text()) if args.out.exists() else {}
    asked = {k: v for k, v in vars(args).items() if k != "out"}
    key = json.dumps(asked, sort_keys=True)
    if key not in rows:
        figures, seconds = fit(args.what, args.epochs, args.seed, args)
        row = {"method": args.what, "settings": asked, "figures": figures, "seconds": seconds}
        # Read again: another process may have written meanwhile.
        rows = json.loads(args.out.read_text()) if args.out.exists() else {}
        rows[key] = row
        fresh = args.out.with_suffix(".new")
        fresh.write_text(json.dumps(rows, indent=1))
        fresh.replace(args.out)
    print(json.dumps(rows[key]["figures"]), f"{rows[key]['seconds']:.0f} s")


if __name__ == "__main__":
    main()
