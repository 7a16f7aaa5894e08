"""What all commands share: options, how data are read, how values are parsed, how errors end."""

from __future__ import annotations

import ast
import dataclasses
import functools
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, ParamSpec

import typer

from triptych.errors import FileError, ParameterError, TriptychError

if TYPE_CHECKING:
    from rich.console import Console

    from triptych.dataset import Dataset

P = ParamSpec("P")

INTERRUPTED = 130

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A data set that is always there (see 'triptych datasets') or a path: an .npz file, "
        "a folder of .npy files, or a table (.csv, .tsv, .parquet) with --modality.",
    ),
]
Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A model folder that 'triptych fit' wrote.")
]
Modality = Annotated[
    list[str] | None,
    typer.Option(
        "--modality",
        metavar="NAME=COLUMNS:KIND",
        help="A modality of a table: 'words=caption:text', 'size=width,height:vector', or files "
        "whose paths stand in a column: 'image=path:picture', 'image=path:picture:64x48:grey', "
        "'sound=take:sound:8000:2s'. Repeat for each.",
    ),
]
Label = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="NAME",
        help="Label to probe; of a table, the column it stands in. Repeat for more columns: "
        "the first is probed.",
    ),
]
Split = Annotated[
    str | None, typer.Option("--split", metavar="NAME", help="Which split; the first if left out.")
]
Part = Annotated[
    str | None,
    typer.Option("--part", metavar="PART", help="Only rows of train, valid or test."),
]
Only = Annotated[
    str | None,
    typer.Option("--only", metavar="A,B", help="Only these modalities; all if left out."),
]
Faces = Annotated[
    int | None,
    typer.Option("--faces", min=1, max=12, help="How many typefaces of the glyphs to use."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="A parameter, nested ones with two underscores: 'training__epochs=5', "
        "'n_components=32'. The value is JSON or a Python literal, else a word. Repeat for more.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def guarded(command: Callable[P, None]) -> Callable[P, None]:
    """Let a command end in one line and an exit code instead of a traceback."""

    @functools.wraps(command)
    def inner(*args: P.args, **kwargs: P.kwargs) -> None:
        python = warnings.formatwarning
        warnings.formatwarning = _in_words
        try:
            command(*args, **kwargs)
        except KeyboardInterrupt as stop:
            _end(f"stopped. {stop}".strip(), INTERRUPTED, kwargs)
        except TriptychError as error:
            _end(str(error), 1, kwargs)
        except typer.Exit:
            raise
        except BrokenPipeError:
            # Whoever read our output has seen enough; Python would complain when it flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except OSError as error:
            _end(str(error), 1, kwargs)
        except Exception as error:
            words = f"{type(error).__name__}: {error}"
            _end(f"this should not have happened: {words} (--debug shows where)", 1, kwargs)
        finally:
            warnings.formatwarning = python

    return inner


def _in_words(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """A warning without the line of our code that gave it."""
    return f"warning: {' '.join(str(message).split())}\n"


def _end(words: str, code: int, kwargs: Mapping[str, Any]) -> None:
    if kwargs.get("debug"):
        traceback.print_exc()
    typer.echo("error: " + " ".join(words.split()), err=True)
    raise typer.Exit(code)


def console(*, err: bool = False) -> Console:
    """Where people read; wide where nobody does, so that a log is not broken into lines."""
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    return Console(stderr=err, highlight=False, width=None if stream.isatty() else 160)


def widths(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """Characters of each column: values whole, headings broken only between their words."""
    return [
        max(min(len(title), 14), *map(len, [*title.split(), *(row[i] for row in rows)]))
        for i, title in enumerate(header)
    ]


def print_grid(out: Console, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table whose first column and values are never cut; only headings break into lines."""
    from rich.table import Table
    from rich.text import Text

    grid = Table(pad_edge=False)
    for i, (title, width) in enumerate(zip(header, widths(header, rows), strict=True)):
        side: Literal["left", "right"] = "right" if i else "left"
        grid.add_column(Text(title), justify=side, vertical="bottom", width=width)
    for row in rows:
        grid.add_row(*(Text(cell) for cell in row))
    out.print(grid)


def emit(value: Any) -> None:
    """Print JSON; what is not finite becomes ``null``, which all readers understand."""
    typer.echo(json.dumps(_finite(value), indent=2, ensure_ascii=False, default=str))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value


def parse_value(text: str) -> Any:
    """``5``, ``1e-3``, ``true``, ``None``, ``[1, 2]``, ``(1, 2)`` or a word.

    Example:
        >>> [parse_value(v) for v in ("5", "true", "None", "(1, 2)", "cosine", "'5'")]
        [5, True, None, (1, 2), 'cosine', '5']
    """
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return text


def parse_settings(given: Iterable[str] | None) -> dict[str, Any]:
    """``["n_components=8"]`` as a dict of values."""
    out = {}
    for entry in given or ():
        name, equals, value = entry.partition("=")
        if not equals or not name.strip():
            raise ParameterError(f"--set: expected name=value, got {entry!r}.")
        out[name.strip()] = parse_value(value.strip())
    return out


def parse_pairs(given: Iterable[str] | None, option: str) -> dict[str, str]:
    """``["words=caption:text"]`` as a dict of words."""
    out = {}
    for entry in given or ():
        name, equals, value = entry.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise ParameterError(f"{option}: expected name=..., got {entry!r}.")
        out[name.strip()] = value.strip()
    return out


def read_data(
    data: str,
    modality: list[str] | None = None,
    label: list[str] | None = None,
    faces: int | None = None,
) -> Dataset:
    """The data set that a command was given."""
    from triptych import datasets

    named = parse_pairs(modality, "--modality")
    if data in datasets.DATASETS:
        if named:
            raise ParameterError(f"--modality is for tables; {data!r} is a data set of ours.")
        if faces is not None and data != "glyphs":
            raise ParameterError(f"--faces is for the glyphs, got it with {data!r}.")
        return datasets.load_glyphs(faces=faces) if faces is not None else datasets.load(data)
    if faces is not None:
        raise ParameterError("--faces is for the glyphs.")
    if not Path(data).exists():
        known = ", ".join(datasets.DATASETS)
        raise FileError(f"{data!r} is neither a file or folder nor a data set of ours ({known}).")
    from triptych import files

    if not files.is_table(data) and not named:
        return datasets.load(data)
    return files.read(data, modalities=named or None, labels=label or None)


def only_some(dataset: Dataset, only: str | None) -> Dataset:
    """The same rows with the modalities named; all without names."""
    if only is None:
        return dataset
    names = [name.strip() for name in only.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise ParameterError(f"--only: expected modalities, each once, as in 'a,b'; got {only!r}.")
    return dataclasses.replace(dataset, X=dataset.X.select(*names))


def part_of(dataset: Dataset, part: str | None, split: str | None) -> Dataset:
    """The rows of one part of a split, or all."""
    if part is None:
        if split is not None:
            raise ParameterError("--split says nothing without --part.")
        return dataset
    return dataset.part(part, split)


def model_names(method: Any) -> list[str]:
    """Names of a method's parameters, for messages."""
    return sorted(method.get_params(deep=False))
