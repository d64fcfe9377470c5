"""Pictures of a sweep beside its front, as matplotlib figures that are drawn without pyplot.

Hypervolume over trials, parallel coordinates of searched values and objectives, and the score
against what is left of each layer. They look like the front (`rfprune.results.front_plot`): its
colours, blue for the front and grey for the rest.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rfprune.core.arrays import FloatArray
from rfprune.results.front import Front
from rfprune.results.hypervolume import hypervolume_curve
from rfprune.results.labels import number
from rfprune.results.points import Candidate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "BLUE",
    "FAINT",
    "INK",
    "hypervolume_figure",
    "hypervolume_png",
    "layers_figure",
    "new_figure",
]
__all__ += ["parallel_figure", "quiet"]

BLUE, FAINT, INK = "#1d5fb8", "#98a4b3", "#22303f"
_PANELS_PER_ROW = 4
#: Lines beside those of the front: more are a grey block.
_MOST_LINES = 400


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches, with no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def quiet(axes: Axes) -> None:
    """Give axes the look of all our pictures: no box, a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#b9c2cc")
    axes.grid(color="#e4e8ed", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9, length=3)


def hypervolume_figure(front: Front) -> Figure:
    """Return the hypervolume of the feasible points over the trials in the order they ended.

    Empty axes with a sentence where the sweep has no reference point or no finished trial.
    """
    figure = new_figure(7.0, 3.6)
    axes = figure.subplots()
    curve = hypervolume_curve(front.view)
    quiet(axes)
    axes.set_xlabel("finished trials", color=INK)
    axes.set_ylabel("hypervolume", color=INK)
    axes.set_title(front.view.name, loc="left", color=INK, weight="bold")
    if not curve:
        _say(axes, "no finished trial, or no reference point")
        return figure
    counts = [0, *(point.trials for point in curve)]
    volumes = [0.0, *(point.hypervolume for point in curve)]
    axes.step(counts, volumes, where="post", color=BLUE, linewidth=1.6)
    axes.fill_between(counts, volumes, step="post", color=BLUE, alpha=0.08, linewidth=0)
    axes.set_xlim(0, max(counts))
    axes.set_ylim(bottom=0)
    return figure


def hypervolume_png(front: Front) -> bytes:
    """Return the picture of `hypervolume_figure` as a PNG file."""
    buffer = io.BytesIO()
    hypervolume_figure(front).savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()


def parallel_figure(front: Front) -> Figure:
    """Return parallel coordinates: objectives on validation rows first, then searched values.

    One line for every candidate's trial at its best point, blue where it is on the front. Axes run
    from the worst value at the bottom to the best one at the top for objectives, from the smallest
    to the largest for searched values; text values stand in the order of the alphabet.
    """
    view = front.view
    best = _best_of_trials(front)
    names = [*view.objectives, *_varied(best)]
    figure = new_figure(max(7.0, 1.5 * len(names)), 4.4)
    axes = figure.subplots()
    axes.set_title(view.name, loc="left", color=INK, weight="bold")
    if not best:
        axes.set_axis_off()
        _say(axes, "no finished pruning step yet")
        return figure
    columns = [_Axis(name, [_value(point, name) for point in best], front) for name in names]
    heights = np.array([column.heights for column in columns]).T
    on_front = np.array([point in front.points for point in best])
    order = [*np.flatnonzero(~on_front)[:_MOST_LINES], *np.flatnonzero(on_front)]
    for row in order:
        color, width, alpha = (BLUE, 1.4, 0.85) if on_front[row] else (FAINT, 0.8, 0.4)
        axes.plot(heights[row], color=color, linewidth=width, alpha=alpha)
    for place, column in enumerate(columns):
        axes.axvline(place, color="#b9c2cc", linewidth=1)
        for height, text in column.ticks:
            axes.annotate(
                text,
                (place, height),
                (4, 0),
                size=8,
                va="center",
                color=INK,
                textcoords="offset points",
            )
    labels = [_short(name) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=20, ha="right", size=8.5)
    axes.set_yticks([])
    axes.set_xlim(-0.15, len(names) - 0.5)
    axes.spines[:].set_visible(False)
    return figure


def layers_figure(front: Front, only: Candidate | None = None) -> Figure:
    """Return the score over what is left of each layer, one panel per layer.

    Args:
        front: of the sweep.
        only: show the steps of this point's trial alone, and mark the point.
    """
    view = front.view
    steps = [
        (candidate, record.live, record.groups)
        for trial in view.trials
        if only is None or trial.number == only.trial
        for candidate, record in _records(front, trial.number)
    ]
    layers = list(dict.fromkeys(name for _, _, groups in steps for name in groups))
    columns = max(1, min(len(layers), _PANELS_PER_ROW))
    rows = max(1, -(-len(layers) // columns))
    figure = new_figure(3.0 * columns + 0.6, 2.6 * rows + 0.5)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True, sharex=True).ravel()
    figure.suptitle(
        f"{view.name}: {view.quantities[view.score].label}",
        x=0.01,
        ha="left",
        color=INK,
        weight="bold",
        size=11,
    )
    for panel, layer in zip(panels, layers, strict=False):
        _layer_panel(panel, front, steps, layer, only)
    for panel in panels[len(layers) :]:
        panel.set_visible(False)
    figure.supxlabel("multipliers left (kernels, on a processor)", color=INK, size=9.5)
    return figure


def _records(front: Front, trial: int) -> list[tuple[Candidate, Any]]:
    """Return the candidates of a trial with their records."""
    found = {r.step: r for r in front.view.folder.trial(trial).steps() if r.accepted}
    mine = [c for c in front.view.candidates if c.trial == trial and c.step in found]
    return [(candidate, found[candidate.step]) for candidate in mine]


def _layer_panel(
    panel: Axes,
    front: Front,
    steps: Sequence[tuple[Candidate, Mapping[str, int], Mapping[str, int]]],
    layer: str,
    only: Candidate | None,
) -> None:
    from matplotlib.ticker import PercentFormatter

    quiet(panel)
    panel.set_title(layer, size=9.5, color=INK)
    panel.xaxis.set_major_formatter(PercentFormatter(1.0))
    kept = [
        (live.get(layer, 0) / groups[layer], score, candidate)
        for candidate, live, groups in steps
        if groups.get(layer) and (score := candidate.metrics.get(front.view.score)) is not None
    ]
    marked = [only] if only is not None else list(front.points)
    for chosen, color, size in ((False, FAINT, 12.0), (True, BLUE, 26.0)):
        pairs = [(x, y) for x, y, candidate in kept if (candidate in marked) is chosen]
        if pairs:
            across, upward = zip(*pairs, strict=True)
            panel.scatter(across, upward, linewidths=0, color=color, s=size)
    if only is not None:
        panel.plot([x for x, _, _ in kept], [y for _, y, _ in kept], color=FAINT, linewidth=1)
    panel.set_xlim(-0.03, 1.03)


def _best_of_trials(front: Front) -> list[Candidate]:
    """Return one candidate per trial: its first one on the front, else its last accepted step."""
    chosen = []
    for trial in front.view.trials:
        mine = [c for c in trial.candidates if c in front.points] or list(trial.candidates)[-1:]
        chosen += mine[:1]
    return chosen


def _varied(points: Sequence[Candidate]) -> list[str]:
    """Return the searched paths in which points differ."""
    paths = dict.fromkeys(path for point in points for path in point.params)
    return [p for p in paths if len({str(point.params.get(p)) for point in points}) > 1]


def _value(point: Candidate, name: str) -> Any:
    return point.params[name] if name in point.params else point.metrics.get(name)


def _short(path: str) -> str:
    """Return the end of a dotted path that tells it from others."""
    parts = path.split(".")
    return ".".join(parts[-2:]) if len(parts) > 2 else path


class _Axis:
    """One axis of the parallel coordinates: heights in [0, 1] and the values at its ends."""

    def __init__(self, name: str, values: Sequence[Any], front: Front) -> None:
        known = [v for v in values if v is not None]
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in known):
            numbers: FloatArray = np.array(
                [np.nan if v is None else float(v) for v in values], dtype=np.float64
            )
            self._of_numbers(name, numbers, front)
        else:
            self._of_words([str(v) for v in values])

    def _of_numbers(self, name: str, numbers: FloatArray, front: Front) -> None:
        low, high = np.nanmin(numbers), np.nanmax(numbers)
        log = low > 0 and high / low > 50
        scaled, ends = (np.log(numbers), np.log([low, high])) if log else (numbers, (low, high))
        span = (ends[1] - ends[0]) or 1.0
        self.heights = np.nan_to_num((scaled - ends[0]) / span, nan=-0.06)
        bottom, top = low, high
        if front.view.objectives.get(name) == "min":
            self.heights, (bottom, top) = 1.0 - self.heights, (high, low)
        quantity = front.view.quantities.get(name)
        self.ticks = [
            (0.0, f"{bottom:.4g}" if quantity is None else number(quantity, float(bottom))),
            (1.0, f"{top:.4g}" if quantity is None else number(quantity, float(top))),
        ]

    def _of_words(self, words: Sequence[str]) -> None:
        kinds = sorted(set(words))
        step = 1.0 / max(1, len(kinds) - 1)
        self.heights = np.array([kinds.index(word) * step for word in words])
        self.ticks = [(index * step, kind) for index, kind in enumerate(kinds)]


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color="#5b6775")
