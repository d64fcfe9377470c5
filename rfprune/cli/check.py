"""``rfprune check``: everything that can be known about a sweep before training."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rfprune.cli.common import (
    JsonOption,
    RunsOption,
    SetOption,
    SweepArgument,
)
from rfprune.core.tables import Column, make_table

if TYPE_CHECKING:
    from rich.table import Table

    from rfprune.study.outlook import CostRow, Outlook

__all__ = ["check"]


def check(
    sweep: SweepArgument,
    runs: RunsOption = Path("runs"),
    overrides: SetOption = None,
    as_json: JsonOption = False,
    fast: Annotated[
        bool,
        typer.Option(
            "--fast", help="Do not convert the untrained network and compare its C++ with torch."
        ),
    ] = False,
) -> None:
    """Validate a sweep without training.

    Shows the data (rows, features and their ranges, classes and their balance, what was left out),
    the resolved search space, the valid reuse factors of each layer, what the dense network
    costs, which budgets can be reached, and which optional tools were found. For an FPGA it also
    converts the untrained network and compares its C++ with torch, once for each network and
    settings, so that what would fail after the training fails here.

    Example: rfprune check sweeps/digits.yml
    """
    from rfprune.cli.common import (
        commands,
        naming,
        note,
        print_json,
        read_sweep_file,
        runs_option,
        say,
        stdout,
    )
    from rfprune.cli.data_tables import show_data
    from rfprune.study.outlook import NetworkTables, outlook

    target = read_sweep_file(sweep, runs, overrides)
    # The study names faults by the sweep; whoever checks a file looks for the file's name.
    with naming(target.source, target.spec.name):
        found = outlook(target.spec, target.base_dir, rehearse=not fast)
    if as_json:
        print_json(found.as_json())
        return
    console = stdout()
    say(f"{target.source} is valid: sweep '{target.spec.name}', {found.task}.", console)
    show_data(found.data, console)
    networks = found.networks or {"": NetworkTables(found.layers, found.numbers)}
    for label, tables in networks.items():
        for table in filter(None, tables):
            title = f"{table.title} of {label}" if label else table.title
            width, caption = console.width, table.caption
            console.print(make_table(table.columns, width, title=title, caption=caption))
    for made in (_space, _costs, *([_tools] if found.tools else [])):
        console.print(made(found, console.width))
    say(f"Sampler: {found.sampler}.", console)
    say(f"Early stop: {found.early_stop}.", console)
    for text in found.notes:
        note(text, console)
    # What is suggested is what was checked, overrides included.
    changes = "".join(f" --set {shlex.quote(text)}" for text in overrides or [])
    commands([f"rfprune sweep {shlex.quote(sweep)}{changes}{runs_option(runs)}"])


def _space(found: Outlook, width: int) -> Table:
    size = "a continuum" if found.space_size is None else f"{found.space_size:,} points"
    rows = found.parameters
    columns = [
        Column("path", [row.path for row in rows], left=True, needed=True),
        Column("values", [row.values for row in rows], left=True, needed=True),
        Column("kind", [row.kind for row in rows], left=True),
    ]
    if any(row.when for row in rows):
        columns.append(Column("when", [row.when for row in rows], left=True))
    return make_table(columns, width, title=f"Search space ({size})")


def _costs(found: Outlook, width: int) -> Table:
    by_name = {row.name: row for row in found.costs}
    # The ends of a quantity's interval stand beside it.
    rows = [r for r in found.costs if r.name.removesuffix(".low").removesuffix(".high") == r.name]

    def with_interval(row: CostRow, corner: str) -> str:
        text = _number(getattr(row, corner))
        ends = [by_name.get(f"{row.name}.{end}") for end in ("low", "high")]
        values = [getattr(end, corner) for end in ends if end is not None]
        if len(values) < 2 or None in values:
            return text
        return f"{text} ({_brief(values[0])}-{_brief(values[1])})"

    columns = [
        Column("quantity", [row.name for row in rows], left=True, needed=True),
        Column("cheapest", [with_interval(row, "low") for row in rows], left=True, needed=True),
        Column(
            "most expensive", [with_interval(row, "high") for row in rows], left=True, needed=True
        ),
        Column("of the part", ["" if r.share is None else f"{r.share:,.0%}" for r in rows]),
        Column("least after pruning", [_number(row.least, unknown="") for row in rows]),
    ]
    return make_table(
        columns,
        width,
        title=f"Dense network on {found.part}",
        caption="at the corners of the space: every searched value at its first, and at its last; "
        "in brackets what holds in nine of ten designs",
    )


def _number(value: float | None, unknown: str = "unknown") -> str:
    return unknown if value is None else f"{value:,.6g}"


def _brief(value: float) -> str:
    return f"{value:.3g}" if value < 1e3 else f"{value / 1e3:.{int(value < 1e4)}f}k"


def _tools(found: Outlook, width: int) -> Table:
    rows = found.tools
    columns = [
        Column("tool", [row.name for row in rows], left=True, needed=True),
        Column("found", [row.found or "no" for row in rows], left=True, needed=True),
        Column("for", [row.purpose for row in rows], left=True),
    ]
    return make_table(columns, width, title="Optional tools")
