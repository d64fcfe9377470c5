"""Trajectories of pruning beside a converged dense network; ``tasks.yml`` says how it is done."""

import copy
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.pruning.tasks import BAR, TASKS, Point, Reference, Results, Run, Task

#: The bar on validation is higher by this much, since the best of several steps by validation is a
#: little worse on the test.
MARGIN = 0.002
#: Checkpoints at the end of the converged dense training whose mean is the reference.
CHECKPOINTS = 5


class Job(NamedTuple):
    """One trajectory to run; `bar` is the validation accuracy that counts."""

    task: Task
    case: str
    method: str
    seed: int
    bar: float
    cache: str


def run(job: Job) -> Run:
    """Run one trajectory in this process, on one thread."""
    import torch

    from rfprune.trial import prepare
    from rfprune.trial.dense import dense_network

    torch.set_num_threads(1)
    spec = job.task.trial(job.case, job.method, job.seed)
    prepared = prepare(spec, Path())
    dense = dense_network(spec, prepared.data, prepared.task, Path(job.cache), Path())
    session = prepared.session(dense, prepared.data)
    began = time.process_time()
    points = list(trajectory(session, job.bar, job.task.refines))
    named = {"case": job.case, "method": job.method, "seed": job.seed, "key": spec.key}
    return Run(**named, points=points, cpu_seconds=time.process_time() - began)


def trajectory(session: Any, bar: float, refines: bool) -> Iterator[Point]:
    """Yield the points of the way down, then those of the way back and closer to the bar."""
    from rfprune.pruning import dense_step, steps
    from rfprune.pruning.schedule import following

    above = below = None
    for step in steps(session, dense_step(session).state):
        yield point(session, step)
        if step.metrics["val_accuracy"] >= bar:
            above, below = (step.state, copy.deepcopy(session.model.state_dict())), None
        elif below is None:
            below = step.progress
        if not step.accepted:
            break
    if not refines or above is None or below is None:
        return
    # From the last network above the bar, as if the tolerance had been the bar.
    state, weights = above
    session.model.load_state_dict(weights)
    strict = replace(session, dense_score=bar / (1 - session.spec.prune.tolerance))
    for step in steps(strict, replace(state, schedule=following(state.schedule, below, False))):
        yield point(session, step)


def point(session: Any, step: Any) -> Point:
    """Return what a step has left over, and its accuracies."""
    from rfprune.core.quantities import RESOURCES

    groups = session.prunable.groups
    whole = sum(layer.n_multipliers for layer in groups.plan.layers)
    left = groups.used_by(step.masks) / np.maximum(groups.dense, 1e-12)
    gone = dict(zip(RESOURCES, (1 - left).tolist(), strict=True))
    gone["multipliers"] = 1 - sum(groups.live(session.model).values()) / whole
    kept = {name: gone[name] for name in ("multipliers", "dsp", "bram18")}
    scores = {name: step.metrics[name] for name in ("val_accuracy", "accuracy")}
    return Point(step=step.index, **kept, **scores)


def reference(job: Job) -> Reference:
    """Train the dense network further and return the mean of its last checkpoints."""
    import torch
    import torch._dynamo  # torch loads it with the first optimizer; a second that is no training

    from rfprune.training import Fit, evaluate, fit
    from rfprune.trial import prepare
    from rfprune.trial.dense import dense_network

    torch.set_num_threads(1)
    spec = job.task.trial(job.case, "none", job.seed)
    prepared = prepare(spec, Path())
    began = time.process_time()
    data, found = prepared.data, []
    model = dense_network(spec, data, prepared.task, Path(job.cache), Path()).model
    dense_cpu_seconds = time.process_time() - began
    # In blocks of as many epochs as a pruning step has, each with a new optimizer, as pruning does.
    block = spec.prune.epochs_per_step
    for index in range(job.task.further_epochs // block):
        how = Fit(block, spec.train.learning_rate, spec.train, 1000 * job.seed + index)
        fit(model, data.x_train, data.y_train, how)
        rows = ((data.x_val, data.y_val), (data.x_test, data.y_test))
        found.append([evaluate(model, x, y) for x, y in rows])
    val, test = np.mean(found[-CHECKPOINTS:], axis=0).tolist()
    known = {"seed": job.seed, "key": job.task.reference_key(job.case, job.seed)}
    known |= {"val_accuracy": val, "accuracy": test, "dense_cpu_seconds": dense_cpu_seconds}
    return Reference(**known)


def bar_of(results: Results) -> float:
    """Return the validation accuracy that a point must reach."""
    return (BAR + MARGIN) * float(np.mean([one.val_accuracy for one in results.references]))


def largest(run: Run, resource: str, bar: float) -> Point | None:
    """Return the point of the largest reduction with validation accuracy >= bar."""
    good = (p for p in run.points if p.val_accuracy >= bar)
    return max(good, key=attrgetter(resource), default=None)


def summary(results: Results) -> list[dict[str, Any]]:
    """Return one row per method and case."""
    runs, resource = results.ordered(), TASKS[results.task].resource
    rows = []
    for case, method in dict.fromkeys((r.case, r.method) for r in runs):
        own = [r for r in runs if (r.case, r.method) == (case, method)]
        points = [largest(r, resource, bar_of(results)) for r in own]
        reductions = [0.0 if p is None else 100 * getattr(p, resource) for p in points]
        ratios = [p.accuracy / results.accuracy for p in points if p is not None]
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


def measure(
    results: Results,
    file: Path | None,
    seeds: range,
    cases: Sequence[str],
    methods: Sequence[str],
    processes: int | None = None,
) -> None:
    """Run every trajectory that the results lack, in parallel, and write them after each."""
    os.environ["OMP_NUM_THREADS"] = "1"
    task = TASKS[results.task]
    first = next(iter(task.cases))
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as cache, context.Pool(processes) as pool:
        trained = {one.key for one in results.references}
        missing = [seed for seed in seeds if task.reference_key(first, seed) not in trained]
        dense = [Job(task, first, "none", seed, 0.0, cache) for seed in missing]
        for one in pool.imap_unordered(reference, dense):
            results.add(one, file)
        done, bar = {one.key for one in results.runs}, bar_of(results)
        jobs = [
            Job(task, *name, bar, cache)
            for name in product(cases, methods, seeds)
            if task.trial(*name).key not in done
        ]
        for found in pool.imap_unordered(run, jobs):
            results.add(found, file)
            text = f"{found.method} {found.case} seed {found.seed}: {found.cpu_seconds:.1f} s"
            print(text, file=sys.stderr, flush=True)
