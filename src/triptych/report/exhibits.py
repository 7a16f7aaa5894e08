"""What a method can show beside its numbers, as frozen values.

Every part may be absent: a linear method has no loss curves, a fusion method no retrieval.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Item:
    """One thing to look at: a picture (base64 PNG), a text, or a vector's values."""

    kind: str
    text: str = ""
    png: str = ""
    width: int = 0
    height: int = 0
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Curve:
    """One named term of the loss per epoch; NaN where it is not known."""

    term: str
    train: tuple[float, ...]
    valid: tuple[float, ...]


@dataclass(frozen=True)
class Found:
    """One of the things found for a query."""

    item: Item
    correct: bool
    similarity: float | None


@dataclass(frozen=True)
class Query:
    """A query, its true partner, what was found, and at which rank the partner lies."""

    item: Item
    truth: Item
    found: tuple[Found, ...]
    rank: int | None


@dataclass(frozen=True)
class Retrieval:
    """Queries of one modality answered from another."""

    query_modality: str
    target_modality: str
    queries: tuple[Query, ...]


@dataclass(frozen=True)
class Rebuilt:
    """What was given, what was hidden, and what the method made of it."""

    given: tuple[Item, ...]
    truth: Item
    rebuilt: Item


@dataclass(frozen=True)
class Reconstruction:
    """Examples of one absent modality rebuilt from the given ones."""

    absent: str
    given: tuple[str, ...]
    examples: tuple[Rebuilt, ...]


@dataclass(frozen=True)
class CodeMap:
    """Codes laid out in the plane, with one label each."""

    xy: tuple[tuple[float, float], ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Null:
    """What the first canonical correlations would be by chance, by permuting rows.

    Args:
        level: Quantile of ``by_chance``, in (0, 1).
        by_chance: That quantile of each component's null.
        correlations: Of the rows that were permuted.
        p_values: By component, family-wise.
        permutations: How many.
        rows: Rows permuted.
        all_rows: Whether these are all the rows fitted.
    """

    level: float
    by_chance: tuple[float, ...]
    correlations: tuple[float, ...]
    p_values: tuple[float, ...]
    permutations: int
    rows: int
    all_rows: bool

    def beyond(self) -> int:
        """How many components come before the first that chance may explain at this level."""
        over = [p > 1 - self.level + 1e-12 for p in self.p_values]
        return over.index(True) if True in over else len(over)


@dataclass(frozen=True)
class Keeps:
    """How much of a modality or of the label one part of a code keeps, in nats."""

    part: str
    of: str
    nats: float
    entropy: float
    chance: float

    @property
    def share(self) -> float:
        """Of all there is to tell about it."""
        return self.nats / self.entropy

    @property
    def clear(self) -> bool:
        """Whether it is more than twice what chance alone gives."""
        return self.nats > 2 * self.chance


@dataclass(frozen=True)
class Naming:
    """Rows of a modality named by the class whose words lie nearest; ``confusion`` is (k, k)."""

    label: str
    modality: str
    text: str
    templates: tuple[str, ...]
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    accuracy: float
    top: tuple[tuple[int, float], ...]

    @property
    def rows(self) -> int:
        """How many rows were named."""
        return sum(map(sum, self.confusion))


@dataclass(frozen=True)
class Gate:
    """Gates of a modality over the training rows: means and spreads (d,), share nearly 0 or 1."""

    modality: str
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    saturated: float
    elementwise: bool


@dataclass(frozen=True)
class Traversal:
    """A modality decoded from a code whose dimensions move by ``steps`` deviations, line by line.

    Args:
        modality: Its name.
        steps: Standard deviations, (s,).
        lines: Number of the dimension, and s items.
    """

    modality: str
    steps: tuple[float, ...]
    lines: tuple[tuple[int, tuple[Item, ...]], ...]


@dataclass(frozen=True)
class Fading:
    """Quality of predictions against what was done to the rows: ``"absence"`` or ``"noise"``.

    Args:
        cause: One of the two.
        measure: ``"accuracy"`` or ``"R²"``.
        at: Share taken away, or spread of the noise; rising.
        value: The measure there.
        area: Mean height of the curve.
    """

    cause: str
    measure: str
    at: tuple[float, ...]
    value: tuple[float, ...]
    area: float


@dataclass(frozen=True)
class Noise:
    """Quality by noise on one modality or two; ``levels`` in dB, ``None`` where there is none."""

    modalities: tuple[str, ...]
    levels: tuple[float | None, ...]
    value: tuple[tuple[float, ...], ...]
    measure: str
    rows: int


@dataclass(frozen=True)
class Swaps:
    """A modality decoded from the shared part of row i and the private part of column j.

    Args:
        modality: Its name.
        shared: Samples of the rows, (r,).
        private: Samples of the columns, (c,).
        cells: What was decoded, (r, c).
    """

    modality: str
    shared: tuple[Item, ...]
    private: tuple[Item, ...]
    cells: tuple[tuple[Item, ...], ...]


@dataclass(frozen=True)
class Exhibits:
    """All that one method has to show; empty parts are not drawn."""

    curves: tuple[Curve, ...] = ()
    correlations: tuple[float, ...] = ()
    null: Null | None = None
    retrieval: tuple[Retrieval, ...] = ()
    reconstructions: tuple[Reconstruction, ...] = ()
    traversals: tuple[Traversal, ...] = ()
    code_map: CodeMap | None = None
    missing: tuple[tuple[float, float], ...] = ()
    noisy: tuple[tuple[float, float], ...] = ()
    swaps: tuple[Swaps, ...] = ()
    kept: tuple[Keeps, ...] = ()
    naming: tuple[Naming, ...] = ()
    gates: tuple[Gate, ...] = ()
    fading: tuple[Fading, ...] = ()
    noise: Noise | None = None
    assignments: tuple[tuple[tuple[str, Item], ...], ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anything to show."""
        return any(vars(self).values())
