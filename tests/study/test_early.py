"""Early ends: the rule alone, in a study, after a crash, and with Ray Tune."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import TrialState

from rfprune.api.progress import Display
from rfprune.errors import SpecError
from rfprune.execution.drive import run_sweep
from rfprune.execution.worker import StoppedError, execute
from rfprune.results import StepRecord, SweepFolder, read_front
from rfprune.spec import EarlyStopSpec
from rfprune.study import StudyCounts, SweepEvent, expand, read_study
from rfprune.study.halving import Halving
from rfprune.study.rebuild import rebuild_study
from rfprune.study.record import Ended, TrialJob
from rfprune.study.trials import DOMINATED, PAUSED, UNREACHABLE, count_trials

HERE = Path(__file__).parent
LAYERS = {"fc1": (16, 64), "fc2": (64, 32), "fc3": (32, 5)}
OBJECTIVES = {"val_accuracy": "max", "dsp": "min"}
RULE = {"first_step": 1, "factor": 2, "margin": 0.05}
#: Quick trials trade accuracy for DSPs; by accuracy alone some are clearly behind.
SHARP = {"early_stop": RULE, "objectives": {"val_accuracy": "max"}}
Maker = Callable[..., Any]


def rung(*points: tuple[float, float], **options: float) -> Halving:
    """Return a rule that has seen points of (val_accuracy, dsp) at step 1."""
    halving = Halving(EarlyStopSpec.model_validate({**RULE, **options}), OBJECTIVES)
    for trial, (accuracy, dsp) in enumerate(points):
        halving.add(trial, 1, {"val_accuracy": accuracy, "dsp": dsp})
    return halving


def test_what_is_clearly_dominated_ends() -> None:
    halving = rung((0.9, 10), (0.8, 5), (0.95, 20), (0.7, 30))
    why = halving.verdict(3, 1)
    assert why == (
        "at step 1 trial 0 is better in every objective, and 3 of 4 trials rank ahead of it"
    )
    assert [halving.verdict(trial, 1) for trial in (0, 1, 2)] == ["", "", ""]


@pytest.mark.parametrize(
    ("points", "options"),
    [
        (((0.9, 10), (0.8, 5), (0.7, 30)), {}),  # too few to compare
        (((0.9, 10), (0.8, 5), (0.95, 20), (0.7, 30)), {"margin": 1.0}),  # nobody leads so far
        (((0.9, 10), (0.9, 10), (0.9, 10), (0.9, 10)), {}),  # all the same
        (((0.90, 10), (0.899, 9), (0.5, 100), (0.895, 11)), {}),  # within the margin
    ],
)
def test_the_last_one_goes_on(points: tuple[tuple[float, float], ...], options: Any) -> None:
    assert rung(*points, **options).verdict(len(points) - 1, 1) == ""


def test_rungs_are_powers_of_the_factor() -> None:
    halving = Halving(EarlyStopSpec(first_step=2, factor=3, margin=0.0), OBJECTIVES)
    for step in range(20):
        for trial in range(8):
            halving.add(trial, step, {"val_accuracy": -trial, "dsp": trial})
    assert [step for step in range(20) if halving.verdict(7, step)] == [2, 6, 18]


def test_an_unknown_objective_is_not_compared() -> None:
    halving = rung(*[(0.9, 10)] * 5)
    halving.add(9, 1, {"val_accuracy": 0.1, "dsp": None})
    halving.add(10, 1, {"val_accuracy": float("nan"), "dsp": 99})
    assert halving.verdict(9, 1) == halving.verdict(10, 1) == ""


@given(st.integers(0, 2**32), st.integers(4, 30), st.sampled_from([2, 3, 4]))
def test_the_front_of_a_rung_and_its_best_part_go_on(seed: int, n: int, factor: int) -> None:
    rng = np.random.default_rng(seed)
    points = [(float(a), float(d)) for a, d in rng.integers(0, 6, (n, 2))]
    halving = rung(*points, factor=factor)
    ended = [trial for trial in range(n) if halving.verdict(trial, 1)]
    for trial in ended:
        accuracy, dsp = points[trial]
        assert any(a >= accuracy and d <= dsp and (a, d) != points[trial] for a, d in points)
    assert len(ended) <= n - n // factor


class Judged:
    """Runs jobs of a record in this process and obeys its verdicts."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def work(self, job: TrialJob) -> Ended:
        record, verdict = self.driver.record, ""

        def on_step(step: StepRecord) -> None:
            nonlocal verdict
            facts = {**step.metrics(), "step": step.step, "accepted": step.accepted}
            verdict = record.judge(job.number, facts)
            if verdict:
                raise StoppedError

        try:
            ended = execute(self.driver.context, job.folder, job.attempt, on_step)
        except StoppedError:
            ended = Ended(record.early_end, verdict)
        return record.finish(job.number, ended)

    def run(self) -> None:
        while not self.driver.record.finished:
            job = self.driver.record.ask()
            if job is not None:
                self.work(job)


def test_an_early_end_is_told_as_what_it_is(make_spec: Maker, inline: Maker) -> None:
    spec = make_spec(trials=30, prune={"steps": 4}, **SHARP, sampler={"name": "tpe"})
    driver = inline(spec)
    Judged(driver).run()
    counts = count_trials(driver.study)
    assert counts.done == counts.complete + counts.dominated == 30
    assert counts.dominated > 0
    assert counts.failed == counts.running == 0
    for trial in driver.study.trials:
        if trial.state != TrialState.PRUNED:
            continue
        assert trial.values is None
        assert trial.intermediate_values == {}
        assert trial.user_attrs["reason"] == DOMINATED
        folder = driver.folder.trial(trial.user_attrs["folder"])
        steps, result = folder.steps(), folder.result()
        assert result.state == "stopped"
        assert result.stopped == DOMINATED
        assert result.error == trial.user_attrs["error"]
        assert result.final_step == steps[-1].step < 4
        last = trial.user_attrs["steps"][str(result.final_step)]
        assert last == {"val_accuracy": steps[-1].values["val_accuracy"]}
    front = read_front(driver.folder)
    assert front.counts.stopped == counts.dominated
    assert front.counts.complete == counts.complete
    n_steps = sum(len(trial.steps()) for trial in driver.folder.trials())
    assert len(front.view.candidates) == n_steps


def test_the_next_driver_judges_as_this_one_would_have(make_spec: Maker, inline: Maker) -> None:
    spec = make_spec(trials=12, prune={"steps": 4}, **SHARP)
    driver = inline(spec)
    Judged(driver).run()
    later = inline(spec.model_copy(update={"trials": 14}))
    for trial in later.folder.trials():
        for step in trial.steps():
            seen = driver.record._halving.verdict(trial.number, step.step)
            assert later.record._halving.verdict(trial.number, step.step) == seen


PROMOTING = {"early_stop": {"first_step": 1, "factor": 2, "promote": True}}


def _seen(driver: Any) -> dict[int, list[int]]:
    """Return the steps of each trial, by its folder."""
    return {trial.number: [step.step for step in trial.steps()] for trial in driver.folder.trials()}


def test_trials_pause_at_rungs_and_the_best_continue(make_spec: Maker, inline: Maker) -> None:
    spec = make_spec(trials=16, prune={"steps": 4}, **PROMOTING)
    driver = inline(spec)
    Judged(driver).run()
    counts = count_trials(driver.study)
    assert counts.done == counts.complete + counts.paused == 16
    assert counts == driver.record.counts
    assert counts.failed == counts.running == counts.waiting == counts.dominated == 0
    seen = _seen(driver)
    # At least half of each rung: one that was promoted may be overtaken. No step is run twice.
    last = [steps[-1] for steps in seen.values()]
    assert 8 <= sum(step > 1 for step in last) < 16
    assert 4 <= last.count(4) == counts.complete < 12
    assert all(steps == list(range(len(steps))) for steps in seen.values())
    for trial in driver.folder.trials():
        result = trial.result()
        assert (result.state == "complete") == (seen[trial.number][-1] == 4)
        assert result.stopped == ("quick" if result.state == "complete" else PAUSED)


def test_promotion_is_by_rank_and_thins_a_front() -> None:
    points = [(0.9, 10), (0.91, 11), (0.95, 30), (0.89, 9.9), (0.5, 40), (0.6, 50)]
    halving = rung(*points, promote=True)
    best = [trial for trial in range(6) if halving.advances(trial, 1)]
    # Of the four of the front both ends, and of the two in the middle that are nearly the same one.
    assert best in ([0, 2, 3], [1, 2, 3])


@pytest.mark.parametrize("kept", [3, 7, 12, 20])
def test_the_next_driver_promotes_what_the_last_one_had_not(
    make_spec: Maker, inline: Maker, kept: int
) -> None:
    spec = make_spec(trials=12, prune={"steps": 4}, **PROMOTING)
    cut = inline(spec)
    judged = Judged(cut)
    for _ in range(kept):
        if (job := cut.record.ask()) is not None:
            judged.work(job)
    # Cut off in the middle of a trial, perhaps of one that was promoted.
    cut.record.ask()
    later = inline(spec, cut.folder.path.parent)
    Judged(later).run()
    counts = count_trials(later.study)
    assert counts == later.record.counts
    assert (counts.done, counts.running, counts.waiting) == (12, 0, 0)
    seen = _seen(later)
    assert all(steps == list(range(len(steps))) for steps in seen.values())
    assert len(seen) == 12
    assert sum(steps[-1] >= 2 for steps in seen.values()) >= 6


def test_a_study_that_is_made_again_still_promotes(make_spec: Maker, inline: Maker) -> None:
    spec = make_spec(trials=8, prune={"steps": 4}, **PROMOTING)
    driver = inline(spec)
    Judged(driver).run()
    before = _seen(driver)
    driver.folder.study_path.unlink()
    rebuild_study(spec, driver.folder, expand(spec, LAYERS))
    again = inline(spec.model_copy(update={"trials": 16}))
    assert again.record.counts.paused == sum(steps[-1] < 4 for steps in before.values())
    Judged(again).run()
    after = _seen(again)
    assert sum(after[n][-1] > before[n][-1] for n in before) > 0


def test_a_crash_between_folder_and_study_repeats_nothing(make_spec: Maker, inline: Maker) -> None:
    spec = make_spec(trials=14, prune={"steps": 4}, **SHARP)
    driver = inline(spec)
    judged = Judged(driver)
    while True:
        job = driver.ask()
        driver.record.study.tell = lambda *args, **kwargs: None  # the study never hears of it
        ended = judged.work(job)
        del driver.record.study.tell
        if ended.reason == DOMINATED:
            break
        driver.study.tell(job.number, [ended.metrics[name] for name in spec.objectives])
    steps = driver.folder.trial(job.folder).steps()
    later = inline(spec)
    again = later.ask()
    assert again.folder == job.folder
    assert later.record.overtaken(again)
    assert Judged(later).work(again).reason == DOMINATED
    assert later.folder.trial(job.folder).steps() == steps
    retried = [t for t in later.study.trials if t.user_attrs.get("folder") == job.folder]
    assert [t.state for t in retried] == [TrialState.FAIL, TrialState.PRUNED]


def test_a_budget_out_of_reach_is_no_failure(make_spec: Maker, inline: Maker) -> None:
    spec = make_spec(trials=4, search={"prune.budget.dsp": {"low": 0.0, "high": 0.9}})
    driver = inline(spec)
    driver.context = type(driver.context)(driver.context.sweep, HERE, "quick_trials:reachable")
    driver.run()
    counts = count_trials(driver.study)
    assert (counts.complete, counts.failed) == (4, 0)
    pruned = [t for t in driver.study.trials if t.state == TrialState.PRUNED]
    assert counts.unreachable == len(pruned) > 0
    result = driver.folder.trial(pruned[0].number).result()
    assert (result.state, result.stopped) == ("stopped", UNREACHABLE)
    assert "cannot be reached" in result.error
    assert "cannot be reached" in pruned[0].user_attrs["error"]


def test_budgets_that_are_all_out_of_reach_end_the_sweep(make_spec: Maker, inline: Maker) -> None:
    spec = make_spec(trials=4, search={"prune.budget.dsp": {"low": 0.0, "high": 0.1}})
    driver = inline(spec)
    driver.context = type(driver.context)(driver.context.sweep, HERE, "quick_trials:reachable")
    driver.run()
    assert driver.record.gave_up == "no pruning can reach the budgets of the last 60 points"


@pytest.mark.usefixtures("ray_session")
def test_tune_stops_trials_and_keeps_their_workers(make_spec: Maker, tmp_path: Path) -> None:
    spec = make_spec(trials=24, prune={"steps": 4}, **SHARP)
    events: list[SweepEvent] = []
    outcome = run_sweep(
        spec,
        SweepFolder(tmp_path / spec.name),
        expand(spec, LAYERS),
        base_dir=HERE,
        trial_function="quick_trials:run",
        progress=events.append,
    )
    counts = outcome.counts
    assert outcome.reached
    assert counts.done == 24
    assert counts.dominated > 0
    assert counts.failed == counts.running == counts.waiting == 0
    stopped = [event for event in events if event.kind == "stopped"]
    assert len(stopped) == counts.dominated
    assert stopped[0].reason.startswith("dominated: at step ")
    folder = SweepFolder(tmp_path / spec.name)
    pids = {line.split()[0] for t in folder.trials() for line in _runs(t.path)}
    assert len(pids) <= 2
    for trial in read_study(folder).trials:
        if trial.state == TrialState.PRUNED:
            result = folder.trial(trial.number).result()
            assert result is not None
            assert result.state == "stopped"
            assert len(folder.trial(trial.number).steps()) == result.final_step + 1  # type: ignore[operator]


def _runs(path: Path) -> list[str]:
    return (path / "runs.txt").read_text().splitlines()


def test_the_display_counts_and_tells(make_spec: Maker) -> None:
    display = Display(make_spec(trials=5))
    one = StudyCounts(complete=1, dominated=1)
    event = SweepEvent("stopped", 7, reason="dominated: at step 2 trial 1 is better", counts=one)
    display(event)
    two = replace(one, unreachable=1)
    reason = "budget unreachable: 3 of 9 dsp cannot be reached"
    display(SweepEvent("stopped", 8, reason=reason, counts=two))
    assert display.counts == two
    assert display.eta_seconds() is not None
    assert display.line(event) == "trial 7 stopped early: dominated: at step 2 trial 1 is better"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"factor": 1}, "early_stop.factor"),
        ({"margins": 0.1}, "margin"),
        ({"first_step": 0}, "early_stop.first_step"),
        ({"margin": -0.1}, "early_stop.margin"),
    ],
)
def test_a_wrong_rule_is_one_sentence(make_spec: Maker, rule: Any, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        make_spec(early_stop=rule)


def test_the_rule_is_off_by_default(make_spec: Maker, inline: Maker) -> None:
    driver = inline(make_spec(trials=3))
    assert driver.spec.early_stop is None
    assert not driver.record.judges
