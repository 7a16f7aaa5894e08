"""Decoders: modules that say how far a batch of one modality is from what a code predicts.

All have ``loss(code, values, lengths) -> (b,)``, a mean per row (over columns, pixels or tokens),
so that modalities of different sizes weigh alike; and ``generate(code)``, values as encoders
read them.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.nn.encoders import VectorEncoder, group_norm
from triptych.nn.inputs import END, PAD, START


class Decoder(nn.Module):
    """What every decoder answers."""

    def loss(self, code: Tensor, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Loss (b,) of ``values`` (b, ...) given ``code`` (b, d)."""
        raise NotImplementedError

    def generate(self, code: Tensor) -> Tensor:
        """What the code predicts, (b, ...)."""
        raise NotImplementedError


class SquaredErrorDecoder(Decoder):
    """A network from codes to values, compared by the mean squared error of each row."""

    def forward(self, code: Tensor) -> Tensor:
        """Values (b, ...) of ``code`` (b, d)."""
        raise NotImplementedError

    def loss(self, code: Tensor, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Mean squared error (b,) of standardised values; 1 when the mean is all that is known."""
        error = self(code).float() - values.float()
        mean: Tensor = error.square().flatten(1).mean(1)
        return mean

    def generate(self, code: Tensor) -> Tensor:
        """Standardised values (b, ...)."""
        values: Tensor = self(code)
        return values


class VectorValues(SquaredErrorDecoder):
    """Hidden layers, then one output a column or pixel."""

    def __init__(
        self, n_in: int, shape: tuple[int, ...], *, width: int, depth: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.shape = shape
        self.layers = VectorEncoder(
            n_in, math.prod(shape), width=width, depth=depth, dropout=dropout
        )

    def forward(self, code: Tensor) -> Tensor:
        """Values (b, p) or (b, c, h, w)."""
        values: Tensor = self.layers(code)
        return values.reshape(len(code), *self.shape)


class ImageValues(SquaredErrorDecoder):
    """A small map from the code, doubled until it covers the picture."""

    def __init__(self, n_in: int, shape: tuple[int, int, int], *, width: int) -> None:
        super().__init__()
        channels, height, breadth = shape
        sizes = [(height, breadth)]
        while max(sizes[0]) > 4 and len(sizes) < 6:
            h, w = sizes[0]
            sizes.insert(0, (math.ceil(h / 2), math.ceil(w / 2)))
        self.sizes = sizes
        # The last step leads from half the size to the values, so it needs no width of its own.
        levels = max(1, len(sizes) - 1)
        widths = [width * 2 ** min(level, 2) for level in reversed(range(levels))]
        self.first = (widths[0], *sizes[0])
        self.start = nn.Sequential(
            nn.Linear(n_in, math.prod(self.first)), nn.LayerNorm(math.prod(self.first)), nn.GELU()
        )
        self.doubling = nn.ModuleList(doubling(a, b) for a, b in pairwise(widths))
        self.norms = nn.ModuleList(group_norm(b) for b in widths[1:])
        self.last = (
            doubling(widths[-1], channels)
            if len(sizes) > 1
            else nn.Conv2d(widths[-1], channels, 3, padding=1)
        )

    def forward(self, code: Tensor) -> Tensor:
        """Values (b, c, h, w)."""
        maps = self.start(code).unflatten(1, self.first)
        for step, norm, size in zip(self.doubling, self.norms, self.sizes[1:-1], strict=True):
            maps = F.gelu(norm(step(maps)[:, :, : size[0], : size[1]]))
        values: Tensor = self.last(maps)
        return values[:, :, : self.sizes[-1][0], : self.sizes[-1][1]]


def doubling(n_in: int, n_out: int) -> nn.Module:
    """From maps (b, n_in, h, w) to maps (b, n_out, 2h, 2w).

    With windows of 4 at steps of 2 every pixel is reached by as many weights as its neighbours,
    so no chequered pattern arises; and half the products of other ways to double are enough.
    """
    return nn.ConvTranspose2d(n_in, n_out, 4, stride=2, padding=1)


class TokenModel(Decoder):
    """Language model given a code: GRU that reads the code at its start and at every step.

    Args:
        n_in: Width d of the code.
        vocabulary: Number of tokens.
        max_length: Longest text that is generated, in tokens.
        width: Width of embeddings and state.
        frequency: Counts of tokens (vocabulary,), from which the output starts; else uniform.
    """

    def __init__(
        self,
        n_in: int,
        *,
        vocabulary: int,
        max_length: int,
        width: int,
        frequency: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.max_length = max_length
        self.tokens = nn.Embedding(vocabulary, width)
        self.start = nn.Linear(n_in, width)
        self.beside = nn.Linear(n_in, width)
        self.cell = nn.GRU(2 * width, width, batch_first=True)
        self.out = nn.Linear(width, vocabulary)
        if frequency is not None and len(frequency) == vocabulary:
            share = (frequency + 0.5) / (frequency + 0.5).sum()
            with torch.no_grad():
                self.out.bias.copy_(share.log())

    def _states(self, code: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return self._continue(code, tokens, torch.tanh(self.start(code))[None])

    def _continue(self, code: Tensor, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """States (b, t, width) after each of ``tokens`` (b, t), and the last one."""
        beside = self.beside(code)[:, None].expand(-1, tokens.shape[1], -1)
        steps, last = self.cell(torch.cat([self.tokens(tokens), beside], 2), state.contiguous())
        return steps, last

    def token_loss(
        self, code: Tensor, tokens: Tensor, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Negative log-likelihood of texts, the end of each counted as a token.

        Args:
            code: Shape (b, d).
            tokens: Token ids (b, t), without start and end.
            lengths: True lengths (b,); by default t.

        Returns:
            Sum in nats (b,), float32, and number of tokens (b,), which is length + 1.
        """
        b, t = tokens.shape
        if lengths is None:
            lengths = torch.full((b,), t, device=tokens.device)
        given = torch.cat([tokens.new_full((b, 1), START), tokens], 1)  # (b, t + 1)
        at = torch.arange(t + 1, device=tokens.device)
        wanted = torch.cat([tokens, tokens.new_full((b, 1), PAD)], 1)
        wanted = torch.where(at == lengths[:, None], END, wanted)
        mask = at <= lengths[:, None]
        states, _ = self._states(code, given)
        # Scores only where a token is wanted: most of a batch of names is padding.
        nats = F.cross_entropy(self.out(states[mask]).float(), wanted[mask], reduction="none")
        table = torch.zeros(b, t + 1, device=tokens.device).to(nats.dtype)
        return table.masked_scatter(mask, nats).sum(1), lengths + 1

    def loss(self, code: Tensor, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Nats per token (b,) of token ids (b, t)."""
        nats, n_tokens = self.token_loss(code, values, lengths)
        return nats / n_tokens

    @torch.no_grad()
    def generate(self, code: Tensor) -> Tensor:
        """The likeliest next token, again and again: ids (b, t), t <= max_length.

        A text stops at its end token; what follows is padding.
        """
        token = torch.full((len(code), 1), START, device=code.device)
        ended = torch.zeros(len(code), dtype=torch.bool, device=code.device)
        state = torch.tanh(self.start(code))[None]
        found = []
        for _ in range(self.max_length):
            steps, state = self._continue(code, token, state)
            scores = self.out(steps[:, -1])
            scores[:, [PAD, START]] = -torch.inf
            best = torch.where(ended, PAD, scores.argmax(1))
            found.append(best)
            ended = ended | (best == END)
            if bool(ended.all()):
                break
            token = best[:, None]
        return torch.stack(found, 1)
