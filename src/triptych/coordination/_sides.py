"""Modalities of many rows, of many columns, or sparse, brought to bases that can be compared.

Each modality's standardised columns are Z = U diag(s) V^T over the rows that have it, and methods
need of U only the weighted products U_a^T K U_b. These come by one of two roads: from thin SVDs,
exact for any n and p, or from moments Z_a^T K Z_b summed over chunks of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import is_lazy, is_sparse, row_chunks
from triptych.errors import DataError
from triptych.features import Features
from triptych.linalg import CONSTANT, EPS, thin_svd
from triptych.modalities import Modalities

Array = NDArray[np.float64]

# Moments square the condition. Below this share of the largest eigenvalue they have lost too many
# digits (1e-6 costs six of sixteen), and data in memory take the road of SVDs.
UNSAFE = 1e-6
CHUNK_NUMBERS = 2**22  # 32 MiB of float64


@dataclass(frozen=True)
class Columns:
    """How columns are standardised, from the rows that have the modality.

    Args:
        means: Shape (p,).
        spreads: Standard deviations (divisor n - 1), shape (p,); 1 where a column is constant.
        constant: Boolean (p,).
        noise: Rounding of one standardised entry, shape (p,); 0 where a column is constant.
        n: Rows.
    """

    means: Array
    spreads: Array
    constant: NDArray[np.bool_]
    noise: Array
    n: int


@dataclass(frozen=True)
class Side:
    """One modality's basis.

    Args:
        columns: How its columns are standardised.
        s: Singular values of the standardised columns, falling, positive, shape (r,).
        Vt: Right singular vectors, shape (r, p).
    """

    columns: Columns
    s: Array
    Vt: Array

    def weights(self, turn: Array) -> Array:
        """Weights (p, d) of the columns as given, for directions ``U @ turn`` of unit rows."""
        W: Array = self.Vt.T @ (turn / self.s[:, None])
        W /= self.columns.spreads[:, None]
        W[self.columns.constant] = 0.0
        return W

    def loadings(self, turn: Array) -> Array:
        """Correlation (p, d) of each column with ``U @ turn``; 0 for constant columns."""
        size = np.linalg.norm(turn, axis=0)
        unit = turn / np.where(size > 0, size, 1.0)
        found: Array = self.Vt.T @ (self.s[:, None] * unit) / np.sqrt(self.columns.n - 1)
        found[self.columns.constant] = 0.0
        return np.clip(found, -1.0, 1.0)


@dataclass(frozen=True)
class Sides:
    """All modalities, in the order of the alphabet.

    Args:
        sides: By modality.
        products: U_a^T K U_b for a <= b in that order, shape (r_a, r_b); U is 0 in rows that lack
            the modality and K = 1 / (number of modalities in the row).
        weight: Sum over rows of the number of modalities in the row.
    """

    sides: Mapping[str, Side]
    products: Mapping[tuple[str, str], Array]
    weight: int

    @property
    def ranks(self) -> dict[str, int]:
        """Rank by modality."""
        return {name: len(side.s) for name, side in self.sides.items()}

    def assembled(self, factors: Mapping[str, Array]) -> Array:
        """The symmetric matrix (R, R) of all products, rows and columns scaled by ``factors``."""
        names, sizes = list(self.sides), self.ranks
        edges = np.concatenate([[0], np.cumsum([sizes[name] for name in names])])
        C = np.empty((edges[-1], edges[-1]))
        for i, a in enumerate(names):
            for j, b in enumerate(names[i:], start=i):
                block = factors[a][:, None] * self.products[a, b] * factors[b]
                C[edges[i] : edges[i + 1], edges[j] : edges[j + 1]] = block
                C[edges[j] : edges[j + 1], edges[i] : edges[i + 1]] = block.T
        return C

    def split(self, vectors: Array) -> dict[str, Array]:
        """Rows of ``vectors`` (R, d) by modality."""
        edges = np.cumsum(list(self.ranks.values()))[:-1]
        return dict(zip(self.sides, np.split(vectors, edges), strict=True))


def read_sides(X: Modalities, features: Mapping[str, Features]) -> Sides:
    """Read the data, twice by chunks of rows, and bring them to bases.

    Moments are used where no modality has more columns than rows; dense data in memory whose
    moments turn out to be ill-conditioned are read again and decomposed themselves.

    Args:
        X: Rows to learn from; each has a modality at least.
        features: How each modality becomes columns.

    Raises:
        DataError: A modality with fewer than two rows, or without a column that varies.
    """
    columns = _scanned(X, features)
    names = list(columns)
    narrow = all(len(c.means) < c.n for c in columns.values())
    heavy = any(is_lazy(X._data[name]) or is_sparse(X._data[name]) for name in names)
    if narrow:
        found = _by_moments(X, features, columns, careful=not heavy)
        if found is not None:
            return found
    return _decomposed(X, features, columns).paired()


def _scanned(X: Modalities, features: Mapping[str, Features]) -> dict[str, Columns]:
    columns = {name: _scan(X.select(name), features[name]) for name in sorted(X.names)}
    for name, scaled in columns.items():
        if scaled.constant.all():
            raise DataError(f"modality {name!r}: every column is constant, so nothing correlates.")
    return columns


def read_bases(X: Modalities, features: Mapping[str, Features]) -> Bases:
    """Bases with all their rows in memory, by thin SVDs.

    Args:
        X: Rows; each has a modality at least.
        features: How each modality becomes columns.

    Raises:
        DataError: A modality with fewer than two rows, or without a column that varies.
    """
    return _decomposed(X, features, _scanned(X, features))


@dataclass(frozen=True)
class Bases:
    """Sides with their rows.

    Args:
        sides: By modality.
        rows: U by modality, (n, r); 0 in rows that lack it.
        counts: Modalities of each row, (n,).
    """

    sides: Mapping[str, Side]
    rows: Mapping[str, Array]
    counts: NDArray[np.intp]

    def paired(self, rows: Mapping[str, Array] | None = None) -> Sides:
        """What methods need, with the rows as they are or in other places."""
        root = np.sqrt(self.counts)[:, None]
        scaled = {m: U / root for m, U in (rows or self.rows).items()}
        names = list(scaled)
        products = {
            (a, b): scaled[a].T @ scaled[b] for i, a in enumerate(names) for b in names[i:]
        }
        return Sides(self.sides, products, int(self.counts.sum()))


def chunks(X: Modalities, width: int) -> Iterator[slice]:
    """Slices of rows such that one chunk of ``width`` columns holds about 32 MiB."""
    return row_chunks(len(X), max(256, CHUNK_NUMBERS // max(width, 1)))


def dense(X: Modalities, name: str, features: Features) -> Array:
    """Columns (n, p) of these rows; zeros in rows that lack the modality."""
    columns = features.transform(X[name], X.present[name])
    out = columns.toarray() if is_sparse(columns) else columns
    return np.asarray(out, dtype=np.float64)


def present_counts(X: Modalities) -> NDArray[np.intp]:
    """How many modalities each row has, shape (n,)."""
    counts: NDArray[np.intp] = np.sum(list(X.present.values()), axis=0)
    return counts


def _scan(X: Modalities, features: Features) -> Columns:
    """Means and spreads in one pass: chunks are centred by themselves and merged (Chan 1983)."""
    (name,) = X.names
    n, mean, size, squares = 0, np.zeros(0), np.zeros(0), np.zeros(0)
    eps = EPS
    for part in chunks(X, features.n_features):
        rows = X[part]
        mask = rows.present[name]
        if not mask.any():
            continue
        data = rows[name]
        if getattr(getattr(data, "dtype", None), "kind", "") == "f":
            eps = max(eps, float(np.finfo(data.dtype).eps))
        values = dense(rows, name, features)[mask]
        # Squares of 1e±150 leave the range of float64, so units are the largest value so far.
        most = np.abs(values).max(axis=0)
        if n == 0:
            mean, size, squares = (np.zeros(values.shape[1]) for _ in range(3))
        wider = np.maximum(size, most)
        unit = np.where(wider > 0, wider, 1.0)
        squares = squares * (size / unit) ** 2
        size = wider
        values = values / unit
        own = values.mean(axis=0)
        values -= own
        rest = values.mean(axis=0)  # what rounding of a large mean left behind
        values -= rest
        own += rest
        count = len(values)
        step = own - mean / unit
        squares += np.einsum("np,np->p", values, values) + step**2 * (n * count / (n + count))
        mean = mean + step * unit * (count / (n + count))
        n += count
    if n < 2:
        raise DataError(f"modality {name!r}: expected 2 rows that have it, got {n}.")
    spread = np.sqrt(squares / (n - 1))
    constant = spread <= CONSTANT
    safe = np.where(constant, 1.0, spread)
    unit = np.where(size > 0, size, 1.0)
    return Columns(
        means=mean,
        spreads=np.where(constant, 1.0, safe * unit),
        constant=constant,
        noise=np.where(constant, 0.0, eps / safe),
        n=n,
    )


def _standardised(X: Modalities, name: str, features: Features, columns: Columns) -> Array:
    values = dense(X, name, features)
    values = (values - columns.means) / columns.spreads
    values[:, columns.constant] = 0.0
    values[~X.present[name]] = 0.0
    return values


def _by_moments(
    X: Modalities,
    features: Mapping[str, Features],
    columns: Mapping[str, Columns],
    *,
    careful: bool,
) -> Sides | None:
    """Bases from moments; ``None`` if ``careful`` and their condition costs too many digits."""
    names = list(columns)
    widths = [len(columns[name].means) for name in names]
    edges = dict(zip(names, np.cumsum([0, *widths[:-1]]), strict=True))
    total = sum(widths)
    whole = X.complete
    M, own = (
        np.zeros((total, total)),
        {m: np.zeros((w, w)) for m, w in zip(names, widths, strict=True)},
    )
    for part in chunks(X, total):
        rows = X[part]
        Z = {m: _standardised(rows, m, features[m], columns[m]) for m in names}
        if whole:
            joint = np.hstack(list(Z.values()))
            M += joint.T @ joint
            continue
        for m in names:
            own[m] += Z[m].T @ Z[m]
        joint = np.hstack(list(Z.values())) / np.sqrt(present_counts(rows))[:, None]
        M += joint.T @ joint
    blocks = {m: slice(edges[m], edges[m] + w) for m, w in zip(names, widths, strict=True)}
    if whole:
        own = {m: M[blocks[m], blocks[m]] for m in names}
        M = M / len(names)
    sides: dict[str, Side] = {}
    for m in names:
        values, vectors = np.linalg.eigh(own[m])
        values, vectors = values[::-1], vectors[:, ::-1]
        varies = int((~columns[m].constant).sum())
        if careful and values[varies - 1] <= UNSAFE * values[0]:
            return None
        # Rounding of n products, and of the data themselves, in squared units.
        floor = 8 * max(widths) * EPS * values[0]
        keep = values > floor
        keep &= values > columns[m].n * np.sum((vectors * columns[m].noise[:, None]) ** 2, axis=0)
        sides[m] = Side(columns[m], np.sqrt(values[keep]), vectors[:, keep].T)
    turned = {m: side.Vt.T / side.s for m, side in sides.items()}
    products = {
        (a, b): turned[a].T @ M[blocks[a], blocks[b]] @ turned[b]
        for i, a in enumerate(names)
        for b in names[i:]
    }
    return Sides(sides, products, int(present_counts(X).sum()))


def _decomposed(
    X: Modalities, features: Mapping[str, Features], columns: Mapping[str, Columns]
) -> Bases:
    sides, rows = {}, {}
    for m, scaled in columns.items():
        rows[m], s, Vt = thin_svd(_standardised(X, m, features[m], scaled), scaled.noise)
        sides[m] = Side(scaled, s, Vt)
    return Bases(sides, rows, present_counts(X))
