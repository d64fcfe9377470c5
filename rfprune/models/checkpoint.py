"""Saved networks: a file of tensors and plain values, never of code.

A file holds ``format``, ``model`` (a `ModelSpec` as a dict), ``input_shape``, ``n_classes``,
``state_dict`` and ``extra``. It is read with ``weights_only=True``, so that opening a file of
unknown origin cannot run code. TorchScript, exported programs and whole pickled modules are
therefore refused.
"""

from __future__ import annotations

import os
import pickle
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from rfprune.atomic import replacing
from rfprune.errors import InputError, NetworkError
from rfprune.models.spec import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "Checkpoint",
    "fitting_the_network",
    "load_checkpoint",
    "read_state_dict",
    "save_checkpoint",
    "trusted_spec",
]

FORMAT = "rfprune.network/1"
#: A saved network has its weights with it.
_BUILT_FROM_THE_FILE = {"weights": None, "new_head": False}


@dataclass(frozen=True)
class Checkpoint:
    """A saved network.

    Attributes:
        spec: how to build it: a named network or a function, never a file.
        input_shape: shape of one sample, without the batch axis.
        n_classes: number of outputs.
        state_dict: its parameters and buffers, on the CPU.
        extra: what the writer added; tensors and plain values.
    """

    spec: ModelSpec
    input_shape: tuple[int, ...]
    n_classes: int
    state_dict: dict[str, Tensor]
    extra: dict[str, Any]


def save_checkpoint(
    path: Path,
    model: nn.Module,
    spec: ModelSpec,
    input_shape: tuple[int, ...],
    n_classes: int,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Save a network with all that is needed to build it again; the file appears whole or not.

    Args:
        path: the .pt file; it is replaced if it exists.
        model: the network; its tensors are copied to the CPU.
        spec: what it was built from, as `architecture` returns it: not a file.
        input_shape: shape of one sample, without the batch axis.
        n_classes: number of outputs.
        extra: further tensors and plain values (numbers, strings, lists, dicts of these).
    """
    import torch

    assert not spec.is_file, "pass the spec through `architecture` first"
    content = {
        "format": FORMAT,
        "model": spec.model_copy(update=_BUILT_FROM_THE_FILE).model_dump(mode="json"),
        "input_shape": list(input_shape),
        "n_classes": n_classes,
        "state_dict": {name: t.detach().cpu() for name, t in model.state_dict().items()},
        "extra": dict(extra or {}),
    }
    with replacing(path) as partial, partial.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a network that `save_checkpoint` wrote.

    Raises:
        NetworkError: no such file, a damaged one, one that would run code, or another kind.
    """
    content = _read(path)
    if content.get("format") != FORMAT:
        raise NetworkError(
            f"{path}: not a network saved by rfprune (format {content.get('format')!r}, expected "
            f"'{FORMAT}'). For a plain state dict give model.name and model.weights: {path}."
        )
    try:
        return Checkpoint(
            spec=ModelSpec.model_validate(content["model"]),
            input_shape=tuple(int(size) for size in content["input_shape"]),
            n_classes=int(content["n_classes"]),
            state_dict=_tensors(path, content["state_dict"]),
            extra=dict(content["extra"]),
        )
    except NetworkError:
        raise
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        raise NetworkError(f"{path}: what it was built from is not understood: {reason}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise NetworkError(f"{path}: the saved network is incomplete ({error!r}).") from error


def trusted_spec(saved: Checkpoint, path: Path, given: ModelSpec | None = None) -> ModelSpec:
    """Return what a saved network is built from, which is never code that the file chose.

    Args:
        saved: the content of `path`.
        path: for the message.
        given: what the caller says it is built from; needed for a user's own function.

    Raises:
        NetworkError: the file names a function, and nothing was given.
    """
    if given is None and (saved.spec.is_function or saved.spec.is_file):
        raise NetworkError(
            f"{path}: was built by '{saved.spec.name}', and a file must not decide what code is "
            "run; give its spec too."
        )
    return given or saved.spec


@contextmanager
def fitting_the_network(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong when the values of a file are put into its network into one fault.

    Raises:
        NetworkError: names the file, and the reason in one line.
    """
    try:
        yield
    except (
        *(InputError, AttributeError, IndexError, KeyError),
        *(RuntimeError, TypeError, ValueError),
    ) as error:
        reason = str(error).strip().split("\n")[0]
        raise NetworkError(f"{path}: does not fit the network it names: {reason}") from error


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the weights of a saved network, of a plain state dict, or of a dict that holds one.

    Raises:
        NetworkError: as `load_checkpoint`, or a value that is no tensor.
    """
    content = _read(path)
    return _tensors(path, content.get("state_dict", content))


def _read(path: Path) -> dict[str, Any]:
    import torch

    try:
        if zipfile.is_zipfile(path):
            _check_sums(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except NetworkError:
        raise
    except FileNotFoundError:
        raise NetworkError(f"{path}: no such file.") from None
    except pickle.UnpicklingError as error:
        raise _refusal(path) from error
    except Exception as error:  # a damaged file makes the unpickler stumble anywhere
        if "TorchScript" in str(error):
            raise _refusal(path) from error
        raise NetworkError(
            f"{path}: not a readable .pt file; it is damaged or cut short."
        ) from error
    if not isinstance(content, dict):
        raise NetworkError(f"{path}: holds a {type(content).__name__}, expected a dict of tensors.")
    return content


def _check_sums(path: Path) -> None:
    # torch.load does not look at the checksums of the archive: flipped bits would become weights.
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise NetworkError(f"{path}: damaged; the checksum of its part '{damaged}' is wrong.")


def _refusal(path: Path) -> NetworkError:
    return NetworkError(
        f"{path}: holds more than tensors and plain values (a whole pickled module, TorchScript "
        "or other objects); opening it could run any code, so it is refused. Save the state dict "
        "instead, torch.save(model.state_dict(), path), and give it as model.weights beside "
        "model.name."
    )


def _tensors(path: Path, content: object) -> dict[str, Tensor]:
    import torch

    if not isinstance(content, Mapping):
        raise NetworkError(
            f"{path}: its state dict is a {type(content).__name__}, expected a dict of tensors."
        )
    for name, value in content.items():
        if not isinstance(value, torch.Tensor):
            raise NetworkError(
                f"{path}: '{name}' is a {type(value).__name__}; a state dict holds tensors only."
            )
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise NetworkError(f"{path}: '{name}' holds values that are NaN or infinite.")
    return {str(name): value for name, value in content.items()}
