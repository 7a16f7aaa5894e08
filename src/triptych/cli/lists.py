"""``triptych methods`` and ``triptych datasets``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from triptych.cli.ground import AsJson, Debug, console, emit, guarded


@guarded
def methods(as_json: AsJson = False, debug: Debug = False) -> None:
    """List all methods with their panels, parameters and what they can do."""
    from rich.table import Table
    from rich.text import Text

    from triptych import catalog

    found: list[dict[str, Any]] = [
        {
            "name": cls.__name__,
            "panel": name.partition(".")[0],
            "about": _first_line(cls),
            "capabilities": cls.capabilities.as_dict(),
            "parameters": sorted(cls().get_params(deep=False)),
        }
        for name, cls in catalog.methods().items()
    ]
    if as_json:
        emit(found)
        return
    table = Table(pad_edge=False)
    columns: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "modalities": lambda c: _count(c["min_modalities"], c["max_modalities"]),
        "missing at fit": lambda c: _yes(c["missing_at_fit"]),
        "missing later": lambda c: _yes(c["missing_at_transform"]),
        "one alone": lambda c: _yes(c["one_modality_at_transform"]),
        "labels": lambda c: "needed" if c["needs_labels"] else "",
        "rebuilds": lambda c: _yes(c["reconstructs"]),
        "predicts": lambda c: _yes(c["predicts"]),
        "streams": lambda c: _yes(c["streams"]),
        "distributes": lambda c: _yes(c["distributes"]),
    }
    for title in ("method", "panel", *columns, "about"):
        table.add_column(title)
    for entry in found:
        able = entry["capabilities"]
        cells = [entry["name"], entry["panel"], *(show(able) for show in columns.values())]
        table.add_row(*(Text(str(cell)) for cell in [*cells, entry["about"]]))
    console().print(table)


@guarded
def datasets(as_json: AsJson = False, debug: Debug = False) -> None:
    """List the data sets that are always there."""
    from rich.table import Table
    from rich.text import Text

    from triptych import datasets as known

    found = [{"name": name, "about": _first_line(make)} for name, make in known.DATASETS.items()]
    if as_json:
        emit(found)
        return
    table = Table("data set", "about", pad_edge=False)
    for entry in found:
        table.add_row(*(Text(value) for value in entry.values()))
    console().print(table)


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").partition("\n")[0]


def _yes(able: bool) -> str:
    return "yes" if able else ""


def _count(least: int, most: int | None) -> str:
    if most is None:
        return f"{least} or more"
    return str(least) if least == most else f"{least} to {most}"
