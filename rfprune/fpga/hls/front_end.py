"""A lowered network in hls4ml's own terms: the list of layers that it makes its graph of.

hls4ml's reader of torch networks turns tensors to channels last for their first reader alone, drops
slices, takes no constant on the left and no input twice. Here every layer is written as hls4ml
keeps it inside, channels last, and what lies in another order is turned where it is read
(`rfprune.fpga.layers.layout`). Names of attributes: hls4ml 1.3, ``model/layers.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from rfprune.core.arrays import IntArray
from rfprune.fpga.layers import LayerPlan, Plan, Read
from rfprune.fpga.layers.fold import norm_affine
from rfprune.fpga.layers.operators import (
    GRU,
    LSTM,
    Affine,
    Concatenate,
    Lookup,
    Merge,
    Product,
    Softmax,
    Sum,
)
from rfprune.fpga.layers.tracing import Shape, shape_of_node
from rfprune.fpga.layers.weight_kinds import is_depthwise
from rfprune.fpga.softmax_tables import SoftmaxTypes

__all__ = ["Layers", "layer_list"]

Layers = list[dict[str, Any]]
_ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
    nn.ReLU6: "relu6",
}
_PARAMETRIZED: dict[type[nn.Module], tuple[str, str, str]] = {
    nn.LeakyReLU: ("LeakyReLU", "leakyrelu", "negative_slope"),
    nn.ELU: ("ELU", "elu", "alpha"),
    nn.Threshold: ("ThresholdedReLU", "thresholdedrelu", "threshold"),
}


def layer_list(graph: fx.GraphModule, plan: Plan) -> tuple[Layers, list[str], list[str]]:
    """Return the layers, and the names of inputs and outputs in the network's order.

    Args:
        graph: the network, lowered and folded.
        plan: layout, and the order of every layer's weights.
    """
    front_end = _FrontEnd(graph, plan)
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            front_end.add_input(node)
        elif node.op == "call_module":
            front_end.add(node)
    return front_end.layers, front_end.inputs, front_end.outputs()


class _FrontEnd:
    """The list of layers, while it grows."""

    def __init__(self, graph: fx.GraphModule, plan: Plan) -> None:
        self.layers: Layers = []
        self.inputs: list[str] = []
        self._graph, self._plan = graph, plan
        self._planned: dict[str, LayerPlan] = {x.layer.operation: x for x in plan.layers}
        #: What is read in another shape or order, under the name of the layer that does it.
        self._turned: dict[tuple[str, Shape, bytes | None], str] = {}

    def add_input(self, node: fx.Node) -> None:
        """Append an input."""
        shape = list(self._plan.layout.placed[node.name].shape)
        self.layers.append({"class_name": "InputLayer", "name": node.name, "input_shape": shape})
        self.inputs.append(node.name)

    def add(self, node: fx.Node) -> None:
        """Append an operation and what brings its inputs into order; views append nothing."""
        placed = self._plan.layout.placed[node.name]
        # A view: what reads it reads its source.
        if placed.storage != node.name:
            return
        module = self._graph.get_submodule(str(node.target))
        names = [self._read(read, node.name) for read in placed.reads]
        if isinstance(module, Concatenate):
            self._join(node.name, names, [read.shape for read in placed.reads])
            return
        write = next(function for kind, function in _WRITERS if isinstance(module, kind))
        layer = write(self, node, module)
        self.layers.append({"name": node.name, "inputs": names, **layer})

    def outputs(self) -> list[str]:
        """Return the layers that the network puts out."""
        found = []
        for number, read in enumerate(self._plan.layout.outputs):
            if read.order is None:
                found.append(read.source)
            else:
                found.append(self._gather(f"output_{number}", read.source, read))
        return found

    # Order --------------------------------------------------------------------------------------

    def _read(self, read: Read, reader: str) -> str:
        """Return the name of a layer that holds what is read as it is read."""
        stored = self._plan.layout.placed[read.source].shape
        if read.order is None and read.shape == stored:
            return read.source
        # Several readers of the same order share what makes it.
        key = (read.source, read.shape, None if read.order is None else read.order.tobytes())
        if key not in self._turned:
            self._turned[key] = self._turn(read, reader, stored)
        return self._turned[key]

    def _turn(self, read: Read, reader: str, stored: Shape) -> str:
        if read.order is None:
            return self._reshape(f"reshape_for_{reader}", read.source, read.shape)
        # Where axes change places, hls4ml has a layer for it; anything else is wires of our own.
        axes = _permutation(read.order, stored)
        # Whatever it does, hls4ml drops a Transpose of an input with one channel (1.3,
        # `RemoveSingleChannelTranspose`), which it takes for one to channels last.
        parallel = self._plan.hardware.io_type == "io_parallel"
        dropped = parallel and read.source in self.inputs and stored[0] == 1
        if axes is None or dropped:
            return self._gather(f"gather_for_{reader}", read.source, read)
        name = self._unused(f"transpose_for_{reader}")
        transpose = {"class_name": "Transpose", "perm": list(axes)}
        self.layers.append({"name": name, "inputs": [read.source], **transpose})
        turned = tuple(stored[axis] for axis in axes)
        return name if turned == read.shape else self._reshape(f"{name}_flat", name, read.shape)

    def _reshape(self, name: str, source: str, shape: Shape) -> str:
        name = self._unused(name)
        reshape = {"class_name": "Reshape", "target_shape": list(shape)}
        self.layers.append({"name": name, "inputs": [source], **reshape})
        return name

    def _gather(self, name: str, source: str, read: Read) -> str:
        assert read.order is not None
        name = self._unused(name)
        gather = {"class_name": "Gather", "gathered": read.order.tolist(), "shape": read.shape}
        self.layers.append({"name": name, "inputs": [source], "reads": source, **gather})
        return name

    def _unused(self, name: str) -> str:
        # A network may have a layer of that name itself.
        known = {layer["name"] for layer in self.layers} | set(self._plan.layout.placed)
        number, unused = 1, name
        while unused in known:
            number, unused = number + 1, f"{name}_{number}"
        return unused

    def _join(self, name: str, parts: list[str], shapes: list[Shape]) -> None:
        """Append concatenations of two at a time: hls4ml takes no more."""
        before, shape = parts[0], shapes[0]
        for number, (part, more) in enumerate(zip(parts[1:], shapes[1:], strict=True), start=2):
            last = number == len(parts)
            layer = name if last else self._unused(f"{name}_{number}")
            rank = len(shape)
            self.layers.append(
                {
                    "class_name": "Concatenate",
                    "name": layer,
                    "inputs": [before, part],
                    "op": f"concatenate{rank}d",
                    "axis": rank,
                    "like": name,
                }
            )
            before, shape = layer, (*shape[:-1], shape[-1] + more[-1])

    # Layers -------------------------------------------------------------------------------------

    def _dense(self, node: fx.Node, module: nn.Linear) -> dict[str, Any]:
        weight = module.weight.detach().numpy()
        layout = self._plan.layout
        (read,) = layout.placed[node.name].reads
        source = layout.placed[self._planned[node.name].layer.input]
        if read.order is None and source.is_whole and len(shape_of_node(node)) == 1:
            weight = weight[:, source.torch_order]  # read as it lies
        return {
            "class_name": "Dense",
            "n_in": module.in_features,
            "n_out": module.out_features,
            "weight_data": weight.T.copy(),
            **_bias(module),
        }

    def _convolution(self, node: fx.Node, module: Any) -> dict[str, Any]:
        rank = len(module.kernel_size)
        depthwise = is_depthwise(module)
        weight = module.weight.detach().numpy()
        # hls4ml keeps (*kernel, channels, filters), of depthwise (*kernel, channels).
        weight = np.moveaxis(weight, (1, 0), (-2, -1)).copy()
        weight = weight[..., 0, :] if depthwise else weight
        kind = f"{'DepthwiseConv' if depthwise else 'Conv'}{rank}D"
        return {
            "class_name": kind,
            "data_format": "channels_last",
            "n_chan": module.in_channels,
            "n_filt": module.out_channels,
            "dilation": 1,
            "depthwise_data" if depthwise else "weight_data": weight,
            **({"depth_multiplier": 1} if depthwise else {}),
            **_bias(module),
            **_window(module, "filt"),
            **_sizes(node, "in_", "out_"),
        }

    def _recurrent(self, node: fx.Node, module: Any) -> dict[str, Any]:
        ih, hh = self._plan.of(node.name)
        steps = shape_of_node(node.all_input_nodes[0])[0]
        zeros = np.zeros(len(module.weight_hh_l0), dtype=np.float32)
        biases = [
            module.get_parameter(name).detach().numpy() if module.bias else zeros
            for name in ("bias_ih_l0", "bias_hh_l0")
        ]
        return {
            "class_name": ih.layer.kind.name.upper(),
            "activation": "tanh",
            "recurrent_activation": "sigmoid",
            "return_sequences": not module.last,
            "return_state": False,
            "pass_initial_states": False,
            "time_major": False,
            "n_timesteps": steps,
            "n_in": module.input_size,
            "n_out": module.hidden_size,
            "weight_data": module.weight_ih_l0.detach().numpy().T.copy(),
            "recurrent_weight_data": module.weight_hh_l0.detach().numpy().T.copy(),
            "bias_data": biases[0],
            "recurrent_bias_data": biases[1],
            "pytorch": True,
            "own_recurrent_reuse_factor": hh.reuse_factor,
            # Behind the product, as torch has it.
            **({"apply_reset_gate": "after"} if isinstance(module, GRU) else {}),
        }

    def _pooling(self, node: fx.Node, module: Any) -> dict[str, Any]:
        rank = len(shape_of_node(node)) - 1
        average = isinstance(module, nn.AvgPool1d | nn.AvgPool2d)
        window = _window(module, "pool")
        padded = any(value for key, value in window.items() if key.startswith("pad"))
        names = ("in_", "out_") if rank == 2 else ("n_in", "n_out")
        return {
            "class_name": f"{'Average' if average else 'Max'}Pooling{rank}D",
            "data_format": "channels_last",
            "n_filt": shape_of_node(node)[0],
            "count_pad": not average or module.count_include_pad,
            "padding": "same" if padded else "valid",
            **window,
            **_sizes(node, *names),
        }

    def _scaling(self, node: fx.Node, module: nn.Module) -> dict[str, Any]:
        """A batch norm or constant that stays: one scale per feature, or per element."""
        placed = self._plan.layout.placed[node.name]
        size = prod(placed.shape)
        with torch.no_grad():
            if isinstance(module, Affine):
                scale, shift = (part.numpy().reshape(-1) for part in module.constants())
                scale, shift = scale[placed.torch_order], shift[placed.torch_order]
            else:
                assert isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
                scale, shift = (part.numpy() for part in norm_affine(module))
        return {
            "class_name": "BatchNormalization",
            "n_in": size,
            "n_out": size,
            "n_filt": -1 if len(scale) == size else len(scale),
            "scale_data": scale.astype(np.float64),
            "bias_data": shift.astype(np.float64),
            "use_gamma": True,
            "use_beta": True,
        }

    def _activation(self, node: fx.Node, module: nn.Module) -> dict[str, Any]:
        name = _ACTIVATIONS.get(type(module), "relu1")
        return {"class_name": "Activation", "activation": name}

    def _parametrized(self, node: fx.Node, module: nn.Module) -> dict[str, Any]:
        kind, activation, parameter = _PARAMETRIZED[type(module)]
        value = float(getattr(module, parameter))
        return {"class_name": kind, "activation": activation, "activ_param": value}

    def _merge(self, node: fx.Node, module: Merge) -> dict[str, Any]:
        return {"class_name": "Merge", "op": module.operation}

    def _sum(self, node: fx.Node, module: Sum) -> dict[str, Any]:
        placed = self._plan.layout.placed[node.name]
        (read,) = placed.reads
        assert placed.steps is not None
        return {
            "class_name": "Sum",
            "n_sum": prod(read.shape) // prod(placed.shape),
            "step_out": placed.steps[0],
            "step_sum": placed.steps[1],
            "shape": placed.shape,
        }

    def _product(self, node: fx.Node, module: Product) -> dict[str, Any]:
        placed = self._plan.layout.placed[node.name]
        first, second = (read.shape for read in placed.reads)
        return {
            "class_name": "Einsum",
            "equation": "ilc,imc->ilm",
            "inp0_shape": first,
            "inp1_shape": second,
            "out_shape": placed.shape,
        }

    def _softmax(self, node: fx.Node, module: Softmax) -> dict[str, Any]:
        rows, n = self._plan.layout.placed[node.name].shape
        types = SoftmaxTypes.of(n, module.scale)
        return {
            "class_name": "Softmax",
            "activation": "softmax",
            "axis": -1,
            "n_in": rows * n,
            "n_outer": rows,
            "n_inner": 1,
            "implementation": "stable",
            "exp_scale": module.scale,
            "exp_table_size": 2**types.inp_norm.width,
            "inv_table_size": 2**types.inv_inp.width,
            # All at once: hls4ml would set no limit that a tool accepts.
            "parallelization_factor": rows,
        }

    def _embedding(self, node: fx.Node, module: Lookup) -> dict[str, Any]:
        table = module.table
        return {
            "class_name": "Embedding",
            "n_in": prod(shape_of_node(node)[:-1]),
            "n_out": table.embedding_dim,
            "vocab_size": table.num_embeddings,
            "embeddings_data": table.weight.detach().numpy(),
        }

    def _resize(self, node: fx.Node, module: nn.Upsample) -> dict[str, Any]:
        sizes = {"in_height": 1, "out_height": 1, **_sizes(node, "in_", "out_")}
        return {
            "class_name": "Resize",
            "data_format": "channels_last",
            "n_chan": shape_of_node(node)[0],
            "algorithm": "nearest",
            "align_corners": False,
            **sizes,
        }

    def _padding(self, node: fx.Node, module: Any) -> dict[str, Any]:
        names = ("pad_left", "pad_right", "pad_top", "pad_bottom")
        rank = len(shape_of_node(node)) - 1
        return {
            "class_name": f"ZeroPadding{rank}D",
            "data_format": "channels_last",
            "n_chan": shape_of_node(node)[0],
            **dict(zip(names, module.padding, strict=False)),
            **_sizes(node, "in_", "out_"),
        }


_Writer = Callable[[_FrontEnd, fx.Node, Any], dict[str, Any]]
_WRITERS: tuple[tuple[Any, _Writer], ...] = (
    (nn.Linear, _FrontEnd._dense),
    (nn.Conv1d | nn.Conv2d, _FrontEnd._convolution),
    (GRU | LSTM, _FrontEnd._recurrent),
    (nn.BatchNorm1d | nn.BatchNorm2d | Affine, _FrontEnd._scaling),
    (nn.MaxPool1d | nn.MaxPool2d | nn.AvgPool1d | nn.AvgPool2d, _FrontEnd._pooling),
    (nn.LeakyReLU | nn.ELU | nn.Threshold, _FrontEnd._parametrized),
    (nn.ReLU | nn.Sigmoid | nn.Tanh | nn.Hardtanh, _FrontEnd._activation),
    (Merge, _FrontEnd._merge),
    (Product, _FrontEnd._product),
    (Softmax, _FrontEnd._softmax),
    (Sum, _FrontEnd._sum),
    (Lookup, _FrontEnd._embedding),
    (nn.Upsample, _FrontEnd._resize),
    (nn.ConstantPad1d | nn.ConstantPad2d, _FrontEnd._padding),
)


def _permutation(order: IntArray, stored: Shape) -> tuple[int, ...] | None:
    """Return the order of axes that an order of places is, or None."""
    places = np.arange(prod(stored)).reshape(stored)
    for axes in permutations(range(len(stored))):
        if np.array_equal(places.transpose(axes).reshape(-1), order):
            return axes
    return None


def _bias(module: Any) -> dict[str, Any]:
    bias: Tensor | None = module.bias
    return {
        "use_bias": bias is not None,
        "bias_data": None if bias is None else bias.detach().numpy(),
    }


def _pair(value: Any, rank: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (int(value),) * rank


def _window(module: Any, name: str) -> dict[str, int]:
    """Return kernel, stride and padding of a convolution or pooling."""
    rank = 1 if isinstance(module, nn.Conv1d | nn.MaxPool1d | nn.AvgPool1d) else 2
    kernel, stride = _pair(module.kernel_size, rank), _pair(module.stride, rank)
    if module.padding == "same":
        before = tuple((size - 1) // 2 for size in kernel)
        after = tuple(size - 1 - part for size, part in zip(kernel, before, strict=True))
    else:
        before = after = (0,) * rank if module.padding == "valid" else _pair(module.padding, rank)
    found = {f"{name}_width": kernel[-1], "stride_width": stride[-1]}
    found |= {"pad_left": before[-1], "pad_right": after[-1]}
    if rank == 2:
        found |= {f"{name}_height": kernel[0], "stride_height": stride[0]}
        found |= {"pad_top": before[0], "pad_bottom": after[0]}
    return found


def _sizes(node: fx.Node, read: str, made: str) -> dict[str, int]:
    """Return height and width of what a node reads and makes."""
    (_, *before), (_, *after) = shape_of_node(node.all_input_nodes[0]), shape_of_node(node)
    if len(before) == 2:
        return {
            f"{read}height": before[0],
            f"{read}width": before[1],
            f"{made}height": after[0],
            f"{made}width": after[1],
        }
    width = "" if read.startswith("n") else "width"
    return {f"{read}{width}": before[0], f"{made}{width}": after[0]}
