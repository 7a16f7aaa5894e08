"""``triptych compare`` and ``triptych report``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from triptych.cli.ground import (
    AsJson,
    Data,
    Debug,
    Faces,
    Label,
    Modality,
    Only,
    Settings,
    Split,
    console,
    emit,
    guarded,
    only_some,
    parse_settings,
    print_grid,
    read_data,
    widths,
)
from triptych.errors import FileError, ParameterError, TriptychError, meant

if TYPE_CHECKING:
    from rich.console import Console

    from triptych.comparison import Step
    from triptych.report import Summary

# What --quick is: methods of each panel and settings that take under 5 minutes on the glyphs and
# 2 cores.
QUICK_FACES = 2
QUICK_EPOCHS = 6
QUICK_METHODS = ("MultimodalAutoencoder", "CCA", "CLIP", "SharedPrivate")
QUICK: Mapping[str, Mapping[str, Any]] = {
    "CLIP": {"training__epochs": 6},
    "MultimodalAutoencoder": {"training__epochs": 5},
    "SharedPrivate": {"training__epochs": 5},
}

Seeds = Annotated[
    int, typer.Option("--seeds", min=1, help="How often each method is run, with seeds 0, 1, ...")
]


@guarded
def compare(
    data: Data,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            metavar="A,B",
            help="Only these methods; all if left out, or a few of each panel with --quick.",
        ),
    ] = None,
    label: Label = None,
    split: Split = None,
    modality: Modality = None,
    only: Only = None,
    seeds: Seeds = 1,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Minutes instead of hours: few methods, epochs and faces."),
    ] = False,
    faces: Faces = None,
    settings: Settings = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the report goes.")
    ] = Path("report"),
    resume: Annotated[
        bool, typer.Option(help="Go on with runs that are finished in the folder.")
    ] = True,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Compare methods of all panels on DATA, beside honest baselines, in one page.

    Each method is judged by probes, retrieval, reconstruction, leakage, missing modalities,
    noise and cost. A method that fails, or does not take such data, is a row that says why.
    Stopped with Ctrl-C, the same command goes on with what is not finished. Writes index.html
    and comparison.json into the folder. Ends with 1 if every method failed.

    --set applies to each method that has the parameter; 'CLIP.n_components=32' to one only.

    Example: triptych compare glyphs --quick
    """
    from triptych.comparison import compare as run
    from triptych.comparison import write_text
    from triptych.report import render, summarise

    if output.exists() and not output.is_dir():
        raise FileError(f"cannot write {output}: a file of that name is in the way.")
    if quick and data == "glyphs" and faces is None:
        faces = QUICK_FACES
    dataset = only_some(read_data(data, modality, label, faces), only)
    names = [name.strip() for name in methods.split(",") if name.strip()] if methods else None
    if names == []:
        raise ParameterError(f"--methods: expected names with commas between, got {methods!r}.")
    chosen = _chosen(names or (QUICK_METHODS if quick else None))
    params = _params(chosen, parse_settings(settings), quick)
    shown, before = console(err=True), _whose(output / "comparison.json")
    try:
        with shown.status("starting") as status:
            record = run(
                dataset,
                methods=chosen,
                label=label[0] if label else None,
                split=split,
                seeds=range(seeds),
                params=params,
                output=output,
                progress=_progress(shown, status.update, seeds),
                resume=resume,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Finished methods are kept in {output}; the same command goes on from there."
        ) from None
    record["settings"]["quick"] = quick
    if before not in ("", dataset.name):
        typer.echo(
            f"note: {output} held a report on {before}, which the one on {dataset.name} replaces; "
            "--output names another folder.",
            err=True,
        )
    write_text(output / "comparison.json", json.dumps(record))
    summary = summarise(record)
    page = render(summary, output / "index.html")
    failed = all(row.failed for row in summary.methods)
    if as_json:
        bare = [{k: v for k, v in row.items() if k != "extras"} for row in record["rows"]]
        emit({**record, "rows": bare, "report": str(page)})
    else:
        _show(summary)
        console().print(f"report: {page}", markup=False, soft_wrap=True)
    if failed:
        raise TriptychError(f"no method could be judged: {summary.methods[0].why}")


def _whose(record: Path) -> str:
    """Name of the data that a comparison is of; nothing where there is none that can be read."""
    try:
        return str(json.loads(record.read_text(encoding="utf-8"))["data"]["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


@guarded
def report(
    comparison: Annotated[
        Path, typer.Argument(metavar="COMPARISON", help="The comparison.json of a comparison.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The page; else beside the record."),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Make the page again from the record that a comparison wrote, and show its table.

    Example: triptych report report/comparison.json --output page.html
    """
    from triptych.report import render, summarise

    try:
        record = json.loads(comparison.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise FileError(f"{comparison} is no record of a comparison: it is not text.") from error
    except OSError as error:
        raise FileError(f"{comparison} cannot be read: {error.strerror or error}.") from error
    except json.JSONDecodeError as error:
        raise FileError(
            f"{comparison} is not the JSON of a comparison: line {error.lineno}, {error.msg}."
        ) from error
    summary = summarise(record)
    page = render(summary, output or comparison.with_name("index.html"))
    if as_json:
        emit({"report": str(page)})
        return
    _show(summary)
    console().print(f"report: {page}", markup=False, soft_wrap=True)


def _chosen(names: Sequence[str] | None) -> dict[str, Any]:
    from triptych import catalog

    found = [catalog.find(n) for n in names] if names else list(catalog.methods().values())
    return {cls.__name__: cls for cls in found}


def _params(
    chosen: Mapping[str, Any], settings: Mapping[str, Any], quick: bool
) -> dict[str, dict[str, Any]]:
    """Parameters by method: those of --quick, over them those of --set."""
    own = {name: set(cls().get_params(deep=False)) for name, cls in chosen.items()}
    out: dict[str, dict[str, Any]] = {name: {} for name in chosen}
    if quick:
        for name, known in own.items():
            if "training" in known:
                out[name].update(QUICK.get(name, {"training__epochs": QUICK_EPOCHS}))
    for entry, value in settings.items():
        method, dot, name = entry.rpartition(".")
        if dot:
            match = [key for key in chosen if key.lower() == method.rpartition(".")[2].lower()]
        else:
            match = [key for key, known in own.items() if name.split("__")[0] in known]
        if not match:
            guess = meant(name, set().union(*own.values()))
            raise ParameterError(f"--set: none of {list(chosen)} has {entry!r}.{guess}")
        for key in match:
            out[key][name] = value
    return {name: values for name, values in out.items() if values}


def _progress(shown: Console, update: Callable[[str], None], seeds: int) -> Callable[[Step], None]:
    """A line for each run that is over, and a moving one for that which is not."""
    started = time.perf_counter()

    def tell(step: Step) -> None:
        nonlocal started
        name = step.name if seeds == 1 else f"{step.name}, seed {step.seed}"
        if step.status == "started":
            started = time.perf_counter()
            update(f"{step.done + 1} of {step.total}: {name}")
            if not shown.is_terminal and step.done == 0:  # later lines show that it goes on
                shown.print(f"first of {step.total}: {name} ...", markup=False, soft_wrap=True)
            return
        how = {
            "finished": f"{time.perf_counter() - started:.1f} s",
            "kept": "finished before",
            "failed": f"failed: {step.why}",
            "unsuited": f"not tried: {step.why}",
        }[step.status]
        line = f"{step.done} of {step.total}  {name}  {how}"
        shown.print(line, markup=False, soft_wrap=True)

    return tell


def _show(summary: Summary) -> None:
    from triptych.report import text_table

    table = text_table(summary)
    out = console()
    out.print(summary.title, markup=False)
    for some in _side_by_side(table.header, table.rows, out.width):
        print_grid(
            out, [table.header[i] for i in some], [[row[i] for i in some] for row in table.rows]
        )
    for note in table.notes:
        out.print(note, markup=False)
    out.print(summary.lead, markup=False)


def _side_by_side(
    header: Sequence[str], rows: Sequence[Sequence[str]], width: int
) -> list[list[int]]:
    """Columns for one table after the other, so that none is cut; the first stands in each."""
    needs = [3 + width for width in widths(header, rows)]  # with a rule and two blanks
    tables: list[list[int]] = []
    free = 0
    for i, need in enumerate(needs[1:], start=1):
        if not tables or need > free:
            tables.append([0])
            free = width - 1 - needs[0]
        tables[-1].append(i)
        free -= need
    return tables or [[0]]
