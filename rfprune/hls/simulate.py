"""The C++ simulation: the files of an HLS project, compiled by g++ and run on rows of data.

What is simulated is what stands in the folder, not what hls4ml would write anew. The bridge that
hls4ml generates (``templates/vivado/myproject_bridge.cpp``) gives the outputs of the network and,
compiled with ``TRACE_LAYERS``, those of every layer.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rfprune.errors import MissingExtraError, SimulationError
from rfprune.hls.convert import PROJECT_NAME, Conversion

__all__ = ["Array", "Outputs", "simulate", "streamed"]

Array = NDArray[np.float64]
_SHOWN_CHARACTERS = 500


@dataclass(frozen=True)
class Outputs:
    """What the C++ computed, exactly.

    Attributes:
        logits: (rows, classes).
        layers: (rows, *shape) by layer, channels last.
    """

    logits: Array
    layers: dict[str, Array]


class _Traced(ctypes.Structure):
    """``trace_data`` of the bridge."""

    _fields_ = (("name", ctypes.c_char_p), ("data", ctypes.c_void_p))


def streamed(conversion: Conversion, x: Tensor) -> NDArray[np.float64]:
    """Return `x` (rows, *input_shape) in the order in which the design reads it."""
    rows = x.detach().cpu().double().numpy()
    plan = conversion.plan
    if plan.hardware.io_type == "io_stream" and not plan.network.channels_last:
        rows = np.moveaxis(rows, 1, -1)  # io_stream takes channels last
    return np.ascontiguousarray(rows)


def simulate(conversion: Conversion, x: Tensor) -> Outputs:
    """Compile the written project and return what it computes for `x` (rows, *input_shape).

    Raises:
        MissingExtraError: no g++.
        SimulationError: the code in the folder does not compile or does not load.
    """
    project = Path(conversion.graph.config.get_output_dir())
    with tempfile.TemporaryDirectory(prefix="rfprune-") as scratch:
        # Convolutions spend their time in loops, dense layers in the compiler.
        optimization = "-O1" if conversion.convolves else "-O0"
        library = _compile(project.absolute(), Path(scratch), optimization)
        try:
            return _run(ctypes.CDLL(str(library)), conversion.graph, streamed(conversion, x))
        except (OSError, AttributeError) as error:
            raise SimulationError(f"{project}: the simulation cannot be run ({error}).") from error


def _compile(project: Path, scratch: Path, optimization: str) -> Path:
    """Compile the project and its bridge, without a trace in its own folder."""
    compiler = shutil.which("g++")
    if compiler is None:
        raise MissingExtraError(
            "the C++ simulation needs g++; install it, e.g. with: apt install g++"
        )
    library = scratch / "design.so"
    weights = project / "firmware" / "weights"
    command = [compiler, "-w", "-std=c++17", optimization, "-fPIC", "-shared", "-DTRACE_LAYERS"]
    command += [f'-DWEIGHTS_DIR="{weights}"', f"-I{project / 'firmware' / 'ap_types'}"]
    command += [str(project / "firmware" / f"{PROJECT_NAME}.cpp")]
    command += [str(project / f"{PROJECT_NAME}_bridge.cpp"), "-o", str(library)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        said = ran.stderr.strip()[:_SHOWN_CHARACTERS]
        raise SimulationError(f"{project}: the generated C++ does not compile: {said}")
    return library


def _run(library: ctypes.CDLL, graph: Any, rows: Array) -> Outputs:
    top = getattr(library, f"{PROJECT_NAME}_double")
    top.argtypes = [np.ctypeslib.ndpointer(np.float64, flags="C")] * 2
    top.restype = None
    library.allocate_trace_storage.argtypes = [ctypes.c_size_t]
    shapes = {
        node.name: tuple(node.get_output_variable().shape)
        for node in graph.get_layers()
        if node.get_attr("function_cpp", None)
    }
    logits = np.zeros((len(rows), graph.get_output_variables()[0].size()))
    layers = {name: np.zeros((len(rows), *shape)) for name, shape in shapes.items()}
    traced = (_Traced * len(shapes))()
    library.allocate_trace_storage(ctypes.sizeof(ctypes.c_double))
    try:
        for index, row in enumerate(rows):
            top(row, logits[index])
            library.collect_trace_output(traced)
            for each in traced:
                name = each.name.decode()
                values = ctypes.cast(each.data, ctypes.POINTER(ctypes.c_double))
                layers[name][index] = np.ctypeslib.as_array(values, shapes[name])
    finally:
        library.free_trace_storage()
    return Outputs(logits, layers)
