"""The study: what a sweep searches, what was tried, and what is tried next. Optuna keeps it.

`expand` turns a sweep file into a search space that fits the network; `Record` says which trial
comes next. Importing this package does not load optuna.
"""

from rfprune.study.events import Listener, SweepEvent
from rfprune.study.expand import expand
from rfprune.study.importance import (
    Importances,
    importance_figure,
    importance_png,
    importance_table,
    importances,
)
from rfprune.study.sampler import choose_sampler
from rfprune.study.space import ParameterRow, Space
from rfprune.study.study import read_study, set_aside
from rfprune.study.trials import StudyCounts, count_trials

__all__ = [
    "Importances",
    "Listener",
    "ParameterRow",
    "Space",
    "StudyCounts",
    "SweepEvent",
    "choose_sampler",
    "count_trials",
    "expand",
    "importance_figure",
    "importance_png",
    "importance_table",
    "importances",
    "read_study",
    "set_aside",
]
