"""``triptych fit``, and what can be asked of the model that it writes."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
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
    Model,
    Only,
    Part,
    Settings,
    Split,
    console,
    emit,
    guarded,
    model_names,
    only_some,
    parse_settings,
    part_of,
    read_data,
)
from triptych.cli.naming import name_by_text
from triptych.errors import CapabilityError, ModalityError, ParameterError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from triptych.dataset import Dataset
    from triptych.modalities import Modalities

Npz = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="The .npz file to write.")
]


@guarded
def fit(
    data: Data,
    method: Annotated[
        str, typer.Option("--method", metavar="NAME", help="See 'triptych methods'.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="The model folder to write.")
    ],
    settings: Settings = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the method.")] = 0,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="NAME",
            help="Label to learn, for methods that take labels (see 'triptych methods'); of a "
            "table, the column it stands in.",
        ),
    ] = None,
    split: Split = None,
    modality: Modality = None,
    only: Only = None,
    faces: Faces = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Fit one method on DATA and save it as a folder.

    It learns from the training rows of the split and watches the validation rows; data without
    a split are used whole. A deep method stopped with Ctrl-C goes on when the same command is
    given again. Started by torchrun or accelerate launch, its processes share each batch, and
    the first one writes the model.

    Example: triptych fit glyphs --method CLIP -o m --set training__epochs=20

    Or: torchrun --nproc_per_node=2 -m triptych fit glyphs --method CLIP -o m
    """
    from triptych import catalog
    from triptych.contracts.persistence import MANIFEST
    from triptych.folders import check_place

    dataset = only_some(read_data(data, modality, label, faces), only)
    model: Any = catalog.find(method)()
    check_place(output, MANIFEST)  # before hours of training, not after
    resumable = "training" in model_names(model)
    checkpoint = output.parent / f".{output.name}.checkpoint"
    if "random_state" in model_names(model):
        model.set_params(random_state=seed)
    if resumable:
        live = sys.stderr.isatty() and not as_json
        model.set_params(training__checkpoint=str(checkpoint), training__progress=live)
    model.set_params(**parse_settings(settings))
    train, valid = _rows(dataset, split)
    y = chosen = None
    able = model.capabilities
    if able.needs_labels or (able.uses_labels and label):
        import numpy as np

        from triptych.evaluation.columns import choose_label

        asked = label[0] if label else None
        several = [name for name, values in train.labels.items() if np.ndim(values) == 2]
        chosen = asked if asked in several else choose_label(train, asked)
        if chosen is None and several:
            chosen = several[0]
        y = None if chosen is None else train.labels[chosen]
        valid = None if valid is None or chosen is None else (valid.X, valid.labels[chosen])
    elif valid is not None:
        valid = valid.X
    _say_what_is_replaced(output, type(model).__name__)
    try:
        model.fit(train.X, y, validation=valid)
    except KeyboardInterrupt:
        more = f"The same command goes on from {checkpoint}." if checkpoint.exists() else ""
        raise KeyboardInterrupt(more) from None
    if os.environ.get("RANK", "0") != "0":
        return  # every process has learnt the same; the first one writes it
    if resumable:
        # Where it was trained is no part of the model, and the file would not be there.
        model.set_params(training__checkpoint=None, training__progress=False)
    model.save(output)
    if resumable:
        shutil.rmtree(checkpoint, ignore_errors=True)
    about: dict[str, Any] = {
        "model": str(output),
        "method": type(model).__name__,
        "modalities": list(model.names_in_),
        "rows": len(train),
        "parameters": int(model.n_parameters),
    }
    if as_json:
        emit({**about, "label": chosen})
    else:
        of = f" and the label {chosen!r}" if chosen is not None else ""
        typer.echo(
            f"{about['method']} of {', '.join(about['modalities'])}{of} learnt from {len(train)} "
            f"rows ({about['parameters']} numbers): {output}"
        )


@guarded
def embed(
    model: Model,
    data: Data,
    output: Npz,
    part: Part = None,
    split: Split = None,
    modality: Modality = None,
    label: Label = None,
    faces: Faces = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write the codes of DATA, with ids and labels, to one .npz file.

    Its keys are 'code' for fusion, the modalities for coordination, 'shared' and the modalities
    for fission; rows that lack a part are marked in '<part>__present'.

    Example: triptych embed model glyphs --part test --output codes.npz
    """
    from triptych.catalog import load
    from triptych.modalities import Modalities, make_parts

    method = load(model)
    dataset = part_of(read_data(data, modality, label, faces), part, split)
    codes = method.transform(_known(dataset, method))
    if not isinstance(codes, Modalities):
        codes = make_parts({"code": codes}, {})
    _write(dataset, codes, output)
    shapes = {name: list(codes[name].shape) for name in codes.names}
    if as_json:
        emit({"codes": str(output), "shapes": shapes})
    else:
        words = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
        typer.echo(f"{words}: {output}")


@guarded
def evaluate(
    model: Model,
    data: Data,
    label: Label = None,
    zero_shot: Annotated[
        str | None,
        typer.Option(
            "--zero-shot",
            metavar="LABEL",
            help="Instead, name the class of test rows by the text that lies nearest.",
        ),
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(
            "--template",
            metavar="TEXT",
            help="With --zero-shot, what is said of a class, '{}' being its name: 'a letter of "
            "{}'. Repeat for more, which are averaged; the name alone if left out.",
        ),
    ] = None,
    given: Annotated[
        str | None,
        typer.Option(
            "--given", metavar="NAME", help="With --zero-shot, the modality that is looked at."
        ),
    ] = None,
    split: Split = None,
    modality: Modality = None,
    faces: Faces = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Judge a model on DATA by every measure.

    Probes learn from the training rows of the split and are asked on the test rows; these must
    not be rows that the model has learnt from.

    Example: triptych evaluate model glyphs --label script

    Or: triptych evaluate model glyphs --zero-shot script --template "{} LETTER"
    """
    from rich.table import Table
    from rich.text import Text

    from triptych.catalog import load
    from triptych.comparison import divided
    from triptych.evaluation import columns
    from triptych.evaluation import evaluate as judge
    from triptych.report.numbers import shown_unit

    if zero_shot is None and (template or given):
        raise ParameterError("--template and --given say nothing without --zero-shot.")
    method = load(model)
    named = [*(label or ()), *([zero_shot] if zero_shot else ())]
    dataset = read_data(data, modality, list(dict.fromkeys(named)) or None, faces)
    parts, _ = divided(dataset, split, label[0] if label else None)
    if not dataset.splits:
        typer.echo(
            f"warning: the data have no split, so {len(parts.test)} of {len(dataset)} rows are "
            "judged, drawn by chance. 'triptych fit' learns from all rows of such data: a model "
            "that learnt from these has seen the rows it is judged by.",
            err=True,
        )
    if zero_shot is not None:
        name_by_text(method, dataset, parts.test, zero_shot, template or ["{}"], given, as_json)
        return
    values = judge(method, parts.train, parts.test, label=parts.label)
    if as_json:
        emit(values)
        return
    table = Table("measure", "value", "unit", pad_edge=False)
    for column in columns(parts.train, parts.label):
        value = values[column["key"]]
        if "value" in value:
            unit, divisor = shown_unit(column["unit"])
            number = value["value"] / divisor
            # Counts are whole, and would lose their digits to an exponent.
            shown = f"{number:,.0f}" if unit == "numbers" else f"{number:.4g}"
            cells = column["title"], shown, unit
            table.add_row(*(Text(str(cell)) for cell in cells))
    out = console()
    out.print(table)
    for name, about in getattr(method, "gate_statistics_", {}).items():
        mean, shut = float(about["mean"].mean()), 100 * float(about["saturated"])
        out.print(
            f"gates of {name}: {mean:.3f} open on average, {shut:.0f} % of them nearly shut or "
            "fully open, over the rows learnt from",
            markup=False,
        )
    for measures, why in _left_out(columns(parts.train, parts.label), values):
        out.print(f"left out: {measures}; {why.removeprefix('does not apply: ')}", markup=False)


@guarded
def reconstruct(
    model: Model,
    data: Data,
    output: Npz,
    given: Annotated[
        list[str] | None,
        typer.Option("--given", metavar="A,B", help="Rebuild from these modalities only."),
    ] = None,
    part: Part = None,
    split: Split = None,
    modality: Modality = None,
    label: Label = None,
    faces: Faces = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Rebuild every modality of DATA from those given, into one .npz file.

    Rows that have none of them are marked in '<name>__present'.

    Example: triptych reconstruct model glyphs --given text --part test --output rebuilt.npz
    """
    from triptych.catalog import load
    from triptych.evaluation.codes import usable_rows

    method = load(model)
    dataset = part_of(read_data(data, modality, label, faces), part, split)
    X = _known(dataset, method)
    chosen = [name.strip() for part in given or () for name in part.split(",") if name.strip()]
    X = X.select(*chosen) if chosen else X
    rows = usable_rows(method, X)
    if not rows.any():
        raise CapabilityError(
            f"no row has what {type(method).__name__} rebuilds from, of {list(X.names)}."
        )
    rebuilt = method.reconstruct(X[rows])
    _write(dataset, rebuilt if rows.all() else _spread(rebuilt, rows), output)
    names = {"from": list(X.names), "rebuilt": list(rebuilt.names)}
    if as_json:
        emit({"output": str(output), "rows": len(rebuilt), **names})
    else:
        left = f" ({int((~rows).sum())} of {len(rows)} rows have none)" * (not rows.all())
        typer.echo(
            f"{', '.join(names['rebuilt'])} of {len(rebuilt)} rows, rebuilt from "
            f"{', '.join(names['from'])}{left}: {output}"
        )


def _spread(X: Modalities, rows: NDArray[np.bool_]) -> Modalities:
    """The rows (k, ...) in their places among all (n,), the others absent."""
    import numpy as np

    from triptych.modalities import Modalities

    data: dict[str, Any] = {}
    for name in X.names:
        values = X[name]
        if isinstance(values, np.ndarray):
            data[name] = np.zeros((len(rows), *values.shape[1:]), values.dtype)
            data[name][rows] = values
        else:
            data[name] = [None] * len(rows)
            for at, value in zip(np.flatnonzero(rows), values, strict=True):
                data[name][at] = value
    forms = {name: X.kind(name).form for name in X.names}
    return Modalities(data, kinds=forms, present=dict.fromkeys(X.names, rows))


def _left_out(
    listed: Sequence[Mapping[str, Any]], values: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, str]]:
    """Measures without a value, together by why; many of one group by how many they are."""
    silent: dict[str, dict[str, list[str]]] = {}
    for column in listed:
        if "why" in (value := values[column["key"]]):
            silent.setdefault(value["why"], {}).setdefault(column["group"], []).append(
                column["title"]
            )
    return [
        (
            ", ".join(
                f"{len(titles)} measures of {group}" if len(titles) > 3 else ", ".join(titles)
                for group, titles in groups.items()
            ),
            why,
        )
        for why, groups in silent.items()
    ]


def _rows(dataset: Dataset, split: str | None) -> tuple[Dataset, Any]:
    if not dataset.splits:
        if split is not None:
            raise ParameterError(f"--split: the data have none; got {split!r}.")
        return dataset, None
    valid = dataset.part("valid", split)
    return dataset.part("train", split), valid if len(valid) else None


def _say_what_is_replaced(folder: Path, name: str) -> None:
    """A note where a model of another method stands in the place of the new one."""
    from triptych.contracts.persistence import read_manifest
    from triptych.errors import PersistenceError

    try:
        before = str(read_manifest(folder)["class"]).rpartition(".")[2]
    except (KeyError, PersistenceError):
        return  # none there, or one that nobody can read
    if before != name:
        typer.echo(
            f"note: {folder} holds a fitted {before}; {name}, once fitted, replaces it.", err=True
        )


def _known(dataset: Dataset, method: Any) -> Any:
    """The modalities that the model knows; a note names others, and those that are not there."""
    names = [name for name in dataset.X.names if name in method.names_in_]
    if not names:
        raise ModalityError(
            f"the model was fitted on {list(method.names_in_)}; the data have "
            f"{list(dataset.X.names)}."
        )
    for what, some in (
        ("left aside, since the model was not fitted on it", set(dataset.X.names) - {*names}),
        (
            "absent from all rows, though the model was fitted on it",
            {*method.names_in_} - {*names},
        ),
    ):
        for name in sorted(some):
            typer.echo(f"note: {name!r} is {what}.", err=True)
    return dataset.X.select(*names)


def _write(dataset: Dataset, X: Any, output: Path) -> None:
    from triptych.files import write_npz

    write_npz(dataclasses.replace(dataset, X=X), output)
