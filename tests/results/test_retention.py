"""What may go of a sweep, and that the front and everything that is told of it stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from rfprune.results import front_json, read_front
from rfprune.results.retention import find_surplus, remove


@pytest.fixture
def folder(make):
    folder = make.sweep(trials=5)
    make.trial(folder, 5, state="running", steps=3)
    make.trial(folder, 6, state="failed", steps=3)
    for trial in folder.trials():
        for step in trial.steps():
            path = trial.checkpoint(step.step)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(bytes(1000))
        (trial.path / "hls" / "firmware").mkdir(parents=True)
        (trial.path / "hls" / "firmware" / "x.cpp").write_bytes(bytes(10))
    return folder


def _checkpoints(folder) -> set[tuple[int, int]]:
    return {
        (trial.number, int(path.stem))
        for trial in folder.trials()
        for path in (trial.path / "steps").glob("*.pt")
    }


@pytest.mark.parametrize("keep", ["front", "last", "all"])
def test_the_front_always_stays(folder, keep) -> None:
    before, there = front_json(read_front(folder), {}), _checkpoints(folder)
    on_front = {(point.trial, point.step) for point in read_front(folder).points}
    surplus = find_surplus(folder, keep)
    remove(surplus.paths)
    left = _checkpoints(folder)
    assert on_front <= left
    assert front_json(read_front(folder), {}) == before
    # What is still running, or may be tried again, loses nothing that it resumes from.
    assert {(n, s) for n, s in there if n == 5} <= left
    last_failed = max(s.step for s in folder.trial(6).steps() if s.accepted)
    assert (6, last_failed) in left
    assert (folder.trial(5).path / "hls").exists()
    assert not (folder.trial(0).path / "hls").exists()
    if keep == "all":
        assert left == there
    else:
        assert left < there
        assert surplus.n_bytes == 1000 * len(surplus.checkpoints) + 10 * len(surplus.scratch)
        assert len(there) - len(left) == len(surplus.checkpoints)
    last = {
        (trial.number, max(s.step for s in trial.steps() if s.accepted))
        for trial in folder.trials()
        if trial.number < 5
    }
    assert (last <= left) or keep == "front"
    again = find_surplus(folder, keep)
    assert again.paths == ()


def test_links_out_are_not_followed(folder, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("x")
    (folder.trial(0).path / "agent").symlink_to(elsewhere)
    view = read_front(folder).view
    assert "is a link that leads out of" in view.damaged[0]
    remove(find_surplus(folder, "front").paths)
    assert (elsewhere / "precious").read_text() == "x"
