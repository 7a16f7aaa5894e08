"""Significance of canonical correlations by permutation, valid for later components too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.arrays import check_choice, check_number, row_chunks
from triptych.canonical.shuffling import Shuffle, check_groups, shuffle_of
from triptych.canonical.theory import leading, log_wilks
from triptych.errors import CapabilityError, DataError, ShapeError
from triptych.linalg import Standardised, standardise, thin_svd
from triptych.seeding import check_random_state, generator
from triptych.values import register

Array = NDArray[np.float64]

# Correlations nearer to 1 than this are 1 but for rounding, and equal to one another.
ONE = 1 - 1e-12
BATCH = 64


@register
@dataclass(frozen=True)
class PermutationTest:
    """What canonical correlations are when rows no longer belong together.

    Args:
        statistic: ``"wilks"`` (all that remains), ``"roy"`` (the largest that remains) or
            ``"largest"`` (of all components, whichever is tested).
        correlations: Of the rows as they are, for the components tested, falling, shape (d,).
        null: Largest correlation left after k components (of all, with a ridge and ``"roy"``, and
            with ``"largest"``), by permutation, shape (n_permutations, d).
        p_values: (1 + permutations at least as extreme) / (1 + n_permutations), each component
            by itself, shape (d,).
        p_values_fwe: Their cumulative maximum, shape (d,): the chance of one false component or
            more is at most the level, for all components together.
        n_samples: Rows that were permuted.
    """

    statistic: str
    correlations: Array
    null: Array
    p_values: Array
    p_values_fwe: Array
    n_samples: int

    @property
    def n_permutations(self) -> int:
        """How often rows were permuted."""
        return len(self.null)

    def level(self, share: float = 0.95) -> Array:
        """Quantile of each component's null, shape (d,), in [0, 1]."""
        check_number("share", share, low=0, high=1)
        return np.quantile(self.null, share, axis=0)

    def n_significant(self, alpha: float = 0.05) -> int:
        """How many components come before the first whose ``p_values_fwe`` exceeds ``alpha``."""
        return leading(self.p_values_fwe, alpha)


def permutation_test(
    A: ArrayLike,
    B: ArrayLike,
    *,
    n_permutations: int = 999,
    n_components: int | None = None,
    statistic: str | None = None,
    ridge: tuple[float, float] = (0.0, 0.0),
    confounds: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    exchange: str = "whole",
    random_state: int | None = 0,
) -> PermutationTest:
    """Permute the rows of one modality and ask how large correlations become by chance.

    Component k + 1 is asked after the first k pairs of variates are taken out of both modalities;
    the directions that have no partner stay in. What remains is permuted and then projected off
    the k pairs again, so that it has the n - 1 - k dimensions that the remainder has: permuting
    the whole data would compare a weak component with the null of all of them, and permuting the
    remainder alone would give its null k dimensions too many. Without confounds the first
    component's test is exact whatever the distribution; later ones are to order 1 / n.

    Confounds are removed by a residual basis of n - 1 - c rows (Theil's, which drops rows), whose
    rows are uncorrelated, as residuals are not; exact for normal rows.

    With a ridge the regularised correlations are tested. Shrunk bases cannot be projected off
    pairs, so ``"roy"`` compares every component with the largest correlation of the whole permuted
    data: exact for the first, on the safe side after. ``"wilks"`` permutes the remainder as it is,
    and where columns are many for the rows it then calls later components real too often.

    Args:
        A: Columns of one modality, shape (n, p).
        B: Of the other, shape (n, q).
        n_permutations: How many; the smallest p-value is 1 / (1 + n_permutations).
        n_components: Components tested; ``None`` for all min(rank).
        statistic: ``"wilks"`` adds up all that remains; ``"roy"`` takes the largest. ``None`` is
            ``"wilks"`` without a ridge, ``"roy"`` with one.
        ridge: Added to the variance (1) of the standardised columns of each, >= 0.
        confounds: Columns (n, c) to be removed from both.
        groups: Labels (n,) of rows that belong together; rows are free when left out.
        exchange: What may change places: ``"whole"`` groups of the same size, rows in their order
            (repeated measures of one thing); or rows ``"within"`` each group (sites, batches).
        random_state: Seed of the permutations.

    Raises:
        DataError: Nothing varies, or nothing is left of the rows.
        ParameterError: A parameter that cannot be used; groups that cannot change places.

    References:
        Winkler, Renaud, Smith and Nichols 2020, NeuroImage 220, 117065, algorithm 1.
        Theil 1965, JASA 60.
    """
    for i, value in enumerate(ridge):
        check_number(f"ridge[{i}]", value, low=0)
    X, Y, shuffle = _rows(A, B, confounds, groups, exchange)
    degrees = len(np.asarray(A)) - 1  # the squared length of a standardised column
    left = _basis(X, ridge[0] * degrees, "the first modality")
    right = _basis(Y, ridge[1] * degrees, "the second")
    return test_bases(
        left,
        right,
        shuffle,
        ridged=any(ridge),
        n_permutations=n_permutations,
        n_components=n_components,
        statistic=statistic,
        random_state=random_state,
    )


def test_bases(
    left: Array,
    right: Array,
    shuffle: Shuffle,
    *,
    ridged: bool,
    n_permutations: int,
    n_components: int | None,
    statistic: str | None,
    random_state: int | None,
) -> PermutationTest:
    """The same, of orthonormal bases (n, r) and (n, s) whose columns a ridge may have shrunk.

    Args:
        left: Of one modality.
        right: Of the other.
        shuffle: Draws an order of the n rows.
        ridged: Whether a ridge shrank either.
        n_permutations: As in :func:`permutation_test`, like those below.
        n_components: Components.
        statistic: What is compared.
        random_state: Seed.
    """
    check_number("n_permutations", n_permutations, low=1, integer=True)
    if statistic is None:
        statistic = "roy" if ridged else "wilks"
    check_choice("statistic", statistic, ("wilks", "roy"))
    P, rho, Qt = np.linalg.svd(left.T @ right)  # (r, r), (k,), (s, s)
    most = len(rho)
    tested = most if n_components is None else n_components
    check_number("n_components", tested, low=1, high=most, integer=True)
    U, V, rho = left @ P, right @ Qt.T, np.clip(rho, 0.0, 1.0)
    if V.shape[1] > U.shape[1]:
        U, V = V, U  # fewer columns to permute
    pairs = np.empty((len(U), 0))
    if not ridged and tested > 1:
        pairs = U[:, : tested - 1] + V[:, : tested - 1]
        pairs = pairs / np.linalg.norm(pairs, axis=0)  # orthonormal (n, d - 1)
    both = np.hstack([U, pairs])  # (n, r + d - 1)
    random = generator(check_random_state(random_state), "permutations")
    levels = 1 if ridged and statistic == "roy" else tested
    remaining: list[list[Array]] = [[] for _ in range(levels)]
    for start in range(0, n_permutations, BATCH):
        some = min(BATCH, n_permutations - start)
        products = np.stack(
            [_product(both, V, shuffle(random)) for _ in range(some)]
        )  # (b, r + d - 1, s)
        for k in range(levels):
            remaining[k].append(_remaining(products, U.shape[1], k, bool(pairs.shape[1])))
    remaining += remaining[:1] * (tested - levels)
    null = [np.concatenate(parts) for parts in remaining]  # k: (n_permutations, most - k)
    found = np.minimum(rho, ONE)
    p = np.empty(tested)
    for k, values in enumerate(null):
        # Ties count against us, and rounding must not break them.
        if statistic == "roy":
            extreme = values[:, 0] >= found[k] * (1 - 1e-10)
        else:
            sizes = -log_wilks(np.minimum(values, ONE))[:, 0]
            extreme = sizes >= -log_wilks(found[k:])[0] * (1 - 1e-10)
        p[k] = (1 + np.count_nonzero(extreme)) / (1 + n_permutations)
    return PermutationTest(
        statistic=statistic,
        correlations=rho[:tested],
        null=np.stack([values[:, 0] for values in null], axis=1),
        p_values=p,
        p_values_fwe=np.maximum.accumulate(p),
        n_samples=len(U),
    )


def _product(left: Array, right: Array, order: NDArray[np.intp]) -> Array:
    """``left.T @ right[order]`` without a copy of all rows."""
    out = np.zeros((left.shape[1], right.shape[1]))
    for part in row_chunks(len(left)):
        out += left[part].T @ right[order[part]]
    return out


def _remaining(products: Array, r: int, k: int, project: bool) -> Array:
    """Correlations of what is left after k pairs, for a batch of permutations.

    Args:
        products: Variates and pairs times permuted variates, shape (b, r + d - 1, s).
        r: Variates among the rows of ``products``; pairs come after them.
        k: Pairs taken out.
        project: Whether the permuted variates are projected off the first k pairs.
    """
    M = products[:, k:r, k:]
    if project and k:
        # Permuted variates V, less their part C along the pairs, have the Gram matrix I - C'C.
        C = products[:, r : r + k, k:]
        _, h, Wt = np.linalg.svd(C, full_matrices=False)
        left = 1 - np.minimum(h, 1.0) ** 2
        stretch = np.where(left > 1e-12, 1 / np.sqrt(np.where(left > 1e-12, left, 1.0)), 0.0) - 1
        M = M + (M @ Wt.transpose(0, 2, 1) * stretch[:, None, :]) @ Wt
    return np.clip(np.linalg.svd(M, compute_uv=False), 0.0, 1.0)


def _basis(columns: Standardised, added: float, whose: str) -> Array:
    """Orthonormal basis of the columns, shrunk by what a ridge adds to squares, shape (n, r)."""
    U, s, _ = thin_svd(columns.values, columns.noise)
    if not len(s):
        raise DataError(f"permutation_test: every column of {whose} is constant.")
    return U * (s / np.hypot(s, np.sqrt(added)))


def _rows(
    A: ArrayLike,
    B: ArrayLike,
    confounds: ArrayLike | None,
    groups: ArrayLike | None,
    exchange: str,
) -> tuple[Standardised, Standardised, Shuffle]:
    """Both modalities with rows that may change places, and what draws the places."""
    X, Y = np.asarray(A), np.asarray(B)
    n = len(X)
    if X.ndim != 2 or Y.ndim != 2 or len(Y) != n:
        raise ShapeError(f"expected (n, p) and (n, q), the same rows; got {X.shape}, {Y.shape}.")
    if n < 2:
        raise DataError(f"permutation_test needs 2 rows; got {n}.")
    sides = [standardise(X), standardise(Y)]
    kept = np.arange(n)
    if confounds is not None:
        if groups is not None and exchange == "whole":
            raise CapabilityError(
                "permutation_test: confounds with whole groups cannot be had: the residual basis "
                "drops rows, and groups would lose them. Take exchange='within', or no groups."
            )
        sides, kept = _without(sides, np.asarray(confounds), n)
    place = check_groups(groups, exchange, n)
    free = shuffle_of(len(kept), None if place is None else place[kept], exchange)
    return sides[0], sides[1], free


def _without(
    sides: list[Standardised], confounds: NDArray[np.float64], n: int
) -> tuple[list[Standardised], NDArray[np.intp]]:
    """Residuals in Theil's basis, standardised, and the rows that the basis stands on."""
    from scipy.linalg import qr

    if confounds.ndim != 2 or len(confounds) != n:
        raise ShapeError(f"confounds: expected ({n}, c), got {confounds.shape}.")
    Z = standardise(confounds)
    H = np.hstack([np.full((n, 1), n**-0.5), thin_svd(Z.values, Z.noise)[0]])  # (n, 1 + c)
    if n - H.shape[1] < 2:
        raise DataError(
            f"confounds: of {n} rows, rank {H.shape[1] - 1} and the mean leave fewer than 2."
        )
    # The rows that say most of the confounds are dropped, so that the rest is well conditioned.
    dropped = qr(H.T, mode="r", pivoting=True)[1][: H.shape[1]]
    kept = np.setdiff1d(np.arange(n), dropped)
    P, h, _ = np.linalg.svd(H[kept], full_matrices=False)
    stretch = 1 / np.sqrt(1 - h**2) - 1
    out = []
    for side in sides:
        R = side.values - H @ (H.T @ side.values)
        size = np.linalg.norm(R, axis=0) / np.sqrt(n - 1)
        # What rounding leaves of a column that the confounds explain is not a column.
        gone = size <= 1e-10
        size = np.where(gone, 1.0, size)
        R[:, gone] = 0.0
        R = R[kept] / size
        R += P @ (stretch[:, None] * (P.T @ R))
        noise = np.where(gone, 0.0, side.noise / size)
        out.append(side._replace(values=R, noise=noise, constant=gone))
    return out, kept
