"""The comparison in plain words. Every sentence follows from values; none is a guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from triptych.report.numbers import count, finite, listed
from triptych.report.table import (
    UNJUDGED,
    Cell,
    Column,
    Finding,
    Group,
    Row,
    Summary,
    clearly_better,
    ranking,
    reach,
)

_DOING = {
    "probe": "reading {label} from the codes",
    "prediction": "predicting {label}",
    "retrieval": "finding the partner in another modality",
    "zero-shot": "naming {label} by words alone",
    "reconstruction": "rebuilding an absent modality",
    "leakage": "keeping shared and private parts apart",
    "missing": "working with modalities missing",
    "noise": "reading {label} under noise",
}

_QUANTITIES = {"s", "ms", "min", "h", "MiB", "GiB", "MB", "GB", "%"}


def lead_of(summary: Summary, data: Mapping[str, Any]) -> str:
    """The paragraph at the head of the page."""
    ran = [row for row in summary.methods if not row.failed]
    failed = [row.name for row in summary.methods if row.failed and not row.unsuited]
    unsuited = [row.name for row in summary.methods if row.unsuited]
    sentences = [_setting(summary, data, len(ran))]
    if summary.methods and not ran:
        what = "Every method failed" if not unsuited else "No method could be judged"
        sentences.append(f"{what}, so there is nothing to compare; each says why below.")
        return " ".join(sentences)
    wins: dict[str, list[str]] = {}
    close: dict[str, list[str]] = {}
    unbeaten: dict[str, list[str]] = {}
    for group in summary.groups:
        verdict = _verdict(summary, group)
        if verdict is None or group.key == "cost" or verdict.worthless:
            continue
        doing = _doing(group, summary.label)
        if len(verdict.ranked) > 1:
            told = close if len(verdict.close) > 1 else wins
            told.setdefault(listed(verdict.leaders), []).append(doing)
        if verdict.unbeaten:
            unbeaten.setdefault(listed([row.name for row in verdict.unbeaten]), []).append(doing)
    for who, doings in wins.items():
        sentences.append(f"{who} is best at {listed(doings)}.")
    for who, doings in close.items():
        sentences.append(f"At {listed(doings)}, {who} are too close to call.")
    for who, doings in unbeaten.items():
        pair = "none of these baselines is" if " and " in who else "that baseline is not"
        sentences.append(f"At {listed(doings)}, mind {who}: {pair} clearly beaten by any method.")
    if failed:
        sentences.append(f"{listed(failed)} failed and {_are(failed)} not judged.")
    if unsuited:
        do = "does" if len(unsuited) == 1 else "do"
        sentences.append(f"{listed(unsuited)} {do} not take such data; the table says why.")
    return " ".join(sentences)


def caution_of(summary: Summary) -> str:
    """How far the values may be trusted."""
    if all(row.failed for row in summary.methods):
        return ""
    counted = any(cell.error for row in summary.methods for cell in row.cells)
    if summary.seeds < 2:
        rows = (
            " A lead within the standard errors that so many test rows give counts as none."
            if counted
            else ""
        )
        return (
            "One run per method: the spread is not known, so do not build on small "
            f"differences.{rows}"
        )
    rows = ", widened by the standard error that so many test rows give," if counted else ""
    return (
        f"Values are means over {summary.seeds} seeds ± one standard deviation. A lead is called "
        f"clear only where the ± ranges{rows} do not touch."
    )


def findings_of(summary: Summary) -> tuple[Finding, ...]:
    """One finding per group of columns in which a method has a value."""
    findings = []
    for group in summary.groups:
        verdict = _verdict(summary, group)
        if verdict is None:
            continue
        column, at, best = verdict.column, verdict.at, verdict.ranked[0]
        cell = best.cells[at]
        text = _cost(verdict) if group.key == "cost" else _contest(summary, group, verdict)
        findings.append(
            Finding(
                group=group.key,
                title=group.title,
                measure=_measure(column),
                winner=best.name,
                value=said(cell, column.unit),
                text=text,
            )
        )
    return tuple(findings)


def said(cell: Cell, unit: str = "") -> str:
    """``0.703 ± 0.004`` or ``31.2 s``: the unit is said only where it is a quantity's own."""
    spread = f" ± {cell.spread}" if cell.spread else ""
    told = unit in _QUANTITIES or unit.startswith("bits")
    return f"{cell.text}{spread}{f' {unit}' if told else ''}"


class _Verdict:
    """How the column that speaks for a group came out."""

    def __init__(self, summary: Summary, column: Column, at: int) -> None:
        self.column, self.at = column, at
        self.ranked = ranking(summary.methods, at, column.better)
        best = self.ranked[0].cells[at]
        close = [r for r in self.ranked if not clearly_better(best, r.cells[at], column.better)]
        known = any(reach(r.cells[at]) > 0 for r in self.ranked)
        same = [r for r in close if r.cells[at].mean == best.mean]
        self.close = close if known else same
        self.leaders = [r.name for r in self.close]
        self.behind = [r for r in self.ranked if r not in self.close]
        self.worthless = not best.mark  # see ``marked``: an R² that is not above 0 is no win
        judged = column.group not in UNJUDGED
        self.baselines = ranking(summary.baselines, at, column.better) if judged else []
        self.unbeaten: list[Row] = [r for r in self.baselines if r.cells[at].mark == "unbeaten"]


def _verdict(summary: Summary, group: Group) -> _Verdict | None:
    at = summary.headline(group)
    return None if at is None else _Verdict(summary, summary.columns[at], at)


def _setting(summary: Summary, data: Mapping[str, Any], ran: int) -> str:
    asked = len(summary.methods)
    who = f"{count(ran, 'method')} ran" if ran == asked else f"{ran} of {asked} methods ran"
    who = who[0].upper() + who[1:]
    beside = sum(not row.failed for row in summary.baselines)
    if beside:
        who += f" beside {count(beside, 'baseline')}"
    what = f" on {summary.data_name}"
    rows, train, test = (finite(data.get(key)) for key in ("rows", "train", "test"))
    if rows is not None:
        what += f": {count(int(rows), 'row')}"
        what += f" of {listed(summary.modalities)}" if summary.modalities else ""
    if train is not None and test is not None:
        what += f", {int(train):,} to learn from and {int(test):,} held back for testing"
    unread = data.get("labels") and data.get("label") is None
    why = " No label has numbers or enough classes to be read from the codes." if unread else ""
    return f"{who}{what}.{why}"


def _doing(group: Group, label: str) -> str:
    return _DOING.get(group.key, group.title.lower()).format(label=label or "the label")


def _are(names: list[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _measure(column: Column) -> str:
    return f"{column.title} ({column.better} is better)"


def _contest(summary: Summary, group: Group, verdict: _Verdict) -> str:
    at, unit, best = verdict.at, verdict.column.unit, verdict.ranked[0]
    if verdict.worthless:
        return "No method does better here than always saying the mean."
    sentences = []
    if len(verdict.ranked) == 1:
        silent = [r for r in summary.methods if not r.failed and r.cells[at].mean is None]
        if silent:
            sentences.append(f"Only {best.name} has a value here; the notes say why.")
    elif len(verdict.close) > 1:
        near = _nearness([r.cells[at] for r in verdict.close])
        others = [f"{r.name} ({said(r.cells[at], unit)})" for r in verdict.close[1:]]
        sentences.append(f"Too close to call: {listed(others)} {_are(others)} {near}.")
    else:
        second = verdict.behind[0]
        clear = summary.seeds > 1
        sentences.append(
            f"{'Clearly ahead' if clear else 'Ahead'} of {second.name} "
            f"({said(second.cells[at], unit)})."
        )
    sentences += _against_baselines(verdict)
    leads = _leads(summary, group)
    if len(leads) > 1 and len(group.columns) > 1:
        told = [f"{name} in {n}" for name, n in leads.items()]
        sentences.append(f"Best mean per column of this group: {listed(told)}.")
    elif len(leads) == 1 and len(verdict.ranked) > 1:
        judged = sum(c.better is not None for c in group.columns)
        if judged > 1:
            every = "both" if judged == 2 else f"all {judged}"
            sentences.append(f"{next(iter(leads))} has the best mean in {every} columns.")
    return " ".join(sentences)


def _nearness(cells: Sequence[Cell]) -> str:
    """Why these are too close to call."""
    if len({cell.mean for cell in cells}) == 1:
        return "equal"
    if any(cell.error for cell in cells):
        return "within what so many test rows can tell"
    return "within the spread"


def _against_baselines(verdict: _Verdict) -> list[str]:
    if not verdict.baselines:
        return []
    at, unit = verdict.at, verdict.column.unit
    top = verdict.baselines[0]
    named = f"{top.name} ({said(top.cells[at], unit)})"
    if verdict.unbeaten:
        return [f"No method clearly beats the baseline {named}."]
    beaten_by = [r.name for r in verdict.ranked if not _beats(r, top, verdict)]
    if not beaten_by:
        who = "It" if len(verdict.ranked) == 1 else "Every method"
        return [f"{who} clearly beats the best baseline, {named}."]
    return [f"The best baseline, {named}, is not clearly beaten by {listed(beaten_by)}."]


def _beats(row: Row, baseline: Row, verdict: _Verdict) -> bool:
    at = verdict.at
    return clearly_better(row.cells[at], baseline.cells[at], verdict.column.better)


def _leads(summary: Summary, group: Group) -> dict[str, int]:
    """How many columns of the group each method leads, most first."""
    leads: dict[str, int] = {}
    for at in range(group.start, group.start + len(group.columns)):
        for row in summary.methods:
            if row.cells[at].mark == "best":
                leads[row.name] = leads.get(row.name, 0) + 1
    return dict(sorted(leads.items(), key=lambda pair: -pair[1]))


def _cost(verdict: _Verdict) -> str:
    if len(verdict.ranked) == 1:
        return ""
    last = verdict.ranked[-1]
    value = said(last.cells[verdict.at], verdict.column.unit)
    return f"At the other end is {last.name}, with {value}."
