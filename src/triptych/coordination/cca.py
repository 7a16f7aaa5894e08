"""Canonical correlation analysis of two modalities, exact (Hotelling 1936)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import check_number
from triptych.contracts.method import Capabilities, Coordination
from triptych.errors import DataError, DegenerateDataWarning, ParameterError
from triptych.features import fit_features
from triptych.linalg import standardise, thin_svd
from triptych.modalities import Modalities, make_parts


class CCA(Coordination):
    r"""Directions of two modalities whose projections correlate most.

    .. math:: \max_{A,B} \mathrm{tr}(A^T \Sigma_{12} B) \quad
              A^T \Sigma_{11} A = B^T \Sigma_{22} B = I

    Solved by QR and SVD of the standardised columns (Björck and Golub 1973), so the error grows
    with the condition of the data and not with its square; dependent and constant columns only
    lower the rank. Modalities other than vectors are read through :mod:`triptych.features`
    (pictures flattened, texts as TF-IDF of words); sparse data are made dense.

    Args:
        n_components: Width d of the codes; ``None`` for the smaller rank of the two.
        ridge: Added to the variance (1) of every standardised column, >= 0; a number, or one by
            modality name. 0 is plain CCA.

    Attributes:
        correlations_: Canonical correlations (d,), falling, in [0, 1]; regularised with a ridge.
        weights_: By modality, (p, d) for the columns as given.
        means_: By modality, (p,).
        loadings_: By modality, correlation (p, d) of each column with its variate.
        rank_: Numerical rank by modality.

    Signs: the largest absolute weight of each component of the modality that comes first in the
    alphabet is positive. Variates have variance 1 (divisor n - 1) when there is no ridge. Rows in
    which one modality is absent are left out of ``fit``.

    References:
        Hotelling 1936, Biometrika 28; Björck and Golub 1973, Math. Comp. 27.
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
            check_number(f"ridge__{name}" if name else "ridge", value, low=0)

    def _fit(self, X: Modalities, y: Any, validation: Any) -> None:
        if isinstance(self.ridge, Mapping) and set(self.ridge) != set(X.names):
            raise ParameterError(f"ridge: names {list(self.ridge)}, expected {list(X.names)}.")
        both = np.all(np.stack(list(X.present.values())), axis=0)
        if both.sum() < 2:
            raise DataError(f"CCA needs 2 rows with both modalities; got {int(both.sum())}.")
        pairs = X[both]
        features = fit_features(pairs)
        n = len(pairs)
        parts, rank = {}, {}
        for name in sorted(X.names):
            Y, mean, scale = standardise(_dense(features[name].transform(pairs[name])))
            U, s, Vt = thin_svd(Y)
            if not len(s):
                raise DataError(f"modality {name!r}: every column is constant.")
            ridge = self.ridge[name] if isinstance(self.ridge, Mapping) else self.ridge
            parts[name] = (Y, mean, scale, U, s, Vt, np.sqrt(s**2 + (n - 1) * ridge))
            rank[name] = len(s)
        a, b = parts
        most = min(rank.values())
        width = most if self.n_components is None else self.n_components
        if width > most:
            raise ParameterError(f"n_components: at most {most}, the rank of {rank}; got {width}.")
        _, _, _, Ua, sa, _, fa = parts[a]
        _, _, _, Ub, sb, _, fb = parts[b]
        P, rho, Qt = np.linalg.svd((Ua * (sa / fa)).T @ (Ub * (sb / fb)), full_matrices=False)
        if sum(rank.values()) >= n and not np.any(list(_values(self.ridge))):
            warnings.warn(
                f"CCA: ranks {rank} add up to {sum(rank.values())}, with {n} rows; correlations "
                "of 1 then appear without any dependence. Set ridge > 0 or use fewer columns.",
                DegenerateDataWarning,
                stacklevel=4,
            )
        self.features_ = features
        self.rank_ = rank
        self.correlations_ = np.clip(rho[:width], 0.0, 1.0)
        self.weights_, self.means_, self.loadings_ = {}, {}, {}
        sign = np.ones(width)
        for name, turn in ((a, P[:, :width]), (b, Qt[:width].T)):
            Y, mean, scale, _, _, Vt, filtered = parts[name]
            W = Vt.T @ (turn / filtered[:, None]) * np.sqrt(n - 1)  # (p, d), standardised
            if name == a:
                sign = np.where(W[np.abs(W).argmax(axis=0), np.arange(width)] < 0, -1.0, 1.0)
            W = W * sign
            variates = Y @ W
            spread = np.sqrt((variates**2).sum(axis=0) / (n - 1))
            self.loadings_[name] = Y.T @ (variates / np.where(spread > 0, spread, 1)) / (n - 1)
            self.weights_[name] = W / scale[:, None]
            self.means_[name] = mean

    def _transform(self, X: Modalities) -> Modalities:
        codes = {}
        for name in X.names:
            columns = _dense(self.features_[name].transform(X[name], X.present[name]))
            code = (columns - self.means_[name]) @ self.weights_[name]
            codes[name] = np.where(X.present[name][:, None], code, 0.0)
        return make_parts(codes, X.present)

    def _score(self, X: Modalities, y: Any) -> float:
        """Mean over components of the correlation of the two variates on these rows."""
        both = np.all(np.stack(list(X.present.values())), axis=0)
        if both.sum() < 2:
            raise DataError("score: correlations need 2 rows with both modalities.")
        Z = self._transform(X[both])
        (A, _, _), (B, _, _) = (standardise(Z[name]) for name in sorted(Z.names))
        return float(np.mean((A * B).sum(axis=0) / (len(A) - 1)))


def _dense(columns: Any) -> NDArray[np.float64]:
    dense = columns.toarray() if hasattr(columns, "toarray") else columns
    return np.asarray(dense, dtype=np.float64)


def _values(ridge: float | Mapping[str, float]) -> list[float]:
    return list(ridge.values()) if isinstance(ridge, Mapping) else [ridge]
