"""Writes docs/methods.md: every method, what it does and can do, and the paper it is from.

Run: python docs/make.py
All is read from docstrings and capabilities; a test compares the page with what this gives.
"""

from __future__ import annotations

import inspect
import re
from itertools import groupby
from pathlib import Path
from typing import Any

from triptych import catalog

HERE = Path(__file__).resolve().parent
TITLES = {
    "fusion": "Fusion: one code of each sample",
    "coordination": "Coordination: one code per modality, in spaces that can be compared",
    "fission": "Fission: what the modalities share, and what each has for itself",
}
MARKS = {
    "missing_at_fit": "fit",
    "missing_at_transform": "transform",
}


def page() -> str:
    """The whole page."""
    lines = [
        "# Methods",
        "",
        "One row per class, from its docstring (`python docs/make.py` writes this page). *Gaps*:",
        "where rows may lack a modality. *Labels*: needed, or used where given. *Rebuilds*: has",
        "`reconstruct`; with likelihood: `log_likelihood` and `sample` too.",
    ]
    for panel, rows in groupby(catalog.methods().items(), key=lambda pair: pair[1].panel):
        lines += [
            "",
            f"## {TITLES[panel]}",
            "",
            "| class | what | data | gaps | labels | rebuilds | paper |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        lines += sorted((row(cls) for _, cls in rows), key=str.lower)
    return "\n".join(lines) + "\n"


def row(cls: type[Any]) -> str:
    """One line of a table."""
    able = cls.capabilities
    text = inspect.getdoc(cls) or ""
    least, most = able.min_modalities, able.max_modalities
    count = f"{least}+" if most is None else str(least) if least == most else f"{least}-{most}"
    cells = (
        f"`{cls.__name__}`",
        text.partition("\n")[0],
        f"{count}: {', '.join(able.kinds)}",
        ", ".join(word for key, word in MARKS.items() if getattr(able, key)),
        "needed" if able.needs_labels else "used" if able.uses_labels else "",
        "yes, with likelihood"
        if hasattr(cls, "log_likelihood")
        else "yes"
        if able.reconstructs
        else "",
        papers(text),
    )
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def papers(text: str) -> str:
    """The references of a docstring, in one line."""
    found = re.search(r"^References:\n((?:    .*\n?|\n)*)", text, flags=re.M)
    return " ".join(found.group(1).split()) if found else ""


if __name__ == "__main__":
    (HERE / "methods.md").write_text(page(), encoding="utf-8")
