"""Readers of the named image sets, one function each.

A reader takes nothing and returns a `RawData`. ``$RFPRUNE_DATA/<name>/<name>.npz``, where it is,
takes the place of the reader (see `rfprune.data.loading`).
"""

from __future__ import annotations

import gzip
import importlib.util
import struct
import tarfile
import zlib
from pathlib import Path

import numpy as np

from rfprune.data.dataset import Array, RawData
from rfprune.data.places import RemoteFile, obtain
from rfprune.errors import DataError

__all__ = ["cifar10", "digits", "digits_images", "fashion_mnist", "svhn"]

_DIGIT_NAMES = tuple("0123456789")

# Addresses of the authors' pages; checksums as listed by TensorFlow Datasets.
_FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
_FASHION_MNIST = tuple(
    RemoteFile(name, f"{_FASHION_URL}/{name}", f"sha256:{sha256}")
    for name, sha256 in (
        (
            "train-images-idx3-ubyte.gz",
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        (
            "train-labels-idx1-ubyte.gz",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
        (
            "t10k-images-idx3-ubyte.gz",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        (
            "t10k-labels-idx1-ubyte.gz",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    )
)
_FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_SVHN_URL = "http://ufldl.stanford.edu/housenumbers"
_SVHN = tuple(
    RemoteFile(name, f"{_SVHN_URL}/{name}", f"sha256:{sha256}")
    for name, sha256 in (
        ("train_32x32.mat", "435e94d69a87fde4fd4d7f3dd208dfc32cb6ae8af2240d066de1df7508d083b8"),
        ("test_32x32.mat", "cdce80dfb2a2c4c6160906d0bd7c68ec5a99d7ca4831afa54f09182025b6a75b"),
    )
)
_CIFAR10 = (
    RemoteFile(
        "cifar-10-binary.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ),
)


def digits() -> RawData:
    """Return scikit-learn's embedded 8x8 digits as 64 pixels in 0..16 (UCI 80, test part)."""
    # Its own loader imports all of scikit-learn, which takes longer than everything else a sweep
    # does before its first trial.
    package = importlib.util.find_spec("sklearn")
    assert package is not None
    assert package.origin is not None
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    rows = np.loadtxt(path, np.int64, delimiter=",")
    return RawData(
        source="digits",
        x_train=rows[:, :-1].astype(np.uint8),
        y_train=rows[:, -1],
        class_names=_DIGIT_NAMES,
        full_scale=16.0,
        is_image=True,
    )


def digits_images() -> RawData:
    """Return the embedded digits as images (N, 1, 8, 8)."""
    flat = digits()
    assert isinstance(flat.x_train, np.ndarray)
    return RawData(
        source="digits_images",
        x_train=flat.x_train.reshape(-1, 1, 8, 8),
        y_train=flat.y_train,
        class_names=flat.class_names,
        full_scale=flat.full_scale,
        is_image=True,
    )


def fashion_mnist() -> RawData:
    """Return Fashion-MNIST (Xiao et al., arXiv 1708.07747): 60,000 and 10,000 grey images."""
    paths = obtain("fashion_mnist", _FASHION_MNIST)
    x_train, y_train, x_test, y_test = (_read_idx(path) for path in paths)
    return RawData(
        source=str(paths[0].parent),
        x_train=x_train[:, None],
        y_train=y_train,
        x_test=x_test[:, None],
        y_test=y_test,
        class_names=_FASHION_CLASSES,
        full_scale=255.0,
        is_image=True,
    )


def svhn() -> RawData:
    """Return the cropped digits of SVHN (Netzer et al. 2011): 73,257 and 26,032 colour images."""
    train, test = obtain("svhn", _SVHN)
    (x_train, y_train), (x_test, y_test) = _read_svhn(train), _read_svhn(test)
    return RawData(
        source=str(train.parent),
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        class_names=_DIGIT_NAMES,
        full_scale=255.0,
        is_image=True,
    )


def cifar10() -> RawData:
    """Return CIFAR-10 (Krizhevsky 2009) from its binary form: 50,000 and 10,000 colour images.

    Raises:
        DataError: the archive is damaged, or not here and cannot be downloaded.
    """
    (path,) = obtain("cifar10", _CIFAR10)
    folder = "cifar-10-batches-bin"
    try:
        with tarfile.open(path, "r:gz") as tar:
            batches = {
                name: _member(tar, path, f"{folder}/{name}")
                for name in [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
            }
            names = _member(tar, path, f"{folder}/batches.meta.txt").decode().split()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{path}: not a readable .tar.gz archive ({error}).") from error
    test = _cifar_records(path, batches.pop("test_batch.bin"))
    train = _cifar_records(path, b"".join(batches.values()))
    return RawData(
        source=str(path),
        x_train=train[0],
        y_train=train[1],
        x_test=test[0],
        y_test=test[1],
        class_names=tuple(names),
        full_scale=255.0,
        is_image=True,
    )


def _read_idx(path: Path) -> Array:
    """Read a gzipped IDX file of bytes (the format of MNIST, LeCun et al.)."""
    try:
        with gzip.open(path, "rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a readable .gz file ({error}).") from error
    # Header: two zero bytes, type 0x08 = unsigned byte, number of axes, then each axis' length.
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise DataError(f"{path}: not an IDX file of bytes.")
    n_axes = content[3]
    start = 4 + 4 * n_axes
    if len(content) < start:
        raise DataError(f"{path}: the IDX header is cut short.")
    shape = struct.unpack(f">{n_axes}I", content[4:start])
    found, expected = len(content) - start, int(np.prod(shape, dtype=np.int64))
    if found != expected:
        raise DataError(f"{path}: {found} bytes of data, but the shape {shape} needs {expected}.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _read_svhn(path: Path) -> tuple[Array, Array]:
    """Read one .mat file of SVHN's format 2: X (32, 32, 3, N) bytes, y (N, 1) with 10 for digit 0.

    Returns images (N, 3, 32, 32) and labels (N,) with 0 for digit 0.
    """
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path, variable_names=["X", "y"])
    except (MatReadError, ValueError, TypeError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: not a readable MATLAB 5 file ({error}).") from error
    missing = [name for name in ("X", "y") if name not in content]
    if missing:
        raise DataError(f"{path}: array '{missing[0]}' is missing; SVHN's files hold X and y.")
    x, y = content["X"], content["y"].reshape(-1)
    if x.ndim != 4 or x.shape[:3] != (32, 32, 3) or x.shape[3] != len(y):
        raise DataError(
            f"{path}: X has shape {x.shape} and y {len(y)} labels; expected (32, 32, 3, {len(y)})."
        )
    return np.ascontiguousarray(x.transpose(3, 2, 0, 1)), y.astype(np.int64) % 10


def _member(tar: tarfile.TarFile, path: Path, name: str) -> bytes:
    try:
        file = tar.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise DataError(f"{path}: the archive has no {name}.")
    return file.read()


def _cifar_records(path: Path, content: bytes) -> tuple[Array, Array]:
    """Split CIFAR-10's records: one byte of label, 3x32x32 bytes of image."""
    size = 1 + 3 * 32 * 32
    if not content or len(content) % size:
        raise DataError(
            f"{path}: {len(content)} bytes are not a whole number of {size}-byte records."
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]
