"""`solve_menu` against every choice, HiGHS and `solve`; what it refuses; a million menus."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfprune.errors import BudgetError, DataError
from rfprune.knapsack import MenuSelection, solve, solve_menu
from rfprune.knapsack.menus import refine as refining

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Problem = tuple[Floats, Floats, Floats, Ints]


def small(seed: int) -> Problem:
    """Return up to six ragged menus of one of several awkward kinds."""
    rng = np.random.default_rng(seed)
    groups, resources = int(rng.integers(0, 7)), int(rng.integers(1, 4))
    sizes = rng.integers(1, 5, groups)
    start = np.append(0, np.cumsum(sizes))
    entries = int(start[-1])
    value = [
        lambda: rng.random(entries),
        lambda: rng.integers(0, 5, entries).astype(float),
        lambda: np.full(entries, rng.random()),
        lambda: 10.0 ** rng.uniform(-12, 12, entries),
        lambda: rng.random(entries) * (rng.random(entries) < 0.3),
    ][rng.integers(5)]()
    shape = (entries, resources)
    cost = [
        lambda: rng.random(shape),
        lambda: rng.integers(0, 5, shape).astype(float),
        lambda: rng.integers(0, 4, shape) * 0.1,
        lambda: rng.random(shape) * 10.0 ** rng.integers(-8, 9),
    ][rng.integers(4)]()
    if rng.random() < 0.6:
        cost[start[:-1]] = 0
    budget = cost.sum(axis=0) * rng.random(resources) * 0.6
    kind = rng.random()
    if kind < 0.25:  # met to the last bit by one choice
        budget = cost[start[:-1] + (rng.random(groups) * sizes).astype(int)].sum(axis=0)
    elif kind < 0.4:
        budget[rng.integers(resources)] = rng.choice([0.0, np.inf])
    return value, cost, budget, start


def every_choice(start: Ints) -> Ints:
    """Return (N, G) all choices."""
    choices = np.zeros((1, 0), dtype=np.int64)
    for first, last in pairwise(start):
        own = np.arange(first, last)
        earlier = np.repeat(choices, len(own), axis=0)
        choices = np.column_stack([earlier, np.tile(own, len(choices))])
    return choices


def best_of_all(problem: Problem, met: Any = lambda choices: True) -> float | None:
    """Return the greatest value of a choice within the budgets, None if there is none."""
    value, cost, budget, start = problem
    choices = every_choice(start)
    near = (cost[choices].sum(axis=1) <= budget * (1 + 1e-12)).all(axis=1) & met(choices)
    choices = choices[near]
    worth = value[choices].sum(axis=1)
    for place in np.argsort(-worth):
        if (cost[choices[place]].sum(axis=0) <= budget).all():
            return float(worth[place])
    return None


def check(found: MenuSelection, problem: Problem) -> None:
    """Every promise of an answer that needs no oracle."""
    value, cost, budget, start = problem
    assert ((start[:-1] <= found.choice) & (found.choice < start[1:])).all()
    assert (cost[found.choice].sum(axis=0) <= budget).all()
    assert found.objective == pytest.approx(value[found.choice].sum(), rel=1e-12)
    assert found.bound >= found.objective
    assert (found.prices >= 0).all()
    # The prices prove the bound by themselves, where a choice is not proven beyond them.
    finite = np.isfinite(budget)
    reduced = value - cost[:, finite] @ found.prices[finite]
    most = np.maximum.reduceat(reduced, start[:-1]).sum() if len(start) > 1 else 0.0
    assert most + found.prices[finite] @ budget[finite] >= found.objective * (1 - 1e-9)


@settings(max_examples=1000)
@given(st.integers(0, 10**9))
def test_small_problems_are_solved_to_the_optimum(seed: int) -> None:
    problem = small(seed)
    best = best_of_all(problem)
    if best is None:
        with pytest.raises(BudgetError, match="budget"):
            solve_menu(*problem)
        return
    found = solve_menu(*problem)
    check(found, problem)
    assert found.objective == pytest.approx(best, rel=1e-12, abs=0)
    assert found.bound >= best
    assert (found.status, found.gap) == ("optimal", 0.0)


def test_the_optimum_when_cbc_does_all_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refining, "_ROUNDS", ())
    for seed in range(30):
        problem = middle(seed, 12)
        best = highs(problem)
        if best is not None:
            assert solve_menu(*problem).objective == pytest.approx(best, rel=1e-7), seed


@settings(max_examples=150)
@given(st.integers(0, 10**9))
def test_floors(seed: int) -> None:
    value, cost, budget, start = small(seed)
    rng = np.random.default_rng(seed)
    groups = len(start) - 1
    layer = rng.integers(0, 2, groups)
    floor = rng.integers(0, 3, 2)
    kept = rng.random(len(value)) < 0.5

    def met(choices: Ints) -> Any:
        counted = kept[choices]
        enough = [counted[:, layer == label].sum(axis=1) >= floor[label] for label in range(2)]
        return np.all(enough, axis=0)

    best = best_of_all((value, cost, budget, start), met)
    options = {"layer": layer, "floor": floor, "kept": kept}
    if best is None:
        with pytest.raises(BudgetError):
            solve_menu(value, cost, budget, start, **options)
        return
    found = solve_menu(value, cost, budget, start, **options)
    check(found, (value, cost, budget, start))
    assert met(found.choice[None]).all()
    assert found.objective == pytest.approx(best, rel=1e-12, abs=0)


@settings(max_examples=50)
@given(st.integers(0, 10**9), st.integers(1, 3))
def test_menus_of_two_entries_are_keep_or_drop(seed: int, resources: int) -> None:
    rng = np.random.default_rng(seed)
    value, cost = rng.random(60), rng.integers(0, 9, (60, resources)).astype(float)
    budget = np.floor(cost.sum(axis=0) * rng.uniform(0.1, 0.9, resources))
    drop, start = np.zeros(60), np.arange(0, 121, 2)
    # Which of the two comes first does not matter.
    first = rng.random(60) < 0.5
    values = np.column_stack([np.where(first, drop, value), np.where(first, value, drop)]).ravel()
    costs = np.stack([cost * ~first[:, None], cost * first[:, None]], axis=1).reshape(120, -1)
    menus, two = solve_menu(values, costs, budget, start), solve(value, cost, budget)
    assert np.array_equal(menus.choice - start[:-1] == first, two.keep)
    assert (menus.objective, menus.bound, menus.gap) == (two.objective, two.bound, two.gap)
    assert np.array_equal(menus.prices, two.prices)


def middle(seed: int, groups: int, kind: int | None = None) -> Problem:
    """Return menus like those of weights (digits and widths), of integers, or of random numbers."""
    rng = np.random.default_rng(seed)
    resources, sizes = int(rng.integers(1, 4)), rng.integers(2, 9, groups)
    start = np.append(0, np.cumsum(sizes))
    entries = int(start[-1])
    kind = int(rng.integers(3)) if kind is None else kind
    if kind == 0:
        value, cost = rng.random(entries), rng.random((entries, resources))
    elif kind == 1:
        value = rng.integers(0, 50, entries).astype(float)
        cost = rng.integers(0, 20, (entries, resources)).astype(float)
    else:
        digits = np.arange(entries) - np.repeat(start[:-1], sizes)
        value = np.repeat(rng.lognormal(size=groups), sizes) * (1 - 4.0**-digits)
        cost = digits[:, None] * np.repeat(rng.integers(1, 12, (groups, resources)), sizes, axis=0)
    least = np.minimum.reduceat(cost, start[:-1], axis=0).sum(axis=0)
    most = np.maximum.reduceat(cost, start[:-1], axis=0).sum(axis=0)
    return value, cost, least + (most - least) * rng.uniform(0.05, 0.6, resources), start


def highs(problem: Problem) -> float | None:
    """Return the optimum that HiGHS proves, None if it proves that there is none."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    value, cost, budget, start = problem
    entries = len(value)
    one = csr_array((np.ones(entries), np.arange(entries), start), shape=(len(start) - 1, entries))
    rows = [LinearConstraint(one, 1, 1), LinearConstraint(cost.T, ub=budget)]
    options = {"mip_rel_gap": 1e-9, "time_limit": 60.0}
    scale = value.max()
    answer = milp(
        -value / scale, constraints=rows, integrality=1, bounds=Bounds(0, 1), options=options
    )
    assert answer.status in (0, 2), answer.message
    return None if answer.status == 2 else float(-answer.fun * scale)


@pytest.mark.parametrize("seed", range(8))
def test_a_few_middle_sized_problems_agree_with_highs(seed: int) -> None:
    agrees_with_highs(seed, 30 + 5 * seed)


@pytest.mark.slow
def test_two_hundred_middle_sized_problems_agree_with_highs() -> None:
    for seed in range(100, 300):
        agrees_with_highs(seed, int(np.random.default_rng(seed).integers(30, 151)))


def agrees_with_highs(seed: int, groups: int) -> None:
    problem = middle(seed, groups)
    best = highs(problem)
    if best is None:
        with pytest.raises(BudgetError):
            solve_menu(*problem)
        return
    found = solve_menu(*problem)
    check(found, problem)
    assert found.status == "optimal", seed
    assert found.objective == pytest.approx(best, rel=1e-7), seed


def test_a_larger_budget_is_never_worse_and_its_price_falls() -> None:
    value, cost, _, start = middle(3, 200, kind=2)
    most = np.maximum.reduceat(cost, start[:-1], axis=0).sum(axis=0)
    least = np.minimum.reduceat(cost, start[:-1], axis=0).sum(axis=0)
    shares = np.linspace(0.2, 1, 9)
    found = [solve_menu(value, cost, least + (most - least) * s, start) for s in shares]
    objectives = [each.objective for each in found]
    assert objectives == sorted(objectives)
    assert found[-1].prices.sum() == 0


def test_equal_input_gives_equal_output() -> None:
    problem = middle(5, 100, kind=2)
    assert np.array_equal(solve_menu(*problem).choice, solve_menu(*problem).choice)


def test_no_groups_and_one_entry_each() -> None:
    found = solve_menu([], np.zeros((0, 2)), [1.0, 2.0], [0])
    assert (len(found.choice), found.objective, found.gap) == (0, 0.0, 0.0)
    found = solve_menu([1.0, 2.0], [1.0, 1.0], [2.0], [0, 1, 2])
    assert found.choice.tolist() == [0, 1]
    assert found.objective == 3.0


def test_one_line_says_what_was_found() -> None:
    found = solve_menu([0, 1, 2, 0, 3, 5], [0, 1, 2, 0, 1, 3], [4], [0, 3, 6])
    assert repr(found) == "MenuSelection(of 2 menus, objective 6, optimal, prices [1])"


COST = [[0.0, 0.0], [1.0, 2.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, -1, 0], COST, [1, 1], [0, 2, 3]), r"value\[1\] is -1\.0; allowed are finite"),
        (([0, np.nan, 0], COST, [1, 1], [0, 2, 3]), r"value\[1\] is nan"),
        (([0, 1, 0], [[0, 0], [1, -2], [0, 0]], [1, 1], [0, 2, 3]), r"cost\[1, 1\] is -2\.0"),
        (([0, 1e308, 1e308], COST, [1, 1], [0, 2, 3]), r"with 3 entries allowed are numbers up to"),
        (([[0, 1, 0]], COST, [1, 1], [0, 2, 3]), r"value has shape \(1, 3\); allowed is \(E,\)"),
        (([0, 1], COST, [1, 1], [0, 2]), r"cost has shape \(3, 2\) .* with 2 entries allowed"),
        ((["a", 1, 2], COST, [1, 1], [0, 2, 3]), r"value is not an array of numbers"),
        (([0, 1, 0], COST, [1, 1], [0, 2]), r"start\[1\] is 2; allowed is 3, as value has 3"),
        (([0, 1, 0], COST, [1, 1], [1, 2, 3]), r"start\[0\] is 1; allowed is 0"),
        (([0, 1, 0], COST, [1, 1], [0, 2, 2, 3]), r"start\[2\] is 2 after 2; allowed is more"),
        (([0, 1, 0], COST, [1, 1], [0, 1.5, 3]), r"start\[1\] is 1\.5; allowed are integers"),
        (([0, 1, 0], COST, [1, 1], []), r"start has shape \(0,\); allowed is \(G \+ 1,\)"),
    ],
)
def test_wrong_arrays(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(DataError, match=message):
        solve_menu(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_gap": 1.5}, r"max_gap is 1\.5"),
        ({"max_nodes": -1}, r"max_nodes is -1"),
        ({"floor": [1]}, r"layer is missing"),
        ({"layer": [0, 1], "floor": [1, 1], "kept": [1, 0, 1]}, r"kept has shape \(3,\) and type"),
        ({"layer": [0, 1], "floor": [1, 1], "kept": [True]}, r"kept has shape \(1,\)"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        solve_menu([0, 1, 0], COST, [1, 1], [0, 2, 3], **options)


def test_budgets_that_no_choice_meets() -> None:
    with pytest.raises(BudgetError, match=r"budget\[0\] is 1, but the cheapest entries hold 2 of"):
        solve_menu([1, 2], [2, 3], [1], [0, 2])
    with pytest.raises(BudgetError, match=r"budget\[1\] is nan"):
        solve_menu([0, 1, 0], COST, [1, np.nan], [0, 2, 3])
    with pytest.raises(BudgetError, match=r"floor of layer 0 is 2, but 1 of its groups have"):
        solve_menu([0, 1, 0], COST, [1, 2], [0, 2, 3], layer=[0, 0], floor=[2])
    with pytest.raises(BudgetError, match="no choice meets all budgets at once"):
        solve_menu([1, 1] * 3, [[1, 0], [0, 1]] * 3, [1, 1], [0, 2, 4, 6])


MILLION = """
import json, sys
from pathlib import Path
import numpy as np
from rfprune.knapsack import solve_menu

kind, resources = sys.argv[1], int(sys.argv[2])
rng = np.random.default_rng(0)
groups, entries = 10**6, 8 * 10**6
start = np.arange(0, entries + 1, 8)
value, cost = rng.random(entries), rng.random((entries, resources))
if kind == "digits":
    digits = np.tile(np.arange(8.0), groups)
    value = np.repeat(rng.lognormal(size=groups), 8) * (1 - 4.0**-digits)
    cost = digits[:, None] * np.repeat(rng.integers(1, 12, (groups, resources)), 8, axis=0)
budget = cost.sum(axis=0) / 8 * [0.7, 0.65][:resources]
found = solve_menu(value, cost, budget, start)
peak = 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
held = bool((cost[found.choice].sum(axis=0) <= budget).all())
print(json.dumps({"held": held, "gap": found.gap, "peak": peak}))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak memory is in a file of Linux")
@pytest.mark.parametrize("kind", ["digits", "any numbers"])
@pytest.mark.parametrize("resources", [1, 2])
def test_a_million_menus_of_eight(kind: str, resources: int) -> None:
    # In a process of its own: the peak memory of this one is that of all tests before. And by its
    # status: what a process is said to have used at most begins with what its parent had then.
    command = [sys.executable, "-c", MILLION, kind, str(resources)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert found["held"]
    assert found["gap"] <= 1e-6
    assert found["peak"] <= 2e9
