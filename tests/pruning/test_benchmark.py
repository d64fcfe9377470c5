"""The benchmarks of pruning and of one selection."""

from pathlib import Path

import pytest

from benchmarks.pruning.measure import Job, largest, measure, run, summary
from benchmarks.pruning.page import comparison, page
from benchmarks.pruning.tasks import TASKS, Point, Reference, Results, Run, Task
from benchmarks.report import RESULTS, settings
from benchmarks.selection import BUDGETS, select, session_of
from benchmarks.statistics import holm
from rfprune.core.quantities import RESOURCES

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
    monkeypatch.setitem(TASKS, "digits", DIGITS)


def test_every_task_is_a_valid_trial() -> None:
    for name, task in TASKS.items():
        keys = {task.trial(case, m, 0).key for case in task.cases for m in task.methods}
        assert len(keys) == len(task.cases) * len(task.methods), name


def test_the_published_page_is_what_the_kept_results_say() -> None:
    names = ("jets", "jets_levers", "jets_mixed", "fashion_mnist", "fashion_mnist_bram")
    made = page([RESULTS / "pruning" / f"{name}.json" for name in names])
    assert made == (RESULTS / "pruning.md").read_text(encoding="utf-8")


def test_settings_change_what_they_name_and_nothing_else() -> None:
    base = {"a": {"b": 1, "c": 2}, "d": 3}
    assert settings(base, {"a": {"c": 4}, "e": 5}) == {"a": {"b": 1, "c": 4}, "d": 3, "e": 5}
    assert base == {"a": {"b": 1, "c": 2}, "d": 3}


def test_the_way_back_stays_between_the_bar_and_the_step_that_missed_it(tmp_path: Path) -> None:
    bar = 0.88
    found = run(Job(DIGITS, "4", "knapsack", 0, bar, str(tmp_path)))
    steps = [point.step for point in found.points]
    turn = next(i for i in range(1, len(steps)) if steps[i] <= steps[i - 1])
    down, back = found.points[:turn], found.points[turn:]
    good = max(i for i, p in enumerate(down) if p.val_accuracy >= bar)
    assert back[0].step == down[good + 1].step + 1
    assert all(down[good].multipliers <= p.multipliers for p in back)
    best = largest(found, "multipliers", bar)
    assert best is not None
    assert best.multipliers >= down[good].multipliers


def made(method: str, seed: int, accuracy: float, case: str = "4") -> Run:
    gone = {"multipliers": 0.8, "dsp": 0.8, "bram18": 0.8}
    points = [Point(step=1, **gone, val_accuracy=accuracy, accuracy=accuracy)]
    named = {"case": case, "method": method, "seed": seed}
    return Run(**named, key=DIGITS.trial(**named).key, points=points, cpu_seconds=1.0)


def trained(case: str, seed: int) -> Reference:
    known = {"val_accuracy": 0.9, "accuracy": 0.9, "dense_cpu_seconds": 1.0}
    return Reference(seed=seed, key=DIGITS.reference_key(case, seed), **known)


def test_results_are_kept_and_only_what_lacks_is_run(tmp_path: Path) -> None:
    path = tmp_path / "digits.json"
    results = Results.read(path, task="digits")
    results.add(trained("4", 0), path)
    results.add(made("knapsack", 0, 0.8), path)
    results.add(made("knapsack", 0, 0.85), path)
    again = Results.read(path, task="digits")
    assert [r.points[0].accuracy for r in again.runs] == [0.85]
    assert again.references == results.references
    measure(again, path, range(1), ["4"], ["knapsack"], 1)
    assert again == results
    measure(again, path, range(1), ["4"], ["knapsack", "uniform"], 1)
    assert [r.method for r in Results.read(path, task="digits").runs] == ["knapsack", "uniform"]
    assert [row["method"] for row in summary(again)] == ["knapsack", "uniform"]


def test_hardware_alone_does_not_ask_for_another_reference() -> None:
    assert DIGITS.reference_key("4", 0) == DIGITS.reference_key("8", 0)
    assert DIGITS.reference_key("4", 0) != DIGITS.reference_key("4", 1)


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


@pytest.mark.parametrize("resources", [1, 2])
def test_a_selection_keeps_what_its_budgets_allow(resources: int) -> None:
    session = session_of(2_000, resources)
    assert set(select(session)) == {"score", "solve", "mask"}
    used = dict(
        zip(RESOURCES, session.prunable.used(session.select(1, 1.0).keep).tolist(), strict=True)
    )
    for name, share in BUDGETS[resources].items():
        assert used[name] <= share * session.prunable.dense[name]
        assert used[name] > 0.9 * share * session.prunable.dense[name]
