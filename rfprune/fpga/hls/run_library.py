"""Runs a compiled design on rows: ``python -P run_library.py LIBRARY ROWS.npz ANSWER.npz``.

Imports nothing of rfprune, so that it starts at once. The bridge that hls4ml generates gives the
outputs of the network and, compiled with ``TRACE_LAYERS``, those of every layer.
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any

import numpy as np


class _Traced(ctypes.Structure):
    """``trace_data`` of the bridge."""

    _fields_ = (("name", ctypes.c_char_p), ("data", ctypes.c_void_p))


def run(library: ctypes.CDLL, asked: dict[str, Any], inputs: list[Any]) -> dict[str, Any]:
    """Return what the design and its layers put out, in the order in which it lies there."""
    top, rows = getattr(library, asked["top"]), len(inputs[0])
    outputs = [np.zeros((rows, size)) for size in asked["outputs"]]
    array = np.ctypeslib.ndpointer(np.float64, flags="C")
    top.argtypes = [array] * (len(inputs) + len(outputs))
    top.restype = None
    library.allocate_trace_storage.argtypes = [ctypes.c_size_t]
    sizes: dict[str, int] = asked["layers"]
    layers = {name: np.zeros((rows, size)) for name, size in sizes.items()}
    traced = (_Traced * len(sizes))()
    library.allocate_trace_storage(ctypes.sizeof(ctypes.c_double))
    for row in range(rows):
        top(*(part[row] for part in inputs), *(part[row] for part in outputs))
        library.collect_trace_output(traced)
        for each in traced:
            name = each.name.decode()
            values = ctypes.cast(each.data, ctypes.POINTER(ctypes.c_double))
            layers[name][row] = np.ctypeslib.as_array(values, (sizes[name],))
    library.free_trace_storage()
    found = {f"y{index}": part for index, part in enumerate(outputs)}
    return {**found, **{f"layer_{name}": values for name, values in layers.items()}}


def main(path: str, request: str, answer: str) -> None:
    """Read the rows, run the design, write what it puts out."""
    with np.load(request) as given:
        asked = json.loads(str(given["asked"]))
        inputs = [given[f"x{index}"] for index in range(len(given.files) - 1)]
    np.savez(answer, **run(ctypes.CDLL(path), asked, inputs))


if __name__ == "__main__":
    main(*sys.argv[1:])
