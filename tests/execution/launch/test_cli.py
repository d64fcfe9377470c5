"""The four verbs as a user types them: output, and the exit status of every kind of fault."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rfprune.cli import main

from .makers import profile_file

SWEEP = str(Path(__file__).parents[3] / "sweeps" / "digits.yml")


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["rfprune", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_dry_run_sends_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("submit", SWEEP, "--on", "ray", "--dry-run", "--trials", "7")
    assert _run(monkeypatch, *arguments, "--set", "train.epochs=3") == 0
    text = capsys.readouterr().out
    assert "# POST http://127.0.0.1:8265/api/jobs/" in text
    assert "\ntrials: 7\n" in text
    assert "epochs: 3\n" in text
    assert not list(home.rglob("*.json"))


def test_background_job_from_start_to_end(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\ncase "$*" in *sweep.yml*) echo "[1/1] trial 0";; esac\n')
    python.chmod(0o755)
    profile = profile_file(tmp_path, "local", runs=str(tmp_path / "runs"), interpreter=str(python))
    assert _run(monkeypatch, "submit", SWEEP, "--on", str(profile)) == 0
    job = capsys.readouterr().out.splitlines()[0].removeprefix("Submitted: ")
    assert _run(monkeypatch, "logs", job, "--follow") == 0
    assert capsys.readouterr().out == "[1/1] trial 0\n"
    assert _run(monkeypatch, "status", job, "--json") == 0
    state = json.loads(capsys.readouterr().out)
    assert state == {"job": job, "state": "succeeded", "message": "[1/1] trial 0"}
    assert _run(monkeypatch, "cancel", job) == 0
    assert capsys.readouterr().out == f"{job}: succeeded. [1/1] trial 0\n"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("submit", SWEEP, "--on", "rya"), 2, "unknown profile 'rya'. Did you mean 'ray'?"),
        (("submit", "absent.yml", "--on", "ray"), 2, "absent.yml"),
        (("submit", SWEEP, "--on", "ray", "--address", "ray://x:1"), 2, "not an address of Ray's"),
        (("submit", SWEEP, "--on", "ray", "--address", "127.0.0.1:9"), 1, "cannot be reached"),
        (("status", "ray:x", "--address", "127.0.0.1:9"), 1, "cannot be reached"),
        (("logs", "local:absent"), 2, "unknown job 'local:absent' on this machine"),
        (("cancel", "absent"), 2, "'absent' is not a job"),
    ],
)
def test_faults_are_one_sentence(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    status: int,
    message: str,
) -> None:
    assert _run(monkeypatch, *arguments) == status
    shown = capsys.readouterr()
    assert shown.err.startswith("rfprune: ")
    assert message in shown.err
    assert shown.out == ""
    assert not list(home.rglob("*.json"))


@pytest.mark.parametrize(
    "arguments", [("submit", "--help"), ("submit", SWEEP, "--on", "ray", "--dry-run")]
)
def test_no_library_of_a_cluster_is_loaded(home: Path, arguments: tuple[str, ...]) -> None:
    program = (
        "import sys; from rfprune.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as ended:\n    assert ended.code == 0\n"
        "print(*sys.modules)"
    )
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=home, check=True)
    assert {"ray", "requests", "torch"}.isdisjoint(done.stdout.splitlines()[-1].split())
