"""The C++ for Vitis HLS that alkaid writes of a graph, compiled by g++ and run on rows."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np

from rfprune.core.arrays import FloatArray
from rfprune.core.digests import sha256_of_parts
from rfprune.errors import SimulationError
from rfprune.fpga.cpp_compiler import compile_command, version_of
from rfprune.fpga.estimators.ports import TOP

__all__ = ["LARGEST_COMPILED", "digest_of_cpp", "run_cpp"]

#: Operations that are compiled: each is a statement of types of its own, 20 ms of g++'s time.
LARGEST_COMPILED = 1000
_SECONDS = 600
#: The types of the function's arguments are those that its header says.
_MAIN = """\
#include "network_ooc.cc"
#include <cstdio>
#include <vector>

template <class In, class Out> void run(void (*design)(In *, Out *), FILE *from, FILE *to) {
    std::vector<double> row(__INPUTS__), answer(__OUTPUTS__);
    std::vector<In> x(__INPUTS__);
    std::vector<Out> y(__OUTPUTS__);
    while (std::fread(row.data(), sizeof(double), row.size(), from) == row.size()) {
        for (std::size_t i = 0; i < row.size(); i++) x[i] = row[i];
        design(x.data(), y.data());
        for (std::size_t i = 0; i < answer.size(); i++) answer[i] = y[i].to_double();
        std::fwrite(answer.data(), sizeof(double), answer.size(), to);
    }
}

int main(int argc, char **argv) {
    FILE *from = std::fopen(argv[1], "rb"), *to = std::fopen(argv[2], "wb");
    if (!from || !to) return 1;
    run(&comb_logic::network_fn, from, to);
    return std::fclose(to);
}
"""


def run_cpp(vitis: Path, x: FloatArray, outputs: int) -> tuple[FloatArray, str]:
    """Return (rows, outputs) that the C++ computes, and the version of g++.

    Args:
        vitis: folder of the C++.
        x: (rows, inputs) on the grids of the inputs.
        outputs: how many numbers it puts out.

    Raises:
        MissingExtraError: no g++.
        SimulationError: it does not compile or run.
    """
    with tempfile.TemporaryDirectory(prefix="rfprune-") as scratch:
        work = Path(scratch)
        text = _MAIN.replace("__INPUTS__", str(x.shape[1])).replace("__OUTPUTS__", str(outputs))
        (work / "main.cpp").write_text(text)
        np.ascontiguousarray(x, dtype=np.float64).tofile(work / "rows.bin")
        options = ["-w", "-std=c++17", "-O0"]
        src, utils = ((vitis / place).absolute() for place in ("src", "utils"))
        types = src / "static" / "ap_types"
        command = compile_command(types, options)
        program = command[0]
        command += [f"-I{src}", f"-I{utils}", "main.cpp", "-o", "design"]
        for asked in (command, ["./design", "rows.bin", "answer.bin"]):
            _ran(asked, work, vitis)
        found = np.fromfile(work / "answer.bin", dtype=np.float64).reshape(len(x), outputs)
    return found, version_of(program)


def _ran(command: list[str], work: Path, vitis: Path) -> None:
    try:
        ran = subprocess.run(
            command, cwd=work, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise SimulationError(f"{vitis}: {command[0]} did not end within {_SECONDS} s.") from None
    if ran.returncode != 0:
        faults = [line for line in ran.stderr.splitlines() if "error" in line]
        said = faults[0] if faults else f"it ended with {ran.returncode}"
        raise SimulationError(f"{vitis}/src/{TOP}.hh: cannot be compiled or run ({said}).")


def digest_of_cpp(vitis: Path) -> str:
    """Return the SHA-256 of the sources, without the vendor's types."""
    parts: list[str | bytes] = []
    for path in sorted(vitis.rglob("*")):
        if path.suffix in (".hh", ".cc") and "ap_types" not in path.parts:
            parts += [path.relative_to(vitis).as_posix(), path.read_bytes()]
    return sha256_of_parts(parts)
