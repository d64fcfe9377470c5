"""The pruning benchmark: its statistics, its file, and the way back to the bar."""

from pathlib import Path

import pytest

from benchmarks.pruning import measure, tasks
from benchmarks.pruning.compare import comparison, holm
from benchmarks.pruning.measure import (
    Job,
    Point,
    Reference,
    Results,
    Run,
    largest,
    reference_key,
    run,
    trial,
)
from benchmarks.pruning.tasks import Task, settings

DIGITS = Task(
    spec={
        "model": {"name": "mlp", "args": {"hidden": [16]}},
        "data": {"name": "digits", "train_rows": 600},
        "hardware": {"reuse_factor": 4},
        "train": {"epochs": 8, "batch_size": 64, "learning_rate": 1e-2, "device": "cpu"},
        "prune": {
            "budget": {"dsp": 0.05},
            "steps": 6,
            "epochs_per_step": 2,
            "tolerance": 0.9,
            "patience": 9,
        },
    },
    cases={"4": {}, "8": {"hardware": {"reuse_factor": 8}}},
    further_epochs=4,
)


@pytest.fixture(autouse=True)
def _task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tasks.TASKS, "digits", DIGITS)


def test_every_task_is_a_valid_trial() -> None:
    for name, task in measure.TASKS.items():
        keys = {trial(task, case, m, 0).key for case in task.cases for m in task.methods}
        assert len(keys) == len(task.cases) * len(task.methods), name


def test_settings_change_what_they_name_and_nothing_else() -> None:
    base = {"a": {"b": 1, "c": 2}, "d": 3}
    assert settings(base, {"a": {"c": 4}, "e": 5}) == {"a": {"b": 1, "c": 4}, "d": 3, "e": 5}
    assert base == {"a": {"b": 1, "c": 2}, "d": 3}


def test_the_way_back_stays_between_the_bar_and_the_step_that_missed_it(tmp_path: Path) -> None:
    bar = 0.88
    found = run(Job("digits", "4", "knapsack", 0, bar, str(tmp_path)))
    steps = [point.step for point in found.points]
    turn = next(i for i in range(1, len(steps)) if steps[i] <= steps[i - 1])
    down, back = found.points[:turn], found.points[turn:]
    good = max(i for i, p in enumerate(down) if p.val_accuracy >= bar)
    assert back[0].step == down[good + 1].step + 1
    assert all(down[good].multipliers <= p.multipliers for p in back)
    best = largest([found], "multipliers", bar)[0]
    assert best is not None
    assert best.multipliers >= down[good].multipliers


def made(method: str, seed: int, accuracy: float, case: str = "4") -> Run:
    key = trial(DIGITS, case, method, seed).key
    return Run(case, method, seed, key, [Point(1, 0.8, 0.8, 0.8, accuracy, accuracy)], 1.0)


def test_results_are_kept_and_only_what_lacks_is_run(tmp_path: Path) -> None:
    path = tmp_path / "digits.json"
    results = Results("digits", path)
    results.add(Reference(0, "k", 0.9, 0.9, 1.0))
    results.add(made("knapsack", 0, 0.8))
    results.add(made("knapsack", 0, 0.85))
    again = Results("digits", path)
    assert [r.points[0].accuracy for r in again.runs] == [0.85]
    assert again.references == results.references
    assert again.has(Job("digits", "4", "knapsack", 0, 0.5, ""))
    assert not again.has(Job("digits", "4", "knapsack", 1, 0.5, ""))
    assert not again.has(Job("digits", "8", "knapsack", 0, 0.5, ""))


def test_hardware_alone_does_not_ask_for_another_reference() -> None:
    asked = (("4", 0), ("8", 0), ("4", 1))
    jobs = [Job("digits", case, "none", seed, 0.0, "") for case, seed in asked]
    results = Results("digits", None)
    results.add(Reference(0, reference_key(jobs[0]), 0.9, 0.9, 1.0))
    assert [results.has_reference(job) for job in jobs] == [True, True, False]


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_comparison_pairs_by_seed() -> None:
    runs = [made("knapsack", s, 0.8 + s / 100 + 0.001 * (s % 2)) for s in range(6)]
    runs += [made("greedy", s, 0.7 + s / 100) for s in range(6)]
    runs += [made("uniform", s, runs[s].points[0].accuracy) for s in range(6)]
    rows = {row["against"]: row for row in comparison(runs)}
    assert rows["greedy"]["better_by"] == pytest.approx(0.1005)
    assert rows["greedy"]["p_holm"] < 1e-6
    assert rows["uniform"]["p_holm"] == 1.0
