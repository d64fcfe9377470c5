"""Files of tensors and plain values: written whole or not at all, read without running code.

A .pt file is a pickle, and a pickle decides what runs when it is opened. ``weights_only=True``
restricts torch's unpickler to tensors and plain values, so that a file of unknown origin can do no
more than be wrong.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from rfprune.core.files import replacing, sync
from rfprune.errors import RfpruneError, RunsError

__all__ = [
    "check_unpacked_size",
    "load_content",
    "read_values",
    "save_content",
    "to_arrays",
    "to_tensors",
    "write_values",
]

#: What a packed file may stand for: deflate packs zeros a thousandfold, numbers twofold.
_MOST_UNPACKED, _LARGEST_RATIO = 1 << 30, 100


def save_content(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values; the file appears whole or not at all.

    Args:
        path: the .pt file; it is replaced if it exists.
        content: nested dicts and lists of tensors, numbers and strings.
    """
    import torch

    with replacing(path) as partial, partial.open("wb") as file:
        torch.save(content, file)
        sync(file)


def load_content(path: Path, fault: type[RfpruneError] = RunsError, hint: str = "") -> Any:
    """Return what a file of tensors and plain values holds, the tensors on the CPU.

    Args:
        path: the .pt file, of today's zip format or of torch's older one.
        fault: the error that is raised.
        hint: what to do instead of a file that could run code; a sentence.

    Raises:
        RfpruneError: as `fault`: no such file, a damaged one, or one that holds code.
    """
    import torch

    try:
        # torch.load does not look at the checksums of the archive: flipped bits would become
        # weights.
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                check_unpacked_size(archive, path, fault)
                if (damaged := archive.testzip()) is not None:
                    raise fault(
                        f"{path}: is damaged; the checksum of its part '{damaged}' is wrong."
                    )
        with warnings.catch_warnings():
            # torch warns of old formats and of TorchScript, both of which are reported below.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except fault:
        raise
    except FileNotFoundError:
        raise fault(f"{path}: no such file.") from None
    except Exception as error:  # a damaged file makes the unpickler stumble anywhere
        if isinstance(error, pickle.UnpicklingError) or "TorchScript" in str(error):
            raise fault(
                f"{path}: is damaged, or holds more than tensors and plain values (a whole pickled "
                "module, TorchScript or other objects); opening it could run any code, so it is "
                f"refused.{hint and ' '}{hint}"
            ) from error
        raise fault(f"{path}: is damaged or cut short; not a readable .pt file.") from error


def check_unpacked_size(
    archive: zipfile.ZipFile, path: Path, fault: type[RfpruneError] = RunsError
) -> None:
    """Refuse an archive that is small and stands for more memory than there may be.

    Raises:
        RfpruneError: as `fault`; says how large it is, packed and unpacked.
    """
    packed, unpacked = path.stat().st_size, sum(entry.file_size for entry in archive.infolist())
    if unpacked > _MOST_UNPACKED and unpacked > _LARGEST_RATIO * packed:
        raise fault(
            f"{path}: is {packed / 1e6:.1f} MB, and {unpacked / 1e9:.1f} GB unpacked, which "
            "no file of numbers is; it is refused."
        )


def write_values(path: Path, kind: str, values: dict[str, Any]) -> None:
    """Write plain values, numpy arrays and tensors; arrays become tensors.

    Args:
        path: replaced if it exists.
        kind: what the file is, e.g. ``rfprune.policy/1``; checked on reading.
        values: nested dicts and lists are fine.
    """
    save_content(path, {"kind": kind, "values": to_tensors(values)})


def read_values(path: Path, kind: str) -> dict[str, Any]:
    """Return what `write_values` wrote; tensors come back as numpy arrays.

    Raises:
        RunsError: no such file, a damaged one, one that holds code, or another kind.
    """
    content = load_content(path)
    found = content.get("kind") if isinstance(content, dict) else None
    if found != kind:
        raise RunsError(f"{path}: is of kind {found!r}, expected '{kind}'.")
    values: dict[str, Any] = to_arrays(content["values"])
    return values


def to_tensors(value: Any) -> Any:
    """Return nested dicts and lists with tensors in the place of arrays."""
    import torch

    if isinstance(value, dict):
        return {key: to_tensors(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_tensors(inner) for inner in value]
    return torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value


def to_arrays(value: Any) -> Any:
    """Return nested dicts and lists with arrays in the place of tensors."""
    import torch

    if isinstance(value, dict):
        return {key: to_arrays(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [to_arrays(inner) for inner in value]
    return value.numpy() if isinstance(value, torch.Tensor) else value
