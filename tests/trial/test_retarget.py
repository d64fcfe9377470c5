"""A trial on other hardware: which masks hold there, and that nothing but the hardware differs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from rfprune.core.files import link_or_copy
from rfprune.errors import RunsError
from rfprune.fpga.estimating import estimate_folder
from rfprune.results import StepRecord, TrialFolder
from rfprune.spec import TrialSpec
from rfprune.tasks import make_task
from rfprune.trial import prepare, restore
from rfprune.trial.retarget import Carried, carry_over, what_breaks
from rfprune.trial.rows import rows
from rfprune.trial.run import run_trial
from tests.trial.conftest import small


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished trial."""
    path = tmp_path_factory.mktemp("source")
    torch.set_num_threads(1)
    folder = TrialFolder(path / "trials" / "0003")
    run_trial(small(), folder, dense_dir=path / "dense", base_dir=path)
    return path


def moved(home: Path, target: Path, **changes: Any) -> tuple[Carried, TrialFolder]:
    spec = small(**changes)
    source, folder = TrialFolder(home / "trials" / "0003"), TrialFolder(target / "0003")
    data = rows(spec.data, home, make_task(spec.task, home))
    return carry_over(source, spec, folder, home, data), folder


def without_times(records: list[StepRecord]) -> list[dict[str, Any]]:
    dropped = ("seconds", "prices")
    return [{k: v for k, v in r.model_dump().items() if k not in dropped} for r in records]


def hardware(**changes: Any) -> dict[str, Any]:
    return {"hardware": {"reuse_factor": 4, "layers": {"output": {"reuse_factor": 8}}, **changes}}


def test_the_same_hardware_gives_the_same_trial(home: Path, tmp_path: Path) -> None:
    source = TrialFolder(home / "trials" / "0003")
    found, folder = moved(home, tmp_path)
    assert found == Carried((0, 1, 2, 3), {})
    assert without_times(folder.steps()) == without_times(source.steps())
    for step in found.steps:
        assert folder.checkpoint(step).samefile(source.checkpoint(step))
    before, after = source.result(), folder.result()
    assert before is not None
    assert after is not None
    assert after.dense == before.dense
    assert (after.stopped, after.budgets_met, after.final_step) == ("retargeted", True, 3)
    assert not (folder.path / "hls").exists() or not any((folder.path / "hls").iterdir())


@pytest.mark.parametrize(
    "change",
    [{"part": "pynq-z2", "clock_ns": 10.0}, {"precision": "fixed<12,5>"}],
    ids=["part", "types"],
)
def test_a_step_there_is_its_network_evaluated_by_hand(
    home: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    source = TrialFolder(home / "trials" / "0003")
    spec = small(**hardware(**change))
    found, folder = moved(home, tmp_path, **hardware(**change))
    assert found.steps == (0, 1, 2, 3)
    data = rows(spec.data, home, make_task(spec.task, home))
    for record in folder.steps():
        model = restore(source, record.step).model
        there = prepare(spec, home).deployment.prunable.deployed(model)
        with torch.no_grad():
            right = (there(data.x_val).argmax(1) == data.y_val).double().mean()
        assert record.values["val_accuracy"] == pytest.approx(float(right), abs=0)
        shutil.copytree(source.path, tmp_path / "copy" / "0003")
        TrialFolder(tmp_path / "copy" / "0003").write_spec(spec)
        estimate, part = estimate_folder(tmp_path / "copy" / "0003", "analytic", record.step)
        shutil.rmtree(tmp_path / "copy")
        assert record.values["dsp"] == estimate.quantities()["dsp"]
        assert record.values["latency_ns"] == estimate.quantities()["latency_ns"]
        assert record.values["fits"] == float(estimate.fits(part))


def test_types_in_which_a_network_is_no_longer_good_enough(home: Path, tmp_path: Path) -> None:
    with pytest.raises(RunsError, match=r"step 3: val_accuracy is 0\.\d+ in the new types, and "):
        moved(home, tmp_path, **hardware(precision="fixed<4,3>"))
    assert not any(tmp_path.iterdir())


def test_groups_that_nest_hold_and_others_do_not(home: Path, tmp_path: Path) -> None:
    finer = hardware(reuse_factor=2, layers={"output": {"reuse_factor": 4}})
    found, folder = moved(home, tmp_path / "finer", **finer)
    assert found.steps == (0, 1, 2, 3)
    source = TrialFolder(home / "trials" / "0003")
    for old, new in zip(source.steps(), folder.steps(), strict=True):
        # A multiplier of four weights became two of two: no more and no fewer are left.
        assert new.values["dsp"] == 2 * (old.values["dsp"] or 0)
        assert new.values["val_accuracy"] == old.values["val_accuracy"]
    with pytest.raises(RunsError, match=r"step 3: fc1: \d+ pruned weights share a group of 16"):
        moved(home, tmp_path / "coarser", **hardware(reuse_factor=16))


def test_a_layer_without_groups_does_not_hold(home: Path) -> None:
    trial = TrialFolder(home / "trials" / "0003")
    masks = restore(trial, 3).masks
    exempt = {"layers": {"output": {"prune": False}}}
    fixed = prepare(small(prune=exempt), home).deployment.prunable
    assert "output: " in what_breaks(fixed, masks)
    assert what_breaks(fixed, None) == ""
    whole = prepare(small(), home).deployment.prunable
    assert what_breaks(whole, masks) == ""
    some = {name: mask for name, mask in masks.items() if name != "fc1"}
    assert what_breaks(whole, some).startswith("fc1: can be pruned now")
    empty = {**masks, "fc1": torch.zeros_like(masks["fc1"])}
    assert "fc1: 0 groups are left" in what_breaks(whole, empty)


def test_trials_that_cannot_be_taken(home: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(home, copied)
    trial = TrialFolder(copied / "trials" / "0003")
    result = trial.result()
    assert result is not None
    assert result.provenance is not None
    other = result.provenance.model_copy(update={"data_sha256": "0" * 64})
    trial.write_result(result.model_copy(update={"provenance": other}))
    with pytest.raises(RunsError, match="data have changed"):
        moved(copied, tmp_path / "new")
    trial.write_result(result.model_copy(update={"state": "failed", "error": "died"}))
    with pytest.raises(RunsError, match=r"failed \(died\)"):
        moved(copied, tmp_path / "new")
    (trial.path / "result.json").unlink()
    with pytest.raises(RunsError, match="has not ended"):
        moved(copied, tmp_path / "new")
    trial.write_result(result)
    trial.checkpoint(3).unlink()
    found, _ = moved(copied, tmp_path / "new")
    assert found == Carried((0, 1, 2), {3: "step 3: its checkpoint has been removed"})
    trial.rewrite_steps([])
    with pytest.raises(RunsError, match="no accepted step"):
        moved(copied, tmp_path / "newer")
    assert not (tmp_path / "newer").exists()


def test_means_over_seeds_are_means_there(tmp_path: Path) -> None:
    spec = small(repeats=2, train={"epochs": 4}, prune={"steps": 1})
    source = TrialFolder(tmp_path / "old" / "trials" / "0000")
    run_trial(spec, source, dense_dir=tmp_path / "dense", base_dir=tmp_path)
    there = TrialSpec.model_validate(
        {**spec.canonical(), "hardware": {**spec.canonical()["hardware"], "clock_ns": 10.0}}
    )
    target = TrialFolder(tmp_path / "new" / "trials" / "0000")
    carry_over(source, there, target, tmp_path, rows(spec.data, tmp_path, make_task(spec.task)))
    for old, new in zip(source.steps(), target.steps(), strict=True):
        assert (new.repeats, new.spread["val_accuracy"]) == (2, old.spread["val_accuracy"])
        assert new.values["val_accuracy"] == old.values["val_accuracy"]
        assert new.values["latency_ns"] != old.values["latency_ns"]


def test_a_file_is_copied_where_it_cannot_be_linked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    (tmp_path / "a").write_text("x")
    link_or_copy(tmp_path / "a", tmp_path / "linked" / "a")
    monkeypatch.setattr("os.link", refuse)
    link_or_copy(tmp_path / "a", tmp_path / "copied" / "a")
    assert (tmp_path / "linked" / "a").samefile(tmp_path / "a")
    assert not (tmp_path / "copied" / "a").samefile(tmp_path / "a")
    assert (tmp_path / "copied" / "a").read_text() == "x"
