"""A trial with several seeds: means, spreads, and the first seed's network."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from rfprune.exporting import Request, export
from rfprune.results import StepRecord, TrialFolder
from rfprune.trial.repeats import averaged
from rfprune.trial.run import run_trial
from tests.trial.conftest import small


def record(step: int, score: float, fits: float = 1.0, fraction: float = 0.5) -> StepRecord:
    return StepRecord(
        step=step,
        accepted=True,
        fraction={"dsp": fraction},
        values={"val_accuracy": score, "fits": fits, "power_mw": None},
        errors={"val_accuracy": 0.01},
    )


def test_values_are_means_and_what_must_hold_holds_for_all() -> None:
    (found,) = averaged([record(1, 0.9)], [[record(1, 0.8)], [record(1, 0.7, fits=0.0)]])
    assert found.values == {"val_accuracy": pytest.approx(0.8), "fits": 0.0, "power_mw": None}
    assert found.spread["val_accuracy"] == pytest.approx(0.1)
    assert found.repeats == 3
    assert found.own["val_accuracy"] == 0.9
    assert found.of_its_network().values["val_accuracy"] == 0.9


def test_averaging_twice_changes_nothing() -> None:
    others = [[record(1, 0.8)]]
    once = averaged([record(1, 0.9)], others)
    assert averaged(once, others) == once


def test_steps_at_other_budgets_are_not_mixed() -> None:
    (found,) = averaged([record(1, 0.9)], [[record(1, 0.1, fraction=0.3)], [record(2, 0.1)]])
    assert found.values["val_accuracy"] == 0.9
    assert (found.repeats, found.spread) == (1, {})


def test_a_trial_with_three_seeds(tmp_path: Path) -> None:
    spec = small(repeats=3, data={"name": "digits", "train_rows": 300})
    folder = TrialFolder(tmp_path / "trials" / "0000")
    run_trial(spec, folder, dense_dir=tmp_path / "dense", base_dir=tmp_path)
    seeds = [folder.repeat(number).spec().seed for number in (1, 2)]
    assert seeds == [1, 2]
    steps = folder.steps()
    first = [step.of_its_network() for step in steps]
    others = [folder.repeat(number).steps() for number in (1, 2)]
    assert len({r[0].values["float_val_accuracy"] for r in (first, *others)}) > 1
    own = [steps_of[0].values["val_accuracy"] or 0.0 for steps_of in (first, *others)]
    assert steps[0].repeats == 3
    assert steps[0].values["val_accuracy"] == pytest.approx(statistics.fmean(own))
    assert steps[0].spread["val_accuracy"] == pytest.approx(statistics.stdev(own))
    # The network that is exported is the first seed's, and so are the values beside it.
    exported = export(Request(folder, steps[-1].step, tmp_path / "out", rows=0))
    assert exported.record.values == first[-1].values
