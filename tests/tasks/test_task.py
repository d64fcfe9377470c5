"""What a task knows besides loss and metrics: tolerance, teaching, guesses, agreement, files."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from rfprune.errors import SpecError, TrialError, UnknownNameError
from rfprune.spec import TrialSpec
from rfprune.spec.yaml_files import parse_spec
from rfprune.tasks import TASKS, Task, TaskSpec, make_task
from rfprune.tasks.binary import Binary


def task_of(value: Any, base_dir: Path | None = None) -> Task:
    return make_task(TaskSpec.model_validate(value), base_dir)


TO_BE_LARGE = task_of("classification")
TO_BE_SMALL = task_of("regression")


def test_the_first_metric_decides_if_none_is_named() -> None:
    assert (TO_BE_LARGE.score, TO_BE_LARGE.direction) == ("accuracy", "max")
    assert (TO_BE_SMALL.score, TO_BE_SMALL.direction) == ("rmse", "min")
    named = task_of({"name": "binary", "metrics": ["accuracy", "log_loss"], "score": "log_loss"})
    assert (named.score, named.direction) == ("log_loss", "min")


# Acceptance ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "dense", "tolerance", "absolute", "bound"),
    [
        (TO_BE_LARGE, 0.8, 0.05, None, 0.76),
        (TO_BE_SMALL, 0.8, 0.05, None, 0.84),
        (TO_BE_LARGE, 0.8, 0.05, 0.1, 0.7),
        (TO_BE_SMALL, 0.8, 0.05, 0.1, 0.9),
        (TO_BE_SMALL, 60.0, 0.05, 2.5, 62.5),
        (TO_BE_LARGE, 0.8, 0.0, None, 0.8),
        (TO_BE_SMALL, 0.8, 0.0, None, 0.8),
        (TO_BE_LARGE, 0.8, 1.0, 0.0, 0.8),
        (TO_BE_SMALL, 0.8, 1.0, 0.0, 0.8),
    ],
)
def test_the_worst_score_that_is_accepted(
    task: Task, dense: float, tolerance: float, absolute: float | None, bound: float
) -> None:
    found = task.bound(dense, tolerance, absolute)
    assert found == pytest.approx(bound, rel=1e-12)
    worse = -1 if task.direction == "max" else 1
    assert task.accepts(found, found)
    assert task.accepts(found - worse * 1e-6, found)
    assert not task.accepts(found + worse * 1e-6, found)


@given(st.floats(0.01, 100), st.floats(0, 1), st.sampled_from([TO_BE_LARGE, TO_BE_SMALL]))
def test_the_dense_network_is_always_accepted(dense: float, tolerance: float, task: Task) -> None:
    assert task.accepts(dense, task.bound(dense, tolerance, None))
    assert task.accepts(dense, task.bound(dense, 0.0, tolerance))


@given(st.floats(-10, 10), st.floats(-10, 10), st.sampled_from([TO_BE_LARGE, TO_BE_SMALL]))
def test_what_has_more_merit_is_accepted_where_the_other_is(a: float, b: float, task: Task) -> None:
    assert task.accepts(a, b) == (task.merit(a) >= task.merit(b))


# Networks -----------------------------------------------------------------------------------


class Functional(nn.Module):
    """A dense layer and a function behind it."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 1)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.function(self.fc(x))
        return result


def sigmoid_of(x: Tensor) -> Tensor:
    return x.sigmoid()


def then_doubled(x: Tensor) -> Tensor:
    return 2 * x.sigmoid()


class Branching(nn.Module):
    """Cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(x)
        return out if out.sum() > 0 else -out


NETWORKS: list[Any] = [
    pytest.param(nn.Sequential(nn.Linear(4, 1), nn.Sigmoid()), True, id="module"),
    pytest.param(Functional(torch.sigmoid), True, id="torch.sigmoid"),
    pytest.param(Functional(nn.functional.sigmoid), True, id="functional"),
    pytest.param(Functional(sigmoid_of), True, id="method"),
    pytest.param(nn.Sequential(nn.Linear(4, 1)), False, id="logits"),
    pytest.param(nn.Sequential(nn.Sigmoid(), nn.Linear(4, 1)), False, id="sigmoid before"),
    pytest.param(Functional(then_doubled), False, id="something after it"),
    pytest.param(Functional(torch.tanh), False, id="another function"),
    pytest.param(Branching(), False, id="untraceable"),
]


@pytest.mark.parametrize(("network", "ends_in_one"), NETWORKS)
def test_a_sigmoid_at_the_end_is_recognised(network: nn.Module, ends_in_one: bool) -> None:
    free = task_of({"name": "binary", "metrics": ["accuracy", "log_loss"]})
    bound = free.bound_to(network)
    assert isinstance(bound, Binary)
    assert bound.logits is not ends_in_one
    output = torch.rand(30, 1) if ends_in_one else torch.randn(30, 1)
    target = torch.randint(2, (30, 1)).float()
    of_torch = nn.functional.binary_cross_entropy_with_logits
    expected = (nn.functional.binary_cross_entropy if ends_in_one else of_torch)(output, target)
    torch.testing.assert_close(bound.loss(output, target), expected)
    found = bound.measure(output, target)
    limit = 0.5 if ends_in_one else 0.0
    assert found["accuracy"] == ((output >= limit).float() == target).double().mean().item()
    assert found["log_loss"] == pytest.approx(float(expected), rel=1e-5)
    torch.testing.assert_close(bound.teaching(output), output if ends_in_one else output.sigmoid())
    # Looking at a network leaves the task itself as it was.
    output = torch.randn(30, 1)
    torch.testing.assert_close(free.loss(output, target), of_torch(output, target))


@pytest.mark.parametrize("name", ["classification", "regression"])
def test_other_tasks_are_the_same_for_every_network(name: str) -> None:
    task = task_of(name)
    assert task.bound_to(nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())) is task


# Teaching -----------------------------------------------------------------------------------


def test_classes_are_taught_by_probabilities() -> None:
    output = torch.randn(5, 3)
    teacher = TO_BE_LARGE.teaching(output)
    torch.testing.assert_close(teacher, output.softmax(1))
    mixed = TO_BE_LARGE.taught(torch.tensor([0, 2, 1, 1, 0]), teacher, 0.25)
    labels = nn.functional.one_hot(torch.tensor([0, 2, 1, 1, 0]), 3)
    torch.testing.assert_close(mixed, 0.75 * labels + 0.25 * teacher)
    torch.testing.assert_close(mixed.sum(1), torch.ones(5))


def test_yes_and_no_are_taught_by_the_probability_of_yes() -> None:
    output, target = torch.randn(5, 1), torch.tensor([[0.0], [1.0], [1.0], [0.0], [1.0]])
    task = task_of("binary")
    torch.testing.assert_close(task.teaching(output), output.sigmoid())
    mixed = task.taught(target, task.teaching(output), 0.25)
    torch.testing.assert_close(mixed, 0.75 * target + 0.25 * output.sigmoid())


def test_numbers_are_taught_as_they_are() -> None:
    output, target = torch.randn(5, 2), torch.randn(5, 2)
    assert torch.equal(TO_BE_SMALL.teaching(output), output)
    mixed = TO_BE_SMALL.taught(target, output, 0.25)
    torch.testing.assert_close(mixed, 0.75 * target + 0.25 * output)


@pytest.mark.parametrize("name", list(TASKS))
def test_who_is_taught_nothing_learns_from_the_targets_alone(name: str) -> None:
    task = task_of(name)
    output = torch.randn(20, {"classification": 3}.get(name, 1))
    target = {
        "classification": torch.randint(3, (20,)),
        "binary": torch.randint(2, (20, 1)).float(),
        "regression": torch.randn(20, 1),
        "multilabel": torch.randint(2, (20, 1)).float(),
        "anomaly": torch.zeros(20, 1),
    }[name]
    teacher = task.teaching(torch.randn_like(output))
    taught = task.taught(target, teacher, 0.0)
    torch.testing.assert_close(task.loss(output, taught), task.loss(output, target))


# Guesses ------------------------------------------------------------------------------------


def test_a_guess_of_equally_likely_classes() -> None:
    metrics = ["accuracy", "balanced_accuracy", {"top": {"name": "top_k", "k": 3}}]
    task = task_of({"name": "classification", "metrics": [*metrics, "auc", "log_loss"]})
    target = torch.arange(40) % 4
    found = task.guess(target, target, 4)
    expected = {"accuracy": 0.25, "balanced_accuracy": 0.25, "top": 0.75, "auc": 0.5}
    assert found == {**expected, "log_loss": pytest.approx(math.log(4))}
    # What a network that always puts out the same really measures, where ties are fair.
    constant = task.measure(torch.zeros(40, 4), target)
    for name in ("accuracy", "balanced_accuracy", "auc", "log_loss"):
        assert found[name] == pytest.approx(constant[name])
    few = task_of({"name": "classification", "metrics": [{"top": {"name": "top_k", "k": 9}}]})
    assert few.guess(target, target, 4) == {"top": 1.0}


def test_a_toss() -> None:
    task = task_of(
        {"name": "binary", "metrics": ["accuracy", "auc", "balanced_accuracy", "log_loss"]}
    )
    target = (torch.arange(40) % 2).float()[:, None]
    found = task.guess(target, target, 1)
    assert found == {
        "accuracy": 0.5,
        "auc": 0.5,
        "balanced_accuracy": 0.5,
        "log_loss": pytest.approx(math.log(2)),
    }
    constant = task.measure(torch.zeros(40, 1), target)
    assert found == pytest.approx(constant)


def test_the_mean_of_the_training_rows_is_the_guess_of_numbers() -> None:
    train, validation = torch.randn(50, 2) + 3, torch.randn(30, 2) + 3
    found = TO_BE_SMALL.guess(train, validation, 2)
    expected = TO_BE_SMALL.measure(train.mean(0).expand(30, -1), validation)
    assert found == expected
    assert found["rmse"] == pytest.approx(
        float(((train.mean(0) - validation) ** 2).mean().sqrt()), rel=1e-5
    )
    assert found["r2"] <= 0


@pytest.mark.parametrize(
    ("name", "outputs"), [("classification", 3), ("binary", 1), ("multilabel", 2), ("anomaly", 1)]
)
def test_a_metric_whose_guess_is_in_no_table_is_measured_on_random_outputs(
    name: str, outputs: int
) -> None:
    own = [
        {each: {"name": f"{__name__}:{each}"}} for each in ("_to_be_small", "_below_0", "_share")
    ]
    task = task_of({"name": name, "metrics": ["auc", *own]})
    labels = (torch.arange(60) % 2).float()[:, None].expand(60, outputs).clone()
    target = torch.arange(60) % 3 if name == "classification" else labels
    found = task.guess(target, target, outputs)
    assert list(found) == ["auc", "_to_be_small", "_below_0", "_share"]
    assert found["auc"] == 0.5
    # A reference point at 0 would leave no room for anything that is to be small.
    assert found["_to_be_small"] > 0
    assert found["_below_0"] == -found["_to_be_small"]
    # And one of 0 is below whatever a share can be.
    assert found["_share"] == 0
    assert task.guess(target, target, outputs) == found


def _to_be_small(output: Any, target: Any, weight: Any = None) -> float:
    return float(np.abs(output).mean())


def _below_0(output: Any, target: Any, weight: Any = None) -> float:
    return -_to_be_small(output, target)


def _share(output: Any, target: Any, weight: Any = None) -> float:
    return 0.5


_to_be_small.direction = "min"  # type: ignore[attr-defined]
_below_0.direction = "max"  # type: ignore[attr-defined]
_share.direction = "max"  # type: ignore[attr-defined]


# Agreement ----------------------------------------------------------------------------------


def test_agreement_of_classes_is_the_same_largest_logit() -> None:
    a = np.array([[1.0, 2.0], [3.0, 1.0], [0.0, 5.0], [2.0, 1.0]])
    b = np.array([[0.0, 9.0], [1.0, 3.0], [0.1, 0.2], [7.0, 6.0]])
    assert TO_BE_LARGE.agreement(a, b, 0.01) == 0.75


def test_agreement_of_yes_and_no_is_the_same_side() -> None:
    a, b = (np.array([rows]).T for rows in ([-1.0, 0.2, 0.7, 0.0], [-9.0, -0.2, 0.6, 0.0]))
    task = task_of("binary")
    assert task.agreement(a, b, 0.01) == 0.75
    probabilities = task.bound_to(nn.Sequential(nn.Linear(4, 1), nn.Sigmoid()))
    assert probabilities.agreement(a, b, 0.01) == 1.0
    assert probabilities.agreement(np.array([[0.4]]), np.array([[0.6]]), 0.5) == 0.0


def test_agreement_of_numbers_is_within_one_step_in_every_output() -> None:
    step = 2.0**-10
    a = np.zeros((4, 2))
    b = np.array([[0.0, step], [step, -step], [0.0, 1.5 * step], [2 * step, 0.0]])
    assert TO_BE_SMALL.agreement(a, b, step) == 0.5
    assert TO_BE_SMALL.agreement(b, a, step) == 0.5


def test_only_probabilities_are_confident() -> None:
    output, target = torch.randn(30, 3), torch.randint(3, (30,))
    expected = output.softmax(1)[torch.arange(30), target].mean()
    assert TO_BE_LARGE.confidence(output, target) == pytest.approx(float(expected))
    logit, label = torch.randn(30, 1), torch.randint(2, (30, 1)).float()
    p = logit.sigmoid()
    expected = (label * p + (1 - label) * (1 - p)).mean()
    assert task_of("binary").confidence(logit, label) == pytest.approx(float(expected), rel=1e-6)
    assert not TO_BE_SMALL.has_confidence
    with pytest.raises(NotImplementedError, match="a regression task has no probabilities"):
        TO_BE_SMALL.confidence(logit, label)


# The section of the file --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "aliases"),
    [
        ("classification", ["accuracy"]),
        ("binary", ["accuracy", "auc"]),
        ("regression", ["rmse", "mae", "r2"]),
        ({"name": "regression", "metrics": ["mae"]}, ["mae"]),
        (
            {"name": "binary", "metrics": ["auc", {"eff": {"name": "tpr", "fpr": 0.1}}]},
            ["auc", "eff"],
        ),
        ({"name": "binary", "metrics": {"a": "auc", "b": {"name": "tpr", "fpr": 1}}}, ["a", "b"]),
    ],
)
def test_metrics_are_listed_in_any_form(task: Any, aliases: list[str]) -> None:
    made = task_of(task)
    assert list(made.metrics) == aliases
    names = {quantity.name for quantity in made.quantities}
    assert names == {f"{prefix}{alias}" for alias in aliases for prefix in ("", "val_")}
    assert made.quantities[0].name == f"val_{made.score}"


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("regresion", "unknown task 'regresion'. Did you mean 'regression'?"),
        (
            {"name": "regression", "metrics": ["rmes"]},
            "unknown metric 'rmes'. Did you mean 'rmse'?",
        ),
        ({"name": "regression", "metrics": ["auc"]}, "'auc' is not defined for regression"),
        ({"name": "classification", "metrics": ["tpr"]}, "needs the argument 'fpr'"),
        ({"name": "binary", "metrics": ["tpr"]}, "metric 'tpr' needs the argument 'fpr'"),
        (
            {"name": "binary", "metrics": [{"e": {"name": "tpr", "frp": 0.1}}]},
            "metric 'tpr' has no argument 'frp'. Did you mean 'fpr'?",
        ),
        (
            {"name": "binary", "metrics": [{"e": {"name": "tpr", "fpr": 0}}]},
            "must be a number above 0",
        ),
        ({"name": "regression", "metrics": ["mae", "mae"]}, "the metric 'mae' appears twice"),
        ({"name": "regression", "metrics": []}, "must name at least one metric"),
        ({"name": "regression", "metrics": [{"val_x": "mae"}]}, "'val_x' cannot name a metric"),
        ({"name": "regression", "metrics": [{"a b": "mae"}]}, "'a b' cannot name a metric"),
        (
            {"name": "regression", "loss": "hubr"},
            "'hubr' is not defined for regression. Did you mean 'huber'?",
        ),
        ({"name": "binary", "loss": "mse"}, "'mse' is not defined for binary"),
        (
            {"name": "regression", "score": "rmes"},
            "'rmes' is not among the metrics. Did you mean 'rmse'?",
        ),
        ({"name": "regression", "los": "mae"}, "unknown key 'task.los'"),
    ],
)
def test_what_a_section_cannot_say(task: Any, message: str) -> None:
    values = {"model": {"name": "mlp"}, "data": {"name": "digits"}, "task": task}
    with pytest.raises(SpecError) as caught:
        parse_spec(TrialSpec, values, "one.yml")
    assert message in str(caught.value)
    assert "task" in str(caught.value)
    assert "\n" not in str(caught.value)


OWN = """
import numpy as np
import torch

def worst(output, target, weight=None, *, power=1.0):
    return float((np.abs(output - target) ** power).max())

worst.direction = "min"

def aimless(output, target, weight=None):
    return 0.0

def breaks(output, target, weight=None):
    raise ValueError("three columns wanted")

breaks.direction = "max"

def cubic(output, target, weight=None, *, scale=1.0):
    return scale * ((output - target).abs() ** 3).mean()

from rfprune.tasks.regression import Regression

class Doubled(Regression):
    def answers(self, output):
        return 2 * super().answers(output)

class NoTask:
    pass
"""


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "own_goal.py").write_text(OWN)
    before = list(sys.path)
    yield tmp_path
    sys.modules.pop("own_goal", None)
    sys.path[:] = before


def test_functions_of_the_user_measure_and_teach(own: Path) -> None:
    metrics = ["rmse", {"far": {"name": "own_goal:worst", "power": 2.0}}, "own_goal:worst"]
    task = task_of(
        {
            "name": "regression",
            "metrics": metrics,
            "score": "far",
            "loss": "own_goal:cubic",
            "loss_args": {"scale": 3.0},
        },
        own,
    )
    assert list(task.metrics) == ["rmse", "far", "worst"]
    assert (task.score, task.direction) == ("far", "min")
    assert task.own_directions == dict.fromkeys(("val_far", "far", "val_worst", "worst"), "min")
    output, target = torch.randn(20, 1), torch.randn(20, 1)
    found = task.measure(output, target)
    assert found["worst"] == pytest.approx(float((output - target).abs().max()))
    assert found["far"] == pytest.approx(found["worst"] ** 2)
    expected = 3 * ((output - target).abs() ** 3).mean()
    torch.testing.assert_close(task.loss(output, target), expected)


def test_a_task_of_the_user(own: Path) -> None:
    task = task_of({"name": "own_goal:Doubled", "loss": "mse", "metrics": ["mae"]}, own)
    assert task.measure(torch.ones(5, 1), torch.full((5, 1), 2.0)) == {"mae": 0.0}


@pytest.mark.parametrize(
    ("task", "error", "message"),
    [
        ({"name": "own_goal:NoTask"}, SpecError, "is not a subclass of rfprune.tasks.Task"),
        ({"name": "own_goal:Doubld"}, UnknownNameError, "task.name: .*'Doubled'"),
        (
            {"name": "regression", "metrics": ["own_goal:aimless"]},
            SpecError,
            r"task.metrics.aimless: own_goal:aimless has no direction. Write aimless.direction",
        ),
        (
            {"name": "regression", "metrics": [{"x": "own_goal:wrost"}]},
            UnknownNameError,
            "task.metrics.x: .*'worst'",
        ),
        ({"name": "regression", "loss": "own_goal:cubc"}, UnknownNameError, "task.loss: .*'cubic'"),
    ],
)
def test_what_a_module_of_the_user_does_not_hold(
    own: Path, task: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        task_of(task, own)
    assert "\n" not in str(caught.value)


def test_a_metric_that_raises_is_a_sentence(own: Path) -> None:
    task = task_of({"name": "regression", "metrics": ["own_goal:breaks"]}, own)
    with pytest.raises(
        TrialError, match=r"metric 'breaks' \(own_goal:breaks\) failed on output \(4, 1\)"
    ):
        task.measure(torch.ones(4, 1), torch.ones(4, 1))
