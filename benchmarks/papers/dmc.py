"""Deep multimodal clustering (Hu, Nie, Li 2019) on scenes of digits and their spoken names.

A scene is a picture of 32 x 32 with one to three different MNIST digits, drawn half as large, at
places where they do not overlap, and 1.5 s of sound in which a recording of each one's name begins
at a random time, added up. No label is given: which digits a scene holds, where and when is known
to the judge alone. Learning begins with scenes of one digit and goes on with those of one to
three: from the start on the latter, counting digits was all that was learnt.

- *matching*: a scene's own sound against that of another scene with other digits: which scores
  higher? Chance 0.5; also among scenes of equally many digits, where counting is of no help.
- *pointing*: the name of one of two or three digits is said alone (a recording that no training
  scene has); does the largest value of ``localise`` lie in that digit's box? Chance: the box's
  share of the picture; harder: that some digit is hit, one over their number.
- *clusters*: of scenes of one digit, the fullest cluster at the middle of its box, and the one
  that gains most in its sound; accuracy of the best one-to-one map (Hungarian) and purity.

    python benchmarks/papers/dmc.py run [--only K] [--seconds S] [--seeds N] [--quick]
    python benchmarks/papers/dmc.py table [--seeds N]

K is the number of clusters: 12 (ten digits, background, spare), 3 (too few), 40 (too many).
"""

import os
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from triptych import Training
from triptych.errors import DegenerateDataWarning
from triptych.evaluation import cluster_scores, pointing_game
from triptych.fission import DeepMultimodalClustering
from triptych.nn.positions import ConvMap, FrameNet

sys.path.insert(0, str(Path(__file__).resolve().parent))
from spoken_digits import RATE, mel_filters
from steps import DATA, Steps, asked, mean_sd

SIDE, DIGIT, SECONDS = 32, 14, 1.5
WINDOW, HOP = 200, 240  # 25 ms every 30 ms
CLUSTERS = (12, 3, 40)
# Digits in a training scene, scenes, epochs: one thing at a time first.
STAGES = (((1,), 10_000, 6), ((1, 2, 3), 6000, 4))


def clips(part: str) -> dict[str, Any]:
    """Digits and recordings of one part of both sets, by class."""
    with np.load(DATA / "mnist.npz") as m, np.load(DATA / "fsdd.npz") as f:
        images, labels = m[f"{part}_images"], m[f"{part}_labels"]
        images = images.reshape(-1, DIGIT, 2, DIGIT, 2).mean((2, 4)).astype(np.uint8)
        waves, offsets, said = f["waveforms"] / 32768, f["offsets"], f["labels"]
        chosen = np.flatnonzero(f["is_test"] == (part == "test"))
    return {
        "images": [images[labels == d] for d in range(10)],
        "waves": [
            [waves[offsets[i] : offsets[i + 1]].astype(np.float32) for i in chosen if said[i] == d]
            for d in range(10)
        ],
    }


def log_mel(waves: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Log energies (n, t, 26) of waves (n, samples)."""
    starts = np.arange(0, waves.shape[1] - WINDOW + 1, HOP)
    frames = waves[:, starts[:, None] + np.arange(WINDOW)] * np.hanning(WINDOW).astype(np.float32)
    power = np.abs(np.fft.rfft(frames, 256, axis=2)) ** 2
    return np.log(power @ filters.T + 1e-4).astype(np.float32)


def spoken(digits: list[int], held: dict[str, Any], draw: np.random.Generator) -> np.ndarray:
    """A recording of each name, beginning at a random time, added up."""
    wave = np.zeros(int(SECONDS * RATE), dtype=np.float32)
    for d in digits:
        clip = held["waves"][d][draw.integers(len(held["waves"][d]))][: len(wave)]
        start = draw.integers(len(wave) - len(clip) + 1)
        wave[start : start + len(clip)] += clip
    return wave


def scenes(
    part: str, n: int, seed: int, counts: tuple[int, ...] = (1, 2, 3)
) -> tuple[dict[str, np.ndarray], list[list[int]], list[list[tuple[int, int]]]]:
    """Modalities, the digits of each scene, and the corners of their boxes."""
    held, filters = clips(part), mel_filters().astype(np.float32)
    draw = np.random.default_rng([seed, part == "test", len(counts)])
    pictures = np.zeros((n, 1, SIDE, SIDE), dtype=np.uint8)
    sounds, who, where = [], [], []
    waves: list[np.ndarray] = []
    for i in range(n):
        digits = draw.choice(10, size=draw.choice(counts), replace=False).tolist()
        corners: list[tuple[int, int]] = []
        while len(corners) < len(digits):
            y, x = (int(v) for v in draw.integers(0, SIDE - DIGIT + 1, 2))
            if all(abs(y - a) >= DIGIT - 2 or abs(x - b) >= DIGIT - 2 for a, b in corners):
                corners.append((y, x))
            elif draw.random() < 0.02:  # a first digit in the middle leaves no room
                corners.clear()
        for d, (y, x) in zip(digits, corners, strict=True):
            box = pictures[i, 0, y : y + DIGIT, x : x + DIGIT]
            drawn = held["images"][d][draw.integers(len(held["images"][d]))]
            np.maximum(box, drawn, out=box)
        waves.append(spoken(digits, held, draw))
        if len(waves) == 256 or i == n - 1:
            sounds.append(log_mel(np.stack(waves), filters))
            waves = []
        who.append(digits)
        where.append(corners)
    return {"image": pictures, "sound": np.concatenate(sounds)}, who, where


def box(corner: tuple[int, int]) -> np.ndarray:
    """Mask (32, 32) of a digit's box."""
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[corner[0] : corner[0] + DIGIT, corner[1] : corner[1] + DIGIT] = True
    return mask


def matching(model: Any, X: dict[str, np.ndarray], who: list[list[int]]) -> dict[str, float]:
    """Share of scenes whose own sound scores above that of another with other digits."""
    own, n, found = model.match(X), len(who), {}
    sets = np.array([sum(1 << d for d in digits) for digits in who])
    sizes = np.array([len(digits) for digits in who])
    for name, equally_many in (("matching", False), ("matching_equal_count", True)):
        other = [
            next(
                j % n
                for j in range(i + 1, i + n)
                if sets[j % n] != sets[i] and (not equally_many or sizes[j % n] == sizes[i])
            )
            for i in range(n)
        ]
        wrong = model.match({"image": X["image"], "sound": X["sound"][np.array(other)]})
        found[name] = float(((own > wrong) + 0.5 * (own == wrong)).mean())
    return found


def pointing(model: Any, n: int, seed: int) -> dict[str, float]:
    """The pointing game on scenes of two and three digits, one of which is named."""
    X, who, where = scenes("test", n, seed + 100, (2, 3))
    held, filters = clips("test"), mel_filters().astype(np.float32)
    draw = np.random.default_rng([seed, 7])
    waves = np.stack([spoken([digits[0]], held, draw) for digits in who])
    asked_for = {"image": X["image"], "sound": log_mel(waves, filters)}
    maps = model.localise(asked_for, "sound", "image")
    named = pointing_game(maps, np.stack([box(corners[0]) for corners in where]))
    anything = pointing_game(
        maps, np.stack([np.any([box(c) for c in corners], axis=0) for corners in where])
    )
    return {
        "pointing": named.value,
        "pointing_chance": named.chance,
        "one_of_them": float(np.mean([1 / len(digits) for digits in who])),
        "on_any": anything.value,
    }


def clusters(model: Any, n: int, seed: int) -> dict[str, float]:
    """Clusters of the test digits against their classes, in pictures and in sounds."""
    X, who, where = scenes("test", n, seed + 200, (1,))
    shares = model.assign(X)
    found = {}
    cell = SIDE // shares["image"].shape[2]
    middle = [((y + DIGIT // 2) // cell, (x + DIGIT // 2) // cell) for ((y, x),) in where]
    labels = np.array([digits[0] for digits in who])
    seen = np.array(
        [s[:, y, x].argmax() for s, (y, x) in zip(shares["image"], middle, strict=True)]
    )
    # In a sound of one name: the cluster that gains most on its mean over all sounds.
    heard = np.stack([s.mean(1) for s in shares["sound"]])
    for name, guess in (("image", seen), ("sound", (heard - heard.mean(0)).argmax(1))):
        scores = cluster_scores(labels, guess)
        found |= {f"accuracy_{name}": scores.accuracy, f"purity_{name}": scores.purity}
    return found


def judged(k: int, seed: int, quick: bool) -> dict[str, Any]:
    """Fit on training scenes, judge on test scenes."""
    n_test = 100 if quick else 1000
    model = DeepMultimodalClustering(
        16,
        n_clusters=k,
        width=64,
        encoders={"image": ConvMap(width=16, depth=1), "sound": FrameNet(64, 3, 7)},
        sharpness=5.0,
        margin=k / 3,
        negatives="all",
        warm_start=True,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)  # its count is in the record
        for counts, n, epochs in STAGES:
            X, _, _ = scenes("train", 300 if quick else n, seed, counts)
            how = Training(
                epochs=1 if quick else epochs, batch_size=32, learning_rate=2e-3, device="cpu"
            )
            model.set_params(training=how).fit(X)
    X_test, who, _ = scenes("test", n_test, seed)
    usage = np.mean(list(model.usage_.values()), axis=0)
    return {
        **matching(model, X_test, who),
        **pointing(model, n_test, seed),
        **clusters(model, n_test, seed),
        "reseeded": model.reseeded_,
        "in_use": int((usage > 0.2 / k).sum()),
        "right": model.history_["train"]["right"][-1] / k,
        "wrong": model.history_["train"]["wrong"][-1] / k,
    }


def main() -> None:
    """Run the steps, or print what is done."""
    given = asked(__doc__, [str(k) for k in CLUSTERS])
    steps = Steps("dmc" + "-quick" * given.quick, given.seconds)
    if given.what == "run":
        for seed in range(given.seeds):
            for k in [int(given.only)] if given.only else CLUSTERS:
                steps.step(f"{k}-{seed}", lambda k=k, seed=seed: judged(k, seed, given.quick))
        return
    from rivals import heading

    print(heading(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))) + "\n")
    print(
        "| clusters | pair matching (chance 0.5) | among equally many | pointing game | "
        "chance: area, one of them | on some digit | digits by cluster: seen, heard | in use | "
        "seeded anew | seconds | seeds |"
    )
    print("| --- " * 11 + "|")
    for k in CLUSTERS:
        done = [r for s in range(given.seeds) if (r := steps.done(f"{k}-{s}"))]
        if done:
            mean = {key: mean_sd([r[key] for r in done], 3) for key in done[0]}
            print(
                f"| {k} | {mean['matching']} | {mean['matching_equal_count']} | "
                f"{mean['pointing']} | {mean['pointing_chance']}, "
                f"{mean['one_of_them']} | {mean['on_any']} | {mean['accuracy_image']}, "
                f"{mean['accuracy_sound']} | {mean['in_use']} | {mean['reseeded']} | "
                f"{mean['seconds']} | {len(done)} |"
            )


if __name__ == "__main__":
    main()
