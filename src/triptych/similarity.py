"""Similarity of rows: cosine, Pearson's correlation, and kernels, on arrays without torch.

Each function compares row i of one array with row i of the other. :func:`pairwise` and
:func:`tiles` compare every row with every row. The same names for tensors, with gradients, are in
:mod:`triptych.losses.similarity`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.arrays import check_choice, check_number, row_chunks
from triptych.errors import DataError, ParameterError, ShapeError
from triptych.seeding import check_random_state, generator
from triptych.values import register

Array = NDArray[Any]
# Rows of a tile times columns of the result, so that temporaries stay near 32 MB.
TILE_ENTRIES = 4_000_000
# Below this share of |x|² + |y|² their difference to 2 x·y has lost too many digits.
NEAR = {np.dtype(np.float32): 1e-2, np.dtype(np.float64): 1e-6}
# Half squared lengths, in widths, whose rounding moves an exponent by more than a few epsilon.
FAR = 32.0

_USES: dict[str, tuple[str, ...]] = {
    "cosine": (),
    "centred_cosine": (),
    "linear": (),
    "polynomial": ("degree", "gamma", "offset"),
    "exponential": ("width",),
    "rbf": ("width",),
    "laplacian": ("gamma",),
}
KERNELS = tuple(_USES)


@register
@dataclass(frozen=True)
class Kernel:
    """A similarity function with its parameters; what is ``None`` is learnt from rows.

    All are positive semi-definite.

    Args:
        name: One of ``"cosine"``, ``"centred_cosine"`` (over the features of a row), ``"linear"``,
            ``"polynomial"``, ``"exponential"``, ``"rbf"``, ``"laplacian"``.
        width: Of ``rbf`` and ``exponential``, sigma > 0 in the unit of the columns; ``None`` for
            :func:`median_width`.
        gamma: Of ``laplacian``, > 0 in one over the unit of the columns; ``None`` for
            :func:`median_gamma`. Of ``polynomial``, factor > 0 of the inner product; ``None`` for
            one over the mean squared length of the rows.
        degree: Of ``polynomial``, whole and >= 1; ``None`` for 2.
        offset: Of ``polynomial``, >= 0; ``None`` for 1.

    Example:
        >>> Kernel("rbf", width=2.0)([[0.0, 0.0]], [[0.0, 2.0], [0.0, 0.0]]).round(3)
        array([[0.607, 1.   ]])
    """

    name: str
    width: float | None = None
    gamma: float | None = None
    degree: int | None = None
    offset: float | None = None

    def __post_init__(self) -> None:
        check_choice("kernel", self.name, KERNELS)
        for key in ("width", "gamma", "degree", "offset"):
            value = getattr(self, key)
            if value is None:
                continue
            if key not in _USES[self.name]:
                raise ParameterError(
                    f"kernel {self.name!r} has no {key}; it has {list(_USES[self.name])}."
                )
            if key == "degree":
                check_number(key, value, low=1, integer=True)
            else:
                check_number(key, value, low=0, high=1e300, open_low=key != "offset")

    def learnt(self, X: ArrayLike, random_state: int | None = 0) -> Kernel:
        """The same kernel with every parameter a number, learnt from rows (n, p) where needed."""
        if self.name == "polynomial":
            gamma = self.gamma
            if gamma is None:
                rows = _rows("X", X)
                size = float(np.abs(rows).max(initial=0.0)) or 1.0
                gamma = 1.0 / (float(np.mean(np.sum((rows / size) ** 2, axis=1))) or 1.0)
                gamma = gamma / size / size
            degree = 2 if self.degree is None else self.degree
            offset = 1.0 if self.offset is None else self.offset
            return replace(self, gamma=gamma, degree=degree, offset=offset)
        if self.name == "laplacian" and self.gamma is None:
            return replace(self, gamma=median_gamma(X, random_state=random_state))
        if self.name in ("rbf", "exponential") and self.width is None:
            return replace(self, width=median_width(X, random_state=random_state))
        return self

    def parameters(self) -> dict[str, Any]:
        """Those that the function of this name takes, but for what is ``None``."""
        given = {key: getattr(self, key) for key in _USES[self.name]}
        return {key: value for key, value in given.items() if value is not None}

    def __call__(self, X: ArrayLike, Y: ArrayLike) -> Array:
        """Every row of ``X`` (n, p) with every row of ``Y`` (m, p): shape (n, m)."""
        return pairwise(self, X, Y)


def cosine(X: ArrayLike, Y: ArrayLike) -> Array:
    """Cosine of the angle between rows, x·y / (‖x‖ ‖y‖); 0 where a row is zero.

    Args:
        X: Shape (n, p).
        Y: Same shape.

    Returns:
        Shape (n,), in [-1, 1].

    Raises:
        ShapeError: If the shapes differ or are not 2-D.
    """
    A, B = _pair("cosine", X, Y)
    found: Array = np.clip(np.einsum("np,np->n", _unit(A), _unit(B)), -1, 1)
    return found


def centred_cosine(X: ArrayLike, Y: ArrayLike, *, axis: str = "features") -> Array:
    """Pearson's correlation: the cosine of vectors centred along the axis that is named.

    Args:
        X: Shape (n, p).
        Y: Same shape.
        axis: ``"features"`` centres each row over its own p features and correlates row i with
            row i over them. ``"samples"`` centres each column over the n rows and correlates
            column j with column j over them, as canonical correlations do.

    Returns:
        Shape (n,) over features, (p,) over samples, in [-1, 1]; 0 where either is constant.

    Raises:
        ShapeError: If the shapes differ or are not 2-D.
    """
    check_choice("axis", axis, ("features", "samples"))
    A, B = _pair("centred_cosine", X, Y)
    if axis == "samples":
        A, B = A.T, B.T
    return cosine(_centred(A), _centred(B))


def linear(X: ArrayLike, Y: ArrayLike) -> Array:
    """Inner product of rows, shape (n,); unbounded.

    Args:
        X: Shape (n, p).
        Y: Same shape.
    """
    A, B = _pair("linear", X, Y)
    found: Array = np.einsum("np,np->n", A, B)
    return found


def polynomial(
    X: ArrayLike, Y: ArrayLike, *, degree: int = 2, gamma: float = 1.0, offset: float = 1.0
) -> Array:
    """(gamma x·y + offset)^degree of rows, shape (n,).

    Args:
        X: Shape (n, p).
        Y: Same shape.
        degree: Whole, >= 1.
        gamma: > 0.
        offset: >= 0, so that the kernel is positive semi-definite.
    """
    kernel = Kernel("polynomial", degree=degree, gamma=gamma, offset=offset)
    return _shaped(kernel, linear(X, Y))


def exponential(X: ArrayLike, Y: ArrayLike, *, width: float = 1.0, log: bool = False) -> Array:
    """exp(x·y / width²) of rows, shape (n,); infinite beyond the range of the type.

    Args:
        X: Shape (n, p).
        Y: Same shape.
        width: Sigma > 0.
        log: Whether to return x·y / width² itself, which does not overflow.
    """
    kernel = Kernel("exponential", width=width)
    A, B = _pair("exponential", X, Y)
    exponent = linear(A / A.dtype.type(width), B / B.dtype.type(width))
    return exponent if log else _shaped(kernel, exponent)


def rbf(X: ArrayLike, Y: ArrayLike, *, width: float = 1.0) -> Array:
    """exp(-‖x - y‖² / (2 width²)) of rows, shape (n,), in [0, 1].

    Args:
        X: Shape (n, p).
        Y: Same shape.
        width: Sigma > 0, in the unit of the columns.
    """
    kernel = Kernel("rbf", width=width)
    A, B = _pair("rbf", X, Y)
    gap = (A - B) / A.dtype.type(width)
    return _shaped(kernel, np.einsum("np,np->n", gap, gap))


def laplacian(X: ArrayLike, Y: ArrayLike, *, gamma: float = 1.0) -> Array:
    """exp(-gamma ‖x - y‖₁) of rows, shape (n,), in [0, 1].

    Args:
        X: Shape (n, p).
        Y: Same shape.
        gamma: > 0, in one over the unit of the columns.
    """
    kernel = Kernel("laplacian", gamma=gamma)
    A, B = _pair("laplacian", X, Y)
    return _shaped(kernel, np.abs(A - B).sum(axis=1))


def pairwise(
    kernel: str | Kernel | Callable[[Array, Array], ArrayLike],
    X: ArrayLike,
    Y: ArrayLike | None = None,
) -> Array:
    """Every row with every row, computed in tiles: no temporary beside the result grows with n.

    Args:
        kernel: Name, :class:`Kernel`, or a function of (a, p) and (b, p) that gives (a, b).
            Parameters that are ``None`` are learnt from ``Y``.
        X: Shape (n, p).
        Y: Shape (m, p); ``X`` itself when left out.

    Returns:
        Shape (n, m); float32 if both arrays are, else float64.

    Raises:
        ShapeError: If the widths differ, or a function gives another shape.

    Example:
        >>> pairwise("linear", [[1.0, 2.0]], [[3.0, 4.0], [0.0, 1.0]])
        array([[11.,  2.]])
    """
    A = _rows("X", X)
    B = A if Y is None else _rows("Y", Y)
    out = np.empty((len(A), len(B)), dtype=np.result_type(A, B))
    for part, block in tiles(kernel, A, B):
        out[part] = block
    return out


def tiles(
    kernel: str | Kernel | Callable[[Array, Array], ArrayLike],
    X: ArrayLike,
    Y: ArrayLike,
    *,
    rows: int | None = None,
) -> Iterator[tuple[slice, Array]]:
    """The blocks of :func:`pairwise`, one after the other, for results too large to hold.

    Args:
        kernel: As there.
        X: Shape (n, p).
        Y: Shape (m, p).
        rows: Rows of a block; chosen for about 32 MB when left out.

    Yields:
        Slice of rows of ``X``, and their similarities (rows, m).
    """
    A, B = _rows("X", X), _rows("Y", Y)
    if A.shape[1] != B.shape[1]:
        raise ShapeError(
            f"rows are compared feature by feature; X has {A.shape[1]} and Y {B.shape[1]}."
        )
    if rows is not None:
        check_number("rows", rows, low=1, integer=True)
    if isinstance(kernel, str):
        kernel = Kernel(kernel)
    size = rows or max(1, TILE_ENTRIES // max(len(B), 1))
    if isinstance(kernel, Kernel):
        block_of = _prepared(kernel.learnt(B), B)
    else:
        block_of = _checked(kernel, B)
    for part in row_chunks(len(A), size):
        yield part, block_of(A[part])


def median_width(X: ArrayLike, *, rows: int = 1000, random_state: int | None = 0) -> float:
    """Width sigma of an RBF by the median heuristic: sigma² = median ‖x_i - x_j‖² / 2, i < j.

    Args:
        X: Shape (n, p), n >= 2.
        rows: Rows drawn without replacement where there are more.
        random_state: Seed of the draw.

    Returns:
        > 0, in the unit of the columns. Where half of the pairs coincide, the median of those
        that do not.

    Raises:
        DataError: All rows drawn are equal.
    """
    A, size = _drawn(X, rows, random_state)
    squared = _squared_distances(A, A)[np.triu_indices(len(A), 1)]
    return size * float(np.sqrt(_median(squared) / 2))


def median_gamma(X: ArrayLike, *, rows: int = 1000, random_state: int | None = 0) -> float:
    """Gamma of a Laplacian kernel by the median heuristic: 1 / median ‖x_i - x_j‖₁, i < j.

    Arguments and errors as in :func:`median_width`; in one over the unit of the columns.
    """
    A, size = _drawn(X, rows, random_state)
    return 1 / (size * _median(_city_block(A, A)[np.triu_indices(len(A), 1)]))


def _drawn(X: ArrayLike, rows: int, random_state: int | None) -> tuple[Array, float]:
    """Some rows as float64, divided by their largest absolute value, which is given too."""
    check_number("rows", rows, low=2, integer=True)
    A = _rows("X", X)
    if len(A) < 2:
        raise DataError(f"the median heuristic needs 2 rows; got {len(A)}.")
    if len(A) > rows:
        draw = generator(check_random_state(random_state), "median heuristic")
        A = A[np.sort(draw.choice(len(A), rows, replace=False))]
    A = np.asarray(A, dtype=np.float64)
    A = A - A[0]
    size = float(np.abs(A).max())
    if size == 0:
        raise DataError(f"the median heuristic: all {len(A)} rows drawn are equal.")
    return A / size, size


def _median(distances: Array) -> float:
    found = float(np.median(distances))
    return found if found > 0 else float(np.median(distances[distances > 0]))


def _prepared(kernel: Kernel, B: Array) -> Callable[[Array], Array]:
    """The function that compares a block of rows with all of ``B``."""
    name, kind = kernel.name, B.dtype.type
    if name in ("cosine", "centred_cosine"):
        centre = _centred if name == "centred_cosine" else np.asarray
        right = _unit(centre(B)).T
        return lambda A: np.clip(_unit(centre(A)) @ right, -1, 1)
    if name == "laplacian":
        return lambda A: _shaped(kernel, _city_block(A, B)).astype(np.result_type(A, B))
    if name == "rbf":
        return _prepared_rbf(kernel, B)
    if name == "exponential":
        right = (B / kind(kernel.width)).T
        return lambda A: _shaped(kernel, (A / kind(kernel.width)) @ right)
    return lambda A: _shaped(kernel, A @ B.T)


def _prepared_rbf(kernel: Kernel, B: Array) -> Callable[[Array], Array]:
    """Rows are divided by the width first, so that squares of 1e200 do not overflow."""
    kind = B.dtype.type
    middle = B.mean(axis=0) if len(B) else kind(0)  # distances do not see it, squares do
    right = (B - middle) / kind(kernel.width)
    half = np.einsum("mp,mp->m", right, right) / 2
    # x·y - |x|²/2 - |y|²/2 as one product: a pass over the block costs as much as its exponential.
    joined = np.column_stack([right, np.ones_like(half), -half]).T

    def block_of(A: Array) -> Array:
        left = (A - middle) / kind(kernel.width)
        own = np.einsum("np,np->n", left, left) / 2
        if own.max(initial=0) + half.max(initial=0) > FAR:
            return _shaped(kernel, _squared_distances(left, right))
        exponent: Array = np.column_stack([left, -own, np.ones_like(own)]) @ joined
        np.minimum(exponent, 0, out=exponent)
        np.exp(exponent, out=exponent)
        return exponent

    return block_of


def _checked(function: Callable[[Array, Array], ArrayLike], B: Array) -> Callable[[Array], Array]:
    def block_of(A: Array) -> Array:
        block = np.asarray(function(A, B))
        if block.shape != (len(A), len(B)) or block.dtype.kind not in "fiub":
            raise ShapeError(
                f"a kernel function of rows ({len(A)}, p) and ({len(B)}, p) must give real "
                f"numbers of shape ({len(A)}, {len(B)}); got {block.dtype} {block.shape}."
            )
        return block

    return block_of


def _shaped(kernel: Kernel, raw: Array) -> Array:
    """The kernel from what it is a function of: inner products or distances; writes into them."""
    with np.errstate(over="ignore"):
        if kernel.name == "polynomial":
            raw *= raw.dtype.type(kernel.gamma)
            raw += raw.dtype.type(kernel.offset)
            raw **= kernel.degree
            return raw
        if kernel.name == "rbf":
            raw *= raw.dtype.type(-0.5)
        elif kernel.name == "laplacian":
            raw *= raw.dtype.type(-kernel.gamma)  # type: ignore[operator]
        return np.exp(raw, out=raw) if kernel.name != "linear" else raw


def _squared_distances(A: Array, B: Array) -> Array:
    """‖a - b‖² of every row with every row, shape (n, m), near points by their differences."""
    with np.errstate(over="ignore", invalid="ignore"):
        return _overflowing_squared_distances(A, B)


def _overflowing_squared_distances(A: Array, B: Array) -> Array:
    left, right = np.einsum("np,np->n", A, A), np.einsum("np,np->n", B, B)
    squared = A @ B.T
    squared *= -2
    squared += left[:, None]
    squared += right
    # Where two long vectors almost coincide, the sum above is the rounding of large numbers.
    share = squared.dtype.type(NEAR[squared.dtype])
    # Where both overflow it is NaN, and their difference may still be small.
    i, j = np.nonzero(~(squared >= share * (left[:, None] + right)))
    step = max(1, TILE_ENTRIES // max(A.shape[1], 1))
    for part in row_chunks(len(i), step):
        gap = A[i[part]] - B[j[part]]
        squared[i[part], j[part]] = np.einsum("kp,kp->k", gap, gap)
    return squared


def _city_block(A: Array, B: Array) -> Array:
    from scipy.spatial.distance import cdist

    distances: Array = cdist(A, B, "cityblock")
    return distances


def _unit(A: Array) -> Array:
    """Rows of length one; a zero row stays zero. Divided twice, so that no square overflows."""
    size = np.abs(A).max(axis=1, initial=0, keepdims=True)
    A = A / np.where(size > 0, size, 1)
    length = np.sqrt(np.einsum("np,np->n", A, A))[:, None]
    return A / np.where(length > 0, length, 1)


def _centred(A: Array) -> Array:
    """Rows of mean zero over their features; a constant row becomes exactly zero."""
    size = np.abs(A).max(axis=1, initial=0, keepdims=True)
    scaled = A / np.where(size > 0, size, 1)
    scaled = scaled - scaled.mean(axis=1, keepdims=True)
    # What is left of a constant row is the rounding of its mean.
    noise = 4 * np.finfo(A.dtype).eps
    flat = np.abs(scaled).max(axis=1, initial=0, keepdims=True) <= noise
    return np.where(flat, 0, scaled)


def _rows(name: str, X: ArrayLike) -> Array:
    values = np.asarray(X)
    if values.ndim != 2 or values.dtype.kind not in "fiub":
        raise ShapeError(
            f"{name}: expected rows of real numbers (n, p), got {values.dtype} of shape "
            f"{values.shape}."
        )
    if values.dtype not in NEAR:
        values = values.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        whole = bool(np.isfinite(values.sum())) or bool(np.isfinite(values).all())
    if not whole:
        row, column = (int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise DataError(
            f"{name}: expected finite numbers, got {values[row, column]} at row {row}, column "
            f"{column}."
        )
    return values


def _pair(name: str, X: ArrayLike, Y: ArrayLike) -> tuple[Array, Array]:
    A, B = _rows("X", X), _rows("Y", Y)
    if A.shape != B.shape:
        raise ShapeError(
            f"{name} compares row i of X with row i of Y, so both must be (n, p); got X {A.shape} "
            f"and Y {B.shape}."
        )
    kind = np.result_type(A, B)
    return A.astype(kind, copy=False), B.astype(kind, copy=False)
