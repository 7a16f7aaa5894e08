"""The batch decomposition on gates hidden in many columns, beside the exact answer.

Run: python benchmarks/truth/batch_gates.py [gate ...] [--rows 6000] [--steps 120]
Each coin is a direction among 40 columns, under noise and a nuisance of twice its size; with
probability ``FLIP`` the label is turned over, and the truth is then that of the noisy table, by
alternating minimisation on the exact posteriors. Ways: neither,
refinement without affinities, affinities alone (the paper's), and both (the default).
"""

import argparse
import time
from dataclasses import replace

import numpy as np
import torch

from triptych.datasets.synthetic import logic_gate
from triptych.information._batch import SETTINGS, decomposition
from triptych.losses.coupling import coupled, information_of, refined

COLUMNS, FLIP = 40, 0.1
BIT = np.log(2)
WAYS = {
    "neither": {"refine": 0, "affinity_steps": 0},
    "refinement alone": {"refine": 20, "affinity_steps": 0},
    "networks alone": {"refine": 0},
    "both": {"refine": 20},
}


def hidden(bits: np.ndarray, seed: int) -> np.ndarray:
    """A coin in 40 columns."""
    rng = np.random.default_rng(seed)
    own, nuisance = rng.standard_normal((2, 1, COLUMNS))
    clean = (2 * bits - 1)[:, None] + 0.2 * rng.standard_normal((len(bits), 1))
    noise = 0.5 * rng.standard_normal((len(bits), COLUMNS))
    return clean @ own + 2 * rng.standard_normal((len(bits), 1)) @ nuisance + noise


def exact(gate: str) -> list[float]:
    """Redundancy, uniques and synergy in bits of the gate with turned labels."""
    data = logic_gate(gate, 8, 0, balanced=True)
    a, b = (data.X[m][:, 0].astype(int) for m in ("a", "b"))
    soft = np.where(data.y == 1, 1 - FLIP, FLIP)
    first, second = (
        torch.tensor([[1 - soft[v == u].mean(), soft[v == u].mean()] for u in v]).log()
        for v in (a, b)
    )
    start = coupled(torch.zeros(2, 8, 8, dtype=torch.float64), first, second)
    both, one, two = (v.item() for v in information_of(refined(start, first, second, 2000)))
    h = lambda p: -(p * np.log(p) + (1 - p) * np.log(1 - p))  # noqa: E731
    total = h(soft.mean()) - h(FLIP)
    return [v / BIT for v in (one + two - both, both - two, both - one, total - both)]


def main(gates: list[str], rows: int, steps: int) -> None:
    """The table."""
    print(
        f"{time.strftime('%Y-%m-%d')}, {torch.get_num_threads()} thread(s), bits, n = {rows}, "
        f"{steps} steps\n"
    )
    print("| gate | way | redundancy | unique 1 | unique 2 | synergy | CPU s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for gate in gates:
        print(f"| {gate} | exact |", " | ".join(f"{v:.3f}" for v in exact(gate)), "| |")
        data = logic_gate(gate, rows, 1)
        x1, x2 = (hidden(data.X[m][:, 0], s) for s, m in enumerate(("a", "b")))
        turned = np.random.default_rng(9).random(rows) < FLIP
        y = np.where(turned, 1 - data.y, data.y)
        for way, settings in WAYS.items():
            start = time.process_time()
            found = decomposition(
                x1,
                x2,
                y,
                steps=steps,
                training=replace(SETTINGS, learning_rate=2e-3),
                random_state=0,
                **settings,
            )
            parts = [v.to("bits") for v in found]
            cells = " | ".join(f"{v.value:.3f} ± {v.standard_error:.3f}" for v in parts)
            print(f"| {gate} | {way} | {cells} | {time.process_time() - start:.0f} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gates", nargs="*", default=["and", "xor", "copy", "unique"])
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--steps", type=int, default=120)
    given = parser.parse_args()
    main(given.gates, given.rows, given.steps)
