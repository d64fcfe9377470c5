"""Wrong sections ``task`` and ``train``, rows, networks and functions: one sentence, exit 2."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.test_wrong_files import refused

N = 120
X = np.random.default_rng(0).normal(size=(N, 8)).astype(np.float32)
CLASS, BIT = np.arange(N) % 3, np.arange(N) % 2
PT = np.linspace(-1, 1, N)
ONE = {"x_train": X, "y_train": CLASS}
HEADS = {"x_train": X, "y_train_label": CLASS, "y_train_pt": PT}
TWO = {
    "heads": {"label": {"name": "classification"}, "pt": {"name": "regression"}},
    "score": "label.accuracy",
}

OWN = """
import torch
from torch import nn

def array(output, target, weight=None):
    return (output - target) ** 2
array.direction = "min"

def nan(output, target, weight=None):
    return float("nan")
nan.direction = "max"

def text(output, target, weight=None):
    return "good"
text.direction = "max"

def raises(output, target, weight=None):
    return output[:, 7].mean()
raises.direction = "max"

def unweighted(output, target):
    return 1.0
unweighted.direction = "max"

def aimless(output, target, weight=None):
    return 1.0

def rows_of_loss(output, target, weight=None):
    return (output - target) ** 2

def loss_raises(output, target, weight=None):
    return nn.functional.nll_loss(output, target)

def numpy_loss(output, target, weight=None):
    return torch.tensor(1.0)

def nan_loss(output, target, weight=None):
    return output.mean() * float("nan")

class Pair(nn.Module):
    def __init__(self, n, by_name=False):
        super().__init__()
        self.a, self.b, self.by_name = nn.Linear(8, 3), nn.Linear(8, n), by_name
    def forward(self, x):
        return {"label": self.a(x), "mass": self.b(x)} if self.by_name else (self.a(x), self.b(x))

def pair():
    return Pair(1)

def pair_by_name():
    return Pair(1, by_name=True)

def wide_pair():
    return Pair(2)

class Sum(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 3), nn.Linear(8, 3)
    def forward(self, left, right):
        return self.a(left) + self.b(right)

def two_inputs():
    return Sum()

def no_task():
    pass

setting = 3
"""


def task(**values: Any) -> dict[str, Any]:
    return {"task": values}


def regression(**values: Any) -> dict[str, Any]:
    return {"task": {"name": "regression", **values}}


NUMBERS = {"x_train": X, "y_train": PT}
BITS = {"x_train": X, "y_train": BIT}
# Each: changes of the sweep file, arrays, and words of the sentence.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    # The section of the file.
    "an unknown task": (task(name="anomally"), ONE, ["'anomally'", "'anomaly'"]),
    "an unknown head": (
        {"task": {**TWO, "score": "lable.accuracy"}},
        HEADS,
        ["score: 'lable.accuracy'", "'label.accuracy'"],
    ),
    "an unknown metric of a head": (
        {"task": {**TWO, "score": "pt.accuracy"}},
        HEADS,
        ["score: 'pt.accuracy'", "pt.rmse"],
    ),
    "a score of heads without a metric": (
        {"task": {**TWO, "score": "label"}},
        HEADS,
        ["score: 'label' is not a metric of a head"],
    ),
    "no heads": (task(heads={}), HEADS, ["heads", "at least one"]),
    "a head that cannot be a name": (
        task(heads={"a b": "binary"}),
        HEADS,
        ["'a b' cannot name a head"],
    ),
    "a head called val": (task(heads={"val": "binary"}), HEADS, ["'val' cannot name a head"]),
    "heads whose metrics meet": (
        task(
            heads={
                "a": {"name": "regression", "metrics": {"b_rmse": "rmse"}},
                "a_b": {"name": "regression", "metrics": ["rmse"]},
            }
        ),
        HEADS,
        ["'a_b_rmse'", "both 'a' and 'a_b'"],
    ),
    "heads and a task at once": (
        {"task": {**TWO, "name": "binary"}},
        HEADS,
        ["name: belongs to one head"],
    ),
    "heads that all weigh 0": (
        task(heads={"label": {"weight": 0}, "pt": {"name": "regression", "weight": 0}}),
        HEADS,
        ["at least one head must have a weight above 0"],
    ),
    "a head of negative weight": (
        task(heads={"label": {"weight": -1.0}}),
        HEADS,
        ["task.heads.label.weight", "at least 0"],
    ),
    "a metric of another task in a head": (
        task(heads={"label": {"metrics": ["rmse"]}}),
        HEADS,
        ["'rmse' is not defined for classification"],
    ),
    "label smoothing for a regression": (
        regression(label_smoothing=0.1),
        NUMBERS,
        ["label_smoothing: a regression task has no such thing", "classification"],
    ),
    "label smoothing of all": (task(label_smoothing=1.0), ONE, ["task.label_smoothing", "1.0"]),
    "class weights for a regression": (
        regression(class_weights=[1, 2]),
        NUMBERS,
        ["class_weights: a regression task has no such thing", "multilabel"],
    ),
    "weights of labels beside a loss of one's own": (
        task(name="multilabel", class_weights=[1, 2], loss="mine:loss"),
        ONE,
        ["class_weights: weigh single labels, which mine:loss is not handed"],
    ),
    "negative class weights": (
        task(class_weights=[1, -2, 1]),
        ONE,
        ["class_weights", "at least 0"],
    ),
    "too few class weights": (
        task(class_weights=[1, 2]),
        ONE,
        ["task.class_weights: has 2 weights", "3 classes"],
    ),
    "another word for class weights": (task(class_weights="even"), ONE, ["class_weights", "even"]),
    "a loss of another task": (
        task(name="anomaly", loss="mse"),
        BITS,
        ["'mse' is not defined for anomaly", "output, reconstruction"],
    ),
    "an objective of no head": (
        {"task": TWO, "objectives": {"val_label_rmse": "min"}},
        HEADS,
        ["unknown objective 'val_label_rmse'", "val_label_accuracy"],
    ),
    "an objective on test rows of a head": (
        {"task": TWO, "objectives": {"pt_rmse": "min"}},
        HEADS,
        ["the search may look at 'val_pt_rmse'"],
    ),
    "an objective of a head the wrong way": (
        {"task": TWO, "objectives": {"val_pt_rmse": "max"}},
        HEADS,
        ["'val_pt_rmse' cannot be max"],
    ),
    # Training.
    "a plateau beside a cosine": (
        {"train__plateau": 3, "train__learning_rate_schedule": "cosine"},
        ONE,
        ["train: plateau", "cosine"],
    ),
    "a plateau that raises the rate": (
        {"train__plateau": {"factor": 2.0}},
        ONE,
        ["train.plateau.factor", "below 1"],
    ),
    "no patience": (
        {"train__early_stopping": 0},
        ONE,
        ["train.early_stopping.patience", "above 0"],
    ),
    "yes for a patience": ({"train__early_stopping": True}, ONE, ["train.early_stopping", "True"]),
    "what is not watched": (
        {"train__early_stopping": {"monitor": "accuracy"}},
        ONE,
        ["train.early_stopping.monitor", "'accuracy'", "score"],
    ),
    "early stopping of no training": (
        {"train__early_stopping": 3, "train__epochs": 0},
        ONE,
        ["early_stopping: has nothing to watch with epochs: 0"],
    ),
    "early stopping of an own training": (
        {"train__early_stopping": 3, "train__function": "wrong_own:no_task"},
        ONE,
        ["early_stopping: cannot be combined with function"],
    ),
    "clipping to nothing": ({"train__clip_norm": 0}, ONE, ["train.clip_norm", "above 0"]),
    "an own training that is not there": (
        {"train__function": "wrong_own:fitt"},
        ONE,
        ["train.function: 'wrong_own:fitt'", "no 'fitt'"],
    ),
    "an own training that is a number": (
        {"train__function": "wrong_own:setting"},
        ONE,
        ["train.function: 'wrong_own:setting' is an int, not a function"],
    ),
    "an own training without a module": (
        {"train__function": "fit"},
        ONE,
        ["train.function", "'fit'"],
    ),
    # Functions of the user's own.
    "a metric that returns an array": (
        regression(metrics=["wrong_own:array"], score="array"),
        NUMBERS,
        ["wrong_own:array", "failed on output", "ndarray of shape", "expected one number"],
    ),
    "a metric that is NaN": (
        regression(metrics=["wrong_own:nan"]),
        NUMBERS,
        ["'nan' (wrong_own:nan)", "it returned nan, expected a finite number"],
    ),
    "a metric that returns text": (
        regression(metrics=["wrong_own:text"]),
        NUMBERS,
        ["wrong_own:text", "it returned a str"],
    ),
    "a metric that raises": (
        regression(metrics=["wrong_own:raises"]),
        NUMBERS,
        ["wrong_own:raises", "failed on output", "and target", "IndexError"],
    ),
    "a metric that takes no weights": (
        regression(metrics=["wrong_own:unweighted"]),
        {**NUMBERS, "w_train": np.ones(N)},
        ["wrong_own:unweighted", "takes 2 positional arguments but 3 were given"],
    ),
    "a metric without a direction": (
        {**regression(metrics=["wrong_own:aimless"]), "objectives": {"dsp": "min"}},
        NUMBERS,
        ["task.metrics.aimless", "has no direction"],
    ),
    "a metric of a head that raises": (
        {
            "task": {"heads": {"pt": {"name": "regression", "metrics": ["wrong_own:raises"]}}},
            "objectives": {"val_pt_raises": "max"},
        },
        {"x_train": X, "y_train_pt": PT},
        ["wrong_own:raises", "failed on output"],
    ),
    "a loss for each row": (
        regression(loss="wrong_own:rows_of_loss"),
        NUMBERS,
        ["task.loss: wrong_own:rows_of_loss returned shape", "expected a scalar"],
    ),
    "a loss that raises": (
        regression(loss="wrong_own:loss_raises"),
        NUMBERS,
        ["task.loss: wrong_own:loss_raises failed on output", "and target"],
    ),
    "a loss without gradient": (
        regression(loss="wrong_own:numpy_loss"),
        NUMBERS,
        ["wrong_own:numpy_loss returned a tensor without gradient"],
    ),
    "a loss that is NaN": (
        regression(loss="wrong_own:nan_loss"),
        NUMBERS,
        ["wrong_own:nan_loss returned nan"],
    ),
    "a task that is none": (
        {"task": "wrong_own:no_task", "objectives": {"dsp": "min"}},
        ONE,
        ["task.name", "not a subclass"],
    ),
    # Networks and rows.
    "one output for two heads": (
        {"task": TWO, "model": {"name": "wrong_own:two_inputs"}},
        HEADS,
        ["missing 1 required positional argument"],
    ),
    "a network of several outputs for one task": (
        {"model": {"name": "wrong_own:pair"}},
        ONE,
        ["((2, 3), (2, 1))", "for several outputs give the task heads"],
    ),
    "a head of another name": (
        {"task": TWO, "model": {"name": "wrong_own:pair_by_name"}},
        HEADS,
        ["'mass'", "one tensor for each head of the task (label, pt)"],
    ),
    "a head of another width": (
        {"task": TWO, "model": {"name": "wrong_own:wide_pair"}},
        HEADS,
        ["the output 'pt' is (2, 2), expected (2, 1)"],
    ),
    "an input that forward does not have": (
        {"model": {"name": "wrong_own:two_inputs"}},
        {"x_train_left": X, "x_train_rihgt": X, "y_train": CLASS},
        ["has no argument 'rihgt'", "'right'"],
    ),
    "an input that the data do not have": (
        {"model": {"name": "wrong_own:two_inputs"}},
        {"x_train_left": X, "y_train": CLASS},
        ["forward needs 'right'", "x_train_left"],
    ),
    "targets of another shape": (
        task(name="binary"),
        {"x_train": X, "y_train": np.stack([BIT, BIT], 1)},
        ["y_train has shape (120, 2)", "binary"],
    ),
    "a missing head": (
        {"task": TWO},
        {"x_train": X, "y_train_label": CLASS},
        ["the head 'pt' has no targets"],
    ),
    "negative weights of rows": (
        {},
        {**ONE, "w_train": np.r_[-1.0, np.ones(N - 1)]},
        ["w_train holds 1 values that are negative", "row 0"],
    ),
    "weights of another length": (
        {},
        {**ONE, "w_train": np.ones(N - 1)},
        ["w_train has shape (119,)"],
    ),
    "anomalies without labels to measure by": (
        task(name="anomaly"),
        {"x_train": X},
        ["have the label 0, and the metric 'auc' needs rows of both"],
    ),
}


@pytest.fixture(autouse=True)
def _own(workplace: Path) -> Iterator[None]:
    (workplace / "wrong_own.py").write_text(OWN)
    before = list(sys.path)
    yield
    sys.modules.pop("wrong_own", None)
    sys.path[:] = before


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_one_sentence_and_nothing_is_written(
    run: Any, make: Any, case: str
) -> None:
    changes, arrays, words = CASES[case]
    np.savez(make.folder / "tiny.npz", **arrays)
    # The usual objectives are those of the task.
    values = {"objectives": None, **changes}
    path: Path = make.sweep(**values)
    if values["objectives"] is None:
        path.write_text(path.read_text().replace("objectives: null\n", ""))
        if any(":" in str(metric) for metric in dict(changes.get("task", {})).get("metrics", [])):
            path.write_text(path.read_text() + "objectives: {dsp: min}\n")
    before = make.files()
    refused(run("sweep", path), "tiny.yml", *words)
    assert make.files() == before
