"""``rfprune check``: everything that can be known about a sweep before training."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from rfprune.cli.common import JsonOption, RunsOption, SetOption, SweepArgument, runs_option
from rfprune.tables import Column, make_table

if TYPE_CHECKING:
    from rich.table import Table

    from rfprune.search.outlook import Outlook
    from rfprune.search.outlook_edge import KernelRow

__all__ = ["check"]

#: So many reuse factors of a layer are shown.
_FACTORS = 14


def check(
    sweep: SweepArgument,
    runs: RunsOption = Path("runs"),
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Validate a sweep without training.

    Shows the resolved search space, the valid reuse factors of each layer, what the dense network
    costs, which budgets can be reached, and which optional tools were found.

    Example: rfprune check sweeps/digits.yml
    """
    from rfprune.cli.common import commands, naming, note, print_json, read_sweep_file, say, stdout
    from rfprune.search.outlook import outlook

    target = read_sweep_file(sweep, runs, overrides)
    with naming(target.source, target.spec.name):
        found = outlook(target.spec, target.base_dir)
    if as_json:
        print_json(found.as_json())
        return
    console = stdout()
    say(f"{target.source} is valid: sweep '{target.spec.name}'.", console)
    tables = (_layers, _space, _costs, _tools) if found.layers else (_kernels, _space, _costs)
    for made in tables:
        console.print(made(found, console.width))
    say(f"Sampler: {found.sampler}.", console)
    say(f"Early stop: {found.early_stop}.", console)
    for text in found.notes:
        note(text, console)
    changes = "".join(f" --set {shlex.quote(text)}" for text in overrides or [])
    commands([f"rfprune sweep {shlex.quote(sweep)}{changes}{runs_option(runs)}"])


def _layers(found: Outlook, width: int) -> Table:
    rows = found.layers
    columns = [
        Column("layer", [row.name for row in rows], left=True, needed=True),
        Column("type", [row.type for row in rows], left=True),
        Column("matrix", [f"{row.n_in} x {row.n_out}" for row in rows]),
        Column("weights", [f"{row.n_weights:,}" for row in rows]),
        Column(
            "valid reuse factors",
            [_some(row.valid_reuse_factors) for row in rows],
            left=True,
            needed=True,
        ),
    ]
    return make_table(
        columns, width, title="Layers", caption="matrix: products per output x outputs"
    )


def _kernels(found: Outlook, width: int) -> Table:
    rows = found.kernels
    columns = [
        Column("layer", [row.name for row in rows], left=True, needed=True),
        Column("kernels", [str(row.kernels) for row in rows], needed=True),
        Column("coupled", [str(row.coupled or "") for row in rows]),
        Column("macs per kernel", [f"{row.macs_per_kernel:,}" for row in rows]),
        Column("prunable", [_prunable(row) for row in rows], left=True, needed=True),
    ]
    return make_table(
        columns,
        width,
        title="Kernels",
        caption="coupled: further convolutions that lose the same kernels",
    )


def _prunable(row: KernelRow) -> str:
    if row.kept_because is not None:
        return "no"
    return "yes, all of them" if row.removable else "yes"


def _some(factors: list[int]) -> str:
    shown = factors if len(factors) <= _FACTORS else [*factors[: _FACTORS - 2], "...", factors[-1]]
    return " ".join(map(str, shown))


def _space(found: Outlook, width: int) -> Table:
    size = "a continuum" if found.space_size is None else f"{found.space_size:,} points"
    rows = found.space
    columns = [
        Column("path", [row.path for row in rows], left=True, needed=True),
        Column("values", [row.values for row in rows], left=True, needed=True),
        Column("kind", [row.kind for row in rows], left=True),
    ]
    if any(row.when for row in rows):
        columns.append(Column("when", [row.when for row in rows], left=True))
    return make_table(columns, width, title=f"Search space ({size})")


def _costs(found: Outlook, width: int) -> Table:
    rows = found.costs
    columns = [
        Column("quantity", [row.name for row in rows], left=True, needed=True),
        Column("cheapest", [_number(row.low) for row in rows], needed=True),
        Column("dearest", [_number(row.high) for row in rows], needed=True),
        Column("of the part", [_share(row.share) for row in rows]),
        Column("least by pruning", [_number(row.least, unknown="") for row in rows]),
    ]
    return make_table(
        columns,
        width,
        title=f"Dense network on {found.part}",
        caption="cheapest, dearest: with every searched value at its first and at its last",
    )


def _number(value: float | None, unknown: str = "unknown") -> str:
    return unknown if value is None else f"{value:,.6g}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:,.1%}"


def _tools(found: Outlook, width: int) -> Table:
    rows = found.tools
    columns = [
        Column("tool", [row.name for row in rows], left=True, needed=True),
        Column("found", [row.found or "no" for row in rows], left=True, needed=True),
        Column("for", [row.purpose for row in rows], left=True),
    ]
    return make_table(columns, width, title="Optional tools")
