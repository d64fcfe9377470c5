"""Accuracy against hardware by pruning method: ``python -m benchmarks.pruning --task jets``.

Protocol: a network is trained dense, then pruned in steps; after each step its accuracies and what
it still holds are noted. The bar is 0.98 of the *converged* dense network, i.e. of one that was
trained as many epochs more as pruning takes (mean of its last checkpoints). Where steps fall below
the bar, pruning goes back to the last network above it and halves the step, within the same number
of rounds. The point that counts is the largest reduction whose **validation** accuracy reaches the
bar; its test accuracy is then held against the test bar. All methods share data, split, dense
networks, epochs and budgets.
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pruning.tasks import TASKS, Task, settings
from rfprune.atomic import replacing

METHODS = tuple(dict.fromkeys(method for task in TASKS.values() for method in task.methods))
BAR = 0.98
#: The bar on validation is higher by this much, since the best of several steps by validation is a
#: little worse on the test.
MARGIN = 0.002
#: Checkpoints at the end of the converged dense training whose mean is the reference.
CHECKPOINTS = 5


@dataclass(frozen=True)
class Point:
    """One pruning step: which fraction of each resource is gone, and the accuracies."""

    step: int
    multipliers: float
    dsp: float
    bram18: float
    val_accuracy: float
    accuracy: float


@dataclass(frozen=True)
class Job:
    """One trajectory to run; `bar` is the validation accuracy that counts."""

    task: str
    case: str
    method: str
    seed: int
    bar: float
    cache: str


@dataclass(frozen=True)
class Run:
    """One trajectory. `key` names its settings, so that a changed benchmark runs anew."""

    case: str
    method: str
    seed: int
    key: str
    points: list[Point]
    cpu_seconds: float


@dataclass(frozen=True)
class Reference:
    """The converged dense network of one seed, and what its dense training took.

    `key` names how it was trained, so that tasks which differ in hardware alone may share it.
    """

    seed: int
    key: str
    val_accuracy: float
    accuracy: float
    dense_cpu_seconds: float


def trial(task: Task, case: str, method: str, seed: int) -> Any:
    """Return the trial of one run."""
    from rfprune.spec import TrialSpec

    own = settings(task.spec, task.cases[case])
    return TrialSpec.model_validate(settings(own, {"prune": {"method": method}, "seed": seed}))


def run(job: Job) -> Run:
    """Run one trajectory in this process, on one thread."""
    import torch

    from rfprune.trial import open_session, prepare
    from rfprune.trial.dense import dense_network

    torch.set_num_threads(1)
    task = TASKS[job.task]
    spec = trial(task, job.case, job.method, job.seed)
    prepared = prepare(spec, Path())
    dense = dense_network(spec, prepared.data, Path(job.cache), Path())
    session = open_session(prepared, dense, prepared.data)
    began = time.process_time()
    points = list(trajectory(session, job.bar, task.refines))
    return Run(job.case, job.method, job.seed, spec.key, points, time.process_time() - began)


def trajectory(session: Any, bar: float, refines: bool) -> Iterator[Point]:
    """Yield the points of the way down, then those of the way back and closer to the bar."""
    from rfprune.pruning import dense_step, steps

    above = below = None
    for step in steps(session, dense_step(session).state):
        yield point(session, step)
        if step.val_accuracy >= bar:
            above, below = (step.state, copy.deepcopy(session.model.state_dict())), None
        elif below is None:
            below = step.progress
        if not step.accepted:
            break
    if refines and above is not None and below is not None:
        yield from refined(session, *above, below, bar)


def refined(session: Any, state: Any, weights: Any, below: float, bar: float) -> Iterator[Point]:
    """Go on from the last network above the bar as if the tolerance had been the bar."""
    from rfprune.pruning import steps
    from rfprune.pruning.schedule import following

    session.model.load_state_dict(weights)
    strict = replace(session, dense_val_accuracy=bar / (1 - session.spec.prune.tolerance))
    for step in steps(strict, replace(state, schedule=following(state.schedule, below, False))):
        yield point(session, step)


def point(session: Any, step: Any) -> Point:
    """Return what a step has left over, and its accuracies."""
    from rfprune.quantities import RESOURCES

    groups = session.groups
    whole = sum(layer.n_multipliers for layer in groups.plan.layers)
    live = sum(groups.live(session.model).values())
    left = groups.used_by(step.masks) / np.maximum(groups.dense, 1e-12)
    gone = dict(zip(RESOURCES, (1 - left).tolist(), strict=True))
    return Point(
        step.index,
        1 - live / whole,
        gone["dsp"],
        gone["bram18"],
        step.val_accuracy,
        step.accuracy,
    )


def reference(job: Job) -> Reference:
    """Train the dense network further and return the mean of its last checkpoints."""
    import torch
    import torch._dynamo  # torch loads it with the first optimizer; a second that is no training

    from rfprune.training import Fit, evaluate, fit
    from rfprune.trial import prepare
    from rfprune.trial.dense import dense_network

    torch.set_num_threads(1)
    task = TASKS[job.task]
    spec = trial(task, job.case, "none", job.seed)
    prepared = prepare(spec, Path())
    began = time.process_time()
    model = dense_network(spec, prepared.data, Path(job.cache), Path()).model
    dense_cpu_seconds = time.process_time() - began
    data, found = prepared.data, []
    # In blocks of as many epochs as a pruning step has, each with a new optimizer, as pruning does.
    block = spec.prune.epochs_per_step
    for index in range(task.further_epochs // block):
        how = Fit(block, spec.train.learning_rate, spec.train, 1000 * job.seed + index)
        fit(model, data.x_train, data.y_train, how)
        found.append(
            (evaluate(model, data.x_val, data.y_val), evaluate(model, data.x_test, data.y_test))
        )
    val, test = np.mean(found[-CHECKPOINTS:], axis=0).tolist()
    return Reference(job.seed, reference_key(job), val, test, dense_cpu_seconds)


def reference_key(job: Job) -> str:
    """Return what names the training of a converged dense network."""
    task = TASKS[job.task]
    spec = trial(task, job.case, "none", job.seed)
    return f"{spec.dense_key}-{task.further_epochs}-{spec.prune.epochs_per_step}"


def bar_of(references: list[Reference]) -> float:
    """Return the validation accuracy that a point must reach."""
    return (BAR + MARGIN) * float(np.mean([r.val_accuracy for r in references]))


def largest(runs: Iterable[Run], resource: str, bar: float) -> list[Point | None]:
    """Return, per run, the point of the largest reduction with validation accuracy >= bar."""
    return [
        max(
            (p for p in one.points if p.val_accuracy >= bar),
            key=lambda p: getattr(p, resource),
            default=None,
        )
        for one in runs
    ]


def summary(runs: list[Run], references: list[Reference], resource: str) -> list[dict[str, Any]]:
    """Return one row per method and case."""
    test = float(np.mean([r.accuracy for r in references]))
    rows = []
    for case, method in dict.fromkeys((r.case, r.method) for r in runs):
        own = [r for r in runs if (r.case, r.method) == (case, method)]
        points = largest(own, resource, bar_of(references))
        reductions = [0.0 if p is None else 100 * getattr(p, resource) for p in points]
        ratios = [p.accuracy / test for p in points if p is not None]
        rows.append(
            {
                "method": method,
                "case": case,
                "reduction_percent": float(np.mean(reductions)),
                "sd": float(np.std(reductions, ddof=1)) if len(reductions) > 1 else None,
                "by_seed": [round(reduction, 1) for reduction in reductions],
                "test_over_converged": float(np.mean(ratios)) if ratios else None,
                "cpu_seconds": float(np.median([r.cpu_seconds for r in own])),
            }
        )
    return rows


def complete_cpu_seconds(runs: list[Run], references: list[Reference], steps: int) -> float:
    """Return the CPU seconds of the dense training and of `steps` pruning steps, on one thread."""
    per_step = float(np.median([run.cpu_seconds / len(run.points) for run in runs]))
    return float(np.median([r.dense_cpu_seconds for r in references])) + steps * per_step


def jobs(arguments: argparse.Namespace, bar: float, cache: str) -> list[Job]:
    """Return every trajectory that is asked for."""
    name = arguments.task
    return [
        Job(name, case, method, seed, bar, cache)
        for case in arguments.cases or TASKS[name].cases
        for method in arguments.methods or TASKS[name].methods
        for seed in range(arguments.seeds)
    ]


class Results:
    """What has been measured so far; kept in a file after every trajectory, if there is one."""

    def __init__(self, task: str, path: Path | None) -> None:
        self.task, self.path = task, path
        self.references: list[Reference] = []
        self.runs: list[Run] = []
        if path is not None and path.exists():
            self._read(path)

    def _read(self, path: Path) -> None:
        whole = json.loads(path.read_text(encoding="utf-8"))
        self.references = [Reference(**one) for one in whole["references"]]
        self.runs = [
            Run(**{**one, "points": [Point(**p) for p in one["points"]]}) for one in whole["runs"]
        ]

    def key(self, job: Job) -> str:
        """Return the key of a job's settings."""
        method = job.method
        found: str = trial(TASKS[self.task], job.case, method, job.seed).key
        return found

    def has(self, job: Job) -> bool:
        """Whether a trajectory has been run with the settings of now."""
        return self.key(job) in {run.key for run in self.runs}

    def has_reference(self, job: Job) -> bool:
        """Whether the converged dense network of a seed has been trained as it would be now."""
        return reference_key(job) in {one.key for one in self.references}

    def add(self, found: Run | Reference) -> None:
        """Note one result, in place of an older one of the same trajectory."""
        if isinstance(found, Reference):
            self.references = [r for r in self.references if r.seed != found.seed] + [found]
        else:
            name = (found.case, found.method, found.seed)
            self.runs = [r for r in self.runs if (r.case, r.method, r.seed) != name] + [found]
        if self.path is not None:
            with replacing(self.path) as partial:
                partial.write_text(json.dumps(self.as_json()) + "\n", encoding="utf-8")

    def ordered(self) -> list[Run]:
        """Return the trajectories in the order of the task's cases, methods and seeds."""
        cases = list(TASKS[self.task].cases)
        known = [run for run in self.runs if run.case in cases]
        return sorted(known, key=lambda r: (cases.index(r.case), METHODS.index(r.method), r.seed))

    def rows(self) -> list[dict[str, Any]]:
        """Return the table."""
        return summary(self.ordered(), self.references, TASKS[self.task].resource)

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        return {
            "task": self.task,
            "bar": BAR,
            "machine": platform.platform(),
            "references": [asdict(r) for r in self.references],
            "runs": [asdict(r) for r in self.runs],
        }


def measure(arguments: argparse.Namespace) -> Results:
    """Run everything that is not in the file yet, in as many processes as are asked for."""
    os.environ["OMP_NUM_THREADS"] = "1"
    context = multiprocessing.get_context("spawn")
    file = arguments.json if isinstance(arguments.json, Path) else None
    results = Results(arguments.task, file)
    first = next(iter(TASKS[arguments.task].cases))
    with tempfile.TemporaryDirectory() as cache, context.Pool(arguments.processes) as pool:
        dense = [Job(arguments.task, first, "none", s, 0.0, cache) for s in range(arguments.seeds)]
        missing = [job for job in dense if not results.has_reference(job)]
        for one in pool.imap_unordered(reference, missing):
            results.add(one)
        wanted = jobs(arguments, bar_of(results.references), cache)
        for found in pool.imap_unordered(run, [job for job in wanted if not results.has(job)]):
            results.add(found)
            print(
                f"{found.method} {found.case} seed {found.seed}: {found.cpu_seconds:.1f} s",
                file=sys.stderr,
                flush=True,
            )
    return results


def table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    for row in rows:
        shown = [_cell(name, value) for name, value in row.items()]
        lines.append("| " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _cell(name: str, value: Any) -> str:
    if isinstance(value, list):
        return " ".join(str(one) for one in value)
    if isinstance(value, float):
        return f"{value:.4f}" if name in ("test_over_converged", "p") else f"{value:.1f}"
    return "" if value is None else str(value)


def main() -> None:
    """Run the benchmark and print its table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", choices=sorted(TASKS), required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=None)
    parser.add_argument("--cases", nargs="+", default=None, help="reuse factors, or what they name")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument(
        "--json",
        nargs="?",
        type=Path,
        const=True,
        help="print one JSON object; with a file, write it there after every trajectory, and run "
        "only what it lacks",
    )
    arguments = parser.parse_args()
    results = measure(arguments)
    if arguments.json:
        if arguments.json is True:
            print(json.dumps({**results.as_json(), "rows": results.rows()}))
        return
    accuracy = float(np.mean([r.accuracy for r in results.references]))
    print(f"\nconverged dense network: test accuracy {accuracy:.4f}, bar {BAR} of it\n")
    print(table(results.rows()))


if __name__ == "__main__":
    main()
