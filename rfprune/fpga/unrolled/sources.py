"""What an export holds to build a graph of adders with, and whether it is that of the network.

::

    DIR/rtl/        Verilog with registers, constraints, test bench, scripts for Vivado and Yosys
    DIR/vhdl/       the same in VHDL (2008)
    DIR/vitis/      the graph as C++ for Vitis HLS
    DIR/emulator/   the same integers with numpy alone: `rfprune.fpga.emulator`
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfprune.core.arrays import FloatArray
from rfprune.core.named import Named
from rfprune.fpga.emulator import write_graph_emulator
from rfprune.fpga.estimators.ports import TOP
from rfprune.fpga.layers import Plan
from rfprune.fpga.proof.circuit import CircuitPaths
from rfprune.fpga.proof.rows import kinds_of
from rfprune.fpga.unrolled.circuit import UnrolledGraph
from rfprune.fpga.unrolled.program import program_of
from rfprune.fpga.unrolled.test_bench import write_bench, write_yosys_script
from rfprune.trial.proof import Proof

__all__ = ["Vectors", "check_sources", "write_sources"]

_FOLDERS = ("rtl", "vhdl", "vitis", "emulator")


@dataclass(frozen=True)
class Vectors:
    """Rows with what comes out for them.

    Attributes:
        x: scaled rows; of several inputs by name.
        flat: (rows, inputs) the same cast to the types of the inputs, as the port takes them.
        y: (rows, outputs) what torch computes in the types.
    """

    x: Any
    flat: FloatArray
    y: FloatArray


def write_sources(folder: Path, plan: Plan, graph: UnrolledGraph, known: Vectors | None) -> None:
    """Write Verilog, VHDL, C++ and emulator of a graph into an export.

    Args:
        folder: of the export.
        plan: of the network.
        graph: of it.
        known: rows for the test bench and the emulator; None = neither is written.
    """
    graph.write_verilog(folder / "rtl", TOP)
    write_yosys_script(folder / "rtl")
    graph.write_vhdl(folder / "vhdl", TOP)
    graph.write_hls(folder / "vitis", TOP)
    if known is None:
        return
    write_bench(folder, CircuitPaths(graph, folder / "rtl"), known.flat, known.y)
    inputs = {kind.name: (kind.shape, kind.type) for kind in kinds_of(plan)}
    shapes = [plan.layout.placed[name].places.shape for name in plan.network.outputs]
    outputs = list(zip(plan.network.outputs, shapes, strict=True))
    parts = known.x.parts.values() if isinstance(known.x, Named) else [known.x]
    x = [part.double().numpy() for part in parts]
    write_graph_emulator(folder, program_of(graph.logic), inputs, outputs, x, known.y)


def check_sources(
    folder: Path, plan: Plan, graph: UnrolledGraph, known: Vectors | None, proof: Proof
) -> None:
    """Compare every exported file with the one that is written for the same graph.

    Args:
        folder: of the export.
        plan: of its network.
        graph: of it, made anew.
        known: rows of its test vectors.
        proof: gets a fault for every file that differs, is missing or is one too many.
    """
    with tempfile.TemporaryDirectory(prefix="rfprune-") as scratch:
        write_sources(Path(scratch), plan, graph, known)
        for name in _FOLDERS:
            ours, theirs = (_files(home / name) for home in (Path(scratch), folder))
            for path in sorted(ours.keys() | theirs.keys()):
                if path not in theirs:
                    proof.faults.append(f"{name}/{path}: is missing.")
                elif path not in ours:
                    # Without test vectors nobody knows what they should be.
                    if known is not None:
                        proof.faults.append(f"{name}/{path}: is written for no such network.")
                elif ours[path].read_bytes() != theirs[path].read_bytes():
                    proof.faults.append(f"{name}/{path}: is not that of this network.")


def _files(home: Path) -> dict[str, Path]:
    """Return the files of a folder, but for what tools leave there."""
    found = (path for path in home.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(home).as_posix(): path for path in found}
