"""Dependence of two parts of a code that should know nothing of each other, without a reader."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.arrays import check_number
from triptych.errors import DataError, ShapeError
from triptych.evaluation.probes import as_codes, spread_of, subset
from triptych.seeding import check_random_state, generator

# Kernels are (n, n), and every permutation reads one.
MAX_ROWS = 1_000
# Nearest neighbours tell little in more dimensions than a few.
DIRECTIONS = 2


@dataclass(frozen=True)
class DependenceScore:
    """How much two parts depend on each other, in any form.

    Args:
        hsic: HSIC with Gaussian kernels, normalised to [0, 1]: 1 for a part with itself. It does
            not reach 0 in samples; read it beside ``chance``.
        chance: The same with shuffled rows, mean over permutations.
        p_value: Share of permutations with at least this much, the data counted as one of them.
        information: Mutual information of the leading principal components of both parts by
            nearest neighbours (Gao et al. 2017 where rows repeat), in nats: less than that of the
            whole parts.
        stderr: Its standard error.
        n: Rows used.
    """

    hsic: float
    chance: float
    p_value: float
    information: float
    stderr: float
    n: int

    @property
    def excess(self) -> float:
        """HSIC beyond chance, as a share of the way from chance to 1; 0 at chance and below.

        Rows that are all equally far apart, as in very wide codes, look alike shuffled or not.
        """
        room = 1 - self.chance
        return max(0.0, (self.hsic - self.chance) / room) if room > 1e-9 else 0.0


def dependence(
    a: ArrayLike,
    b: ArrayLike,
    *,
    permutations: int = 50,
    max_rows: int = MAX_ROWS,
    random_state: int | None = 0,
) -> DependenceScore:
    r"""HSIC and estimated information between two parts of the codes of the same rows.

    .. math:: \operatorname{tr}(\tilde K \tilde L) \,/\,
        \sqrt{\operatorname{tr}(\tilde K^2) \operatorname{tr}(\tilde L^2)}

    with centred kernels exp(-|x - y|² / 2 w²) of standardised columns, w the median distance.

    Args:
        a: Codes (n, ...), n >= 10.
        b: Other codes of the same rows.
        permutations: How many times rows are shuffled, >= 1.
        max_rows: Most rows to use.
        random_state: Seed of the choice of rows and of the permutations.

    Raises:
        DataError: Fewer than 10 rows, or a part that is constant, which depends on nothing.
        ShapeError: Different numbers of rows.

    References:
        Gretton et al. 2005, HSIC; Cortes et al. 2012 (normalised, centred alignment);
        Kraskov et al. 2004, arXiv:cond-mat/0305641.

    Example:
        >>> draw = np.random.default_rng(0)
        >>> a = draw.normal(size=(300, 2))
        >>> curved = dependence(a, a**2)
        >>> curved.hsic > 3 * curved.chance, curved.p_value < 0.05
        (True, True)
    """
    from triptych.information import mutual_information

    check_number("permutations", permutations, low=1, integer=True)
    check_number("max_rows", max_rows, low=10, integer=True)
    seed = check_random_state(random_state)
    parts = [as_codes(a, "a"), as_codes(b, "b")]
    if len(parts[0]) != len(parts[1]):
        raise ShapeError(f"dependence: rows of a and b differ: {len(parts[0])}, {len(parts[1])}.")
    if len(parts[0]) < 10:
        raise DataError(f"dependence needs at least 10 rows; got {len(parts[0])}.")
    rows = subset(np.arange(float(len(parts[0]))), True, max_rows, seed)
    ready = []
    for name, values in zip("ab", parts, strict=True):
        mean, scale = spread_of(values[rows])
        ready.append((values[rows] - mean) / scale)
        if not ready[-1].any():
            raise DataError(f"dependence: {name} is constant, so it depends on nothing.")
    K, L = (_centred_kernel(z) for z in ready)
    size = float(np.linalg.norm(K) * np.linalg.norm(L))
    value = float((K * L).sum()) / size
    draw, chance = generator(seed, "dependence"), []
    for _ in range(permutations):
        turned = draw.permutation(len(rows))
        chance.append(float((K * L[np.ix_(turned, turned)]).sum()) / size)
    leading = [_leading(z) for z in ready]
    # Rows that repeat, as codes of few contents do, have no density.
    repeated = any(len(np.unique(z, axis=0)) < len(z) for z in leading)
    found = mutual_information(*leading, estimator="mixed" if repeated else "ksg")
    return DependenceScore(
        hsic=value,
        chance=float(np.mean(chance)),
        p_value=(1 + sum(c >= value for c in chance)) / (1 + permutations),
        information=float(found.value),
        stderr=float(found.standard_error),
        n=len(rows),
    )


def _centred_kernel(z: NDArray[np.float64]) -> NDArray[np.float64]:
    length = (z**2).sum(axis=1)
    squared = np.maximum(length[:, None] + length[None, :] - 2 * z @ z.T, 0.0)
    width = np.median(squared[np.triu_indices(len(z), 1)])
    # More than half of the rows coincide: the spread of the others says what is near.
    width = width if width > 0 else squared.mean()
    K = np.exp(-squared / (2 * width))
    centred: NDArray[np.float64] = K - K.mean(0) - K.mean(1, keepdims=True) + K.mean()
    return centred


def _leading(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leading principal components of standardised codes, (n, 1 or 2)."""
    U, s, _ = np.linalg.svd(z - z.mean(axis=0), full_matrices=False)
    kept = max(1, int((s[:DIRECTIONS] > 1e-9 * s[0]).sum()))
    # Equal rows are to stay equal, to the last digit.
    return np.asarray(np.round(U[:, :kept] * s[:kept] / (s[0] / np.sqrt(len(z))), 9))
