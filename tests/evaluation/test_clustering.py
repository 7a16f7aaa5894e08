"""Scores of clusters against hand-made tables, brute force and scikit-learn."""

from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from triptych.errors import DataError, ShapeError
from triptych.evaluation import cluster_scores


def test_names_of_clusters_mean_nothing():
    classes = np.array(["x", "y", "z"])[np.arange(30) % 3]
    found = cluster_scores(classes, (np.arange(30) % 3 + 7) * -2.5)
    assert found.accuracy == found.purity == found.nmi == found.ari == 1


@pytest.mark.parametrize(("k", "seed"), [(3, 0), (5, 1), (2, 2)])
def test_accuracy_is_that_of_the_best_map_among_all(k, seed):
    draw = np.random.default_rng(seed)
    classes, clusters = draw.integers(0, 4, 60), draw.integers(0, k, 60)
    names = [*range(4), *[-1] * max(0, k - 4)]  # clusters beyond the classes are nobody's
    best = max(np.mean(np.array(chosen)[clusters] == classes) for chosen in permutations(names, k))
    found = cluster_scores(classes, clusters)
    assert found.accuracy == pytest.approx(best)
    assert found.nmi == pytest.approx(normalized_mutual_info_score(classes, clusters))
    assert found.ari == pytest.approx(adjusted_rand_score(classes, clusters))
    commonest = sum(np.bincount(classes[clusters == j]).max() for j in np.unique(clusters))
    assert found.purity == pytest.approx(commonest / 60)


def test_nmi_by_its_formula():
    classes, clusters = np.array([0, 0, 0, 1, 1, 2]), np.array([1, 1, 0, 0, 0, 0])
    p = np.histogram2d(classes, clusters, bins=(3, 2))[0] / 6
    a, b = p.sum(1), p.sum(0)
    told = sum(
        p[i, j] * np.log(p[i, j] / a[i] / b[j]) for i in range(3) for j in range(2) if p[i, j]
    )
    entropy = -(a * np.log(a)).sum() - (b * np.log(b)).sum()
    assert cluster_scores(classes, clusters).nmi == pytest.approx(2 * told / entropy)


def test_degenerate_clusterings():
    one = cluster_scores([0, 0, 1, 1], [5, 5, 5, 5])
    assert (one.accuracy, one.purity, one.nmi, one.ari) == (0.5, 0.5, 0, 0)
    each = cluster_scores([0, 0, 1, 1], [0, 1, 2, 3])
    assert (each.accuracy, each.purity) == (0.5, 1)  # purity is bought with clusters
    assert each.ari == pytest.approx(0)
    same = cluster_scores(["a", "a"], [3, 3])
    assert (same.accuracy, same.nmi, same.ari) == (1, 1, 1)


def test_what_cannot_be_compared_is_named():
    with pytest.raises(ShapeError, match="clusters: expected one label for each of 3 rows"):
        cluster_scores([0, 1, 2], [0, 1])
    with pytest.raises(DataError, match="classes: expected finite labels, got nan at row 1"):
        cluster_scores([0.0, np.nan], [0, 1])
    with pytest.raises(DataError, match="at least 1 row"):
        cluster_scores([], [])
