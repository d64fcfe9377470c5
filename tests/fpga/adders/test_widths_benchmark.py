"""How `benchmarks.widths` judges points: crossings and fronts, of scores that rise or fall."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the package scikit-learn is not installed")

from benchmarks.report import settings
from benchmarks.widths.judging import ablations, best_ramp, crossing, crossings, fronts
from benchmarks.widths.measure import ABLATIONS, CASES, without
from rfprune.spec import TrialSpec


def points(tool: str, seed: int, scores: list[float], metric: str = "accuracy") -> list[Any]:
    """Return points of 100, 200, 400, ... LUT, each as good on validation rows as judged."""
    known = {"task": "t", "tool": tool, "seed": seed, "metric": metric}
    return [
        {**known, "lut": 100.0 * 2**place, "score": score, "val_score": score}
        for place, score in enumerate(scores)
    ]


def test_a_crossing_lies_between_two_points_in_the_logarithm() -> None:
    assert crossing([100, 400], [0.5, 0.7], 0.6) == pytest.approx(200)
    # A point that is worse than a smaller one is fitted together with it.
    assert crossing([100, 200, 400], [0.6, 0.5, 0.8], 0.7) == pytest.approx(
        np.exp(np.log(200) + 0.6 * np.log(2))
    )
    assert crossing([100, 400], [0.5, 0.7], 0.8) is None
    assert crossing([100, 400], [0.5, 0.7], 0.4) is None


def test_what_falls_is_crossed_from_above() -> None:
    dense = {"task": "t", "tool": "rfprune", "seed": 0, "metric": "resolution", "step": 0}
    rows = [{**dense, "score": 0.099}, *points("rfprune", 0, [0.12, 0.10, 0.09], "resolution")]
    by_share = {row["share"]: row for row in crossings(rows, "lut")}
    # 0.99 of the dense network is a resolution of 0.1.
    assert by_share["0.99"]["mean LUT"] == pytest.approx(200)
    assert by_share["0.99"]["dense"] == "0.0990"
    assert by_share["0.97"]["mean LUT"] < 200


def test_a_front_takes_what_is_best_on_validation_rows() -> None:
    ours = points("rfprune", 0, [0.5, 0.6, 0.7]) + points("rfprune", 1, [0.5, 0.6, 0.72])
    theirs = points("HGQ2", 0, [0.4, 0.5, 0.6]) + points("HGQ2", 1, [0.4, 0.5, 0.62])
    # Luckier on the rows that judge, but not chosen by validation rows.
    theirs[1] |= {"score": 0.9, "val_score": 0.1}
    (found,) = fronts(ours + theirs, "lut")
    assert (found["tool"], found["from LUT"], found["to LUT"]) == ("HGQ2", 100, 400)
    assert float(found["rfprune"]) == pytest.approx(0.55, abs=0.005)
    assert float(found["the other"]) == pytest.approx(0.425, abs=0.005)
    assert found["ahead by"].startswith("+")
    assert 0 < found["p"] < 0.5


def test_crossings_of_two_tools_are_tested_over_seeds() -> None:
    dense = {"task": "t", "tool": "rfprune", "seed": 0, "metric": "accuracy", "step": 0}
    rows = [{**dense, "score": 0.7 / 0.97}]
    for seed, more in enumerate((0.0, 0.01, 0.02)):
        rows += points("rfprune", seed, [0.5 + more, 0.6 + more, 0.9])
        rows += points("HGQ2", seed, [0.3 + more, 0.4 + more, 0.5 + more, 0.9])
    by = {row["tool"]: row for row in crossings(rows, "lut") if row["share"] == "0.97"}
    assert by["rfprune"]["p"] is None
    assert by["HGQ2"]["mean LUT"] > 2 * by["rfprune"]["mean LUT"]
    assert by["HGQ2"]["p"] < 1e-3
    # A seed that does not cross: nothing is tested.
    rows += points("HGQ2", 3, [0.3, 0.4, 0.5])
    by = {row["tool"]: row for row in crossings(rows, "lut") if row["share"] == "0.97"}
    assert (by["HGQ2"]["seeds"], by["HGQ2"]["reached"], by["HGQ2"]["p"]) == (4, 3, None)


def test_the_best_ramp_is_the_one_on_validation_rows() -> None:
    slow = [{**row, "ramp": [1e-7, 1e-4]} for row in points("HGQ2", 0, [0.5, 0.6, 0.7])]
    fast = [{**row, "ramp": [1e-6, 1e-3]} for row in points("HGQ2", 0, [0.5, 0.65, 0.7])]
    for row in slow:
        row["score"] = 1.0  # on rows to judge, which must not matter
    assert best_ramp(slow + fast) == (1e-6, 1e-3)


def test_an_ablation_is_compared_on_its_own_seeds() -> None:
    dense = {"task": "t", "tool": "rfprune", "metric": "accuracy", "step": 0, "score": 0.7 / 0.98}
    rows = [{**dense, "seed": seed} for seed in (0, 1)]
    rows += points("rfprune", 0, [0.5, 0.6, 0.7, 0.8]) + points("rfprune", 1, [0.1, 0.1, 0.1, 0.1])
    less = [{**dense, "tool": "nothing", "seed": 0, "lut": None}]
    (found,) = ablations(rows, less + points("nothing", 0, [0.4, 0.5, 0.6, 0.7, 0.8]))
    assert found["left out"] == "nothing"
    assert found["LUT at 0.98"] == "2.00 x"
    assert float(found["score lost"]) > 0


def test_what_is_left_out_is_a_trial_as_well() -> None:
    for name, change in ABLATIONS.items():
        TrialSpec.model_validate(settings(CASES["jets"], change))
        with without(name):
            pass


def test_fronts_without_a_common_size_are_not_compared() -> None:
    small = [{**row, "lut": row["lut"] / 100} for row in points("HGQ2", 0, [0.4, 0.5])]
    assert fronts(points("rfprune", 0, [0.5, 0.6]) + small, "lut") == []


def test_the_settings_of_all_tasks_are_the_same_and_the_defaults() -> None:
    tasks = [TrialSpec.model_validate(CASES[name]) for name in ("jets", "muons", "fashion")]
    assert len({repr((t.prune, t.train)) for t in tasks}) == 1
    usual = type(tasks[0].prune.widths)(ladder=tasks[0].prune.widths.ladder)
    assert tasks[0].prune.widths == usual
