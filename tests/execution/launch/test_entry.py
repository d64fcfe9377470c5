"""The scripts that run on the cluster: values arrive as they are, and none is executed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rfprune.execution.launch.preflight import faults
from rfprune.execution.launch.prepared_job import PreparedJob

from .makers import HOSTILE, prepared

#: Stands for Python: writes its arguments and variables to a file.
RECORDER = f"""#!{sys.executable}
import json, os, sys
with open(os.environ["RECORD"], "a") as file:
    file.write(json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]) + "\\n")
"""


def _run(job: PreparedJob, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    job.upload.write(folder)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder.parent), **variables}
    return subprocess.run(
        ["bash", str(folder / "entry.sh")],
        env={**environment, "RECORD": str(folder.parent / "record")},
        capture_output=True,
        text=True,
        check=False,
    )


def _record(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "record").read_text().splitlines()]


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Return a folder with a hostile name, and an interpreter in it that records its calls."""
    folder = tmp_path / HOSTILE.replace("/", "")
    folder.mkdir()
    python = folder / "python"
    python.write_text(RECORDER)
    python.chmod(0o755)
    return folder


@pytest.mark.parametrize("kind", ["local", "ray", "slurm"])
def test_hostile_values_arrive_and_are_not_executed(hostile: Path, kind: str) -> None:
    (hostile / "password").write_text("line 1\nline 2\n")
    job = prepared(
        hostile,
        kind,
        runs=f"{hostile}/runs {HOSTILE}",
        interpreter=f"{hostile}/python",
        tracking_uri=f"http://mlflow/{HOSTILE}",
        environment={
            "PLAIN": f"{HOSTILE}\nsecond line",
            "FROM_FILE": {"file": f"{hostile}/password"},
            "FROM_VARIABLE": {"variable": "GIVEN"},
        },
    )
    done = _run(job, hostile / "job", GIVEN=HOSTILE)
    assert done.returncode == 0, done.stderr
    check, sweep = _record(hostile)
    assert check[0][:2] == ["-m", "rfprune.execution.launch.preflight"]
    runs = f"{hostile}/runs {HOSTILE}"
    assert sweep[0] == ["-m", "rfprune", "sweep", "./sweep.yml", "--runs", runs]
    variables = sweep[1]
    assert variables["PLAIN"] == f"{HOSTILE}\nsecond line"
    assert variables["FROM_FILE"] == "line 1\nline 2"
    assert variables["FROM_VARIABLE"] == HOSTILE
    assert variables["MLFLOW_TRACKING_URI"] == f"http://mlflow/{HOSTILE}"
    assert variables["MLFLOW_DEFAULT_ARTIFACT_ROOT"] == f"{runs}/mlartifacts"
    assert sweep[2] == str(hostile / "job")
    assert not list(hostile.rglob("hit"))


def test_home_is_the_clusters(hostile: Path) -> None:
    job = prepared(hostile, "ray", runs="~/the runs", interpreter="~/python")
    assert _run(job, hostile / "job").returncode == 0
    sweep = _record(hostile)[1]
    assert sweep[0][-1] == f"{hostile}/the runs"
    assert sweep[1]["MLFLOW_TRACKING_URI"] == f"sqlite:///{hostile}/the runs/mlflow.db"


def test_secrets_are_read_there_and_stand_nowhere(hostile: Path) -> None:
    (hostile / "password").write_text("hunter2\n")
    environment = {"A_TOKEN": {"file": f"{hostile}/password"}}
    job = prepared(hostile, "ray", interpreter=f"{hostile}/python", environment=environment)
    for name in job.upload.files:
        assert b"hunter2" not in job.upload.read(name)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"file": "/nonexistent/password"}, "/nonexistent/password: No such file"),
        ({"variable": "ABSENT"}, "ABSENT: is named by the profile and not set here"),
    ],
)
def test_missing_reference_ends_the_job(
    hostile: Path, source: dict[str, str], message: str
) -> None:
    job = prepared(
        hostile,
        "ray",
        runs=str(hostile),
        interpreter=f"{hostile}/python",
        environment={"X": source},
    )
    done = _run(job, hostile / "job")
    assert done.returncode != 0
    assert message in done.stderr
    assert not (hostile / "record").exists()


def test_sent_code_comes_first(hostile: Path) -> None:
    keys: dict[str, Any] = {
        "interpreter": f"{hostile}/python",
        "runs": str(hostile / "r"),
        "code": "sent",
    }
    job = prepared(hostile, "ray", **keys)
    assert _run(job, hostile / "job", PYTHONPATH="/other").returncode == 0
    assert _record(hostile)[1][1]["PYTHONPATH"] == f"{hostile}/job:/other"


def test_preflight_names_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    from rfprune import __version__

    assert faults(__version__) == []
    assert "9.9.9 sent the job" in faults("9.9.9")[0]
    monkeypatch.setattr("rfprune.execution.launch.preflight.find_spec", lambda name: None)
    assert "install hls4ml mlflow" in faults(__version__)[0]
