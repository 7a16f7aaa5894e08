"""Discrete estimators beside the truth: bias, spread and coverage; and the gates.

Run: python benchmarks/truth/discrete.py [--replicates 300]
Entropy of a Zipf law, and information of a channel, at several sample sizes: mean error over
standard deviation of the estimates, and the share of 95 % intervals that hold the truth.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rivals import heading

from triptych.information import decomposition, entropy, mutual_information
from triptych.information._discrete import DISCRETE

SIZES = (30, 100, 1000)
GATES = {
    "AND": (lambda a, b: a & b, (0.31127812445913283, 0, 0, 0.5)),
    "XOR": (lambda a, b: a ^ b, (0, 0, 0, 1)),
    "UNQ": (lambda a, b: a, (0, 1, 0, 0)),
    "SUM": (lambda a, b: a + b, (0.5, 0, 0, 1)),
    "COPY": (lambda a, b: 2 * a + b, (0, 1, 1, 0)),
}


def zipf(categories: int) -> np.ndarray:
    p = 1 / np.arange(1, categories + 1)
    return p / p.sum()


def channel(k: int, noise: float) -> np.ndarray:
    """Uniform X of k symbols, Y the same with the chance 1 - noise, else any."""
    return ((1 - noise) * np.eye(k) + noise / k) / k


def row(name: str, estimator: str, found: list, truth: float) -> str:
    values = np.array([f.value for f in found])
    inside = np.mean([f.interval[0] <= truth <= f.interval[1] for f in found])
    return f"{values.mean() - truth:+.3f} / {values.std():.3f} / {inside:.0%}"


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("--replicates", type=int, default=300)
    replicates = ask.parse_args().replicates
    print(f"### Discrete estimators, {replicates} replicates\n{heading(1)}\n")
    print("Mean error / standard deviation in nats / coverage of the 95 % interval.\n")
    p, table = zipf(50), channel(5, 0.5)
    h = float(entropy(probabilities=p))
    i = float(mutual_information(probabilities=table))
    head = " | ".join(f"n = {n}" for n in SIZES)
    for title, truth in (
        (f"H of Zipf's law, 50 categories, {h:.4f}", h),
        (f"I of 5 x 5, {i:.4f}", i),
    ):
        print(f"| {title} | {head} |\n|---|{'---|' * len(SIZES)}")
        for estimator in ("auto", *DISCRETE):
            cells = []
            for n in SIZES:
                rng = np.random.default_rng(n)
                found = []
                for _ in range(replicates):
                    if truth == h:
                        found.append(entropy(rng.choice(50, n, p=p), estimator=estimator))
                    else:
                        x, y = np.divmod(rng.choice(25, n, p=table.ravel()), 5)
                        found.append(mutual_information(x, y, estimator=estimator))
                cells.append(row(title, estimator, found, truth))
            print(f"| {estimator} | {' | '.join(cells)} |", flush=True)
        print()
    print("| gate, bits | redundancy | unique 1 | unique 2 | synergy | largest error |")
    print("|---|---|---|---|---|---|")
    for name, (gate, truth) in GATES.items():
        q = np.zeros((2, 2, 4))
        for a, b in np.ndindex(2, 2):
            q[a, b, gate(a, b)] = 0.25
        parts = [e.value for e in decomposition(probabilities=q, unit="bits").parts.values()]
        error = max(abs(a - b) for a, b in zip(parts, truth, strict=True))
        print(f"| {name} | {' | '.join(f'{v:.6f}' for v in parts)} | {error:.1e} |")


if __name__ == "__main__":
    main()
