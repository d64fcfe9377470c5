"""A sweep of many short trials: what the driver and its folder take, and how long looking takes."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.faults.driver import LAYERS, spec_of
from benchmarks.report import ROOT, apart, memory_mb

_UI_SECONDS = 120.0


def measure(trials: int) -> dict[str, Any]:
    """Run a sweep of so many trials of 40 ms, and look at it in every way."""
    with tempfile.TemporaryDirectory(prefix="rfprune-scale-") as name:
        runs = Path(name)
        found = apart(run, runs, trials)
        files = [path for path in (runs / "scale").rglob("*") if path.is_file()]
        found |= {
            "files per trial": len(files) / trials,
            "kB per trial": sum(path.stat().st_size for path in files) / trials / 1000,
            "journal, kB per trial": (runs / "scale/study.journal").stat().st_size / trials / 1000,
        }
        found |= apart(project, runs, trials)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "RFPRUNE_TRACKING": "true"}
        environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{runs}/mlflow.db"
        environment["MLFLOW_DEFAULT_ARTIFACT_ROOT"] = str(runs / "artifacts")
        for what, words in {
            "rfprune pareto, s": ["pareto"],
            "rfprune pareto --html, s": ["pareto", "--html", str(runs / "front.html")],
            "rfprune sweep --attach, s": ["sweep", "--attach"],
        }.items():
            command = [words[0], "scale", "--runs", name, *words[1:]]
            began = time.monotonic()
            subprocess.run(
                [sys.executable, "-m", "rfprune", *command],
                check=True,
                env=environment,
                capture_output=True,
            )
            found[what] = time.monotonic() - began
        return found | table_of_the_ui(environment)


def run(runs: Path, trials: int) -> dict[str, Any]:
    """Run the sweep in this process, without MLflow, and return what it took."""
    from rfprune.execution.drive import run_sweep
    from rfprune.results import SweepFolder

    spec, began = spec_of("scale", trials, 0.01), time.monotonic()
    outcome = run_sweep(
        spec,
        SweepFolder(runs / "scale"),
        expand_space(spec),
        base_dir=ROOT,
        trial_function="benchmarks.faults.trials:run",
    )
    assert outcome.counts.complete == trials
    return {
        "trials": trials,
        "seconds": time.monotonic() - began,
        "driver's CPU, ms per trial": 1000 * time.process_time() / trials,
        "driver's memory at its peak, MB": memory_mb("VmHWM"),
    }


def expand_space(spec: Any) -> Any:
    """Return the search space of the sweep."""
    from rfprune.study import expand

    return expand(spec, LAYERS)


def project(runs: Path, trials: int) -> dict[str, Any]:
    """Write the sweep to MLflow, twice; the second time nothing is left to do."""
    from rfprune.results import SweepFolder
    from rfprune.tracking import TrackingConfig
    from rfprune.tracking import project as write

    config = TrackingConfig(
        tracking_uri=f"sqlite:///{runs}/mlflow.db", artifact_location=str(runs / "artifacts")
    )
    began = time.monotonic()
    assert len(write(SweepFolder(runs / "scale"), config)) == trials
    first = time.monotonic() - began
    write(SweepFolder(runs / "scale"), config)
    return {
        "MLflow, ms per trial": 1000 * first / trials,
        "MLflow again with nothing new, s": time.monotonic() - began - first,
    }


def table_of_the_ui(environment: dict[str, str]) -> dict[str, Any]:
    """Return how long the server of ``rfprune ui`` takes for the rows of its table."""
    from benchmarks.ports import free_port

    port = free_port()
    command = [sys.executable, "-m", "rfprune", "ui", "--port", str(port)]
    server = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    base = f"http://127.0.0.1:{port}/ajax-api/2.0/mlflow"
    try:
        experiment = _patiently(f"{base}/experiments/get-by-name?experiment_name=rfprune")
        found = {}
        for rows in (100, 1000):
            began = time.monotonic()
            asked = {
                "experiment_ids": [experiment["experiment"]["experiment_id"]],
                "max_results": rows,
                "order_by": ["attributes.start_time DESC"],
            }
            _fetch(f"{base}/runs/search", json.dumps(asked).encode())
            found[f"table of the UI, {rows} rows, s"] = time.monotonic() - began
        return found
    finally:
        server.terminate()
        server.wait(timeout=60)


def _fetch(address: str, body: bytes | None = None) -> dict[str, Any]:
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def _patiently(address: str) -> dict[str, Any]:
    deadline = time.monotonic() + _UI_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError):
            return _fetch(address)
        time.sleep(0.5)
    raise TimeoutError(address)
