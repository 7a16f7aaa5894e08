"""On the benefits of early fusion (Barnum, Talukder, Yue 2020) on MNIST and spoken digits.

A picture (14 × 14, means of 2 × 2 pixels) and a recording of the same digit, as a waveform, meet
in layer 1 or 2 of two convolutional LSTM layers, or after both ("late"), at equal numbers of
weights. Accuracy on a grid of signal-to-noise ratios of white noise on pictures and on waveforms.

* speakers: ``seen`` (the usual test recordings, of speakers who train too) and ``unseen`` (all
  recordings of one speaker, another for each seed, are kept out of training);
* training: ``noisy`` (each training pair has noise of its own, its ratios drawn from the grid's)
  and ``clean``.

    python benchmarks/papers/early_fusion.py run [--only WHAT] [--seconds S] [--seeds N] [--quick]
    python benchmarks/papers/early_fusion.py table [--seeds N]

``WHAT`` is for instance ``unseen-noisy``. ``table`` ends with the paper's claims and whether they
hold here, by differences within seeds and their 95 % intervals (Student's t over seeds).
"""

import math
import os
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from triptych import Modalities, Training
from triptych.evaluation import noise_grid
from triptych.fusion import EarlyFusion
from triptych.nn.spectrogram import Spectrogram
from triptych.noise import add_noise

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from steps import DATA, Steps, asked, mean_sd

PLACES: tuple[int | str, ...] = (1, 2, "late")
SPLITS = [f"{speakers}-{noise}" for noise in ("noisy", "clean") for speakers in ("seen", "unseen")]
LEVELS = (math.inf, 20.0, 10.0, 0.0, -10.0)
SOUND = Spectrogram(rate=8000, window=0.025, hop=0.0125, bands=32)
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571}  # two-sided, by number of seeds


def pairs(part: str, speakers: str, n: int, seed: int) -> tuple[Modalities, np.ndarray]:
    """Pictures (n, 1, 14, 14) in [0, 1], waveforms, and digits (n,); drawn by the seed.

    Pictures are drawn without replacement, and each is given any recording of its digit.
    """
    with np.load(DATA / "mnist.npz") as stored:
        images, digits = stored[f"{part}_images"], stored[f"{part}_labels"]
    with np.load(DATA / "fsdd.npz") as stored:
        waves, offsets, said = stored["waveforms"], stored["offsets"], stored["labels"]
        kept = stored["is_test"] if part == "test" else ~stored["is_test"]
        if speakers == "unseen":
            kept = (stored["speakers"] == seed % 6) == (part == "test")
    rng = np.random.default_rng([seed, part == "test"])
    rows = rng.permutation(len(images))[:n]
    pooled = images[rows].reshape(n, 1, 14, 2, 14, 2).mean(axis=(3, 5)) / 255
    clips = [rng.choice(np.flatnonzero(kept & (said == digit))) for digit in digits[rows]]
    sounds = [waves[offsets[i] : offsets[i + 1]].astype(np.float32) / 32768 for i in clips]
    return Modalities({"image": pooled.astype(np.float32), "sound": sounds}), digits[rows]


def measured(split: str, place: int | str, seed: int, quick: bool) -> dict[str, Any]:
    """One fit, and its accuracy over the grid."""
    speakers, noise = split.split("-")
    n, q, epochs = (600, 100, 1) if quick else (4000, 600, 6)
    X, y = pairs("train", speakers, n, seed)
    if noise == "noisy":
        rng = np.random.default_rng([seed, 2])
        X = add_noise(X, {m: rng.choice(LEVELS, size=n) for m in X.names}, random_state=seed)
    model = EarlyFusion(
        64,
        fuse_at=place,
        layers=(16, 16),
        steps=12,
        spectrogram=SOUND,
        training=Training(
            epochs=epochs, batch_size=64, learning_rate=3e-3, weight_decay=1e-4, device="cpu"
        ),
        random_state=seed,
    ).fit(X, y)
    T, y_new = pairs("test", speakers, q, seed)
    grid = noise_grid(model, T, y_new, dict.fromkeys(T.names, LEVELS), random_state=seed)
    return {
        "grid": (100 * grid.value).round(2).tolist(),  # rows: image; columns: sound
        "parameters": model.n_parameters,
        "widths": [list(w) for w in model.widths_.values()],
        "loss": round(float(model.history_["train"]["loss"][-1]), 4),
    }


def interval(values: list[float]) -> tuple[float, float]:
    """Mean of differences within seeds, and half of its 95 % interval."""
    n = len(values)
    half = T_95.get(n, 2.0) * float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return float(np.mean(values)), half


def verdict(found: list[tuple[float, float]]) -> str:
    """What differences of the first layer to all others say."""
    if any(mean + half < 0 for mean, half in found):
        return "does not hold"
    if all(mean - half > 0 for mean, half in found):
        return "holds"
    if all(mean > 0 for mean, _ in found):
        return "not shown: ahead by less than the seeds differ"
    return "not shown: the first layer is not ahead everywhere"


def table(steps: Steps, seeds: int) -> None:
    """Rows for benchmarks/RESULTS.md, and the claims."""
    from rivals import heading

    print(heading(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))) + "\n")
    names = ["clean" if math.isinf(level) else f"{level:g} dB" for level in LEVELS]
    for split in SPLITS:
        done = {
            p: {s: r for s in range(seeds) if (r := steps.done(f"{split}-{p}-{s}"))}
            for p in PLACES
        }
        common = sorted(set.intersection(*(set(records) for records in done.values())))
        if not common:
            continue
        grids = {p: np.array([done[p][s]["grid"] for s in common]) for p in PLACES}
        print(f"\nSpeakers and training: {split}; seeds {len(common)}\n")
        columns = ("clean", "both 10 dB", "both 0 dB", "both -10 dB", "mean of noisy cells")
        print(f"| meets in | weights | {' | '.join(columns)} | fit s |")
        print("| --- " * (len(columns) + 3) + "|")
        asked_of = {}
        for p, grid in grids.items():
            noisy = (grid.sum((1, 2)) - grid[:, 0, 0]) / (grid[0].size - 1)
            asked_of[p] = {"clean": grid[:, 0, 0], "noisy": noisy}
            cells = [grid[:, 0, 0], grid[:, 2, 2], grid[:, 3, 3], grid[:, 4, 4], noisy]
            record = done[p][common[0]]
            took = np.median([done[p][s]["seconds"] for s in common])
            print(
                f"| {p} | {record['parameters']} | "
                f"{' | '.join(mean_sd(list(c)) for c in cells)} | {took:.0f} |"
            )
        for p in PLACES[1:]:
            print(f"\nFirst layer minus {p}, points, mean over seeds:\n")
            print(
                f"| image \\ sound | {' | '.join(names)} |\n" + "| --- " * (len(names) + 1) + "|"
            )
            for name, row in zip(names, (grids[1] - grids[p]).mean(0), strict=True):
                print(f"| {name} | {' | '.join(f'{v:+.1f}' for v in row)} |")
        print(
            "\n| claim of the paper | first layer minus each other | here |\n| --- | --- | --- |"
        )
        for claim, key in (("first layer most accurate", "clean"), ("most robust", "noisy")):
            apart = [interval(list(asked_of[1][key] - asked_of[p][key])) for p in PLACES[1:]]
            said = ", ".join(
                f"{p}: {mean:+.1f} ± {half:.1f}"
                for p, (mean, half) in zip(PLACES[1:], apart, strict=True)
            )
            print(f"| {claim} | {said} | {verdict(apart)} |")


def main() -> None:
    """Run the steps, or print what is done."""
    given = asked(__doc__, SPLITS)
    steps = Steps("early_fusion" + "-quick" * given.quick, given.seconds)
    if given.what == "table":
        table(steps, given.seeds)
        return
    # All that is asked of one seed before the next; what learns with noise comes first.
    for some in [[given.only]] if given.only else [SPLITS[:2], SPLITS[2:]]:
        for seed, split, p in product(range(given.seeds), some, PLACES):
            steps.step(
                f"{split}-{p}-{seed}",
                lambda split=split, p=p, seed=seed: measured(split, p, seed, given.quick),
            )


if __name__ == "__main__":
    main()
