"""Links within a run folder that lead out of it: named, and not followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from rfprune.errors import RunsError
from rfprune.results import SweepFolder, read_front


@pytest.mark.parametrize("name", ["log.txt", "result.json", "steps/001.json", "spec.json"])
def test_a_link_out_of_the_folder_is_not_followed(make, tmp_path: Path, name: str) -> None:
    folder = make.sweep(trials=2)
    secret = tmp_path / "secret"
    secret.write_text("{}")
    path = folder.trial(1).path / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(secret)
    damaged = read_front(folder).view.damaged
    assert list(damaged) == [1]
    assert f"{path}: is a link that leads out of {folder.path}" in damaged[1]


def test_a_whole_trial_and_the_sweep_s_own_file(make, tmp_path: Path) -> None:
    folder = make.sweep(trials=2)
    elsewhere = tmp_path / "elsewhere"
    folder.trial(1).path.rename(elsewhere)
    folder.trial(1).path.symlink_to(elsewhere)
    assert list(read_front(folder).view.damaged) == [1]
    (folder.path / "sweep.json").rename(tmp_path / "sweep.json")
    (folder.path / "sweep.json").symlink_to(tmp_path / "sweep.json")
    with pytest.raises(RunsError, match=r"sweep.json: is a link that leads out of"):
        folder.facts()


def test_links_within_and_to_the_whole_folder_are_fine(make, tmp_path: Path) -> None:
    folder = make.sweep(trials=2)
    steps = folder.trial(1).path / "steps.jsonl"
    steps.rename(steps.with_name("kept.jsonl"))
    steps.symlink_to("kept.jsonl")
    linked = tmp_path / "linked"
    linked.symlink_to(folder.path)
    assert read_front(SweepFolder(linked)).view.damaged == {}
