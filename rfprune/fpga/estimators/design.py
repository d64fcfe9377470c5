"""The design file: what an estimate needs to know about a network in hardware.

A design names a part, a clock and layers; weights are optional and enter as counts
(`rfprune.fpga.estimators.weights.WeightStatistics`). Widths and geometry decide the estimate, not
values. The file is YAML or JSON::

    name: jets
    part: xcu250-figd2104-2L-e
    clock_ns: 5
    backend: Vitis
    layers:
      - {name: fc1, type: dense, n_in: 16, n_out: 64, reuse_factor: 8, strategy: resource}
      - {name: relu1, type: relu, n_out: 64}
      - {name: fc2, type: dense, n_in: 64, n_out: 5, strategy: latency}

What a design file does not know: the order of execution beyond a chain, and the values of weights.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    field_validator,
    model_validator,
)

from rfprune.core.registry import nearest
from rfprune.errors import ReuseFactorError
from rfprune.fpga.estimators.weights import WeightStatistics, weight_statistics
from rfprune.hardware.parts import Part, find_part
from rfprune.hardware.precision import FixedType
from rfprune.hardware.reuse import check_reuse_factor

__all__ = [
    "LAYER_TYPES",
    "MULTIPLYING",
    "Design",
    "LayerDesign",
    "WeightStatistics",
    "parse_design",
    "weight_statistics",
]

Strategy = Literal["latency", "resource", "resource_unrolled"]
#: Sizes beyond those of any device are slips of the pen, and would take for ever to factorise.
Size = Annotated[int, Field(ge=1, le=2**31)]

#: Layer types and the other names that a file may use for them.
LAYER_TYPES: dict[str, tuple[str, ...]] = {
    "dense": ("linear_layer", "fc", "qdense"),
    "conv1d": ("qconv1d", "pointwise"),
    "conv2d": ("qconv2d",),
    "depthwise_conv2d": ("depthwiseconv2d", "depthwise_conv1d"),
    "gru": (),
    "lstm": (),
    "relu": (
        "relu6",
        "relu1",
        "threshold",
        "activation",
        "qactivation",
        "leaky_relu",
        "prelu",
        "thresholded_relu",
        "hard_tanh",
    ),
    "linear": ("identity", "embedding"),
    "sigmoid": ("hard_sigmoid",),
    "tanh": ("selu", "softplus", "softsign"),
    "elu": (),
    "softmax": (),
    "argmax": (),
    "product": ("einsum", "matmul"),
    "maxpool1d": ("pooling1d",),
    "maxpool2d": ("pooling2d", "maxpool"),
    "avgpool1d": ("averagepooling1d",),
    "avgpool2d": ("averagepooling2d", "avgpool"),
    "globalpool": ("global_pooling1d", "global_pooling2d"),
    "batchnorm": (
        "batch_normalization",
        "batchnormalization",
        "normalize",
        "apply_alpha",
        "affine",
    ),
    "merge": ("add", "subtract", "multiply", "average", "maximum", "minimum", "sum"),
    "concatenate": ("concat",),
    "padding": ("padding1d", "padding2d", "zeropad1d", "zeropad2d"),
    "resize": ("upsampling1d", "upsampling2d"),
    "reshape": ("flatten", "transpose", "repack", "input", "clone", "dropout"),
}
_CANONICAL = {alias: name for name, aliases in LAYER_TYPES.items() for alias in (name, *aliases)}

#: Types whose weights are multiplied, so that reuse factor and strategy mean something.
MULTIPLYING = frozenset({"dense", "conv1d", "conv2d", "depthwise_conv2d", "gru", "lstm"})


# Cached: a sweep reads the same few types thousands of times.
@lru_cache(maxsize=4096)
def _fixed(text: str) -> FixedType:
    return FixedType.parse(text)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LayerDesign(_Strict):
    """One layer as hls4ml builds it.

    Attributes:
        name: layer name.
        type: one of `LAYER_TYPES` or an alias of it.
        n_in: products per output (dense: inputs; conv: channels x kernel; product of two tensors:
            terms of each sum); elements for other glue layers.
        n_out: outputs per position (dense: outputs; conv: filters); elements for glue layers.
        reuse_factor: how often one multiplier is used.
        recurrent_reuse_factor: of the recurrent matrix of a GRU or LSTM, `reuse_factor` if not set.
        strategy: hls4ml strategy; the design's where not set.
        weight_precision, bias_precision, input_precision, output_precision, accum_precision:
            fixed-point types; the design's `precision` where not set. A product of two tensors has
            the second one in place of weights.
        in_height, in_width, out_height, out_width: image geometry, 1 for dense layers.
        in_channels: channels of an image; those of the layer before where not set.
        kernel_height, kernel_width, stride: window of conv and pooling layers.
        parallelization: positions computed side by side (io_parallel conv).
        n_sequence: steps of a recurrent layer.
        multiplier: ``"dsp"`` or ``"fabric"`` where a directive binds every product of constants.
        weights: counts over the real weights, where there are any.
    """

    name: str
    type: str
    n_in: Size | None = None
    n_out: Size
    reuse_factor: Size = 1
    recurrent_reuse_factor: Size | None = None
    strategy: Strategy | None = None
    weight_precision: str | None = None
    bias_precision: str | None = None
    input_precision: str | None = None
    output_precision: str | None = None
    accum_precision: str | None = None
    in_height: Size = 1
    in_width: Size = 1
    in_channels: Size | None = None
    out_height: Size = 1
    out_width: Size = 1
    kernel_height: Size = 1
    kernel_width: Size = 1
    stride: Size = 1
    parallelization: Size = 1
    n_sequence: Size = 1
    table_size: Size = 1024
    multiplier: Literal["dsp", "fabric"] | None = None
    weights: WeightStatistics | None = None

    @field_validator("type")
    @classmethod
    def _known_type(cls, text: str) -> str:
        key = text.strip().lower()
        if key not in _CANONICAL:
            hint = nearest(key, _CANONICAL)
            raise ValueError(f"unknown layer type.{hint} Known: {', '.join(LAYER_TYPES)}")
        return _CANONICAL[key]

    @field_validator(
        "weight_precision",
        "bias_precision",
        "input_precision",
        "output_precision",
        "accum_precision",
    )
    @classmethod
    def _readable_type(cls, text: str | None) -> str | None:
        return None if text is None else str(_fixed(text))

    @model_validator(mode="after")
    def _complete(self) -> LayerDesign:
        if self.type in MULTIPLYING and self.n_in is None:
            raise ValueError(f"layer '{self.name}' of type {self.type} needs n_in")
        return self

    @property
    def positions(self) -> int:
        """Output positions of a conv or pooling layer; 1 for a dense layer."""
        return self.out_height * self.out_width


class Design(_Strict):
    """A network in hardware: the input of every estimator.

    Attributes:
        name: free text.
        part: part number or board name, see `rfprune.hardware.parts`.
        clock_ns: target clock period in ns.
        backend: hls4ml backend.
        tool: HLS tool; decided by the backend where not set.
        tool_version: e.g. ``2023.2``; None means the newest known generation.
        io_type: how layers are connected.
        strategy: of layers that name none.
        precision: of types that a layer does not name.
        layers: in order of execution.
    """

    name: str = "design"
    part: str = "xcvu13p-flga2577-2-e"
    clock_ns: PositiveFloat = 5.0
    backend: Literal["Vitis", "Vivado", "VivadoAccelerator"] = "Vitis"
    tool: Literal["Vitis HLS", "Vivado HLS"] | None = None
    tool_version: Annotated[str, Field(pattern=r"^\d{4}\.\d(\.\d)?$")] | None = None
    io_type: Literal["io_parallel", "io_stream"] = "io_parallel"
    strategy: Strategy = "latency"
    precision: str = "fixed<16,6>"
    layers: Annotated[tuple[LayerDesign, ...], Field(min_length=1)]

    @field_validator("part")
    @classmethod
    def _known_part(cls, name: str) -> str:
        find_part(name)
        return name

    @field_validator("precision")
    @classmethod
    def _readable_type(cls, text: str) -> str:
        return str(_fixed(text))

    @field_validator("layers")
    @classmethod
    def _distinct_names(cls, layers: tuple[LayerDesign, ...]) -> tuple[LayerDesign, ...]:
        seen: set[str] = set()
        for layer in layers:
            if layer.name in seen:
                raise ValueError(f"the layer name '{layer.name}' appears twice")
            seen.add(layer.name)
        return layers

    @cached_property
    def device(self) -> Part:
        """The part of the catalogue."""
        return find_part(self.part)

    def strategy_of(self, layer: LayerDesign) -> Strategy:
        """Return the strategy in which hls4ml builds `layer` (Unrolled at RF 1 is Resource)."""
        strategy = layer.strategy or self.strategy
        # As hls4ml does: there is nothing to take turns.
        if strategy == "resource_unrolled" and layer.reuse_factor == 1:
            return "resource"
        return strategy

    def width(self, precision: str | None) -> int:
        """Return the bits of `precision`, or of the design's own where it is None."""
        return _fixed(precision or self.precision).width

    def check_reuse_factors(self, source: str) -> None:
        """Raise where hls4ml would silently build another reuse factor than a layer names.

        Latency layers keep any factor, so only Resource and ResourceUnrolled are checked.

        Raises:
            ReuseFactorError: names the layer and the valid neighbours.
        """
        for layer in self.layers:
            # Their reuse factors are rounded by rules of their own.
            plain = layer.type in MULTIPLYING - {"gru", "lstm", "depthwise_conv2d"}
            strategy = self.strategy_of(layer)
            if plain and layer.n_in is not None and strategy != "latency":
                shape = (layer.n_in, layer.n_out)
                try:
                    check_reuse_factor(layer.name, *shape, layer.reuse_factor, strategy)
                except ReuseFactorError as error:
                    raise ReuseFactorError(f"{source}: {error}") from None


def parse_design(values: dict[str, Any], source: str = "design") -> Design:
    """Return `values` as a checked design.

    Raises:
        SpecError: the first fault, with `source`, key, value and what is allowed.
        ReuseFactorError: a reuse factor that hls4ml would silently replace.
    """
    from rfprune.spec.yaml_files import parse_spec

    design = parse_spec(Design, values, source)
    design.check_reuse_factors(source)
    return design
