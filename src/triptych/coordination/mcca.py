"""Multiset CCA: directions of two or more modalities whose correlations add up to most."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from triptych.contracts.method import Capabilities
from triptych.coordination._sets import Array, LinearSets, PerModality
from triptych.coordination._sides import Sides
from triptych.errors import DataError
from triptych.modalities import Modalities


class MCCA(LinearSets):
    r"""Directions of all modalities that vary together: SUMCOR as a generalised eigenproblem.

    .. math:: \max_w \sum_{i, j} w_i^T \Sigma_{ij} w_j \quad \text{with} \quad
              \sum_i w_i^T B_i w_i = m, \quad B_i = (1 - c_i) \Sigma_{ii} + (c_i + r_i) I

    on standardised columns, with B_i for Σ_ii in the sum as well, so that an eigenvalue is 1 plus
    the sum of what the modalities share; m modalities, shrinkage c, ridge r. Components are
    orthogonal in the sum over modalities, :math:`\sum_i w_{ik}^T B_i w_{il} = 0`, and not in
    each. Two modalities: the eigenvalues are 1 + ρ, and codes, weights and signs those of CCA.

    Any number of rows and columns will do. With fewer columns than rows the moments are summed
    over chunks of rows (read twice, and once more to be coded), and sparse and memory-mapped data
    are never dense as a whole; otherwise, and where the moments of data in memory are
    ill-conditioned, thin SVDs are taken.

    Args:
        n_components: Width d of the codes, at most the second largest rank; ``None`` for that.
        ridge: Added to the variance (1) of every standardised column, >= 0; a number, or one by
            modality name.
        shrinkage: Share c of the identity in each modality's covariance, in [0, 1]; a number, or
            one by modality name. 1 gives partial least squares.

    Attributes:
        eigenvalues_: Shape (d,), falling; 1 where nothing is shared, at most m without shrinkage.
        correlations_: Mean over pairs of modalities of the correlation of their codes, (d,), of
            the rows fitted.
        weights_: By modality, (p, d) for the columns as given; 0 for constant columns. Without
            ridge and shrinkage the variances of a component's codes have the mean 1 over
            modalities.
        means_: By modality, (p,); the code is ``(columns - means_) @ weights_``.
        loadings_: By modality, correlation (p, d) of each column with its variate, in [-1, 1].
        rank_: Numerical rank by modality.
        n_samples_: Rows learnt from.
        features_: How each modality becomes columns.
        moments_: Moments so far, after ``partial_fit`` or ``fit`` of an iterator.

    Rows in which a modality is absent are left out of ``fit``; :class:`GCCA` learns from them.
    Signs are those of :class:`CCA`: the largest absolute loading of a component is positive.

    Batches of an iterator or of ``partial_fit`` are read once, and only their moments are kept.

    Warns:
        DegenerateDataWarning: The ranks of two modalities add up to their rows or more, without
            ridge or shrinkage; or one pass over batches cannot tell directions or correlations.

    References:
        Kettenring 1971, Biometrika 58 (SUMCOR); Nielsen 2002, IEEE Trans. Image Processing 11
        (this constraint).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> shared = rng.normal(size=(500, 1))
        >>> X = {name: shared + rng.normal(size=(500, 3)) for name in ("a", "b", "c")}
        >>> model = MCCA(n_components=2).fit(X)
        >>> model.eigenvalues_.round(1), model.correlations_.round(1)
        (array([2.5, 1.1]), array([0.8, 0.1]))
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
        streams=True,
    )
    _whole: ClassVar[bool] = True

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
        whole = self._learns_from(X)
        if whole.sum() < 2:
            raise DataError(
                f"MCCA needs 2 rows with all of {list(X.names)}; got {int(whole.sum())}. GCCA "
                "learns from rows that lack some."
            )
        return X if whole.all() else X[whole]

    def _learns_from(self, X: Modalities) -> NDArray[np.bool_]:
        whole: NDArray[np.bool_] = np.all(np.stack(list(X.present.values())), axis=0)
        return whole

    def _solve(self, sides: Sides, width: int, n: int) -> tuple[Array, dict[str, Array]]:
        from scipy.linalg import eigh

        roots, m = self._roots(sides), len(sides.sides)
        shrink = {name: side.s / roots[name] for name, side in sides.sides.items()}
        C = m * sides.assembled(shrink)  # products are weighted by 1 / m
        edge = 0
        for name in sides.sides:
            inside = slice(edge, edge + len(shrink[name]))
            C[inside, inside] = np.eye(len(shrink[name]))
            edge = inside.stop
        values, vectors = eigh(C, subset_by_index=[len(C) - width, len(C) - 1])
        turns = sides.split(vectors[:, ::-1] * np.sqrt(m * (n - 1)))
        return values[::-1], {name: turns[name] * shrink[name][:, None] for name in turns}
