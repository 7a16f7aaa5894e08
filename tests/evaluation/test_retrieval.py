import math
from importlib import import_module

import numpy as np
import pytest
from scipy import sparse

from triptych.errors import DataError, ParameterError, ShapeError
from triptych.evaluation.retrieval import (
    Partners,
    content_ids,
    first_rows,
    retrieval,
    same_partner,
)
from triptych.modalities import Modalities

module = import_module("triptych.evaluation.retrieval")


def by_loops(query, target, correct):
    """Sort by falling cosine, wrong before right in a tie, and read the list from the top."""

    def cosine(a, b):
        norm = math.sqrt(sum(x * x for x in a) * sum(x * x for x in b))
        return sum(x * y for x, y in zip(a, b, strict=True)) / norm if norm else 0.0

    ranks, precisions = [], []
    for i, q in enumerate(query):
        scored = [(-round(cosine(q, t), 9), correct[i][j], j) for j, t in enumerate(target)]
        listed = [right for _, right, _ in sorted(scored)]
        ranks.append(listed.index(True) + 1)
        hits = [place + 1 for place, right in enumerate(listed) if right]
        precisions.append(sum((r + 1) / place for r, place in enumerate(hits)) / len(hits))
    return ranks, sum(precisions) / len(precisions)


@pytest.mark.parametrize("few", [0, 16])
@pytest.mark.parametrize("tile", [3, 256])
def test_equals_a_loop_with_several_partners_and_ties(monkeypatch, tile, few):
    monkeypatch.setattr(module, "TILE", tile)
    monkeypatch.setattr(module, "FEW", few)
    rng = np.random.default_rng(0)
    # whole numbers make ties
    query, target = rng.integers(-1, 2, (11, 3)), rng.integers(-1, 2, (14, 3))
    correct = rng.random((11, 14)) < 0.2
    correct[np.arange(11), np.arange(11)] = True
    score = retrieval(query, target, correct, ks=(1, 2, 5))
    ranks, precision = by_loops(query.tolist(), target.tolist(), correct.tolist())
    assert score.ranks.tolist() == ranks
    assert score.mean_average_precision == pytest.approx(precision)
    assert score.median_rank == sorted(ranks)[5]
    for k in (1, 2, 5):
        assert score.recall[k] == pytest.approx(sum(r <= k for r in ranks) / 11)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e-3])
@pytest.mark.parametrize("n", [10, 600])
def test_codes_that_are_all_alike_rank_last(value, n):
    Z = np.full((n, 7), value, dtype=np.float32)
    score = retrieval(Z, Z)
    assert score.recall == {1: 0.0, 5: 0.0, 10: float(n <= 10)}
    assert score.median_rank == n
    assert score.mean_average_precision == pytest.approx(1 / n)


def test_perfect_and_random_codes():
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(500, 8))
    perfect = retrieval(Z, 3 * Z)
    assert perfect.recall[1] == 1 and perfect.mean_average_precision == 1
    other = retrieval(Z, rng.normal(size=(500, 8)))
    # R@10 of chance is 10 / 500; standard error sqrt(0.02 * 0.98 / 500) = 0.006, five of them
    assert abs(other.recall[10] - 0.02) < 0.032
    assert abs(other.median_rank - 250) < 60


def test_permuting_targets_with_their_partners_changes_nothing():
    rng = np.random.default_rng(0)
    query = rng.normal(size=(30, 4))
    target = query + rng.normal(size=(30, 4))
    order = rng.permutation(30)
    first = retrieval(query, target)
    moved = retrieval(query, target[order], np.argsort(order))
    assert moved.ranks.tolist() == first.ranks.tolist()
    queries = retrieval(query[order], target, order)
    assert queries.ranks.tolist() == first.ranks[order].tolist()
    np.testing.assert_array_equal(retrieval(query * 1e-3, 5 * target).ranks, first.ranks)


def test_identities_equal_the_dense_relevance():
    X = Modalities(
        {
            "image": np.array([[1, 2], [1, 2], [3, 4], [5, 6]], dtype=np.uint8),
            "text": ["x", "y", "y", "z"],
        }
    )
    partners = same_partner(X, "image", "text")
    dense = np.zeros((4, 4), dtype=bool)
    for i in range(4):
        for j in range(4):
            alike = (X["image"][i] == X["image"][j]).all() or X["text"][i] == X["text"][j]
            dense[i, j] = alike
    np.testing.assert_array_equal(partners.tile(slice(0, 4)), dense)
    rng = np.random.default_rng(0)
    za, zb = rng.normal(size=(2, 4, 3))
    a, b = retrieval(za, zb, partners), retrieval(za, zb, dense)
    assert a.recall == b.recall and a.mean_average_precision == b.mean_average_precision
    assert retrieval(zb, za, partners.swapped()).n_queries == 4


def test_identities_of_every_kind_of_data():
    thin = sparse.csr_matrix(np.array([[0, 1.0], [2, 0], [0, 1]]))
    X = Modalities(
        {
            "thin": thin,
            "steps": [np.ones((2, 1)), np.ones((3, 1)), np.ones((2, 1))],
            "text": ["a", None, None],
        }
    )
    assert content_ids(X, "thin").tolist() == [0, 1, 0]
    assert content_ids(X, "steps").tolist() == [0, 1, 0]
    ids = content_ids(X, "text")
    assert len(set(ids.tolist())) == 3


def test_first_row_of_each_group_in_order():
    groups = np.array(["b", "a", "b", "c", "a"])
    assert first_rows(groups).tolist() == [0, 1, 3]
    assert first_rows(groups, np.array([0, 1, 1, 0, 1], bool)).tolist() == [1, 2]
    assert first_rows(None, np.array([True, False, True])).tolist() == [0, 2]


def test_errors():
    Z = np.eye(3)
    with pytest.raises(ShapeError, match="3 columns and target 2"):
        retrieval(Z, Z[:, :2])
    with pytest.raises(ShapeError, match="got 3 and 2"):
        retrieval(Z, Z[:2])
    with pytest.raises(DataError, match="query row 1 has no correct"):
        retrieval(Z, Z, np.diag([True, False, True]))
    bad = Z.copy()
    bad[2, 0] = np.inf
    with pytest.raises(DataError, match="not finite at row 2, column 0"):
        retrieval(bad, Z)
    with pytest.raises(ShapeError, match="correct: expected Partners"):
        retrieval(Z, Z, np.zeros((2, 2)))
    with pytest.raises(ShapeError, match="identities of 3 queries"):
        retrieval(Z, Z, Partners(np.zeros((2, 1), int), np.zeros((2, 1), int)))
    with pytest.raises(DataError, match="rows of target"):
        retrieval(Z, Z, np.array([0, 1, 3]))
    with pytest.raises(ParameterError, match="ks"):
        retrieval(Z, Z, ks=(0,))
    with pytest.raises(DataError, match="needs rows"):
        retrieval(np.empty((0, 3)), Z, np.empty((0, 3), bool))
