"""A planned network as alkaid's graph of adders, with registers, and as Verilog.

alkaid (LGPL-3, extra ``alkaid``) is da4ml's successor by the same author. It gets the lowered,
folded network operation by operation, each cast to its type: what hls4ml's C++ computes with the
same types, to the last bit.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import fx, nn

from rfprune.core.arrays import FloatArray
from rfprune.errors import MissingExtraError, NetworkError
from rfprune.fpga.estimators.ports import Port
from rfprune.fpga.layers import Plan, fold_batch_norm
from rfprune.fpga.layers.operators import Affine, Lookup
from rfprune.fpga.unrolled.operations import (
    MODULES,
    Values,
    cast,
    convolution,
    dense,
    independent,
    scaled,
    threshold,
)
from rfprune.hardware.boards import part_number
from rfprune.hardware.precision import FixedType

__all__ = ["UnrolledGraph", "build_unrolled", "check_alkaid"]


#: Bits of a number that double precision holds, in which the graph is compared with torch.
_WIDEST = 53
#: What alkaid writes for its own use of a project: a harness, and the graph as it stores it.
_OWN_SIMULATION = ("sim", "model")


@dataclass(frozen=True)
class UnrolledGraph:
    """What alkaid made of a network.

    Attributes:
        lut, ff: its own count of LUTs, and the bits of its registers.
        stages: latency in cycles; a new row is taken in each.
        kinds: types of the inputs.
        logic: the graph without registers.
        pipeline: the same with registers.
        part: as Vivado takes it, for the build scripts.
        clock_ns: clock period.
    """

    tool = "alkaid"

    lut: int
    ff: int
    stages: int
    kinds: tuple[FixedType, ...]
    logic: Any
    pipeline: Any
    part: str
    clock_ns: float

    @property
    def operations(self) -> str:
        """All that it computes, as text."""
        return repr(self.logic.ops)

    def predict(self, x: FloatArray) -> FloatArray:
        """Return (rows, outputs) for (rows, inputs) on the grids of the inputs."""
        return np.asarray(self.logic.predict(np.ascontiguousarray(x, dtype=np.float64)))

    def ports(self) -> tuple[Port, Port]:
        """Return the numbers of the input and of the output of the Verilog."""
        sides = (self.pipeline.inp_signals, self.pipeline.out_signals)
        found = [np.array([list(map(int, each)) for each in side[0].precisions]) for side in sides]
        return Port(*found[0].T.tolist()), Port(*found[1].T.tolist())

    def write_verilog(self, folder: Path, name: str = "network", clock_ns: float = 5.0) -> Path:
        """Write Verilog, constraints and build scripts; return the folder of the sources."""
        self._write_rtl(folder, name, "verilog")
        _split_tables(folder / "src" / f"{name}_tables.v")
        return folder / "src"

    def write_vhdl(self, folder: Path, name: str = "network") -> Path:
        """Write the same pipeline as VHDL (2008); return the folder of the sources."""
        self._write_rtl(folder, name, "vhdl")
        return folder / "src"

    def _write_rtl(self, folder: Path, name: str, language: str) -> None:
        from alkaid.codegen import RTLModel

        # The period that the registers were placed for, whatever else is asked.
        part = {"part_name": self.part, "clock_period": self.clock_ns}
        RTLModel(self.pipeline, folder, name, language, print_latency=False, **part).write()
        # What is simulated and built is the design; the rest is for alkaid's own simulation.
        (folder / "src" / f"{name}_wrapper.{'v' if language == 'verilog' else 'vhd'}").unlink()
        for own in _OWN_SIMULATION:
            shutil.rmtree(folder / own)

    def write_hls(self, folder: Path, name: str = "network") -> Path:
        """Write the graph without registers as C++ for Vitis HLS; return the folder of it."""
        from alkaid.codegen import HLSModel

        part = {"part_name": self.part, "clock_period": self.clock_ns}
        HLSModel(self.logic, folder, name, "vitis", print_latency=False, **part).write()
        for own in _OWN_SIMULATION:
            shutil.rmtree(folder / own)
        return folder


def _split_tables(path: Path) -> None:
    """Put each module of a file into one of its own, where tools look for it by its name."""
    if not path.exists():
        return
    for found in re.finditer(r"^module (\w+)\(.*?^endmodule$", path.read_text(), re.M | re.S):
        path.with_name(f"{found[1]}.v").write_text(f"`timescale 1 ns / 1 ps\n\n{found[0]}\n")
    path.unlink()


def check_alkaid() -> None:
    """Raise a MissingExtraError if the package alkaid is not installed."""
    try:
        import alkaid.trace  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "hardware.backend: alkaid needs the package alkaid: pip install 'rfprune[alkaid]' "
            f"(or pip install 'alkaid>=0.8,<0.9'); {error}."
        ) from None


def build_unrolled(model: nn.Module, plan: Plan) -> UnrolledGraph:
    """Return the graph of a network in its types.

    Raises:
        MissingExtraError: alkaid is not installed.
        NetworkError: an operation or a type that it does not take.
    """
    check_alkaid()
    from alkaid.trace import FVArrayInput, to_pipeline, trace
    from alkaid.trace.passes import optimize

    sizes = [math.prod(shape) for shape in plan.network.inputs.values()]
    default = FixedType.parse(plan.hardware.precision)
    kinds = tuple(plan.types.get(name) or default for name in plan.network.inputs)
    start, end = FVArrayInput((sum(sizes),)), 0
    inputs = []
    for size, kind, shape in zip(sizes, kinds, plan.network.inputs.values(), strict=True):
        sign = int(kind.signed)
        # Who drives a port has rounded and saturated already.
        port = start[end : end + size].quantize(sign, kind.integer - sign, kind.fractional)
        inputs.append(port.reshape(shape))
        end += size
    walk = _Walk(fold_batch_norm(model, plan.network), plan)
    outputs = walk.run(inputs)
    ends = np.concatenate([part.reshape(-1) for part in outputs])
    # Not traced once more, which would find again what `independent` has taken away.
    logic = optimize(trace(start, ends, optimize=False), retrace=False)
    widest = max(sum(map(int, op.qint.kif)) for op in logic.ops)
    if widest > _WIDEST:
        raise NetworkError(
            f"a number in the graph of adders has {widest} bits. Allowed with backend alkaid: "
            f"{_WIDEST}; use narrower types, or an output_precision for the layer before a product."
        )
    # By alkaid's model of delays, in which an adder of 16 bits with its wires takes about 1.5 ns.
    pipeline = to_pipeline(logic, latency_cutoff=plan.hardware.clock_ns, verbose=False)
    registers = [each for each in pipeline.signals.values() if each.reg]
    return UnrolledGraph(
        lut=round(logic.cost),
        ff=sum(each.width for each in registers),
        stages=len(registers) - 1,
        kinds=kinds,
        logic=logic,
        pipeline=pipeline,
        part=part_number(plan.part.name, plan.hardware.part),
        clock_ns=plan.hardware.clock_ns,
    )


class _Walk:
    """Carries out a folded network on alkaid's numbers."""

    def __init__(self, graph: fx.GraphModule, plan: Plan) -> None:
        self._graph, self._plan = graph, plan
        self._layers = {layer.layer.operation: layer for layer in plan.layers}
        self._default = FixedType.parse(plan.hardware.precision)

    def run(self, inputs: Sequence[Values]) -> list[Values]:
        """Return the outputs, in the network's order."""
        values: dict[str, Values] = {}
        given = iter(inputs)
        for node in self._graph.graph.nodes:
            if node.op == "placeholder":
                values[node.name] = next(given)
            elif node.op == "call_module":
                reads = [values[part.name] for part in node.all_input_nodes]
                if len(node.args) > len(reads):  # one tensor twice
                    reads = [values[part.name] for part in node.args]
                values[node.name] = self._cast(node, self._computed(node, reads))
        (output,) = (node for node in self._graph.graph.nodes if node.op == "output")
        found: list[Values] = []
        fx.node.map_arg(output.args[0], lambda node: found.append(values[node.name]))
        return found

    def _cast(self, node: fx.Node, value: Values) -> Values:
        placed, kind = self._plan.layout.placed[node.name], self._plan.types[node.name]
        # A view hands on what it reads; an accumulator is exact.
        if kind is not None and placed.storage == node.name:
            value = cast(value, kind)
        return independent(value)

    def _computed(self, node: fx.Node, reads: list[Values]) -> Values:
        module: Any = self._graph.get_submodule(str(node.target))
        layer = self._layers.get(node.name)
        first = reads[0]
        try:
            if layer is not None and isinstance(module, nn.Linear):
                return dense(first, layer, module)
            if layer is not None:
                return convolution(first, layer, module)
            if isinstance(module, Affine | nn.BatchNorm1d | nn.BatchNorm2d):
                return scaled(first, module, self._default)
            if isinstance(module, nn.Threshold):
                return threshold(first, module, self._default)
            if isinstance(module, Lookup):
                raise NetworkError("a table of rows. Allowed: rows that are looked up before it.")
            return MODULES[type(module)](first, module, *reads[1:])
        except NetworkError as error:
            raise NetworkError(f"{node.name}: alkaid does not take {error}") from None
