"""Runs trials of the method widths, and judges their points on rows that nothing was chosen on.

Which rows, and how the crossing is found: ``pages/widths.md``.
"""

import json
import resource
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.report import HERE, read_cases, render, sentence, settings, table
from benchmarks.widths.latency import measure_latency, page_latency
from benchmarks.widths.reference import points as hgq2_points
from benchmarks.widths.reference import write_rows
from rfprune.core.arrays import FloatArray
from rfprune.core.files import write_json
from rfprune.data import load
from rfprune.data.spec import DataSpec
from rfprune.fpga.adders.deployment import AdderDeployment
from rfprune.models import load_checkpoint
from rfprune.results import TrialFolder
from rfprune.spec import TrialSpec
from rfprune.tasks import make_task
from rfprune.training import evaluate
from rfprune.trial import restore
from rfprune.trial.dense import new_model
from rfprune.trial.run import run_trial

CASES = {name: case for name, case in read_cases("widths").items() if not name.startswith(".")}
#: Parts of the dense network's score at which LUTs are asked for; of a resolution, its inverse's.
SHARES = (0.99, 0.98, 0.97)
#: LUTs that are counted by Yosys: larger graphs take minutes each, and no crossing lies outside.
YOSYS = (350, 5000)
#: Accuracies of converged dense networks that earlier figures refer to, beside this run's own.
BARS = {"jets": 0.6700}
#: Metrics of which smaller values are better.
FALLING = ("resolution",)


def each(kind: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """Return what reads an option that is one number for all tasks, or one for each."""
    return lambda text: [kind(part) for part in text.split(",")]


def _of(values: list[Any], index: int) -> Any:
    """Return the number of one task."""
    return values[min(index, len(values) - 1)]


def points(
    task: str, seed: int, home: Path, yosys: bool, method: str = "widths"
) -> Iterator[dict[str, Any]]:
    """Run one trial, and yield its dense network and its points on the rows that are left."""
    name = f"{seed:04d}" if method == "widths" else f"{method}-{seed:04d}"
    known = home / task / f"{name}.json"
    if not known.exists():
        found = list(_measured(task, seed, home, yosys, method, name))
        write_json(known, found)
    yield from json.loads(known.read_text())


def _measured(
    task: str, seed: int, home: Path, yosys: bool, method: str, name: str
) -> Iterator[dict[str, Any]]:
    changes = {"seed": seed, "prune": {"method": method}}
    spec = TrialSpec.model_validate(settings(CASES[task], changes))
    folder = TrialFolder(home / task / name)
    begun = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    run_trial(spec, folder, dense_dir=home / task / "dense", base_dir=Path.cwd())
    cpu = sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - begun
    x, y = _unseen(spec)
    (saved,) = (home / task / "dense").glob(f"{spec.dense_key}-*/dense.pt")
    judge = make_task(spec.task)
    dense = new_model(spec, load(spec.data, Path.cwd(), judge), Path.cwd())
    dense.load_state_dict(load_checkpoint(saved).state_dict)
    known = {"task": task, "seed": seed, "rows": len(y), "cpu_seconds": cpu}
    known["metric"] = judge.score
    yield {**known, "step": 0, "lut": None, "score": evaluate(dense, x, y, judge)}
    for record in folder.steps()[1:]:
        if not record.accepted:
            continue
        restored = restore(folder, record.step)
        built = restored.prepared.deployment
        assert isinstance(built, AdderDeployment)
        line = {
            **known,
            "step": record.step,
            "lut": record.values["lut"],
            "ff": record.values["ff"],
            "cycles": record.values["latency_cycles"],
            "val_score": record.values[f"val_{judge.score}"],
            "score": evaluate(built.prunable.deployed(restored.model), x, y, judge),
        }
        line["gap"] = float(np.median(record.gaps)) if record.gaps else None
        if yosys and YOSYS[0] <= (record.values["lut"] or 0.0) <= YOSYS[1]:
            line["yosys_lut"] = built.estimate(restored.model, "yosys").total.lut
        yield line


def _unseen(spec: TrialSpec) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scaled test rows, and those training rows that the trial left out."""
    data = load(spec.data, Path.cwd(), make_task(spec.task))
    x, y = data.x_test, data.y_test
    if spec.data.train_rows is None:
        return x, y
    # As the file has them, so that rows can be told apart by their bytes.
    plain = {"standardize": False}
    some = load(DataSpec.model_validate({**spec.data.model_dump(), **plain}), Path.cwd())
    plain["train_rows"] = None
    every = load(DataSpec.model_validate({**spec.data.model_dump(), **plain}), Path.cwd())
    raw = torch.cat([every.x_train, every.x_val])
    used = {row.tobytes() for row in torch.cat([some.x_train, some.x_val]).numpy()}
    left = torch.tensor([row.tobytes() not in used for row in raw.numpy()])
    labels = torch.cat([every.y_train, every.y_val])[left]
    return torch.cat([x, data.scaling.scaled(raw[left])]), torch.cat([y, labels])


def _rising(rows: list[dict[str, Any]], key: str = "score") -> list[float]:
    """Return scores of which larger ones are better."""
    return [-row[key] if row["metric"] in FALLING else row[key] for row in rows]


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


def crossings(
    rows: list[dict[str, Any]], by: str, shares: Sequence[float] = SHARES
) -> list[dict[str, Any]]:
    """Return per task, tool and share the crossing of every seed, and their mean."""
    found = []
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task]
        # The bar is the same for all seeds and tools: the mean of the dense networks.
        dense = float(np.mean(_rising([row for row in own if row.get("step") == 0])))
        bars = [dense, *([BARS[task]] if task in BARS and shares is SHARES else [])]
        for tool, bar, share in product(dict.fromkeys(r["tool"] for r in own), bars, shares):
            each = []
            for mine in _by_seed(own, tool):
                front = [row for row in mine if row.get(by)]
                level = share * bar if bar > 0 else bar / share
                lut = [row[by] for row in front]
                each.append(crossing(lut, _rising(front), level) if lut else None)
            known = [value for value in each if value is not None]
            found.append(
                {
                    "task": task,
                    "tool": tool,
                    "dense": f"{abs(bar):.4f}",
                    "share": f"{share:.2f}",
                    "seeds": len(each),
                    "reached": len(known),
                    "mean LUT": float(np.mean(known)) if known else None,
                    "spread": float(np.std(known, ddof=1)) if len(known) > 1 else None,
                    "lowest": min(known, default=None),
                    "highest": max(known, default=None),
                }
            )
    return found


def _by_seed(rows: list[dict[str, Any]], tool: str) -> list[list[dict[str, Any]]]:
    own = [row for row in rows if row["tool"] == tool]
    return [[r for r in own if r["seed"] == seed] for seed in dict.fromkeys(r["seed"] for r in own)]


def fronts(rows: list[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    """Return per task the mean score of each tool's fronts over the logarithm of LUTs, and p.

    The front at so many LUTs is the point within them that is best on validation rows; what is
    averaged is its score on rows to judge, on the range of LUTs that every seed of every tool
    reaches: the hypervolume, per factor of e in LUTs. p is of Welch's t-test over seeds.
    """
    from scipy.stats import ttest_ind

    found = []
    for task in dict.fromkeys(row["task"] for row in rows):
        own = [row for row in rows if row["task"] == task and row.get(by)]
        trials = {tool: _by_seed(own, tool) for tool in dict.fromkeys(row["tool"] for row in own)}
        every = [trial for each in trials.values() for trial in each]
        low = max(min(row[by] for row in trial) for trial in every)
        high = min(max(row[by] for row in trial) for trial in every)
        if low >= high:
            # No size that both reach: nothing to compare.
            continue
        grid = np.geomspace(low, high, 200)
        means = {tool: [_mean_score(t, by, grid) for t in each] for tool, each in trials.items()}
        first = next(iter(means.values()))
        for tool, each in means.items():
            compared = tool != next(iter(means)) and min(len(each), len(first)) > 1
            found.append(
                {
                    "task": task,
                    "tool": tool,
                    "seeds": len(each),
                    "from LUT": round(low),
                    "to LUT": round(high),
                    "mean score": f"{abs(np.mean(each)):.4f}",
                    "spread": f"{np.std(each, ddof=1):.4f}" if len(each) > 1 else None,
                    "p": float(ttest_ind(first, each, equal_var=False).pvalue)
                    if compared
                    else None,
                }
            )
    return found


def _mean_score(trial: list[dict[str, Any]], by: str, grid: FloatArray) -> float:
    """Return the mean score, the larger the better, of what is best on validation rows."""
    order = sorted(trial, key=lambda row: float(row[by]))
    lut = np.array([row[by] for row in order])
    held, judged = np.array(_rising(order, "val_score")), np.array(_rising(order))
    best = [int(np.argmax(held[: count + 1])) for count in range(len(order))]
    return float(judged[best][np.searchsorted(lut, grid, side="right") - 1].mean())


def best_ramp(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the points of the ramp that is the best on validation rows, over all seeds.

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

    return parts[max(ramps, key=merit)]


def _reference(index: int, home: Path, options: Namespace) -> list[dict[str, Any]]:
    """Return the points of HGQ2's best ramp on the rows of one of the tasks."""
    task = options.tasks[index]
    spec = TrialSpec.model_validate(settings(CASES[task], {"seed": 0}))
    judge = make_task(spec.task)
    data, file = load(spec.data, Path.cwd(), judge), home / task / "rows.npz"
    if not file.exists():
        train, val = (data.x_train, data.y_train), (data.x_val, data.y_val)
        write_rows(file, train, val, _unseen(spec), spec.model.args["hidden"])
    found = [
        {"task": task, "metric": judge.score, **row}
        for seed in range(_of(options.hgq2_seeds, index))
        for row in hgq2_points(
            options.hgq2,
            file,
            home / task / "hgq2",
            seed,
            _of(options.hgq2_seconds, index),
            options.hgq2_ramps,
            YOSYS,
        )
    ]
    return best_ramp(found)


def measure(options: Namespace) -> dict[str, Any]:
    """Return every point and the crossings."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(options.kept or scratch).resolve()
        if options.latency:
            return measure_latency(options, home)
        rows = [
            {"tool": "rfprune" if method == "widths" else method, **row}
            for method in options.methods
            for index, task in enumerate(options.tasks)
            for seed in range(_of(options.seeds, index))
            for row in points(task, seed, home, options.yosys, method)
        ]
        if options.hgq2:
            for index in range(len(options.tasks)):
                rows += _reference(index, home, options)
    by = "yosys_lut" if options.yosys else "lut"
    found = {"crossings": crossings(rows, by), "fronts": fronts(rows, by)}
    return {**found, "counted_by": by, "rows": rows} | summary(rows)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return CPU seconds of each tool, gaps of the choices, and LUTs beside those of Yosys."""
    own = [row for row in rows if row["tool"] == "rfprune" and row.get("step")]
    both = [row for row in own if row.get("yosys_lut")]
    off = [abs(row["lut"] / row["yosys_lut"] - 1) for row in both]
    spent: dict[str, list[float]] = {}
    for row in rows:
        spent.setdefault(row["tool"], []).append(row["cpu_seconds"])
    return {
        "cpu_seconds": {tool: [min(each), max(each)] for tool, each in spent.items()},
        "median_gap": float(np.median([row["gap"] for row in own])),
        "largest_median_gap": max(row["gap"] for row in own),
        "off_yosys_median": float(np.median(off)) if off else None,
        "off_yosys_networks": len(off),
    }


def page(result: dict[str, Any]) -> str:
    """Return the whole result as Markdown."""
    if "latency" in result:
        return page_latency(result)
    shown = ("task", "tool", "seed", "step", "ramp", "lut", "yosys_lut", "ff", "cycles", "ebops")
    shown = (*shown, "val_score", "score", "gap", "cpu_seconds")
    digits = [
        {k: f"{row[k]:.4f}" if "score" in k else row[k] for k in shown if row.get(k) is not None}
        for row in result["rows"]
    ]
    off = result["off_yosys_median"]
    return render(
        "widths",
        made=f"Made by `{result['command']}`. {sentence(result['facts'])}",
        by="Yosys" if result["counted_by"] == "yosys_lut" else "the adder graph (da4ml)",
        crossings=table(result["crossings"]),
        fronts=table(result["fronts"]),
        notes=(HERE / "widths" / "notes.md").read_text(encoding="utf-8").strip(),
        seconds=", ".join(
            f"{tool} {low:.0f} to {high:.0f}" for tool, (low, high) in result["cpu_seconds"].items()
        ),
        gap=f"{100 * result['median_gap']:.2f} %",
        worst=f"{100 * result['largest_median_gap']:.2f} %",
        off="not measured" if off is None else f"{100 * off:.1f} %",
        networks=str(result["off_yosys_networks"]),
        rows=table(digits, shown),
    )
