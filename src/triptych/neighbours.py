"""Nearest neighbours by cosine, in tiles: the full matrix of similarities is never held."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TILE = 1024


def unit_rows(Z: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows (n, d) scaled to length one; a zero row stays zero."""
    Z = np.asarray(Z, dtype=np.float64)
    norms = np.linalg.norm(Z, axis=1, keepdims=True)
    return Z / np.where(norms > 0, norms, 1.0)


def nearest(
    query: NDArray[np.floating], among: NDArray[np.floating], k: int
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """The k rows of ``among`` of largest cosine with each query; ties go to the earlier row.

    Args:
        query: Shape (q, d).
        among: Shape (n, d), n >= k.
        k: How many.

    Returns:
        Indices and cosines, each (q, k), best first.
    """
    q, z = unit_rows(query), unit_rows(among)
    indices = np.empty((len(q), k), dtype=np.intp)
    cosines = np.empty((len(q), k))
    for start in range(0, len(q), TILE):
        part = slice(start, start + TILE)
        scores = q[part] @ z.T  # (tile, n)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        indices[part] = order
        cosines[part] = np.take_along_axis(scores, order, axis=1)
    return indices, cosines
