"""What is done with an exported network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rfprune.exporting.certificate import CertifiedExport
    from rfprune.exporting.quantizing import Quantized

__all__ = ["certify", "quantize"]


def certify(
    folder: str | Path,
    *,
    rows: int | None = None,
    exhaustive: bool = False,
    run_code: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> CertifiedExport:
    """Compare an exported network once more: files, torch, C++, RTL, netlist, counts.

    The C++ in the folder is compiled and run: only for exports that you trust. What is found is
    written to ``certificate.json``; where anything differs, the export's own is kept as
    ``certificate.exported.json``; as ``rfprune certify`` does::

        found = rfprune.certify("out", rows=200, run_code=True)
        assert not found.faults

    Args:
        folder: made by ``rfprune export`` or `Point.export`.
        rows: to compare, corner vectors always among them; None: those of the test vectors and as
            many more as there are corners.
        exhaustive: compare every code of every input; for small inputs.
        run_code: import what the export needs of its user's own code.
        say: called with one line per stage.

    Returns:
        The certificate (a dict), and its faults: one sentence each, the place first.

    Raises:
        RunsError: the folder holds no export, or one without a certificate.
        SpecError: more was asked than the export's inputs allow.
    """
    from rfprune.exporting.certificate import certify as compare
    from rfprune.trial.proof import Asked

    return compare(Path(folder), Asked(rows, exhaustive, run_code, say=say))


def quantize(
    folder: str | Path,
    out: str | Path,
    *,
    rows: int = 256,
    seed: int = 0,
    reduce_range: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Quantized:
    """Write an exported network in 8-bit integers, statically and dynamically quantized.

    Accuracy, size (bytes) and time (ms per row) of both are measured beside those of the float
    network; nothing is trained. As ``rfprune quantize`` does::

        found = rfprune.quantize("edge_out", "edge_int8")
        [(form.name, form.bytes, form.ms) for form in found.forms]

    Args:
        folder: made by ``rfprune export`` or `Point.export`.
        out: the folder to create; must be new or empty.
        rows: training rows that give the ranges of the activations.
        seed: of the draw of these rows.
        reduce_range: weights in 7 bits, for x86 processors without VNNI.
        say: called with one line per stage.

    Raises:
        RunsError: no export, or the folder is in use.
        MissingExtraError: onnxruntime is not installed (extra ``int8``).
    """
    from rfprune.exporting.quantizing import quantize as write

    return write(Path(folder), Path(out), rows, seed, reduce_range, say)
