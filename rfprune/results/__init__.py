"""What trials leave behind: run folders and their records, and the Pareto front made of them.

Needs neither the study nor MLflow nor torch. A front is a view that can be made again at any time.
"""

from rfprune.results.comparison import SweepComparison, compare
from rfprune.results.figures import (
    hypervolume_figure,
    hypervolume_png,
    layers_figure,
    parallel_figure,
)
from rfprune.results.folders import SweepFolder, TrialFolder, find_sweep
from rfprune.results.front import (
    BudgetPoint,
    Front,
    TrialCounts,
    best_per_budget,
    build_front,
    read_front,
)
from rfprune.results.front_page import front_html
from rfprune.results.front_plot import front_figure, front_png
from rfprune.results.front_text import budget_table, front_csv, front_json, front_table
from rfprune.results.hypervolume import hypervolume, hypervolume_curve
from rfprune.results.points import Candidate, SweepView, read_single, read_sweep
from rfprune.results.records import Provenance, StepRecord, TrialResult
from rfprune.results.select import ChosenPoint, Ranking, choose
from rfprune.results.significance import TrialComparison, compare_trials

__all__ = [
    "BudgetPoint",
    "Candidate",
    "ChosenPoint",
    "Front",
    "Provenance",
    "Ranking",
    "StepRecord",
    "SweepComparison",
    "SweepFolder",
    "SweepView",
    "TrialComparison",
    "TrialCounts",
    "TrialFolder",
    "TrialResult",
    "best_per_budget",
    "budget_table",
    "build_front",
    "choose",
    "compare",
    "compare_trials",
    "find_sweep",
    "front_csv",
    "front_figure",
    "front_html",
    "front_json",
    "front_png",
    "front_table",
    "hypervolume",
    "hypervolume_curve",
    "hypervolume_figure",
    "hypervolume_png",
    "layers_figure",
    "parallel_figure",
    "read_front",
    "read_single",
    "read_sweep",
]
