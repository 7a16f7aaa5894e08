"""Recipes: frozen settings of encoders and decoders, built when the data's shape is known."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from triptych.arrays import check_number
from triptych.errors import CapabilityError, ParameterError, ShapeError
from triptych.modalities import Kind
from triptych.nn.decoders import Decoder, ImageValues, TokenModel, VectorValues
from triptych.nn.encoders import ImageEncoder, SequenceEncoder, TokenEncoder, VectorEncoder
from triptych.nn.inputs import Input, SequenceInput, TextInput
from triptych.nn.sequence_decoder import SequenceValues
from triptych.values import register


@runtime_checkable
class Recipe(Protocol):
    """Settings of an encoder: a frozen, registered dataclass that can build it."""

    def build(self, kind: Kind, reader: Input, n_out: int) -> nn.Module:
        """A module with ``forward(values, lengths=None) -> (b, n_out)``."""
        ...


@runtime_checkable
class DecoderRecipe(Protocol):
    """Settings of a decoder."""

    def build(self, kind: Kind, reader: Input, n_in: int) -> Decoder:
        """A decoder of codes (b, n_in)."""
        ...


Factory = Callable[[Kind, int], nn.Module]


@register
@dataclass(frozen=True)
class MLP:
    """Dense layers for vectors, and for pictures that should be read as vectors.

    Args:
        width: Units of a hidden layer.
        depth: Hidden layers; 0 is a linear map.
        dropout: Share of hidden units left out while training.
    """

    width: int = 256
    depth: int = 2
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_number("MLP.width", self.width, low=1, integer=True)
        check_number("MLP.depth", self.depth, low=0, integer=True)
        _check_share("MLP.dropout", self.dropout)

    def build(self, kind: Kind, reader: Input, n_out: int) -> nn.Module:
        """The network for this kind of vector or picture."""
        _check_form(self, kind, "vector", "image")
        return VectorEncoder(
            math.prod(_sizes(kind)),
            n_out,
            width=self.width,
            depth=self.depth,
            dropout=self.dropout,
        )


@register
@dataclass(frozen=True)
class ConvNet:
    """Strided convolutions for pictures of any size and any number of channels.

    Args:
        width: Channels of the first block; each further block has twice as many.
        dropout: Share of the summary left out while training.
        shift: Training pictures are moved at random by up to this many pixels.
        scale: Training pictures are resized at random by up to this share.
    """

    width: int = 32
    dropout: float = 0.0
    shift: int = 0
    scale: float = 0.0

    def __post_init__(self) -> None:
        check_number("ConvNet.width", self.width, low=4, integer=True)
        _check_share("ConvNet.dropout", self.dropout)
        check_number("ConvNet.shift", self.shift, low=0, integer=True)
        check_number("ConvNet.scale", self.scale, low=0, high=10)

    def build(self, kind: Kind, reader: Input, n_out: int) -> nn.Module:
        """The network for pictures of this kind."""
        _check_form(self, kind, "image")
        channels, height, breadth = _sizes(kind)
        return ImageEncoder(
            (channels, height, breadth),
            n_out,
            width=self.width,
            dropout=self.dropout,
            shift=self.shift,
            scale=self.scale,
        )


@register
@dataclass(frozen=True)
class Recurrent:
    """GRU for sequences; waveforms go through strided convolutions first.

    Args:
        width: Width of the state.
        depth: Layers of the GRU.
        dropout: Share of states left out between layers and at the end while training.
    """

    width: int = 128
    depth: int = 1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_number("Recurrent.width", self.width, low=1, integer=True)
        check_number("Recurrent.depth", self.depth, low=1, integer=True)
        _check_share("Recurrent.dropout", self.dropout)

    def build(self, kind: Kind, reader: Input, n_out: int) -> nn.Module:
        """The network for sequences of this kind."""
        _check_form(self, kind, "sequence", "waveform")
        wave = kind.form == "waveform"
        return SequenceEncoder(
            1 if wave else kind.n_features,
            n_out,
            width=self.width,
            depth=self.depth,
            dropout=self.dropout,
            wave=wave,
        )


@register
@dataclass(frozen=True)
class TextEncoder:
    """Small transformer over tokens of a vocabulary learnt from the training texts.

    Args:
        vocabulary: Most tokens to learn.
        max_length: Longest text in tokens; longer ones are cut.
        width: Width of embeddings and layers.
        depth: Layers.
        dropout: Share of activations left out while training.
        token_dropout: Share of tokens made unknown while training.
    """

    vocabulary: int = 2000
    max_length: int = 64
    width: int = 128
    depth: int = 2
    dropout: float = 0.1
    token_dropout: float = 0.0

    def __post_init__(self) -> None:
        check_number("TextEncoder.vocabulary", self.vocabulary, low=5, integer=True)
        check_number("TextEncoder.max_length", self.max_length, low=1, integer=True)
        check_number("TextEncoder.width", self.width, low=1, integer=True)
        check_number("TextEncoder.depth", self.depth, low=0, integer=True)
        _check_share("TextEncoder.dropout", self.dropout)
        _check_share("TextEncoder.token_dropout", self.token_dropout)

    def build(self, kind: Kind, reader: Input, n_out: int) -> nn.Module:
        """The network for the reader's tokens."""
        _check_form(self, kind, "text")
        text = _text(reader)
        return TokenEncoder(
            text.vocabulary,
            n_out,
            max_length=text.max_length,
            width=self.width,
            depth=self.depth,
            dropout=self.dropout,
            token_dropout=self.token_dropout,
        )


@register
@dataclass(frozen=True)
class VectorDecoder:
    """Dense layers from codes to vectors, or to pictures as if they were, by squared error.

    Args:
        width: Units of a hidden layer.
        depth: Hidden layers; 0 is a linear map.
        dropout: Share of hidden units left out while training.
    """

    width: int = 256
    depth: int = 2
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_number("VectorDecoder.width", self.width, low=1, integer=True)
        check_number("VectorDecoder.depth", self.depth, low=0, integer=True)
        _check_share("VectorDecoder.dropout", self.dropout)

    def build(self, kind: Kind, reader: Input, n_in: int) -> Decoder:
        """The decoder of codes (b, n_in)."""
        _check_form(self, kind, "vector", "image")
        return VectorValues(
            n_in, _sizes(kind), width=self.width, depth=self.depth, dropout=self.dropout
        )


@register
@dataclass(frozen=True)
class ImageDecoder:
    """Convolutions from codes to pictures of any size, by squared error.

    Args:
        width: Channels of the last hidden layer; earlier ones have up to four times as many.
    """

    width: int = 32

    def __post_init__(self) -> None:
        check_number("ImageDecoder.width", self.width, low=4, integer=True)

    def build(self, kind: Kind, reader: Input, n_in: int) -> Decoder:
        """The decoder of codes (b, n_in)."""
        _check_form(self, kind, "image")
        channels, height, breadth = _sizes(kind)
        return ImageValues(n_in, (channels, height, breadth), width=self.width)


@register
@dataclass(frozen=True)
class SequenceDecoder:
    """GRU that runs on from the code, by squared error over true steps.

    Args:
        width: Width of the state.
    """

    width: int = 128

    def __post_init__(self) -> None:
        check_number("SequenceDecoder.width", self.width, low=1, integer=True)

    def build(self, kind: Kind, reader: Input, n_in: int) -> Decoder:
        """The decoder of codes (b, n_in)."""
        _check_form(self, kind, "sequence")
        assert isinstance(reader, SequenceInput)
        return SequenceValues(
            n_in,
            kind.n_features,
            width=self.width,
            longest=reader.longest,
            log_length=reader.log_length,
            log_spread=reader.log_spread,
        )


@register
@dataclass(frozen=True)
class TextDecoder:
    """Language model that reads the code at every token, by log-likelihood.

    Args:
        width: Width of embeddings and state.
    """

    width: int = 128

    def __post_init__(self) -> None:
        check_number("TextDecoder.width", self.width, low=1, integer=True)

    def build(self, kind: Kind, reader: Input, n_in: int) -> Decoder:
        """The decoder of codes (b, n_in)."""
        _check_form(self, kind, "text")
        text = _text(reader)
        return TokenModel(
            n_in,
            vocabulary=text.vocabulary,
            max_length=text.max_length,
            width=self.width,
            frequency=torch.tensor(text.frequency, dtype=torch.float32),
        )


def default_encoder(kind: Kind) -> Recipe:
    """The recipe for modalities of this kind where the user names none."""
    recipes: dict[str, Recipe] = {
        "vector": MLP(),
        "image": ConvNet(),
        "sequence": Recurrent(),
        "waveform": Recurrent(),
        "text": TextEncoder(),
    }
    if kind.form not in recipes:
        raise CapabilityError(f"no encoder for a modality of kind {kind}.")
    return recipes[kind.form]


def default_decoder(kind: Kind) -> DecoderRecipe:
    """The decoder's recipe for modalities of this kind; waveforms have none."""
    recipes: dict[str, DecoderRecipe] = {
        "vector": VectorDecoder(),
        "image": ImageDecoder(),
        "sequence": SequenceDecoder(),
        "text": TextDecoder(),
    }
    if kind.form not in recipes:
        raise CapabilityError(
            f"no decoder for a modality of kind {kind}; decoders exist for {list(recipes)}."
        )
    return recipes[kind.form]


def build_encoder(
    recipe: Recipe | Factory | None, kind: Kind, reader: Input, n_out: int
) -> nn.Module:
    """A new encoder with ``forward(values, lengths=None) -> (b, n_out)``.

    Args:
        recipe: Settings, or a function ``factory(kind, n_out)`` that returns a module; ``None``
            takes the kind's default. The module's ``forward`` is given lengths if it takes a
            second argument and the modality has lengths.
        kind: What one sample of the modality is.
        reader: What turns the modality into tensors.
        n_out: Width of the codes.

    Raises:
        ParameterError: ``recipe`` is neither, is for another kind, or is a module built already.
    """
    if recipe is None:
        recipe = default_encoder(kind)
    if isinstance(recipe, nn.Module):
        raise ParameterError(
            f"encoder of a modality of kind {kind}: expected a recipe or a function "
            f"factory(kind, n_components); got the module {type(recipe).__name__} already built, "
            "which would carry its weights from one fit into the next."
        )
    if isinstance(recipe, type) and hasattr(recipe, "build"):
        raise ParameterError(
            f"encoder of a modality of kind {kind}: got the class {recipe.__name__}; "
            f"write {recipe.__name__}() with its settings."
        )
    if isinstance(recipe, Recipe):
        module = recipe.build(kind, reader, n_out)
        whose = type(recipe).__name__
    elif callable(recipe):
        module = recipe(kind, n_out)
        whose = getattr(recipe, "__name__", type(recipe).__name__)
    else:
        raise ParameterError(
            f"encoder of a modality of kind {kind}: expected a recipe, a function "
            f"factory(kind, n_components) or None; got {recipe!r}."
        )
    if not isinstance(module, nn.Module):
        raise ParameterError(
            f"encoder of a modality of kind {kind}: {whose} must return a torch module; "
            f"got {type(module).__name__}."
        )
    return CheckedEncoder(module, kind, n_out, whose)


class CheckedEncoder(nn.Module):
    """An encoder whose codes are checked, since a factory may build what it likes.

    Args:
        module: The encoder.
        kind: Kind of its modality, for errors.
        n_out: Width that its codes must have.
        whose: Name of the recipe or factory, for errors.
    """

    def __init__(self, module: nn.Module, kind: Kind, n_out: int, whose: str) -> None:
        super().__init__()
        self.module, self.kind, self.n_out, self.whose = module, kind, n_out, whose
        self.reads_lengths = _takes_two(module)

    def forward(self, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Codes (b, n_out) of ``values`` (b, ...)."""
        if self.reads_lengths and lengths is not None:
            codes = self.module(values, lengths)
        else:
            codes = self.module(values)
        expected = (len(values), self.n_out)
        if not isinstance(codes, Tensor) or codes.shape != expected:
            got = tuple(codes.shape) if isinstance(codes, Tensor) else type(codes).__name__
            raise ShapeError(
                f"encoder of a modality of kind {self.kind}: {self.whose} must give codes "
                f"{expected} for values {tuple(values.shape)}; got {got}."
            )
        return codes


def _takes_two(module: nn.Module) -> bool:
    parameters = inspect.signature(module.forward).parameters.values()
    by_place = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(by_place) > 1


def _check_share(name: str, value: float) -> None:
    check_number(name, value, low=0, high=1)
    if value == 1:
        raise ParameterError(f"{name}: a share of 1 would leave nothing; got {value!r}.")


def _check_form(recipe: object, kind: Kind, *forms: str) -> None:
    if kind.form not in forms:
        raise ParameterError(
            f"{type(recipe).__name__} is for {' and '.join(forms)}; "
            f"the modality is of kind {kind}."
        )


def _sizes(kind: Kind) -> tuple[int, ...]:
    return cast("tuple[int, ...]", kind.shape)


def _text(reader: Input) -> TextInput:
    if not isinstance(reader, TextInput):
        raise ParameterError(f"a text needs a TextInput; got {type(reader).__name__}.")
    return reader
