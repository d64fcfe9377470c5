"""The record without Ray: ends and their reasons, retries, orphans, duplicates, samplers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from rfprune.errors import SpecError
from rfprune.study.expand import expand
from rfprune.study.parameters import Numbers
from rfprune.study.record import check_constraints
from rfprune.study.sampler import choose_sampler, derived_seed, first_points
from rfprune.study.space import Space
from rfprune.study.trials import count_trials, fail

RF = "hardware.layers.{}.reuse_factor".format
SAMPLERS = ["tpe", "nsga2", "nsga3", "qmc", "random"]
SMALL = {
    RF("fc1"): {"choices": [1, 2]},
    "hardware.strategy": {"choices": ["auto", "latency"]},
    "prune.floor": {"low": 1, "high": 3, "when": {"hardware.strategy": "auto"}},
}
SMALL_SIZE = 2 * (3 + 1)

Maker = Callable[..., Any]


def points(driver: Any) -> list[dict[str, Any]]:
    return [t.user_attrs["values"] for t in driver.study.trials if t.state == TrialState.COMPLETE]


def test_a_sweep_ends_with_the_wanted_trials(make_spec: Maker, inline: Maker) -> None:
    driver = inline(make_spec(trials=6)).run()
    counts = count_trials(driver.study)
    assert (counts.complete, counts.failed, counts.running) == (6, 0, 0)
    for trial in driver.study.trials:
        folder = driver.folder.trial(trial.user_attrs["folder"])
        told = folder.step(trial.user_attrs["step"])
        assert trial.values == [told.values["val_accuracy"], told.values["dsp"]]
        assert folder.spec().key == trial.user_attrs["key"]


ENDS = [
    ("raise", "error", "ValueError: the layer is too flat"),
    ("system_exit", "error", "SystemExit: 3"),
    ("nan", "nan", "'val_accuracy' is nan"),
    ("unknown", "missing", "'dsp' is unknown"),
    ("missing", "missing", "NoneType"),
    ("no_step", "missing", "no step 99"),
]


@pytest.mark.parametrize(("fault", "reason", "words"), ENDS)
def test_a_failed_trial_says_why(
    make_spec: Maker, inline: Maker, fault: str, reason: str, words: str
) -> None:
    driver = inline(make_spec(fault=fault))
    job = driver.ask()
    driver.work(job)
    trial = driver.study.trials[0]
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs["reason"] == reason
    assert words in trial.user_attrs["error"]
    folder = driver.folder.trial(0)
    result = folder.result()
    assert result.state == "failed"
    assert words in result.error
    if reason == "error":
        assert "Traceback" in (folder.path / "log.txt").read_text()
    assert len(driver.study.trials) == 1


def test_running_out_of_memory_is_tried_again(make_spec: Maker, inline: Maker) -> None:
    driver = inline(make_spec(fault="memory_once", trials=2, retries=1)).run()
    states = [trial.state.name for trial in driver.study.trials]
    assert Counter(states) == {"COMPLETE": 2, "FAIL": 2}
    assert all(folder.result().state == "complete" for folder in driver.folder.trials())


def test_a_sweep_in_which_all_fails_ends(make_spec: Maker, inline: Maker) -> None:
    driver = inline(make_spec(fault="raise", trials=50)).run()
    assert driver.record.gave_up == "all of the first 5 trials failed"
    assert count_trials(driver.study).failed == 5


def test_a_sweep_in_which_all_die_ends(make_spec: Maker, inline: Maker) -> None:
    driver = inline(make_spec(fault="memory", trials=50, retries=2)).run()
    assert driver.record.gave_up
    assert count_trials(driver.study).failed == 5
    assert len(driver.study.trials) == 15
    assert all(folder.result().state == "failed" for folder in driver.folder.trials())


def test_a_retry_has_the_folder_and_the_spec_of_its_first_attempt(
    make_spec: Maker, inline: Maker
) -> None:
    driver = inline(make_spec(trials=4, retries=2))
    first = driver.ask()
    driver.record.died(first.number, "killed")
    again = driver.ask()
    driver.record.died(again.number, "killed")
    third = driver.ask()
    assert [first.attempt, again.attempt, third.attempt] == [0, 1, 2]
    assert {first.folder, again.folder, third.folder} == {0}
    assert first.spec.key == again.spec.key == third.spec.key
    driver.record.died(third.number, "killed")
    assert driver.folder.trial(0).result().error == "died: killed"
    assert driver.ask().folder != 0


def test_the_failure_of_the_last_trial_still_gets_its_retry(
    make_spec: Maker, inline: Maker
) -> None:
    driver = inline(make_spec(trials=2, retries=1))
    one, two = driver.ask(), driver.ask()
    assert driver.record.ask() is None
    driver.work(one)
    assert driver.record.ask() is None
    assert not driver.record.finished
    driver.record.died(two.number, "killed")
    again = driver.ask()
    assert again.folder == two.folder
    driver.work(again)
    assert driver.record.finished
    assert count_trials(driver.study).complete == 2


def test_a_crash_between_failure_and_retry_loses_nothing(make_spec: Maker, inline: Maker) -> None:
    spec = make_spec(trials=3)
    driver = inline(spec)
    job = driver.ask()
    fail(driver.study, job.number, "died", "killed")
    for _ in range(2):
        driver = inline(spec)
        waiting = driver.study.get_trials(states=(TrialState.WAITING,))
        assert [trial.user_attrs["retry_of"] for trial in waiting] == [job.number]
    driver.run()
    counts = count_trials(driver.study)
    assert (counts.complete, counts.failed, counts.waiting) == (3, 0, 0)


def test_orphans_go_on_in_their_folders(make_spec: Maker, inline: Maker) -> None:
    spec = make_spec(trials=3)
    driver = inline(spec)
    driver.work(driver.ask())
    lost = [driver.ask(), driver.ask()]
    for _ in range(3):  # orphaned again and again: no attempts are used up
        driver = inline(spec)
    assert not driver.study.get_trials(states=(TrialState.RUNNING,))
    driver.run()
    counts = count_trials(driver.study)
    assert (counts.complete, counts.failed, counts.running) == (3, 0, 0)
    assert sorted(folder.number for folder in driver.folder.trials()) == [0, 1, 2]
    keys = [t.user_attrs["key"] for t in driver.study.trials if t.state == TrialState.COMPLETE]
    assert len(set(keys)) == 3
    assert {job.spec.key for job in lost} <= set(keys)


def test_what_a_driver_leaves_behind_has_not_failed(make_spec: Maker, inline: Maker) -> None:
    driver = inline(make_spec(trials=3))
    driver.work(driver.ask())
    driver.ask()
    assert len(driver.record.orphan_live()) == 1
    counts = count_trials(driver.study)
    assert (counts.complete, counts.cut_off, counts.failed) == (1, 1, 0)
    driver = inline(make_spec(trials=3))
    counts = count_trials(driver.study)
    assert (counts.cut_off, counts.waiting) == (0, 1)


def test_an_orphan_whose_result_was_written_is_not_run_again(
    make_spec: Maker, inline: Maker
) -> None:
    from rfprune.execution.worker import execute

    spec = make_spec(trials=1)
    driver = inline(spec)
    job = driver.ask()
    execute(driver.context, job.folder, job.attempt, lambda step: None)
    driver = inline(spec).run()
    assert count_trials(driver.study).complete == 1
    assert len((driver.folder.trial(0).path / "runs.txt").read_text().splitlines()) == 1


def test_an_orphan_between_asked_and_drawn_keeps_what_was_fixed(
    make_spec: Maker, inline: Maker
) -> None:
    spec = make_spec(trials=2, start=[{RF("fc1"): 4}])
    driver = inline(spec)
    driver.study.ask()  # the driver dies before it draws the point
    driver = inline(spec).run()
    assert points(driver)[0][RF("fc1")] == 4
    assert count_trials(driver.study).complete == 2


def test_more_trials_continue_the_study(make_spec: Maker, inline: Maker) -> None:
    inline(make_spec(trials=3)).run()
    assert inline(make_spec(trials=3)).record.finished
    driver = inline(make_spec(trials=5)).run()
    assert len(driver.study.trials) == 5


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_point_is_run_twice_and_a_finite_space_ends(
    make_spec: Maker, inline: Maker, name: str
) -> None:
    spec = make_spec(search=SMALL, trials=50, sampler={"name": name})
    driver = inline(spec).run()
    keys = [t.user_attrs["key"] for t in driver.study.trials if t.state == TrialState.COMPLETE]
    assert len(set(keys)) == len(keys) == SMALL_SIZE
    assert driver.record.exhausted
    counts = count_trials(driver.study)
    assert (counts.complete, counts.failed) == (SMALL_SIZE, 0)
    assert inline(spec).run().record.exhausted


def test_grid_takes_every_point_once_without_duplicates(make_spec: Maker, inline: Maker) -> None:
    spec = make_spec(search=SMALL, trials=5, sampler={"name": "grid"})
    inline(spec).run()
    driver = inline(spec.model_copy(update={"trials": SMALL_SIZE})).run()
    assert len({tuple(sorted(point.items())) for point in points(driver)}) == SMALL_SIZE
    assert count_trials(driver.study).duplicate == 0


@pytest.mark.parametrize("name", [*SAMPLERS, "grid"])
def test_one_worker_and_one_seed_give_one_study(
    make_spec: Maker, inline: Maker, tmp_path: Path, name: str
) -> None:
    def drawn(folder: str, seed: int) -> list[dict[str, Any]]:
        search = {RF("*"): {"valid": True}, "prune.floor": {"low": 1, "high": 9}}
        spec = make_spec(search=search, trials=14, sampler={"name": name, "seed": seed})
        return points(inline(spec, tmp_path / folder).run())

    one, same, other = drawn("one", 3), drawn("same", 3), drawn("other", 4)
    assert one == same
    assert one != other


@pytest.mark.slow
def test_gaussian_process_by_name(make_spec: Maker, inline: Maker) -> None:
    spec = make_spec(trials=13, sampler={"name": "gp"}, constraints=["dsp <= 500"])
    assert count_trials(inline(spec).run().study).complete == 13


def test_a_conditional_space_under_tpe(make_spec: Maker, inline: Maker) -> None:
    search = {
        "hardware.strategy": {"choices": ["latency", "resource_unrolled"]},
        RF("*"): {"valid": True, "low": 2, "when": {"hardware.strategy": "resource_unrolled"}},
        "prune.regularizer.weight": {"low": 1e-6, "high": 1e-2, "log": True},
    }
    driver = inline(make_spec(search=search, trials=20, sampler={"name": "tpe"})).run()
    kinds = Counter((p["hardware.strategy"], RF("fc1") in p) for p in points(driver))
    assert set(kinds) == {("latency", False), ("resource_unrolled", True)}


def test_a_restarted_sampler_does_not_repeat_its_first_points(
    make_spec: Maker, inline: Maker
) -> None:
    search = {"prune.regularizer.weight": {"low": 1e-6, "high": 1e-2, "log": True}}
    for trials in range(2, 9, 2):
        driver = inline(make_spec(search=search, trials=trials)).run()
    assert len({point["prune.regularizer.weight"] for point in points(driver)}) == 8
    assert count_trials(driver.study).duplicate == 0


def test_start_points_come_first(make_spec: Maker, inline: Maker) -> None:
    start = [{RF("*"): 4}, {RF("*"): 1, RF("fc3"): 2}]
    driver = inline(make_spec(trials=4, start=start)).run()
    first, second = points(driver)[:2]
    assert first == {RF("fc1"): 4, RF("fc2"): 4, RF("fc3"): 4}
    assert second == {RF("fc1"): 1, RF("fc2"): 1, RF("fc3"): 2}


def test_the_best_trials_meet_the_constraints(make_spec: Maker, inline: Maker) -> None:
    spec = make_spec(trials=20, constraints=["dsp <= 40", "val_accuracy >= 0.75"])
    driver = inline(spec).run()
    holding = [t.number for t in driver.study.trials if t.values[1] <= 40 and t.values[0] >= 0.75]
    assert 0 < len(holding) < 20
    assert count_trials(driver.study).infeasible == 20 - len(holding)
    assert {trial.number for trial in driver.study.best_trials} <= set(holding)


def test_a_constraint_on_an_unknown_quantity_is_infeasible(make_spec: Maker, inline: Maker) -> None:
    driver = inline(make_spec(trials=2, constraints=["power_mw <= 10"])).run()
    assert count_trials(driver.study).infeasible == 2


@pytest.mark.parametrize("text", ["trial <= 3", "dense == 0"])
def test_constraints_on_what_no_trial_measures(make_spec: Maker, text: str) -> None:
    with pytest.raises(SpecError, match="not measured in a trial"):
        check_constraints(make_spec(constraints=[text]))


THREE = {"val_accuracy": "max", "dsp": "min", "latency_cycles": "min"}
FOUR = {**THREE, "lut": "min"}


@pytest.mark.parametrize(
    ("trials", "objectives", "expected", "words"),
    [
        (24, THREE, "tpe", "3 objectives"),
        (24, {"dsp": "min"}, "tpe", "one objective"),
        (1000, THREE, "nsga2", "more than 400 trials"),
        (1000, FOUR, "nsga3", "more than 3 objectives"),
    ],
)
def test_auto_chooses_and_says_why(
    make_spec: Maker, trials: int, objectives: dict[str, str], expected: str, words: str
) -> None:
    space = Space((Numbers("train.learning_rate", 0.1, 0.2),), {})
    spec = make_spec(trials=trials, objectives=objectives, sampler={"name": "auto"})
    choice = choose_sampler(spec, space)
    assert choice.name == expected
    assert words in choice.reason


def test_auto_takes_the_whole_of_a_small_space(make_spec: Maker) -> None:
    space = Space((Numbers("prune.steps", 1, 5),), {})
    choice = choose_sampler(make_spec(trials=6, sampler={"name": "auto"}), space)
    assert choice == ("grid", "all 5 points of the space fit into 6 trials")


def test_grid_over_a_continuum_is_refused(make_spec: Maker) -> None:
    space = Space((Numbers("train.learning_rate", 0.1, 0.2),), {})
    with pytest.raises(SpecError, match=r"train\.learning_rate .* has no step"):
        choose_sampler(make_spec(sampler={"name": "grid"}), space)


def test_seeds_differ_where_anything_differs() -> None:
    seeds = {derived_seed(a, b) for a in range(5) for b in range(5)}
    assert len(seeds) == 25
    assert derived_seed(1, 2) == derived_seed(1, 2)


def test_auto_begins_with_the_ends_of_reuse_factors_and_budgets(
    make_spec: Maker, inline: Maker
) -> None:
    budget, epochs = "prune.budget.dsp", "train.epochs"
    search = {
        RF("*"): {"valid": True, "low": 2, "high": 8},
        budget: {"low": 0.1, "high": 0.9},
        epochs: {"low": 10, "high": 30, "step": 10},
    }
    spec = make_spec(trials=5, search=search, sampler={"name": "auto"})
    drawn = points(inline(spec).run())
    layers = [RF(layer) for layer in ("fc1", "fc2", "fc3")]
    ends = [(2, 0.1), (2, 0.9), (8, 0.1), (8, 0.9)]
    for point, (reuse, share) in zip(drawn, ends, strict=False):
        assert point == {**dict.fromkeys(layers, reuse), budget: share, epochs: 20}
    assert drawn[4] not in drawn[:4]


def test_a_named_sampler_and_a_grid_begin_where_they_like(make_spec: Maker) -> None:
    search = {"prune.budget.dsp": {"choices": [0.1, 0.5, 0.9]}}
    for name, trials in (("tpe", 2), ("auto", 9)):
        spec = make_spec(search=search, trials=trials, sampler={"name": name})
        space = expand(spec, {"fc1": (16, 64)})
        assert first_points(spec, space, choose_sampler(spec, space)) == []


def test_listed_numbers_have_an_order_and_names_have_none(make_spec: Maker) -> None:
    search = {
        "train.learning_rate": {"choices": [0.1, 0.001, 0.01]},
        "prune.score": {"choices": ["l2", "l1"]},
    }
    numbers, names = expand(make_spec(search=search), {"fc1": (16, 64)}).parameters
    assert (numbers.samples(), numbers.encode(0.1), numbers.kind) == (
        (0.001, 0.01, 0.1),
        2,
        "choices",
    )
    assert (names.samples(), names.encode("l1")) == (("l2", "l1"), "l1")


@pytest.mark.parametrize(
    ("parameter", "middle"),
    [
        (Numbers("train.learning_rate", 1e-4, 1e-2, log=True), 1e-3),
        (Numbers("prune.tolerance", 0.0, 0.4), 0.2),
        (Numbers("prune.steps", 1, 8), 4),
        (Numbers("prune.steps", 2, 12, step=5), 7),
    ],
)
def test_the_middle_of_a_range_can_be_drawn(parameter: Numbers, middle: float) -> None:
    assert parameter.middle() == pytest.approx(middle)
    assert parameter.contains(parameter.middle())
