"""``triptych measure``."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from triptych.cli.ground import (
    AsJson,
    Data,
    Debug,
    Faces,
    Label,
    Modality,
    console,
    emit,
    guarded,
    read_data,
)

if TYPE_CHECKING:
    from triptych.information import Measurement


@guarded
def measure(
    data: Data,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            metavar="NAME",
            help="Label, or modality of one column, to be told about; the first label if left "
            "out. Of a table, also its column.",
        ),
    ] = None,
    label: Label = None,
    modality: Modality = None,
    faces: Faces = None,
    unit: Annotated[str, typer.Option("--unit", help="bits or nats.")] = "bits",
    categories: Annotated[
        int | None,
        typer.Option(
            "--categories",
            min=2,
            help="Clusters or bins of each modality; as many as the rows bear if left out.",
        ),
    ] = None,
    shuffles: Annotated[
        int, typer.Option("--shuffles", min=20, help="Shuffles that say what chance gives.")
    ] = 100,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of clusters and shuffles.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Also write a page (HTML)."),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Measure what each modality of DATA tells about a target: alone, in common, together.

    Each modality becomes categories (clusters of features where it is wide); entropies, what
    each tells about the target, and for each two of them what either, only one, and only both
    together tell, with intervals and what chance alone gives.

    Example: triptych measure glyphs --target script --output measure.html
    """
    from triptych.files import is_table
    from triptych.information import measure as run
    from triptych.report import render_measurement

    columns = list(label or ())
    if is_table(data) and target is not None and target not in columns:
        columns.append(target)
    dataset = read_data(data, modality, columns or None, faces)
    found = run(
        dataset,
        target,
        unit=unit,
        categories=categories,
        n_shuffles=shuffles,
        random_state=seed,
    )
    page = None if output is None else render_measurement(found, output)
    if as_json:
        emit({**found.as_dict(), "report": None if page is None else str(page)})
        return
    _show(found)
    if page is not None:
        console().print(f"report: {page}", markup=False, soft_wrap=True)


def _show(found: Measurement) -> None:
    from rich.table import Table
    from rich.text import Text

    from triptych.report import measured_table, sheet_of

    sheet = sheet_of(found)
    table = measured_table(found)
    out = console()
    # Values are never broken into lines; headings between words, and what is left is for names.
    values = [max(len(row[i]) for row in table.rows) for i in range(len(table.header))]
    wide = [max(v, len(title)) for v, title in zip(values, table.header, strict=True)]
    if sum(wide) + 2 * len(wide) > out.width:
        wide = [
            max(v, *map(len, title.split())) for v, title in zip(values, table.header, strict=True)
        ]
    wide[0] = max(16, min(wide[0], out.width - sum(wide[1:]) - 2 * len(wide[1:])))

    def grid(*, header: bool) -> Table:
        made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=header)
        for i, title in enumerate(table.header):
            side: Literal["left", "right"] = "right" if i else "left"
            made.add_column(Text(title), justify=side, vertical="bottom", width=wide[i])
        return made

    out.print(Text(sheet.title, style="bold"))
    part = grid(header=True)
    for row in table.rows:
        if any(row[1:]):
            name = fill(row[0], wide[0], subsequent_indent="    ", drop_whitespace=True)
            part.add_row(*map(Text, (name, *row[1:])))
            continue
        out.print(part)
        out.print(Text(row[0], style="bold"))
        part = grid(header=False)
    out.print(part)
    for note in table.notes:
        out.print(f"mind: {note}", markup=False)
    out.print(" ".join(sheet.lead), markup=False)
