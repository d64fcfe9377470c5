"""Sweeps of trials that sleep, beside stock Ray Tune and plain Optuna on the same space.

Each case runs in a process of its own: real Ray workers, study and run folders. What CPU and busy
time are measured between: ``pages/engine.md``.
"""

import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.engine.trials import objectives
from benchmarks.report import ROOT, apart, read_cases

LAYERS = {"fc1": (16, 64), "fc2": (64, 32), "fc3": (32, 32), "fc4": (32, 5)}
OBJECTIVES = {"val_accuracy": "max", "dsp": "min", "latency_cycles": "min"}
SLOTS = 2


@dataclass(frozen=True)
class Case:
    """One measurement; ``cases.yml`` explains the keys."""

    engine: str
    sampler: str
    trials: int
    seconds: float = 0.0
    runs: int = 1


CASES = {name: Case(**case) for name, case in read_cases("engine")["cases"].items()}


@dataclass
class Marks:
    """Times at which trials began and ended, and the driver's CPU time at each end."""

    started: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def note(self, kind: str) -> None:
        """Note that a trial has ``started`` or is ``complete``; other events say nothing."""
        if kind == "started":
            self.started.append(time.monotonic())
        elif kind == "complete":
            self.ended.append(time.monotonic())
            self.cpu.append(time.process_time())

    def cpu_ms(self, begin: int = 0, end: int = -1) -> float:
        """Return the driver's CPU milliseconds per trial between two trials' ends."""
        n_trials = range(len(self.cpu))[end] - range(len(self.cpu))[begin]
        return 1000 * (self.cpu[end] - self.cpu[begin]) / n_trials

    def summary(self, case: Case, began: float) -> dict[str, Any]:
        """Return what the marks say about a case whose process began then."""
        import ray

        session = Path(ray._private.worker._global_node.get_session_dir_path())
        # All that Tune's driver wrote in this Ray session.
        files = [file for file in (session / "artifacts").rglob("*") if file.is_file()]
        result: dict[str, Any] = {
            **pace(len(self.cpu), self.ended[-1] - self.started[0], case),
            "driver_cpu_ms_per_trial": self.cpu_ms(),
            "start_seconds": self.started[0] - began,
            "tune_bytes_per_trial": sum(file.stat().st_size for file in files) / case.trials,
        }
        if len(self.cpu) >= 300:
            first, last = self.cpu_ms(0, 100), self.cpu_ms(-101, -1)
            growth = 100 * (last / first - 1)
            result |= {"cpu_ms_first_100": first, "cpu_ms_last_100": last, "growth_percent": growth}
        return result


def pace(n: int, wall: float, case: Case) -> dict[str, Any]:
    """Return how fast `n` trials went in `wall` seconds, and how busy they kept the slots."""
    result: dict[str, Any] = {"trials": n, "trials_per_second": n / wall}
    if case.seconds:
        result["busy_percent"] = 100 * n * case.seconds / (SLOTS * wall)
    return result


def sweep_values(name: str, trials: int, sampler: str, **args: Any) -> dict[str, Any]:
    """Return the sweep file of trials that sleep; `args` are those of `engine.trials.run`."""
    return {
        "name": name,
        "model": {"name": "mlp", "args": args},
        "data": {"name": "jets"},
        "search": {
            "hardware.layers.*.reuse_factor": {"valid": True, "low": 1, "high": 64},
            "prune.budget.dsp": {"low": 0.05, "high": 1.0},
        },
        "sampler": {"name": sampler},
        "trials": trials,
    }


def run_sleeping(values: dict[str, Any], folder: Path, address: str | None = None) -> Marks:
    """Run a sweep by the driver that ``rfprune sweep`` calls, and note its times."""
    from rfprune.execution.drive import run_sweep
    from rfprune.results import SweepFolder
    from rfprune.spec import SweepSpec
    from rfprune.spec.yaml_files import parse_spec
    from rfprune.study import expand

    marks, spec = Marks(), parse_spec(SweepSpec, values, "benchmarks/engine/measure.py")
    run_sweep(
        spec,
        SweepFolder(folder / values["name"]),
        expand(spec, LAYERS),
        base_dir=ROOT,
        trial_function="benchmarks.engine.trials:run",
        progress=lambda event: marks.note(event.kind),
        address=address,
    )
    return marks


def run_ours(case: Case, folder: Path, began: float) -> dict[str, Any]:
    """Run a case by rfprune, on a space of six numbers with three objectives."""
    from rfprune.execution.cluster import cluster, quiet_environment

    values = sweep_values("engine", case.trials, case.sampler, seconds=case.seconds)
    values["search"]["prune.regularizer.weight"] = {"low": 1e-6, "high": 1e-2, "log": True}
    values |= {"objectives": OBJECTIVES, "constraints": ["dsp <= 2000"]}
    # Ray is started around the sweep, so that its session is known when Tune's state is weighed.
    with quiet_environment(), cluster(None):
        return run_sleeping(values, folder).summary(case, began)


def run_stock(case: Case, folder: Path, began: float) -> dict[str, Any]:
    """Run a case by Ray Tune with its own OptunaSearch, loggers off, workers reused."""
    from rfprune.execution.cluster import cluster, quiet_environment

    marks = Marks()
    with quiet_environment(), cluster(None):
        from ray import tune
        from ray.tune.search.optuna import OptunaSearch

        class Clock(tune.Callback):  # type: ignore[misc]
            def on_trial_start(self, *known: Any, **info: Any) -> None:
                marks.note("started")

            def on_trial_complete(self, *known: Any, **info: Any) -> None:
                marks.note("complete")

        def trial(config: dict[str, Any]) -> None:
            time.sleep(case.seconds)
            values = objectives([config[f"rf{i}"] for i in range(len(LAYERS))], config["budget"])
            tune.report(dict(zip(OBJECTIVES, values, strict=True)))

        ways, sampler = list(OBJECTIVES.values()), optuna_sampler(case.sampler)
        tune.run(
            trial,
            search_alg=OptunaSearch(draw, metric=list(OBJECTIVES), mode=ways, sampler=sampler),
            num_samples=case.trials,
            max_concurrent_trials=SLOTS,
            resources_per_trial={"cpu": 1},
            reuse_actors=True,
            callbacks=[Clock()],
            storage_path=str(folder),
            verbose=0,
        )
        return marks.summary(case, began)


def draw(trial: Any) -> None:
    """Draw a point of the same size as the sweep's, in Optuna's own way."""
    for i in range(len(LAYERS)):
        trial.suggest_int(f"rf{i}", 1, 64, log=True)
    trial.suggest_float("weight", 1e-6, 1e-2, log=True)
    trial.suggest_float("budget", 0.05, 1.0)


def optuna_sampler(name: str) -> Any:
    """Return Optuna's own sampler with the settings that the sweep uses."""
    from optuna.samplers import NSGAIISampler, RandomSampler, TPESampler

    nsga2 = NSGAIISampler(population_size=32, seed=0)
    return {"nsga2": nsga2, "tpe": TPESampler(seed=0), "random": RandomSampler(seed=0)}[name]


def optuna_store(folder: Path) -> Any:
    """Return the journal that the two processes share."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.storages.JournalStorage(JournalFileBackend(str(folder / "plain.journal")))


def run_optuna(case: Case, folder: Path, began: float) -> dict[str, Any]:
    """Run a case by two processes of plain ``study.optimize`` on one journal file."""
    import resource

    import optuna

    store = optuna_store(folder)
    ways = [f"{way}imize" for way in OBJECTIVES.values()]
    optuna.create_study(study_name="engine", storage=store, directions=ways)
    context = multiprocessing.get_context("spawn")
    shares = (case.trials // SLOTS, case.trials - case.trials // SLOTS)
    workers = [context.Process(target=optuna_worker, args=(folder, n, case)) for n in shares]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError("an Optuna worker failed")
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    trials = optuna.load_study(study_name="engine", storage=store).trials
    begins = [t.datetime_start.timestamp() for t in trials if t.datetime_start]
    ends = [t.datetime_complete.timestamp() for t in trials if t.datetime_complete]
    # The workers are drivers too; this holds their start-up.
    cpu = 1000 * (usage.ru_utime + usage.ru_stime) / len(trials)
    return {**pace(len(trials), max(ends) - min(begins), case), "driver_cpu_ms_per_trial": cpu}


def optuna_worker(folder: Path, trials: int, case: Case) -> None:
    """Be one of the processes of `run_optuna`."""
    import optuna

    def objective(trial: Any) -> tuple[float, ...]:
        draw(trial)
        time.sleep(case.seconds)
        reuse = [trial.params[f"rf{i}"] for i in range(len(LAYERS))]
        return objectives(reuse, trial.params["budget"])

    # Two random samplers of one seed would draw the same points.
    random = case.sampler == "random"
    sampler = optuna.samplers.RandomSampler() if random else optuna_sampler(case.sampler)
    store = optuna_store(folder)
    study = optuna.load_study(study_name="engine", storage=store, sampler=sampler)
    study.optimize(objective, n_trials=trials)


def run_mlflow(case: Case, folder: Path, began: float) -> dict[str, Any]:
    """Make a sweep's run folders, then write its trials to MLflow on SQLite."""
    from rfprune.results import SweepFolder
    from rfprune.tracking.config import TrackingConfig
    from rfprune.tracking.projection import Projection

    run_ours(case, folder, began)
    config = TrackingConfig(tracking_uri=f"sqlite:///{folder}/mlflow.db")
    projection = Projection(SweepFolder(folder / "engine"), config)
    numbers = projection.trial_numbers()
    projection.write_trial(numbers[0])  # makes the tables and the parent run
    wall, cpu = time.monotonic(), time.process_time()
    for number in numbers[1:]:
        projection.write_trial(number)
    n = len(numbers) - 1
    return {
        "trials": n,
        "mlflow_ms_per_trial": 1000 * (time.monotonic() - wall) / n,
        "mlflow_cpu_ms_per_trial": 1000 * (time.process_time() - cpu) / n,
    }


def run_start(case: Case, folder: Path, began: float) -> dict[str, Any]:
    """Start the digits sweep as a user does; measure until a worker begins its first trial."""
    command = [sys.executable, "-m", "rfprune", "sweep", str(ROOT / "sweeps" / "digits.yml")]
    command += ["--trials", str(case.trials), "--runs", str(folder), "--no-track"]
    begun = time.monotonic()
    errors = folder / "errors.txt"
    with errors.open("w") as stream:
        where: dict[str, Any] = {"cwd": folder, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}
        sweep = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stream, **where)
    # A worker locks the run folder as the first thing it does.
    while next(folder.glob("digits/trials/*/.worker.lock"), None) is None:
        if sweep.poll() is not None:
            raise RuntimeError(f"rfprune sweep ended: {errors.read_text()}")
        time.sleep(0.02)
    seconds = time.monotonic() - begun
    sweep.send_signal(signal.SIGINT)
    sweep.wait()
    return {"trials": 0, "start_seconds": seconds}


RUNNERS: dict[str, Callable[[Case, Path, float], dict[str, Any]]] = {
    "rfprune": run_ours,
    "tune+OptunaSearch": run_stock,
    "optuna, 2 processes": run_optuna,
    "mlflow": run_mlflow,
    "rfprune sweep": run_start,
}


def run_case(name: str) -> dict[str, Any]:
    """Run one case in this process."""
    began, case = time.monotonic(), CASES[name]
    known = {"case": name, "engine": case.engine, "sampler": case.sampler}
    with tempfile.TemporaryDirectory() as folder:
        measured = RUNNERS[case.engine](case, Path(folder), began)
    return {**known, "trial_seconds": case.seconds, **measured}


def run_apart(name: str) -> dict[str, Any]:
    """Run a case as often as it says, each time in a process of its own; return the medians."""
    rows = []
    for _ in range(CASES[name].runs):
        load = os.getloadavg()[0]
        try:
            rows.append({**apart(run_case, name), "load": load})
        except Exception as error:  # the other cases are still worth running
            return {"case": name, "load": load, "error": str(error).strip().split("\n")[-1]}
    found = {
        # Words do not differ between runs.
        name: value if isinstance(value, str) else statistics.median(row[name] for row in rows)
        for name, value in rows[0].items()
    }
    return {**found, "runs": len(rows)}
