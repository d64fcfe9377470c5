"""Figures for pages that work offline."""

from __future__ import annotations

import io
from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["picture_page", "svg"]

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<meta name="color-scheme" content="light dark">
<style>
:root{{--paper:#fff;--ink:#22303f;--soft:#5b6775;--line:#b9c2cc;--grid:#e4e8ed;--front:#1d5fb8;
--faint:#98a4b3;--bad:#c4573f;--mark:#e08a00}}
@media (prefers-color-scheme:dark){{:root{{--paper:#12181f;--ink:#e6ebf0;--soft:#98a5b3;
--line:#46525f;--grid:#232d37;--front:#6aa7f5;--faint:#7b8896;--bad:#ef8a72;--mark:#ffb84d}}}}
body{{font:15px/1.45 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:75rem;
margin:2rem auto;padding:0 1rem}}
figure{{margin:2rem 0;overflow-x:auto}}figcaption{{color:var(--soft);max-width:45rem}}
svg{{width:100%;height:auto;display:block;fill:var(--ink)}}
</style></head>
<body><h1>{title}</h1>
{pictures}
</body></html>
"""
#: Names of colours on a page, by the colours of our figures.
_THEME = {
    "#22303f": "ink",
    "#000000": "ink",
    "#5b6775": "soft",
    "#b9c2cc": "line",
    "#e4e8ed": "grid",
    "#1d5fb8": "front",
    "#98a4b3": "faint",
    "#c4573f": "bad",
    "#e08a00": "mark",
    "#ffffff": "paper",
}
#: CSS pixels of an inch, and the share of its size down to which a figure shrinks.
_PIXELS, _LEAST = 96, 0.75


def svg(figure: Figure, facecolor: str = "white") -> str:
    """Return a figure as an SVG element, without the header of a file."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", facecolor=facecolor, metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def picture_page(title: str, figures: Mapping[str, Figure]) -> str:
    """Return one HTML page with figures as vectors; it loads nothing from elsewhere.

    Args:
        title: of the page.
        figures: by what is written below them.
    """
    pictures = (
        f"<figure>{_themed(figure)}<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, figure in figures.items()
    )
    return _PAGE.format(title=escape(title), pictures="\n".join(pictures))


def _themed(figure: Figure) -> str:
    """Return a figure as SVG that takes its colours from the page, for light and for dark.

    It is never wider than it was drawn, and never so small that its letters could not be read: on
    a phone it is moved sideways.
    """
    text = svg(figure, facecolor="none")
    for color, name in _THEME.items():
        text = text.replace(f": {color}", f": var(--{name})")
    width = figure.get_figwidth() * _PIXELS
    style = f"max-width:{width:.0f}px;min-width:{_LEAST * width:.0f}px"
    return text.replace("<svg ", f'<svg style="{style}" ', 1)
