"""Trials that share a process and train as one batched network, beside one after the other."""

import argparse
import functools
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from benchmarks.report import Kept, Study, listed, render, sentence, table
from rfprune.results import TrialFolder
from rfprune.spec import TrialSpec
from rfprune.spec.yaml_files import parse_spec
from rfprune.training import in_turns
from rfprune.training import together as meeting
from rfprune.training.together import fit_all, no_gain
from rfprune.trial import run_trial

#: What differs between the trials of a group: reuse factors, budgets, strengths, learning rates.
_BUDGETS, _STRENGTHS = (0.5, 0.35, 0.25, 0.15), (1e-4, 3e-4, 1e-3, 3e-3)
_REUSE = {"mlp": (1, 2, 4, 8), "cnn": (1, 1, 1, 1)}


class Clock:
    """CPU seconds of all trainings of this process."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.largest = 0

    def fit_all(self, jobs: Sequence[meeting.Training]) -> None:
        """Train as `rfprune.training.together.fit_all` does, and add what it took."""
        self.largest = max(self.largest, len(jobs))
        began = time.process_time()
        fit_all(jobs)
        self.seconds += time.process_time() - began


#: Shape of a row, by network.
_SHAPES = {"mlp": (16,), "cnn": (1, 8, 8)}
#: Rows of a minibatch; where convolutions no longer gain, larger ones only take long to measure.
_SIZES = {"mlp": (64, 512, 4096), "cnn": (64, 512)}


def made_rows(path: Path, shape: tuple[int, ...], rows: int, seed: int) -> Path:
    """Write rows of five classes that a small network tells apart."""
    rng, size = np.random.default_rng(seed), math.prod(shape)
    first, second = rng.normal(size=(size, 24)) * 4 / size**0.5, rng.normal(size=(24, 5))
    arrays: dict[str, Any] = {}
    for part, n in (("train", rows), ("test", 2048)):
        x = rng.normal(size=(n, size)).astype(np.float32)
        arrays |= {
            f"x_{part}": x.reshape(n, *shape),
            f"y_{part}": (np.tanh(x @ first) @ second).argmax(1),
        }
    np.savez(path / "rows.npz", **arrays)
    return path / "rows.npz"


def trials(network: str, batch_size: int, rows: Path, n: int) -> list[TrialSpec]:
    """Return trials of one network on the same rows."""
    found = []
    for k in range(n):
        values = {
            "model": {"name": network},
            "data": {"file": str(rows)},
            "hardware": {"reuse_factor": _REUSE[network][k % 4], "precision": "fixed<16,6>"},
            "train": {"epochs": 1, "batch_size": batch_size, "device": "cpu"},
            "prune": {
                "budget": {"dsp": _BUDGETS[k // 4 % 4]},
                "steps": 1,
                "epochs_per_step": 4,
                "learning_rate": 2e-3 * (1 + 0.1 * k),
                "tolerance": 1.0,
                "regularizer": {"weight": _STRENGTHS[k % 4]},
            },
        }
        found.append(parse_spec(TrialSpec, values, "benchmarks/together.py"))
    return found


def run(specs: list[TrialSpec], path: Path, way: str, together: bool) -> tuple[float, float, int]:
    """Run trials; return CPU seconds of all, those of training, and how many met at most."""
    clock = Clock()

    def one(number: int) -> None:
        folder = TrialFolder(path / way / f"{number:04d}")
        run_trial(specs[number], folder, dense_dir=path / "dense", base_dir=Path.cwd())

    works = [functools.partial(one, number) for number in range(len(specs))]
    groups = [works] if together else [[work] for work in works]
    began = time.process_time()
    # Also where a sweep would not: what is measured here is why.
    meeting.fit_all, meeting.no_gain = clock.fit_all, lambda *_: ""
    try:
        errors = [e for group in groups for e in in_turns(group) if e is not None]
    finally:
        meeting.fit_all, meeting.no_gain = fit_all, no_gain
    if errors:
        raise errors[0]
    return time.process_time() - began, clock.seconds, clock.largest


def rows_of(given: argparse.Namespace, network: str, batch_size: int) -> list[dict[str, Any]]:
    """Return a row for each K: medians of runs of K trials together beside two alone."""
    numbers = [int(k) for k in given.together.split(",")]
    found: dict[int, list[tuple[float, float, int]]] = {k: [] for k in (1, *numbers)}
    for repeat in range(given.repeats):
        with tempfile.TemporaryDirectory(prefix="rfprune-together-") as folder:
            path, n_rows = Path(folder), max(given.rows, 8 * batch_size)
            rows = made_rows(path, _SHAPES[network], n_rows, given.seed)
            specs = trials(network, batch_size, rows, max(numbers))
            # The dense network is there beforehand, as for all but the first trial of a sweep.
            run(specs[:1], path, "first", together=False)
            for k in found:
                taken = specs[:2] if k == 1 else specs[:k]
                whole, training, met = run(taken, path, f"{k}", together=k > 1)
                found[k].append((whole / len(taken), training / len(taken), met))
        print(f"{network} {batch_size}: {repeat + 1} of {given.repeats}", file=sys.stderr)

    def median(k: int, part: int) -> float:
        return statistics.median(each[part] for each in found[k])

    return [
        {
            "network": network,
            "rows of a minibatch": batch_size,
            "K": k,
            "trials per hour alone": 3600 / median(1, 0),
            "together": 3600 / median(k, 0),
            "times": median(1, 0) / median(k, 0),
            "training, times": median(1, 1) / median(k, 1),
            "share of training alone": median(1, 1) / median(1, 0),
            "trained at once": max(met for _, _, met in found[k]),
        }
        for k in numbers
    ]


class Found(Kept):
    """What has been measured so far, so that a long study can be resumed."""

    cases: list[dict[str, Any]] = Field(default_factory=list)


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Measure all cases."""
    torch.set_num_threads(1)
    found = Found.read(given.kept)
    for network in given.networks:
        for size in _SIZES[network]:
            if not any(
                (r["network"], r["rows of a minibatch"]) == (network, size) for r in found.cases
            ):
                found.cases += rows_of(given, network, size)
                found.write(given.kept)
    return {"rows": given.rows, "repeats": given.repeats, **found.model_dump()}


def page(result: dict[str, Any]) -> str:
    """Return the page."""
    return render(
        "together",
        made=f"Made by `{result['command']}`. {sentence(result['facts'])}",
        rows=f"{result['rows']:,}",
        repeats=str(result["repeats"]),
        cases=table(
            {
                name: f"{v:.0f}" if "hour" in name or name == "together" else v
                for name, v in r.items()
            }
            for r in result["cases"]
        ),
    )


if __name__ == "__main__":
    Study(
        "together",
        "trials that share a process and train as one batched network",
        measure,
        page,
        packages=("rfprune", "torch", "hls4ml"),
        options={
            "--rows": (int, 8192, "training rows, or eight minibatches if that is more"),
            "--repeats": (int, 3, "runs of each case; the median counts"),
            "--together": (str, "4,8,16", "trials that share a process, with commas"),
            "--networks": (listed(_SHAPES), ",".join(_SHAPES), f"some of: {', '.join(_SHAPES)}"),
            "--kept": (Path, None, "a file that keeps what was found, to resume from"),
            "--seed": (int, 0, "of the made rows"),
        },
    ).run()
