"""RTL, simulated by Verilator: one row a cycle, every output of every cycle."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rfprune.core.arrays import BoolArray
from rfprune.errors import MissingExtraError, SimulationError
from rfprune.fpga.cpp_compiler import compiler, from_cache, version_of

__all__ = ["Simulated", "find_verilator", "simulate_rtl"]

#: Of building and of running: g++ takes about a second per 100 LUTs of an adder graph.
_SECONDS = 1800
_SHOWN_CHARACTERS = 400
_PORT = re.compile(r"\b(input|output)\b(?:\s+(?:reg|wire|logic))*\s*(?:\[(\d+):0\])?\s*(\w+)")
_TO_LINTERS = re.compile(r"/\*\s*verilator .*?\*/|//\s*verilator [^\n]*")
_HARNESS = """\
#include "V__TOP__.h"
#include "verilated.h"
#include <cstdint>
#include <cstdio>
#include <vector>

template <class T> void put(T &port, const uint32_t *words) {
    port = words[0];
    if constexpr (sizeof(T) > 4) port |= static_cast<T>(words[1]) << 32;
}
template <std::size_t N> void put(VlWide<N> &port, const uint32_t *words) {
    for (std::size_t i = 0; i < N; i++) port[i] = words[i];
}
template <class T> void get(const T &port, uint32_t *words) {
    words[0] = static_cast<uint32_t>(port);
    if constexpr (sizeof(T) > 4) words[1] = static_cast<uint32_t>(port >> 32);
}
template <std::size_t N> void get(const VlWide<N> &port, uint32_t *words) {
    for (std::size_t i = 0; i < N; i++) words[i] = port[i];
}

int main(int argc, char **argv) {
    VerilatedContext context;
    V__TOP__ design{&context};
    FILE *in = std::fopen(argv[1], "rb"), *out = std::fopen(argv[2], "wb");
    if (!in || !out) return 1;
    std::vector<uint32_t> words(__IN_WORDS__ + 2), answer(__OUT_WORDS__ + 2);
    while (std::fread(words.data(), 4, __IN_WORDS__, in) == __IN_WORDS__) {
        put(design.model_inp, words.data());
        design.clk = 0;
        design.eval();
        design.clk = 1;
        design.eval();
        get(design.model_out, answer.data());
        std::fwrite(answer.data(), 4, __OUT_WORDS__, out);
    }
    std::fclose(out);
    return 0;
}
"""


@dataclass(frozen=True)
class Simulated:
    """What RTL put out.

    Attributes:
        bits: (cycles, width) of the output after every rising edge of the clock.
        version: of Verilator.
    """

    bits: BoolArray
    version: str


def find_verilator() -> str:
    """Return the path of Verilator.

    Raises:
        MissingExtraError: there is none on PATH.
    """
    found = shutil.which("verilator")
    if found is None:
        raise MissingExtraError(
            "RTL is simulated by verilator; install it, e.g. with: apt install verilator"
        )
    return found


def simulate_rtl(sources: Path, top: str, bits: BoolArray, out_width: int) -> Simulated:
    """Compile a pipeline and feed it a row in every cycle.

    Args:
        sources: folder of its Verilog files.
        top: the module, with the ports ``clk``, ``model_inp`` and ``model_out``.
        bits: (cycles, width) of the input in every cycle.
        out_width: bits of the output that it should have.

    Raises:
        MissingExtraError: no Verilator, or no make to build what it writes.
        SimulationError: the sources have other ports, do not compile or do not run.
    """
    program = find_verilator()
    _check_ports(sources, top, {"clk": 1, "model_inp": bits.shape[1], "model_out": out_width})
    with tempfile.TemporaryDirectory(prefix="rfprune-") as scratch:
        work = Path(scratch)
        in_words, out_words = -(-bits.shape[1] // 32), -(-out_width // 32)
        text = _HARNESS.replace("__TOP__", top).replace("__IN_WORDS__", str(in_words))
        (work / "main.cpp").write_text(text.replace("__OUT_WORDS__", str(out_words)))
        _copy(sources, work / "src")
        _build(program, sources, top, work)
        _words(bits).tofile(work / "rows.bin")
        command = [str(work / "obj" / f"V{top}"), "rows.bin", "answer.bin"]
        ran = subprocess.run(command, cwd=work, capture_output=True, timeout=_SECONDS, check=False)
        if ran.returncode != 0:
            raise SimulationError(f"{sources}: the simulation ended with {ran.returncode}.")
        words = np.fromfile(work / "answer.bin", dtype="<u4").reshape(len(bits), out_words)
    found = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")[:, :out_width]
    return Simulated(found.astype(bool), version_of(program))


def _copy(sources: Path, place: Path) -> None:
    """Copy the Verilog, without comments to linters: versions before 5.012 stop at new ones."""
    place.mkdir()
    for path in sources.rglob("*.v"):
        text = path.read_text(encoding="utf-8", errors="replace")
        (place / path.name).write_text(_TO_LINTERS.sub("", text), encoding="utf-8")


def _build(program: str, sources: Path, top: str, work: Path) -> None:
    # Most of the time is g++'s; what it would win by optimising is less than that.
    options = ["--cc", "--exe", "-Wno-fatal", "-Wno-lint", "-O3", "-CFLAGS", "-O0 -std=c++17"]
    design = ["--top-module", top, "--Mdir", "obj", "-Isrc", f"src/{top}.v", "main.cpp"]
    make = ["make", "-j", str(os.cpu_count() or 1), "-C", "obj", "-f", f"V{top}.mk"]
    _ran([program, *options, *design], work, sources, top)

    def compile_all(place: Path) -> bool:
        _ran(make, work, sources, top)
        for path in (work / "obj").glob("verilated*.o"):
            shutil.copyfile(path, place / path.name)
        return True

    parts = [version_of(program), version_of(compiler()), *options]
    if (kept := from_cache("verilator", parts, compile_all)) is not None:
        # Newer than what they are made of: `make` takes them as they are.
        for path in kept.iterdir():
            shutil.copyfile(path, work / "obj" / path.name)
    _ran(make, work, sources, top)


def _ran(command: list[str], work: Path, sources: Path, top: str) -> None:
    try:
        ran = subprocess.run(
            command, cwd=work, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise SimulationError(f"{sources}: verilator did not end within {_SECONDS} s.") from None
    except OSError as error:
        # Not a word about the sources: nothing is known of them.
        raise MissingExtraError(
            f"the simulation of RTL is built with {command[0]}, which cannot be run ({error})"
        ) from error
    if ran.returncode != 0:
        said = " ".join((ran.stderr or ran.stdout).split())[:_SHOWN_CHARACTERS]
        raise SimulationError(f"{sources}: verilator cannot build {top}: {said}")


def _check_ports(sources: Path, top: str, wanted: dict[str, int]) -> None:
    """Refuse a module with other ports: the harness would read and write beside them."""
    path = sources / f"{top}.v"
    try:
        head = path.read_text(encoding="utf-8").partition(");")[0]
    except (OSError, UnicodeDecodeError) as error:
        raise SimulationError(f"{path}: cannot be read ({error}).") from error
    found = {name: int(high or 0) + 1 for _, high, name in _PORT.findall(head)}
    if found != wanted:
        raise SimulationError(
            f"{path}: the module {top} has the ports {found}, those of this network are {wanted}."
        )


def _words(bits: BoolArray) -> NDArray[np.uint32]:
    """Return (rows, words) 32-bit words, the lowest bit first."""
    padded = np.zeros((len(bits), -(-bits.shape[1] // 32) * 32), dtype=np.uint8)
    padded[:, : bits.shape[1]] = bits
    return np.packbits(padded, axis=1, bitorder="little").view(np.uint32)
