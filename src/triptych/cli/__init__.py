"""The command line: ``triptych compare`` and its parts.

``triptych --help`` loads nothing heavy, so commands import what they need when they run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from triptych.cli.comparing import compare, report
from triptych.cli.lists import datasets, methods
from triptych.cli.measuring import measure
from triptych.cli.models import embed, evaluate, fit, reconstruct
from triptych.cli.searching import search

__all__ = ["app", "main"]

app = typer.Typer(
    name="triptych",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    add_completion=False,
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"triptych {version('triptych')}")
        except PackageNotFoundError:
            typer.echo("triptych (not installed)")
        raise typer.Exit


@app.callback()
def _face(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Learn and compare representations of multimodal data.

    Fusion gives one code, coordination comparable codes, fission shared and private parts.
    What each command takes: triptych COMMAND --help

    Start with: triptych compare glyphs --quick
    """


# Each fits on its line of an 80-column terminal.
_COMMANDS: dict[Callable[..., None], str] = {
    compare: "Compare methods beside honest baselines, in one page.",
    fit: "Fit one method and save it.",
    embed: "Write the codes of data.",
    evaluate: "Judge a saved model by every measure.",
    reconstruct: "Rebuild modalities from others.",
    search: "Find what lies nearest to a query.",
    measure: "Measure what modalities tell about a target.",
    report: "Make the page again from a record.",
    methods: "List the methods and what they can do.",
    datasets: "List the data sets that are always there.",
}
for _command, _short in _COMMANDS.items():
    app.command(short_help=_short)(_command)


def main() -> None:
    """What the ``triptych`` command calls."""
    app()
