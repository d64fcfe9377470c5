"""Training and evaluation through the rounding of the layers' hls4ml types.

Weights, biases and the inputs of every weight layer pass through their fixed-point grid in the
forward direction, and straight through it in the backward direction (Bengio et al. 2013), so that
fine-tuning sees the numbers that the hardware will use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn

from rfprune.hardware.precision import FixedType
from rfprune.network.plan import LayerPlan, Plan

__all__ = ["fixed_point", "through"]


def through(x: Tensor, kind: FixedType) -> Tensor:
    """Return `x` on the grid of `kind`; its gradient is that of the identity."""
    return x + (kind.quantize(x.detach()) - x.detach())


def _of(module: nn.Module) -> tuple[Tensor, Tensor | None]:
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor)
    assert bias is None or isinstance(bias, Tensor)
    return weight, bias


def _forward(module: nn.Module, layer: LayerPlan, x: Tensor) -> Tensor:
    x = through(x, layer.data)
    weight, bias = _of(module)
    weight = through(weight, layer.weight)
    bias = None if bias is None else through(bias, layer.result)
    if isinstance(module, nn.Linear):
        return nn.functional.linear(x, weight, bias)
    assert isinstance(module, nn.Conv1d | nn.Conv2d)
    convolved: Tensor = module._conv_forward(x, weight, bias)
    return convolved


@contextmanager
def fixed_point(model: nn.Module, plan: Plan, active: bool = True) -> Iterator[None]:
    """While open, the weight layers of `model` compute with their hls4ml types.

    Args:
        model: the network; its parameters stay float.
        plan: types by layer.
        active: False leaves the network alone, so that callers need no branch.
    """
    modules = [(model.get_submodule(layer.layer.path), layer) for layer in plan.layers]
    if active:
        for module, layer in modules:
            module.forward = partial(_forward, module, layer)
    try:
        yield
    finally:
        if active:
            for module, _ in modules:
                del module.forward
