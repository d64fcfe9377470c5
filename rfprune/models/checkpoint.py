"""Saved networks: a file of tensors and plain values, never of code.

A file holds ``format``, ``model`` (a `ModelSpec` as a dict), ``input_shape``, ``n_outputs``,
``state_dict`` and ``extra``. It is read with ``weights_only=True``, so that opening a file of
unknown origin cannot run code. TorchScript, exported programs and whole pickled modules are
therefore refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from rfprune.core.named import InputShape, Outputs, plain_shape
from rfprune.core.registry import a_type
from rfprune.core.value_files import load_content, save_content
from rfprune.errors import InputError, NetworkError
from rfprune.models.spec import ModelSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "Checkpoint",
    "fitting_the_network",
    "load_checkpoint",
    "only_tensors",
    "read_content",
    "save_checkpoint",
    "trusted_spec",
]

#: Stays as it is when modules are renamed: saved networks hold it.
FORMAT = "rfprune.network/1"
_SAVE_THE_STATE_DICT = (
    "Save the state dict instead, torch.save(model.state_dict(), path), and give it as "
    "model.weights beside model.name."
)
#: A saved network has its weights with it.
_BUILT_FROM_THE_FILE = {"weights": None, "new_head": False}


@dataclass(frozen=True)
class Checkpoint:
    """A saved network.

    Attributes:
        spec: how to build it: a named network or a function, never a file.
        input_shape: shape of one sample, without the batch axis; by input if there are several.
        n_outputs: number of outputs; by head if there are several.
        state_dict: its parameters and buffers, on the CPU.
        extra: what the writer added; tensors and plain values.
    """

    spec: ModelSpec
    input_shape: InputShape
    n_outputs: Outputs
    state_dict: dict[str, Tensor]
    extra: dict[str, Any]


def save_checkpoint(
    path: Path,
    model: nn.Module,
    spec: ModelSpec,
    input_shape: InputShape,
    n_outputs: Outputs,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Save a network with all that is needed to build it again; the file appears whole or not.

    Args:
        path: the .pt file; it is replaced if it exists.
        model: the network; its tensors are copied to the CPU.
        spec: what it was built from, as `architecture` returns it: not a file.
        input_shape: shape of one sample, without the batch axis; by input if there are several.
        n_outputs: number of outputs; by head if there are several.
        extra: further tensors and plain values (numbers, strings, lists, dicts of these).
    """
    assert not spec.is_file, "pass the spec through `architecture` first"
    content = {
        "format": FORMAT,
        "model": spec.model_copy(update=_BUILT_FROM_THE_FILE).model_dump(mode="json"),
        "input_shape": input_shape if isinstance(input_shape, dict) else list(input_shape),
        "n_outputs": n_outputs,
        # On the CPU, so that a file from a GPU loads on any machine.
        "state_dict": {name: t.detach().cpu() for name, t in model.state_dict().items()},
        "extra": dict(extra or {}),
    }
    save_content(path, content)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a network that `save_checkpoint` wrote.

    Raises:
        NetworkError: no such file, a damaged one, one that would run code, or another kind.
    """
    content = read_content(path)
    if content.get("format") != FORMAT:
        raise NetworkError(
            f"{path}: not a network saved by rfprune (format {content.get('format')!r}, expected "
            f"'{FORMAT}'). For a plain state dict give model.name and model.weights: {path}."
        )
    try:
        return Checkpoint(
            spec=ModelSpec.model_validate(content["model"]),
            input_shape=plain_shape(content["input_shape"]),
            # Files of version 0.1 say how many classes there are.
            n_outputs=_outputs(content["n_classes" if "n_classes" in content else "n_outputs"]),
            state_dict=only_tensors(path, content["state_dict"]),
            extra=dict(content["extra"]),
        )
    except NetworkError:
        raise  # it is a ValueError too, and complete already
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"]
        raise NetworkError(
            f"{path}: its description of the network is invalid: {reason}"
        ) from error
    except (KeyError, TypeError, ValueError) as error:
        raise NetworkError(f"{path}: the saved network is incomplete ({error!r}).") from error


def _outputs(saved: Any) -> Outputs:
    if isinstance(saved, Mapping):
        return {str(head): int(outputs) for head, outputs in saved.items()}
    return int(saved)


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


def read_content(path: Path) -> dict[str, Any]:
    """Return what a .pt file of tensors and plain values holds.

    Raises:
        NetworkError: no such file, a damaged one, one that would run code, or no dict.
    """
    content = load_content(path, NetworkError, _SAVE_THE_STATE_DICT)
    if not isinstance(content, dict):
        raise NetworkError(f"{path}: holds {a_type(content)}, expected a dict of tensors.")
    return content


def only_tensors(path: Path, content: object) -> dict[str, Tensor]:
    """Return a state dict, which holds tensors alone.

    Raises:
        NetworkError: it is none, or holds values that are not finite.
    """
    import torch

    if not isinstance(content, Mapping):
        raise NetworkError(
            f"{path}: its state dict is {a_type(content)}, expected a dict of tensors."
        )
    for name, value in content.items():
        if not isinstance(value, torch.Tensor):
            raise NetworkError(
                f"{path}: '{name}' is {a_type(value)}; a state dict holds tensors only."
            )
        # Such a network computes nothing, and comparisons with its accuracy would all be false.
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise NetworkError(f"{path}: '{name}' holds values that are NaN or infinite.")
    return {str(name): value for name, value in content.items()}
