"""Runs Vitis HLS or Vivado HLS on an hls4ml project and reads what it reports.

Nothing here knows a licence server or an installation: the tool is the one on PATH
(``vitis-run`` or ``vitis_hls`` for Vitis projects, ``vivado_hls`` for Vivado ones). Every attempt
has a time limit and keeps its log beside the project. On a Ray cluster whose nodes offer the
resource ``hls_license``, each run takes one unit of it, so that no more runs start than there are
licences, and on nodes that have the tool.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from rfprune.core.registry import resolve
from rfprune.errors import MissingExtraError, ReportError, SpecError, WorkError
from rfprune.fpga.estimators.design import Design
from rfprune.fpga.estimators.reports import find_reports, to_estimate
from rfprune.fpga.estimators.result import Estimate

__all__ = ["LICENSE_RESOURCE", "CsynthOptions", "estimate", "find_tool", "run", "run_licensed"]

#: Ray resource that stands for one licence of the HLS tool.
LICENSE_RESOURCE = "hls_license"
#: Executables per hls4ml backend, the newest first.
_TOOLS = {"vitis": ("vitis-run", "vitis_hls"), "vivado": ("vivado_hls",)}
_STEPS = ("reset", "csim", "synth", "cosim", "validation", "export", "vsynth", "fifo_opt")


@dataclass(frozen=True)
class CsynthOptions:
    """How the tool is run.

    Attributes:
        cosim: also run the C/RTL co-simulation (measured cycles).
        vsynth: also run Vivado's logic synthesis (measured LUT, FF, BRAM, DSP).
        timeout_seconds: limit of one attempt.
        attempts: how often a failed run is tried in all.
        wait_seconds: pause before the next attempt, e.g. for a licence.
    """

    cosim: bool = False
    vsynth: bool = False
    timeout_seconds: float = 4 * 3600.0
    attempts: int = 2
    wait_seconds: float = 30.0


def estimate(design: Design, project: Path) -> Estimate:
    """Return what the HLS tool reports for `design`; errors as `run`.

    Args:
        design: what was asked for; names the clock where a report does not.
        project: folder of the hls4ml project that implements it.
    """
    # A process that has not imported Ray belongs to no cluster, and importing it takes a second.
    ray = sys.modules.get("ray")
    licensed = (
        ray is not None
        and ray.is_initialized()
        and ray.cluster_resources().get(LICENSE_RESOURCE, 0) >= 1
    )
    return (run_licensed if licensed else run)(project, clock_ns=design.clock_ns)


def find_tool(project: Path) -> tuple[str, str]:
    """Return the backend of an hls4ml project and the executable that builds it.

    Raises:
        SpecError: the folder is not an hls4ml project of Vivado or Vitis.
        MissingExtraError: no fitting executable is on PATH.
    """
    script = project / "project.tcl"
    if not script.is_file() or not (project / "build_prj.tcl").is_file():
        raise SpecError(
            f"{project}: is not an hls4ml project (project.tcl and build_prj.tcl are not both "
            "there)."
        )
    match = re.search(r'set\s+backend\s+"?(\w+)"?', script.read_text(encoding="utf-8"))
    # The accelerator backends are built by the same programs.
    backend = match.group(1).lower().replace("accelerator", "") if match else "vivado"
    if backend not in _TOOLS:
        raise SpecError(f"{script}: backend '{backend}'. Allowed: {', '.join(_TOOLS)}.")
    found = next((path for name in _TOOLS[backend] if (path := shutil.which(name))), None)
    if found is None:
        raise MissingExtraError(
            f"csynth needs {' or '.join(_TOOLS[backend])} on PATH; "
            "source the settings64.sh of the AMD tools, or use --by analytic."
        )
    return backend, found


def command_line(project: Path, tool: str, options: CsynthOptions) -> list[str]:
    """Return the command that builds `project`, and write its options where they are read from.

    hls4ml 1.2 and later read ``build_opt.tcl``; earlier projects and Vivado HLS take one argument.
    """
    chosen = {"synth": 1, "cosim": int(options.cosim), "vsynth": int(options.vsynth)}
    # Every step is named: hls4ml's own defaults run C simulation and export as well.
    choices = {step: chosen.get(step, 0) for step in _STEPS}
    settings = project / "build_opt.tcl"
    if settings.is_file():
        lines = "".join(f"    {step} {value}\n" for step, value in choices.items())
        settings.write_text(f"array set opt {{\n{lines}}}\n", encoding="utf-8")
        argument: list[str] = []
    else:
        argument = [" ".join(f"{step}={value}" for step, value in choices.items())]
    if Path(tool).name == "vitis-run":
        return [tool, "--tcl", "build_prj.tcl", "--mode", "hls", *argument]
    return [tool, "-f", "build_prj.tcl", *argument]


def run(project: Path, options: CsynthOptions | None = None, clock_ns: float = 5.0) -> Estimate:
    """Build the hls4ml project in `project` with the tool on PATH and return what it reports.

    Args:
        project: folder with ``build_prj.tcl``.
        options: steps, time limit, attempts.
        clock_ns: clock period where no report names one.

    Raises:
        SpecError: not an hls4ml project.
        MissingExtraError: the tool is not on PATH.
        WorkError: every attempt failed or ran out of time; names the last log.
        ReportError: the tool ended well but left no new report.
    """
    settings = options or CsynthOptions()
    backend, tool = find_tool(project)
    # Reports of an earlier run may lie in the folder; see `fresh` below.
    begin = time.time()
    command = command_line(project, tool, settings)
    attempts = max(settings.attempts, 1)
    for attempt in range(1, attempts + 1):
        log = project / f"csynth_{attempt}.log"
        fault = _attempt(command, project, log, settings.timeout_seconds)
        if fault is None:
            # One second of slack: some file systems keep whole seconds only.
            fresh = {
                kind: report
                for kind, report in find_reports(project).items()
                if report.path.stat().st_mtime >= begin - 1
            }
            if "csynth" not in fresh:
                raise ReportError(
                    f"{project}: the tool ended well but wrote no new C-synthesis report."
                )
            return to_estimate(fresh, clock_ns)
        if attempt < attempts:
            time.sleep(settings.wait_seconds)
    # A tool says many things after the error that made it give up.
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.upper().startswith("ERROR")]
    words = (errors or lines or ["(nothing)"])[-1][:200]
    raise WorkError(
        f"{project}: {Path(tool).name} ({backend}) {fault} in {attempts} attempts; "
        f"its last words: {words!r}. Whole log: {log}."
    )


def _attempt(command: list[str], project: Path, log: Path, timeout_seconds: float) -> str | None:
    """Run one attempt; return None if it ended well, else what went wrong."""
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command, cwd=project, stdout=sink, stderr=subprocess.STDOUT, start_new_session=True
        )
        # A session of its own, so that the end reaches the compilers that the tool has started.
        try:
            status = process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            _end(process)
            return f"did not end within {timeout_seconds:g} s"
        except BaseException:
            _end(process)
            raise
    return None if status == 0 else f"ended with status {status}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the tool and everything it started: it runs in a session of its own."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, kind)
            process.wait(10)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            pass
        return


def run_licensed(
    project: Path, options: CsynthOptions | None = None, clock_ns: float = 5.0
) -> Estimate:
    """Do the same as `run` as a Ray task that holds one unit of ``hls_license``.

    The project folder must be visible to the node that offers the licence. Arguments and errors as
    `run`.
    """
    # Ray is the business of `rfprune.execution`, which this room reaches by name only.
    holding = resolve("rfprune.execution.licences:holding")
    found: Estimate = holding(LICENSE_RESOURCE, run, project.absolute(), options, clock_ns)
    return found
