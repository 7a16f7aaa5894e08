"""Cross-modal retrieval: does a row's code in one modality find its partner in another?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.arrays import as_mask, check_number, is_sparse, row_chunks
from triptych.errors import DataError, ShapeError
from triptych.evaluation.probes import as_codes
from triptych.media import FileRows
from triptych.modalities import Modalities, as_modalities
from triptych.neighbours import unit_rows

TILE = 256
# Cosines nearer than this are a tie: equal codes differ by rounding from tile to tile.
TIE = 1e-10
FEW = 16


@dataclass(frozen=True)
class Partners:
    """Which targets are correct for which queries, without an n × m matrix.

    Target j is correct for query i if any column of their identities agrees.

    Args:
        query: Whole numbers (n, c).
        target: Whole numbers (m, c).
    """

    query: NDArray[np.int64]
    target: NDArray[np.int64]

    def __post_init__(self) -> None:
        shapes = self.query.shape, self.target.shape
        if self.query.ndim != 2 or self.target.ndim != 2 or shapes[0][1] != shapes[1][1]:
            raise ShapeError(
                "identities of queries and targets must be (n, c) and (m, c); got "
                f"{shapes[0]} and {shapes[1]}."
            )

    def tile(self, rows: slice) -> NDArray[np.bool_]:
        """Relevance of all targets for some queries, boolean (tile, m)."""
        out = np.zeros((len(self.query[rows]), len(self.target)), dtype=bool)
        for own, other in zip(self.query[rows].T, self.target.T, strict=True):
            out |= own[:, None] == other
        return out

    def swapped(self) -> Partners:
        """The other direction."""
        return Partners(self.target, self.query)

    def __getitem__(self, rows: Any) -> Partners:
        """The same rows of both sides."""
        return Partners(self.query[rows], self.target[rows])


@dataclass(frozen=True)
class RetrievalScore:
    """How well queries find their partners.

    Args:
        recall: By k, the share of queries with a correct item among the first k.
        median_rank: Median over queries of the rank of the best correct item, 1 is best.
        mean_average_precision: Mean over queries of the average precision over correct items.
        n_queries: Queries n.
        n_targets: Candidates m.
        ranks: Rank of each query's best correct item, shape (n,).
    """

    recall: Mapping[int, float]
    median_rank: float
    mean_average_precision: float
    n_queries: int
    n_targets: int
    ranks: NDArray[np.intp]


def retrieval(
    query: ArrayLike,
    target: ArrayLike,
    correct: Partners | ArrayLike | None = None,
    ks: tuple[int, ...] = (1, 5, 10),
) -> RetrievalScore:
    r"""Rank targets by cosine for each query; a tie counts against the query.

    The rank of the best correct item :math:`c` is 1 + the number of wrong items j with
    :math:`s_j \ge s_c`. With the correct items in falling order, the average precision is the
    mean over r of :math:`r / (r + w_r)`, where :math:`w_r` wrong items score at least as high as
    the r-th correct one. So codes that are all alike rank last, not first. A zero code has
    cosine 0 with everything. Similarities are held for a tile of queries at a time.

    Args:
        query: Codes (n, d); leave absent rows out.
        target: Codes (m, d).
        correct: ``None`` if row i belongs to row i (n = m); else :class:`Partners`, one target
            row per query (n,), or booleans (n, m).
        ks: Depths of recall.

    Raises:
        DataError: A query without a correct target, codes that are not finite, or no rows.
        ShapeError: Widths or lengths that do not fit.
    """
    q, t = as_codes(query, "query"), as_codes(target, "target")
    if q.shape[1] != t.shape[1]:
        raise ShapeError(
            f"query has {q.shape[1]} columns and target {t.shape[1]}; cosine needs equal widths."
        )
    if len(q) == 0 or len(t) == 0:
        raise DataError(f"retrieval needs rows; got {len(q)} queries and {len(t)} targets.")
    for k in ks:
        check_number("ks", k, low=1, integer=True)
    relevance = _relevance(correct, len(q), len(t))
    q, t = unit_rows(q), unit_rows(t)
    ranks = np.empty(len(q), dtype=np.intp)
    precision = np.empty(len(q))
    for part in row_chunks(len(q), TILE):
        scores = q[part] @ t.T  # (tile, m)
        right = relevance(part)
        for i in range(len(scores)):
            row = part.start + i
            if not right[i].any():
                raise DataError(f"query row {row} has no correct target among {len(t)}.")
            ranks[row], precision[row] = _one_query(scores[i], right[i])
    return RetrievalScore(
        recall={k: float((ranks <= k).mean()) for k in ks},
        median_rank=float(np.median(ranks)),
        mean_average_precision=float(precision.mean()),
        n_queries=len(q),
        n_targets=len(t),
        ranks=ranks,
    )


def mean_retrieval(found: Sequence[RetrievalScore]) -> RetrievalScore:
    """The mean of scores of the same queries and targets; ranks are those of the first."""
    return replace(
        found[0],
        recall={k: float(np.mean([score.recall[k] for score in found])) for k in found[0].recall},
        median_rank=float(np.mean([score.median_rank for score in found])),
        mean_average_precision=float(np.mean([s.mean_average_precision for s in found])),
    )


def _one_query(scores: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[int, float]:
    found = np.sort(scores[right])[::-1] - TIE  # (r,)
    wrong = scores[~right]
    if len(found) <= FEW:
        above = (wrong >= found[:, None]).sum(axis=1)
    else:
        above = len(wrong) - np.searchsorted(np.sort(wrong), found, side="left")
    order = np.arange(1, len(found) + 1)
    return 1 + int(above[0]), float((order / (order + above)).mean())


def _relevance(
    correct: Partners | ArrayLike | None, n: int, m: int
) -> Callable[[slice], NDArray[np.bool_]]:
    if correct is None:
        if n != m:
            raise ShapeError(
                f"without `correct`, row i of query belongs to row i of target; got {n} and {m}."
            )
        correct = np.arange(n)
    if isinstance(correct, Partners):
        if (len(correct.query), len(correct.target)) != (n, m):
            raise ShapeError(
                f"correct: expected identities of {n} queries and {m} targets, got "
                f"{len(correct.query)} and {len(correct.target)}."
            )
        return correct.tile
    given = np.asarray(correct)
    if given.dtype.kind == "b" and given.shape == (n, m):
        return lambda part: np.asarray(given[part])
    if given.dtype.kind in "iu" and given.shape == (n,):
        if given.min() < 0 or given.max() >= m:
            raise DataError(f"correct: expected rows of target from 0 to {m - 1}.")
        return lambda part: given[part, None] == np.arange(m)
    raise ShapeError(
        f"correct: expected Partners, target rows ({n},) or booleans ({n}, {m}); got "
        f"{given.dtype} of shape {given.shape}."
    )


def same_partner(X: Mapping[str, Any] | Modalities, a: str, b: str) -> Partners:
    """Rows i and j are partners if their content is identical in modality a or in modality b.

    Two rows with one picture under two names both count: who is shown the picture cannot know
    which name is meant. Identical means byte by byte; an absent row is identical to none.

    Args:
        X: Modalities, n rows.
        a: Modality of the queries.
        b: Modality of the targets.

    Returns:
        Identities (n, 2) of both sides; equal for both directions.
    """
    data = as_modalities(X)
    ids = np.column_stack([content_ids(data, a), content_ids(data, b)])
    return Partners(ids, ids)


def content_ids(X: Modalities, name: str) -> NDArray[np.int64]:
    """A number (n,) for each row, equal where the content of one modality is byte-identical.

    Rows in files are compared by the bytes of their files, each of which is read once.
    """
    values, present = X[name], X.present[name]
    digests = values.digests() if isinstance(values, FileRows) else None
    if is_sparse(values):
        values = values.tocsr(copy=True)
        values.sum_duplicates()
        values.eliminate_zeros()
    known: dict[bytes, int] = {}
    ids = np.empty(len(X), dtype=np.int64)
    for row in range(len(X)):
        if present[row]:
            key = _digest(values, row) if digests is None else digests[row] or b""
            ids[row] = known.setdefault(key, len(known))
        else:
            ids[row] = -1 - row
    return ids


def _digest(values: Any, row: int) -> bytes:
    if is_sparse(values):
        part = slice(values.indptr[row], values.indptr[row + 1])
        body = values.indices[part].tobytes() + b"|" + values.data[part].tobytes()
    elif isinstance(values[row], str):
        body = values[row].encode("utf-8", "surrogatepass")
    else:
        item = np.ascontiguousarray(values[row])
        body = f"{item.dtype}{item.shape}|".encode() + item.tobytes()
    return hashlib.blake2b(body, digest_size=16).digest()


def first_rows(
    groups: ArrayLike | None, present: NDArray[np.bool_] | None = None
) -> NDArray[np.intp]:
    """The first row of each group, in the order of the rows.

    Args:
        groups: Group of each row (n,); ``None`` when every row is its own.
        present: Boolean (n,); other rows are passed over. Needed without groups.
    """
    if groups is None:
        if present is None:
            raise DataError("first_rows needs groups or a mask of rows.")
        return np.flatnonzero(present)
    values = np.asarray(groups)
    mask = np.ones(len(values), bool) if present is None else present
    rows = np.flatnonzero(as_mask(mask, len(values), "groups"))
    _, first = np.unique(values[rows], return_index=True)
    return rows[np.sort(first)]
