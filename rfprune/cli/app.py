"""The verbs of the command line, in the order of a user's work."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import typer

from rfprune.cli.check import check
from rfprune.cli.cluster import cancel, logs, status, submit
from rfprune.cli.estimate import estimate
from rfprune.cli.export import export
from rfprune.cli.listing import list_names
from rfprune.cli.pareto import pareto
from rfprune.cli.prune import prune
from rfprune.cli.schema import schema
from rfprune.cli.sweep import sweep
from rfprune.cli.track import track
from rfprune.cli.ui import ui

__all__ = ["app"]

app = typer.Typer(
    name="rfprune",
    help="FPGA-resource-aware pruning of PyTorch networks, and sweeps over it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from rfprune import __version__

        typer.echo(f"rfprune {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and exit."
    ),
) -> None:
    """FPGA-resource-aware pruning of PyTorch networks, and sweeps over it."""


_WORK: tuple[Callable[..., None], ...] = (check, sweep, prune, pareto, export, estimate, ui, track)
_CLUSTERS: tuple[Callable[..., None], ...] = (submit, status, logs, cancel)


def _help(verb: Callable[..., None]) -> str:
    """Return the docstring with one line per paragraph, for the terminal to wrap."""
    paragraphs = inspect.cleandoc(verb.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(text.split()) for text in paragraphs)


for _verb in _WORK:
    app.command(help=_help(_verb))(_verb)
for _verb in _CLUSTERS:
    app.command(help=_help(_verb), rich_help_panel="Clusters")(_verb)
app.command("list", help=_help(list_names))(list_names)
app.command(help=_help(schema))(schema)
