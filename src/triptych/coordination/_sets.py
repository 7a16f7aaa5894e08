"""What the linear methods of two or more modalities have in common."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.arrays import check_number, is_sparse
from triptych.canonical.many import Orders, permutation_of_many
from triptych.canonical.permutation import PermutationTest
from triptych.contracts.linear import of_rows
from triptych.contracts.method import Data
from triptych.coordination._batches import FromBatches, Mergeable
from triptych.coordination._reading import check_batch
from triptych.coordination._set_moments import SetMoments
from triptych.coordination._sides import Sides, chunks, dense, read_bases, read_sides
from triptych.coordination._solution import BLURRED
from triptych.errors import DataError, DegenerateDataWarning, ModalityError, ParameterError, warn
from triptych.features import Features, fit_features
from triptych.linalg import fixed_signs, standardise
from triptych.modalities import Kind, Modalities, as_modalities, make_parts

Array = NDArray[np.float64]
PerModality = float | Mapping[str, float]

# Finite, and so that (n - 1) times it is finite too.
MOST = 1e150


class LinearSets(FromBatches):
    """Base of methods that give each modality weights, from an eigenproblem of all bases.

    A method writes ``_rows`` and ``_learns_from`` (which rows it learns from), ``_whole`` (whether
    those have every modality) and ``_solve``.
    """

    _solved: ClassVar[tuple[str, ...]] = (
        "correlations_",
        "eigenvalues_",
        "weights_",
        "loadings_",
        "means_",
        "rank_",
        "n_samples_",
    )
    _whole: ClassVar[bool]
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

    def _learns_from(self, X: Modalities) -> NDArray[np.bool_]:
        """Which rows those are, (n,)."""
        raise NotImplementedError

    def _solve(self, sides: Sides, width: int, n: int) -> tuple[Array, dict[str, Array]]:
        """Eigenvalues (d,), and by modality the directions (r, d) of ``U`` that are the codes."""
        raise NotImplementedError

    def _check_names(self, names: tuple[str, ...]) -> None:
        for parameter in ("ridge", "shrinkage"):
            value = getattr(self, parameter)
            if isinstance(value, Mapping) and set(value) != set(names):
                raise ParameterError(
                    f"{parameter}: expected a number for each of {list(names)}, got {dict(value)}."
                )

    def _fit(self, X: Modalities, y: Any, validation: Any) -> None:
        self._check_names(X.names)
        rows = self._rows(X)
        features = fit_features(rows)
        sides = read_sides(rows, features)
        shared = {
            (a, b): int((rows.present[a] & rows.present[b]).sum())
            for a, b in combinations(sorted(rows.names), 2)
        }
        self._learn(sides, len(rows), shared)
        self.features_ = features
        self.correlations_ = np.mean(self._pairs(rows), axis=0)

    def _learn(self, sides: Sides, n: int, shared: Mapping[tuple[str, str], int]) -> None:
        """All but ``correlations_``, which are of codes.

        Args:
            sides: Of the rows.
            n: Rows.
            shared: Rows that have both of each two modalities.
        """
        ranks = sides.ranks
        # More directions than all modalities but one have can have no partner.
        most = sorted(ranks.values())[-2]
        width = most if self.n_components is None else self.n_components
        if width > most:
            raise ParameterError(
                f"n_components: expected at most {most}, the second largest rank of the "
                f"modalities {ranks} over {n} rows; got {width}."
            )
        self._warn_if_degenerate(ranks, shared)
        values, turns = self._solve(sides, width, n)
        loadings = {m: side.loadings(turns[m]) for m, side in sides.sides.items()}
        signs = fixed_signs(*loadings.values())
        self.rank_, self.n_samples_ = ranks, n
        self.eigenvalues_ = values
        self.weights_ = {m: s.weights(turns[m]) * signs for m, s in sides.sides.items()}
        self.loadings_ = {m: found * signs for m, found in loadings.items()}
        self.means_ = {m: side.columns.means for m, side in sides.sides.items()}

    # -- batches ---------------------------------------------------------------------------

    def _moments_of(
        self, X: Data, kinds: Mapping[str, Kind] | None
    ) -> tuple[Modalities, Mergeable]:
        data, method = as_modalities(X), type(self).__name__
        if len(data.names) < 2:
            raise ModalityError(f"{method} takes two modalities or more; got {list(data.names)}.")
        check_batch(data, kinds, method)
        return data, SetMoments.of(data, whole=self._whole)

    def _solve_moments(self) -> None:
        moments: SetMoments = self.moments_
        most = max(moments.shared().values())
        if most < 2:
            kind = f"with all of {list(moments.names)}"
            raise DataError(
                f"{type(self).__name__} needs 2 rows "
                f"{kind if self._whole else 'that have two modalities or more'}; got {most}."
            )
        sides, errors = moments.sides()
        for m, side in sides.sides.items():
            columns = int((~side.columns.constant).sum())
            unseen = len(side.s) < min(columns, side.columns.n - 1)
            if (unseen or errors[m] > BLURRED) and not self._eased(m):
                warn(
                    f"{type(self).__name__}: modality {m!r}: one pass over rows sees "
                    f"{len(side.s)} directions of {columns} columns, and leaves an error of the "
                    f"correlations of up to {errors[m]:.1g}. Nothing is lost if the others depend "
                    "on these; but columns that nearly do, and rows that dwarf all others, look "
                    "the same. Fit data that can be read twice, rescale or leave out such rows, "
                    "or set a ridge.",
                    DegenerateDataWarning,
                )
        self._learn(sides, moments.n, moments.shared())
        self.correlations_ = np.mean(moments.pair_correlations(self.weights_), axis=0)

    def _eased(self, name: str) -> bool:
        return any(self._of(parameter, name) for parameter in ("ridge", "shrinkage"))

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

    def _warn_if_degenerate(
        self, ranks: Mapping[str, int], shared: Mapping[tuple[str, str], int]
    ) -> None:
        for (a, b), n in shared.items():
            if ranks[a] + ranks[b] > n - 1 and not (self._eased(a) or self._eased(b)):
                warn(
                    f"{type(self).__name__}: the ranks of {a!r} and {b!r}, {ranks[a]} and "
                    f"{ranks[b]}, add up to the {n} rows that have both, or more, so some "
                    "directions correlate for any data. Set ridge > 0, take fewer columns or "
                    "more rows.",
                    DegenerateDataWarning,
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
        return pair_correlations({name: Z[name] for name in Z.names}, Z.present)

    def permutation_test(
        self,
        X: Data,
        n_permutations: int = 999,
        random_state: int | None = 0,
        groups: ArrayLike | None = None,
        *,
        exchange: str = "whole",
        n_components: int | None = None,
    ) -> PermutationTest:
        """Test ``correlations_`` by permuting the rows of each modality among those that have it.

        The method is solved again for every permutation, with its ridge and shrinkage; modalities
        are decomposed once.

        Args:
            X: The modalities fitted, n rows. All columns are held in memory.
            n_permutations: How many; the smallest p-value is 1 / (1 + n_permutations).
            random_state: Seed of the permutations.
            groups: Labels (n,) of rows that belong together.
            exchange: ``"whole"`` groups of the same size change places, or rows ``"within"`` each.
            n_components: Components tested; those of the method when left out.

        Returns:
            See :func:`~triptych.canonical.many.permutation_of_many`.
        """
        self._check_fitted()
        data = self._gate(X, "permutation_test", every_modality=True)
        rows, kept = self._rows(data), self._learns_from(data)
        bases = read_bases(rows, self.features_)
        ranks = {m: len(side.s) for m, side in bases.sides.items()}
        own = len(self.correlations_) if n_components is None else n_components
        check_number("n_components", own, low=1, high=sorted(ranks.values())[-2], integer=True)

        def correlations(orders: Orders) -> Array:
            moved = {m: U[orders[m]] for m, U in bases.rows.items()}
            _, turns = self._solve(bases.paired(moved), own, len(rows))
            codes = {m: moved[m] @ turns[m] for m in moved}
            found: Array = np.mean(pair_correlations(codes, rows.present), axis=0)
            return found

        return permutation_of_many(
            correlations,
            rows.present,
            n_permutations=n_permutations,
            groups=None if groups is None else of_rows(groups, kept, "groups"),
            exchange=exchange,
            random_state=random_state,
        )

    def _score(self, X: Modalities, y: Any) -> float:
        """Mean correlation of codes over pairs of modalities and components, in [-1, 1].

        Each pair is judged on the rows that have both; a constant code counts as 0.
        """
        return float(self._pairs(X).mean())


def pair_correlations(
    codes: Mapping[str, Array], present: Mapping[str, NDArray[np.bool_]]
) -> Array:
    """Correlation of codes by pair of modalities and component, on the rows that have both.

    Args:
        codes: By modality, (n, d).
        present: By modality, (n,).

    Returns:
        Shape (pairs, d), in [-1, 1]; 0 where a code is constant.
    """
    found = []
    for a, b in combinations(codes, 2):
        both = present[a] & present[b]
        if both.sum() < 2:
            continue
        A, B = standardise(codes[a][both]).values, standardise(codes[b][both]).values
        found.append(np.clip((A * B).sum(axis=0) / (len(A) - 1), -1.0, 1.0))
    if not found:
        raise DataError("correlations need 2 rows that have the same two modalities.")
    return np.array(found)
