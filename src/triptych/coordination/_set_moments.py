"""Bases of modalities from moments alone, apart for rows that have other modalities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from triptych.bases import by_eigenvalues
from triptych.coordination._reading import Reading
from triptych.coordination._sides import Columns, Side, Sides
from triptych.errors import DataError
from triptych.modalities import Modalities
from triptych.moments import Moments
from triptych.values import register

Array = NDArray[np.float64]


@register
@dataclass(frozen=True)
class SetMoments:
    """Moments of rows by which modalities they have, mergeable.

    Args:
        names: All modalities, in the order of the alphabet.
        parts: By the modalities that rows have, 1 or 0 for each name as in ``"101"``.
    """

    names: tuple[str, ...]
    parts: Mapping[str, Moments]

    @classmethod
    def of(cls, X: Modalities, *, whole: bool) -> SetMoments:
        """Moments of a batch.

        Args:
            X: Rows.
            whole: Whether only rows that have every modality count.
        """
        names = tuple(sorted(X.names))
        masks = np.stack([X.present[m] for m in names], axis=1)  # (n, m)
        kinds, which = np.unique(masks, axis=0, return_inverse=True)
        parts = {}
        for i, kind in enumerate(kinds):
            if not (kind.all() if whole else kind.any()):
                continue
            own = [m for m, there in zip(names, kind, strict=True) if there]
            rows = X.select(*own)[np.flatnonzero(which.reshape(-1) == i)]
            key = "".join("01"[int(there)] for there in kind)
            parts[key] = Reading(rows, least=1).gather()
        return cls(names, parts)

    @property
    def n(self) -> int:
        """Rows."""
        return sum(part.n for part in self.parts.values())

    def merged(self, other: SetMoments) -> SetMoments:
        """Moments of the rows of both."""
        parts = dict(self.parts)
        for key, part in other.parts.items():
            parts[key] = parts[key].merged(part) if key in parts else part
        return SetMoments(self.names, parts)

    def only(self, *names: str) -> Moments | None:
        """Moments of some modalities over the rows that have them all; ``None`` for no row."""
        found = [_only(part, names) for part in self.parts.values() if set(names) <= {*part.names}]
        return reduce(Moments.merged, found) if found else None

    def shared(self) -> dict[tuple[str, str], int]:
        """Rows that have both of each two modalities."""
        return {
            pair: sum(part.n for part in self.parts.values() if set(pair) <= {*part.names})
            for pair in combinations(self.names, 2)
        }

    def sides(self) -> tuple[Sides, dict[str, float]]:
        """All that methods need of the rows, and by modality the error of the correlations."""
        sides, errors = {}, {}
        own = {m: self.only(m) for m in self.names}
        for m in self.names:
            pooled = own[m]
            if pooled is None or pooled.n < 2:
                count = 0 if pooled is None else pooled.n
                raise DataError(f"modality {m!r}: expected 2 rows that have it, got {count}.")
            sides[m], errors[m] = _side(m, pooled)
        means = {m: side.columns.means for m, side in sides.items()}
        turns = {
            m: side.Vt.T / side.s / side.columns.spreads[:, None] for m, side in sides.items()
        }
        products = {
            (a, b): np.zeros((len(sides[a].s), len(sides[b].s)))
            for i, a in enumerate(self.names)
            for b in self.names[i:]
        }
        for part in self.parts.values():
            for i, a in enumerate(part.names):
                for j, b in enumerate(part.names[i:], start=i):
                    left = turns[a] * part.units[i][:, None]
                    inner = left.T @ part.scatter(i, j) @ (turns[b] * part.units[j][:, None])
                    # Rows of a pattern have means of their own.
                    apart = [(part.means[k] - means[m]) @ turns[m] for k, m in ((i, a), (j, b))]
                    inner += part.n * np.outer(*apart)
                    products[a, b] += inner / len(part.names)
        weight = sum(part.n * len(part.names) for part in self.parts.values())
        return Sides(sides, products, weight), errors

    def pair_correlations(self, weights: Mapping[str, Array]) -> Array:
        """Correlation of codes ``columns @ weights`` by pair and component, (pairs, d)."""
        found = []
        for pair in combinations(self.names, 2):
            part = self.only(*pair)
            if part is None or part.n < 2:
                continue
            W = [weights[m] * part.units[k][:, None] for k, m in enumerate(part.names)]
            aa, bb, ab = (
                np.einsum("pd,pd->d", W[i], part.scatter(i, j) @ W[j])
                for i, j in ((0, 0), (1, 1), (0, 1))
            )
            size = np.sqrt(np.maximum(aa, 0) * np.maximum(bb, 0))
            found.append(np.clip(ab / np.where(size > 0, size, np.inf), -1.0, 1.0))
        if not found:
            raise DataError("correlations need 2 rows that have the same two modalities.")
        return np.array(found)


def _only(moments: Moments, names: tuple[str, ...]) -> Moments:
    at = [moments.names.index(m) for m in names]
    return replace(
        moments,
        names=names,
        means=tuple(moments.means[i] for i in at),
        units=tuple(moments.units[i] for i in at),
        scatters=tuple(moments.scatter(i, j) for k, i in enumerate(at) for j in at[k:]),
        lost=tuple(moments.lost[i] for i in at),
        sizes=tuple(moments.sizes[i] for i in at),
    )


def _side(name: str, pooled: Moments) -> tuple[Side, float]:
    given = pooled.columns(0)
    if given.constant.all():
        raise DataError(f"modality {name!r}: every column is constant, so nothing correlates.")
    kept = ~given.constant
    s, Vt, error = by_eigenvalues(pooled.correlation(0, 0), pooled.error(0), given.noise[kept])
    full = np.zeros((len(s), len(kept)))
    full[:, kept] = Vt
    columns = Columns(given.means, given.spreads, given.constant, given.noise, pooled.n)
    return Side(columns, s * np.sqrt(pooled.n - 1), full), error
