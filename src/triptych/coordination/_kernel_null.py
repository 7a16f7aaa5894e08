"""What correlations of kernels are by chance, from exact kernels of rows with one another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.arrays import is_sparse
from triptych.canonical.permutation import PermutationTest, test_bases
from triptych.canonical.shuffling import check_groups, shuffle_of
from triptych.contracts.linear import of_rows
from triptych.contracts.method import Coordination, Data
from triptych.coordination import _kernel_dual as dual
from triptych.coordination import _kernel_features as primal
from triptych.coordination._kernel_checks import make_symmetric, require_finite
from triptych.coordination._kernel_given import PRECOMPUTED, Given, one_of
from triptych.errors import CapabilityError, DataError
from triptych.features import Features
from triptych.modalities import Modalities
from triptych.similarity import Kernel, pairwise

Array = NDArray[np.float64]

# Five float64 matrices of this size are 640 MB.
MOST_EXACT = 4000


class OfKernels(Coordination):
    """A method of two modalities that knows them by kernels, and can permute their rows.

    It sets ``kernels_``, ``maps_`` and ``correlations_``.
    """

    kernel: Given | Mapping[str, Given]
    ridge: float | Mapping[str, float]
    features_: dict[str, Features]
    kernels_: dict[str, Kernel | None]
    maps_: dict[str, Any]
    correlations_: Array

    def _columns(self, name: str, X: Modalities) -> primal.Columns:
        learnt = self.features_[name]

        def read(rows: Any) -> NDArray[Any]:
            some = X[rows]
            return _dense(learnt.transform(some[name], some.present[name]))

        return primal.Columns(name, len(X), learnt.n_features, read)

    def permutation_test(
        self,
        X: Data,
        n_permutations: int = 999,
        random_state: int | None = 0,
        groups: ArrayLike | None = None,
        *,
        exchange: str = "whole",
        statistic: str | None = None,
        n_components: int | None = None,
    ) -> PermutationTest:
        """Test by permuting rows, with this method's kernels and ridge, solved exactly.

        Args:
            X: The modalities fitted, n <= 4,000 rows; those that lack one are left out. Each
                permutation decomposes a matrix (n, n), so take some hundreds.
                A precomputed kernel must be the one fitted.
            n_permutations: How many; the smallest p-value is 1 / (1 + n_permutations).
            random_state: Seed of the permutations.
            groups: Labels (n,) of rows that belong together.
            exchange: ``"whole"`` groups of the same size change places, or rows ``"within"`` each.
            statistic: ``"wilks"`` adds up all that remains after k components; ``"roy"`` takes the
                largest. ``None`` is ``"roy"``, as ``"wilks"`` is not to be trusted with a ridge.
            n_components: Components tested; those of the method when left out.

        Returns:
            See :func:`~triptych.canonical.permutation.permutation_test`.
        """
        self._check_fitted()
        data = self._gate(X, "permutation_test", every_modality=True)
        both = np.all(np.stack(list(data.present.values())), axis=0)
        pairs, n = data[both], int(both.sum())
        if not 2 <= n <= MOST_EXACT:
            raise DataError(
                f"permutation_test holds kernels (n, n) of 2 <= n <= {MOST_EXACT:,} rows that "
                f"have both modalities; got {n:,}."
            )
        names = tuple(sorted(self.names_in_))
        bases = []
        for name in names:
            K = self._square(name, pairs)
            ridge = float(one_of("ridge", self.ridge, name, names))
            bases.append(dual.shrunk(dual.centre(K)[0], (n - 1) * ridge))
        own = None if groups is None else of_rows(groups, both, "groups")
        return test_bases(
            bases[0],
            bases[1],
            shuffle_of(n, check_groups(own, exchange, n), exchange),
            ridged=True,
            n_permutations=n_permutations,
            n_components=len(self.correlations_) if n_components is None else n_components,
            statistic=statistic,
            random_state=random_state,
        )

    def _square(self, name: str, X: Modalities) -> Array:
        """The kernel of rows with one another, (n, n)."""
        rows = self._columns(name, X).read(slice(None)).astype(np.float64, copy=False)
        given = one_of("kernel", self.kernel, name, tuple(self.names_in_))
        if given == PRECOMPUTED:
            fitted = self.maps_[name].rows
            if len(fitted) != len(rows):
                raise CapabilityError(
                    f"permutation_test: modality {name!r} is a precomputed kernel with the "
                    f"{len(fitted)} rows fitted, which are the ones to permute; got {len(rows)}."
                )
            K = np.ascontiguousarray(rows[:, fitted])
        else:
            function: Any = self.kernels_[name] or given
            with np.errstate(over="ignore", invalid="ignore"):
                K = pairwise(function, rows)
        require_finite(name, K)
        if self.kernels_[name] is None:
            make_symmetric(name, K)
        return K


def _dense(columns: Any) -> NDArray[Any]:
    return np.asarray(columns.toarray() if is_sparse(columns) else columns)
