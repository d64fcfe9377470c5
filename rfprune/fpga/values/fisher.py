"""What rounding of weights and places loses, to second order: diagonals of Fisher matrices.

A weight that is used at P positions has the gradient ``G = sum_p d_i(p) a_j(p)`` per row. What it
adds on the average is made up for by its layer's bias within a few updates, and is not lost with
it: ``E[G^2] - E[G g]^2 / E[g^2]`` with g the bias's gradient (the Schur complement of the bias). A
layer's numbers that are rounded to f bits lose ``1/2 H 4^-f / 12`` with H the sum of ``E[d^2]``
over all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from rfprune.core.arrays import FloatArray
from rfprune.fpga.layers import LayerPlan

__all__ = ["seen_by_layers", "weight_fisher"]


@contextmanager
def seen_by_layers(
    graph: fx.GraphModule, layers: Sequence[LayerPlan]
) -> Iterator[tuple[list[Tensor], list[Tensor]]]:
    """While open, what each weight layer of a rounded graph reads and puts out is kept."""
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []

    def keep(module: nn.Module, given: tuple[Any, ...], output: Tensor) -> None:
        inputs.append(given[0])
        outputs.append(output)

    def reads(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        x = given[0]
        return (x if x.requires_grad else x.detach().requires_grad_(),)

    hooks = []
    for layer in layers:
        module = graph.get_submodule(f"fixed_{layer.layer.operation}")
        hooks += [module.register_forward_pre_hook(reads), module.register_forward_hook(keep)]
    try:
        yield inputs, outputs
    finally:
        for hook in hooks:
            hook.remove()


def weight_fisher(layer: LayerPlan, module: nn.Module, a: Tensor, d: Tensor) -> FloatArray:
    """Return, in the weight's shape, what a weight loses per squared error of its value, twice.

    Args:
        layer: the layer.
        module: in the network.
        a: (N, ...) what it reads.
        d: (N, ...) gradients per row of what it puts out.
    """
    biased = getattr(module, "bias", None) is not None
    if layer.layer.kind.name == "dense":
        square = (d**2).T
        found, mixed, alone = square @ a**2, square @ a, square.sum(1, keepdim=True)
    else:
        gradient, own = _by_row(layer, module, a, d)
        found = (gradient**2).sum(0)
        mixed, alone = (gradient * own).sum(0), (own**2).sum(0)
    if biased:
        found = (found - mixed**2 / alone.clamp_min(1e-30)).clamp_min(0.0)
    shaped = (found / len(a)).reshape(layer.layer.weight_shape)
    return shaped.cpu().numpy().astype("float64")


def _by_row(layer: LayerPlan, module: Any, a: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Return (N, n_out, n_in) gradients of the weights, and (N, n_out, 1) of the biases."""
    kind = layer.layer.kind
    if kind.feature_axis == -1:
        # A Linear at every position of a sequence.
        a, d = a.flatten(1, -2), d.flatten(1, -2)
        return torch.einsum("npo,npi->noi", d, a), d.sum(1)[:, :, None]
    if a.dim() == 3:
        a, d = a[:, :, None], d[:, :, None]
    size, padding = module.kernel_size, module.padding
    stride = module.stride
    if len(size) == 1:
        size, stride = (1, *size), (1, *stride)
    patches = F.unfold(F.pad(a, _around(size, padding)), size, stride=stride)
    d = d.flatten(2)
    if kind.depthwise:
        by_channel = patches.reshape(len(a), a.shape[1], -1, patches.shape[-1])
        gradient = torch.einsum("ncp,nckp->nck", d, by_channel)
    else:
        gradient = torch.einsum("nop,nip->noi", d, patches)
    return gradient, d.sum(2)[:, :, None]


def _around(size: Sequence[int], padding: Any) -> list[int]:
    """Return the zeros around an image as torch's `pad` takes them: last axis first."""
    found: list[int] = []
    numbers = padding if isinstance(padding, str) else (0,) * (2 - len(padding)) + tuple(padding)
    for axis in (1, 0):
        if padding == "same":
            # Of an even kernel, the odd one goes behind, as torch has it.
            found += [(size[axis] - 1) // 2, size[axis] - 1 - (size[axis] - 1) // 2]
        else:
            found += [0, 0] if padding == "valid" else [int(numbers[axis])] * 2
    return found
