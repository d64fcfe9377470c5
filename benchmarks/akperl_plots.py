"""The plots of the AKPERL study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from benchmarks.akperl import Run

__all__ = ["accuracy_plot", "learning_plot"]

_COLORS = {
    "none": "#444444",
    "akperl": "#2b6cb0",
    "knapsack": "#2f855a",
    "magnitude": "#b3261e",
    "l1": "#c77700",
    "uniform": "#8a5fb0",
}


def accuracy_plot(cases: Mapping[str, Sequence[Run]], path: Path) -> None:
    """Draw test accuracy against energy, one panel per case: every seed, and means with s.d.

    Args:
        cases: runs by name of the case.
        path: of the picture.
    """
    figure, panels = _figure(len(cases), 4.2)
    for axis, (case, runs) in zip(panels, cases.items(), strict=True):
        for method in (name for name in _COLORS if any(r.method == name for r in runs)):
            last = [run.last for run in runs if run.method == method]
            energy = np.array([point.energy_mj for point in last])
            accuracy = 100 * np.array([point.accuracy for point in last])
            color = _COLORS[method]
            axis.scatter(energy, accuracy, s=9, alpha=0.35, color=color, lw=0)
            axis.errorbar(
                energy.mean(),
                accuracy.mean(),
                accuracy.std(ddof=1) if len(last) > 1 else None,
                energy.std(ddof=1) if len(last) > 1 else None,
                fmt="o",
                ms=5,
                capsize=2,
                color=color,
                label=method,
            )
        axis.set_title(case, fontsize=10)
        axis.set_xlabel("energy per image (mJ, estimated)")
        axis.set_ylabel("test accuracy (%)")
        axis.grid(alpha=0.3)
    panels[0].legend(fontsize=8)
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
