"""torch to hls4ml, and back: what was built is compared with what was asked for, layer by layer.

hls4ml falls back without an error (unknown strategies become latency, invalid reuse factors the
nearest valid one, ...), so nothing is believed until it is read back. Accumulator types stay
``auto`` in weight layers, and result types where `rfprune.fpga.layers.output_types` keeps them
exact: hls4ml infers the width that loses nothing.
"""

from __future__ import annotations

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from rfprune.errors import ConversionError
from rfprune.fpga.hls.front_end import Layers, layer_list
from rfprune.fpga.hls.generated_code import count_code
from rfprune.fpga.hls.own_layers import copy_sources, register
from rfprune.fpga.layers import LayerPlan, Plan, fold_batch_norm
from rfprune.fpga.own_arithmetic import TABLE_SIZE, TABLE_TYPE
from rfprune.fpga.softmax_tables import SoftmaxTypes
from rfprune.hardware.boards import part_number
from rfprune.hardware.precision import FixedType
from rfprune.spec.hardware import HardwareSpec

__all__ = ["PROJECT_NAME", "Conversion", "convert", "quiet"]

PROJECT_NAME = "rfprune_design"

#: Strategy names as hls4ml spells them; every other spelling silently becomes latency.
_STRATEGIES = {
    "latency": "Latency",
    "resource": "Resource",
    "resource_unrolled": "ResourceUnrolled",
}


#: What hls4ml puts around the lines that save a layer's output.
_TRACED = re.compile(r"#ifndef __SYNTHESIS__\n(?=\s*nnet::save_layer_output)")


@dataclass(frozen=True)
class Conversion:
    """A converted network.

    Attributes:
        graph: hls4ml's ModelGraph; nothing is on disk until `write`.
        plan: what was asked for, and read back.
        network: the folded torch network that was converted.
    """

    graph: Any
    plan: Plan
    network: fx.GraphModule

    @property
    def convolves(self) -> bool:
        """Whether a layer is more than one product of a matrix and a vector."""
        return any(layer.layer.kind.convolves for layer in self.plan.layers)

    def write(self) -> Path:
        """Write the HLS project and return its folder.

        Every layer's output can be traced: by g++ with ``-DTRACE_LAYERS``, never in synthesis.

        Raises:
            ConversionError: hls4ml cannot write it.
        """
        with quiet():
            try:
                # So that the simulation can be compared layer by layer; taken out of the vendor's
                # way below.
                self.graph.config.trace_output = True
                for node in self.graph.get_layers():
                    node.set_attr("trace", True)
                self.graph.write()
            except Exception as error:  # hls4ml raises bare Exception
                raise ConversionError(f"hls4ml cannot write the project: {error}.") from error
        folder = Path(self.graph.config.get_output_dir())
        copy_sources(self.graph, folder)
        source = folder / "firmware" / f"{PROJECT_NAME}.cpp"
        # Unguarded, the test bench of the vendor's tools would write a file per layer.
        source.write_text(_TRACED.sub("#ifdef TRACE_LAYERS\n", source.read_text()))
        return folder

    def generated_code(self, layer: LayerPlan) -> str | None:
        """Return the C++ that hls4ml generated for a ResourceUnrolled layer, else None."""
        name = "resource_unrolled_dense_codegen"
        if layer.layer.kind.gates:
            # One function for each of its weights, by number.
            name += f"_{layer.layer.kind.weights.index(layer.layer.parameter) + 1}"
        source = self.graph.graph[layer.layer.operation].get_attr(name)
        return None if source is None else str(source)

    def live_multipliers(self) -> dict[str, int]:
        """Return, by layer, the multipliers in the code that hls4ml generated in memory.

        Only ResourceUnrolled layers have generated code; the others are not in the answer.
        """
        return {
            layer.name: count_code(code, layer.reuse_factor)[2]
            for layer in self.plan.layers
            if (code := self.generated_code(layer)) is not None
        }


def convert(model: nn.Module, plan: Plan, folder: Path) -> Conversion:
    """Convert a trained network with hls4ml and check that it did what was asked.

    Args:
        model: the network; batch norm is folded in a copy.
        plan: strategy, reuse factor and types per layer.
        folder: where `Conversion.write` will put the project.

    Raises:
        ConversionError: hls4ml fails, or built another strategy, reuse factor or code.
    """
    # On a copy: the network that is being pruned keeps its norms.
    folded = fold_batch_norm(model, plan.network)
    with quiet() as said:
        try:
            graph = _model_graph(folded, plan, folder)
        except ConversionError:
            raise
        except Exception as error:  # hls4ml raises bare Exception
            # What hls4ml printed last often says more than what it raised.
            lines = [line for line in said.getvalue().splitlines() if line.strip()]
            raise ConversionError(
                f"hls4ml cannot convert the network: {error}. {lines[-1] if lines else ''}"
            ) from error
    conversion = Conversion(graph, plan, folded)
    for layer in plan.layers:
        _read_back(conversion, layer)
    return conversion


def _model_graph(folded: fx.GraphModule, plan: Plan, folder: Path) -> Any:
    """Return hls4ml's graph of a lowered and folded network."""
    from hls4ml.utils.config import create_config

    hardware = plan.hardware
    register(hardware.backend)
    layers, inputs, outputs = layer_list(folded, plan)
    config = create_config(
        output_dir=str(folder),
        project_name=PROJECT_NAME,
        backend=hardware.backend,
        io_type=hardware.io_type,
        part=part_number(plan.part.name, hardware.part),
        clock_period=hardware.clock_ns,
    )
    settings = {layer["name"]: _defaults(layer["class_name"], hardware) for layer in layers}
    _configure(settings, layers, plan)
    for layer in layers:
        _print_rightly(layer, settings[layer["name"]]["Precision"], hardware.precision)
    common = {
        "Precision": {"default": hardware.precision},
        # Of what has no weights; each layer that has some says its own below.
        "ReuseFactor": plan.reuse_factor,
        "Strategy": "Latency",
        "BramFactor": 1_000_000_000,
        "TraceOutput": False,
    }
    config["HLSConfig"] = {"Model": common, "LayerName": settings}
    config["InputData"] = config["OutputPredictions"] = None
    return _graph_class().from_layer_list(config, layers, inputs=inputs, outputs=outputs)


@cache
def _graph_class() -> Any:
    """Return hls4ml's graph, with new layers put in front of who reads what they read.

    hls4ml 1.3 (``insert_node`` of ``model/graph.py``) takes the first reader of any output of the
    layer before. On a stream that two layers read, the padding of a ``Conv1d`` would end up in
    front of the other one (``conv_same_pad.py``), and nothing would be said.
    """
    from hls4ml.model.graph import ModelGraph

    class _Graph(ModelGraph):  # type: ignore[misc]
        def insert_node(self, node: Any, before: Any = None, input_idx: int = 0) -> None:
            readers = [other for other in self.graph.values() if node.inputs[0] in other.inputs]
            if before is None and len(readers) == 1:
                (before,) = readers
                input_idx = before.inputs.index(node.inputs[0])
            super().insert_node(node, before, input_idx)

    return _Graph


def _defaults(class_name: str, hardware: HardwareSpec) -> dict[str, Any]:
    """Return what hls4ml takes for a layer where nothing is said; types are inferred.

    As its own ``config_from_pytorch_model`` makes it: without ``auto`` the default type would also
    be that of the accumulators.
    """
    from hls4ml.backends import get_backend
    from hls4ml.model.attributes import TypeAttribute
    from hls4ml.model.layers import layer_map

    kind = get_backend(hardware.backend).create_layer_class(layer_map[class_name])
    found: dict[str, Any] = {"Precision": {}}
    for attribute in kind.expected_attributes:
        if not attribute.configurable:
            continue
        if isinstance(attribute, TypeAttribute):
            default = attribute.default
            name = attribute.name.removesuffix("_t")
            found["Precision"][name] = "auto" if default is None else str(default)
        elif attribute.default is not None:
            found[attribute.config_name] = attribute.default
    return found


def _configure(settings: dict[str, Any], layers: Layers, plan: Plan) -> None:
    """Write strategy, reuse factor and types of every layer into hls4ml's configuration."""
    default = FixedType.parse(plan.hardware.precision)
    for layer in layers:
        precision = settings[layer["name"]]["Precision"]
        # What brings numbers into order has the type of what it reads.
        of = layer.get("reads") or layer.get("like") or layer["name"]
        result = plan.types.get(str(of), default)
        if result is None and layer["class_name"] == "Gather":
            # hls4ml infers types of its own layers alone.
            result = plan.exact_type(str(of))
        if result is not None and layer["class_name"] not in ("Reshape", "Transpose"):
            precision["result"] = _text(result)
        if layer["class_name"] == "ThresholdedReLU":
            precision["param"] = str(default)
        if layer["class_name"] == "Softmax":
            types = SoftmaxTypes.of(layer["n_in"] // layer["n_outer"], layer["exp_scale"])
            # hls4ml drops them among the types of its configuration, and takes them as settings.
            settings[layer["name"]] |= {
                f"{name}_t": str(kind) for name, kind in types.by_name().items()
            }
        elif layer["class_name"] == "Einsum":
            precision["accum"] = str(plan.products(layer["name"]))
        elif "table" in precision:
            precision["table"] = str(TABLE_TYPE)
            settings[layer["name"]]["TableSize"] = TABLE_SIZE
    for planned in plan.layers:
        entry = settings[planned.layer.operation]
        entry["Strategy"] = _STRATEGIES[planned.strategy]
        if planned.layer.kind.gates:
            entry["Precision"]["accum"] = str(plan.gates(planned.layer.operation))
        recurrent = "recurrent_" if planned.layer.reads_state else ""
        if not recurrent:
            entry["ReuseFactor"] = planned.reuse_factor
        entry["Precision"][f"{recurrent}weight"] = str(planned.weight)
        entry["Precision"][f"{recurrent}bias"] = str(planned.result)


def _print_rightly(layer: dict[str, Any], types: dict[str, str], default: str) -> None:
    """Move constants that hls4ml would print beyond the next step of their type, in place.

    It prints as many decimals as the type has bits behind the point, and the C++ reads that.
    """
    keys = ("weight", "depthwise", "recurrent_weight", "bias", "recurrent_bias", "scale")
    for key in (*keys, "embeddings"):
        values = layer.get(f"{key}_data")
        if values is None:
            continue
        # hls4ml calls the weights of a depthwise convolution by the name of all weights.
        named = types.get("weight" if key == "depthwise" else key, "auto")
        kind = FixedType.parse(default if named == "auto" else named)
        given = torch.from_numpy(np.asarray(values, dtype=np.float64))
        wanted = kind.quantize(given)
        printed = torch.round(given, decimals=max(kind.fractional, 0))
        if torch.equal(kind.quantize(printed), wanted):
            continue
        # A quarter of a step further in it is the same number, and stays other than zero.
        inward = wanted.sign() if kind.rounding == "TRN_ZERO" else torch.ones_like(wanted)
        inner = wanted + inward * kind.step / 4
        moved = torch.where(kind.quantize(printed) == wanted, given, inner)
        layer[f"{key}_data"] = moved.numpy()


def _text(kind: FixedType) -> str:
    """Return a type as hls4ml reads it; whole numbers can be an index in C++."""
    if kind.fractional == 0 and not kind.signed:
        return f"uint<{kind.width}>"
    return str(kind)


def _read_back(conversion: Conversion, layer: LayerPlan) -> None:
    """Raise a ConversionError where hls4ml built something else than was asked for."""
    node = conversion.graph.graph.get(layer.layer.operation)
    if node is None:
        raise ConversionError(f"{layer.name}: the layer is gone after conversion.")
    factor = "recurrent_reuse_factor" if layer.layer.reads_state else "reuse_factor"
    built = {
        "strategy": str(node.get_attr("strategy")).lower(),
        "reuse_factor": int(node.get_attr(factor)),
    }
    # Where it cannot unroll, hls4ml builds resource; the plan knows, and prunes nothing there.
    falls_back = layer.strategy == "resource_unrolled" and not layer.droppable
    strategy = "resource" if falls_back else layer.strategy
    asked = {"strategy": strategy, "reuse_factor": layer.reuse_factor}
    for key, value in asked.items():
        if built[key] != value:
            raise ConversionError(
                f"{layer.name}: asked for {key} {value}, hls4ml built {built[key]}."
            )
    if asked["strategy"] == "resource_unrolled" and conversion.generated_code(layer) is None:
        raise ConversionError(
            f"{layer.name}: hls4ml generated no code for resource_unrolled at reuse factor "
            f"{layer.reuse_factor}."
        )
    # The weights have to be ours, in the order that the groups were built for.
    weight = layer.layer.weight_of(conversion.network)
    ours = weight.detach().numpy().reshape(-1)[layer.order]
    data = np.asarray(node.weights[layer.layer.hls_weight].data)
    # Latency keeps (..., n_out); the resource strategies have stored the transposed array already.
    stored = data if layer.strategy != "latency" else np.moveaxis(data, -1, 0)
    held, wanted = (torch.from_numpy(np.array(x, dtype=np.float64)) for x in (stored, ours))
    same = torch.equal(layer.weight.quantize(held.reshape(-1)), layer.weight.quantize(wanted))
    if not same or not torch.equal(held.reshape(-1) == 0, wanted == 0):
        raise ConversionError(
            f"{layer.name}: the order of hls4ml's weights is not the one that the groups were "
            "built for."
        )


@contextlib.contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Keep hls4ml's prints out of the terminal; what it said is returned."""
    said = io.StringIO()
    with (
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        warnings.catch_warnings(),
    ):
        # hls4ml warns of attributes that it sets twice; what counts is read back afterwards.
        warnings.simplefilter("ignore")
        yield said
