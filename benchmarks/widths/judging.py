"""What points say of a tool: LUTs at which a score is kept, and whole fronts beside each other."""

from itertools import product
from typing import Any

import numpy as np

from rfprune.core.arrays import FloatArray

#: Parts of the dense network's score at which LUTs are asked for; of a resolution, its inverse's.
SHARES = (0.99, 0.98, 0.97)
#: Accuracies of converged dense networks that earlier figures refer to, beside this run's own.
BARS = {"jets": 0.6700}
#: Metrics of which smaller values are better.
FALLING = ("resolution",)
#: The tool that the others are compared with.
OURS = "rfprune"

Points = list[dict[str, Any]]


def crossing(lut: list[float], score: list[float], level: float) -> float | None:
    """Return the LUTs from which on an isotonic fit of the score is at least `level`.

    Between two points in the logarithm of LUTs; None if no point reaches it, or all do.
    """
    from sklearn.isotonic import IsotonicRegression

    order = np.argsort(lut)
    x = np.log(np.array(lut)[order])
    fit = IsotonicRegression().fit_transform(x, np.array(score)[order])
    above = np.flatnonzero(fit >= level)
    if not len(above) or above[0] == 0:
        return None
    right = int(above[0])
    share = (level - fit[right - 1]) / (fit[right] - fit[right - 1])
    return float(np.exp(x[right - 1] + share * (x[right] - x[right - 1])))


def crossings(rows: Points, by: str) -> Points:
    """Return per task, bar, share and tool the crossing of every seed, their mean, and p.

    p is of Welch's t-test of the logarithm of LUTs beside the first tool's, where every seed of
    both tools crosses.
    """
    found = []
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        # The bar is the same for all seeds and tools: the mean of the dense networks.
        dense = float(np.mean(_rising([row for row in own if row.get("step") == 0])))
        bars = [dense, *([BARS[task]] if task in BARS else [])]
        for bar, share in product(bars, SHARES):
            level = share * bar if bar > 0 else bar / share
            first: list[float | None] = []
            for tool in dict.fromkeys(row["tool"] for row in own):
                each = [_crossed(trial, by, level) for trial in _by_seed(own, tool)]
                first = first or each
                known = [value for value in each if value is not None]
                found.append(
                    {
                        "task": task,
                        "dense": f"{abs(bar):.4f}",
                        "share": f"{share:.2f}",
                        "tool": tool,
                        "seeds": len(each),
                        "reached": len(known),
                        "mean LUT": float(np.mean(known)) if known else None,
                        "spread": float(np.std(known, ddof=1)) if len(known) > 1 else None,
                        "lowest": min(known, default=None),
                        "highest": max(known, default=None),
                        "p": None if each is first else _p_of(first, each),
                    }
                )
    return found


def _crossed(trial: Points, by: str, level: float) -> float | None:
    front = [row for row in trial if row.get(by)]
    return crossing([row[by] for row in front], _rising(front), level) if front else None


def _p_of(first: list[float | None], other: list[float | None]) -> float | None:
    """Return Welch's p of two tools' crossings; None where one has too few of them."""
    from scipy.stats import ttest_ind

    a, b = [[np.log(lut) for lut in each if lut is not None] for each in (first, other)]
    if min(len(a), len(b)) < 2 or None in [*first, *other]:
        return None
    return float(ttest_ind(a, b, equal_var=False).pvalue)


def fronts(rows: Points, by: str) -> Points:
    """Return the mean score of each tool's fronts over the logarithm of LUTs beside the first's.

    The front at so many LUTs is the point within them that is best on validation rows; what is
    averaged is its score on rows to judge, on the range of LUTs that every seed of both tools
    reaches: the hypervolume, per factor of e in LUTs. p is of Welch's t-test over seeds.
    """
    found = []
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task and row.get(by)]
        first, *others = dict.fromkeys(row["tool"] for row in own)
        for tool in others:
            pair = beside(_by_seed(own, first), _by_seed(own, tool), by)
            if pair is not None:
                found.append({"task": task, "tool": tool, **pair})
    return found


def beside(first: list[Points], other: list[Points], by: str) -> dict[str, Any] | None:
    """Return the mean scores of two tools' trials on their common range; None without one."""
    from scipy.stats import ttest_ind

    every = [*first, *other]
    low = max(min(row[by] for row in trial) for trial in every)
    high = min(max(row[by] for row in trial) for trial in every)
    if low >= high:
        return None
    grid = np.geomspace(low, high, 200)
    ours, theirs = [[_mean_score(trial, by, grid) for trial in each] for each in (first, other)]
    compared = min(len(ours), len(theirs)) > 1
    return {
        "seeds": f"{len(ours)} and {len(theirs)}",
        "from LUT": round(low),
        "to LUT": round(high),
        OURS: f"{abs(np.mean(ours)):.4f}",
        "the other": f"{abs(np.mean(theirs)):.4f}",
        "ahead by": f"{np.mean(ours) - np.mean(theirs):+.4f}",
        "p": float(ttest_ind(ours, theirs, equal_var=False).pvalue) if compared else None,
    }


def ablations(rows: Points, without: Points) -> Points:
    """Return what the LUTs of the adder graph become when one thing is left out, same seeds."""
    found = []
    for label in dict.fromkeys(row["tool"] for row in without):
        less = _by_seed(without, label)
        seeds = {trial[0]["seed"] for trial in less}
        whole = [trial for trial in _by_seed(rows, OURS) if trial[0]["seed"] in seeds]
        # The mean dense network of these seeds is the bar of both.
        both = [row for trial in whole for row in trial]
        pair = [*both, *(row for trial in less for row in trial)]
        line: dict[str, Any] = {"left out": label}
        by_share = {(r["tool"], r["share"]): r for r in crossings(pair, "lut")}
        for share in SHARES:
            ours, theirs = [by_share[t, f"{share:.2f}"]["mean LUT"] for t in (OURS, label)]
            known = ours is not None and theirs is not None
            line[f"LUT at {share}"] = f"{theirs / ours:.2f} x" if known else None
        built, other = ([[r for r in t if r.get("lut")] for t in part] for part in (whole, less))
        front = beside(built, other, "lut") or {}
        found.append({**line, "score lost": front.get("ahead by"), "p": front.get("p")})
    return found


def best_ramp(rows: Points) -> tuple[float, ...]:
    """Return the ramp that is the best on validation rows, over all seeds.

    The best is the one whose mean accuracy over the logarithm of LUTs, on the range that all ramps
    reach, is highest.
    """
    ramps = sorted({tuple(row["ramp"]) for row in rows})
    parts = {ramp: [r for r in rows if tuple(r["ramp"]) == ramp] for ramp in ramps}
    low = max(min(r["lut"] for r in part) for part in parts.values())
    high = min(max(r["lut"] for r in part) for part in parts.values())
    grid = np.linspace(np.log(max(low, 1)), np.log(max(high, low, 1)), 50)

    def merit(ramp: tuple[float, ...]) -> float:
        part = sorted(parts[ramp], key=lambda r: r["lut"])
        best = np.maximum.accumulate(_rising(part, "val_score"))
        return float(np.interp(grid, np.log([max(r["lut"], 1) for r in part]), best).mean())

    return max(ramps, key=merit)


def _rising(rows: Points, key: str = "score") -> list[float]:
    """Return scores of which larger ones are better."""
    return [-row[key] if row["metric"] in FALLING else row[key] for row in rows]


def _by_seed(rows: Points, tool: str) -> list[Points]:
    own = [row for row in rows if row["tool"] == tool]
    return [[r for r in own if r["seed"] == seed] for seed in dict.fromkeys(r["seed"] for r in own)]


def _mean_score(trial: Points, by: str, grid: FloatArray) -> float:
    """Return the mean score, the larger the better, of what is best on validation rows."""
    order = sorted(trial, key=lambda row: float(row[by]))
    lut = np.array([row[by] for row in order])
    held, judged = np.array(_rising(order, "val_score")), np.array(_rising(order))
    best = [int(np.argmax(held[: count + 1])) for count in range(len(order))]
    return float(judged[best][np.searchsorted(lut, grid, side="right") - 1].mean())
