"""Networks that cannot be trained and pruned as they are, found before anything else is tried."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from rfprune.errors import NetworkError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["refuse_untrainable"]


def refuse_untrainable(model: nn.Module, name: str) -> None:
    """Raise if a network's weights are not plain parameters of plain layers.

    Args:
        model: as the user's function made it.
        name: of the model in the file.

    Raises:
        NetworkError: names the layer, and what to call first.
    """
    # The network as a whole before its layers: of a TorchScript module none can be seen.
    for fault in _FAULTS:
        found = fault(model)
        if found is not None:
            raise NetworkError(f"model '{name}': {found}.")


def _as_a_whole(model: nn.Module) -> str | None:
    import torch
    from torch import fx

    if isinstance(model, torch.jit.ScriptModule):
        return "is a TorchScript module, whose layers cannot be seen; return the module itself"
    if isinstance(model, fx.GraphModule):
        try:
            model.eval()
        except NotImplementedError:
            return (
                "is a program of torch.export, which cannot be set to training; return the module "
                "that it was exported from"
            )
    return None


def _other_numbers(model: nn.Module) -> str | None:
    import torch

    for name, parameter in model.named_parameters():
        if parameter.is_floating_point() and parameter.dtype != torch.float32:
            return (
                f"{name} is of type {parameter.dtype}, and rfprune trains in torch.float32; return "
                "model.float()"
            )
    return None


def _lazy(model: nn.Module) -> str | None:
    from torch.nn.parameter import is_lazy

    for path, module in model.named_modules():
        if any(
            is_lazy(tensor) for tensor in (*module._parameters.values(), *module._buffers.values())
        ):
            return (
                f"{path or 'the network'}: {type(module).__name__} does not know its size yet; "
                "give it one, e.g. Linear in place of LazyLinear"
            )
    return None


def _quantized(model: nn.Module) -> str | None:
    for path, module in model.named_modules():
        kind = type(module)
        place = kind.__module__
        if ".quantized" in place:
            return (
                f"{path}: is quantized already ({place}.{kind.__name__}), and rfprune trains in "
                "floats; give it the network before it was quantized, and hardware.precision"
            )
        if ".qat" in place or ".fake_quantize" in place or kind.__name__.endswith("Observer"):
            return (
                f"{path}: is prepared for quantization ({kind.__name__}), which rfprune does not "
                "take; give it the network before that, and hardware.precision with "
                "prune.fixed_point"
            )
    return None


def _computed(model: nn.Module) -> str | None:
    """A weight that something computes before every call: training it trains something else."""
    from torch import nn
    from torch.nn.utils import parametrize, prune

    for path, module in model.named_modules():
        if not isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            continue
        if parametrize.is_parametrized(module):
            first = next(name for name in ("weight", "bias") if _has(module, name))
            return (
                f"{path}: its {first} is computed by a parametrization; call "
                f"torch.nn.utils.parametrize.remove_parametrizations(layer, '{first}') first"
            )
        hooks = module._forward_pre_hooks.values()
        if any(isinstance(hook, prune.BasePruningMethod) for hook in hooks):
            return (
                f"{path}: its weight is masked by torch.nn.utils.prune; call "
                "torch.nn.utils.prune.remove(layer, 'weight') first"
            )
        if "weight" not in module._parameters:
            names = ", ".join(type(hook).__name__ for hook in hooks) or "the layer itself"
            return (
                f"{path}: its weight is no parameter but computed before each call (by {names}); "
                "remove that first"
            )
    return None


def _has(module: nn.Module, name: str) -> bool:
    from torch.nn.utils import parametrize

    return parametrize.is_parametrized(module, name)


_FAULTS: tuple[Callable[[nn.Module], str | None], ...] = (
    _as_a_whole,
    _lazy,
    _quantized,
    _other_numbers,
    _computed,
)
