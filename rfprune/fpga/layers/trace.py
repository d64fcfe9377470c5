"""A torch network as hls4ml will see it: a chain of operations, some of which hold weights.

The network is lowered first (`rfprune.fpga.layers.lowering`); a layer's name here is its name in
hls4ml's project.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from torch import Tensor, fx, nn

from rfprune.core.arrays import IntArray
from rfprune.core.named import InputShape
from rfprune.core.registry import a_type
from rfprune.errors import NetworkError
from rfprune.fpga.layers.lowering import lower
from rfprune.fpga.layers.operators import (
    Affine,
    Concatenate,
    Gather,
    Lookup,
    Product,
    Softmax,
    Sum,
)
from rfprune.fpga.layers.taken import type_of
from rfprune.fpga.layers.tracing import Shape, shape_of_node
from rfprune.fpga.layers.weight_kinds import (
    WeightKind,
    holds_weights,
    kind_of,
    weights_of,
)
from rfprune.hardware.reuse import LayerSize

__all__ = ["Network", "Operation", "WeightLayer", "trace"]


@dataclass(frozen=True)
class WeightLayer:
    """One weight of a layer: to the hardware, a matrix with multipliers of its own.

    Attributes:
        name: of the layer; with the parameter's name behind it if the layer holds several weights.
        operation: hls4ml's name for the layer (dots become underscores).
        path: torch's dotted path of the module.
        parameter: name of the weight in the module.
        kind: its row in `rfprune.fpga.layers.weight_kinds`.
        n_in: products per output.
        n_out: outputs per position.
        positions: output positions per inference: 1 for dense, height * width for convolutions,
            the length of the sequence for a Linear on one and for recurrent layers.
        weight_shape: of the torch weight, output first.
        input: name of what it reads.
    """

    name: str
    operation: str
    path: str
    kind: WeightKind
    n_in: int
    n_out: int
    positions: int
    weight_shape: Shape
    input: str
    parameter: str = "weight"

    def weight_of(self, model: nn.Module) -> Tensor:
        """Return this weight in `model`, or in a folded copy of it."""
        return weights_of(model.get_submodule(self.path))[self.parameter]

    @property
    def hls_weight(self) -> str:
        """What hls4ml calls it among the weights of its layer."""
        kind = self.kind
        return dict(zip(kind.weights, kind.hls_weights, strict=True))[self.parameter]

    @property
    def reads_state(self) -> bool:
        """Whether it is the weight of a recurrent layer that reads the state."""
        return bool(self.kind.gates) and self.parameter == self.kind.weights[1]

    @property
    def n_weights(self) -> int:
        """Weights of the layer, biases not counted."""
        return self.n_in * self.n_out

    def size(self, io_type: str) -> LayerSize:
        """Return what decides the layer's valid reuse factors."""
        if self.kind.depthwise:
            return LayerSize(self.n_in, self.n_out, 1)
        loops = self.kind.convolves and io_type == "io_parallel"
        return LayerSize(self.n_in, self.n_out, self.n_in if loops else None)


@dataclass(frozen=True)
class Operation:
    """One operation of the network, in order of execution.

    Attributes:
        name: hls4ml's name.
        type: dense, pointwise, conv1d, conv2d, relu, maxpool, flatten, batchnorm, add, ...
        inputs: names of the operations it reads.
        in_shapes: of its inputs, without the batch.
        out_shape: of its output, without the batch.
        path: torch's dotted path, or an empty string for a function call.
        stream_fault: what hls4ml's io_stream cannot take about it, or None.
        axes: that it sums over, or joins along, or that a softmax is of.
        letters: of a product, a letter for each axis of both samples and of the result.
        index: (*out_shape,) which number of its flat input each of its output is, of a gather.
        rows: of the table, of an embedding.
        scales: axes of which each element has one scale and shift all over, if it is such.
    """

    name: str
    type: str
    inputs: tuple[str, ...]
    in_shapes: tuple[Shape, ...]
    out_shape: Shape
    path: str
    stream_fault: str | None = None
    axes: tuple[int, ...] = ()
    index: IntArray | None = None
    rows: int | None = None
    scales: tuple[int, ...] = ()
    letters: tuple[str, ...] = ()

    @property
    def in_shape(self) -> Shape:
        """Shape of its first input, without the batch."""
        return self.in_shapes[0] if self.in_shapes else ()

    @property
    def n_terms(self) -> int:
        """How many terms each of its sums has, of a sum or a product."""
        if self.type == "sum":
            return prod(self.in_shape[axis] for axis in self.axes)
        *_, summed = Product.order(self.letters)
        return prod(self.in_shape[self.letters[0].index(letter)] for letter in summed)


@dataclass(frozen=True)
class Network:
    """A traced network: every operation, and those that hold weights.

    Example::

        found = rfprune.trace(net, (8,))
        found.n_outputs, found.sizes("io_parallel")["fc1"].n_in
        found.turns_inputs, found.folded_norms

    Attributes:
        operations: in order of execution.
        layers: those that hold weights.
        input_shape: of one sample; of several inputs by name.
        inputs: shape of a sample of each input, by its name in the graph.
        outputs: names of the operations or inputs that the network puts out.
        output_keys: keys of its dict, numbers of its tuple, or None for one tensor.
    """

    operations: tuple[Operation, ...]
    layers: tuple[WeightLayer, ...]
    input_shape: InputShape
    inputs: Mapping[str, Shape]
    outputs: tuple[str, ...]
    output_keys: tuple[str, ...] | None

    @property
    def n_outputs(self) -> int:
        """Numbers that it puts out per sample, over all its outputs."""
        shapes = {operation.name: operation.out_shape for operation in self.operations}
        return sum(prod(shapes.get(name, self.inputs.get(name, ()))) for name in self.outputs)

    def sizes(self, io_type: str) -> dict[str, LayerSize]:
        """Return what decides the valid reuse factors under `io_type`, by layer."""
        return {layer.name: layer.size(io_type) for layer in self.layers}

    @property
    def turns_inputs(self) -> bool:
        """Whether torch's first axis of an input are its features, which io_stream takes last.

        Convolutions, pooling and batch norm say so; what is only flattened, and Linear layers on
        sequences, do not.
        """
        return any(len(op.in_shape) > 1 and op.type in _FEATURES_FIRST for op in self.operations)

    @property
    def folded_norms(self) -> set[str]:
        """Names of the scales and shifts that `fold_batch_norm` folds into the layer before."""
        folding = [layer for layer in self.layers if layer.kind.folds_norm]
        features = {layer.operation: layer.kind.feature_axis for layer in folding}
        # A layer that something else reads as well has to keep its own output.
        reads = Counter(name for operation in self.operations for name in operation.inputs)
        # The network's outputs are readers, too.
        reads.update(self.outputs)
        found: set[str] = set()
        for operation in self.operations:
            source = operation.inputs[0]
            if source not in features or reads[source] != 1 or not operation.scales:
                continue
            if features[source] % len(operation.in_shape) in operation.scales:
                found.add(operation.name)
                # A second one behind the first is folded into the same layer.
                features[operation.name] = features[source]
        return found


def _stream_fault(module: nn.Module) -> str | None:
    """Return what io_stream cannot take of a layer that io_parallel takes (``nnet_*_stream.h``)."""
    if isinstance(module, nn.MaxPool1d | nn.AvgPool1d | nn.MaxPool2d | nn.AvgPool2d):
        kernel, stride, padding = map(_pair, (module.kernel_size, module.stride, module.padding))
        if any(padding):
            return f"padding={module.padding}"
        if isinstance(module, nn.MaxPool2d | nn.AvgPool2d) and kernel != stride:
            return f"stride={module.stride} other than its kernel {module.kernel_size}"
    if isinstance(module, nn.Hardtanh):  # ReLU6 is one, too
        return "an upper end, which it has for io_parallel alone"
    if isinstance(module, nn.Conv2d):
        (height, width), stride = _pair(module.kernel_size), _pair(module.stride)
        if height == 1 and width > 1 and stride[0] > 1:
            return f"kernel {module.kernel_size} and stride={module.stride}, whose rows it ignores"
    return None


def _pair(size: int | tuple[int, ...]) -> tuple[int, ...]:
    return size if isinstance(size, tuple) else (size, size)


#: Operations for which torch takes the first axis of a sample for the features.
_FEATURES_FIRST = (
    *("conv1d", "conv2d", "depthwise_conv1d", "depthwise_conv2d"),
    *("maxpool", "avgpool", "batchnorm", "resize", "padding"),
)


def trace(model: nn.Module, input_shape: InputShape) -> Network:
    """Return `model` as a chain of operations with shapes.

    Example::

        network = rfprune.trace(net, (8,))
        [(layer.name, layer.kind) for layer in network.layers]

    Args:
        model: any network that ``torch.fx`` can trace; it is not changed.
        input_shape: of one sample, without the batch; of several inputs by name.

    Raises:
        NetworkError: no network, not traceable, wrong input shape, or an operation that is not
            taken.
    """
    if not isinstance(model, nn.Module):
        raise NetworkError(f"trace: model is {a_type(model)}; a torch.nn.Module is allowed.")
    return network_of(lower(model, input_shape), input_shape)


def network_of(graph: fx.GraphModule, input_shape: InputShape) -> Network:
    """Return a lowered network as a chain of operations; see `trace`."""
    operations, layers = _operations(graph)
    if not layers:
        raise NetworkError(
            "the network holds no Linear, Conv1d, Conv2d, GRU or LSTM layer to prune."
        )
    outputs, keys = _outputs(graph)
    inputs = {n.name: shape_of_node(n) for n in graph.graph.nodes if n.op == "placeholder"}
    network = Network(operations, layers, input_shape, inputs, outputs, keys)
    _check_inputs(network)
    return network


def _check_inputs(network: Network) -> None:
    read = {name for operation in network.operations for name in operation.inputs}
    for name in network.inputs:
        if name not in read:
            raise NetworkError(
                f"the network does not use its input '{name}'. Leave it out of the data, or use it."
            )


def _outputs(graph: fx.GraphModule) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """Return the names of what a lowered graph puts out, and what they are called."""
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    value: Any = output.args[0]
    if isinstance(value, fx.Node):
        return (value.name,), None
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found = [(str(key), node) for key, node in items]
    for key, node in found:
        if not isinstance(node, fx.Node):
            raise NetworkError(
                f"output '{key}' of the network is {a_type(node)}; rfprune takes one "
                "tensor, a tuple of tensors or a dict of tensors."
            )
    return tuple(node.name for _, node in found), tuple(key for key, _ in found)


def _operations(graph: fx.GraphModule) -> tuple[tuple[Operation, ...], tuple[WeightLayer, ...]]:
    operations: list[Operation] = []
    layers: list[WeightLayer] = []
    used: set[str] = set()
    for node in graph.graph.nodes:
        if node.op in ("placeholder", "output"):
            continue
        module = graph.get_submodule(str(node.target))
        operation = _operation(node, module)
        operations.append(operation)
        if not holds_weights(module):
            continue
        # Two calls would need two copies of its weights, and hls4ml knows one.
        if operation.path in used:
            raise NetworkError(
                f"{operation.path}: is called twice; hls4ml cannot share weights. "
                "Take a second layer, which copy.deepcopy makes alike."
            )
        used.add(operation.path)
        found = _weight_layers(operation, module)
        operations[-1] = replace(operation, type=found[0].kind.name)
        layers += found
    return tuple(operations), tuple(layers)


def _operation(node: fx.Node, module: nn.Module) -> Operation:
    parts = [part for part in node.args if isinstance(part, fx.Node)]
    return Operation(
        name=node.name,
        type=type_of(module),
        inputs=tuple(part.name for part in parts),
        in_shapes=tuple(map(shape_of_node, parts)),
        out_shape=shape_of_node(node),
        path=node.meta["path"],
        stream_fault=_stream_fault(module),
        axes=_axes(module),
        index=np.asarray(module.index) if isinstance(module, Gather) else None,
        rows=module.table.num_embeddings if isinstance(module, Lookup) else None,
        scales=_scales(module),
        letters=module.letters if isinstance(module, Product) else (),
    )


def _scales(module: nn.Module) -> tuple[int, ...]:
    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return (0,)
    if not isinstance(module, Affine):
        return ()
    return tuple(a for a in range(len(module.shape)) if module.by_channel(a) is not None)


def _axes(module: nn.Module) -> tuple[int, ...]:
    if isinstance(module, Concatenate | Softmax):
        return (module.axis,)
    return module.axes if isinstance(module, Sum) else ()


def _weight_layers(operation: Operation, module: nn.Module) -> list[WeightLayer]:
    """Return every weight of a layer; its name alone is that of the layer if it is the only one.

    A dash is in no name of torch, and does not part the path of a key.
    """
    kind = kind_of(module, operation.in_shape)
    weights = weights_of(module)
    for weight in weights.values():
        if not weight.numel():
            raise NetworkError(
                f"{operation.path}: holds no weights, its shape is {tuple(weight.shape)}."
            )
    if kind is None:
        raise NetworkError(
            f"{operation.path}: hls4ml cannot take {a_type(module)} on an input of shape "
            f"{operation.in_shape}. Allowed: Linear on (F,), (T, C) or (H, W, C), Conv1d on "
            "(C, L), Conv2d on (C, H, W), GRU and LSTM on (T, C)."
        )
    found = []
    for parameter, weight in weights.items():
        shape = tuple(weight.shape)
        found.append(
            WeightLayer(
                name=operation.name if len(weights) == 1 else f"{operation.name}-{parameter}",
                operation=operation.name,
                path=operation.path,
                kind=kind,
                n_in=kind.n_in(shape),
                n_out=kind.n_out(shape),
                positions=operation.in_shape[0]
                if kind.gates
                else prod(operation.out_shape) // kind.n_out(shape),
                weight_shape=shape,
                input=operation.inputs[0],
                parameter=parameter,
            )
        )
    return found
