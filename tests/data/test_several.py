"""Several inputs, several targets, weights of rows and validation parts: from arrays to tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rfprune.core.named import Named, call, plain_shape, shape_of, zero_rows
from rfprune.data import Dataset, DataSpec, load
from rfprune.errors import DataError
from rfprune.tasks import TaskSpec, make_task

N = 60
RNG = np.random.default_rng(0)
TRACKS = RNG.normal(5, 3, (N, 4)).astype(np.float32)
IMAGE = RNG.integers(0, 256, (N, 6, 6)).astype(np.uint8)
LABEL, PT = np.arange(N) % 3, RNG.normal(size=N).astype(np.float32)
WEIGHT = RNG.uniform(0.5, 2, N)
HEADS = {"heads": {"label": "classification", "pt": "regression"}}


def loaded(
    folder: Path, arrays: dict[str, Any], task: Any = "classification", **spec: Any
) -> Dataset:
    np.savez(folder / "rows.npz", **arrays)
    made = make_task(TaskSpec.model_validate(task))
    return load(DataSpec(file="rows.npz", **spec), folder, made)


def test_each_input_is_laid_out_and_scaled_alone(tmp_path: Path) -> None:
    arrays = {"x_train_tracks": TRACKS, "x_train_image": IMAGE, "y_train": LABEL}
    data = loaded(tmp_path, arrays)
    assert data.input_shape == {"tracks": (4,), "image": (1, 6, 6)}
    assert isinstance(data.x_train, Named)
    tracks, image = data.x_train.parts["tracks"], data.x_train.parts["image"]
    torch.testing.assert_close(tracks.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(tracks.std(0, correction=0), torch.ones(4))
    assert 0 <= float(image.min()) <= float(image.max()) <= 1
    assert data.scale.parts["image"].unique().tolist() == [255.0]
    # Rows of all inputs stay together.
    raw = tracks * data.scale.parts["tracks"] + data.offset.parts["tracks"]
    for own, picture, label in zip(raw, image, data.y_train, strict=True):
        row = int(np.abs(TRACKS - own.numpy()).sum(1).argmin())
        assert label == LABEL[row]
        np.testing.assert_allclose(picture[0].numpy() * 255, IMAGE[row], atol=1e-3)


def test_heads_and_weights_go_with_their_rows(tmp_path: Path) -> None:
    arrays = {"x_train": TRACKS, "y_train_label": LABEL, "y_train_pt": PT, "w_train": WEIGHT}
    data = loaded(tmp_path, arrays, HEADS, standardize=False)
    assert data.n_outputs == {"label": 3, "pt": 1}
    parts = [
        (data.x_train, data.y_train, data.w_train),
        (data.x_val, data.y_val, data.w_val),
        (data.x_test, data.y_test, data.w_test),
    ]
    seen = []
    for x, y, w in parts:
        for own, label, pt, weight in zip(x, y.parts["label"], y.parts["pt"], w, strict=True):
            row = int(np.abs(TRACKS - own.numpy()).sum(1).argmin())
            seen.append(row)
            assert (label, pt) == (LABEL[row], PT[row])
            assert float(weight) == pytest.approx(WEIGHT[row])
    assert sorted(seen) == list(range(N))


def test_a_validation_part_is_used_and_no_split_is_made(tmp_path: Path) -> None:
    arrays = {
        "x_train": TRACKS[:30], "y_train": LABEL[:30],
        "x_val": TRACKS[30:45], "y_val": LABEL[30:45], "w_val": WEIGHT[30:45],
        "x_test": TRACKS[45:], "y_test": LABEL[45:],
    }  # fmt: skip
    data = loaded(tmp_path, arrays, standardize=False)
    assert data.rows == {"train": 30, "val": 15, "test": 15}
    np.testing.assert_array_equal(data.x_val.numpy(), TRACKS[30:45])
    np.testing.assert_allclose(data.w_val.numpy(), WEIGHT[30:45], rtol=1e-6)
    assert (data.w_train, data.w_test) == (None, None)
    without_test = {name: array for name, array in arrays.items() if "test" not in name}
    assert loaded(tmp_path, without_test).rows == {"train": 24, "val": 15, "test": 6}
    with pytest.raises(DataError, match="has its own validation part of 15 rows"):
        loaded(tmp_path, arrays, val_fraction=0.3)


def test_some_classes_take_their_weights_along(tmp_path: Path) -> None:
    arrays = {"x_train": TRACKS, "y_train": LABEL, "w_train": np.where(LABEL == 1, 2.0, 1.0)}
    data = loaded(tmp_path, arrays, classes=[1, 2])
    assert data.w_train is not None
    assert torch.equal(data.w_train, torch.where(data.y_train == 0, 2.0, 1.0))


def test_anomalies_are_left_out_of_training_alone(tmp_path: Path) -> None:
    odd = (np.arange(N) % 5 == 0).astype(int)
    data = loaded(tmp_path, {"x_train": TRACKS, "y_train": odd, "w_train": WEIGHT}, "anomaly")
    assert data.y_train.max() == 0
    assert data.y_val.max() == data.y_test.max() == 1
    assert len(data.x_train) == len(data.y_train) == len(data.w_train)
    total = sum(data.rows.values())
    assert total < N
    (note,) = data.notes
    assert note == f"{N - total} training rows are left out: their label is not 0."
    flat = {"x_val": TRACKS[:20], "y_val": odd[:20], "x_test": TRACKS[20:], "y_test": odd[20:]}
    bare = loaded(tmp_path, {"x_train": TRACKS, **flat}, "anomaly")
    assert bare.rows == {"train": 60, "val": 20, "test": 40}


def test_what_only_passes_rows_on_need_not_know_how_many_inputs_there_are() -> None:
    rows = Named({"a": torch.arange(12.0).reshape(6, 2), "b": torch.arange(6.0)[:, None]})
    assert len(rows) == 6
    assert shape_of(rows) == {"a": (2,), "b": (1,)}
    assert shape_of(rows.parts["a"]) == (2,)
    picked = rows.index_select(0, torch.tensor([4, 0]))
    assert picked.parts["b"].tolist() == [[4.0], [0.0]]
    assert [len(part) for part in rows.split(4)] == [4, 2]
    assert rows[1:3].parts["a"].tolist() == [[2.0, 3.0], [4.0, 5.0]]
    assert call(lambda b, a: (a, b), rows)[1] is rows.parts["b"]
    assert plain_shape({"a": [2], "b": [1]}) == shape_of(rows)
    assert zero_rows(3, (2, 2)).shape == (3, 2, 2)
    assert zero_rows(3, {"a": (2,)}).parts["a"].shape == (3, 2)


WHOLE = {"x_train_a": TRACKS, "x_train_b": TRACKS, "y_train_label": LABEL, "y_train_pt": PT}
TEST = {"x_test_a": TRACKS, "x_test_b": TRACKS, "y_test_label": LABEL, "y_test_pt": PT}


def changed(array: np.ndarray, row: int, value: float) -> np.ndarray:
    copy = array.astype(np.float64)
    copy[row] = value
    return copy


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "one array and named ones": ({**WHOLE, "x_train": TRACKS}, "both 'x_train' and 'x_train_a'"),
    "an input without a test part": (
        {**WHOLE, **{k: v for k, v in TEST.items() if k != "x_test_b"}},
        "array 'x_test_b' is missing",
    ),
    "an input of the test alone": (
        {**WHOLE, **TEST, "x_test_c": TRACKS},
        "array 'x_train_c' is missing",
    ),
    "inputs of unlike length": (
        {**WHOLE, "x_train_b": TRACKS[:50]},
        "x_train_b has 50 rows, but the first input has 60",
    ),
    "an input with NaN": (
        {**WHOLE, "x_train_b": changed(TRACKS, 3, np.nan)},
        r"x_train_b holds 4 values .* row 3",
    ),
    "an input of text": ({**WHOLE, "x_train_b": np.full((N, 2), "x")}, "x_train_b is of type"),
    "a test part of another shape": (
        {**WHOLE, **TEST, "x_test_b": TRACKS[:, :2]},
        r"a row of x_test_b has shape \(2,\)",
    ),
    "a missing head": (
        {k: v for k, v in WHOLE.items() if k != "y_train_pt"},
        "the head 'pt' has no targets; needed is y_train_pt. Found",
    ),
    "one target for heads": (
        {"x_train_a": TRACKS, "y_train": LABEL},
        "'label' has no targets; needed is y_train_label. Found: y_train",
    ),
    "a head of a wrong kind": (
        {**WHOLE, "y_train_label": LABEL + 0.5},
        "y_train_label is of type float64; labels must be integers",
    ),
    "a head of unlike length": (
        {**WHOLE, "y_train_pt": PT[:50]},
        "y_train_pt has 50 rows, but x_train has 60",
    ),
    "a constant head": (
        {**WHOLE, "y_train_pt": 0 * PT},
        "column 0 of y_train_pt is 0 in every row",
    ),
    "weights of wrong length": (
        {**WHOLE, "w_train": WEIGHT[:50]},
        r"w_train has shape \(50,\), but x_train has 60 rows",
    ),
    "weights per output": ({**WHOLE, "w_train": np.ones((N, 2))}, r"w_train has shape \(60, 2\)"),
    "negative weights": (
        {**WHOLE, "w_train": changed(WEIGHT, 7, -1)},
        r"negative, NaN or infinite, the first in row 7 \(-1\)",
    ),
    "NaN among weights": (
        {**WHOLE, "w_train": changed(WEIGHT, 8, np.nan)},
        r"first in row 8 \(nan\)",
    ),
    "text as weights": (
        {**WHOLE, "w_train": np.full(N, "1")},
        "w_train is of type <U1; allowed are numbers",
    ),
    "weights that are all 0": ({**WHOLE, "w_train": np.zeros(N)}, "w_train is 0 in all 60 rows"),
    "weights of a head": (
        {**WHOLE, "w_train_pt": WEIGHT},
        "'w_train_pt': weights are of whole rows",
    ),
    "weights without rows": ({**WHOLE, "w_test": WEIGHT}, "array 'x_test' is missing"),
    "half a validation part": (
        {**WHOLE, "x_val_a": TRACKS, "x_val_b": TRACKS},
        "array 'y_val' is missing",
    ),
    "no labels": ({"x_train_a": TRACKS}, "array 'y_train' is missing; only the task anomaly"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_arrays_that_do_not_go_together(tmp_path: Path, case: str) -> None:
    arrays, message = REFUSED[case]
    with pytest.raises(DataError, match=message) as caught:
        loaded(tmp_path, arrays, HEADS)
    assert "rows.npz: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("task", "y", "message"),
    [
        ("multilabel", LABEL, r"has shape \(60,\); allowed for a multilabel task is \(60, K\)"),
        (
            "multilabel",
            np.stack([LABEL, LABEL], 1),
            "labels that are not 0 or 1, the first in row 2",
        ),
        ("multilabel", np.stack([LABEL % 2, 0 * LABEL], 1), "label 1 is 0 in all 60 training rows"),
        ("anomaly", LABEL, "20 labels that are not 0 or 1, the first in row 2"),
        (
            "anomaly",
            np.stack([LABEL % 2] * 2, 1),
            r"has shape \(60, 2\); allowed for an anomaly task",
        ),
        ("anomaly", 0 * LABEL, "all 7 rows of y_val have the label 0, and the metric 'auc' needs"),
        ("anomaly", 0 * LABEL + 1, "none of the training rows has label 0"),
        ("binary", np.r_[np.ones(59), 0], "training rows all have the label 1"),
    ],
)
def test_targets_that_do_not_suit_the_task(
    tmp_path: Path, task: str, y: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        loaded(tmp_path, {"x_train": TRACKS, "y_train": y}, task)


def test_a_reconstruction_has_one_input(tmp_path: Path) -> None:
    arrays = {"x_train_a": TRACKS, "x_train_b": TRACKS, "y_train": (LABEL > 1).astype(int)}
    with pytest.raises(DataError, match="is for one input, and the data have a, b"):
        loaded(tmp_path, arrays, {"name": "anomaly", "loss": "reconstruction"})
    one = {"x_train": IMAGE, "y_train": (LABEL > 1).astype(int)}
    found = loaded(tmp_path, one, {"name": "anomaly", "loss": "reconstruction"})
    assert (found.input_shape, found.n_outputs) == ((1, 6, 6), 36)
