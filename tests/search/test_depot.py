"""The depot's rules: who may write, what comes back whole, who trains a dense network."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rfprune.errors import TrialError
from rfprune.runs import StepRecord, SweepFolder
from rfprune.search.depot import Depot, SupersededError

SPEC = {"trials/0003/spec.json": b"{}"}


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path / "demo")


@pytest.fixture
def depot(sweep: SweepFolder, tmp_path: Path) -> Depot:
    return Depot(sweep.path, [tmp_path / "beside"])


def _steps(sweep: SweepFolder, *accepted: bool) -> None:
    trial = sweep.trial(3)
    (trial.path / "steps").mkdir(parents=True)
    for index, good in enumerate(accepted):
        if good:
            trial.checkpoint(index).write_bytes(b"weights %d" % index)
        step = StepRecord(
            step=index, accepted=good, val_accuracy=0.5, accuracy=0.5, sparsity=0.0, dsp=1.0
        )
        trial.append_step(step)


def test_a_trial_goes_on_from_its_last_accepted_step(depot: Depot, sweep: SweepFolder) -> None:
    _steps(sweep, True, True, True, False)
    (sweep.trial(3).path / ".worker.lock").touch()
    parcels = asyncio.run(depot.claim(3, 1, "node"))
    assert sorted(parcels) == ["trials/0003/steps.jsonl", "trials/0003/steps/002.pt"]
    assert parcels["trials/0003/steps/002.pt"] == [b"weights 2"]
    assert depot.nodes() == ["node"]


def test_the_result_is_put_into_place_last(
    depot: Depot, sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr(
        "rfprune.search.depot.write_atomic", lambda path, content: written.append(path.name)
    )
    names = ("result.json", "steps.jsonl", "steps/001.pt", "log.txt")
    asyncio.run(depot.commit(3, 0, {f"trials/0003/{name}": b"" for name in names}))
    assert written == ["log.txt", "001.pt", "steps.jsonl", "result.json"]


def test_large_files_come_in_pieces_and_appear_whole(depot: Depot, sweep: SweepFolder) -> None:
    name = "trials/0003/steps/001.pt"

    async def send() -> None:
        await depot.stage(3, 0, name, 0, b"broken off")
        for offset, piece in ((0, b"one "), (4, b"two")):
            await depot.stage(3, 0, name, offset, piece)
        assert not (sweep.path / name).exists()
        await depot.commit(3, 0, {name: None})

    asyncio.run(send())
    assert (sweep.path / name).read_bytes() == b"one two"


def test_an_older_attempt_is_shut_out(depot: Depot, sweep: SweepFolder) -> None:
    async def both() -> None:
        await depot.claim(3, 0, "first")
        await depot.claim(3, 1, "second")
        for call in (
            depot.commit(3, 0, SPEC),
            depot.stage(3, 0, next(iter(SPEC)), 0, b""),
            depot.claim(3, 0, "first"),
        ):
            with pytest.raises(SupersededError):
                await call
        await depot.commit(3, 1, SPEC)

    asyncio.run(both())
    assert (sweep.path / "trials/0003/spec.json").read_bytes() == b"{}"


@pytest.mark.parametrize(
    "name", ["trials/0004/spec.json", "../up", "/etc/passwd", "trials/0003/../0004/x", "sweep.json"]
)
def test_a_trial_writes_to_its_own_folder_only(depot: Depot, name: str) -> None:
    with pytest.raises(TrialError, match="no file of trial 3"):
        asyncio.run(depot.commit(3, 0, {name: b""}))


def test_a_file_beyond_all_measure_is_refused(depot: Depot) -> None:
    with pytest.raises(TrialError, match="larger than 8 GiB"):
        asyncio.run(depot.stage(3, 0, "trials/0003/x", 8 << 30, b"!"))


def _order(depot: Depot, ending: Any) -> list[tuple[str, bool]]:
    """Let trials 1 and 2 want one dense network; return who goes when, and whether it leads."""
    seen: list[tuple[str, bool]] = []

    async def second() -> None:
        seen.append(("second", await depot.lead("key", 2)))

    async def run() -> None:
        seen.append(("first", await depot.lead("key", 1)))
        waiting = asyncio.ensure_future(second())
        await asyncio.sleep(0)
        seen.append(("ends", waiting.done()))
        await ending()
        await waiting

    asyncio.run(run())
    return seen


def test_one_trial_trains_and_the_others_wait(depot: Depot, sweep: SweepFolder) -> None:
    async def step() -> None:
        files = {"dense/key-0/dense.pt": b"weights", "trials/0001/steps.jsonl": b""}
        await depot.commit(1, 0, files)

    assert _order(depot, step) == [("first", True), ("ends", False), ("second", False)]
    assert asyncio.run(depot.dense("key")) == {"dense/key-0/dense.pt": [b"weights"]}
    assert asyncio.run(depot.lead("key", 9)) is False


def test_another_trains_where_the_first_died(depot: Depot) -> None:
    async def death() -> None:
        await depot.release(1, settled=False)

    assert _order(depot, death) == [("first", True), ("ends", False), ("second", True)]


def test_files_beside_the_sweep_are_supplied(depot: Depot, tmp_path: Path) -> None:
    folder = tmp_path / "beside" / "rows"
    folder.mkdir(parents=True)
    for name in ("train.parquet", "test.parquet", "notes.txt"):
        (folder / name).write_bytes(name.encode())
    assert sorted(asyncio.run(depot.supply("rows"))) == ["rows/test.parquet", "rows/train.parquet"]
    assert asyncio.run(depot.supply("rows/notes.txt")) == {"rows/notes.txt": [b"notes.txt"]}
    (tmp_path / "secret").touch()
    for name in ("absent.npz", "../secret", str(tmp_path / "secret")):
        assert asyncio.run(depot.supply(name)) == {}


def test_a_folder_of_images_is_supplied_whole(depot: Depot, tmp_path: Path) -> None:
    names = ("photos/train/cat/1.jpeg", "photos/train/dog/2.jpeg", "photos/val/cat/3.jpeg")
    for name in (*names, "photos/notes.md"):
        path = tmp_path / "beside" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    assert asyncio.run(depot.supply("photos")) == {name: [name.encode()] for name in names}


def test_the_depot_knows_its_driver_by_a_token(depot: Depot, sweep: SweepFolder) -> None:
    assert not depot.sees(".transport", "word")
    sweep.path.mkdir()
    (sweep.path / ".transport").write_text("word")
    assert depot.sees(".transport", "word")
    assert not depot.sees(".transport", "other")
