"""Tables for the terminal: what does not fit is left out as whole columns, never cut off.

Knows rows of text and the width of a terminal, nothing of what the text means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Column", "make_table"]

#: Blanks around a column's text, and the blank at the table's edge (rich.box.SIMPLE_HEAD).
_BLANKS, _EDGE = 3, 1


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: its header.
        cells: one text per row.
        left: whether the text begins at the left edge; numbers end at the right one.
        needed: whether it stays, however narrow the terminal is.
    """

    name: str
    cells: Sequence[str]
    left: bool = False
    needed: bool = False

    @property
    def width(self) -> int:
        """Characters of its widest text."""
        from rich.cells import cell_len

        return max(map(cell_len, (self.name, *self.cells)))


def make_table(
    columns: Sequence[Column],
    width: int | None = None,
    *,
    title: str = "",
    caption: str = "",
    styles: Sequence[str] = (),
) -> Table:
    """Return a table that is at most `width` characters wide.

    Args:
        columns: in the order of their importance; the last ones are left out first.
        width: of the terminal; None = there is room for all.
        title: above the table.
        caption: below it; columns that were left out are named there.
        styles: rich style of each row.
    """
    from rich import box
    from rich.table import Table

    kept = list(columns)
    while width is not None and _EDGE + sum(c.width + _BLANKS for c in kept) > width:
        last = next((column for column in reversed(kept) if not column.needed), None)
        if last is None:
            break
        kept.remove(last)
    missing = [column.name for column in columns if column not in kept]
    if missing:
        caption = f"{caption}\nno room for: {', '.join(missing)}".lstrip("\n")
    table = Table(
        title=title or None,
        caption=caption or None,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
        title_style="bold",
    )
    for column in kept:
        # A text that is wider than the terminal itself continues on the next line.
        table.add_column(column.name, justify="left" if column.left else "right", overflow="fold")
    for index, cells in enumerate(zip(*(column.cells for column in kept), strict=True)):
        table.add_row(*cells, style=styles[index] if styles else None)
    return table
