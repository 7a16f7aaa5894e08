"""The roads from rows to the two bases of a canonical correlation analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial as partial_
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import is_sparse
from triptych.bases import (
    Basis,
    Penalty,
    by_cholesky,
    by_eigenvalues,
    by_singular_values,
    numerical_rank,
    refined,
    whitener,
)
from triptych.blocks import Rows, spans
from triptych.coordination._solution import Gather, Penalties, Solution, Squares, vary
from triptych.errors import DataError
from triptych.linalg import CONSTANT, EPS, Array, shrinkage, standardise, thin_svd
from triptych.moments import Columns, Moments, partial

# Errors of the correlations with which "auto" is content after one pass, by type of the products.
CONTENT, CONTENT_SINGLE = 2e-11, 4e-7


def from_moments(
    moments: Moments,
    penalty: Penalties,
    squares: Squares,
    confounds: str | None,
    solver: str,
) -> Solution | None:
    """The solution after one pass, or ``None`` if its error asks for another look.

    Args:
        moments: Of the two modalities and the confounds.
        penalty: By modality.
        squares: Reads rows, where a shrinkage is learnt.
        confounds: Modality whose effect is removed.
        solver: ``"cholesky"`` takes what there is; ``"eigen"`` leaves out what cannot be seen;
            ``"auto"`` is content with small errors only.
    """
    slopes: Mapping[str, Array] = {}
    means = None
    if confounds is not None:
        means = moments.means[moments.names.index(confounds)]
        moments, slopes = partial(moments, confounds)
    a, b = moments.names
    columns = {
        name: vary(name, moments.columns(i), confounds) for i, name in enumerate(moments.names)
    }
    C = {name: moments.correlation(i, i) for i, name in enumerate(moments.names)}
    between = moments.correlation(0, 1)

    def learnt(name: str) -> float:
        products = float(np.sum(C[name] ** 2)) - len(C[name])
        return shrinkage(squares(name, columns[name], slopes), products, moments.n)

    penalties = {name: penalty(name, partial_(learnt, name)) for name in (a, b)}
    bases: dict[str, Basis] = {}
    if solver == "eigen":
        for i, name in enumerate((a, b)):
            own = columns[name].noise[~columns[name].constant]
            s, Vt, error = by_eigenvalues(C[name], moments.error(i), own)
            if not penalties[name].none and len(s):
                error = _one_look(s, len(own), penalties[name], moments.error(i))
            bases[name] = by_singular_values(s, Vt, penalties[name], error)
            half = Vt / s[:, None]
            between = half @ between if i == 0 else between @ half.T
    else:
        content = CONTENT if moments.noise < 1e-12 else CONTENT_SINGLE
        for i, name in enumerate((a, b)):
            basis = by_cholesky(C[name], penalties[name], moments.error(i))
            if basis is None and solver == "cholesky":
                raise DataError(
                    f"modality {name!r}: its columns depend on one another, so Cholesky has no "
                    'answer; take solver="auto" or "refined".'
                )
            if basis is None or (solver == "auto" and basis.error > content):
                return None
            bases[name] = basis
    error = max(basis.error for basis in bases.values())
    road = "cholesky" if solver == "auto" else solver
    return Solution(
        (a, b), moments.n, bases, between, columns, penalties, road, min(error, 1.0), slopes, means
    )


def _one_look(s: Array, width: int, penalty: Penalty, noise: float) -> float:
    """Error of the correlations by one look at moments, where a penalty holds small directions.

    Args:
        s: Singular values (r,) of the directions that were seen, falling.
        width: Columns p that vary.
        penalty: With ``add`` > 0.
        noise: Error of an entry of their correlation matrix.
    """
    # A direction left out may be as large as the floor of by_eigenvalues, and correlate by its
    # share of that under the penalty.
    unseen = 2 * width * noise * float(s[0]) ** 2 if len(s) < width else 0.0
    left_out = penalty.keep * unseen / (penalty.keep * unseen + penalty.add)
    seen = noise * penalty.keep / (penalty.keep * float(s[-1]) ** 2 + penalty.add)
    return min(seen + left_out, 1.0)


def by_second_pass(
    first: Moments,
    again: Gather,
    penalty: Penalties,
    squares: Squares,
    confounds: str | None,
) -> Solution:
    """Cholesky-QR twice: the rows are read again in a basis that the first pass made.

    Args:
        first: Moments of the first pass.
        again: Reads the rows again; takes ``mixed`` and ``centres`` of :func:`gather`.
        penalty: By modality.
        squares: Reads rows, where a shrinkage is learnt.
        confounds: Modality whose effect is removed.
    """
    names = list(first.names)
    rest, slopes = (first, {}) if confounds is None else partial(first, confounds)
    columns, back, maps = {}, {}, {}
    for i, name in enumerate(rest.names):
        columns[name] = vary(name, rest.columns(i), confounds)
        maps[name], back[name] = _whitened(rest, i, columns[name])
    mixed: list[list[tuple[int, Array]]] = []
    for name in names:
        if name == confounds:
            i = names.index(name)
            mixed.append([(i, _whitened(first, i, first.columns(i))[0])])
        else:
            parts = [(names.index(name), maps[name])]
            if confounds is not None:
                parts.append((names.index(confounds), -slopes[name] @ maps[name]))
            mixed.append(parts)
    second = again(mixed=mixed, centres=first.means)
    if confounds is not None:
        second, _ = partial(_sized(first, second, names.index(confounds)), confounds)
    a, b = rest.names
    root = max(second.n - 1, 1)
    between = second.scatter(0, 1) / root
    bases, penalties = {}, {}
    for i, name in enumerate((a, b)):
        own = columns[name].noise[~columns[name].constant]
        s, Vt, inner, error = refined(second.scatter(i, i) / root, back[name], own, second.n)
        between = inner.T @ between if i == 0 else between @ inner

        def learnt(name: str = name, s: Array = s, p: int = len(own)) -> float:
            return shrinkage(
                squares(name, columns[name], slopes), float(np.sum(s**4)) - p, second.n
            )

        penalties[name] = penalty(name, learnt)
        bases[name] = by_singular_values(s, Vt, penalties[name], error)
    error = max(basis.error for basis in bases.values())
    means = None if confounds is None else first.means[names.index(confounds)]
    return Solution(
        (a, b), second.n, bases, between, columns, penalties, "refined", error, slopes, means
    )


def _sized(first: Moments, second: Moments, c: int) -> Moments:
    """The second pass with the rounding of the confounds' columns as large as it was stretched.

    Directions that are nothing but rounding would else count as confounds of their own.
    """
    columns = first.columns(c)
    _, back = whitener(first.correlation(c, c), first.error(c))
    stretch = np.linalg.norm(back, axis=1)
    own = np.linalg.norm(back / stretch[:, None] * columns.noise[~columns.constant], axis=1)
    floor = max(first.n, len(stretch)) * EPS * stretch.max(initial=0.0)
    sizes = list(second.sizes)
    sizes[c] = np.maximum(own, floor) / stretch
    return replace(second, sizes=tuple(sizes))


def _whitened(moments: Moments, i: int, columns: Columns) -> tuple[Array, Array]:
    W, back = whitener(moments.correlation(i, i), moments.error(i))
    full = np.zeros((len(columns.means), W.shape[1]))
    full[~columns.constant] = W / columns.spreads[~columns.constant][:, None]
    return full, back


def by_svd(sources: Sequence[Rows], penalty: Penalties, confounds: str | None) -> Solution:
    """Singular value decomposition of the standardised columns, all rows in memory."""
    dense = {source.name: _dense(source) for source in sources}
    n = sources[0].n
    remove, confound_means = None, None
    if confounds is not None:
        scaled = standardise(dense.pop(confounds))
        confound_means = scaled.means
        U, s, Vt = thin_svd(scaled.values, scaled.noise)
        remove = (U, Vt.T / s / scaled.spreads[:, None])
    columns, bases, penalties, slopes, U_of = {}, {}, {}, {}, {}
    for name in list(dense):
        scaled = standardise(dense.pop(name))
        Z, spreads, constant, noise = scaled.values, scaled.spreads, scaled.constant, scaled.noise
        if remove is not None:
            U, lift = remove
            part = U.T @ Z
            Z = Z - U @ part
            Z -= U @ (U.T @ Z)
            slopes[name] = lift @ part * spreads
            left = np.linalg.norm(Z, axis=0) / np.sqrt(n - 1)
            constant = constant | (left <= np.maximum(8 * noise, 100 * CONSTANT))
            left = np.where(constant, 1.0, left)
            Z = np.where(constant, 0.0, Z / left)
            spreads = np.where(constant, 1.0, spreads * left)
            noise = np.where(constant, 0.0, noise / left)
        columns[name] = vary(name, Columns(scaled.means, spreads, constant, noise), confounds)
        U, s, Vt = thin_svd(Z, noise)
        U_of[name] = U
        s = s / np.sqrt(n - 1)
        kept = Vt[:, ~constant]
        _, error = numerical_rank(s, kept, noise[~constant], n)

        def learnt(Z: Array = Z, s: Array = s, p: int = kept.shape[1]) -> float:
            return shrinkage(_squares(Z), float(np.sum(s**4)) - p, n)

        penalties[name] = penalty(name, learnt)
        bases[name] = by_singular_values(s, kept, penalties[name], error)
    a, b = columns
    error = max(basis.error for basis in bases.values())
    between = U_of[a].T @ U_of[b]
    return Solution(
        (a, b), n, bases, between, columns, penalties, "svd", error, slopes, confound_means
    )


def _squares(Z: Array) -> float:
    """Sum over rows of (sum_j z_j²)² - sum_j z_j⁴ of standardised columns (n, p)."""
    each = Z * Z
    return float(np.sum(each.sum(axis=1) ** 2) - np.sum(each * each))


def squares_of(
    sources: Sequence[Rows],
    means: Mapping[str, Array],
    confounds: str | None,
    name: str,
    columns: Columns,
    slopes: Mapping[str, Array],
) -> float:
    """The same over rows that are read in blocks, the confounds' effect removed."""
    own = next(source for source in sources if source.name == name)
    beside = next((source for source in sources if source.name == confounds), None)
    total = 0.0
    for low, high in spans(list(sources), own.width):
        Z = _dense_block(own, low, high) - columns.means
        if beside is not None and confounds is not None:
            Z -= (_dense_block(beside, low, high) - means[confounds]) @ slopes[name]
        total += _squares(np.where(columns.constant, 0.0, Z / columns.spreads))
    return total


def _dense_block(source: Rows, low: int, high: int) -> Array:
    found = source.block(low, high)
    return np.asarray(found.toarray() if is_sparse(found) else found, dtype=np.float64)


def _dense(source: Rows) -> NDArray[Any]:
    found = source.block(0, source.n)
    return np.asarray(found.toarray() if is_sparse(found) else found)
