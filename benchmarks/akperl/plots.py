"""The plots of the AKPERL study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from benchmarks.akperl.study import Run

__all__ = ["accuracy_plot", "learning_plot"]

_COLORS = {
    "none": "#444444",
    "akperl": "#2b6cb0",
    "knapsack": "#2f855a",
    "magnitude": "#b3261e",
    "l1": "#c77700",
    "uniform": "#8a5fb0",
}


#: Energies on the axis.
_TICKS = (0.25, 0.5, 1.0, 2.0)


def accuracy_plot(panels: Mapping[str, Sequence[Run]], path: Path) -> None:
    """Draw test accuracy against energy: every seed, and means with standard deviations.

    Methods stand side by side a little, as they have the same energy.

    Args:
        panels: runs by title; those of one method and case are one point.
        path: of the picture.
    """
    figure, axes = _figure(len(panels), 5.2)
    for axis, (title, runs) in zip(axes, panels.items(), strict=True):
        for index, (method, color) in enumerate(_COLORS.items()):
            of_method = [run for run in runs if run.method == method]
            cases = dict.fromkeys(run.case for run in of_method)
            if method == "none":
                cases = dict.fromkeys(list(cases)[:1])  # it is the same in every case
            for number, case in enumerate(cases):
                last = [run.last for run in of_method if run.case == case]
                accuracy = 100 * np.array([point.accuracy for point in last])
                energy = 1.025 ** (index - 2.5) * np.mean([point.energy_mj for point in last])
                spread = accuracy.std(ddof=1) if len(last) > 1 else 0.0
                axis.scatter([energy] * len(last), accuracy, s=8, alpha=0.35, color=color, lw=0)
                label = None if number else method
                axis.errorbar(
                    energy, accuracy.mean(), spread, fmt="o", capsize=2, color=color, label=label
                )
        axis.set_title(title, fontsize=10)
        axis.set_xscale("log")
        axis.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
        axis.minorticks_off()
        axis.set_xlabel("energy per image (mJ, estimated)")
        axis.set_ylabel("test accuracy (%)")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    _save(figure, path)


def learning_plot(runs: Sequence[Run], path: Path) -> None:
    """Draw the mean largest Q-value and the greedy policy's reward over the episodes, by seed."""
    figure, (left, right) = _figure(2, 4.8)
    for run in runs:
        episodes = [episode for episode, _, _ in run.learning]
        values = [np.nan if q is None else q for _, q, _ in run.learning]
        left.plot(episodes, values, lw=1.2, label=f"seed {run.seed}")
        right.plot(episodes, [reward for _, _, reward in run.learning], lw=1.2)
    left.set_ylabel("mean largest Q-value\n(spreads of the reward)")
    right.set_ylabel("reward of the greedy policy")
    for axis in (left, right):
        axis.set_xlabel("episode")
        axis.grid(alpha=0.3)
    left.legend(fontsize=8)
    _save(figure, path)


def _figure(columns: int, width: float) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns, squeeze=False)[0]


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
