"""Kills processes of running sweeps at random moments, starts them again, and counts what is left.

Each sweep is started by the same command until it is done, and then its study, its run folders and
MLflow are compared: every wanted trial once, every step and checkpoint as an undisturbed trial has
it, nothing that still runs.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.faults.driver import spec_of
from benchmarks.faults.trials import STEPS, checkpoint, step_at
from benchmarks.report import ROOT
from rfprune.results import TrialFolder

#: What is done, how often in relation, and with what status the driver may end (None: it goes on).
KINDS: dict[str, tuple[int, tuple[int, ...] | None]] = {
    "worker: SIGKILL": (48, None),
    "worker: SIGSTOP for a second": (2, None),
    "agent of Ray: SIGKILL": (1, None),
    "driver: SIGKILL": (7, (-signal.SIGKILL,)),
    "driver: SIGINT": (1, (130,)),
    "process group: SIGTERM": (2, (130,)),
    "process group: SIGHUP": (1, (130,)),
    "raylet: SIGKILL": (2, (1,)),
    "GCS: SIGKILL": (2, (1,)),
    "all processes: SIGKILL": (2, (-signal.SIGKILL,)),
    "while it starts: SIGKILL": (1, (-signal.SIGKILL,)),
    "while it starts: SIGTERM to the group": (1, (130,)),
}
TRIALS, SECONDS = 24, 0.3
_START_SECONDS, _END_SECONDS = 300.0, 240.0


class Driver:
    """A running driver, in a process group of its own as under a shell."""

    def __init__(self, runs: Path, name: str, times: int) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "MLFLOW_TRACKING_URI": f"sqlite:///{runs}/mlflow.db",
            "MLFLOW_DEFAULT_ARTIFACT_ROOT": str(runs / "artifacts"),
            "RFPRUNE_TRACKING": "true",
        }
        environment.pop("RAY_ADDRESS", None)
        self.agent_is_gone = False
        self.log = runs / f"{name}.{times}.log"
        with self.log.open("w") as log:
            command = [sys.executable, "-m", "benchmarks.faults.driver", str(runs), name]
            self.process = subprocess.Popen(
                [*command, str(TRIALS), str(SECONDS)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=runs,
                start_new_session=True,
            )

    @property
    def ended(self) -> bool:
        """Whether the driver is gone."""
        return self.process.poll() is not None

    def wait_for_trials(self) -> None:
        """Wait until a trial has begun, or the driver has ended."""
        deadline = time.monotonic() + _START_SECONDS
        while not self.ended and "started" not in self.log.read_text():
            if time.monotonic() > deadline:
                raise TimeoutError(f"no trial began: {self.log.read_text()}")
            time.sleep(0.05)

    def below(self) -> Iterator[tuple[int, str]]:
        """Yield number and title of every process that the driver has started."""
        parents: dict[int, list[int]] = {}
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                facts = (path / "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(facts[1]), []).append(int(path.name))
        left = list(parents.get(self.process.pid, ()))
        while left:
            child = left.pop()
            left += parents.get(child, ())
            with suppress(OSError):
                title = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ")
                yield child, title.decode(errors="replace")

    def wait(self) -> int:
        """Return the exit status."""
        return self.process.wait(timeout=_END_SECONDS)


def strike(driver: Driver, kind: str, moments: random.Random) -> bool:
    """Do one thing to a driver; return whether there was something to do it to.

    Raises:
        AssertionError: the driver ended in another way than it should.
    """
    who, _, what = kind.partition(": ")
    number = getattr(signal, what.split()[0])
    processes = list(driver.below())
    titles = {"worker": "ray::ImplicitFunc", "agent of Ray": "ray::DashboardAgent"}
    names = {"raylet": "raylet/raylet", "GCS": "gcs/gcs_server"}
    if who in titles:
        found = [pid for pid, title in processes if title.startswith(titles[who])]
    elif who in names:
        found = [pid for pid, title in processes if names[who] in title.split(" ")[0]]
    elif who == "all processes":
        found = [*(pid for pid, _ in processes), driver.process.pid]
    else:
        found = [driver.process.pid]
    if not found or driver.ended:
        return False
    if who == "all processes":
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
    elif "group" in kind:
        os.killpg(driver.process.pid, number)
    else:
        victim = moments.choice(found)
        with suppress(ProcessLookupError):
            os.kill(victim, number)
        if number == signal.SIGSTOP:
            time.sleep(1.0)
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGCONT)
    if (expected := KINDS[kind][1]) is not None:
        status = driver.wait()
        log = driver.log.read_text()
        # One that had just finished its last trial ends as if nothing had happened, and one whose
        # agent was killed before ends with its node, which Ray lets go with its agent; on a busy
        # machine Ray may take the node for dead by itself.
        fine = (*expected, 0)
        fine += (1,) * (driver.agent_is_gone or "marked dead" in log)
        fine += (-number,) * ("\nend " in log)
        assert status in fine, f"{kind}: ended with {status}: {log}"
    driver.agent_is_gone |= who == "agent of Ray"
    return True


def one_sweep(name: str, n_kills: int, moments: random.Random) -> dict[str, Any]:
    """Run a sweep to its end with about so many kills; return what was done and what was found."""
    kinds = [kind for kind, (weight, _) in KINDS.items() for _ in range(weight)]
    done: Counter[str] = Counter()
    began, starts = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="rfprune-faults-") as folder:
        runs = Path(folder)
        while True:
            driver = Driver(runs, name, starts)
            starts += 1
            try:
                while not driver.ended and done.total() < n_kills:
                    kind = moments.choice(kinds)
                    if kind.startswith("while it starts"):
                        time.sleep(moments.uniform(0.5, 6.0))
                    else:
                        driver.wait_for_trials()
                        time.sleep(moments.uniform(0.0, 1.0))
                    done[kind] += strike(driver, kind, moments)
                if driver.wait() == 0:
                    break
            finally:
                if not driver.ended:
                    driver.process.kill()
        found = compare(runs, name)
    seconds = time.monotonic() - began
    return {"sweep": name, "kills": dict(done), "starts": starts, "seconds": seconds, **found}


def compare(runs: Path, name: str) -> dict[str, int]:
    """Count what is lost, doubled and running in the study, in the run folders and in MLflow."""
    from rfprune.results import SweepFolder
    from rfprune.study import count_trials, read_study
    from rfprune.study.trials import PAUSED

    folder, spec = SweepFolder(runs / name), spec_of(name, TRIALS, SECONDS)
    study = read_study(folder)
    counts = count_trials(study)
    followed = {trial.user_attrs.get("retry_of") for trial in study.trials}
    ended = [
        trial
        for trial in study.trials
        if trial.number not in followed
        and (trial.state.name == "COMPLETE" or trial.user_attrs.get("reason") == PAUSED)
    ]
    numbers = {int(trial.user_attrs["folder"]) for trial in ended}
    keys = {trial.user_attrs["key"] for trial in ended}
    wrong = sum(not as_undisturbed(folder.trial(number)) for number in numbers)
    stray = len({trial.number for trial in folder.trials()} - numbers)
    runs_lost, runs_doubled, runs_open = compare_runs(runs, numbers)
    return {
        "wanted": spec.trials,
        "complete": counts.complete,
        "paused": counts.paused,
        "lost": spec.trials - len(numbers) + wrong + stray + runs_lost + counts.failed,
        "doubled": len(ended) - len(keys) + runs_doubled,
        "running": counts.running + counts.waiting + runs_open,
    }


def as_undisturbed(trial: TrialFolder) -> bool:
    """Return whether a trial's folder holds what one has that nobody touched.

    One that is paused has its first steps, as far as its rung.
    """
    steps, result, own = trial.steps(), trial.result(), trial.spec()
    if result is None:
        return False
    whole = result.state == "complete" and len(steps) == STEPS + 1
    paused = result.stopped == "paused" and 1 < len(steps) <= STEPS
    return (whole or paused) and all(
        step.values == step_at(own, index).values
        and trial.checkpoint(index).read_bytes() == checkpoint(own, index)
        for index, step in enumerate(steps)
    )


def compare_runs(runs: Path, numbers: set[int]) -> tuple[int, int, int]:
    """Return how many runs are missing in MLflow, there twice, and open."""
    from rfprune.tracking.client import connect
    from rfprune.tracking.config import TrackingConfig

    client = connect(TrackingConfig(tracking_uri=f"sqlite:///{runs}/mlflow.db"))
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, max_results=1000)
    tags = [run.data.tags for run in found]
    there = [int(known["trial_number"]) for known in tags if known["kind"] == "trial"]
    parents = sum(known["kind"] == "sweep" for known in tags)
    lost = len(numbers - set(there)) + (parents == 0)
    doubled = len(there) - len(set(there)) + max(0, parents - 1)
    return lost, doubled, sum(run.info.status == "RUNNING" for run in found)


def campaign(
    name: str,
    n_kills: int,
    seed: int,
    rows: list[dict[str, Any]],
    keep: Callable[[], None] = lambda: None,
) -> None:
    """Run sweeps, each with some twenty kills, until there were `n_kills`.

    Args:
        name: of the sweeps, before their number.
        n_kills: how many.
        seed: of the moments and the kinds.
        rows: what was found so far; each sweep adds one.
        keep: called after each sweep.
    """
    moments = random.Random(f"{seed}.{len(rows)}" if rows else seed)
    while (total := sum(sum(row["kills"].values()) for row in rows)) < n_kills:
        rows.append(one_sweep(f"{name}{len(rows)}", min(25, n_kills - total), moments))
        print(f"{total} of {n_kills} kills before {rows[-1]}", file=sys.stderr, flush=True)
        keep()
