"""Sweeps executed by Ray Tune on this machine, with quick trials that write real run folders."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from rfprune.errors import ClusterError, RunsError, SpecError
from rfprune.execution.drive import SweepOutcome, run_sweep
from rfprune.results import SweepFolder
from rfprune.study import SweepEvent, read_study
from rfprune.study.expand import expand
from rfprune.study.study import lock

HERE = Path(__file__).parents[1] / "study"
LAYERS = {"fc1": (16, 64), "fc2": (64, 32), "fc3": (32, 5)}
FUNCTION = "quick_trials:run"

Maker = Callable[..., Any]
pytestmark = pytest.mark.usefixtures("ray_session")


def sweep(spec: Any, path: Path, **options: Any) -> SweepOutcome:
    given = {"base_dir": HERE, "trial_function": FUNCTION, **options}
    return run_sweep(spec, SweepFolder(path / spec.name), expand(spec, LAYERS), **given)


def test_tune_and_a_plain_loop_make_the_same_study(
    make_spec: Maker, inline: Maker, tmp_path: Path
) -> None:
    spec = make_spec(trials=14, sampler={"name": "tpe", "seed": 5}, resources={"cpus": 2})
    outcome = sweep(spec, tmp_path / "tune")
    assert outcome.reached
    assert not outcome.interrupted
    plain = inline(spec, tmp_path / "plain").run()
    tuned = read_study(SweepFolder(tmp_path / "tune" / spec.name))
    assert [t.params for t in tuned.trials] == [t.params for t in plain.study.trials]
    assert [t.values for t in tuned.trials] == [t.values for t in plain.study.trials]
    runs = SweepFolder(tmp_path / "tune" / spec.name).trial(0).path / "runs.txt"
    assert runs.read_text().split()[1] == "2"  # threads are the trial's CPUs


def test_trials_that_share_a_process(make_spec: Maker, tmp_path: Path) -> None:
    """One takes the process with it: all are tried again, each by itself, and none twice."""
    path, reuse = "model.args.fault", "hardware.layers.fc1.reuse_factor"
    points = [("none", 1), ("exit_once", 2), ("none", 4), ("none", 8), ("none", 16)]
    spec = make_spec(
        search={path: {"choices": ["none", "exit_once"]}, reuse: {"valid": True}},
        start=[{path: fault, reuse: factor} for fault, factor in points],
        trials=5,
        resources={"cpus": 2, "together": 3},
    )
    events: list[SweepEvent] = []
    outcome = sweep(spec, tmp_path, progress=events.append)
    assert outcome.reached
    folder = SweepFolder(tmp_path / spec.name)
    complete = [e.trial for e in events if e.kind == "complete"]
    assert sorted(complete) == [0, 1, 2, 3, 4]
    # Whoever had its turn before had come to its end.
    retried = [e.trial for e in events if e.kind == "retried"]
    assert 1 in retried
    assert len(set(retried)) == len(retried)
    assert set(retried) <= {0, 1, 2}
    runs = {n: folder.trial(n).path.joinpath("runs.txt").read_text().split() for n in complete}
    assert runs[3][0] == runs[4][0]  # one process
    assert [record.step for record in folder.trial(1).steps()] == [0, 1, 2]
    study = read_study(folder)
    assert [t.state for t in study.trials].count(TrialState.COMPLETE) == 5


def test_faults_of_every_kind_in_one_sweep(
    make_spec: Maker, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    faults = ["none", "raise", "nan", "missing", "exit_once", "exit", "memory_once"]
    path = "model.args.fault"
    reuse = "hardware.layers.fc1.reuse_factor"
    search = {path: {"choices": faults}, reuse: {"valid": True}}
    start = [{path: fault, reuse: 2} for fault in faults] + [{path: "none", reuse: 4}]
    spec = make_spec(search=search, start=start, trials=4, retries=1)
    events: list[SweepEvent] = []
    outcome = sweep(spec, tmp_path, progress=events.append)
    assert outcome.reached
    folder = SweepFolder(tmp_path / spec.name)
    ends: dict[str, list[str]] = {fault: [] for fault in faults}
    for trial in read_study(folder).trials:
        if "values" in trial.user_attrs:
            reason = trial.user_attrs.get("reason", "complete")
            ends[trial.user_attrs["values"][path]].append(reason)
    assert ends["raise"][0] == "error"
    assert ends["nan"][0] == "nan"
    assert ends["missing"][0] == "missing"
    assert ends["exit_once"][:2] == ["died", "complete"]
    assert set(ends["exit"]) == {"died"}
    assert ends["memory_once"][:2] == ["memory", "complete"]
    assert outcome.counts.running == 0
    assert sum(event.kind == "complete" for event in events) == outcome.counts.complete >= 4
    assert {event.trial for event in events if event.kind == "retried"} >= {4, 5, 6}
    starts = [event.trial for event in events if event.kind == "started"]
    assert starts.count(4) == 2
    steps = [record.step for record in folder.trial(4).steps()]
    assert steps == [0, 1, 2]
    death = next(event for event in events if event.kind == "retried" and event.trial == 5)
    assert "The actor died unexpectedly" in death.reason
    assert capfd.readouterr() == ("", "")
    assert not (folder.path / ".tune").exists()


@pytest.mark.slow
def test_a_finite_space_that_is_used_up_has_reached_its_end(
    make_spec: Maker, tmp_path: Path
) -> None:
    spec = make_spec(trials=30, search={"prune.floor": {"low": 1, "high": 5}})
    outcome = sweep(spec, tmp_path)
    assert outcome.exhausted
    assert outcome.reached
    assert outcome.counts.complete == 5


def test_nobody_else_reaches_what_a_local_sweep_starts() -> None:
    """Every address that Ray listens on is of this machine alone; nor is its token to be read."""
    import psutil
    import ray  # noqa: F401 - it brings psutil along

    me = psutil.Process()
    listening = set()
    for process in [me, *me.children(recursive=True)]:
        # A worker of the test before may be on its way out.
        with contextlib.suppress(psutil.NoSuchProcess):
            listening |= {
                (process.name(), connection.laddr.ip)
                for connection in process.net_connections()
                if connection.status == "LISTEN"
            }
    assert {"gcs_server", "raylet"} <= {name for name, _ in listening}
    assert {ip.removeprefix("::ffff:") for _, ip in listening} == {"127.0.0.1"}
    sessions = {}
    for process in me.children(recursive=True):
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            # What another test of this process left behind may well share its session.
            if "/ray/" in (command := " ".join(process.cmdline())) or "ray::" in command:
                sessions[command] = os.getsid(process.pid)
    assert len(sessions) >= 2
    assert os.getsid(0) not in sessions.values(), sessions
    token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(token.parent.stat().st_mode) == 0o700


def test_a_trial_that_no_node_can_hold(make_spec: Maker, tmp_path: Path) -> None:
    spec = make_spec(resources={"cpus": 1000})
    with pytest.raises(ClusterError, match="CPU 1000, which no node has"):
        sweep(spec, tmp_path)


def test_input_faults_come_before_anything_is_written(make_spec: Maker, tmp_path: Path) -> None:
    spec = make_spec(constraints=["trial <= 3"])
    with pytest.raises(SpecError):
        sweep(spec, tmp_path)
    assert not (tmp_path / spec.name).exists()


def test_a_sweep_in_use_is_refused(make_spec: Maker, tmp_path: Path) -> None:
    spec = make_spec()
    with lock(SweepFolder(tmp_path / spec.name)), pytest.raises(RunsError, match="in use"):
        sweep(spec, tmp_path)


def test_a_function_that_does_not_exist_fails_its_trials(make_spec: Maker, tmp_path: Path) -> None:
    spec = make_spec()
    outcome = sweep(spec, tmp_path, trial_function="quick_trials:rum")
    assert outcome.gave_up
    assert not outcome.reached
    assert outcome.counts.running == 0
    trials = read_study(SweepFolder(tmp_path / spec.name)).trials
    assert all(t.state == TrialState.FAIL for t in trials)
    assert "no 'rum'" in trials[0].user_attrs["error"]


def test_continuing_keeps_what_is_there_and_starts_nothing_when_done(
    make_spec: Maker, tmp_path: Path
) -> None:
    spec = make_spec(trials=2)
    folder = SweepFolder(tmp_path / spec.name)
    folder.write_spec(spec, {"reference_point": {"dsp": 7.0}})
    assert sweep(spec, tmp_path).first_trial_seconds is not None
    facts = folder.facts()
    assert facts["reference_point"] == {"dsp": 7.0}
    assert facts["sampler"]["name"] == "random"
    again = sweep(spec, tmp_path)
    assert again.reached
    assert again.first_trial_seconds is None
    more = sweep(spec.model_copy(update={"trials": 3}), tmp_path)
    assert more.counts.complete == 3
    assert len(list(folder.trials())) == 3
