"""One reading of the codes of all panels, so that every measure asks every method the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.errors import CapabilityError, DataError, NotFittedError
from triptych.evaluation.probes import as_codes
from triptych.modalities import SHARED, Modalities

CODE = "code"


@dataclass(frozen=True)
class Codes:
    """Parts of a code and the rows that have them.

    Args:
        parts: By part, array (n, d); a fusion code is the one part ``"code"``.
        present: By part, boolean (n,).
    """

    parts: dict[str, NDArray[np.float64]]
    present: dict[str, NDArray[np.bool_]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def joined(self, reference: Codes) -> NDArray[np.float64]:
        """All parts of ``reference`` side by side, (n, sum of d).

        Args:
            reference: Codes of training rows; an absent part is filled with its mean there.
        """
        columns = []
        n = len(next(iter(self.parts.values())))
        for part, learnt in reference.parts.items():
            mean = learnt[reference.present[part]].mean(axis=0)
            block = np.tile(mean, (n, 1))
            if part in self.parts:
                mask = self.present[part]
                block[mask] = self.parts[part][mask]
            columns.append(block)
        return np.concatenate(columns, axis=1)


def read_codes(model: Any, X: Modalities) -> Codes:
    """What ``model.transform(X)`` says, in parts.

    Fusion gives ``"code"``; coordination one part per modality; fission ``"shared"`` and one
    private part per modality. A code with more than two axes is flattened. Parts that no row
    has are left out.

    Args:
        model: A fitted method.
        X: Modalities that it can transform.
    """
    Z = model.transform(X)
    if not isinstance(Z, Modalities):
        values = as_codes(Z, "code")
        return Codes({CODE: values}, {CODE: np.ones(len(values), dtype=bool)})
    parts, present = {}, {}
    for name in Z.names:
        mask = Z.present[name]
        if not mask.any():
            continue
        values = np.array(Z[name])
        values[~mask] = 0
        parts[name], present[name] = as_codes(values, f"code of {name!r}"), mask
    if not parts:
        raise DataError("no row has a code.")
    return Codes(parts, present)


def usable_rows(model: Any, X: Modalities) -> NDArray[np.bool_]:
    """Rows (n,) that the method can transform: something present, or everything if it must.

    A method that takes fewer says so by ``codable_rows(X)``.
    """
    if hasattr(model, "codable_rows"):
        return np.asarray(model.codable_rows(X))
    masks = np.stack(list(X.present.values()))  # (m, n)
    rows = masks.any(axis=0) if model.capabilities.missing_at_transform else masks.all(axis=0)
    return np.asarray(rows)


def check_is_fitted(model: Any) -> None:
    """Raise :class:`NotFittedError` before ``fit``."""
    if not hasattr(model, "names_in_"):
        raise NotFittedError(f"this {type(model).__name__} is not fitted yet; call fit(X) first.")


def alone(model: Any, X: Modalities, name: str) -> Codes:
    """Codes of rows from one modality, all of which have it.

    For coordination this is the one part of that modality.

    Raises:
        CapabilityError: The method needs the other modalities too.
    """
    if not model.capabilities.one_modality_at_transform and len(model.names_in_) > 1:
        raise CapabilityError(f"{type(model).__name__} does not transform one modality alone.")
    codes = read_codes(model, X.select(name))
    full = [part for part in codes if codes.present[part].all()]
    return Codes({part: codes.parts[part] for part in full}, {p: codes.present[p] for p in full})


def comparable(model: Any, X: Modalities, name: str) -> NDArray[np.float64]:
    """The code (n, d) by which one modality is compared with the others.

    The modality's own code for coordination; the shared part, or the joint code, inferred from
    that modality alone for fission and fusion.
    """
    codes = alone(model, X, name)
    for part in (SHARED, CODE, name):
        if part in codes.parts:
            return codes.parts[part]
    raise DataError(f"there is no code of {name!r} to compare; parts are {list(codes)}.")
