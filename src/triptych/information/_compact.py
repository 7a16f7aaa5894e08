"""Few categories for many numbers: bins of equal frequency, or clusters by k-means."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from triptych.errors import DataError
from triptych.information._variables import Codes, Variable
from triptych.linalg import standardise
from triptych.seeding import derive

COMPONENTS = 10
"""Principal components that clusters are looked for in."""
FEW = 10
"""Different values of one column that are always kept apart."""
_FIT = 20_000


def compact(v: Variable, categories: int, random_state: int) -> tuple[Codes, str]:
    """Categories of a variable, and in words how they were made.

    A discrete variable stays as it is. One column is cut at its quantiles; several are brought
    to spread 1, reduced to at most ``COMPONENTS`` principal components and clustered by k-means.

    Args:
        v: The variable, n rows.
        categories: How many bins or clusters.
        random_state: Seed of k-means.

    Raises:
        DataError: Fewer rows than categories.
    """
    if v.codes is not None:
        return v.codes, "its own categories"
    numbers = v.embedded()
    if len(numbers) < 2 * categories:
        raise DataError(
            f"{v.name}: expected at least {2 * categories} rows to make {categories} categories "
            f"of numbers, got {len(numbers)}."
        )
    if numbers.shape[1] == 1:
        return _bins(numbers[:, 0], categories)
    if len(np.unique(numbers[:1000], axis=0)) <= categories:
        whole, labels = np.unique(numbers, axis=0, return_inverse=True)
        if len(whole) <= categories:
            return Codes(labels.reshape(-1), 0, len(whole)), f"its {len(whole)} different rows"
    return _clusters(numbers, categories, derive(random_state, "clusters", v.name))


def _bins(column: NDArray[np.float64], categories: int) -> tuple[Codes, str]:
    few = max(categories, FEW)
    if len(np.unique(column[:1000])) <= few:
        values, labels = np.unique(column, return_inverse=True)
        if len(values) <= few:
            return Codes(labels.reshape(-1), 0, len(values)), f"its {len(values)} values"
    edges = np.unique(np.quantile(column, np.linspace(0, 1, categories + 1)[1:-1]))
    labels = np.searchsorted(edges, column, side="right")
    return Codes(labels, 0, len(edges) + 1), f"{len(edges) + 1} bins of about equal frequency"


def _clusters(numbers: NDArray[np.float64], categories: int, seed: int) -> tuple[Codes, str]:
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    values = standardise(numbers).values
    told = f"{categories} clusters (k-means)"
    if values.shape[1] > COMPONENTS:
        wide = min(values.shape) > 500
        pca = PCA(COMPONENTS, svd_solver="randomized" if wide else "auto", random_state=seed)
        values = pca.fit_transform(values)
        kept = float(pca.explained_variance_ratio_.sum())
        told += f" of {COMPONENTS} principal components, which hold {kept:.0%} of the variance"
    model = KMeans(categories, n_init=4, random_state=seed)
    # Centres need no more rows than this, and every row is then given to the nearest.
    model.fit(values if len(values) <= _FIT else values[_spread(len(values), _FIT, seed)])
    labels = model.predict(values)
    return Codes(labels.astype(np.intp), 0, categories), told


def _spread(n: int, how_many: int, seed: int) -> NDArray[np.intp]:
    return np.sort(np.random.default_rng(seed).choice(n, how_many, replace=False))
