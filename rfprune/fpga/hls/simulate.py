"""The C++ simulation: the files of an HLS project, compiled by g++ and run on rows of data.

What is simulated is what the folder holds, not what hls4ml would write anew. The bridge that
hls4ml generates (``templates/vivado/myproject_bridge.cpp``) gives the outputs of the network and,
compiled with ``TRACE_LAYERS``, those of every layer.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rfprune.core.arrays import IntArray
from rfprune.core.named import Named
from rfprune.errors import SimulationError
from rfprune.fpga.cpp_compiler import compile_command
from rfprune.fpga.hls.convert import PROJECT_NAME, Conversion

__all__ = [
    "Array",
    "Outputs",
    "Rows",
    "Simulation",
    "compiled",
    "simulate",
    "streamed",
    "written",
]

Array = NDArray[np.float64]
Rows = Tensor | Named
_SHOWN_CHARACTERS = 500
#: Runs a compiled design in a process that imports nothing of rfprune.
_RUNNER = Path(__file__).with_name("run_library.py")


@dataclass(frozen=True)
class Outputs:
    """What the C++ computed, exactly, in the order in which it lies there.

    Attributes:
        outputs: (rows, n) each, in the network's order.
        layers: (rows, n) by layer.
    """

    outputs: list[Array]
    layers: dict[str, Array]


def streamed(conversion: Conversion, x: Rows) -> list[Array]:
    """Return each input (rows, n) in the order in which the design reads it."""
    network, layout = conversion.plan.network, conversion.plan.layout
    parts = list(x.parts.values()) if isinstance(x, Named) else [x]
    found = []
    for name, part in zip(network.inputs, parts, strict=True):
        rows = part.detach().cpu().double().numpy().reshape(len(part), -1)
        found.append(np.ascontiguousarray(rows[:, layout.placed[name].torch_order]))
    return found


def written(conversion: Conversion) -> list[tuple[str, IntArray]]:
    """Return, for each output of the network, its operation and the places of its elements.

    The places are those of torch's flat tensor in the flat array that the design puts out.
    """
    network, layout = conversion.plan.network, conversion.plan.layout
    found = []
    for name, read in zip(network.outputs, layout.outputs, strict=True):
        places = layout.placed[name].places.reshape(-1)
        # What is put into order for the output is in torch's.
        found.append((name, places if read.order is None else np.arange(len(places))))
    return found


def simulate(conversion: Conversion, x: Rows) -> Outputs:
    """Compile the written project and return what it computes for rows.

    Raises:
        MissingExtraError: no g++.
        SimulationError: the code in the folder does not compile or does not run.
    """
    with compiled(conversion) as simulation:
        return simulation.run(x)


@dataclass(frozen=True)
class Simulation:
    """A compiled project, to be run as often as one likes.

    Attributes:
        conversion: the network that it should be.
        project: its folder.
        library: the shared object.
    """

    conversion: Conversion
    project: Path
    library: Path

    def run(self, x: Rows) -> Outputs:
        """Return what it computes for rows, in a process of its own.

        Code that is not the network that it should be may write where it has no business.

        Raises:
            SimulationError: it does not run.
        """
        graph, inputs = self.conversion.graph, streamed(self.conversion, x)
        sizes = {
            node.name: int(node.get_output_variable().size())
            for node in graph.get_layers()
            if node.get_attr("function_cpp", None)
        }
        outputs = [int(variable.size()) for variable in graph.get_output_variables()]
        asked = {"top": f"{PROJECT_NAME}_double", "outputs": outputs, "layers": sizes}
        with tempfile.TemporaryDirectory(prefix="rfprune-") as scratch:
            request, answer = Path(scratch) / "rows.npz", Path(scratch) / "answer.npz"
            arrays: dict[str, Any] = {f"x{index}": part for index, part in enumerate(inputs)}
            np.savez(request, asked=json.dumps(asked), **arrays)
            command = [sys.executable, "-P", str(_RUNNER), str(self.library), str(request)]
            ran = subprocess.run([*command, str(answer)], capture_output=True, text=True)
            if ran.returncode != 0:
                raise SimulationError(
                    f"{self.project}: the simulation cannot be run ({_said(ran)})."
                )
            with np.load(answer) as found:
                layers = {name: found[f"layer_{name}"] for name in sizes}
                return Outputs([found[f"y{i}"] for i in range(len(outputs))], layers)


def _said(ran: subprocess.CompletedProcess[str]) -> str:
    """Return how a process ended, in words."""
    if ran.returncode < 0:
        return f"it was ended by signal {-ran.returncode}"
    lines = ran.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit status {ran.returncode}"


@contextmanager
def compiled(conversion: Conversion, project: Path | None = None) -> Iterator[Simulation]:
    """Compile a written project, and remove what was compiled at the end.

    Args:
        conversion: the network that the project should be.
        project: its folder, if it is not the one that the conversion was written to.

    Raises:
        MissingExtraError: no g++.
        SimulationError: the code in the folder does not compile.
    """
    folder = Path(conversion.graph.config.get_output_dir()) if project is None else project
    with tempfile.TemporaryDirectory(prefix="rfprune-") as scratch:
        # Convolutions spend their time in loops, dense layers in the compiler.
        optimization = "-O1" if conversion.convolves else "-O0"
        library = _compile(folder.absolute(), Path(scratch), optimization)
        yield Simulation(conversion, folder, library)


def _compile(project: Path, scratch: Path, optimization: str) -> Path:
    """Compile the project and its bridge, without a trace in its own folder."""
    library = scratch / "design.so"
    weights = project / "firmware" / "weights"
    types, options = project / "firmware" / "ap_types", ["-w", "-std=c++17", optimization, "-fPIC"]
    command = compile_command(types, options)
    command += ["-shared", "-DTRACE_LAYERS", f'-DWEIGHTS_DIR="{weights}"']
    # Most of the time goes into reading headers; in one unit they are read once.
    unit = scratch / "unit.cpp"
    sources = (f"firmware/{PROJECT_NAME}.cpp", f"{PROJECT_NAME}_bridge.cpp")
    unit.write_text("".join(f'#include "{source}"\n' for source in sources))
    command += [f"-iquote{project}", str(unit), "-o", str(library)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        said = ran.stderr.strip()[:_SHOWN_CHARACTERS]
        raise SimulationError(f"{project}: the generated C++ does not compile: {said}")
    return library
