"""The study's file: foreign, torn, locked, changed, on a server; and setting a sweep aside."""

from __future__ import annotations

import multiprocessing
import shutil
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from rfprune.errors import MissingExtraError, RunsError
from rfprune.results import SweepFolder
from rfprune.study.study import lock, open_study, read_study, set_aside
from rfprune.study.trials import count_trials

LAYERS = {"fc1": (16, 64), "fc2": (64, 32), "fc3": (32, 5)}
RF = "hardware.layers.{}.reuse_factor".format

Maker = Callable[..., Any]


def test_a_text_file_is_no_study(make_spec: Maker, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "demo")
    folder.path.mkdir()
    folder.study_path.write_text("not a journal\nat all\n")
    with pytest.raises(RunsError, match=r"study\.journal: is not an Optuna study that can be read"):
        open_study(make_spec(), folder, LAYERS)
    assert folder.study_path.read_text() == "not a journal\nat all\n"


def test_a_study_of_another_program_is_refused(make_spec: Maker, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "demo")
    folder.path.mkdir()
    backend = optuna.storages.journal.JournalFileBackend(str(folder.study_path))
    study = optuna.create_study(study_name="demo", storage=optuna.storages.JournalStorage(backend))
    study.tell(study.ask(), 1.0)
    with pytest.raises(RunsError, match="not made by this version of rfprune"):
        open_study(make_spec(), folder, LAYERS)


def test_a_torn_last_line_costs_only_itself(make_spec: Maker, inline: Maker) -> None:
    spec = make_spec(trials=3)
    driver = inline(spec).run()
    path = driver.folder.study_path
    with path.open("ab") as file:
        file.write(b'{"op_code":8,"worker_id":"tor')
    driver = inline(spec.model_copy(update={"trials": 4})).run()
    counts = count_trials(driver.study)
    assert (counts.complete, counts.failed) == (4, 0)
    assert b"tor{" not in path.read_bytes()


def test_the_file_lock_of_a_killed_driver_is_removed(make_spec: Maker, inline: Maker) -> None:
    spec = make_spec(trials=2)
    folder = inline(spec).run().folder
    stale = Path(f"{folder.study_path}.lock")
    stale.symlink_to(folder.study_path)
    open_study(spec, folder, LAYERS)
    assert not stale.is_symlink()


def test_trials_whose_study_is_gone_are_not_mixed_with_new_ones(
    make_spec: Maker, inline: Maker
) -> None:
    spec = make_spec(trials=2)
    inline(spec).run().folder.study_path.unlink()
    with pytest.raises(RunsError, match="is empty or gone"):
        inline(spec)


CHANGES: list[tuple[dict[str, Any], list[str]]] = [
    ({"prune": {"steps": 5}}, ["prune.steps: 2 -> 5"]),
    (
        {"search": {RF("fc1"): {"valid": True}}},
        ["search.hardware.layers.fc1", "-> not set"],
    ),
    ({"objectives": {"val_accuracy": "max"}}, ["objectives.dsp: min -> not set"]),
    ({"constraints": ["dsp <= 5"]}, ["constraints: [] -> ['dsp <= 5']"]),
    ({"sampler": {"name": "tpe"}}, ["sampler.name: random -> tpe", "Keys that may change: trials"]),
]


@pytest.mark.parametrize(("change", "words"), CHANGES)
def test_a_changed_file_is_refused_with_the_difference(
    make_spec: Maker, inline: Maker, change: dict[str, Any], words: list[str]
) -> None:
    driver = inline(make_spec(trials=2)).run()
    content = driver.folder.study_path.read_bytes()
    with pytest.raises(RunsError) as caught:
        inline(make_spec(**{"trials": 2, **change}))
    for word in [*words, "--fresh"]:
        assert word in str(caught.value)
    assert driver.folder.study_path.read_bytes() == content


def test_trials_resources_and_retries_may_change(make_spec: Maker, inline: Maker) -> None:
    inline(make_spec(trials=2)).run()
    driver = inline(make_spec(trials=3, retries=4, resources={"cpus": 2})).run()
    assert count_trials(driver.study).complete == 3


def test_a_changed_network_is_refused(make_spec: Maker, inline: Maker) -> None:
    driver = inline(make_spec(trials=1)).run()
    with pytest.raises(RunsError, match=r"layers of the network\.fc3: \[32, 5\] -> \[32, 10\]"):
        open_study(driver.spec, driver.folder, {**LAYERS, "fc3": (32, 10)})


def test_sqlite_by_url(make_spec: Maker, inline: Maker, tmp_path: Path) -> None:
    spec = make_spec(trials=2, storage=f"sqlite:///{tmp_path}/study.db", constraints=["dsp<=1"])
    inline(spec).run()
    driver = inline(spec.model_copy(update={"trials": 3})).run()
    assert count_trials(driver.study).complete == 3
    assert not driver.folder.study_path.exists()
    assert len(read_study(driver.folder).trials) == 3


def test_a_server_study_of_another_folder_is_refused(
    make_spec: Maker, inline: Maker, tmp_path: Path
) -> None:
    spec = make_spec(trials=2, storage=f"sqlite:///{tmp_path}/study.db")
    inline(spec, tmp_path / "one").run()
    with pytest.raises(RunsError, match=r"belongs to the sweep in .*one/demo"):
        inline(spec, tmp_path / "two")


def test_a_foreign_database_is_refused(make_spec: Maker, inline: Maker, tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"no database " * 100)
    with pytest.raises(RunsError, match="is not an Optuna study that can be opened"):
        inline(make_spec(storage=f"sqlite:///{tmp_path}/study.db"))


@pytest.mark.parametrize(
    ("url", "error", "words"),
    [
        ("oracel://host/x", RunsError, "oracel"),
        ("postgresql://me:secret@localhost:1/x", (MissingExtraError, RunsError), "me@localhost"),
    ],
)
def test_urls_that_cannot_be_opened(
    make_spec: Maker, inline: Maker, url: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        inline(make_spec(storage=url))
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


def _hold(path: str, held: Event, release: Event) -> None:
    with lock(SweepFolder(Path(path))):
        held.set()
        release.wait(60)


def test_a_second_driver_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    first = context.Process(target=_hold, args=(str(tmp_path), held, release))
    first.start()
    assert held.wait(60)
    with (
        pytest.raises(RunsError, match=f"in use by process {first.pid} on "),
        lock(SweepFolder(tmp_path)),
    ):
        pass
    first.kill()
    first.join()
    with lock(SweepFolder(tmp_path)):
        pass


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(RunsError, match="cannot be written"),
        lock(SweepFolder(tmp_path / "file" / "demo")),
    ):
        pass


@pytest.mark.parametrize("server", [False, True])
def test_setting_aside_keeps_everything(
    make_spec: Maker, inline: Maker, tmp_path: Path, server: bool
) -> None:
    storage = f"sqlite:///{tmp_path}/study.db" if server else None
    spec = make_spec(trials=2, storage=storage)
    driver = inline(spec).run()
    old = set_aside(spec, driver.folder)
    assert old is not None
    assert old.name.startswith("demo.old-")
    assert not driver.folder.path.exists()
    changed = make_spec(trials=3, storage=storage, prune={"steps": 4})
    fresh = inline(changed).run()
    assert count_trials(fresh.study).complete == 3
    assert count_trials(read_study(SweepFolder(old))).complete == 2
    assert len(list(SweepFolder(old).trials())) == 2
    assert set_aside(spec, SweepFolder(tmp_path / "never")) is None


def test_a_sweep_in_use_is_not_set_aside(make_spec: Maker, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "demo")
    with lock(folder):
        with pytest.raises(RunsError, match="in use"):
            set_aside(make_spec(), folder)
        assert folder.path.exists()


def test_reading_a_study_creates_nothing(make_spec: Maker, inline: Maker) -> None:
    driver = inline(make_spec(trials=1)).run()
    shutil.move(driver.folder.study_path, driver.folder.path / "elsewhere")
    with pytest.raises(RunsError, match="no such file"):
        read_study(driver.folder)
    assert not driver.folder.study_path.exists()


def test_counts_leave_retried_failures_out(make_spec: Maker, inline: Maker) -> None:
    driver = inline(make_spec(fault="memory_once", trials=2)).run()
    states = [trial.state for trial in driver.study.trials]
    assert states.count(TrialState.FAIL) == 2
    counts = count_trials(driver.study)
    assert (counts.complete, counts.failed, counts.waiting) == (2, 0, 0)
