"""A driver as a program of its own, to be killed: ``drive_demo.py RUNS TRIALS SECONDS_PER_STEP``.

With ``track`` as a fourth argument it writes to MLflow, as the environment says where. The study is
in ``$DEMO_STORAGE`` if that is set; all but the first trials wait for the file ``$DEMO_GATE``; with
``$DEMO_PROMOTE`` trials pause and are promoted. Prints one line per event; ends with 130 if a
signal ended the sweep, with 1 if it did not reach its end, or with the error's status and sentence.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from rfprune.api.tracking import Tracking
from rfprune.errors import RfpruneError
from rfprune.execution.drive import run_sweep
from rfprune.results import SweepFolder
from rfprune.spec import SweepSpec
from rfprune.spec.yaml_files import parse_spec
from rfprune.study import SweepEvent, expand


def main(runs: str, trials: str, seconds: str, track: str = "") -> int:
    values: dict[str, Any] = {
        "name": "demo",
        "model": {"name": "mlp", "args": {"seconds": float(seconds)}},
        "data": {"name": "digits"},
        "prune": {"steps": 3},
        "search": {"hardware.layers.*.reuse_factor": {"valid": True}},
        "sampler": {"name": "nsga2"},
        "trials": int(trials),
        "retries": 9,
    }
    if os.environ.get("DEMO_PROMOTE"):
        values["early_stop"] = {"first_step": 1, "factor": 2, "promote": True}
    if storage := os.environ.get("DEMO_STORAGE"):
        values["storage"] = storage
    if gate := os.environ.get("DEMO_GATE"):
        values["model"]["args"]["gate"] = gate
    spec = parse_spec(SweepSpec, values, "demo.yml")
    folder = SweepFolder(Path(runs) / "demo")
    try:
        with Tracking(folder, active=bool(track)) as tracking:

            def tell(event: SweepEvent) -> None:
                print(event.kind, event.trial, flush=True)
                tracking(event)

            outcome = run_sweep(
                spec,
                folder,
                expand(spec, {"fc1": (16, 64), "fc2": (64, 32)}),
                base_dir=Path(__file__).parent,
                trial_function="quick_trials:run",
                progress=tell,
            )
    except RfpruneError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if outcome.interrupted:
        return 130
    return 0 if outcome.reached else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
