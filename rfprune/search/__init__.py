"""The search: Ray Tune executes trials, a persistent Optuna study remembers them.

`expand` turns a sweep file into a search space that fits the network, `run_sweep` runs or continues
the sweep. Importing this package loads neither ray nor optuna.
"""

from rfprune.search.drive import SweepOutcome, run_sweep
from rfprune.search.expand import expand
from rfprune.search.importance import (
    Importances,
    importance_png,
    importance_table,
    importances,
)
from rfprune.search.progress import Display, SweepEvent
from rfprune.search.sampler import choose_sampler
from rfprune.search.space import ParameterRow, Space
from rfprune.search.study import read_study, set_aside
from rfprune.search.trials import Counts, count_trials

__all__ = [
    "Counts",
    "Display",
    "Importances",
    "ParameterRow",
    "Space",
    "SweepEvent",
    "SweepOutcome",
    "choose_sampler",
    "count_trials",
    "expand",
    "importance_png",
    "importance_table",
    "importances",
    "read_study",
    "run_sweep",
    "set_aside",
]
