"""How many canonical components are real? Theory, permutation and other rows answer."""

import numpy as np

from triptych.canonical import cross_validated_correlations, permutation_test, rao_f
from triptych.coordination import CCA

rng = np.random.default_rng(0)
n = 120
shared = rng.normal(size=(n, 2))
X = {
    "sound": np.hstack([shared, rng.normal(size=(n, 6))]) @ rng.normal(size=(8, 8)),
    "picture": np.hstack([shared + 0.5 * rng.normal(size=(n, 2)), rng.normal(size=(n, 4))]),
}

model = CCA().fit(X)
theory = rao_f(model.correlations_, n, *sorted(model.rank_.values()))
test = permutation_test(X["sound"], X["picture"], n_permutations=499)
held = cross_validated_correlations(CCA(test.n_significant()), X, cv=10)

print("component        ", *range(1, 7), sep="\t")
for name, values in (
    ("correlation      ", model.correlations_),
    ("95 % by chance   ", test.level(0.95)),
    ("p, Rao           ", theory.p_values),
    ("p, permutation   ", test.p_values_fwe),
    ("on held-out rows ", held.mean),
):
    print(name, *(f"{value:.3f}" for value in values), sep="\t")
print(f"{test.n_significant()} components are beyond chance")
