"""Writes the page of the AKPERL study from its results: ``python -m benchmarks.akperl.page``."""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.akperl.cases import (
    BASELINES,
    BETA,
    CASES,
    COMPARED,
    FIRST,
    METHODS,
    RIVALS,
    SMALL,
)
from benchmarks.akperl.study import Results, Run
from benchmarks.drawing import GREY, PALETTE, picture
from benchmarks.report import RESULTS, render, sentence, table
from benchmarks.statistics import analysis_of_variance, compare, holm, line, spread

RESULTS_FILE = RESULTS / "akperl" / "results.json"
#: The baselines that the method has to beat; the others are compared beside them.
NAMED = ("magnitude", "l1", "random search")
_ALL = "mean of all cases"
Row = dict[str, Any]


def p_text(p: float) -> str:
    """Return a p-value as text, bold below 0.05."""
    text = f"{p:.2g}" if p >= 1e-4 else "< 0.0001"
    return f"**{text}**" if p < 0.05 else text


def networks(results: Results, cases: Sequence[str] = COMPARED) -> Iterator[Row]:
    """Yield one row per case and method: the networks in the end."""
    for case, method in product(cases, (*METHODS, *RIVALS)):
        if runs := results.of(case, method).values():
            last = [run.last for run in runs]
            yield {
                "case": case,
                "method": method,
                "seeds": len(runs),
                "accuracy %": spread(100 * p.accuracy for p in last),
                "power mW (estimated)": spread((p.power_mw for p in last), 0),
                "energy mJ (estimated)": spread((p.energy_mj for p in last), 3),
                "time ms (estimated)": spread((p.inference_ms for p in last), 3),
                "time ms here (measured)": spread((r.measured_ms for r in runs), 2),
                "kernels pruned %": spread(100 * p.kernel_sparsity for p in last),
            }


def comparisons(results: Results, of: Sequence[str] = COMPARED) -> list[Row]:
    """Return AKPERL against every baseline at equal budgets, by test accuracy in points.

    First by the mean of a seed over all cases, then case by case. P-values are corrected by Holm's
    method within four families: means and cases, the named baselines and the others.
    """

    def by_seed(cases: list[str], method: str) -> dict[int, float]:
        # A seed's mean test accuracy over the cases in %, for the seeds that have all of them.
        found = [results.of(case, method) for case in cases]
        seeds = set.intersection(*(set(runs) for runs in found))
        return {s: 100 * float(np.mean([runs[s].last.accuracy for runs in found])) for s in seeds}

    rows: list[Row] = []
    cases = [case for case in of if results.of(case, "akperl")]
    others = (*BASELINES, *RIVALS)
    for (name, members), other in product([(_ALL, cases), *((c, [c]) for c in cases)], others):
        ours, theirs = by_seed(members, "akperl"), by_seed(members, other)
        seeds = sorted(ours.keys() & theirs.keys())
        if len(seeds) >= 2:
            found = compare([ours[s] for s in seeds], [theirs[s] for s in seeds])
            family = (name == _ALL, other in NAMED)
            rows.append({"case": name, "against": other, "family": family, **found})
    for family in dict.fromkeys(row["family"] for row in rows):
        own = [row for row in rows if row["family"] == family]
        for test in ("welch", "paired"):
            for row, p in zip(own, holm([row[f"p_{test}"] for row in own]), strict=True):
                row[f"holm_{test}"] = p
    return rows


def shown(row: Row) -> Row:
    """Return a comparison as the page shows it."""
    g = "-" if row["g"] is None else f"{row['g']:.2f} [{row['g_low']:.2f}, {row['g_high']:.2f}]"
    return {
        "case": row["case"],
        "against": row["against"],
        "seeds": row["n"],
        "better by (points)": f"{row['mean']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]",
        "Hedges' g": g,
        "p Welch": p_text(row["p_welch"]),
        "Holm (Welch)": p_text(row["holm_welch"]),
        "p paired": p_text(row["p_paired"]),
        "Holm (paired)": p_text(row["holm_paired"]),
    }


_TESTS = {
    (True, True): "p < 0.05 by Welch's and by the paired test",
    (True, False): "p < 0.05 by Welch's test, not by the paired one",
    (False, True): "p < 0.05 by the paired test, not by Welch's",
    (False, False): "not significant",
}


def verdicts(rows: list[Row]) -> Iterator[str]:
    """Yield one sentence per comparison: what both tests say, corrected."""
    for row in rows:
        if abs(row["mean"]) < 0.05:
            yield f"- {row['case']}: AKPERL is as good as {row['against']}."
            continue
        tests = _TESTS[row["holm_welch"] < 0.05, row["holm_paired"] < 0.05]
        yield (
            f"- {row['case']}: AKPERL is {'better' if row['mean'] > 0 else 'worse'} than "
            f"{row['against']} by {abs(row['mean']):.1f} points, {tests}."
        )


def ablations(results: Results) -> Iterator[Row]:
    """Yield variants of AKPERL against what is shipped, by the seeds that both have."""
    whole = results.of(FIRST, "akperl")
    for case in (FIRST, *(name for name in CASES if name not in COMPARED)):
        runs = results.of(case, "akperl")
        seeds = sorted(runs.keys() & whole.keys())
        if len(seeds) < 2:
            continue
        last = [runs[s].last for s in seeds]
        # As the rewards weigh them.
        traded = [
            p.accuracy - BETA * p.energy_mj / runs[s].points[0].energy_mj
            for p, s in zip(last, seeds, strict=True)
        ]
        row: Row = {
            "variant": "as shipped" if case == FIRST else case,
            "seeds": len(seeds),
            "accuracy %": spread(100 * p.accuracy for p in last),
            "energy mJ": spread((p.energy_mj for p in last), 3),
            "kernels pruned %": spread(100 * p.kernel_sparsity for p in last),
            "accuracy less half the energy share": spread(100 * value for value in traded),
        }
        if case != FIRST:
            found = compare([p.accuracy for p in last], [whole[s].last.accuracy for s in seeds])
            row["difference (points)"] = f"{100 * found['mean']:+.2f}"
            row["p Welch"], row["p paired"] = p_text(found["p_welch"]), p_text(found["p_paired"])
        yield row


def variance(results: Results) -> Iterator[Row]:
    """Yield the analysis of variance over methods, one row per case."""
    for case in COMPARED:
        groups = {
            method: [run.last.accuracy for run in results.of(case, method).values()]
            for method in METHODS
            if method != "none"
        }
        if min(map(len, groups.values())) >= 2:
            found = analysis_of_variance(groups)
            yield {
                "case": case,
                "F": found["F"],
                "degrees of freedom": "{}, {}".format(*found["df"]),
                "p": p_text(found["p"]),
                "eta squared": found["eta_squared"],
            }


def lines(results: Results) -> Iterator[Row]:
    """Yield what 10 % more pruned kernels come to, over all networks and over AKPERL's."""
    # A dense network is the same in every case.
    compared = [run for run in results.runs if run.case in COMPARED]
    unique = [run for run in compared if run.method != "none" or run.case == FIRST]
    for name, methods in (("all methods", METHODS), ("akperl", ("none", "akperl"))):
        runs = [run for run in unique if run.method in methods]
        pruned = [10 * run.last.kernel_sparsity for run in runs]
        for quantity, values in {
            "accuracy (points)": [100 * run.last.accuracy for run in runs],
            "power (mW, estimated)": [run.last.power_mw for run in runs],
            "energy (mJ, estimated)": [run.last.energy_mj for run in runs],
            "time (ms, estimated)": [run.last.inference_ms for run in runs],
            "time here (ms, measured)": [run.measured_ms for run in runs],
        }.items():
            found = line(pruned, values)
            yield {
                "networks": name,
                "quantity": quantity,
                "n": len(runs),
                "per 10 % of the kernels": "{slope:+.3g} [{low:+.3g}, {high:+.3g}]".format(**found),
                "p": p_text(found["p"]),
                "R²": found["r_squared"],
            }


def policies(results: Results) -> Iterator[Row]:
    """Yield how the greedy policy itself does without parts of the state."""
    for case in (FIRST, "no monitor", "no input statistics"):
        best = [
            max(reward for _, _, reward in run.learning if reward is not None)
            for run in results.of(case, "akperl").values()
            if run.learning
        ]
        if best:
            name = "as shipped" if case == FIRST else case
            yield {"variant": name, "seeds": len(best), "reward": spread(best, 4)}


def static(results: Results) -> str:
    """Return how the adaptive model does beside static levels, over all seeds."""
    if len(results.streams) < 2:
        return ""
    ours, theirs = ([x[key] for x in results.streams] for key in ("accuracy", "static_accuracy"))
    found = compare(ours, theirs)
    numbers = (100 * found[name] for name in ("mean", "low", "high"))
    points = "{:+.2f} points [{:+.2f}, {:+.2f}]".format(*numbers)
    welch, paired = p_text(found["p_welch"]), p_text(found["p_paired"])
    return f"Adaptive less static: {points}, p {welch} (Welch), {paired} (paired)."


def page(results: Results) -> str:
    """Return the results as Markdown."""
    seeds, small_seeds = (
        sorted({run.seed for run in results.runs if (run.case in SMALL) == is_small})
        for is_small in (False, True)
    )
    compared, small = comparisons(results), comparisons(results, SMALL)
    return render(
        "akperl",
        facts=sentence({**results.facts, "seed": f"{seeds[0]} to {seeds[-1]}"}),
        small_facts=sentence(
            {**results.small_facts, "seed": f"{small_seeds[0]} to {small_seeds[-1]}"}
        ),
        small_cases=table({"case": case, "what it is": CASES[case].about} for case in SMALL),
        small_networks=table(networks(results, SMALL)),
        small_verdicts="\n".join(verdicts(small)),
        small_tests=table(map(shown, small)),
        networks=table(networks(results)),
        verdicts="\n".join(verdicts(compared)),
        tests=table(map(shown, compared)),
        variance=table(variance(results)),
        lines=table(lines(results)),
        variants=table(
            {"variant": name, "what is changed": case.about}
            for name, case in CASES.items()
            if not case.compared
        ),
        ablations=table(ablations(results)),
        policies=table(policies(results)),
        streams=table(
            {
                "seed": one["seed"],
                "adaptive accuracy %": 100 * one["accuracy"],
                "mean power mW (estimated)": round(one["power_mw"]),
                "static at this power %": 100 * one["static_accuracy"],
                "over the budget: adaptive": one["over"],
                "static": one["static_over"],
            }
            for one in results.streams
        ),
        static=static(results),
    )


def draw_accuracy(results: Results, path: Path) -> None:
    """Draw test accuracy against energy: every seed, and means with standard deviations."""
    panels = list(dict.fromkeys(CASES[case].about for case in COMPARED))
    colors = dict(zip(METHODS, (GREY, *PALETTE), strict=False))
    with picture(path, len(panels)) as axes:
        for axis, title in zip(axes, panels, strict=True):
            cases = [case for case in COMPARED if CASES[case].about == title]
            for index, (method, color) in enumerate(colors.items()):
                # A dense network is the same in every case.
                for case in cases[:1] if method == "none" else cases:
                    last = [run.last for run in results.of(case, method).values()]
                    if not last:
                        continue
                    accuracy = 100 * np.array([point.accuracy for point in last])
                    # Methods are drawn side by side a little, as they have the same energy.
                    energy = 1.025 ** (index - 2.5) * np.mean([point.energy_mj for point in last])
                    deviation = accuracy.std(ddof=1) if len(last) > 1 else 0.0
                    axis.scatter([energy] * len(last), accuracy, s=8, alpha=0.35, color=color, lw=0)
                    look = {"fmt": "o", "capsize": 2, "color": color}
                    label = method if case == cases[0] else None
                    axis.errorbar(energy, accuracy.mean(), deviation, label=label, **look)
            axis.set_title(title, fontsize=10)
            axis.set_xscale("log")
            ticks = (0.25, 0.5, 1.0, 2.0)
            axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.minorticks_off()
            axis.set(xlabel="energy per image (mJ, estimated)", ylabel="test accuracy (%)")
        axes[0].legend(fontsize=8)


def draw_learning(runs: Iterable[Run], path: Path) -> None:
    """Draw the mean largest Q-value and the greedy policy's reward over the episodes, by seed."""
    with picture(path, 2) as (left, right):
        for run in runs:
            episodes, values, rewards = np.array(run.learning, dtype=float).T
            left.plot(episodes, values, lw=1.2, label=f"seed {run.seed}")
            right.plot(episodes, rewards, lw=1.2)
        left.set(xlabel="episode", ylabel="mean largest Q-value\n(spreads of the reward)")
        right.set(xlabel="episode", ylabel="reward of the greedy policy")
        left.legend(fontsize=8)


def main() -> None:
    """Write the page and its plots."""
    parser = argparse.ArgumentParser(description="the page of the AKPERL study")
    parser.add_argument("--results", type=Path, default=RESULTS_FILE)
    parser.add_argument("--out", type=Path, default=RESULTS / "akperl.md")
    given = parser.parse_args()
    results = Results.read(given.results)
    pictures = given.out.with_suffix("")
    draw_accuracy(results, pictures / "accuracy.png")
    draw_learning(results.of(FIRST, "akperl").values(), pictures / "learning.png")
    given.out.write_text(page(results), encoding="utf-8")
    print(f"written: {given.out}")


if __name__ == "__main__":
    main()
