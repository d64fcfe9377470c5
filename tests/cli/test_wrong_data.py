"""Faults of the user's data: one sentence, exit status 2, and nothing is written."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest

from tests.cli.test_wrong_files import refused

N = 60


def frame(**changes: Any) -> pd.DataFrame:
    """A faultless table of three features; `changes` replace columns."""
    rng = np.random.default_rng(0)
    label = np.arange(N) % 3
    columns = {name: rng.normal(size=N) + label for name in ("pt", "eta", "phi")}
    return pd.DataFrame({**columns, "label": label, **changes})


def with_cell(column: str, value: Any) -> pd.DataFrame:
    table = frame()
    table[column] = table[column].astype(object)
    table.loc[7, column] = value
    return table


def csv(table: pd.DataFrame) -> Callable[[Path], dict[str, Any]]:
    def write(folder: Path) -> dict[str, Any]:
        table.to_csv(folder / "d.csv", index=False)
        return {"file": "d.csv"}

    return write


def text(content: str) -> Callable[[Path], dict[str, Any]]:
    def write(folder: Path) -> dict[str, Any]:
        (folder / "d.csv").write_text(content)
        return {"file": "d.csv"}

    return write


def parquet(table: pd.DataFrame) -> Callable[[Path], dict[str, Any]]:
    def write(folder: Path) -> dict[str, Any]:
        table.to_parquet(folder / "d.parquet")
        return {"file": "d.parquet"}

    return write


def hdf5(**items: Any) -> Callable[[Path], dict[str, Any]]:
    def write(folder: Path) -> dict[str, Any]:
        with h5py.File(folder / "d.h5", "w") as file:
            for name, item in items.items():
                file[name.replace("__", "/")] = item
        return {"file": "d.h5"}

    return write


def columns_of_hdf5(**changes: Any) -> Callable[[Path], dict[str, Any]]:
    table = {name: column.to_numpy() for name, column in frame().items()}
    return hdf5(**{f"events__{name}": item for name, item in {**table, **changes}.items()})


def root(trees: dict[str, dict[str, Any]]) -> Callable[[Path], dict[str, Any]]:
    def write(folder: Path) -> dict[str, Any]:
        uproot = pytest.importorskip("uproot", reason="the package uproot is not installed")
        with uproot.recreate(folder / "d.root") as file:
            for name, branches in trees.items():
                file.mktree(name, {k: _root_type(v) for k, v in branches.items()})
                file[name].extend(branches)
        return {"file": "d.root"}

    return write


def _root_type(values: Any) -> Any:
    return f"var * {values.type.content.content}" if hasattr(values, "type") else values.dtype


def lists(shift: int = 0) -> Any:
    awkward = pytest.importorskip("awkward", reason="the package awkward is not installed")
    return awkward.Array([[float(j) for j in range((i + shift) % 4 + 1)] for i in range(N)])


def flat() -> dict[str, Any]:
    return {name: column.to_numpy() for name, column in frame().items()}


def npy(**arrays: Any) -> Callable[[Path], dict[str, Any]]:
    def write(folder: Path) -> dict[str, Any]:
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=True)
        return {"file": f"{next(iter(arrays))}.npy"}

    return write


def npz(**changes: Any) -> Callable[[Path], dict[str, Any]]:
    table = frame()
    x, y = table[["pt", "eta", "phi"]].to_numpy("f4"), table["label"].to_numpy()
    arrays = {"x_train": x, "y_train": y, "x_test": x, "y_test": y, **changes}

    def write(folder: Path) -> dict[str, Any]:
        np.savez(folder / "d.npz", **{k: v for k, v in arrays.items() if v is not None})
        return {"file": "d.npz"}

    return write


def content(name: str, data: bytes) -> Callable[[Path], dict[str, Any]]:
    def write(folder: Path) -> dict[str, Any]:
        (folder / name).write_bytes(data)
        return {"file": name}

    return write


def cut(writer: Callable[[Path], dict[str, Any]]) -> Callable[[Path], dict[str, Any]]:
    """The same file, cut short."""

    def write(folder: Path) -> dict[str, Any]:
        section = writer(folder)
        path = folder / section["file"]
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        return section

    return write


def folder_of(**tables: pd.DataFrame) -> Callable[[Path], dict[str, Any]]:
    def write(folder: Path) -> dict[str, Any]:
        (folder / "d").mkdir()
        for name, table in tables.items():
            table.to_csv(folder / "d" / f"{name}.csv", index=False)
        return {"file": "d"}

    return write


def python(body: str, name: str = "make") -> Callable[[Path], dict[str, Any]]:
    def write(folder: Path) -> dict[str, Any]:
        module = f"own_data_{abs(hash(body)) % 10**9}"
        (folder / f"{module}.py").write_text(
            "import numpy as np\nimport torch\nfrom torch.utils.data import TensorDataset\n" + body
        )
        return {"function": f"{module}:{name}"}

    return write


X, Y = np.eye(3)[np.arange(N) % 3], np.arange(N) % 3
XY = "x, y = np.eye(3)[np.arange(60) % 3], np.arange(60) % 3\n"
FEATURES = {"features": ["pt", "eta"]}

# Each: what writes the data and names it, further keys, words of the sentence.
FAULTS: dict[str, tuple[Callable[[Path], dict[str, Any]], dict[str, Any], list[str]]] = {
    "csv: text in a feature": (
        csv(with_cell("eta", "high")),
        {},
        ["'eta'", "'high' in row 7", "data.features"],
    ),
    "csv: empty cell in the target": (csv(with_cell("label", None)), {}, ["'label'", "row 7"]),
    "csv: empty cell in a feature": (csv(with_cell("pt", None)), {}, ["x_train", "NaN"]),
    "csv: no names": (text("1,2,0\n3,4,1\n"), {}, ["first line holds numbers"]),
    "csv: empty": (text(""), {}, ["d.csv: is empty"]),
    "csv: only names": (text("pt,eta,label\n"), {}, ["d.csv"]),
    "csv: a row too short": (text("pt,label\n1,0\n2\n"), {}, ["d.csv", "not a readable"]),
    "csv: a name twice": (text("pt,pt,label\n1,2,0\n3,4,1\n"), {}, ["two columns 'pt'"]),
    "csv: no text": (content("d.csv", b"a,b\n\xff\xfe\x00,1\n"), {}, ["d.csv"]),
    "no such column": (csv(frame()), {"features": ["ptt"]}, ["'ptt'", "'pt'", "Found: pt"]),
    "a pattern that matches nothing": (csv(frame()), {"features": ["jet_*"]}, ["'jet_*'", "Found"]),
    "a column named twice": (csv(frame()), {"features": ["pt", "pt"]}, ["'pt' is named twice"]),
    "the target among the features": (
        csv(frame()),
        {"features": ["pt", "label"]},
        ["'label'", "learns nothing"],
    ),
    "no such target": (csv(frame()), {"target": "lable"}, ["'lable'", "'label'"]),
    "the same target twice": (csv(frame()), {"target": ["pt", "pt"]}, ["'pt' is named twice"]),
    "no such weight": (csv(frame()), {"weight": "w"}, ["column 'w' is missing"]),
    "negative weights": (csv(frame(w=-1.0)), {"weight": "w"}, ["w_train", "negative"]),
    "weights of text": (
        csv(frame(w="a")),
        {"weight": "w"},
        ["'w'", "a feature or weight must be a number"],
    ),
    "padding of numbers": (csv(frame()), {"pad_to": 4}, ["data.pad_to", "no column of lists"]),
    "a tree of a csv": (csv(frame()), {"tree": "events"}, ["data.tree", ".root"]),
    "a group of a csv": (csv(frame()), {"group": "events"}, ["data.group", ".h5"]),
    "a csv in parts": (csv(frame()), {"stream": True}, ["data.stream", ".npy, .h5 and .parquet"]),
    "columns of arrays": (npz(), FEATURES, ["data.features", "no columns"]),
    "an archive in parts": (npz(), {"stream": True}, ["data.stream", "read whole"]),
    "parquet: text": (parquet(frame(eta="a")), {}, ["'eta'", "holds text"]),
    "parquet: cut short": (cut(parquet(frame())), {}, ["not a readable .parquet file"]),
    "parquet: dates": (
        parquet(frame(day=pd.Timestamp("2026-01-01"))),
        {},
        ["'day'", "timestamp"],
    ),
    "parquet: lists without a length": (
        parquet(frame(jets=[[1.0] * (i % 3 + 1) for i in range(N)])),
        {"features": ["jets"]},
        ["data.pad_to", "up to 3"],
    ),
    "numbers beside lists": (
        parquet(frame(jets=[[1.0] * (i % 3 + 1) for i in range(N)])),
        {"features": ["pt", "jets"], "pad_to": 2},
        ["numbers and lists cannot be one input", "features: {a: [pt], b: [jets]}"],
    ),
    "h5: no such group": (columns_of_hdf5(), {"group": "event"}, ["'event'", "'events'"]),
    "h5: a group that is needed": (columns_of_hdf5(), {}, ["data.group", "Found: events"]),
    "h5: columns of several lengths": (
        columns_of_hdf5(pt=np.ones(N - 1)),
        {"group": "events"},
        ["59 rows", "60"],
    ),
    "h5: cut short": (cut(columns_of_hdf5()), {"group": "events"}, ["not a readable .h5 file"]),
    "h5: no HDF5": (content("d.h5", b"PK\x03\x04"), {}, ["not a readable .h5 file"]),
    "h5: a group that is an array": (hdf5(a=np.eye(3)), {"group": "a"}, ["single array"]),
    "h5: targets of other length": (hdf5(x_train=X, y_train=Y[:-1]), {}, ["y_train has 59 rows"]),
    "h5: x_val without y_val": (
        hdf5(x_train=X, y_train=Y, x_val=X),
        {},
        ["array 'y_val' is missing"],
    ),
    "h5: NaN in rows that stay there": (
        hdf5(x_train=np.where(X == 1, np.nan, X), y_train=Y),
        {"stream": True},
        ["x_train", "NaN"],
    ),
    "root: no such tree": (root({"events": flat()}), {"tree": "event"}, ["'event'", "'events'"]),
    "root: two trees": (root({"a": flat(), "b": flat()}), {}, ["data.tree", "2 trees", "a, b"]),
    "root: no file of ROOT": (content("d.root", b"rootless"), {}, ["not a readable .root file"]),
    "root: cut short": (cut(root({"events": flat()})), {}, ["d.root"]),
    "npy: no targets": (npy(x=X), {}, ["targets are missing", "y.npy"]),
    "npy: Python objects": (
        npy(x=np.array([{}] * N), y=Y),
        {},
        ["Python objects", "would have to be unpickled"],
    ),
    "npy: another name": (npy(values=X), {}, ["single array", "x.npy"]),
    "npy: cut short": (cut(npy(x=X, y=Y)), {}, ["not a readable .npy file"]),
    "npy: columns before rows": (
        npy(x=np.asfortranarray(X), y=Y),
        {"stream": True},
        ["Fortran", "ascontiguousarray"],
    ),
    "a pickle": (content("d.pkl", pickle.dumps(X)), {}, ["unknown kind of data file '.pkl'"]),
    "y_val without x_val": (npz(y_val=Y), {}, ["x_val"]),
    "own validation part and a fraction of it": (
        npz(x_val=X.astype("f4"), y_val=Y),
        {"val_fraction": 0.3},
        ["data.val_fraction"],
    ),
    "weights of another length": (npz(w_train=np.ones(3)), {}, ["w_train has shape (3,)"]),
    "several labels per row": (
        npz(y_train=np.tri(3)[Y]),
        {},
        ["y_train has shape (60, 3)", "one-hot"],
    ),
    "no training table": (folder_of(test=frame()), {}, ["no training table"]),
    "another column in the test table": (
        folder_of(train=frame(), test=frame(extra=1)),
        {},
        ["'extra' is not in the training file"],
    ),
    "a column that the test table lacks": (
        folder_of(train=frame(), test=frame().drop(columns="eta")),
        {},
        ["test.csv", "'eta'"],
    ),
    "function: raises": (
        python("def make(): return 1 / 0"),
        {},
        ["make raised ZeroDivisionError"],
    ),
    "function: nothing": (python("def make(): pass"), {}, ["returned nothing (None)"]),
    "function: a list": (python("def make(): return [1, 2, 3, 4]"), {}, ["a list of 4 (int, int"]),
    "function: one array": (python("def make(): return np.eye(3)"), {}, ["returned an ndarray"]),
    "function: no such": (python("def made(): pass"), {}, ["data.function", "'made'"]),
    "function: no such module": (
        lambda folder: {"function": "nowhere_to_be_found:make"},
        {},
        ["data.function", "nowhere"],
    ),
    "function: an argument it lacks": (
        python("def make(): pass"),
        {"args": {"rows": 3}},
        ["TypeError", "rows"],
    ),
    "function: not one": (python("make = 3"), {}, ["is an int, not a function"]),
    "function: no x_train": (python(f"{XY}def make(): return {{'x': x}}"), {}, ["'x_train'"]),
    "function: None among the arrays": (
        python(f"{XY}def make(): return {{'x_train': x, 'y_train': None}}"),
        {},
        ["'y_train' is None"],
    ),
    "function: arrays of unlike rows": (
        python(f"{XY}def make(): return {{'x_train': x, 'y_train': y[:9]}}"),
        {},
        ["y_train has 9"],
    ),
    "function: ragged rows": (
        python("def make(): return {'x_train': [[1], [1, 2]], 'y_train': [0, 1]}"),
        {},
        ["'x_train'"],
    ),
    "function: a Dataset of rows without targets": (
        python(f"{XY}s = TensorDataset(torch.tensor(x))\ndef make(): return s, s"),
        {},
        ["the train part: row 0 is a tuple of 1"],
    ),
    "function: a Dataset that raises": (
        python(
            "class Rows(torch.utils.data.Dataset):\n"
            "    def __len__(self): return 3\n"
            "    def __getitem__(self, i): raise OSError('disk')\n"
            "def make(): return Rows(), Rows()"
        ),
        {},
        ["make raised OSError: disk"],
    ),
    "function: an empty Dataset": (
        python("s = TensorDataset(torch.zeros(0, 3), torch.zeros(0))\ndef make(): return s, s"),
        {},
        ["has no rows"],
    ),
    "function and features": (
        python("def make(): pass"),
        FEATURES,
        ["data", "'features' is only for files"],
    ),
    "arguments without a function": (csv(frame()), {"args": {"a": 1}}, ["'args'", "none is given"]),
    "target and label_column": (
        csv(frame()),
        {"target": "label", "label_column": "label"},
        ["either 'target' or"],
    ),
    "padding of an input that is not there": (
        csv(frame()),
        {"features": ["pt"], "pad_to": {"jets": 3}},
        ["'pad_to' names the input 'jets'"],
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_data_that_are_refused(run, make, case: str) -> None:
    write, keys, words = FAULTS[case]
    section = {**write(make.folder), **keys}
    path = make.sweep(data=section)
    before = make.files()
    refused(run("check", path), *words)
    refused(run("sweep", path), *words)
    assert make.files() == before


def test_lists_of_unlike_lengths_are_no_pairs(run, make) -> None:
    section = root({"events": {**flat(), "jet_pt": lists(), "jet_eta": lists(1)}})(make.folder)
    path = make.sweep(data={**section, "features": ["jet_*"], "pad_to": 4})
    words = ["in row 0 'jet_eta' is a list of 2, 'jet_pt' one of 1", "two inputs"]
    refused(run("check", path), *words)


def test_a_branch_of_another_length(run, make) -> None:
    section = root({"events": {**flat(), "jet_pt": lists()}})(make.folder)
    path = make.sweep(data={**section, "features": ["pt", "jet_pt"], "pad_to": 4})
    refused(run("check", path), "numbers and lists cannot be one input")
    path = make.sweep(data={**section, "features": ["jet_pt"]})
    refused(run("check", path), "data.pad_to: is needed", "up to 4 values")
