"""Faults at seeded random moments of one sweep; the same command goes on each time.

Drivers die by SIGKILL and by Ctrl-C, workers and Ray's node process by SIGKILL. In the end the
study, the run folders and MLflow tell the same: every wanted trial once. Whole campaigns are run by
``python -m benchmarks.faults``.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState

from rfprune.results import SweepFolder
from rfprune.study import count_trials, read_study
from rfprune.tracking.client import connect
from rfprune.tracking.config import TrackingConfig
from rfprune.tracking.trial_run import STATUS

HERE = Path(__file__).parents[1] / "study"
ROOT = HERE.parents[1]
WANTED = 24
STEP_SECONDS = "0.3"
FAULTS = ["worker"] * 4 + ["driver"] * 2 + ["interrupt"] + ["raylet"]
START_SECONDS = 240.0
END_SECONDS = 180.0

pytestmark = [
    pytest.mark.flaky(reruns=1),
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # from within mlflow
]


class Driver:
    """The sweep's command, running."""

    def __init__(self, runs: Path, wanted: int) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "MLFLOW_TRACKING_URI": f"sqlite:///{runs}/mlflow.db",
            "RFPRUNE_TRACKING": "true",
        }
        environment.pop("RAY_ADDRESS", None)
        self.log = runs / "driver.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, HERE / "drive_demo.py", runs, str(wanted), STEP_SECONDS, "track"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=runs,
            )

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def wait_for_trials(self) -> None:
        """Wait until a trial has begun, or the driver has ended."""
        deadline = time.monotonic() + START_SECONDS
        while not self.ended and "started" not in self.log.read_text():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def raylets(self) -> list[int]:
        """Return Ray's node process."""
        return [pid for pid in _below(self.process.pid) if _title(pid) == "raylet"]

    def workers(self) -> list[int]:
        """Return the processes that have run trials under this driver."""
        notes = (self.log.parent / "demo" / "trials").glob("*/runs.txt")
        ran = {int(line.split()[0]) for note in notes for line in note.read_text().splitlines()}
        return sorted(ran.intersection(_below(self.process.pid)))

    def wait(self) -> int:
        return self.process.wait(timeout=END_SECONDS)


def _below(pid: int) -> Iterator[int]:
    parents = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                facts = (path / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(facts[1]), []).append(int(path.name))
    open_ = list(parents.get(pid, ()))
    while open_:
        child = open_.pop()
        yield child
        open_ += parents.get(child, ())


def _title(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return ""
    return Path(words[0].decode(errors="replace")).name


def strike(driver: Driver, fault: str, moments: random.Random) -> bool:
    """Do one fault; return whether it found something to kill."""
    if fault == "worker":
        victims = driver.workers()
    elif fault == "raylet":
        victims = driver.raylets()
    else:
        victims = [driver.process.pid]
    if not victims or driver.ended:
        return False
    number = signal.SIGINT if fault == "interrupt" else signal.SIGKILL
    try:
        os.kill(moments.choice(victims), number)
    except ProcessLookupError:
        return False
    if fault != "worker":
        code = driver.wait()
        expected = {"driver": -signal.SIGKILL, "interrupt": 130, "raylet": 1}[fault]
        # A driver that had just finished its last trial ends as if nothing had happened.
        assert code in (expected, 0), f"{fault}: {code}\n{driver.log.read_text()}"
    return True


@pytest.fixture
def drivers(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    """Yield a function that starts the sweep or goes on with it; none of them outlives the test."""
    started: list[Driver] = []

    def start(wanted: int = WANTED) -> Driver:
        started.append(Driver(tmp_path, wanted))
        return started[-1]

    yield start
    for driver in started:
        if not driver.ended:
            driver.process.kill()
            driver.wait()


def test_eight_faults_lose_and_repeat_nothing(
    tmp_path: Path, drivers: Callable[[], Driver]
) -> None:
    moments = random.Random(11)
    faults = list(FAULTS)
    moments.shuffle(faults)
    began = time.monotonic()
    driver = drivers()
    while faults:
        if driver.ended:
            assert driver.process.returncode != 0, f"the sweep ended before {faults}"
            driver = drivers()
        driver.wait_for_trials()
        time.sleep(moments.uniform(0.0, 0.8))
        if strike(driver, faults[-1], moments):
            print(f"{time.monotonic() - began:.0f} s: {faults.pop()}", flush=True)
    if driver.ended:
        driver = drivers()
    assert driver.wait() == 0, driver.log.read_text()
    folder = SweepFolder(tmp_path / "demo")
    told = check_study(folder)
    check_folders(folder, told)
    check_mlflow(folder, told, tmp_path)


@pytest.mark.long
def test_kills_of_paused_and_promoted_trials_lose_and_repeat_nothing(
    tmp_path: Path, drivers: Callable[..., Driver], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEMO_PROMOTE", "1")
    moments, wanted = random.Random(3), 12
    faults = ["worker", "driver", "worker"]
    driver = drivers(wanted)
    while faults:
        if driver.ended:
            assert driver.process.returncode != 0, f"the sweep ended before {faults}"
            driver = drivers(wanted)
        driver.wait_for_trials()
        time.sleep(moments.uniform(0.0, 0.8))
        if strike(driver, faults[-1], moments):
            faults.pop()
    if driver.ended:
        driver = drivers(wanted)
    assert driver.wait() == 0, driver.log.read_text()
    folder = SweepFolder(tmp_path / "demo")
    counts = count_trials(read_study(folder))
    assert counts.complete + counts.paused == wanted
    assert (counts.failed, counts.running, counts.waiting) == (0, 0, 0)
    assert counts.paused > 0
    numbers = []
    for trial in folder.trials():
        steps, result = [step.step for step in trial.steps()], trial.result()
        assert steps == list(range(len(steps)))
        assert result is not None
        assert (result.state, result.stopped == "paused") == (
            ("complete", False) if steps[-1] == 3 else ("stopped", True)
        )
        numbers.append(trial.number)
    assert len(numbers) == wanted
    check_mlflow(folder, numbers, tmp_path)


def check_study(folder: SweepFolder) -> dict[int, tuple[int, list[float]]]:
    """Return the told step and its values by run folder; each wanted trial is there once."""
    study = read_study(folder)
    counts = count_trials(study)
    assert (counts.complete, counts.failed) == (WANTED, 0)
    assert (counts.running, counts.waiting) == (0, 0)
    complete = [t for t in study.trials if t.state == TrialState.COMPLETE]
    assert len({trial.user_attrs["key"] for trial in complete}) == WANTED
    told = {int(t.user_attrs["folder"]): (t.user_attrs["step"], t.values) for t in complete}
    assert len(told) == WANTED
    assert any(t.user_attrs.get("reason") == "died" for t in study.trials)
    assert any(t.user_attrs.get("reason") == "orphan" for t in study.trials)
    return told


def check_folders(folder: SweepFolder, told: dict[int, tuple[int, list[float]]]) -> None:
    """No step is there twice or missing, and nothing was left half done."""
    assert {trial.number for trial in folder.trials()} == set(told)
    for number, (chosen, values) in told.items():
        trial = folder.trial(number)
        steps, result = trial.steps(), trial.result()
        assert [step.step for step in steps] == [0, 1, 2, 3]
        assert result is not None
        assert result.state == "complete"
        assert [steps[chosen].values[name] for name in ("val_accuracy", "dsp")] == values
        assert trial.spec().key


def check_mlflow(folder: SweepFolder, numbers: Iterable[int], runs: Path) -> None:
    """One finished child run per trial that says what the run folder says, below one parent."""
    client = connect(TrackingConfig(tracking_uri=f"sqlite:///{runs}/mlflow.db"))
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, max_results=1000)
    parents = [run for run in found if run.data.tags["kind"] == "sweep"]
    children = [run for run in found if run.data.tags["kind"] == "trial"]
    assert len(parents) == 1
    assert sorted(int(run.data.tags["trial_number"]) for run in children) == sorted(numbers)
    for run in children:
        number = int(run.data.tags["trial_number"])
        result = folder.trial(number).result()
        assert result is not None
        # A trial that waits for ever at a rung has been ended, as MLflow puts it.
        assert run.info.status == STATUS[result.state]
        assert run.data.tags["mlflow.parentRunId"] == parents[0].info.run_id
        # At the end of a sweep a run shows its trial's point on the front.
        steps = folder.trial(number).steps()
        shown, _, _ = run.data.tags.get("shown_step", str(steps[-1].step)).partition("/")
        metrics = steps[int(shown)].metrics()
        for name in ("val_accuracy", "accuracy", "dsp", "latency_cycles"):
            assert run.data.metrics[name] == pytest.approx(metrics[name])
