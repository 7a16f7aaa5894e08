"""Methods of which only some modalities are coded, the sources, and all are rebuilt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import check_modalities_named
from triptych.contracts.decoding import DecodingMethod
from triptych.contracts.method import Data
from triptych.errors import DataError, ParameterError
from triptych.modalities import Kind, Modalities, as_modalities


class SourcedMethod(DecodingMethod):
    """Base: the constructor stores ``sources``, names of modalities or ``None`` for all."""

    sources: Sequence[str] | None

    def _check_parameters(self) -> None:
        super()._check_parameters()
        given = self.sources
        listed = isinstance(given, Sequence) and not isinstance(given, str) and len(given)
        if given is not None and not listed:
            raise ParameterError(
                f'sources: expected names of modalities, for instance ["image"]; got {given!r}.'
            )

    def _fit(self, X: Modalities, y: Any, validation: Any) -> None:
        check_modalities_named("sources", self.sources or (), X.names)
        if validation is not None:
            self._check_coded(validation[0], "validation")
        super()._fit(X, y, validation)

    def _coded(self, kinds: Mapping[str, Kind]) -> dict[str, Kind]:
        """Kinds of the sources."""
        return {m: k for m, k in kinds.items() if self.sources is None or m in self.sources}

    def codable_rows(self, X: Data) -> NDArray[np.bool_]:
        """Which rows (n,) have a code: those that have a source."""
        self._check_fitted()
        data = as_modalities(X)
        there = [data.present[m] for m in self._coded(self.kinds_) if m in data]
        return np.any(there, axis=0) if there else np.zeros(len(data), dtype=bool)

    def _check_coded(self, X: Modalities, where: str) -> NDArray[np.bool_]:
        """Rows that have a source; refuses data without any, whose loss would be 0."""
        rows = self.codable_rows(X)
        if not rows.any():
            names = list(self._coded(self.kinds_))
            raise DataError(f"{where}: no row has any of {names}, which is coded.")
        return rows

    def _score(self, X: Modalities, y: Any) -> float:
        rows = self._check_coded(X, "score")
        return super()._score(X[rows], None if y is None else y[rows])
