"""Runs compiled designs on rows: ``python -P run_designs.py LIBRARY ROWS.npz ANSWER.npz``."""

from __future__ import annotations

import ctypes
import json
import sys

import numpy as np


def run(library: str, request: str, answer: str) -> None:
    """Run every design on its rows, and write what they put out."""
    loaded, found = ctypes.CDLL(library), {}
    array = np.ctypeslib.ndpointer(np.float64, flags="C")
    with np.load(request) as given:
        for number, design in enumerate(json.loads(str(given["asked"]))):
            inputs = [given[f"x{number}_{index}"] for index in range(design["inputs"])]
            n_rows = len(inputs[0])
            outputs = [np.zeros((n_rows, size)) for size in design["outputs"]]
            top = getattr(loaded, design["top"])
            top.argtypes, top.restype = [array] * (len(inputs) + len(outputs)), None
            for row in range(n_rows):
                top(*(part[row] for part in inputs), *(part[row] for part in outputs))
            found |= {f"y{number}_{index}": part for index, part in enumerate(outputs)}
    np.savez(answer, **found)


if __name__ == "__main__":
    run(*sys.argv[1:])
