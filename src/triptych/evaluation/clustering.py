"""Clusters against classes: accuracy of the best map, purity, information and pairs in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.arrays import as_labels
from triptych.errors import DataError


@dataclass(frozen=True)
class ClusterScores:
    """How clusters (n,) agree with classes (n,).

    Args:
        accuracy: Share of rows right under the best one-to-one map of clusters to classes; rows
            in clusters beyond the number of classes are wrong.
        purity: Share of rows in the commonest class of their cluster. It rises with the number
            of clusters, to 1 where each row has its own.
        nmi: Normalised mutual information, 2 I / (H + H'), in [0, 1]. Older papers divide by the
            root of H H' or by the larger, which gives other figures.
        ari: Adjusted Rand index: 0 by chance, 1 where both are the same, negative below chance.
    """

    accuracy: float
    purity: float
    nmi: float
    ari: float


def cluster_scores(classes: ArrayLike, clusters: ArrayLike) -> ClusterScores:
    """All four measures of clusters against classes.

    A single cluster has NMI and ARI 0, and 1 where there is a single class too.

    Args:
        classes: True classes (n,), of any type that can be compared.
        clusters: Found clusters (n,); their names mean nothing.

    Raises:
        ShapeError: Different numbers of rows.
        DataError: No rows, or a label that is missing or not finite.

    References:
        Kuhn 1955 (the map, here by SciPy); Hubert and Arabie 1985 (ARI); Strehl and Ghosh 2002
        (NMI, there with the geometric mean).

    Example:
        >>> found = cluster_scores(["a", "a", "b", "b"], [1, 1, 0, 2])
        >>> found.accuracy, found.purity, round(found.nmi, 3)
        (0.75, 1.0, 0.8)
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
    from sklearn.metrics.cluster import contingency_matrix

    true = _codes(classes, np.size(classes), "classes")
    found = _codes(clusters, len(true), "clusters")
    table = contingency_matrix(true, found)  # (classes, clusters)
    # A rectangular table is as good as one padded with zeros.
    rows, columns = linear_sum_assignment(table, maximize=True)
    n = len(true)
    return ClusterScores(
        accuracy=float(table[rows, columns].sum() / n),
        purity=float(table.max(axis=0).sum() / n),
        nmi=float(normalized_mutual_info_score(true, found)),
        ari=float(adjusted_rand_score(true, found)),
    )


def _codes(labels: ArrayLike, n: int, name: str) -> NDArray[Any]:
    values = as_labels(labels, n, name)
    if not len(values):
        raise DataError(f"{name}: expected at least 1 row, got none.")
    return np.unique(values, return_inverse=True)[1].reshape(-1)
