"""A trial from file to result, cut off anywhere, and its dense network shared."""

import itertools
import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rfprune.errors import BudgetError, InputError, RunsError
from rfprune.fpga.prunable import GroupPrunable
from rfprune.models import load_checkpoint
from rfprune.results import StepRecord, TrialFolder, TrialResult
from rfprune.spec import TrialSpec
from rfprune.trial import prepare, restore
from rfprune.trial.run import run_trial
from tests.trial.conftest import small


def run(home: Path, spec: TrialSpec, **kwargs: Any) -> tuple[TrialFolder, TrialResult]:
    folder = TrialFolder(home / "trials" / "0000")
    result = run_trial(spec, folder, dense_dir=home / "dense", base_dir=home, **kwargs)
    return folder, result


def without_times(records: list[StepRecord]) -> list[dict[str, Any]]:
    return [{k: v for k, v in r.model_dump().items() if k != "seconds"} for r in records]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(path).state_dict


def test_a_trial_meets_its_budget_and_leaves_everything_behind(tmp_path: Path) -> None:
    seen: list[int] = []
    folder, result = run(tmp_path, small(), on_step=lambda record: seen.append(record.step))
    steps = folder.steps()
    assert result.state == "complete"
    assert (result.stopped, result.budgets_met) == ("budgets met", True)
    assert seen == [0, 1, 2, 3] == [record.step for record in steps]
    assert result.final_step == 3
    dense = 64 * 16 // 4 + 16 * 10 // 8
    assert steps[0].values["dsp"] == dense
    assert steps[-1].values["dsp"] <= 0.3 * dense
    assert steps[-1].values["dsp"] == sum(steps[-1].live.values())
    assert [record.values["dsp"] for record in steps] == sorted(
        (record.values["dsp"] for record in steps), reverse=True
    )
    for record in steps:
        assert folder.checkpoint(record.step).exists()
        assert (
            json.loads(folder.estimate(record.step).read_text())["total"]["dsp"]
            == record.values["dsp"]
        )
    assert result.provenance is not None
    assert folder.spec() == small()


@pytest.mark.parametrize(("said", "wanted"), [(60, 60), ("60", 60), ("20 %", 55), (0.2, 55)])
def test_a_whole_budget_is_met_to_the_last_unit(
    tmp_path: Path, said: float | str, wanted: int
) -> None:
    prune = {"budget": {"dsp": said}, "method": "knapsack", "tolerance": 1.0}
    folder, result = run(tmp_path, small(prune=prune))
    assert result.budgets_met
    last = folder.steps()[-1]
    assert last.values["dsp"] == sum(last.live.values()) == wanted
    assert last.fraction["dsp"] * 276 == pytest.approx(55.2 if wanted == 55 else 60)


def test_a_finished_trial_is_returned_as_it_is(tmp_path: Path) -> None:
    folder, first = run(tmp_path, small())
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    _, second = run(tmp_path, small())
    assert second == first
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == before


class Cut(Exception):
    """Stands for a kill at a certain step."""


@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize(
    "prune",
    [
        {},
        {"regrow_epochs": 1},
        {
            "schedule": "binary",
            "steps": 4,
            "tolerance": 0.02,
            "patience": 5,
            "budget": {"dsp": 0.05},
        },
        {"tolerance": 0.02, "patience": 5, "budget": {"dsp": 0.05}, "method": "random"},
    ],
    ids=["cubic", "regrow", "binary", "rejected"],
)
def test_a_cut_off_trial_ends_bit_for_bit_like_an_uncut_one(
    tmp_path: Path, after: int, prune: dict[str, Any]
) -> None:
    spec = small(prune={**small().prune.model_dump(), **prune})
    whole, _ = run(tmp_path / "whole", spec)

    def cut(record: StepRecord) -> None:
        if record.step == after:
            raise Cut

    if len(whole.steps()) <= after:
        pytest.fail("the case has too few steps to be cut there")
    with pytest.raises(Cut):
        run(tmp_path / "cut", spec, on_step=cut)
    resumed, result = run(tmp_path / "cut", spec)
    assert without_times(resumed.steps()) == without_times(whole.steps())
    assert result.final_step is not None
    ours, theirs = (weights(f.checkpoint(result.final_step)) for f in (resumed, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    folder, _ = run(tmp_path, small())
    count = len(folder.steps())
    with (folder.path / "steps.jsonl").open("a") as file:
        file.write('{"step": 9, "accep')
    assert len(folder.steps()) == count


def test_dense_networks_are_trained_once(tmp_path: Path) -> None:
    run(tmp_path, small())
    (cache,) = (tmp_path / "dense").iterdir()
    before = (cache / "dense.pt").stat().st_mtime_ns
    other = small(prune={**small().prune.model_dump(), "budget": {"dsp": 0.5}})
    folder = TrialFolder(tmp_path / "trials" / "0001")
    run_trial(other, folder, dense_dir=tmp_path / "dense", base_dir=tmp_path)
    assert [p.name for p in (tmp_path / "dense").iterdir()] == [cache.name]
    assert (cache / "dense.pt").stat().st_mtime_ns == before
    run_trial(
        small(seed=1),
        TrialFolder(tmp_path / "trials" / "0002"),
        dense_dir=tmp_path / "dense",
        base_dir=tmp_path,
    )
    assert len(list((tmp_path / "dense").iterdir())) == 2


def _concurrent(home: str, number: int) -> None:
    torch.set_num_threads(1)
    folder = TrialFolder(Path(home) / "trials" / f"{number:04d}")
    spec = small(prune={**small().prune.model_dump(), "steps": 1})
    run_trial(spec, folder, dense_dir=Path(home) / "dense", base_dir=Path(home))


@pytest.mark.slow
def test_two_processes_want_the_same_dense_network(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_concurrent, args=(str(tmp_path), k)) for k in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(list((tmp_path / "dense").iterdir())) == 1
    records = [TrialFolder(tmp_path / "trials" / f"000{k}").steps()[0] for k in (0, 1)]
    assert without_times(records[:1]) == without_times(records[1:])


def test_an_unreadable_dense_network_is_trained_again(tmp_path: Path) -> None:
    run(tmp_path, small())
    (cache,) = (tmp_path / "dense").iterdir()
    (cache / "dense.pt").write_bytes(b"no checkpoint")
    folder = TrialFolder(tmp_path / "trials" / "0001")
    run_trial(small(), folder, dense_dir=tmp_path / "dense", base_dir=tmp_path)
    assert (cache / "dense.unreadable").exists()
    assert without_times(folder.steps()) == without_times(
        TrialFolder(tmp_path / "trials" / "0000").steps()
    )


def test_tolerance_broken_is_said_and_the_last_accepted_step_is_final(tmp_path: Path) -> None:
    prune = {**small().prune.model_dump(), "tolerance": 0.0, "patience": 0, "budget": {"dsp": 0.05}}
    folder, result = run(tmp_path, small(prune={**prune, "method": "random"}))
    assert (result.stopped, result.budgets_met) == ("tolerance broken", False)
    steps = folder.steps()
    assert not steps[-1].accepted
    assert not folder.checkpoint(steps[-1].step).exists()
    assert result.final_step == max(record.step for record in steps if record.accepted)


def test_after_a_rejected_step_half_as_much_is_tried(tmp_path: Path) -> None:
    prune = {"tolerance": 0.02, "patience": 9, "budget": {"dsp": 0.05}, "method": "random"}
    folder, result = run(tmp_path, small(prune={**small().prune.model_dump(), **prune}))
    records = folder.steps()
    assert not all(record.accepted for record in records)
    assert result.stopped == "tolerance broken"
    good = records[0].fraction["dsp"]
    for record, following in itertools.pairwise(records[1:]):
        if record.accepted:
            good = record.fraction["dsp"]
        else:
            halved = (good + record.fraction["dsp"]) / 2
            assert following.fraction["dsp"] == pytest.approx(halved)


def test_method_none_is_the_dense_network(tmp_path: Path) -> None:
    folder, result = run(tmp_path, small(prune={**small().prune.model_dump(), "method": "none"}))
    assert result.stopped == "nothing to prune"
    assert [record.step for record in folder.steps()] == [0]


def test_unstructured_methods_are_counted_like_the_others(tmp_path: Path) -> None:
    prune = {**small().prune.model_dump(), "method": "l1", "tolerance": 0.9}
    folder, result = run(tmp_path, small(prune=prune))
    last = folder.steps()[-1]
    assert result.budgets_met
    assert last.values["dsp"] == sum(last.live.values()) <= 0.3 * (256 + 20)


def test_restored_steps_have_their_masks(tmp_path: Path) -> None:
    folder, _ = run(tmp_path, small())
    for record in folder.steps():
        restored = restore(folder, record.step)
        prunable = restored.prepared.deployment.prunable
        assert isinstance(prunable, GroupPrunable)
        assert prunable.groups.live(restored.model) == record.live


@pytest.mark.parametrize("step", [9, -1])
def test_a_step_without_a_checkpoint(tmp_path: Path, step: int) -> None:
    folder, _ = run(tmp_path, small())
    with pytest.raises(RunsError, match="only accepted steps have one"):
        restore(folder, step)


def test_a_damaged_checkpoint_is_a_sentence(tmp_path: Path) -> None:
    folder, _ = run(tmp_path, small())
    folder.checkpoint(2).write_bytes(b"broken")
    with pytest.raises(RunsError, match=r"002\.pt: the checkpoint cannot be used"):
        restore(folder, 2)


def test_wrong_input_writes_nothing(tmp_path: Path) -> None:
    prune = {**small().prune.model_dump(), "budget": {"dsp": 0.0}}
    with pytest.raises(BudgetError):
        run(tmp_path, small(prune=prune))
    assert list(tmp_path.iterdir()) == []


def test_prepare_names_unknown_things(tmp_path: Path) -> None:
    for change in ({"estimator": "analytc"}, {"prune": {"method": "knapsck"}}):
        with pytest.raises(InputError, match="Did you mean"):
            prepare(small(**change), tmp_path)


def test_seeds_change_results_and_repeat_them(tmp_path: Path) -> None:
    records = []
    for name, seed in (("a", 0), ("b", 0), ("c", 5)):
        folder, _ = run(tmp_path / name, small(seed=seed))
        records.append([record.values["val_accuracy"] for record in folder.steps()])
    assert records[0] == records[1]
    assert not np.array_equal(records[0], records[2])
