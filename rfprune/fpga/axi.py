"""From the IP core to a board: the design behind memory-mapped AXI, and a block design around it.

::

    DIR/axi/
        rfprune_axi.cpp       the design as a kernel that reads rows from memory and writes answers
        build_kernel.tcl      makes of it an IP core and a .xo file
        block_design.tcl      Zynq boards: processor, kernel and memory in one block design
        link.sh               Alveo cards: links the .xo file into an .xclbin file
        README.md             the steps, board by board

The kernel calls the design as it is, so that what was pruned stays away. hls4ml's own accelerator
backends cannot: ``VivadoAccelerator`` stops at resource_unrolled (`rfprune.spec.hardware`).
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from rfprune.fpga.hls import PROJECT_NAME, Conversion
from rfprune.hardware.boards import device_of, find_board

__all__ = ["KERNEL", "write_axi"]

#: Name of the kernel's function.
KERNEL = "rfprune_axi"
_FILES = ("build_kernel.tcl", "block_design.tcl", "link.sh", "README.md")


def write_axi(folder: Path, conversion: Conversion) -> None:
    """Write ``axi/`` into an export.

    Args:
        folder: of the export; its ``hls/`` is written.
        conversion: the network.
    """
    hardware, place = conversion.plan.hardware, folder / "axi"
    place.mkdir(exist_ok=True)
    (place / f"{KERNEL}.cpp").write_text(_kernel(conversion), encoding="ascii")
    board = find_board(hardware.part)
    inputs, outputs = _variables(conversion)
    words = {
        "PROJECT": PROJECT_NAME,
        "KERNEL": KERNEL,
        "DEVICE": device_of(hardware.part),
        "CLOCK": f"{hardware.clock_ns:g}",
        "MHZ": f"{1000 / hardware.clock_ns:g}",
        "HOST": "none" if board is None else board.host,
        "INPUTS": str(sum(variable.size() for variable in inputs)),
        "OUTPUTS": str(sum(variable.size() for variable in outputs)),
    }
    for name in _FILES:
        text = files("rfprune.fpga").joinpath("scripts", "axi", name).read_text(encoding="ascii")
        for word, value in words.items():
            # Markers and not format strings: the templates are C++ and Tcl, full of braces.
            text = text.replace(f"__{word}__", value)
        (place / name).write_text(text, encoding="ascii")
    (place / "link.sh").chmod(0o755)


def _variables(conversion: Conversion) -> tuple[list[Any], list[Any]]:
    graph = conversion.graph
    return list(graph.get_input_variables()), list(graph.get_output_variables())


def _kernel(conversion: Conversion) -> str:
    """Return the C++ of the kernel: one row after the other, numbers as 32-bit floats."""
    inputs, outputs = _variables(conversion)
    streams = conversion.plan.hardware.io_type == "io_stream"
    declare = "hls::stream<{t}> {n};" if streams else "{t} {n}[{s}];"
    names = [variable.name for variable in (*inputs, *outputs)]
    buffers = [
        "    " + declare.format(t=variable.type.name, n=variable.name, s=variable.size())
        for variable in (*inputs, *outputs)
    ]
    loads, stores, before = [], [], 0
    for variable in inputs:
        loads.append(f"    load(in + {before}, {variable.name});")
        before += variable.size()
    n_inputs, before = before, 0
    for variable in outputs:
        stores.append(f"    store({variable.name}, out + {before});")
        before += variable.size()
    helpers = "streams" if streams else "arrays"
    body = files("rfprune.fpga").joinpath("scripts", "axi", f"{helpers}.cpp")
    text = files("rfprune.fpga").joinpath("scripts", "axi", "kernel.cpp").read_text("ascii")
    sizes = "\n".join(
        f"// {what}: {variable.name}, {variable.size()} numbers"
        for what, variables in (("in", inputs), ("out", outputs))
        for variable in variables
    )
    words = {
        "HELPERS": _with_sizes(body.read_text("ascii"), inputs, outputs),
        "SIZES": sizes,
        "BUFFERS": "\n".join(buffers),
        "LOADS": "\n".join(loads),
        "STORES": "\n".join(stores),
        "ARGUMENTS": ", ".join(names),
        "INPUTS": str(n_inputs),
        "OUTPUTS": str(before),
        "PROJECT": PROJECT_NAME,
        "KERNEL": KERNEL,
    }
    for word, value in words.items():
        text = text.replace(f"__{word}__", value)
    return text


def _with_sizes(text: str, inputs: list[Any], outputs: list[Any]) -> str:
    """Return the helpers for streams once per variable, whose size C++ cannot see in its type."""
    head, _, each = text.partition("// each\n")
    if not each:
        return text
    parts = [head.rstrip("\n")] if head.strip() else []
    read, _, write = each.partition("// out\n")
    for variables, template in ((inputs, read), (outputs, write)):
        done = set()
        for variable in variables:
            # Two variables of one type would define the same function twice.
            if variable.type.name in done:
                continue
            done.add(variable.type.name)
            filled = template.replace("__TYPE__", variable.type.name)
            parts.append(filled.replace("__SIZE__", str(variable.size())).rstrip("\n"))
    return "\n\n".join(parts)
