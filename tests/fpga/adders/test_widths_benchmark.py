"""How `benchmarks.widths` judges points: crossings and fronts, of scores that rise or fall."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="the package scikit-learn is not installed")

from benchmarks.widths.measure import CASES, crossing, crossings, fronts
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
    first, second = fronts(ours + theirs, "lut")
    assert (first["tool"], first["from LUT"], first["to LUT"]) == ("rfprune", 100, 400)
    assert float(first["mean score"]) == pytest.approx(0.55, abs=0.005)
    assert float(second["mean score"]) == pytest.approx(0.425, abs=0.005)
    assert first["p"] is None
    assert 0 < second["p"] < 0.5


def test_fronts_without_a_common_size_are_not_compared() -> None:
    small = [{**row, "lut": row["lut"] / 100} for row in points("HGQ2", 0, [0.4, 0.5])]
    assert fronts(points("rfprune", 0, [0.5, 0.6]) + small, "lut") == []


def test_the_settings_of_all_tasks_are_the_same_and_the_defaults() -> None:
    tasks = [TrialSpec.model_validate(CASES[name]) for name in ("jets", "muons", "fashion")]
    assert len({repr((t.prune, t.train)) for t in tasks}) == 1
    usual = type(tasks[0].prune.widths)(ladder=tasks[0].prune.widths.ladder)
    assert tasks[0].prune.widths == usual
