"""What the sweep engine costs: CPU of the driver, idle workers, start-up, Tune's state, MLflow.

``python -m benchmarks.engine [--cases NAME,...] [--json] [--page]`` runs each case in a process of
its own: sweeps of trials that sleep (real Ray workers, study, run folders), beside stock Ray Tune
with OptunaSearch and plain Optuna in two processes on the same space; and the command ``rfprune
sweep`` up to the moment at which its first trial begins. ``--page`` writes the measurements into
``docs/results/engine.md``.

Driver CPU per trial is the CPU time of the driver between the first and the last completed trial,
over the trials between them; it holds asking, telling, run folders and Tune. Busy is the time that
trials ran, over the slots' time from the first start to the last end.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.engine.page import CASE_COLUMNS, TARGET_COLUMNS, targets, write_page
from benchmarks.report import ROOT, facts, sentence, table

LAYERS = {"fc1": (16, 64), "fc2": (64, 32), "fc3": (32, 32), "fc4": (32, 5)}
OBJECTIVES = {"val_accuracy": "max", "dsp": "min", "latency_cycles": "min"}
SLOTS = 2


@dataclass(frozen=True)
class Case:
    """One measurement: who executes, which sampler draws, how many trials of how many seconds.

    Of several `runs` the page shows the median of each quantity.
    """

    engine: str
    sampler: str
    trials: int
    seconds: float = 0.0
    runs: int = 1


CASES = {
    "random": Case("rfprune", "random", 300),
    "nsga2": Case("rfprune", "nsga2", 300),
    "tpe": Case("rfprune", "tpe", 300),
    "growth": Case("rfprune", "nsga2", 1000, runs=3),
    "short": Case("rfprune", "random", 100, 0.2),
    "busy": Case("rfprune", "nsga2", 30, 2.0),
    "stock-random": Case("tune+OptunaSearch", "random", 300),
    "stock-nsga2": Case("tune+OptunaSearch", "nsga2", 300),
    "stock-tpe": Case("tune+OptunaSearch", "tpe", 300),
    "stock-short": Case("tune+OptunaSearch", "random", 100, 0.2),
    "stock-busy": Case("tune+OptunaSearch", "nsga2", 30, 2.0),
    "optuna-random": Case("optuna, 2 processes", "random", 300),
    "optuna-short": Case("optuna, 2 processes", "random", 100, 0.2),
    "mlflow": Case("mlflow", "random", 100, runs=3),
    "start": Case("rfprune sweep", "auto", 2, runs=3),
}


@dataclass
class Marks:
    """Times at which trials began and ended, and the driver's CPU time at each end."""

    started: list[float] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Note that a trial begins."""
        self.started.append(time.monotonic())

    def end(self) -> None:
        """Note that a trial is complete."""
        self.ended.append(time.monotonic())
        self.cpu.append(time.process_time())

    def summary(self, case: Case) -> dict[str, Any]:
        """Return what the marks say about a case."""
        n = len(self.cpu)
        wall = self.ended[-1] - self.started[0]
        result: dict[str, Any] = {
            "trials": n,
            "trials_per_second": n / wall,
            "driver_cpu_ms_per_trial": self._cost(0, n - 1),
        }
        if case.seconds:
            result["busy_percent"] = 100 * n * case.seconds / (SLOTS * wall)
        if n >= 300:
            first, last = self._cost(0, 100), self._cost(n - 101, n - 1)
            result["cpu_ms_first_100"], result["cpu_ms_last_100"] = first, last
            result["growth_percent"] = 100 * (last / first - 1)
        return result

    def _cost(self, begin: int, end: int) -> float:
        return 1000 * (self.cpu[end] - self.cpu[begin]) / (end - begin)


def sweep_values(case: Case) -> dict[str, Any]:
    """Return the sweep file of a case."""
    return {
        "name": "engine",
        "model": {"name": "mlp", "args": {"seconds": case.seconds}},
        "data": {"name": "jets"},
        "search": {
            "hardware.layers.*.reuse_factor": {"valid": True, "low": 1, "high": 64},
            "prune.regularizer.weight": {"low": 1e-6, "high": 1e-2, "log": True},
            "prune.budget.dsp": {"low": 0.05, "high": 1.0},
        },
        "objectives": OBJECTIVES,
        "constraints": ["dsp <= 2000"],
        "sampler": {"name": case.sampler},
        "trials": case.trials,
    }


def run_ours(case: Case, folder: Path, began: float) -> dict[str, Any]:
    """Run a case by the driver that ``rfprune sweep`` calls."""
    from rfprune.runs import SweepFolder
    from rfprune.search import SweepEvent, run_sweep
    from rfprune.search.cluster import cluster, quiet_environment
    from rfprune.spec import SweepSpec
    from rfprune.spec.files import parse_spec

    marks = Marks()

    def listen(event: SweepEvent) -> None:
        if event.kind == "started":
            marks.start()
        elif event.kind == "complete":
            marks.end()

    spec = parse_spec(SweepSpec, sweep_values(case), "benchmarks/engine/measure.py")
    # Ray is started around the sweep, so that its session is known when Tune's state is weighed.
    with quiet_environment(), cluster(None):
        run_sweep(
            spec,
            SweepFolder(folder / "engine"),
            LAYERS,
            base_dir=ROOT,
            trial_function="benchmarks.engine.trials:run",
            progress=listen,
        )
        state = tune_state_bytes()
    return {
        **marks.summary(case),
        "start_seconds": marks.started[0] - began,
        "tune_bytes_per_trial": state / case.trials,
    }


def tune_state_bytes() -> int:
    """Return the size of all that Tune's driver wrote in this Ray session."""
    import ray

    session = Path(ray._private.worker._global_node.get_session_dir_path())
    files = (session / "artifacts").rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def run_stock(case: Case, folder: Path, began: float) -> dict[str, Any]:
    """Run a case by Ray Tune with its own OptunaSearch, loggers off, workers reused."""
    from rfprune.search.cluster import cluster, quiet_environment

    marks = Marks()
    with quiet_environment(), cluster(None):
        from ray import tune
        from ray.tune.search.optuna import OptunaSearch

        class Clock(tune.Callback):  # type: ignore[misc]
            def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
                marks.start()

            def on_trial_complete(
                self, iteration: int, trials: Any, trial: Any, **info: Any
            ) -> None:
                marks.end()

        search = OptunaSearch(
            space=draw,
            metric=list(OBJECTIVES),
            mode=list(OBJECTIVES.values()),
            sampler=optuna_sampler(case.sampler),
        )
        tune.run(
            stock_trial,
            config={"seconds": case.seconds},
            search_alg=search,
            num_samples=case.trials,
            max_concurrent_trials=SLOTS,
            resources_per_trial={"cpu": 1},
            reuse_actors=True,
            callbacks=[Clock()],
            storage_path=str(folder),
            verbose=0,
        )
        state = tune_state_bytes()
    return {
        **marks.summary(case),
        "start_seconds": marks.started[0] - began,
        "tune_bytes_per_trial": state / case.trials,
    }


def stock_trial(config: dict[str, Any]) -> None:
    """Report the objectives of a point to Tune."""
    from ray import tune

    from benchmarks.engine.trials import objectives

    time.sleep(config["seconds"])
    values = objectives([config[f"rf{i}"] for i in range(len(LAYERS))], config["budget"])
    tune.report(dict(zip(OBJECTIVES, values, strict=True)))


def draw(trial: Any) -> None:
    """Draw a point of the same size as the sweep's, in Optuna's own way."""
    for i in range(len(LAYERS)):
        trial.suggest_int(f"rf{i}", 1, 64, log=True)
    trial.suggest_float("weight", 1e-6, 1e-2, log=True)
    trial.suggest_float("budget", 0.05, 1.0)


def optuna_sampler(name: str) -> Any:
    """Return Optuna's own sampler with the settings that the sweep uses."""
    from optuna import samplers

    if name == "nsga2":
        return samplers.NSGAIISampler(population_size=32, seed=0)
    return samplers.TPESampler(seed=0) if name == "tpe" else samplers.RandomSampler(seed=0)


def run_optuna(case: Case, folder: Path, began: float) -> dict[str, Any]:
    """Run a case by two processes of plain ``study.optimize`` on one journal file."""
    import resource

    import optuna

    store = optuna_store(folder)
    up, down = optuna.study.StudyDirection.MAXIMIZE, optuna.study.StudyDirection.MINIMIZE
    directions = [up if way == "max" else down for way in OBJECTIVES.values()]
    optuna.create_study(study_name="engine", storage=store, directions=directions)
    command = [sys.executable, "-m", "benchmarks.engine", "--optuna-worker", str(folder)]
    shares = [case.trials // SLOTS, case.trials - case.trials // SLOTS]
    workers = [
        subprocess.Popen([*command, str(n), case.sampler, str(case.seconds)], cwd=ROOT)
        for n in shares
    ]
    for worker in workers:
        if worker.wait() != 0:
            raise SystemExit("an Optuna worker failed")
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    trials = optuna.load_study(study_name="engine", storage=store).trials
    begins = [t.datetime_start.timestamp() for t in trials if t.datetime_start]
    ends = [t.datetime_complete.timestamp() for t in trials if t.datetime_complete]
    wall = max(ends) - min(begins)
    result = {
        "trials": len(trials),
        "trials_per_second": len(trials) / wall,
        # The workers are drivers too; this holds their start-up.
        "driver_cpu_ms_per_trial": 1000 * (usage.ru_utime + usage.ru_stime) / len(trials),
    }
    if case.seconds:
        result["busy_percent"] = 100 * len(trials) * case.seconds / (SLOTS * wall)
    return result


def optuna_store(folder: Path) -> Any:
    """Return the journal that the two processes share."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.storages.JournalStorage(JournalFileBackend(str(folder / "plain.journal")))


def optuna_worker(folder: str, trials: str, sampler: str, seconds: str) -> None:
    """Be one of the processes of `run_optuna`."""
    import optuna

    from benchmarks.engine.trials import objectives

    def objective(trial: Any) -> tuple[float, ...]:
        draw(trial)
        time.sleep(float(seconds))
        reuse = [trial.params[f"rf{i}"] for i in range(len(LAYERS))]
        return objectives(reuse, trial.params["budget"])

    study = optuna.load_study(
        study_name="engine",
        storage=optuna_store(Path(folder)),
        sampler=optuna.samplers.RandomSampler() if sampler == "random" else optuna_sampler(sampler),
    )
    study.optimize(objective, n_trials=int(trials))


def run_mlflow(case: Case, folder: Path, began: float) -> dict[str, Any]:
    """Make a sweep's run folders, then write its trials to MLflow on SQLite."""
    from rfprune.runs import SweepFolder
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
    options = ["--trials", str(case.trials), "--runs", str(folder), "--no-track"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    begun = time.monotonic()
    sweep = subprocess.Popen(
        [*command, *options],
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    # A worker locks the run folder as the first thing it does.
    while next(folder.glob("digits/trials/*/.worker.lock"), None) is None:
        if sweep.poll() is not None:
            assert sweep.stderr is not None
            raise SystemExit(f"rfprune sweep ended: {sweep.stderr.read()}")
        time.sleep(0.02)
    seconds = time.monotonic() - begun
    sweep.send_signal(signal.SIGINT)
    sweep.communicate()
    return {"trials": 0, "start_seconds": seconds}


RUNNERS = {
    "rfprune": run_ours,
    "tune+OptunaSearch": run_stock,
    "optuna, 2 processes": run_optuna,
    "mlflow": run_mlflow,
    "rfprune sweep": run_start,
}


def run_case(name: str) -> dict[str, Any]:
    """Run one case in this process."""
    began = time.monotonic()
    case = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        measured = RUNNERS[case.engine](case, Path(folder), began)
    return {
        "case": name,
        "engine": case.engine,
        "sampler": case.sampler,
        "trial_seconds": case.seconds,
        **measured,
    }


def run_apart(name: str) -> dict[str, Any]:
    """Run a case as often as it says, each time in a process of its own; return the medians."""
    rows = [run_once(name) for _ in range(CASES[name].runs)]
    failed = next((row for row in rows if "error" in row), None)
    return failed or {**medians(rows), "runs": len(rows)}


def medians(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the median of every number; of words, which do not differ, the first."""
    return {
        name: statistics.median(row[name] for row in rows) if _is_number(value) else value
        for name, value in rows[0].items()
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def run_once(name: str) -> dict[str, Any]:
    """Run one case in a process of its own, and note the machine's load before it."""
    load = os.getloadavg()[0]
    command = [sys.executable, "-m", "benchmarks.engine", "--one", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return {"case": name, "load": load, "error": done.stderr.strip().split("\n")[-1]}
    return {**json.loads(done.stdout.strip().split("\n")[-1]), "load": load}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", default=",".join(CASES), help="names, separated by commas")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--page", action="store_true", help="write docs/results/engine.md")
    parser.add_argument("--one", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--optuna-worker", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.optuna_worker:
        optuna_worker(*arguments.optuna_worker)
    elif arguments.one:
        print(json.dumps(run_case(arguments.one)))
    else:
        names = arguments.cases.split(",")
        unknown = [name for name in names if name not in CASES]
        if unknown:
            parser.error(f"unknown case '{unknown[0]}'. Known: {', '.join(CASES)}")
        known = facts(("rfprune", "ray", "optuna", "mlflow"), 0)
        rows = [run_apart(name) for name in names]
        if arguments.page:
            write_page(rows, sentence(known))
        if arguments.json:
            print(json.dumps({"facts": known, "slots": SLOTS, "cases": rows}))
        else:
            print(table(targets(rows), TARGET_COLUMNS), table(rows, CASE_COLUMNS), sep="\n\n")


if __name__ == "__main__":
    main()
