"""Fixed-point aware fine-tuning beside rounding afterwards: ``python -m benchmarks.fixed_point``.

A dense network is trained in float and pruned in both ways, with the same data, steps and epochs;
what is compared, and at which widths: ``pages/fixed_point.md``.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from benchmarks.drawing import BLUE, RED, picture
from benchmarks.report import Study, listed, read_cases, render, sentence, settings, table
from benchmarks.statistics import spread
from rfprune.data import Dataset, load
from rfprune.fpga.fixed_point import fixed_point
from rfprune.fpga.layers import plan, trace
from rfprune.pruning import Session, State, dense_step, steps
from rfprune.pruning.schedule import first
from rfprune.spec import TrialSpec
from rfprune.training import evaluate
from rfprune.trial import prepare
from rfprune.trial.dense import dense_network

_CASES = read_cases("", "fixed_point")
TASKS: dict[str, dict[str, Any]] = _CASES["tasks"]
#: Where only the cost of measuring is looked at.
CONVOLUTIONAL: dict[str, dict[str, Any]] = _CASES["convolutional"]
#: Types of activations and weights by width.
TYPES: dict[int, list[str]] = _CASES["types"]
#: Types of everything, without rounding to nearest or saturation, as a first sweep would try them.
PRECISIONS: list[str] = _CASES["precisions"]


def trial(task: str, seed: int, bits: int, aware: bool) -> TrialSpec:
    """Return the trial that prunes one network; the tolerance lets every step pass."""
    types = dict(zip(("precision", "weight_precision"), TYPES[bits], strict=True))
    own = {"seed": seed, "hardware": types, "prune": {"fixed_point": aware}}
    return TrialSpec.model_validate(settings(_CASES["common"], TASKS[task], own))


def pruned(spec: TrialSpec, data: Dataset, cache: Path) -> tuple[nn.Module, float]:
    """Return the pruned network of a trial, and the test accuracy of its dense one in float."""
    prepared = prepare(spec, Path.cwd(), data)
    start = dense_network(spec, data, prepared.task, cache, Path.cwd())
    session = prepared.session(start, data)
    for _ in steps(session, State(first(spec.prune.schedule, spec.prune.steps))):
        pass
    return session.model, start.metrics["accuracy"]


def in_hardware(model: nn.Module, spec: TrialSpec, data: Dataset, cpp: bool = False) -> float:
    """Return the test accuracy in the hardware's numbers: in torch, or of the generated C++."""
    planned = plan(trace(model, data.input_shape), spec.hardware)
    if not cpp:
        with fixed_point(model, planned):
            return evaluate(model, data.x_test, data.y_test)
    from rfprune.fpga.hls import compare, convert

    assert isinstance(data.x_test, Tensor)
    with tempfile.TemporaryDirectory() as folder:
        conversion = convert(model, planned, Path(folder))
        conversion.write()
        return compare(conversion, data.x_test, data.y_test)[0].cpp_score


def precisions_of(task: str) -> list[dict[str, Any]]:
    """Return, for three types of everything, the dense network's scores and what measuring cost.

    The trials differ in nothing else, so that their networks in float are one and the same. Times
    are those of the processor, which other work on the machine does not change much.
    """
    rows, trained = [], 0.0
    with tempfile.TemporaryDirectory() as cache:
        for precision in PRECISIONS:
            own = {"seed": 0, "hardware": {"precision": precision}, "prune": {"tolerance": 0.02}}
            case = {**TASKS, **CONVOLUTIONAL}[task]
            spec = TrialSpec.model_validate(settings(_CASES["common"], case, own))
            data = load(spec.data, Path.cwd())
            prepared = prepare(spec, Path.cwd(), data)
            begun = time.process_time()
            start = dense_network(spec, data, prepared.task, Path(cache), Path.cwd())
            # Trained once, for the first type; a trial by itself would train it, too.
            trained = trained if start.cached else time.process_time() - begun
            begun = time.process_time()
            session = prepared.session(start, data)
            dense = dense_step(session)
            prepared.deployment.measure(session, Path(cache) / "hls")
            found = []
            for step in steps(session, dense.state):
                found.append(step)
                prepared.deployment.measure(session, Path(cache) / "hls")
            accepted = sum(step.accepted for step in found)
            seconds = time.process_time() - begun + trained
            rows.append(
                {
                    "task": task,
                    "type": f"`{precision}`",
                    "dense, float": f"{dense.metrics['float_val_accuracy']:.4f}",
                    "dense, deployed": f"{dense.metrics['val_accuracy']:.4f}",
                    "steps accepted": f"{accepted} of {len(found)}",
                    "trial": f"{seconds:.1f} s",
                    "of it measuring": f"{_extra(session) * (len(found) + 1) / seconds:.1%}",
                }
            )
    return rows


def _extra(session: Session) -> float:
    """Return the seconds that one step takes longer because it is not measured in floats alone."""
    data, task = session.data, session.task
    times: dict[str, list[float]] = {"deployed": [], "float": []}
    for _ in range(3):
        begun = time.process_time()
        session.measured()
        times["deployed"].append(time.process_time() - begun)
        begun = time.process_time()
        for x, y in ((data.x_val, data.y_val), (data.x_test, data.y_test)):
            evaluate(session.model, x, y, task)
        times["float"].append(time.process_time() - begun)
    return min(times["deployed"]) - min(times["float"])


def rows_of(task: str, seed: int, simulate: bool) -> list[dict[str, Any]]:
    """Return one row of test accuracies per width.

    Dense and pruned networks in float, the pruned one rounded afterwards, the one that was
    fine-tuned through the rounding, and the C++ of the latter, where it was run.
    """
    with tempfile.TemporaryDirectory() as cache:
        base = trial(task, seed, 16, aware=False)
        data = load(base.data, Path.cwd())
        plain, accuracy = pruned(base, data, Path(cache))
        known = {"dense": accuracy, "pruned": evaluate(plain, data.x_test, data.y_test)}
        rows = []
        for bits in TYPES:
            spec = trial(task, seed, bits, aware=True)
            tuned, _ = pruned(spec, data, Path(cache))
            values = {"rounded": in_hardware(plain, spec, data)}
            values["aware"] = in_hardware(tuned, spec, data)
            simulated = simulate and bits == min(TYPES)
            in_cpp = in_hardware(tuned, spec, data, cpp=True) if simulated else None
            named = {"task": task, "seed": seed, "bits": bits}
            rows.append({**named, **known, **values, "simulated": in_cpp})
    return rows


def means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the mean over seeds for every task and width, with the standard deviation."""
    result = []
    for task, bits in dict.fromkeys((row["task"], row["bits"]) for row in rows):
        same = [row for row in rows if (row["task"], row["bits"]) == (task, bits)]
        line: dict[str, Any] = {"task": task, "bits": bits, "seeds": len(same)}
        for name in ("dense", "pruned", "rounded", "aware"):
            line[name] = spread((row[name] for row in same), 4)
        result.append(line)
    return result


def draw(result: dict[str, Any], folder: Path) -> None:
    """Draw accuracy against width, one panel per task."""
    rows = result["rows"]
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    with picture(folder / "accuracy.png", len(tasks)) as panels:
        for axis, task in zip(panels, tasks, strict=True):
            own = [row for row in rows if row["task"] == task]
            in_float = statistics.mean(row["pruned"] for row in own)
            axis.axhline(in_float, color="grey", ls=":", label="float")
            for name, label, color in (
                ("rounded", "rounded afterwards", RED),
                ("aware", "fixed-point aware", BLUE),
            ):
                bits = [str(row["bits"]) for row in own]
                axis.plot(bits, [row[name] for row in own], "o", color=color, ms=4, alpha=0.6)
                mean = {b: [r[name] for r in own if str(r["bits"]) == b] for b in bits}
                axis.plot(list(mean), list(map(statistics.mean, mean.values())), color, label=label)
            axis.set(
                title=f"{task}, 30 % of the multipliers",
                xlabel="bits of weights and activations",
                ylabel="test accuracy in hardware's numbers",
            )
            axis.legend(fontsize=8)


def page(result: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    simulated = [
        f"{row['task']}, seed {row['seed']}, {row['bits']} bits: {row['simulated']:.4f} in the C++ "
        f"simulation, {row['aware']:.4f} in torch."
        for row in result["rows"]
        if row["simulated"] is not None
    ]
    types = [
        {"bits": bits, "activations, biases": f"`{data}`", "weights": f"`{weight}`"}
        for bits, (data, weight) in TYPES.items()
    ]
    return render(
        "fixed_point",
        made=f"Made by `{result['command']}`. {sentence(result['facts'])}",
        means=table(means(result["rows"])),
        simulated=" ".join(simulated),
        types=table(types),
        precisions=table(result["precisions"]),
    )


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return one row per task, seed and width; tasks whose data are missing are left out."""
    rows = []
    for task in options.tasks:
        if _is_there(TASKS[task]):
            for seed in range(options.seeds):
                rows += rows_of(task, seed, simulate=task == "digits" and seed == 0)
    there = list(dict.fromkeys(row["task"] for row in rows))
    there += [task for task, case in CONVOLUTIONAL.items() if _is_there(case)]
    return {"rows": rows, "precisions": [row for task in there for row in precisions_of(task)]}


def _is_there(task: dict[str, Any]) -> bool:
    """Return whether a task's data are embedded, or where they are looked for."""
    file = task["data"].get("file")
    return file is None or (Path(os.environ.get("RFPRUNE_DATA", ".")) / file).is_file()


if __name__ == "__main__":
    Study(
        "fixed_point",
        "fixed-point aware fine-tuning",
        measure,
        page,
        draw,
        packages=("rfprune", "numpy", "torch", "hls4ml"),
        options={
            "--tasks": (listed(TASKS), ",".join(TASKS), "with commas"),
            "--seeds": (int, 3, "of each task"),
        },
    ).run()
