"""Multimodal VAEs on MNIST pictures and spoken digits: products, mixtures, mixtures of products.

20,000 pairs train, 2,000 test; pictures bernoulli, sounds (26 log-mel bands in 16 frames) normal
with learnt noise; two hidden layers of 512, codes of 64, 30 epochs, the divergence warming up in
the first half, both modalities of equal weight whatever their size. Coherence is the accuracy of
a linear reader of true samples on those made from the other modality; joint coherence is how
often readers of both agree on samples from the prior. Log-likelihoods by 256 importance samples.

    python benchmarks/papers/mvae.py run [--only EXPERTS] [--seconds S] [--seeds N] [--quick]
    python benchmarks/papers/mvae.py table
"""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from triptych import Training
from triptych.evaluation import coherence, linear_probe
from triptych.fusion import MultimodalVAE
from triptych.nn.recipes import MLP, VectorDecoder

sys.path.insert(0, str(Path(__file__).resolve().parent))
import spoken_digits  # beside this file; it makes benchmarks/ importable too
from steps import Steps, asked, mean_sd

EXPERTS = ("product", "mixture", "mixture_of_products")
MEASURES = ("image>sound", "sound>image", "joint", "probe", "probe:image", "probe:sound")
LIKELIHOODS = ("log p(both)", "log p(both) by image", "log p(both) by sound")


def one(experts: str, seed: int, quick: bool, folder: Path) -> dict[str, Any]:
    """Fit, and all measures."""
    n, q, epochs = (600, 200, 2) if quick else (20_000, 2_000, 30)
    X, y, T, asked_y = spoken_digits.load(n, q)
    model = MultimodalVAE(
        64,
        experts=experts,
        encoders={m: MLP(width=512) for m in X},
        decoders={m: VectorDecoder(width=512) for m in X},
        likelihoods={"image": "bernoulli"},
        warmup=0.5,
        training=Training(
            epochs=epochs,
            batch_size=100,
            weight_decay=0.0,
            device="cpu",
            checkpoint=str(folder / f"fit-{experts}-{seed}{'-quick' * quick}"),
        ),
        random_state=seed,
    ).fit(X)
    found: dict[str, Any] = {}
    for a, b in (("image", "sound"), ("sound", "image")):
        found[f"{a}>{b}"] = 100 * coherence(
            model, X, y, T, asked_y, given=(a,), name=b, max_rows=10_000
        )
    made = model.sample(q, random_state=seed)
    told = []
    for m in X:
        from sklearn.linear_model import LogisticRegression

        few = min(n, 10_000)
        reader = LogisticRegression(max_iter=200).fit(X[m][:few], y[:few])
        told.append(reader.predict(np.asarray(made[m])))
    found["joint"] = 100 * float(np.mean(told[0] == told[1]))
    found["probe"] = 100 * linear_probe(model.transform(X), y, model.transform(T), asked_y).value
    for m in X:
        sides = (model.transform({m: X[m]}), model.transform({m: T[m]}))
        found[f"probe:{m}"] = 100 * linear_probe(sides[0], y, sides[1], asked_y).value
    few = {m: v[: 50 if quick else 500] for m, v in T.items()}
    for name, given in zip(LIKELIHOODS, (None, ("image",), ("sound",)), strict=True):
        found[name] = float(model.log_likelihood(few, given=given, n_samples=256).mean())
    return found


def main() -> None:
    """Run the steps, or print what is done."""
    given = asked(__doc__, list(EXPERTS))
    steps = Steps("mvae" + "-quick" * given.quick, given.seconds)
    chosen = [given.only] if given.only else EXPERTS
    if given.what == "run":
        steps.folder.mkdir(parents=True, exist_ok=True)
        for seed in range(given.seeds):
            for experts in chosen:
                steps.step(
                    f"{experts}-{seed}",
                    lambda e=experts, s=seed: one(e, s, given.quick, steps.folder),
                )
        return
    from rivals import heading

    print(heading(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))) + "\n")
    print(f"| experts | {' | '.join((*MEASURES, *LIKELIHOODS))} | fit and judge s | seeds |")
    print("| --- " * (len(MEASURES) + len(LIKELIHOODS) + 3) + "|")
    for experts in EXPERTS:
        done = [r for s in range(given.seeds) if (r := steps.done(f"{experts}-{s}"))]
        if done:
            cells = [mean_sd([r[m] for r in done]) for m in (*MEASURES, *LIKELIHOODS, "seconds")]
            print(f"| {experts} | {' | '.join(cells)} | {len(done)} |")


if __name__ == "__main__":
    main()
