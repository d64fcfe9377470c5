"""What ``rfprune check`` shows of the data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rfprune.cli.common import say
from rfprune.core.tables import Column, make_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from rfprune.data.overview import Overview

__all__ = ["show_data"]

#: Rows of a table that are shown, and names that are listed; ``--json`` has all of them.
_SHOWN, _NUMBERED, _LISTED = 20, 4, 40


def show_data(found: Overview, console: Console) -> None:
    """Print rows, features, targets, and what was left out."""
    parts = ", ".join(f"{count:,} {part}" for part, count in found.rows.items())
    shapes = " and ".join(
        f"{name}: {_shape(shape)}" if name else _shape(shape)
        for name, shape in found.shapes.items()
    )
    place = "; read from the file as needed" if found.in_file else ""
    say(f"Data: {found.source}, rows: {parts}, each of shape {shapes}{place}.", console)
    console.print(_targets(found, console.width))
    console.print(_features(found, console.width))
    for part, (low, mean, high) in found.weights.items():
        say(f"Weights of {part} rows: {low:.4g} to {high:.4g}, mean {mean:.4g}.", console)
    if found.left_out:
        say(f"Left out: {_listed(found.left_out)}.", console)
    constant = [f"{r.input} {r.name}".strip() for r in found.features if r.low == r.high]
    if constant:
        say(f"The same in every training row: {_listed(constant)}.", console)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _LISTED
    return f"{', '.join(names[:_LISTED])}{f' and {more} more' if more > 0 else ''}"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _more(count: int, shown: int = _SHOWN) -> str:
    return f"and {count - shown} more, see --json" if count > shown else ""


def _targets(found: Overview, width: int) -> Table:
    rows = found.targets[:_SHOWN]
    columns = [Column("target", [f"{r.head} {r.name}".strip() for r in rows], True, True)]
    if any(row.count is not None for row in rows):
        for part, total in found.rows.items():
            cells = ["" if r.count is None else f"{r.count[part]:,}" for r in rows]
            columns.append(Column(part, cells, needed=True))
            shares = ["" if r.count is None else f"{r.count[part] / total:.1%}" for r in rows]
            columns.append(Column("of " + part, shares))
    if any(row.low is not None for row in rows):
        for name in ("low", "high"):
            values = [getattr(row, name) for row in rows]
            columns.append(Column(name, ["" if v is None else f"{v:.6g}" for v in values]))
    return make_table(columns, width, title="Targets", caption=_more(len(found.targets)))


def _features(found: Overview, width: int) -> Table:
    # Numbered features say less than columns with names.
    shown = _NUMBERED if all(r.name.isdigit() for r in found.features) else _SHOWN
    rows = found.features[:shown]
    columns = [Column("feature", [f"{r.input} {r.name}".strip() for r in rows], True, True)]
    for name in ("low", "high", "offset", "scale"):
        columns.append(Column(name, [f"{getattr(row, name):.6g}" for row in rows]))
    caption = "of training rows, raw; the network gets (raw - offset) / scale"
    more = _more(len(found.features), shown)
    return make_table(columns, width, title="Features", caption=f"{caption}\n{more}".strip())
