"""A page for people, as Markdown and as an HTML page that works offline.

Both are written from the same parts, so that they cannot differ in what they say. Knows no network.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

__all__ = [
    "Code",
    "Grid",
    "Heading",
    "Items",
    "Part",
    "Picture",
    "Text",
    "shown",
    "write_page",
]

_PICTURE = "front.png"


@dataclass(frozen=True)
class Text:
    """A paragraph; ``**bold**`` and backticks as in Markdown."""

    text: str


@dataclass(frozen=True)
class Heading:
    """A section's title."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list of paragraphs."""

    rows: Sequence[str]


@dataclass(frozen=True)
class Grid:
    """A table; the first column is text, the others are right-aligned in HTML."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Code:
    """Lines to be typed."""

    text: str


@dataclass(frozen=True)
class Picture:
    """The front of the sweep, as PNG; a file of its own beside the page."""

    content: bytes


Part = Text | Heading | Items | Grid | Code | Picture


def write_page(folder: Path, title: str, parts: Sequence[Part]) -> None:
    """Write ``report.md``, ``report.html`` and the picture of a page.

    Args:
        folder: of the export.
        title: of the page.
        parts: what stands on it.
    """
    for part in parts:
        if isinstance(part, Picture):
            (folder / _PICTURE).write_bytes(part.content)
    text = "\n\n".join([f"# {title}", *map(_markdown, parts)])
    (folder / "report.md").write_text(text + "\n", encoding="utf-8")
    page = files("rfprune.export").joinpath("report.html").read_text(encoding="utf-8")
    page = page.replace("__TITLE__", html.escape(title))
    body = "\n".join(map(_html, parts))
    (folder / "report.html").write_text(page.replace("__BODY__", body), encoding="utf-8")


def shown(value: float | None) -> str:
    """Return an amount as text, ``-`` where it is not known."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"


def _markdown(part: Part) -> str:
    match part:
        case Heading(text):
            return f"## {text}"
        case Items(rows):
            return "\n".join(f"- {row}" for row in rows)
        case Grid(columns, rows):
            rule = ["---", *["---:"] * (len(columns) - 1)]
            return "\n".join(f"| {' | '.join(row)} |" for row in (columns, rule, *rows))
        case Code(text):
            return f"```\n{text}\n```"
        case Picture():
            return f"![front of the sweep, the chosen point marked]({_PICTURE})"
        case Text(text):
            return text


def _html(part: Part) -> str:
    match part:
        case Heading(text):
            return f"<h2>{html.escape(text)}</h2>"
        case Items(rows):
            return f"<ul>{''.join(f'<li>{_inline(row)}</li>' for row in rows)}</ul>"
        case Grid(columns, rows):
            head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
            body = "".join(
                f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>"
                for row in rows
            )
            return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        case Code(text):
            return f"<pre>{html.escape(text)}</pre>"
        case Picture(content):
            data = base64.b64encode(content).decode()
            return f'<img alt="front of the sweep" src="data:image/png;base64,{data}">'
        case Text(text):
            return f"<p>{_inline(text)}</p>"


def _inline(text: str) -> str:
    """Return Markdown's bold and code as HTML."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
