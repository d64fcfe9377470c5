"""How sweeps grow with workers: measured here on 1, 2 and 4 nodes, simulated up to 10,000.

``python -m benchmarks.scaling [--json] [--write]`` starts Ray nodes on this machine and measures

- sweeps of sleeping trials of 2 s on 1, 2 and 4 nodes,
- what the driver and the depot take for one trial and one step,
- how 200 MB of data come to two nodes: from a path, and through the object store,

then plays the driver's loop through with these costs. ``--write`` writes docs/results/scaling.md
with its plot.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.report import ROOT, facts, table
from benchmarks.scaling.model import Costs, Load, lifted, saturation, simulate

LAYERS = {"fc1": (16, 64), "fc2": (64, 32), "fc3": (32, 32), "fc4": (32, 5)}
NODES = (1, 2, 4)
TRIAL_SECONDS = 2.0
TRIALS_PER_NODE = 16
WORKERS = (100, 300, 1000, 3000, 10_000)
DATA_MB = 200
_STORE_BYTES = 600_000_000
_NODE_SECONDS = 120.0
_LARGE_BYTES = 20_000_000


@contextlib.contextmanager
def ray_nodes(folder: Path, n_nodes: int) -> Iterator[str]:
    """Start a head without CPUs and nodes with one each; yield the head's address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"127.0.0.1:{port}"
    own = ("--num-cpus=0", "--node-ip-address=127.0.0.1", "--include-dashboard=false")
    nodes = [_node(folder, "--head", f"--port={port}", *own)]
    try:
        _wait_for(port, nodes[0])
        with _connected(address):
            # One after the other: nodes that start at once on one machine may pick the same ports.
            for number in range(1, n_nodes + 1):
                nodes.append(_node(folder, f"--address={address}", "--num-cpus=1"))
                _wait_for_cpus(number)
            yield address
    finally:
        for node in reversed(nodes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGKILL)
            node.wait()


def _node(folder: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block"]
    return subprocess.Popen(
        [*command, f"--object-store-memory={_STORE_BYTES}", "--disable-usage-stats", *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT)},
        cwd=folder,
        start_new_session=True,
    )


def _wait_for(port: int, head: subprocess.Popen[bytes]) -> None:
    while head.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.2)
    raise SystemExit("Ray's head did not start")


@contextlib.contextmanager
def _connected(address: str) -> Iterator[None]:
    """Connect this process as driver."""
    from rfprune.search.cluster import cluster, quiet_environment

    os.environ["RAY_AUTH_MODE"] = "disabled"
    with quiet_environment(), cluster(address):
        yield


def _wait_for_cpus(count: int) -> None:
    import ray

    deadline = time.monotonic() + _NODE_SECONDS
    while ray.cluster_resources().get("CPU", 0) < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"node {count} did not join within {_NODE_SECONDS:.0f} s")
        time.sleep(0.2)


def sweep_values(trials: int, seconds: float, steps: int) -> dict[str, Any]:
    """Return the sweep file of a measurement."""
    return {
        "name": "scaling",
        "model": {"name": "mlp", "args": {"seconds": seconds, "steps": steps}},
        "data": {"name": "jets"},
        "search": {
            "hardware.layers.*.reuse_factor": {"valid": True, "low": 1, "high": 64},
            "prune.budget.dsp": {"low": 0.05, "high": 1.0},
        },
        "sampler": {"name": "nsga2"},
        "trials": trials,
    }


def run(folder: Path, values: dict[str, Any], address: str | None) -> dict[str, float]:
    """Run a sweep; return when trials ended, and the driver's processor time per trial."""
    from rfprune.runs import SweepFolder
    from rfprune.search import SweepEvent, run_sweep
    from rfprune.spec import SweepSpec
    from rfprune.spec.files import parse_spec

    ended: list[tuple[float, float]] = []

    def listen(event: SweepEvent) -> None:
        if event.kind == "complete":
            ended.append((time.monotonic(), time.process_time()))

    run_sweep(
        parse_spec(SweepSpec, values, "benchmarks/scaling/measure.py"),
        SweepFolder(folder / "scaling"),
        LAYERS,
        base_dir=ROOT,
        trial_function="benchmarks.scaling.trials:run",
        progress=listen,
        address=address,
    )
    (first, cpu_first), (last, cpu_last) = ended[0], ended[-1]
    return {
        "wall_seconds": last - first,
        "cpu_seconds_per_trial": (cpu_last - cpu_first) / (len(ended) - 1),
    }


def measure_nodes(n_nodes: int) -> dict[str, Any]:
    """Run sleeping trials on nodes; the time begins ``TRIAL_SECONDS`` before the first's end."""
    trials = TRIALS_PER_NODE * n_nodes
    with tempfile.TemporaryDirectory() as name, ray_nodes(Path(name), n_nodes) as address:
        measured = run(Path(name), sweep_values(trials, TRIAL_SECONDS, 2), address)
    wall = measured["wall_seconds"] + TRIAL_SECONDS
    return {
        "nodes": n_nodes,
        "trials": trials,
        "seconds": wall,
        "efficiency_percent": 100 * trials * TRIAL_SECONDS / (n_nodes * wall),
    }


def measure_driver(sampler: str = "nsga2", trials: int = 200) -> dict[str, float]:
    """Return the driver's seconds for one ask and one tell, without Ray, at `trials` trials."""
    from rfprune.runs import SweepFolder
    from rfprune.search.expand import expand
    from rfprune.search.record import Ended, Record
    from rfprune.search.study import lock, open_study
    from rfprune.spec import SweepSpec
    from rfprune.spec.files import parse_spec

    values = {**sweep_values(trials, 0.0, 1), "sampler": {"name": sampler}}
    spec = parse_spec(SweepSpec, values, "benchmarks/scaling/measure.py")
    ask = tell = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = SweepFolder(Path(name) / "scaling")
        with lock(folder):
            study = open_study(spec, folder, LAYERS)
            record = Record(spec, folder, expand(spec, LAYERS), study)
            for index in range(trials):
                began = time.perf_counter()
                job = record.ask()
                asked = time.perf_counter()
                assert job is not None
                record.finish(job.number, Ended(metrics={"val_accuracy": 0.5, "dsp": float(index)}))
                ask, tell = ask + asked - began, tell + time.perf_counter() - asked
    return {"ask": ask / trials, "tell": tell / trials}


def measure_reports(trials: int = 60) -> float:
    """Return the driver's processor seconds for one step's report: 11 steps against one."""
    costs = []
    for steps in (1, 11):
        with tempfile.TemporaryDirectory() as name:
            costs.append(run(Path(name), sweep_values(trials, 0.0, steps), None))
    few, many = (cost["cpu_seconds_per_trial"] for cost in costs)
    return max(0.0, (many - few) / 10)


def measure_projection() -> float:
    """Return the processor seconds of writing one trial to MLflow on SQLite."""
    from benchmarks.engine.measure import run_apart

    row = run_apart("mlflow")
    return float(row["mlflow_cpu_ms_per_trial"]) / 1000


def measure_files() -> dict[str, Any]:
    """Measure the depot's commits, and how data come to two nodes by each way."""
    from benchmarks.scaling.files import measure_commits, measure_data

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ray_nodes(folder, 2):
            return {
                **measure_commits(folder, _LARGE_BYTES),
                "data": measure_data(folder, DATA_MB * 1_000_000),
            }


def simulated(costs: Costs, load: Load) -> list[dict[str, Any]]:
    """Return one row per remedy and number of workers."""
    rows = []
    for name, (lowered, drivers) in lifted(costs).items():
        for workers in WORKERS:
            played = simulate(lowered, load, workers // drivers)
            rows.append(
                {
                    "case": name,
                    **played,
                    "workers": workers,
                    "trials_per_hour": played["trials_per_hour"] * drivers,
                    "saturates_at": saturation(lowered, load, drivers),
                }
            )
    return rows


def measure() -> dict[str, Any]:
    """Measure everything and simulate."""
    known = facts(("ray", "optuna", "mlflow", "torch"), seed=0)
    nodes = []
    for n_nodes in NODES:
        print(f"{n_nodes} nodes ...", file=sys.stderr, flush=True)
        nodes.append(measure_nodes(n_nodes))
    print("files ...", file=sys.stderr, flush=True)
    files = measure_files()
    print("costs of the driver ...", file=sys.stderr, flush=True)
    driver = measure_driver()
    costs = Costs(
        ask=driver["ask"],
        report=measure_reports(),
        tell=driver["tell"],
        projection=measure_projection(),
        commit=files["commit_seconds"],
        bytes_per_second=files["bytes_per_second"],
    )
    load = Load()
    return {
        "facts": known,
        "nodes": nodes,
        "data": files["data"],
        "costs": asdict(costs),
        "tpe": measure_driver("tpe"),
        "load": asdict(load),
        "simulated": simulated(costs, load),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--write", action="store_true", help="write docs/results/scaling.md")
    arguments = parser.parse_args()
    result = measure()
    if arguments.write:
        from benchmarks.scaling.page import write

        write(result, ROOT / "docs" / "results")
    if arguments.json:
        print(json.dumps(result))
    else:
        for key in ("nodes", "data", "simulated"):
            print(f"\n{table(result[key], list(result[key][0]))}")


if __name__ == "__main__":
    main()
