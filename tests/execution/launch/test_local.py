"""Jobs in the background: real processes, with a script that stands for Python."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rfprune.errors import ClusterError, UnknownNameError
from rfprune.execution.launch import Job, JobState, Submission, find_job, send

from .makers import profile_file, sweep

Starter = Callable[[str], str]


@pytest.fixture
def start(home: Path, tmp_path: Path) -> Starter:
    """Return a function that sends a job whose Python runs `body`."""

    def starter(body: str) -> str:
        python = tmp_path / "its python"
        python.write_text(
            f"#!{sys.executable}\nimport os, signal, sys, time\n"
            f"if 'sweep' not in sys.argv: sys.exit()\n{body}\n"
        )
        python.chmod(0o755)
        runs = str(tmp_path / "its runs")
        profile = profile_file(tmp_path, "local", runs=runs, interpreter=str(python))
        return send(Submission(sweep(), "demo.yml", tmp_path, str(profile)))

    return starter


def _end(job: Job) -> JobState:
    deadline = time.monotonic() + 20
    while not job.status().ended:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return job.status()


def test_success_ends_with_the_last_line(start: Starter) -> None:
    handle = start("print('[1/2] trial 0'); print('2 of 2 trials complete')")
    job = find_job(handle)
    assert list(job.logs(follow=True)) == ["[1/2] trial 0\n2 of 2 trials complete\n"]
    assert _end(job) == JobState("succeeded", "2 of 2 trials complete")


def test_progress_while_it_runs_and_cancel(start: Starter) -> None:
    job = find_job(
        start(
            "signal.signal(signal.SIGTERM, lambda *_: (print('told what is live'), sys.exit(130)))"
            "\nprint('[1/2] trial 0', flush=True)\ntime.sleep(60)"
        )
    )
    deadline = time.monotonic() + 20
    while job.status().message != "[1/2] trial 0":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert job.status().state == "running"
    assert job.cancel().state == "cancelled"
    assert "told what is live" in "".join(job.logs(follow=False))
    assert job.cancel().state == "cancelled"


def test_failure_says_why(start: Starter) -> None:
    job = find_job(start("sys.exit('rfprune: sweep.yml: model.name: no such thing.')"))
    assert _end(job) == JobState("failed", "sweep.yml: model.name: no such thing.")


def test_killed_job_is_not_taken_for_a_running_one(start: Starter) -> None:
    job = find_job(start("os.kill(os.getppid(), signal.SIGKILL); time.sleep(0.5)"))
    assert _end(job).state == "failed"
    assert "was killed" in job.status().message


def test_interpreter_that_is_not_there(home: Path, tmp_path: Path) -> None:
    runs = str(tmp_path / "runs")
    profile = profile_file(tmp_path, "local", runs=runs, interpreter="/opt/absent/python")
    state = _end(find_job(send(Submission(sweep(), "demo.yml", tmp_path, str(profile)))))
    assert state.state == "failed"
    assert "the cluster has no '/opt/absent/python': check 'interpreter'" in state.message


def test_unknown_job_names_the_nearest(start: Starter) -> None:
    handle = start("pass")
    with pytest.raises(UnknownNameError, match=f"Did you mean '{handle}'"):
        find_job(handle[:-1])


def test_folder_that_cannot_be_written(home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    profile = profile_file(tmp_path, "local", runs=str(tmp_path / "file"))
    with pytest.raises(ClusterError, match="the job cannot be started"):
        send(Submission(sweep(), "demo.yml", tmp_path, str(profile)))
