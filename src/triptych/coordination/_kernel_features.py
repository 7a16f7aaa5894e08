"""Kernel CCA for many rows: features that approximate a kernel, and their moments by blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import row_chunks
from triptych.errors import DataError, ParameterError
from triptych.linalg import EPS
from triptych.similarity import Kernel, pairwise
from triptych.values import register

Array = NDArray[Any]
# Entries of one block of features: 32 MB in single precision.
BLOCK_ENTRIES = 8_000_000
BLOCK_ROWS = 2048  # fewer would spend the time on adding up products
# Blocks of the subspace, and the residual of squared correlations at which it is good enough.
KRYLOV = 20
CLOSE = 1e-10
# Kernels whose features are, and what float32 holds of columns: numbers of 100 widths are rounded
# to 6e-6 of one, and those within 1e±30 can be divided by one another.
BOUNDED = ("rbf", "laplacian", "cosine", "centred_cosine")
SAFE_RATIO, SAFE_SIZE = 100.0, 1e30
# Landmarks whose kernel the others explain to this share of the largest are left out.
DROP = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-13}


class Columns(NamedTuple):
    """Rows of one modality, read when needed.

    Args:
        name: The modality.
        n: Rows.
        width: Columns p.
        read: Gives rows (b, p) as numbers, for a slice or indices.
    """

    name: str
    n: int
    width: int
    read: Callable[[Any], Array]


@register
@dataclass(frozen=True)
class KernelColumns:
    """Features k(x, z_j) of rows x for rows z_j that are kept.

    Args:
        rows: Rows z, shape (M, p).
        kernel: The kernel; ``None`` where a function of the user's is given to
            :meth:`transform`.
    """

    rows: Array
    kernel: Kernel | None = None

    def transform(self, columns: Array, function: Callable[..., Any] | None = None) -> Array:
        """Kernel of rows (n, p) with those kept, shape (n, M)."""
        kernel = self.kernel or function
        assert kernel is not None
        return pairwise(kernel, columns, self.rows)


@register
@dataclass(frozen=True)
class FourierFeatures:
    """Random features sqrt(2 / M) cos(w_j·x + b_j), whose products approximate a kernel.

    Args:
        frequencies: w, shape (p, M).
        phases: b, shape (M,), in [0, 2 pi).
    """

    frequencies: Array
    phases: Array

    def transform(self, columns: Array, function: Callable[..., Any] | None = None) -> Array:
        """Features of rows (n, p), shape (n, M), in the precision of the frequencies."""
        angles: Array = columns.astype(self.phases.dtype, copy=False) @ self.frequencies
        angles += self.phases
        np.cos(angles, out=angles)
        angles *= angles.dtype.type(np.sqrt(2 / len(self.phases)))
        return angles

    def cast(self, dtype: Any) -> FourierFeatures:
        """The same in another precision."""
        return FourierFeatures(self.frequencies.astype(dtype), self.phases.astype(dtype))


def fits_single(side: Columns, kernel: Kernel | None) -> bool:
    """Whether the features of a modality are bounded, and its rows keep their digits in float32.

    Numbers that are float32 already lose nothing. Others are judged by 1,000 rows spread evenly.

    Args:
        side: The modality.
        kernel: With its numbers; ``None`` for a function.
    """
    if kernel is None or kernel.name not in BOUNDED:
        return False
    rows = side.read(np.unique(np.linspace(0, side.n - 1, 1000, dtype=np.intp)))
    if rows.dtype in (np.float16, np.float32):
        return True
    size = float(np.abs(rows).max())
    if kernel.name == "rbf":
        unit = float(kernel.width or 1.0)
    elif kernel.name == "laplacian":
        unit = 1 / float(kernel.gamma or 1.0)
    elif kernel.name == "centred_cosine":
        unit = float(np.abs(rows - rows.mean(axis=1, keepdims=True)).max())
    else:
        unit = size
    return size <= SAFE_RATIO * unit and 1 / SAFE_SIZE < size < SAFE_SIZE and unit < SAFE_SIZE


def draw_fourier(
    name: str, kernel: Kernel | None, width: int, n_features: int, draw: np.random.Generator
) -> FourierFeatures:
    """Random Fourier features of a kernel that depends on x - y alone.

    Each frequency serves two features, a quarter turn apart, and those of ``rbf`` are orthogonal
    by blocks of p: with as many features, products are nearer to the kernel than those of
    independent frequencies and phases, and as unbiased.

    Args:
        name: Modality, for errors.
        kernel: ``rbf`` (frequencies are normal) or ``laplacian`` (Cauchy), with its numbers.
        width: Columns p.
        n_features: M.
        draw: Generator.

    Raises:
        ParameterError: Another kernel.

    References:
        Rahimi and Recht 2007, "Random features for large-scale kernel machines", alg. 1;
        Sutherland and Schneider 2015, arXiv:1506.02785 (two features of a frequency); Yu et al.
        2016, arXiv:1610.09072 (orthogonal frequencies).
    """
    drawn = (n_features + 1) // 2
    if kernel is not None and kernel.width is not None and kernel.name == "rbf":
        frequencies = _orthogonal(width, drawn, draw) / kernel.width
    elif kernel is not None and kernel.gamma is not None and kernel.name == "laplacian":
        frequencies = draw.standard_cauchy((width, drawn)) * kernel.gamma
    else:
        raise ParameterError(
            "approximation 'fourier' is for kernels of x - y, 'rbf' and 'laplacian'; modality "
            f"{name!r} has {'a function' if kernel is None else repr(kernel.name)}. Take "
            "'nystroem'."
        )
    phases = draw.uniform(0, 2 * np.pi, drawn)
    return FourierFeatures(
        np.hstack([frequencies, frequencies])[:, :n_features],
        np.concatenate([phases, phases + np.pi / 2])[:n_features],
    )


def _orthogonal(width: int, count: int, draw: np.random.Generator) -> Array:
    """Normal vectors (p, count), each by itself; those of a block of p are orthogonal."""
    blocks = []
    for low in range(0, count, width):
        Q, R = np.linalg.qr(draw.standard_normal((width, min(width, count - low))))
        # The sign of R's diagonal makes Q uniform, not what Householder's reflections prefer.
        lengths = np.sqrt(draw.chisquare(width, Q.shape[1])) * np.where(np.diag(R) < 0, -1, 1)
        blocks.append(Q * lengths)
    return np.hstack(blocks)


def landmark_factor(name: str, K: Array, dtype: Any) -> tuple[NDArray[np.intp], Array]:
    """Landmarks worth keeping, and what makes their kernel columns orthonormal features.

    Args:
        name: Modality, for errors.
        K: Kernel of the landmarks with themselves, float64, shape (M, M).
        dtype: Of the features that will be made with it.

    Returns:
        Indices (r,) of the landmarks kept, and an upper triangular T (r, r): for kernel columns C
        (n, r), C T (C T)^T is the Nyström approximation.
    """
    from scipy.linalg.lapack import dpotrf, dpstrf, dtrtri

    largest = float(K.diagonal().max())
    if not largest > 0:
        raise DataError(f"modality {name!r}: the kernel is 0 for every row.")
    least = DROP[np.dtype(dtype)] * largest
    L, info = dpotrf(K.T, lower=1)
    pivots, rank = np.arange(1, len(K) + 1), len(K)
    if info or (L.diagonal() ** 2).min() <= least:
        # Pivoting tells which to leave out, at half the speed.
        L, pivots, rank, _ = dpstrf(K, tol=least, lower=1)
    T, _ = dtrtri(np.asfortranarray(np.tril(L[:rank, :rank])), lower=1)
    return (pivots[:rank] - 1).astype(np.intp), np.asfortranarray(T.T)


class Moments(NamedTuple):
    """Means and second moments about them, float64, of the features of two modalities.

    Args:
        means: Two of shape (M,).
        own: Two of shape (M, M), divided by n - 1.
        cross: Shape (M1, M2), divided by n - 1.
    """

    means: tuple[Array, Array]
    own: tuple[Array, Array]
    cross: Array


def moments(
    sides: tuple[Columns, Columns], features: Mapping[str, Callable[[Array], Array]], most: int
) -> Moments:
    """Moments of features in one pass; memory for two blocks of features, whatever n.

    Products within a block are in the precision of the features, sums over blocks in double. A
    first block's means are taken off before, so that little cancels in the end.

    Args:
        sides: The two modalities, of the same n rows.
        features: By modality, from rows (b, p) to features (b, M).
        most: The larger M.
    """
    n = sides[0].n
    shift: list[Array] = []
    total: list[Array] = []
    own: list[Array] = []
    cross: Array = np.empty(0)
    products: list[Array] = []
    for part in row_chunks(n, max(BLOCK_ROWS, BLOCK_ENTRIES // most)):
        blocks = [features[side.name](side.read(part)) for side in sides]
        first = not shift
        if first:
            shift = [block.mean(axis=0) for block in blocks]
        for block, mean in zip(blocks, shift, strict=True):
            block -= mean
        # The first two as BLAS syrk, half the work; into the same memory from block to block.
        pairs = ((blocks[0], blocks[0]), (blocks[1], blocks[1]), (blocks[0], blocks[1]))
        if first:
            products = [one.T @ two for one, two in pairs]
        else:
            for (one, two), product in zip(pairs, products, strict=True):
                np.matmul(one.T, two, out=product)
        sums = [block.sum(axis=0, dtype=np.float64) for block in blocks]
        if first:
            total, (*own, cross) = sums, [product.astype(np.float64) for product in products]
            continue
        for kept, more in zip((*total, *own, cross), (*sums, *products), strict=True):
            kept += more
    rest = [t / n for t in total]
    for square, left, right in ((own[0], 0, 0), (own[1], 1, 1), (cross, 0, 1)):
        square -= n * np.outer(rest[left], rest[right])
        square /= n - 1
    means = [mean.astype(np.float64) + r for mean, r in zip(shift, rest, strict=True)]
    return Moments((means[0], means[1]), (own[0], own[1]), cross)


class Linear(NamedTuple):
    """Canonical directions of features.

    Args:
        left: Weights (M1, d) of the centred features.
        right: Weights (M2, d).
        correlations: Shape (d,), falling.
        rank: The two numerical ranks.
    """

    left: Array
    right: Array
    correlations: Array
    rank: tuple[int, int]


def solve_moments(
    found: Moments, ridges: tuple[float, float], d: int, draw: np.random.Generator
) -> Linear:
    """Ridge CCA from moments: SVD of the whitened cross moment.

    Args:
        found: Moments.
        ridges: Added to the variance of every direction of the feature space.
        d: Components, at most the smaller rank.
        draw: Generator of the first block, where few components are asked.
    """
    left, right = (_Whitening.of(S, r) for S, r in zip(found.own, ridges, strict=True))
    rank = (left.rank, right.rank)
    T = right.whiten(left.whiten(found.cross).T).T  # (r1, r2)
    few = 8 * d < min(T.shape)
    P, rho, Q = (few and (_leading(T, d, draw) or _some(T, d))) or _all(T, d)
    if rho[-1] <= 1e-5:  # perhaps more components than there are, which a ridge hides
        rank = (_rank(found.own[0]), _rank(found.own[1]))
    return Linear(left.weights(P), right.weights(Q), rho, rank)


class _Whitening(NamedTuple):
    """B (M, r) with B^T (S + ridge) B = I: the inverse of a Cholesky factor, or eigenvectors."""

    factor: Array
    triangular: bool

    @classmethod
    def of(cls, S: Array, ridge: float) -> _Whitening:
        from scipy.linalg.lapack import dpotrf

        if ridge > 1e-10 * float(np.trace(S)):
            padded = S.copy()
            padded[np.diag_indices(len(S))] += ridge
            L, info = dpotrf(padded.T, lower=1, overwrite_a=1)
            if info == 0:
                return cls(L, True)
        values, vectors = np.linalg.eigh(S)
        keep = values > len(S) * EPS * max(values[-1], 0.0)
        return cls(vectors[:, keep] / np.sqrt(values[keep] + ridge), False)

    @property
    def rank(self) -> int:
        return int(self.factor.shape[1])

    def whiten(self, C: Array) -> Array:
        """B^T C."""
        if not self.triangular:
            turned: Array = self.factor.T @ C
            return turned
        return _solved(self.factor, C, 0)

    def weights(self, P: Array) -> Array:
        """B P."""
        if not self.triangular:
            found: Array = self.factor @ P
            return found
        return _solved(self.factor, P, 1)


def _rank(S: Array) -> int:
    values = np.linalg.eigvalsh(S)
    return int(np.sum(values > len(S) * EPS * max(values[-1], 0.0)))


def _solved(L: Array, C: Array, turned: int) -> Array:
    from scipy.linalg.blas import dtrsm

    found: Array = dtrsm(1.0, L, C, lower=1, trans_a=turned)
    return found


def _some(T: Array, d: int) -> tuple[Array, Array, Array] | None:
    """Leading singular vectors by eigenvectors of T T^T; ``None`` where its root loses digits."""
    from scipy.linalg import eigh

    S = T @ T.T
    squares, P = eigh(S, subset_by_index=(len(S) - d, len(S) - 1), overwrite_a=True)
    squares, P = squares[::-1], P[:, ::-1]
    if not squares[-1] > 1e-8:
        return None
    rho = np.sqrt(squares)
    return P, np.clip(rho, 0, 1), T.T @ P / rho


def _all(T: Array, d: int) -> tuple[Array, Array, Array]:
    P, rho, Qt = np.linalg.svd(T, full_matrices=False)
    return P[:, :d], np.clip(rho[:d], 0, 1), Qt[:d].T


def _leading(T: Array, d: int, draw: np.random.Generator) -> tuple[Array, Array, Array] | None:
    """Leading singular vectors by a block Krylov subspace; ``None`` if it is too small."""
    width = d + 10
    V = draw.standard_normal((T.shape[1], width))
    Q, TQ, TTQ = (np.empty((rows, 0)) for rows in (T.shape[1], T.shape[0], T.shape[1]))
    for step in range(min(KRYLOV, T.shape[1] // width)):
        for _ in range(2):  # once leaves the rounding of what was taken away
            V = V - Q @ (Q.T @ V)
        V, _ = np.linalg.qr(V)
        TV = T @ V
        Q, TQ = np.hstack([Q, V]), np.hstack([TQ, TV])
        V = T.T @ TV
        TTQ = np.hstack([TTQ, V])
        if step % 2 == 0:
            continue
        squares, Y = np.linalg.eigh(TQ.T @ TQ)
        squares, Y = squares[::-1][:d], Y[:, ::-1][:, :d]
        right = Q @ Y
        if squares[-1] > 1e-8 and np.abs(TTQ @ Y - right * squares).max() < CLOSE:
            rho = np.sqrt(squares)
            return TQ @ Y / rho, np.clip(rho, 0, 1), right
    return None


def nystroem(
    rows: Array, function: Callable[..., Any], turn: Array, dtype: Any
) -> Callable[[Array], Array]:
    """Features of rows (b, p), shape (b, r): their kernel with the landmarks, made orthonormal.

    Args:
        rows: Landmarks (r, p).
        function: The kernel.
        turn: What :func:`landmark_factor` gave, (r, r).
        dtype: Of the features.
    """
    from scipy.linalg.blas import get_blas_funcs

    landmarks, upper = rows.astype(dtype), turn.astype(dtype)
    times = get_blas_funcs("trmm", (upper,))  # half the work of a product with a full matrix

    def features(columns: Array) -> Array:
        K = pairwise(function, columns.astype(dtype, copy=False), landmarks)
        turned = np.ascontiguousarray(K, dtype=dtype).T  # columns, as BLAS wants them
        found: Array = times(1.0, upper, turned, trans_a=1, overwrite_b=1).T
        return found

    return features
