"""Tables, arrays and functions of the user's own, in real files: what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch

from rfprune.data import data_files, load
from rfprune.data.overview import overview
from rfprune.data.spec import DataSpec
from rfprune.tasks import TaskSpec, make_task

N = 80
RNG = np.random.default_rng(0)
TABLE = pd.DataFrame(
    {
        "pt": RNG.normal(size=N).astype("f4"),
        "eta": RNG.normal(size=N).astype("f4"),
        "n": RNG.integers(0, 9, N),
        "is_mc": RNG.random(N) > 0.5,
        "flavour": np.array(["b", "c", "light"])[np.arange(N) % 3],
        "weight": RNG.random(N) + 0.5,
        "mass": RNG.normal(size=N).astype("f4"),
    }
)
ALL = ["pt", "eta", "n", "is_mc"]


def write(folder: Path, name: str) -> None:
    path = folder / name
    if name == "d.csv":
        TABLE.to_csv(path, index=False)
    elif name == "index.csv":
        TABLE.to_csv(path)
    elif name == "semicolon.csv":
        TABLE.to_csv(path, index=False, sep=";")
    elif name == "packed.csv.gz":
        TABLE.to_csv(path, index=False)
    elif name == "d.parquet":
        TABLE.to_parquet(path, row_group_size=17)
    elif name == "columns.h5":
        with h5py.File(path, "w") as file:
            for column in TABLE:
                text = column == "flavour"
                values = TABLE[column]
                file[f"events/{column}"] = values.astype("S") if text else values.to_numpy()
    elif name == "records.h5":
        with h5py.File(path, "w") as file:
            file["events"] = TABLE.astype({"flavour": "S5"}).to_records(
                index=False, column_dtypes={"flavour": "S5"}
            )
    else:
        uproot = pytest.importorskip("uproot", reason="the package uproot is not installed")
        branches: dict[str, Any] = {c: TABLE[c].to_numpy() for c in TABLE if c != "flavour"}
        with uproot.recreate(path) as file:
            if name == "rntuple.root":
                file["events"] = {**branches, "flavour": list(TABLE["flavour"])}
            else:
                branches["flavour"] = np.arange(N) % 3
                file.mktree("events", {c: values.dtype for c, values in branches.items()})
                file["events"].extend(branches)


FILES = [
    *("d.csv", "index.csv", "semicolon.csv", "packed.csv.gz", "d.parquet", "columns.h5"),
    *("records.h5", "ttree.root", "rntuple.root"),
]


def of(folder: Path, name: str, **keys: Any) -> DataSpec:
    group = {"group": "events"} if name.endswith(".h5") else {}
    return DataSpec(file=str(folder / name), standardize=False, **group, **keys)


@pytest.mark.parametrize("name", FILES)
def test_named_columns_are_used_and_the_others_are_said(tmp_path: Path, name: str) -> None:
    write(tmp_path, name)
    spec = of(
        tmp_path, name, features=["p*", "eta", "n", "is_mc"], target="flavour", weight="weight"
    )
    data = load(spec)
    order = np.random.RandomState(0).permutation(N)
    test, rest = order[:16], order[16:]
    train = rest[round(len(rest) * 0.15) :]
    np.testing.assert_allclose(data.x_train, TABLE[ALL].to_numpy("f4")[train], rtol=1e-6)
    assert data.y_test.tolist() == (np.arange(N) % 3)[test].tolist()
    assert data.w_train is not None
    np.testing.assert_allclose(data.w_train, TABLE["weight"].to_numpy("f4")[train], rtol=1e-6)
    if name != "ttree.root":
        assert data.class_names == ("b", "c", "light")
    assert data.columns == {"": tuple(ALL)}
    assert set(data.left) - {"a column without a name"} == {"mass"}
    assert data_files(tmp_path / name) == [tmp_path / name]


@pytest.mark.parametrize("name", FILES)
def test_several_targets_inputs_and_heads(tmp_path: Path, name: str) -> None:
    write(tmp_path, name)
    task = make_task(TaskSpec(name="regression"))
    data = load(of(tmp_path, name, features=["pt", "eta"], target=["mass", "n"]), task=task)
    assert data.y_train.shape[1] == data.n_outputs == 2
    heads = TaskSpec.model_validate({"heads": {"kind": "classification", "mass": "regression"}})
    spec = of(
        *(tmp_path, name),
        features={"jet": ["pt", "eta"], "event": ["n"]},
        target={"kind": "flavour", "mass": ["mass"]},
    )
    data = load(spec, task=make_task(heads))
    assert data.input_shape == {"jet": (2,), "event": (1,)}
    assert data.n_outputs == {"kind": 3, "mass": 1}
    found = overview(data)
    assert [(row.input, row.name) for row in found.features] == [
        ("jet", "pt"),
        ("jet", "eta"),
        ("event", "n"),
    ]
    assert found.features[2].high == float(TABLE["n"].max())


def test_an_index_that_pandas_wrote_is_no_feature(tmp_path: Path) -> None:
    write(tmp_path, "index.csv")
    table = TABLE.drop(columns=["flavour"]).assign(label=np.arange(N) % 2)
    table.to_csv(tmp_path / "i.csv")
    data = load(DataSpec(file=str(tmp_path / "i.csv")))
    assert data.columns[""] == ("pt", "eta", "n", "is_mc", "weight", "mass")
    assert data.left == ("a column without a name",)


def test_a_header_of_numpy(tmp_path: Path) -> None:
    rows = np.column_stack([RNG.normal(size=(N, 2)), np.arange(N) % 2])
    np.savetxt(tmp_path / "d.csv", rows, delimiter=",", header="a,b,label", fmt=["%g", "%g", "%d"])
    data = load(DataSpec(file=str(tmp_path / "d.csv")))
    assert data.columns[""] == ("a", "b")


def jagged(counts: np.ndarray) -> list[np.ndarray]:
    return [np.arange(1, count + 1, dtype="f4") for count in counts]


@pytest.mark.parametrize("name", ["ttree.root", "rntuple.root", "d.h5", "d.parquet"])
def test_lists_are_padded_or_cut_to_a_length(tmp_path: Path, name: str) -> None:
    counts = np.arange(N) % 5
    rows, label = jagged(counts), np.arange(N) % 2
    names = ("jet_pt", "jet_eta")
    if name == "d.parquet":
        pd.DataFrame({**dict.fromkeys(names, rows), "label": label}).to_parquet(tmp_path / name)
    elif name == "d.h5":
        with h5py.File(tmp_path / name, "w") as file:
            for own in names:
                column = file.create_dataset(own, (N,), h5py.vlen_dtype("f4"))
                for i, row in enumerate(rows):
                    column[i] = row
            file["label"] = label
    else:
        uproot = pytest.importorskip("uproot", reason="the package uproot is not installed")
        awkward = pytest.importorskip("awkward", reason="the package awkward is not installed")
        jets = awkward.Array(rows)
        with uproot.recreate(tmp_path / name) as file:
            if name == "rntuple.root":
                file["t"] = {"jet": awkward.zip({"pt": jets, "eta": jets}), "label": label}
                names = ("jet.pt", "jet.eta")
            else:
                kind = dict.fromkeys(names, "var * float32")
                file.mktree("t", {**kind, "label": label.dtype})
                file["t"].extend({**dict.fromkeys(names, jets), "label": label})
    spec = DataSpec(
        file=str(tmp_path / name), features=["jet*"], pad_to=3, standardize=False, test_fraction=0.5
    )
    data = load(spec)
    assert data.input_shape == (2, 3)
    # HDF5 keeps its names in alphabetical order.
    assert data.columns == {"": tuple(sorted(names)) if name == "d.h5" else names}
    whole = np.zeros((N, 3), dtype="f4")
    for i, count in enumerate(np.minimum(counts, 3)):
        whole[i, :count] = np.arange(1, count + 1)
    test = np.random.RandomState(0).permutation(N)[: N // 2]
    for channel in range(2):
        np.testing.assert_array_equal(data.x_test[:, channel], whole[test])
    (note,) = data.notes
    assert "lists of up to 4 values, filled with 0 to 3 (16 of 80 rows are longer" in note


@pytest.mark.parametrize("kind", ["npz", "npy", "folder", "h5"])
def test_arrays_of_every_part(tmp_path: Path, kind: str) -> None:
    arrays = {f"x_{part}": RNG.normal(size=(n, 3)) for part, n in (("train", 30), ("val", 9))}
    arrays |= {"x_test": RNG.normal(size=(12, 3)), "extra": np.ones(3)}
    arrays |= {
        f"y_{part}": np.arange(len(arrays[f"x_{part}"])) % 3 for part in ("train", "val", "test")
    }
    arrays |= {"w_val": np.linspace(0, 1, 9)}
    if kind == "npz":
        np.savez(path := tmp_path / "d.npz", **arrays)
    elif kind == "h5":
        with h5py.File(path := tmp_path / "d.h5", "w") as file:
            for name, array in arrays.items():
                file[name] = array
    else:
        for name, array in arrays.items():
            np.save(tmp_path / f"{name}.npy", array)
        path = tmp_path if kind == "folder" else tmp_path / "x_train.npy"
        assert set(data_files(path)) == set(tmp_path.glob("*.npy"))
    data = load(DataSpec(file=str(path), standardize=False))
    assert data.rows == {"train": 30, "val": 9, "test": 12}
    torch.testing.assert_close(data.x_val, torch.from_numpy(arrays["x_val"]).float())
    assert data.w_val is not None
    assert data.w_train is None
    assert [name.removesuffix(".npy") for name in data.left] == ["extra"]


def test_a_folder_of_tables(tmp_path: Path) -> None:
    columns = ["pt", "eta", "flavour"]
    for part, rows in (("train", slice(0, 60)), ("val", slice(60, 70)), ("test", slice(70, 80))):
        TABLE[columns][rows].to_csv(tmp_path / f"{part}.csv", index=False)
    data = load(DataSpec(file=str(tmp_path), target="flavour", standardize=False))
    assert data.rows == {"train": 60, "val": 10, "test": 10}
    np.testing.assert_allclose(data.x_test, TABLE[["pt", "eta"]].to_numpy("f4")[70:], rtol=1e-6)
    assert len(data_files(tmp_path)) == 3


@pytest.mark.parametrize("task", ["classification", "binary"])
def test_one_hot_labels_are_taken_and_said(tmp_path: Path, task: str) -> None:
    classes = 2 if task == "binary" else 4
    y = np.arange(N) % classes
    x = RNG.normal(size=(N, 3))
    np.savez(tmp_path / "one.npz", x_train=x, y_train=np.eye(classes)[y])
    np.savez(tmp_path / "number.npz", x_train=x, y_train=y)
    goal = make_task(TaskSpec(name=task))
    one, number = (
        load(DataSpec(file=str(tmp_path / f"{n}.npz")), task=goal) for n in ("one", "number")
    )
    assert torch.equal(one.y_train, number.y_train)
    assert one.n_outputs == number.n_outputs
    assert one.notes == (
        f"y_train holds one-hot labels of {classes} classes; their numbers are used.",
    )
    assert number.notes == ()


FUNCTIONS = """
import numpy as np, torch
from torch.utils.data import Dataset, TensorDataset

def arrays(rows=60, classes=3):
    y = np.arange(rows) % classes
    x = np.random.default_rng(0).normal(size=(rows, 4)) + y[:, None]
    w = [1.0] * rows
    return {"x_train": x, "y_train": torch.from_numpy(y), "w_train": w, "comment": "hello"}

def pair():
    x, y = torch.randn(40, 1, 5, 5), torch.arange(40) % 2
    return TensorDataset(x[:30], y[:30]), TensorDataset(x[30:], y[30:])

class Rows(Dataset):
    def __init__(self, n):
        self.n = n
    def __len__(self):
        return self.n
    def __getitem__(self, i):
        return {"jet": np.full(3, i, "f4"), "event": torch.ones(2)}, i % 2, 0.5 + i

def triple():
    return Rows(20), Rows(6), Rows(8)
"""


def test_functions(tmp_path: Path) -> None:
    (tmp_path / "own_sets.py").write_text(FUNCTIONS)
    data = load(DataSpec(function="own_sets:arrays", args={"rows": 90}), tmp_path)
    assert sum(data.rows.values()) == 90
    assert data.name == "arrays"
    assert data.left == ("comment",)
    assert data.w_train is not None
    data = load(DataSpec(function="own_sets:pair"), tmp_path)
    assert data.input_shape == (1, 5, 5)
    assert data.rows["test"] == 10
    data = load(DataSpec(function="own_sets:triple"), tmp_path)
    assert data.input_shape == {"jet": (3,), "event": (2,)}
    assert data.rows == {"train": 20, "val": 6, "test": 8}
    assert data.w_test is not None
    assert data.w_test.tolist() == [0.5 + i for i in range(8)]


def test_new_keys_at_their_defaults_change_no_name() -> None:
    plain = DataSpec(name="digits").model_dump(mode="json")
    assert not {"function", "args", "features", "stream", "pad_to"} & set(plain)
    assert DataSpec(file="a.csv", stream=True).model_dump(mode="json")["stream"] is True
