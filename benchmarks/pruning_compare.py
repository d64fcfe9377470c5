"""Whether one pruning method is better than the others at equal cost: paired tests over seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from benchmarks.pruning import Run

__all__ = ["comparison", "holm"]


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979), in the same order."""
    order = np.argsort(p)
    stepped = np.asarray(p)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(stepped))
    return [float(one) for one in corrected]


def _pairs(runs: list[Run], case: str, ours: str, other: str) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each step with (seeds, 2): test accuracies of both methods under the same budget."""

    def by_seed(method: str) -> dict[int, dict[int, float]]:
        return {
            run.seed: {p.step: p.accuracy for p in run.points}
            for run in runs
            if (run.case, run.method) == (case, method)
        }

    mine, theirs = by_seed(ours), by_seed(other)
    seeds = sorted(mine.keys() & theirs.keys())
    steps = set.intersection(*(set(mine[s]) & set(theirs[s]) for s in seeds)) if seeds else set()
    for step in sorted(steps):
        yield step, np.array([[mine[s][step], theirs[s][step]] for s in seeds])


def comparison(runs: list[Run], ours: str = "knapsack") -> list[dict[str, Any]]:
    """Return one row per case, other method and budget: difference of accuracy and p-value.

    The test is the paired t-test over seeds, two-sided; its p-values are corrected by Holm's method
    over all rows together.
    """
    from scipy.stats import ttest_rel

    rows: list[dict[str, Any]] = []
    for case in dict.fromkeys(run.case for run in runs):
        for other in dict.fromkeys(run.method for run in runs if run.method != ours):
            for step, pairs in _pairs(runs, case, ours, other):
                difference = pairs[:, 0] - pairs[:, 1]
                same = bool(np.ptp(difference) == 0)
                rows.append(
                    {
                        "case": case,
                        "against": other,
                        "step": step,
                        "accuracy": float(pairs[:, 0].mean()),
                        "better_by": float(difference.mean()),
                        "p": 1.0 if same else float(ttest_rel(pairs[:, 0], pairs[:, 1]).pvalue),
                        "seeds": len(pairs),
                    }
                )
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = p
    return rows
