"""Networks of one architecture side by side: a product of all in place of one product each.

K networks, B rows of a minibatch. Sequences of common layers are computed by batched products
(`torch.baddbmm`) and grouped convolutions, whose gradients autograd knows; any other network by
`torch.vmap`, which finds them by itself and takes two to four times as long in small layers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from rfprune.core.named import call
from rfprune.errors import RfpruneError

__all__ = ["ApartError", "Stack", "check_agreement", "how_computed", "kind_of", "why_apart"]


class ApartError(RfpruneError):
    """Networks that cannot be computed together; its text says why."""


class _Held(NamedTuple):
    """What lies between two layers.

    Attributes:
        values: ``shared`` (B, ...), the same for all networks; ``flat`` (K, B, F); ``planes``
            (B, K * C, H, W), the channels of all networks behind each other.
        form: which of them.
    """

    values: Tensor
    form: str


class Stack:
    """Weights of K networks, each as one tensor (K, ...), and what the networks put out with them.

    Attributes:
        size: K.
        parameters: (K, ...) leaves by name; they need gradients where those of the networks do.
        buffers: (K, ...) by name; batch norms in training change them.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        """Copy the weights of networks in the mode in which they are to be called."""
        self.size = len(models)
        self._first = models[0]
        self.parameters = {
            name: self._of(models, name).requires_grad_(one.requires_grad)
            for name, one in self._first.named_parameters()
        }
        self.buffers = {name: self._of(models, name) for name, _ in self._first.named_buffers()}
        self._layers = _layers_of(self._first)

    @staticmethod
    def _of(models: Sequence[nn.Module], name: str) -> Tensor:
        path, _, own = name.rpartition(".")
        parts = [getattr(model.get_submodule(path), own).detach() for model in models]
        return torch.stack(parts).clone(memory_format=torch.contiguous_format)

    def __call__(self, x: Tensor, shared: bool) -> Tensor:
        """Return (K, B, ...) what the networks put out.

        Args:
            x: (B, ...) rows if they are `shared` by all networks, (K, B, ...) otherwise.
            shared: which of the two.

        Raises:
            ApartError: a layer that cannot be computed so, or that draws random numbers.
        """
        if self._layers is None:
            return self._mapped(x, shared)
        held = _Held(x, "shared")
        if not shared:
            several = x.ndim > 3
            held = _Held(x.transpose(0, 1).flatten(1, 2), "planes") if several else _Held(x, "flat")
        for path, layer in self._layers:
            held = _RULES[type(layer)](self, path, layer, held)
        return _flat(self, held)

    def _mapped(self, x: Tensor, shared: bool) -> Tensor:
        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], rows: Tensor) -> Any:
            return torch.func.functional_call(self._first, (parameters, buffers), (rows,))

        each = torch.vmap(one, in_dims=(0, 0, None if shared else 0))
        try:
            found = each(self.parameters, self.buffers, x)
        except (RuntimeError, ValueError, NotImplementedError) as error:
            words = str(error).strip().split("\n")[0].rstrip(".")
            raise ApartError(f"torch.vmap cannot compute it ({words})") from error
        if not isinstance(found, Tensor):
            raise ApartError("it puts out more than one tensor")
        return found

    def of(self, path: str, name: str) -> Tensor | None:
        """Return a parameter or buffer of a layer (K, ...), if it has it."""
        full = f"{path}.{name}" if path else name
        found = self.parameters.get(full)
        return self.buffers.get(full) if found is None else found

    def write(self, models: Sequence[nn.Module]) -> None:
        """Copy the weights back into networks like those that they came from."""
        with torch.no_grad():
            for name, values in (*self.parameters.items(), *self.buffers.items()):
                path, _, own = name.rpartition(".")
                for model, value in zip(models, values, strict=True):
                    getattr(model.get_submodule(path), own).copy_(value)


def _flat(stack: Stack, held: _Held) -> Tensor:
    """Return values of any form as (K, B, ...)."""
    values, form = held
    if form == "flat":
        return values
    if form == "shared":
        return values.unsqueeze(0).expand(stack.size, *values.shape)
    return _unrolled(stack, values)


def _linear(stack: Stack, path: str, layer: nn.Module, held: _Held) -> _Held:
    weight, bias = stack.of(path, "weight"), stack.of(path, "bias")
    rows = _flat(stack, held)
    assert weight is not None
    if rows.ndim != 3:
        raise ApartError(f"layer '{path}' takes more than one axis beside the rows")
    if bias is None:
        return _Held(torch.bmm(rows, weight.transpose(1, 2)), "flat")
    return _Held(torch.baddbmm(bias.unsqueeze(1), rows, weight.transpose(1, 2)), "flat")


def _convolution(stack: Stack, path: str, layer: nn.Module, held: _Held) -> _Held:
    assert isinstance(layer, nn.Conv2d)
    weight, bias = stack.of(path, "weight"), stack.of(path, "bias")
    assert weight is not None
    groups, values = layer.groups * stack.size, held.values
    if held.form == "shared":
        # One convolution with the kernels of all networks, as long as each reads every channel.
        if layer.groups == 1:
            groups = 1
        else:
            values = values.repeat(1, stack.size, 1, 1)
    assert not isinstance(layer.padding, str)
    made = nn.functional.conv2d(
        values,
        weight.flatten(0, 1),
        None if bias is None else bias.flatten(),
        layer.stride,
        layer.padding,
        layer.dilation,
        groups,
    )
    return _Held(made, "planes")


def _batch_norm(stack: Stack, path: str, layer: nn.Module, held: _Held) -> _Held:
    assert isinstance(layer, _BatchNorm)
    own = [stack.of(path, name) for name in ("running_mean", "running_var", "weight", "bias")]
    counted = stack.of(path, "num_batches_tracked")
    if held.form == "shared":
        several = held.values.ndim > 2
        repeated = held.values.repeat(1, stack.size, *[1] * (held.values.ndim - 2))
        held = _Held(repeated, "planes") if several else _Held(_flat(stack, held), "flat")
    # Statistics are of each channel, so those of all networks are more channels of one layer.
    planes = held.form == "planes"
    values = held.values if planes else held.values.transpose(0, 1).flatten(1)
    if layer.training and counted is not None:
        counted.add_(1)
    mean, variance, weight, bias = (None if part is None else part.flatten() for part in own)
    assert layer.momentum is not None
    made = nn.functional.batch_norm(
        values,
        mean,
        variance,
        weight,
        bias,
        layer.training or mean is None,
        layer.momentum,
        layer.eps,
    )
    return _Held(made, "planes") if planes else _Held(_unrolled(stack, made), "flat")


def _unrolled(stack: Stack, values: Tensor) -> Tensor:
    # (B, K * C, ...) as (K, B, C, ...)
    split = values.reshape(len(values), stack.size, -1, *values.shape[2:])
    return split.transpose(0, 1)


def _each(stack: Stack, path: str, layer: nn.Module, held: _Held) -> _Held:
    return _Held(layer(held.values), held.form)


def _flatten(stack: Stack, path: str, layer: nn.Module, held: _Held) -> _Held:
    if held.form == "shared":
        return _Held(held.values.flatten(1), "shared")
    if held.form == "flat":
        return held
    return _Held(_unrolled(stack, held.values).flatten(2), "flat")


_Rule = Callable[[Stack, str, nn.Module, _Held], _Held]
#: Without weights, and alike whether channels are those of one network or of several.
_PLAIN = (
    nn.Identity,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.GELU,
    nn.SiLU,
    nn.Hardtanh,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Sigmoid,
    nn.Tanh,
    nn.Softplus,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    # Those with a probability above 0 are refused beforehand.
    nn.Dropout,
)
_RULES: dict[type[nn.Module], _Rule] = {
    **dict.fromkeys(_PLAIN, _each),
    nn.Linear: _linear,
    nn.Conv2d: _convolution,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.Flatten: _flatten,
}


def _layers_of(model: nn.Module, path: str = "") -> list[tuple[str, nn.Module]] | None:
    """Return the layers of a plain sequence by path; None if it is none, or has others."""
    if type(model) is not nn.Sequential:
        return [(path, model)] if type(model) in _RULES and _usual(model) else None
    found: list[tuple[str, nn.Module]] = []
    for name, child in model.named_children():
        below = _layers_of(child, f"{path}.{name}" if path else name)
        if below is None:
            return None
        found += below
    return found


def _usual(layer: nn.Module) -> bool:
    """Return whether the arguments of a layer are among those that its rule knows."""
    if isinstance(layer, nn.Conv2d):
        return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    if isinstance(layer, _BatchNorm):
        return layer.momentum is not None
    if isinstance(layer, nn.Flatten):
        return layer.start_dim == 1 and layer.end_dim == -1
    return True


def how_computed(model: nn.Module) -> str:
    """Return how networks like one are computed together: products, convolutions or vmap."""
    layers = _layers_of(model)
    if layers is None:
        return "vmap"
    return "convolutions" if any(isinstance(m, nn.Conv2d) for _, m in layers) else "products"


def kind_of(model: nn.Module) -> str:
    """Return what networks that can be computed together have in common, as text."""
    tensors = [
        (name, tuple(value.shape), str(value.dtype), str(value.device), value.requires_grad)
        for name, value in (*model.named_parameters(), *model.named_buffers())
    ]
    return f"{model!r} {tensors}"


def why_apart(model: nn.Module) -> str:
    """Return why a network cannot be computed together with others; empty if nothing is known."""
    for path, module in model.named_modules():
        if getattr(module, "p", 0) and "Dropout" in type(module).__name__:
            return f"'{path}' ({type(module).__name__}) draws random numbers of its own"
        if getattr(module, "dropout", 0) and isinstance(module, nn.RNNBase):
            return f"'{path}' ({type(module).__name__}) draws random numbers of its own"
        hooks = (*module._forward_hooks, *module._forward_pre_hooks)
        parametrized = torch.nn.utils.parametrize.is_parametrized(module)
        if hooks or parametrized or "forward" in vars(module):
            return f"'{path}' computes in the numbers of the target, or under masks, meanwhile"
    for name, parameter in model.named_parameters():
        if parameter._backward_hooks:
            return f"'{name}' is trained under a mask of its own"
    return ""


def check_agreement(models: Sequence[nn.Module], x: Tensor, shared: bool) -> None:
    """Compare what networks put out together with what each does, on copies, which learn nothing.

    Args:
        models: in the mode in which they are to be called.
        x: as of `Stack`.
        shared: likewise.

    Raises:
        ApartError: they do not agree, in outputs or in the statistics of batch norms.
    """
    stack = Stack(models)
    with torch.no_grad():
        together = stack(x, shared)
        for k, model in enumerate(models):
            alone = copy.deepcopy(model)
            output = call(alone, x if shared else x[k])
            if not isinstance(output, Tensor):
                raise ApartError("it puts out more than one tensor")
            pairs = [(output, together[k])]
            pairs += [(value, stack.buffers[name][k]) for name, value in alone.named_buffers()]
            for wanted, found in pairs:
                if wanted.shape != found.shape or not _close(wanted, found):
                    raise ApartError("its outputs differ when it is computed together with others")


def _close(wanted: Tensor, found: Tensor) -> bool:
    scale = float(wanted.abs().max()) if wanted.numel() else 0.0
    return torch.allclose(wanted, found, rtol=1e-4, atol=1e-5 * max(scale, 1e-3), equal_nan=True)
