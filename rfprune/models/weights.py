"""Weights that other programs saved: state dicts in whatever they were put into.

Known are plain state dicts, dicts that hold one among other things (training scripts, checkpoints
of Lightning), safetensors, and names with what wraps a network in front of them: ``module.``
(DataParallel), ``_orig_mod.`` (torch.compile), ``model.`` (an attribute of a LightningModule).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfprune.core.registry import a_type
from rfprune.errors import NetworkError
from rfprune.models.checkpoint import only_tensors, read_content

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["fitting", "read_weights"]

#: Keys under which programs put the state dict of a network, the most specific ones first.
_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights")


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the tensors by name, as the file has them.

    Raises:
        NetworkError: no such file, a damaged one, one that would run code, or one in which no
            state dict is found; names the key that is wrong.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    content = read_content(path)
    if all(_is_tensor(value) for value in content.values()):
        return only_tensors(path, content)
    held = [key for key in _KEYS if isinstance(content.get(key), Mapping)]
    held = held or [key for key in _KEYS[:3] if key in content]
    if not held:
        key, value = next((k, v) for k, v in content.items() if not _is_tensor(v))
        raise NetworkError(
            f"{path}: '{key}' is {a_type(value)}; a state dict holds tensors only, and a "
            f"file that holds more keeps it under one of the keys {', '.join(_KEYS)}. "
            f"Found: {', '.join(map(str, content))}."
        )
    return only_tensors(path, content[held[0]])


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return only_tensors(path, load_file(path))
    except FileNotFoundError:
        raise NetworkError(f"{path}: no such file.") from None
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        if isinstance(error, NetworkError):
            raise
        raise NetworkError(f"{path}: not a readable safetensors file ({error}).") from error


def fitting(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path
) -> dict[str, Tensor]:
    """Return the tensors under the names of a network, without what wrapped it.

    Beside a network that was wrapped, a file may hold tensors of the wrapper (losses, metrics),
    which are left out. Where nothing fits, all are returned as they are.

    Args:
        state: tensors by name, as a file has them.
        wanted: those of the network.
        path: the file, for messages.

    Raises:
        NetworkError: several networks in the file fit.
    """
    # The names fit as they are.
    if not wanted or set(wanted) <= set(state):
        return dict(state)
    first = next(iter(wanted))
    prefixes = [name.removesuffix(first) for name in state if name.endswith(f".{first}")]
    whole = [p for p in prefixes if all(f"{p}{name}" in state for name in wanted)]
    if len(whole) > 1:
        raise NetworkError(
            f"{path}: {len(whole)} networks in it fit, whose tensors begin with "
            f"{' and '.join(repr(prefix) for prefix in whole)}; save the one that is meant alone."
        )
    # A last layer that is to be replaced may be missing.
    prefix = whole[0] if whole else (prefixes[0] if len(prefixes) == 1 else "")
    return {n.removeprefix(prefix): value for n, value in state.items() if n.startswith(prefix)}
