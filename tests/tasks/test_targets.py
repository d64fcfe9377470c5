"""What targets a task takes, what it makes of them, and what it says of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rfprune.data import load
from rfprune.data.spec import DataSpec
from rfprune.errors import DataError
from rfprune.tasks import Task, TaskSpec, make_task

N = 60
X = np.random.default_rng(0).normal(size=(N, 4)).astype(np.float32)
CLASS = np.arange(N) % 3
BIT = np.arange(N) % 2
VALUE = np.linspace(-1, 1, N)


def task_of(name: str) -> Task:
    return make_task(TaskSpec(name=name))


def loaded(folder: Path, task: str, y: Any, y_test: Any = None, **spec: Any) -> Any:
    arrays = {"x_train": X[: len(y)] if len(y) <= N else X, "y_train": y}
    if y_test is not None:
        arrays |= {"x_test": X[: len(y_test)], "y_test": y_test}
    np.savez(folder / "rows.npz", **arrays)
    return load(DataSpec(file="rows.npz", **spec), folder, task_of(task))


@pytest.mark.parametrize(
    ("task", "y", "outputs", "shape", "dtype"),
    [
        ("classification", CLASS, 3, (), torch.int64),
        ("classification", CLASS.astype(np.int8), 3, (), torch.int64),
        ("classification", BIT.astype(bool), 2, (), torch.int64),
        ("classification", np.array(["a", "b", "c"])[CLASS], 3, (), torch.int64),
        ("binary", BIT, 1, (1,), torch.float32),
        ("binary", BIT[:, None], 1, (1,), torch.float32),
        ("binary", BIT.astype(np.float64), 1, (1,), torch.float32),
        ("binary", BIT.astype(bool), 1, (1,), torch.float32),
        ("regression", VALUE, 1, (1,), torch.float32),
        ("regression", VALUE[:, None], 1, (1,), torch.float32),
        ("regression", np.stack([VALUE, VALUE**2, VALUE**3], 1), 3, (3,), torch.float32),
        ("regression", np.arange(N), 1, (1,), torch.float32),
    ],
)
def test_targets_that_a_task_takes(
    tmp_path: Path, task: str, y: Any, outputs: int, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    data = loaded(tmp_path, task, y)
    assert data.n_outputs == outputs
    for part in (data.y_train, data.y_val, data.y_test):
        assert part.shape[1:] == shape
        assert part.dtype == dtype
    everything = torch.cat([data.y_train, data.y_val, data.y_test]).reshape(N, -1).double()
    wanted = {"a": 0, "b": 1, "c": 2}
    numbers = np.array([wanted.get(v, v) for v in np.asarray(y).reshape(-1).tolist()], dtype=float)
    expected = torch.from_numpy(numbers.reshape(N, -1)).float().double()
    for column, own in zip(everything.T, expected.T, strict=True):
        torch.testing.assert_close(column.sort().values, own.sort().values, rtol=0, atol=0)


def test_text_labels_are_numbered_in_alphabetical_order(tmp_path: Path) -> None:
    data = loaded(tmp_path, "classification", np.array(["dog", "cat", "ant"])[CLASS])
    assert list(data.class_names) == ["ant", "cat", "dog"]


def _with(y: np.ndarray, row: int, value: float) -> np.ndarray:
    changed = y.astype(np.float64)
    changed[row] = value
    return changed


REFUSED: list[Any] = [
    pytest.param("classification", CLASS + 0.5, None, "labels must be integers", id="fractions"),
    pytest.param("classification", CLASS - 1, None, "20 negative labels, the first in row 0 (-1)"),
    pytest.param("classification", CLASS[:, None], None, "allowed are (60,), one class per row"),
    pytest.param("classification", 2 * CLASS, None, "labels up to 4, but none is 1"),
    pytest.param("classification", 0 * CLASS, None, "y_train has only the class 0; at least two"),
    pytest.param("classification", CLASS, CLASS[:9] + 1, "row 2 of y_test has label 3"),
    pytest.param("binary", CLASS, None, "20 labels that are not 0 or 1, the first in row 2 (2)"),
    pytest.param("binary", 2 * BIT - 1, None, "the first in row 0 (-1)"),
    pytest.param("binary", 0.5 + 0.25 * BIT, None, "not 0 or 1, the first in row 0 (0.5)"),
    pytest.param("binary", np.stack([BIT, BIT], 1), None, "has shape (60, 2); allowed"),
    pytest.param("binary", 0 * BIT, None, "all have the label 0; both 0 and 1 are needed"),
    pytest.param("binary", 0 * BIT + 1, None, "all have the label 1; both 0 and 1 are needed"),
    pytest.param("binary", _with(BIT, 7, np.nan), None, "1 values that are NaN or infinite"),
    pytest.param("binary", BIT, BIT[:9] + 1, "y_test holds 4 labels that are not 0 or 1"),
    pytest.param("binary", np.array(["no", "yes"])[BIT], None, "y_train"),
    pytest.param("regression", _with(VALUE, 7, np.nan), None, "the first in row 7"),
    pytest.param("regression", _with(VALUE, 9, np.inf), None, "the first in row 9"),
    pytest.param("regression", VALUE.reshape(-1, 1, 1), None, "has shape (60, 1, 1); allowed"),
    pytest.param(
        "regression", np.stack([VALUE, 0 * VALUE + 2], 1), None, "column 1 of y_train is 2"
    ),
    pytest.param("regression", np.zeros(N), None, "column 0 of y_train is 0 in every row"),
    pytest.param(
        "regression", VALUE, np.stack([VALUE, VALUE], 1)[:9], "a row of y_test has 2 numbers"
    ),
    pytest.param("regression", np.array(["no", "yes"])[BIT], None, "allowed are real numbers"),
    pytest.param("regression", VALUE + 1j, None, "complex128; allowed are real numbers"),
]


@pytest.mark.parametrize(("task", "y", "y_test", "message"), REFUSED)
def test_targets_that_a_task_refuses(
    tmp_path: Path, task: str, y: np.ndarray, y_test: np.ndarray | None, message: str
) -> None:
    with pytest.raises(DataError) as caught:
        loaded(tmp_path, task, y, y_test)
    text = str(caught.value)
    assert message in text
    assert "rows.npz" in text
    assert "\n" not in text


@pytest.mark.parametrize("task", ["classification", "binary", "regression"])
def test_rows_and_targets_must_be_as_many(task: str) -> None:
    found = task_of(task)
    train = found.encode("rows.npz", {"train": BIT[:50].astype(np.int64)})["train"]
    with pytest.raises(DataError, match=r"y_train has 50 rows, but x_train has 60"):
        found.check("rows.npz", "train", train, 60)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_only_classes_can_be_picked(tmp_path: Path, task: str) -> None:
    with pytest.raises(DataError, match=f"data.classes: a {task} task has no classes"):
        loaded(tmp_path, task, BIT, classes=[0, 1])


def test_a_training_part_without_one_of_the_labels_is_refused() -> None:
    with pytest.raises(DataError, match="none of the 3 training rows has class 2"):
        task_of("classification").check_split("rows.npz", np.array([0, 1, 0]), 3)
    with pytest.raises(DataError, match="the 3 training rows all have the label 1"):
        task_of("binary").check_split("rows.npz", np.array([1, 1, 1]), 1)
    task_of("regression").check_split("rows.npz", np.ones((3, 1)), 1)
