"""Distributed arithmetic: a dense network as one adder graph, counted and written as Verilog.

Uses the optional package da4ml (extra ``da4ml``; Sun et al., arXiv 2507.04535). Every weight is a
constant of the circuit, nothing is multiplied, one inference starts in every cycle. LUT and FF are
da4ml's own count of the graph it built; `rfprune.estimate.yosys` can synthesise the same Verilog.
What it does not know: convolutions, softmax (left out, with a note), reuse factors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rfprune.errors import MissingExtraError, ReportError, SpecError
from rfprune.estimate.design import MULTIPLYING, Design, LayerDesign
from rfprune.estimate.result import Estimate
from rfprune.hardware.precision import FixedType
from rfprune.quantities import Resources

__all__ = ["AdderGraph", "DenseLayer", "build", "estimate", "read_layers"]

_PASSED_OVER = ("softmax", "argmax", "reshape", "linear")
#: Delay of one pipeline stage in da4ml's unit, an adder of a few bits at about 1 ns: its default.
_STAGE_DELAY = 5


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
        logic: da4ml's graph without registers, for `predict`.
        pipeline: the same with registers, for `write_verilog`.
    """

    lut: int
    ff: int
    stages: int
    logic: Any
    pipeline: Any

    def predict(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the bit-exact outputs (n, n_out) for inputs (n, n_in)."""
        return np.asarray(self.logic.predict(x))

    def write_verilog(self, folder: Path, name: str = "network", clock_ns: float = 5.0) -> Path:
        """Write Verilog and build scripts into `folder`; return the folder of the sources."""
        _package()
        from da4ml.codegen import RTLModel

        model = RTLModel(self.pipeline, name, str(folder), flavor="verilog", clock_period=clock_ns)
        model.write()
        return folder / "src"


def _package() -> None:
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
    _package()
    from da4ml.trace import FixedVariableArrayInput, comb_trace, to_pipeline
    from da4ml.trace.ops import quantize, relu

    start = FixedVariableArrayInput((layers[0].weight.shape[1],))
    x = start
    for layer in layers:
        kind = layer.data
        sign = int(kind.signed)
        mode = "WRAP" if kind.saturation == "WRAP" else "SAT"
        rounding = "TRN" if kind.rounding.startswith("TRN") else "RND"
        x = quantize(x, sign, kind.integer - sign, kind.fractional, mode, rounding)
        x = x @ np.ascontiguousarray(layer.weight.T) + layer.bias
        x = relu(x) if layer.relu else x
    logic = comb_trace(start, x)
    graph = to_pipeline(logic, _STAGE_DELAY, verbose=False)
    return AdderGraph(
        lut=round(graph.cost),
        ff=int(graph.reg_bits),
        stages=len(graph.solutions),
        logic=logic,
        pipeline=graph,
    )


def estimate(design: Design, project: Path | None = None) -> Estimate:
    """Return the cost of a design as distributed arithmetic.

    Args:
        design: dense layers with ReLU between them.
        project: folder of the hls4ml project, which holds the weights.

    Raises:
        SpecError: no project, or a layer that is no dense layer, ReLU or softmax.
        MissingExtraError: da4ml is not installed.
        ReportError: the project's weights cannot be read.
    """
    _package()
    if project is None:
        raise SpecError(
            f"{design.name}: da4ml needs the weights of an hls4ml project, which a design file "
            "does not hold. Allowed: the folder of a trial or of an exported network, or "
            "--by analytic."
        )
    graph = build(read_layers(design, project))
    left_out = [layer.name for layer in design.layers if layer.type in ("softmax", "argmax")]
    note = f"Left out: {', '.join(left_out)}." if left_out else ""
    return Estimate(
        source="da4ml",
        predicts="synthesis",
        total=Resources(dsp=0, bram18=0, lut=graph.lut, ff=graph.ff),
        latency_cycles=graph.stages,
        ii_cycles=1,
        clock_ns=design.clock_ns,
        tool="da4ml adder graph",
        synthesis=Resources(dsp=0, bram18=0, lut=graph.lut, ff=graph.ff),
        notes=tuple(text for text in (note, "Strategy distributed_arithmetic.") if text),
    )


def read_layers(design: Design, project: Path) -> list[DenseLayer]:
    """Return the dense chain of a design with the weights of its hls4ml project.

    Raises:
        SpecError: a layer that distributed arithmetic cannot take here.
        ReportError: a file of weights is missing or of another size.
    """
    found: list[DenseLayer] = []
    for layer in design.layers:
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
    index = _index(project, layer.name)
    size = (layer.n_in or 0) * layer.n_out
    flat = _numbers(project / "firmware" / "weights" / f"w{index}.h", size)
    transposed = design.strategy_of(layer) != "latency"
    # Latency kernels read (n_in, n_out), the Resource ones the transposed array.
    shape = (layer.n_out, layer.n_in) if transposed else (layer.n_in, layer.n_out)
    weight = flat.reshape([n or 0 for n in shape])
    return DenseLayer(
        weight=weight if transposed else np.ascontiguousarray(weight.T),
        bias=_numbers(project / "firmware" / "weights" / f"b{index}.h", layer.n_out),
        data=FixedType.parse(layer.input_precision or design.precision),
    )


def _index(project: Path, name: str) -> int:
    path = project / "firmware" / "parameters.h"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ReportError(f"{path}: is no readable hls4ml project file ({error}).") from error
    match = re.search(rf"// {re.escape(name)}\s*\nstruct config(\d+)\b", text)
    if match is None:
        raise ReportError(f"{path}: holds no layer '{name}'.")
    return int(match.group(1))


def _numbers(path: Path, size: int) -> NDArray[np.float64]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ReportError(f"{path}: is no readable file of weights ({error}).") from error
    match = re.search(r"=\s*\{(.*?)\}\s*;", text, re.DOTALL)
    values = np.array((match.group(1) if match else "").split(","), dtype=object)
    if match is None or values.size != size:
        raise ReportError(f"{path}: holds {values.size} numbers. Allowed here: {size}.")
    return values.astype(np.float64)
