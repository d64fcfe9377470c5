"""Syne Tune's MO-ASHA on a table of `benchmarks.search_quality`.

Runs in an environment of its own, which knows nothing of rfprune::

    python -m venv syne && syne/bin/pip install syne-tune==0.16.0
    syne/bin/python benchmarks/search_quality/mo_asha.py ASKED.json FOUND.json

The scheduler is asked for a point and told its objectives step by step, as its own tuner does, one
trial at a time; its settings are the defaults. A point that it has drawn before is drawn again.
"""

import json
import sys
import time
from datetime import datetime
from pathlib import Path

import numpy as np
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import ordinal
from syne_tune.optimizer.scheduler import SchedulerDecision
from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA


def search(asked: dict, seed: int, cpu_seconds: float) -> list[dict]:
    """Return of each trial the number of its point, its steps and the CPU seconds of the draw."""
    # Its domains draw from the global generator.
    np.random.seed(seed)  # noqa: NPY002
    axes, signs = asked["axes"], [-1 if w == "max" else 1 for w in asked["objectives"].values()]
    names = list(asked["objectives"])
    scheduler = MOASHA(
        {path: ordinal(values) for path, values in axes.items()},
        names,
        time_attr="step",
        max_t=asked["steps"],
        random_seed=seed,
    )
    numbers = {tuple(point): number for number, point in enumerate(asked["points"])}
    found: list[dict] = []
    left, known = cpu_seconds, set()
    while left > 0 and len(known) < len(numbers):
        began = time.process_time()
        config = scheduler.suggest().config
        number = numbers[tuple(config[path] for path in axes)]
        while number in known:
            config = scheduler.suggest().config
            number = numbers[tuple(config[path] for path in axes)]
        known.add(number)
        trial = Trial(len(found), config, datetime.now())
        scheduler.on_trial_add(trial)
        # The dense network comes first, and is no step of pruning.
        ran, rows = 1, asked["reported"][number]
        for step, row in enumerate(rows[1:], 1):
            told = {name: s * value for name, s, value in zip(names, signs, row, strict=True)}
            told["step"] = step
            ran += 1
            if step == len(rows) - 1:
                scheduler.on_trial_complete(trial, told)
            elif scheduler.on_trial_result(trial, told) == SchedulerDecision.STOP:
                scheduler.on_trial_remove(trial)
                break
        draw = time.process_time() - began
        found.append({"point": number, "steps": ran, "draw": draw})
        left -= draw + ran * asked["step_seconds"]
    return found


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[1]).read_text())
    found = [search(asked, seed, most) for seed, most in enumerate(asked["cpu_seconds"])]
    Path(sys.argv[2]).write_text(json.dumps(found))
