"""Generalised CCA: what all modalities can be regressed to, from rows that may lack some."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from triptych.contracts.method import Capabilities
from triptych.coordination._sets import Array, LinearSets, PerModality
from triptych.coordination._sides import Sides, present_counts
from triptych.errors import DataError
from triptych.modalities import Modalities


class GCCA(LinearSets):
    r"""Codes of every modality that come nearest to one common G: MAXVAR with missing rows.

    .. math:: \min_{G, A} \sum_i \left\| K_i (G - X_i A_i) \right\|^2 + \text{penalty} \quad
              \text{with} \quad G^T K G \propto I, \quad K = \sum_i K_i

    where K_i marks the rows that have modality i, so that a row pulls with the modalities it has,
    and X_i are standardised over them. G are the leading eigenvectors of
    :math:`K^{-1/2} \sum_i K_i X_i (X_i^T K_i X_i)^{-1} X_i^T K_i K^{-1/2}`, times
    :math:`K^{-1/2}`, found from thin bases; no matrix of n × n is made. With shrinkage c and
    ridge r, :math:`X_i^T K_i X_i` is replaced by (1 - c) of it plus (n_i - 1)(c + r) I.

    Rows with fewer than two modalities say nothing of what is shared, but they pull as others do;
    only rows with none are left out. Without gaps, ridge and shrinkage the spaces are those of
    :class:`MCCA`, and of CCA for two modalities. How data are read is as in :class:`MCCA`.

    Args:
        n_components: Width d of the codes, at most the second largest rank; ``None`` for that.
        ridge: Added to the variance (1) of every standardised column, >= 0; a number, or one by
            modality name.
        shrinkage: Share c of the identity in each modality's covariance, in [0, 1]; a number, or
            one by modality name.

    Attributes:
        eigenvalues_: Shape (d,), falling: m times the share of G that its regressions on the
            modalities explain; 1 + ρ for two modalities without gaps.
        correlations_: Mean over pairs of modalities of the correlation of their codes, (d,), on
            the rows fitted that have both.
        weights_: By modality, A (p, d) for the columns as given; 0 for constant columns. G has
            variance 1 over rows, weighted by their modalities, so that codes are regressions to
            it and have variances below 1.
        means_: By modality, (p,), of the rows that have it.
        loadings_: By modality, correlation (p, d) of each column with its variate, in [-1, 1].
        rank_: Numerical rank by modality.
        n_samples_: Rows learnt from.
        features_: How each modality becomes columns.
        moments_: Moments so far, after ``partial_fit`` or ``fit`` of an iterator.

    Batches of an iterator or of ``partial_fit`` are read once, and only their moments are kept,
    apart for each set of modalities that rows have.

    Warns:
        DegenerateDataWarning: The ranks of two modalities add up to their rows or more, without
            ridge or shrinkage; or one pass over batches cannot tell directions or correlations.

    References:
        Carroll 1968, Proc. APA 76; Kettenring 1971, Biometrika 58 (MAXVAR); van de Velden and
        Bijmolt 2006, Psychometrika 71 (missing rows).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> shared = rng.normal(size=(500, 1))
        >>> X = {name: shared + rng.normal(size=(500, 3)) for name in ("a", "b", "c")}
        >>> present = {name: rng.random(500) < 0.8 for name in X}
        >>> model = GCCA(n_components=1).fit(Modalities(X, present=present))
        >>> model.correlations_.round(1)
        array([0.8])
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
        streams=True,
    )
    _whole: ClassVar[bool] = False

    def __init__(
        self,
        n_components: int | None = None,
        *,
        ridge: PerModality = 0.0,
        shrinkage: PerModality = 0.0,
    ) -> None:
        self.n_components = n_components
        self.ridge = ridge
        self.shrinkage = shrinkage

    def _rows(self, X: Modalities) -> Modalities:
        counts = present_counts(X)
        if (counts > 1).sum() < 2:
            raise DataError(
                "GCCA needs 2 rows that have two modalities or more; got "
                f"{int((counts > 1).sum())}."
            )
        return X if (counts > 0).all() else X[counts > 0]

    def _learns_from(self, X: Modalities) -> NDArray[np.bool_]:
        some: NDArray[np.bool_] = present_counts(X) > 0
        return some

    def _solve(self, sides: Sides, width: int, n: int) -> tuple[Array, dict[str, Array]]:
        from scipy.linalg import eigh

        roots, m = self._roots(sides), len(sides.sides)
        shrink = {name: side.s / roots[name] for name, side in sides.sides.items()}
        C = sides.assembled(shrink)
        values, vectors = eigh(C, subset_by_index=[len(C) - width, len(C) - 1])
        values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
        # G = K^{-1/2} [K^{-1/2} U D] v / sqrt(λ), and D U^T G = sqrt(λ) v.
        turns = sides.split(vectors * np.sqrt(values * sides.weight * (n - 1) / n))
        return m * values, {name: turns[name] * shrink[name][:, None] for name in turns}
