"""From the record that ``compare`` writes to the plain values that the report shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from triptych.errors import DataError
from triptych.report.exhibits import Exhibits
from triptych.report.numbers import NATS_PER_BIT, as_words, finite, show_pair, shown_unit
from triptych.report.reading import caution_of, findings_of, lead_of
from triptych.report.reading_exhibits import read_exhibits
from triptych.report.table import (
    ALIASES,
    GROUPS,
    SHARES,
    Cell,
    Choice,
    Column,
    Group,
    Row,
    Summary,
    marked,
)

__all__ = ["Summary", "summarise"]


def summarise(comparison: Mapping[str, Any]) -> Summary:
    """Gather the plain values of the report from the record that ``compare`` writes.

    Args:
        comparison: The record: ``columns``, ``rows``, and what is known of data and settings.

    Returns:
        Frozen values; the same record always gives the same summary.

    Raises:
        DataError: If this is not such a record.
    """
    if not isinstance(comparison, Mapping) or not {"columns", "rows"} <= comparison.keys():
        came = sorted(comparison) if isinstance(comparison, Mapping) else type(comparison).__name__
        raise DataError(f"a comparison has at least 'columns' and 'rows'; got {came}.")
    try:
        columns, groups = _columns(comparison["columns"])
        notes: dict[str, int] = {}
        data = comparison.get("data") or {}
        tested = finite(data.get("test"))
        rows = [
            _row(record, i, columns, notes, tested)
            for i, record in enumerate(comparison["rows"], start=1)
        ]
        summary = Summary(
            title=str(comparison.get("title") or "Comparison of representations"),
            created=_moment(str(comparison.get("created") or "")),
            data_name=str(data.get("name") or "the data"),
            lead="",
            caution="",
            findings=(),
            columns=columns,
            groups=groups,
            rows=marked(rows, columns),
            notes=tuple(notes),
            facts=_facts(comparison, data),
            seeds=len(comparison.get("seeds") or ()),
            label=str(data.get("label") or ""),
            modalities=tuple(str(m.get("name")) for m in data.get("modalities") or ()),
        )
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise DataError(
            f"the record is not one that compare wrote: {type(error).__name__}: {error}."
        ) from error
    return replace(
        summary,
        lead=lead_of(summary, data),
        caution=caution_of(summary),
        findings=findings_of(summary),
    )


def _columns(records: Sequence[Mapping[str, Any]]) -> tuple[tuple[Column, ...], tuple[Group, ...]]:
    """Columns with those of one group side by side, groups in the order of ``GROUPS``."""
    columns = [
        Column(
            key=str(record["key"]),
            title=str(record.get("title") or record["key"]),
            unit=shown_unit(str(record.get("unit") or ""))[0],
            better=record.get("better") if record.get("better") in ("higher", "lower") else None,
            group=_group(record),
            help=str(record.get("help") or ""),
        )
        for record in records
    ]
    titles = {_group(record): str(record.get("group") or "Other") for record in records} | GROUPS
    order = [*GROUPS, *(key for key in titles if key not in GROUPS)]
    columns.sort(key=lambda c: order.index(c.group))
    groups = []
    for key in order:
        members = tuple(c for c in columns if c.group == key)
        if members:
            groups.append(Group(key, titles[key], columns.index(members[0]), members))
    return tuple(columns), tuple(groups)


def _group(record: Mapping[str, Any]) -> str:
    key = str(record.get("group") or "other").lower()
    return ALIASES.get(key, key)


def _row(
    record: Mapping[str, Any],
    i: int,
    columns: Sequence[Column],
    notes: dict[str, int],
    tested: float | None,
) -> Row:
    unsuited = record.get("status") == "unsuited"
    failed = unsuited or record.get("status") == "failed"
    values = record.get("values") or {}
    cells = [
        Cell("\N{EN DASH}") if failed else _cell(values, column, notes, tested)
        for column in columns
    ]
    return Row(
        name=str(record["name"]),
        panel=str(record.get("panel") or ""),
        failed=failed,
        unsuited=unsuited,
        why=str(record.get("why") or ("no reason was recorded" if failed else "")),
        params=tuple((str(k), as_words(v)) for k, v in (record.get("params") or {}).items()),
        cells=tuple(cells),
        exhibits=Exhibits() if failed else read_exhibits(record.get("extras")),
        anchor=f"row-{i}",
        warnings=tuple(str(said) for said in record.get("warnings") or ()),
        choice=_choice((record.get("extras") or {}).get("choice")),
        parts=tuple(str(part) for part in (record.get("extras") or {}).get("parts") or ()),
    )


def _choice(found: Any) -> Choice | None:
    return Choice(str(found["modality"]), str(found["by"])) if found else None


def _cell(
    values: Mapping[str, Any], column: Column, notes: dict[str, int], tested: float | None
) -> Cell:
    value = values.get(column.key) or {}
    mean, std = finite(value.get("mean")), finite(value.get("std"))
    if mean is None:
        why = str(value.get("why") or "") or (
            "the result was not a finite number" if "mean" in value else "not measured"
        )
        return Cell("\N{EN DASH}", why=why, note=notes.setdefault(why, len(notes) + 1))
    n = int(finite(value.get("n")) or 1)
    if column.unit.startswith("bits"):
        mean, std = mean / NATS_PER_BIT, None if std is None else std / NATS_PER_BIT
    if n < 2:
        std = None
    text, spread = show_pair(mean, std)
    if column.group == "cost" and not set(spread) & set("123456789"):
        spread = ""  # a spread below the last digit shown says nothing about a cost
    return Cell(text, spread, mean, std, n, error=_error(values, column, tested))


def _error(values: Mapping[str, Any], column: Column, tested: float | None) -> float:
    """The standard error of a share of so many test rows; of a gain, that of the share behind."""
    key = "predict" if column.key == "predict_gain" else column.key
    share = finite((values.get(key) or {}).get("mean"))
    if column.unit not in SHARES or share is None or not 0 <= share <= 1 or not tested:
        return 0.0
    # Two rows more of each kind (Agresti, Coull 1998): where all are right, or none, the plain
    # formula knows no doubt at all.
    likely = (share * tested + 2) / (tested + 4)
    return math.sqrt(likely * (1 - likely) / (tested + 4))


def _facts(
    comparison: Mapping[str, Any], data: Mapping[str, Any]
) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    """Settings, versions, seeds and the data's checksum, as titled lists of pairs."""
    about = [
        (word, as_words(data[key]))
        for word, key in [
            ("Name", "name"),
            ("Rows", "rows"),
            ("Training rows", "train"),
            ("Test rows", "test"),
            ("Label that is probed", "label"),
        ]
        if data.get(key) is not None
    ]
    for modality in data.get("modalities") or ():
        about.append((f"Modality {modality.get('name')}", _modality(modality)))
    for label in data.get("labels") or ():
        about.append((f"Label {label.get('name')}", f"{as_words(label.get('classes'))} classes"))
    if data.get("checksum"):
        about.append(("Checksum", str(data["checksum"])))
    run = [("Made", _moment(str(comparison["created"])))] if comparison.get("created") else []
    run.append(("Seeds", as_words(list(comparison.get("seeds") or ()))))
    run += [(str(k), as_words(v)) for k, v in (comparison.get("settings") or {}).items()]
    versions = [(str(k), as_words(v)) for k, v in (comparison.get("versions") or {}).items()]
    titled = (("Data", about), ("Settings", run), ("Versions", versions))
    return tuple((title, tuple(pairs)) for title, pairs in titled if pairs)


def _moment(iso: str) -> str:
    """``2026-03-01 12:00 UTC`` from an ISO moment; other words stay as they are."""
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        return iso
    zone = {None: "", "UTC": " UTC"}.get(moment.tzname(), f" {moment:%z}")
    return f"{moment:%Y-%m-%d %H:%M}{zone}"


def _modality(record: Mapping[str, Any]) -> str:
    """``image, 1 x 32 x 32, present in 80 % of rows``."""
    parts = [str(record.get("kind") or "")]
    shape = record.get("shape")
    if isinstance(shape, (list, tuple)) and shape:
        parts.append(" \N{MULTIPLICATION SIGN} ".join(as_words(s) for s in shape))
    present = record.get("present")
    share = finite(present)
    if isinstance(present, float) and share is not None and share <= 1:
        parts.append(f"present in {100 * share:.3g} % of rows")
    elif share is not None:
        parts.append(f"present in {share:,.0f} rows")
    return ", ".join(part for part in parts if part)
