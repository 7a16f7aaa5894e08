"""Canonical correlations on rows that were not learnt from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.arrays import check_number
from triptych.errors import DataError, DegenerateDataWarning, ParameterError, ShapeError, warn
from triptych.linalg import standardise
from triptych.modalities import Modalities, as_modalities
from triptych.seeding import check_random_state, derive
from triptych.values import register

Array = NDArray[np.float64]

# In-sample correlations are inflated when they exceed held-out ones by more than both of these.
GAP = 0.1
STANDARD_ERRORS = 3.0


@register
@dataclass(frozen=True)
class HeldOutCorrelations:
    """Correlations of codes by component, on rows learnt from and on others.

    Args:
        held_out: By fold and component, shape (folds, d), in [-1, 1].
        in_sample: On the rows that each fold learnt from, shape (folds, d).
        n_held_out: Complete rows held out in each fold, shape (folds,).
    """

    held_out: Array
    in_sample: Array
    n_held_out: NDArray[np.intp]

    @property
    def mean(self) -> Array:
        """Held-out correlation, mean over folds weighted by their rows, shape (d,)."""
        return np.average(self.held_out, axis=0, weights=self.n_held_out)

    @property
    def standard_error(self) -> Array:
        """Of ``mean``, from the spread over folds, shape (d,).

        Folds share training rows, so it is a little too small.
        """
        folds = len(self.held_out)
        return np.asarray(self.held_out.std(axis=0, ddof=1) / np.sqrt(folds))

    @property
    def inflation(self) -> Array:
        """By how much in-sample correlations exceed held-out ones, shape (d,)."""
        return np.asarray(self.in_sample.mean(axis=0) - self.mean)


def cross_validated_correlations(
    method: Any,
    X: Mapping[str, Any] | Modalities,
    *,
    cv: Any = 5,
    groups: ArrayLike | None = None,
    y: ArrayLike | None = None,
    random_state: int | None = 0,
) -> HeldOutCorrelations:
    """Fit copies of a method on parts of the rows and correlate its codes on the others.

    Args:
        method: A coordination method; it is cloned and stays as it was. With more than two
            modalities the correlation of a component is the mean over pairs of modalities.
        X: Modalities, n rows; a pair is correlated over the rows that have both.
        cv: Number of folds (drawn by chance, groups whole), or a splitter of scikit-learn, or
            pairs of training and held-out rows.
        groups: Labels (n,) of rows that must be held out together.
        y: Labels (n,), for methods that need them.
        random_state: Seed of the folds, and of the copies where ``method`` has none.

    Returns:
        Correlations by fold; a code that is constant on the rows counts as 0.

    Raises:
        DataError: A fold with fewer than three rows that have both modalities.
        ShapeError: Codes of different widths.

    Warns:
        DegenerateDataWarning: In-sample correlations exceed held-out ones by more than 0.1 and
            three standard errors, on average over components.
    """
    from sklearn.base import clone

    if getattr(method, "panel", "") != "coordination":
        raise ParameterError(f"method: expected a coordination method, got {method!r}.")
    data, seed = as_modalities(X), check_random_state(random_state)
    rows_of: list[tuple[Any, Any]] = list(_folds(cv, len(data), groups, seed))
    if len(rows_of) < 2:
        raise ParameterError(f"cv: expected 2 folds or more, got {len(rows_of)}.")
    labels = None if y is None else np.asarray(y)
    held, seen, counts = [], [], []
    for fold, (train, test) in enumerate(rows_of):
        model = clone(method)
        if "random_state" in model.get_params(deep=False) and model.random_state is None:
            model.set_params(random_state=derive(seed, "fold", fold))
        model.fit(data[train], None if labels is None else labels[train])
        found, count = _correlations(model.transform(data[test]), f"fold {fold}")
        held.append(found)
        counts.append(count)
        seen.append(_correlations(model.transform(data[train]), f"training rows of {fold}")[0])
    width = min(map(len, held))  # a method that chooses its width may choose another in a fold
    result = HeldOutCorrelations(
        held_out=np.array([r[:width] for r in held]),
        in_sample=np.array([r[:width] for r in seen]),
        n_held_out=np.array(counts, dtype=np.intp),
    )
    _warn_if_inflated(result, type(method).__name__)
    return result


def _folds(cv: Any, n: int, groups: ArrayLike | None, seed: int) -> Any:
    from sklearn.model_selection import GroupKFold, KFold

    if not isinstance(cv, (int, np.integer)) or isinstance(cv, bool):
        split = getattr(cv, "split", None)
        if split is None and not isinstance(cv, Iterable):
            raise ParameterError(
                f"cv: expected a number, a splitter or pairs of rows, got {cv!r}."
            )
        return cv if split is None else split(np.zeros((n, 1)), groups=groups)
    check_number("cv", cv, low=2, integer=True)
    units = n if groups is None else len(np.unique(np.asarray(groups)))
    if cv > units:
        what = "rows" if groups is None else "groups"
        raise ParameterError(f"cv: {cv} folds need as many {what}; got {units}.")
    kind = KFold if groups is None else GroupKFold
    folds = kind(int(cv), shuffle=True, random_state=seed)
    return folds.split(np.zeros((n, 1)), groups=groups)


def _correlations(Z: Modalities, where: str) -> tuple[Array, int]:
    """By component, the mean over pairs of modalities; and the fewest rows of a pair."""
    widths = {name: Z[name].shape[1] for name in Z.names}
    if len(set(widths.values())) > 1:
        raise ShapeError(f"codes of different widths cannot be correlated: {widths}.")
    found, least = [], len(Z)
    for a, b in combinations(Z.names, 2):
        both = Z.present[a] & Z.present[b]
        count = int(both.sum())
        if count < 3:
            raise DataError(
                f"{where}: a correlation needs 3 rows with {a!r} and {b!r}; got {count}. Take "
                "fewer folds."
            )
        A, B = standardise(Z[a][both]).values, standardise(Z[b][both]).values
        found.append(np.clip((A * B).sum(axis=0) / (count - 1), -1.0, 1.0))
        least = min(least, count)
    return np.mean(found, axis=0), least


def _warn_if_inflated(result: HeldOutCorrelations, name: str) -> None:
    gaps = (result.in_sample - result.held_out).mean(axis=1)  # (folds,)
    gap, error = float(gaps.mean()), float(gaps.std(ddof=1) / np.sqrt(len(gaps)))
    if gap > GAP and gap > STANDARD_ERRORS * error:
        warn(
            f"{name}: correlations are {result.in_sample.mean():.2f} on the rows learnt from and "
            f"{result.held_out.mean():.2f} on others (means over components): the former are "
            "inflated. Take fewer columns or components, more rows, or a ridge.",
            DegenerateDataWarning,
        )
