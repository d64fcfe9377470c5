"""Whether one pruning method is better than the others at equal cost: paired tests over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.pruning.measure import Run

__all__ = ["comparison", "holm"]

#: Fraction of the DSPs that must be gone for a point to be compared: above it all methods agree.
FROM = 0.65


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979), in the same order."""
    order = np.argsort(p)
    stepped = np.asarray(p)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(stepped))
    return [float(one) for one in corrected]


def _accuracies(runs: list[Run], case: str, method: str) -> dict[int, dict[int, float]]:
    """Return test accuracy by seed and step, for the steps that take at least FROM."""
    return {
        run.seed: {p.step: p.accuracy for p in run.points if p.dsp >= FROM}
        for run in runs
        if (run.case, run.method) == (case, method)
    }


def _pairs(runs: list[Run], case: str, ours: str, other: str) -> np.ndarray:
    """Return (2, seeds, budgets): both methods' test accuracies under the same budgets."""
    mine, theirs = _accuracies(runs, case, ours), _accuracies(runs, case, other)
    seeds = sorted(mine.keys() & theirs.keys())
    steps = sorted(set.intersection(*(set(by[s]) for s in seeds for by in (mine, theirs))))
    return np.array([[[by[s][step] for step in steps] for s in seeds] for by in (mine, theirs)])


def comparison(runs: list[Run], ours: str = "knapsack") -> list[dict[str, Any]]:
    """Return one row per case and other method: difference of accuracy and p-value.

    A seed's accuracy is the mean over all budgets that take at least FROM of the DSPs. The test
    is the paired t-test over seeds, two-sided; p-values are corrected by Holm's method over all
    rows. `better_by` is followed by the range over the budgets.
    """
    from scipy.stats import ttest_rel

    rows: list[dict[str, Any]] = []
    for case in dict.fromkeys(run.case for run in runs):
        for other in dict.fromkeys(run.method for run in runs if run.method != ours):
            mine, theirs = _pairs(runs, case, ours, other)
            difference = (mine - theirs).mean(axis=1)
            by_budget = (mine - theirs).mean(axis=0)
            same = bool(np.ptp(difference) == 0)
            rows.append(
                {
                    "case": case,
                    "against": other,
                    "accuracy": float(mine.mean()),
                    "better_by": float(difference.mean()),
                    "least": float(by_budget.min()),
                    "most": float(by_budget.max()),
                    "p": 1.0 if same else float(ttest_rel(mine.mean(1), theirs.mean(1)).pvalue),
                    "seeds": len(difference),
                }
            )
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = p
    return rows
