"""From a modality's data to tensors and back; what is learnt here is learnt from training rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from triptych.arrays import is_sparse, row_chunks, rows_at_once
from triptych.errors import DataError, ModalityError
from triptych.media import Sounds
from triptych.modalities import Kind, Modalities
from triptych.values import register

PAD, START, END, UNKNOWN = 0, 1, 2, 3
SPECIAL = ("<pad>", "<start>", "<end>", "<unknown>")
# A float32 holds 3e38; what is rebuilt may lie some way beyond what was seen.
LARGEST = 1e35

# Sounds in files that are read at a time; how long they are is not known before.
FILES = 256


class _TooLarge(Exception):
    """A modality, its name unknown here, holds values beyond ``LARGEST``."""


def _blocks(data: Any, present: NDArray[np.bool_]) -> Iterator[NDArray[Any]]:
    """Present rows (k, ...), as many at a time as a few MiB hold."""
    for part in row_chunks(len(present), rows_at_once(data.shape)):
        block = np.asarray(data[part][present[part]])
        if len(block):
            yield block


def _samples(sounds: Sounds, present: NDArray[np.bool_]) -> Iterator[NDArray[Any]]:
    """Samples (t, 1) of present sounds, of so many files at a time."""
    rows = np.flatnonzero(present)
    for part in row_chunks(len(rows), FILES):
        pieces = [piece for piece in sounds[rows[part]].load() if piece is not None]
        yield np.concatenate(pieces)[:, None]


def _moments(
    blocks: Iterable[NDArray[Any]], axis: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and spread over rows and ``axis``, block by block in float64; spread > 0.

    Raises:
        _TooLarge: Values that networks, which compute in float32, cannot be given in their units.
    """
    count, total, square = 0, 0.0, 0.0
    shift: Any = None
    for read in blocks:
        block = read.astype(np.float64)
        least, most = float(block.min()), float(block.max())
        if max(-least, most) > LARGEST:
            far = least if -least > most else most
            raise _TooLarge(
                f"a value of {far:.3g}, where networks compute with at most {LARGEST:.0e}; give "
                "the modality in another unit."
            )
        if shift is None:  # squares about a typical value do not cancel
            shift = block.mean(axis=axis, keepdims=True)
        block = block - shift
        count += block.size // int(
            np.prod([s for i, s in enumerate(block.shape) if i not in axis])
        )
        total = total + block.sum(axis=axis)
        square = square + (block**2).sum(axis=axis)
    mean = np.asarray(total) / count
    spread = np.sqrt(np.maximum(np.asarray(square) / count - mean**2, 0))
    centre = mean + np.squeeze(shift, axis=axis)
    spread = np.where(spread > 1e-7 * np.maximum(np.abs(centre), 1e-30), spread, 1.0)
    return centre.astype(np.float32), spread.astype(np.float32)


@register
@dataclass(frozen=True)
class VectorInput:
    """Columns centred and scaled to unit spread; a constant column is only centred.

    Args:
        mean: Shape (p,).
        scale: Shape (p,), > 0.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def learn(cls, data: Any, present: NDArray[np.bool_]) -> VectorInput:
        """Moments of the present rows."""
        if is_sparse(data):
            data = data.toarray()
        return cls(*_moments(_blocks(data, present), (0,)))

    def tensors(self, data: Any, present: NDArray[np.bool_]) -> tuple[Tensor, None]:
        """Standardised values (n, p) in float32; absent rows are zero."""
        dense = data.toarray() if is_sparse(data) else np.asarray(data)
        values = ((dense - self.mean.astype(np.float64)) / self.scale).astype(np.float32)
        values[~present] = 0
        return torch.from_numpy(values), None

    def ready(self, values: Tensor) -> Tensor:
        """The values themselves."""
        return values

    def restore(self, values: Tensor) -> NDArray[np.float32]:
        """Back to the units of the data, (n, p)."""
        return values.cpu().numpy().astype(np.float32) * self.scale + self.mean


@register
@dataclass(frozen=True)
class ImageInput:
    """Channels centred and scaled to unit spread; kept compact until a batch is taken.

    Args:
        mean: Shape (c,), in the data's units.
        scale: Shape (c,), > 0.
        integer: Whether the data are whole numbers, so that rebuilt pictures are rounded.
        low: Smallest value seen.
        high: Largest value seen.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    integer: bool
    low: float
    high: float

    @classmethod
    def learn(cls, data: Any, present: NDArray[np.bool_]) -> ImageInput:
        """Moments of the present rows, by channel."""
        ends: list[float] = []

        def looked_at() -> Iterator[NDArray[Any]]:
            for block in _blocks(data, present):  # one pass: reading files takes long
                ends.extend((float(block.min()), float(block.max())))
                yield block

        mean, scale = _moments(looked_at(), (0, 2, 3))
        return cls(mean, scale, data.dtype.kind in "bui", min(ends), max(ends))

    def tensors(self, data: Any, present: NDArray[np.bool_]) -> tuple[Tensor, None]:
        """Pictures (n, c, h, w), bytes where they were bytes, else float32."""
        kept = np.asarray(data)
        if kept.dtype != np.uint8:
            kept = kept.astype(np.float32)
        if not present.all():
            kept = np.where(present[:, None, None, None], kept, 0).astype(kept.dtype)
        # By way of one axis: the stride of a single channel may be anything, and torch takes it
        # for a word on how pictures lie in memory, and other kernels, which round otherwise.
        kept = np.ascontiguousarray(kept).reshape(-1).reshape(kept.shape)
        return torch.from_numpy(kept if kept.flags.writeable else kept.copy()), None

    def ready(self, values: Tensor) -> Tensor:
        """Centred and scaled, float32."""
        mean = torch.from_numpy(self.mean).to(values.device)[:, None, None]
        scale = torch.from_numpy(self.scale).to(values.device)[:, None, None]
        return (values.to(torch.float32) - mean) / scale

    def restore(self, values: Tensor) -> NDArray[Any]:
        """Back to the units of the data, cut to the range seen, (n, c, h, w)."""
        images = values.cpu().numpy() * self.scale[:, None, None] + self.mean[:, None, None]
        images = np.clip(images, self.low, self.high)
        if self.integer and self.low >= 0 and self.high <= 255:
            return np.asarray(np.round(images), dtype=np.uint8)
        return np.asarray(images, dtype=np.float32)


@register
@dataclass(frozen=True)
class SequenceInput:
    """Sequences padded to the longest, features centred and scaled; waveforms have one feature.

    Args:
        mean: Shape (p,).
        scale: Shape (p,), > 0.
        wave: Whether samples are (t_i,) rather than (t_i, p).
        longest: Steps of the longest training sequence; waveforms, which no decoder makes, 0.
        log_length: Mean logarithm of the training lengths.
        log_spread: Their standard deviation.
    """

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    wave: bool = False
    longest: int = 0
    log_length: float = 0.0
    log_spread: float = 0.0

    @classmethod
    def learn(cls, data: Any, present: NDArray[np.bool_], *, wave: bool = False) -> SequenceInput:
        """Moments over all steps of the present rows."""
        if isinstance(data, Sounds):
            return cls(*_moments(_samples(data, present), (0,)), wave)
        if isinstance(data, list):
            there = [np.asarray(a) for a, p in zip(data, present, strict=True) if p]
            logs = np.log([len(a) for a in there])
            data = np.concatenate(there)
            present = np.ones(len(data), dtype=bool)
            data = data[:, None] if wave else data
            moments = _moments(_blocks(data, present), (0,))
            if wave:
                return cls(*moments, wave)
            longest, spread = max(len(a) for a in there), float(logs.std())
            return cls(*moments, wave, longest, float(logs.mean()), spread)
        mean, scale = _moments(_blocks(data, present), (0, 1))
        steps = 0 if wave else int(data.shape[1])
        return cls(mean.reshape(-1), scale.reshape(-1), wave, steps, float(np.log(max(steps, 1))))

    def tensors(self, data: Any, present: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
        """Padded values (n, t, p) and true lengths (n,); padding is zero."""
        width = len(self.mean)
        if isinstance(data, list):
            sizes = [len(a) if p else 0 for a, p in zip(data, present, strict=True)]
        else:
            sizes = [data.shape[1] if p else 0 for p in present]
        longest = max(max(sizes, default=1), 1)
        out = np.zeros((len(present), longest, width), dtype=np.float32)
        for row, size in enumerate(sizes):
            if size:
                sample = np.asarray(data[row], dtype=np.float64).reshape(size, width)
                out[row, :size] = (sample - self.mean) / self.scale
        return torch.from_numpy(out), torch.tensor(sizes, dtype=torch.long)

    def ready(self, values: Tensor) -> Tensor:
        """The values themselves."""
        return values

    def restore(self, values: Tensor, lengths: Tensor) -> list[NDArray[np.float32]]:
        """Back to the units of the data, each (t_i, p) of its length, from (n, t, p)."""
        frames = values.cpu().numpy().astype(np.float32) * self.scale + self.mean
        return [row[:size] for row, size in zip(frames, lengths.cpu().tolist(), strict=True)]


@register
@dataclass(frozen=True)
class TextInput:
    """Tokens of a vocabulary learnt from the training texts, kept as the tokenizer's JSON.

    Args:
        tokenizer: JSON of the ``tokenizers`` library.
        vocabulary: Number of tokens, the four special ones among them.
        max_length: Longest text in tokens; longer ones are cut.
        frequency: How often each token (and the end) stood in training texts, (vocabulary,).
    """

    tokenizer: str
    vocabulary: int
    max_length: int
    frequency: NDArray[np.float64]

    @classmethod
    def learn(
        cls, data: Any, present: NDArray[np.bool_], *, vocabulary: int, max_length: int
    ) -> TextInput:
        """Byte-pair tokens of lower-cased words."""
        from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

        texts = [t for t, p in zip(data, present, strict=True) if p]
        tokenizer = Tokenizer(models.BPE(unk_token=SPECIAL[UNKNOWN]))
        tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
        # A mark before words and none after: the trainer numbers letters with a suffix in the
        # order of a hash map, so that the same texts would give other ids in every run.
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Whitespace(), pre_tokenizers.Metaspace(prepend_scheme="always")]
        )
        tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
        # Sorted, so that the order of rows does not decide between pairs of equal count.
        tokenizer.train_from_iterator(
            sorted(texts),
            trainers.BpeTrainer(
                vocab_size=vocabulary,
                special_tokens=list(SPECIAL),
                show_progress=False,
            ),
        )
        draft = cls(tokenizer.to_str(), tokenizer.get_vocab_size(), max_length, np.zeros(0))
        tokens, lengths = draft.tensors(texts, np.ones(len(texts), dtype=bool))
        flat = tokens.numpy()
        counts = np.bincount(flat[flat != PAD], minlength=draft.vocabulary).astype(np.float64)
        counts[END] = len(texts)
        longest = max(1, int(lengths.max()) if len(lengths) else 1)
        return replace(draft, frequency=counts, max_length=min(max_length, longest))

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        return Tokenizer.from_str(self.tokenizer)

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_tokenizer"}

    def tensors(self, data: Any, present: NDArray[np.bool_]) -> tuple[Tensor, Tensor]:
        """Token ids (n, t) padded with 0, and true lengths (n,); an empty text has length 0."""
        texts = [t if p else "" for t, p in zip(data, present, strict=True)]
        ids = [e.ids[: self.max_length] for e in self._tokenizer.encode_batch(texts)]
        longest = max(max((len(i) for i in ids), default=1), 1)
        out = np.zeros((len(ids), longest), dtype=np.int64)
        for row, tokens in enumerate(ids):
            out[row, : len(tokens)] = tokens
        return torch.from_numpy(out), torch.tensor([len(i) for i in ids], dtype=torch.long)

    def ready(self, values: Tensor) -> Tensor:
        """The token ids themselves."""
        return values

    def restore(self, tokens: Tensor) -> list[str]:
        """Texts of token ids (n, t); what follows the end token is left out."""
        out = []
        for row in tokens.cpu().tolist():
            end = row.index(END) if END in row else len(row)
            kept = [t for t in row[:end] if t > UNKNOWN]
            out.append(self._tokenizer.decode(kept, skip_special_tokens=True))
        return out


Input = VectorInput | ImageInput | SequenceInput | TextInput


def learn_input(X: Modalities, name: str, recipe: Any = None) -> Input:
    """What turns modality ``name`` into tensors, learnt from its present rows.

    Args:
        X: Training rows.
        name: Modality.
        recipe: The encoder's recipe; a text recipe says the size of the vocabulary.

    Raises:
        DataError: Values too large to compute with in float32, or texts that are all empty.
    """
    kind: Kind = X.kind(name)
    data, present = X[name], X.present[name]
    try:
        if kind.form == "vector":
            return VectorInput.learn(data, present)
        if kind.form == "image":
            return ImageInput.learn(data, present)
        if kind.form in ("sequence", "waveform"):
            return SequenceInput.learn(data, present, wave=kind.form == "waveform")
    except _TooLarge as error:
        raise DataError(f"modality {name!r}: {error}") from None
    if kind.form == "text":
        texts = [t for t, p in zip(data, present, strict=True) if p]
        if not any(t.strip() for t in texts):
            raise DataError(f"modality {name!r}: every text is empty.")
        return TextInput.learn(
            data,
            present,
            vocabulary=getattr(recipe, "vocabulary", 2000),
            max_length=getattr(recipe, "max_length", 64),
        )
    raise ModalityError(f"modality {name!r}: no input for kind {kind.form!r}.")
