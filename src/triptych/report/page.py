"""One HTML file that holds all it shows, and asks the network for nothing."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from triptych.errors import FileError
from triptych.modalities import SHARED
from triptych.report import figures
from triptych.report.confusion import confusion_map
from triptych.report.exhibits import Item
from triptych.report.figures import Picture
from triptych.report.gates import gate_bars
from triptych.report.noise import noise_map
from triptych.report.numbers import NATS_PER_BIT
from triptych.report.predictions import fading_curves
from triptych.report.summary import summarise
from triptych.report.table import Column, Group, Row, Summary
from triptych.report.terminal import LEGEND, MARKS

MOST_EXAMPLES = 8
PANELS = {
    "fusion": "one code of each sample",
    "coordination": "one comparable code per modality",
    "fission": "shared and private parts, or clusters",
}
# Of fission, once the parts are known.
SPLIT, CLUSTERED = "shared and private parts", "clusters that match across modalities"
_BREAKS = r"(?<=[a-z]{2})(?=[A-Z][a-z])|(?<=[_/:,\N{RIGHTWARDS ARROW}])(?=\S)"
_DIRECTION = {"higher": "\N{UPWARDS ARROW}", "lower": "\N{DOWNWARDS ARROW}"}


@dataclass(frozen=True)
class _Block:
    """Columns under one heading, each with its place in the rows' cells; and who has none."""

    title: str
    columns: tuple[tuple[int, Column], ...]
    sets: tuple[tuple[str, tuple[Row, ...]], ...]
    silent: tuple[tuple[Row, int], ...] = ()


@dataclass(frozen=True)
class _Section:
    """A method of the page, with its figures drawn."""

    row: Row
    about: str
    pictures: tuple[Picture, ...]
    folded: tuple[Picture, ...]


def render(summary: Summary | Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write the report as one self-contained HTML file.

    Args:
        summary: From :func:`~triptych.report.summary.summarise`, or the record itself.
        path: The file. Missing folders are made; an old file is replaced whole or not at all.

    Returns:
        The path written.

    Raises:
        DataError: If the record is not one that ``compare`` wrote.
        FileError: If the file cannot be written; what was there before is unchanged.
    """
    if not isinstance(summary, Summary):
        summary = summarise(summary)
    return write_page(Path(path), html(summary))


def html(summary: Summary) -> str:
    """The page as text; every name and text of the user's is escaped."""
    environment = Environment(
        loader=PackageLoader("triptych.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    template = environment.get_template("page.html.j2")
    page = template.render(
        summary=summary,
        css=Markup(styles()),
        panels=PANELS,
        marks=MARKS,
        legend=[
            (mark, MARKS[mark], meaning)
            for mark, meaning in LEGEND
            if any(cell.mark == mark for row in summary.rows for cell in row.cells)
        ],
        direction=_DIRECTION,
        overview=_overview(summary),
        sections=[_section(row, _probed(summary)) for row in summary.methods],
        most=MOST_EXAMPLES,
        explained=[c for c in summary.columns if c.help],
        sparkline=_sparkline,
        nats_per_bit=NATS_PER_BIT,
        whole=_whole(summary),
        blocks=[_block(summary, group) for group in summary.groups],
        complete=len(summary.key_columns) == len(summary.columns),
    )
    return page.lstrip()


def _breakable(text: str) -> Markup:
    """Let long names break where a reader would: before a capital, after an arrow or sign."""
    parts = re.split(_BREAKS, text)
    return Markup("<wbr>").join(parts)


def styles() -> str:
    """The style sheet of all pages."""
    return (Path(__file__).parent / "templates" / "page.css").read_text(encoding="utf-8")


def _overview(summary: Summary) -> list[Picture]:
    """One dot plot for the measure that speaks for each group, then what rows lose."""
    pictures = []
    for group in summary.groups:
        at = summary.headline(group)
        if at is not None:
            pictures.append(figures.dot_plot(summary.rows, at, summary.columns[at]))
    for cause in figures.LOSSES:
        curves = {row.name: getattr(row.exhibits, cause) for row in summary.rows}
        if sum(map(bool, curves.values())) > 1:
            pictures.append(figures.loss_of_rows(curves, cause, _probed(summary)))
    return [picture for picture in pictures if picture is not None]


def _whole(summary: Summary) -> list[_Block]:
    """The table for one look: key columns by group, all rows."""
    sets = (("Methods", summary.methods), ("Baselines", summary.baselines))
    blocks = []
    for group in summary.groups:
        own = range(group.start, group.start + len(group.columns))
        columns = tuple((at, summary.columns[at]) for at in summary.key_columns if at in own)
        if columns:
            blocks.append(_Block(group.title, columns, tuple(s for s in sets if s[1])))
    return blocks


def _block(summary: Summary, group: Group) -> _Block:
    """All columns of one group, and only the rows that have a value in it."""
    columns = tuple(enumerate(group.columns, start=group.start))
    silent = [row for row in summary.rows if all(row.cells[at].mean is None for at, _ in columns)]
    measured = [
        (kind, tuple(row for row in rows if row not in silent))
        for kind, rows in (("Methods", summary.methods), ("Baselines", summary.baselines))
    ]
    return _Block(
        group.title,
        columns,
        tuple((kind, rows) for kind, rows in measured if rows),
        tuple((row, row.cells[group.start].note) for row in silent),
    )


def _section(row: Row, measure: str) -> _Section:
    shown = row.exhibits
    pictures = (
        figures.loss_curves(shown.curves, row.name),
        figures.correlation_bars(shown.correlations, row.name, shown.null),
        figures.code_map(shown.code_map, row.name),
        *(
            figures.loss_of_rows({row.name: getattr(shown, cause)}, cause, measure)
            for cause in figures.LOSSES
        ),
        fading_curves(shown.fading, row.name),
        gate_bars(shown.gates, row.name),
        noise_map(shown.noise, row.name),
        *(confusion_map(naming, row.name) for naming in shown.naming),
    )
    folded = (figures.loss_terms(shown.curves, row.name),)
    return _Section(
        row,
        _about(row),
        tuple(p for p in pictures if p is not None),
        tuple(p for p in folded if p is not None),
    )


def _probed(summary: Summary) -> str:
    """What the linear probe is measured by."""
    return next((c.unit for c in summary.columns if c.key == "probe"), "accuracy")


def _about(row: Row) -> str:
    if row.panel == "fission" and row.parts:
        return SPLIT if SHARED in row.parts else CLUSTERED
    return PANELS.get(row.panel, "")


def _sparkline(item: Item) -> Picture | None:
    return figures.sparkline(item.values)


def write_page(path: Path, text: str) -> Path:
    """Put ``text`` at ``path`` in one step, or leave what is there."""
    fresh = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}.new"
    try:
        if path.is_dir():
            raise IsADirectoryError(None, "a folder of that name is in the way")
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(fresh, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError as error:
        _remove(fresh)
        raise FileError(
            f"cannot write the report to {path}: {error.strerror or error}. "
            "What was there before is unchanged."
        ) from error
    except BaseException:
        _remove(fresh)
        raise
    return path


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # the first error is the one to tell
