"""The simulation of netlists, beside Yosys on modules written for it, and by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rfprune.core.quantities import Resources
from rfprune.errors import MissingExtraError, SimulationError
from rfprune.fpga.estimators.yosys import find_yosys
from rfprune.fpga.proof.netlist import Netlist, synthesised

VERILOG = """
module network (input clk, input [11:0] model_inp, output reg [13:0] model_out);
    wire signed [5:0] a = model_inp[5:0];
    wire signed [5:0] b = model_inp[11:6];
    reg signed [5:0] a1, b1;
    reg signed [6:0] total;
    reg [6:0] other;
    always @(posedge clk) begin
        a1 <= a; b1 <= b;
        total <= a1 + b1;
        other <= (a1 > b1) ? {a1, b1[0]} : ~{b1, a1[5]};
        model_out <= {other, total};
    end
endmodule
"""


def cell(kind: str, inputs: dict[str, Any], outputs: dict[str, Any], **parameters: Any) -> Any:
    pins = {name: bits if isinstance(bits, list) else [bits] for name, bits in inputs.items()}
    made = {name: bits if isinstance(bits, list) else [bits] for name, bits in outputs.items()}
    directions = {**dict.fromkeys(pins, "input"), **dict.fromkeys(made, "output")}
    return {
        "type": kind,
        "parameters": parameters,
        "connections": {**pins, **made},
        "port_directions": directions,
    }


def netlist(cells: list[Any], outputs: list[Any]) -> Netlist:
    none = Resources(dsp=0, bram18=0, lut=0, ff=0)
    ports = {"model_inp": [2, 3, 4], "clk": [5]}
    return Netlist(cells, ports, {"model_out": outputs}, none, "", "")


ROWS = np.array([[(code >> bit) & 1 for bit in range(3)] for code in range(8)], dtype=bool)


@pytest.mark.parametrize("init", [0b10010110, 0b11101000, 0, 255, 0b10101010, 0b00001111])
def test_a_lut_is_its_table(init: int) -> None:
    pins = {"I0": 2, "I1": 3, "I2": 4}
    made = netlist([cell("LUT3", pins, {"O": 9}, INIT=format(init, "08b"))], [9])
    assert made.run(ROWS)[:, 0].tolist() == [bool(init >> code & 1) for code in range(8)]


def test_registers_are_counted_and_ways_have_to_be_as_long() -> None:
    pins = {"C": 5, "CE": "1", "R": "0"}
    first = cell("FDRE", {**pins, "D": 2}, {"Q": 7})
    second = cell("FDRE", {**pins, "D": 3}, {"Q": 8})
    both = cell("LUT2", {"I0": 7, "I1": 8}, {"O": 9}, INIT="0110")
    bits, depth = netlist([both, second, first], [9]).simulate(ROWS)
    assert depth == 1
    assert bits[:, 0].tolist() == (ROWS[:, 0] ^ ROWS[:, 1]).tolist()
    uneven = cell("LUT2", {"I0": 7, "I1": 3}, {"O": 9}, INIT="0110")
    with pytest.raises(SimulationError, match=r"comes after \[0, 1\] registers"):
        netlist([first, uneven], [9]).simulate(ROWS)


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(SimulationError, match="cells of type DSP48E2"):
        netlist([cell("DSP48E2", {"A": 2}, {"P": 9})], [9]).run(ROWS)
    loop = [
        cell("INV", {"I": 9}, {"O": 8}),
        cell("INV", {"I": 8}, {"O": 9}),
    ]
    with pytest.raises(SimulationError, match="2 cells stand in a loop"):
        netlist(loop, [9]).run(ROWS)
    with pytest.raises(SimulationError, match="port model_inp has 3 bits, and 2 are given"):
        netlist([], [2]).run(ROWS[:, :2])


@pytest.mark.slow
def test_what_yosys_makes_of_arithmetic(tmp_path: Path) -> None:
    try:
        find_yosys()
    except MissingExtraError as error:
        pytest.skip(str(error))
    (tmp_path / "network.v").write_text(VERILOG)
    made = synthesised(tmp_path, "network")
    assert made.counted.lut > 0
    codes = np.arange(4096)
    rows = ((codes[:, None] >> np.arange(12)) & 1).astype(bool)
    bits, depth = made.simulate(rows)
    assert depth == 3
    found = bits.astype(np.int64) @ (1 << np.arange(14))
    a, b = ((codes >> shift) & 63 for shift in (0, 6))
    signed = [np.where(value >= 32, value - 64, value) for value in (a, b)]
    larger = (a << 1) | (b & 1)
    other = np.where(signed[0] > signed[1], larger, ~((b << 1) | (a >> 5)) & 127)
    assert np.array_equal(found, (other << 7) | ((signed[0] + signed[1]) & 127))


def test_a_synchronous_reset_is_a_gate_before_the_register() -> None:
    pins = {"C": 5, "CE": "1", "D": 2}
    reset = cell("FDRE", {**pins, "R": 3}, {"Q": 9})
    kept = cell("FDRE", {**pins, "R": 3}, {"Q": 10}, IS_R_INVERTED="1")
    preset = cell("FDSE", {**pins, "S": 4}, {"Q": 11})
    found, registers = netlist([reset, kept, preset], [9, 10, 11]).simulate(ROWS)
    d, r, s = ROWS.T
    assert registers == 1
    assert np.array_equal(found, np.stack([d & ~r, d & r, d | s], axis=1))
    for held in ({"CE": 3}, {"CLR": 3}):
        with pytest.raises(SimulationError, match="held or cleared"):
            netlist([cell("FDCE", {**pins, **held}, {"Q": 9})], [9]).run(ROWS)
