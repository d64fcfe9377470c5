"""Which searched parameters an objective depended on.

PED-ANOVA (Watanabe, Bansal and Hutter 2023, arXiv 2304.10255), as Optuna computes it from a study:
how much the values of a parameter among the best tenth of the trials differ from those among all.
Shares of one objective add up to 1; they say what mattered in this sweep, not in which direction.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from rfprune.core.tables import Column, make_table
from rfprune.errors import RunsError
from rfprune.results import SweepFolder
from rfprune.study.study import read_study

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from optuna.trial import FrozenTrial
    from rich.table import Table

__all__ = [
    "LEAST_TRIALS",
    "Importances",
    "importance_figure",
    "importance_png",
    "importance_table",
    "importances",
]

#: Share by path, the largest first, by objective.
Importances = Mapping[str, Mapping[str, float]]
#: Fewer trials leave one or two in the best tenth.
LEAST_TRIALS = 10
_SHOWN = 12
_COLORS = ("#1d5fb8", "#c4573f", "#3d8b5f", "#8a63c0", "#b98a1d", "#5b6775")


def importances(folder: SweepFolder) -> Importances:
    """Return the share of each searched path in each objective, the largest first.

    Empty with fewer than `LEAST_TRIALS` complete trials, and where the study is not there: a copied
    run folder shows its front without it.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.trial import TrialState

    spec = folder.spec()
    try:
        study = read_study(folder)
    except RunsError:
        return {}
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) < LEAST_TRIALS:
        return {}
    found = {}
    for column, (name, way) in enumerate(spec.objectives.items()):
        # The evaluator considers the smallest targets the best ones.
        sign = -1.0 if way == "max" else 1.0
        # Optuna warns that the evaluator is experimental.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found[name] = get_param_importances(
                study,
                evaluator=PedAnovaImportanceEvaluator(),
                target=partial(_loss, column=column, sign=sign),
            )
    return found


def _loss(trial: FrozenTrial, column: int, sign: float) -> float:
    return sign * float(trial.values[column])


def importance_table(found: Importances, width: int | None = None) -> Table:
    """Return the shares as a table for the terminal: a row for each path, the largest sum first."""
    paths = _ranked(found)
    columns = [Column("searched", list(paths), left=True, needed=True)]
    for name, shares in found.items():
        columns.append(Column(name, [f"{shares.get(path, 0.0):.0%}" for path in paths]))
    return make_table(
        columns, width, title="What the objectives depended on", caption="shares by PED-ANOVA"
    )


def importance_png(found: Importances) -> bytes:
    """Return the shares as bars (PNG); see `importance_figure`."""
    buffer = io.BytesIO()
    importance_figure(found).savefig(buffer, format="png", facecolor="white")
    return buffer.getvalue()


def importance_figure(found: Importances) -> Figure:
    """Return the shares as bars: a group for each path, a colour for each objective."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    paths = _ranked(found)[:_SHOWN]
    if not paths:
        return _nothing()
    height = 0.8 / len(found)
    figure = Figure(figsize=(8.5, 1.1 + 0.42 * len(paths)), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    rows = np.arange(len(paths))
    for index, (name, shares) in enumerate(found.items()):
        widths = [shares.get(path, 0.0) for path in paths]
        color = _COLORS[index % len(_COLORS)]
        axes.barh(rows + index * height, widths, height, label=name, color=color)
    axes.set_yticks(rows + 0.4 - height / 2, paths, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel("share of the objective (PED-ANOVA)")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    return figure


def _nothing() -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 1.6), dpi=130)
    FigureCanvasAgg(figure)
    words = f"no importances: they need at least {LEAST_TRIALS} complete trials and their study"
    figure.text(0.5, 0.5, words, ha="center", color="#5b6775")
    return figure


def _ranked(found: Importances) -> list[str]:
    """Return the paths, that with the largest sum of shares first."""
    sums: dict[str, float] = {}
    for shares in found.values():
        for path, share in shares.items():
            sums[path] = sums.get(path, 0.0) + share
    return sorted(sums, key=lambda path: (-sums[path], path))
