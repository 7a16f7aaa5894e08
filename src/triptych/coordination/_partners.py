"""Whether rows can teach, or judge, who belongs to whom: what losses of pairs ask of data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from triptych.errors import DataError, DegenerateDataWarning, warn
from triptych.modalities import Modalities
from triptych.training.batches import content_ids
from triptych.training.settings import Training

Pairs = Sequence[tuple[str, str]]


def check_partners(method: str, X: Modalities, pairs: Pairs) -> None:
    """Refuse rows to learn from in which a modality is always the same, or always alone.

    Args:
        method: Who learns.
        X: Rows.
        pairs: Modalities that are compared.

    Raises:
        DataError: Names the modality.
    """
    for name in X.names:
        rows = np.flatnonzero(X.present[name])
        if _same(X, name, rows):
            raise DataError(
                f"{method} learns codes that differ from row to row, but all {len(rows)} rows of "
                f"modality {name!r} have the same content."
            )
    check_together(method, X, pairs)


def check_together(method: str, X: Modalities, pairs: Pairs) -> None:
    """Refuse rows in which a modality is never, or once only, there with one it is paired with.

    Args:
        method: Who learns.
        X: Rows.
        pairs: Modalities that are compared.

    Raises:
        DataError: Names the modality.
    """
    for name in X.names:
        others = [b if a == name else a for a, b in pairs if name in (a, b)]
        most = max((len(_together(X, name, other)) for other in others), default=0)
        if most < 2:
            raise DataError(
                f"{method} learns from rows that have two modalities together; of {name!r} and "
                f"any of {others} there are {most}, and 2 are needed."
            )


def watchable(
    method: str,
    held: tuple[Modalities, NDArray[Any] | None] | None,
    pairs: Pairs,
    training: Training,
) -> tuple[Modalities, NDArray[Any] | None] | None:
    """Validation rows, or none, with a warning, where the loss of such rows says nothing.

    The loss of one row is 0, and without a negative that of some methods is too: the first epoch
    would be kept as the best.

    Raises:
        DataError: The training's patience watches them.
    """
    if held is None or any(_comparable(held[0], a, b) for a, b in pairs):
        return held
    words = (
        f"validation: expected at least 2 rows that have two modalities together and differ in "
        f"both; there are none among {len(held[0])}"
    )
    if training.patience is not None:
        raise DataError(f"{words}, and training__patience watches them.")
    warn(
        f"{words}. {method} is fitted without them and keeps the weights of the last epoch.",
        DegenerateDataWarning,
    )
    return None


def check_scored(method: str, X: Modalities, pairs: Pairs) -> None:
    """Refuse rows of which no two have the same two modalities, whose loss would be 0."""
    if not any(len(_together(X, a, b)) >= 2 for a, b in pairs):
        raise DataError(
            f"score: {method} compares rows with one another; expected at least 2 rows that have "
            f"two modalities together, there are none among {len(X)}."
        )


def _together(X: Modalities, a: str, b: str) -> NDArray[np.intp]:
    return np.flatnonzero(X.present[a] & X.present[b])


def _comparable(X: Modalities, a: str, b: str) -> bool:
    rows = _together(X, a, b)
    return len(rows) >= 2 and not _same(X, a, rows) and not _same(X, b, rows)


def _same(X: Modalities, name: str, at: NDArray[np.intp]) -> bool:
    """Whether these rows, which have the modality, all have one content; a few tell mostly."""
    for rows in (at[:64], at):
        ids = content_ids(X[rows][name], np.ones(len(rows), dtype=bool))
        if len(np.unique(ids)) > 1:
            return False
    return True
