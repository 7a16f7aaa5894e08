"""Fusions that learn from labels: features of each modality, one code of them, and a prediction.

A fusion writes how features become a code (``_fuse``); what is done with absent modalities, with
labels and with several processes is the same for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from triptych.arrays import check_number
from triptych.contracts.method import Capabilities, Fusion
from triptych.contracts.supervised import SupervisedMethod
from triptych.errors import ParameterError
from triptych.fusion._subsets import dropped_modalities
from triptych.modalities import Kind, Modalities
from triptych.nn.parts import Parts
from triptych.nn.recipes import MLP
from triptych.nn.targets import Target
from triptych.training.batches import Batch
from triptych.training.settings import Training
from triptych.values import nested

CAPABILITIES = Capabilities(
    missing_at_fit=True,
    missing_at_transform=True,
    one_modality_at_transform=True,
    needs_labels=True,
    predicts=True,
    distributes=True,
)


class FusionNetwork(nn.Module):
    """Encoders by modality, what makes one code of their features, and what reads the code."""

    def __init__(self, encoders: Parts, fuse: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoders, self.fuse, self.head = encoders, fuse, head


class LabelledFusion(SupervisedMethod, Fusion):
    """Base: encoders, a fusing module, and a head that reads the code.

    A fusion's docstring says what is its own. These arguments all of them have:

    Args:
        n_components: Width d of the code.
        encoders: Recipes or factories by modality name, else the kind's default.
        width: Width of each encoder's output; a number, or numbers by modality name.
        head: Layers that read the code; ``MLP(depth=0)`` is a linear map.
        dropout: Share of each modality's features left out while training.
        modality_dropout: Share of training rows of which a random non-empty subset of modalities
            is kept; the others keep all that they have.
        task: ``"classification"``, ``"multilabel"``, ``"regression"``, or ``"auto"`` for what the
            labels look like: see :func:`~triptych.nn.targets.learn_target`.
        training: Epochs, batch size, learning rate, device.
        random_state: Seed of weights, batches and dropout.
    """

    capabilities = CAPABILITIES

    def __init__(
        self,
        n_components: int = 64,
        *,
        encoders: Mapping[str, Any] | None = None,
        width: int | Mapping[str, int] = 64,
        head: MLP = MLP(depth=0),
        dropout: float = 0.0,
        modality_dropout: float = 0.25,
        task: str = "auto",
        training: Training = Training(),
        random_state: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.encoders = encoders
        self.width = width
        self.head = head
        self.dropout = dropout
        self.modality_dropout = modality_dropout
        self.task = task
        self.training = training
        self.random_state = random_state

    # -- what a fusion writes --------------------------------------------------------------

    def _fuse(self, widths: Mapping[str, int]) -> nn.Module:
        """A module of :mod:`triptych.nn.fusing` for features of these widths."""
        raise NotImplementedError

    def _widths(self, names: tuple[str, ...]) -> dict[str, int]:
        """Width of each encoder's output."""
        return widths_by_name(self.width, names)

    # -- networks --------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_width(getattr(self, "width", 1))  # a fusion may have no such parameter
        check_head(self.head)
        check_number("dropout", self.dropout, low=0, high=0.99)
        check_number("modality_dropout", self.modality_dropout, low=0, high=1)

    def _build(self, kinds: Mapping[str, Kind]) -> nn.Module:
        widths = self._widths(tuple(sorted(kinds)))
        return FusionNetwork(
            Parts({m: self._encoder(m, k, widths[m]) for m, k in kinds.items()}),
            self._seeded("fuse", lambda: self._fuse(widths)),
            self._seeded("head", lambda: self._head(self.n_components)),
        )

    def _head(self, width: int) -> nn.Module:
        return head_of(self.head, width, self._asked())

    # -- codes and outputs -----------------------------------------------------------------

    def _features(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        """Features (b, width) of every fitted modality; zeros where a batch lacks it."""
        found = {}
        for m in network.encoders:
            if m in batch.values:
                h = network.encoders[m](batch.values[m], batch.lengths.get(m)).float()
                found[m] = nn.functional.dropout(h, self.dropout, network.training)
            else:
                width = network.encoders[m].n_out
                found[m] = torch.zeros(len(batch), width, device=batch.rows.device)
        return found

    def _present(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        """Mask (b,) of every fitted modality."""
        nothing = torch.zeros(len(batch), dtype=torch.bool, device=batch.rows.device)
        return {m: batch.present.get(m, nothing) for m in network.encoders}

    def _kept(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        """What of each row is used: in training, without what modality dropout takes."""
        if not network.training or not self.modality_dropout:
            return self._present(network, batch)
        return dropped_modalities(batch, self.modality_dropout)

    def _code(self, network: Any, batch: Batch) -> Tensor:
        """Code (b, d) of what each row has."""
        present = self._present(network, batch)
        code: Tensor = network.fuse(self._features(network, batch), present)
        return code

    def _outputs(self, network: Any, batch: Batch) -> Tensor:
        outputs: Tensor = network.head(self._code(network, batch))
        return outputs

    def _terms(self, network: Any, batch: Batch) -> dict[str, Tensor]:
        code = network.fuse(self._features(network, batch), self._kept(network, batch))
        task = self._task_loss(network.head(code), batch)
        return {"loss": task, "task": task}

    def _transform(self, X: Modalities) -> NDArray[np.float32]:
        return self._codes(X, lambda batch: {"code": self._code(self.network_, batch)})["code"]


def head_of(recipe: MLP, width: int, target: Target) -> nn.Module:
    """Layers from codes (b, width) to a target's outputs."""
    kind = Kind("vector", (width,))
    return recipe.build(kind, None, target.width)  # type: ignore[arg-type]  # reads no data


def check_width(width: Any) -> None:
    """Refuse a ``width`` that is neither a whole number nor a dict of them by modality name."""
    for name, number in nested("width", width).items() or [("width", width)]:
        check_number(name, number, low=1, integer=True)


def check_head(head: Any) -> None:
    """Refuse a ``head`` that is no recipe of dense layers."""
    if not isinstance(head, MLP):
        raise ParameterError(f"head: expected MLP(...), got {head!r}.")


def widths_by_name(width: int | Mapping[str, int], names: tuple[str, ...]) -> dict[str, int]:
    """A width for every modality, from one number or from numbers by name.

    Raises:
        ParameterError: Names that are no modalities, or modalities without a number.
    """
    if not isinstance(width, Mapping):
        return dict.fromkeys(names, width)
    unknown = [m for m in width if m not in names]
    lacking = [m for m in names if m not in width]
    if unknown or lacking:
        raise ParameterError(
            f"width: expected a number for each of {list(names)}; "
            + (f"{unknown} are no modalities." if unknown else f"{lacking} have none.")
        )
    return {m: width[m] for m in names}


def shares_told(shares: NDArray[np.float32]) -> dict[str, Any]:
    """Mean and spread of gates (rows, d) over rows, and the share nearly shut or fully open."""
    seen = shares.astype(np.float64)
    return {
        "mean": seen.mean(0),
        "spread": seen.std(0),
        "saturated": float(((seen < 0.05) | (seen > 0.95)).mean()),
    }
