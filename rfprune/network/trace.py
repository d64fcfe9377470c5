"""A torch network as hls4ml will see it: a chain of operations, some of which hold weights.

The network is traced with ``torch.fx``, as hls4ml does, so a layer's name here is its name there.
What hls4ml cannot take, or takes and gets wrong without a word, is refused with a sentence
(`hls4ml/converters/pytorch_to_hls.py` and ``converters/pytorch/``, version 1.3).
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn

from rfprune.errors import NetworkError
from rfprune.hardware.reuse import LayerSize
from rfprune.network.kinds import WEIGHT_KINDS, WeightKind, holds_weights, kind_of, no_fault

__all__ = ["Network", "Operation", "WeightLayer", "trace", "without_identities"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class WeightLayer:
    """One layer that holds weights.

    Attributes:
        name: hls4ml's name for it (dots become underscores).
        path: torch's dotted path of the module.
        kind: its row in `rfprune.network.kinds`.
        n_in: products per output.
        n_out: outputs per position.
        positions: output positions per inference: 1 for dense, height * width for convolutions,
            the length of the sequence for a Linear on one.
        weight_shape: of the torch weight, output first.
        flattened: (C, H, W) or (C, L) if it alone reads a Flatten of features that hls4ml turned to
            channels last; else None.
    """

    name: str
    path: str
    kind: WeightKind
    n_in: int
    n_out: int
    positions: int
    weight_shape: Shape
    flattened: Shape | None = None

    @property
    def n_weights(self) -> int:
        """Weights of the layer, biases not counted."""
        return self.n_in * self.n_out

    def size(self, io_type: str) -> LayerSize:
        """Return what decides the layer's valid reuse factors."""
        loops = self.kind.convolves and io_type == "io_parallel"
        return LayerSize(self.n_in, self.n_out, self.n_in if loops else None)


@dataclass(frozen=True)
class Operation:
    """One operation of the network, in order of execution.

    Attributes:
        name: hls4ml's name.
        type: dense, pointwise, conv1d, conv2d, relu, maxpool, flatten, batchnorm, add, ...
        inputs: names of the operations it reads.
        in_shape: of its first input, without the batch.
        out_shape: of its output, without the batch.
        path: torch's dotted path, or an empty string for a function call.
        stream_fault: what hls4ml's io_stream cannot take about it, or None.
    """

    name: str
    type: str
    inputs: tuple[str, ...]
    in_shape: Shape
    out_shape: Shape
    path: str
    stream_fault: str | None = None


@dataclass(frozen=True)
class Network:
    """A traced network: every operation, and those that hold weights.

    Attributes:
        operations: in order of execution.
        layers: those that hold weights.
        input_shape: of one sample.
        n_outputs: classes.
        channels_last: whether features run along the last axis, as for Linear layers on sequences
            (T, C) and inputs that are only flattened, or along the first, as for convolutions
            (C, T).
    """

    operations: tuple[Operation, ...]
    layers: tuple[WeightLayer, ...]
    input_shape: Shape
    n_outputs: int
    channels_last: bool

    def sizes(self, io_type: str) -> dict[str, LayerSize]:
        """Return what decides the valid reuse factors, by layer."""
        return {layer.name: layer.size(io_type) for layer in self.layers}

    @property
    def folded_norms(self) -> set[str]:
        """Names of the batch norms that `fold_batch_norm` folds into the layer before them."""
        weighted = {layer.name for layer in self.layers}
        reads = Counter(name for operation in self.operations for name in operation.inputs)
        return {
            operation.name
            for operation in self.operations
            if operation.type == "batchnorm"
            and operation.inputs[0] in weighted
            and reads[operation.inputs[0]] == 1
        }

    def channels_first(self, shape: Shape) -> Shape:
        """Return a shape of this network as (C, ...), whatever its layout."""
        return (shape[-1], *shape[:-1]) if self.channels_last else shape


def _pool_fault(module: Any) -> str | None:
    if getattr(module, "ceil_mode", False):
        return "ceil_mode=True, which hls4ml drops silently (pad by hand instead)"
    if getattr(module, "divisor_override", None) is not None:
        return f"divisor_override={module.divisor_override}, which hls4ml drops silently"
    dilation = getattr(module, "dilation", 1)
    return "dilation in pooling" if dilation not in (1, (1,), (1, 1)) else None


def _stream_fault(module: nn.Module) -> str | None:
    """Return what io_stream cannot take of a layer that io_parallel takes (``nnet_*_stream.h``)."""
    if isinstance(module, nn.MaxPool1d | nn.AvgPool1d | nn.MaxPool2d | nn.AvgPool2d):
        kernel, stride, padding = map(_pair, (module.kernel_size, module.stride, module.padding))
        if any(padding):
            return f"padding={module.padding}"
        if isinstance(module, nn.MaxPool2d | nn.AvgPool2d) and kernel != stride:
            return f"stride={module.stride} other than its kernel {module.kernel_size}"
    if isinstance(module, nn.Conv2d):
        (height, width), stride = _pair(module.kernel_size), _pair(module.stride)
        if height == 1 and width > 1 and stride[0] > 1:
            return f"kernel {module.kernel_size} and stride={module.stride}, whose rows it ignores"
    return None


def _pair(size: int | tuple[int, ...]) -> tuple[int, ...]:
    return size if isinstance(size, tuple) else (size, size)


def _norm_fault(module: Any) -> str | None:
    if module.running_mean is None:
        return "track_running_stats=False (hardware has no batch to take statistics of)"
    return None


#: Torch class -> (type, function that returns what hls4ml cannot take about it, or None).
_MODULES: dict[type[nn.Module], tuple[str, Callable[[Any], str | None]]] = {
    **{kind.module: (kind.name, kind.fault) for kind in reversed(WEIGHT_KINDS)},
    nn.BatchNorm1d: ("batchnorm", _norm_fault),
    nn.BatchNorm2d: ("batchnorm", _norm_fault),
    nn.ReLU: ("relu", no_fault),
    nn.LeakyReLU: ("leaky_relu", no_fault),
    nn.ELU: ("elu", no_fault),
    nn.Sigmoid: ("sigmoid", no_fault),
    nn.Tanh: ("tanh", no_fault),
    nn.MaxPool1d: ("maxpool", _pool_fault),
    nn.MaxPool2d: ("maxpool", _pool_fault),
    nn.AvgPool1d: ("avgpool", _pool_fault),
    nn.AvgPool2d: ("avgpool", _pool_fault),
    nn.Flatten: ("flatten", no_fault),
    nn.Dropout: ("dropout", no_fault),
    nn.Identity: ("identity", no_fault),
}
_FUNCTIONS: dict[Any, str] = {
    torch.relu: "relu",
    nn.functional.relu: "relu",
    torch.flatten: "flatten",
    operator.add: "add",
    torch.add: "add",
    "relu": "relu",
    "flatten": "flatten",
}
_FLATTEN = " Use nn.Flatten, or torch.flatten(x, 1)."
#: What to write in place of functions that many networks call.
_INSTEAD = {
    **dict.fromkeys(("view", "reshape", "size", "getattr"), _FLATTEN),
    "max_pool1d": " Use nn.MaxPool1d.",
    "max_pool2d": " Use nn.MaxPool2d.",
    "avg_pool1d": " Use nn.AvgPool1d.",
    "avg_pool2d": " Use nn.AvgPool2d.",
    "log_softmax": " Leave it out: the outputs are logits.",
    "dropout": " Use nn.Dropout.",
}
#: Operations that leave hls4ml's graph before conversion.
_TRANSPARENT = ("dropout", "identity")
#: Operations for which torch takes the first axis of a sample for the features.
_CHANNELS_FIRST = ("conv1d", "conv2d", "maxpool", "avgpool", "batchnorm")


def trace(model: nn.Module, input_shape: Shape) -> Network:
    """Return `model` as a chain of operations with shapes.

    Args:
        model: any network that ``torch.fx`` can trace; it is not changed.
        input_shape: of one sample, without the batch.

    Raises:
        NetworkError: not traceable, wrong input shape, or an operation that hls4ml cannot take.
    """
    graph = _graph(model)
    _propagate(graph, input_shape)
    operations, layers = _operations(graph)
    if not layers:
        raise NetworkError("the network holds no Linear, Conv1d or Conv2d layer to prune.")
    channels_last = _channels_last(operations)
    if not channels_last:  # else nothing is transposed before the Flatten
        converted = without_identities(operations)
        layers = tuple(
            replace(layer, flattened=_flattened(layer.name, converted)) for layer in layers
        )
    n_outputs = operations[-1].out_shape[-1]
    return Network(operations, layers, input_shape, n_outputs, channels_last)


def _graph(model: nn.Module) -> fx.GraphModule:
    try:
        return fx.symbolic_trace(model)
    except Exception as error:  # torch.fx raises whatever the network's code raises
        raise NetworkError(
            f"{type(model).__name__}: torch.fx cannot trace the network ({error}); hls4ml needs a "
            "forward() without branches or loops that depend on data."
        ) from error


def _propagate(graph: fx.GraphModule, input_shape: Shape) -> None:
    device = next((p.device for p in graph.parameters()), torch.device("cpu"))
    training = graph.training
    graph.eval()
    try:
        with torch.no_grad():
            _Shapes(graph).run(torch.zeros(2, *input_shape, device=device))
    except Exception as error:  # shape errors come as RuntimeError, ValueError, IndexError, ...
        reason = str(error).split("\n")[0]
        raise NetworkError(
            f"the network does not take an input of shape {input_shape}: {reason}"
        ) from error
    finally:
        graph.train(training)


class _Shapes(fx.Interpreter):
    """Notes the shape of every tensor without its batch.

    torch's own ``ShapeProp`` does, too, but imports sympy and prints the traceback of a fault.
    """

    def run_node(self, n: fx.Node) -> Any:
        """Run one node and note its shape."""
        result = super().run_node(n)
        if isinstance(result, Tensor):
            n.meta["shape"] = tuple(result.shape[1:])
        return result


def _shape(node: fx.Node) -> Shape:
    shape: Shape = node.meta["shape"]
    return shape


def _operations(graph: fx.GraphModule) -> tuple[tuple[Operation, ...], tuple[WeightLayer, ...]]:
    modules = dict(graph.named_modules())
    operations: list[Operation] = []
    layers: list[WeightLayer] = []
    used: set[str] = set()
    for node in graph.graph.nodes:
        if node.op in ("placeholder", "output"):
            continue
        operation = _operation(node, modules)
        operations.append(operation)
        module = modules.get(operation.path)
        if module is None or not holds_weights(module):
            continue
        if operation.path in used:
            raise NetworkError(f"{operation.path}: is called twice; hls4ml cannot share weights.")
        used.add(operation.path)
        layer = _weight_layer(operation, module)
        operations[-1] = replace(operation, type=layer.kind.name)
        layers.append(layer)
    return tuple(operations), tuple(layers)


def without_identities(operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """Return the operations as they are converted: Dropout and Identity are gone."""
    origin: dict[str, str] = {}
    found: list[Operation] = []
    for op in operations:
        inputs = tuple(origin.get(name, name) for name in op.inputs)
        if op.type in _TRANSPARENT:
            origin[op.name] = inputs[0]
        else:
            found.append(replace(op, inputs=inputs))
    return tuple(found)


def _channels_last(operations: tuple[Operation, ...]) -> bool:
    """Return whether the network's features run along the last axis, as hls4ml builds them.

    A Linear on a sequence says so; a network that only flattens its input leaves nothing to turn.
    torch's convolutions, pooling and batch norm take the first axis for the features, so beside a
    Linear on a sequence they would act along another axis than hls4ml builds.
    """
    several = [op for op in operations if len(op.in_shape) > 1]
    first = next((op for op in several if op.type in _CHANNELS_FIRST), None)
    pointwise = next((op for op in several if op.type == "pointwise"), None)
    if first is not None and pointwise is not None:
        raise NetworkError(
            f"{first.path}: {first.type} takes the first axis of {first.in_shape} for the "
            f"features, {pointwise.path} (Linear) the last axis of {pointwise.in_shape}; hls4ml "
            "cannot mix the two. Use a Conv1d with kernel 1 in place of the Linear, or Linear "
            "layers alone up to the Flatten."
        )
    return first is None and bool(several)


def _operation(node: fx.Node, modules: dict[str, nn.Module]) -> Operation:
    inputs = tuple(arg.name for arg in node.all_input_nodes)
    in_shape = _shape(node.all_input_nodes[0]) if inputs else ()
    if node.op == "call_module":
        path = str(node.target)
        return Operation(
            node.name,
            _module_type(path, modules[path]),
            inputs,
            in_shape,
            _shape(node),
            path,
            _stream_fault(modules[path]),
        )
    function = _FUNCTIONS.get(node.target) if node.op.startswith("call_") else None
    if function == "add" and (fault := _add_fault(node)):
        raise NetworkError(f"{node.name}: hls4ml cannot take {fault}.")
    if function is None:
        shown = str(getattr(node.target, "__name__", node.target))
        raise NetworkError(
            f"{node.name}: hls4ml cannot take the operation '{shown}'.{_INSTEAD.get(shown, '')} "
            f"Allowed: modules {_allowed()}, and the functions relu, flatten, +."
        )
    return Operation(node.name, function, inputs, in_shape, _shape(node), "")


def _add_fault(node: fx.Node) -> str | None:
    if node.kwargs.get("alpha", 1) != 1:
        return f"torch.add with alpha={node.kwargs['alpha']}, which it drops silently"
    if len(node.all_input_nodes) == 1 and all(isinstance(arg, fx.Node) for arg in node.args):
        return "the sum of a tensor with itself"
    return None


def _allowed() -> str:
    return ", ".join(sorted(cls.__name__ for cls in _MODULES))


def _module_type(path: str, module: nn.Module) -> str:
    row = _MODULES.get(type(module))
    if row is None:
        hint = {
            "AdaptiveAvgPool2d": " Use AvgPool2d with a fixed kernel.",
            "AdaptiveAvgPool1d": " Use AvgPool1d with a fixed kernel.",
            "GELU": " Use ReLU.",
            "Softmax": " Leave it out: the outputs are logits, and its tables are coarse.",
        }.get(type(module).__name__, "")
        raise NetworkError(
            f"{path}: hls4ml cannot take a layer of type {type(module).__name__}.{hint} "
            f"Allowed: {_allowed()}."
        )
    fault = row[1](module)
    if fault is not None:
        raise NetworkError(f"{path}: hls4ml cannot take {type(module).__name__} with {fault}.")
    return row[0]


def _weight_layer(operation: Operation, module: nn.Module) -> WeightLayer:
    weight = module.weight
    assert isinstance(weight, Tensor)
    shape = tuple(weight.shape)
    if not weight.numel():
        raise NetworkError(f"{operation.path}: holds no weights, its shape is {shape}.")
    kind = kind_of(module, operation.in_shape)
    if kind is None:
        raise NetworkError(
            f"{operation.path}: hls4ml cannot take a {type(module).__name__} on an input of shape "
            f"{operation.in_shape}. Allowed: Linear on (F,), (T, C) or (H, W, C), Conv1d on "
            "(C, L), Conv2d on (C, H, W)."
        )
    return WeightLayer(
        name=operation.name,
        path=operation.path,
        kind=kind,
        n_in=kind.n_in(shape),
        n_out=kind.n_out(shape),
        positions=prod(operation.out_shape) // kind.n_out(shape),
        weight_shape=shape,
    )


def _flattened(name: str, converted: tuple[Operation, ...]) -> Shape | None:
    """Return the shape before the Flatten that layer `name` alone reads, if that matters.

    hls4ml transposes features back to channels first in front of a Flatten, and folds that into the
    weights of a Linear that is its only reader.
    """
    by_name = {op.name: op for op in converted}
    flatten = by_name.get(by_name[name].inputs[0])
    if flatten is None or flatten.type != "flatten" or len(flatten.in_shape) < 2:
        return None
    readers = sum(flatten.name in op.inputs for op in converted)
    return flatten.in_shape if readers == 1 else None
