"""Figures as what a notebook's cell shows."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["for_notebooks"]


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
