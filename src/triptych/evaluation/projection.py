"""Standardised features and their principal components, for the baselines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from triptych.arrays import is_sparse, row_chunks
from triptych.evaluation.probes import NEAR_ZERO, subset
from triptych.features import Features
from triptych.modalities import Modalities
from triptych.values import register

MAX_ROWS = 10_000
CHUNK = 4096
# Spread of a component beside the first one's below which it is rounding: columns that follow from
# others leave such ones, and what reads them standardised would make noise of them.
NO_COMPONENT = 1e-6


@register
@dataclass(frozen=True)
class Block:
    """One modality as standardised features.

    Columns of vectors, sequences and waveforms have units of their own, so each is scaled to
    unit spread; pixels and words share one unit, so the block is scaled as a whole, else the
    rarest words would outweigh the rest. Either way the block's total variance becomes 1, so no
    modality dominates by having more columns.

    Args:
        features: How the modality becomes vectors.
        mean: Shape (p,).
        scale: Shape (p,).
    """

    features: Features
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def learn(cls, features: Features, X: Modalities, seed: int) -> Block:
        """From the rows that have the modality, at most 10,000 of them."""
        rows = np.flatnonzero(X.present[features.name])
        rows = rows[subset(rows, True, MAX_ROWS, seed)]
        total, squares = np.zeros(features.n_features), np.zeros(features.n_features)
        for part in row_chunks(len(rows), CHUNK):
            values = _dense(features, X[rows[part]])
            total += values.sum(axis=0)
        mean = total / len(rows)
        for part in row_chunks(len(rows), CHUNK):
            squares += ((_dense(features, X[rows[part]]) - mean) ** 2).sum(axis=0)
        spread = np.sqrt(squares / len(rows))
        spread[spread <= NEAR_ZERO * np.abs(mean)] = 0.0
        alive = spread > 0
        if features.form in ("image", "text"):
            scale = np.full(len(mean), np.sqrt((spread**2).sum()))
        else:
            scale = spread * np.sqrt(max(alive.sum(), 1))
        return cls(features, mean, np.where(alive, scale, np.inf))

    def transform(self, X: Modalities) -> NDArray[np.float64]:
        """Features (n, p); a row that lacks the modality is the mean, which is 0 here."""
        name = self.features.name
        if name not in X:
            return np.zeros((len(X), len(self.mean)))
        out = (_dense(self.features, X) - self.mean) / self.scale
        out[~X.present[name]] = 0
        return np.asarray(out)


def _dense(features: Features, X: Modalities) -> NDArray[np.float64]:
    values = features.transform(X[features.name], X.present[features.name])
    return np.asarray(values.toarray() if is_sparse(values) else values, dtype=np.float64)


@register
@dataclass(frozen=True)
class Projection:
    """Principal components of blocks put side by side.

    Args:
        blocks: One for each modality.
        mean: Shape (sum of p,).
        components: Shape (d, sum of p).
        explained: Share of the variance that the components explain, learnt rows only.
    """

    blocks: tuple[Block, ...]
    mean: NDArray[np.float64]
    components: NDArray[np.float64]
    explained: float

    @classmethod
    def learn(cls, blocks: tuple[Block, ...], X: Modalities, d: int, seed: int) -> Projection:
        """From at most 10,000 rows; fewer than d components if rows or columns are fewer.

        Directions in which the rows do not differ but by rounding are no components.
        """
        from sklearn.decomposition import PCA

        rows = subset(np.arange(len(X)), True, MAX_ROWS, seed)
        table = np.concatenate([block.transform(X[rows]) for block in blocks], axis=1)
        d = min(d, *table.shape)
        if not (table != table[0]).any():
            return cls(blocks, table[0], np.eye(d, table.shape[1]), 0.0)
        pca = PCA(d, random_state=seed).fit(table)
        real = pca.singular_values_ > NO_COMPONENT * pca.singular_values_[0]
        explained = float(pca.explained_variance_ratio_[real].sum())
        return cls(blocks, pca.mean_, pca.components_[real], explained)

    def transform(self, X: Modalities) -> NDArray[np.float64]:
        """Codes (n, d)."""
        out = np.empty((len(X), len(self.components)))
        for part in row_chunks(len(X), CHUNK):
            some = X[part]
            table = np.concatenate([block.transform(some) for block in self.blocks], axis=1)
            out[part] = (table - self.mean) @ self.components.T
        return out

    def explains(self, X: Modalities) -> float:
        """Share of the variance of these rows' standardised features that is explained."""
        total = kept = 0.0
        for part in row_chunks(len(X), CHUNK):
            some = X[part]
            table = np.concatenate([block.transform(some) for block in self.blocks], axis=1)
            table -= self.mean
            total += float((table**2).sum())
            kept += float(((table @ self.components.T) ** 2).sum())
        return kept / total if total > 0 else 0.0
