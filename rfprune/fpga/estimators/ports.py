"""Adder graphs and their ports: numbers as bits, one after the other, lowest bit first."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from rfprune.core.arrays import BoolArray, FloatArray
from rfprune.core.quantities import Resources
from rfprune.fpga.estimators import measure_rtl
from rfprune.fpga.estimators.result import Estimate
from rfprune.fpga.estimators.routed import routed
from rfprune.fpga.estimators.rtl import Rtl
from rfprune.hardware.parts import Part
from rfprune.hardware.precision import FixedType

__all__ = [
    "TOP",
    "AdderCircuit",
    "Port",
    "estimate_of",
    "measure_graph",
    "packed",
    "rtl_of_graph",
    "unpacked",
]

#: Name of the top module.
TOP = "network"


@dataclass(frozen=True)
class Port:
    """The numbers of one port, in order.

    Attributes:
        signs: 1 where a number has a sign bit.
        integers: bits before the point, without the sign; may be negative.
        fractions: bits behind the point; may be negative.
    """

    signs: Sequence[int]
    integers: Sequence[int]
    fractions: Sequence[int]

    @property
    def widths(self) -> list[int]:
        """Bits of each number; 0 where it is always zero."""
        parts = zip(self.signs, self.integers, self.fractions, strict=True)
        return [max(int(sum(part)), 0) for part in parts]

    @property
    def width(self) -> int:
        """Bits of the port."""
        return sum(self.widths)


class AdderCircuit(Protocol):
    """A graph of adders, whoever made it."""

    @property
    def tool(self) -> str:
        """The package that made it."""

    @property
    def operations(self) -> str:
        """All that it computes, as text."""

    @property
    def lut(self) -> int:
        """LUTs by its own count."""

    @property
    def ff(self) -> int:
        """Bits of its registers."""

    @property
    def stages(self) -> int:
        """Latency in cycles."""

    @property
    def kinds(self) -> Sequence[FixedType]:
        """Types of the inputs."""

    def predict(self, x: FloatArray) -> FloatArray:
        """Return (rows, outputs) for (rows, inputs)."""

    def ports(self) -> tuple[Port, Port]:
        """Return the numbers of the input and of the output of the Verilog."""

    def write_verilog(self, folder: Path, name: str, clock_ns: float) -> Path:
        """Write Verilog and build scripts; return the folder of the sources."""


def packed(x: FloatArray, port: Port) -> BoolArray:
    """Return (rows, width) bits of numbers (rows, n), rounded down and wrapped to their types."""
    columns = []
    for index, (width, fraction) in enumerate(zip(port.widths, port.fractions, strict=True)):
        code = np.floor(np.ldexp(x[:, index], int(fraction))).astype(np.int64)
        columns.append((code[:, None] >> np.arange(width)) & 1)
    return np.concatenate(columns, axis=1).astype(bool)


def unpacked(bits: BoolArray, port: Port) -> FloatArray:
    """Return (rows, n) numbers of the bits (rows, width) of a port."""
    found = np.zeros((len(bits), len(port.widths)))
    start = 0
    for index, width in enumerate(port.widths):
        if width == 0:
            continue
        code = bits[:, start : start + width].astype(np.int64) @ (1 << np.arange(width))
        if port.signs[index]:
            code -= (code >> (width - 1)) << width
        found[:, index] = np.ldexp(code.astype(np.float64), -int(port.fractions[index]))
        start += width
    return found


def estimate_of(
    graph: AdderCircuit,
    found: Resources,
    source: str,
    tool: str,
    clock_ns: float,
    notes: tuple[str, ...],
) -> Estimate:
    """Return the estimate of a graph whose resources `tool` has counted, for the asked `source`.

    The interval of LUT is that of routed graphs of the same cost.
    """
    between = routed(graph.lut).intervals["lut"]
    return Estimate(
        source=source,
        predicts="synthesis",
        total=found,
        latency_cycles=graph.stages,
        ii_cycles=1,
        clock_ns=clock_ns,
        tool=tool,
        synthesis=found,
        intervals={"lut": between},
        notes=notes,
    )


def rtl_of_graph(
    graph: AdderCircuit, folder: Path, part: Part, clock_ns: float, notes: tuple[str, ...]
) -> Rtl:
    """Write the Verilog of a graph into `folder`, and return it."""
    return Rtl(
        folder=graph.write_verilog(folder, TOP, clock_ns),
        top=TOP,
        part=part,
        clock_ns=clock_ns,
        writer=graph.tool,
        adders=True,
        latency_cycles=graph.stages,
        ii_cycles=1,
        notes=notes,
    )


def measure_graph(
    graph: AdderCircuit, by: str, part: Part, clock_ns: float, notes: tuple[str, ...]
) -> Estimate:
    """Return what the open tools of estimator `by` make of a graph."""
    with tempfile.TemporaryDirectory(prefix="rfprune-") as scratch:
        return measure_rtl(rtl_of_graph(graph, Path(scratch), part, clock_ns, notes), by)
