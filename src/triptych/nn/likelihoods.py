"""Likelihoods: what a decoder's output says about how probable a modality's values are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from triptych.arrays import is_sparse, row_chunks
from triptych.errors import DataError, ParameterError
from triptych.losses.variational import LOG_2PI
from triptych.modalities import Kind, Modalities
from triptych.nn.decoders import Decoder, SquaredErrorDecoder, TokenModel
from triptych.nn.inputs import END, ImageInput, Input, TextInput, VectorInput

FAMILIES = ("gaussian", "laplace", "bernoulli", "categorical")
DENSITIES = ("gaussian", "laplace")
# Log of the noise's size stays within ± this: standardised values have size 1.
LOUDEST = 6.0
# The same where each value has its own: a column that never changes would have none.
LOUDEST_EACH = 3.0
# How far beyond its range, as a share of it, a value may lie: scalers end a rounding off 1.
ROUNDING = 1e-6


def default_family(kind: Kind) -> str:
    """``"categorical"`` for texts, else ``"gaussian"``."""
    return "categorical" if kind.form == "text" else "gaussian"


def has_own_noise(family: str, noise: float | str | None) -> bool:
    """Whether each value of a row has its own size of the noise, which the code tells."""
    return noise == "values" and family in DENSITIES


def decoded_kind(kind: Kind, family: str, noise: float | str | None) -> Kind:
    """What the decoder of a likelihood has to put out: twice the columns or channels for two."""
    if not has_own_noise(family, noise):
        return kind
    first, *rest = kind.shape
    if kind.form not in ("vector", "image") or first is None:
        raise ParameterError(f"noise: 'values' is for vectors and pictures; got {kind}.")
    return Kind(kind.form, (2 * first, *rest))


class Likelihood(Decoder):
    r"""A decoder read as a law of its modality given the code.

    * *gaussian*, *laplace*: independent values about the decoder's output, with one size of the
      noise for the modality, learnt or given, in units of the standardised columns; or with one
      for each value of each row, which the second half of the decoder's outputs is the log of,
      bent to stay between exp(-3) and exp(3).
    * *bernoulli*: the output is the logit of each value in [0, 1]; values between are taken as
      chances, with the cross-entropy as their loss. Whole-number pictures are divided by 255.
    * *categorical*: of a vector, the output's softmax over columns of which one is 1; of a text,
      the product over its tokens.

    Args:
        decoder: From codes to values, or a model of tokens; for noise of each value, built for
            :func:`decoded_kind`.
        family: One of the four.
        kind: Kind of the modality.
        reader: What standardised it.
        noise: Size of the noise, > 0; ``None`` to learn it, ``"values"`` to decode it.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        decoder: Decoder,
        family: str,
        kind: Kind,
        reader: Input,
        noise: float | str | None = None,
    ) -> None:
        super().__init__()
        self.decoder, self.family = decoder, family
        self.tokens = isinstance(decoder, TokenModel)
        if not (self.tokens or isinstance(decoder, SquaredErrorDecoder)):
            raise ParameterError(
                f"the decoder {type(decoder).__name__} gives neither values nor tokens, so it has "
                "no likelihood."
            )
        mean, scale = _units(reader)
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32))
        self.register_buffer("scale", torch.as_tensor(scale, dtype=torch.float32))
        self.top = top_of(reader)
        self.each = has_own_noise(family, noise)
        self.noise = None if isinstance(noise, str) else noise
        if family in DENSITIES and noise is None:
            self.log_noise = nn.Parameter(torch.zeros(()))
        self.entries = entries_of(kind, reader)

    @property
    def log_volume(self) -> float:
        """Log of the standardised volume of a unit cube of the data: what densities are short of.

        0 for families that give probabilities.
        """
        if self.family not in DENSITIES:
            return 0.0
        per_entry = float(self.scale.double().log().mean())
        return -per_entry * self.entries

    def log_prob(self, code: Tensor, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Log-likelihood of rows, in nats, of standardised values where they have a density.

        Args:
            code: Shape (b, d), or (k, b, d) for k codes of each row.
            values: Shape (b, ...).
            lengths: True lengths (b,) of texts.

        Returns:
            Shape (b,), or (k, b).
        """
        if code.ndim == 3:
            k, b = code.shape[:2]
            flat = code.flatten(0, 1)
            if self.tokens:
                many = values.repeat(k, *[1] * (values.ndim - 1))
                lengths = None if lengths is None else lengths.repeat(k)
                return self.log_prob(flat, many, lengths).reshape(k, b)
            out: Tensor = self.decoder(flat).float()
            return self._values(out.reshape(k, b, -1), values.float().flatten(1))
        if self.tokens:
            assert isinstance(self.decoder, TokenModel)
            nats, _ = self.decoder.token_loss(code, values, lengths)
            return -nats
        return self._values(self.decoder(code).float().flatten(1), values.float().flatten(1))

    def _values(self, out: Tensor, values: Tensor) -> Tensor:
        """Sum over the entries of outputs (..., b, p) and standardised values (b, p)."""
        if self.family == "bernoulli":
            chance = self._raw(values).expand_as(out)
            return -F.binary_cross_entropy_with_logits(out, chance, reduction="none").sum(-1)
        if self.family == "categorical":
            chosen = self._raw(values).argmax(-1)  # (b,)
            logs = F.log_softmax(out, -1)
            return logs.gather(-1, chosen.expand(out.shape[:-1])[..., None])[..., 0]
        if self.each:
            out, size = out.chunk(2, -1)
            size = LOUDEST_EACH * torch.tanh(size / LOUDEST_EACH)
        else:
            size = self._log_size().to(out.device)
        away = (values - out) * torch.exp(-size)
        if self.family == "laplace":
            return -(away.abs() + size + math.log(2)).sum(-1)
        return -(0.5 * away.square() + size + 0.5 * LOG_2PI).sum(-1)

    def _log_size(self) -> Tensor:
        """Log of the modality's noise; a learnt one is bent into its bounds."""
        if self.noise is not None:
            return torch.tensor(math.log(self.noise))
        return LOUDEST * torch.tanh(self.log_noise / LOUDEST)

    def _spread_out(self, stored: Tensor, n: int) -> Tensor:
        """Mean or scale of every entry, (p,) or (1,), from one per column or channel."""
        return stored.repeat_interleave(n // len(stored))

    def _raw(self, values: Tensor) -> Tensor:
        """Values (..., p) in [0, 1] up to rounding, as the data have them."""
        n = values.shape[-1]
        scale, mean = self._spread_out(self.scale, n), self._spread_out(self.mean, n)
        return torch.addcmul(mean / self.top, values, scale / self.top)

    def loss(self, code: Tensor, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Minus the log-likelihood (b,), in nats."""
        return -self.log_prob(code, values, lengths)

    @torch.no_grad()
    def generate(self, code: Tensor) -> Tensor:
        """The law's mean as standardised values (b, ...); of texts the likeliest tokens."""
        if self.tokens:
            return self.decoder.generate(code)
        out: Tensor = self.decoder(code).float()
        if self.family == "bernoulli":
            return self._standardised(torch.sigmoid(out))
        if self.family == "categorical":
            return self._standardised(F.softmax(out, -1))
        return out.chunk(2, 1)[0] if self.each else out

    def _standardised(self, raw: Tensor) -> Tensor:
        flat = raw.flatten(1) * self.top
        n = flat.shape[1]
        ready = (flat - self._spread_out(self.mean, n)) / self._spread_out(self.scale, n)
        return ready.view_as(raw)

    def token_loss(
        self, code: Tensor, tokens: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Nats (b,) and tokens (b,) of texts."""
        assert isinstance(self.decoder, TokenModel)
        return self.decoder.token_loss(code, tokens, lengths)


def _units(reader: Input) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if isinstance(reader, (VectorInput, ImageInput)):
        return reader.mean, reader.scale
    return np.zeros(1, np.float32), np.ones(1, np.float32)


def top_of(reader: Input) -> float:
    """What a value is divided by to lie in [0, 1]: 255 for pictures of bytes, else 1."""
    return 255.0 if isinstance(reader, ImageInput) and reader.integer and reader.high > 1 else 1.0


def entries_of(kind: Kind, reader: Input) -> float:
    """Numbers in a sample; of a text, tokens of a typical one, its end among them."""
    if isinstance(reader, TextInput):
        return float(reader.frequency.sum() / max(reader.frequency[END], 1.0))
    return float(math.prod(int(s or 1) for s in kind.shape))


def check_family(name: str, family: Any, kind: Kind) -> None:
    """Raise :class:`ParameterError` unless modalities of this kind can have the family."""
    if family not in FAMILIES:
        raise ParameterError(f"likelihoods__{name}: expected one of {FAMILIES}; got {family!r}.")
    if (kind.form == "text") != (family == "categorical") and kind.form != "vector":
        fits = "'categorical'" if kind.form == "text" else "'gaussian', 'laplace', 'bernoulli'"
        raise ParameterError(
            f"likelihoods__{name}: a modality of kind {kind} can be {fits}; got {family!r}."
        )


def check_values(X: Modalities, name: str, family: str, reader: Input, where: str) -> None:
    """Raise :class:`DataError` at the first row that the family cannot have.

    Args:
        X: Modalities with ``name`` among them.
        name: Modality.
        family: Its likelihood.
        reader: Its reader.
        where: What the rows are, for the message.
    """
    if family not in ("bernoulli", "categorical") or X.kind(name).form == "text":
        return
    data, present, top = X[name], X.present[name], top_of(reader)
    for part in row_chunks(len(X)):
        block = data[part]
        block = np.asarray(block.toarray() if is_sparse(block) else block, dtype=np.float64)
        block = block.reshape(len(block), -1)
        slack = ROUNDING * top
        bad = ((block < -slack) | (block > top + slack)) & present[part, None]
        if family == "categorical":
            one = (np.isin(block, (0, 1))).all(1) & (block.sum(1) == 1)
            bad = bad | (~one & present[part])[:, None]
        if bad.any():
            row, column = (int(i) for i in np.argwhere(bad)[0])
            if family == "bernoulli":
                wanted = f"values from 0 to {top:g}"
                got = f"{block[row, column]:.7g} at row {part.start + row}, value {column}"
            else:
                wanted = "a single 1 per row and zeros beside it"
                first = ", ".join(f"{v:g}" for v in block[row, :5])
                more = ", ..." if block.shape[1] > 5 else ""
                got = f"({first}{more}) at row {part.start + row}"
            others = tuple(f for f in FAMILIES if f != family)
            raise DataError(
                f"{where}, modality {name!r}: a {family} likelihood expects {wanted}; got {got}. "
                f"Scale the data, or choose one of {others} in likelihoods."
            )
