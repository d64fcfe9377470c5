"""The FPGA of a trial, and how hls4ml maps the network onto it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator

from rfprune.core.added_keys import added
from rfprune.hardware.parts import find_part
from rfprune.hardware.precision import FixedType
from rfprune.spec.base import StrictSpec

__all__ = ["HardwareSpec", "LayerHardware", "layer_of"]

Strategy = Literal["auto", "latency", "resource", "resource_unrolled", "distributed_arithmetic"]

#: What hls4ml 1.3 makes of zero weights elsewhere (``backends/*/*_backend.py``, ``init_dense``).
_KEEPING = {
    "Quartus": "it builds strategy resource whatever is requested, and that reads every weight",
    "oneAPI": "it builds strategy resource whatever is requested, and that reads every weight",
    "Catapult": "it lacks resource_unrolled and silently builds latency instead",
    "VivadoAccelerator": "it stops at resource_unrolled with 'Unexpected backend'",
    "Libero": "it lacks resource_unrolled, and converts only with Microchip's tools installed",
    "SymbolicExpression": "it builds formulas, not layers",
}


def layer_of(name: str) -> str:
    """Return the layer that one of several weights belongs to; empty for the name of a layer.

    A weight of a GRU ``gru`` is called ``gru-weight_hh_l0``; a dash is in no name of torch.
    """
    return name.rpartition("-")[0]


def _fixed(text: str | None) -> str | None:
    return None if text is None else str(FixedType.parse(text))


class LayerHardware(StrictSpec):
    """Hardware settings of one layer; keys that are not set are taken from `HardwareSpec`."""

    reuse_factor: PositiveInt | None = None
    strategy: Strategy | None = None
    precision: str | None = Field(None, description="type of weights, bias and result")
    weight_precision: str | None = Field(None, description="type of the weights alone")
    output_precision: str | None = added(
        None,
        description="type that the layer's sums are rounded to; exact if not set, unless the next "
        "layer multiplies them. For the layer of an output or a head: the type of that output",
    )

    _check_precision = field_validator("precision", "weight_precision", "output_precision")(_fixed)


class HardwareSpec(StrictSpec):
    """The FPGA, and how hls4ml maps the network onto it."""

    part: str = Field("xcvu13p-flga2577-2-e", description="part number or board name")
    clock_ns: PositiveFloat = Field(5.0, description="clock period in ns")
    backend: Literal["Vitis", "Vivado", "alkaid"] = Field(
        "Vitis",
        description="who builds the network: hls4ml for Vitis HLS or Vivado HLS; alkaid as "
        "Verilog, wholly unrolled, with strategy distributed_arithmetic",
    )
    io_type: Literal["io_parallel", "io_stream"] = "io_parallel"
    strategy: Strategy = Field(
        "auto",
        description="auto: latency at reuse factor 1, resource_unrolled above "
        "(the two strategies in which pruned groups vanish); distributed_arithmetic: every weight "
        "a constant in a graph of adders, for the method widths, or any method with backend alkaid",
    )
    precision: str = Field("fixed<16,6>", description="type of everything that has none of its own")
    weight_precision: str | None = None
    reuse_factor: PositiveInt = 1
    layers: dict[str, LayerHardware] = Field(
        default_factory=dict,
        description="settings by layer name; of GRU and LSTM, which have two weights, by the "
        "layer's name, or by weight, e.g. gru-weight_hh_l0",
    )

    _check_precision = field_validator("precision", "weight_precision")(_fixed)

    @field_validator("backend", mode="before")
    @classmethod
    def _backend_that_prunes(cls, name: Any) -> Any:
        if str(name).lower() == "alkaid":
            return "alkaid"
        # hls4ml takes the names of its backends in any case.
        found = next((known for known in _KEEPING if known.lower() == str(name).lower()), None)
        if found is None:
            return name
        raise ValueError(
            f"'{found}' cannot drop pruned groups: {_KEEPING[found]}. Of hls4ml's backends only "
            "Vitis and Vivado generate code that leaves out the multipliers of zero weights. "
            "Allowed: Vitis, Vivado (Vivado HLS, before 2021), or alkaid (no HLS)"
        )

    @field_validator("part")
    @classmethod
    def _known_part(cls, name: str) -> str:
        find_part(name)
        return name

    def layer(self, name: str) -> LayerHardware:
        """Return the settings of a layer; what it does not set itself is taken from here.

        The first that is set decides the type of its weights: the layer's `weight_precision`, the
        layer's `precision`, the `weight_precision` of all layers, their `precision`. What one of
        several weights of a layer (``gru-weight_hh_l0``) does not set is the layer's (``gru``).
        """
        whole = self.layers.get(layer_of(name), LayerHardware())
        set_itself = self.layers.get(name, LayerHardware()).model_dump(exclude_none=True)
        own = whole.model_copy(update=set_itself)
        # A layer's own precision counts before the weight_precision of all layers.
        weights = own.weight_precision or own.precision or self.weight_precision or self.precision
        return LayerHardware(
            reuse_factor=own.reuse_factor or self.reuse_factor,
            strategy=own.strategy or self.strategy,
            precision=own.precision or self.precision,
            weight_precision=weights,
            output_precision=own.output_precision,
        )
