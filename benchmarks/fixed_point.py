"""Fixed-point aware fine-tuning beside rounding afterwards: ``python -m benchmarks.fixed_point``.

A dense network is trained in float and pruned to 30 % of its multipliers, with the same data, steps
and epochs in both ways:

- rounded afterwards: fine-tuned in float, then weights and activations are rounded;
- aware: fine-tuned with `prune.fixed_point: true`, through the rounding.

Test accuracy is measured in the hardware's numbers (`rfprune.training.fixed_point`), at 16, 8 and 6
bits for weights and activations alike; below 16 bits the types round to nearest and saturate. The
digits come with scikit-learn; the jets are a file of simulated jets under `$RFPRUNE_DATA` and are
left out where it is missing. For the digits at 6 bits the C++ that hls4ml generates is compiled and
run on all test rows, too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from benchmarks.report import RESULTS, facts, print_result, sentence, table
from rfprune.data import Dataset, load
from rfprune.network import plan, trace
from rfprune.pruning import State, steps
from rfprune.pruning.schedule import first
from rfprune.spec import TrialSpec
from rfprune.training import evaluate, fixed_point
from rfprune.trial import open_session, prepare
from rfprune.trial.dense import dense_network

PAGE = RESULTS / "fixed_point.md"
PACKAGES = ("rfprune", "numpy", "torch", "hls4ml")
#: Types of activations and weights by width. Activations need a range, weights resolution.
TYPES = {
    16: ("fixed<16,6>", "fixed<16,6>"),
    8: ("fixed<8,4,RND,SAT>", "fixed<8,2,RND,SAT>"),
    6: ("fixed<6,3,RND,SAT>", "fixed<6,2,RND,SAT>"),
}
TASKS: dict[str, dict[str, Any]] = {
    "digits": {
        "model": {"name": "mlp", "args": {"hidden": [32, 16]}},
        "data": {"name": "digits"},
        "train": {"epochs": 60, "batch_size": 64, "device": "cpu"},
        "prune": {"steps": 4, "epochs_per_step": 10},
    },
    "jets": {
        "model": {"name": "mlp"},
        "data": {"file": "lhc_jets_regen/lhc_jets_regen.npz", "train_rows": 10_000},
        "train": {"epochs": 20, "batch_size": 256, "device": "cpu"},
        "prune": {"steps": 4, "epochs_per_step": 5},
    },
}


@dataclass(frozen=True)
class Row:
    """Test accuracy of one task, seed and width.

    Attributes:
        task, seed, bits: which.
        dense: of the dense network in float.
        pruned: of the pruned network in float.
        rounded: of the same, rounded afterwards.
        aware: of the network fine-tuned through the rounding.
        simulated: of the C++ of the aware network, where it was run.
    """

    task: str
    seed: int
    bits: int
    dense: float
    pruned: float
    rounded: float
    aware: float
    simulated: float | None


def trial(task: str, seed: int, bits: int, aware: bool) -> TrialSpec:
    """Return the trial that prunes one network; the tolerance lets every step pass."""
    values = deepcopy(TASKS[task])
    precision, weight_precision = TYPES[bits]
    values["seed"] = seed
    values["hardware"] = {
        "reuse_factor": 4,
        "layers": {"output": {"reuse_factor": 2}},
        "precision": precision,
        "weight_precision": weight_precision,
    }
    # Every multiplier costs LUTs, but below 9 bits none costs a DSP.
    values["prune"] |= {"fixed_point": aware, "budget": {"lut": 0.3}, "tolerance": 1.0}
    values["prune"]["learning_rate_schedule"] = "cosine"
    return TrialSpec.model_validate(values)


def pruned(spec: TrialSpec, data: Dataset, cache: Path) -> tuple[nn.Module, float]:
    """Return the pruned network of a trial, and the test accuracy of its dense one in float."""
    start = dense_network(spec, data, cache, Path.cwd())
    session = open_session(prepare(spec, Path.cwd(), data), start, data)
    for _ in steps(session, State(first(spec.prune.schedule, spec.prune.steps))):
        pass
    return session.model, start.accuracy


def in_hardware(model: nn.Module, spec: TrialSpec, data: Dataset) -> float:
    """Return the test accuracy in the numbers of the hardware that `spec` names."""
    planned = plan(trace(model, data.input_shape), spec.hardware)
    with fixed_point(model, planned):
        return evaluate(model, data.x_test, data.y_test)


def simulated(model: nn.Module, spec: TrialSpec, data: Dataset) -> float:
    """Return the test accuracy of the generated C++."""
    from rfprune.hls import compare, convert

    planned = plan(trace(model, data.input_shape), spec.hardware)
    assert isinstance(data.x_test, Tensor)
    with tempfile.TemporaryDirectory() as folder:
        conversion = convert(model, planned, Path(folder))
        conversion.write()
        return compare(conversion, data.x_test, data.y_test)[0].cpp_accuracy


def rows_of(task: str, seed: int, simulate: bool) -> list[Row]:
    """Return one row per width."""
    with tempfile.TemporaryDirectory() as cache:
        base = trial(task, seed, 16, aware=False)
        data = load(base.data, Path.cwd())
        plain, accuracy = pruned(base, data, Path(cache))
        in_float = evaluate(plain, data.x_test, data.y_test)
        found = []
        for bits in TYPES:
            spec = trial(task, seed, bits, aware=True)
            tuned, _ = pruned(spec, data, Path(cache))
            in_cpp = simulated(tuned, spec, data) if simulate and bits == min(TYPES) else None
            found.append(
                Row(
                    task=task,
                    seed=seed,
                    bits=bits,
                    dense=accuracy,
                    pruned=in_float,
                    rounded=in_hardware(plain, spec, data),
                    aware=in_hardware(tuned, spec, data),
                    simulated=in_cpp,
                )
            )
    return found


def means(rows: list[Row]) -> list[dict[str, Any]]:
    """Return the mean over seeds for every task and width, with the standard deviation."""
    result = []
    for task, bits in dict.fromkeys((row.task, row.bits) for row in rows):
        same = [row for row in rows if (row.task, row.bits) == (task, bits)]
        line: dict[str, Any] = {"task": task, "bits": bits, "seeds": len(same)}
        for name in ("dense", "pruned", "rounded", "aware"):
            values = [getattr(row, name) for row in same]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            line[name] = f"{statistics.mean(values):.4f} ± {spread:.4f}"
        result.append(line)
    return result


def plot(rows: list[Row], path: Path) -> None:
    """Draw accuracy against width, one panel per task."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(row.task for row in rows))
    figure = Figure(figsize=(5 * len(tasks), 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(tasks), squeeze=False)[0]
    labels = {"rounded": "rounded afterwards", "aware": "fixed-point aware"}
    for axis, task in zip(panels, tasks, strict=True):
        own = [row for row in rows if row.task == task]
        axis.axhline(
            statistics.mean(row.pruned for row in own), color="grey", ls=":", label="float"
        )
        for name, color in (("rounded", "#b3261e"), ("aware", "#2b6cb0")):
            points = {bits: [getattr(r, name) for r in own if r.bits == bits] for bits in TYPES}
            axis.plot(
                [str(bits) for bits in points],
                [statistics.mean(values) for values in points.values()],
                color=color,
                label=labels[name],
            )
            for bits, values in points.items():
                axis.plot([str(bits)] * len(values), values, "o", color=color, ms=4, alpha=0.6)
        axis.set_title(f"{task}, 30 % of the multipliers")
        axis.set_xlabel("bits of weights and activations")
        axis.set_ylabel("test accuracy in hardware's numbers")
        axis.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def page(result: dict[str, Any], rows: list[Row]) -> str:
    """Return the result as Markdown."""
    types = [
        {"bits": bits, "activations, biases": f"`{data}`", "weights": f"`{weight}`"}
        for bits, (data, weight) in TYPES.items()
    ]
    cpp = [row for row in rows if row.simulated is not None]
    said = " ".join(
        f"{row.task}, seed {row.seed}, {row.bits} bits: {row.simulated:.4f} in the C++ simulation, "
        f"{row.aware:.4f} in torch."
        for row in cpp
    )
    return "\n\n".join(
        [
            "# Fixed-point aware fine-tuning",
            f"Made by `{result['command']}`. {sentence(result['facts'])}",
            (__doc__ or "").split("\n\n", 1)[1].strip(),
            "![accuracy against width](fixed_point/accuracy.png)",
            "Test accuracy, mean and standard deviation over the seeds; `dense` and `pruned` are "
            "in float.",
            table(means(rows), ("task", "bits", "seeds", "dense", "pruned", "rounded", "aware")),
            f"The generated code computes the same. {said}",
            table(types, ("bits", "activations, biases", "weights")),
        ]
    )


def main() -> None:
    """Measure, and print or write the result."""
    parser = argparse.ArgumentParser(description="fixed-point aware fine-tuning")
    parser.add_argument("--tasks", default=",".join(TASKS), help="with commas")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, help=f"write the page and its plot, e.g. {PAGE.name}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    tasks = [task for task in options.tasks.split(",") if _there(task)]
    known = facts(PACKAGES, 0)
    rows = [
        row
        for task in tasks
        for seed in range(options.seeds)
        for row in rows_of(task, seed, simulate=task == "digits" and seed == 0)
    ]
    command = f"python -m benchmarks.fixed_point --tasks {','.join(tasks)} --seeds {options.seeds}"
    result = {"command": command, "facts": known, "rows": [asdict(row) for row in rows]}
    if options.out:
        plot(rows, options.out.parent / "fixed_point" / "accuracy.png")
        options.out.write_text(page(result, rows) + "\n", encoding="utf-8")
    print_result(page(result, rows), result, options.json)


def _there(task: str) -> bool:
    file = TASKS[task]["data"].get("file")
    return file is None or (Path(os.environ.get("RFPRUNE_DATA", ".")) / file).is_file()


if __name__ == "__main__":
    main()
