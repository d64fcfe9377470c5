"""Features that stay in their file: the same rows, splits, scaling and results as in memory."""

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from pyarrow import parquet

from rfprune.data import StoredRows, load
from rfprune.data.spec import DataSpec
from rfprune.data.stored import rows as stored_rows
from rfprune.errors import DataError
from rfprune.models import ModelSpec, build
from rfprune.spec.training import TrainSpec
from rfprune.tasks import TaskSpec, make_task
from rfprune.training import Fit, batches, fit, measure, outputs_of, settle_norms, teacher_of

ROWS, FEATURES = 5000, 6
TASK = make_task(TaskSpec())


@pytest.fixture(autouse=True)
def small_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # So small that a few thousand rows are many pieces and several windows.
    monkeypatch.setattr(stored_rows, "_PIECE_BYTES", 200 * FEATURES * 4)
    monkeypatch.setattr(stored_rows, "_WINDOW_BYTES", 1000 * FEATURES * 4)


def arrays() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(ROWS, FEATURES)) * [1, 2, 3, 40, 5, 0] + [0, 9, 0, 700, 1, 3]).astype(
        "f4"
    )
    # Sorted by class, as files often are.
    y = np.sort(rng.integers(0, 3, ROWS))
    x[:, 0] += y
    return x, y


def write(folder: Path, kind: str) -> DataSpec:
    x, y = arrays()
    columns = [f"f{i}" for i in range(FEATURES)]
    table = pd.DataFrame(x, columns=columns).assign(label=y, other=1.5)
    spec = {"features": columns}
    if kind == "npy":
        np.save(folder / "x.npy", x)
        np.save(folder / "y.npy", y)
        spec = {}
    elif kind == "h5 arrays":
        with h5py.File(folder / "x.h5", "w") as file:
            file.create_dataset("x_train", data=x, chunks=(64, FEATURES), compression="gzip")
            file["y_train"] = y
        return DataSpec(file=str(folder / "x.h5"))
    elif kind == "h5 columns":
        with h5py.File(folder / "x.h5", "w") as file:
            for name in table:
                file[f"events/{name}"] = table[name].to_numpy()
        return DataSpec(file=str(folder / "x.h5"), group="events", **spec)
    elif kind == "h5 records":
        with h5py.File(folder / "x.h5", "w") as file:
            file["events"] = table.to_records(index=False)
        return DataSpec(file=str(folder / "x.h5"), group="events", **spec)
    elif kind == "parquet":
        table.to_parquet(folder / "x.parquet", row_group_size=333)
        assert parquet.ParquetFile(folder / "x.parquet").num_row_groups > 10
    return DataSpec(file=str(folder / f"x.{kind}"), **spec)


KINDS = ["npy", "h5 arrays", "h5 columns", "h5 records", "parquet"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_rows_as_in_memory(tmp_path: Path, kind: str) -> None:
    spec = write(tmp_path, kind)
    stored = load(spec.model_copy(update={"stream": True}))
    held = load(spec.model_copy(update={"stream": False}))
    assert isinstance(stored.x_train, StoredRows)
    assert isinstance(held.x_train, torch.Tensor)
    assert stored.rows == held.rows
    torch.testing.assert_close(stored.offset, held.offset, rtol=1e-6, atol=0)
    torch.testing.assert_close(stored.scale, held.scale, rtol=1e-6, atol=0)
    for part in ("train", "val", "test"):
        mine, theirs = getattr(stored, f"x_{part}"), getattr(held, f"x_{part}")
        # In the order of the file, where those in memory are in that of the split.
        order = np.lexsort(theirs.numpy().T)
        again = np.lexsort(mine[:].numpy().T)
        torch.testing.assert_close(mine[:][again], theirs[order], rtol=1e-5, atol=1e-5)
        assert torch.equal(
            getattr(stored, f"y_{part}")[again].sort()[0],
            getattr(held, f"y_{part}")[order].sort()[0],
        )


@pytest.mark.parametrize("kind", KINDS)
def test_every_way_to_ask_for_rows(tmp_path: Path, kind: str) -> None:
    x = load(write(tmp_path, kind).model_copy(update={"stream": True})).x_train
    whole = x[:]
    assert whole.shape == tuple(x.shape)
    assert len(x) == len(whole)
    assert torch.equal(x[10:20], whole[10:20])
    assert torch.equal(x[3:900:7], whole[3:900:7])
    assert len(x[5:5]) == 0
    for rows in (1, 97, 4096):
        parts = list(x.split(rows))
        assert torch.equal(torch.cat(parts), whole)
        assert {len(part) for part in parts[:-1]} <= {rows}
    index = torch.randint(len(x), (500,), generator=torch.Generator().manual_seed(0))
    assert torch.equal(x.index_select(0, index), whole[index])
    assert torch.equal(x[index], whole[index])


@pytest.mark.parametrize("kind", KINDS)
def test_an_epoch_sees_every_row_once_and_mixes_them(tmp_path: Path, kind: str) -> None:
    data = load(write(tmp_path, kind).model_copy(update={"stream": True}))
    whole = data.x_train[:]
    seen, mixed = [], []
    for index in batches(data.x_train, 64, torch.Generator().manual_seed(1)):
        assert torch.equal(data.x_train.index_select(0, index), whole[index])
        seen.append(index)
        mixed.append(len(data.y_train[index].unique()))
    assert sorted(torch.cat(seen).tolist()) == list(range(len(whole)))
    assert {len(index) for index in seen[:-1]} == {64}
    # The file is sorted by class: without windows of distant pieces a batch would hold one class.
    assert np.mean(mixed) > 2
    again = list(batches(data.x_train, 64, torch.Generator().manual_seed(1)))
    assert all(map(torch.equal, seen, again))


def test_a_training_learns_from_the_file(tmp_path: Path) -> None:
    spec = write(tmp_path, "parquet")
    stored = load(spec.model_copy(update={"stream": True}))
    held = load(spec.model_copy(update={"stream": False}))
    scores = {}
    for name, data in (("stored", stored), ("held", held)):
        model = build(ModelSpec(name="mlp", args={"batch_norm": True}), (FEATURES,), 3)
        torch.manual_seed(0)
        how = Fit(6, 0.01, TrainSpec(batch_size=64), seed=0, task=TASK)
        fit(model, data.x_train, data.y_train, how)
        taught = Fit(
            1,
            0.001,
            TrainSpec(batch_size=64),
            seed=1,
            teacher=teacher_of(model, data.x_train, TASK),
            distillation=0.5,
        )
        fit(model, data.x_train, data.y_train, taught)
        settle_norms(model, data.x_train, 64)
        scores[name] = measure(model, data.x_val, data.y_val, TASK)["accuracy"]
    assert scores["stored"] == pytest.approx(scores["held"], abs=0.04)
    assert scores["held"] > 0.5
    assert len(outputs_of(model, stored.x_test)) == len(stored.y_test)


def test_a_file_is_read_once_for_its_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = write(tmp_path, "npy").model_copy(update={"stream": True})
    first = load(spec)
    reads = []
    read = stored_rows.Stored.read
    monkeypatch.setattr(
        stored_rows.Stored, "read", lambda self, *at: (reads.append(at), read(self, *at))[1]
    )
    second = load(spec)
    assert reads == []
    assert second.sha256 == first.sha256
    assert load(spec.model_copy(update={"split_seed": 1})).sha256 != first.sha256
    assert reads
    x, _ = arrays()
    x[7, 3] += 1
    np.save(tmp_path / "x.npy", x)
    assert load(spec).sha256 != first.sha256


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_that_is_not_finite_is_found(tmp_path: Path, kind: str) -> None:
    original = arrays

    def faulty() -> tuple[np.ndarray, np.ndarray]:
        x, y = original()
        x[4321, 2] = np.nan
        return x, y

    globals()["arrays"] = faulty
    try:
        spec = write(tmp_path, kind)
    finally:
        globals()["arrays"] = original
    with pytest.raises(DataError, match="holds a value that is NaN, infinite or beyond float32"):
        load(spec.model_copy(update={"stream": True}))


def test_images_and_flattened_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", rng.integers(0, 256, (300, 8, 6, 3), dtype=np.uint8))
    np.save(tmp_path / "y.npy", np.arange(300) % 3)
    for changes in ({}, {"flatten": True}, {"standardize": True}):
        spec = DataSpec(file=str(tmp_path / "x.npy"), **changes)
        held, stored = load(spec), load(spec.model_copy(update={"stream": True}))
        assert held.input_shape == stored.input_shape
        torch.testing.assert_close(stored.offset, held.offset)
        torch.testing.assert_close(stored.scale, held.scale)
        torch.testing.assert_close(
            stored.x_test[:].mean(), held.x_test.mean(), rtol=1e-4, atol=1e-6
        )
    raw = stored.in_raw_units().x_test[:]
    assert torch.equal(raw, raw.round())
    assert raw.max() == 255


def test_the_limit_decides_on_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = write(tmp_path, "npy")
    assert isinstance(load(spec).x_train, torch.Tensor)
    monkeypatch.setattr("rfprune.data.stored.features.LIMIT_BYTES", ROWS * FEATURES * 4 - 1)
    assert isinstance(load(spec).x_train, StoredRows)
    assert isinstance(load(spec.model_copy(update={"stream": False})).x_train, torch.Tensor)
