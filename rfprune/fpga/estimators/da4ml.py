"""Distributed arithmetic: a dense network as one adder graph, counted and written as Verilog.

Uses the optional package da4ml (extra ``da4ml``; Sun et al., arXiv 2507.04535). Every weight is a
constant of the circuit, nothing is multiplied, one inference starts in every cycle. LUT and FF are
da4ml's own count of the graph that it built; `rfprune.fpga.estimators.yosys` synthesises the same
Verilog. What it does not know: convolutions, softmax (left out, with a note), reuse factors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rfprune.core.quantities import Resources
from rfprune.errors import MissingExtraError, ReportError, SpecError
from rfprune.fpga.estimators.design import MULTIPLYING, Design, LayerDesign
from rfprune.fpga.estimators.ports import Port, estimate_of, rtl_of_graph
from rfprune.fpga.estimators.result import Estimate
from rfprune.fpga.estimators.routed import routed
from rfprune.fpga.estimators.rtl import Rtl
from rfprune.hardware.precision import FixedType

__all__ = [
    "AdderGraph",
    "DenseLayer",
    "build",
    "check_installed",
    "estimate",
    "notes_on",
    "read_layers",
    "rtl_of",
    "traced_graph",
]

_PASSED_OVER = ("softmax", "argmax", "reshape", "linear")
#: Delay of one pipeline stage in da4ml's unit, an adder of a few bits at about 1 ns: its default.
_STAGE_DELAY = 5
#: What da4ml can round and saturate; every other mode of ``ap_fixed`` is built as the nearest.
_ROUNDING = {"TRN": "TRN", "TRN_ZERO": "TRN"}
_OVERFLOW = {"WRAP": "WRAP", "SAT": "SAT", "SAT_SYM": "SAT_SYM", "SAT_ZERO": "SAT"}


@dataclass(frozen=True)
class DenseLayer:
    """One dense layer as numbers.

    Attributes:
        weight: (n_out, n_in) values on the grid of the weight type.
        bias: (n_out,) values.
        data: type of the inputs.
        relu: the result passes a ReLU.
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    data: FixedType
    relu: bool = False


@dataclass(frozen=True)
class AdderGraph:
    """What da4ml made of a network.

    Attributes:
        lut, ff: its own counts.
        stages: pipeline stages, the latency in cycles.
        data: type of the input ports.
        logic: da4ml's graph without registers, for `predict`.
        pipeline: the same with registers, for `write_verilog`.
    """

    tool = "da4ml"

    lut: int
    ff: int
    stages: int
    data: FixedType
    logic: Any
    pipeline: Any

    @property
    def kinds(self) -> tuple[FixedType, ...]:
        """Types of the inputs."""
        return (self.data,)

    @property
    def operations(self) -> str:
        """All that it computes, as text."""
        return repr(self.logic.ops)

    def predict(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the bit-exact outputs (n, n_out) for inputs (n, n_in), rounded to `data` first."""
        import torch

        ports = self.data.quantize(torch.from_numpy(np.asarray(x, dtype=np.float64)))
        return np.asarray(self.logic.predict(ports.numpy()))

    def ports(self) -> tuple[Port, Port]:
        """Return the numbers of the input and of the output of the Verilog."""
        stages = self.pipeline.solutions
        kinds = (stages[0].inp_kifs, stages[-1].out_kifs)
        return tuple(Port(*np.asarray(kif).astype(int).tolist()) for kif in kinds)  # type: ignore

    def write_verilog(self, folder: Path, name: str = "network", clock_ns: float = 5.0) -> Path:
        """Write Verilog and build scripts into `folder`; return the folder of the sources."""
        check_installed()
        from da4ml.codegen import RTLModel

        model = RTLModel(self.pipeline, name, str(folder), flavor="verilog", clock_period=clock_ns)
        model.write()
        return folder / "src"


def check_installed() -> None:
    """Raise a MissingExtraError if the package da4ml is not installed."""
    try:
        import da4ml.trace  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "estimator da4ml needs the package da4ml: pip install 'rfprune[da4ml]' "
            f"(or pip install 'da4ml>=0.6,<0.7'); {error}."
        ) from None


def build(layers: Sequence[DenseLayer]) -> AdderGraph:
    """Return the adder graph of a chain of dense layers.

    Raises:
        MissingExtraError: da4ml is not installed.
    """
    check_installed()
    from da4ml.trace import FixedVariableArrayInput
    from da4ml.trace.ops import quantize, relu

    start = FixedVariableArrayInput((layers[0].weight.shape[1],))
    x = start
    for layer in layers:
        kind = layer.data
        sign = int(kind.signed)
        rounding = _ROUNDING.get(kind.rounding, "RND")
        overflow = _OVERFLOW[kind.saturation]
        if x is start:
            # The input ports have this type already: who drives them rounds and saturates. For
            # da4ml an input has no range before this call, so that it could not clamp it either.
            rounding, overflow = "TRN", "WRAP"
        # Before every layer: hls4ml casts what a layer reads to that layer's input type.
        x = quantize(x, sign, kind.integer - sign, kind.fractional, overflow, rounding)
        x = x @ np.ascontiguousarray(layer.weight.T) + layer.bias
        x = relu(x) if layer.relu else x
    return traced_graph(start, x, layers[0].data)


def traced_graph(start: Any, end: Any, data: FixedType) -> AdderGraph:
    """Return the graph between da4ml's variables `start` and `end`; `data`: type of the ports."""
    from da4ml.trace import comb_trace, to_pipeline

    logic = comb_trace(start, end)
    # Cut into stages by delay, so that every stage takes an input in each cycle.
    graph = to_pipeline(logic, _STAGE_DELAY, verbose=False)
    return AdderGraph(
        lut=round(graph.cost),
        ff=int(graph.reg_bits),
        stages=len(graph.solutions),
        data=data,
        logic=logic,
        pipeline=graph,
    )


def estimate(design: Design, project: Path) -> Estimate:
    """Return the cost of a design as distributed arithmetic.

    Args:
        design: dense layers with ReLU between them.
        project: folder of the hls4ml project, which holds the weights.

    Raises:
        SpecError: a layer that is not a dense layer, ReLU or softmax.
        MissingExtraError: da4ml is not installed.
        ReportError: the project's weights cannot be read.
    """
    check_installed()
    layers = read_layers(design, project)
    graph = build(layers)
    after = routed(graph.lut)
    found = Resources(dsp=0, bram18=0, lut=after.lut, ff=graph.ff)
    tool, said = "da4ml adder graph, routed", notes_on(design, layers)
    estimate = estimate_of(graph, found, "da4ml", tool, design.clock_ns, said)
    # Flip-flops are da4ml's own count here, to which the fitted spread does not belong.
    intervals = {name: pair for name, pair in after.intervals.items() if name != "ff"}
    notes = (*estimate.notes, f"Adder graph of cost {graph.lut}; LUT and clock are after routing.")
    return replace(estimate, intervals=intervals, reachable_ns=after.period_ns, notes=notes)


def rtl_of(design: Design, project: Path, folder: Path) -> Rtl:
    """Write a design as distributed arithmetic into `folder`: what open tools measure of it.

    Arguments and errors as `estimate`.
    """
    layers = read_layers(design, project)
    notes = notes_on(design, layers)
    return rtl_of_graph(build(layers), folder, design.device, design.clock_ns, notes)


def notes_on(design: Design, layers: Sequence[DenseLayer]) -> tuple[str, ...]:
    """Return how the adder graph of a design differs from what hls4ml would build, in sentences."""
    notes = ["Strategy distributed_arithmetic."]
    left_out = [layer.name for layer in design.layers if layer.type in ("softmax", "argmax")]
    if left_out:
        notes.insert(0, f"Left out: {', '.join(left_out)}.")
    for kind in dict.fromkeys(layer.data for layer in layers[1:]):
        rounding = _ROUNDING.get(kind.rounding, "RND")
        overflow = _OVERFLOW[kind.saturation]
        if (rounding, overflow) != (kind.rounding, kind.saturation):
            notes.append(f"{kind} is built with {rounding} and {overflow}: da4ml knows no closer.")
    return tuple(notes)


def read_layers(design: Design, project: Path) -> list[DenseLayer]:
    """Return the dense chain of a design with the weights of its hls4ml project.

    Raises:
        SpecError: a layer that distributed arithmetic cannot take here.
        ReportError: a file of weights is missing or of another size.
    """
    found: list[DenseLayer] = []
    for layer in design.layers:
        # A ReLU belongs to the layer before it: one node of the graph.
        if layer.type == "relu" and found:
            last = found[-1]
            found[-1] = DenseLayer(last.weight, last.bias, last.data, relu=True)
        elif layer.type == "dense":
            found.append(_dense(design, layer, project))
        elif layer.type in MULTIPLYING or layer.type not in _PASSED_OVER:
            raise SpecError(
                f"{design.name}: layer '{layer.name}' is of type {layer.type}. Allowed with da4ml: "
                f"dense, relu, {', '.join(_PASSED_OVER)}."
            )
    return found


def _dense(design: Design, layer: LayerDesign, project: Path) -> DenseLayer:
    path = project / "firmware" / "parameters.h"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ReportError(f"{path}: is not a readable hls4ml project file ({error}).") from error
    # hls4ml numbers the files of weights as it numbers the layers' structs.
    match = re.search(rf"// {re.escape(layer.name)}\s*\nstruct config(\d+)\b", text)
    if match is None:
        raise ReportError(f"{path}: holds no layer '{layer.name}'.")
    index = int(match.group(1))
    n_in, n_out = layer.n_in or 0, layer.n_out
    flat = _numbers(project / "firmware" / "weights" / f"w{index}.h", n_in * n_out)
    # Latency kernels read (n_in, n_out), the Resource ones the transposed array.
    latency = design.strategy_of(layer) == "latency"
    return DenseLayer(
        weight=flat.reshape(n_in, n_out).T.copy() if latency else flat.reshape(n_out, n_in),
        bias=_numbers(project / "firmware" / "weights" / f"b{index}.h", n_out),
        data=FixedType.parse(layer.input_precision or design.precision),
    )


def _numbers(path: Path, size: int) -> NDArray[np.float64]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ReportError(f"{path}: is not a readable file of weights ({error}).") from error
    match = re.search(r"=\s*\{(.*?)\}\s*;", text, re.DOTALL)
    values = np.array((match.group(1) if match else "").split(","), dtype=object)
    if match is None or values.size != size:
        raise ReportError(f"{path}: holds {values.size} numbers. Allowed here: {size}.")
    return values.astype(np.float64)
