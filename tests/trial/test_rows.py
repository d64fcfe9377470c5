"""Rows are loaded once per process and set, and again when a file has changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rfprune.data import Dataset
from rfprune.data.spec import DataSpec
from rfprune.tasks import Task, TaskSpec, make_task
from rfprune.trial import rows as module
from rfprune.trial.rows import rows

CLASSES = make_task(TaskSpec())


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[DataSpec]:
    """Forget what is held, and note every loading."""
    seen: list[DataSpec] = []
    original = module.load

    def counted(spec: DataSpec, base_dir: Path, task: Task) -> Dataset:
        seen.append(spec)
        return original(spec, base_dir, task)

    monkeypatch.setattr(module, "_held", None)
    monkeypatch.setattr(module, "load", counted)
    return seen


def write(path: Path, n: int) -> None:
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(n, 4)).astype(np.float32), np.arange(n) % 2
    np.savez(path, x_train=x, y_train=y, x_test=x[:10], y_test=y[:10])


def test_the_same_set_is_loaded_once(loads: list[DataSpec], tmp_path: Path) -> None:
    write(tmp_path / "a.npz", 40)
    spec = DataSpec(file="a.npz")
    assert rows(spec, tmp_path, CLASSES) is rows(spec, tmp_path, CLASSES)
    assert len(loads) == 1


def test_a_changed_file_is_loaded_again(loads: list[DataSpec], tmp_path: Path) -> None:
    write(tmp_path / "a.npz", 40)
    spec = DataSpec(file="a.npz")
    before = rows(spec, tmp_path, CLASSES)
    write(tmp_path / "a.npz", 60)
    after = rows(spec, tmp_path, CLASSES)
    assert after.sha256 != before.sha256
    assert len(after.y_train) > len(before.y_train)
    assert len(loads) == 2


def test_other_settings_and_other_folders_are_other_sets(
    loads: list[DataSpec], tmp_path: Path
) -> None:
    for name, n in (("one", 40), ("two", 60)):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "a.npz", n)
    spec = DataSpec(file="a.npz")
    one, two = rows(spec, tmp_path / "one", CLASSES), rows(spec, tmp_path / "two", CLASSES)
    assert one.sha256 != two.sha256
    assert len(rows(DataSpec(file="a.npz", train_rows=20), tmp_path / "two", CLASSES).y_train) < 20
    assert len(loads) == 3


def test_only_one_set_is_held(loads: list[DataSpec], tmp_path: Path) -> None:
    write(tmp_path / "a.npz", 40)
    write(tmp_path / "b.npz", 40)
    for name in ("a.npz", "b.npz", "a.npz"):
        rows(DataSpec(file=name), tmp_path, CLASSES)
    assert len(loads) == 3


def test_a_named_set(loads: list[DataSpec], tmp_path: Path) -> None:
    assert rows(DataSpec(name="digits"), tmp_path, CLASSES) is rows(
        DataSpec(name="digits"), tmp_path, CLASSES
    )
    assert len(loads) == 1


def test_the_same_file_for_another_task_is_another_set(
    loads: list[DataSpec], tmp_path: Path
) -> None:
    write(tmp_path / "a.npz", 40)
    spec, numbers = DataSpec(file="a.npz"), make_task(TaskSpec(name="regression"))
    assert rows(spec, tmp_path, CLASSES).n_outputs == 2
    assert rows(spec, tmp_path, numbers).n_outputs == 1
    assert len(loads) == 2
