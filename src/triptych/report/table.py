"""The table of a comparison as frozen values, and when one value beats another.

A value is marked only where the data allow it. ``best`` is the best mean of a column among the
methods; ``tied`` are methods whose range overlaps with the best one's; ``unbeaten`` is a baseline
that no method clearly beats, which is the mark a reader should look for first. A range is one
standard deviation over seeds and, of a share of test rows, one standard error of so many rows: a
lead of a row or two is luck, however steady it is over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from triptych.report.exhibits import Exhibits

GROUPS = {
    "probe": "Reading labels from the codes",
    "prediction": "Predicting labels",
    "retrieval": "Finding the partner",
    "zero-shot": "Naming classes by words alone",
    "reconstruction": "Rebuilding what is absent",
    "leakage": "Leakage between parts",
    "missing": "When modalities are missing",
    "noise": "Under noise",
    "cost": "Cost",
}
ALIASES = {"probes": "probe", "missing modalities": "missing", "resources": "cost"}
MOST_COLUMNS = 14
SHARES = ("accuracy", "share of queries")
CURVES = ("missing", "noise")
UNJUDGED = ("cost", "leakage")
"""Groups in which a baseline is no yardstick: doing nothing is cheap and leaks nothing."""


@dataclass(frozen=True)
class Column:
    """One measure. ``better`` is ``"higher"``, ``"lower"`` or None (neither)."""

    key: str
    title: str
    unit: str
    better: str | None
    group: str
    help: str


@dataclass(frozen=True)
class Cell:
    """One value, or why there is none (``note`` counts the reasons of the table from 1).

    ``error`` is the standard error that comes from the number of test rows; 0 where not known.
    """

    text: str
    spread: str = ""
    mean: float | None = None
    std: float | None = None
    n: int = 0
    why: str = ""
    note: int = 0
    mark: str = ""
    error: float = 0.0


@dataclass(frozen=True)
class Choice:
    """The modality that a baseline took, and by what."""

    modality: str
    by: str


@dataclass(frozen=True)
class Row:
    """One method or baseline; ``cells`` stand in the order of the summary's columns.

    ``failed`` rows have no values; of these, ``unsuited`` ones do not take such data and were not
    tried. ``warnings`` were given on the way; ``parts`` are what a fission code consists of;
    ``choice`` is what a baseline read alone.
    """

    name: str
    panel: str
    failed: bool
    why: str
    params: tuple[tuple[str, str], ...]
    cells: tuple[Cell, ...]
    exhibits: Exhibits
    anchor: str
    unsuited: bool = False
    warnings: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    choice: Choice | None = None

    @property
    def verdict(self) -> str:
        """Why there are no values, in two words; ``""`` where there are."""
        return "not tried" if self.unsuited else "failed" if self.failed else ""

    @property
    def baseline(self) -> bool:
        """Whether this row is a yardstick rather than a method."""
        return self.panel == "baseline"


@dataclass(frozen=True)
class Group:
    """Neighbouring columns that answer one question; ``start`` is the first one's index."""

    key: str
    title: str
    start: int
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Finding:
    """The plain-language reading of one group of columns."""

    group: str
    title: str
    measure: str
    winner: str
    value: str
    text: str


@dataclass(frozen=True)
class Summary:
    """Everything that the report says, as values."""

    title: str
    created: str
    data_name: str
    lead: str
    caution: str
    findings: tuple[Finding, ...]
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    facts: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    seeds: int
    label: str = ""
    modalities: tuple[str, ...] = field(default=())

    @property
    def key_columns(self) -> tuple[int, ...]:
        """Columns for one look: all when they are few, else two of each group that is judged.

        Of curves and of cost it is one.
        """
        if len(self.columns) <= MOST_COLUMNS:
            return tuple(range(len(self.columns)))
        chosen: list[int] = []
        for group in self.groups:
            own = range(group.start, group.start + len(group.columns))
            known = [at for at in own if any(row.cells[at].mean is not None for row in self.rows)]
            judged = [at for at in known if self.columns[at].better]
            middle = judged[len(judged) // 2 : len(judged) // 2 + 1]
            if group.key == "cost":
                middle = []
            chosen += sorted({*middle, *(() if group.key in CURVES else judged[:1])})
        return tuple(chosen)

    def headline(self, group: Group) -> int | None:
        """The column that speaks for a group: the first judged one, of curves the middle one."""
        known = [
            at
            for at in range(group.start, group.start + len(group.columns))
            if self.columns[at].better
            and any(row.cells[at].mean is not None for row in self.methods)
        ]
        if not known:
            return None
        return known[len(known) // 2 if group.key in CURVES else 0]

    @property
    def methods(self) -> tuple[Row, ...]:
        """Rows that are methods, failed ones included."""
        return tuple(row for row in self.rows if not row.baseline)

    @property
    def baselines(self) -> tuple[Row, ...]:
        """Rows that are yardsticks."""
        return tuple(row for row in self.rows if row.baseline)


def reach(cell: Cell) -> float:
    """Half the width of a value's range: its spread over seeds and its error by test rows."""
    return math.hypot(cell.std or 0.0, cell.error)


def clearly_better(a: Cell, b: Cell, better: str | None) -> bool:
    """Whether ``a`` beats ``b`` and their ranges do not touch."""
    if a.mean is None or b.mean is None or better is None:
        return False
    lead = a.mean - b.mean if better == "higher" else b.mean - a.mean
    return lead > reach(a) + reach(b)


def ranking(rows: Sequence[Row], at: int, better: str | None) -> list[Row]:
    """Rows that have a value in column ``at``, the best mean first (ties in given order)."""
    known = [row for row in rows if row.cells[at].mean is not None]
    if better is None:
        return known
    sign = -1.0 if better == "higher" else 1.0
    return sorted(known, key=lambda row: sign * (row.cells[at].mean or 0.0))


def marked(rows: Sequence[Row], columns: Sequence[Column]) -> tuple[Row, ...]:
    """The rows again, with the mark of every cell set."""
    marks: dict[tuple[str, int], str] = {}
    for at, column in enumerate(columns):
        methods = ranking([r for r in rows if not r.baseline], at, column.better)
        if column.better is None or not methods:
            continue
        best = methods[0].cells[at]
        if column.unit == "R²" and column.better == "higher" and (best.mean or 0.0) <= 0:
            continue  # worse than saying the mean is no win
        # A value beside which there is no other is the best of nothing.
        alone = len([row for row in rows if row.cells[at].mean is not None]) == 1
        for row in methods:
            if row.cells[at].mean == best.mean:
                marks[row.anchor, at] = "alone" if alone else "best"
            elif not clearly_better(best, row.cells[at], column.better):
                marks[row.anchor, at] = "tied"
        for row in rows:
            measured = row.baseline and row.cells[at].mean is not None
            judged = measured and column.group not in UNJUDGED
            if judged and not clearly_better(best, row.cells[at], column.better):
                marks[row.anchor, at] = "unbeaten"
    return tuple(
        replace(
            row,
            cells=tuple(
                replace(cell, mark=marks.get((row.anchor, at), ""))
                for at, cell in enumerate(row.cells)
            ),
        )
        for row in rows
    )
