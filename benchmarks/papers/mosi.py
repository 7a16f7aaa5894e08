"""Fusions with labels on opinion videos: CMU-MOSI vectors, YouTube and ICT-MMMO sequences.

Five tasks, each with the splits of its file; validation rows (whole videos of the training part)
choose when training stops:

- ``released``: CMU-MOSI, two classes; text, audio and video vectors as released. Text and video
  vectors come from networks that were trained with the labels of the training part: of its videos
  that our training never saw they tell 0.99 and 0.92, of test videos 0.76 and 0.52. Whoever learns
  or stops by the training part trusts them too much; nothing done with these rows can undo it.
- ``words``: the same, but text is TF-IDF of the transcripts, 100 components, learnt from training
  rows without labels. Video still leaks.
- ``clean``: these words, and audio, which does not leak. No video.
- ``mmmo``: sentiment 1 to 5, a number; up to 20 steps of audio and video (training rows have no
  text there). Accuracy: above 3 or not.
- ``youtube``: three classes; audio and video alike. In most of its clips neither has a step that
  is not all zeros: 44 of 173 rows train, 6 of 36 choose, 20 of 60 are asked.

Steps of zeros alone are padding and left out, and rows that lack either modality with them.

The best single modality is late fusion of that one alone, the same network and training, chosen
on validation rows. ``dependency`` fits low-rank fusion without and with mutual dependency, by
three measures, λ of 0.1 and 1 chosen on validation rows, no modality dropout; asked on full
test rows and on rows that lack one modality.

    python benchmarks/papers/mosi.py run [--only fusions|dependency]
    python benchmarks/papers/mosi.py table
"""

import sys
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from steps import DATA, Steps, asked, mean_sd

TASKS = ("released", "clean", "words", "mmmo", "youtube")
METHODS = {
    "late, average": ("LateFusion", {"combination": "average"}),
    "late, product": ("LateFusion", {"combination": "product"}),
    "late, stacking": ("LateFusion", {"combination": "stacking"}),
    "concatenation": ("ConcatFusion", {}),
    "attention": ("AttentionFusion", {}),
    "gated (GMU)": ("GatedFusion", {}),
    "tensor (TFN)": ("TensorFusion", {"width": 16}),
    "low rank (LMF)": ("LowRankFusion", {"width": 16, "rank": 4}),
    "multiplicative, general": ("MultiplicativeFusion", {}),
    "multiplicative, FiLM": ("MultiplicativeFusion", {"form": "film"}),
    "MFM": ("MFM", {"n_private": 16}),
    "MFM, labels alone": ("MFM", {"n_private": 16, "prior": 0.0}),
}
MEASURES, WEIGHTS = ("kl", "f", "wasserstein"), (0.1, 1.0)


@lru_cache
def load(task):
    """Training, validation and test rows: modalities and labels of each."""
    from triptych import Modalities

    if task in ("youtube", "mmmo"):
        with np.load(DATA / f"{task}.npz") as f:
            held = {k: f[k] for k in f}
        parts = []
        for part in ("train", "valid", "test"):
            X = {m: held[f"{part}_{m}"] for m in ("audio", "video")}
            steps = {m: np.abs(v).sum(axis=2) > 0 for m, v in X.items()}
            whole = np.all([s.any(axis=1) for s in steps.values()], axis=0)
            shown = {
                m: [v[at] for v, at in zip(X[m][whole], steps[m][whole], strict=True)] for m in X
            }
            y = held[f"{part}_y"][whole].astype(float if task == "mmmo" else int)
            parts.append((Modalities(shown), y))
        return parts
    with np.load(DATA / "mosi.npz") as f:
        held = {k: f[k] for k in f}
    X = {
        part: {m: held[f"{part}_{m}"] for m in ("text", "audio", "video")}
        for part in ("train", "test")
    }
    if task != "released":
        text = words(held["train_transcript"], held["test_transcript"])
        for part, values in zip(("train", "test"), text, strict=True):
            X[part]["text"] = values
            if task == "clean":
                del X[part]["video"]
    videos = np.unique(held["train_video_id"])
    kept_out = np.random.default_rng(0).permutation(videos)[:12]
    valid = np.isin(held["train_video_id"], kept_out)
    y = {part: held[f"{part}_label"].astype(int) for part in ("train", "test")}
    train = Modalities(X["train"])
    return [
        (train[~valid], y["train"][~valid]),
        (train[valid], y["train"][valid]),
        (Modalities(X["test"]), y["test"]),
    ]


def words(train, test):
    """TF-IDF of words, 100 components, learnt from training transcripts."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    reader = make_pipeline(
        TfidfVectorizer(min_df=2, sublinear_tf=True), TruncatedSVD(100, random_state=0)
    )
    reader.fit(train)
    return reader.transform(train), reader.transform(test)


def settings(task, seed, quick):
    """What all fusions are given alike."""
    from triptych import Training
    from triptych.nn.recipes import MLP, Recurrent

    sequences, names = task in ("youtube", "mmmo"), load(task)[0][0].names
    recipe = Recurrent(width=32) if sequences else MLP(width=64, depth=1, dropout=0.3)
    return {
        "encoders": dict.fromkeys(names, recipe),
        "dropout": 0.3,
        "training": Training(
            epochs=2 if quick else 40,
            batch_size=32 if sequences else 64,
            learning_rate=1e-3,
            patience=10,
            device="cpu",
        ),
        "random_state": seed,
    }


def told(task, predicted, y):
    """Accuracy, weighted F1, and for numbers the mean absolute error and the correlation."""
    from sklearn.metrics import accuracy_score, f1_score

    found = {}
    if task == "mmmo":
        found = {
            "MAE": float(np.abs(predicted - y).mean()),
            "r": float(np.corrcoef(predicted, y)[0, 1]) if np.std(predicted) > 0 else 0.0,
        }
        predicted, y = predicted > 3, y > 3
    return {
        "accuracy": float(accuracy_score(y, predicted)),
        "F1": float(f1_score(y, predicted, average="weighted")),
        **found,
    }


def fusion(task, name, seed, quick):
    """One fusion with one seed; of late fusion also each modality alone."""
    import triptych.fission
    import triptych.fusion

    cls, own = METHODS[name]
    (X, y), (X_valid, y_valid), (X_test, y_test) = load(task)
    given = settings(task, seed, quick)
    if cls == "MFM":  # its authors keep the epoch of the least error of validation labels
        given["training"] = replace(given["training"], watch="task")
    if name == "MFM, labels alone":
        given["weights"] = dict.fromkeys(X.names, 0.0)
    if cls != "LateFusion":
        given["n_components"] = 32
    if cls != "AttentionFusion":  # whose encoders are as wide as its code
        given["width"] = 32
    panel = triptych.fission if cls == "MFM" else triptych.fusion
    model = getattr(panel, cls)(**{**given, **own})
    model.fit(X, y, validation=(X_valid, y_valid))
    record = {"all": told(task, model.predict(X_test), y_test), "parameters": model.n_parameters}
    if cls == "MFM":
        for m in X.names:
            rest = X_test.select(*(k for k in X.names if k != m))
            record[f"no {m}"] = told(task, model.predict(rest), y_test)
    if name == "late, average":
        for m in X.names:
            model.set_params(encoders={m: given["encoders"][m]})
            model.fit(X.select(m), y, validation=(X_valid.select(m), y_valid))
            record[m] = told(task, model.predict(X_test.select(m)), y_test)
            record[f"{m}, validation"] = told(task, model.predict(X_valid.select(m)), y_valid)
    return record


def dependency(task, measure, weight, seed, quick):
    """Low-rank fusion with so much of a measure, on whole rows and without each modality."""
    from triptych.fusion import MutualDependencyFusion

    (X, y), (X_valid, y_valid), (X_test, y_test) = load(task)
    model = MutualDependencyFusion(
        n_components=32,
        fusion="LowRankFusion",
        options={"rank": 4},
        measure=measure,
        weight=weight,
        width=16,
        modality_dropout=0.0,
        on_divergence="continue",
        **settings(task, seed, quick),
    ).fit(X, y, validation=(X_valid, y_valid))
    record = {
        "validation": told(task, model.predict(X_valid), y_valid),
        "all": told(task, model.predict(X_test), y_test),
    }
    for m in X.names:
        rest = X_test.select(*(k for k in X.names if k != m))
        record[f"no {m}"] = told(task, model.predict(rest), y_test)
    if weight and model.diverged_at_ is None:
        record["dependency"] = model.dependency(X_test)
    elif weight:
        record["diverged"] = model.diverged_at_
    return record


def run(args):
    steps = Steps("mosi" + ("-quick" if args.quick else ""), args.seconds)
    both = TASKS[:2]
    for part, tasks in (("fusions", both), ("dependency", both), ("fusions", TASKS[2:])):
        if args.only in (None, part):
            for seed in range(args.seeds):
                for name, work in jobs(part, tasks, seed, args.quick):
                    steps.step(name, work)


def jobs(part, tasks, seed, quick):
    """Names of steps and what to do."""
    for task in tasks:
        if part == "fusions":
            for name in METHODS:
                yield f"{task}-{key(name)}-{seed}", partial(fusion, task, name, seed, quick)
            continue
        for measure, weight in [("kl", 0.0), *((m, w) for m in MEASURES for w in WEIGHTS)]:
            work = partial(dependency, task, measure, weight, seed, quick)
            yield f"{task}-dependency-{measure}-{weight}-{seed}", work


def key(name):
    """A fusion's name as part of a file's."""
    return name.replace(", ", "-").replace(" ", "-")


def table(args):
    steps = Steps("mosi" + ("-quick" if args.quick else ""))
    for task in TASKS:
        names = ("accuracy", "F1") + (("MAE", "r") if task == "mmmo" else ())
        print(f"\n{task}\n\n| fusion | {' | '.join(names)} |\n| --- |{' --- |' * len(names)}")
        for name in METHODS:
            records = [steps.done(f"{task}-{key(name)}-{s}") for s in range(args.seeds)]
            found = [r for r in records if r]
            if name == "late, average":
                for row in alone(found):
                    show(*row, names)
            show(name, [r["all"] for r in found], names)
            for m in load(task)[0][0].names if name.startswith("MFM") else ():
                show(f"{name}, rows without {m}", [r[f"no {m}"] for r in found], names)
    for task in TASKS[:2]:
        rows = dependencies(steps, task, args.seeds)
        if rows:
            columns = [k for k in rows[0][1][0] if k == "all" or k.startswith("no ")]
            head = ["low-rank fusion and", "λ by seed", "dependency of new rows", *columns]
            print(f"\n{task}, accuracy\n\n| {' | '.join(head)} |\n|{' --- |' * len(head)}")
            for name, found in rows:
                cells = [mean_sd([100 * r[c]["accuracy"] for r in found]) for c in columns]
                bound = mean_sd([r["dependency"] for r in found if "dependency" in r], 2)
                weights = ", ".join(f"{r['weight']:g}" for r in found)
                print(f"| {name} | {weights} | {bound} | {' | '.join(cells)} |")


def alone(found):
    """Rows of each modality by itself, and of the one that validation rows choose."""
    if not found:
        return
    each = [k for k in found[0] if f"{k}, validation" in found[0]]
    for m in each:
        yield f"{m} alone", [r[m] for r in found]
    best = [
        max(
            each,
            key=lambda m, r=r: (
                -r[f"{m}, validation"]["MAE"]
                if "MAE" in r[m]
                else r[f"{m}, validation"]["accuracy"]
            ),
        )
        for r in found
    ]
    yield "best single modality", [r[m] for r, m in zip(found, best, strict=True)]


def show(name, found, names):
    """One row, in percent where it is a share."""
    if found:
        cells = [
            mean_sd(
                [r[k] if k in ("MAE", "r") else 100 * r[k] for r in found],
                2 if k in ("MAE", "r") else 1,
            )
            for k in names
        ]
        print(f"| {name} | {' | '.join(cells)} |")


def dependencies(steps, task, seeds):
    """By measure the records of the weight that validation rows choose, seed by seed."""
    rows = []
    for label, measure, weights in [
        ("nothing", "kl", (0.0,)),
        *((m, m, WEIGHTS) for m in MEASURES),
    ]:
        chosen = []
        for seed in range(seeds):
            tried = [
                {**r, "weight": w}
                for w in weights
                if (r := steps.done(f"{task}-dependency-{measure}-{w}-{seed}"))
            ]
            if len(tried) == len(weights):
                chosen.append(max(tried, key=lambda r: r["validation"]["accuracy"]))
        if chosen:
            rows.append((label, chosen))
    return rows


if __name__ == "__main__":
    args = asked(__doc__, ["fusions", "dependency"])
    run(args) if args.what == "run" else table(args)
