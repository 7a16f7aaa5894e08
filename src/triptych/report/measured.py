"""A measurement of information for people: a table, a reading in plain words, and a page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from triptych.contracts.estimate import Estimate
from triptych.information.measuring import Knows, Measurement, Together
from triptych.report.numbers import ROUNDING, count, listed, show
from triptych.report.terminal import TextTable

CHANCE = 0.05
"""Largest p-value at which something is said to be there."""
HEADER = ("what", "value", "95 % interval", "by chance", "of all there is")
_DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class Line:
    """One row of the table: words, an estimate, and what it is compared with."""

    what: str
    estimate: Estimate
    chance: float | None
    share: float | None


@dataclass(frozen=True)
class Sheet:
    """Everything that the page says, as values.

    Args:
        title: Of the page.
        lead: Sentences that say what was found; each follows from values.
        blocks: Titled lines of the table.
        notes: What a reader should know.
        facts: How the categories were made, as pairs of words.
    """

    title: str
    lead: tuple[str, ...]
    blocks: tuple[tuple[str, tuple[Line, ...]], ...]
    notes: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]


def sheet_of(found: Measurement) -> Sheet:
    """The plain values of a page; the same measurement always gives the same."""
    blocks = [
        (
            f"What can be told about {found.target}",
            (Line(f"all there is: entropy of {found.target}", found.entropy, None, 1.0),),
        ),
        (
            "Each modality alone",
            tuple(line for one in found.modalities for line in _alone(one, found)),
        ),
        *((" and ".join(pair.names), _together(pair, found)) for pair in found.pairs),
    ]
    return Sheet(
        title=f"What {listed([one.name for one in found.modalities])} tell about {found.target}"
        if len(found.modalities) > 1
        else f"What {found.modalities[0].name} tells about {found.target}",
        lead=tuple(_reading(found)),
        blocks=tuple(blocks),
        notes=found.warnings,
        facts=(
            ("Data", found.data),
            ("Rows", f"{found.rows:,}"),
            (f"Categories of {found.target}", found.target_code),
            *((f"Categories of {one.name}", one.code) for one in found.modalities),
            ("Estimator", "plug-in, of these categories; parts by Bertschinger et al. 2014"),
            ("Standard errors", "delta method"),
            ("By chance", "mean when rows are shuffled"),
        ),
    )


def measured_table(found: Measurement) -> TextTable:
    """Rows for a terminal's table. Names come from users, so print them as text."""
    rows: list[tuple[str, ...]] = []
    sheet = sheet_of(found)
    for title, lines in sheet.blocks:
        rows.append((title, *[""] * (len(HEADER) - 1)))
        rows += [("  " + line.what, *_cells(line)) for line in lines]
    header = (HEADER[0], f"{HEADER[1]} ({found.unit})", *HEADER[2:])
    return TextTable(header, tuple(rows), sheet.notes)


def render_measurement(found: Measurement, path: str | os.PathLike[str]) -> Path:
    """Write the page of a measurement as one self-contained HTML file.

    Args:
        found: From :func:`triptych.information.measure`.
        path: The file; it is replaced whole or not at all.

    Returns:
        The path written.

    Raises:
        FileError: If the file cannot be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    from triptych.report import areas
    from triptych.report.page import styles, write_page

    sheet = sheet_of(found)
    drawn = [
        areas.knowledge(found.modalities, found.entropy.value, found.target, found.unit),
        areas.part_bars(found.pairs, found.entropy.value, found.target, found.unit),
        *(areas.circles(pair, found.target, found.unit) for pair in found.pairs),
    ]
    environment = Environment(
        loader=PackageLoader("triptych.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("measure.html.j2").render(
        sheet=sheet,
        unit=found.unit,
        header=HEADER,
        cells=_cells,
        pictures=[p for p in drawn if p is not None],
        css=Markup(styles()),
        byline=f"{found.data} · {count(found.rows, 'row')}",
    )
    return write_page(Path(path), page.lstrip())


def _alone(one: Knows, found: Measurement) -> list[Line]:
    return [
        Line(
            f"{one.name} about {found.target}",
            one.about,
            one.shuffled,
            one.about.value / found.entropy.value,
        ),
        Line(f"entropy of the categories of {one.name}", one.entropy, None, None),
    ]


def _together(pair: Together, found: Measurement) -> tuple[Line, ...]:
    a, b = pair.names
    parts, whole = pair.parts, found.entropy.value
    words = {
        "redundancy": "either tells",
        "unique_1": f"only {a} tells",
        "unique_2": f"only {b} tells",
        "synergy": "only both together tell",
    }
    lines = [
        Line(words[name], part, parts.shuffled.get(name), part.value / whole)
        for name, part in parts.parts.items()
    ]
    total = Line(
        f"both about {found.target}",
        parts.total,
        parts.shuffled.get("total"),
        parts.total.value / whole,
    )
    between = Line(f"{a} and {b} about each other", pair.between, pair.shuffled, None)
    return (total, *lines, between)


def _cells(line: Line) -> tuple[str, str, str, str]:
    low, high = line.estimate.interval
    return (
        _shown(line.estimate.value),
        f"{_shown(low)} to {_shown(high)}",
        _DASH if line.chance is None else _shown(line.chance),
        _DASH if line.share is None else _percent(line.share),
    )


def _percent(share: float) -> str:
    return f"{round(100 * share) + 0:d}%".replace("-", "\N{MINUS SIGN}")


def _shown(value: float) -> str:
    """The value, with nothing said of what is only rounding."""
    return show(value if abs(value) > ROUNDING else 0.0)


def _reading(found: Measurement) -> list[str]:
    unit = found.unit
    said = [
        f"There are {show(found.entropy.value)} {unit} to tell about {found.target} in "
        f"{count(found.rows, 'row')} of {found.data}."
    ]
    telling = [one for one in found.modalities if one.p_value <= CHANCE]
    silent = [one.name for one in found.modalities if one.p_value > CHANCE]
    for one in sorted(telling, key=lambda o: -o.about.value):
        share = one.about.value / found.entropy.value
        said.append(
            f"{one.name} tells {show(one.about.value)} of them ({share:.0%}; chance alone gives "
            f"{show(one.shuffled)})."
        )
    if silent:
        verb = "tells" if len(silent) == 1 else "tell"
        said.append(f"{listed(silent)} alone {verb} no more than chance would.")
    for pair in found.pairs:
        said += _pair_reading(pair, unit)
    return said


def _pair_reading(pair: Together, unit: str) -> list[str]:
    a, b = pair.names
    parts, chance = pair.parts.parts, pair.parts.shuffled
    clear = {
        name: part
        for name, part in parts.items()
        if part.interval[0] > chance.get(name, 0.0) and part.value > 0.01 * pair.parts.total.value
    }
    if not clear:
        return [f"Of {a} and {b} no part about the target is clearly more than chance gives."]
    words = {
        "redundancy": "either tells",
        "unique_1": f"only {a} tells",
        "unique_2": f"only {b} tells",
        "synergy": "only both together tell",
    }
    ordered = sorted(clear, key=lambda name: -parts[name].value)
    told = [f"{show(parts[name].value)} {unit} {words[name]}" for name in ordered]
    said = [f"Of what {a} and {b} tell, {_joined(told)}."]
    missing = [words[name] for name in parts if name not in clear]
    if missing:
        said.append(f"What {_joined(missing)} is not clearly more than chance gives.")
    return said


def _joined(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
