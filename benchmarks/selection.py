"""One whole selection, as a pruning step makes it: ``python -m benchmarks.selection [--json]``.

What is selected from, timed and weighed: ``pages/selection.md``.
"""

import argparse
import math
import statistics
import time
from typing import Any

import torch
from torch import nn

from benchmarks.report import Study, apart, memory_mb, render, sentence, table
from rfprune.data import Dataset
from rfprune.fpga.groups import build_groups
from rfprune.fpga.layers import plan, trace
from rfprune.fpga.prunable import GroupPrunable
from rfprune.hardware.memory import multipliers_per_word
from rfprune.methods import find_method
from rfprune.pruning import Session, final_amounts
from rfprune.spec import TrialSpec
from rfprune.tasks import TaskSpec, make_task

#: Reuse factor and weight width of each layer.
LAYERS = ((2, 16), (4, 18), (8, 12), (16, 36))
BUDGETS = {1: {"dsp": 0.4}, 2: {"dsp": 0.4, "bram18": 0.4}}


def session_of(groups: int, resources: int) -> Session:
    """Return a pruning session on a network of square layers, of about this many groups."""
    # With two budgets a group is what shares a memory word.
    words = [multipliers_per_word(bits, rf) if resources > 1 else 1 for rf, bits in LAYERS]
    per_weight = sum(1 / (rf * word) for (rf, _), word in zip(LAYERS, words, strict=True))
    widest = max(rf for rf, _ in LAYERS)  # the width is a multiple of every reuse factor
    width = max(1, round(math.sqrt(groups / per_weight) / widest)) * widest
    torch.manual_seed(0)
    model = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in LAYERS))
    layers = {
        f"_{index}": {"reuse_factor": rf, "weight_precision": f"fixed<{bits},4>"}
        for index, (rf, bits) in enumerate(LAYERS)
    }
    spec = TrialSpec.model_validate(
        {
            "model": {"name": "mlp"},
            "data": {"name": "digits"},
            "hardware": {"layers": layers},
            "prune": {"budget": BUDGETS[resources], "score": "l2", "normalize": "none"},
        }
    )
    rows, classes = torch.zeros(2, width), torch.zeros(2, dtype=torch.int64)
    data = Dataset("none", "none", *((rows, classes) * 3), width, None, rows[:1], rows[:1], "none")
    planned = plan(trace(model, (width,)), spec.hardware)
    prunable = GroupPrunable(build_groups(planned, spec.prune), in_fixed_point=False)
    return Session(
        spec=spec,
        model=model,
        data=data,
        task=make_task(TaskSpec()),
        prunable=prunable,
        method=find_method("knapsack"),
        amounts=final_amounts(prunable.dense, BUDGETS[resources]),
        dense_score=1.0,
    )


def select(session: Session) -> dict[str, float]:
    """Make one selection and return the seconds of its parts."""
    began = time.perf_counter()
    session.values(1)
    scored = time.perf_counter()
    choice = session.select(1, 1.0)
    solved = time.perf_counter()
    session.prunable.masks(choice.keep)
    masked = time.perf_counter()
    score = scored - began
    # A selection begins with the scores, which have been timed alone before.
    return {"score": score, "solve": solved - scored - score, "mask": masked - solved}


def _measure(groups: int, resources: int, repeats: int) -> dict[str, Any]:
    session = session_of(groups, resources)
    before = memory_mb("VmRSS")
    times = [select(session) for _ in range(repeats)]
    peak = memory_mb("VmHWM")
    return {
        "resources": resources,
        "groups": int(session.prunable.counts.sum()),
        "weights": sum(len(weight.label) for weight in session.prunable.weights),
        **{name: statistics.median(run[name] for run in times) for name in times[0]},
        "total": statistics.median(sum(run.values()) for run in times),
        "peak_mb": None if before is None or peak is None else max(0.0, peak - before),
    }


def measure(groups: int, resources: int, repeats: int = 3) -> dict[str, Any]:
    """Return seconds and memory of one selection, measured in a process of its own."""
    found: dict[str, Any] = apart(_measure, groups, resources, repeats)
    return found


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Return one row per number of budgets and size."""
    sizes = [int(float(size)) for size in options.sizes.split(",")]
    return {
        "rows": [measure(n, resources, options.repeats) for resources in BUDGETS for n in sizes]
    }


def page(result: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    made = f"Made by `{result['command']}`. {sentence(result['facts'])}"
    return render("selection", made=made, rows=table(result["rows"]))


if __name__ == "__main__":
    Study(
        "selection",
        "seconds and memory of one whole selection",
        measured,
        page,
        packages=("rfprune", "numpy", "torch", "pulp"),
        options={
            "--sizes": (str, "10000,100000,1000000", "groups, with commas"),
            "--repeats": (int, 5, "the median counts"),
        },
    ).run()
