"""Figures for notebooks and for pages that work offline."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["for_notebooks", "picture_page", "svg"]

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>body{{font:15px system-ui,sans-serif;color:#22303f;max-width:70rem;margin:2rem auto;
padding:0 1rem}}svg{{max-width:100%;height:auto;display:block;margin:1.5rem 0}}</style></head>
<body><h1>{title}</h1>
{pictures}
</body></html>
"""


def for_notebooks(figure: Figure) -> Figure:
    """Return a figure, and let a notebook show such figures as pictures.

    matplotlib does so only once pyplot is loaded or ``%matplotlib inline`` has been said.
    """
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None:
        formatter = shell.display_formatter.formatters["image/png"]
        kind = type(figure)
        if kind not in formatter.type_printers:
            formatter.for_type(kind, _png)
    return figure


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()


def svg(figure: Figure) -> str:
    """Return a figure as an SVG element, without the header of a file."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", facecolor="white", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def picture_page(title: str, figures: Sequence[Figure]) -> str:
    """Return one HTML page with figures as vectors; it loads nothing from elsewhere."""
    return _PAGE.format(title=escape(title), pictures="\n".join(map(svg, figures)))
