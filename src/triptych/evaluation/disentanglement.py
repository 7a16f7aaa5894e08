"""Disentanglement: does each column of a code stand for one factor, where factors are known?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.arrays import as_labels, check_number
from triptych.errors import DataError, ShapeError
from triptych.evaluation.probes import as_codes
from triptych.seeding import check_random_state, generator

# A column or factor of less variance than this beside its size tells nothing.
FLAT = 1e-12


@dataclass(frozen=True)
class DCIScore:
    """Disentanglement, completeness and informativeness, each in [0, 1], larger is better.

    Args:
        disentanglement: Whether each column matters for one factor only, weighted by importance.
        completeness: Whether each factor is read from one column only.
        informativeness: Mean over factors of what trees predict on held-out rows: accuracy for
            classes, R² for numbers (there it may be negative).
        importance: Of column i for factor j, (d, f), each column of the table summing to 1.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: NDArray[np.float64]


def mig(codes: ArrayLike, factors: ArrayLike, *, bins: int = 20) -> float:
    r"""Mutual information gap: how far the best column of a code is ahead of the second best.

    .. math:: \frac1f \sum_j \frac{I(z_{(1)}; v_j) - I(z_{(2)}; v_j)}{H(v_j)}

    with plug-in information of columns cut into bins of equal width; factors that are numbers
    (type float) are cut in the same way. A factor spread over two columns scores low on
    purpose, also where both columns hold nothing else.

    Args:
        codes: Shape (n, d), d >= 2.
        factors: Shape (n, f) or (n,), classes or numbers.
        bins: Of each column, >= 2.

    Returns:
        In [0, 1]; 1 if each factor is a function of one column that no other knows of.

    Raises:
        DataError: A factor with one value, which nothing can tell; it is named. A code of one
            column, which has no second best.
        ShapeError: Different numbers of rows.

    References:
        Chen et al. 2018, Isolating Sources of Disentanglement, arXiv:1802.04942, eq. 6.
    """
    check_number("bins", bins, low=2, integer=True)
    values, known = _together("mig", codes, factors)
    cut = [_cut(column, bins) for column in values.T]
    gaps = []
    for j, factor in enumerate(known):
        truth = _cut(factor, bins) if factor.dtype.kind == "f" else _names(factor)
        entropy = _entropy(np.bincount(truth))
        if entropy <= 0:
            raise DataError(f"mig: factor {j} has one value only, so nothing tells it.")
        second, best = np.sort([_information(column, truth) for column in cut])[-2:]
        gaps.append((best - second) / entropy)
    return float(np.mean(gaps))


def dci(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    test_share: float = 0.33,
    max_rows: int = 10_000,
    random_state: int | None = 0,
) -> DCIScore:
    r"""Disentanglement, completeness, informativeness by the importances of boosted trees.

    .. math:: D = \sum_i \rho_i \Big(1 - H_f\big(R_{i\cdot} / \textstyle\sum_j R_{ij}\big)\Big),
        \qquad C = \sum_j \rho'_j \Big(1 - H_d\big(R_{\cdot j} / \textstyle\sum_i R_{ij}\big)\Big)

    with R the importances, entropies to the base of the number of factors f or columns d, and
    ρ, ρ' the shares of rows and columns in the sum of R. A row of zeros counts as uniform.

    Args:
        codes: Shape (n, d), d >= 2.
        factors: Shape (n, f), f >= 2: classes, or numbers where the type is float.
        test_share: Share of rows held out for informativeness, in (0, 1).
        max_rows: Most rows to use; trees take long.
        random_state: Seed of the trees and of which rows are held out.

    Raises:
        DataError: One column or one factor, for which the entropies are not defined; a factor
            with one value.
        ShapeError: Different numbers of rows.

    References:
        Eastwood and Williams 2018, A Framework for the Quantitative Evaluation of Disentangled
        Representations, ICLR; trees as in Locatello et al. 2019, arXiv:1811.12359.
    """
    check_number("test_share", test_share, low=0.01, high=0.99)
    check_number("max_rows", max_rows, low=10, integer=True)
    values, known = _together("dci", codes, factors)
    if len(known) < 2:
        raise DataError("dci: with one factor every column is disentangled; give two or more.")
    seed = check_random_state(random_state)
    order = generator(seed, "dci").permutation(len(values))[:max_rows]
    n_test = max(1, round(test_share * len(order)))
    if len(order) - n_test < 2:
        raise DataError(f"dci: {len(order)} rows are too few to hold some out.")
    test, train = order[:n_test], order[n_test:]
    importance, told = [], []
    for j, factor in enumerate(known):
        model = _trees(factor[train], j, seed).fit(values[train], factor[train])
        importance.append(np.abs(model.feature_importances_))
        told.append(float(model.score(values[test], factor[test])))
    R = np.stack(importance, axis=1)  # (d, f)
    return DCIScore(
        disentanglement=_concentration(R),
        completeness=_concentration(R.T),
        informativeness=float(np.mean(told)),
        importance=R,
    )


def sap(
    codes: ArrayLike,
    factors: ArrayLike,
    *,
    test_share: float = 0.33,
    max_rows: int = 10_000,
    random_state: int | None = 0,
) -> float:
    """Separated attribute predictability: how far the best single column is ahead of the second.

    A column's score is its squared correlation with a factor that is a number (type float), and
    the accuracy on held-out rows of a linear support vector machine (C = 0.01, classes
    weighted alike) for classes. A constant column scores 0.

    Args:
        codes: Shape (n, d), d >= 2.
        factors: Shape (n, f) or (n,).
        test_share: Share of rows held out for classes, in (0, 1).
        max_rows: Most rows to use.
        random_state: Seed of which rows are held out.

    Returns:
        Mean over factors of the gap, in [0, 1].

    Raises:
        DataError: A factor with one value, or a code of one column.
        ShapeError: Different numbers of rows.

    References:
        Kumar, Sattigeri and Balakrishnan 2018, arXiv:1711.00848, section 3.
    """
    check_number("test_share", test_share, low=0.01, high=0.99)
    check_number("max_rows", max_rows, low=10, integer=True)
    values, known = _together("sap", codes, factors)
    seed = check_random_state(random_state)
    order = generator(seed, "sap").permutation(len(values))[:max_rows]
    n_test = max(1, round(test_share * len(order)))
    if len(order) - n_test < 2:
        raise DataError(f"sap: {len(order)} rows are too few to hold some out.")
    test, train = order[:n_test], order[n_test:]
    gaps = []
    for j, factor in enumerate(known):
        if factor.dtype.kind == "f":
            scores = [_squared_correlation(c[order], factor[order], j) for c in values.T]
        else:
            scores = [_alone(c[train], factor[train], c[test], factor[test], j) for c in values.T]
        second, best = np.sort(scores)[-2:]
        gaps.append(best - second)
    return float(np.mean(gaps))


# -- pieces ----------------------------------------------------------------------------------


def _together(
    name: str, codes: ArrayLike, factors: ArrayLike
) -> tuple[NDArray[np.float64], list[NDArray[Any]]]:
    values = as_codes(codes, "codes")
    if values.shape[1] < 2:
        raise DataError(f"{name}: a code of one column has no second best; got {values.shape}.")
    table = np.asarray(factors)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or len(table) != len(values):
        raise ShapeError(
            f"{name}: expected factors (n, f) of the rows of codes {values.shape}; got "
            f"{table.shape}."
        )
    return values, [as_labels(c, len(values), f"factor {j}") for j, c in enumerate(table.T)]


def _names(labels: NDArray[Any]) -> NDArray[np.intp]:
    return np.unique(labels, return_inverse=True)[1].reshape(-1)


def _cut(column: NDArray[Any], bins: int) -> NDArray[np.intp]:
    """Bins of equal width between the least and the largest value; a constant has one."""
    low, high = float(column.min()), float(column.max())
    if high - low <= FLAT * max(abs(low), abs(high), FLAT):
        return np.zeros(len(column), dtype=np.intp)
    at = np.floor((column - low) / (high - low) * bins).astype(np.intp)
    return np.minimum(at, bins - 1)


def _entropy(counts: NDArray[Any]) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(-(p * np.log(p)).sum())


def _information(a: NDArray[np.intp], b: NDArray[np.intp]) -> float:
    """Plug-in I(a; b) in nats."""
    table = np.zeros((int(a.max()) + 1, int(b.max()) + 1))
    np.add.at(table, (a, b), 1)
    return _entropy(table.sum(1)) + _entropy(table.sum(0)) - _entropy(table.ravel())


def _concentration(R: NDArray[np.float64]) -> float:
    """Mean over rows of 1 - entropy of the row to the base of its length, weighted by row sums."""
    sums = R.sum(axis=1, keepdims=True)
    if sums.sum() <= 0:
        return 0.0
    shares = np.where(sums > 0, R / np.where(sums > 0, sums, 1.0), 1 / R.shape[1])
    logs = np.log(np.where(shares > 0, shares, 1.0)) / np.log(R.shape[1])
    each = 1 + (shares * logs).sum(axis=1)
    return float((sums[:, 0] / sums.sum() * each).sum())


def _trees(factor: NDArray[Any], j: int, seed: int) -> Any:
    from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor

    _differs("dci", factor, j)
    kind = GradientBoostingRegressor if factor.dtype.kind == "f" else GradientBoostingClassifier
    return kind(random_state=seed)


def _differs(name: str, factor: NDArray[Any], j: int) -> None:
    if len(np.unique(factor)) < 2:
        raise DataError(f"{name}: factor {j} has one value only, so nothing tells it.")


def _squared_correlation(column: NDArray[Any], factor: NDArray[Any], j: int) -> float:
    _differs("sap", factor, j)
    a, b = column - column.mean(), factor - factor.mean()
    spread = float(a @ a)
    if spread <= FLAT * max(float(column @ column), FLAT):
        return 0.0
    return float((a @ b) ** 2 / (spread * (b @ b)))


def _alone(
    train: NDArray[Any], y: NDArray[Any], test: NDArray[Any], truth: NDArray[Any], j: int
) -> float:
    from sklearn.svm import LinearSVC

    _differs("sap", y, j)
    if train.var() <= FLAT * max(float((train**2).mean()), FLAT):
        return 0.0
    model = LinearSVC(C=0.01, class_weight="balanced", random_state=0).fit(train[:, None], y)
    return float(model.score(test[:, None], truth))
