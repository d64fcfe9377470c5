"""Files of the user's that hold arrays: .npz, .npy beside each other, and .h5.

Nothing is ever unpickled: an array of Python objects is an error.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from rfprune.core.value_files import check_unpacked_size
from rfprune.data.dataset import Array
from rfprune.data.formats.arrays import is_used
from rfprune.data.formats.columns import NamedArrays
from rfprune.data.formats.table_files import open_hdf5, reading
from rfprune.data.stored.features import Hdf5Rows, NpyRows, Stored, is_streamed
from rfprune.errors import DataError

__all__ = ["hdf5_holds_arrays", "npy_files", "read_hdf5", "read_npy", "read_npz_arrays"]


def read_npz_arrays(path: Path) -> NamedArrays:
    """Read the arrays of an .npz archive whose names mean something.

    Raises:
        DataError: no readable archive, or an array of Python objects.
    """
    with reading(path, ".npz archive", zipfile.BadZipFile, zlib.error), path.open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise DataError(f"{path}: a single array (.npy), not an .npz archive of several.")
        with archive:
            # Before any array is read: a small archive can unpack to more than the memory holds.
            check_unpacked_size(archive.zip, path, DataError)
            # What is left alone is not read: it may hold anything.
            used = [name for name in archive.files if is_used(name)]
            left = [name for name in archive.files if name not in used]
            return NamedArrays({name: _member(path, archive, name) for name in used}, left)


def _member(path: Path, archive: np.lib.npyio.NpzFile, name: str) -> Array:
    try:
        array: Array = archive[name]
    except ValueError as error:
        # numpy has no error of its own for this, only the text.
        if "allow_pickle" not in str(error):
            raise
        raise DataError(_objects(f"{path}: array '{name}'")) from error
    return array


def _objects(what: str) -> str:
    return (
        f"{what} holds Python objects, which would have to be unpickled; save it as numbers "
        "(np.asarray(..., dtype=np.float32) or an integer dtype)."
    )


def npy_files(path: Path) -> dict[str, Path]:
    """Return the .npy files that make up a data set, by the names of their arrays.

    Args:
        path: a folder with ``x_train.npy``, ``y_train.npy``, ...; one of these files; or one file
            with an ``x`` in its name, such as ``x.npy`` or ``jets_x.npy``, whose targets lie beside
            it under the same name with a ``y``.

    Raises:
        DataError: there is no such pair.
    """
    folder = path if path.is_dir() else path.parent
    beside = {file.stem: file for file in sorted(folder.glob("*.npy"))}
    if path.is_dir() or is_used(path.stem):
        return beside
    words = path.stem.replace("X", "x").split("_")
    if "x" not in words:
        raise DataError(
            f"{path}: a single array. Allowed are a folder with x_train.npy and y_train.npy, or a "
            "file such as x.npy or jets_x.npy, with y.npy or jets_y.npy beside it."
        )
    found = {"x_train": path}
    for letter in ("y", "w"):
        stem = "_".join(letter if word == "x" else word for word in words)
        other = next((f for s, f in beside.items() if s.lower() == stem.lower()), None)
        if other is not None:
            found[f"{letter}_train"] = other
    if "y_train" not in found:
        stem = "_".join("y" if word == "x" else word for word in words)
        raise DataError(f"{path}: the targets are missing; {stem}.npy is looked for beside it.")
    return found


def read_npy(path: Path, stream: object) -> NamedArrays:
    """Read the .npy files that belong to a path (`npy_files`).

    Args:
        path: a file or folder.
        stream: whether features stay in their files, see `stored.features.is_streamed`.

    Raises:
        DataError: a file is none, is cut short, or holds Python objects.
    """
    found = NamedArrays()
    for name, file in npy_files(path).items():
        if is_used(name):
            mapped = _mapped(file)
            # Targets and weights fit into memory whatever the features take.
            stays = name[0] == "x" and mapped.ndim > 1 and is_streamed(stream, mapped.shape)
            if stays and not mapped.flags.c_contiguous:
                raise DataError(
                    f"{file}: is in Fortran's order, whose rows do not lie together in the file; "
                    "save np.ascontiguousarray(x)."
                )
            source = NpyRows(file, mapped) if stays else None
            # A copy: what is mapped would change with the file.
            found.arrays[name] = np.array(mapped) if source is None else Stored.all_of(source)
        else:
            found.left.append(file.name)
    return found


def _mapped(path: Path) -> np.memmap[Any, Any]:
    with reading(path, ".npy", zipfile.BadZipFile):
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except ValueError as error:
            if "Python objects" in str(error) or "allow_pickle" in str(error):
                raise DataError(_objects(str(path))) from error
            raise
    # numpy opens an archive under any name.
    if not isinstance(array, np.memmap):
        array.close()
        raise DataError(f"{path}: an .npz archive of several arrays; its name must end in .npz.")
    return array


def hdf5_holds_arrays(path: Path, group: str | None) -> bool:
    """Return whether an .h5 file holds arrays by name (``x_train``, ...), and no table."""
    with open_hdf5(path) as file:
        place: Any = file if group is None else file.get(group, {})
        names = list(place) if hasattr(place, "keys") else []
    return any(name == "x_train" or name.startswith("x_train_") for name in names)


def read_hdf5(path: Path, group: str | None, stream: object) -> NamedArrays:
    """Read the arrays of an .h5 file, or of one of its groups, whose names mean something.

    Args:
        path: the file.
        group: in it; its top if None.
        stream: whether features stay in the file, see `rfprune.data.stored.features.is_streamed`.

    Raises:
        DataError: no readable file, or an array that is neither numbers nor text.
    """
    import h5py

    found = NamedArrays()
    with open_hdf5(path) as file, reading(path, ".h5"):
        place = file if group is None else file[group]
        for name, item in place.items():
            # A group, or a name that means nothing here.
            if not is_used(name) or not hasattr(item, "dtype"):
                found.left.append(name)
            elif h5py.check_string_dtype(item.dtype) is not None:
                found.arrays[name] = np.char.decode(np.asarray(item[()]).astype(bytes), "utf-8")
            elif item.dtype.kind == "O":
                raise DataError(
                    f"{path}: array '{name}' holds lists of several lengths; save it as numbers of "
                    "one shape."
                )
            elif name[0] == "x" and item.ndim > 1 and is_streamed(stream, item.shape):
                found.arrays[name] = Stored.all_of(Hdf5Rows(path, item.name, item))
            else:
                found.arrays[name] = np.asarray(item[()])
    return found
