"""The layers of many designs as columns: what the rules compute on.

One row per layer, designs one after the other. Unknown counts are NaN. Reading a design costs
microseconds per layer and is kept on the design, so that the rules see arrays only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from math import nan
from operator import attrgetter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rfprune.fpga.estimators.design import (
    LAYER_TYPES,
    MULTIPLYING,
    Design,
    LayerDesign,
)
from rfprune.hardware.multiplier import DSP_PORTS
from rfprune.hardware.reuse import nearest_valid_reuse_factor
from rfprune.hardware.timing import ADD_NS, PRODUCT_NS, UNCERTAINTY

__all__ = [
    "COLUMNS",
    "POOLS",
    "STRATEGIES",
    "TABLES",
    "TYPES",
    "Columns",
    "Kinds",
    "kinds",
    "read_columns",
    "tool_of",
]

F = NDArray[np.float64]
B = NDArray[np.bool_]

TYPES: tuple[str, ...] = tuple(LAYER_TYPES)
STRATEGIES: tuple[str, ...] = ("latency", "resource", "resource_unrolled")
_DSP_TYPES = tuple(DSP_PORTS)

_GEOMETRY = (
    "in_height",
    "in_width",
    "out_height",
    "out_width",
    "kernel_height",
    "kernel_width",
    "stride",
    "parallelization",
    "n_sequence",
    "table_size",
)
_COUNTS = (
    "count",
    "nnz",
    "live_groups",
    "uniq3",
    "uniq2",
    "narrow3",
    "wide3",
    "pow2",
    "naf_digits",
    "max_bits",
)
_DESIGN = (
    *("stream", "vivado", "year", "clock_ns", "period_ns", "add_ns", "product_ns"),
    *("dsp_type", "first"),
)
_OWN = (
    "type",
    "strategy",
    "n_in",
    "n_out",
    "reuse_factor",
    "channels",
    "binding",
    "rounds",
    "saturates",
    "recurrent_rf",
    "channels_in",
)
_WIDTHS = ("weight_bits", "bias_bits", "data_bits", "output_bits", "accum_bits")

#: Activations that are looked up in a table.
TABLES = ("sigmoid", "tanh", "elu")
POOLS = ("maxpool1d", "maxpool2d", "avgpool1d", "avgpool2d", "globalpool")

#: Names of the columns, in order.
COLUMNS: tuple[str, ...] = (*_OWN, *_WIDTHS, *_GEOMETRY, *_COUNTS, *_DESIGN)

_geometry = attrgetter(*_GEOMETRY)
_counts = attrgetter(*_COUNTS)
_NO_COUNTS: tuple[float, ...] = (nan,) * len(_COUNTS)
_BINDING = {None: 0.0, "dsp": 1.0, "fabric": 2.0}
_TYPE_CODE = {name: float(code) for code, name in enumerate(TYPES)}
_STRATEGY_CODE = {name: float(code) for code, name in enumerate(STRATEGIES)}
#: Generation of a tool that a design does not name.
_DEFAULT_YEAR = {"Vitis HLS": 2023.2, "Vivado HLS": 2020.1}


def tool_of(design: Design) -> tuple[str, float]:
    """Return the HLS tool of a design and its generation as year.release."""
    tool = design.tool or ("Vitis HLS" if design.backend == "Vitis" else "Vivado HLS")
    version = design.tool_version
    year = _DEFAULT_YEAR[tool] if version is None else float(".".join(version.split(".")[:2]))
    return tool, year


def _recurrent_rf(layer: LayerDesign) -> float:
    gates = {"gru": 3, "lstm": 4}.get(layer.type)
    if gates is None:
        return 0.0
    asked = layer.recurrent_reuse_factor or layer.reuse_factor
    return float(nearest_valid_reuse_factor(layer.n_out, gates * layer.n_out, asked, "resource"))


def _layer_row(
    design: Design, layer: LayerDesign, channels: int, whole: tuple[float, ...]
) -> tuple[float, ...]:
    counts = _NO_COUNTS
    if layer.weights is not None:
        # NaN and not 0: a rule must see that a count is not known.
        counts = tuple(nan if value is None else value for value in _counts(layer.weights))
    width = design.width
    data = layer.input_precision
    own = (
        _TYPE_CODE[layer.type],
        _STRATEGY_CODE[design.strategy_of(layer)],
        float(layer.n_in or layer.n_out),
        float(layer.n_out),
        float(layer.reuse_factor),
        float(channels),
        _BINDING[layer.multiplier],
        # Two commas: the type names its rounding and overflow, which take logic of their own.
        float("," in (layer.output_precision or design.precision).replace(",", "", 1)),
        float("SAT" in (layer.accum_precision or design.precision)),
        _recurrent_rf(layer),
        float(layer.in_channels or 1),
        float(width(layer.weight_precision)),
        float(width(layer.bias_precision or layer.weight_precision)),
        float(width(data)),
        float(width(layer.output_precision)),
        float(width(layer.accum_precision)),
    )
    return (*own, *_geometry(layer), *counts, *whole)


def _design_rows(design: Design) -> list[tuple[float, ...]]:
    tool, year = tool_of(design)
    whole = (
        float(design.io_type == "io_stream"),
        float(tool == "Vivado HLS"),
        year,
        design.clock_ns,
        design.clock_ns * (1 - UNCERTAINTY[tool]),
        ADD_NS[tool],
        PRODUCT_NS[tool],
        float(_DSP_TYPES.index(design.device.dsp_type)),
    )
    # The first layer with weights reads the ports of the design, not another layer.
    first = next((layer for layer in design.layers if layer.type in MULTIPLYING), None)
    rows: list[tuple[float, ...]] = []
    channels = 1
    # Layers without weights keep the channels of what they read, unless they say otherwise.
    for layer in design.layers:
        if layer.type in MULTIPLYING:
            channels = layer.n_out
        elif layer.in_channels is not None:
            channels = layer.in_channels
        elif design.io_type == "io_parallel" or not rows:
            channels = layer.n_out
        rows.append(_layer_row(design, layer, channels, (*whole, float(layer is first))))
    return rows


@dataclass(frozen=True)
class Columns:
    """Layers of many designs, one array (n_layers,) per name in `COLUMNS`.

    Attributes:
        values: (n_columns, n_layers).
        design: (n_layers,) index of the design that a layer belongs to, ascending.
        starts: (n_designs,) first layer of each design.
        codes: (n_layers,) index of each layer's type in `TYPES`.
    """

    values: F
    design: NDArray[np.intp]
    starts: NDArray[np.intp]
    codes: NDArray[np.intp] = field(init=False)

    def __post_init__(self) -> None:
        # A single design asks for some 400 columns: an attribute each is found without a call.
        self.__dict__.update(zip(COLUMNS, self.values, strict=True))
        self.__dict__["codes"] = self.type.astype(np.intp)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> F: ...

    def is_type(self, *names: str) -> B:
        """Return which layers are of one of these types."""
        found: B = _among(names)[self.codes]
        return found

    def is_strategy(self, name: str) -> B:
        """Return which layers are built in this strategy."""
        found: B = self.strategy == _STRATEGY_CODE[name]
        return found


@lru_cache(maxsize=128)
def _among(names: tuple[str, ...]) -> B:
    """Return (n_types,) which codes of `TYPES` are one of `names`."""
    return np.array([name in names for name in TYPES])


@dataclass(frozen=True)
class Kinds:
    """Which layers are what, (n_layers,) each."""

    multiplies: B
    constant: B
    memory: B
    unrolled: B
    softmax: B
    relu: B
    pool: B
    batchnorm: B
    recurrent: B


def kinds(c: Columns) -> Kinds:
    """Return which layers are what; a memory of depth 1 is a set of constants."""
    multiplies = c.is_type(*sorted(MULTIPLYING))
    constant = multiplies & (c.is_strategy("latency") | (c.reuse_factor == 1))
    memory = multiplies & ~constant
    return Kinds(
        multiplies=multiplies,
        constant=constant,
        memory=memory,
        unrolled=memory & c.is_strategy("resource_unrolled"),
        softmax=c.is_type("softmax"),
        relu=c.is_type("relu"),
        pool=c.is_type(*POOLS),
        batchnorm=c.is_type("batchnorm"),
        recurrent=c.is_type("gru", "lstm"),
    )


def read_columns(designs: Sequence[Design]) -> Columns:
    """Return the layers of `designs` as columns."""
    rows = [_design_rows(design) for design in designs]
    counts = [len(part) for part in rows]
    flat = [row for part in rows for row in part]
    values = np.ascontiguousarray(np.array(flat, dtype=np.float64).reshape(-1, len(COLUMNS)).T)
    ends = np.cumsum(counts, dtype=np.intp)
    owners = np.repeat(np.arange(len(counts)), counts)
    return Columns(values, owners, ends - np.array(counts, dtype=np.intp))
