"""Writes the page of the AKPERL study from its results: ``python -m benchmarks.akperl.page``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.akperl.cases import BASELINES, BETA, CASES, METHODS
from benchmarks.akperl.plots import accuracy_plot, learning_plot
from benchmarks.akperl.statistics import analysis_of_variance, compare, line
from benchmarks.akperl.study import STUDY, Results, Run
from benchmarks.pruning.compare import holm
from benchmarks.report import RESULTS, sentence, table

__all__ = ["ablations", "comparisons", "page"]

PAGE = RESULTS / "akperl.md"
#: The baselines that the method has to beat; the others are compared beside them.
NAMED = ("magnitude", "l1")
_FIRST = next(iter(CASES))
_ALL = "mean of all cases"
_COMPARED = [name for name, case in CASES.items() if case.compared]


def of(results: Results, case: str, method: str) -> dict[int, Run]:
    """Return the runs of a method by seed."""
    return {r.seed: r for r in results.runs if (r.case, r.method) == (case, method)}


def spread(values: Any, scale: float = 1.0, digits: int = 1) -> str:
    """Return mean and standard deviation as text."""
    found = scale * np.asarray(list(values), dtype=float)
    text = f"{found.mean():.{digits}f}"
    return text if len(found) < 2 else f"{text} ± {found.std(ddof=1):.{digits}f}"


def p_text(p: float) -> str:
    """Return a p-value as text, bold below 0.05."""
    text = f"{p:.2g}" if p >= 1e-4 else "< 0.0001"
    return f"**{text}**" if p < 0.05 else text


def main_table(results: Results) -> list[dict[str, Any]]:
    """Return one row per case and method: the networks in the end."""
    rows = []
    for case in _COMPARED:
        for method in METHODS:
            runs = of(results, case, method).values()
            if not runs:
                continue
            last = [run.last for run in runs]
            rows.append(
                {
                    "case": case,
                    "method": method,
                    "seeds": len(runs),
                    "accuracy %": spread((p.accuracy for p in last), 100),
                    "power mW (estimated)": spread((p.power_mw for p in last), 1, 0),
                    "energy mJ (estimated)": spread((p.energy_mj for p in last), 1, 3),
                    "time ms (estimated)": spread((p.inference_ms for p in last), 1, 3),
                    "time ms here (measured)": spread((r.measured_ms for r in runs), 1, 2),
                    "kernels pruned %": spread((p.kernel_sparsity for p in last), 100),
                }
            )
    return rows


def comparisons(results: Results) -> list[dict[str, Any]]:
    """Return AKPERL against every baseline at equal budgets, by test accuracy in points.

    First by the mean of a seed over all cases, then case by case. P-values are corrected by Holm's
    method within four families: means and cases, the named baselines and the others.
    """
    rows: list[dict[str, Any]] = []
    cases = [case for case in _COMPARED if of(results, case, "akperl")]
    for name, members in [(_ALL, cases), *((case, [case]) for case in cases)]:
        for other in BASELINES:
            ours, theirs = _by_seed(results, members, "akperl"), _by_seed(results, members, other)
            seeds = sorted(ours.keys() & theirs.keys())
            if len(seeds) < 2:
                continue
            found = compare([ours[s] for s in seeds], [theirs[s] for s in seeds])
            family = (name == _ALL, other in NAMED)
            rows.append({"case": name, "against": other, "family": family, **asdict(found)})
    for family in dict.fromkeys(row["family"] for row in rows):
        own = [row for row in rows if row["family"] == family]
        for test in ("welch", "paired"):
            for row, p in zip(own, holm([row[f"p_{test}"] for row in own]), strict=True):
                row[f"holm_{test}"] = p
    return rows


def _by_seed(results: Results, cases: list[str], method: str) -> dict[int, float]:
    """Return a seed's mean test accuracy over cases in %, for the seeds that have all of them."""
    found = [of(results, case, method) for case in cases]
    seeds = set.intersection(*(set(runs) for runs in found))
    return {s: 100 * float(np.mean([runs[s].last.accuracy for runs in found])) for s in seeds}


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return a comparison as the page shows it."""
    g = "-" if row["g"] is None else f"{row['g']:.2f} [{row['g_low']:.2f}, {row['g_high']:.2f}]"
    return {
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


def verdicts(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield one sentence per comparison: what both tests say, corrected."""
    for row in rows:
        tests = _TESTS[row["holm_welch"] < 0.05, row["holm_paired"] < 0.05]
        yield (
            f"- {row['case']}: AKPERL is {'better' if row['mean'] > 0 else 'worse'} than "
            f"{row['against']} by {abs(row['mean']):.1f} points, {tests}."
        )


def ablations(results: Results) -> list[dict[str, Any]]:
    """Return variants of AKPERL against what is shipped, by the seeds that both have."""
    rows = []
    whole = of(results, _FIRST, "akperl")
    for case in (name for name in CASES if name == _FIRST or not CASES[name].compared):
        runs = of(results, case, "akperl")
        seeds = sorted(runs.keys() & whole.keys())
        if len(seeds) < 2:
            continue
        last = [runs[s].last for s in seeds]
        row: dict[str, Any] = {
            "variant": "as shipped" if case == _FIRST else case,
            "seeds": len(seeds),
            "accuracy %": spread((p.accuracy for p in last), 100),
            "energy mJ": spread((p.energy_mj for p in last), 1, 3),
            "kernels pruned %": spread((p.kernel_sparsity for p in last), 100),
            "accuracy less half the energy share": spread((_traded(runs[s]) for s in seeds), 100),
        }
        if case != _FIRST:
            found = compare([p.accuracy for p in last], [whole[s].last.accuracy for s in seeds])
            row["difference (points)"] = f"{100 * found.mean:+.2f}"
            row["p Welch"], row["p paired"] = p_text(found.p_welch), p_text(found.p_paired)
        rows.append(row)
    return rows


def _traded(run: Run) -> float:
    """Return accuracy less beta times the share of the dense energy, as the rewards weigh them."""
    return run.last.accuracy - BETA * run.last.energy_mj / run.points[0].energy_mj


def variance_rows(results: Results) -> list[dict[str, Any]]:
    """Return the analysis of variance over methods, one row per case."""
    rows = []
    for case in _COMPARED:
        groups = {
            method: [run.last.accuracy for run in of(results, case, method).values()]
            for method in METHODS
            if method != "none"
        }
        if min(map(len, groups.values())) < 2:
            continue
        found = analysis_of_variance(groups)
        rows.append(
            {
                "case": case,
                "F": found["F"],
                "degrees of freedom": "{}, {}".format(*found["df"]),
                "p": p_text(found["p"]),
                "eta squared": found["eta_squared"],
            }
        )
    return rows


def regression_rows(results: Results) -> list[dict[str, Any]]:
    """Return what 10 % more pruned kernels come to, over all networks and over AKPERL's."""
    quantities: dict[str, Callable[[Run], float]] = {
        "accuracy (points)": lambda run: 100 * run.last.accuracy,
        "power (mW, estimated)": lambda run: run.last.power_mw,
        "energy (mJ, estimated)": lambda run: run.last.energy_mj,
        "time (ms, estimated)": lambda run: run.last.inference_ms,
        "time here (ms, measured)": lambda run: run.measured_ms,
    }
    compared = [run for run in results.runs if CASES[run.case].compared]
    # A dense network is the same in every case.
    unique = [run for run in compared if run.method != "none" or run.case == _FIRST]
    rows = []
    for name, methods in (("all methods", METHODS), ("akperl", ("none", "akperl"))):
        runs = [run for run in unique if run.method in methods]
        for quantity, value in quantities.items():
            found = line([10 * run.last.kernel_sparsity for run in runs], [value(r) for r in runs])
            rows.append(
                {
                    "networks": name,
                    "quantity": quantity,
                    "n": found.n,
                    "per 10 % of the kernels": f"{found.slope:+.3g} "
                    f"[{found.low:+.3g}, {found.high:+.3g}]",
                    "p": p_text(found.p),
                    "R²": found.r_squared,
                }
            )
    return rows


def stream_rows(results: Results) -> list[dict[str, Any]]:
    """Return the adaptive model against the static levels at the same mean power, by seed."""
    return [
        {
            "seed": one["seed"],
            "adaptive accuracy %": 100 * one["accuracy"],
            "mean power mW (estimated)": round(one["power_mw"]),
            "static at this power %": 100 * one["static_accuracy"],
            "over the budget: adaptive": one["over"],
            "static": one["static_over"],
        }
        for one in results.streams
    ]


_ABOUT = """Every trial is one of `sweeps/akperl_small.yml` or a change of it: ten classes of
Tiny-ImageNet at 32 pixels (2,550 training, 450 validation and 500 test rows), the residual network
`edge_cnn` of widths 12, 24 and 48 with five prunable layers of 156 kernels, trained for 20 epochs,
pruned at once and fine-tuned for nine. All methods share dense networks (one per seed), rows,
epochs, learning rate and budget; L1 is trained for two epochs more, with its penalty, before it
is pruned, and AKPERL fine-tunes eight networks for two epochs each, of which it keeps one.
Validation rows decide everything; accuracies are those of the test rows. Settings were chosen on
validation rows of other seeds, see the end. Values are means ± standard deviations over seeds,
brackets are 95 % intervals.

*Estimated* is what the energy model and the roofline of a Raspberry Pi 4 say; power is the mean at
the rate at which the dense network computes without a pause. *Measured* is the median time of one
image on one thread of this machine. No power was measured: the machine has no counter that may be
read."""

_TRIED = """The first version measured top-1 accuracy under masks, with the batch norms of the dense
network, left unused what the levels left of the budget, played under three conditions of the input
and pruned in three steps. What was changed, on validation rows of other seeds and of one run of
seed 0 (with the numbers in `docs/decisions.md`): batch norms settled on training rows before a
measurement; the mean probability of the right class in place of top-1 accuracy; the rest of the
budget filled; two conditions; one step with all epochs, which is better for the other methods, too;
and a shortlist of eight networks that are fine-tuned for two epochs before one is kept. A linear
probe on the features and a few fine-tuning steps before every measurement were tried and dropped:
the first tells less, the second costs ten times as much. The shortlist is training that the other
methods do not have; the row *no shortlist* is AKPERL without it.

The trials were not planned blindly: the mean of all cases became the main comparison when the
results of the first case were known and those of the others were not, and the first case got more
seeds for AKPERL, L1 and magnitude after its first five, which the mean does not contain."""


def page(results: Results) -> str:
    """Return the results as Markdown."""
    facts = {**results.facts, "seed": seeds(results)}
    parts = [
        "# AKPERL beside static pruning",
        "Made by `python -m benchmarks.akperl` and `python -m benchmarks.akperl.page` on "
        f"{sentence(facts)}",
        _ABOUT,
        "## Accuracy, power, time, sparsity",
        _table(main_table(results)),
        "![test accuracy against energy](akperl/accuracy.png)",
        *_tests(results),
        "## Pruning intensity",
        "Straight lines through the networks of the table above, dense ones among them: what ten "
        "per cent more of the kernels pruned come to.",
        _table(regression_rows(results)),
        *_parts(results),
        *_streams(results),
        "## Learning",
        "![Q-values and rewards over the episodes](akperl/learning.png)",
        f"AKPERL in the case *{_FIRST}*. The reward is the growth of the mean probability of the "
        "right class from the dense to the pruned network, before fine-tuning and as the mean over "
        "the conditions; it is below 0.",
        "## What was tried",
        _TRIED,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _tests(results: Results) -> Iterator[str]:
    """Yield whether AKPERL is better than the baselines at equal budgets."""
    rows = comparisons(results)
    yield "## Is it better?"
    yield (
        "Test accuracy of AKPERL less that of the baseline. Welch's test takes the seeds as "
        "independent; the paired test uses that both start from the same dense network. P-values "
        "are corrected by Holm's method within four families: the means of a seed over all cases "
        "and the single cases, each for L1 and magnitude and for the other methods. At equal "
        "numbers of kernels the energies differ, see the table."
    )
    yield "\n".join(verdicts(rows))
    yield _table([{"case": r["case"], "against": r["against"], **shown(r)} for r in rows])
    yield "Analysis of variance over the five methods:"
    yield _table(variance_rows(results))


def _parts(results: Results) -> Iterator[str]:
    """Yield AKPERL with one part changed."""
    yield "## What the parts are worth"
    yield (
        f"AKPERL in the case *{_FIRST}* with one part changed; differences are to the first row, "
        "by the same seeds, p-values are not corrected. The two variants with coefficients have no "
        "budget and choose their energy themselves, so that their accuracies cannot be compared "
        "with the others', only what the column before the difference weighs. So few seeds show "
        "large effects only: a part without a p-value below 0.05 has not been shown to matter."
    )
    variants = {name: case.about for name, case in CASES.items() if not case.compared}
    yield _table([{"variant": name, "what is changed": text} for name, text in variants.items()])
    yield _table(ablations(results))
    yield from _policies(results)


def seeds(results: Results) -> str:
    """Return the seeds of the runs as text."""
    found = sorted({run.seed for run in results.runs})
    return f"{found[0]} to {found[-1]}" if found else "-"


def _table(rows: list[dict[str, Any]]) -> str:
    columns = dict.fromkeys(column for row in rows for column in row)
    return table(rows, list(columns)) if rows else ""


def _policies(results: Results) -> Iterator[str]:
    """Yield how the greedy policy itself does without parts of the state."""
    rows = []
    for case in (_FIRST, "no monitor", "no input statistics"):
        runs = of(results, case, "akperl").values()
        best = [_best_reward(run) for run in runs if run.learning]
        if best:
            name = "as shipped" if case == _FIRST else case
            rows.append({"variant": name, "seeds": len(best), "reward": spread(best, 1, 4)})
    if rows:
        yield (
            "The pruned network is the best of all that were measured, which hides what the "
            "policy itself has learned. Best reward of the greedy policy, as the mean over the "
            "conditions:"
        )
        yield _table(rows)


def _best_reward(run: Run) -> float:
    return max(reward for _, _, reward in run.learning if reward is not None)


def _streams(results: Results) -> Iterator[str]:
    """Yield the comparison of the adaptive with static networks."""
    rows = stream_rows(results)
    if not rows:
        return
    yield "### Static instead of adaptive"
    yield (
        "One set of weights with four levels and a policy that picks one per batch, on the stream "
        "of [adaptive.md](adaptive.md), beside a static mixture of two levels that draws the same "
        "mean power but knows neither input nor budget."
    )
    yield _table(rows)
    if len(rows) > 1:
        pairs = [(one["accuracy"], one["static_accuracy"]) for one in results.streams]
        ours, theirs = zip(*pairs, strict=True)
        found = compare(ours, theirs)
        yield (
            f"Adaptive less static: {100 * found.mean:+.2f} points [{100 * found.low:+.2f}, "
            f"{100 * found.high:+.2f}], p {p_text(found.p_welch)} (Welch), "
            f"{p_text(found.p_paired)} (paired)."
        )


def main() -> None:
    """Write the page and its plots."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--results", type=Path, default=STUDY)
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    results = Results(options.results)
    pictures = options.out.with_suffix("")
    panels: dict[str, list[Run]] = {}
    for run in results.runs:
        if CASES[run.case].compared:
            panels.setdefault(CASES[run.case].about, []).append(run)
    accuracy_plot(panels, pictures / "accuracy.png")
    learning_plot(list(of(results, _FIRST, "akperl").values()), pictures / "learning.png")
    options.out.write_text(page(results), encoding="utf-8")
    print(f"written: {options.out}")


if __name__ == "__main__":
    main()
