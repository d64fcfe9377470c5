"""Test vectors: rows of the test set with what torch and the generated C++ make of them.

::

    test_vectors.npz                        x (raw rows), x_scaled (what the C++ gets: scaled, on
                                            the grid of its input type), y, and of the outputs, e.g.
                                            logits (torch, float, of x) and logits_fixed (the C++,
                                            of x_scaled); of several inputs and outputs with their
                                            names, e.g. x_jets, x_scaled_jets, outputs_pt_fixed
    hls/tb_data/tb_input_features.dat       the first rows, as hls4ml's test bench reads them
    hls/tb_data/tb_output_predictions.dat   logits of torch in float
    hls/tb_data/tb_output_fixed_point.dat   logits of the C++, with which csim is compared
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rfprune.core.named import Named
from rfprune.fpga.hls import Array, Compared, Conversion, Rows, streamed, written

__all__ = ["write_vectors"]

#: Rows of the test bench: the vendor's RTL simulation takes from milliseconds to seconds a row.
_BENCH_ROWS_DENSE, _BENCH_ROWS_CONV = 100, 10


def write_vectors(
    folder: Path,
    conversion: Conversion,
    compared: Compared,
    raw: Rows,
    in_float: dict[str, Array],
    name: str,
) -> None:
    """Write the compared rows into an export, and the first of them for the test bench.

    Args:
        folder: of the export.
        conversion: the network.
        compared: its rows.
        raw: the same rows before they were scaled.
        in_float: (rows, ...) of torch for them, before anything is rounded, by output.
        name: of the outputs in the file, e.g. ``logits``.
    """
    arrays: dict[str, Any] = {
        **_named("x", raw),
        **_named("x_scaled", compared.x),
        **_named("y", compared.y),
    }
    for output, values in in_float.items():
        key = f"{name}_{output}" if output else name
        arrays[key] = values.astype(np.float32)
        arrays[f"{key}_fixed"] = compared.cpp[output]
    np.savez_compressed(folder / "test_vectors.npz", **arrays)
    bench = folder / "hls" / "tb_data"
    bench.mkdir(exist_ok=True)
    rows = _BENCH_ROWS_CONV if conversion.convolves else _BENCH_ROWS_DENSE
    inputs = np.concatenate(streamed(conversion, compared.x[:rows]), axis=1)
    _write(bench / "tb_input_features.dat", inputs)
    _write(bench / "tb_output_predictions.dat", _as_put_out(conversion, compared, rows))
    # The test bench prints a line per output.
    lines = [part[row] for row in range(len(inputs)) for part in compared.streams]
    fixed = "".join(" ".join(f"{value:.9g}" for value in line) + "\n" for line in lines)
    (bench / "tb_output_fixed_point.dat").write_text(fixed)


def _named(name: str, rows: Any) -> dict[str, Any]:
    """Return the array of one tensor, or of several under ``name_PART``."""
    if isinstance(rows, Named):
        return {f"{name}_{part}": tensor.cpu().numpy() for part, tensor in rows.parts.items()}
    return {name: rows.numpy()}


def _as_put_out(conversion: Conversion, compared: Compared, rows: int) -> Array:
    """Return (rows, n) the outputs of torch in the order in which the design puts them out."""
    parts = []
    outputs = zip(written(conversion), compared.in_float.values(), strict=True)
    for (_, places), values in outputs:
        flat = values[:rows].reshape(len(values[:rows]), -1)
        parts.append(flat[:, np.argsort(places)])
    return np.concatenate(parts, axis=1)


def _write(path: Path, rows: Array) -> None:
    """Write one line per row, values apart by blanks, as hls4ml's own writer does."""
    # The test bench reads floats: nine digits tell every one of them apart.
    np.savetxt(path, rows, fmt="%.9g")
