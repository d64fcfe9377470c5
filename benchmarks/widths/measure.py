"""Runs trials of the method widths, and evaluates their points on rows that nothing was chosen on.

Which rows, and how the crossing is found: ``pages/widths.md``.
"""

import json
import resource
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.report import HERE, read_cases, render, sentence, settings, table
from benchmarks.widths.earlier import rows_of
from benchmarks.widths.judging import OURS, Points, ablations, best_ramp, crossings, fronts
from benchmarks.widths.latency import measure_latency, page_latency
from benchmarks.widths.reference import points as hgq2_points
from benchmarks.widths.reference import ramps_of, write_rows
from rfprune.core.files import write_json
from rfprune.data import load
from rfprune.data.spec import DataSpec
from rfprune.fpga.adders.deployment import AdderDeployment
from rfprune.fpga.adders.numbers import CircuitNumbers
from rfprune.models import load_checkpoint
from rfprune.results import TrialFolder
from rfprune.spec import TrialSpec
from rfprune.tasks import make_task
from rfprune.training import evaluate
from rfprune.trial import restore
from rfprune.trial.dense import new_model
from rfprune.trial.run import run_trial

_LISTED = read_cases("widths")
CASES = {name: case for name, case in _LISTED.items() if not name.startswith(".")}
ABLATIONS: dict[str, dict[str, Any]] = _LISTED[".ablations"]
METHODS: dict[str, dict[str, Any]] = _LISTED[".methods"]
#: LUTs that are counted by Yosys: larger graphs take minutes each, and no crossing lies outside.
YOSYS = (350, 5000)


def each(kind: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    """Return what reads an option that is one number for all tasks, or one for each."""
    return lambda text: [kind(part) for part in text.split(",")]


def lengths(text: str) -> list[float]:
    """Return the CPU seconds of HGQ2's ramps for one task, e.g. ``150+600``."""
    return [float(part) for part in text.split("+")]


def _of(values: list[Any], index: int) -> Any:
    """Return the number of one task."""
    return values[min(index, len(values) - 1)]


def points(task: str, seed: int, home: Path, yosys: bool, other: str = "") -> Points:
    """Return the dense network and the points of one trial on the rows that are left.

    What has been run before is read again.

    Args:
        task: of the trial.
        seed: of the trial.
        home: where it is kept.
        yosys: whether its points are counted by Yosys, too.
        other: what is changed, one of `ABLATIONS` or `METHODS`.
    """
    folder = home / task / (other.replace(" ", "-") or ".")
    known = folder / f"{seed:04d}.json"
    if not known.exists():
        change = settings({"seed": seed}, (ABLATIONS | METHODS).get(other) or {})
        spec = TrialSpec.model_validate(settings(CASES[task], change))
        with without(other):
            cpu = _run(spec, TrialFolder(folder / f"{seed:04d}"), home / task / "dense")
        trial = TrialFolder(folder / f"{seed:04d}")
        whole = {"tool": other or OURS, "task": task, "seed": seed, "cpu_seconds": cpu}
        dense = home / task / "dense"
        write_json(known, [whole | line for line in _judged(spec, trial, dense, yosys)])
    found: Points = json.loads(known.read_text())
    return found


def without(what: str) -> AbstractContextManager[Any]:
    """Leave out what no setting of the method leaves out."""
    if what != "the built graph":
        return nullcontext()
    # Budgets are held by digits times bits alone, in the units that every trial begins with.
    fixed = property(lambda numbers: 1.2, lambda numbers, value: None)
    # A dataclass has no such attribute before it is made.
    return patch.object(CircuitNumbers, "scale", fixed, create=True)


def _run(spec: TrialSpec, folder: TrialFolder, dense: Path) -> float:
    """Run a trial; return its CPU seconds, those of training its dense network included."""
    begun = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    run_trial(spec, folder, dense_dir=dense, base_dir=Path.cwd())
    return sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - begun


def _judged(
    spec: TrialSpec, folder: TrialFolder, dense_dir: Path, yosys: bool
) -> Iterator[dict[str, Any]]:
    """Yield the dense network and every accepted point on rows that nothing was chosen on."""
    x, y = _unseen(spec)
    (saved,) = dense_dir.glob(f"{spec.dense_key}-*/dense.pt")
    judge = make_task(spec.task)
    dense = new_model(spec, load(spec.data, Path.cwd(), judge), Path.cwd())
    dense.load_state_dict(load_checkpoint(saved).state_dict)
    known = {"rows": len(y), "metric": judge.score}
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
        if record.gaps:
            line["gap"] = float(np.median(record.gaps))
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


def _earlier(options: Namespace) -> Points:
    """Return the points of the pages that are given."""
    metrics = {
        task: make_task(TrialSpec.model_validate(settings(case, {"seed": 0})).task).score
        for task, case in CASES.items()
    }
    return rows_of([Path(page) for page in options.earlier], metrics)


def _reference(index: int, home: Path, options: Namespace, earlier: Points) -> Points:
    """Return HGQ2's points on the rows of one of the tasks, a tool for each length of its ramps.

    Its ramps are tried on the first seeds, and the best on validation rows goes on to the others.
    What a page shows already is not run again.
    """
    task = options.tasks[index]
    spec = TrialSpec.model_validate(settings(CASES[task], {"seed": 0}))
    judge = make_task(spec.task)
    data, file = load(spec.data, Path.cwd(), judge), home / task / "rows.npz"
    if not file.exists():
        train, val = (data.x_train, data.y_train), (data.x_val, data.y_val)
        write_rows(file, train, val, _unseen(spec), spec.model.args["hidden"])

    def run(seed: int, seconds: float, ramp: tuple[float, ...]) -> Points:
        where, tool = home / task / "hgq2", f"HGQ2, {seconds:g} s"
        found = [
            row
            for row in earlier
            if row["task"] == task and row["tool"].startswith(tool) and row["seed"] == seed
            if tuple(row["ramp"]) == tuple(ramp)
        ]
        found = found or hgq2_points(options.hgq2, file, where, seed, seconds, ramp, YOSYS)
        found = [{name: value for name, value in row.items() if name != "tool"} for row in found]
        return [{"tool": tool, "task": task, "metric": judge.score, **row} for row in found]

    found: Points = []
    for seconds in _of(options.hgq2_seconds, index):
        seeds = range(_of(options.hgq2_seeds, index))
        ramps = ramps_of(data.y_train)[: options.hgq2_ramps]
        tried = [
            row
            for seed in seeds[: options.hgq2_ramp_seeds]
            for ramp in ramps
            for row in run(seed, seconds, ramp)
        ]
        best = best_ramp(tried)
        # What validation rows pass over is shown too: others may think of it otherwise.
        for row in tried:
            low, high = row["ramp"]
            beside = "" if (low, high) == best else f", {low:g} to {high:g}"
            found.append({**row, "tool": row["tool"] + beside})
        for seed in seeds[options.hgq2_ramp_seeds :]:
            found += run(seed, seconds, best)
    return found


def measure(options: Namespace) -> dict[str, Any]:
    """Return every point, the crossings and fronts, and what each part of the method earns."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(options.kept or scratch).resolve()
        if options.latency:
            return measure_latency(options, home)
        earlier = _earlier(options)
        rows = [
            row
            for index, task in enumerate(options.tasks)
            for seed in range(_of(options.seeds, index))
            for row in points(task, seed, home, task in options.yosys)
        ]
        rows += [
            row
            for index, task in enumerate(options.tasks)
            for method in METHODS
            for seed in range(_of(options.methods, index))
            for row in points(task, seed, home, task in options.yosys, method)
        ]
        if options.hgq2:
            for index in range(len(options.tasks)):
                rows += _reference(index, home, options, earlier)
        without = [
            row
            for what in ABLATIONS
            for seed in range(options.ablations)
            for row in points(options.tasks[0], seed, home, False, what)
        ]
    run = {(row["task"], row["tool"]) for row in rows}
    rows += [row for row in earlier if (row["task"], row["tool"]) not in run]
    found: dict[str, Points] = {"crossings": [], "fronts": []}
    for task in dict.fromkeys(row["task"] for row in rows):
        by = "yosys_lut" if task in options.yosys else "lut"
        own = [row for row in rows if row["task"] == task]
        found["crossings"] += crossings(own, by)
        found["fronts"] += fronts(own, by)
    found["ablations"] = ablations(rows, without)
    return {**found, "by_yosys": options.yosys, "rows": rows} | summary(rows)


def summary(rows: Points) -> dict[str, Any]:
    """Return CPU seconds of each tool, gaps of the choices, and LUTs beside those of Yosys."""
    own = [row for row in rows if row["tool"] == OURS and row.get("step")]
    both = [row for row in own if row.get("yosys_lut")]
    off = [abs(row["lut"] / row["yosys_lut"] - 1) for row in both]
    spent: dict[str, list[float]] = {}
    for row in rows:
        spent.setdefault(f"{row['task']}, {row['tool']}", []).append(row["cpu_seconds"])
    return {
        "cpu_seconds": {tool: [min(each), max(each)] for tool, each in spent.items()},
        "median_gap": float(np.median([row["gap"] for row in own if "gap" in row])),
        "largest_median_gap": max(row.get("gap", 0.0) for row in own),
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
    # Which parts earn what is a study of its own, on one task.
    name, notes = ("widths_parts", "parts.md") if result["ablations"] else ("widths", "notes.md")
    said = {"notes": (HERE / "widths" / notes).read_text(encoding="utf-8").strip()}
    if result["ablations"]:
        said["ablations"] = table(result["ablations"])
    return render(
        name,
        made=f"Made by `{result['command']}`. {sentence(result['facts'])}",
        by=", ".join(result["by_yosys"]) or "no task",
        crossings=table(result["crossings"]),
        fronts=table(result["fronts"]),
        **said,
        seconds="; ".join(
            f"{tool} {low:.0f} to {high:.0f}" for tool, (low, high) in result["cpu_seconds"].items()
        ),
        gap=f"{100 * result['median_gap']:.2f} %",
        worst=f"{100 * result['largest_median_gap']:.2f} %",
        off="not measured" if off is None else f"{100 * off:.1f} %",
        networks=str(result["off_yosys_networks"]),
        rows=table(digits, shown),
    )
