"""The page and the plot of `benchmarks.adaptive`."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import sentence, table

__all__ = ["PAGE", "page", "plot"]

PAGE = "docs/results/adaptive.md"
#: Batches of which the plot shows the mean accuracy.
WINDOW = 15
_COLORS = {"clean": "#eef3ee", "noisy": "#f4e6e1", "dark": "#dcdfe8"}
_LINES = (("adaptive", "#2b6cb0", 2.0), ("unpruned", "#444444", 1.0), ("smallest", "#b3261e", 1.0))


def page(result: dict[str, Any], about: str) -> str:
    """Return the result as Markdown."""
    switched = result["switching"]
    train, val, test = result["rows"]
    parts = [
        "# One network, several levels",
        f"Made by `{result['command']}` in {result['seconds']:.0f} s. {sentence(result['facts'])}",
        about.strip(),
        f"Images: {result['data']}; {train} training, {val} validation and {test} test rows.",
        "## Time",
        f"One thread, batches of {switched['images']} images, median of repeated passes.",
        table(result["times"], list(result["times"][0])),
        "A decision is the input statistics and the policy's answer, here again and again. After "
        "a switch the caches hold the feature maps of another level; both times were taken in "
        "turns, lower quartiles, and beside them the difference of the two in one turn, median "
        "[quartiles]. Between two batches a decision finds its code and its pixels in no cache; "
        "the last columns count it so.",
        table(switched["rows"], list(switched["rows"][0])),
        "## Accuracy",
        "Together: the levels in one set of weights. Alone: a network per level, from the same "
        "dense network, with as many epochs. Not fitted: the dense network's weights, with the "
        "norms' statistics taken anew.",
        table(result["accuracies"], list(result["accuracies"][0])),
        "## A drifting stream",
        f"The policy wants {result['least_accuracy']:.3f}, what the unpruned network has on clean "
        f"validation rows less 8 points, for the least power. Power is {result['power_source']}, "
        f"at {result['images_per_second']:.0f} images per second.",
        "![level, accuracy and power over the stream](adaptive/stream.png)",
        table(_summary(result), ("", "mean accuracy", "mean power mW", "batches above the budget")),
        table(_answers(result), ("condition", "budget", "batches", "mean level", "mean power mW")),
        _sampled(result["stream"]),
    ]
    return "\n\n".join(parts) + "\n"


def _summary(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the stream's means, adaptive and at each level."""
    rows, power = result["stream"], result["power_mw"]
    found = [("adaptive", [r["accuracy"] for r in rows], [r["power_mw"] for r in rows])]
    for level, drawn in enumerate(power):
        accuracy = [r["accuracy_of_levels"][level] for r in rows]
        found.append((f"always level {level}", accuracy, [drawn] * len(rows)))
    budgets = [r["budget_mw"] for r in rows]
    return [
        {
            "": name,
            "mean accuracy": float(np.mean(accuracy)),
            "mean power mW": round(float(np.mean(drawn))),
            "batches above the budget": sum(
                p > b * (1 + 1e-9) for p, b in zip(drawn, budgets, strict=True)
            ),
        }
        for name, accuracy, drawn in found
    ]


def _answers(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the mean level for each condition, with and without a limit."""
    rows, dense_mw = result["stream"], result["power_mw"][0]
    found = []
    for condition, limited in dict.fromkeys(
        (r["condition"], r["budget_mw"] < dense_mw * 0.999) for r in rows
    ):
        same = [
            r
            for r in rows
            if (r["condition"], r["budget_mw"] < dense_mw * 0.999) == (condition, limited)
        ]
        found.append(
            {
                "condition": condition,
                "budget": "falls and rises" if limited else "no limit",
                "batches": len(same),
                "mean level": float(np.mean([r["level"] for r in same])),
                "mean power mW": round(float(np.mean([r["power_mw"] for r in same]))),
            }
        )
    return found


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw level, accuracy and power over the stream, one above the other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = result["stream"]
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(2, 3, 3))
    time = np.arange(len(rows))
    top.step(time, [r["level"] for r in rows], where="mid", color=_LINES[0][1], lw=2)
    top.set_yticks(range(len(result["power_mw"])))
    top.invert_yaxis()
    top.set_ylabel("level\n(down: more pruned)")
    curves = (
        [r["accuracy"] for r in rows],
        [r["accuracy_of_levels"][0] for r in rows],
        [r["accuracy_of_levels"][-1] for r in rows],
    )
    for values, (name, color, width) in zip(curves, _LINES, strict=True):
        middle.plot(time, _rolling(values), color=color, lw=width, label=name)
    middle.axhline(result["least_accuracy"], color="#777777", ls=":", label="wanted")
    middle.set_ylabel(f"accuracy, {WINDOW} batches")
    bottom.plot(time, [r["budget_mw"] for r in rows], color="#777777", ls="--", label="budget")
    bottom.step(time, [r["power_mw"] for r in rows], where="mid", color=_LINES[0][1], label="used")
    bottom.set_ylabel("power (mW, estimated)")
    bottom.set_xlabel(f"batch of {result['switching']['images']} images")
    middle.legend(fontsize=8, loc="lower left", ncols=4)
    bottom.legend(fontsize=8, loc="lower left")
    for axis in (top, middle, bottom):
        _shade(axis, rows, labelled=axis is top)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def _sampled(rows: list[dict[str, Any]]) -> str:
    """Return what it changes that decisions look at a sample of the images."""
    same = sum(row["level"] == row["level_by_all_images"] for row in rows)
    return (
        f"Decisions look at 8 of the images of a batch: {same} of {len(rows)} batches got the "
        "level that the statistics of all images would have given."
    )


def _rolling(values: list[float]) -> Any:
    """Return means over the last `WINDOW` batches, fewer at the start."""
    sums = np.cumsum([0.0, *values])
    ends = np.arange(1, len(sums))
    starts = np.maximum(ends - WINDOW, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def _shade(axis: Any, rows: list[dict[str, Any]], labelled: bool) -> None:
    """Colour the conditions, and name them above."""
    changes = [i for i in range(1, len(rows)) if rows[i]["condition"] != rows[i - 1]["condition"]]
    for start, end in pairwise([0, *changes, len(rows)]):
        condition = rows[start]["condition"]
        axis.axvspan(start - 0.5, end - 0.5, color=_COLORS[condition], lw=0)
        if labelled:
            where = ((start + end) / 2, 1.03)
            axis.text(*where, condition, transform=axis.get_xaxis_transform(), ha="center")
    axis.set_xlim(-0.5, len(rows) - 0.5)
