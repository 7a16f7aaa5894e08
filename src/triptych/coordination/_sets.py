"""What the linear methods of two or more modalities have in common."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import check_number, is_sparse
from triptych.contracts.method import Coordination
from triptych.coordination._sides import Sides, chunks, dense, read_sides
from triptych.errors import DataError, DegenerateDataWarning, ParameterError
from triptych.features import Features, fit_features
from triptych.linalg import fixed_signs, standardise
from triptych.modalities import Modalities, make_parts

Array = NDArray[np.float64]
PerModality = float | Mapping[str, float]

# Finite, and so that (n - 1) times it is finite too.
MOST = 1e150


class LinearSets(Coordination):
    """Base of methods that give each modality weights, from an eigenproblem of all bases.

    A method writes ``_rows`` (which rows it learns from) and ``_solve``.
    """

    n_components: int | None
    ridge: PerModality
    shrinkage: PerModality
    features_: dict[str, Features]
    means_: dict[str, Array]
    weights_: dict[str, Array]

    def _check_parameters(self) -> None:
        super()._check_parameters()
        for name, high in (("ridge", MOST), ("shrinkage", 1.0)):
            value = getattr(self, name)
            parts = value if isinstance(value, Mapping) else {"": value}
            for part, number in parts.items():
                check_number(f"{name}__{part}" if part else name, number, low=0, high=high)

    def _rows(self, X: Modalities) -> Modalities:
        raise NotImplementedError

    def _solve(self, sides: Sides, width: int, n: int) -> tuple[Array, dict[str, Array]]:
        """Eigenvalues (d,), and by modality the directions (r, d) of ``U`` that are the codes."""
        raise NotImplementedError

    def _fit(self, X: Modalities, y: Any, validation: Any) -> None:
        for name in ("ridge", "shrinkage"):
            value = getattr(self, name)
            if isinstance(value, Mapping) and set(value) != set(X.names):
                raise ParameterError(
                    f"{name}: expected a number for each of {list(X.names)}, got {dict(value)}."
                )
        rows = self._rows(X)
        features = fit_features(rows)
        sides = read_sides(rows, features)
        ranks = sides.ranks
        # More directions than all modalities but one have can have no partner.
        most = sorted(ranks.values())[-2]
        width = most if self.n_components is None else self.n_components
        if width > most:
            raise ParameterError(
                f"n_components: expected at most {most}, the second largest rank of the "
                f"modalities {ranks} over {len(rows)} rows; got {width}."
            )
        self._warn_if_degenerate(ranks, rows)
        values, turns = self._solve(sides, width, len(rows))
        loadings = {m: side.loadings(turns[m]) for m, side in sides.sides.items()}
        signs = fixed_signs(*loadings.values())
        self.features_, self.rank_, self.n_samples_ = features, ranks, len(rows)
        self.eigenvalues_ = values
        self.weights_ = {m: s.weights(turns[m]) * signs for m, s in sides.sides.items()}
        self.loadings_ = {m: found * signs for m, found in loadings.items()}
        self.means_ = {m: side.columns.means for m, side in sides.sides.items()}
        self.correlations_ = np.mean(self._pairs(rows), axis=0)

    def _of(self, parameter: str, name: str) -> float:
        value = getattr(self, parameter)
        return float(value[name] if isinstance(value, Mapping) else value)

    def _roots(self, sides: Sides) -> dict[str, Array]:
        """Root of (1 - shrinkage) s² + (n - 1)(shrinkage + ridge), by modality, (r,)."""
        out = {}
        for m, side in sides.sides.items():
            c, r = self._of("shrinkage", m), self._of("ridge", m)
            out[m] = np.hypot(
                np.sqrt(1 - c) * side.s,
                np.sqrt((side.columns.n - 1) * c + (side.columns.n - 1) * r),
            )
        return out

    def _warn_if_degenerate(self, ranks: Mapping[str, int], rows: Modalities) -> None:
        for a, b in combinations(sorted(ranks), 2):
            n = int((rows.present[a] & rows.present[b]).sum())
            eased = any(self._of(p, m) for p in ("ridge", "shrinkage") for m in (a, b))
            if ranks[a] + ranks[b] > n - 1 and not eased:
                warnings.warn(
                    f"{type(self).__name__}: the ranks of {a!r} and {b!r}, {ranks[a]} and "
                    f"{ranks[b]}, add up to the {n} rows that have both, or more, so some "
                    "directions correlate for any data. Set ridge > 0, take fewer columns or "
                    "more rows.",
                    DegenerateDataWarning,
                    stacklevel=5,
                )
                return

    def _transform(self, X: Modalities) -> Modalities:
        codes = {}
        for name in X.names:
            weights, means, learnt = self.weights_[name], self.means_[name], self.features_[name]
            one = X.select(name)
            code = np.zeros((len(X), weights.shape[1]))
            for part in chunks(X, learnt.n_features):
                rows = one[part]
                if is_sparse(rows[name]):
                    columns = learnt.transform(rows[name], rows.present[name])
                    code[part] = columns @ weights - means @ weights
                else:
                    # Centred first: a large mean would cost digits of the product.
                    code[part] = (dense(rows, name, learnt) - means) @ weights
            codes[name] = np.where(X.present[name][:, None], code, 0.0)
        return make_parts(codes, X.present)

    def _pairs(self, X: Modalities) -> Array:
        """Correlation of codes by pair of modalities and component; 0 where one is constant."""
        Z = self._transform(X)
        found = []
        for a, b in combinations(Z.names, 2):
            both = Z.present[a] & Z.present[b]
            if both.sum() < 2:
                continue
            A, B = standardise(Z[a][both]).values, standardise(Z[b][both]).values
            found.append(np.clip((A * B).sum(axis=0) / (len(A) - 1), -1.0, 1.0))
        if not found:
            raise DataError("correlations need 2 rows that have the same two modalities.")
        return np.array(found)

    def _score(self, X: Modalities, y: Any) -> float:
        """Mean correlation of codes over pairs of modalities and components, in [-1, 1].

        Each pair is judged on the rows that have both; a constant code counts as 0.
        """
        return float(self._pairs(X).mean())
