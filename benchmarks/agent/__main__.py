"""The agent's reward, and its game beside searches: ``python -m benchmarks.agent --page``.

The full size, on a machine with time: ``--cases digits,fashion,photos --masks 30 --networks 3``.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from benchmarks.agent.game import CASES, Game, one_thread
from benchmarks.agent.games import EPISODES, LEARNED, SEARCHES, answered, played
from benchmarks.agent.rewards import REWARDS, correlations
from benchmarks.report import RESULTS, Kept, Study, listed, render, sentence, table
from benchmarks.statistics import spread
from rfprune.results.statistics import contrast, holm

Row = dict[str, Any]
PARTS = ("rewards", "games", "budgets", "layers")


class Measured(Kept):
    """What was measured, by case, with these sizes."""

    sizes: dict[str, int] = Field({})
    cases: dict[str, Any] = Field({})


def measured(given: argparse.Namespace) -> dict[str, Any]:
    """Return everything, by case."""
    one_thread()
    sizes = {name: getattr(given, name) for name in ("masks", "networks", "measurements", "seeds")}
    kept = Measured.read(given.kept)
    if kept.sizes != sizes:
        kept = Measured(sizes=sizes)
    found = kept.cases
    for case in given.cases:
        games = [Game(case, seed) for seed in range(given.networks)]
        parts = {
            "rewards": lambda games=games: [correlations(game, given.masks) for game in games],
            "games": lambda game=games[0]: [played(game, given.measurements, given.seeds)],
            "budgets": lambda game=games[0]: answered(game, given.measurements),
            "layers": lambda game=games[0]: len(game.dense_task.layers),
        }
        for part in (part for part in given.parts if part not in found.setdefault(case, {})):
            found[case][part] = parts[part]()
            kept.write(given.kept)
            print(case, part, file=sys.stderr, flush=True)
    return {"cases": {case: found[case] for case in given.cases}, "sizes": sizes}


def _with(result: Row, part: str) -> Iterator[tuple[str, Row]]:
    """Yield the cases of which this part was measured."""
    return ((case, found) for case, found in result["cases"].items() if part in found)


def rewards(result: Row) -> Iterator[Row]:
    """Yield one row per case and reward."""
    for case, found in _with(result, "rewards"):
        for name in REWARDS:
            each = [one["rewards"][name] for one in found["rewards"]]
            yield {
                "case": case,
                "measured before fine-tuning": name,
                "rank correlation": ", ".join(f"{one['correlation']:+.2f}" for one in each),
                "mean": float(np.mean([one["correlation"] for one in each])),
                "95 % intervals": ", ".join(
                    "[{:+.2f}, {:+.2f}]".format(*one["interval"]) for one in each
                ),
                "CPU s per network": float(np.mean([one["seconds"] for one in each])),
            }


def costs(result: Row) -> Iterator[Row]:
    """Yield what the truth and the shared network cost."""
    for case, found in _with(result, "rewards"):
        truth = np.concatenate([one["truth"] for one in found["rewards"]])
        yield {
            "case": case,
            "fine-tuning, CPU s per network": float(
                np.mean([one["truth_seconds"] for one in found["rewards"]])
            ),
            "shared network, CPU s once": float(
                np.mean([one["shared_training_seconds"] for one in found["rewards"]])
            ),
            "accuracy after fine-tuning": f"{truth.min():.3f} to {truth.max():.3f}",
        }


def searches(result: Row) -> Iterator[Row]:
    """Yield one row per case and search."""
    for case, found in _with(result, "games"):
        game = found["games"][0]
        best = game["searches"]["exhaustive"]["worth"][0]
        for name, row in game["searches"].items():
            worth = np.array(row["worth"])
            yield {
                "case": case,
                "search": name,
                "seeds": len(worth),
                "best in the game": spread(worth, 4),
                "finds the optimum": f"{(worth >= best - 1e-9).sum()} of {len(worth)}",
                "CPU s": round(row["seconds"], 1) if row["seconds"] else None,
                "accuracy after fine-tuning %": spread(100 * np.array(game["tuned"][name])),
            }


def tests(result: Row) -> Iterator[Row]:
    """Yield the agents against the searches in the game, Welch's test, corrected over a case."""
    for case, found in _with(result, "games"):
        rows = found["games"][0]["searches"]
        ours = [name for name in rows if name.startswith("agent")]
        pairs = [(a, b) for a in ours for b in ("random search", "regularized evolution")]
        contrasts = [
            contrast(np.array(rows[a]["worth"]), np.array(rows[b]["worth"]), paired=False)
            for a, b in pairs
        ]
        for (a, b), one, p in zip(
            pairs, contrasts, holm([each.p for each in contrasts]), strict=True
        ):
            yield {
                "case": case,
                "first": a,
                "second": b,
                "difference": f"{one.mean:+.4f} [{one.low:+.4f}, {one.high:+.4f}]",
                "Hedges' g": None if one.g is None else f"{one.g:.2f}",
                "p (Holm)": f"{p:.2g}",
                "detectable": one.detectable,
            }


def budgets(result: Row) -> Iterator[Row]:
    """Yield one row per case: one policy beside ten searches."""
    for case, found in _with(result, "budgets"):
        rows = found["budgets"]["rows"]
        ours, theirs = (np.array([row[k] for row in rows]) for k in ("policy", "search"))
        chance = np.array([row["one_random"] for row in rows])
        policy_measured = found["budgets"]["learned"] + sum(row["measured"] for row in rows)
        paired = contrast(ours, theirs, paired=True)
        yield {
            "case": case,
            "policy, mean over ten budgets": float(ours.mean()),
            "its first choice": float(np.mean([row["first"] for row in rows])),
            "search for each": float(theirs.mean()),
            "a random network": float(chance.mean()),
            "policy as good in": f"{(ours >= theirs - 1e-9).sum()} of {len(rows)}",
            "policy less search": f"{paired.mean:+.4f} [{paired.low:+.4f}, {paired.high:+.4f}]",
            "networks measured, policy": policy_measured,
            "searches": sum(row["searched"] for row in rows),
            "learning once, CPU s": found["budgets"]["learning_seconds"],
            "tenth answer, CPU s": rows[-1]["policy_seconds"],
            "tenth search, CPU s": rows[-1]["search_seconds"],
            "ten searches, CPU s": sum(row["search_seconds"] for row in rows),
        }


def page(result: Row) -> str:
    """Return the page."""
    sizes = result["sizes"]
    first = next(iter(result["cases"].values()))
    return render(
        "agent",
        made=f"Made by `{result['command']}`. {sentence(result['facts'])}",
        sizes=", ".join(f"{name} {value}" for name, value in sizes.items()),
        n_cases=str(len(result["cases"])),
        masks=str(sizes["masks"]),
        networks=str(sizes["networks"]),
        measurements=str(sizes["measurements"]),
        seeds=str(sizes["seeds"]),
        layers=str(first["layers"]),
        not_measured=", ".join(
            f"{part} of {case}"
            for case in CASES
            for part in PARTS
            if part != "layers" and part not in result["cases"].get(case, {})
        )
        or "nothing",
        episodes=str(EPISODES),
        repeats=str(SEARCHES),
        learned=", ".join(f"{100 * share:g}" for share in LEARNED),
        rewards=table(rewards(result)),
        costs=table(costs(result)),
        distinct=", ".join(
            f"{found['games'][0]['networks']} in {case}" for case, found in _with(result, "games")
        ),
        searches=table(searches(result)),
        tests=table(tests(result)),
        budgets=table(budgets(result)),
    )


if __name__ == "__main__":
    Study(
        "agent",
        "the agent's reward, and its game beside searches",
        measured,
        page,
        packages=("rfprune", "torch", "numpy", "scipy", "torch_pruning"),
        options={
            "--cases": (listed(CASES), ["digits", "fashion"], "of cases.yml"),
            "--masks": (int, 20, "networks whose fine-tuned accuracy is predicted"),
            "--networks": (int, 1, "dense networks (seeds) of each case"),
            "--measurements": (int, 60, "networks that a search may measure"),
            "--seeds": (int, 8, "of each search"),
            "--parts": (listed(PARTS), list(PARTS), "of a case, to measure them apart"),
            "--kept": (Path, RESULTS / "agent" / "results.json", "what was measured; resumed"),
        },
    ).run()
