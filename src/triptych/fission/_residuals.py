"""Private parts of methods that learn only what is shared: what their encoders hold beside it.

For each modality, hidden features h are regressed on the modality's own shared code z, and the
leading principal components of what is left are the private part: on the rows that were
learnt from, private columns are exactly uncorrelated with z and with one another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from triptych.arrays import check_number
from triptych.errors import ParameterError
from triptych.fission._partnered import PartneredRows
from triptych.linalg import fixed_signs
from triptych.modalities import SHARED, Modalities
from triptych.training.batches import Batch
from triptych.values import register

# Directions of less than this share of the largest variance: float32 codes do not hold them.
UNSEEN = 1e-5

Codes = Mapping[str, tuple[Tensor, Tensor]]


@register
@dataclass(frozen=True)
class Residual:
    """Linear map from a modality's features and code to its private part.

    Args:
        features: What features are multiplied by, shape (w, p).
        code: What the code is multiplied by, shape (d, p).
        offset: Shape (p,).
    """

    features: NDArray[np.float32]
    code: NDArray[np.float32]
    offset: NDArray[np.float32]

    def of(self, h: Tensor, z: Tensor) -> Tensor:
        """Private part (b, p) of features (b, w) and codes (b, d)."""
        maps = [torch.from_numpy(m).to(h.device) for m in (self.features, self.code, self.offset)]
        return h @ maps[0] - z @ maps[1] + maps[2]


class ResidualParts(PartneredRows):
    """Base: ``"shared"`` from the modalities present, and a residual of each.

    A method writes ``_features``, features (b, w) and code (b, d) by modality, and ``_common``,
    the shared part of those that a row has. It stores ``n_private`` and ``width``.
    """

    n_private: int
    width: int
    parts_: tuple[str, ...]
    residuals_: dict[str, Residual]

    def _features(self, network: Any, batch: Batch) -> Codes:
        raise NotImplementedError

    def _common(self, network: Any, batch: Batch, codes: Codes) -> Tensor:
        raise NotImplementedError

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_number("width", self.width, low=1, integer=True)
        check_number("n_private", self.n_private, low=1, integer=True)
        if self.n_private > self.width:
            raise ParameterError(
                f"n_private: private parts are taken from {self.width} features (width), so at "
                f"most {self.width}; got {self.n_private}."
            )

    def _fit(self, X: Modalities, y: Any, validation: Any) -> None:
        self.parts_ = (SHARED, *X.names)
        super()._fit(X, y, validation)

    def _after_training(self, X: Modalities) -> None:
        """Learn the residuals from all training rows that have the modality, in one pass."""
        sums: dict[str, _Sums] = {}
        with torch.no_grad():
            for batch in self._batches(X):
                for m, (h, z) in self._features(self.network_, batch).items():
                    rows = torch.cat([z, h], dim=1)[batch.present[m]]
                    if len(rows):
                        sums.setdefault(m, _Sums()).add(rows.double().cpu().numpy())
        self.residuals_ = {m: s.residual(self.width, self.n_private) for m, s in sums.items()}

    def _transform(self, X: Modalities) -> Modalities:
        def parts(batch: Batch) -> dict[str, Tensor]:
            codes = self._features(self.network_, batch)
            private = {m: self.residuals_[m].of(h, z) for m, (h, z) in codes.items()}
            return {SHARED: self._common(self.network_, batch, codes), **private}

        return self._parts(X, parts, (SHARED, *X.names))


class _Sums:
    """Moments of rows (n, d + w), about the first batch's mean so that squares keep digits."""

    def __init__(self) -> None:
        self.n = 0
        self.shift: Any = None
        self.total: Any = 0.0
        self.square: Any = 0.0

    def add(self, rows: NDArray[np.float64]) -> None:
        self.shift = rows.mean(axis=0) if self.shift is None else self.shift
        rows = rows - self.shift
        self.n += len(rows)
        self.total, self.square = self.total + rows.sum(axis=0), self.square + rows.T @ rows

    def residual(self, width: int, n_private: int) -> Residual:
        mean = self.total / self.n
        spread = self.square / self.n - np.outer(mean, mean)
        d = len(mean) - width
        zz, zh, hh = spread[:d, :d], spread[:d, d:], spread[d:, d:]
        values, vectors = np.linalg.eigh(zz)
        kept = values > UNSEEN * max(values[-1], 0.0)
        basis = vectors[:, kept] / np.sqrt(values[kept])  # whitens what of z there is
        slope = basis @ (basis.T @ zh)  # (d, w)
        left, directions = np.linalg.eigh(hh - zh.T @ slope)
        chosen = directions[:, ::-1][:, :n_private]
        # A direction that nothing varies along is rounding; its column is zero.
        chosen = chosen * (left[::-1][:n_private] > UNSEEN * max(np.trace(hh), 1e-30) / width)
        chosen = chosen * fixed_signs(chosen)
        code, centre = slope @ chosen, self.shift + mean
        offset = centre[:d] @ code - centre[d:] @ chosen
        return Residual(*(np.asarray(a, dtype=np.float32) for a in (chosen, code, offset)))


def on_pairs(
    names: tuple[str, ...], present: Mapping[str, Tensor], least: int = 2
) -> list[tuple[str, str, Tensor]]:
    """Pairs of modalities and the rows (b,) that have both, where there are ``least`` or more."""
    found = []
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            both = present[a] & present[b]
            if int(both.sum()) >= least:
                found.append((a, b, both))
    return found


def mean_of(terms: list[Tensor], otherwise: Callable[[], Tensor]) -> Tensor:
    """Mean of scalars; what ``otherwise`` makes where there are none."""
    return torch.stack(terms).mean() if terms else otherwise()
