"""Run folders: what is written comes back, and what is absent is named."""

import json
from pathlib import Path

import pytest

from rfprune.errors import RunsError
from rfprune.results import (
    StepRecord,
    SweepFolder,
    TrialFolder,
    TrialResult,
    find_sweep,
)
from rfprune.spec import SweepSpec, TrialSpec

TRIAL = {"model": {"name": "mlp"}, "data": {"name": "digits"}}
SWEEP = {**TRIAL, "name": "one", "search": {"train.epochs": {"low": 1, "high": 3}}}


def record(step: int, accepted: bool = True) -> StepRecord:
    return StepRecord(step=step, accepted=accepted, val_accuracy=0.5, accuracy=0.4, sparsity=0.1)


def test_trial_round_trip(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path / "one" / "trials" / "0007")
    spec = TrialSpec.model_validate(TRIAL)
    folder.write_spec(spec)
    assert folder.spec() == spec
    assert (folder.number, folder.result(), folder.steps()) == (7, None, [])
    for step in range(3):
        folder.append_step(record(step, accepted=step != 1))
    assert [r.step for r in folder.steps()] == [0, 1, 2]
    folder.rewrite_steps([record(0)])
    assert folder.steps() == [record(0)]
    result = TrialResult(trial=7, state="complete", final_step=0)
    folder.write_result(result)
    assert folder.result() == result


def test_files_are_those_worth_keeping(tmp_path: Path) -> None:
    kept = ("spec.json", "log.txt", "steps/001.pt", "agent/001/policy.pt")
    for name in (*kept, ".worker.lock", "hls/firmware/a.cpp", "steps/.001.pt.7"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = [path.relative_to(tmp_path).as_posix() for path in TrialFolder(tmp_path).files()]
    assert sorted(found) == sorted(kept)


def test_a_missing_step_names_those_that_exist(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path)
    folder.append_step(record(0))
    with pytest.raises(RunsError, match=r"has no step 4\. Steps: 0\."):
        folder.step(4)


def test_unknown_quantities_are_none_in_metrics(tmp_path: Path) -> None:
    folder = TrialFolder(tmp_path)
    folder.append_step(StepRecord(step=0, accepted=True, values={"dsp": 12.0, "power_mw": None}))
    found = folder.step(0).metrics()
    assert found == {"dsp": 12.0, "power_mw": None, "seconds": 0.0}


def test_measured_quantities_stand_beside_the_other_keys_in_the_file(tmp_path: Path) -> None:
    folder, written = TrialFolder(tmp_path), record(1)
    folder.append_step(written)
    (line,) = (tmp_path / "steps.jsonl").read_text().splitlines()
    values = {"val_accuracy": 0.5, "accuracy": 0.4, "sparsity": 0.1}
    assert json.loads(line).items() >= {"step": 1, "accepted": True, **values}.items()
    assert folder.step(1) == written
    assert folder.step(1).values == values


def test_sweep_round_trip(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "one")
    spec = SweepSpec.model_validate(SWEEP)
    folder.write_spec(spec, {"base_dir": "/somewhere"})
    assert folder.spec() == spec
    assert folder.trial(3).base_dir() == Path("/somewhere")
    for number in (3, 1):
        folder.trial(number).write_spec(TrialSpec.model_validate(TRIAL))
    (tmp_path / "one" / "trials" / "notes").mkdir()
    assert [trial.number for trial in folder.trials()] == [1, 3]


def test_find_sweep_names_the_nearest(tmp_path: Path) -> None:
    SweepFolder(tmp_path / "digits").write_spec(SweepSpec.model_validate(SWEEP), {})
    assert find_sweep(tmp_path, "digits").path == tmp_path / "digits"
    with pytest.raises(RunsError, match="Did you mean 'digits'"):
        find_sweep(tmp_path, "digit")
    with pytest.raises(RunsError, match="No sweep has run there yet"):
        find_sweep(tmp_path / "empty", "digits")


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"other": 1})])
def test_a_damaged_sweep_is_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(RunsError, match=r"sweep\.json"):
        SweepFolder(tmp_path).spec()
