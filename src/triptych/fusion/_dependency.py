"""A fusion's network with a critic beside it, and what the critic compares rows with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from triptych.errors import DataError
from triptych.fusion._labelled import FusionNetwork
from triptych.modalities import Modalities


class CriticNetwork(FusionNetwork):
    """A fusion's network and a critic, with what happened to it.

    Args:
        inner: The fusion's network.
        critic: From its inputs (b, n) to scores (b, 1).
    """

    steps: Tensor
    judged: Tensor
    diverged: Tensor

    def __init__(self, inner: FusionNetwork, critic: nn.Module) -> None:
        super().__init__(inner.encoders, inner.fuse, inner.head)
        self.critic = critic
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        self.register_buffer("judged", torch.zeros((), dtype=torch.long))
        self.register_buffer("diverged", -torch.ones((), dtype=torch.long))

    def _load_from_state_dict(self, *given: Any) -> None:
        # An epoch from before, taken back as the best, does not undo that the critic was given up.
        at = int(self.diverged)
        super()._load_from_state_dict(*given)
        self.diverged.fill_(max(at, int(self.diverged)))

    def scores(self, inputs: Tensor) -> Tensor:
        """What the critic says of its inputs (b, ...), (b,)."""
        found: Tensor = self.critic(inputs)[:, 0]
        return found


def fewest(names: Sequence[str]) -> int:
    """Rows with all of these modalities that it takes for all to come from different ones."""
    return max(2, len(names))


def check_complete(X: Modalities, where: str) -> None:
    """Refuse training rows of which too few have all modalities."""
    n = int(np.all(list(X.present.values()), axis=0).sum())
    if n < fewest(X.names):
        raise DataError(
            f"the dependency of {len(X.names)} modalities is learnt from rows that have them all, "
            f"at least {fewest(X.names)}; {where} {n} among {len(X)} rows. Take weight=0, or the "
            "fusion itself."
        )


def apart(n: int, m: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Rows from which each of m modalities is taken, (m, n): in no place two from the same row.

    Args:
        n: Rows, n >= m.
        m: Modalities.
        rng: Source of the order and of the shifts.
    """
    order = rng.permutation(n)
    shifts = rng.permutation(n)[:m]
    found = np.empty((m, n), dtype=np.intp)
    for k, shift in enumerate(shifts):
        found[k, order] = np.roll(order, shift)
    return found
