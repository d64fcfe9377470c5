"""One network, several levels of pruning, a drifting input: the command, its page and plot."""

import argparse
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.adaptive.data import images
from benchmarks.adaptive.measure import SETTINGS, measure
from benchmarks.drawing import BLUE, GREY, RED, picture
from benchmarks.report import Study, render, sentence, table

#: Batches of which the plot shows the mean accuracy.
WINDOW = 15
_SHADES = {"clean": "#eef3ee", "noisy": "#f4e6e1", "dark": "#dcdfe8"}


def page(result: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    train, val, test = result["rows"]
    rows = result["stream"]
    same = sum(row["level"] == row["level_by_all_images"] for row in rows)
    return render(
        "adaptive",
        made=f"Made by `{result['command']}` in {result['seconds']:.0f} s. "
        f"{sentence(result['facts'])}",
        images=f"Images: {result['data']}; {train} training, {val} validation and {test} test "
        "rows.",
        batch=str(result["switching"]["images"]),
        times=table(result["times"]),
        switching=table(result["switching"]["rows"]),
        accuracies=table(result["accuracies"]),
        least=f"{result['least_accuracy']:.3f}",
        power=f"Power is {result['power_source']}, at {result['images_per_second']:.0f} images per "
        "second.",
        summary=table(_summary(result)),
        answers=table(_answers(result)),
        same=f"{same} of {len(rows)}",
    )


def _summary(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the stream's means, adaptive and at each level."""
    rows = result["stream"]
    found = {"adaptive": ([r["accuracy"] for r in rows], [r["power_mw"] for r in rows])}
    for level, drawn in enumerate(result["power_mw"]):
        accuracy = [r["accuracy_of_levels"][level] for r in rows]
        found[f"always level {level}"] = (accuracy, [drawn] * len(rows))
    most = [row["budget_mw"] * (1 + 1e-9) for row in rows]
    for name, (accuracy, power) in found.items():
        yield {
            "": name,
            "mean accuracy": float(np.mean(accuracy)),
            "mean power mW": round(float(np.mean(power))),
            "batches above the budget": int(np.sum(np.array(power) > most)),
        }


def _answers(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the mean level for each condition, with and without a limit."""
    found: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for row in result["stream"]:
        limited = row["budget_mw"] < result["power_mw"][0] * 0.999
        found.setdefault((row["condition"], limited), []).append(row)
    for (condition, limited), rows in found.items():
        yield {
            "condition": condition,
            "budget": "falls and rises" if limited else "no limit",
            "batches": len(rows),
            "mean level": float(np.mean([row["level"] for row in rows])),
            "mean power mW": round(float(np.mean([row["power_mw"] for row in rows]))),
        }


def plot(result: dict[str, Any], folder: Path) -> None:
    """Draw level, accuracy and power over the stream, one above the other."""
    rows = result["stream"]
    time = np.arange(len(rows))
    curves = {
        "adaptive": ([row["accuracy"] for row in rows], BLUE, 2.0),
        "unpruned": ([row["accuracy_of_levels"][0] for row in rows], GREY, 1.0),
        "smallest": ([row["accuracy_of_levels"][-1] for row in rows], RED, 1.0),
    }
    layout = {"sharex": True, "height_ratios": (2, 3, 3)}
    with picture(folder / "stream.png", 3, 1, (10, 2.15), **layout) as (top, middle, bottom):
        top.step(time, [row["level"] for row in rows], where="mid", color=BLUE, lw=2)
        top.set_yticks(range(len(result["power_mw"])))
        top.invert_yaxis()
        top.set_ylabel("level\n(down: more pruned)")
        for name, (values, color, width) in curves.items():
            # Means over the last batches; there are fewer at the start.
            means = np.convolve(values, np.ones(WINDOW))[: len(rows)]
            middle.plot(time, means / np.minimum(time + 1, WINDOW), color, lw=width, label=name)
        middle.axhline(result["least_accuracy"], color=GREY, ls=":", label="wanted")
        middle.set_ylabel(f"accuracy, {WINDOW} batches")
        bottom.plot(time, [row["budget_mw"] for row in rows], color=GREY, ls="--", label="budget")
        bottom.step(time, [row["power_mw"] for row in rows], BLUE, where="mid", label="used")
        bottom.set(
            ylabel="power (mW, estimated)",
            xlabel=f"batch of {result['switching']['images']} images",
        )
        middle.legend(fontsize=8, loc="lower left", ncols=4)
        bottom.legend(fontsize=8, loc="lower left")
        start = 0
        for condition, part in groupby(row["condition"] for row in rows):
            end = start + len(list(part))
            for axis in (top, middle, bottom):
                axis.axvspan(start - 0.5, end - 0.5, color=_SHADES[condition], lw=0)
                axis.grid(visible=False)
            where = ((start + end) / 2, 1.03)
            top.text(*where, condition, transform=top.get_xaxis_transform(), ha="center")
            start = end
        top.set_xlim(-0.5, len(rows) - 0.5)


def measured(given: argparse.Namespace) -> dict[str, Any]:
    setting = SETTINGS["quick" if given.quick else "full"]
    return measure(images(setting.n_classes, setting.image_size), setting, given.seed)


if __name__ == "__main__":
    Study(
        "adaptive",
        "one network, several levels of pruning",
        measured,
        page,
        plot,
        packages=("rfprune", "numpy", "torch"),
        options={
            "--quick": (bool, False, "a run of a minute"),
            "--seed": (int, 0, "of everything"),
        },
    ).run()
