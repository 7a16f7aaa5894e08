"""Methods that learn from pairs: rows without a partner in another modality say nothing."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.contracts.deep import DeepMethod
from triptych.errors import DataError, ParameterError
from triptych.modalities import Modalities
from triptych.training.batches import Rows


class PartneredRows(DeepMethod):
    """Base: the loss reads only rows that have two modalities or more.

    Otherwise batches in which nothing is paired, whose loss is an empty sum, would count as 0:
    the best there is. What needs no partner (scales of inputs, residuals) reads all rows.
    """

    @property
    def _fewest(self) -> int:
        """Rows, each with a pair of modalities, of which two always have the same pair."""
        m = len(self.names_in_)
        return m * (m - 1) // 2 + 1

    def _rows(self, X: Modalities, y: NDArray[Any] | None, where: str) -> Rows:
        together = {
            (a, b): int((X.present[a] & X.present[b]).sum()) for a, b in combinations(X.names, 2)
        }
        if max(together.values()) < 2:
            found = ", ".join(f"{a!r} and {b!r}: {n}" for (a, b), n in together.items())
            raise DataError(
                f"{where}: {type(self).__name__} compares rows that have the same two modalities "
                f"and needs 2 or more of them; rows that have both of {found}."
            )
        there = np.sum([X.present[m] for m in X.names], axis=0)
        size = self.training.batch_size
        if size < self._fewest and bool((there < len(X.names)).any()):
            raise ParameterError(
                f"training__batch_size: where rows lack some of {len(X.names)} modalities "
                f"({where}), only batches of {self._fewest} rows or more always have two rows "
                f"with the same pair; got {size}."
            )
        if bool((there < 2).any()):
            kept = np.flatnonzero(there >= 2)
            X, y = X[kept], None if y is None else y[kept]
        return super()._rows(X, y, where)
