"""Sweeps on Ray nodes of this machine, and what driver and depot take for one trial and step.

What is measured, and how the driver's loop is then played through: ``pages/scaling.md``.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray

from benchmarks.engine.measure import LAYERS, run_apart, run_sleeping, sweep_values
from benchmarks.ports import free_port
from benchmarks.report import ROOT
from benchmarks.scaling.files import measure_commits, measure_data
from benchmarks.scaling.model import Costs, Load, saturation, simulate

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
    """Start a head without CPUs and nodes with one each, connect to it; yield its address."""
    from rfprune.execution.cluster import cluster, quiet_environment

    port = free_port()
    address = f"127.0.0.1:{port}"
    own = ("--num-cpus=0", "--node-ip-address=127.0.0.1", "--include-dashboard=false")
    nodes = [_node(folder, "--head", f"--port={port}", *own)]
    os.environ["RAY_AUTH_MODE"] = "disabled"
    try:
        _wait(partial(_answers, port), nodes[0], "Ray's head")
        with quiet_environment(), cluster(address):
            # One after the other: nodes that start at once on one machine may pick the same ports.
            for number in range(1, n_nodes + 1):
                nodes.append(_node(folder, f"--address={address}", "--num-cpus=1"))
                _wait(partial(_joined, number), nodes[-1], f"node {number}")
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


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _joined(n_nodes: int) -> bool:
    return bool(ray.cluster_resources().get("CPU", 0) >= n_nodes)


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes], what: str) -> None:
    deadline = time.monotonic() + _NODE_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{what} did not start within {_NODE_SECONDS:.0f} s")
        time.sleep(0.2)


def measure_nodes(n_nodes: int) -> dict[str, Any]:
    """Run sleeping trials on nodes; the time begins ``TRIAL_SECONDS`` before the first's end."""
    trials = TRIALS_PER_NODE * n_nodes
    values = sweep_values("scaling", trials, "nsga2", seconds=TRIAL_SECONDS, steps=2)
    with tempfile.TemporaryDirectory() as name, ray_nodes(Path(name), n_nodes) as address:
        ended = run_sleeping(values, Path(name), address).ended
    wall = ended[-1] - ended[0] + TRIAL_SECONDS
    return {
        "nodes": n_nodes,
        "trials": trials,
        "seconds": wall,
        "efficiency_percent": 100 * trials * TRIAL_SECONDS / (n_nodes * wall),
    }


def measure_driver(sampler: str = "nsga2", trials: int = 200) -> dict[str, float]:
    """Return the driver's seconds for one ask and one tell, without Ray, at `trials` trials."""
    from rfprune.results import SweepFolder
    from rfprune.spec import SweepSpec
    from rfprune.spec.yaml_files import parse_spec
    from rfprune.study.expand import expand
    from rfprune.study.record import Ended, Record
    from rfprune.study.study import lock, open_study

    values = sweep_values("scaling", trials, sampler, seconds=0.0)
    spec = parse_spec(SweepSpec, values, "benchmarks/scaling/measure.py")
    times = []
    with tempfile.TemporaryDirectory() as name:
        folder = SweepFolder(Path(name) / "scaling")
        with lock(folder):
            record = Record(spec, folder, expand(spec, LAYERS), open_study(spec, folder, LAYERS))
            for i in range(trials):
                began = time.perf_counter()
                job = record.ask()
                asked = time.perf_counter()
                assert job is not None
                record.finish(job.number, Ended(steps=[{"step": 0, "val_accuracy": 0.5, "dsp": i}]))
                times.append((asked - began, time.perf_counter() - asked))
    ask, tell = (sum(column) / trials for column in zip(*times, strict=True))
    return {"ask": ask, "tell": tell}


def measure_reports(trials: int = 60) -> float:
    """Return the driver's processor seconds for one step's report: 11 steps against one."""
    costs = []
    for steps in (1, 11):
        with tempfile.TemporaryDirectory() as name:
            values = sweep_values("scaling", trials, "nsga2", seconds=0.0, steps=steps)
            costs.append(run_sleeping(values, Path(name)).cpu_ms() / 1000)
    few, many = costs
    return max(0.0, (many - few) / 10)


def measure_files() -> dict[str, Any]:
    """Measure the depot's commits, and how data come to two nodes by each way."""
    with tempfile.TemporaryDirectory() as name, ray_nodes(Path(name), 2):
        return {
            **measure_commits(Path(name), _LARGE_BYTES),
            "data": measure_data(Path(name), DATA_MB * 1_000_000),
        }


def simulated(costs: Costs, load: Load) -> Iterator[dict[str, Any]]:
    """Yield one row per remedy and number of workers."""
    apart = replace(costs, projection=0.0)
    for name, lowered, drivers in (
        ("one driver, MLflow beside it", costs, 1),
        ("MLflow after the sweep (`rfprune track`)", apart, 1),
        ("eight studies, MLflow after the sweep", apart, 8),
    ):
        for workers in WORKERS:
            played = simulate(lowered, load, workers // drivers)
            rate = drivers * played["trials_per_hour"]
            limit = saturation(lowered, load, drivers)
            own = {"workers": workers, "trials_per_hour": rate, "saturates_at": limit}
            yield {"case": name, **played, **own}


def measure() -> dict[str, Any]:
    """Measure everything and simulate."""
    nodes = []
    for n_nodes in NODES:
        print(f"{n_nodes} nodes ...", file=sys.stderr, flush=True)
        nodes.append(measure_nodes(n_nodes))
    print("files ...", file=sys.stderr, flush=True)
    files = measure_files()
    print("costs of the driver ...", file=sys.stderr, flush=True)
    costs = Costs(
        **measure_driver(),
        report=measure_reports(),
        projection=run_apart("mlflow")["mlflow_cpu_ms_per_trial"] / 1000,
        commit=files["commit_seconds"],
        bytes_per_second=files["bytes_per_second"],
    )
    load = Load()
    return {
        "nodes": nodes,
        "data": files["data"],
        "costs": asdict(costs),
        "tpe": measure_driver("tpe"),
        "load": asdict(load),
        "simulated": list(simulated(costs, load)),
    }
