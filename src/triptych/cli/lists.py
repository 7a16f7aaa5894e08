"""``triptych methods`` and ``triptych datasets``."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from triptych.cli.ground import AsJson, Debug, console, emit, guarded

_PANELS = {
    "fusion": "one code of each sample",
    "coordination": "one code per modality, in spaces that can be compared",
    "fission": "what the modalities share, and what each has for itself",
}


@guarded
def methods(as_json: AsJson = False, debug: Debug = False) -> None:
    """List all methods with their panels, parameters and what they can do."""
    from rich.padding import Padding
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
    out = console()
    for panel, entries in groupby(found, key=lambda entry: str(entry["panel"])):
        out.print(Text(f"{panel}: {_PANELS.get(panel, '')}"))
        for entry in entries:
            out.print(
                Padding(Text(f"{entry['name']}: {entry['about']}"), (0, 0, 0, 2), expand=False)
            )
            able = Text("; ".join(_abilities(entry["capabilities"])), style="dim")
            out.print(Padding(able, (0, 0, 0, 6), expand=False))


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


def _abilities(able: Mapping[str, Any]) -> Iterator[str]:
    """What a method takes and can do, in words."""
    from triptych.modalities import FORMS

    yield f"{_count(able['min_modalities'], able['max_modalities'])} modalities"
    if len(able["kinds"]) < len(FORMS):
        yield f"only {', '.join(able['kinds'])}"
    when = [word for word in ("fit", "transform") if able[f"missing_at_{word}"]]
    yield f"rows may lack a modality in {' and '.join(when)}" if when else "complete rows only"
    told = {
        "one_modality_at_transform": "transforms one modality alone",
        "needs_labels": "needs labels",
        "uses_labels": "learns from labels too",
        "reconstructs": "reconstructs",
        "predicts": "predicts",
        "streams": "streams",
        "distributes": "distributes",
    }
    yield from (words for key, words in told.items() if able[key])


def _count(least: int, most: int | None) -> str:
    if most is None:
        return f"{least} or more"
    return str(least) if least == most else f"{least} to {most}"
