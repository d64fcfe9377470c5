"""Plots of predicted against reported values, one PNG per family."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.estimates.targets import Pair

__all__ = ["draw"]

_QUANTITIES = ("dsp", "bram18", "lut", "ff")
_CYCLES = ("latency_cycles", "ii_cycles")
_COLORS = ("#1b6ca8", "#c8553d", "#3a7d44", "#8a5a9e", "#b08900", "#555555", "#e377c2", "#17a2a2")


def _families() -> dict[str, tuple[str, Callable[[Pair], bool], tuple[str, ...]]]:
    hls = tuple(f"hls_{q}" for q in _QUANTITIES)
    synthesis = tuple(f"synthesis_{q}" for q in _QUANTITIES)

    def single(pair: Pair) -> bool:
        return not pair.report.source.startswith("project:")

    return {
        "dense_hls.png": ("Dense layers, C synthesis", single, (*hls, *_CYCLES)),
        "dense_synthesis.png": ("Dense networks, logic synthesis", single, synthesis),
        "projects_hls.png": (
            "Whole projects, C synthesis",
            lambda pair: not single(pair),
            (*hls, *_CYCLES),
        ),
    }


def _label(pair: Pair) -> str:
    return f"{pair.report.source.split(':')[-1]}, {pair.report.strategy}"


def _panel(axes: object, pairs: list[Pair], quantity: str, colors: dict[str, str]) -> None:
    for label in sorted({_label(pair) for pair in pairs}):
        mine = [pair for pair in pairs if _label(pair) == label]
        axes.scatter(  # type: ignore[attr-defined]
            [p.truth for p in mine],
            [p.predicted for p in mine],
            s=12,
            alpha=0.6,
            color=colors[label],
            label=label,
            linewidths=0,
        )
    high = max(max(p.truth, p.predicted) for p in pairs) * 1.3 + 1
    axes.plot([0, high], [0, high], color="#999999", linewidth=0.8, zorder=0)  # type: ignore[attr-defined]
    for axis in ("x", "y"):
        getattr(axes, f"set_{axis}scale")("symlog", linthresh=1)
        getattr(axes, f"set_{axis}lim")(0, high)
    axes.set_title(quantity, fontsize=10)  # type: ignore[attr-defined]
    axes.set_xlabel("reported", fontsize=8)  # type: ignore[attr-defined]
    axes.set_ylabel("predicted", fontsize=8)  # type: ignore[attr-defined]
    axes.tick_params(labelsize=7)  # type: ignore[attr-defined]


def draw(pairs: list[Pair], folder: Path) -> list[Path]:
    """Write one PNG per family of designs into `folder` and return their paths."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, (title, chosen, quantities) in _families().items():
        mine = [pair for pair in pairs if chosen(pair)]
        shown = [q for q in quantities if any(pair.quantity == q for pair in mine)]
        if not shown:
            continue
        names = sorted({_label(pair) for pair in mine})
        colors = dict(zip(names, _COLORS * len(names), strict=False))
        columns = 3 if len(shown) > 4 else 2
        rows = -(-len(shown) // columns)
        figure, grid = pyplot.subplots(
            rows, columns, figsize=(3.6 * columns, 3.5 * rows), squeeze=False
        )
        for axes in grid.flat[len(shown) :]:
            axes.set_visible(False)
        for axes, quantity in zip(grid.flat, shown, strict=False):
            _panel(axes, [pair for pair in mine if pair.quantity == quantity], quantity, colors)
        entries = {
            label: handle
            for axes in grid.flat
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        labels = list(entries)
        figure.legend(
            entries.values(), labels, loc="lower center", ncols=2, fontsize=7, frameon=False
        )
        figure.suptitle(title, fontsize=12)
        figure.tight_layout(rect=(0, 0.04 + 0.022 * len(labels) / 2, 1, 1))
        figure.savefig(folder / name, dpi=110)
        pyplot.close(figure)
        made.append(folder / name)
    return made
