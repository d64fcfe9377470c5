"""Damaged journals, lost studies, lost run folders: found, mended, made again."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rfprune.errors import RunsError
from rfprune.results import SweepFolder, read_front
from rfprune.study import count_trials, read_study
from rfprune.study.expand import expand
from rfprune.study.missing import find_missing
from rfprune.study.rebuild import rebuild_study
from rfprune.study.record import Record
from rfprune.study.study import lock, open_study

from .conftest import LAYERS, Inline, SpecMaker


def _glue(content: bytes) -> bytes:
    """Take a newline in the middle out."""
    at = content.index(b"\n", len(content) // 2)
    return content[:at] + content[at + 1 :]


def _torn_and_glued(content: bytes) -> bytes:
    """As a write that found the disk full, and the next one that did not."""
    lines = content.splitlines(keepends=True)
    half = lines[-1][: len(lines[-1]) // 2]
    return b"".join([*lines[:-1], half, lines[-1]])


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a blank line": lambda content: content.replace(b"\n", b"\n\n", 5),
    "a blank line at the beginning": lambda content: b"\n" + content,
    "two lines on one": _glue,
    "half a line before a whole one": _torn_and_glued,
    "half a line at the end": lambda content: content + b'{"op_code":5,"worker_id":"a'[:20],
    "zeros at the end": lambda content: content + bytes(300),
    "windows line ends": lambda content: content.replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_journal_is_mended_where_nothing_is_lost(
    make_spec: SpecMaker, inline: Callable[..., Inline], tmp_path: Path, damage: str
) -> None:
    one = inline(make_spec(trials=3)).run()
    before = [(t.number, t.state, t.values, t.user_attrs) for t in read_study(one.folder).trials]
    path = one.folder.study_path
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    again = inline(make_spec(trials=4))
    found = [(t.number, t.state, t.values, t.user_attrs) for t in again.study.trials]
    assert found[: len(before)] == before
    again.run()
    assert count_trials(read_study(one.folder)).complete == 4
    kept = list(one.folder.path.glob("study.journal.damaged-*"))
    assert len(kept) == (0 if damage == "half a line at the end" else len(kept))


def _summary(study: Any) -> dict[int, tuple[str, Any, Any, Any]]:
    return {
        t.user_attrs["folder"]: (
            t.state.name,
            t.values,
            t.user_attrs["values"],
            t.user_attrs.get("reason"),
        )
        for t in study.trials
        if "folder" in t.user_attrs
    }


def _damage_for_good(path: Path) -> None:
    content = path.read_bytes()
    middle = content.index(b"\n", len(content) // 2) + 1
    path.write_bytes(content[:middle] + b'{"op_code":5,}\n' + content[middle:])


@pytest.mark.parametrize("fault", [None, "raise"])
def test_a_study_is_made_again_from_the_run_folders(
    make_spec: SpecMaker, inline: Callable[..., Inline], fault: str | None
) -> None:
    spec = make_spec(trials=6, constraints=["dsp <= 300"], sampler={"name": "nsga2"}, fault=fault)
    one = inline(spec).run()
    cut_off = None
    if fault is None:
        cut_off = inline(spec.model_copy(update={"trials": 8})).ask()
    before, front = _summary(read_study(one.folder)), read_front(one.folder)
    _damage_for_good(one.folder.study_path)
    with pytest.raises(RunsError, match="Use --rebuild-study to make it again"):
        inline(spec)
    space = expand(spec, LAYERS)
    rebuilt = rebuild_study(spec, one.folder, space)
    assert rebuilt.left_out == {}
    assert rebuilt.aside is not None
    assert rebuilt.aside.exists()
    after = _summary(read_study(one.folder))
    if cut_off is not None:
        assert after.pop(cut_off.folder)[0] == "FAIL"
        assert before.pop(cut_off.folder)[0] == "RUNNING"
    assert after == before
    assert read_front(one.folder).points == front.points
    if fault is None:
        # It goes on: the trial that was cut off ends, and new ones get folders of their own.
        again = inline(spec.model_copy(update={"trials": 10})).run()
        counts = count_trials(again.study)
        assert (counts.complete, counts.running, counts.waiting) == (10, 0, 0)
        folders = [t.user_attrs["folder"] for t in again.study.trials if t.state.name == "COMPLETE"]
        assert len(set(folders)) == 10
        assert find_missing(again.study.trials, one.folder) == {}


def test_a_trial_that_cannot_be_read_is_named_and_left_out(
    make_spec: SpecMaker, inline: Callable[..., Inline]
) -> None:
    spec = make_spec(trials=4)
    one = inline(spec).run()
    one.folder.study_path.unlink()
    with pytest.raises(RunsError, match="--rebuild-study"):
        inline(spec)
    (one.folder.trial(2).path / "spec.json").write_text("{")
    rebuilt = rebuild_study(spec, one.folder, expand(spec, LAYERS))
    assert list(rebuilt.left_out) == [2]
    # Its folder is left alone: the trial that takes its place gets another one.
    inline(spec).run()
    assert (one.folder.trial(2).path / "spec.json").read_text() == "{"
    assert count_trials(read_study(one.folder)).complete == 4


def test_a_whole_study_is_not_made_again(
    make_spec: SpecMaker, inline: Callable[..., Inline], tmp_path: Path
) -> None:
    spec = make_spec(trials=2, storage=f"sqlite:///{tmp_path}/study.db")
    one = inline(spec).run()
    with pytest.raises(RunsError, match="holds 2 trials, so it is not made again"):
        rebuild_study(spec, one.folder, expand(spec, LAYERS))


LOSSES: dict[str, tuple[Callable[[Path], None], str]] = {
    "gone": (shutil.rmtree, "is gone"),
    "no result": (lambda path: (path / "result.json").unlink(), "result.json is gone"),
    "damaged result": (lambda path: (path / "result.json").write_text("{"), "cannot be read"),
    "no steps": (lambda path: (path / "steps.jsonl").unlink(), "has no step"),
    "damaged steps": (lambda path: (path / "steps.jsonl").write_text("{}\n"), "is damaged"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_lost_run_folder_is_found_and_run_again_on_request(
    make_spec: SpecMaker, inline: Callable[..., Inline], loss: str
) -> None:
    spec = make_spec(trials=4)
    one = inline(spec).run()
    before = _summary(read_study(one.folder))
    lose, words = LOSSES[loss]
    lose(one.folder.trial(1).path)
    looking = inline(spec)
    assert list(looking.record.missing) == [1]
    assert words in looking.record.missing[1]
    # It is neither complete, nor does another point take its place.
    assert (looking.record.counts.complete, looking.record.counts.missing) == (3, 1)
    assert looking.record.finished
    with lock(one.folder):
        study = open_study(spec, one.folder, LAYERS)
        again = Record(spec, one.folder, expand(spec, LAYERS), study, again=True)
    assert not again.finished
    looking.record, looking.study = again, study
    looking.run()
    assert find_missing(study.trials, one.folder) == {}
    assert (count_trials(study).complete, count_trials(study).missing) == (4, 0)
    after = _summary(read_study(one.folder))
    assert {number: found[2] for number, found in after.items()} == {
        number: found[2] for number, found in before.items()
    }
    assert (loss == "gone") != bool(list(one.folder.path.glob("trials/0001.damaged-*")))


@pytest.mark.parametrize("seed", range(2))
def test_one_count_of_trials_whatever_happens(
    make_spec: SpecMaker, inline: Callable[..., Inline], tmp_path: Path, seed: int
) -> None:
    """Drivers that stop anywhere, with trials in every state: the count never passes the wanted."""
    chance = random.Random(seed)
    faults = ["none", "none", "raise", "nan", "none"]
    spec = make_spec(
        trials=8,
        retries=2,
        fault="none",
        search={
            "model.args.fault": {"choices": sorted(set(faults))},
            "hardware.layers.*.reuse_factor": {"valid": True},
        },
    )
    driver = inline(spec)
    for _ in range(1500):
        if driver.record.finished:
            break
        record = driver.record
        assert record.counts.done + len(record.live) <= 8
        assert record.counts == count_trials(driver.study)
        act = chance.choice([*["ask"] * 3, *["work"] * 4, "die", "node", "kill", "stop"])
        if act == "ask":
            if len(record.live) < 3:
                record.ask()
        elif act == "kill":
            driver = inline(spec)
        elif act == "stop":
            record.orphan_live()
            driver = inline(spec)
        elif record.live:
            number = chance.choice(list(record.live))
            if act == "work":
                driver.work(record.live[number])
            else:
                record.died(number, "gone", "died" if act == "die" else "node")
    else:
        pytest.fail("the sweep did not end")
    counts = count_trials(driver.study)
    if not driver.record.gave_up:
        assert counts.done == 8
    assert (counts.running, counts.missing) == (0, 0)
    complete = [t for t in driver.study.trials if t.state.name == "COMPLETE"]
    assert len({t.user_attrs["key"] for t in complete}) == len(complete)
    front = read_front(SweepFolder(tmp_path / spec.name))
    assert (front.counts.complete, front.counts.failed) == (counts.complete, counts.failed)


def test_the_death_of_a_node_uses_up_no_attempt(
    make_spec: SpecMaker, inline: Callable[..., Inline]
) -> None:
    one = inline(make_spec(trials=1, retries=0))
    first = one.ask()
    for _ in range(3):
        one.record.died(next(iter(one.record.live)), "its node has died", "node")
        again = one.ask()
        assert (again.folder, again.attempt) == (first.folder, 0)
    one.record.died(again.number, "a bug", "died")
    assert one.record.counts.failed == 1
    # A trial that takes its node down each time ends, too.
    two = inline(make_spec(name="two", trials=1, retries=0))
    for _ in range(21):
        two.record.died(two.ask().number, "its node has died", "node")
    assert two.record.counts.failed == 1
