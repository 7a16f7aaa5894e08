"""Canonical correlation analysis of two modalities, exact (Hotelling 1936)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import check_number, is_sparse
from triptych.contracts.method import Capabilities, Coordination
from triptych.errors import DataError, DegenerateDataWarning, ParameterError
from triptych.features import fit_features
from triptych.linalg import (
    Standardised,
    canonical_pairs,
    fixed_signs,
    standardise,
    thin_svd,
)
from triptych.modalities import Modalities, make_parts

# Finite, and so that (n - 1) times it is finite too.
MOST = 1e150


class CCA(Coordination):
    r"""Directions of two modalities whose projections correlate most.

    .. math:: \max_{A,B} \mathrm{tr}(A^T \Sigma_{12} B) \quad
              A^T \Sigma_{11} A = B^T \Sigma_{22} B = I

    Solved by QR and SVD of the standardised columns (Björck and Golub 1973), so the error grows
    with the condition of the data and not with its square; any number of rows and columns will
    do, and dependent and constant columns only lower the rank. Modalities other than vectors are
    read through :mod:`triptych.features` (pictures flattened, texts as TF-IDF of words). Sparse
    data are made dense in ``fit``, which holds about four float64 arrays (n, p) for each modality,
    and stay sparse in ``transform``.

    Args:
        n_components: Width d of the codes, at most the smaller of the two ranks; ``None`` for
            that rank.
        ridge: Added to the variance (1) of every standardised column, >= 0; a number, or one by
            modality name. 0 is plain CCA; the larger, the nearer to partial least squares.

    Attributes:
        correlations_: Canonical correlations (d,) of the rows fitted, falling, in [0, 1]. They
            are too high when columns are many for the rows; ``score`` on other rows is not. With
            a ridge, the regularised ones.
        weights_: By modality, (p, d) for the columns as given; 0 for constant columns.
        means_: By modality, (p,); the code is ``(columns - means_) @ weights_``.
        loadings_: By modality, correlation (p, d) of each column with its variate, in [-1, 1]; 0
            for constant columns.
        rank_: Numerical rank by modality.
        features_: How each modality becomes columns.

    Codes (variates) of the rows fitted have variance 1 (divisor n - 1) and are uncorrelated with
    one another when there is no ridge. Signs: of the columns of both modalities, the one with the
    largest absolute loading on a component has a positive loading; ties go to the modality first
    in the alphabet. Thus neither the order of modalities nor the unit of a column matters.

    Rows in which a modality is absent are left out of ``fit`` (``missing_at_fit``: only complete
    pairs are learnt from, words of a text too). A modality alone can be transformed; the code of
    an absent one is absent in the mask.

    Warns:
        DegenerateDataWarning: The ranks add up to n or more without ridge, so that correlations
            of 1 are there for any data.

    References:
        Hotelling 1936, Biometrika 28; Björck and Golub 1973, Math. Comp. 27.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> shared = rng.normal(size=(500, 1))
        >>> X = {"a": shared + rng.normal(size=(500, 3)), "b": 5 - shared}
        >>> model = CCA().fit(X)
        >>> model.correlations_.round(2), model.loadings_["b"].round(2)
        (array([0.87]), array([[1.]]))
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        max_modalities=2,
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
    )

    def __init__(
        self, n_components: int | None = None, *, ridge: float | Mapping[str, float] = 0.0
    ) -> None:
        self.n_components = n_components
        self.ridge = ridge

    def _check_parameters(self) -> None:
        super()._check_parameters()
        parts = self.ridge if isinstance(self.ridge, Mapping) else {"": self.ridge}
        for name, value in parts.items():
            check_number(f"ridge__{name}" if name else "ridge", value, low=0, high=MOST)

    def _fit(self, X: Modalities, y: Any, validation: Any) -> None:
        if isinstance(self.ridge, Mapping) and set(self.ridge) != set(X.names):
            raise ParameterError(
                f"ridge: expected a number for each of {list(X.names)}, got {dict(self.ridge)}."
            )
        both = np.all(np.stack(list(X.present.values())), axis=0)
        if both.sum() < 2:
            raise DataError(f"CCA needs 2 rows with both modalities; got {int(both.sum())}.")
        pairs = X[both]
        features = fit_features(pairs)
        a, b = sorted(X.names)
        sides = {
            name: _Side.of(name, features[name].transform(pairs[name]), self._ridge(name))
            for name in (a, b)
        }
        rank = {name: len(side.s) for name, side in sides.items()}
        most = min(rank.values())
        width = most if self.n_components is None else self.n_components
        if width > most:
            raise ParameterError(
                f"n_components: expected at most {most}, the smaller rank of the modalities "
                f"{rank} over {len(pairs)} rows; got {width}."
            )
        self._warn_if_degenerate(rank, len(pairs))
        P, rho, Q = canonical_pairs(sides[a].U, sides[b].U, sides[a].shrink, sides[b].shrink)
        found = {a: sides[a].components(P[:, :width]), b: sides[b].components(Q[:, :width])}
        signs = fixed_signs(*(loadings for _, loadings in found.values()))
        self.features_, self.rank_ = features, rank
        self.correlations_ = rho[:width]
        self.weights_ = {name: weights * signs for name, (weights, _) in found.items()}
        self.loadings_ = {name: loadings * signs for name, (_, loadings) in found.items()}
        self.means_ = {name: side.scaled.means for name, side in sides.items()}

    def _ridge(self, name: str) -> float:
        return float(self.ridge[name] if isinstance(self.ridge, Mapping) else self.ridge)

    def _warn_if_degenerate(self, rank: Mapping[str, int], n: int) -> None:
        # Two spaces of centred columns share the n - 1 dimensions that there are.
        forced = sum(rank.values()) - (n - 1)
        if forced > 0 and not any(self._ridge(name) for name in rank):
            warnings.warn(
                f"CCA: the ranks {rank} of {n} rows add up to {n} or more, so {forced} "
                "correlations are 1 for any data. Set ridge > 0, take fewer columns or more rows.",
                DegenerateDataWarning,
                stacklevel=4,
            )

    def _transform(self, X: Modalities) -> Modalities:
        codes = {}
        for name in X.names:
            seen = X.present[name]
            columns = self.features_[name].transform(X[name], seen)
            if is_sparse(columns):
                code = columns @ self.weights_[name] - self.means_[name] @ self.weights_[name]
            else:
                # Centred first: a large mean would cost digits of the product.
                code = (columns - self.means_[name]) @ self.weights_[name]  # (n, d)
            codes[name] = np.where(seen[:, None], code, 0.0)
        return make_parts(codes, X.present)

    def _score(self, X: Modalities, y: Any) -> float:
        """Mean over components of the correlation of the two variates on these rows, in [-1, 1].

        Rows in which a modality is absent are left out; a variate that is constant on these rows
        counts as correlation 0.
        """
        both = np.all(np.stack(list(X.present.values())), axis=0)
        if both.sum() < 2:
            raise DataError("score: correlations need 2 rows with both modalities.")
        Z = self._transform(X[both])
        A, B = (standardise(Z[name]).values for name in Z.names)
        return float(np.mean((A * B).sum(axis=0) / (len(A) - 1)))


@dataclass(frozen=True)
class _Side:
    """One modality while fitting: columns X = U diag(s) V^T, standardised.

    Args:
        scaled: The columns and what standardising took from them.
        U: Shape (n, r).
        s: Shape (r,).
        Vt: Shape (r, p).
        root: Square root of s² + (n - 1) ridge, shape (r,).
    """

    scaled: Standardised
    U: NDArray[np.float64]
    s: NDArray[np.float64]
    Vt: NDArray[np.float64]
    root: NDArray[np.float64]

    @classmethod
    def of(cls, name: str, columns: Any, ridge: float) -> _Side:
        scaled = standardise(_dense(columns))
        U, s, Vt = thin_svd(scaled.values, scaled.noise)
        if not len(s):
            raise DataError(f"modality {name!r}: every column is constant, so nothing correlates.")
        return cls(scaled, U, s, Vt, np.hypot(s, np.sqrt((len(U) - 1) * ridge)))

    @property
    def shrink(self) -> NDArray[np.float64]:
        """What the ridge leaves of each direction, shape (r,); 1 without ridge."""
        return self.s / self.root

    def components(
        self, turn: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Weights for the raw columns and loadings, each (p, d), of directions ``turn`` (r, d)."""
        scaled, n = self.scaled, len(self.U)
        weights = self.Vt.T @ (turn / self.root[:, None]) * np.sqrt(n - 1)  # (p, d)
        weights = np.where(scaled.constant[:, None], 0.0, weights / scaled.spreads[:, None])
        # Unit variates are U t, so X^T U t = V diag(s) t, without a product over the n rows.
        variates = turn * self.shrink[:, None]
        variates /= np.linalg.norm(variates, axis=0)  # (r, d)
        loadings = self.Vt.T @ (self.s[:, None] * variates) / np.sqrt(n - 1)  # (p, d)
        loadings[scaled.constant] = 0.0
        return weights, np.clip(loadings, -1.0, 1.0)


def _dense(columns: Any) -> NDArray[Any]:
    return np.asarray(columns.toarray() if is_sparse(columns) else columns)
