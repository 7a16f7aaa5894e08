"""The same table for a terminal: plain strings, no markup."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from triptych.report.table import Cell, Summary

MARKS = {"best": "\N{BLACK STAR}", "tied": "\N{ALMOST EQUAL TO}", "unbeaten": "!"}
LEGEND = (
    ("best", "best mean of the column among the methods"),
    ("tied", "not clearly worse than the best: the ranges touch"),
    ("unbeaten", "a baseline that no method clearly beats"),
)


@dataclass(frozen=True)
class TextTable:
    """A header, rows of equal length, and lines to print below."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def text_table(summary: Summary, group: str | None = None) -> TextTable:
    """Rows for a terminal's table, with the marks of the page.

    Args:
        summary: From :func:`~triptych.report.summary.summarise`.
        group: All columns of this group (``"probe"``, ``"retrieval"``, ...); else the columns for
            one look.

    Returns:
        Plain strings. Names come from users, so print them as text, not as markup.
    """
    kept = list(summary.key_columns)
    if group is not None:
        kept = [i for i, column in enumerate(summary.columns) if column.group == group]
    columns = [summary.columns[i] for i in kept]
    header = ["method", *(f"{c.title} ({c.unit})" if c.unit else c.title for c in columns)]
    cited = sorted({row.cells[i].note for row in summary.rows for i in kept} - {0})
    numbers = {note: n for n, note in enumerate(cited, start=1)}
    rows = []
    for row in summary.rows:
        cells = [_text(row.cells[i], numbers) for i in kept]
        if row.failed and cells:
            cells[0] = row.verdict
        rows.append((row.name, *cells))
    used = {row.cells[i].mark for row in summary.rows for i in kept}
    notes = [f"{MARKS[mark]} {meaning}" for mark, meaning in LEGEND if mark in used]
    notes += [f"[{numbers[n]}] {summary.notes[n - 1]}" for n in cited]
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in summary.rows:
        if row.failed:
            reasons.setdefault((row.verdict, row.why), []).append(row.name)
    notes += [f"{', '.join(names)} {verdict}: {why}" for (verdict, why), names in reasons.items()]
    return TextTable(tuple(header), tuple(rows), tuple(notes))


def _text(cell: Cell, numbers: Mapping[int, int]) -> str:
    text = f"{cell.text} ± {cell.spread}" if cell.spread else cell.text
    if cell.note:
        return f"{text} [{numbers[cell.note]}]"
    return f"{MARKS[cell.mark]} {text}" if cell.mark in MARKS else text
