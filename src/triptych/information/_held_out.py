"""What trained estimators share: arrays that networks read, and errors over held-out batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from triptych.contracts.estimate import Estimate
from triptych.linalg import standardise

Floats = NDArray[np.float64]


def scaled(
    data: Floats, fit: NDArray[np.intp], scale: str, name: str
) -> tuple[Floats, tuple[str, ...]]:
    """Columns on the scale of the training rows, and what there is to say of them.

    Args:
        data: Shape (n, p).
        fit: Rows that scales are learnt from.
        scale: ``"standard"`` or ``"ranks"``.
        name: Of the variable, for the notes.

    Returns:
        Shape (n, p) without columns that are constant in ``fit``, and notes.
    """
    seen = standardise(data[fit])
    notes: list[str] = []
    keep = ~seen.constant
    if not keep.all():
        notes.append(f"{int((~keep).sum())} constant columns of {name} say nothing: left out")
    if not keep.any():  # constant in training but not elsewhere: nothing can be learnt from it
        keep[:] = True
    if scale == "ranks":
        return np.stack([_scores(c, c[fit]) for c in data[:, keep].T], 1), tuple(notes)
    values = (data[:, keep] - seen.means[keep]) / seen.spreads[keep]
    if (far := np.abs(values).max()) > 15:
        notes.append(
            f"{name} has heavy tails (a value {far:.0f} standard deviations out), which networks "
            'learn badly from: try scale="ranks"'
        )
    return values, tuple(notes)


def _scores(column: Floats, seen: Floats) -> Floats:
    """Normal scores of ranks among the training rows, straight in between."""
    from scipy.special import ndtri

    values, counts = np.unique(seen, return_counts=True)
    rank = np.cumsum(counts) - counts / 2  # the middle of ties
    scores: Floats = ndtri(np.interp(column, values, rank / counts.sum()))
    return scores


def repeats(a: Floats, b: Floats) -> tuple[str, ...]:
    """A note if pairs (a_i, b_i) occur more than once."""
    both = np.ascontiguousarray(np.concatenate([a, b], 1))
    rows = both.view([("", np.void, both.shape[1] * both.itemsize)])[:, 0]
    repeated = len(rows) - len(np.unique(rows))
    if not repeated:
        return ()
    return (
        f"{repeated} of {len(rows)} pairs repeat another: copies of training pairs among the "
        "held-out ones are no new evidence, and information of values that repeat is that of "
        "discrete data",
    )


class Ready:
    """Reader of arrays that are on their scale already."""

    def tensors(self, data: Any, present: NDArray[np.bool_]) -> tuple[Tensor, None]:
        """The numbers as float32; vectors have no lengths."""
        return torch.from_numpy(np.asarray(data, dtype=np.float32)), None

    def ready(self, values: Tensor) -> Tensor:
        """The values themselves."""
        return values


def over_batches(
    value: float,
    error: float,
    *,
    batches: int,
    rows: int,
    given: str,
    estimator: str,
    warnings: tuple[str, ...],
    reason: str,
) -> Estimate:
    """An estimate in nats with the interval of Student's t for so many batches."""
    from scipy.stats import t as student

    half = float(student.ppf(0.975, batches - 1)) * error
    return Estimate(
        value=value,
        standard_error=error,
        interval=(value - half, value + half),
        interval_kind=f"t over {batches} held-out batches, 95 %, {given}",
        unit="nats",
        n_samples=rows,
        estimator=estimator,
        warnings=warnings,
        reason=reason,
    )
