"""One whole selection, as a pruning step makes it: ``python -m benchmarks.selection [--json]``.

A network of square dense layers whose reuse factors and weight widths differ, so that groups differ
in cost; one resource is DSP, two are DSP and BRAM18 (then a group is what shares memory words). The
budget is 40 % of the dense network. Timed by the wall clock, median of the repeats:

- score: the L2 norm of every group;
- solve: the problem, the certified knapsack, and the check of its choice against the budget;
- mask: the weight masks of all layers.

Memory is what the selection adds to a process of its own that holds network and groups: its peak
resident memory less what it held before.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import facts, print_result, sentence, table

#: Reuse factor and weight width of each layer.
LAYERS = ((2, 16), (4, 18), (8, 12), (16, 36))
BUDGETS = {1: {"dsp": 0.4}, 2: {"dsp": 0.4, "bram18": 0.4}}
SIZES = (10_000, 100_000, 1_000_000)
PACKAGES = ("rfprune", "numpy", "torch", "pulp")
COLUMNS = ("resources", "groups", "weights", "score", "solve", "mask", "total", "peak_mb")


@dataclass(frozen=True)
class Cost:
    """What one selection takes.

    Attributes:
        resources: budgets.
        groups: groups of the network.
        weights: weights of the network.
        score, solve, mask, total: seconds.
        peak_mb: memory that the selection adds, in MB; None where the system does not tell.
    """

    resources: int
    groups: int
    weights: int
    score: float
    solve: float
    mask: float
    total: float
    peak_mb: float | None


def session_of(groups: int, resources: int) -> Any:
    """Return a pruning session on a network of about this many groups."""
    import torch
    from torch import nn

    from rfprune.data import Dataset
    from rfprune.groups import build_groups
    from rfprune.methods import find_method
    from rfprune.network import plan, trace
    from rfprune.pruning import Session
    from rfprune.spec import HardwareSpec, PruneSpec, TrialSpec

    torch.manual_seed(0)
    width = _width(groups, resources)
    model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in LAYERS))
    layers = {
        f"_{index}": {"reuse_factor": rf, "weight_precision": f"fixed<{bits},4>"}
        for index, (rf, bits) in enumerate(LAYERS)
    }
    hardware = HardwareSpec.model_validate({"layers": layers})
    prune = PruneSpec.model_validate({"budget": BUDGETS[resources]})
    spec = TrialSpec.model_validate(
        {"model": {"name": "mlp"}, "data": {"name": "digits"}, "hardware": hardware, "prune": prune}
    )
    built = build_groups(plan(trace(model, (width,)), hardware), prune)
    rows, classes = torch.zeros(2, width), torch.zeros(2, dtype=torch.int64)
    data = Dataset("none", "none", *((rows, classes) * 3), width, None, rows[:1], rows[:1], "none")
    return Session(
        spec=spec,
        model=model,
        data=data,
        groups=built,
        method=find_method("knapsack"),
        fractions=BUDGETS[resources],
        dense_val_accuracy=1.0,
    )


def _width(groups: int, resources: int) -> int:
    """Return the width of the layers, a multiple of the largest reuse factor."""
    from rfprune.hardware.memory import multipliers_per_word

    per_weight = sum(
        1 / (rf * (multipliers_per_word(bits, rf) if resources > 1 else 1)) for rf, bits in LAYERS
    )
    step = max(rf for rf, _ in LAYERS)
    return max(step, step * round(math.sqrt(groups / per_weight) / step))


def select(session: Any) -> dict[str, float]:
    """Make one selection and return the seconds of its parts."""
    from rfprune.methods import check_choice
    from rfprune.scores import score_groups

    began = time.perf_counter()
    value = score_groups(session.model, session.groups, "l2", "none", [], np.random.default_rng(0))
    scored = time.perf_counter()
    problem = session.problem(value, 1.0, 1)
    choice = session.method.select(problem)
    check_choice(problem, choice)
    solved = time.perf_counter()
    session.groups.masks(choice.keep)
    masked = time.perf_counter()
    return {"score": scored - began, "solve": solved - scored, "mask": masked - solved}


def _measure(groups: int, resources: int, repeats: int) -> Cost:
    session = session_of(groups, resources)
    before = _memory_mb("VmRSS")
    times = [select(session) for _ in range(repeats)]
    peak = _memory_mb("VmHWM")
    parts = {name: statistics.median(run[name] for run in times) for name in times[0]}
    return Cost(
        resources=resources,
        groups=len(session.groups),
        weights=sum(layer.plan.layer.n_weights for layer in session.groups.layers),
        **parts,
        total=statistics.median(sum(run.values()) for run in times),
        peak_mb=None if before is None or peak is None else max(0.0, peak - before),
    )


def _memory_mb(name: str) -> float | None:
    status = Path("/proc/self/status")
    if not status.is_file():
        return None
    line = next(line for line in status.read_text().splitlines() if line.startswith(name))
    return float(line.split()[1]) * 1024 / 1e6


def measure(groups: int, resources: int, repeats: int = 3) -> Cost:
    """Return what one selection takes, measured in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, groups, resources, repeats).result()


def main() -> None:
    """Measure, and print or write the result."""
    parser = argparse.ArgumentParser(description="seconds and memory of one whole selection")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="groups, with commas")
    parser.add_argument("--repeats", type=int, default=5, help="the median counts")
    parser.add_argument("--out", type=Path, help="write the page to this file as well")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    sizes = [int(float(size)) for size in options.sizes.split(",")]
    known = facts(PACKAGES, 0)
    rows = [asdict(measure(n, r, options.repeats)) for r in BUDGETS for n in sizes]
    command = "python -m benchmarks.selection"
    command += f" --sizes {options.sizes} --repeats {options.repeats}"
    result = {"command": command, "facts": known, "rows": rows}
    page = "\n\n".join(
        [
            "# One whole selection: time and memory",
            f"Made by `{command}`. {sentence(known)}",
            (__doc__ or "").split("\n\n", 1)[1].strip(),
            table(rows, COLUMNS),
        ]
    )
    if options.out:
        options.out.write_text(page + "\n", encoding="utf-8")
    print_result(page, result, options.json)


if __name__ == "__main__":
    main()
