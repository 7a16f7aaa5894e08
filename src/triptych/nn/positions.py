"""Encoders that keep positions: maps of pictures, frames of sounds, words of texts.

As elsewhere no encoder looks across rows, and what is padding is neither read nor answered.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.arrays import check_number
from triptych.errors import CapabilityError, ParameterError, ShapeError
from triptych.modalities import Kind
from triptych.nn.encoders import TokenEncoder, steps_mask
from triptych.nn.inputs import Input, TextInput
from triptych.values import register


class Positions(NamedTuple):
    """Local features of rows.

    Args:
        features: Shape (b, p, c).
        mask: Boolean (b, p), which positions are there; ``None`` for all.
        shape: How the p positions lie: (h, w) in a picture, (t,) in a sequence.
    """

    features: Tensor
    mask: Tensor | None
    shape: tuple[int, ...]


@runtime_checkable
class PositionRecipe(Protocol):
    """Settings of such an encoder: a frozen, registered dataclass that can build it."""

    def build_positions(self, kind: Kind, reader: Input, width: int) -> nn.Module:
        """A module as :func:`build_positions` describes it."""
        ...


@register
@dataclass(frozen=True)
class ConvMap:
    """Convolutions from pictures (c, h, w) to maps with a position for each cell of pixels.

    Args:
        width: Channels of the first block; each further block has twice as many.
        cell: Side of a cell in pixels: 1, 2, 4, 8, ...
        depth: Convolutions of 3 x 3 at the map's own resolution; each lets a position see one
            cell farther.
    """

    width: int = 32
    cell: int = 4
    depth: int = 2

    def __post_init__(self) -> None:
        check_number("ConvMap.width", self.width, low=4, integer=True)
        check_number("ConvMap.cell", self.cell, low=1, integer=True)
        if self.cell & (self.cell - 1):
            raise ParameterError(f"ConvMap.cell: expected a power of 2, got {self.cell}.")
        check_number("ConvMap.depth", self.depth, low=0, integer=True)

    def build_positions(self, kind: Kind, reader: Input, width: int) -> nn.Module:
        """The network for pictures of this kind."""
        _check_form(self, kind, "image")
        channels, strides = int(kind.shape[0] or 1), int(math.log2(self.cell))
        blocks: list[nn.Module] = []
        for at in range(strides + self.depth):
            out = self.width * 2 ** min(at, 2)
            stride, kernel = (2 if at < strides else 1), (3 if at else 5)
            blocks += [nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2)]
            blocks += [ChannelNorm(out), nn.GELU()]
            channels = out
        return nn.Sequential(*blocks, nn.Conv2d(channels, width, 1))


@register
@dataclass(frozen=True)
class FrameNet:
    """Convolutions in time over the frames of sequences; waveforms are thinned 64 times before.

    Args:
        width: Features of hidden frames.
        depth: Layers.
        kernel: Frames that a layer sees, odd; 1 for sets, whose order says nothing.
    """

    width: int = 128
    depth: int = 2
    kernel: int = 5

    def __post_init__(self) -> None:
        check_number("FrameNet.width", self.width, low=4, integer=True)
        check_number("FrameNet.depth", self.depth, low=0, integer=True)
        check_number("FrameNet.kernel", self.kernel, low=1, integer=True)
        if self.kernel % 2 == 0:
            raise ParameterError(f"FrameNet.kernel: expected an odd number, got {self.kernel}.")

    def build_positions(self, kind: Kind, reader: Input, width: int) -> nn.Module:
        """The network for sequences of this kind."""
        _check_form(self, kind, "sequence", "waveform")
        wave = kind.form == "waveform"
        n_in = 1 if wave else kind.n_features
        return Frames(
            n_in, width, width=self.width, depth=self.depth, kernel=self.kernel, wave=wave
        )


@register
@dataclass(frozen=True)
class WordStates:
    """Small transformer over tokens, a position for each.

    Args:
        vocabulary: Most tokens to learn.
        max_length: Longest text in tokens; longer ones are cut.
        width: Width of embeddings and layers.
        depth: Layers; 0 reads each word by itself.
        dropout: Share of activations left out while training.
    """

    vocabulary: int = 2000
    max_length: int = 64
    width: int = 128
    depth: int = 1
    dropout: float = 0.1

    def __post_init__(self) -> None:
        check_number("WordStates.vocabulary", self.vocabulary, low=5, integer=True)
        check_number("WordStates.max_length", self.max_length, low=1, integer=True)
        check_number("WordStates.width", self.width, low=1, integer=True)
        check_number("WordStates.depth", self.depth, low=0, integer=True)
        check_number("WordStates.dropout", self.dropout, low=0, high=0.99)

    def build_positions(self, kind: Kind, reader: Input, width: int) -> nn.Module:
        """The network for the reader's tokens."""
        _check_form(self, kind, "text")
        assert isinstance(reader, TextInput)
        return Words(reader, width, self)


class ChannelNorm(nn.LayerNorm):
    """Layer norm of each position of maps (b, c, h, w) by itself.

    A norm over positions would tell all of them what stands at one, and then what is seen need
    not be found where it is.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the same shape."""
        return super().forward(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Frames(nn.Module):
    """See :class:`FrameNet`."""

    def __init__(
        self, n_in: int, n_out: int, *, width: int, depth: int, kernel: int, wave: bool
    ) -> None:
        super().__init__()
        thin = (max(width // 4, 4), max(width // 2, 4), width) if wave else ()
        widths = (n_in, *thin, *[width] * depth)
        self.strides = [4] * len(thin) + [1] * depth
        kernels = [9] * len(thin) + [kernel] * depth
        self.layers = nn.ModuleList(
            nn.Conv1d(a, b, size, stride, padding=size // 2)
            for a, b, size, stride in zip(
                widths[:-1], widths[1:], kernels, self.strides, strict=True
            )
        )
        self.norms = nn.ModuleList(nn.LayerNorm(w) for w in widths[1:])
        self.head = nn.Linear(widths[-1], n_out)

    def forward(self, values: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Frames (b, t, n_out) of ``values`` (b, t, p), and which of them are there."""
        mask = steps_mask(lengths, values)
        steps = torch.where(mask[..., None], values, 0.0)
        for layer, norm, stride in zip(self.layers, self.norms, self.strides, strict=True):
            steps = F.gelu(norm(layer(steps.transpose(1, 2)).transpose(1, 2)))
            mask = mask[:, ::stride]  # a window is there if its centre is
            # Zeroed again: the next window must not see what padding has become.
            steps = torch.where(mask[..., None], steps, 0.0)
        return self.head(steps), mask


class Words(TokenEncoder):
    """See :class:`WordStates`."""

    def __init__(self, reader: TextInput, n_out: int, recipe: WordStates) -> None:
        super().__init__(
            reader.vocabulary,
            n_out,
            max_length=reader.max_length,
            width=recipe.width,
            depth=recipe.depth,
            dropout=recipe.dropout,
            token_dropout=0.0,
        )
        self.head = nn.Linear(recipe.width, n_out)

    def forward(  # type: ignore[override]
        self, values: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """States (b, t, n_out) of token ids (b, t), and which of them are there."""
        steps, mask = self.states(values, lengths)
        return self.head(steps), mask


def default_positions(kind: Kind) -> PositionRecipe:
    """The recipe for modalities of this kind where the user names none."""
    recipes: dict[str, PositionRecipe] = {
        "image": ConvMap(),
        "sequence": FrameNet(),
        "waveform": FrameNet(),
        "text": WordStates(),
    }
    if kind.form not in recipes:
        raise CapabilityError(f"a modality of kind {kind} has no positions.")
    return recipes[kind.form]


def build_positions(
    recipe: PositionRecipe | Callable[[Kind, int], nn.Module] | None,
    kind: Kind,
    reader: Input,
    width: int,
) -> PositionEncoder:
    """A new encoder that keeps positions, ``forward(values, lengths=None) -> Positions``.

    Args:
        recipe: Settings, or a function ``factory(kind, width)`` that returns a module; ``None``
            takes the kind's default. The module gives maps (b, width, h, w) for pictures and steps
            (b, t, width) for all else; if steps are not those given, also a boolean mask
            (b, t), as ``(steps, mask)``. It is given lengths if it takes a second argument.
        kind: What one sample of the modality is.
        reader: What turns the modality into tensors.
        width: Features c of a position.

    Raises:
        ParameterError: ``recipe`` is neither, is for another kind, or gives one code a row.
    """
    if recipe is None:
        recipe = default_positions(kind)
    whose = getattr(recipe, "__name__", type(recipe).__name__)
    if isinstance(recipe, (type, nn.Module)):
        raise ParameterError(
            f"encoder of a modality of kind {kind}: expected settings such as {whose}(), or a "
            f"function factory(kind, width); got {recipe!r}."
        )
    if isinstance(recipe, PositionRecipe):
        module = recipe.build_positions(kind, reader, width)
    elif callable(recipe):
        module = recipe(kind, width)
    else:
        raise ParameterError(
            f"encoder of a modality of kind {kind}: {whose} gives one code a row and keeps no "
            f"positions; take {type(default_positions(kind)).__name__}() or a function "
            "factory(kind, width)."
        )
    if not isinstance(module, nn.Module):
        raise ParameterError(
            f"encoder of a modality of kind {kind}: {whose} must return a torch module; got "
            f"{type(module).__name__}."
        )
    return PositionEncoder(module, kind, width, whose)


class PositionEncoder(nn.Module):
    """An encoder whose positions are checked and laid out alike, whatever a factory built.

    Args:
        module: The encoder.
        kind: Kind of its modality.
        width: Features that a position must have.
        whose: Name of the recipe or factory, for errors.
    """

    def __init__(self, module: nn.Module, kind: Kind, width: int, whose: str) -> None:
        super().__init__()
        self.module, self.kind, self.width, self.whose = module, kind, width, whose
        by_place = [
            p
            for p in inspect.signature(module.forward).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]
        self.reads_lengths = len(by_place) > 1

    def forward(self, values: Tensor, lengths: Tensor | None = None) -> Positions:
        """Local features of ``values`` (b, ...)."""
        read = self.reads_lengths and lengths is not None
        found: Any = self.module(values, lengths) if read else self.module(values)
        features, mask = found if isinstance(found, tuple) else (found, None)
        picture = self.kind.form == "image"
        if not isinstance(features, Tensor) or features.ndim != (4 if picture else 3):
            self._refuse(values, features)
        if len(features) != len(values) or features.shape[1 if picture else 2] != self.width:
            self._refuse(values, features)
        if picture:
            return Positions(features.flatten(2).mT, mask, tuple(features.shape[2:]))
        if mask is None and lengths is not None:
            if features.shape[1] != values.shape[1]:
                raise ShapeError(
                    f"{self.whose} gives {features.shape[1]} steps for {values.shape[1]}: it must "
                    "say which are there, as (steps, mask)."
                )
            mask = steps_mask(lengths, values)
        return Positions(features, mask, (features.shape[1],))

    def _refuse(self, values: Tensor, features: Any) -> None:
        wanted = "maps (b, width, h, w)" if self.kind.form == "image" else "steps (b, t, width)"
        got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ShapeError(
            f"encoder of a modality of kind {self.kind}: {self.whose} must give {wanted} with "
            f"b = {len(values)} and width = {self.width}; got {got}."
        )


def _check_form(recipe: object, kind: Kind, *forms: str) -> None:
    if kind.form not in forms:
        raise ParameterError(
            f"{type(recipe).__name__} is for {' and '.join(forms)}; the modality is of "
            f"kind {kind}."
        )
