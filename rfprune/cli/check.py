"""``rfprune check``: everything that can be known about a sweep before training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rfprune.cli.common import JsonOption, RunsOption, SetOption, SweepArgument

if TYPE_CHECKING:
    from rich.table import Table

    from rfprune.search.outlook import Outlook

__all__ = ["check"]


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
    from rfprune.cli.common import print_json, read_sweep_file, stdout
    from rfprune.search.outlook import outlook

    target = read_sweep_file(sweep, runs, overrides)
    found = outlook(target.spec, target.base_dir)
    if as_json:
        print_json(found.as_json())
        return
    console = stdout()
    console.print(f"[bold]{target.source}[/] is valid: sweep '{target.spec.name}'.")
    console.print(_layers(found))
    console.print(_space(found))
    console.print(f"Sampler: {found.sampler}")
    console.print(_costs(found))
    for note in found.notes:
        console.print(f"[yellow]Note:[/] {note}")
    console.print(_tools(found))
    console.print(f"\nNext: rfprune sweep {sweep}")


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    return table


def _layers(found: Outlook) -> Table:
    table = _table(
        "Layers", "layer", "type", "products x outputs", "weights", "valid reuse factors"
    )
    for row in found.layers:
        factors = row.valid_reuse_factors
        shown = " ".join(
            map(str, factors if len(factors) < 14 else [*factors[:12], "...", factors[-1]])
        )
        table.add_row(row.name, row.type, f"{row.n_in} x {row.n_out}", f"{row.n_weights}", shown)
    return table


def _space(found: Outlook) -> Table:
    size = "a continuum" if found.space_size is None else f"{found.space_size} points"
    table = _table(f"Search space ({size})", "path", "kind", "values", "when")
    for row in found.space:
        table.add_row(row.path, row.kind, row.values, row.when)
    return table


def _costs(found: Outlook) -> Table:
    table = _table(
        f"Dense network on {found.part}",
        "quantity",
        "cheapest",
        "dearest",
        "of the part",
        "least by pruning",
    )
    for row in found.costs:
        table.add_row(
            row.name,
            *(_number(v) for v in (row.low, row.high)),
            _share(row.share),
            _number(row.least),
        )
    return table


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.6g}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _tools(found: Outlook) -> Table:
    table = _table("Optional tools", "tool", "found", "for")
    for row in found.tools:
        table.add_row(row.name, row.found or "no", row.purpose)
    return table
