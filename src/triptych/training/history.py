"""What the loss was: every named term per epoch, for training and validation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from triptych.errors import ParameterError
from triptych.values import register


@register
@dataclass(frozen=True)
class History:
    """Terms of the loss by epoch; ``history["train"]["loss"]`` is a list, one entry per epoch.

    Args:
        train: Mean over the epoch's batches that show the term, by term; NaN in an epoch of which
            no batch does.
        valid: The same terms on validation rows; empty without validation.
        best_epoch: Epoch (from 0) whose weights were kept, or ``None`` for the last.
    """

    train: dict[str, list[float]] = field(default_factory=dict)
    valid: dict[str, list[float]] = field(default_factory=dict)
    best_epoch: int | None = None

    def __getitem__(self, part: str) -> dict[str, list[float]]:
        if part not in ("train", "valid"):
            raise ParameterError(f"history holds 'train' and 'valid'; got {part!r}.")
        return self.train if part == "train" else self.valid

    def __len__(self) -> int:
        return len(self.train.get("loss", []))

    def with_epoch(
        self, train: Mapping[str, float], valid: Mapping[str, float], best: int | None
    ) -> History:
        """A copy with one more epoch."""

        def longer(
            old: dict[str, list[float]], new: Mapping[str, float]
        ) -> dict[str, list[float]]:
            unknown = [math.nan] * max(map(len, old.values()), default=0)
            return {k: [*old.get(k, unknown), float(new.get(k, math.nan))] for k in {**old, **new}}

        return History(longer(self.train, train), longer(self.valid, valid), best)


def mean_history(each: Mapping[str, History]) -> History:
    """One history of fits that may have ended at different epochs.

    Args:
        each: By name, a history with a term of that name.
    """
    parts = []
    for part in ("train", "valid"):
        terms = {m: history[part][m] for m, history in each.items() if m in history[part]}
        longest = max((len(values) for values in terms.values()), default=0)
        level = [v + [v[-1]] * (longest - len(v)) for v in terms.values()]
        parts.append({"loss": np.mean(level, axis=0).tolist(), **terms} if terms else {})
    best = {history.best_epoch for history in each.values()}
    return History(parts[0], parts[1], best.pop() if len(best) == 1 else None)


class Means:
    """Running means of named terms, weighted by rows of the batches that show them."""

    def __init__(
        self, sums: Mapping[str, float] | None = None, rows: Mapping[str, float] | None = None
    ) -> None:
        self.sums, self.rows = dict(sums or {}), dict(rows or {})

    def add(self, terms: Mapping[str, float], rows: int) -> None:
        """Add one batch."""
        for name, value in terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * rows
            self.rows[name] = self.rows.get(name, 0.0) + rows

    def share(self, name: str) -> float:
        """Share of the loss's rows whose batches show a term."""
        return self.rows.get(name, 0.0) / max(self.rows.get("loss", 0.0), 1.0)

    def result(self) -> dict[str, float]:
        """The means so far."""
        return {name: value / max(self.rows[name], 1.0) for name, value in self.sums.items()}
