"""How single operations are lowered: to themselves, or to others that compute exactly the same."""

from __future__ import annotations

import operator
from collections.abc import Callable
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn

from rfprune.fpga.layers.calls import Call, Lowered, is_data
from rfprune.fpga.layers.operators import Affine, Concatenate, Gather, Lookup, Merge, Sum
from rfprune.fpga.layers.recurrent import part_of_recurrent
from rfprune.fpga.layers.tracing import ROWS
from rfprune.fpga.layers.weight_kinds import WEIGHT_KINDS, weights_of

__all__ = [
    "Rule",
    "adaptive_pool",
    "affine",
    "as_it_is",
    "clamp",
    "concatenate",
    "dropout",
    "embedding",
    "flatten",
    "function",
    "linear",
    "mean",
    "merge",
    "move",
    "negative",
    "norm",
    "nothing",
    "pad",
    "pool",
    "power",
    "recurrent",
    "resize",
    "stack",
    "threshold",
    "total",
    "weighted",
]

Rule = Callable[[Call], Lowered]


def as_it_is(call: Call) -> Lowered:
    """Keep a module."""
    assert call.module is not None
    return call.lowered(call.module)


def nothing(call: Call) -> Lowered:
    """Leave an operation out that hands on what it gets, to hardware at least."""
    return call.lowered()


def function(make: Callable[..., nn.Module], *names: str) -> Rule:
    """Return the rule of a function that a module computes.

    Args:
        make: of the module.
        names: of the function's arguments behind the tensor that the module is made with.
    """

    def rule(call: Call) -> Lowered:
        given = {
            name: value
            for position, name in enumerate(names, start=1)
            if (value := call.argument(position, name, None)) is not None
        }
        return call.lowered(make(**given))

    return rule


# Layers with weights --------------------------------------------------------------------------


def weighted(call: Call) -> Lowered:
    """Keep a layer with weights; a subclass becomes its base with the same parameters."""
    assert call.module is not None
    kind = next(kind for kind in WEIGHT_KINDS if isinstance(call.module, kind.module))
    fault = kind.fault(call.module)
    if fault is not None:
        raise call.refused(f"with {fault}")
    return call.lowered(call.module)


def recurrent(call: Call) -> Lowered:
    """Keep a recurrent layer, which puts out its sequence; its state is the last step of it."""
    for state in call.node.all_input_nodes[1:]:
        value = state.meta["value"]
        if not state.meta["constant"] or isinstance(value, nn.Parameter) or value.any():
            raise call.refused("with a state to begin with (hls4ml begins at 0; leave it out)")
    if len(call.in_shape) != 2:
        raise call.refused(f"of rows of shape {call.in_shape} (steps and features alone)")
    return weighted(call)


def linear(call: Call) -> Lowered:
    """A layer's own computation, written as a function: ``F.linear(x, self.weight, self.bias)``."""
    weight, bias = call.argument(1, "weight"), call.argument(2, "bias")
    owner = _owner(call, weight)
    if owner is None or (isinstance(bias, fx.Node) and _owner(call, bias) is not owner):
        raise call.refused(
            "of a weight that is no layer's own, or that is computed first. Use the module"
        )
    return call.lowered(owner, inputs=(call.node.args[0],))  # type: ignore[arg-type]


def _owner(call: Call, parameter: Any) -> nn.Module | None:
    """Return the layer that a recorded parameter is the weight or bias of."""
    if not (isinstance(parameter, fx.Node) and parameter.op == "get_attr"):
        return None
    path, _, name = str(parameter.target).rpartition(".")
    module = call.root.get_submodule(path)
    return module if weights_of(module) and name in ("weight", "bias") else None


def embedding(call: Call) -> Lowered:
    """Keep a table of rows that whole numbers choose from."""
    module = call.module
    assert isinstance(module, nn.Embedding)
    if module.max_norm is not None:
        raise call.refused("with max_norm, which changes its weights while it runs")
    if call.source.op != "placeholder" and not _is_cast_input(call.source):
        raise call.refused("of what is computed; give it an input of its own")
    return call.lowered(Lookup(module))


def _is_cast_input(node: fx.Node) -> bool:
    """Return whether a node is an input as another type of number."""
    while node.op == "call_method" and node.target in ("long", "int", "to"):
        node = node.all_input_nodes[0]
    return node.op == "placeholder"


# Arithmetic -----------------------------------------------------------------------------------


def merge(operation: str) -> Rule:
    """Return the rule of an operation on two tensors, or on a tensor and a constant."""

    def rule(call: Call) -> Lowered:
        a, b = call.argument(0, "input"), call.argument(1, "other")
        alpha = call.argument(2, "alpha", 1)
        if alpha != 1:
            raise call.refused(f"with alpha={alpha}. Multiply first")
        first, second = is_data(a), is_data(b)
        if not (first and second):
            return _with_constant(call, operation, a, b)
        if a is b and operation == "add":
            return call.lowered(Affine(2.0, 0.0, call.out_shape))
        if a is b and operation == "subtract":
            raise call.refused("of a tensor and itself, which is 0")
        if a is b and operation in ("maximum", "minimum"):
            return call.lowered()
        return call.lowered(Merge(operation), inputs=(a, b))

    return rule


def _with_constant(call: Call, operation: str, a: Any, b: Any) -> Lowered:
    left = is_data(b)
    constant = call.constant(a if left else b)
    if not torch.isfinite(torch.as_tensor(constant)).all():
        raise call.refused("with a constant that is not a finite number")
    scale, shift = {
        "add": (1.0, constant),
        # ``c - x`` and ``x - c``.
        "subtract": (-1.0, constant) if left else (1.0, -constant),
        "multiply": (constant, 0.0),
    }.get(operation, (None, None))
    if scale is None or shift is None:
        if operation == "maximum" and not isinstance(constant, Tensor) and constant == 0:
            return call.lowered(nn.ReLU())
        raise call.refused("with a constant")
    # The constant would repeat the tensor, which takes more than a scale and a shift.
    if call.out_shape != call.in_shape:
        raise call.refused(f"with a constant of shape {tuple(torch.as_tensor(constant).shape)}")
    return call.lowered(Affine(scale, shift, call.out_shape))


def affine(call: Call) -> Lowered:
    """A division by a constant is a multiplication."""
    a, b = call.argument(0, "input"), call.argument(1, "other")
    if is_data(b) or not is_data(a):
        raise call.refused(
            "by a tensor that depends on the input: hls4ml has no division. Compute it behind the "
            "network"
        )
    if call.argument(2, "rounding_mode") is not None:
        raise call.refused("with a rounding_mode")
    return call.lowered(Affine(1.0 / call.constant(b), 0.0, call.out_shape))


def negative(call: Call) -> Lowered:
    """The sign is a factor."""
    return call.lowered(Affine(-1.0, 0.0, call.out_shape))


def power(call: Call) -> Lowered:
    """A square is a tensor times itself."""
    exponent = call.argument(1, "exponent", 2)
    if exponent != 2:
        raise call.refused(f"with exponent {exponent} (2 alone; take products)")
    return call.lowered(Merge("multiply"), inputs=(call.source, call.source))


def concatenate(call: Call) -> Lowered:
    """Tensors one behind the other, along any axis but that of the rows."""
    parts = call.argument(0, "tensors")
    if not isinstance(parts, tuple | list) or not all(is_data(part) for part in parts):
        raise call.refused("of tensors that do not depend on the input")
    axis = call.argument(1, "dim", call.argument(1, "axis", 0))
    (axis,) = call.axes(axis)
    if len(parts) == 1:
        return call.lowered()
    return call.lowered(Concatenate(axis), inputs=tuple(parts))


def total(call: Call) -> Lowered:
    """A sum over axes; those that stay, stay in order."""
    axes = call.axes(call.argument(1, "dim", call.argument(1, "axis", 0)))
    return call.lowered(Sum(axes), *_reshaped(call, _kept(call, axes)))


def mean(call: Call) -> Lowered:
    """A mean over whole axes is average pooling with a kernel of their size."""
    axes = call.axes(call.argument(1, "dim", call.argument(1, "axis", 0)))
    shape = call.in_shape
    if len(shape) == 3 and axes == (1, 2):
        return call.lowered(nn.AvgPool2d(shape[1:]), *_reshaped(call, (shape[0], 1, 1)))
    rest = [axis for axis in range(len(shape)) if axis not in axes]
    # What is averaged goes behind, as positions; everything else is a channel.
    order = torch.arange(prod(shape)).reshape(shape).permute(*rest, *axes)
    size = prod(shape[axis] for axis in axes)
    moved = order.reshape(-1, size)
    return call.lowered(
        *([] if moved.shape == shape and _in_order(moved) else [Gather(moved)]),
        nn.AvgPool1d(size),
        *_reshaped(call, (len(moved), 1)),
    )


def _kept(call: Call, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(1 if axis in axes else size for axis, size in enumerate(call.in_shape))


def _reshaped(call: Call, shape: tuple[int, ...]) -> list[nn.Module]:
    """Return what brings `shape` into the shape that the operation puts out."""
    if shape == call.out_shape:
        return []
    if len(call.out_shape) == 1:
        return [nn.Flatten()]
    return [Gather(torch.arange(prod(shape)).reshape(call.out_shape))]


def _in_order(index: Tensor) -> bool:
    return torch.equal(index.reshape(-1), torch.arange(index.numel()))


# Activations ------------------------------------------------------------------------------------


def clamp(call: Call) -> Lowered:
    """A clip at 0, and from 0 to a whole number, is a ReLU that hls4ml has."""
    low = call.argument(1, "min", call.argument(1, "min_val"))
    high = call.argument(2, "max", call.argument(2, "max_val"))
    if isinstance(call.module, nn.Hardtanh):
        low, high = call.module.min_val, call.module.max_val
    if low == 0 and high is None:
        return call.lowered(nn.ReLU())
    if low == 0 and high in (1, 6):
        return call.lowered(nn.ReLU6() if high == 6 else nn.Hardtanh(0.0, 1.0))
    raise call.refused(
        f"from {low} to {high} (hls4ml clips from 0 on, at 1, 6 or nowhere; take ReLU or ReLU6)"
    )


def threshold(call: Call) -> Lowered:
    """What lies above a threshold, else 0."""
    module = call.module
    if not isinstance(module, nn.Threshold):
        module = nn.Threshold(call.argument(1, "threshold"), call.argument(2, "value"))
    if module.value != 0:
        raise call.refused(f"with value={module.value} (hls4ml puts out 0 below the threshold)")
    if module.threshold < 0:
        raise call.refused(f"at {module.threshold} (hls4ml takes thresholds from 0 on)")
    return call.lowered(nn.Threshold(module.threshold, 0.0))


def dropout(call: Call) -> Lowered:
    """Dropout acts in training alone."""
    p = call.argument(1, "p", 0.5)
    return call.lowered(nn.Dropout(p))


# Shapes -----------------------------------------------------------------------------------------


def move(call: Call) -> Lowered:
    """Whatever only moves numbers about: it is carried out once, on their places."""
    if (state := part_of_recurrent(call)) is not None:
        return state
    if call.node.target is operator.getitem and call.data and _is_tuple(call.data[0]):
        producer = call.data[0]
        places = _places(Call(producer, None, call.root))[call.node.args[1]]
        source = producer.all_input_nodes[0]
    else:
        places, source = _places(call), call.source
    if isinstance(places, tuple | list):
        return Lowered((), (source,))  # of several tensors; each is read by its number
    _ = call.out_shape  # it must not mix rows
    index, shape = places[0], tuple(source.meta["value"].shape[1:])
    # Each row's numbers must come from the same row, at the same places in all of them.
    rows = torch.arange(ROWS).reshape(-1, *[1] * index.dim()) * prod(shape)
    if not torch.equal(places, index + rows):
        raise call.refused("where rows of a minibatch change places. Keep the first axis as it is")
    if index.numel() == prod(shape) and _in_order(index):
        if tuple(index.shape) == shape:
            return Lowered((), (source,))
        if index.dim() == 1 and len(shape) > 1:
            return Lowered((nn.Flatten(),), (source,))
    return Lowered((Gather(index),), (source,))


def _is_tuple(node: fx.Node) -> bool:
    return isinstance(node.meta["value"], tuple | list)


def _places(call: Call) -> Any:
    """Return where the numbers of every row come from: the operation on a tensor of places."""
    source = call.node.args[0] if call.node.args else call.source
    shape = source.meta["value"].shape[1:]  # type: ignore[union-attr]
    return call.carried_out(torch.arange(ROWS * prod(shape)).reshape(ROWS, *shape))


def flatten(call: Call) -> Lowered:
    """One axis in place of all, or fewer axes."""
    if len(call.out_shape) == 1 and len(call.in_shape) > 1:
        return call.lowered(nn.Flatten())
    return move(call)


def norm(call: Call) -> Lowered:
    """Keep a batch norm with statistics of its own."""
    module = call.module
    assert isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    if module.running_mean is None:
        raise call.refused(
            "with track_running_stats=False: hardware has no batch to take statistics of. "
            "Take running statistics"
        )
    return call.lowered(module)


def pool(kind: type[nn.Module] | None = None) -> Rule:
    """Return the rule of a layer of pooling, or of a function that a layer computes."""
    names = ("kernel_size", "stride", "padding")
    average = kind is not None and "Avg" in kind.__name__
    more = ("ceil_mode", "count_include_pad", "divisor_override")
    arguments = (*names, *(more if average else ("dilation", "ceil_mode")))
    make = as_it_is if kind is None else function(kind, *arguments)

    def rule(call: Call) -> Lowered:
        lowered = make(call)
        fault = _pool_fault(lowered.modules[0])
        if fault is not None:
            raise call.refused(f"with {fault}")
        return lowered

    return rule


def _pool_fault(module: Any) -> str | None:
    if module.ceil_mode:
        return "ceil_mode=True, which hls4ml drops silently (pad explicitly instead)"
    if getattr(module, "divisor_override", None) is not None:
        return (
            f"divisor_override={module.divisor_override}, which hls4ml drops silently (take a "
            "factor behind it)"
        )
    dilation = getattr(module, "dilation", 1)
    if dilation not in (1, (1,), (1, 1)):
        return f"dilation={dilation}"
    return "return_indices=True" if getattr(module, "return_indices", False) else None


def adaptive_pool(kind: type[nn.Module]) -> Rule:
    """Return the rule of pooling to a given size: windows of one size, where the sizes divide."""

    def rule(call: Call) -> Lowered:
        sizes, outs = call.in_shape[1:], call.out_shape[1:]
        # torch makes windows of unlike sizes then, for which there is no layer.
        if any(size % out for size, out in zip(sizes, outs, strict=True)):
            raise call.refused(f"from {sizes} to {outs}: the windows would have unlike sizes")
        kernel = tuple(size // out for size, out in zip(sizes, outs, strict=True))
        return call.lowered(kind(kernel if len(kernel) > 1 else kernel[0]))

    return rule


def resize(call: Call) -> Lowered:
    """Nearest neighbours, a whole number of times."""
    mode = call.argument(3, "mode", "nearest")
    mode = getattr(call.module, "mode", mode)
    if mode != "nearest":
        raise call.refused(f"with mode='{mode}' (nearest alone; take it)")
    sizes, outs = call.in_shape[1:], call.out_shape[1:]
    if any(out % size for size, out in zip(sizes, outs, strict=True)):
        raise call.refused(f"from {sizes} to {outs} (whole multiples alone)")
    factors = tuple(float(out // size) for size, out in zip(sizes, outs, strict=True))
    return call.lowered(nn.Upsample(scale_factor=factors if len(factors) > 1 else factors[0]))


def stack(call: Call) -> Lowered:
    """Tensors side by side along a new axis: one behind the other, with an axis of their number."""
    parts = call.argument(0, "tensors")
    if not isinstance(parts, tuple | list) or not all(is_data(part) for part in parts):
        raise call.refused("of tensors that do not depend on the input")
    shape, count = call.in_shape, len(parts)
    _ = call.out_shape  # it must not mix rows
    axis = int(call.argument(1, "dim", 0)) % (len(shape) + 2) - 1
    last = axis == len(shape)
    along = axis - 1 if last else axis
    places = torch.arange(prod(shape) * count).reshape(*shape[:along], count, *shape[along:])
    moved = Gather(places.transpose(-2, -1) if last else places)
    return call.lowered(Concatenate(along), moved, inputs=tuple(parts))


def pad(call: Call) -> Lowered:
    """Zeros around a sequence or an image."""
    module: Any = call.module
    if module is None:
        module = _padding(call)
    if getattr(module, "value", 0) != 0:
        raise call.refused(f"with value={module.value} (zeros alone; take 0)")
    if any(size < 0 for size in module.padding):
        raise call.refused(f"with padding={module.padding} (none below 0)")
    return call.lowered(module)


def _padding(call: Call) -> nn.Module:
    """Return the module of ``F.pad``, whose sizes begin at the last axis."""
    sizes, mode = tuple(call.argument(1, "pad")), call.argument(2, "mode", "constant")
    value = call.argument(3, "value") or 0
    if mode != "constant":
        raise call.refused(f"with mode='{mode}' (constant alone)")
    positions = len(call.in_shape) - 1
    if positions not in (1, 2) or len(sizes) > 2 * positions:
        raise call.refused("beside the positions of a sequence or an image")
    if positions == 1:
        return nn.ConstantPad1d(sizes, value)
    return nn.ConstantPad2d((*sizes, *[0] * (4 - len(sizes))), value)
