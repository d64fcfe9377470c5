"""The standard error of a score beside closed forms, and networks that say the same of all rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rfprune.tasks import TaskSpec, make_task
from rfprune.tasks.noise import standard_error


def test_of_a_mean_it_is_that_of_the_formula() -> None:
    values = np.random.default_rng(0).normal(size=4000)
    found = standard_error(lambda rows: float(values[rows].mean()), len(values))
    # Twenty groups estimate it to about 16 %.
    assert found == pytest.approx(values.std(ddof=1) / math.sqrt(len(values)), rel=0.35)


@pytest.mark.parametrize("chance", [0.5, 0.9])
def test_of_an_accuracy_it_is_the_binomial_one(chance: float) -> None:
    rng = np.random.default_rng(1)
    errors = []
    for _ in range(40):
        right = rng.random(1000) < chance
        errors.append(standard_error(lambda rows, r=right: float(r[rows].mean()), 1000))
    assert np.mean(errors) == pytest.approx(math.sqrt(chance * (1 - chance) / 1000), rel=0.1)


def test_of_one_row_nothing_is_known() -> None:
    assert math.isnan(standard_error(lambda rows: 1.0, 1))
    assert standard_error(lambda rows: 1.0, 2) == 0.0


def test_of_a_function_that_fails_on_fewer_rows_nothing_is_known() -> None:
    task = make_task(TaskSpec())
    output, target = torch.randn(40, 3), torch.randint(0, 3, (40,))
    assert 0 < task.standard_error(output, target) < 0.2
    task.metrics["accuracy"].__dict__["function"] = lambda *arrays: 1 / (len(arrays[0]) // 40)
    assert math.isnan(task.standard_error(output, target))


@pytest.mark.parametrize(
    ("name", "output", "constant"),
    [
        ("classification", [[1.0, 0.5], [3.0, -2.0], [0.2, 0.1]], True),
        ("classification", [[1.0, 0.5], [3.0, 4.0], [0.2, 0.1]], False),
        ("binary", [[0.5], [2.0], [3.0]], True),
        ("binary", [[-0.5], [2.0], [3.0]], False),
        ("regression", [[0.5], [0.5], [0.5]], True),
        ("regression", [[0.5], [0.5], [0.50001]], False),
    ],
)
def test_one_answer_for_every_row(name: str, output: list[list[float]], constant: bool) -> None:
    task = make_task(TaskSpec.model_validate({"name": name}))
    assert task.one_answer(torch.tensor(output)) is constant
    assert task.one_answer(torch.tensor(output[:1])) is False
