"""Pieces of a page for people, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["amount", "bullets", "grid"]


def bullets(rows: Iterable[str]) -> str:
    """Return a list."""
    return "\n".join(f"- {row}" for row in rows)


def grid(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the first column is text, the others are right-aligned."""
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (columns, rule, *rows))


def amount(value: float | None) -> str:
    """Return an amount as text, ``-`` where it is not known."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"
