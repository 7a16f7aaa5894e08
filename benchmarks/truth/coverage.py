"""How often 95 % intervals of estimators for continuous samples hold the truth.

Run: python benchmarks/truth/coverage.py [--replicates 400] [--n 1000]
The first five rows are the tasks that the target names: 90 to 98 % from at least 200 replicates
where the estimator is consistent. The rest shows the other estimators, and where bias tells.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rivals import heading

from triptych.datasets.beyond_normal import load_task
from triptych.information import _choice, _copula, _gaussian, _knn

SHIFTED = 0.336827  # two normals of spread 1, centres 2 apart, by numerical integration


def on(task, by):
    """A sampler and the truth of a task, with an estimator."""
    task = load_task(task)
    return lambda n, seed: by(*task.sample(n, seed)), task.mutual_information


def drawn(by):
    """An estimator of a fresh generator's rows."""
    return lambda n, seed: by(n, np.random.default_rng(seed))


def shifted(by):
    """Two classes, one moved by 2."""

    def estimate(n, rng):
        labels = rng.integers(0, 2, n)
        return by(rng.normal(size=n) + 2.0 * labels, labels)

    return drawn(estimate), SHIFTED


def chain(by):
    """X and y = x + z + noise given z: ln(2) / 2."""

    def estimate(n, rng):
        z = rng.normal(size=n)
        x = z + rng.normal(size=n)
        return by(x, x + z + rng.normal(size=n), z)

    return drawn(estimate), 0.5 * np.log(2)


def automatic(x, y):
    """What the automatic choice takes."""
    return _choice.PAIRS[_choice.choose(x, y).estimator](x, y)


NORMAL = 0.5 * np.log(2 * np.pi * np.e)
CASES = {
    "normal: auto": on("normal", automatic),
    "bimodal(normal): auto": on("bimodal(normal)", automatic),
    "dense 5+5: auto": on("dense 5+5", automatic),
    "student 3+3 dof 3: auto": on("student 3+3 dof 3", automatic),
    "swiss-roll(cdf(normal)): KSG 1": on("swiss-roll(cdf(normal))", _knn.ksg),
    "additive 0.75: auto": on("additive 0.75", automatic),  # an edge of the density: biased
    "normal: KSG 1": on("normal", _knn.ksg),
    "normal: KSG 2": on("normal", lambda x, y: _knn.ksg(x, y, version=2)),
    "normal: KSG 1, k = 10": on("normal", lambda x, y: _knn.ksg(x, y, k=10)),
    "dense 2+2: KSG 1": on("dense 2+2", _knn.ksg),
    "dense 25+25: gaussian": on("dense 25+25", _gaussian.mutual_information),
    "cdf(sparse 5+5): copula": on("cdf(sparse 5+5)", _copula.gaussian),
    "student 5+5 dof 2: student copula": on("student 5+5 dof 2", _copula.student),
    "normal entropy: neighbours": (drawn(lambda n, r: _knn.entropy(r.normal(size=n))), NORMAL),
    "exponential entropy: neighbours": (
        drawn(lambda n, r: _knn.entropy(r.exponential(size=n))),
        1.0,
    ),
    "normal entropy: gaussian": (drawn(lambda n, r: _gaussian.entropy(r.normal(size=n))), NORMAL),
    "two shifted normals: Ross": shifted(_knn.ross),
    "two shifted normals: mixed": shifted(_knn.mixed),
    "chain given its start: Frenzel-Pompe": chain(_knn.conditional),
    "chain given its start: gaussian": chain(_gaussian.conditional_mutual_information),
    "shift by 1: divergence, neighbours": (
        drawn(lambda n, r: _knn.divergence(r.normal(size=n), r.normal(size=n) + 1)),
        0.5,
    ),
    "shift by 1: divergence, gaussian": (
        drawn(lambda n, r: _gaussian.divergence(r.normal(size=n), r.normal(size=n) + 1)),
        0.5,
    ),
}


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicates", type=int, default=400)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    given = parser.parse_args()
    print(f"{heading(1)}; n = {given.n}, {given.replicates} replicates\n")
    print("| task: estimator | truth | mean | spread | standard error | in the interval |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, (estimate, truth) in CASES.items():
        if given.only not in name:
            continue
        found = [estimate(given.n, seed) for seed in range(given.replicates)]
        values = np.array([e.value for e in found])
        held = np.mean([e.interval[0] <= truth <= e.interval[1] for e in found])
        error = np.mean([e.standard_error for e in found])
        print(
            f"| {name} | {truth:.4f} | {values.mean():.4f} | {values.std(ddof=1):.4f} | "
            f"{error:.4f} | {100 * held:.1f} % |",
            flush=True,
        )


if __name__ == "__main__":
    main()
