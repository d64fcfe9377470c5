"""The verbs of the command line, in the order of a user's work."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import typer

from rfprune.cli.adapt import adapt
from rfprune.cli.calibrate import calibrate_device
from rfprune.cli.calibrate_estimates import calibrate
from rfprune.cli.certify import certify
from rfprune.cli.check import check
from rfprune.cli.clean import clean
from rfprune.cli.cluster import cancel, logs, status, submit
from rfprune.cli.compare import compare
from rfprune.cli.estimate import estimate
from rfprune.cli.export import export
from rfprune.cli.federate import federate
from rfprune.cli.listing import list_names
from rfprune.cli.pareto import pareto
from rfprune.cli.prune import prune
from rfprune.cli.quantize import quantize
from rfprune.cli.retarget import retarget
from rfprune.cli.schema import schema
from rfprune.cli.sweep import sweep
from rfprune.cli.track import track
from rfprune.cli.ui import ui

__all__ = ["app"]

app = typer.Typer(
    name="rfprune",
    help="FPGA-resource-aware pruning of PyTorch networks, and sweeps over it.",
    no_args_is_help=True,
    # Our own messages are complete; rich's tracebacks would bury them.
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


_WORK: tuple[Callable[..., None], ...] = (
    check,
    sweep,
    retarget,
    prune,
    pareto,
    compare,
    export,
    certify,
    quantize,
    adapt,
    federate,
    estimate,
    calibrate,
    calibrate_device,
    ui,
    track,
    clean,
)
_CLUSTERS: tuple[Callable[..., None], ...] = (submit, status, logs, cancel)


def _help(verb: Callable[..., None]) -> str:
    """Return the docstring with one line per paragraph, for the terminal to wrap."""
    paragraphs = inspect.cleandoc(verb.__doc__ or "").split("\n\n")
    return "\n\n".join(" ".join(text.split()) for text in paragraphs)


for _verb in _WORK:
    app.command(_verb.__name__.replace("_", "-"), help=_help(_verb))(_verb)
for _verb in _CLUSTERS:
    app.command(help=_help(_verb), rich_help_panel="Clusters")(_verb)
app.command("list", help=_help(list_names))(list_names)
app.command(help=_help(schema))(schema)
