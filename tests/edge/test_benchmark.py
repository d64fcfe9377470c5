"""The AKPERL study: its statistics beside other implementations, its trials, its page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.akperl.cases import (
    BASELINES,
    CASES,
    COMPARED,
    FIRST,
    METHODS,
    RIVALS,
    SMALL,
    SWEEP,
    trial,
)
from benchmarks.akperl.page import (
    RESULTS_FILE,
    ablations,
    comparisons,
    draw_accuracy,
    draw_learning,
    lines,
    networks,
    page,
    shown,
    variance,
    verdicts,
)
from benchmarks.akperl.study import Job, Point, Results, Run, jobs, summary
from benchmarks.report import RESULTS, facts
from benchmarks.statistics import analysis_of_variance, compare, hedges_g, holm, line
from rfprune.spec import SweepSpec
from rfprune.spec.yaml_files import parse_spec, read_yaml
from rfprune.study.expand import expand


def drawn(seed: int, n: int = 6, shift: float = 0.0, scale: float = 1.0) -> np.ndarray:
    return shift + scale * np.random.default_rng(seed).standard_normal(n)


def test_welch_is_that_of_statsmodels() -> None:
    weighted = pytest.importorskip(
        "statsmodels.stats.weightstats", reason="the package statsmodels is not installed"
    )
    a, b = drawn(0, shift=1.0), drawn(1, scale=3.0)
    found = compare(a, b)
    both = weighted.CompareMeans.from_data(a, b)
    assert found["p_welch"] == pytest.approx(both.ttest_ind(usevar="unequal")[1])
    low, high = both.tconfint_diff(usevar="unequal")
    assert (found["low"], found["high"]) == pytest.approx((low, high))
    assert found["p_paired"] == pytest.approx(weighted.DescrStatsW(a - b).ttest_mean(0)[1])


def test_the_analysis_of_variance_is_that_of_statsmodels() -> None:
    oneway = pytest.importorskip(
        "statsmodels.stats.oneway", reason="the package statsmodels is not installed"
    )
    groups = {"a": drawn(0), "b": drawn(1, shift=0.5), "c": drawn(2, shift=1.5)}
    found = analysis_of_variance(groups)
    theirs = oneway.anova_oneway(list(groups.values()), use_var="equal")
    assert found["F"] == pytest.approx(theirs.statistic)
    assert found["p"] == pytest.approx(theirs.pvalue)
    assert found["df"] == (2, 15)
    # Of F and its degrees of freedom, too: SS_between / SS_total.
    assert found["eta_squared"] == pytest.approx(2 * found["F"] / (2 * found["F"] + 15))


def test_a_line_is_that_of_statsmodels() -> None:
    api = pytest.importorskip("statsmodels.api", reason="the package statsmodels is not installed")
    x = drawn(0, 20)
    y = 2 * x + drawn(1, 20)
    found = line(x, y)
    theirs = api.OLS(y, api.add_constant(x)).fit()
    assert found["slope"] == pytest.approx(theirs.params[1])
    assert (found["low"], found["high"]) == pytest.approx(tuple(theirs.conf_int()[1]))
    assert (found["p"], found["r_squared"]) == pytest.approx((theirs.pvalues[1], theirs.rsquared))


def test_effect_sizes_by_hand() -> None:
    # Means 3 and 1, both variances 1: d = 2, J = 1 - 3 / 15 for 3 + 3 values.
    g, low, high = hedges_g(np.array([2.0, 3.0, 4.0]), np.array([0.0, 1.0, 2.0]))
    assert g == pytest.approx(1.6)
    half = 1.959964 * (6 / 9 + 1.6**2 / 12) ** 0.5
    assert (low, high) == pytest.approx((1.6 - half, 1.6 + half))


def test_values_that_do_not_vary_have_no_effect_size() -> None:
    same = compare([0.5, 0.5], [0.5, 0.5])
    assert (same["p_welch"], same["p_paired"], same["g"]) == (1.0, 1.0, None)
    apart = compare([0.6, 0.6], [0.5, 0.5])
    assert (apart["p_welch"], apart["p_paired"], apart["g"]) == (0.0, 0.0, None)


def test_the_first_case_is_the_grid_of_the_sweep() -> None:
    spec = parse_spec(SweepSpec, read_yaml(SWEEP), str(SWEEP))
    space = expand(spec, {})
    swept = {space.resolve(spec, values).key for values in space.points()}
    ours = {trial(FIRST, m, seed).key for m in METHODS if m != "none" for seed in range(5)}
    assert swept == ours
    assert spec.trials == len(swept)


def test_every_case_is_a_trial_of_its_own() -> None:
    every = list(jobs(list(CASES), range(2)))
    keys = {trial(job.case, job.method, job.seed).key for job in every}
    dense = [job for job in every if job.method == "none"]
    # The dense network of a case with another budget is listed, and has another key, too.
    assert len(keys) == len(every)
    assert len(dense) == 2 * len([*COMPARED, *SMALL])
    of_photos = [job for job in every if job.seed == 0 and job.case not in SMALL]
    assert {trial(*job).dense_key for job in of_photos} == {trial(FIRST, "none", 0).dense_key}
    for case in SMALL:
        assert len({trial(case, method, 0).dense_key for method in CASES[case].methods}) == 1


def point(step: int, accuracy: float, energy_mj: float, pruned: float, kept: list[int]) -> Point:
    known = {"inference_ms": energy_mj / 6, "power_mw": 1e4 * energy_mj, "kernel_sparsity": pruned}
    scores = {"accuracy": accuracy, "val_accuracy": accuracy}
    return Point(step=step, **scores, energy_mj=energy_mj, **known, kept=kept)


def made(case: str, method: str, seed: int, accuracy: float) -> Run:
    pruned = 0.0 if method == "none" else 0.5 + seed / 100
    dense, last = point(0, 0.6, 2.0, 0.0, [4, 4]), point(1, accuracy, 0.3, pruned, [2, 2])
    return Run(
        case=case,
        method=method,
        seed=seed,
        key=trial(case, method, seed).key,
        points=[dense] if method == "none" else [dense, last],
        measured_ms=1.0 - pruned,
        seconds=10.0,
        learning=[(5, None, -0.2), (10, 1.0 + seed, -0.1)] if method == "akperl" else [],
    )


def study() -> Results:
    known = facts(["torch"], seed=0)
    results = Results(facts=known, small_facts=known)
    level = {"none": 0.6, "akperl": 0.55, "knapsack": 0.5, "magnitude": 0.4, "l1": 0.4}
    for case in CASES:
        for method in CASES[case].methods:
            for seed in range(4):
                accuracy = level.get(method, 0.45) + float(drawn(seed + len(method), 1)[0]) / 100
                results.add(made(case, method, seed, accuracy))
    return results


def test_results_are_kept_and_only_what_lacks_is_run(tmp_path: Path) -> None:
    results, path = study(), tmp_path / "results.json"
    results.write(path)
    again = Results.read(path)
    assert again == results
    assert again.has(Job(FIRST, "l1", 3))
    assert not again.has(Job(FIRST, "l1", 4))
    newer = made(FIRST, "l1", 3, 0.9)
    again.add(newer)
    assert len(again.runs) == len(results.runs)
    assert newer in again.runs


def test_the_published_page_is_what_the_kept_results_say() -> None:
    published = (RESULTS / "akperl.md").read_text(encoding="utf-8")
    assert page(Results.read(RESULTS_FILE)) == published


def test_comparisons_correct_within_their_families() -> None:
    results = study()
    rows = comparisons(results)
    assert [row["against"] for row in rows] == list(BASELINES) * 4
    for means in (True, False):
        named = [row for row in rows if row["family"] == (means, True)]
        assert [row["against"] for row in named] == ["magnitude", "l1"] * (1 if means else 3)
        assert [r["holm_welch"] for r in named] == holm([r["p_welch"] for r in named])
        assert [r["holm_paired"] for r in named] == holm([r["p_paired"] for r in named])


def test_the_small_cases_are_compared_with_every_rival() -> None:
    rows = comparisons(study(), SMALL)
    assert [row["against"] for row in rows] == [*BASELINES, *RIVALS] * 3
    named = [row for row in rows if row["family"] == (False, True)]
    assert [row["against"] for row in named] == ["magnitude", "l1", "random search"] * 2
    assert [r["holm_paired"] for r in named] == holm([r["p_paired"] for r in named])
    assert len(list(networks(study(), SMALL))) == 2 * len([*METHODS, *RIVALS])


def test_the_mean_of_all_cases_takes_a_seed_once() -> None:
    results = study()
    first, *_ = comparisons(results)
    ours, theirs = (
        [
            100
            * np.mean(
                [
                    r.last.accuracy
                    for r in results.runs
                    if r.case in COMPARED and (r.method, r.seed) == (method, seed)
                ]
            )
            for seed in range(4)
        ]
        for method in ("akperl", "magnitude")
    )
    expected = compare(ours, theirs)
    assert (first["n"], first["mean"]) == (4, pytest.approx(expected["mean"]))
    assert first["p_paired"] == pytest.approx(expected["p_paired"])


def row(**changes: Any) -> dict[str, Any]:
    tests = {"p_welch": 0.0123, "p_paired": 0.2, "holm_welch": 0.0246, "holm_paired": 0.4}
    effect = {"mean": 2.345, "low": 1.0, "high": 3.69, "g": 1.234, "g_low": 0.1, "g_high": 2.4}
    return {"case": "half", "against": "l1", "n": 5} | tests | effect | changes


def test_a_comparison_is_shown_as_it_is() -> None:
    assert shown(row()) == {
        "case": "half",
        "against": "l1",
        "seeds": 5,
        "better by (points)": "+2.35 [+1.00, +3.69]",
        "Hedges' g": "1.23 [0.10, 2.40]",
        "p Welch": "**0.012**",
        "Holm (Welch)": "**0.025**",
        "p paired": "0.2",
        "Holm (paired)": "0.4",
    }


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "better than l1 by 2.3 points, p < 0.05 by Welch's test, not by the paired one"),
        ({"holm_welch": 0.05}, "better than l1 by 2.3 points, not significant"),
        ({"mean": -1.0, "holm_paired": 0.01}, "worse than l1 by 1.0 points, p < 0.05 by Welch's"),
    ],
)
def test_a_verdict_says_what_the_tests_say(changes: dict[str, Any], sentence: str) -> None:
    (found,) = verdicts([row(**changes)])
    assert found.startswith(f"- half: AKPERL is {sentence}")


def test_the_page_holds_every_part() -> None:
    results = study()
    results.streams = [
        {"seed": seed, "accuracy": 0.5 + seed / 100, "power_mw": 4000.0, "over": 0.0}
        | {"static_accuracy": static, "static_over": 0.25}
        for seed, static in enumerate((0.45, 0.44, 0.46))
    ]
    text = page(results)
    for part in (
        f"| {FIRST} | akperl | 4 |",
        "kernels pruned %",
        "AKPERL is better than magnitude",
        f"| {SMALL[0]} | random search | 4 |",
        "| no monitor | 4 |",
        "Adaptive less static: +6.00 points",
        "## Learning",
    ):
        assert part in text
    assert len(list(networks(results))) == 3 * len(METHODS)
    assert [r["variant"] for r in ablations(results)][:2] == ["as shipped", "no monitor"]
    assert {r["degrees of freedom"] for r in variance(results)} == {"4, 15"}
    fitted = {(r["networks"], r["quantity"]): r for r in lines(results)}
    measured = fitted["akperl", "time here (ms, measured)"]
    assert measured["per 10 % of the kernels"] == "-0.1 [-0.1, -0.1]"
    assert (measured["n"], measured["R²"]) == (16, pytest.approx(1.0))


def test_plots_are_drawn(tmp_path: Path) -> None:
    results = study()
    draw_accuracy(results, tmp_path / "a.png")
    draw_learning(list(results.of(FIRST, "akperl").values()), tmp_path / "l.png")
    assert all((tmp_path / name).stat().st_size > 5_000 for name in ("a.png", "l.png"))


def test_the_static_network_draws_what_the_adaptive_one_does() -> None:
    rows = [
        {"accuracy": 0.9, "power_mw": 300.0, "budget_mw": 300.0, "accuracy_of_levels": [0.8, 0.4]},
        {"accuracy": 0.5, "power_mw": 100.0, "budget_mw": 100.0, "accuracy_of_levels": [0.6, 0.4]},
    ]
    found = summary(rows, np.array([300.0, 100.0]))
    assert found["power_mw"] == 200.0
    assert found["static_accuracy"] == pytest.approx((0.7 + 0.4) / 2)
    assert (found["over"], found["static_over"]) == (0.0, 0.25)
