"""What deep methods that maximise correlation share: complete rows, and a closing linear CCA."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import check_number
from triptych.contracts.deep import DeepMethod
from triptych.contracts.method import Capabilities, Coordination
from triptych.coordination.cca import CCA
from triptych.coordination.gcca import GCCA
from triptych.errors import DataError, DegenerateDataWarning, ParameterError, warn
from triptych.linalg import standardise
from triptych.modalities import Modalities, make_parts

Array = NDArray[np.float64]


class CorrelatedCodes(DeepMethod, Coordination):
    """Base of deep methods whose codes end in a linear CCA of the training codes.

    A method's network gives codes (b, d) by modality from ``_encode(network, batch)``; ``_least``
    says how many rows its loss needs.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(
        missing_at_fit=True,
        missing_at_transform=True,
        one_modality_at_transform=True,
        distributes=True,
    )
    n_components: int
    ridge: float
    correlations_: Array
    projections_: dict[str, Array]
    means_: dict[str, Array]

    def _least(self) -> int:
        """Fewest rows of a batch."""
        return self.n_components + 1

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("ridge", self.ridge, low=0)

    def _fit(self, X: Modalities, y: Any, validation: Any) -> None:
        kept = _complete(X, type(self).__name__)
        size = self.training.batch_size
        for whose, rows in (("training__batch_size", size), ("X", len(kept))):
            if rows < self._least():
                raise ParameterError(
                    f"{whose}: expected at least {self._least()} rows, more than n_components = "
                    f"{self.n_components}; got {rows}. The codes of so few rows correlate "
                    "perfectly whatever they are. Take larger batches or fewer components."
                )
        y = None if y is None else y[_all_present(X)]
        if validation is None:
            self._check_share(len(kept))
        else:
            validation = self._usable(*validation)
        super()._fit(kept, y, validation)

    def _check_share(self, n: int) -> None:
        """Refuse to set aside, or to leave, fewer rows than the loss needs."""
        share = self.training.validation_share
        held = max(2, round(n * share))
        if share > 0 and min(held, n - held) < self._least():
            raise ParameterError(
                f"training__validation_share: expected that it sets aside and leaves at least "
                f"{self._least()} rows each, more than n_components = {self.n_components}; "
                f"{share:g} of {n} rows are {held}."
            )

    def _usable(self, held: Modalities, labels: Any) -> tuple[Modalities, Any] | None:
        """Complete rows to watch; none, with a warning, where they are too few for the loss."""
        there = _all_present(held)
        found = int(there.sum())
        if found >= self._least():
            return held[there], None if labels is None else labels[there]
        words = (
            f"validation: expected at least {self._least()} rows with every modality, more than "
            f"n_components = {self.n_components}; got {found}"
        )
        if self.training.patience is not None:
            raise DataError(f"{words}, and training__patience watches them.")
        warn(
            f"{words}. {type(self).__name__} is fitted without them and keeps the weights of the "
            "last epoch.",
            DegenerateDataWarning,
        )
        return None

    def _after_training(self, X: Modalities) -> None:
        codes = self._codes(X, lambda batch: self._encode(self.network_, batch))
        self.correlations_, self.projections_, self.means_ = closing_cca(
            {m: z.astype(np.float64) for m, z in codes.items()}, self.n_components
        )

    def _encode(self, network: Any, batch: Any) -> dict[str, Any]:
        return {m: network.encoders[m](batch.values[m], batch.lengths.get(m)) for m in batch.names}

    def _transform(self, X: Modalities) -> Modalities:
        codes = {}
        found = self._codes(X, lambda batch: self._encode(self.network_, batch))
        for name in X.names:
            code = (found[name] - self.means_[name]) @ self.projections_[name]
            codes[name] = np.where(X.present[name][:, None], code, 0.0).astype(np.float32)
        return make_parts(codes, X.present)

    def _score(self, X: Modalities, y: Any) -> float:
        """Mean over components, and over pairs of modalities, of the correlation on these rows.

        In [-1, 1]; ``n_components`` times it is the total correlation captured. Rows in which a
        modality is absent are left out.
        """
        Z = self._transform(_complete(X, "score"))
        units = [standardise(Z[m]).values for m in Z.names]
        n, m = len(Z), len(units)
        pairs = [(units[i] * units[j]).sum() for i in range(m) for j in range(i)]
        return float(np.mean(pairs) / (n - 1) / self.n_components)


def closing_cca(
    codes: dict[str, Array], width: int
) -> tuple[Array, dict[str, Array], dict[str, Array]]:
    """Correlations (d,), projections (d, d) and means (d,) by modality, of codes (n, d).

    Codes of a rank below ``width`` keep their width: what is missing is zero, with correlation 0,
    and a :class:`DegenerateDataWarning` says so.
    """
    with warnings.catch_warnings():
        # What their warnings say of rows and ranks is said below, of the codes.
        warnings.simplefilter("ignore", DegenerateDataWarning)
        model: CCA | GCCA = CCA().fit(codes) if len(codes) == 2 else GCCA().fit(codes)
    found = len(model.correlations_)
    if found < width:
        warn(
            f"the codes learnt have rank {found} and not {width}: some units are constant or "
            f"depend on others, so the last {width - found} components are empty.",
            DegenerateDataWarning,
        )
    kept = min(found, width)
    projections = {}
    for name, weights in model.weights_.items():
        padded = np.zeros((weights.shape[0], width))
        padded[:, :kept] = weights[:, :kept]
        # Codes of three modalities or more are regressions to the common one, of variance below 1.
        spread = ((codes[name] - model.means_[name]) @ padded).std(axis=0, ddof=1)
        projections[name] = padded / np.where(spread > 0, spread, 1.0)
    correlations = np.zeros(width)
    correlations[:kept] = model.correlations_[:kept]
    return correlations, projections, dict(model.means_)


def _all_present(X: Modalities) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = np.all(np.stack(list(X.present.values())), axis=0)
    return found


def _complete(X: Modalities, whose: str) -> Modalities:
    there = _all_present(X)
    if there.sum() < 2:
        raise DataError(f"{whose} needs 2 rows with every modality; got {int(there.sum())}.")
    kept: Modalities = X if there.all() else X[there]
    return kept
