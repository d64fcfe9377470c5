"""Trials in turns in one process: each is what it is alone, up to the rounding of its sums."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch

from rfprune.results import TrialFolder
from rfprune.spec import TrialSpec
from rfprune.training import in_turns
from rfprune.training import together as meeting
from rfprune.trial import run_trial
from tests.trial.conftest import small

HERE = Path.cwd()


def run(spec: TrialSpec, path: Path, number: int, on_step: Any = None) -> None:
    folder = TrialFolder(path / f"{number:04d}")
    run_trial(spec, folder, dense_dir=path / "dense", base_dir=HERE, on_step=on_step)


def specs() -> list[TrialSpec]:
    """Budgets, strengths, reuse factors, rates and seeds differ."""
    prune = [
        {"budget": {"dsp": 0.5}},
        {"budget": {"dsp": 0.2}, "regularizer": {"weight": 1e-2}},
        {"budget": {"dsp": 0.3}, "method": "knapsack", "learning_rate": 5e-3},
        {"budget": {"dsp": 0.3}, "regularizer": {"weight": 0.0}},
    ]
    found = [small(prune=p) for p in prune]
    return [*found, small(hardware={"reuse_factor": 8}), small(seed=3)]


def in_one_process(path: Path, trials: list[TrialSpec]) -> list[BaseException | None]:
    return in_turns([functools.partial(run, spec, path, i) for i, spec in enumerate(trials)])


def weights(folder: TrialFolder, step: int) -> dict[str, torch.Tensor]:
    found = torch.load(folder.checkpoint(step), weights_only=False)
    state: dict[str, torch.Tensor] = found["state_dict"]
    return state


def test_the_same_steps_as_one_after_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    met: list[int] = []
    serve = meeting.fit_all

    def noted(jobs: Any) -> None:
        met.append(len(jobs))
        serve(jobs)

    monkeypatch.setattr(meeting, "fit_all", noted)
    trials = specs()
    for i, spec in enumerate(trials):
        run(spec, tmp_path / "alone", i)
    assert met == []
    assert in_one_process(tmp_path / "together", trials) == [None] * len(trials)
    assert max(met) == len(trials)
    for i in range(len(trials)):
        alone, shared = (TrialFolder(tmp_path / way / f"{i:04d}") for way in ("alone", "together"))
        wanted, found = alone.steps(), shared.steps()
        assert [s.step for s in found] == [s.step for s in wanted]
        assert [s.accepted for s in found] == [s.accepted for s in wanted]
        assert [s.live for s in found] == [s.live for s in wanted]
        assert len(wanted) > 1
        for mine, other in zip(found, wanted, strict=True):
            for name, value in other.values.items():
                assert mine.values[name] == pytest.approx(value, rel=1e-3), (i, name)
        result, other_result = shared.result(), alone.result()
        assert result is not None
        assert other_result is not None
        assert (result.stopped, result.notes) == (other_result.stopped, other_result.notes)


def test_what_cannot_be_trained_together_says_so_once(tmp_path: Path) -> None:
    fixed = small(prune={"fixed_point": True})
    assert in_one_process(tmp_path, [fixed, small()]) == [None, None]
    told = [TrialFolder(tmp_path / f"{i:04d}").result() for i in range(2)]
    notes = [[n for n in r.notes if "together" in n] for r in told if r is not None]
    assert len(notes[0]) == 1
    assert "numbers of the target" in notes[0][0]
    assert notes[1] == []


class CutOffError(BaseException):
    """As of a driver that stops."""


def test_what_was_cut_off_resumes_and_the_others_are_not_disturbed(tmp_path: Path) -> None:
    trials = specs()[:3]

    def stop(record: Any) -> None:
        if record.step == 1:
            raise CutOffError

    works = [
        functools.partial(run, spec, tmp_path / "cut", i, stop if i == 1 else None)
        for i, spec in enumerate(trials)
    ]
    raised = in_turns(works)
    assert [type(error) for error in raised] == [type(None), CutOffError, type(None)]
    assert in_one_process(tmp_path / "cut", trials) == [None] * 3
    assert in_one_process(tmp_path / "whole", trials) == [None] * 3
    for i in range(3):
        cut, whole = (TrialFolder(tmp_path / way / f"{i:04d}") for way in ("cut", "whole"))
        assert [s.step for s in cut.steps()] == [s.step for s in whole.steps()]
        assert [s.accepted for s in cut.steps()] == [s.accepted for s in whole.steps()]
