"""What every road of a canonical correlation analysis ends with, and what follows from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from triptych.bases import Basis, Penalty
from triptych.errors import DataError, DegenerateDataWarning, warn
from triptych.linalg import Array
from triptych.moments import Columns, Moments

# Error of the correlations from which on one pass over rows says so.
BLURRED = 1e-6

# So many times fewer components than there are, and the smallest square of them, make eigenvalues
# of K K^T as good as singular values of K: to 1e-13 at the least.
FEW, LEAST_SQUARE = 20, 1e-6

Gather = Callable[..., Moments]
# The penalty of a modality, given its name and how its shrinkage is learnt if it must be.
Penalties = Callable[[str, Callable[[], float]], Penalty]
# Sum over rows of products of different standardised columns, squared: by modality, its columns,
# and the slopes of the confounds.
Squares = Callable[[str, Columns, Mapping[str, Array]], float]


@dataclass(frozen=True)
class Solution:
    """Two bases and what lies between them.

    Args:
        names: The two modalities.
        n: Rows.
        bases: By modality.
        between: Products of the two Q, (k_a, k_b).
        columns: By modality.
        penalties: By modality.
        solver: The road taken.
        error: Bound on the error of the correlations.
        slopes: By modality (p_c, p): the confounds' effect that was removed.
        confound_means: Shape (p_c,).
        lifts: By modality, products of its columns with its own Q (p', k_a) and with the other's
            (p', k_b), where Q does not span the columns.
    """

    names: tuple[str, str]
    n: int
    bases: Mapping[str, Basis]
    between: Array
    columns: Mapping[str, Columns]
    penalties: Mapping[str, Penalty]
    solver: str
    error: float
    slopes: Mapping[str, Array] = field(default_factory=dict)
    confound_means: Array | None = None
    lifts: Mapping[str, tuple[Array, Array]] | None = None

    def pairs(self, width: int) -> tuple[Array, dict[str, Part]]:
        """All canonical correlations (k,), and what belongs to the first ``width``."""
        a, b = (self.bases[name] for name in self.names)
        K = a.inner.T @ self.between if a.inner.ndim == 2 else a.inner[:, None] * self.between
        K = K @ b.inner if b.inner.ndim == 2 else K * b.inner
        few = FEW * width <= min(K.shape)
        rho, turns = (few and _by_squares(K, width)) or _by_values(K, width)
        del K
        places, owns = [], []
        for basis, turn in zip((a, b), turns, strict=True):
            at = basis.place(turn)
            own = basis.own(at)
            squares = np.einsum("kd,kd->d", at, own)
            # A direction that a penalty alone holds up has no length, and correlates with nothing.
            norm = np.sqrt(np.where(squares > 0, squares, np.inf))
            places.append(at / norm)
            owns.append(own / norm)
        parts = {}
        for i, name in enumerate(self.names):
            other = places[1 - i]
            seen = np.hstack([owns[i], (self.between if i == 0 else self.between.T) @ other])
            weights, products = self.bases[name].expand(turns[i], seen)
            if self.lifts is not None:
                own, cross = self.lifts[name]
                products = np.hstack([own @ places[i], cross @ other])
            parts[name] = Part.of(self.columns[name], weights, products)
            del seen, weights, products
        scale = np.prod([np.sqrt(self.penalties[name].keep) for name in self.names])
        return np.clip(rho * scale, 0.0, 1.0), parts


def _by_values(K: Array, width: int) -> tuple[Array, tuple[Array, Array]]:
    """All singular values, and the first ``width`` vectors of both sides."""
    P, rho, Qt = np.linalg.svd(K, full_matrices=False)
    return rho, (P[:, :width], Qt[:width].T)


def _by_squares(K: Array, width: int) -> tuple[Array, tuple[Array, Array]] | None:
    """The same by eigenvalues of K K^T, in a third of the time; ``None`` where squaring costs.

    An eigenvalue is exact to epsilon, so its root is to epsilon over twice the root.
    """
    turned = K.shape[0] > K.shape[1]
    M = K.T if turned else K
    squares, P = np.linalg.eigh(M @ M.T)
    if not squares[0] > LEAST_SQUARE:
        return None
    rho, P = np.sqrt(squares[::-1]), P[:, ::-1][:, :width]
    Q = M.T @ P / rho[:width]
    return rho, (Q, P) if turned else (P, Q)


class Part(NamedTuple):
    """What one modality has of d components, each (p, d): see the attributes of CCA."""

    weights: Array
    loadings: Array
    cross: Array

    @classmethod
    def of(cls, columns: Columns, weights: Array, products: Array) -> Part:
        """From weights (p', d) and products (p', 2 d) of the columns that vary."""
        d = weights.shape[1]
        kept = ~columns.constant
        np.clip(products, -1.0, 1.0, out=products)
        full = weights / columns.spreads[kept][:, None]
        if not kept.all():
            full, both = _spread(full, kept), _spread(products, kept)
        else:
            both = products
        return cls(full, both[:, :d], both[:, d:])


def _spread(rows: Array, kept: NDArray[np.bool_]) -> Array:
    """The rows of the columns that vary among all, 0 elsewhere."""
    out = np.zeros((len(kept), rows.shape[1]))
    out[kept] = rows
    return out


def vary(name: str, columns: Columns, confounds: str | None = None) -> Columns:
    """The columns, if any of them varies (beside what the confounds took)."""
    if columns.constant.all() and confounds is not None:
        raise DataError(
            f"modality {name!r}: nothing is left once the effect of {confounds!r} is removed: "
            "every column is constant or a combination of the confounds."
        )
    if columns.constant.all():
        raise DataError(f"modality {name!r}: every column is constant, so nothing correlates.")
    return columns


def warn_if_blurred(found: Solution) -> None:
    """Warn where moments of one pass leave the correlations an error beyond 1e-6."""
    if found.solver in ("cholesky", "eigen") and found.error > BLURRED:
        warn(
            "CCA: columns that nearly depend on one another, or rows that dwarf all others, and "
            f"one pass over rows leaves an error of the correlations of up to {found.error:.1g}. "
            'Fit data that can be read twice with solver="auto", or set a ridge.',
            DegenerateDataWarning,
        )
