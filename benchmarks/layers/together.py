"""Several hls4ml projects in one compilation: nearly all of g++'s time goes into their headers.

The files of each project are included as they are, in a namespace of its own.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rfprune.errors import SimulationError
from rfprune.fpga.cpp_compiler import compile_command
from rfprune.fpga.hls import PROJECT_NAME, Array, Conversion, streamed, written

__all__ = ["compile_together", "run_together"]

#: Names that every project gives to the outside.
_SHARED = (
    *(f"{PROJECT_NAME}_double", f"{PROJECT_NAME}_float"),
    *("trace_data", "allocate_trace_storage", "free_trace_storage", "collect_trace_output"),
)
#: What the files of projects include themselves, which must not happen within a namespace.
_STANDARD = ("algorithm", "array", "cstddef", "cstdio", "iostream", "map", "string", "tuple")
#: Runs compiled designs in a process that imports nothing of rfprune.
_RUNNER = Path(__file__).with_name("run_designs.py")
_INCLUDED = re.compile(r'#include "nnet_utils/(\w+\.h)"')
#: Within a project's own namespace everything of hls4ml's is found as if it were there.
_PROJECT = """
namespace {name} {{
namespace nnet {{
using namespace ::nnet;
template <class T, size_t SIZE> void load_weights_from_txt(T *w, const char *file) {{
    const std::string path = std::string("{name}/firmware/weights/") + file;
    ::nnet::load_weights_from_txt<T, SIZE>(w, path.c_str());
}}
}} // namespace nnet
#include "{name}/firmware/{project}.cpp"
#include "{name}/{project}_bridge.cpp"
}} // namespace {name}
"""


def compile_together(folder: Path, names: Sequence[str]) -> Path:
    """Compile written projects into one shared object; each has a function ``NAME_double``.

    Args:
        folder: that holds the projects.
        names: of their folders; identifiers of C++.

    Raises:
        SimulationError: one of them does not compile.
    """
    # Of a project that uses it: they are hls4ml's own, or rfprune's.
    headers = dict.fromkeys(("nnet_helpers.h", "nnet_code_gen.h"), names[0])
    for name in names:
        parameters = (folder / name / "firmware" / "parameters.h").read_text()
        headers |= dict.fromkeys(_INCLUDED.findall(parameters), name)
    found = [
        folder / name / "firmware" / "nnet_utils" / header
        for header, name in sorted(headers.items())
    ]
    lines = [f"#include <{header}>" for header in _STANDARD]
    lines += [f'#include "{path}"' for path in found]
    for name in names:
        lines += [f"#undef {guard}" for guard in _guards(folder / name)]
        lines += [f"#undef {each}\n#define {each} {name}_{each}" for each in _SHARED]
        lines.append(_PROJECT.format(name=name, project=PROJECT_NAME))
    unit, library = folder / "unit.cpp", folder / f"{names[0]}.so"
    unit.write_text("\n".join(lines))
    types = folder / names[0] / "firmware" / "ap_types"
    command = compile_command(types, ["-w", "-std=c++17", "-O0", "-fPIC"])
    command += ["-shared", f'-DWEIGHTS_DIR="{folder}"', f"-iquote{folder}"]
    ran = subprocess.run(
        [*command, str(unit), "-o", str(library)],
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode != 0:
        faults = [line for line in ran.stderr.splitlines() if "error:" in line]
        raise SimulationError(f"the generated C++ does not compile: {' '.join(faults[:1])}")
    return library


def _guards(project: Path) -> list[str]:
    """Return the guards of the files that each project has for itself."""
    weights = (project / "firmware" / "weights").glob("*.h")
    names = [path.stem for path in weights]
    # The last is that of the code that hls4ml generated for single layers.
    names += ["defines", "parameters", PROJECT_NAME, f"{PROJECT_NAME}_bridge", "nnet_instr_gen"]
    return [f"{name.upper()}_H_" for name in names]


def run_together(
    library: Path, names: Sequence[str], conversions: Sequence[Conversion], rows: Sequence[Any]
) -> list[list[Array]]:
    """Return (rows, n) of each output of every project, in the order of torch's flat tensors.

    Raises:
        SimulationError: one of them does not run.
    """
    asked, arrays = [], {}
    for number, (name, conversion, x) in enumerate(zip(names, conversions, rows, strict=True)):
        inputs = streamed(conversion, x)
        sizes = [int(each.size()) for each in conversion.graph.get_output_variables()]
        top = f"{name}_{PROJECT_NAME}_double"
        asked.append({"top": top, "inputs": len(inputs), "outputs": sizes})
        arrays |= {f"x{number}_{index}": part for index, part in enumerate(inputs)}
    request, answer = library.with_suffix(".rows.npz"), library.with_suffix(".answer.npz")
    np.savez(request, asked=json.dumps(asked), **arrays)
    command = [sys.executable, "-P", str(_RUNNER), str(library), str(request), str(answer)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise SimulationError(f"the simulation ended with {ran.returncode}: {ran.stderr[-300:]}")
    with np.load(answer) as found:
        return [
            [
                found[f"y{number}_{index}"][:, places]
                for index, (_, places) in enumerate(written(conversion))
            ]
            for number, conversion in enumerate(conversions)
        ]
