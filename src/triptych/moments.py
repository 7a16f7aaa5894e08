"""Means and products of centred columns, gathered in one pass and merged exactly.

Products are those of BLAS on blocks of rows from which a pilot mean is taken first, so that a
large mean costs no digits; what the pilot missed is subtracted at the end, and what that cost is
kept (``lost``), so that a solver can tell whether it may trust the products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import is_sparse
from triptych.blocks import Rows, spans
from triptych.linalg import CONSTANT, EPS, Array
from triptych.values import register

# Float32 products pay where they are the work; below, float64 costs nothing that one would notice.
SINGLE_WORK = 2e9
# Error of an entry of a correlation matrix gathered so, of unit diagonal: measured over random
# data of 1e4 to 1e6 rows as 2e-9 and below, with a margin.
SINGLE_NOISE = 1e-8
# The same where one row holds all of a column: what is added to a large sum loses digits. Measured
# as 1.4e-6 and below, with a margin.
SINGLE_ALONE = 4e-6
# A block whose squares are at most this much above those of another holds no such row. Squares of
# 4096 normal numbers differ by 3 % of their mean, so blocks of these stay below it.
LEVEL = 1.18


class Columns(NamedTuple):
    """What standardising takes from the columns of one modality.

    Args:
        means: Shape (p,).
        spreads: Standard deviations (divisor n - 1), shape (p,); 1 where constant.
        constant: Boolean (p,).
        noise: Rounding of the numbers given, as a share of the spread, shape (p,).
    """

    means: Array
    spreads: Array
    constant: NDArray[np.bool_]
    noise: Array


@register
@dataclass(frozen=True)
class Moments:
    """Count, means and scatter of the columns of several modalities, mergeable.

    Args:
        names: Modalities, in order.
        n: Rows.
        means: By modality, (p_i,).
        units: By modality, powers of two (p_i,) in which scatter is counted, so that squares of
            1e±150 stay in range.
        scatters: Sums over rows of products of centred columns, (p_i, p_j), for i <= j row by row:
            (0, 0), (0, 1), ..., (1, 1), ...; divided by the units of both.
        noise: Error of an entry relative to the root of the two diagonal entries.
        lost: By modality (p_i,), the factor by which subtracting the mean enlarged that error,
            and a row that dwarfs the others, which products of float32 feel.
        sizes: By modality (p_i,), root mean square of the numbers times the epsilon of their
            type: their own rounding.
    """

    names: tuple[str, ...]
    n: int
    means: tuple[Array, ...]
    units: tuple[Array, ...]
    scatters: tuple[Array, ...]
    noise: float
    lost: tuple[Array, ...]
    sizes: tuple[Array, ...]

    def scatter(self, i: int, j: int) -> Array:
        """Sum of products of centred columns of modalities ``i`` and ``j``, (p_i, p_j)."""
        m = len(self.names)
        if i > j:
            return self.scatter(j, i).T
        return self.scatters[i * m - i * (i - 1) // 2 + j - i]

    @property
    def finite(self) -> bool:
        """Whether every number that was read is finite, and no square overflowed."""
        parts = (*self.means, *(np.diag(self.scatter(i, i)) for i in range(len(self.names))))
        return all(bool(np.isfinite(part).all()) for part in parts)

    def columns(self, i: int) -> Columns:
        """How the columns of modality ``i`` are standardised."""
        variance = np.maximum(np.diag(self.scatter(i, i)), 0.0) / max(self.n - 1, 1)
        spread = np.sqrt(variance) * self.units[i]
        size = np.hypot(self.means[i], spread)
        # What is left after subtracting the mean must exceed the rounding of what was there.
        constant = (spread <= CONSTANT * size) | (64 * EPS * self.lost[i] > 1) | (variance == 0)
        spread = np.where(constant, 1.0, spread)
        noise = np.where(constant, 0.0, self.sizes[i] / spread)
        return Columns(self.means[i], spread, constant, noise)

    def correlation(self, i: int, j: int) -> Array:
        """Scatter of standardised columns over n - 1; constant columns are left out."""
        a, b = self.columns(i), self.columns(j)
        left = ~a.constant
        right = ~b.constant
        S = self.scatter(i, j)
        if not (left.all() and right.all()):
            S = S[np.ix_(left, right)]
        root = np.sqrt(self.n - 1)
        rows = self.units[i][left] / a.spreads[left] / root
        found: Array = S * rows[:, None] * (self.units[j][right] / b.spreads[right] / root)
        return found

    def error(self, i: int) -> float:
        """Error of an entry of a correlation matrix of modality ``i``."""
        kept = ~self.columns(i).constant
        return self.noise * float(self.lost[i][kept].max(initial=1.0))

    def merged(self, other: Moments) -> Moments:
        """Moments of the rows of both (Chan, Golub and LeVeque 1979)."""
        if not self.n or not other.n:
            return other if not self.n else self
        n = self.n + other.n
        units = tuple(np.maximum(a, b) for a, b in zip(self.units, other.units, strict=True))
        apart = [(b - a) / unit for a, b, unit in zip(self.means, other.means, units, strict=True)]
        share = self.n * other.n / n
        scatters = []
        for i in range(len(self.names)):
            for j in range(i, len(self.names)):
                S = np.multiply.outer(apart[i] * share, apart[j])
                for part in (self, other):
                    S += (
                        part.scatter(i, j)
                        * (part.units[i] / units[i])[:, None]
                        * (part.units[j] / units[j])
                    )
                scatters.append(S)
        return Moments(
            self.names,
            n,
            tuple(
                a + (b - a) * (other.n / n) for a, b in zip(self.means, other.means, strict=True)
            ),
            units,
            tuple(scatters),
            max(self.noise, other.noise),
            tuple(np.maximum(a, b) for a, b in zip(self.lost, other.lost, strict=True)),
            tuple(
                np.sqrt((self.n * a**2 + other.n * b**2) / n)
                for a, b in zip(self.sizes, other.sizes, strict=True)
            ),
        )


def gather(
    sources: Sequence[Rows],
    *,
    single: bool | None = None,
    mixed: Sequence[Sequence[tuple[int, Array]]] | None = None,
    centres: Sequence[Array] | None = None,
) -> Moments:
    """Moments of sources of equal length, in one pass over their rows.

    Args:
        sources: Modalities, n rows each.
        single: Whether products are taken in float32 (sums of blocks in float64); ``None`` where
            all numbers are float32 and the work is large.
        mixed: In place of each source i, the columns sum_k (x_k - centre_k) M over its pairs
            (k, M): the pass over standardised, rotated columns of a refinement.
        centres: With ``mixed``, means (p,) of the sources.

    Returns:
        Moments; not finite if a number read is not.
    """
    total = sum(source.width for source in sources)
    if single is None:
        single = (
            mixed is None
            and all(not s.sparse and s.dtype == np.float32 for s in sources)
            and sources[0].n * total**2 >= SINGLE_WORK
        )
    ends = list(spans(list(sources), total))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if mixed is None:
            sums = _Sums([_Pilot.of(source) for source in sources], single)
        else:
            sums = _Sums([_Pilot.none(parts[0][1].shape[1]) for parts in mixed], False)
            near = [_Pilot.of(source).bare for source in sources]
        for k, (low, high) in enumerate(ends):
            for source in sources:
                if k + 1 < len(ends):
                    source.ahead(*ends[k + 1])
            blocks = [source.block(low, high) for source in sources]
            if mixed is None:
                sums.add(blocks)
            else:
                assert centres is not None
                sums.add(_mix(blocks, mixed, centres, near))
            del blocks
            for source in sources:
                source.release(low, high)
        return sums.moments(
            tuple(source.name for source in sources),
            [_own_rounding(source) for source in sources] if mixed is None else [EPS] * len(mixed),
        )


def _own_rounding(source: Rows) -> float:
    kind = source.dtype
    return max(float(np.finfo(kind).eps), EPS) if kind.kind == "f" else EPS


def _mix(
    blocks: Sequence[Any],
    mixed: Sequence[Sequence[tuple[int, Array]]],
    centres: Sequence[Array],
    near: Sequence[bool],
) -> list[Array]:
    """Centred, mixed columns of a block.

    Means below the spread (``near``) are taken off afterwards, which saves a copy and no digit.
    """
    centred: dict[int, Array] = {}
    out = []
    for parts in mixed:
        found: Array | None = None
        for k, M in parts:
            block = blocks[k]
            if near[k] and isinstance(block, np.ndarray) and block.dtype == np.float64:
                part = block @ M
                part -= centres[k] @ M
            else:
                if k not in centred:
                    dense = block.toarray() if is_sparse(block) else block
                    centred[k] = np.asarray(dense, dtype=np.float64) - centres[k]
                part = centred[k] @ M
            found = part if found is None else found + part
        assert found is not None
        out.append(found)
    return out


@dataclass(frozen=True)
class _Pilot:
    """What is subtracted from a column, and by what it is divided, before products.

    Args:
        shift: Near the mean, (p,); 0 keeps a sparse block sparse.
        unit: Powers of two near the spread, (p,).
        plain: Whether all units are 1.
        sparse: Whether blocks stay sparse.
        bare: Whether nothing is subtracted or divided, so that blocks need no copy.
    """

    shift: Array
    unit: Array
    plain: bool
    sparse: bool
    bare: bool

    @classmethod
    def of(cls, source: Rows) -> _Pilot:
        some = source.some()
        single = some.dtype == np.float32
        some = some.astype(np.float64)
        low, high = some.min(axis=0), some.max(axis=0)
        size = np.maximum(np.abs(low), np.abs(high))
        size = np.where(np.isfinite(size) & (size > 0), size, 1.0)
        mean = (some / size).mean(axis=0) * size
        if single:
            # A shift that float32 holds exactly, so that subtracting it rounds only once.
            mean = mean.astype(np.float32).astype(np.float64)
        shift = np.where(low == high, some[0], mean)
        spread = ((some - shift) / size).std(axis=0) * size
        near = bool((np.abs(shift) <= spread).all())  # no mean that products would drown in
        spread = np.where(np.isfinite(spread) & (spread > 0), spread, size)
        shift = np.where(np.isfinite(shift), shift, 0.0)
        exponent = np.rint(np.log2(spread))
        far = np.abs(exponent).max(initial=0.0) > (16 if single else 128)
        unit = np.exp2(exponent) if far else np.ones_like(spread)
        # Uncentred products are safe where no mean is large against its spread.
        thin = source.sparse and bool((np.abs(shift) <= 10 * spread).all())
        bare = near and not far
        if thin or bare:
            shift = np.zeros_like(shift)
        return cls(shift, unit, not far, thin, bare)

    @classmethod
    def none(cls, width: int) -> _Pilot:
        return cls(np.zeros(width), np.ones(width), True, False, True)


class _Sums:
    """Sums and products of shifted columns, growing by blocks."""

    def __init__(self, pilots: list[_Pilot], single: bool) -> None:
        self.pilots = pilots
        self.kind: type[np.floating[Any]] = np.float32 if single else np.float64
        widths = [len(p.shift) for p in pilots]
        self.pairs = [(i, j) for i in range(len(widths)) for j in range(i, len(widths))]
        self.products = [np.zeros((widths[i], widths[j])) for i, j in self.pairs]
        # Products of a block, in its type; pairs of one shape share them.
        self.scratch: dict[tuple[int, ...], NDArray[Any]] = {}
        self.sums = [np.zeros(width) for width in widths]
        self.n = 0
        # With products of float32: the largest square of a column, and the least mean of its
        # squares in a block.
        self.largest = [np.zeros(width) for width in widths]
        self.least = [np.full(width, np.inf) for width in widths]
        self.buffers: list[NDArray[Any] | None] = [None] * len(pilots)

    def add(self, blocks: Sequence[Any]) -> None:
        ready = [self._ready(i, block) for i, block in enumerate(blocks)]
        k = int(ready[0].shape[0])
        self.n += k
        for total, part in zip(self.sums, ready, strict=True):
            # A product with ones is quicker than a sum along the rows, and rounds less.
            if is_sparse(part):
                total += np.asarray(part.sum(axis=0)).ravel()
            else:
                total += np.ones(k, dtype=part.dtype) @ part
        for at, (i, j) in enumerate(self.pairs):
            self._product(at, ready[i], ready[j])

    def _ready(self, i: int, block: Any) -> Any:
        pilot = self.pilots[i]
        if pilot.sparse and is_sparse(block):
            part = block.astype(np.float64)
            return part if pilot.plain else part.multiply(1 / pilot.unit).tocsr()
        values = np.asarray(block.toarray() if is_sparse(block) else block)
        if values.dtype.kind not in "f" or values.dtype.itemsize > 8:
            values = values.astype(np.float64)
        if pilot.bare and values.dtype == self.kind and values.flags.c_contiguous:
            return values
        held = self.buffers[i]
        if held is None or len(held) < len(values):
            held = self.buffers[i] = np.empty(values.shape, dtype=self.kind)
        out = held[: len(values)]
        np.subtract(values, pilot.shift.astype(self.kind), out=out, casting="same_kind")
        if not pilot.plain:
            out /= pilot.unit.astype(self.kind)
        return out

    def _product(self, at: int, a: Any, b: Any) -> None:
        total = self.products[at]
        if is_sparse(a) or is_sparse(b):
            found = a.T @ b if is_sparse(a) else (b.T @ a).T
            total += found.toarray() if is_sparse(found) else found
            return
        if total.shape not in self.scratch:
            self.scratch[total.shape] = np.empty(total.shape, dtype=self.kind)
        # NumPy's own BLAS, as everywhere in this pass: SciPy brings another, and threads of the
        # one that wait spin for a while in the way of the other's.
        found = np.matmul(a.T, b, out=self.scratch[total.shape])
        total += found
        i, j = self.pairs[at]
        if i == j and self.kind is np.float32:
            self._look_for_rows(i, a, found.diagonal().astype(np.float64) / len(a))

    def _look_for_rows(self, i: int, block: NDArray[Any], squares: Array) -> None:
        """Keep the largest square of columns whose mean of squares (p,) stands out here."""
        first = np.isinf(self.least[i])
        odd = first | ~(squares <= LEVEL * self.least[i])
        if odd.any():
            some = block if odd.all() else block[:, odd]
            most = np.maximum(some.max(axis=0), -some.min(axis=0)).astype(np.float64) ** 2
            self.largest[i][odd] = np.maximum(self.largest[i][odd], most)
        self.least[i] = np.minimum(self.least[i], squares)

    def moments(self, names: tuple[str, ...], rounding: Sequence[float]) -> Moments:
        self.scratch, self.buffers = {}, []
        n = max(self.n, 1)
        off = [total / n for total in self.sums]  # of the mean from the pilot's
        lost, scatters = [], []
        for at, (i, j) in enumerate(self.pairs):
            S = self.products[at]
            if i == j:
                before = np.diag(S).copy()
            for low in range(0, len(S), 256):  # in strips: no second matrix
                S[low : low + 256] -= (n * off[i][low : low + 256])[:, None] * off[j]
            if i == j:
                after = np.maximum(np.diag(S), 0.0)
                ratio = np.where(after > 0, before / np.where(after > 0, after, 1.0), 1.0)
                if self.kind is np.float32:
                    share = self.largest[i] / np.where(before > 0, before, np.inf)
                    ratio *= np.maximum(1.0, share * SINGLE_ALONE / SINGLE_NOISE)
                lost.append(ratio.clip(1.0))
            scatters.append(S)
        means = tuple(p.shift + m * p.unit for p, m in zip(self.pilots, off, strict=True))
        sizes = []
        for i, eps in enumerate(rounding):
            at = self.pairs.index((i, i))
            spread = np.sqrt(np.maximum(np.diag(scatters[at]), 0) / n) * self.pilots[i].unit
            sizes.append(eps * np.hypot(means[i], spread))
        return Moments(
            names,
            self.n,
            means,
            tuple(p.unit for p in self.pilots),
            tuple(scatters),
            SINGLE_NOISE if self.kind is np.float32 else 4 * EPS,
            tuple(lost),
            tuple(sizes),
        )


def partial(moments: Moments, name: str) -> tuple[Moments, Mapping[str, Array]]:
    """Moments of what is left of the others once one modality's linear effect is removed.

    Args:
        moments: Of several modalities.
        name: The one whose effect goes.

    Returns:
        The moments of the others, and by name the slopes (p_c, p_i) that were removed, for
        columns in their units as given.
    """
    c = moments.names.index(name)
    own = moments.columns(c)
    kept = ~own.constant
    root = np.sqrt(max(moments.n - 1, 1))
    C = moments.correlation(c, c)
    values, V = np.linalg.eigh(C) if len(C) else (np.zeros(0), np.zeros((0, 0)))
    good = values > max(len(C), 1) * 4 * EPS * values.max(initial=0.0) * max(
        moments.error(c) / (4 * EPS), 1.0
    )
    good &= np.sqrt(np.maximum(values, 0)) > np.linalg.norm(V.T * own.noise[kept], axis=1)
    W = V[:, good] / np.sqrt(values[good])  # whitens the standardised confounds, (p_c', r)
    others = [i for i in range(len(moments.names)) if i != c]
    scaled = (moments.units[c] / own.spreads)[kept] / root
    half = {i: W.T @ (moments.scatter(c, i)[kept] * scaled[:, None]) for i in others}  # (r, p_i)
    scatters, lost, slopes = [], [], {}
    for i in others:
        slope = np.zeros((len(kept), len(moments.units[i])))
        slope[kept] = W @ half[i] * moments.units[i] / own.spreads[kept][:, None] / root
        slopes[moments.names[i]] = slope
        for j in others:
            if j < i:
                continue
            S = moments.scatter(i, j) - half[i].T @ half[j]
            if i == j:
                before, after = np.diag(moments.scatter(i, i)), np.maximum(np.diag(S), 0)
                gone = after <= 8 * EPS * before * moments.lost[i]
                ratio = np.where(gone, 1 / EPS, before / np.where(gone, 1.0, after))
                lost.append(moments.lost[i] * ratio.clip(1.0))
            scatters.append(S)
    return (
        Moments(
            tuple(moments.names[i] for i in others),
            moments.n,
            tuple(moments.means[i] for i in others),
            tuple(moments.units[i] for i in others),
            tuple(scatters),
            moments.noise,
            tuple(lost),
            tuple(moments.sizes[i] for i in others),
        ),
        slopes,
    )
