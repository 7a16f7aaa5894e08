"""Encoders: modules that turn a batch of one modality, (b, ...), into codes (b, n_out).

No encoder looks across rows: a row's code does not depend on what stands beside it in the batch,
nor on how far the batch is padded. That is why norms here are by row or by step, never by batch.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.nn.inputs import UNKNOWN


def steps_mask(lengths: Tensor | None, values: Tensor) -> Tensor:
    """Boolean (b, t): which steps of ``values`` (b, t, ...) are not padding."""
    b, t = values.shape[:2]
    if lengths is None:
        return torch.ones(b, t, dtype=torch.bool, device=values.device)
    return torch.arange(t, device=values.device) < lengths.to(values.device)[:, None]


def masked_mean(steps: Tensor, mask: Tensor) -> Tensor:
    """Mean (b, d) over the steps of (b, t, d) that ``mask`` (b, t) keeps; zero where none is."""
    kept = torch.where(mask[..., None], steps, 0.0)
    return kept.sum(1) / mask.sum(1, keepdim=True).clamp_min(1)


def group_norm(channels: int) -> nn.GroupNorm:
    """Up to 8 groups of at least 4 channels: a group of one value would always become zero."""
    most = max(1, min(8, channels // 4))
    return nn.GroupNorm(max(g for g in range(1, most + 1) if channels % g == 0), channels)


class VectorEncoder(nn.Module):
    """Hidden layers with layer norm, then a linear map; samples are flattened."""

    def __init__(self, n_in: int, n_out: int, *, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(depth):
            layers += [nn.Linear(width if i else n_in, width), nn.LayerNorm(width), nn.GELU()]
            layers += [nn.Dropout(dropout)] if dropout else []
        layers.append(nn.Linear(width if depth else n_in, n_out))
        self.layers = nn.Sequential(*layers)

    def forward(self, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Codes (b, n_out) of ``values`` (b, ...)."""
        codes: Tensor = self.layers(values.flatten(1))
        return codes


class ImageEncoder(nn.Module):
    """Strided convolutions, the width doubling, down to a small map; then a linear map."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        n_out: int,
        *,
        width: int,
        dropout: float,
        shift: int,
        scale: float,
    ) -> None:
        super().__init__()
        self.shift, self.scale = shift, scale
        channels, height, breadth = shape
        blocks: list[nn.Module] = []
        while len(blocks) < 2 or (max(height, breadth) > 4 and len(blocks) < 5):
            # A small picture keeps its pixels through the first block.
            stride = 2 if blocks or max(height, breadth) > 16 else 1
            out, kernel = width * 2 ** len(blocks), 3 if blocks else 5
            blocks.append(
                nn.Sequential(
                    nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2),
                    group_norm(out),
                    nn.GELU(),
                )
            )
            channels = out
            height, breadth = math.ceil(height / stride), math.ceil(breadth / stride)
        self.blocks = nn.Sequential(*blocks)
        self.flat = height * breadth <= 16
        n_in = channels * height * breadth if self.flat else 2 * channels
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(n_in, n_out))

    def forward(self, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Codes (b, n_out) of ``values`` (b, c, h, w)."""
        if self.training and (self.shift or self.scale):
            values = moved(values, self.shift, self.scale)
        maps = self.blocks(values)
        if self.flat:
            summary = maps.flatten(1)
        else:
            # Mean and maximum: how much there is of a pattern, and whether it is anywhere.
            summary = torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1)
        codes: Tensor = self.head(summary)
        return codes


def moved(images: Tensor, shift: int, scale: float) -> Tensor:
    """Each picture moved by up to ``shift`` pixels and resized by up to 1 + ``scale``, at random.

    Args:
        images: Shape (b, c, h, w).
        shift: Largest move along either side, in pixels.
        scale: Largest change of size, as a share; up and down alike.

    Returns:
        Shape (b, c, h, w); pixels from outside repeat the border. Draws from torch's global
        generator.
    """
    b, _, h, w = images.shape
    draw = 2 * torch.rand(b, 3, device=images.device) - 1
    size = torch.exp(draw[:, 0] * math.log1p(scale))
    theta = torch.zeros(b, 2, 3, device=images.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / size
    # The grid runs from -1 to 1, so a pixel is 2 / w wide.
    theta[:, 0, 2], theta[:, 1, 2] = draw[:, 1] * 2 * shift / w, draw[:, 2] * 2 * shift / h
    grid = F.affine_grid(theta, list(images.shape), align_corners=False).to(images.dtype)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


class SequenceEncoder(nn.Module):
    """GRU forward in time, mean of its states over true steps; waveforms are thinned before."""

    def __init__(
        self, n_in: int, n_out: int, *, width: int, depth: int, dropout: float, wave: bool
    ) -> None:
        super().__init__()
        thin = (max(width // 4, 4), max(width // 2, 4), width) if wave else ()
        self.thin = (
            nn.ModuleList(
                nn.Conv1d(a, b, 9, stride=4, padding=4)
                for a, b in zip((n_in, *thin[:-1]), thin, strict=True)
            )
            if wave
            else nn.ModuleList()
        )
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in thin)
        self.recurrent = nn.GRU(
            width if wave else n_in,
            width,
            num_layers=depth,
            batch_first=True,
            dropout=dropout if depth > 1 else 0.0,
        )
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * width, n_out))

    def forward(self, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Codes (b, n_out) of ``values`` (b, t, p); what stands beyond ``lengths`` is not read."""
        mask = steps_mask(lengths, values)
        steps = torch.where(mask[..., None], values, 0.0)
        for convolution, norm in zip(self.thin, self.norms, strict=True):
            steps = F.gelu(norm(convolution(steps.transpose(1, 2)).transpose(1, 2)))
            mask = mask[:, ::4]  # a window is kept if its centre is
            # Zeroed again: the next window must not see what padding has become.
            steps = torch.where(mask[..., None], steps, 0.0)
        # Forward only, so that states at true steps cannot have seen padding.
        states, _ = self.recurrent(steps)  # (b, t, width)
        last = (mask.sum(1) - 1).clamp_min(0)
        final = states[torch.arange(len(states), device=states.device), last]
        final = torch.where(mask[:, :1], final, 0.0)
        codes: Tensor = self.head(torch.cat([masked_mean(states, mask), final], 1))
        return codes


class TokenEncoder(nn.Module):
    """Transformer with learnt positions; mean and maximum over true tokens."""

    def __init__(
        self,
        vocabulary: int,
        n_out: int,
        *,
        max_length: int,
        width: int,
        depth: int,
        dropout: float,
        token_dropout: float,
    ) -> None:
        super().__init__()
        self.token_dropout, self.max_length = token_dropout, max_length
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.randn(max_length, width) * 0.1)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(AttentionBlock(width, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(2 * width, n_out)

    def forward(self, values: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Codes (b, n_out) of token ids (b, t)."""
        steps, mask = self.states(values, lengths)
        largest = steps.masked_fill(~mask[..., None], -torch.inf).amax(1)
        codes: Tensor = self.head(torch.cat([masked_mean(steps, mask), largest], 1))
        return codes

    def states(self, values: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
        """What each token has become, (b, t, width), and which are no padding, (b, t)."""
        values = values[:, : self.max_length]
        # A row without tokens reads its first padding: a softmax over nothing is not a number.
        mask = steps_mask(None if lengths is None else lengths.clamp_min(1), values)
        if self.training and self.token_dropout:
            dropped = torch.rand(values.shape, device=values.device) < self.token_dropout
            values = torch.where(dropped & mask, UNKNOWN, values)
        steps = self.dropout(self.tokens(values) + self.positions[: values.shape[1]])
        for block in self.blocks:
            steps = block(steps, mask)
        return self.norm(steps), mask


class AttentionBlock(nn.Module):
    """Self-attention and two dense layers, each added to what comes in (norm first)."""

    def __init__(self, width: int, dropout: float, *, heads: int = 4) -> None:
        super().__init__()
        self.heads, self.rate = math.gcd(width, heads), dropout
        self.norm_a, self.norm_b = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.dense = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, steps: Tensor, mask: Tensor) -> Tensor:
        """Steps (b, t, width); those outside ``mask`` (b, t) are not attended to."""
        b, t, width = steps.shape
        qkv = self.qkv(self.norm_a(steps)).reshape(b, t, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (b, heads, t, width / heads)
        seen = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask[:, None, None, :],
            dropout_p=self.rate if self.training else 0.0,
        )
        steps = steps + self.dropout(self.out(seen.transpose(1, 2).reshape(b, t, width)))
        added: Tensor = steps + self.dropout(self.dense(self.norm_b(steps)))
        return added
