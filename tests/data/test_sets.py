"""The named sets, read from a few made rows in their original file formats."""

import gzip
import hashlib
import io
import json
import os
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from rfprune.data import DATASETS, load
from rfprune.data.sets import jets
from rfprune.data.spec import DataSpec
from rfprune.errors import DataError

SETTINGS = {"val_fraction": 0.2, "standardize": False}


@pytest.fixture
def store(tmp_path, monkeypatch):
    """An empty RFPRUNE_DATA and cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("RFPRUNE_DATA", str(tmp_path))
    return tmp_path


def pixels(n, *shape):
    return np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)


def train_order(n):
    """Row numbers of the training part, as loaded with SETTINGS."""
    return np.random.RandomState(0).permutation(n)[round(0.2 * n) :]


def write_svhn(path, images, labels):
    """Write (N, 32, 32, 3) images as SVHN's format 2 does: (32, 32, 3, N), 10 for digit 0."""
    path.parent.mkdir(exist_ok=True)
    digits = np.where(labels == 0, 10, labels).astype(np.uint8)[:, None]
    savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": digits}, do_compression=True)


def test_svhn_in_its_original_format(store):
    images, labels = pixels(60, 32, 32, 3), np.arange(60) % 10
    write_svhn(store / "svhn" / "train_32x32.mat", images[:40], labels[:40])
    write_svhn(store / "svhn" / "test_32x32.mat", images[40:], labels[40:])
    data = load(DataSpec(name="svhn", **SETTINGS))
    assert data.input_shape == (3, 32, 32)
    assert data.n_outputs == 10
    assert data.y_test.tolist() == labels[40:].tolist()
    expected = images[40:].transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    assert np.array_equal(data.x_test.numpy(), expected)
    assert data.y_train.tolist() == labels[train_order(40)].tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no MATLAB file" * 50, "not a readable MATLAB 5 file"),
        ({"X": np.ones((2, 2))}, "array 'y' is missing"),
        ({"X": np.ones((32, 32, 3, 4)), "y": np.ones((5, 1))}, r"X has shape \(32, 32, 3, 4\)"),
    ],
)
def test_faulty_svhn_files(store, content, message):
    write_svhn(store / "svhn" / "test_32x32.mat", pixels(4, 32, 32, 3), np.arange(4))
    train = store / "svhn" / "train_32x32.mat"
    if isinstance(content, bytes):
        train.write_bytes(content)
    else:
        savemat(train, content)
    with pytest.raises(DataError, match=message):
        load(DataSpec(name="svhn"))


def write_idx(path, array):
    path.parent.mkdir(exist_ok=True)
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def write_fashion_mnist(folder):
    images, labels = pixels(60, 28, 28), (np.arange(60) % 10).astype(np.uint8)
    write_idx(folder / "train-images-idx3-ubyte.gz", images[:40])
    write_idx(folder / "train-labels-idx1-ubyte.gz", labels[:40])
    write_idx(folder / "t10k-images-idx3-ubyte.gz", images[40:])
    write_idx(folder / "t10k-labels-idx1-ubyte.gz", labels[40:])
    return images, labels


def test_fashion_mnist_in_its_original_format(store):
    images, labels = write_fashion_mnist(store / "fashion_mnist")
    data = load(DataSpec(name="fashion_mnist", **SETTINGS))
    assert data.input_shape == (1, 28, 28)
    assert data.class_names[9] == "Ankle boot"
    expected = images[train_order(40)][:, None].astype(np.float32) / np.float32(255)
    assert np.array_equal(data.x_train.numpy(), expected)
    assert data.y_test.tolist() == labels[40:].tolist()


def test_a_file_of_arrays_stands_in_for_a_named_set(store):
    images, labels = write_fashion_mnist(store / "fashion_mnist")
    original = load(DataSpec(name="fashion_mnist", **SETTINGS))
    for file in (store / "fashion_mnist").iterdir():
        file.unlink()
    np.savez_compressed(
        store / "fashion_mnist" / "fashion_mnist.npz",
        x_train=images[:40],
        y_train=labels[:40],
        x_test=images[40:],
        y_test=labels[40:],
    )
    data = load(DataSpec(name="fashion_mnist", **SETTINGS))
    assert data.name == "fashion_mnist"
    assert np.array_equal(data.x_train.numpy(), original.x_train.numpy())
    assert np.array_equal(data.y_val.numpy(), original.y_val.numpy())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"plain", "not a readable .gz file"),
        (gzip.compress(b"\x00\x00\x0d\x01abcd"), "not an IDX file of bytes"),
        (gzip.compress(b"\x00\x00\x08\x03ab"), "header is cut short"),
        (gzip.compress(struct.pack(">HBBI", 0, 8, 1, 9) + b"abc"), r"3 bytes .* \(9,\) needs 9"),
    ],
    # The compressed bytes hold the time of day, so they cannot name a test.
    ids=["no gzip", "no bytes", "short header", "short content"],
)
def test_faulty_idx_files(store, content, message):
    write_fashion_mnist(store / "fashion_mnist")
    (store / "fashion_mnist" / "train-labels-idx1-ubyte.gz").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(DataSpec(name="fashion_mnist"))


def write_cifar10(path, images, labels):
    """Write (N, 3, 32, 32) images, the last fifth of them as the test batch."""
    path.parent.mkdir(exist_ok=True)
    records = np.hstack([labels[:, None].astype(np.uint8), images.reshape(len(images), -1)])
    parts = np.split(records, 6)
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    contents = {name: part.tobytes() for name, part in zip(names, parts, strict=True)}
    contents["batches.meta.txt"] = "\n".join(f"class{i}" for i in range(10)).encode() + b"\n\n"
    with tarfile.open(path, "w:gz") as tar:
        for name, content in contents.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_cifar10_in_its_original_format(store):
    images, labels = pixels(120, 3, 32, 32), np.arange(120) % 10
    write_cifar10(store / "cifar10" / "cifar-10-binary.tar.gz", images, labels)
    data = load(DataSpec(name="cifar10", **SETTINGS))
    assert data.rows == {"train": 80, "val": 20, "test": 20}
    assert data.class_names == tuple(f"class{i}" for i in range(10))
    expected = images[train_order(100)].astype(np.float32) / np.float32(255)
    assert np.array_equal(data.x_train.numpy(), expected)
    assert data.y_test.tolist() == labels[100:].tolist()


def test_a_faulty_cifar10_archive(store):
    path = store / "cifar10" / "cifar-10-binary.tar.gz"
    path.parent.mkdir()
    path.write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"not a readable \.tar\.gz archive"):
        load(DataSpec(name="cifar10"))
    with tarfile.open(path, "w:gz"):
        pass
    with pytest.raises(DataError, match=r"the archive has no cifar-10-batches-bin/data_batch_1"):
        load(DataSpec(name="cifar10"))


def arff(n=50):
    """A made ARFF file like OpenML's, and its features and classes."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(n, 16)).astype(np.float32)
    y = np.array(list("gqtwz") * (n // 5))
    head = ["% a comment", "@RELATION hls4ml_HLF", ""]
    head += [f"@ATTRIBUTE 'f{i}' REAL" for i in range(16)]
    head += ["@ATTRIBUTE class {g, q, w, z, t}", "", "@DATA"]
    rows = [",".join([*(repr(float(v)) for v in row), c]) for row, c in zip(x, y, strict=True)]
    return "\n".join(head + rows) + "\n", x, y


def test_jets_in_their_original_format(store):
    text, x, y = arff()
    (store / "jets").mkdir()
    (store / "jets" / "hls4ml_HLF.arff").write_text(text)
    data = load(DataSpec(name="jets", **SETTINGS))
    assert data.rows == {"train": 32, "val": 8, "test": 10}
    assert data.class_names == ("g", "q", "t", "w", "z")
    from sklearn.model_selection import train_test_split

    _, x_test, _, y_test = train_test_split(x, y, test_size=0.2, random_state=42)
    assert np.array_equal(data.x_test.numpy(), x_test)
    assert [data.class_names[i] for i in data.y_test] == y_test.tolist()


def test_jets_are_found_through_openmls_record(store, monkeypatch):
    text, _, _ = arff()
    (store / "remote.arff").write_text(text)
    md5 = hashlib.md5(text.encode()).hexdigest()
    record = {"url": (store / "remote.arff").as_uri(), "md5_checksum": md5}
    (store / "42468").write_text(json.dumps({"data_set_description": record}))
    monkeypatch.setattr(jets, "OPENML_API", store.as_uri())
    assert sum(load(DataSpec(name="jets", **SETTINGS)).rows.values()) == 50
    assert (store / "cache" / "rfprune" / "jets" / "hls4ml_HLF.arff").read_text() == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@RELATION x\n", "not an ARFF file"),
        ("@ATTRIBUTE a REAL\n@DATA\n1\n", "no attribute 'class'; found a"),
        (
            "@ATTRIBUTE a REAL\n@ATTRIBUTE class {g}\n@DATA\nb,g\n",
            "a row does not consist of numbers",
        ),
    ],
)
def test_faulty_arff_files(store, text, message):
    (store / "jets").mkdir()
    (store / "jets" / "hls4ml_HLF.arff").write_text(text)
    with pytest.raises(DataError, match=message):
        load(DataSpec(name="jets"))


@pytest.mark.parametrize("name", ["cifar10", "fashion_mnist", "jets", "svhn"])
def test_without_file_and_network_the_error_names_the_files(store, monkeypatch, name):
    def refuse(url):
        raise OSError(f"{url}: no route to host")

    monkeypatch.setattr("rfprune.data.places.open_url", refuse)
    monkeypatch.setattr("rfprune.data.sets.jets.open_url", refuse)
    with pytest.raises(DataError, match=rf"'{name}' is not in .* no route to host.* Put these"):
        DATASETS.load(name)()


def real_data():
    folder = os.environ.get("RFPRUNE_DATA", "")
    if not (Path(folder) / "fashion_mnist" / "fashion_mnist.npz").is_file():
        pytest.skip("RFPRUNE_DATA names no folder with fashion_mnist/fashion_mnist.npz")


def test_the_real_fashion_mnist():
    real_data()
    data = load(DataSpec(name="fashion_mnist"))
    assert data.rows == {"train": 51000, "val": 9000, "test": 8000}
    assert data.y_test.bincount().tolist() == [800] * 10
    # The published mean and standard deviation of all training pixels.
    assert float(data.x_train.mean()) == pytest.approx(0.2860, abs=1e-3)
    assert float(data.x_train.std()) == pytest.approx(0.3530, abs=1e-3)
