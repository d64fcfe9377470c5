"""Whose study it is: two drivers at once, a driver that was stopped, moved folders."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rfprune.errors import RunsError, WorkError
from rfprune.results import SweepFolder
from rfprune.study import ownership, read_study, set_aside
from rfprune.study.expand import expand
from rfprune.study.ownership import Lease, Owner
from rfprune.study.record import Record
from rfprune.study.study import lock, open_study

from .conftest import LAYERS, Inline, SpecMaker


class Cell:
    """An attribute that is replaced only if it is what it was, as a database does it."""

    def __init__(self, text: str | None = None) -> None:
        self.text = text

    def read(self) -> str | None:
        return self.text

    def exchange(self, old: str | None, new: str) -> bool:
        if self.text != old:
            return False
        self.text = new
        return True

    def lease(self) -> Lease:
        return Lease(self.read, self.exchange, "the study")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "LEASE_SECONDS", 0.6)
    monkeypatch.setattr(ownership, "_RENEW_SECONDS", 0.1)
    monkeypatch.setattr(ownership, "_POLL_SECONDS", 0.05)


def owner(folder: str, sweep_id: str = "s", host: str = "h") -> Owner:
    return Owner(sweep_id, folder, host, 7, f"{host}{folder}")


def test_a_living_owner_is_refused_and_a_dead_one_is_not(tmp_path: Path) -> None:
    cell = Cell()
    first = cell.lease()
    first.acquire(owner("/a/demo"), lambda: False)
    with pytest.raises(RunsError, match=r"in use by process 7 on h \(folder /a/demo\)"):
        cell.lease().acquire(owner("/b/demo"), lambda: True)
    # The same folder, whose own lock tells that the driver has ended: at once.
    began = time.monotonic()
    second = cell.lease()
    second.acquire(replace(owner("/a/demo"), token="other"), lambda: True)
    assert time.monotonic() - began < 0.4
    time.sleep(0.5)  # the thread that renews it has noticed by then
    with pytest.raises(WorkError, match="has taken the study over"):
        first.hold()
    second._over.set()  # as if it had been killed
    time.sleep(0.3)  # a renewal that was on its way has come by then
    third = cell.lease()
    third.acquire(owner("/moved/demo"), lambda: True)
    third.release()
    assert json.loads(cell.text or "")["driven"] is False


def test_a_study_with_trials_stays_with_its_folder() -> None:
    cell = Cell(owner("/a/demo", "other sweep").write())
    with pytest.raises(RunsError, match=r"belongs to the sweep in /a/demo on h .*--runs /a"):
        cell.lease().acquire(owner("/b/demo"), lambda: True)


def test_of_two_that_take_a_dead_study_at_once_one_is_refused() -> None:
    cell = Cell(owner("/a/demo").write())
    rival = owner("/c/demo")

    def exchange(old: str | None, new: str) -> bool:
        if cell.text == old and Owner.read(cell.text) == owner("/a/demo"):
            cell.text = rival.write()  # a moment before this one
        elif Owner.read(cell.text) == rival:
            return False
        return cell.exchange(old, new)

    slow = Lease(cell.read, exchange, "the study")
    ticks = iter(range(10_000))

    def read() -> str | None:
        if Owner.read(cell.text) not in (None, owner("/a/demo")):
            cell.text = replace(rival, renewed=next(ticks)).write()
        return cell.text

    slow._read = read
    with pytest.raises(RunsError, match="in use by process 7 on h"):
        slow.acquire(owner("/b/demo"), lambda: True)


def _open(spec: Any, path: Path, sweep_id: str) -> Any:
    folder = SweepFolder(path / spec.name)
    folder.path.mkdir(parents=True, exist_ok=True)
    return folder, open_study(spec, folder, LAYERS, sweep_id)


def test_two_folders_and_one_database(make_spec: SpecMaker, tmp_path: Path) -> None:
    spec = make_spec(storage=f"sqlite:///{tmp_path}/study.db", trials=2)
    folder, study = _open(spec, tmp_path / "one", "1")
    with pytest.raises(RunsError, match=r"in use by process \d+ on .*one/demo"):
        _open(spec, tmp_path / "two", "2")
    record = Record(spec, folder, expand(spec, LAYERS), study)
    folder.write_spec(spec, {"sweep_id": "1"})
    assert record.ask() is not None
    study.close()
    with pytest.raises(RunsError, match=f"belongs to the sweep in {tmp_path}/one/demo"):
        _open(spec, tmp_path / "two", "2")
    # Setting the other folder aside leaves this folder's study alone.
    SweepFolder(tmp_path / "two" / spec.name).write_spec(spec, {"sweep_id": "2"})
    assert set_aside(spec, SweepFolder(tmp_path / "two" / spec.name)) is not None
    assert len(read_study(folder).trials) == 1
    # A folder that was moved is the same sweep.
    (tmp_path / "one").rename(tmp_path / "three")
    _, again = _open(spec, tmp_path / "three", "1")
    again.close()


def test_a_study_made_by_two_at_once_is_one(
    make_spec: SpecMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from optuna.storages import RDBStorage

    spec = make_spec(storage=f"sqlite:///{tmp_path}/study.db")
    folder, study = _open(spec, tmp_path, "1")
    study.close()
    monkeypatch.setattr(RDBStorage, "get_all_studies", lambda self: [])
    _, again = _open(spec, tmp_path, "1")
    again.close()
    assert again.study_name == spec.name
    assert folder.path.exists()


def test_the_folder_lock_still_comes_first(
    inline: Callable[..., Inline], make_spec: SpecMaker, tmp_path: Path
) -> None:
    one = inline(make_spec(trials=1)).run()
    with lock(one.folder), pytest.raises(RunsError, match="in use"), lock(one.folder):
        pass
