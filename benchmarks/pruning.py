"""Accuracy against DSP by method and reuse factor: ``python -m benchmarks.pruning --task jets``.

Protocol: a network is trained dense, then pruned in steps; after each step its validation and test
accuracy and its live multipliers are noted. The bar is 0.98 of the *converged* dense network,
i.e. of one that was trained as many epochs more as pruning takes (mean of its last checkpoints).
The point that counts is the largest reduction whose **validation** accuracy reaches the bar; its
test accuracy is then held against the test bar. All methods share data, split, dense networks,
epochs and budgets.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

METHODS = ("knapsack", "greedy", "uniform", "random", "magnitude", "l1")
BAR = 0.98
#: The bar on validation is higher by this much, since the best of several steps by validation is a
#: little worse on the test.
MARGIN = 0.002
#: Checkpoints at the end of the converged dense training whose mean is the reference.
CHECKPOINTS = 5


@dataclass(frozen=True)
class Task:
    """One network and data set with its training, and how it is pruned."""

    spec: dict[str, Any]
    reuse_factors: tuple[int, ...]
    hardware: dict[str, Any]
    further_epochs: int


@dataclass(frozen=True)
class Point:
    """One pruning step: fraction of the multipliers that are gone, and accuracies."""

    reduction: float
    val_accuracy: float
    accuracy: float


@dataclass(frozen=True)
class Run:
    """One trajectory."""

    method: str
    reuse_factor: int
    seed: int
    points: list[Point]
    cpu_seconds: float


@dataclass(frozen=True)
class Reference:
    """The converged dense network of one seed."""

    seed: int
    val_accuracy: float
    accuracy: float


TASKS = {
    "jets": Task(
        spec={
            "model": {"name": "mlp", "args": {"hidden": [64, 32, 32]}},
            "data": {"file": "lhc_jets_regen/lhc_jets_regen.npz", "train_rows": 100_000},
            "train": {"epochs": 30, "batch_size": 1024, "learning_rate": 3e-3, "device": "cpu"},
            "prune": {
                "budget": {"dsp": 0.035},
                "schedule": "cubic",
                "steps": 19,
                "epochs_per_step": 5,
                "tolerance": 0.1,
                "patience": 0,
                "distillation": 0.5,
                "regularizer": {"weight": 1e-3, "release_epochs": 2},
            },
        },
        reuse_factors=(1, 2, 4, 8, 16, 32),
        hardware={},
        further_epochs=95,
    ),
    "fashion_mnist": Task(
        spec={
            "model": {"name": "lenet"},
            "data": {"name": "fashion_mnist"},
            "train": {"epochs": 12, "batch_size": 256, "learning_rate": 1e-3, "device": "cpu"},
            "prune": {
                "budget": {"dsp": 0.05},
                "schedule": "cubic",
                "steps": 10,
                "epochs_per_step": 2,
                "tolerance": 0.1,
                "patience": 0,
                "floor": 2,
                "regularizer": {"weight": 1e-4, "release_epochs": 1},
            },
        },
        # 25 and 12 on the dense layers, 1 elsewhere, as in the paper (arXiv 2308.05170).
        reuse_factors=(25,),
        hardware={
            "io_type": "io_stream",
            "layers": {"fc1": {"reuse_factor": 25}, "fc2": {"reuse_factor": 12}},
        },
        further_epochs=20,
    ),
}


def trial(task: Task, method: str, reuse_factor: int, seed: int) -> Any:
    """Return the trial of one run."""
    from rfprune.spec import TrialSpec

    hardware = task.hardware or {"reuse_factor": reuse_factor}
    prune = {**task.spec["prune"], "method": method}
    return TrialSpec.model_validate(
        {**task.spec, "prune": prune, "hardware": hardware, "seed": seed}
    )


def run(job: tuple[str, str, int, int, str]) -> Run:
    """Run one trajectory in this process, on one thread."""
    import torch

    from rfprune.pruning import dense_step, steps
    from rfprune.trial import open_session, prepare
    from rfprune.trial.dense import dense_network

    torch.set_num_threads(1)
    name, method, reuse_factor, seed, cache = job
    spec = trial(TASKS[name], method, reuse_factor, seed)
    prepared = prepare(spec, Path())
    began = time.process_time()
    dense = dense_network(spec, prepared.data, Path(cache), Path())
    session = open_session(prepared, dense, prepared.data)
    whole = sum(layer.n_multipliers for layer in prepared.plan.layers)
    points = []
    for step in steps(session, dense_step(session).state):
        live = sum(session.groups.live(session.model).values())
        points.append(Point(1 - live / whole, step.val_accuracy, step.accuracy))
    return Run(method, reuse_factor, seed, points, time.process_time() - began)


def reference(job: tuple[str, int, str]) -> Reference:
    """Train the dense network further and return the mean of its last checkpoints."""
    import torch

    from rfprune.training import Fit, evaluate, fit
    from rfprune.trial import prepare
    from rfprune.trial.dense import dense_network

    torch.set_num_threads(1)
    name, seed, cache = job
    task = TASKS[name]
    spec = trial(task, "none", task.reuse_factors[0], seed)
    prepared = prepare(spec, Path())
    model = dense_network(spec, prepared.data, Path(cache), Path()).model
    data, found = prepared.data, []
    # In blocks of as many epochs as a pruning step has, each with a new optimizer, as pruning does.
    block = spec.prune.epochs_per_step
    for index in range(task.further_epochs // block):
        how = Fit(block, spec.train.learning_rate, spec.train, 1000 * seed + index)
        fit(model, data.x_train, data.y_train, how)
        found.append(
            (evaluate(model, data.x_val, data.y_val), evaluate(model, data.x_test, data.y_test))
        )
    last = found[-CHECKPOINTS:]
    return Reference(seed, sum(v for v, _ in last) / len(last), sum(t for _, t in last) / len(last))


def largest(runs: list[Run], bar: float) -> list[Point | None]:
    """Return, per run, the point of the largest reduction with validation accuracy >= bar."""
    return [
        max(
            (p for p in one.points if p.val_accuracy >= bar),
            key=lambda p: p.reduction,
            default=None,
        )
        for one in runs
    ]


def summary(runs: list[Run], references: list[Reference]) -> list[dict[str, Any]]:
    """Return one row per method and reuse factor."""
    import numpy as np

    val = float(np.mean([r.val_accuracy for r in references]))
    test = float(np.mean([r.accuracy for r in references]))
    rows = []
    for key in dict.fromkeys((r.method, r.reuse_factor) for r in runs):
        own = [r for r in runs if (r.method, r.reuse_factor) == key]
        points = largest(own, (BAR + MARGIN) * val)
        reductions = [0.0 if p is None else 100 * p.reduction for p in points]
        ratios = [p.accuracy / test for p in points if p is not None]
        rows.append(
            {
                "method": key[0],
                "reuse_factor": key[1],
                "reduction_percent": float(np.mean(reductions)),
                "sd": float(np.std(reductions, ddof=1)) if len(reductions) > 1 else None,
                "test_over_converged": float(np.mean(ratios)) if ratios else None,
                "cpu_seconds": float(np.median([r.cpu_seconds for r in own])),
                "seeds": len(own),
            }
        )
    return rows


def jobs(arguments: argparse.Namespace, cache: str) -> list[tuple[str, str, int, int, str]]:
    """Return every run that is asked for."""
    task = TASKS[arguments.task]
    return [
        (arguments.task, method, reuse_factor, seed, cache)
        for reuse_factor in arguments.reuse_factors or task.reuse_factors
        for method in arguments.methods
        for seed in range(arguments.seeds)
    ]


def measure(arguments: argparse.Namespace) -> tuple[list[Run], list[Reference]]:
    """Run everything, in as many processes as there are CPUs."""
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as cache, context.Pool(arguments.processes) as pool:
        seeds = [(arguments.task, seed, cache) for seed in range(arguments.seeds)]
        references = pool.map(reference, seeds, chunksize=1)
        runs = []
        for one in pool.imap(run, jobs(arguments, cache)):
            runs.append(one)
            best = max((p.reduction for p in one.points), default=0.0)
            text = f"{one.method} RF {one.reuse_factor} seed {one.seed}: down to {best:.1%}"
            print(text, file=sys.stderr, flush=True)
    return runs, references


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        shown = [
            f"{v:.4f}"
            if k == "test_over_converged" and v
            else f"{v:.1f}"
            if isinstance(v, float)
            else str(v)
            for k, v in row.items()
        ]
        lines.append("| " + " | ".join(shown) + " |")
    return "\n".join(lines)


def main() -> None:
    """Run the benchmark and print its table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", choices=sorted(TASKS), required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--reuse-factors", nargs="+", type=int, default=None)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    runs, references = measure(arguments)
    rows = summary(runs, references)
    if arguments.json:
        facts = {"task": arguments.task, "bar": BAR, "machine": platform.platform()}
        whole = {"rows": rows, "references": [asdict(r) for r in references]}
        print(json.dumps({**facts, **whole, "runs": [asdict(r) for r in runs]}))
        return
    accuracy = sum(r.accuracy for r in references) / len(references)
    print(f"\nconverged dense network: test accuracy {accuracy:.4f}, bar {BAR} of it\n")
    print(table(rows))


if __name__ == "__main__":
    main()
