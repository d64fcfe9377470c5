"""The remote_files's rules: who may write, what comes back whole, who trains a dense network."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from rfprune.errors import TrialError
from rfprune.execution.remote_files import RemoteFiles, SupersededError
from rfprune.results import StepRecord, SweepFolder

SPEC = {"trials/0003/spec.json": b"{}"}


@pytest.fixture
def sweep(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path / "demo")


@pytest.fixture
def remote_files(sweep: SweepFolder, tmp_path: Path) -> RemoteFiles:
    return RemoteFiles(sweep.path, [tmp_path / "beside"])


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


def test_a_trial_goes_on_from_its_last_accepted_step(
    remote_files: RemoteFiles, sweep: SweepFolder
) -> None:
    _steps(sweep, True, True, True, False)
    (sweep.trial(3).path / ".worker.lock").touch()
    files = asyncio.run(remote_files.claim(3, 1, "node"))
    assert sorted(files) == ["trials/0003/steps.jsonl", "trials/0003/steps/002.pt"]
    assert files["trials/0003/steps/002.pt"] == [b"weights 2"]
    assert remote_files.nodes() == ["node"]


def test_the_result_is_put_into_place_last(
    remote_files: RemoteFiles, sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr(
        "rfprune.execution.remote_files.write_atomic",
        lambda path, content: written.append(path.name),
    )
    names = ("result.json", "steps.jsonl", "steps/001.pt", "log.txt")
    asyncio.run(remote_files.commit(3, 0, {f"trials/0003/{name}": b"" for name in names}))
    assert written == ["log.txt", "001.pt", "steps.jsonl", "result.json"]


def test_large_files_come_in_pieces_and_appear_whole(
    remote_files: RemoteFiles, sweep: SweepFolder
) -> None:
    name = "trials/0003/steps/001.pt"

    async def send() -> None:
        await remote_files.stage(3, 0, name, 0, b"broken off")
        for offset, piece in ((0, b"one "), (4, b"two")):
            await remote_files.stage(3, 0, name, offset, piece)
        assert not (sweep.path / name).exists()
        await remote_files.commit(3, 0, {name: None})

    asyncio.run(send())
    assert (sweep.path / name).read_bytes() == b"one two"


def test_an_older_attempt_is_shut_out(remote_files: RemoteFiles, sweep: SweepFolder) -> None:
    async def both() -> None:
        await remote_files.claim(3, 0, "first")
        await remote_files.claim(3, 1, "second")
        for call in (
            remote_files.commit(3, 0, SPEC),
            remote_files.stage(3, 0, next(iter(SPEC)), 0, b""),
            remote_files.claim(3, 0, "first"),
        ):
            with pytest.raises(SupersededError):
                await call
        await remote_files.commit(3, 1, SPEC)

    asyncio.run(both())
    assert (sweep.path / "trials/0003/spec.json").read_bytes() == b"{}"


@pytest.mark.parametrize(
    "name", ["trials/0004/spec.json", "../up", "/etc/passwd", "trials/0003/../0004/x", "sweep.json"]
)
def test_a_trial_writes_to_its_own_folder_only(remote_files: RemoteFiles, name: str) -> None:
    with pytest.raises(TrialError, match="is not a file of trial 3"):
        asyncio.run(remote_files.commit(3, 0, {name: b""}))


def test_a_file_beyond_all_measure_is_refused(remote_files: RemoteFiles) -> None:
    with pytest.raises(TrialError, match="larger than 8 GiB"):
        asyncio.run(remote_files.stage(3, 0, "trials/0003/x", 8 << 30, b"!"))


def _order(remote_files: RemoteFiles, ending: Any) -> list[tuple[str, bool]]:
    """Let trials 1 and 2 want one dense network; return who goes when, and whether it leads."""
    seen: list[tuple[str, bool]] = []

    async def second() -> None:
        seen.append(("second", await remote_files.lead("key", 2)))

    async def run() -> None:
        seen.append(("first", await remote_files.lead("key", 1)))
        waiting = asyncio.ensure_future(second())
        await asyncio.sleep(0)
        seen.append(("ends", waiting.done()))
        await ending()
        await waiting

    asyncio.run(run())
    return seen


def test_one_trial_trains_and_the_others_wait(
    remote_files: RemoteFiles, sweep: SweepFolder
) -> None:
    async def step() -> None:
        files = {"dense/key-0/dense.pt": b"weights", "trials/0001/steps.jsonl": b""}
        await remote_files.commit(1, 0, files)

    assert _order(remote_files, step) == [("first", True), ("ends", False), ("second", False)]
    assert asyncio.run(remote_files.dense("key")) == {"dense/key-0/dense.pt": [b"weights"]}
    assert asyncio.run(remote_files.lead("key", 9)) is False


def test_another_trains_where_the_first_died(remote_files: RemoteFiles) -> None:
    async def death() -> None:
        await remote_files.release(1, settled=False)

    assert _order(remote_files, death) == [("first", True), ("ends", False), ("second", True)]


def test_files_beside_the_sweep_are_supplied(remote_files: RemoteFiles, tmp_path: Path) -> None:
    folder = tmp_path / "beside" / "rows"
    folder.mkdir(parents=True)
    for name in ("train.parquet", "test.parquet", "notes.txt"):
        (folder / name).write_bytes(name.encode())
    assert sorted(asyncio.run(remote_files.supply("rows"))) == [
        "rows/test.parquet",
        "rows/train.parquet",
    ]
    assert asyncio.run(remote_files.supply("rows/notes.txt")) == {"rows/notes.txt": [b"notes.txt"]}
    (tmp_path / "secret").touch()
    for name in ("absent.npz", "../secret", str(tmp_path / "secret")):
        assert asyncio.run(remote_files.supply(name)) == {}


def test_a_folder_of_images_is_supplied_whole(remote_files: RemoteFiles, tmp_path: Path) -> None:
    names = ("photos/train/cat/1.jpeg", "photos/train/dog/2.jpeg", "photos/val/cat/3.jpeg")
    for name in (*names, "photos/notes.md"):
        path = tmp_path / "beside" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    assert asyncio.run(remote_files.supply("photos")) == {name: [name.encode()] for name in names}


def test_the_remote_files_knows_its_driver_by_a_token(
    remote_files: RemoteFiles, sweep: SweepFolder
) -> None:
    assert not remote_files.sees(".transport", "word")
    sweep.path.mkdir()
    (sweep.path / ".transport").write_text("word")
    assert remote_files.sees(".transport", "word")
    assert not remote_files.sees(".transport", "other")
