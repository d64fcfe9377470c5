"""Slurm's and Kubernetes' commands: how they are called, and how their answers are read.

Scripts stand for the commands and keep what they were called with. Slurm itself runs in
test_slurm_cluster.py.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from rfprune.errors import ClusterError, MissingExtraError, UnknownNameError
from rfprune.execution.launch import JobState, Submission, find_job, send
from rfprune.execution.launch.advice import explain
from rfprune.execution.launch.profiles import _KINDS

from .makers import PROFILES, profile_file, sweep

#: Answers from a table of (words that must be in the call, exit status, stdout, stderr).
COMMAND = f"""#!{sys.executable}
import json, os, sys
here = os.path.dirname(os.path.abspath(__file__))
call = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
with open(here + "/calls", "a") as file:
    file.write(json.dumps([call, sys.stdin.read()]) + "\\n")
for words, status, out, err in json.load(open(here + "/answers")):
    if all(any(word in part for part in call) for word in words):
        sys.stdout.write(out)
        sys.stderr.write(err)
        sys.exit(status)
sys.exit(0)
"""


class Commands:
    """Commands on the PATH, their answers and their calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("sbatch", "squeue", "scontrol", "sacct", "scancel", "kubectl"):
            path = folder / name
            path.write_text(COMMAND)
            path.chmod(0o755)
        self.answer()

    def answer(self, *table: tuple[list[str], int, str, str]) -> None:
        (self.folder / "answers").write_text(json.dumps(table))

    def calls(self) -> list[Any]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]


@pytest.fixture
def commands(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    one = Commands(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{one.folder}:{os.environ['PATH']}")
    return one


def _send(folder: Path, kind: str, **keys: Any) -> str:
    profile = profile_file(folder, kind, **keys)
    return send(Submission(sweep(), "demo.yml", folder, str(profile)))


def _slurm(folder: Path, commands: Commands) -> str:
    commands.answer((["sbatch"], 0, "4711;cluster\n", ""))
    return _send(folder, "slurm", runs=str(folder / "runs"))


def test_sbatch_gets_the_files(commands: Commands, tmp_path: Path) -> None:
    assert _slurm(tmp_path, commands) == "slurm:4711"
    call, _ = commands.calls()[0]
    (folder,) = (tmp_path / "runs" / ".jobs").iterdir()
    assert call[0] == "sbatch"
    assert f"--chdir={folder}" in call
    assert call[-1] == str(folder / "job.sbatch")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in folder.iterdir()} == {
        "entry.sh",
        "environment.sh",
        "job.sbatch",
        "sweep.yml",
    }


@pytest.mark.parametrize(
    ("table", "state"),
    [
        ([(["squeue"], 0, "PENDING|Resources\n", "")], ("pending", "In the queue (Resources).")),
        ([(["squeue"], 0, "PENDING|BeginTime\n", "")], ("pending", "In the queue again")),
        ([(["squeue"], 0, "RUNNING|None\n", "")], ("running", "[1/2] trial 0")),
        ([(["scontrol"], 0, "JobId=4711 JobState=COMPLETED R=x\n", "")], ("succeeded", "[1/2]")),
        ([(["scontrol"], 0, "   JobState=TIMEOUT Reason=None\n", "")], ("failed", "'minutes'")),
        (
            [(["squeue"], 1, "", "Invalid job id"), (["sacct"], 0, "CANCELLED by 0\n", "")],
            ("cancelled", "submit again"),
        ),
        ([(["sacct"], 0, "OUT_OF_MEMORY\n", "")], ("failed", "'memory_gb'")),
        ([(["sacct"], 0, "FAILED\n", "")], ("failed", "[1/2] trial 0")),
    ],
)
def test_states_of_slurm(
    commands: Commands, tmp_path: Path, table: Any, state: tuple[str, str]
) -> None:
    handle = _slurm(tmp_path, commands)
    (folder,) = (tmp_path / "runs" / ".jobs").iterdir()
    (folder / "log.txt").write_text("[1/2] trial 0\n")
    commands.answer(*table)
    found = find_job(handle).status()
    assert found.state == state[0]
    assert state[1] in found.message


def test_slurm_has_forgotten_the_job(commands: Commands, tmp_path: Path) -> None:
    handle = _slurm(tmp_path, commands)
    commands.answer((["--jobs=4711"], 1, "", "Invalid job id specified"))
    with pytest.raises(UnknownNameError, match="unknown job 'slurm:4711' in Slurm"):
        find_job(handle).status()
    (folder,) = (tmp_path / "runs" / ".jobs").iterdir()
    (folder / "exit").write_text("0\n")
    assert find_job(handle).status().state == "succeeded"


def test_slurm_job_from_another_machine(commands: Commands, tmp_path: Path) -> None:
    log = tmp_path / "a log.txt"
    log.write_text("hello\n")
    commands.answer((["show"], 0, f"   JobState=COMPLETED\n   StdOut={log}\n   Power=\n", ""))
    assert "".join(find_job("slurm:99").logs(follow=True)) == "hello\n"


def test_cancel_on_slurm(commands: Commands, tmp_path: Path) -> None:
    handle = _slurm(tmp_path, commands)
    commands.answer((["scontrol"], 0, "JobState=CANCELLED\n", ""))
    assert find_job(handle).cancel().state == "cancelled"
    assert [call for call, _ in commands.calls() if call[0] == "scancel"] == [["scancel", "4711"]]


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("error: invalid partition specified: x", "correct 'partition'"),
        ("error: Invalid account or account/partition combination", "correct 'account'"),
        ("Requested node configuration is not available", "lower them"),
        ("Unable to contact slurm controller (connect failure)", "the cluster does not answer"),
        ("something new", "sbatch failed"),
    ],
)
def test_refusals_of_slurm(commands: Commands, tmp_path: Path, said: str, meant: str) -> None:
    commands.answer((["sbatch"], 1, "", said))
    with pytest.raises(ClusterError, match=meant) as caught:
        _send(tmp_path, "slurm", runs=str(tmp_path / "runs"))
    assert said in str(caught.value)


@pytest.mark.parametrize(("kind", "program"), [("slurm", "sbatch"), ("kubernetes", "kubectl")])
def test_missing_program(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, program: str
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(MissingExtraError, match=f"'{program}' is not on this machine's PATH"):
        _send(tmp_path, kind, runs=str(tmp_path / "runs"))


def test_kubectl_gets_the_manifests(commands: Commands, tmp_path: Path) -> None:
    handle = _send(tmp_path, "kubernetes", namespace="team", context="lab")
    assert handle.startswith("kubernetes:team/rfprune-demo-")
    call, stdin = commands.calls()[0]
    assert call == ["kubectl", "--context=lab", "--namespace=team", "apply", "--filename=-"]
    assert "kind: RayJob" in stdin


def _ray_job(**status: str) -> tuple[list[str], int, str, str]:
    return (["rayjob"], 0, json.dumps({"status": status}), "")


@pytest.mark.parametrize(
    ("table", "state"),
    [
        ([_ray_job()], JobState("pending", "Waiting for the KubeRay operator")),
        (
            [_ray_job(jobStatus="RUNNING"), (["logs"], 0, "[1/2]\n", "")],
            JobState("running", "[1/2"),
        ),
        ([_ray_job(jobStatus="SUCCEEDED")], JobState("succeeded", "")),
        (
            [_ray_job(jobDeploymentStatus="Failed", reason="DeadlineExceeded")],
            JobState("failed", "raise 'minutes'"),
        ),
        (
            [_ray_job(jobStatus="FAILED"), (["logs"], 0, "rfprune: no such data.\n", "")],
            JobState("failed", "no such data."),
        ),
    ],
)
def test_states_of_kubernetes(commands: Commands, table: Any, state: JobState) -> None:
    commands.answer(*table)
    found = find_job("kubernetes:team/x").status()
    assert found.state == state.state
    assert state.message in found.message


@pytest.mark.parametrize(
    ("pod", "message"),
    [
        (
            {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]},
            "correct 'image' or 'pull_secrets'",
        ),
        (
            {"conditions": [{"reason": "Unschedulable", "message": "Insufficient cpu"}]},
            "No node has room for a pod (Insufficient cpu)",
        ),
        ({}, "The pods are starting."),
    ],
)
def test_why_pods_wait(commands: Commands, pod: dict[str, Any], message: str) -> None:
    pods = json.dumps({"items": [{"status": pod}]})
    commands.answer(_ray_job(rayClusterName="c"), (["pods"], 0, pods, ""))
    assert message in find_job("kubernetes:team/x").status().message


def test_unknown_job_of_kubernetes(commands: Commands) -> None:
    with pytest.raises(UnknownNameError, match="in the namespace 'team'"):
        find_job("kubernetes:team/x").status()


def test_logs_and_cancel_on_kubernetes(commands: Commands) -> None:
    commands.answer(_ray_job(jobStatus="RUNNING"), (["logs"], 0, "a\nb\n", ""))
    job = find_job("kubernetes:team/x")
    assert list(job.logs(follow=True)) == ["a\n", "b\n"]
    assert job.cancel().state == "cancelled"
    last = commands.calls()[-1][0]
    assert "--selector=rfprune.dev/job=x" in last


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ('error: no matches for kind "RayJob" in version "ray.io/v1"', "KubeRay operator"),
        ('namespaces "team" not found', "correct 'namespace'"),
        ("You must be logged in to the server (Unauthorized)", "log in"),
    ],
)
def test_refusals_of_kubernetes(commands: Commands, tmp_path: Path, said: str, meant: str) -> None:
    commands.answer((["apply"], 1, "", said))
    with pytest.raises(ClusterError, match=meant):
        _send(tmp_path, "kubernetes")


def test_logs_that_cannot_be_had(commands: Commands) -> None:
    commands.answer((["logs"], 1, "", "pods not found"))
    with pytest.raises(ClusterError, match="pods not found"):
        list(find_job("kubernetes:team/x").logs(follow=False))


@pytest.mark.parametrize(
    ("log", "meant"),
    [
        ("x\nrfprune: trial.yml: no such file.\n", "trial.yml: no such file."),
        ("python: No module named rfprune\n", "'code: sent'"),
        ("ModuleNotFoundError: No module named 'torch'\n", "no package 'torch'"),
        ("entry.sh: line 6: pythn: command not found\n", "no 'pythn'"),
        ("RuntimeError: Version mismatch: The cluster was started with\n", "'interpreter'"),
        ("OSError: [Errno 28] No space left on device\n", "the disk of the runs is full"),
        ("PermissionError: [Errno 13] Permission denied: '/srv/runs'\n", "'/srv/runs'"),
        ("slurmstepd: error: Detected 1 oom-kill event\n", "a node ran out of memory"),
        ("./entry.sh: line 6: 4711 Killed   python -m rfprune\n", "killed (SIGKILL) by somebody"),
        ("something\nelse\n\n", "else"),
        ("", ""),
    ],
)
def test_reasons_in_plain_words(log: str, meant: str) -> None:
    assert meant in explain(log)


@pytest.mark.parametrize("kind", PROFILES)
def test_advice_names_keys_that_the_profile_has(kind: str) -> None:
    logs = ["No module named rfprune\n", "No module named torch\n", "oom-kill\n", "Killed\n"]
    logs += ["x: command not found\n", "Version mismatch\n", "Permission denied: '/srv'\n"]
    fields = set(_KINDS[kind].model_fields)
    in_sweep = {"resources.cpus", "resources.memory_gb"}
    for log in logs:
        words = explain(log, kind=kind)
        named = {name.partition(":")[0] for name in re.findall(r"'([a-z_.]+(?:: \w+)?)'", words)}
        named -= {"torch", "x", "/srv"}
        assert named <= fields | in_sweep, words
        assert kind != "kubernetes" or "code: sent" not in words
