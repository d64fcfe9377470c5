"""Test vectors: rows of the test set with what torch and the generated C++ make of them.

::

    test_vectors.npz                        x, y, logits (torch, float), logits_fixed (C++)
    hls/tb_data/tb_input_features.dat       the first rows, as hls4ml's test bench reads them
    hls/tb_data/tb_output_predictions.dat   logits of torch in float
    hls/tb_data/tb_output_fixed_point.dat   logits of the C++, with which csim is compared
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rfprune.hls import Array, Compared, Conversion, streamed

__all__ = ["write_vectors"]

#: Rows of the test bench: the vendor's RTL simulation takes from milliseconds to seconds a row.
_BENCH_ROWS_DENSE, _BENCH_ROWS_CONV = 100, 10


def write_vectors(folder: Path, conversion: Conversion, compared: Compared) -> None:
    """Write the compared rows into an export, and the first of them for the test bench."""
    np.savez_compressed(
        folder / "test_vectors.npz",
        x=compared.x.numpy(),
        y=compared.y.numpy(),
        logits=compared.in_float.astype(np.float32),
        logits_fixed=compared.cpp,
    )
    bench = folder / "hls" / "tb_data"
    bench.mkdir(exist_ok=True)
    rows = _BENCH_ROWS_CONV if conversion.convolves else _BENCH_ROWS_DENSE
    inputs = streamed(conversion, compared.x[:rows])
    _write(bench / "tb_input_features.dat", inputs)
    _write(bench / "tb_output_predictions.dat", compared.in_float[:rows])
    _write(bench / "tb_output_fixed_point.dat", compared.cpp[:rows])


def _write(path: Path, rows: Array) -> None:
    """Write one line per row, values apart by blanks, as hls4ml's own writer does."""
    # The test bench reads floats: nine digits tell every one of them apart.
    np.savetxt(path, rows.reshape(len(rows), -1), fmt="%.9g")
