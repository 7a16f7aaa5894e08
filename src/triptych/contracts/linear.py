"""What linear methods of two modalities can say about their correlations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.arrays import check_choice, is_sparse
from triptych.canonical.permutation import PermutationTest, permutation_test
from triptych.canonical.theory import Significance, bartlett, rao_f
from triptych.contracts.method import Data, Method
from triptych.errors import CapabilityError, ShapeError

if TYPE_CHECKING:
    _Base = Method
else:
    _Base = object


class CanonicalInference(_Base):
    """Tests of canonical correlations, for methods of two modalities to inherit.

    A method sets ``all_correlations_`` (min(rank),), ``correlations_`` (d,), ``rank_`` and
    ``features_`` by modality and ``n_samples_``; and ``n_confounds_``, the rank of confounds
    removed, where there are any. It writes ``_ridge(name)``: what is added to the variance (1) of
    a modality's standardised columns.
    """

    all_correlations_: NDArray[np.float64]
    correlations_: NDArray[np.float64]
    features_: dict[str, Any]
    n_samples_: int
    rank_: dict[str, int]

    if TYPE_CHECKING:

        def _ridge(self, name: str) -> float: ...

    def significance(self, method: str = "rao") -> Significance:
        """Test by theory that no correlation is left after the k-th, k = 0, ..., min(rank) - 1.

        Args:
            method: ``"rao"`` (F), ``"bartlett"`` or ``"lawley"`` (chi²).

        Raises:
            NotFittedError: Before ``fit``.
            CapabilityError: With a ridge, under which these distributions are not known.
            DataError: Too few rows for the test.
        """
        self._check_fitted()
        check_choice("method", method, ("rao", "bartlett", "lawley"))
        if any(self._ridge(name) for name in self.names_in_):
            raise CapabilityError(
                "significance: the distribution of correlations is not known with a ridge; ask "
                "permutation_test(X) instead."
            )
        p, q = (self.rank_[name] for name in sorted(self.names_in_))
        n = self.n_samples_ - int(getattr(self, "n_confounds_", 0))
        if method == "rao":
            return rao_f(self.all_correlations_, n, p, q)
        return bartlett(self.all_correlations_, n, p, q, lawley=method == "lawley")

    def permutation_test(
        self,
        X: Data,
        n_permutations: int = 999,
        random_state: int | None = 0,
        groups: ArrayLike | None = None,
        *,
        exchange: str = "whole",
        statistic: str = "wilks",
        n_components: int | None = None,
        confounds: ArrayLike | None = None,
    ) -> PermutationTest:
        """Test by permuting rows, with this method's ridge; needs no theory of distributions.

        Args:
            X: Both modalities of the rows fitted, n rows; those that lack one are left out.
            n_permutations: How many; the smallest p-value is 1 / (1 + n_permutations).
            random_state: Seed of the permutations.
            groups: Labels (n,) of rows that belong together.
            exchange: ``"whole"`` groups of the same size change places, or rows ``"within"`` each.
            statistic: ``"wilks"`` adds up all that remains after k components; ``"roy"`` takes the
                largest.
            n_components: Components tested; those of the method when left out.
            confounds: Columns (n, c) to be removed from both modalities.

        Returns:
            See :class:`~triptych.canonical.permutation.PermutationTest`.
        """
        self._check_fitted()
        data = self._gate(X, "permutation_test", every_modality=True)
        both = np.all(np.stack(list(data.present.values())), axis=0)  # (n,)
        pairs = data[both]
        a, b = sorted(self.names_in_)
        columns = [self.features_[name].transform(pairs[name]) for name in (a, b)]
        return permutation_test(
            *(c.toarray() if is_sparse(c) else c for c in columns),
            n_permutations=n_permutations,
            n_components=len(self.correlations_) if n_components is None else n_components,
            statistic=statistic,
            ridge=(self._ridge(a), self._ridge(b)),
            confounds=_of_rows(confounds, both, "confounds"),
            groups=_of_rows(groups, both, "groups"),
            exchange=exchange,
            random_state=random_state,
        )


def _of_rows(values: ArrayLike | None, rows: NDArray[np.bool_], name: str) -> Any:
    if values is None:
        return None
    array = np.asarray(values)
    if array.shape[:1] != rows.shape:
        raise ShapeError(f"{name}: expected one for each of {len(rows)} rows, got {array.shape}.")
    return array[rows]
