"""What is refused before anything is trained: budgets that no pruning can reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rfprune.errors import BudgetError
from rfprune.spec import TrialSpec
from rfprune.trial import Prepared, prepare


def prepared(folder: Path, hardware: dict[str, Any] | None = None, **prune: Any) -> Prepared:
    """Return a trial whose network has 32 and 8 multipliers: 16 to 8 to 4, reuse factor 4."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 16)).astype(np.float32), np.arange(60) % 4
    np.savez(folder / "rows.npz", x_train=x, y_train=y)
    values = {
        "model": {"name": "mlp", "args": {"hidden": [8]}},
        "data": {"file": "rows.npz"},
        "hardware": {"reuse_factor": 4, **(hardware or {})},
        "prune": prune,
    }
    return prepare(TrialSpec.model_validate(values), folder)


def test_the_floors_can_be_reached_exactly(tmp_path: Path) -> None:
    for budget in (6 / 40, 6, "6", "15 %"):
        found = prepared(tmp_path, floor=3, budget={"dsp": budget})
        assert found.amounts == {"dsp": 6}
        assert found.deployment.prunable.least["dsp"] == 6


def test_the_text_of_one_is_one_unit(tmp_path: Path) -> None:
    assert prepared(tmp_path, floor=0, budget={"dsp": "1"}).amounts == {"dsp": 1}
    assert prepared(tmp_path, floor=0, budget={"dsp": 1}).amounts == {"dsp": 40}
    with pytest.raises(BudgetError, match="1 of 40 dsp cannot be reached: the floors of 2 layers"):
        prepared(tmp_path, floor=1, budget={"dsp": "1"})


@pytest.mark.parametrize(
    ("hardware", "prune", "budget", "words"),
    [
        ({}, {"floor": 3}, 0.1, r"4 of 40 dsp cannot be reached: the floors of 2 layers .* 6"),
        ({}, {"floor": 3}, "5", r"5 of 40 dsp cannot be reached: the floors of 2 layers .* 6"),
        (
            {"layers": {"fc1": {"strategy": "resource"}}},
            {},
            0.5,
            r"20 of 40 dsp cannot be reached: 32 of them are in layers .* The least is 33",
        ),
    ],
)
def test_out_of_reach(
    tmp_path: Path,
    hardware: dict[str, Any],
    prune: dict[str, Any],
    budget: float | str,
    words: str,
) -> None:
    with pytest.raises(BudgetError, match=words):
        prepared(tmp_path, hardware, budget={"dsp": budget}, **prune)


def test_a_resource_that_is_not_used_is_a_note(tmp_path: Path) -> None:
    latency = prepared(tmp_path, {"reuse_factor": 1}, budget={"bram18": 0.0})
    assert latency.amounts == {"bram18": 0}
    assert (
        "prune.budget.bram18: the dense network uses no bram18, so this budget prunes nothing."
        in latency.notes()
    )
