"""torch to hls4ml, and back: what was built is compared with what was asked for, layer by layer.

hls4ml falls back without an error (unknown strategies become latency, invalid reuse factors the
nearest valid one, ...), so nothing is believed until it is read back. Accumulator types stay
``auto`` in weight layers, and result types where `rfprune.network.types` keeps them exact: hls4ml
infers the width that loses nothing.
"""

from __future__ import annotations

import contextlib
import copy
import io
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from rfprune.errors import ConversionError
from rfprune.hardware.precision import FixedType
from rfprune.hls.codegen import count_code
from rfprune.network import LayerPlan, Plan, fold_batch_norm

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
    network: nn.Module

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
                self.graph.config.trace_output = True
                for node in self.graph.get_layers():
                    node.set_attr("trace", True)
                self.graph.write()
            except Exception as error:  # hls4ml raises bare Exception
                raise ConversionError(f"hls4ml cannot write the project: {error}.") from error
        folder = Path(self.graph.config.get_output_dir())
        source = folder / "firmware" / f"{PROJECT_NAME}.cpp"
        # Unguarded, the test bench of the vendor's tools would write a file per layer.
        source.write_text(_TRACED.sub("#ifdef TRACE_LAYERS\n", source.read_text()))
        return folder

    def generated_code(self, layer: LayerPlan) -> str | None:
        """Return the C++ that hls4ml generated for a ResourceUnrolled layer, else None."""
        source = self.graph.graph[layer.name].get_attr("resource_unrolled_dense_codegen")
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
    import hls4ml

    folded = fold_batch_norm(model)
    _flatten_by_position(folded)
    given = _transposed(folded, plan) if plan.network.channels_last else folded
    hardware = plan.hardware
    shape = (None, *plan.network.input_shape)
    with quiet() as said:
        try:
            config = hls4ml.utils.config_from_pytorch_model(
                given,
                shape,
                granularity="name",
                backend=hardware.backend,
                default_precision=hardware.precision,
                default_reuse_factor=max(layer.reuse_factor for layer in plan.layers),
                channels_last_conversion=_channels_last_conversion(plan),
            )
            _configure(config, plan)
            graph = hls4ml.converters.convert_from_pytorch_model(
                given,
                hls_config=config,
                backend=hardware.backend,
                io_type=hardware.io_type,
                part=plan.part.name if "-" in plan.part.name else hardware.part,
                clock_period=hardware.clock_ns,
                output_dir=str(folder),
                project_name=PROJECT_NAME,
            )
        except Exception as error:  # hls4ml raises bare Exception
            raise ConversionError(
                f"hls4ml cannot convert the network: {error}. {_last_line(said.getvalue())}"
            ) from error
    conversion = Conversion(graph, plan, folded)
    for layer in plan.layers:
        _read_back(conversion, layer)
    return conversion


def _channels_last_conversion(plan: Plan) -> str:
    """Return which of hls4ml's conversions to channels last the network needs.

    ``full`` transposes the input in hardware, which a stream cannot; ``internal`` takes inputs that
    are channels last already.
    """
    if plan.network.channels_last:
        return "off"
    streams_images = plan.hardware.io_type == "io_stream" and len(plan.network.input_shape) > 1
    return "internal" if streams_images else "full"


def _flatten_by_position(network: fx.GraphModule) -> None:
    """Write ``flatten(x, start_dim=1)`` as ``flatten(x, 1)``: hls4ml's parser reads no keywords."""
    for node in network.graph.nodes:
        if node.target in (torch.flatten, "flatten"):
            node.args = (*node.args, *node.kwargs.values())
            node.kwargs = {}
    network.recompile()


def _transposed(model: nn.Module, plan: Plan) -> nn.Module:
    """Return a copy for hls4ml's parser alone, its weights stored as (in, out).

    hls4ml keeps a Linear's weights in Keras's order (in, out). It transposes torch's in the pass
    that makes convolutions channels last, which fails on Linear layers on sequences
    (``convert_to_channels_last.py`` swaps their shapes), and with that pass off it reads (out, in)
    as (in, out) without a word.
    """
    copied = copy.deepcopy(model)
    for layer in plan.layers:
        module = copied.get_submodule(layer.layer.path)
        assert isinstance(module.weight, Tensor)
        module.weight = nn.Parameter(module.weight.detach().T.contiguous())
    return copied


def _configure(config: dict[str, Any], plan: Plan) -> None:
    """Write strategy, reuse factor and types of every layer into hls4ml's configuration."""
    layers = config["LayerName"]
    planned = {layer.name: layer for layer in plan.layers}
    default = FixedType.parse(plan.hardware.precision)
    for name, entry in layers.items():
        result = plan.types.get(name, default)
        # Dictionary keys only: a plain string on every layer switches hls4ml's fusions off.
        if result is not None and isinstance(entry.get("Precision"), dict):
            entry["Precision"]["result"] = str(result)
        layer = planned.get(name)
        if layer is None:
            continue
        entry["Strategy"] = _STRATEGIES[layer.strategy]
        entry["ReuseFactor"] = layer.reuse_factor
        entry["Precision"]["weight"] = str(layer.weight)
        entry["Precision"]["bias"] = str(layer.result)
    missing = [name for name in planned if name not in layers]
    if missing:
        raise ConversionError(
            f"{missing[0]}: hls4ml does not know this layer. It knows: {', '.join(layers)}."
        )
    config["Model"]["Strategy"] = "Latency"


def _read_back(conversion: Conversion, layer: LayerPlan) -> None:
    """Raise a ConversionError where hls4ml built something else than was asked for."""
    node = conversion.graph.graph.get(layer.name)
    if node is None:
        raise ConversionError(f"{layer.name}: the layer is gone after conversion.")
    built = {
        "strategy": str(node.get_attr("strategy")).lower(),
        "reuse_factor": int(node.get_attr("reuse_factor")),
    }
    asked = {"strategy": _expected_strategy(layer), "reuse_factor": layer.reuse_factor}
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
    _check_weights(node, layer, conversion)


def _expected_strategy(layer: LayerPlan) -> str:
    if layer.strategy == "resource_unrolled" and not layer.droppable:
        return "resource"
    return layer.strategy


def _check_weights(node: Any, layer: LayerPlan, conversion: Conversion) -> None:
    """Raise if hls4ml's weights are not ours in the order that the groups were built for."""
    weight = conversion.network.get_submodule(layer.layer.path).weight
    ours = weight.detach().numpy().reshape(-1)[layer.order]  # type: ignore[operator]
    data = np.asarray(node.weights["weight"].data)
    # Latency keeps (..., n_out); the resource strategies have stored the transposed array already.
    stored = data if layer.strategy != "latency" else np.moveaxis(data, -1, 0)
    if not np.array_equal(stored.reshape(-1), ours):
        raise ConversionError(
            f"{layer.name}: the order of hls4ml's weights is not the one that the groups were "
            "built for."
        )


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().split("\n") if line.strip()]
    return lines[-1] if lines else ""


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
