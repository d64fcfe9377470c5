"""The user's own files: every fault is a sentence that names file, array and row."""

import pickle

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from rfprune.data import load
from rfprune.data.spec import DataSpec
from rfprune.errors import DataError


def good():
    """Arrays of a small, faultless data set."""
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    y = np.arange(60) % 3
    return {"x_train": x[:40], "y_train": y[:40], "x_test": x[40:], "y_test": y[40:]}


def replaced(name, index, value):
    """The good arrays with one entry changed."""
    arrays = good()
    arrays[name] = arrays[name].copy()
    arrays[name][index] = value
    return arrays


def without(name, **others):
    """The good arrays without one, and with others."""
    arrays = good() | others
    del arrays[name]
    return arrays


def changed(**others):
    return good() | others


NPZ_FAULTS = {
    "missing": (
        without("x_train", X_train=np.eye(3)),
        r"array 'x_train' is missing. Did you mean 'X_train'\? Found: y_train, x_test",
    ),
    "half a test part": (without("y_test"), "array 'y_test' is missing"),
    "nan": (replaced("x_train", (7, 1), np.nan), "x_train holds 1 values .* first in row 7;"),
    "inf": (replaced("x_test", (3, slice(None)), -np.inf), "x_test holds 3 values .* in row 3;"),
    "too large": (
        changed(x_train=np.full((40, 3), 1e39)),
        r"x_train holds 120 values beyond float32's 3.4e\+38, the first in row 0",
    ),
    "rows": (changed(y_train=np.arange(39) % 3), "y_train has 39 rows, but x_train has 40"),
    "test features": (
        changed(x_test=np.ones((20, 4))),
        r"row of x_test has shape \(4,\), a row of x_train \(3,\)",
    ),
    "float labels": (
        changed(y_train=np.arange(40) % 3 * 1.0),
        "y_train is of type float64; labels must be integers",
    ),
    "several labels per row": (
        changed(y_train=np.tri(3)[np.arange(40) % 3].astype(int)),
        r"y_train has shape \(40, 3\); allowed are \(40,\), one class per row, and one-hot rows",
    ),
    "negative label": (
        replaced("y_train", 5, -1),
        r"y_train has 1 negative labels, the first in row 5 \(-1\)",
    ),
    "gap": (replaced("y_train", slice(None), np.arange(40) % 2 * 2), "none is 1"),
    "one-based": (changed(y_train=np.arange(40) % 3 + 1), "labels up to 3, but none is 0"),
    "test label": (
        replaced("y_test", 4, 9),
        r"row 4 of y_test has label 9; y_train has classes 0\.\.2",
    ),
    "one class": (changed(y_train=np.zeros(40, int)), "has only the class 0; at least two"),
    "empty": (
        changed(x_train=np.ones((0, 3)), y_train=np.ones(0, int)),
        r"x_train has shape \(0, 3\); .* none of them empty",
    ),
    "flat": (changed(x_train=np.ones(40)), r"x_train has shape \(40,\); allowed"),
    "text": (changed(x_train=np.full((40, 3), "a")), "x_train is of type <U1"),
    "complex": (changed(x_train=np.full((40, 3), 1j)), "x_train is of type complex128"),
    "objects": (
        changed(x_train=np.full((40, 3), None)),
        "array 'x_train' holds Python objects, which would have to be unpickled",
    ),
    "class names": (changed(classes=np.array(["a", "b"])), "2 class names for 3 classes"),
    "foreign text label": (
        changed(y_train=np.array(["a", "b"] * 20), y_test=np.array(["a", "c"] * 10)),
        "row 1 of y_test has the class 'c', which y_train lacks; its classes are a, b",
    ),
    "mixed labels": (
        changed(y_train=np.array(["a", "b"] * 20)),
        "y_test is of type int64, but y_train holds text",
    ),
}


@pytest.mark.parametrize("fault", NPZ_FAULTS)
def test_faults_of_arrays(tmp_path, fault):
    arrays, message = NPZ_FAULTS[fault]
    path = tmp_path / "faulty.npz"
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=message) as error:
        load(DataSpec(file=str(path)))
    assert str(path) in str(error.value)


def test_the_good_arrays_load(tmp_path):
    np.savez(tmp_path / "good.npz", classes=np.array(["a", "b", "c"]), other=np.ones(3), **good())
    data = load(DataSpec(file="good.npz"), base_dir=tmp_path)
    assert data.rows == {"train": 34, "val": 6, "test": 20}
    assert data.class_names == ("a", "b", "c")
    assert data.name == "good"


def test_text_labels_become_numbers(tmp_path):
    names = np.array(["t", "g", "q"])
    arrays = good()
    arrays["y_train"], arrays["y_test"] = names[arrays["y_train"]], names[arrays["y_test"]]
    np.savez(tmp_path / "text.npz", **arrays)
    np.savez(tmp_path / "number.npz", **good())
    text = load(DataSpec(file="text.npz"), base_dir=tmp_path)
    number = load(DataSpec(file="number.npz"), base_dir=tmp_path)
    assert text.class_names == ("g", "q", "t")
    assert torch.equal(text.y_test, torch.tensor([2, 0, 1])[number.y_test])


class Hostile:
    """Its unpickling would fail the test."""

    def __reduce__(self):
        return pytest.fail, ("unpickled",)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npz", b"", "not a readable .npz archive"),
        ("a.npz", b"PK\x03\x04 and no more", "not a readable .npz archive"),
        ("a.npz", b"hello world" * 9, "not a readable .npz archive"),
        ("a.npz", pickle.dumps(Hostile()), "not a readable .npz archive"),
        ("a.parquet", b"hello world" * 9, "not a readable .parquet file"),
        (
            "a.xls",
            b"1,2",
            r"unknown kind of data file '\.xls'; allowed are \.npz, \.npy, \.parquet",
        ),
        ("a.csv", b"1,2", r"first line holds numbers \(1, 2, \.\.\.\); it must name the columns"),
    ],
)
def test_unreadable_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(DataSpec(file=name), base_dir=tmp_path)


def test_a_cut_archive(tmp_path):
    np.savez(tmp_path / "whole.npz", **good())
    whole = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    damaged = bytearray(whole)
    damaged[200:240] = bytes(40)
    (tmp_path / "damaged.npz").write_bytes(damaged)
    for name in ("cut.npz", "damaged.npz"):
        with pytest.raises(DataError, match="not a readable"):
            load(DataSpec(file=name), base_dir=tmp_path)


def test_a_single_array_is_no_archive(tmp_path):
    with (tmp_path / "one.npz").open("wb") as file:
        np.save(file, np.eye(3))
    with pytest.raises(DataError, match="a single array"):
        load(DataSpec(file="one.npz"), base_dir=tmp_path)


def test_the_places_where_a_file_is_looked_for(tmp_path, monkeypatch):
    base, here, store = (tmp_path / name for name in ("base", "here", "store"))
    for folder in (base, here, store):
        folder.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("RFPRUNE_DATA", str(store))
    spec = DataSpec(file="d.npz", standardize=False)
    with pytest.raises(DataError, match="does not exist") as error:
        load(spec, base_dir=base)
    places = [str(folder / "d.npz") for folder in (base, here, store)]
    assert ", ".join(places) in str(error.value)
    for value, folder in enumerate((store, here, base)):
        np.savez(folder / "d.npz", **changed(x_test=np.full((20, 3), value)))
        assert load(spec, base_dir=base).x_test[0, 0] == value
    monkeypatch.delenv("RFPRUNE_DATA")
    with pytest.raises(DataError, match="RFPRUNE_DATA is not set"):
        load(DataSpec(file="absent.npz"))


def write_table(path, **columns):
    path.parent.mkdir(exist_ok=True)
    parquet.write_table(pa.table(columns), path)


def columns(n=40, **others):
    """Columns of a faultless table."""
    a = np.arange(n, dtype=np.float64)
    return {"a": a, "b": -a.astype(np.int32), "label": np.arange(n) % 2} | others


def test_a_parquet_file(tmp_path):
    write_table(tmp_path / "d.parquet", **columns(on=[True, False] * 20))
    data = load(DataSpec(file="d.parquet", standardize=False), base_dir=tmp_path)
    assert data.rows == {"train": 27, "val": 5, "test": 8}
    assert torch.equal(data.x_train[:, 1], -data.x_train[:, 0])
    assert torch.equal(data.x_train[:, 0].long() % 2, data.y_train)
    assert torch.equal(data.x_train[:, 2], 1.0 - data.y_train)


def test_a_folder_of_parquet_files(tmp_path):
    folder = tmp_path / "d"
    text = pa.array(["h", "g"] * 20).dictionary_encode()
    write_table(folder / "train.parquet", **columns(kind=text))
    only = load(DataSpec(file="d", label_column="kind"), base_dir=tmp_path)
    assert sum(only.rows.values()) == 40
    test = columns(10, kind=["g", "h"] * 5)
    write_table(folder / "test.parquet", **dict(reversed(test.items())))
    spec = DataSpec(file="d", label_column="kind", standardize=False)
    data = load(spec, base_dir=tmp_path)
    assert data.rows == {"train": 34, "val": 6, "test": 10}
    assert data.class_names == ("g", "h")
    assert data.y_test.tolist() == [0, 1] * 5
    assert data.x_test[:, 0].tolist() == list(range(10))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (columns(Label=[0] * 40, label=[1.5] * 40), "y_train is of type float64"),
        ({"a": [1.0], "lable": [0]}, r"column 'label' is missing. Did you mean 'lable'\?"),
        (
            columns(c=["x"] * 40),
            r"column 'c' holds text \('x' in row 0\); a feature or weight must be a number",
        ),
        (columns(c=[None] + [1.0] * 39), "x_train holds 1 values that are NaN .* in row 0"),
        (columns(label=[None] + [1] * 39), "column 'label' has 1 empty cells"),
        ({"label": [0, 1]}, "no feature column besides 'label'"),
    ],
)
def test_faults_of_tables(tmp_path, table, message):
    write_table(tmp_path / "d.parquet", **table)
    with pytest.raises(DataError, match=message):
        load(DataSpec(file="d.parquet"), base_dir=tmp_path)


def test_faults_of_folders(tmp_path):
    (tmp_path / "d").mkdir()
    with pytest.raises(DataError, match=r"a folder without train\.parquet"):
        load(DataSpec(file="d"), base_dir=tmp_path)
    write_table(tmp_path / "d" / "train.parquet", **columns())
    write_table(tmp_path / "d" / "test.parquet", **columns(c=[1] * 40))
    with pytest.raises(DataError, match="column 'c' is not in the training file"):
        load(DataSpec(file="d"), base_dir=tmp_path)
    np.savez(tmp_path / "g.npz", **good())
    with pytest.raises(
        DataError, match=r"data\.label_column: .* holds arrays by name and has no columns"
    ):
        load(DataSpec(file="g.npz", label_column="y"), base_dir=tmp_path)
