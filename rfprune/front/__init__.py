"""The Pareto front of a sweep, read from its run folders: points, choice, tables, pictures.

Needs neither the study nor MLflow nor torch. A front is a view that can be made again at any time.
"""

from rfprune.front.front import (
    BudgetPoint,
    Front,
    TrialCounts,
    best_per_budget,
    build_front,
    read_front,
)
from rfprune.front.html import front_html
from rfprune.front.hypervolume import hypervolume, hypervolume_curve
from rfprune.front.plot import front_png
from rfprune.front.points import Candidate, SweepView, read_single, read_sweep
from rfprune.front.report import budget_table, front_csv, front_json, front_table
from rfprune.front.select import Choice, Ranking, choose

__all__ = [
    "BudgetPoint",
    "Candidate",
    "Choice",
    "Front",
    "Ranking",
    "SweepView",
    "TrialCounts",
    "best_per_budget",
    "budget_table",
    "build_front",
    "choose",
    "front_csv",
    "front_html",
    "front_json",
    "front_png",
    "front_table",
    "hypervolume",
    "hypervolume_curve",
    "read_front",
    "read_single",
    "read_sweep",
]
