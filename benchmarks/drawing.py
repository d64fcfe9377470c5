"""How the pictures of the pages look: one palette, one way to lay out and write them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BLUE, RED, GREEN, ORANGE = "#2b6cb0", "#b3261e", "#2f855a", "#c77700"
VIOLET, GREY, PINK, TEAL = "#8a5fb0", "#555555", "#d5719f", "#17a2a2"
#: In the order in which they are used; GREY is for what others are compared with.
PALETTE = (BLUE, RED, GREEN, ORANGE, VIOLET, PINK, TEAL, GREY)


@contextmanager
def picture(
    path: Path,
    panels: int = 1,
    columns: int | None = None,
    size: tuple[float, float] = (5.0, 3.6),
    **subplots: Any,
) -> Iterator[Any]:
    """Yield the axes of a picture, and write it when they are drawn.

    Args:
        path: of the PNG.
        panels: how many axes.
        columns: of them beside each other; all if not given.
        size: of one panel, inches.
        subplots: what `matplotlib.figure.Figure.subplots` takes.

    Yields:
        (panels,) axes; they come with the palette and a grid.
    """
    # Not by pyplot: it would choose a backend for the process, and keep the figures.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = columns or panels
    rows = -(-panels // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **subplots).flat
    for axis in axes[panels:]:
        axis.set_visible(False)
    for axis in axes[:panels]:
        axis.set_prop_cycle(color=PALETTE)
        axis.grid(alpha=0.3)
    yield axes[:panels]
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
