"""A sweep as a program of its own, to be killed: ``python -m benchmarks.faults.driver RUNS NAME``.

Ends as ``rfprune sweep`` does: 0 done, 1 failed, 2 refused, 130 interrupted.
"""

import sys
from pathlib import Path
from typing import Any

from benchmarks.report import ROOT
from rfprune.api.tracking import Tracking
from rfprune.core.signals import termination_as_interrupt
from rfprune.errors import RfpruneError
from rfprune.execution.drive import run_sweep
from rfprune.results import SweepFolder
from rfprune.spec import SweepSpec
from rfprune.spec.yaml_files import parse_spec
from rfprune.study import SweepEvent, expand

PROMOTED, TOGETHER = "promoted", "together"
LAYERS = {"fc1": (16, 64), "fc2": (64, 32)}


def spec_of(name: str, trials: int, seconds: float) -> SweepSpec:
    """Return the sweep: reuse factor and budget of a small network, two objectives.

    In one that is called `PROMOTED` with a number, trials pause and the best are promoted; in one
    that is called `TOGETHER` four share a process.
    """
    values: dict[str, Any] = {
        "name": name,
        "model": {"name": "mlp", "args": {"seconds": seconds}},
        "data": {"name": "digits"},
        "search": {
            "hardware.reuse_factor": {"choices": [1, 2, 4, 8, 16]},
            "prune.budget.dsp": {"low": 0.05, "high": 1.0},
        },
        "sampler": {"name": "nsga2"},
        "trials": trials,
        # A trial may be hit many times here.
        "retries": 50,
    }
    if name.startswith(PROMOTED):
        values["early_stop"] = {"first_step": 1, "factor": 2, "promote": True}
    if name.startswith(TOGETHER):
        values["resources"] = {"together": 4}
    return parse_spec(SweepSpec, values, "benchmarks/faults/driver.py")


def main(runs: str, name: str, trials: str, seconds: str) -> int:
    """Run the sweep, or resume it; return the exit status."""
    spec, folder = spec_of(name, int(trials), float(seconds)), SweepFolder(Path(runs) / name)
    try:
        with Tracking(folder, active=True) as tracking:

            def tell(event: SweepEvent) -> None:
                print(event.kind, event.trial, f"{event.counts.done}/{spec.trials}", flush=True)
                tracking(event)

            outcome = run_sweep(
                spec,
                folder,
                expand(spec, LAYERS),
                base_dir=ROOT,
                trial_function="benchmarks.faults.trials:run",
                progress=tell,
            )
    except RfpruneError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if outcome.interrupted:
        return 130
    return 0 if outcome.reached else 1


if __name__ == "__main__":
    try:
        with termination_as_interrupt():
            status = main(*sys.argv[1:])
            # Python puts the default handlers back as it leaves: a signal then ends what has ended.
            print("end", status, flush=True)
            sys.exit(status)
    except KeyboardInterrupt:
        sys.exit(130)
