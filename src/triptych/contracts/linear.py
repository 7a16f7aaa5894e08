"""What linear methods of two modalities can say about their correlations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from triptych.arrays import check_choice, is_sparse
from triptych.canonical.permutation import PermutationTest, permutation_test
from triptych.canonical.theory import Significance, bartlett, rao_f
from triptych.contracts.method import Data, Method
from triptych.errors import CapabilityError, ShapeError
from triptych.modalities import Modalities

if TYPE_CHECKING:
    _Base = Method
else:
    _Base = object


# Shrinkage of 1 leaves nothing of the covariance; this much, and the order is the same.
LEAST_KEPT = 1e-12


class CanonicalInference(_Base):
    """Tests of canonical correlations, for methods of two modalities to inherit.

    A method sets ``all_correlations_`` (min(rank),) and ``correlations_`` (d,), ``rank_`` by the
    two modalities, ``features_`` by modality, ``n_samples_``, and ``shrinkage_`` by modality if
    it shrinks. Its parameters ``ridge`` (a number, or one by modality) and ``confounds`` (name of
    a third modality whose effect is removed) are heeded where it has them.
    """

    all_correlations_: NDArray[np.float64]
    correlations_: NDArray[np.float64]
    features_: dict[str, Any]
    n_samples_: int
    rank_: dict[str, int]

    def _effective_ridge(self, name: str) -> float:
        """(c + r) / (1 - c) for shrinkage c and ridge r: what both amount to."""
        ridge = getattr(self, "ridge", 0.0)
        r = float(ridge[name] if isinstance(ridge, Mapping) else ridge)
        c = float(getattr(self, "shrinkage_", {}).get(name, 0.0))
        return (c + r) / max(1.0 - c, LEAST_KEPT)

    def significance(self, method: str = "rao") -> Significance:
        """Test by theory that no correlation is left after the k-th, k = 0, ..., min(rank) - 1.

        Args:
            method: ``"rao"`` (F), ``"bartlett"`` or ``"lawley"`` (chi²).

        Raises:
            NotFittedError: Before ``fit``.
            CapabilityError: With a ridge or shrinkage, under which these distributions are not
                known; or where not all correlations were solved for.
            DataError: Too few rows for the test. Each column of confounds counts as a row less.
        """
        self._check_fitted()
        check_choice("method", method, ("rao", "bartlett", "lawley"))
        if any(self._effective_ridge(name) for name in self.rank_):
            raise CapabilityError(
                "significance: the distribution of correlations is not known with a ridge or "
                "shrinkage; ask permutation_test(X) instead."
            )
        p, q = (self.rank_[name] for name in sorted(self.rank_))
        if len(self.all_correlations_) != min(p, q):
            raise CapabilityError(
                f"significance: all {min(p, q)} correlations are needed, and "
                f"{len(self.all_correlations_)} were solved for; take another solver, or ask "
                "permutation_test(X)."
            )
        confounds = getattr(self, "confounds", None)
        lost = 0 if confounds is None else int(self.features_[confounds].n_features)
        n = max(self.n_samples_ - lost, 2)
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
        statistic: str | None = None,
        n_components: int | None = None,
    ) -> PermutationTest:
        """Test by permuting rows, with this method's ridge; needs no theory of distributions.

        Args:
            X: The modalities fitted, confounds among them, n rows; those that lack one are left
                out. All columns are held in memory.
            n_permutations: How many; the smallest p-value is 1 / (1 + n_permutations).
            random_state: Seed of the permutations.
            groups: Labels (n,) of rows that belong together.
            exchange: ``"whole"`` groups of the same size change places, or rows ``"within"`` each.
            statistic: ``"wilks"`` adds up all that remains after k components; ``"roy"`` takes the
                largest. ``None`` is ``"wilks"`` without ridge and shrinkage, ``"roy"`` with them.
            n_components: Components tested; those of the method when left out.

        Returns:
            See :class:`~triptych.canonical.permutation.PermutationTest`.
        """
        self._check_fitted()
        data = self._gate(X, "permutation_test", every_modality=True)
        both = np.all(np.stack(list(data.present.values())), axis=0)  # (n,)
        pairs = data[both]
        a, b = sorted(self.rank_)
        confounds = getattr(self, "confounds", None)
        return permutation_test(
            self._columns(pairs, a),
            self._columns(pairs, b),
            n_permutations=n_permutations,
            n_components=len(self.correlations_) if n_components is None else n_components,
            statistic=statistic,
            ridge=(self._effective_ridge(a), self._effective_ridge(b)),
            confounds=None if confounds is None else self._columns(pairs, confounds),
            groups=of_rows(groups, both, "groups"),
            exchange=exchange,
            random_state=random_state,
        )

    def _columns(self, X: Modalities, name: str) -> NDArray[Any]:
        found = self.features_[name].transform(X[name])
        return np.asarray(found.toarray() if is_sparse(found) else found)


def of_rows(values: ArrayLike | None, rows: NDArray[np.bool_], name: str) -> Any:
    """What belongs to the rows kept, (n',), of values given for all of them."""
    if values is None:
        return None
    array = np.asarray(values)
    if array.shape[:1] != rows.shape:
        raise ShapeError(f"{name}: expected one for each of {len(rows)} rows, got {array.shape}.")
    return array[rows]
