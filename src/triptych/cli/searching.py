"""``triptych search``."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
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
    Part,
    Split,
    console,
    emit,
    guarded,
    parse_value,
    part_of,
    read_data,
)
from triptych.errors import DataError, FileError, ModalityError, ParameterError

if TYPE_CHECKING:
    from triptych.dataset import Dataset
    from triptych.retrieval import Index


@guarded
def search(
    model: Model,
    data: Data,
    query: Annotated[
        list[str] | None,
        typer.Option(
            "--query",
            metavar="WORDS",
            help="What to look for: words, or NAME=VALUE with words for text, a file for a "
            "picture or sound, numbers for a vector, '@12' for row 12 of DATA. Repeat for more "
            "queries of the same modality.",
        ),
    ] = None,
    query_file: Annotated[
        list[str] | None,
        typer.Option(
            "--query-file",
            metavar="FILE",
            help="A picture, or a .wav file; NAME=FILE where several modalities are pictures.",
        ),
    ] = None,
    among: Annotated[
        str | None,
        typer.Option("--among", metavar="NAME", help="Modality to search; else the other one."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many to show.")] = 10,
    index: Annotated[
        Path | None,
        typer.Option(
            "--index",
            metavar="FOLDER",
            help="Codes kept from before, so that DATA are not coded again; made if not there.",
        ),
    ] = None,
    approximate: Annotated[
        bool,
        typer.Option("--approximate", help="Make an index for faiss, for millions of rows."),
    ] = False,
    part: Part = None,
    split: Split = None,
    modality: Modality = None,
    label: Label = None,
    faces: Faces = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Find the rows of DATA whose code lies nearest to that of a query.

    An index belongs to one model and to the rows that it was made from, and says so when it is
    asked with others.

    Example: triptych search model glyphs --query "greek small letter alpha" -k 5
    """
    from triptych.catalog import load

    method = load(model)
    asked = [_named(method, text) for text in query or ()]
    asked += [_named_file(method, text) for text in query_file or ()]
    if not asked:
        raise ParameterError("nothing to look for: give --query or --query-file.")
    if len(names := {name for name, _ in asked}) != 1:
        raise ParameterError(f"--query: expected queries of one modality, got {sorted(names)}.")
    name = asked[0][0]
    dataset = part_of(read_data(data, modality, label, faces), part, split)
    values = [_value(method, dataset, name, text) for _, text in asked]
    found = _index(method, dataset, name, among, index, approximate)
    rows, cosines = found.search(
        _container(method, name, values), min(k, len(found)), model=method
    )
    answers = []
    for i, (_, text) in enumerate(asked):
        hits = [
            {"row": int(row), "similarity": float(s), **_about(dataset, int(row))}
            for row, s in zip(rows[i], cosines[i], strict=True)
        ]
        answers.append({"query": {name: text}, "among": found.modality, "found": hits})
    if as_json:
        emit(answers)
        return
    _show(answers)


# -- what is asked ---------------------------------------------------------------------------


def _named(method: Any, text: str) -> tuple[str, str]:
    """Modality and value of ``NAME=VALUE``, or of words for the only modality of text."""
    name, equals, value = (part.strip() for part in text.partition("="))
    known = list(method.names_in_)
    if equals and name in known and value:
        return name, value
    if equals and name.isidentifier():
        what = f"unknown modality {name!r}" if name not in known else f"nothing after {text!r}"
        raise ModalityError(f"--query: {what}; the model knows {known}.")
    texts = [m for m in known if method.kinds_[m].form == "text"]
    if not text.strip():
        raise ParameterError("--query: expected words, got nothing.")
    if len(texts) != 1:
        raise ParameterError(
            f"--query: say which modality is meant, NAME={text}; the model knows {known}."
        )
    return texts[0], text.strip()


def _named_file(method: Any, text: str) -> tuple[str, str]:
    """Modality and path of ``NAME=FILE``, or of a file for the only modality of its kind."""
    known = list(method.names_in_)
    name, equals, path = text.partition("=")
    if equals and name in known:
        return name, path
    form = "waveform" if text.lower().endswith(".wav") else "image"
    fitting = [m for m in known if method.kinds_[m].form == form]
    if len(fitting) != 1:
        raise ModalityError(
            f"--query-file: expected one modality of kind {form} for {text!r}, the model has "
            f"{fitting or 'none'}; it knows {known}. Say NAME=FILE."
        )
    return fitting[0], text


def _value(method: Any, dataset: Dataset, name: str, text: str) -> Any:
    """One query from its words on the command line."""
    import numpy as np

    kind = method.kinds_[name]
    if text.startswith("@"):
        return _row_value(dataset, name, text)
    if kind.form == "text":
        return text
    if kind.form == "image":
        return _picture(text, kind.shape)
    if kind.form == "waveform":
        return _sound(text, dataset, name)
    numbers = parse_value(f"[{text}]")
    if kind.form == "vector" and isinstance(numbers, list) and len(numbers) == kind.shape[0]:
        with contextlib.suppress(TypeError, ValueError):  # words among the numbers
            return np.asarray(numbers, dtype=np.float64)
    raise ParameterError(
        f"--query: {name!r} is {kind}; expected its numbers with commas between, or @row; "
        f"got {text!r}."
    )


def _row_value(dataset: Dataset, name: str, text: str) -> Any:
    row = parse_value(text[1:])
    if not isinstance(row, int) or not 0 <= row < len(dataset) or name not in dataset.X:
        raise ParameterError(
            f"--query: expected a row from @0 to @{len(dataset) - 1}, got {text!r}."
        )
    if not dataset.X.present[name][row]:
        raise ParameterError(f"--query: {name!r} is absent in row {row}.")
    value = dataset.X[[row]][name][0]
    return value.toarray().ravel() if hasattr(value, "toarray") else value


def _picture(path: str, shape: Sequence[int | None]) -> Any:
    """A picture file as (c, h, w), scaled to the size that the model knows."""
    from triptych.media import COLOURS, read_picture

    c, h, w = (int(s or 1) for s in shape)
    colour = {channels: name for name, channels in COLOURS.items()}.get(c)
    if colour is None:
        raise ParameterError(f"--query: a picture has 1 or 3 channels; the model expects {c}.")
    try:
        return read_picture(_there(path), (w, h), colour)
    except FileError as error:
        raise FileError(f"{path}: {str(error).rstrip('.')}.") from error


def _sound(path: str, dataset: Dataset, name: str) -> Any:
    """A WAV file, at the rate and of the length that the sounds of the data are read with."""
    from triptych.media import Sounds, read_sound

    try:
        if name in dataset.X and isinstance(dataset.X[name], Sounds):
            return dataset.X[name].read_like(_there(path))
        return read_sound(_there(path))[1]
    except FileError as error:
        raise FileError(f"{path}: {str(error).rstrip('.')}.") from error


def _there(path: str) -> str:
    if not Path(path).is_file():
        raise FileError("cannot be read; there is no such file")
    return path


def _container(method: Any, name: str, values: list[Any]) -> Any:
    import numpy as np

    from triptych.modalities import Modalities

    form = method.kinds_[name].form
    if form in ("text", "waveform", "sequence"):
        return Modalities({name: values}, kinds={name: form})
    return Modalities({name: np.stack(values)})


# -- where it is looked for ------------------------------------------------------------------


def _index(
    method: Any,
    dataset: Dataset,
    name: str,
    among: str | None,
    path: Path | None,
    approximate: bool,
) -> Index:
    """The index that is there, or one made now, and kept where a path is given."""
    from triptych.retrieval import Index

    if path is not None and path.exists():
        found = Index.load(path)
        found.check_model(method)
        if among not in (None, found.modality):
            raise ModalityError(
                f"--among: {path} is an index of {found.modality!r}, not {among!r}."
            )
        if found.n_rows != len(dataset):
            raise DataError(
                f"index and data do not belong together: {path} was made from {found.n_rows} "
                f"rows, the data have {len(dataset)}. Remove it to have it made again."
            )
        if approximate and not found.approximate:
            raise ParameterError(f"--approximate: {path} is an exact index; remove it first.")
        return found
    targets = [m for m in method.names_in_ if m in dataset.X and m != name]
    target = among or (targets[0] if targets else name)
    if target not in dataset.X or target not in method.names_in_:
        raise ModalityError(f"--among: expected one of {targets}, got {target!r}.")
    if not dataset.X.present[target].any():
        raise ModalityError(f"--among: {target!r} is absent in all rows of the data.")
    made = Index.build(method, dataset.X, target, approximate=approximate)
    if path is not None:
        made.save(path)
    return made


# -- what is shown ---------------------------------------------------------------------------


def _about(dataset: Dataset, row: int) -> dict[str, Any]:
    """What tells a person which row it is: its id, its texts and files, its labels."""
    from triptych.media import FileRows

    out: dict[str, Any] = {} if dataset.ids is None else {"id": str(dataset.ids[row])}
    some = dataset.X[[row]]
    for name in some.names:
        if not some.present[name][0]:
            continue
        values = some[name]
        if isinstance(values, FileRows):
            out[name] = values.path(0)
        elif some.kind(name).form == "text":
            out[name] = str(values[0])
    return out | {name: str(values[row]) for name, values in dataset.labels.items()}


def _show(answers: Sequence[dict[str, Any]]) -> None:
    from rich.table import Table
    from rich.text import Text

    out = console()
    for answer in answers:
        words = ", ".join(f"{name}: {value}" for name, value in answer["query"].items())
        table = Table(
            title=Text(f"{answer['among']} for {words}"), title_justify="left", pad_edge=False
        )
        # A row that lacks a modality has no entry for it.
        names = dict.fromkeys(key for hit in answer["found"] for key in hit)
        for column in names:
            table.add_column(Text(column))
        for hit in answer["found"]:
            cells = [hit.get(column, "") for column in names]
            shown = [f"{v:.3f}" if isinstance(v, float) else str(v) for v in cells]
            table.add_row(*(Text(value) for value in shown))
        out.print(table)
