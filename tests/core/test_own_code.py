"""A run folder from elsewhere runs no code unasked; one's own does, without a question."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rfprune.core.own_code import allowing_code, check_code, own_functions, remember_code
from rfprune.errors import RunsError

SPEC = {"model": {"name": "net:build"}, "task": {"heads": [{"loss": "mine.losses:huber"}]}, "n": 3}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def test_what_counts_as_own() -> None:
    assert list(own_functions(SPEC)) == ["net:build", "mine.losses:huber"]
    assert list(own_functions({"a": "rfprune.trial:run_trial", "b": "mlp", "c": "x: y"})) == []


def test_what_was_run_here_may_be_looked_at(tmp_path: Path) -> None:
    home, base = tmp_path / "runs" / "mine", tmp_path / "project"
    with pytest.raises(RunsError, match=r"mine.losses:huber, net:build .*use --run-code"):
        check_code(home, base, SPEC)
    remember_code(home, base, SPEC)
    check_code(home, base, SPEC)
    # Another folder, other functions, or other modules of the same name are not what was run.
    for foreign in (
        (tmp_path / "copied", base, SPEC),
        (home, tmp_path / "elsewhere", SPEC),
        (home, base, {**SPEC, "model": {"name": "evil:build"}}),
    ):
        with pytest.raises(RunsError, match="not run here by you"):
            check_code(*foreign)
        with allowing_code(True):
            check_code(*foreign)
    with pytest.raises(RunsError):
        check_code(tmp_path / "copied", base, SPEC)
    check_code(tmp_path / "copied", base, {"model": {"name": "mlp"}})


def test_nothing_can_be_remembered_in_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    remember_code(tmp_path, tmp_path, SPEC)
    with pytest.raises(RunsError):
        check_code(tmp_path, tmp_path, SPEC)


def test_a_damaged_note_is_none(tmp_path: Path, state: Path) -> None:
    remember_code(tmp_path, tmp_path, SPEC)
    (note,) = (state / "rfprune" / "own_code").glob("*.json")
    assert json.loads(note.read_text())["names"] == ["mine.losses:huber", "net:build"]
    note.write_text("{")
    with pytest.raises(RunsError):
        check_code(tmp_path, tmp_path, SPEC)
    shutil.rmtree(state)
