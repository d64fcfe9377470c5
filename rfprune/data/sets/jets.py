"""The jet tagging data of hls4ml: OpenML 42468, `hls4ml_lhc_jets_hlf`.

830,000 simulated jets with 16 high-level features and the classes g, q, t, w, z (Duarte et al.,
arXiv 1804.06913). The file is ARFF: a header of ``@attribute`` lines, then comma-separated rows.
"""

from __future__ import annotations

import json
from io import BufferedReader
from pathlib import Path

import numpy as np

from rfprune.data.dataset import Array, RawData
from rfprune.data.places import RemoteFile, locate, missing, obtain, open_url
from rfprune.errors import DataError

__all__ = ["jets"]

OPENML_API = "https://www.openml.org/api/v1/json/data"
_OPENML_ID = 42468
_FILE = "hls4ml_HLF.arff"
_LABEL = "class"
_TEST_FRACTION = 0.2
_TEST_SEED = 42


def jets() -> RawData:
    """Return the jets with the split of the hls4ml tutorial.

    The test part is that of scikit-learn's ``train_test_split(test_size=0.2, random_state=42)``,
    so that accuracies compare with published ones.
    """
    path = locate("jets", _FILE) or obtain("jets", [_remote()])[0]
    x, labels = _read_arff(path)
    # What scikit-learn does with these arguments, without importing it.
    order = np.random.RandomState(_TEST_SEED).permutation(len(x))
    n_test = int(np.ceil(_TEST_FRACTION * len(x)))
    test, train = order[:n_test], order[n_test:]
    classes, y = np.unique(labels, return_inverse=True)
    return RawData(
        source=str(path),
        x_train=x[train],
        y_train=y[train],
        x_test=x[test],
        y_test=y[test],
        class_names=tuple(str(name) for name in classes),
    )


def _remote() -> RemoteFile:
    """Ask OpenML where the file is and what its checksum is."""
    page = f"{OPENML_API}/{_OPENML_ID}"
    try:
        with open_url(page) as response:
            record = json.load(response)["data_set_description"]
        return RemoteFile(_FILE, record["url"], f"md5:{record['md5_checksum']}")
    except OSError as error:
        human = RemoteFile(_FILE, f"https://www.openml.org/d/{_OPENML_ID}", "")
        raise missing("jets", [human], str(error)) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{page}: OpenML's answer is not as expected ({error!r}).") from error


def _read_arff(path: Path) -> tuple[Array, Array]:
    """Read a dense ARFF file of numbers and one class: features (N, F), class names (N,)."""
    import pyarrow as pa
    from pyarrow import csv

    with path.open("rb") as file:
        # Leaves the file where the rows begin, from where they are read.
        attributes = _arff_header(path, file)
        if _LABEL not in attributes:
            raise DataError(f"{path}: no attribute '{_LABEL}'; found {', '.join(attributes)}.")
        names = [name for name in attributes if name != _LABEL]
        types = {name: pa.float32() for name in names} | {_LABEL: pa.string()}
        try:
            table = csv.read_csv(
                file,
                read_options=csv.ReadOptions(column_names=attributes),
                convert_options=csv.ConvertOptions(column_types=types),
            )
        except pa.ArrowInvalid as error:
            raise DataError(f"{path}: a row does not consist of numbers ({error}).") from error
    x = np.column_stack([table[name].to_numpy() for name in names])
    return x, np.asarray(table[_LABEL].to_numpy(), dtype=str)


def _arff_header(path: Path, file: BufferedReader) -> list[str]:
    """Read up to ``@data`` and return the names of the attributes, in order."""
    names: list[str] = []
    for line in file:
        words = line.decode("utf-8", errors="replace").split(maxsplit=2)
        keyword = words[0].lower() if words else ""
        if keyword == "@data":
            return names
        if keyword == "@attribute" and len(words) == 3:
            names.append(words[1].strip("'\""))
    raise DataError(f"{path}: not an ARFF file (no line '@data').")
