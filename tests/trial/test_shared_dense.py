"""A dense network that a sweep beside this one has trained is taken, if it is the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from rfprune.spec import TrialSpec
from rfprune.tasks import make_task
from rfprune.trial.dense import Dense, dense_network
from rfprune.trial.rows import rows
from tests.trial.conftest import small


def sweep(runs: Path, name: str, spec: TrialSpec) -> Dense:
    (runs / name).mkdir(parents=True, exist_ok=True)
    (runs / name / "sweep.json").write_text("{}")
    return dense_of(runs / name / "dense", spec)


def dense_of(folder: Path, spec: TrialSpec) -> Dense:
    task = make_task(spec.task, folder)
    return dense_network(spec, rows(spec.data, folder, task), task, folder, folder)


def short(**changes: Any) -> TrialSpec:
    return small(train={"epochs": 1}, **changes)


def test_sweeps_share_what_is_the_same(tmp_path: Path) -> None:
    first = sweep(tmp_path, "first", short())
    second = sweep(tmp_path, "second", short(hardware={"part": "pynq-z2"}))
    assert (first.cached, second.cached) == (False, True)
    assert second.metrics == first.metrics
    for ours, theirs in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert not sweep(tmp_path, "third", short(seed=1)).cached


def test_a_folder_that_is_no_sweep_neither_gives_nor_takes(tmp_path: Path) -> None:
    assert not dense_of(tmp_path / "alone" / "dense", short()).cached
    assert not sweep(tmp_path, "first", short()).cached
    assert not dense_of(tmp_path / "other" / "dense", short()).cached


@pytest.mark.parametrize("change", ["versions", "damaged", "gone"])
def test_what_another_version_made_is_trained_again(tmp_path: Path, change: str) -> None:
    sweep(tmp_path, "first", short())
    (path,) = tmp_path.glob("first/dense/*/dense.json")
    if change == "versions":
        path.write_text(json.dumps({**json.loads(path.read_text()), "versions": {"torch": "1"}}))
    elif change == "damaged":
        path.write_text("[")
    else:
        path.with_name("dense.pt").unlink()
    assert not sweep(tmp_path, "second", short()).cached


def test_functions_of_the_users_own_may_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "shared_net.py").write_text(
        "from torch import nn\n\ndef make(input_shape, n_outputs):\n"
        "    return nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, n_outputs))\n"
    )
    own = short(model={"name": "shared_net:make", "args": {}}, hardware={"layers": {}})
    assert not sweep(tmp_path, "first", own).cached
    assert not sweep(tmp_path, "second", own).cached
